"""Options of commands that fetch: declared once, shown in the short or full help, named as they are typed."""

from __future__ import annotations

import dataclasses
import inspect
import re

import click
import pytest
from click.testing import CliRunner

import eechips
from eechips.cli import main
from eechips.commands.command import FetchCommand
from eechips.commands.option_names import as_typed
from eechips.engine.config import RunConfig
from eechips.option_fields import options_of
from tests.support.commands import run_command

VERBS = ["sample", "images", "composites", "mosaic", "timeseries", "points", "scenes"]


def command_of(verb: str) -> click.Command:
    command: click.Command = main
    for word in verb.split():
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
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


@pytest.mark.parametrize("verb", [*VERBS, "run"])
def test_options_that_are_not_given_have_their_documented_default(verb: str) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(RunConfig)}
    flags = {p.name: p.default for p in command_of(verb).params if isinstance(p, click.Option) and p.secondary_opts}
    assert {name: value for name, value in flags.items() if name in defaults and value != defaults[name]} == {}


COMMAND_LINE_ONLY = {"yes", "refresh", "strict", "dropped", "check"}


@pytest.mark.parametrize("verb", [*VERBS, "check", "split", "pack", "catalog build", "catalog ingest"])
def test_python_has_the_options_of_the_command_line_documented(verb: str) -> None:
    function = getattr(eechips, verb.replace(" build", "").rpartition(" ")[2])
    parameters = inspect.signature(function).parameters
    documentation = inspect.getdoc(function) or ""
    options = {parameter.name for parameter in command_of(verb).params if isinstance(parameter, click.Option)}
    assert len(options & set(parameters)) > 5
    for name in options:
        if name in parameters:
            assert re.search(rf"^    {name}: ", documentation, re.MULTILINE), name
        else:
            assert name in COMMAND_LINE_ONLY, name


def test_ranges_and_choices_of_numbers_are_shown_and_enforced() -> None:
    output = run_command("check", "--help").output
    assert "--least-valid 0-1 " in output
    assert "--bits 0-32 " in output
    for words, message in (
        (["--bits", "40"], "40 is not in the range 0<=x<=32"),
        (["--least-valid", "2"], "2.0 is not in the range 0.0<=x<=1.0"),
    ):
        ended = run_command("check", "run", *words, status=2)
        assert message in ended.output


def test_every_field_of_a_run_is_documented() -> None:
    documentation = inspect.getdoc(RunConfig) or ""
    for name in options_of(RunConfig):
        assert re.search(rf"^    {name}: [A-Z]", documentation, re.MULTILINE), name


@pytest.mark.parametrize(
    ("message", "typed"),
    [
        ("in_flight must be at least 1", "--in-flight must be at least 1"),
        ("rate must be at least 0.001 a second, not -1", "--rate must be at least 0.001 a second, not -1"),
        ("export_to is not for executor='beam'", "--export-to is not for --executor beam"),
        ("A/B is a single image: `start` is for collections", "A/B is a single image: --start is for collections"),
        ("could not write in_flight.tif, or the_field", "could not write in_flight.tif, or the_field"),
    ],
)  # fmt: skip
def test_errors_name_parameters_as_they_are_typed(message: str, typed: str) -> None:
    assert as_typed(message, command_of("sample").params) == typed
