"""What all commands share: types of parameters, errors of one sentence (exit status 2), ``--debug``, and printing
without control characters.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from eechips_local.text import format_json, one_line

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of every command's context."""

WRONG = 2
"""Exit status of a wrong option, file or configuration."""


class CommandError(click.ClickException):
    """End the command with status 2 and one sentence on stderr."""

    exit_code = WRONG

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence."""
        echo(f"Error: {self.message}", err=True)


class LocalPath(click.Path):
    """A file or a folder of this machine; ``~`` is the home folder."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(path_type=Path, **attributes)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, absolute where libraries would take it for something else (``a:b``, ``~x``)."""
        text = os.path.expanduser(value)  # noqa: PTH111 - of an unknown user, it stays as it is
        if not text or "\0" in text:
            return self.fail("the path is empty, or has a null character", param, ctx)
        try:
            text.encode()
        except UnicodeEncodeError:
            return self.fail(f"{text!r} is not UTF-8: rename it, or set PYTHONUTF8=1", param, ctx)
        is_ambiguous = not os.path.isabs(text) and (":" in text or text.startswith("~"))  # noqa: PTH117
        return super().convert(os.path.abspath(text) if is_ambiguous else text, param, ctx)  # noqa: PTH100


# ParamType is generic in the newest click only, and cannot be subscripted in older ones.
class Names(click.ParamType):  # type: ignore[type-arg]
    """Names separated by commas: ``R,G,B``."""

    name = "A,B,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names, without the spaces around them."""
        if isinstance(value, tuple):
            return value
        return tuple(part.strip() for part in str(value).split(","))


def debug_option(function: FunctionT) -> FunctionT:
    """Add ``--debug``, which shows tracebacks."""

    def note(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta["debug"] = True

    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=note, help="Show the traceback of an error."
    )(function)


def echo(line: object = "", *, err: bool = False) -> None:
    """Print a line; line breaks in it become spaces, other control characters U+FFFD."""
    click.echo(one_line(str(line)), err=err)


def confirm(question: str) -> bool:
    """Ask a question on standard error; the Enter key says yes."""
    return click.confirm(one_line(question), default=True, err=True)


def echo_lines(lines: Iterable[str], *, err: bool = False) -> None:
    """Print several lines."""
    for line in lines:
        echo(line, err=err)


def echo_json(value: Any, *, indent: int | None = None) -> None:
    """Print JSON; unsafe characters of its texts are escaped."""
    click.echo(format_json(value, indent))
