"""The base of all errors that Setun raises for its user's mistakes and for what fails outside it. Imports nothing."""

__all__ = ["ArgumentError", "Error"]


class Error(Exception):
    """Something that the user can mend: the text says what is wrong and what to do, in one line."""


class ArgumentError(Error, ValueError):
    """An argument that is out of its range, or does not go with another one."""
