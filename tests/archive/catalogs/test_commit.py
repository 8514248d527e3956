"""Commits of several files are atomic, wherever they are killed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eechips.archive.catalogs.catalog import open_catalog
from eechips.archive.catalogs.partitions import commit
from eechips.archive.catalogs.update import repair
from eechips.errors import EechipsError, RunLockedError, StorageError
from eechips.files.removal import NotOwnedError
from eechips.manifest.folder_lock import lock_folder
from local_tests.support.parameters import slow_except
from tests.support.catalog_items import contents, digests, item, put
from tests.support.commands import run_command

ROOT = Path(__file__).resolve().parents[3]
PLACES = [(lon, 10.0, lon + 0.01, 10.01) for lon in (0.0, 20.0, 40.0, 60.0)]
OLD, NEW = "2021-01-01T00:00:00Z", "2021-02-01T00:00:00Z"

# Merges, and is killed as it gives the file of this number its name: files get theirs by commit.replace alone.
KILLED = """
import os, pathlib, signal, sys
from eechips.archive.catalogs.partitions import commit
from tests.support.catalog_items import put
from tests.archive.catalogs.test_commit import after
left, rename = int(sys.argv[2]), commit.replace
def replace(source, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(source, target)
commit.replace = replace
put(pathlib.Path(sys.argv[1]), after())
"""


def before() -> list[dict[str, object]]:
    return [item(f"{n}", place, updated=OLD) for n, place in enumerate(PLACES)]


def after() -> list[dict[str, object]]:
    """One is changed, two change places, one leaves its partition empty, one is new."""
    moved = [item("0", PLACES[0], updated=NEW), item("1", PLACES[2], updated=NEW), item("2", PLACES[0], updated=NEW)]
    return [*moved, item("3", PLACES[2], updated=NEW), item("4", PLACES[2], updated=NEW)]


@pytest.mark.exhaustive
@pytest.mark.parametrize("renames", [1, *(pytest.param(count, marks=pytest.mark.slow) for count in (0, 2, 3))])
def test_a_commit_killed_between_files_is_atomic(tmp_path: Path, renames: int) -> None:
    put(tmp_path, before())
    was = contents(open_catalog(tmp_path))
    files = digests(tmp_path)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(renames)], cwd=ROOT, timeout=90)
    assert done.returncode == -9
    assert repair(tmp_path).is_completed == (renames > 0)
    found = contents(open_catalog(tmp_path))
    if renames == 0:  # the commit list had no name yet
        assert digests(tmp_path) == files
        assert found == was
    else:
        assert sorted(key[1] for key in found) == ["0", "1", "2", "3", "4"]
        assert {value["properties"]["updated"][:10] for value in found.values()} == {NEW[:10]}
    put(tmp_path, after())
    clean = tmp_path / "clean"
    put(clean, before())
    put(clean, after())
    assert contents(open_catalog(tmp_path)) == contents(open_catalog(clean))
    assert (tmp_path / "_schema.json").read_bytes() == (clean / "_schema.json").read_bytes()
    assert sorted(p.name for p in tmp_path.glob(".*")) == [".eechips.lock"]


def test_a_change_that_is_not_committed_has_not_happened(tmp_path: Path) -> None:
    put(tmp_path, before())
    scratch = tmp_path / commit.SCRATCH
    scratch.mkdir()
    (scratch / "000000.staged").write_bytes(b"half of a file")
    files = digests(tmp_path)
    assert len(open_catalog(tmp_path)) == 4
    put(tmp_path, before())
    assert digests(tmp_path) == files
    assert not scratch.exists()


def test_files_are_moved_and_removed_once(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/old").write_text("old")
    change = commit.Change(tmp_path)
    change.scratch.mkdir()
    (change.scratch / "1").write_text("new")
    change.move("1", "c/new")
    change.remove("a/b/old")
    change.remove("a/b/never")
    assert not commit.finish(tmp_path)
    with pytest.raises(NotOwnedError):  # the folder is not locked
        change.commit()
    with lock_folder(tmp_path):
        assert commit.finish(tmp_path)
    assert (tmp_path / "c/new").read_text() == "new"
    assert not (tmp_path / "a").exists()
    assert not commit.finish(tmp_path)


def test_disk_errors_are_reported(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("a file where a folder is to be")
    change = commit.Change(tmp_path)
    change.scratch.mkdir()
    (change.scratch / "1").write_text("new")
    change.move("1", "c/new")
    with pytest.raises(StorageError, match="could not write the catalogue"):
        change.commit()
    assert not commit.is_pending(tmp_path)  # it was found out before anything had happened
    (tmp_path / "c").unlink()
    (tmp_path / "c/new/folder").mkdir(parents=True)
    with pytest.raises(StorageError, match="could not write the catalogue"):
        change.commit()
    assert commit.is_pending(tmp_path)
    shutil.rmtree(tmp_path / "c")
    with lock_folder(tmp_path):
        assert commit.finish(tmp_path)
    assert (tmp_path / "c/new").read_text() == "new"


def test_one_process_at_a_time_changes_a_catalogue(tmp_path: Path) -> None:
    put(tmp_path, before())
    with lock_folder(tmp_path):
        assert len(open_catalog(tmp_path)) == 4  # to read is always allowed
        with pytest.raises(RunLockedError):
            put(tmp_path, after())


def half_changed(folder: Path) -> dict[str, Any]:
    """A catalogue whose change was interrupted after its commit list was written; the list."""
    put(folder, before())
    schema = (folder / "_schema.json").read_bytes()
    scratch = folder / commit.SCRATCH
    scratch.mkdir()
    (scratch / "1").write_text("#!/bin/sh")
    digest = hashlib.sha256(schema).hexdigest()
    return {"schema": [digest, digest], "moves": [], "removals": []}


def write_list(folder: Path, value: Any) -> None:
    (folder / commit.SCRATCH / "commit.json").write_text(value if isinstance(value, str) else json.dumps(value))


def tree(folder: Path) -> dict[str, tuple[int, int, bytes | str]]:
    """Everything below a folder, with inodes and times of change."""
    found: dict[str, tuple[int, int, bytes | str]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        what = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (status.st_ino, status.st_mtime_ns, what)
    return found


def test_reading_never_completes_an_interrupted_change(tmp_path: Path) -> None:
    out = tmp_path / "catalog"
    listed = half_changed(out)
    write_list(out, {**listed, "moves": [["1", "collection=test/_collection.json"]]})
    was = tree(tmp_path)
    with pytest.raises(StorageError, match="eechips catalog repair"):
        open_catalog(out)
    done = run_command("catalog", "partitions", out)
    assert (done.exit_code, tree(tmp_path)) == (2, was)
    done = run_command("catalog", "repair", out)
    assert (done.exit_code, "Completed an interrupted change." in done.output) == (0, True)
    assert (out / "collection=test/_collection.json").read_text() == "#!/bin/sh"
    assert "Nothing to repair." in run_command("catalog", "repair", out).output


HOSTILE_LISTS: list[Any] = [
    {"moves": [["1", "../.bashrc"]]},
    {"moves": [["1", "/{outside}/.bashrc"]]},
    {"moves": [["1", "collection=x/../../.bashrc"]]},
    {"moves": [["1", "collection=x//y"]]},
    {"moves": [["1", "./x"]]},
    {"moves": [["1", ""]]},
    {"moves": [["1", ".eechips.lock"]]},
    {"moves": [["1", "a\0b"]]},
    {"moves": [["1", "linked/.bashrc"]]},
    {"moves": [["1", "linked/bashrc"]]},
    {"moves": [["../../outside/precious", "x"]]},
    {"moves": [["/{outside}/precious", "x"]]},
    {"moves": [["link", "x"]]},
    {"moves": [["folder", "x"]]},
    {"moves": [["commit.json", "x"]]},
    {"removals": ["../outside/precious"]},
    {"removals": ["/{outside}/precious"]},
    {"removals": ["linked/precious"]},
    {"removals": [".."]},
    {"removals": [None]},
    {"moves": [["1"]]},
    {"moves": "x"},
    {"schema": ["0" * 64]},
    {"schema": None},
    "[]",
    "",
    "[" * 100_000,
]


@pytest.mark.parametrize("number", slow_except(range(len(HOSTILE_LISTS)), *range(0, len(HOSTILE_LISTS), 4)))
def test_a_foreign_commit_list_changes_nothing_outside_its_catalogue(tmp_path: Path, number: int) -> None:
    out, outside = tmp_path / "catalog", tmp_path / "outside"
    listed = half_changed(out)
    outside.mkdir()
    (outside / "precious").write_text("precious")
    (tmp_path / ".bashrc").write_text("precious")
    (out / "linked").symlink_to(outside)
    (out / commit.SCRATCH / "link").symlink_to(outside / "precious")
    (out / commit.SCRATCH / "folder").mkdir()
    change = HOSTILE_LISTS[number]
    if isinstance(change, dict):
        change = json.loads(json.dumps({**listed, **change}).replace("/{outside}", str(outside)))
    write_list(out, change)
    was = tree(tmp_path)
    for attempt in (open_catalog, repair, lambda folder: put(folder, after())):
        with pytest.raises(EechipsError):
            attempt(out)
        now = tree(tmp_path)
        now.pop("catalog/.eechips.lock")
        assert now == {name: what for name, what in was.items() if name != "catalog/.eechips.lock"}


def test_a_scratch_folder_or_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    out, outside = tmp_path / "catalog", tmp_path / "outside"
    listed = half_changed(out)
    write_list(out, listed)
    (out / commit.SCRATCH).rename(outside)
    (out / commit.SCRATCH).symlink_to(outside)
    with pytest.raises(StorageError, match="symbolic link"):
        repair(out)
    (out / commit.SCRATCH).unlink()
    precious = outside / "precious"
    precious.write_text("precious")
    (out / ".eechips.lock").unlink()
    (out / ".eechips.lock").symlink_to(precious)
    with pytest.raises(StorageError):
        put(out, after())
    assert precious.read_text() == "precious"


@pytest.mark.parametrize(
    "change",
    [
        {"path": "../../etc/items.parquet"},
        {"path": "/etc/items.parquet"},
        {"path": None},
        {"items": "many"},
        {"bbox": [0, 1]},
        {"bbox": ["a", "b", "c", "d"]},
        {"start": 5},
        {"start": "tomorrow"},
        {"more": 1},
    ],
)
def test_an_invalid_schema_file_is_an_eechips_error(tmp_path: Path, change: dict[str, Any]) -> None:
    put(tmp_path, before())
    file = tmp_path / "_schema.json"
    value = json.loads(file.read_text())
    value["partitions"][0] |= change
    file.write_text(json.dumps(value))
    with pytest.raises(EechipsError):
        open_catalog(tmp_path).partitions(bbox=(0, 0, 1, 1), start="2020-01-01", end="2021-01-01")
