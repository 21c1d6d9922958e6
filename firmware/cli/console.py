"""What the commands share: errors in one line, signals, progress, tables and files."""

import contextlib
import functools
import json
import os
import pathlib
import signal
import sys
import threading
import time
from importlib.util import find_spec

import click
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..errors import Error
from ..hdl.build import toolchain


__all__ = ["Input", "Output", "UserError", "check_outputs", "ended_by_signals", "json_option", "need",
           "print_table", "progress", "user_errors", "write_json", "writing"]


LINE_SECONDS = 2  # between lines of progress of one step
STANDARD = pathlib.Path("-")
WIDE = 10_000  # columns, more than any table has
SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "terminated"}


class UserError(click.ClickException):
    """One line, exit 2."""
    exit_code = 2


def user_errors(command):
    """Decorator: a user's mistake, or a missing tool, ends the command with one line and exit 2."""
    @functools.wraps(command)
    def wrapper(**options):
        try:
            return command(**options)
        except Error as error:
            raise UserError(str(error)) from error
        except BrokenPipeError:  # nobody reads standard output any more
            raise
        except OSError as error:
            raise UserError(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error
    return wrapper


class Stopped(KeyboardInterrupt):
    """A signal ends the program as Ctrl-C does."""


@contextlib.contextmanager
def ended_by_signals():
    """A signal that ends the program raises KeyboardInterrupt in it, and then gives one line and exit 128 + its number.

    So files and folders that are half made are removed. Tools that other threads run are killed. Signals that the
    caller ignores, as nohup does, are ignored. Where nobody reads standard output any more there is no line.
    """
    def stop(number, frame):
        raise Stopped(number)

    of_main = threading.current_thread() is threading.main_thread()
    caught = [number for number in SIGNALS if of_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        toolchain.stop()
        number, = interrupt.args or (signal.SIGINT,)
        click.echo(SIGNALS[number], err=True)
        raise SystemExit(128 + number) from interrupt
    except (BrokenPipeError, SystemExit) as end:
        if not isinstance(end, BrokenPipeError) and not isinstance(end.__context__, BrokenPipeError):  # it is rich's
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes when it ends
        raise SystemExit(128 + signal.SIGPIPE) from end
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def progress():
    """Progress on standard error: a bar on a terminal; else a line for each step, and one every LINE_SECONDS in it.

    What moves it is a function of the step's description, of how much of it is done, and of how much there is (None
    where that is not known).
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                  TimeRemainingColumn(), console=console, transient=True) as bars:
        task = bars.add_task("starting", total=None)
        yield lambda description, done, total: bars.update(task, description=description, completed=done, total=total)


def _lines():
    last, at = None, 0

    def told(description, done, total):
        nonlocal last, at
        now = time.monotonic()
        if description != last or now - at >= LINE_SECONDS:
            last, at = description, now
            click.echo(description if total is None else f"{done} of {total}: {description}", err=True)

    return told


def print_table(table, out=None):
    """Print a rich table, of which no word and no cell of a right-justified column, a number's, is cut or wrapped.

    On a terminal headings, and prose in other columns, wrap at spaces as far as the width of ``out`` (a rich Console)
    asks for it; a table that needs more is wider than the terminal. Elsewhere nothing wraps.
    """
    out = out or Console()
    wide = out.options.update(max_width=WIDE)
    width = Measurement.get(out, wide, table).maximum
    if out.is_terminal:
        ranges = [_range(out, wide, column) for column in table.columns]
        widths = [most for _, most in ranges]
        while width > out.width and (shrinks := [place for place, (least, _) in enumerate(ranges)
                                                 if widths[place] > least]):
            widths[max(shrinks, key=widths.__getitem__)] -= 1
            width -= 1
        for column, chosen in zip(table.columns, widths, strict=True):
            column.width = chosen
    kept, out.width = out.width, max(out.width, width)
    out.print(table)
    out.width = kept


def _range(out, options, column):
    """The least and the most columns of a terminal that a column of a table can do with."""
    heading, *cells = (Measurement.get(out, options, cell) for cell in (column.header, *column.cells))
    least = (cell.maximum if column.justify == "right" else cell.minimum for cell in cells)
    return max(heading.minimum, *least, 0), max(size.maximum for size in (heading, *cells))


@contextlib.contextmanager
def writing(path):
    """Turns what goes wrong with a file that is written into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def check_outputs(*paths):
    """Refuse before anything is measured what could not be written afterwards, and what is neither file nor folder.

    A path may be None, and a stream, which ``json_option`` gives.
    """
    for path in paths:
        if not isinstance(path, pathlib.Path):
            continue
        with writing(path):
            exists, folder = path.exists(), path.resolve().parent
        if exists and not path.is_file() and not path.is_dir():
            raise UserError(f"{path}: cannot be written: it is a device, a FIFO or a socket: give the name of a file")
        if not folder.is_dir():
            raise UserError(f"{path}: cannot be written: No such file or directory: create {path.parent} first")
        if not os.access(path if exists else folder, os.W_OK):
            raise UserError(f"{path}: cannot be written: no permission, or a read-only disk: choose another folder")


class Output(click.Path):
    """Type of an option: a file that is to be written, as pathlib.Path; checked by ``check_outputs``."""

    def __init__(self, **options):
        super().__init__(path_type=pathlib.Path, dir_okay=False, readable=False, **options)

    def convert(self, value, param, ctx):
        """The path. Raises UserError for what cannot be written."""
        path = super().convert(value, param, ctx)
        if not (self.allow_dash and path == STANDARD):
            check_outputs(path)
        return path


class Input(click.Path):
    """Type of an option or an argument: a file that is to be read, as pathlib.Path.

    What is there and no regular file is refused: a FIFO might never end. What is not there is refused where it is read,
    or with ``exists`` at once.
    """

    def __init__(self, **options):
        super().__init__(path_type=pathlib.Path, dir_okay=False, **options)

    def convert(self, value, param, ctx):
        """The path. Raises UserError for what is no regular file."""
        path = super().convert(value, param, ctx)
        if os.path.exists(path) and not path.is_file():
            name = param.opts[0] if param.param_type_name == "option" else param.human_readable_name
            raise UserError(f"{path}: {name} is a device, a FIFO or a socket: give a regular file")
        return path


def need(package, extra):
    """Refuse before anything is measured what a package of an extra is wanted for; raises UserError."""
    if find_spec(package) is None:
        raise UserError(f"{package} is not installed: pip install 'setun[{extra}]'")


def write_json(path, fields):
    """Write measurements to a file or a stream; nothing where ``path`` is None."""
    if path is None:
        return
    text = json.dumps(fields, indent=2) + "\n"
    if isinstance(path, pathlib.Path):
        with writing(path):
            path.write_text(text)
    else:
        with writing("standard output"):
            path.write(text)
            path.flush()


def _json_target(context, parameter, path):
    """The path, or for - the stream of standard output; all else that is printed goes to standard error then."""
    if path != STANDARD:
        return path
    stream = sys.stdout
    context.with_resource(contextlib.redirect_stdout(sys.stderr))
    return stream


json_option = click.option("--json", "json_path", callback=_json_target,
                           type=Output(allow_dash=True),
                           help="Write the measurements to this file; - is standard output, and the rest goes to "
                                "standard error.")
