"""Images that are made of many files of an archive: WorldCover, NASADEM, surface water, MODIS."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.merge import merge

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_list import PLANETARY_COMPUTER
from eechips_local.archives.archive_store import ArchiveStore
from eechips_local.archives.items.item_conditions import meets_bounds
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query
from local_tests.archives.listed_items import FolderReader, ListedItems
from local_tests.archives.sample_items import stac_item, write_cog

pytestmark = pytest.mark.unit

AZURE = "https://ai4edataeuwest.blob.core.windows.net"
SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
EDGE = 1111950.5196666666


def store_of(folder: Path, collection: str, items: list[dict[str, Any]]) -> tuple[ArchiveStore, ListedItems]:
    search = ListedItems({collection: items})
    return ArchiveStore(PLANETARY_COMPUTER, search, FolderReader(folder)), search


def elevation_tile(folder: Path, south: int, west: int, values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The corner of a tile of NASADEM towards 11 E, 46 N; its outermost pixels are those of its neighbours, too."""
    name = f"NASADEM_HGT_n{south:02d}e{west:03d}"
    corner = (11.0 - (300 / 3600 if west == 10 else 0.0), 46.0 + (300 / 3600 if south == 46 else 0.0))
    grid = Affine(1 / 3600, 0.0, corner[0] - 1 / 7200, 0.0, -1 / 3600, corner[1] + 1 / 7200)
    declared = write_cog(folder / f"{name}.tif", values, grid, "EPSG:4326", nodata=-32768)
    return stac_item(
        name,
        "nasadem",
        [west - 1 / 7200, south - 1 / 7200, west + 1 + 1 / 7200, south + 1 + 1 / 7200],
        {"datetime": "2000-02-20T00:00:00Z", "proj:epsg": 4326, **declared},
        {"elevation": {"href": f"{AZURE}/nasadem-cog/v001/{name}.tif"}},
    )


