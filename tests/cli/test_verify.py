"""`eechips verify`: what it finds, it names the cure of, and `--reopen` does it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import Result

import eechips
from eechips import open_run
from eechips.errors import StorageError
from eechips.files.temporary_names import new_writer, temporary_name
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.metadata_keys import ASSEMBLED
from eechips.manifest.run_repair import awaits_assembly
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from local_tests.support.parameters import slow_except
from tests.cli.test_retry import typed
from tests.support.engine_recipes import run_chips
from tests.support.engine_service import Service
from tests.support.finished_run import layered, pictures, write_run
from tests.support.programs import name_ended_writer

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


def run_five(home: Path, url: str, status: int = 0) -> None:
    """Runs the recipe as a command that run.json records."""
    words = ["run", "five.py", "--executor", "threads", "--endpoint", url, "--method", "url", "--project", "mine"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["eechips", *words])
        assert typed(*words, cwd=home).exit_code == status


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


@pytest.mark.slow
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
    left = project / OUT / temporary_name("a.png", name_ended_writer())
    left.write_bytes(b"half")
    between = verify(project)
    assert between.exit_code == 0
    assert between.stderr.splitlines()[1:] == [f"3 units not fetched yet: eechips retry {OUT}"]
    with lock_folder(project / OUT):  # which retry would refuse
        assert "yet: wait for the command that is running there, then eechips retry" in verify(project).stderr
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

    def change_a_byte() -> None:
        """Of a column that the ledger is not compared with."""
        data = bytearray(manifest.read_bytes())
        group = pq.read_metadata(manifest).row_group(0)
        column = group.column(before.columns.get_loc("state"))
        start = column.dictionary_page_offset or column.data_page_offset
        data[start + column.total_compressed_size - 1] ^= 1
        manifest.write_bytes(data)

    damages: dict[str, Callable[[], object]] = {
        "(?i:checksum)": change_a_byte,
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


def edit(project: Path, statement: str) -> None:
    """Changes the ledger by hand."""
    with contextlib.closing(sqlite3.connect(project / OUT / LEDGER_NAME)) as database, database:
        database.execute(statement)


NO_RESULT = "file = NULL, bytes = NULL, sha256 = NULL"
ERROR = "error_class = 'PermanentError', error = 'no'"
EDITS = {
    f"state = 'failed_permanent', {ERROR}": "it is failed permanent, and has a file",
    f"state = 'failed_transient', {ERROR}, {NO_RESULT}": "it is failed transient, and was done when the run ended",
    f"state = 'skipped', error = 'no', {NO_RESULT}": "it is skipped, and was done when the run ended",
    f"state = 'skipped', {NO_RESULT}": "it is skipped, and has no error",
    ERROR: "it is done, and has an error",
}


def test_states_that_were_changed_by_hand_are_found(project: Path) -> None:
    """Else a run would be complete, or have failed, by what is in its ledger alone."""
    before = open_run(project / OUT).units
    for position, change in enumerate(EDITS):
        edit(project, f"UPDATE units SET {change} WHERE position = {position}")
    found = verify(project)
    assert found.exit_code == 1
    for unit, said in zip(before["id"], EDITS.values(), strict=True):
        assert f"{LEDGER_NAME}: the row of unit {unit[:16]} was changed: {said}\n" in found.stdout
    assert "Reopened: 5 units." in verify(project, "--reopen").stderr
    assert verify(project).exit_code == 0
    assert typed("retry", OUT, cwd=project).exit_code == 0
    after = open_run(project / OUT).units
    assert after[["state", "sha256"]].equals(before[["state", "sha256"]])


def test_a_ledger_that_does_not_say_which_run_it_is_of_is_made_again(project: Path, shared_service: Service) -> None:
    """The run took itself for another one, and advised to choose another folder."""
    for lacking in (("identity",), ("name",), ("source",), ("parameters", "recipe")):
        for key in lacking:
            edit(project, f"DELETE FROM meta WHERE key = '{key}'")
        found = verify(project)
        said = f"it lacks the {' and the '.join(lacking)} of the run. What helps: eechips verify {OUT} --reopen"
        assert (found.exit_code, said in found.stderr) == (2, True)
        run_five(project, shared_service.url, status=2)
        assert "The ledger was made again of manifest.parquet: 5 units" in verify(project, "--reopen").stderr
    run_five(project, shared_service.url)


@pytest.mark.parametrize(
    "damage",
    slow_except(
        ["a page", "the header", "the file is empty", "the file is gone", "an older format", "a row"],
        "a page",
        "the file is gone",
    ),
)
def test_the_ledger_of_a_finished_run_is_made_again_of_its_manifest(project: Path, damage: str) -> None:
    ledger = project / OUT / LEDGER_NAME
    before, info = open_run(project / OUT).units, open_run(project / OUT).info
    if damage == "a page":
        spoil_page(ledger, 3)
    elif damage == "the header":
        ledger.write_bytes(b"no database" + ledger.read_bytes()[11:])
    elif damage == "the file is empty":
        ledger.write_bytes(b"")
    elif damage == "an older format":
        with contextlib.closing(sqlite3.connect(ledger)) as database:
            database.execute("PRAGMA user_version = 4")
    elif damage == "a row":
        edit(project, "DELETE FROM units WHERE position = 4")
    else:
        ledger.unlink()
    refused = typed("verify", OUT, cwd=project)
    assert refused.exit_code == 2
    assert refused.stderr.rstrip().endswith(f"What helps: eechips verify {OUT} --reopen")
    with pytest.raises(StorageError, match=r"damaged or no ledger|has format 4, this eechips writes \d"):
        eechips.verify(project / OUT)
    run_five(project, info["endpoint"], status=2)  # it does not replace the manifest
    found = verify(project, "--reopen")
    assert found.exit_code == 1
    assert "The ledger was made again of manifest.parquet: 5 units" in found.stderr
    assert (project / OUT / "manifest.kept-1.sqlite").exists() == (damage != "the file is gone")
    pd.testing.assert_frame_equal(open_run(project / OUT).units, before)
    assert verify(project).exit_code == 0
    run_five(project, info["endpoint"])  # the same run: nothing to do


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


@pytest.mark.slow
def test_of_the_ledger_of_an_interrupted_run_is_kept_what_can_be_read(shared_service: Service, tmp_path: Path) -> None:
    """Units on damaged pages are planned and fetched again; the others are not."""
    options = {"parameters": {"count": 60}}
    run = run_chips(tmp_path, shared_service.url, **options, budget={"requests": 80})
    done = run.counts["done"]
    assert 0 < done < 60
    before = open_run(run.path).units
    with Ledger(run.path / LEDGER_NAME) as ledger:
        root = ledger.database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'units'").fetchone()[0]
    data = (run.path / LEDGER_NAME).read_bytes()
    pages = [data[n * _PAGE : (n + 1) * _PAGE] for n in range(len(data) // _PAGE)]
    # Leaf pages of a table that have rows: https://www.sqlite.org/fileformat.html#b_tree_pages
    leaves = [n for n in range(root, len(pages)) if pages[n][0] == 13 and any(pages[n][3:5])]
    for leaf in leaves[1:3]:
        spoil_page(run.path / LEDGER_NAME, leaf)
    with pytest.raises(StorageError, match="What helps: eechips verify"):
        run_chips(tmp_path, shared_service.url, **options)
    eechips.verify(run.path, reopen=True)
    left = open_run(run.path).units
    assert 0 < len(left) < 60
    pd.testing.assert_frame_equal(left, before.loc[left.index])
    shared_service.forget()
    finished = run_chips(tmp_path, shared_service.url, **options)
    assert finished.counts == {"done": 60}
    assert shared_service.count("create") == 60 - (left["state"] == "done").sum()
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
    other = ("started", "finished", "signature", "directory", "workload_tag", "compute", "folder")
    same = set(before) - set(other)
    assert {name: after.get(name) for name in same} == {name: before[name] for name in same}


@pytest.mark.slow
def test_an_audit_finds_a_file_with_the_pixels_of_another_unit(project: Path, shared_service: Service) -> None:
    """The ledger has its checksum, as if it had come so: no checksum can tell."""
    first, second, *_ = chips(project)
    with Ledger(project / OUT / LEDGER_NAME) as ledger:
        rows = dict(ledger.database.execute("SELECT file, sha256 FROM units").fetchall())
        names = [path.relative_to(project / OUT).as_posix() for path in (first, second)]
        for name, other in (names, reversed(names)):
            ledger.database.execute("UPDATE units SET sha256 = ? WHERE file = ?", (rows[other], name))
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    (project / OUT / "manifest.parquet").unlink()
    assert verify(project, "--reopen").stdout.splitlines()[-1] == "5 files: all present and intact"
    found = verify(project, "--refetch", "100%", "--seed", "3", "--trust")
    assert found.exit_code == 1, found.stderr
    assert sorted(line.split(":")[0] for line in found.stdout.splitlines()[1:3]) == names
    assert "% of its pixels differ from those fetched again" in found.stdout
    assert "Audit: 2 of 5 units differ of 5: all were compared (seed 3)" in found.stdout
    (audit,) = open_run(project / OUT).audits
    assert (audit.population, audit.compared, audit.different, audit.failed, audit.seed) == (5, 5, 2, 0, 3)
    assert verify(project, "--refetch", "100%", "--reopen", "--trust").exit_code == 1
    assert typed("retry", OUT, cwd=project).exit_code == 0
    assert (first.read_bytes(), second.read_bytes()) == (one, other)
    clean = verify(project, "--refetch", "2", "--trust")
    assert clean.exit_code == 0
    assert re.search(r"Audit: no difference in 2 of 5: with 95% confidence at most 60% of the units", clean.stdout)
    assert "no difference in 2 of 5" in eechips.report(project / OUT).read_text()
    assert shared_service.count("create") == 5 + 5 + 2 + 2


def test_each_request_of_an_audit_has_a_connection_of_its_own(project: Path, shared_service: Service) -> None:
    shared_service.connections.clear()
    done = verify(project, "--refetch", "5", "--trust", "--quiet")
    assert (done.exit_code, done.stdout) == (0, "")
    assert len(shared_service.connections) == len(shared_service.requests)


def test_an_audit_is_of_the_recipe_that_made_the_run(project: Path) -> None:
    path = project / "five.py"
    path.write_text(path.read_text().replace("buffer(50)", "buffer(60)"))
    found = verify(project, "--refetch", "5", "--trust")
    assert found.exit_code == 2
    assert "has changed since the run" in found.stderr
    assert open_run(project / OUT).audits == []


def test_the_command_of_another_user_is_not_executed_for_an_audit(project: Path) -> None:
    path = project / OUT / "run.json"
    path.write_text(path.read_text().replace('"command": "eechips run', '"command": "eechips run -p count=9'))
    found = verify(project, "--refetch", "5")
    assert found.exit_code == 2
    assert "was not executed" in found.stderr
    assert "the run was made in another folder, by you or by somebody else" in found.stderr


@pytest.mark.parametrize("size", ["0", "-1", "0%", "101%", "half", "1.5"])
def test_the_size_of_an_audit_is_a_number_or_a_share(project: Path, size: str) -> None:
    found = verify(project, f"--refetch={size}")
    assert found.exit_code == 2
    assert "give a number of units, such as 60, or a share, such as 1%" in found.stderr


def test_an_audit_says_which_units_could_not_be_fetched_again(project: Path, shared_service: Service) -> None:
    shared_service.plan(3, "400")
    found = verify(project, "--refetch", "5", "--trust")
    assert found.exit_code == 0
    assert "no difference in 4 of 5" in found.stdout
    assert "1 unit of the sample could not be fetched again" in found.stderr


def test_files_that_a_killed_process_has_left_are_told_and_removed_by_the_command(
    project: Path, shared_service: Service
) -> None:
    token = name_ended_writer()
    left = project / OUT / temporary_name("chips/a.png", token)
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    own = left.with_name(Path(temporary_name("b.png", str(new_writer()))).name)  # of a process that is running
    own.write_bytes(b"half")
    found = verify(project)
    assert (found.exit_code, left.exists()) == (0, True)
    assert found.stderr == (
        f"1 temporary file of killed processes, such as chips/{left.name}: the run's command, repeated, removes them\n"
    )
    run_five(project, shared_service.url)
    assert (left.exists(), own.exists()) == (False, True)
