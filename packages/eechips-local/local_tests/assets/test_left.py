"""What killed processes leave in a store of assets, and who removes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eechips_local.assets import store_files
from eechips_local.assets.store_files import StagedDocuments, locked, remove, temporary_folder, workspace

HOLDS = """
import sys
from pathlib import Path
from eechips_local.assets.store_files import StagedDocuments, locked, workspace
folder = Path(sys.argv[1])
with workspace(folder) as place, locked(folder), StagedDocuments() as documents:
    (place / "draft.tif").write_bytes(b"half")
    documents.stage(folder / "item.json", {})
    print(place, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _unswept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins like a new process, which has looked into no folder yet."""
    monkeypatch.setattr(store_files, "_swept", set())


def holder(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that works in a folder until it is ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_workspace_stays_while_its_process_lives_and_goes_with_the_next_one_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, place = holder(tmp_path)
    with workspace(tmp_path):
        assert (place / "draft.tif").read_bytes() == b"half"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert place.is_dir()
    monkeypatch.setattr(store_files, "_swept", set())
    with workspace(tmp_path) as own:
        assert own.is_dir()
        assert not place.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == [".eechips-local-item.json"]


def test_a_temporary_folder_goes_with_the_next_one_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    holding = """
import sys
from eechips_local.assets.store_files import temporary_folder
with temporary_folder() as place:
    (place / "draft.tif").touch()
    print(place, flush=True)
    sys.stdin.read()
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    place = Path(process.stdout.readline().strip())
    with temporary_folder():
        assert (place / "draft.tif").exists()
    process.kill()
    process.communicate()
    monkeypatch.setattr(store_files, "_swept", set())
    with temporary_folder() as own:
        assert list(tmp_path.iterdir()) == [own]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "earth-engine-api", "earth-engine-data", "eechips-store-mine", "eechips-vectors-ab12cd34", ".tmp-ab12cd34",
        "eechips-local-shapefile-ab12cd34", ".eechips-local-data", ".eechips-local-ab12cd34",
        ".eechips-local-ab12cd34.locked.kept", "my.eechips-local-ab12cd34.locked",
    ],
)  # fmt: skip
def test_folders_of_other_names_are_nobodys_to_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious.tif").write_bytes(b"precious")
    with temporary_folder():
        pass
    monkeypatch.setattr(store_files, "_swept", set())
    with workspace(tmp_path):
        pass
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.tif")] == [Path(name, "precious.tif")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user, and remove it")
def test_folders_of_other_users_are_theirs_also_for_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / ".eechips-local-ab12cd34.locked"
    left.mkdir()
    os.chown(left, 65534, 65534)
    with temporary_folder():
        assert left.is_dir()
    os.chown(left, os.geteuid(), os.getegid())
    monkeypatch.setattr(store_files, "_swept", set())
    with temporary_folder():
        assert not left.exists()


FORKS = """
import os, sys
from pathlib import Path
from eechips_local.assets.store_files import StagedDocuments, private_folder, temporary_folder, workspace
owner = StagedDocuments()
folder = private_folder(owner)
with temporary_folder() as other, workspace(Path(sys.argv[1])) as place:
    process = os.fork()
    if not process:
        sys.exit()
    os.waitpid(process, 0)
    print([path.is_dir() for path in (folder, other, place)])
"""


def test_a_forked_process_leaves_the_folders_of_its_parent(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", FORKS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)
    assert done.stdout == "[True, True, True]\n"
    assert list(tmp_path.iterdir()) == []


def test_documents_that_a_killed_process_has_staged_go_when_the_next_one_stages(tmp_path: Path) -> None:
    process, _ = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / ".eechips-local-item.json").exists()
    with locked(tmp_path), StagedDocuments() as documents:
        documents.stage(tmp_path / "other.json", {})
        documents.commit()
    assert not list(tmp_path.glob(".eechips-local-*.json"))
    assert (tmp_path / "other.json").exists()


def test_files_of_a_store_are_removed_by_the_holder_of_its_lock_alone(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "a.tif").touch()
    (tmp_path / "mine.tif").touch()
    with pytest.raises(RuntimeError):
        remove(store, store / "a.tif")
    with locked(store):
        with pytest.raises(RuntimeError):
            remove(store, store / ".." / "mine.tif")
        remove(store, store / "a.tif")
        remove(store, store / "a.tif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.tif", "store"]