@pytest.fixture(scope="module")
def elevation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Four neighbouring tiles, which overlap by a pixel: 601 x 601 pixels around a corner."""
    folder = tmp_path_factory.mktemp("nasadem")
    rows, columns = np.mgrid[0:601, 0:601]
    ground = ((rows * 7 + columns * 3) % 3000).astype(np.int16)
    ground[100:140, 290:310] = -32768
    items = [
        elevation_tile(folder, 46 - south, 10 + east, ground[None, south * 300 :, east * 300 :][:, :301, :301])
        for south in (0, 1)
        for east in (0, 1)
    ]
    return folder, items


def window_at(image: ImageAsset, west: float, north: float, width: int, height: int) -> PixelWindow:
    grid = image.bands[0].grid
    column, row = (round(each) for each in ~grid.transform @ (west, north))
    return PixelWindow(column, row, width, height)


def test_window_over_four_tiles_is_their_mosaic(elevation: Any) -> None:
    folder, items = elevation
    store, search = store_of(folder, "nasadem", items)
    image = store.get("NASA/NASADEM_HGT/001")
    assert isinstance(image, ImageAsset)
    assert search.asked == []
    west, north = 11.0 - 201 / 7200, 46.0 + 441 / 7200
    window = window_at(image, west, north, 350, 400)
    values, valid = image.bands[0].source.read([0], window, 0)
    files = [folder / f"{item['id']}.tif" for item in items]
    expected, _ = merge(files, bounds=(west, north - 400 / 3600, west + 350 / 3600, north), nodata=-32768)
    assert values.shape == expected.shape
    assert np.array_equal(valid, expected != -32768)
    assert np.array_equal(values[valid], expected[valid])
    assert len(search.asked) == 1
    image.bands[0].source.read([0], window_at(image, 10.99, 46.01, 50, 50), 0)
    assert len(search.asked) == 1


def test_sea_is_masked(elevation: Any) -> None:
    folder, items = elevation
    store, _ = store_of(folder, "nasadem", items)
    image: Any = store.get("NASA/NASADEM_HGT/001")
    window = window_at(image, 11.0 + 200 / 3600, 45.98, 200, 10)
    _, valid = image.bands[0].source.read([0], window, 0)
    assert valid[0, :, :100].all()
    assert not valid[0, :, 102:].any()
    _, valid = image.bands[0].source.read([0], window_at(image, 40.0, 10.0, 20, 20), 0)
    assert not valid.any()


def test_coarser_level_takes_the_pixels_at_its_centres(elevation: Any) -> None:
    folder, items = elevation
    store, _ = store_of(folder, "nasadem", items)
    image: Any = store.get("NASA/NASADEM_HGT/001")
    fine = window_at(image, 11.02, 45.99, 64, 64)
    source = image.bands[0].source
    coarse, _ = source.read([0], PixelWindow(fine.column // 4, fine.row // 4, 10, 10), 2)
    whole, _ = source.read([0], PixelWindow(fine.column // 4 * 4, fine.row // 4 * 4, 40, 40), 0)
    near = {int(value) for value in whole[0, 1:4, 1:4].ravel()}
    assert source.levels == (1, 2, 4, 8)
    assert int(coarse[0, 0, 0]) in near
    assert np.array_equal(np.diff(coarse[0].astype(int)[0]) % 3000, np.full(9, 12))


def test_large_window_is_refused(elevation: Any) -> None:
    folder, items = elevation
    store, _ = store_of(folder, "nasadem", items)
    image: Any = store.get("NASA/NASADEM_HGT/001")
    with pytest.raises(ArchiveRefusedError, match="ask for a smaller region"):
        image.bands[0].source.read([0], PixelWindow(0, 0, 40_000, 40_000), 3)


def cover_tile(folder: Path, version: str, corner: str, codes: np.ndarray[Any, Any]) -> dict[str, Any]:
    year, number = {"v100": (2020, "1.0.0"), "v200": (2021, "2.0.0")}[version]
    name = f"ESA_WorldCover_10m_{year}_{version}_{corner}"
    grid = Affine(1 / 12000, 0.0, 9.0, 0.0, -1 / 12000, 48.0)
    declared = write_cog(folder / f"{name}.tif", codes, grid, "EPSG:4326", nodata=0)
    return stac_item(
        name,
        "esa-worldcover",
        [9.0, 45.0, 12.0, 48.0],
        {
            "datetime": None,
            "start_datetime": f"{year}-01-01T00:00:00Z",
            "end_datetime": f"{year}-12-31T23:59:59Z",
            "esa_worldcover:product_version": number,
            "proj:epsg": 4326,
            **declared,
        },
        {"map": {"href": f"{AZURE}/esa-worldcover/{name}.tif"}},
    )


def test_worldcover_is_one_image_of_each_version(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    old, new = (rng.integers(0, 11, (1, 64, 64)).astype(np.uint8) * 10 for _ in range(2))
    items = [cover_tile(tmp_path, "v100", "N45E009", old), cover_tile(tmp_path, "v200", "N45E009", new)]
    store, _ = store_of(tmp_path, "esa-worldcover", items)
    for version, year, codes in (("v100", "2020", old), ("v200", "2021", new)):
        collection: Any = store.get(f"ESA/WorldCover/{version}")
        [image] = collection.images(Query())
        assert image.id == f"ESA/WorldCover/{version}/{year}"
        values, valid = image.bands[0].source.read([0], window_at(image, 9.0, 48.0, 64, 64), 0)
        assert np.array_equal(valid, codes != 0)
        assert np.array_equal(values, codes)
        assert image.properties["Map_class_values"][0] == 10
        found = store.get(f"ESA/WorldCover/{version}/{year}")
        assert isinstance(found, ImageAsset)
        assert found.id == image.id


def test_coarse_levels_come_from_overviews(tmp_path: Path) -> None:
    codes = np.random.default_rng(4).integers(1, 11, (1, 64, 64)).astype(np.uint8) * 10
    item = cover_tile(tmp_path, "v200", "N45E009", codes)
    store, _ = store_of(tmp_path, "esa-worldcover", [item])
    image: Any = store.get("ESA/WorldCover/v200/2021")
    window = window_at(image, 9.0, 48.0, 64, 64)
    values, _ = image.bands[0].source.read([0], PixelWindow(window.column // 2, window.row // 2, 32, 32), 1)
    with rasterio.open(tmp_path / f"{item['id']}.tif", overview_level=0) as overview:
        assert np.array_equal(values, overview.read())


def modis_tile(folder: Path, prefix: str, day: str, h: int, v: int, values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """A tile of a date ("2022017"); small: its pixels are some hundredths of the edge."""
    name = f"{prefix}.A{day}.h{h:02d}v{v:02d}.061.2022034062513"
    pixel = 926.625433055
    west, north = -20015109.354 + h * EDGE, 10007554.677 - v * EDGE
    declared = write_cog(folder / f"{name}.tif", values, Affine(pixel, 0, west, 0, -pixel, north), SINUSOIDAL)
    return stac_item(
        name,
        "modis-11A1-061",
        [0.0, 40.0, 15.6, 50.0] if (h, v) == (18, 4) else [11.0, 40.0, 28.0, 50.0],
        {
            "datetime": None,
            "start_datetime": "2022-01-17T00:00:00Z" if day == "2022017" else "2022-01-18T00:00:00Z",
            "end_datetime": "2022-01-17T23:59:59Z" if day == "2022017" else "2022-01-18T23:59:59Z",
            "proj:epsg": None,
            "proj:wkt2": rasterio.crs.CRS.from_proj4(SINUSOIDAL).to_wkt(),
            **declared,
        },
        {"LST_Day_1km": {"href": f"{AZURE}/modis-061-cogs/{name}.tif"}},
    )


@pytest.fixture(scope="module")
def modis(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], np.ndarray[Any, Any]]:
    """Two tiles of Terra side by side on one day, one of them on another day, and one of Aqua."""
    folder = tmp_path_factory.mktemp("modis")
    ground = np.random.default_rng(5).integers(12_000, 16_000, (1, 1200, 2400)).astype(np.uint16)
    ground[0, :10] = 0
    items = [
        modis_tile(folder, "MOD11A1", "2022017", 18, 4, ground[:, :, :1200]),
        modis_tile(folder, "MOD11A1", "2022017", 19, 4, ground[:, :, 1200:]),
        modis_tile(folder, "MOD11A1", "2022018", 18, 4, ground[:, :, :1200] + 1),
        modis_tile(folder, "MYD11A1", "2022017", 18, 4, ground[:, :, :1200] + 2),
    ]
    return folder, items, ground


def test_modis_has_a_global_image_for_each_date(modis: Any) -> None:
    folder, items, ground = modis
    store, search = store_of(folder, "modis-11A1-061", items)
    collection: Any = store.get("MODIS/061/MOD11A1")
    images = list(collection.images(Query(bounds=(-120.0, 30.0, -119.0, 31.0))))
    assert [image.properties["system:index"] for image in images] == ["2022_01_17", "2022_01_18"]
    assert len(search.asked) == 1
    image = images[0]
    assert image.id == "MODIS/061/MOD11A1/2022_01_17"
    assert image.properties["system:time_start"] == 1_642_377_600_000.0
    assert image.properties["system:time_end"] == 1_642_464_000_000.0
    grid = image.bands[0].grid
    assert (grid.crs, grid.width, grid.height) == ("SR-ORG:6974", 43_200, 21_600)
    values, valid = image.bands[0].source.read([0], PixelWindow(18 * 1200 + 1100, 4 * 1200, 200, 50), 0)
    expected = ground[:, :50, 1100:1300]
    assert np.array_equal(valid, expected != 0)
    assert np.array_equal(values[valid], expected[valid])


def test_terra_and_aqua_share_a_collection_but_no_image(modis: Any) -> None:
    folder, items, ground = modis
    store, _ = store_of(folder, "modis-11A1-061", items)
    window = PixelWindow(18 * 1200 + 20, 4 * 1200 + 30, 10, 10)
    for satellite, more in (("MOD", 0), ("MYD", 2)):
        image = store.get(f"MODIS/061/{satellite}11A1/2022_01_17")
        assert isinstance(image, ImageAsset)
        values, _ = image.bands[0].source.read([0], window, 0)
        assert np.array_equal(values[0], ground[0, 30:40, 20:30] + more)
    assert store.get("MODIS/061/MYD11A1/2022_01_18") is None


def test_mosaics_pickle(modis: Any) -> None:
    folder, items, _ = modis
    store, _ = store_of(folder, "modis-11A1-061", items)
    image: Any = store.get("MODIS/061/MOD11A1/2022_01_17")
    window = PixelWindow(18 * 1200 + 20, 4 * 1200 + 30, 10, 10)
    again = pickle.loads(pickle.dumps(image.bands[0].source))
    for one, other in zip(again.read([0], window, 0), image.bands[0].source.read([0], window, 0), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("box", [None, [], ["a", 0, 1, 1], [0, 1], {"west": 1}, 7])
def test_item_whose_box_cannot_be_understood_may_be_anywhere(box: Any) -> None:
    assert meets_bounds({"bbox": box}, (10.0, 10.0, 11.0, 11.0))


def test_box_across_the_antimeridian_meets_both_sides() -> None:
    item = {"bbox": [179.0, -20.0, -179.0, -10.0]}
    assert meets_bounds(item, (179.5, -15.0, 179.6, -14.0))
    assert meets_bounds(item, (-179.6, -15.0, -179.5, -14.0))
    assert not meets_bounds(item, (0.0, -15.0, 1.0, -14.0))
    assert meets_bounds({"bbox": [179.0, -20.0, 0.0, 180.0, -10.0, 9.0]}, (179.5, -15.0, -179.5, -14.0))


@pytest.mark.parametrize(
    ("band", "asset", "masked"),
    [
        ("occurrence", "occurrence", (0, 255)),
        ("seasonality", "seasonality", (0, 255)),
        ("transition", "transitions", (0, 255)),
        ("max_extent", "extent", (255,)),
    ],
)
def test_places_without_water_are_masked(band: str, asset: str, masked: tuple[int, ...], tmp_path: Path) -> None:
    """Earth Engine's catalogue: "Areas where water has never been detected are masked"; scripts use max_extent's 0."""
    codes = np.array([[[0, 1, 255]]], np.uint8).repeat(3, axis=1)
    grid = Affine(0.00025, 0.0, 10.0, 0.0, -0.00025, 50.0)
    declared = write_cog(tmp_path / "water.tif", codes, grid, "EPSG:4326")
    assets = {asset: {"href": f"{AZURE}/jrc/water.tif", **declared}}
    properties = {"datetime": "2020-12-31T00:00:00Z", "proj:epsg": 4326}
    item = stac_item("10E_50Nv1_3_2020", "jrc-gsw", [10.0, 40.0, 20.0, 50.0], properties, assets)
    image: Any = store_of(tmp_path, "jrc-gsw", [item])[0].get("JRC/GSW1_3/GlobalSurfaceWater")
    [source] = [own.source for own in image.bands if own.name == band]
    _, valid = source.read([0], window_at(image, 10.0, 50.0, 3, 3), 0)
    assert np.array_equal(valid, ~np.isin(codes, masked))
