"""eechips stats: what numpy computes of all pixels at once."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rasterio.io import MemoryFile

import eechips
from eechips.errors import UsageError
from eechips.formats import geotiff
from eechips.manifest.run import Run
from eechips.training.quality.band_statistics import PERCENTILES, BandTotals, count_fine
from eechips.training.quality.chip_pixels import BandPixels
from eechips.training.quality.statistics_passes import DatasetStatistics
from eechips.training.sample_reader import read_samples
from eechips.training.splits import split_table
from local_tests.support.parameters import slow_except
from tests.support.commands import run_command
from tests.support.finished_run import layered, pictures, write_run
from tests.support.packs import split_run

SIZE = 16
CLASSES = (10, 20, 30, 80, 99)  # 99 is in no record

Pixels = npt.NDArray[Any]


def tif(values: Pixels, mask: Pixels, names: tuple[str, ...]) -> bytes:
    transform = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 4_400_000.0)
    return geotiff.encode(values, mask, names, rasterio.crs.CRS.from_epsg(32613), transform)


def chips(number: int) -> dict[str, tuple[Pixels, Pixels]]:
    """Values and mask of each layer of a unit."""
    draw = np.random.default_rng(number)
    mask = draw.random((SIZE, SIZE)) < 0.8
    heights = (draw.normal(500, 300, (1, SIZE, SIZE))).astype(np.float32)
    heights[0, 0, :3] = np.nan, np.inf, -np.inf
    return {
        "S2": (draw.integers(0, 4000 + 100 * number, (2, SIZE, SIZE), dtype=np.uint16), mask),
        "DEM": (heights, mask),
        "WORLDCOVER": (draw.choice(CLASSES[: 2 + number % 5], (1, SIZE, SIZE)).astype(np.uint8), ~mask),
    }


BANDS = {"S2": ("B4", "B8"), "DEM": ("elevation",), "WORLDCOVER": ("Map",)}
SPLITS = ("train", "train", "test", "none")
COUNT = 14


def units(count: int) -> list[tuple[Mapping[str, Any], Mapping[str, tuple[str, bytes]]]]:
    return [
        (
            {"kind": "point", "number": number},
            {layer: ("tif", tif(values, mask, BANDS[layer])) for layer, (values, mask) in chips(number).items()},
        )
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    made = write_run(folder, units(COUNT), datasets=[{"id": "ESA/WorldCover/v200"}, {"id": "USGS/SRTMGL1_003"}])
    split_run(made, SPLITS)
    return made


@pytest.fixture(scope="module")
def found(run: Run) -> DatasetStatistics:
    return eechips.stats(run, quiet=True)


def known(layer: str, band: int, split: str) -> Pixels:
    """All valid values of a band, by numpy."""
    parts = []
    for number in range(COUNT):
        if SPLITS[number % len(SPLITS)] in (("train", "test") if split == "all" else (split,)):
            values, mask = chips(number)[layer]
            parts.append(values[band][mask & np.isfinite(values[band])])
    return np.concatenate(parts)


@pytest.mark.parametrize("split", ["train", "test", "all"])
@pytest.mark.parametrize(("layer", "band"), [("S2", 0), ("S2", 1), ("DEM", 0), ("WORLDCOVER", 0)])
def test_statistics_are_those_of_numpy_over_all_valid_pixels(
    found: DatasetStatistics, layer: str, band: int, split: str
) -> None:
    values = known(layer, band, split)
    own = found.layers[layer].overall if split == "all" else found.layers[layer].splits[split]
    got = own[band]
    assert (got.valid, got.min, got.max) == (values.size, values.min(), values.max())
    assert got.mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-12)
    assert got.std == pytest.approx(values.std(dtype=np.float64), rel=1e-12)
    wanted = np.percentile(values.astype(np.float64), PERCENTILES)
    assert [got.percentiles[q] for q in PERCENTILES] == pytest.approx(wanted, rel=1e-12 if layer != "DEM" else 2e-6)
    number = sum(SPLITS[n % 4] in (("train", "test") if split == "all" else (split,)) for n in range(COUNT))
    assert got.pixels == number * SIZE * SIZE


def test_samples_of_the_split_none_are_left_out_and_counted(found: DatasetStatistics) -> None:
    assert found.samples == {"train": 8, "test": 3}
    assert found.left_out == 3
    assert found.layers["S2"].files == {"train": 8, "test": 3}


def test_classes_are_counted_and_weighted_by_both_formulas(found: DatasetStatistics) -> None:
    assert set(found.layers["WORLDCOVER"].classes) == {"Map"}
    assert not found.layers["S2"].classes
    assert not found.layers["DEM"].classes
    for split, counts in [
        ("all", found.layers["WORLDCOVER"].classes["Map"]),
        ("train", found.layers["WORLDCOVER"].split_classes["train"]["Map"]),
    ]:
        values, numbers = np.unique(known("WORLDCOVER", 0, split), return_counts=True)
        got = {value: n for value, n in zip(counts.values, counts.counts, strict=True) if n}
        assert got == dict(zip(values.tolist(), numbers.tolist(), strict=True))
        balanced = {v: numbers.sum() / (len(values) * n) for v, n in zip(values, numbers, strict=True)}
        assert counts.inverse_frequency == pytest.approx([balanced.get(v, 0.0) for v in counts.values])
        within = dict.fromkeys(values.tolist(), 0)
        for number in range(COUNT):
            if SPLITS[number % 4] in (("train", "test") if split == "all" else (split,)):
                classes, mask = chips(number)["WORLDCOVER"]
                for value in np.unique(classes[0][mask]).tolist():
                    within[value] += int(mask.sum())
        frequencies = {v: n / within[v] for v, n in zip(values.tolist(), numbers.tolist(), strict=True)}
        median = np.median(list(frequencies.values()))
        wanted = [median / frequencies[v] if v in frequencies else 0.0 for v in counts.values]
        assert counts.median_frequency == pytest.approx(wanted)
        names = dict(zip(counts.values, counts.names, strict=True))
        assert names[10] == "Tree cover"
        assert names[95] == "Mangroves"  # which does not occur, and weighs nothing
        assert names[99] is None


@pytest.mark.slow
def test_classes_of_labels_without_a_record_are_counted(tmp_path: Path) -> None:
    """As a class raster of one's own has them; what has many values in a file, or in all, is no map of classes."""
    draw, mask = np.random.default_rng(2), np.ones((SIZE, SIZE), dtype=bool)
    layers = {
        name: [draw.choice(values, (1, SIZE, SIZE)).astype(dtype) for values in choices]
        for name, dtype, choices in (
            ("labels", "int16", [(0, 7), (7, 900)]),
            ("heights", "int16", [range(10), range(300)]),
            ("shares", "float32", [(0, 1), (0, 1)]),
        )
    }
    layers["plains"] = [np.full((1, SIZE, SIZE), 30 * n) + np.arange(SIZE)[:, None] for n in range(20)]
    units = [
        (
            {"kind": "point", "number": n},
            {name: ("tif", tif(some[n % len(some)], mask, ("x",))) for name, some in layers.items()},
        )
        for n in range(20)
    ]
    found = eechips.stats(write_run(tmp_path / "run", units), quiet=True)
    assert {name for name, layer in found.layers.items() if layer.classes} == {"labels"}
    values, counts = np.unique(layers["labels"], return_counts=True)
    classes = found.layers["labels"].classes["x"]
    assert (classes.values, classes.counts) == (tuple(values.tolist()), tuple((10 * counts).tolist()))
    assert classes.names == (None,) * 3
    shown = run_command("stats", str(tmp_path / "run")).output
    assert f"900{counts[2] * 10:>52,}" in shown
    assert "not in the record" not in shown


