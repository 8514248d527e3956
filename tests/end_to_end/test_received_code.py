"""Code in the run folders and queues of other users: no command executes it without permission."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from eechips.engine.results.run_records import encode_info
from eechips.manifest.run import INFO_NAME
from eechips.manifest.run_signature import seal
from tests.support.commands import run_command

pytestmark = pytest.mark.integration

RECIPE = """
import os
from pathlib import Path
from eechips import Table

NEEDS_SERVICE = False
Path("executed").touch()

def get_requests():
    return [1, 2, 3]

def get_result(index, number):
    return Table([{"number": number}])
"""
SCRIPT = """
from multiprocessing import Pool

def work(number):
    with open(f"{number}.txt", "w") as file:
        file.write(str(number))
    return number

if __name__ == "__main__":
    with Pool(2) as pool:
        print(pool.map(work, [1, 2]))
"""


class Canary:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "theirs"))
    (tmp_path / "at").mkdir()
    monkeypatch.chdir(tmp_path / "at")
    (tmp_path / "at" / "recipe.py").write_text(RECIPE)
    (tmp_path / "at" / "script.py").write_text(SCRIPT)
    return tmp_path / "at"


def somebody_else(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("EECHIPS_CACHE", str(folder.parent / "mine"))


PLANTED = [
    ("results/000000/000000000.pickle", lambda path, data: data),
    ("results/000000/000000001.pickle", lambda path, data: sealed_by_an_other(data)),
    ("results/000000/000000000.pickle", lambda path, data: path.with_name("000000001.pickle").read_bytes()),
    ("results/000000/000000000.pickle", lambda path, data: path.read_bytes()[: -len(data)] + data),
]


def sealed_by_an_other(data: bytes) -> bytes:
    return seal(data, b"0" * 32, "0001 results 1")


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_pickle_planted_in_a_run_of_one_s_own_is_not_executed(folder: Path) -> None:
    """The folder was handed back: run.json is as this user has signed it."""
    words = ("run", "script.py", "--out", "out", "--executor", "threads", "--local", "-q")
    run_command(*words, status=0)
    calls = folder / "out" / ".calls" / "0001"
    for name, change in PLANTED:
        path = calls / name
        before = path.read_bytes()
        path.write_bytes(change(path, pickle.dumps(Canary(folder / "unpickled"))))
        refused = run_command(*words, status=2)
        assert f"{name} was not written by a run of yours" in refused.output.replace("\n", " "), refused.output
        assert not (folder / "unpickled").exists()
        path.write_bytes(before)
    (folder / "out" / "2.txt").unlink()
    for planted in ("program.pickle", "arguments.pickle", "place.pickle"):  # written again before they are read
        (calls / planted).write_bytes(pickle.dumps(Canary(folder / "unpickled")))
    run_command(*words, status=0)
    assert (folder / "out" / "2.txt").exists()
    assert not (folder / "unpickled").exists()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_results_stored_by_another_user_are_not_unpickled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("run", "script.py", "--out", "out", "--executor", "threads", "--local", "-q")
    run_command(*words, status=0)
    (kept,) = folder.glob("out/.calls/0001/results/*/000000000.pickle")
    kept.write_bytes(pickle.dumps(Canary(folder / "unpickled")))
    somebody_else(monkeypatch, folder)
    (folder / "out" / "2.txt").unlink()
    refused = run_command(*words)
    assert (refused.exit_code, "eechips trust out" in refused.output) == (2, True), refused.output
    assert not (folder / "unpickled").exists()
    run_command("trust", "out", "--yes", status=0)
    run_command(*words)
    (folder / "unpickled").rmdir()  # it would have been made
    (folder / "out" / INFO_NAME).write_text("{}")
    (folder / "out" / "manifest.sqlite").unlink()
    run_command(*words, status=2)
    for name in (INFO_NAME, "manifest.parquet", "layers.parquet", "report.html"):
        (folder / "out" / name).unlink(missing_ok=True)
    refused = run_command(*words)  # nothing but the pickles is left
    assert (refused.exit_code, "eechips trust out" in refused.output) == (2, True), refused.output
    assert not (folder / "unpickled").exists()


def test_a_queued_recipe_runs_for_its_planner_or_with_trust(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run_command("plan", "run", "recipe.py").output
    assert len(lines.splitlines()) == 3
    run_command("work", "--units", "-", "--out", "res", "--executor", "threads", "-q", given=lines, status=0)
    (folder / "executed").unlink()
    somebody_else(monkeypatch, folder)
    (folder / "units.jsonl").write_text(lines)
    for words in (
        ("work", "--units", "units.jsonl", "--out", "res"),
        ("join", "--units", "units.jsonl", "--out", "res"),
    ):
        refused = run_command(*words, "--executor", "threads", "-q")
        assert (refused.exit_code, "Give --trust" in refused.output) == (2, True), refused.output
        assert "eechips run recipe.py" in refused.output
        assert not (folder / "executed").exists()
    for words in (
        ("work", "--units", "units.jsonl", "--out", "res"),
        ("join", "--units", "units.jsonl", "--out", "res"),
    ):
        run_command(*words, "--trust", "--executor", "threads", "-q", status=0)
    assert (folder / "executed").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "--endpoint", "http://127.0.0.1:9", "--send-credentials"],
        ["sample", "--endpoint=http://127.0.0.1:9"],
        ["sample", "--credentials", "key.json"],
        ["sample", "--executor", "beam", "--", "--setup_file", "setup.py"],
        ["retry", "somewhere"],
        ["trust", "somewhere", "--yes"],
    ],
)
def test_work_items_with_an_endpoint_or_credentials_are_refused(folder: Path, words: list[str]) -> None:
    line = json.dumps(
        {"job": words, "identity": "i", "position": 0, "id": "a" * 64, "unit": {"kind": "call"}, "name": "n"}
    )
    refused = run_command("work", "--units", "-", "--out", "res", given=line, status=2)
    assert "Give --trust" in refused.output or "it fetches nothing" in refused.output, refused.output


@pytest.mark.parametrize("name", ["run.json", "manifest.parquet", "layers.parquet", "failures.csv", "report.html"])
def test_a_first_run_overwrites_no_foreign_file(folder: Path, name: str) -> None:
    (folder / "out").mkdir()
    (folder / "out" / name).write_text('{"by": "somebody else"}')
    words = ("run", "recipe.py", "--out", "out", "--executor", "threads", "-q")
    refused = run_command(*words, status=2)
    assert f"out has {name}, which no run of yours has written" in refused.output
    assert sorted(path.name for path in (folder / "out").iterdir()) in ([name], sorted([".eechips.lock", name]))
    assert (folder / "out" / name).read_text() == '{"by": "somebody else"}'


def test_a_run_whose_ledger_was_removed_begins_anew(folder: Path) -> None:
    words = ("run", "recipe.py", "--out", "out", "--executor", "threads", "-q")
    run_command(*words, status=0)
    (folder / "out" / "manifest.sqlite").unlink()
    shutil.rmtree(folder / "out" / "chips")
    run_command(*words, status=0)
    assert (folder / "out" / "report.html").exists()


def test_the_run_of_another_user_resumes_by_the_users_own_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("run", "recipe.py", "--out", "out", "--executor", "threads", "-q")
    run_command(*words, status=0)
    somebody_else(monkeypatch, folder)
    (lost, *_) = sorted((folder / "out" / "chips").iterdir())
    lost.unlink()
    run_command(*words, status=0)
    assert lost.exists()


def test_reading_does_not_sign_the_run_json_of_another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_command("run", "recipe.py", "--out", "out", "--executor", "threads", "-q", status=0)
    somebody_else(monkeypatch, folder)
    before = (folder / "out" / INFO_NAME).read_bytes()
    for verb in ("status", "verify", "failures", "report"):
        run_command(verb, "out", status=0)
    assert (folder / "out" / INFO_NAME).read_bytes() == before
    assert encode_info(json.loads(before)) != before
    shutil.rmtree(folder / "out")
