"""Time series of chips as arrays: an xarray stack and PyTorch items, against rasterio."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import xarray

import eechips
from eechips.cubes.cube_backend import CubeBackend
from eechips.errors import StorageError
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.untrusted_run import check_values
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except

OPTIONS: dict[str, Any] = {
    "dataset": ("S2", "L8"), "bands": ("S2:B4,B8", "L8:SR_B4,SR_B5"), "near": ("L8:8d",), "total": 3,
    "roi": "-105.3,39.9,-105.0,40.1", "start": "2020-05-01", "end": "2020-08-01", "every": "month", "size": 16,
    "seed": 3, "executor": "threads", "quiet": True, "rate": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def stacked(demo_server: Server, tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """The same with a file for each sensor."""
    folder = tmp_path_factory.mktemp("stacked") / "run"
    return eechips.sample(**OPTIONS, format="tif-stack", endpoint=demo_server.url, out=folder)


@pytest.fixture(scope="module")
def run(demo_server: Server, tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """Three places, three months, two sensors."""
    return eechips.sample(**OPTIONS, endpoint=demo_server.url, out=tmp_path_factory.mktemp("frames") / "run")


def files(run: eechips.Run, series: str) -> pd.DataFrame:
    rows = pd.read_parquet(run.path / "layers.parquet")
    return rows[rows["series"] == series].sort_values(["position", "frame"])


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [True, False])
def test_a_stack_has_the_frames_in_the_dimension_time(run: eechips.Run, lazy: bool) -> None:
    stack = eechips.stack(run, lazy=lazy)
    assert dict(stack.sizes) | {"sample": 3, "time": 3, "S2_band": 2, "L8_band": 2, "y": 16, "x": 16} == stack.sizes
    assert list(stack.time.dt.strftime("%Y-%m-%d").values) == ["2020-05-01", "2020-06-01", "2020-07-01"]
    for series in ("S2", "L8"):
        rows = files(run, series)
        values = stack[series].values
        for number, row in enumerate(rows.itertuples()):
            with rasterio.open(run.path / row.file) as file:
                np.testing.assert_array_equal(values[number // 3, number % 3], file.read())
            moment = stack[f"{series}_acquired"].values[number // 3, number % 3]
            assert np.isnat(moment) if row.dates is None else pd.Timestamp(moment) == pd.Timestamp(row.dates[0][:-1])


@pytest.mark.slow
def test_a_stack_of_one_sensor_has_plain_bands(run: eechips.Run) -> None:
    rows = eechips.load(run, rows="files")
    one = eechips.stack(rows[rows["series"] == "S2"], masked=True)
    assert one.S2.dims == ("sample", "time", "band", "y", "x")
    assert float(one.clear_fraction.max()) <= 1.0


def test_xarray_opens_a_run_by_its_own_reader(run: eechips.Run) -> None:
    with xarray.open_dataset(str(run.path), engine="eechips", drop_variables="L8") as found:
        assert "L8" not in found
        assert found.S2.dims == ("sample", "time", "S2_band", "y", "x")
        np.testing.assert_array_equal(found.S2.values, eechips.stack(run, lazy=False).S2.values)
    # Without an engine, xarray asks every installed backend; some of them warn or use the network.
    assert CubeBackend().guess_can_open(run.path)
    assert not CubeBackend().guess_can_open(run.path / "chips")


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [True, False])
def test_a_stack_of_files_with_several_frames_equals_that_of_single_frames(
    run: eechips.Run, stacked: eechips.Run, lazy: bool
) -> None:
    assert stacked.layers["file"].nunique() == 6
    found = eechips.stack(stacked, masked=True, lazy=lazy)
    # The ids of units depend on what is fetched, and the layout is a part of it.
    expected = eechips.stack(run, masked=True, lazy=False)
    xarray.testing.assert_identical(found.compute().drop_vars("sample"), expected.drop_vars("sample"))
    every = eechips.stack(stacked, lazy=lazy).compute()
    assert every.S2.dtype == np.uint16
    assert eechips.stats(stacked).to_json() == eechips.stats(run).to_json()


@pytest.mark.parametrize(
    "frames",
    ["[1]", '"t"', '[{"frame": "0"}]', '[{"frame": 0, "dates": [7]}]', '[{"frame": 0, "valid_fraction": "all"}]'],
)
def test_frames_that_no_run_records_are_refused(stacked: eechips.Run, tmp_path: Path, frames: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stacked.path, folder)
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        check_values(ledger)
    with contextlib.closing(sqlite3.connect(folder / LEDGER_NAME)) as database, database:
        database.execute("UPDATE layers SET metadata = json_set(metadata, '$.frames', json(?))", (frames,))
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger, pytest.raises(StorageError, match="no run records"):
        check_values(ledger)


def test_statistics_join_the_frames_of_a_sensor(run: eechips.Run) -> None:
    found = eechips.stats(run)
    assert set(found.layers) == {"S2", "L8"}
    pixels = []
    for row in files(run, "S2").itertuples():
        with rasterio.open(run.path / row.file) as file:
            pixels.append(file.read()[:, file.dataset_mask() != 0])
    expected = np.concatenate(pixels, axis=1).mean(axis=1)
    np.testing.assert_allclose([band.mean for band in found.layers["S2"].overall], expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["single", "stacked"])
def test_a_geozarr_cube_has_pixels_times_and_place_of_each_sample(
    run: eechips.Run, stacked: eechips.Run, tmp_path: Path, layout: str
) -> None:
    zarr = pytest.importorskip("zarr", minversion="3.1")
    source = run if layout == "single" else stacked
    index = eechips.pack(source, "geozarr", out=tmp_path / "pack", shard_count=2)
    expected = eechips.stack(run, lazy=False, masked=True)
    seen = []
    for shard in index.shards:
        (file,) = shard.files
        with zarr.storage.ZipStore(tmp_path / "pack" / file.name, mode="r") as store:
            root = zarr.open_group(store, mode="r")
            for identifier in root.attrs["samples"]:
                row = list(source.units["id"]).index(identifier)
                seen.append(row)
                unit = source.units.iloc[row]
                found = xarray.open_zarr(store, group=identifier)
                assert dict(found.sizes) == {"time": 3, "S2_band": 2, "L8_band": 2, "y": 16, "x": 16, "bound": 2}
                for series in ("S2", "L8"):
                    own = found[series].where(found[f"{series}_valid"] == 1)
                    np.testing.assert_array_equal(own.values, expected[series].values[row])
                    np.testing.assert_array_equal(root[identifier][series][...], found[series].values)
                    # Seconds as fractions are less exact than nanoseconds: images have milliseconds.
                    acquired = found[f"{series}_acquired"].dt.round("ms").values
                    np.testing.assert_array_equal(acquired, expected[f"{series}_acquired"].values[row])
                    assert list(found[f"{series}_band"].values) == list(expected[f"{series}_band"].values)
                np.testing.assert_array_equal(found.time.values, expected.time.values)
                a, _, c, _, e, f = unit["transform"]
                np.testing.assert_array_equal(found.x.values, c + a * (np.arange(16) + 0.5))
                np.testing.assert_array_equal(found.y.values, f + e * (np.arange(16) + 0.5))
                assert pyproj.CRS.from_cf(found.spatial_ref.attrs) == pyproj.CRS(unit["crs"])
                assert found.attrs["proj:code"] == unit["crs"]
                assert found.attrs["spatial:transform"] == list(unit["transform"])
                assert found.x.attrs["standard_name"] == "projection_x_coordinate"
                assert found.S2.attrs["grid_mapping"] == "spatial_ref"
    assert sorted(seen) == [0, 1, 2]
    assert eechips.pack(source, "geozarr", out=tmp_path / "pack", shard_count=2) == index
    assert eechips.stats(tmp_path / "pack").to_json() == eechips.stats(source).to_json()


@pytest.mark.slow
def test_rioxarray_finds_crs_and_transform_of_a_geozarr_cube(run: eechips.Run, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", minversion="3.1")
    pytest.importorskip("rioxarray")
    index = eechips.pack(run, "geozarr", out=tmp_path / "pack")
    with zarr.storage.ZipStore(tmp_path / "pack" / index.shards[0].files[0].name, mode="r") as store:
        for unit in run.units.itertuples():
            found = xarray.open_zarr(store, group=unit.id)
            assert found.rio.crs == found.S2.rio.crs == unit.crs
            assert tuple(found.S2.rio.transform())[:6] == tuple(unit.transform)


@pytest.mark.slow
def test_gdal_reads_a_frame_of_a_geozarr_cube_in_its_place(run: eechips.Run, tmp_path: Path) -> None:
    pytest.importorskip("zarr", minversion="3.1")
    with rasterio.Env() as env:
        if "Zarr" not in env.drivers():
            pytest.skip("this GDAL has no driver of Zarr")
    index = eechips.pack(run, "geozarr", out=tmp_path / "pack")
    rows = run.layers.reset_index()
    row = rows[(rows["layer"] == "S2-t01") & (rows["position"] == 1)].iloc[0]
    store = f"/vsizip/{{{tmp_path / 'pack' / index.shards[0].files[0].name}}}"
    with rasterio.open(run.path / row["file"]) as expected:
        for band in (0, 1):
            with rasterio.open(f'ZARR:"{store}":/{row["id"]}/S2:1:{band}') as found:
                assert (found.crs, found.transform) == (expected.crs, expected.transform)
                np.testing.assert_array_equal(found.read(1), expected.read(band + 1))


@pytest.mark.parametrize("to", slow_except(["zarr", "hdf5"], "zarr"))
def test_arrays_of_files_with_several_frames_have_an_axis_of_time(
    stacked: eechips.Run, tmp_path: Path, to: str
) -> None:
    pytest.importorskip("zarr" if to == "zarr" else "h5py", minversion="3.1")
    index = eechips.pack(stacked, to, out=tmp_path / "pack")
    assert index.layers["S2"].shape == (3, 2, 16, 16)
    assert eechips.stats(tmp_path / "pack").to_json() == eechips.stats(stacked).to_json()
    if to == "zarr":
        found = xarray.open_zarr(tmp_path / "pack" / "all.zarr")
        assert found.S2.dims == ("sample", "time", "S2_band", "y", "x")
        assert found.S2_valid.dims == ("sample", "time", "y", "x")


@pytest.mark.slow
def test_items_of_pytorch_have_the_frames_first(run: eechips.Run, stacked: eechips.Run, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader

    from eechips.torch import ChipDataset, ShardDataset

    chips = ChipDataset(run, fill=0)
    batch = next(iter(DataLoader(chips, batch_size=3)))
    assert batch["S2"].shape == (3, 3, 2, 16, 16)
    assert batch["S2_valid"].shape == (3, 3, 16, 16)
    rows = files(run, "S2")
    for number, row in enumerate(rows.itertuples()):
        with rasterio.open(run.path / row.file) as file:
            values = file.read() * (file.dataset_mask() != 0)
        np.testing.assert_array_equal(batch["S2"][number // 3, number % 3].numpy(), values)
        seconds = float(batch["S2_times"][number // 3, number % 3])
        assert seconds == pd.Timestamp(row.dates[0] if row.dates is not None else row.start).timestamp()
    assert set(ChipDataset(run, layers=["L8"])[0]) & {"S2", "L8"} == {"L8"}

    eechips.pack(run, "webdataset", out=tmp_path / "pack")
    eechips.pack(stacked, "parquet", out=tmp_path / "stacked")
    for to in ("hdf5", "geozarr"):
        eechips.pack(stacked, to, out=tmp_path / to)
    ids = dict(zip(stacked.units["id"], run.units["id"], strict=True))
    for others in (
        ShardDataset(tmp_path / "pack", fill=0),
        ChipDataset(stacked, fill=0),
        ShardDataset(tmp_path / "stacked", fill=0),
        ShardDataset(tmp_path / "hdf5", fill=0),
        ShardDataset(tmp_path / "geozarr", fill=0),
    ):
        found = {ids.get(item["id"], item["id"]): item for item in others}
        for item in chips:
            for name in ("S2", "S2_valid", "S2_times", "L8", "L8_valid"):
                torch.testing.assert_close(found[item["id"]][name], item[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on machines with fewer processors
def test_loaders_with_four_workers_have_every_sample_and_pad_short_series(
    run: eechips.Run, stacked: eechips.Run
) -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader

    from eechips.torch import ChipDataset, collate_frames

    def short(item: dict[str, Any]) -> dict[str, Any]:
        """Leave one to three frames."""
        count = 1 + ids.index(item["id"])
        return {name: value[:count] if name.startswith("S2") else value for name, value in item.items()}

    ids = list(stacked.units["id"])
    whole = ChipDataset(stacked)
    loader = DataLoader(
        ChipDataset(stacked, transform=short), batch_size=3, num_workers=4, collate_fn=collate_frames,
        multiprocessing_context="fork",
    )  # fmt: skip
    (batch,) = loader
    assert batch["id"] == ids
    assert batch["S2"].shape == (3, 3, 2, 16, 16)
    assert batch["crs"] == list(stacked.units["crs"])
    for number, item in enumerate(whole):
        count = number + 1
        for name, value in (("S2", 0), ("S2_valid", 0), ("S2_times", np.nan)):
            assert batch[name].dtype == item[name].dtype
            torch.testing.assert_close(batch[name][number, :count], item[name][:count], rtol=0, atol=0, equal_nan=True)
            left = batch[name][number, count:]
            torch.testing.assert_close(left, torch.full_like(left, value), rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(batch["L8"][number], item["L8"], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["single", "stacked"])
def test_hugging_face_loads_runs_and_packs_without_code(
    run: eechips.Run, stacked: eechips.Run, tmp_path: Path, layout: str
) -> None:
    datasets = pytest.importorskip("datasets", minversion="4")
    copy = tmp_path / "run"
    shutil.copytree((run if layout == "single" else stacked).path, copy)
    source = eechips.open_run(copy)
    eechips.card(copy)
    expected = eechips.stack(source, lazy=False)
    rows = list(datasets.load_dataset(str(copy), split="train", cache_dir=str(tmp_path / "cache")))
    assert [row["id"] for row in rows] == list(source.units["id"])
    assert {"date", "image"}.isdisjoint(rows[0])  # of one image: a sample has several
    for number, row in enumerate(rows):
        assert row["crs"] == source.units["crs"][number]
        assert row["transform"] == list(source.units["transform"][number])
        for series in ("S2", "L8"):
            moments = pd.to_datetime(pd.Series(row[f"{series}_times"]), utc=True).dt.tz_localize(None)
            np.testing.assert_array_equal(moments, expected[f"{series}_acquired"].values[number])
        names = [row[f"S2-t0{k}_file"] for k in range(3)] if layout == "single" else [row["S2_file"]]
        pixels = []
        for name in names:
            with rasterio.open(copy / name) as file:
                assert file.crs == row["crs"]
                pixels.append(file.read())
        valid = eechips.stack(source, lazy=False, masked=True).S2.notnull().values[number]
        found = np.concatenate(pixels).reshape(3, 2, 16, 16)
        np.testing.assert_array_equal(found[valid], expected.S2.values[number][valid])

    label = "S2-t01" if layout == "single" else "S2"
    of_label = source.layers.reset_index().query("layer == @label").drop_duplicates("id")
    files = dict(zip(of_label["id"], of_label["file"], strict=True))
    for to, column in (("parquet", label), ("webdataset", f"{label}.tif")):
        eechips.pack(copy, to, out=tmp_path / to)
        shards = str(tmp_path / to / f"all-*.{'tar' if to == 'webdataset' else to}")
        packed = datasets.load_dataset(to, data_files=shards, split="train", cache_dir=str(tmp_path / "cache"))
        assert len(packed) == 3
        if to == "webdataset":  # otherwise Pillow opens GeoTIFFs, and knows few types of pixels
            for name in [name for name in packed.column_names if name.endswith(".tif")]:
                packed = packed.cast_column(name, datasets.Image(decode=False))
        for row in packed:
            metadata = row["json"] if to == "webdataset" else json.loads(row["metadata"])
            data = row[column] if isinstance(row[column], bytes) else row[column]["bytes"]
            assert data == (copy / files[metadata["id"]]).read_bytes()
            assert metadata["layers"][label]["crs"] in set(source.units["crs"])
