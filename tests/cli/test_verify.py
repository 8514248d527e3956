"""`eechips verify`: what it finds, it names the cure of, and `--reopen` does it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result

import eechips
from eechips import open_run
from eechips.errors import StorageError
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.run import ASSEMBLED
from eechips.manifest.run_repair import awaits_assembly
from tests.cli.test_retry import typed
from tests.support.engine_recipes import run_chips
from tests.support.engine_service import Service
from tests.support.finished_run import layered, pictures, write_run

RECIPE = """
import ee
from eechips import Chip


def get_requests(count=5):
    return list(range(1, count + 1))


def get_result(index, n):
    return Chip(ee.Image(n), region=ee.Geometry.Point(0, 0).buffer(50), dimensions=(8, 8))
"""
OUT = "outputs/five"
_PAGE = 4096


@pytest.fixture(scope="module")
def original(shared_service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("original") / "project"
    home.mkdir()
    (home / "five.py").write_text(RECIPE)
    run_five(home, shared_service.url)
    return home


def run_five(home: Path, url: str) -> None:
    """Runs the recipe as a command that run.json records."""
    words = ["run", "five.py", "--executor", "threads", "--endpoint", url, "--method", "url", "--project", "mine"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["eechips", *words])
        assert typed(*words, cwd=home).exit_code == 0


@pytest.fixture
def project(original: Path, shared_service: Service, tmp_path: Path) -> Path:
    """A copy of a finished run of five chips."""
    shared_service.forget()
    return Path(shutil.copytree(original, tmp_path / "project"))


def chips(project: Path) -> list[Path]:
    return sorted((project / OUT).rglob("*.png"))


def flip(path: Path, place: int) -> None:
    """Changes a bit of a file, and not its size."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def spoil_page(path: Path, number: int) -> None:
    """Overwrites a page of a database."""
    data = bytearray(path.read_bytes())
    data[number * _PAGE : number * _PAGE + 3000] = b"\xff" * 3000
    path.write_bytes(bytes(data))


def verify(project: Path, *options: str) -> Result:
    return typed("verify", OUT, *options, cwd=project)


def test_what_is_missing_changed_or_cut_is_fetched_again_and_nothing_else(
    project: Path, shared_service: Service
) -> None:
    whole = {path: path.read_bytes() for path in chips(project)}
    changed, cut, missing, *_ = whole
    flip(changed, -30)
    cut.write_bytes(whole[cut][:-10])
    missing.unlink()
    found = verify(project)
    assert found.exit_code == 1
    assert len(found.stdout.splitlines()) == 3
    assert f"To fetch them again: eechips verify {OUT} --reopen, then eechips retry {OUT}" in found.stderr
    reopened = verify(project, "--reopen")
    assert reopened.exit_code == 1
    assert f"Reopened: 3 units. To fetch again and replace: eechips retry {OUT}" in reopened.stderr
    assert open_run(project / OUT).counts == {"planned": 3, "done": 2}
    between = verify(project)
    assert between.exit_code == 0
    assert f"3 units not fetched yet: eechips retry {OUT}" in between.stderr
    assert typed("retry", OUT, cwd=project).exit_code == 0
    assert shared_service.count("create") == 3
    assert {path: path.read_bytes() for path in chips(project)} == whole
    assert verify(project).exit_code == 0


def test_a_manifest_that_is_missing_damaged_or_different_is_written_anew(project: Path) -> None:
    manifest = project / OUT / "manifest.parquet"
    before = pd.read_parquet(manifest)

    def change_a_checksum() -> None:
        frame = before.copy()
        frame.loc[2, "sha256"] = "0" * 64
        frame.to_parquet(manifest)

    damages: dict[str, Callable[[], object]] = {
        "missing": manifest.unlink,
        "damaged": lambda: manifest.write_bytes(b"PAR1"),
        "differs": change_a_checksum,
    }
    for word, damage in damages.items():
        damage()
        found = verify(project)
        assert found.exit_code == 1
        assert re.match(rf"manifest\.parquet: .*{word}", found.stdout)
        assert f"To write it anew: eechips verify {OUT} --reopen" in found.stderr
        assert "Written anew: manifest.parquet." in verify(project, "--reopen").stderr
        assert verify(project).exit_code == 0
        pd.testing.assert_frame_equal(pd.read_parquet(manifest), before)


