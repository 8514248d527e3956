"""Options and helpers that several verbs share."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from eechips.cli.command import VerbOption
from eechips.storage import open_atomic

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


OUTPUT = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
"""A file for lines that other commands read; ``-`` for standard output. See :func:`written`."""


@contextlib.contextmanager
def written(path: Path, *, keeps: bool = False) -> Iterator[IO[str]]:
    """Write lines to a file that gets its name once it is complete.

    Args:
        path: of the file; ``-`` for standard output.
        keeps: keep the lines written so far if the block raises; a kill leaves none in any case.

    Raises:
        StorageError: if it cannot be written.
    """
    if str(path) == "-":
        yield sys.stdout
        return
    with open_atomic(path, keeps=keeps) as file:
        yield file


def meta_flag(key: str, *names: str, help: str, **attributes: Any) -> VerbOption:
    """Make a flag that is no parameter of the function: click's ``meta`` holds it under a key."""

    def note(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[key] = True

    return VerbOption([*names], is_flag=True, expose_value=False, callback=note, help=help, **attributes)


def debug_option(function: FunctionT) -> FunctionT:
    """Add ``--debug``, which shows tracebacks."""

    def note(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta["debug"] = True

    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=note, help="Show the traceback of an error."
    )(function)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that have a value; the others keep the default of the config.

    ``--local`` overrides an endpoint in the environment.
    """
    context = click.get_current_context()
    chosen = {name: value for name, value in options.items() if value is not None and value != ()}
    source = context.get_parameter_source("endpoint")
    if chosen.get("local") and source is click.core.ParameterSource.ENVIRONMENT:
        chosen.pop("endpoint", None)
    return chosen
