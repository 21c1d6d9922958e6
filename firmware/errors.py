"""The base of all errors that Setun raises for its user's mistakes and for what fails outside it. Imports nothing."""

__all__ = ["Error"]


class Error(Exception):
    """Something that the user can mend: the text says what is wrong and what to do, in one line."""
