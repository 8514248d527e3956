"""The recipes that arrange samples in the layouts of known training sets, against rasterio and numpy."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine

import eechips
from eechips_local.assets import ingest
from local_tests.support.demo_images import images
from local_tests.support.local_earth_engine import Server
from tests.support.coded_store import write_geotiff

Array = npt.NDArray[Any]

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
FARMLAND = "-98.1,37.9,-97.9,38.1"


def load(name: str) -> dict[str, Any]:
    """Return the functions of a recipe."""
    return runpy.run_path(str(RECIPES / name))


def sample(server: Server, out: Path, dataset: Any, **options: Any) -> eechips.Run:
    given = {"endpoint": server.url, "rate": None, "executor": "threads", "quiet": True, "out": out, "size": 16}
    return eechips.sample(dataset, **{**given, **options})


def read(path: Path) -> Array:
    with rasterio.open(path) as file:
        return np.asarray(file.read())


def sample_seasons(server: Server, out: Path, near: str, total: int) -> eechips.Run:
    return sample(
        server, out, ["S2", "S2_TOA", "S1"], near=["S2_TOA:1h", near], total=total, roi="-105.3,39.9,-105.0,40.1",
        bands=["S2:B4,B11", "S2_TOA:B4,B10", "S1:VV,VH"], start="2020-03-01", end="2021-03-01", every="season",
        crs="utm", scale=10.0,
    )  # fmt: skip


@pytest.mark.slow
def test_folders_of_ssl4eo_have_each_band_of_each_acquisition(demo_server: Server, tmp_path: Path) -> None:
    run = sample_seasons(demo_server, tmp_path / "run", "S1:12d", total=2)
    assert load("ssl4eo_folders.py")["arrange"](run.path, tmp_path / "out") == (2, 0)
    expected = {}
    for row in run.layers.reset_index().itertuples():
        folder = {"S1": "s1", "S2_TOA": "s2c", "S2": "s2a"}[row.series]
        index = row.sources[0].rpartition("/")[2]
        for band, values in zip(row.bands, read(run.path / row.file), strict=True):
            expected[f"{folder}/{row.position:07d}/{index}/{band}.tif"] = values
    written = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.tif")}
    assert sorted(written) == sorted(expected)
    assert len(written) == 2 * 4 * 3 * 2
    for name, path in written.items():
        with rasterio.open(path) as file:
            assert (file.count, file.dtypes[0]) == (1, "float32" if name.startswith("s1") else "uint16")
            assert file.crs.to_epsg() == 32613
            np.testing.assert_array_equal(file.read(1), expected[name].astype(file.dtypes[0]))


@pytest.mark.slow
def test_folders_of_ssl4eo_leave_out_places_without_all_images(demo_server: Server, tmp_path: Path) -> None:
    run = sample_seasons(demo_server, tmp_path / "run", "S1:1h", total=1)  # the radar passes at other hours
    assert load("ssl4eo_folders.py")["arrange"](run.path, tmp_path / "out") == (0, 1)
    assert not list((tmp_path / "out").rglob("*.tif"))


@pytest.mark.slow
def test_stacked_frames_have_all_bands_of_a_time_together(demo_server: Server, tmp_path: Path) -> None:
    bands = ("B2", "B3", "B4", "B8A", "B11", "B12")
    run = sample(
        demo_server, tmp_path / "run", ["HLSS30", "USDA/NASS/CDL/2022"], total=4, roi=FARMLAND,
        frames="2:spread", start="2022-06-01", end="2022-09-01", on_empty="redraw",
        bands=["HLSS30:" + ",".join(bands), "USDA/NASS/CDL/2022:cropland"],
    )  # fmt: skip
    eechips.split(run, block_size="1km", ratios="0.5,0.5")
    out = tmp_path / "out"
    assert load("stacked_frames.py")["stack"](run.path, out, [5, 24]) == (4, 0)
    for position, identifier in run.units["id"].items():
        name, files = f"chip_{identifier[:16]}", run.layers.loc[position, "file"]
        with rasterio.open(out / "chips" / f"{name}_merged.tif") as file:
            assert (file.dtypes[0], file.nodata) == ("int16", -9999)
            frames = file.read().reshape(2, len(bands), 16, 16)  # (time channels) rows columns, as TerraTorch reads
        for number, frame in enumerate(frames):
            expected = np.rint(read(run.path / files[f"HLSS30-t0{number}"]) * 10_000)
            np.testing.assert_array_equal(frame, expected)
        codes = read(run.path / files["CDL-2022"])
        labels = read(out / "chips" / f"{name}.mask.tif")
        np.testing.assert_array_equal(labels, np.select([codes == 5, codes == 24], [1, 2], 0))
    lists = {path.stem: path.read_text().split() for path in out.glob("*.txt")}
    splits = eechips.load(run, rows="files").drop_duplicates("id")
    assert lists == {
        split: [f"chip_{each[:16]}" for each in rows["id"]] for split, rows in splits.groupby("split", sort=False)
    }


@pytest.mark.slow
def test_windows_of_rslearn_have_the_files_and_grids_of_the_run(demo_server: Server, tmp_path: Path) -> None:
    options = {"frames": "2:spread", "start": "2022-06-01", "end": "2022-09-01", "scale": 10.0, "crs": "utm"}
    run = sample(demo_server, tmp_path / "run", "S2", bands="B4,B8", total=2, roi=FARMLAND, **options)
    assert load("rslearn_windows.py")["arrange"](run.path, tmp_path / "out") == (2, 0)
    for position, identifier in run.units["id"].items():
        window = tmp_path / "out" / "windows" / "default" / identifier[:16]
        about = json.loads((window / "metadata.json").read_text())
        for frame, layer in (("t00", "image"), ("t01", "image.1")):
            path = window / "layers" / layer / "B4_B8" / "geotiff.tif"
            assert path.read_bytes() == (run.path / run.layers.loc[position, "file"][frame]).read_bytes()
            with rasterio.open(path) as file:
                scale = about["projection"]["x_resolution"], about["projection"]["y_resolution"]
                left, top, right, bottom = about["bounds"]
                assert (left * scale[0], bottom * scale[1], right * scale[0], top * scale[1]) == tuple(file.bounds)
                assert file.crs == rasterio.CRS.from_string(about["projection"]["crs"])
    layers = json.loads((tmp_path / "out" / "config.json").read_text())["layers"]
    assert layers == {"image": {"type": "raster", "band_sets": [{"bands": ["B4", "B8"], "dtype": "uint16"}]}}


@pytest.mark.slow
def test_chips_between_the_pixels_of_rslearn_are_refused(demo_server: Server, tmp_path: Path) -> None:
    options = {"start": "2022-06-01", "end": "2022-09-01", "crs": "EPSG:32614", "grid": "10,0,3,0,-10,0"}
    run = sample(demo_server, tmp_path / "run", "S2", bands="B4", total=1, roi=FARMLAND, format="tif", **options)
    with pytest.raises(SystemExit, match="Fetch the chips with --crs EPSG:32614 --grid 10,0,0"):
        load("rslearn_windows.py")["arrange"](run.path, tmp_path / "out")


S2 = "COPERNICUS/S2_SR_HARMONIZED"
SHAPE = (40, 40)


@pytest.fixture(scope="module")
def burned(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    """Serve images before and after a fire, whose severity grows from west to east; the second has a gap."""
    folder = tmp_path_factory.mktemp("burned")
    for number, (day, values) in enumerate(zip(("2020-07-01", "2020-08-20"), burned_values(), strict=True)):
        path = folder / f"{number}.tif"
        write_geotiff(path, "EPSG:32613", Affine(10, 0, 500_000, 0, -10, 4_400_000), values, nodata=0)
        ingest(path, folder / "store", f"{S2}/scene_{number}", bands=["B8", "B12", "SCL"], time_start=day)
    store = str(folder / "store")
    return serve("--assets", store, "--no-demo", "--rate", "none", "--concurrency", "none")


def burned_values() -> tuple[Array, Array]:
    """Return NIR, SWIR and class before and after; (3, rows, columns)."""
    slope = np.broadcast_to(np.arange(SHAPE[1]), SHAPE)
    vegetation = np.full(SHAPE, 5)
    before = np.stack([np.full(SHAPE, 4000), np.full(SHAPE, 1500), vegetation]).astype("uint16")
    after = np.stack([4200 - 90 * slope, 1200 + 60 * slope, vegetation]).astype("uint16")
    after[:, :8, :] = 0
    return before, after


@pytest.mark.slow
def test_burn_severity_is_the_change_of_the_ratio_and_its_class(burned: Server, tmp_path: Path) -> None:
    places = tmp_path / "fires.csv"
    places.write_text(
        "fire,lon,lat,day\nridge,-104.997607,39.748060,2020-08-01\nearly,-104.997607,39.748060,2020-06-01\n"
    )
    run = sample(
        burned, tmp_path / "run", "S2", bands="B8,B12", index="NBR", points=places, columns="date=day", near="60d",
        frames="2:before-after", on_empty="skip", size=40, name="{fire}",
    )  # fmt: skip
    assert list(run.units["state"]) == ["done", "empty"]
    assert load("burn_severity.py")["write_severity"](run.path, tmp_path / "out") == 1
    nir, swir, _ = np.stack(burned_values(), axis=1).astype("float64")
    ratio = (nir - swir) / np.where(nir + swir > 0, nir + swir, np.nan)
    change = ratio[0] - ratio[1]
    with rasterio.open(tmp_path / "out" / "ridge.dnbr.tif") as file, rasterio.open(run.path / "ridge.t00.tif") as chip:
        assert (file.transform, file.crs) == (chip.transform, chip.crs)
        left, top = (round(v) for v in ~Affine(10, 0, 500_000, 0, -10, 4_400_000) * (file.bounds.left, file.bounds.top))
        inside = change[max(top, 0) : top + 40, max(left, 0) : left + 40]
        shown = file.read(1)[max(-top, 0) :, max(-left, 0) :][: inside.shape[0], : inside.shape[1]]
        np.testing.assert_allclose(shown, inside, atol=1e-6)
    assert inside.size > 0.8 * change.size
    classes = read(tmp_path / "out" / "ridge.severity.tif")[0]
    dnbr = read(tmp_path / "out" / "ridge.dnbr.tif")[0]
    steps = [dnbr < -0.1, dnbr < 0.1, dnbr < 0.27, dnbr < 0.44, dnbr < 0.66, dnbr >= 0.66]
    np.testing.assert_array_equal(classes, np.select(steps, range(1, 7), 0))
    assert set(np.unique(classes)) == {0, 2, 3, 4, 5, 6}


@pytest.mark.slow
def test_flood_pairs_are_of_one_orbit_on_both_sides_of_the_date(demo_server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"endpoint": demo_server.url, "rate": None, "executor": "threads", "quiet": True}
    floods = tmp_path / "floods.csv"
    floods.write_text((RECIPES / "floods.csv").read_text() + "desert,-104.8,40.4,2013-01-01\n")
    run = eechips.run(RECIPES / "flood_pairs.py", {"floods": str(floods), "size": 16}, out=tmp_path / "run", **options)
    assert list(run.units["state"]) == ["done", "done", "empty"]
    for unit in run.units["unit"][:2]:
        seen = images("COPERNICUS/S1_GRD", tuple(unit["coordinates"]), (2020, 5, 1), (2020, 9, 1))
        known = {image.properties["system:index"]: image.properties for image in seen}
        before, after = (known[unit["pair"][name][0]] for name in ("before", "after"))
        for name in ("relativeOrbitNumber_start", "orbitProperties_pass"):
            assert before[name] == after[name]
        day = np.datetime64(unit["day"], "ms").astype(int)
        assert before["system:time_start"] < day <= after["system:time_start"]
        between = [each for each in known.values() if before["system:time_start"] < each["system:time_start"] < day]
        assert all(each["relativeOrbitNumber_start"] != after["relativeOrbitNumber_start"] for each in between)
        for name in ("before", "after"):
            assert read(run.path / unit["flood"] / f"{name}.tif").shape == (2, 16, 16)
    choose_pair = load("flood_pairs.py")["choose_pair"]
    assert choose_pair([["a", 1, 7], ["b", 2, 9], ["c", 3, 8], ["d", 4, 7]], 3) == {
        "before": ["a", 1],
        "after": ["d", 4],
    }
    assert choose_pair([["a", 1, 7], ["b", 3, 8]], 3) is None