def test_the_file_has_means_and_stds_in_the_order_of_the_bands(run: Run, found: DatasetStatistics) -> None:
    value = json.loads((run.path / "stats.json").read_text())
    assert value == json.loads(json.dumps(found.to_json()))
    assert value["schema"] == "eechips-stats-1"
    assert value["reference"] == "train"
    assert value["bands"] == {layer: list(names) for layer, names in BANDS.items()}
    assert value["means"]["S2"] == [known("S2", band, "train").mean() for band in (0, 1)]
    assert value["stds"]["S2"] == value["layers"]["S2"]["splits"]["train"]["stds"]
    assert value["layers"]["DEM"]["all"]["percentiles"]["50"] == [found.layers["DEM"].overall[0].percentiles[50]]


def test_of_one_layer_means_are_a_list_that_normalises_a_tensor(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", pictures(5, seed=3))
    found = eechips.stats(run, out=tmp_path / "own.json", quiet=True)
    assert found.reference == "all"
    assert repr(found) == "<eechips statistics: 5 all; layers image>"
    assert not (run.path / "stats.json").exists()
    value = json.loads((tmp_path / "own.json").read_text())
    pixels = []
    for sample in read_samples(run):
        with rasterio.open(run.path / sample.files[0].name) as source:
            values = source.read()
            pixels.append(values[:3, values[3] != 0] if source.count == 4 else values.reshape(3, -1))
    everything = np.concatenate(pixels, axis=1).astype(np.float64)
    normal = (everything - np.array(value["means"])[:, None]) / np.array(value["stds"])[:, None]
    assert np.allclose(normal.mean(axis=1), 0)
    assert np.allclose(normal.std(axis=1), 1)


@pytest.mark.parametrize("name", slow_except(["webdataset", "parquet", "hdf5"], "parquet"))
def test_a_pack_has_the_statistics_of_its_run(run: Run, found: DatasetStatistics, name: str, tmp_path: Path) -> None:
    eechips.pack(run, name, out=tmp_path / "pack", quiet=True)
    packed = eechips.stats(tmp_path / "pack", quiet=True).to_json()
    wanted = found.to_json()
    assert packed["samples"] == wanted["samples"]
    assert packed["left_out"] == 3
    for layer in wanted["layers"]:
        for split in ("train", "test"):
            own, other = (each["layers"][layer]["splits"][split] for each in (packed, wanted))
            assert own["classes"] == other["classes"]
            for key in ("pixels", "valid", "mins", "maxs"):
                assert own[key] == other[key]
            for key in ("means", "stds"):
                assert own[key] == pytest.approx(other[key], rel=1e-12)
            for q, values in other["percentiles"].items():
                assert own["percentiles"][q] == pytest.approx(values, rel=2e-6)


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for path in files:
        eechips.stats(run, out=path, quiet=True)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_nodata_of_one_band_masks_only_that_band(tmp_path: Path) -> None:
    values = np.arange(2 * SIZE * SIZE, dtype=np.int16).reshape(2, SIZE, SIZE)
    values[0, :5] = -9999
    with MemoryFile() as memory:
        profile = {"driver": "GTiff", "width": SIZE, "height": SIZE, "count": 2, "dtype": "int16", "nodata": -9999}
        place = {"crs": "EPSG:32613", "transform": Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 4_400_000.0)}
        with memory.open(**profile, **place) as target:
            target.write(values)
        data = bytes(memory.read())
    run = write_run(tmp_path / "run", [({"kind": "point"}, {"": ("tif", data)})])
    first, second = eechips.stats(run, quiet=True).layers["image"].overall
    assert (first.valid, second.valid) == (11 * SIZE, SIZE * SIZE)
    assert first.min == values[0, 5:].min()
    assert second.mean == values[1].mean()