@pytest.mark.parametrize("damage", ["a page", "the header", "the file is gone"])
def test_the_ledger_of_a_finished_run_is_made_again_of_its_manifest(project: Path, damage: str) -> None:
    ledger = project / OUT / LEDGER_NAME
    before = open_run(project / OUT).units
    if damage == "a page":
        spoil_page(ledger, 3)
    elif damage == "the header":
        ledger.write_bytes(b"no database" + ledger.read_bytes()[11:])
    else:
        ledger.unlink()
    refused = typed("verify", OUT, cwd=project)
    assert refused.exit_code == 2
    assert refused.stderr.rstrip().endswith(f"What helps: eechips verify {OUT} --reopen")
    with pytest.raises(StorageError, match="damaged or no ledger"):
        eechips.verify(project / OUT)
    found = verify(project, "--reopen")
    assert found.exit_code == 1
    assert "The ledger was made again of manifest.parquet: 5 units" in found.stderr
    assert (project / OUT / "manifest.kept-1.sqlite").exists() == (damage != "the file is gone")
    pd.testing.assert_frame_equal(open_run(project / OUT).units, before)
    assert verify(project).exit_code == 0
    run_five(project, open_run(project / OUT).info["endpoint"])  # the same run: nothing to do


def test_several_files_of_a_unit_are_in_the_ledger_again(tmp_path: Path) -> None:
    described = {"name": "chips/{id}", "identity": "identity", "finished": "2026-01-01T00:00:00.000Z"}
    run = write_run(tmp_path / "run", layered(4), **described)
    (problem,) = eechips.verify(run, reopen=True)[:1]
    assert (problem.id, problem.file) == ("manifest", "manifest.parquet")
    units, layers = run.units, run.layers
    (run.path / LEDGER_NAME).unlink()
    assert eechips.verify(run.path, reopen=True) == []
    pd.testing.assert_frame_equal(run.units, units)
    pd.testing.assert_frame_equal(run.layers, layers)


def test_of_the_ledger_of_an_interrupted_run_is_kept_what_can_be_read(shared_service: Service, tmp_path: Path) -> None:
    """Units on damaged pages are planned and fetched again; the others are not."""
    options = {"parameters": {"count": 150}}
    run = run_chips(tmp_path, shared_service.url, **options, max_requests=180)
    done = run.counts["done"]
    assert 0 < done < 150
    before = open_run(run.path).units
    with Ledger(run.path / LEDGER_NAME) as ledger:
        root = ledger._db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'units'").fetchone()[0]
    data = (run.path / LEDGER_NAME).read_bytes()
    leaves = [n for n in range(root, len(data) // _PAGE) if data[n * _PAGE] == 13]  # leaf page of a table
    for leaf in leaves[1:3]:
        spoil_page(run.path / LEDGER_NAME, leaf)
    with pytest.raises(StorageError, match="What helps: eechips verify"):
        run_chips(tmp_path, shared_service.url, **options)
    eechips.verify(run.path, reopen=True)
    left = open_run(run.path).units
    assert 0 < len(left) < 150
    pd.testing.assert_frame_equal(left, before.loc[left.index])
    shared_service.forget()
    finished = run_chips(tmp_path, shared_service.url, **options)
    assert finished.counts == {"done": 150}
    assert shared_service.count("create") == 150 - (left["state"] == "done").sum()
    assert finished.units["id"].tolist() == before["id"].tolist()
    assert eechips.verify(finished.path) == []


def test_a_ledger_of_which_nothing_is_left_is_refused_with_what_to_do(project: Path) -> None:
    (project / OUT / "manifest.parquet").unlink()
    (project / OUT / LEDGER_NAME).write_bytes(b"gone")
    found = verify(project, "--reopen")
    assert found.exit_code == 2
    assert "cannot be made again" in found.stderr
    assert "What helps: run its command again, in another folder: eechips run five.py" in found.stderr


def test_an_assembled_file_that_has_changed_is_assembled_again(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", pictures(2))
    (run.path / "all.bin").write_bytes(b"all")
    with Ledger(run.path / LEDGER_NAME) as ledger:
        ledger.note(ASSEMBLED, [{"file": "all.bin", "bytes": 3, "sha256": "0" * 64}])
    (problem,) = eechips.verify(run, reopen=True)
    assert problem.file == "all.bin"
    assert awaits_assembly(run.path)
    assert run.counts == {"done": 2}


def test_a_run_json_that_is_lost_is_written_anew_by_the_same_command(project: Path) -> None:
    path = project / OUT / "run.json"
    before = json.loads(path.read_text())
    path.write_text("{")
    found = verify(project)
    assert found.exit_code == 2
    assert "What helps: move it away, and give the command of the run again, which writes it anew" in found.stderr
    path.unlink()
    run_five(project, before["endpoint"])
    after = json.loads(path.read_text())
    same = set(before) - {"started", "finished", "signature", "directory", "workload_tag", "request_trial", "compute"}
    assert {name: after.get(name) for name in same} == {name: before[name] for name in same}
