"""Units that are marked as bad are left out of training sets, until their marks are removed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eechips
from eechips.manifest.exclusions import mark_units
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.sample_reader import read_samples, read_some_samples
from local_tests.support.captured_log import CapturedLog
from tests.support import finished_run


@pytest.fixture
def run(tmp_path: Path) -> eechips.Run:
    values = np.arange(3 * 4096).reshape(3, 64, 64) % 251
    chips = [finished_run.geotiff_of((values + number).astype("u1"), column=3 * number) for number in range(6)]
    units = [({"number": number}, {"": ("tif", chip)}) for number, chip in enumerate(chips)]
    return finished_run.write_run(tmp_path / "run", units)


def test_samples_are_without_marked_units(run: eechips.Run, caplog: CapturedLog) -> None:
    ids = run.units["id"].tolist()
    mark_units(run.path, [ids[1], ids[4]])
    kept = [ids[number] for number in (0, 2, 3, 5)]
    samples = read_samples(run)
    assert caplog.messages == [f"2 units of {run.path} marked as bad and left out"]
    assert samples.ids == kept
    assert [sample.id for sample in samples] == kept
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        assert sorted(read_some_samples(ledger, range(6), {})) == [0, 2, 3, 5]
    mark_units(run.path, [ids[1], ids[4]], is_bad=False)
    caplog.clear()
    assert read_samples(run).ids == ids
    assert caplog.messages == []


def test_splits_checks_and_packs_are_without_marked_units(run: eechips.Run, tmp_path: Path) -> None:
    ids = run.units["id"].tolist()
    mark_units(run.path, ids[:2])
    assert eechips.check(run, quiet=True).files["id"].tolist() == ids[2:]
    assert eechips.split(run, by="random", quiet=True).splits["id"].tolist() == ids[2:]
    eechips.pack(run, "parquet", out=tmp_path / "pack", quiet=True)
    packed = pd.concat(pd.read_parquet(path) for path in sorted((tmp_path / "pack").rglob("*.parquet")))
    assert sorted(packed["id"]) == sorted(ids[2:])
