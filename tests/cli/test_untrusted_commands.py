"""What a command from elsewhere may set: every option declares it, and what is signed cannot be replayed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from eechips.cli import main
from eechips.cli.run_file import read_run_file
from eechips.commands.command import FetchCommand, VerbOption
from eechips.commands.untrusted_commands import hash_files, refused_values, refused_words
from eechips.errors import UsageError
from tests.support.commands import run_command

FETCHING = ("sample", "images", "composites", "mosaic", "timeseries", "points", "features", "scenes", "run")
RECIPE = """
from pathlib import Path
from eechips import Table

NEEDS_SERVICE = False
Path("executed").touch()

def get_requests(count=3):
    return list(range(count))

def get_result(index, number):
    return Table([{"number": number}])
"""


ROOT = click.Context(main)


def commands() -> Iterator[tuple[str, click.Command]]:
    for name in main.list_commands(ROOT):
        command = main.get_command(ROOT, name)
        assert command is not None
        yield name, command


def test_every_option_of_every_command_that_fetches_declares_what_it_decides() -> None:
    fetching = {name: command for name, command in commands() if isinstance(command, FetchCommand)}
    assert tuple(fetching) == FETCHING
    undeclared = [
        f"{name} {max(each.opts, key=len)}"
        for name, command in fetching.items()
        for each in command.params
        if isinstance(each, click.Option) and getattr(each, "decides", None) is None
    ]
    assert undeclared == []


def test_no_option_that_is_a_path_or_a_secret_is_data() -> None:
    words = ("credential", "secret", "token", "auth", "host", "url", "folder", "file", "save", "endpoint", "path")
    for name, command in commands():
        for each in command.params:
            if isinstance(each, VerbOption) and each.decides == "data":
                assert not isinstance(each.type, click.Path), (name, each.name)
                assert not set(words) & set(str(each.name).split("_")), (name, each.name)


def test_other_commands_are_refused_by_name() -> None:
    for name, command in commands():
        if not isinstance(command, FetchCommand):
            with pytest.raises(UsageError, match="fetches nothing"):
                refused_words([name])


def test_an_option_that_declares_nothing_is_refused() -> None:
    option = VerbOption(["--new"])
    command = FetchCommand("sample", make=lambda _: None, params=[option])  # type: ignore[arg-type, return-value]
    assert refused_values(command, {"new": "x"}, ()) == ["--new"]
    assert refused_values(command, {"newer": "x"}, ()) == ["newer"]
    option.decides = "data"
    assert refused_values(command, {"new": "x"}, ()) == []


@pytest.mark.parametrize(
    ("typed", "refused"),
    [
        ("sample --dataset NAIP --total 3 --roi=-105,39,-104,40 --bands R,G --size 64 --format tif --name {id}", ""),
        ("mosaic --dataset SRTM --roi ASSET:FIELD=VALUE --mask --crs utm", ""),
        ("sample --dataset NAIP --local", "--local"),
        ("sample --dataset NAIP --project theirs -q --in-flight 1000", "--project --quiet --in-flight"),
        ("sample --dataset NAIP -qy", "--quiet --yes"),
        ("sample --dataset NAIP --export-to gs://b --ledger l --out o", "--ledger --export-to"),
        ("sample --dataset NAIP --endpoint=http://127.0.0.1:9 --send-credentials", "--endpoint --send-credentials"),
        ("sample --dataset NAIP --executor beam -- --setup_file=x.py", "--executor arguments after --"),
        ("sample --dataset NAIP --", "arguments after --"),
        ("sample --dataset NAIP --roi /etc/passwd", "--roi"),
        ("sample --dataset NAIP --roi ~/secret.gpkg", "--roi"),
        ("sample --dataset NAIP --roi ../secret.gpkg", "--roi"),
        ("sample --dataset NAIP --roi here.gpkg", "--roi"),
        ("sample --dataset NAIP --roi gone.gpkg", ""),
        ("sample --dataset NAIP --points https://host/places.csv", "--points"),
        ("sample --dataset NAIP --dataset here.gpkg", "--dataset"),
        ("sample --dataset NAIP --help", "--help"),
        ("scenes --stac https://host --auth bearer --auth-host host", "--stac --auth --auth-host"),
        ("run recipe.py -p a=1", "RECIPE -p"),
        ("run --local recipe.py", "RECIPE --local"),
        ("run --local here.gpkg", "RECIPE --local"),
        ("run", ""),
    ],
)
def test_what_sets_more_than_data_is_named(
    typed: str, refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here.gpkg").touch()
    found = refused_words(typed.split(), {"out"})
    assert sorted(" ".join(found).split()) == sorted(refused.split())


def test_a_value_that_this_user_gives_after_it_counts_for_it() -> None:
    words = ["sample", "--dataset", "here.gpkg", "--project", "theirs"]
    assert refused_words(words, {"project"}) == []
    assert refused_words(["sample", "--dataset", "/x"], {"dataset"}) == ["--dataset"]  # it is added to, not replaced


@pytest.mark.parametrize("words", [["sample", "--dataset"], ["sample", "--datset", "NAIP"], ["sampel"]])
def test_words_that_are_no_command_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        refused_words(words)


def test_the_files_that_a_command_reads_are_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("recipe.py", "a.csv", "key.json"):
        Path(name).write_text(name)
    assert list(hash_files(["run", "recipe.py", "--credentials", "key.json"])) == ["recipe.py"]
    assert list(hash_files(["run", "--local", "recipe.py"])) == ["recipe.py"]
    assert list(hash_files(["sample", "--dataset", "NAIP", "--points", "~/a.csv", "--roi", "b"])) == ["~/a.csv"]


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The units of a recipe, as this user has planned them in the working folder."""
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "at").mkdir()
    monkeypatch.chdir(tmp_path / "at")
    Path("recipe.py").write_text(RECIPE)
    planned = run_command("plan", "run", "recipe.py", status=0)
    Path("executed").unlink()
    return [json.loads(line) for line in planned.stdout.splitlines()]


