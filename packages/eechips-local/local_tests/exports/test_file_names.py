"""Finished files get names that nothing else has, or replace objects; all files of a task, or none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eechips_local.exports.destinations import Destination
from eechips_local.exports.file_names import put_in_place, workspace
from eechips_local.exports.process_messages import ExportedFile


def drive(root: Path, *, replaces: bool = False) -> Destination:
    return Destination(root, "folder", "name", "-", "file://", replaces)


def export(destination: Destination, content: str, parts: int) -> None:
    files = [ExportedFile(f"{number}", f"{number}", ".txt") for number in range(parts)]
    with workspace(destination.root) as place:
        for file in files:
            (place / file.staged).write_text(f"{content}{file.part}")
        put_in_place(place, files, destination, lambda created, written: None)


def contents(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((root / "folder").iterdir())}


def test_all_files_of_a_task_have_the_number_that_is_free_for_all(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "name-2.txt").write_text("mine")
    (tmp_path / "folder" / "name-1 (1).txt").symlink_to("nowhere")
    export(drive(tmp_path), "a", 3)
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [
        "name-0 (2).txt", "name-1 (1).txt", "name-1 (2).txt", "name-2 (2).txt", "name-2.txt",
    ]  # fmt: skip
    assert (tmp_path / "folder" / "name-2.txt").read_text() == "mine"
    assert (tmp_path / "folder" / "name-2 (2).txt").read_text() == "a2"


def test_objects_are_replaced(tmp_path: Path) -> None:
    for content in "ab":
        export(drive(tmp_path, replaces=True), content, 2)
    assert contents(tmp_path) == {"name-0.txt": "b0", "name-1.txt": "b1"}


def test_tasks_that_end_at_once_replace_no_file_of_each_other(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: export(drive(tmp_path), content, 3), "abcdefgh"))
    found = contents(tmp_path)
    assert len(found) == 24
    for number in range(8):
        mark = f" ({number})" if number else ""
        three = [found[f"name-{part}{mark}.txt"] for part in range(3)]
        assert {text[0] for text in three} == {three[0][0]}
        assert [text[1] for text in three] == ["0", "1", "2"]
    assert {text[0] for text in found.values()} == set("abcdefgh")


def test_no_file_is_replaced_on_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        if target.exists():
            raise FileExistsError
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)
    for content in "ab":
        export(drive(tmp_path), content, 1)
    assert contents(tmp_path) == {"name-0.txt": "a0", "name-0 (1).txt": "b0"}
