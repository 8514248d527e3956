"""The data sets that recipes arrange are read by the loaders of other libraries, with the values of the run."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import eechips
from local_tests.support.local_earth_engine import Server

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the warnings of the loaders' libraries

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
FARMLAND = "-98.1,37.9,-97.9,38.1"


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(RECIPES / name))


def fetch(server: Server, out: Path, dataset: Any, **options: Any) -> eechips.Run:
    given = {"endpoint": server.url, "rate": None, "executor": "threads", "quiet": True, "size": 16, "out": out}
    return eechips.sample(dataset, **{**given, **options})


@pytest.fixture(scope="module")
def fields(demo_server: Server, tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """Places with two frames and a split."""
    run = fetch(
        demo_server, tmp_path_factory.mktemp("fields") / "run", "S2", bands="B2,B3,B8", total=4, roi=FARMLAND,
        frames="2:spread", start="2022-06-01", end="2022-09-01", crs="utm", scale=10.0,
    )  # fmt: skip
    eechips.split(run, block_size="1km", ratios="0.5,0.5")
    return run


def read(path: Path | str) -> Any:
    with rasterio.open(path) as file:
        return file.read()


def test_rslearn_reads_the_windows(fields: eechips.Run, tmp_path: Path) -> None:
    pytest.importorskip("rslearn")
    from rslearn.dataset import Dataset
    from upath import UPath

    assert load("rslearn_windows.py")["arrange"](fields.path, tmp_path) == (4, 0)
    dataset = Dataset(UPath(tmp_path))
    files = eechips.load(fields, rows="files")
    windows = dataset.load_windows()
    assert {(window.name, window.group) for window in windows} == set(
        zip(files["id"].str[:16], files["split"], strict=True)
    )
    band_set = dataset.layers["image"].band_sets[0]
    for window in windows:
        assert sorted(window.list_completed_layers()) == [("image", 0), ("image", 1)]
        for number in range(2):
            form = band_set.instantiate_raster_format()
            found = window.data.read_raster("image", band_set.bands, form, group_idx=number)
            (chip,) = files[(files["id"].str[:16] == window.name) & (files["frame"] == number)]["path"]
            np.testing.assert_array_equal(found.array[:, 0], read(chip))


def test_tacoreader_reads_the_data_set(fields: eechips.Run, tmp_path: Path) -> None:
    pytest.importorskip("tacotoolbox")
    tacoreader = pytest.importorskip("tacoreader")
    tacoreader.use("pandas")
    path = tmp_path / "fields.tacozip"
    about = {"identifier": "fields", "licence": "CC-BY-4.0", "provider": "Test"}
    assert load("taco_dataset.py")["write"](fields.path, path, **about) == 4
    places = tacoreader.load(str(path)).data
    files = eechips.load(fields, rows="files")
    by_id = files.drop_duplicates("id").set_index(files.drop_duplicates("id")["id"].str[:16])
    assert dict(zip(places["id"], places["split"], strict=True)) == by_id["split"].to_dict()
    for number, place in enumerate(places["id"]):
        chips = places.read(number)
        assert list(chips["id"]) == ["t00", "t01"]
        for frame in range(2):
            (row,) = files[(files["id"].str[:16] == place) & (files["frame"] == frame)].itertuples()
            np.testing.assert_array_equal(read(chips.read(frame)), read(row.path))
            a, b, c, d, e, f = row.transform
            assert list(chips["stac:geotransform"][frame]) == [c, a, b, f, d, e]
            assert f"{chips['stac:time_start'][frame]:%Y-%m-%dT%H:%M:%SZ}" == row.dates[0]


def test_torchgeo_reads_the_four_seasons(demo_server: Server, tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchgeo.datasets")
    bands = {
        "S2": "B1,B2,B3,B4,B5,B6,B7,B8,B8A,B9,B11,B12",
        "S2_TOA": "B1,B2,B3,B4,B5,B6,B7,B8,B8A,B9,B10,B11,B12",
        "S1": "VV,VH",
    }
    run = fetch(
        demo_server, tmp_path / "run", list(bands), near=["S2_TOA:1h", "S1:12d"], total=1, size=264,
        roi="-105.3,39.9,-105.0,40.1", bands=[f"{name}:{each}" for name, each in bands.items()], every="season",
        start="2020-03-01", end="2021-03-01", crs="utm", scale=10.0,
    )  # fmt: skip
    assert load("ssl4eo_folders.py")["arrange"](run.path, tmp_path / "out") == (1, 0)
    for split, series in (("s2a", "S2"), ("s2c", "S2_TOA"), ("s1", "S1")):
        image = datasets.SSL4EOS12(tmp_path / "out", split=split, seasons=4)[0]["image"].numpy()
        files = sorted(path for path in run.layers["file"] if f".{series}-t" in path)
        expected = [read(run.path / file).astype("float32") for file in files]
        seasons = np.split(image, 4)  # in an order that torchgeo draws
        assert sorted(each.tobytes() for each in seasons) == sorted(each.tobytes() for each in expected)


def test_terratorch_reads_stacked_frames(demo_server: Server, tmp_path: Path) -> None:
    datasets = pytest.importorskip("terratorch.datasets")
    bands = ["B2", "B3", "B4", "B8A", "B11", "B12"]
    run = fetch(
        demo_server, tmp_path / "run", ["HLSS30", "USDA/NASS/CDL/2022"], total=2, roi=FARMLAND, frames="2:spread",
        start="2022-06-01", end="2022-09-01", on_empty="redraw",
        bands=["HLSS30:" + ",".join(bands), "USDA/NASS/CDL/2022:cropland"],
    )  # fmt: skip
    out = tmp_path / "out"
    assert load("stacked_frames.py")["stack"](run.path, out, [5, 24]) == (2, 0)
    found = datasets.GenericNonGeoSegmentationDataset(
        data_root=out / "chips", label_data_root=out / "chips", num_classes=3, split=out / "all.txt",
        image_grep="*_merged.tif", label_grep="*.mask.tif", expand_temporal_dimension=True,
        dataset_bands=bands, output_bands=bands,
    )  # fmt: skip
    assert len(found) == 2
    for sample in found:
        name = Path(sample["filename"]).name.removesuffix("_merged.tif")
        image = sample["image"].numpy()
        assert image.shape == (6, 2, 16, 16)
        merged = read(out / "chips" / f"{name}_merged.tif").reshape(2, 6, 16, 16)
        np.testing.assert_array_equal(image, merged.swapaxes(0, 1).astype("float32"))
        np.testing.assert_array_equal(sample["mask"].numpy(), read(out / "chips" / f"{name}.mask.tif")[0])