def work(*lines: dict[str, Any], out: str = "out") -> tuple[int, str]:
    words = ["work", "--units", "-", "--out", out, "--executor", "threads", "-q"]
    done = run_command(*words, given="\n".join(map(json.dumps, lines)))
    return done.exit_code, done.output


REPLAYS: dict[str, dict[str, Any]] = {
    "unit": {"unit": {"value": 7}},
    "name": {"name": "another"},
    "id": {"id": "0" * 64},
    "position": {"position": 7},
    "identity": {"identity": "0" * 64},
    "recipe": {"job": ["run", "other.py"]},
    "folder": {"job": ["run", "there/recipe.py"]},
    "options": {"job": ["run", "recipe.py", "-p", "count=3"]},
    "another command": {"job": ["sample", "--dataset", "NAIP", "--endpoint", "http://127.0.0.1:9"]},
    "words joined": {"job": ["run recipe.py"]},
    "files": {"files": {}},
    "none": {"signature": None},
    "an earlier version's": {"signature": "5e" * 32, "files": {}},
}


@pytest.mark.parametrize("kind", REPLAYS)
def test_a_signature_is_valid_for_its_line_only(kind: str, lines: list[dict[str, Any]]) -> None:
    Path("there").mkdir()
    for name in ("other.py", "there/recipe.py"):
        Path(name).write_text(RECIPE)
    status, said = work({**lines[0], **REPLAYS[kind]})
    assert status == 2, said
    assert not Path("executed").exists()
    assert not Path("out").exists()


def test_a_line_with_the_signature_of_another_line_is_refused(lines: list[dict[str, Any]]) -> None:
    status, said = work({**lines[0], "signature": lines[1]["signature"]})
    assert (status, "Give --trust to execute the command as it is" in said) == (2, True), said
    twice = json.dumps(lines[0])[:-1] + ', "name": "another"}'  # the last of two keys of a name counts
    run_command("work", "--units", "-", "--out", "out", given=twice, status=2)
    assert not Path("executed").exists()


def test_a_line_runs_with_the_recipe_that_planned_it_only(lines: list[dict[str, Any]]) -> None:
    """The recipe of a stranger, of the same name and in the same place, and the user's own after a change."""
    for text in (RECIPE.replace("number}", "-number}"), RECIPE + "# a comment\n"):
        Path("recipe.py").write_text(text)
        status, said = work(*lines)
        assert (status, "recipe.py is not the file with which these units were planned" in said) == (2, True), said
        assert not Path("executed").exists()


def test_a_line_is_the_same_in_another_order_of_its_keys(lines: list[dict[str, Any]]) -> None:
    status, said = work(*(dict(reversed(line.items())) for line in lines))
    assert status == 0, said
    assert Path("executed").exists()


@pytest.mark.parametrize(("owner", "user", "is_refused"), [(1001, 1002, True), (1001, 1001, False), (0, 1002, False)])
def test_a_run_file_of_another_owner_sets_data_only(
    owner: int, user: int, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "job.toml"
    path.write_text('[sample]\ndataset = "NAIP"\ntotal = 1\nendpoint = "http://127.0.0.1:9"\n')
    try:
        os.chown(path, owner, -1)
    except PermissionError:
        pytest.skip("only the superuser gives files away")
    monkeypatch.setattr(os, "geteuid", lambda: user)
    if not is_refused:
        assert [step.verb for step in read_run_file(path, ROOT)] == ["sample"]
        return
    with pytest.raises(UsageError, match=r"written by another user.*more than data \(\[sample\] --endpoint\)"):
        read_run_file(path, ROOT)
    path.write_text('[sample]\ndataset = "NAIP"\ntotal = 1\nroi = [-105, 39, -104, 40]\n')
    assert [step.verb for step in read_run_file(path, ROOT)] == ["sample"]
