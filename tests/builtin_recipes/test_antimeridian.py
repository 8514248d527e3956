"""One answer across 180 degrees, from every command that fetches, however region and raster write longitudes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio
import rasterio.warp
import shapely
from affine import Affine

import eechips
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from tests.support import coded_store
from tests.support.commands import run_command

WORLD = "users/someone/worlds/{}"
# Where the rasters begin: they go around the Earth, or lie across 180.
WESTS = {"plain": (-180, 360), "shifted": (0, 360), "narrow": (170, 20)}
BOX = (172.0, -8.0, -172.0, 8.0)
REGIONS = ("west over east", "beyond 180", "in two parts")


def _values(longitude: Any, latitude: Any) -> npt.NDArray[np.int32]:
    found = np.floor((np.asarray(longitude) + 180.0) % 360.0) * 200 + np.floor(np.asarray(latitude) + 90.0)
    return found.astype(np.int32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    folder = tmp_path_factory.mktemp("worlds")
    for name, (west, width) in WESTS.items():
        longitudes, latitudes = west + np.arange(width) + 0.5, 90.0 - np.arange(180) - 0.5
        path = folder / f"{name}.tif"
        transform = Affine(1, 0, west, 0, -1, 90)
        coded_store.write_geotiff(path, "EPSG:4326", transform, _values(longitudes[None, :], latitudes[:, None])[None])
        asset = f"{WORLD.format(name)}/one"
        ingest(path, folder / "store", asset, bands=["value"], time_start="2020-06-15")
    return serve("--assets", str(folder / "store"), "--no-demo", "--rate", "none", "--concurrency", "none")


def _region(folder: Path, written: str) -> str:
    if written == "west over east":
        return ",".join(map(str, BOX))
    halves = [shapely.box(172, -8, 180, 8), shapely.box(-180, -8, -172, 8)]
    shape = shapely.box(172, -8, 188, 8) if written == "beyond 180" else shapely.MultiPolygon(halves)
    gpd.GeoDataFrame({"name": ["one"]}, geometry=[shape], crs="EPSG:4326").to_file(folder / "region.geojson")
    return str(folder / "region.geojson")


def _check(path: Path, size: tuple[int, int] | None) -> None:
    """Every pixel of a file is valid, and has the value of its place."""
    with rasterio.open(path) as file:
        assert size is None or (file.width, file.height) == size
        assert (file.read_masks(1) > 0).all()
        columns, rows = np.meshgrid(np.arange(file.width) + 0.5, np.arange(file.height) + 0.5)
        x, y = file.transform * (columns, rows)
        if not file.crs.is_geographic:
            flat = rasterio.warp.transform(file.crs, "EPSG:4326", x.ravel(), y.ravel())
            x, y = (np.array(part).reshape(x.shape) for part in flat)
        assert (file.read(1) == _values(x, y)).all()


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("world", "written"),
    [
        (list(WESTS)[-1], list(REGIONS)[-1]),
        *(
            pytest.param(world, written, marks=pytest.mark.slow)
            for world in WESTS
            for written in REGIONS
            if (world, written) != (list(WESTS)[-1], list(REGIONS)[-1])
        ),
    ],
)
def test_images_composites_and_mosaic_have_all_pixels(server: Server, tmp_path: Path, world: str, written: str) -> None:
    common: dict[str, Any] = {"endpoint": server.url, "rate": None, "executor": "threads", "quiet": True}
    common["roi"] = _region(tmp_path, written)
    dataset = WORLD.format(world)
    for name, run in (
        ("images", eechips.images(dataset, out=tmp_path / "images", **common)),
        ("composites", eechips.composites(dataset, every="1 month", out=tmp_path / "composites", **common)),
    ):
        (unit,) = run.units.to_dict("records")
        assert unit["valid_fraction"] == 1.0, name
        _check(run.path / unit["file"], (16, 16))
    mosaic = eechips.mosaic(dataset, reducer="mosaic", out=tmp_path / "mosaic", **common)
    _check(mosaic.assembled[0], (16, 16))


@pytest.mark.slow
@pytest.mark.parametrize(("world", "written"), [("shifted", "beyond 180"), ("plain", "in two parts")])
def test_a_region_of_a_file_has_all_pixels(server: Server, tmp_path: Path, world: str, written: str) -> None:
    common: dict[str, Any] = {"endpoint": server.url, "rate": None, "executor": "threads", "quiet": True, "clip": True}
    common |= {"regions": _region(tmp_path, written), "columns": "id=name"}
    dataset = WORLD.format(world)
    for run in (
        eechips.images(dataset, out=tmp_path / "images", **common),
        eechips.composites(dataset, every="1 month", out=tmp_path / "composites", **common),
    ):
        (unit,) = run.units.to_dict("records")
        assert unit["valid_fraction"] == 1.0
        _check(run.path / unit["file"], (16, 16))


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["EPSG:3832", "EPSG:32601", "EPSG:3460"])
def test_maps_that_go_on_across_180_have_all_pixels(server: Server, tmp_path: Path, crs: str) -> None:
    common: dict[str, Any] = {"endpoint": server.url, "rate": None, "executor": "threads", "quiet": True, "crs": crs}
    common |= {"roi": "177.0,-18.0,-178.0,-15.0", "scale": 50_000.0}
    dataset = WORLD.format("plain")
    for run in (
        eechips.images(dataset, out=tmp_path / "images", **common),
        eechips.composites(dataset, every="1 month", out=tmp_path / "composites", **common),
        eechips.mosaic(dataset, reducer="mosaic", out=tmp_path / "mosaic", **common),
    ):
        path = run.assembled[0] if run.assembled else run.path / run.units["file"][0]
        _check(path, None)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "crs", ["native", *(pytest.param(crs, marks=pytest.mark.slow) for crs in ("utm", "EPSG:4326"))]
)
def test_chips_across_180_are_whole(server: Server, tmp_path: Path, crs: str) -> None:
    places = tmp_path / "places.csv"
    places.write_text("lon,lat\n179.9,5.5\n-179.9,5.5\n180,-3.2\n-176.1,5\n", encoding="utf-8")
    for world in WESTS:
        scale = {} if crs == "native" else {"scale": 50_000.0}
        run = eechips.sample(
            WORLD.format(world), points=str(places), size=6, crs=crs, bands="value", endpoint=server.url, rate=None,
            executor="threads", quiet=True, out=tmp_path / world, **scale,
        )  # fmt: skip
        assert run.counts == {"done": 4}, run.failures["error"].tolist()
        for name in run.units["file"]:
            _check(run.path / name, (6, 6))


def _series(server: Server, folder: Path, world: str, written: str, **options: Any) -> float:
    run = eechips.timeseries(
        WORLD.format(world), regions=_region(folder, written), bands="value", endpoint=server.url, rate=None,
        executor="threads", quiet=True, output="one", out=folder / f"{world}-{written}", **options,
    )  # fmt: skip
    return float(pd.read_parquet(run.assembled[0])["value"].iloc[0])


@pytest.mark.exhaustive
@pytest.mark.parametrize("crs", ["native", "EPSG:6933", "EPSG:32601"])
def test_series_and_points_are_those_of_the_circle(server: Server, tmp_path: Path, crs: str) -> None:
    longitudes, latitudes = np.meshgrid(np.arange(172, 188) + 0.5, np.arange(-8, 8) + 0.5)
    weights = np.ones(longitudes.shape) if crs == "native" else np.cos(np.radians(latitudes))
    expected = float((_values(longitudes, latitudes) * weights).sum() / weights.sum())
    options = {} if crs == "native" else {"crs": crs, "scale": 5_000.0}
    for world in WESTS:
        for written in REGIONS[1:]:
            assert _series(server, tmp_path, world, written, **options) == pytest.approx(expected, rel=1e-2)
    if crs != "native":
        return
    frame = pd.DataFrame({"lon": [-170.5, 189.5, 180.0, -180.0, 179.5], "lat": [5.5] * 5})
    for world in WESTS:
        run = eechips.points(
            WORLD.format(world), frame, endpoint=server.url, quiet=True, executor="threads", out=tmp_path / f"p{world}"
        )
        table = pd.read_parquet(run.assembled[0])
        assert table["value"].tolist() == _values(frame["lon"], frame["lat"]).tolist()


@pytest.mark.parametrize(("world", "is_noted"), [("plain", False), ("shifted", True), ("narrow", True)])
def test_an_ingestion_says_how_longitudes_beyond_180_are_read(tmp_path: Path, world: str, is_noted: bool) -> None:
    west, width = WESTS[world]
    path = tmp_path / "raster.tif"
    coded_store.write_geotiff(
        path, "EPSG:4326", Affine(1, 0, west, 0, -1, 90), np.ones((1, 180, width), dtype=np.uint8)
    )
    words = ["assets", "ingest", str(path), "--into", str(tmp_path / "store"), "--id", "users/me/raster"]
    done = run_command(*words, status=0)
    assert ("Note: longitudes of users/me/raster are" in done.output) == is_noted
    assert ("shift the raster to -180 to 180" in done.output) == is_noted