def test_bands_of_an_array_keep_their_types(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", layered(3))
    found = eechips.stats(run, quiet=True)
    assert found.layers["DEM"].dtypes == ("float32",)
    assert found.layers["S2"].dtypes == ("uint16",) * 4


def test_a_file_without_valid_pixels_counts_only_in_the_share(tmp_path: Path) -> None:
    empty = np.zeros((SIZE, SIZE), dtype=bool)
    values = np.ones((1, SIZE, SIZE), dtype=np.float32)
    one = ({"kind": "point", "n": 0}, {"": ("tif", tif(values, empty, ("B1",)))})
    run = write_run(tmp_path / "one", [one])
    [only] = eechips.stats(run, quiet=True).layers["image"].overall
    assert (only.pixels, only.valid, only.mean, only.percentiles[50]) == (SIZE * SIZE, 0, None, None)
    assert json.loads((run.path / "stats.json").read_text())["means"] == [None]
    run_command("stats", run.path, status=0)


FLOATS = arrays.arrays(
    st.sampled_from([np.float32, np.float64]),
    st.integers(1, 60),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False) | st.sampled_from([0.0, -0.0, float("nan")]),
)
INTEGERS = arrays.arrays(
    st.sampled_from([np.int32, np.uint32, np.int16, np.uint8, np.int64]),
    st.integers(1, 60),
    elements=st.integers(0, 127) | st.integers(0, 2),
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(parts=st.lists(FLOATS, min_size=1, max_size=6))
def test_percentiles_of_floats_are_those_of_numpy_to_two_millionths(parts: list[Pixels]) -> None:
    compare([part.astype(np.float64) for part in parts], 2e-6)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(parts=st.lists(INTEGERS, min_size=1, max_size=6), factor=st.sampled_from([1, -1, 8001, -8001]))
def test_percentiles_of_integers_below_a_million_are_exact(parts: list[Pixels], factor: int) -> None:
    compare([part.astype(np.int64) * factor for part in parts], 1e-12)
    compare([part.astype(np.int32) * np.int32(factor) for part in parts], 1e-12)


def compare(parts: list[Pixels], relative: float) -> None:
    bands = [BandPixels(part[None], np.ones((1, part.size), dtype=bool)) for part in parts]
    total = BandTotals(bands[0].values.dtype)
    for band in bands:
        total.add(BandTotals.of(band))
    for band in bands:
        for upper, counts in count_fine(band, total.wanted_bins()).items():
            total.add_fine(upper, counts)
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    found = total.statistics()
    assert found.valid == values.size
    if values.size:
        assert found.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-9)
        assert found.std == pytest.approx(values.std(), rel=1e-6, abs=1e-6)
        wanted = np.percentile(values, PERCENTILES)
        # Between two values of different signs the error is relative to the greater one.
        ends = np.abs([np.percentile(values, PERCENTILES, method=way) for way in ("lower", "higher")]).max(axis=0)
        got = np.array([found.percentiles[q] for q in PERCENTILES], dtype=float)
        assert (np.abs(got - wanted) <= relative * ends).all()


