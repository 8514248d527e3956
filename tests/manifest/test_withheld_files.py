"""Results of interrupted calls are out of a script's sight, and come back whole."""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from eechips.errors import UsageError
from eechips.manifest.withheld_files import restore, withhold
from eechips.scripts.working_folder import WorkingFolder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run's folder with two results, one of which is withheld."""
    folder = tmp_path / "run"
    (folder / "o" / "deep").mkdir(parents=True)
    (folder / "o" / "deep" / "1.txt").write_text("one")
    (folder / "o" / "2.txt").write_text("two")
    withhold(folder, ["o/deep/1.txt", "o/none.txt"])
    return folder


def test_nothing_finds_or_removes_a_withheld_file(out: Path) -> None:
    name = "o/deep/1.txt"
    stage = WorkingFolder(out, (out.parent,))
    with stage.entered():
        assert not os.path.exists(name)  # noqa: PTH110
        assert not os.access(name, os.R_OK)
        assert glob.glob("o/**/*.txt", recursive=True) == ["o/2.txt"]  # noqa: PTH207
        assert os.listdir("o/deep") == []  # noqa: PTH208
        for use in (open, os.remove, os.unlink, os.stat, pa.OSFile):  # the last one opens files without Python
            with pytest.raises(FileNotFoundError):
                use(name)
        for move in (os.rename, os.replace, shutil.move, shutil.copy):
            with pytest.raises(FileNotFoundError):
                move(name, "o/moved.txt")
        os.rename("o", "old")  # noqa: PTH104
        shutil.rmtree("old")
        assert os.listdir(".") == []  # noqa: PTH208
    stage.remove_links()
    restore(out, replaces=True)
    assert [path.read_text() for path in out.rglob("*.txt")] == ["one"]
    assert (out / name).is_file()
    assert not list((out / ".calls").iterdir())


@pytest.mark.parametrize("replaces", [True, False])
def test_a_file_that_was_written_meanwhile_is_replaced_as_by_a_call_or_renamed(out: Path, replaces: bool) -> None:
    (out / "o/deep/1.txt").write_text("of the script")
    restore(out, replaces=replaces)
    kept = {} if replaces else {"1.kept-1.txt": "of the script"}
    assert {path.name: path.read_text() for path in (out / "o/deep").iterdir()} == {"1.txt": "one", **kept}


def test_files_behind_links_out_of_the_folder_stay_where_they_are(out: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "3.txt").write_text("three")
    (out / "linked").symlink_to(tmp_path / "disk")
    withhold(out, ["linked/3.txt"])
    assert (tmp_path / "disk" / "3.txt").read_text() == "three"
    shutil.rmtree(out / "o")
    (out / "o").symlink_to(tmp_path / "disk")
    with pytest.raises(UsageError, match=r"o is a link that leads out|deep is a link that leads out"):
        restore(out, replaces=True)
    (out / "o").unlink()
    restore(out, replaces=True)
    assert (out / "o/deep/1.txt").read_text() == "one"
