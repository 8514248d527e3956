"""Changes of several files: killed anywhere, they have happened or they have not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eechips.catalogs import commit
from eechips.catalogs.catalog import open_catalog
from eechips.errors import RunLockedError, StorageError
from eechips.manifest.lock import locked
from tests.catalog_items import contents, digests, item, put

ROOT = Path(__file__).resolve().parents[2]
PLACES = [(lon, 10.0, lon + 0.01, 10.01) for lon in (0.0, 20.0, 40.0, 60.0)]
OLD, NEW = "2021-01-01T00:00:00Z", "2021-02-01T00:00:00Z"

# Merges, and is killed as it gives the file of this number its name: files get theirs by Path.replace alone.
KILLED = """
import os, pathlib, signal, sys
from tests.catalog_items import put
from tests.unit.test_catalogs_commit import after
left, rename = int(sys.argv[2]), pathlib.Path.replace
def replace(self, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
pathlib.Path.replace = replace
put(pathlib.Path(sys.argv[1]), after())
"""


def before() -> list[dict[str, object]]:
    return [item(f"{n}", place, updated=OLD) for n, place in enumerate(PLACES)]


def after() -> list[dict[str, object]]:
    """One is changed, two change places, one leaves its partition empty, one is new."""
    moved = [item("0", PLACES[0], updated=NEW), item("1", PLACES[2], updated=NEW), item("2", PLACES[0], updated=NEW)]
    return [*moved, item("3", PLACES[2], updated=NEW), item("4", PLACES[2], updated=NEW)]


@pytest.mark.parametrize("renames", [1, *(pytest.param(count, marks=pytest.mark.slow) for count in (0, 2, 3))])
def test_killed_between_two_files_a_catalogue_is_as_before_or_as_after(tmp_path: Path, renames: int) -> None:
    put(tmp_path, before())
    was = contents(open_catalog(tmp_path))
    files = digests(tmp_path)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(renames)], cwd=ROOT, timeout=90)
    assert done.returncode == -9
    found = contents(open_catalog(tmp_path))
    if renames == 0:  # the list of what is to be moved had no name yet
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


def test_files_move_and_go_once(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/old").write_text("old")
    change = commit.Change(tmp_path)
    change.scratch.mkdir()
    (change.scratch / "1").write_text("new")
    change.move("1", "c/new")
    change.remove("a/b/old")
    change.remove("a/b/never")
    assert not commit.finish(tmp_path)
    change.commit()
    assert (tmp_path / "c/new").read_text() == "new"
    assert not (tmp_path / "a").exists()
    assert not commit.finish(tmp_path)


def test_a_failing_disk_is_told(tmp_path: Path) -> None:
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
    assert commit.finish(tmp_path)
    assert (tmp_path / "c/new").read_text() == "new"


def test_one_process_at_a_time(tmp_path: Path) -> None:
    put(tmp_path, before())
    with locked(tmp_path):
        assert len(open_catalog(tmp_path)) == 4  # to read is always allowed
        with pytest.raises(RunLockedError):
            put(tmp_path, after())