def test_memory_does_not_grow_with_the_number_of_files() -> None:
    def peak(files: int) -> int:
        tracemalloc.start()
        total, draw = BandTotals(np.dtype(np.float32)), np.random.default_rng(0)
        for _ in range(files):
            values = draw.normal(size=(64, 64)).astype(np.float32)
            total.add(BandTotals.of(BandPixels(values, np.ones((64, 64), dtype=bool))))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(200) < 1.5 * peak(20)


def test_types_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    mask = np.ones((SIZE, SIZE), dtype=bool)
    some = [np.ones((1, SIZE, SIZE), dtype=dtype) for dtype in (np.uint8, np.float32)]
    run = write_run(
        tmp_path / "run", [({"n": n}, {"": ("tif", tif(each, mask, ("B1",)))}) for n, each in enumerate(some)]
    )
    with pytest.raises(UsageError, match="band B1 of layer image: some files have the type uint8, others float32"):
        eechips.stats(run, quiet=True)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", pictures(2))
    path = next((run.path / "chips").iterdir())
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UsageError, match="has changed since it was fetched"):
        eechips.stats(run, quiet=True)


def test_a_foreign_file_is_not_replaced(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", pictures(2))
    for content in ('{"mine": 1}', "[" * 200_000):
        (run.path / "stats.json").write_text(content)
        with pytest.raises(UsageError, match=r"was not written by eechips stats and is not replaced"):
            eechips.stats(run, quiet=True)
    (run.path / "stats.json").unlink()
    (run.path / "stats.json").mkdir()
    with pytest.raises(UsageError, match=r"was not written by eechips stats and is not replaced: move it away"):
        eechips.stats(run, quiet=True)
    (run.path / "stats.json").rmdir()
    eechips.stats(run, quiet=True)
    before = hashlib.sha256((run.path / "stats.json").read_bytes()).hexdigest()
    eechips.stats(run, quiet=True)
    assert hashlib.sha256((run.path / "stats.json").read_bytes()).hexdigest() == before


def test_a_run_that_grew_after_its_split_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", pictures(4))
    ids = read_samples(run).ids[:2]
    split_table.write(run.path, pd.DataFrame({"id": ids, "split": "train", "block": "a"}), {})
    with pytest.raises(UsageError, match="2 of 4 samples came after the run was split"):
        eechips.stats(run)


def test_the_command_prints_bands_and_classes(run: Run, tmp_path: Path) -> None:
    shown = run_command("stats", run.path, "--out", tmp_path / "s.json", "-q", status=0)
    assert "train: 8 samples" in shown.output
    assert "left out: 3 samples" in shown.output
    assert "WORLDCOVER (train)" in shown.output
    assert "20 Shrubland" in shown.output
    assert "99 not in the record" in shown.output
    assert f"Written: {tmp_path / 's.json'}" in shown.output
