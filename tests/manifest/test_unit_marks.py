"""Marks of bad units in the ledger: stored, removed, and excluded as units of ``eechips check --drop`` are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import eechips
from eechips.errors import RunLockedError
from eechips.manifest.exclusions import MARKS, exclude_marked, mark_units, read_marks
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from tests.support import finished_run


@pytest.fixture
def run(tmp_path: Path) -> eechips.Run:
    chip = finished_run.png_of(np.zeros((3, 4, 4), dtype=np.uint8))
    files = [{"": ("png", chip)}, {"": ("png", chip)}, {"": ("png", chip)}, None]
    units = [({"number": number}, each) for number, each in enumerate(files)]
    return finished_run.write_run(tmp_path / "run", units)


def marks_of(run: eechips.Run) -> list[str]:
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        return read_marks(ledger)


def test_marks_are_kept_in_the_order_of_the_plan(run: eechips.Run) -> None:
    ids = run.units["id"].tolist()
    assert marks_of(run) == []
    assert mark_units(run.path, [ids[2]]) == [ids[2]]
    assert mark_units(run.path, [ids[0]]) == [ids[0], ids[2]]
    assert marks_of(run) == [ids[0], ids[2]]
    assert mark_units(run.path, [ids[2]], is_bad=False) == [ids[0]]
    assert run.counts == {"done": 3, "failed_permanent": 1}
    assert run.verify() == []


def test_units_without_a_file_are_not_marked(run: eechips.Run) -> None:
    assert mark_units(run.path, [run.units["id"].iloc[3], "0" * 64]) == []


def test_marked_units_are_excluded(run: eechips.Run) -> None:
    ids = run.units["id"].tolist()
    mark_units(run.path, ids[:2])
    assert exclude_marked(run.path) == 2
    assert run.counts == {"done": 1, "skipped": 2, "failed_permanent": 1}
    assert run.units["error"].tolist()[:2] == ["dropped: marked as bad"] * 2
    assert sorted(path.name[:16] for path in (run.path / "chips").iterdir()) == [ids[2][:16]]
    assert marks_of(run) == []
    assert exclude_marked(run.path) == 0


def test_a_run_in_progress_is_not_marked(run: eechips.Run) -> None:
    with lock_folder(run.path), pytest.raises(RunLockedError):
        mark_units(run.path, run.units["id"].tolist())
    assert marks_of(run) == []


@pytest.mark.parametrize("noted", ["abc", 7, {"a": 1}, [None, 3, ["x"]]])
def test_marks_of_a_damaged_ledger_are_none(run: eechips.Run, noted: object) -> None:
    with Ledger(run.path / LEDGER_NAME) as ledger:
        ledger.note(MARKS, noted)
    assert marks_of(run) == []
