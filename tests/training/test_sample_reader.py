"""The reader of a run's samples."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eechips
from eechips.errors import UsageError
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.packs.shard_index import metadata_of
from eechips.training.sample import fields_of
from eechips.training.sample_reader import read_samples
from eechips.training.splits import split_table
from tests.support.finished_run import layered, pictures, png_of, write_run


def test_samples_are_the_units_with_files_in_the_order_of_the_plan(tmp_path: Path) -> None:
    units = pictures(5)
    units[2] = (units[2][0], None)  # type: ignore[assignment]
    run = write_run(tmp_path, units)
    samples = read_samples(tmp_path)
    assert [sample.position for sample in samples] == [0, 1, 3, 4]
    table = run.units
    for sample in samples:
        row = table.loc[sample.position]
        assert (sample.id, sample.unit, sample.state) == (row["id"], row["unit"], row["state"])
        [file] = sample.files
        assert (file.name, file.bytes, file.sha256) == (row["file"], row["bytes"], row["sha256"])
        assert (file.layer, file.label, file.suffix) == ("", "image", "png")
        assert file.bands == tuple(row["bands"])
        assert sample.stratum == sample.unit["eco_name"]
        assert sample.split is None
        assert sample.flags is None
    assert samples.field("number") == [0, 1, 3, 4]
    with pytest.raises(UsageError, match="no sample has a field 'class'; there are: eco_name, number"):
        samples.field("class")
    with pytest.raises(UsageError, match="no sample has a field 'image', which is a layer of pixels; there are"):
        samples.field("image")


def test_layers_of_a_sample_stay_together(tmp_path: Path) -> None:
    run = write_run(tmp_path, layered(3))
    samples = read_samples(run)
    assert samples.layers == ("S2", "DEM", "cover")
    rows = run.layers
    for sample in samples:
        assert [file.layer for file in sample.files] == ["S2", "DEM", "cover"]
        for file in sample.files:
            row = rows.loc[(sample.position, file.layer)]
            assert (file.name, file.sha256, file.dtype, file.width) == tuple(row[["file", "sha256", "dtype", "width"]])
            assert hashlib.sha256(samples.store.read(file.name)).hexdigest() == file.sha256
        assert sample.files[0].crs == "EPSG:32613"
        assert sample.files[0].transform == tuple(rows.loc[(sample.position, "S2")]["transform"])


def test_some_samples_in_another_order(tmp_path: Path) -> None:
    samples = read_samples(write_run(tmp_path, layered(7)))
    every = list(samples)
    order = [5, 0, 6, 5]
    assert list(samples.take(order)) == [every[number] for number in order]
    assert list(samples[4:1:-2]) == [every[4], every[2]]
    assert samples[-1] == every[-1]
    assert list(samples.take(order)[1:]) == [every[0], every[6], every[5]]
    assert list(samples.take([])) == []
    with pytest.raises(IndexError):
        samples[7]


def test_files_of_scripts_are_numbered(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(3))
    digest = hashlib.sha256(b"more").hexdigest()
    with Ledger(tmp_path / LEDGER_NAME) as ledger, ledger.transaction():
        ledger.add_files([(1, "b.txt", 4, digest), (1, "a.txt", 4, digest)], ())
    found = [[(file.layer, file.suffix) for file in sample.files] for sample in read_samples(run)]
    assert found == [[("", "png")], [("", "png"), ("2", "txt"), ("3", "txt")], [("", "png")]]


def test_splits_are_joined_by_id(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(4))
    samples = read_samples(run)
    frame = pd.DataFrame({"id": samples.ids[:3], "split": ["train", "none", "test"], "block": ["a", "b", "c"]})
    split_table.write(tmp_path, frame, {})
    samples = read_samples(run)
    assert samples.splits == ["train", "none", "test", None]
    assert samples.of_split("test", "train").ids == [samples.ids[0], samples.ids[2]]
    with pytest.raises(UsageError, match="unknown split 'none'; known are test, train"):
        samples.of_split("none")


def test_a_run_without_files_has_no_samples(tmp_path: Path) -> None:
    samples = read_samples(write_run(tmp_path, [({"kind": "point"}, None)]))
    assert len(samples) == 0
    assert samples.layers == ()
    assert list(samples) == []


def test_fields_are_flat() -> None:
    unit = {"kind": "call", "value": {"name": "x", "properties": {"zone": 3}}, "list": [1]}
    assert fields_of(unit) == {"name": "x", "zone": 3}
    assert np.all([not isinstance(value, (list, dict)) for value in fields_of(unit).values()])
    assert json.dumps(fields_of({"id": 5, "index": 3})) == "{}"


def test_a_unit_of_a_user_keeps_its_date_beside_frames() -> None:
    unit = {"date": "2021-01-01", "image": "a", "frames": [{"x": 1}], "label": 3}
    assert fields_of(unit) == {"date": "2021-01-01", "image": "a", "label": 3}


def test_flags_of_a_check_are_part_of_samples(tmp_path: Path) -> None:
    units = pictures(3)
    black = png_of(np.zeros((3, 8, 8), np.uint8))
    units.append(({"kind": "point", "number": 3, "eco_name": "zone 0"}, {"": ("png", black)}))
    run = write_run(tmp_path, units)
    assert [sample.flags for sample in read_samples(run)] == [None] * 4
    eechips.check(run, quiet=True)
    samples = read_samples(run)
    assert samples[0].flags == ()
    assert "black" in (samples[3].flags or ())
    assert json.loads(metadata_of(samples[3]))["flags"] == list(samples[3].flags or ())
