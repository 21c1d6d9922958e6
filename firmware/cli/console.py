"""What the commands share: errors in one line, progress, tables and files."""

import contextlib
import functools
import json
import pathlib
from importlib.util import find_spec

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..errors import Error


__all__ = ["UserError", "check_folders", "json_option", "need", "progress", "user_errors", "write_json", "writing"]


USER_ERRORS = (Error, OSError)


class UserError(click.ClickException):
    """One line, exit 2."""
    exit_code = 2


def user_errors(command):
    """Decorator: a user's mistake, or a missing tool, ends the command with one line and exit 2."""
    @functools.wraps(command)
    def wrapper(**options):
        try:
            return command(**options)
        except USER_ERRORS as error:
            raise UserError(str(error)) from error
    return wrapper


@contextlib.contextmanager
def progress(*, lines=False):
    """A bar on standard error, if that is a terminal; with ``lines`` a line for each step if it is none.

    What moves it is a function of description, done and total (None where that is not known).
    """
    console = Console(stderr=True)
    if lines and not console.is_terminal:
        yield lambda description, done, total: click.echo(f"{done} of {total}: {description}", err=True)
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                  TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("starting", total=None)
        yield lambda description, done, total: bars.update(task, description=description, completed=done, total=total)


@contextlib.contextmanager
def writing(path):
    """Turns what goes wrong with a file that is written into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def check_folders(*paths):
    """Refuse before anything is measured what could not be written afterwards."""
    for path in paths:
        if path and not path.absolute().parent.is_dir():
            raise UserError(f"{path}: cannot be written: No such file or directory: create {path.parent} first")


def need(package, extra):
    """Refuse before anything is measured what a package of an extra is wanted for; raises UserError."""
    if find_spec(package) is None:
        raise UserError(f"{package} is not installed: pip install 'setun[{extra}]'")


def write_json(path, fields):
    """Writes measurements where ``path`` is not None."""
    if path:
        with writing(path):
            path.write_text(json.dumps(fields, indent=2) + "\n")


json_option = click.option("--json", "json_path", type=click.Path(path_type=pathlib.Path, dir_okay=False),
                           help="Write the measurements to this file.")
