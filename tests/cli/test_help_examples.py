"""The examples of each help: all can be typed, and those that need no account run within a minute."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from eechips.cli import main
from eechips_local.cli import main as local_main
from tests.support.programs import run_program

SECONDS = 60
RUN = "outputs/sample-naip"
SERVERS = ("serve",)
"""Commands that end with Ctrl-C."""
MISSING = re.compile(
    r"s3://|https://|my-project|scenes|study_area|park\.gpkg|alps\.gpkg|county\.gpkg|counties\.gpkg|labels\.gpkg|fields\."
    r"|recipes/|my_script|chips\.|recipe\.py|key\.json|plots\.csv|units\.jsonl|downloads/|outputs/(?!sample-naip)"
    r"|pretraining|3f2a9c71|my_assets|my_hooks|--watch|--rate|jq|^init$"
)
"""Files, accounts and programs that an example needs beside eechips, with ``--local``, and the run ``sample-naip``."""
OTHER_RUN = re.compile(r"eco_name|georeference|--class|--block-size|--by time|--check --buffer|--refetch|init --from")
"""What needs a run with pictures, strata, failures, several years, more chips or splits, or one that has not moved."""


def examples(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the examples of a command and its subcommands, each on one line."""
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                if (found := command.get_command(context, name)) is not None:
                    yield from examples(found, (*path, name))
    text = (command.help or "").partition("Examples:\n")[2].replace("\\\n", " ")
    for line in filter(str.strip, text.splitlines()):
        yield path, re.sub(r"\s+", " ", line.strip().partition("  #")[0])


ALL = [(path, line) for path, line in dict.fromkeys(examples(main)) if path]
RUNNABLE = [
    line
    for path, line in ALL
    if path[0] not in SERVERS
    and not MISSING.search(line)
    and not OTHER_RUN.search(line)
    and ("--local" in line or RUN in line or path[0] == "datasets")
]


def parts(line: str) -> Iterator[tuple[click.Group, list[str]]]:
    """Yield the program and the words of each command of eechips, or eechips-local, in a line of a shell."""
    for part in re.split(r" && |; | \| (?=eechips|jq)", line):
        words = shlex.split(re.sub(r" [<>] [\w.-]+$", "", part))
        while words and "=" in words[0]:
            words.pop(0)
        if words[:1] in (["eechips"], ["eechips-local"]):
            yield (main if words[0] == "eechips" else local_main), words[1:]


class _FileMissingError(Exception):
    """A file of the example is not here."""


def _make_context(command: click.Command, words: list[str], parent: click.Context) -> None:
    try:
        command.make_context("command", words, parent=parent)
    except click.BadParameter as error:
        if "does not exist" not in error.format_message() and "No such file" not in error.format_message():
            raise
        raise _FileMissingError from error


def test_every_example_can_be_typed() -> None:
    for _, line in ALL:
        try:
            parse_example(line)
        except click.ClickException as error:
            pytest.fail(f"{line}: {error.format_message()}")


def parse_example(line: str) -> None:
    commands = list(parts(line))
    assert commands, line
    for program, words in commands:
        with program.make_context("eechips", list(words)) as context:
            command: click.Command | None = program
            while isinstance(command, click.Group) and words and not words[0].startswith("-"):
                name = words.pop(0)
                _, command, words = command.resolve_command(context, [name, *words])
            assert command is not None
            with contextlib.suppress(_FileMissingError):
                _make_context(command, words, context)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run that the examples read."""
    folder = tmp_path_factory.mktemp("examples")
    box = "--roi=-105.3,39.9,-105.2,40.0"
    words = ["sample", "--dataset", "NAIP", "--cells", "regular:3km", box, "--size", "64", "--crs", "utm", "--local"]
    words += ["--format", "tif", "--start", "2021-01-01", "--end", "2022-01-01", "--out", RUN]
    subprocess.run([sys.executable, "-m", "eechips", *words], cwd=folder, check=True)
    return folder


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(5 * SECONDS)  # with the run that the examples read
@pytest.mark.parametrize("line", RUNNABLE, ids=[line[8:60] for line in RUNNABLE])
def test_an_example_without_an_account_runs_within_a_minute(line: str, place: Path, tmp_path: Path) -> None:
    if RUN in line:
        shutil.copytree(place / RUN, tmp_path / RUN)
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "eechips").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m eechips "$@"\n')
    (commands / "eechips").chmod(0o755)
    environment = os.environ | {"PATH": f"{commands}:{os.environ['PATH']}"}
    ended = run_program("sh", "-c", line, cwd=tmp_path, env=environment, timeout=SECONDS)
    assert "a bug in eechips" not in ended.stderr
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr  # 1: chips that a check has flagged
