"""Every command explains itself, and quickly."""

from __future__ import annotations

import json
import re
import sys

import click
import pytest

from eechips.cli import main
from eechips.cli.group import VERBS as GROUPS
from eechips.datasets import list_datasets
from tests.support.commands import run_command
from tests.support.programs import run_program

VERBS = [name for group in GROUPS.values() for name in group]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, with its path."""
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


ALL = commands(main)


def test_every_verb_of_the_help_has_a_command() -> None:
    assert [path[0] for path, _ in ALL if len(path) == 1] == VERBS


def test_every_command_has_help_with_examples() -> None:
    for path, _ in ALL:
        texts = [run_command(*path, flag) for flag in ("-h", "--help")]
        assert [result.exit_code for result in texts] == [0, 0], path
        short, long = (result.output for result in texts)
        assert short == long, path
        assert "Usage: " in long, path
        assert "Examples:" in long, path
        assert re.search(rf"\beechips {path[0]}\b", long), path
        assert not re.search(r"eechips-local (serve|assets)\b", long), path


def test_every_option_has_help() -> None:
    options = [(path, option) for path, command in ALL for option in command.params if isinstance(option, click.Option)]
    assert [(path, option.name) for path, option in options if not option.help] == []
    assert options


def test_the_help_of_an_option_names_options_only_that_its_command_has() -> None:
    for path, command in ALL:
        options = [option for option in command.params if isinstance(option, click.Option)]
        own = {name for option in options for name in option.opts}
        named = {name for option in options for name in re.findall(r"(?<!\S)--[a-z][a-z-]*", option.help or "")}
        assert named <= own, path


def test_the_group_s_help_lists_the_verbs_and_the_exit_statuses() -> None:
    for arguments in (["-h"], ["--help"]):
        output = run_command(*arguments).output
        assert all(f"\n  {verb} " in output for verb in VERBS)
        assert all(f"\n{heading}:\n" in output for heading in GROUPS)
        assert "130 interrupted" in output


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("sampel", "there is no command 'sampel'. Did you mean sample?"),
        ("cataloge", "there is no command 'cataloge'. Did you mean catalog?"),
        ("xyzzy", "there is no command 'xyzzy' (see"),
    ],
)
def test_a_mistyped_command_is_answered_with_similar_names(typed: str, message: str) -> None:
    result = run_command(typed, status=2)
    assert message in result.stderr


def test_version_is_printed() -> None:
    result = run_command("--version", status=0)
    assert result.output.startswith("eechips, version ")


def test_help_imports_few_modules() -> None:
    """Imports are its time: 228 modules take 0.25 s of a processor of 2.4 GHz; click alone has 84."""
    done = run_program(sys.executable, "-X", "importtime", "-m", "eechips", "--help", status=0)
    assert 100 < done.stderr.count("import time:") < 320


@pytest.mark.slow
def test_help_imports_no_library_that_takes_long() -> None:
    commands = ["sample", "run", "check", "split", "stats", "pack", "card", "catalog ingest", "serve", "doctor"]
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from eechips.cli import main\n"
        "heavy = {'ee', 'numpy', 'pandas', 'rasterio', 'requests', 'shapely', 'pyarrow', 'matplotlib'}\n"
        f"for words in {commands}:\n"
        "    result = CliRunner().invoke(main, [*words.split(), '--help'], prog_name='eechips')\n"
        "    print(result.output.splitlines()[0], sorted(heavy & set(sys.modules)))\n"
    )
    done = run_program(sys.executable, "-c", code, status=0)
    lines = done.stdout.splitlines()
    assert len(lines) == len(commands)
    for words, line in zip(commands, lines, strict=True):
        assert line.startswith(f"Usage: eechips {words}")
        assert line.endswith(" []"), line


def test_datasets_are_listed() -> None:
    output = run_command("datasets").output
    lines = output.splitlines()
    assert lines[0].split() == ["ALIAS", "ID", "BANDS", "SCALE", "DATES", "SYNONYMS", "LICENCE"]
    assert len(lines) == len(list_datasets()) + 1
    (naip,) = [line.split() for line in lines if line.startswith("NAIP ")]
    assert naip[:5] == ["NAIP", "USDA/NAIP/DOQQ", "R,G,B", "1", "m"]


def test_datasets_as_json() -> None:
    found = json.loads(run_command("datasets", "--json").output)
    assert [record["alias"] for record in found] == [dataset.alias for dataset in list_datasets()]
    assert all(record["source"].startswith("https://") and record["citation"] for record in found)
