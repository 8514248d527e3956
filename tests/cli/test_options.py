"""Options of the verbs that fetch: declared once, shown in the short or the full help, and named as they are typed."""

from __future__ import annotations

import inspect
import re

import click
import pytest
from click.testing import CliRunner

import eechips
from eechips.cli import main
from eechips.cli.command import FetchCommand, as_typed
from eechips.engine import RunConfig
from eechips.signature import options_of

VERBS = ["sample", "images", "composites", "mosaic", "timeseries", "points", "scenes"]


def command_of(verb: str) -> click.Command:
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    return command


def shown(verb: str, flag: str) -> list[str]:
    """Names of the options that a help lists, in its order."""
    text = CliRunner().invoke(main, [verb, flag], terminal_width=100).stdout
    return re.findall(r"^  (?:-\w, )*(--[\w-]+)", text, re.MULTILINE)


@pytest.mark.parametrize("verb", [*VERBS, "run"])
def test_the_full_help_lists_every_option_once_and_the_short_help_some(verb: str) -> None:
    command = command_of(verb)
    assert isinstance(command, FetchCommand)
    names = {max(p.opts, key=len) for p in command.params if isinstance(p, click.Option)}
    every = shown(verb, "--help-all")
    assert set(every) == {name for name in names if name.startswith("--")} | {"--help", "--help-all"}
    assert len(every) == len(set(every))
    short = shown(verb, "--help")
    assert {"--help", "--help-all", "--out", "--dry-run"} <= set(short) < set(every)
    assert len(short) < 2 / 3 * len(every)


@pytest.mark.parametrize("verb", VERBS)
def test_python_has_the_options_of_the_command_line_documented(verb: str) -> None:
    function = getattr(eechips, verb)
    parameters = inspect.signature(function).parameters
    documentation = inspect.getdoc(function) or ""
    command_line_only = {"yes", "no_report", "debug", "refresh"}
    for parameter in command_of(verb).params:
        if isinstance(parameter, click.Option) and parameter.name not in command_line_only:
            assert parameter.name in parameters, parameter.name
            assert re.search(rf"^    {parameter.name}: ", documentation, re.MULTILINE), parameter.name


def test_every_field_of_a_run_is_documented() -> None:
    documentation = inspect.getdoc(RunConfig) or ""
    for name in options_of(RunConfig):
        assert re.search(rf"^    {name}: [A-Z]", documentation, re.MULTILINE), name


@pytest.mark.parametrize(
    ("message", "typed"),
    [
        ("in_flight must be at least 1", "--in-flight must be at least 1"),
        ("rate must be above 0, not -1", "--rate must be above 0, not -1"),
        ("scheduler is for Dask and needs executor='dask'", "--scheduler is for Dask and needs --executor dask"),
        ("A/B is a single image: `start` is for collections", "A/B is a single image: --start is for collections"),
        ("could not write in_flight.tif, or the_field", "could not write in_flight.tif, or the_field"),
    ],
)  # fmt: skip
def test_errors_name_parameters_as_they_are_typed(message: str, typed: str) -> None:
    assert as_typed(message, command_of("sample").params) == typed
