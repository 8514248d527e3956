"""Print to the terminal, as no other module does: lines without control characters, JSON, CSV, tracebacks, questions;
ignore an output without a reader (``| head``).

Names, messages and commands may come from services, from runs and from files that others made. What is printed here is
one safe line each, so that no text moves the cursor, sets the window's title, turns the direction of writing or adds a
line that looks like one of eechips.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TextIO, cast

import click

from eechips.engine.interrupt import Interrupt
from eechips.engine.progress import Terminal
from eechips.storage import open_atomic
from eechips.text.formatting import format_json, format_spreadsheet, one_line
from eechips.web.redaction import redact

_COLOUR = re.compile("\x1b\\[[0-9;]*m")
MARGIN = "  | "
"""What texts of somebody else, such as commands and tracebacks, have in front of each line."""


def open_closed_streams() -> None:
    """Open the standard streams that the caller of this process has closed (``>&-``), on the null device.

    Otherwise the next files that are opened get their numbers: a result would receive the warnings of C libraries.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - as Python does


@contextlib.contextmanager
def forgiving_output() -> Iterator[None]:
    """Ignore in the block that output cannot be written: it has no reader, as with ``| head``, or its disk is full."""
    output, errors = cast(TextIO, Terminal(sys.stdout)), cast(TextIO, Terminal(sys.stderr))
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        yield


def echo(line: object = "", *, err: bool = False) -> None:
    """Print a line; line breaks in it become spaces."""
    _write(one_line(str(line)), err=err)


def echo_lines(lines: Iterable[str], *, err: bool = False) -> None:
    """Print several lines."""
    for line in lines:
        echo(line, err=err)


def echo_coloured(line: str) -> None:
    """Print a line with colours, on a terminal; texts of others in it have passed ``one_line`` before."""
    parts, codes = _COLOUR.split(line), _COLOUR.findall(line)
    _write("".join(one_line(part) + code for part, code in zip(parts, [*codes, ""], strict=True)), err=False)


def echo_json(value: Any, *, indent: int | None = None) -> None:
    """Print JSON: unsafe characters of its texts are escaped, so that programs read the same values."""
    _write(format_json(value, indent), err=False)


def echo_spreadsheet(rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as CSV without formulas; see :func:`eechips.text.formatting.format_spreadsheet`."""
    click.echo(format_spreadsheet(rows), nl=False)


def echo_quoted(text: str) -> None:
    """Print a text of somebody else on stderr, whole, with a mark before each line: none looks like a line of ours."""
    line = one_line(text, longest=max(1, len(text)))
    room = max(20, shutil.get_terminal_size().columns - len(MARGIN) - 1)
    room = room if line.isascii() else room // 2  # some letters are two columns wide
    for start in range(0, max(1, len(line)), room):
        echo(MARGIN + line[start : start + room], err=True)


@contextlib.contextmanager
def open_output(path: Path, *, keeps: bool = False) -> Iterator[IO[str]]:
    """Open a file for lines, ``-`` for standard output; it gets its name once it is complete.

    With ``keeps`` the lines written so far, if any, are kept when the block raises. Signals that end the process, too,
    raise KeyboardInterrupt; a kill leaves no lines in any case.

    Raises:
        StorageError: if it cannot be written.
    """
    if str(path) == "-":
        yield sys.stdout
        return
    with Interrupt(), open_atomic(path, keeps=keeps) as file:
        yield file


def replace_lines(lines: Sequence[str], shown: int) -> None:
    """Print lines, on a terminal in place of the last ones that were shown."""
    if shown and sys.stdout.isatty():
        click.echo(f"\x1b[{shown}F\x1b[J", nl=False)
    echo_lines(lines)


def ask(question: str, *, default: bool = False) -> bool:
    """Ask a question on standard error; Ctrl-C is passed on as :class:`click.Abort`."""
    return click.confirm(one_line(question), default=default, err=True)


def show_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of an error, in place of :data:`sys.excepthook`; that of Ctrl-C says nothing."""
    if issubclass(kind, KeyboardInterrupt):
        return
    text = "".join(traceback.format_exception(kind, error, trace))
    echo_lines(redact(text).rstrip("\n").split("\n"), err=True)


def _write(text: str, *, err: bool) -> None:
    try:
        click.echo(text, err=err)
    except UnicodeEncodeError:  # a terminal without these letters
        encoding = (sys.stderr if err else sys.stdout).encoding or "ascii"
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)
