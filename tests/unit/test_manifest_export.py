"""Columns that are added to a finished run's manifest.parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

import eechips
from eechips.manifest.export import PARQUET_NAME, annotate, export_parquet
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.run import Run
from tests.finished_run import geotiff_of, write_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    random = np.random.default_rng(0)
    chips = [random.integers(1, 200, (3, 16, 16), np.uint8) for _ in range(11)]
    chips.append(np.zeros((3, 16, 16), np.uint8))
    units = [({"n": n}, {"": ("tif", geotiff_of(chip, column=100 * n))}) for n, chip in enumerate(chips)]
    run = write_run(tmp_path / "run", [*units, ({"n": 12}, None)])
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        export_parquet(ledger, run.path)
    return run


def test_flags_and_splits_are_columns_of_the_manifest(run: Run) -> None:
    before = parquet.read_table(run.path / PARQUET_NAME)
    eechips.check(run)
    division = eechips.split(run, by="random")
    eechips.check(run)  # once more: no second column
    after = parquet.read_table(run.path / PARQUET_NAME)
    assert after.column_names == [*before.column_names, "split", "flags"]
    assert after.select(before.column_names).equals(before)
    flags = after["flags"].to_pylist()
    assert flags[:11] == [[]] * 11
    assert set(flags[11]) >= {"black", "constant"}
    assert flags[12] is None
    assert after["split"].to_pylist() == [*division.splits["split"], None]
    assert run.verify() == []


def test_a_run_that_is_not_finished_has_no_manifest(run: Run) -> None:
    (run.path / PARQUET_NAME).unlink()
    annotate(run.path, "split", {"a": "train"})
    assert not (run.path / PARQUET_NAME).exists()
