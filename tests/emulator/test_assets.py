"""Ingestion into a folder and what the folder's store then says, against rasterio and pystac."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import rasterio.warp
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from eechips.emulator.assets import (
    AssetExistsError,
    AssetWriteError,
    FolderStore,
    IngestError,
    InvalidAssetIdError,
    InvalidStoreError,
    MissingCrsError,
    UnknownAssetError,
    UnreadableFileError,
    UnsafeHrefError,
    ingest,
    parse_properties,
    stac,
)
from eechips.emulator.assets.asset_names import check_id, folder_of, resolve_href
from eechips.emulator.model import AssetStore, FolderAsset, ImageAsset, PixelWindow, Query

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
ALBERS = "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +x_0=0 +y_0=0 +datum=WGS84 +units=m"
UTM = Affine(5.0, 0.0, 485900.0, 0.0, -5.0, 5209247.0)


def raster(path: Path, values: np.ndarray, **options: Any) -> Path:
    """A GeoTIFF of values with shape (bands, rows, columns)."""
    colours = options.pop("colorinterp", None)
    descriptions = options.pop("descriptions", None)
    scales = options.pop("scales", None)
    mask = options.pop("mask", None)
    colormap = options.pop("colormap", None)
    count, height, width = values.shape
    profile: dict[str, Any] = {"crs": "EPSG:26914", "transform": UTM, "photometric": "MINISBLACK", "alpha": "NO"}
    profile.update(options)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype, **profile
        ) as dataset,
    ):
        dataset.write(values)
        if descriptions:
            dataset.descriptions = descriptions
        if scales:
            dataset.scales = scales
        if colours:
            dataset.colorinterp = colours
        if colormap:
            dataset.write_colormap(1, colormap)
        if mask is not None:
            dataset.write_mask(mask)
    return path


def noise(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def image(store: FolderStore, asset_id: str) -> ImageAsset:
    found = store.get(asset_id)
    assert isinstance(found, ImageAsset)
    return found


def pixels(found: ImageAsset, band: int = 0) -> tuple[np.ndarray, np.ndarray]:
    info = found.bands[band]
    values, valid = info.source.read([info.index], PixelWindow(0, 0, info.grid.width, info.grid.height), 0)
    return values[0], valid[0]


def snapshot(folder: Path) -> dict[str, bytes]:
    """All published files of a store."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


# --- images ---------------------------------------------------------------------------------------------------


def test_an_image_is_kept_byte_for_byte(tmp_path: Path) -> None:
    values = noise(4, 300, 523)
    source = raster(tmp_path / "a.tif", values, nodata=0)
    ids = ingest(
        source,
        tmp_path / "store",
        "USDA/NAIP/DOQQ/m_1",
        time_start="2011-08-15",
        time_end="2011-08-16T12:30:00Z",
        bands=["R", "G", "B", "N"],
        properties={"cloud": 1.5, "tags": ["a", {"b": None}], "datetime": "mine"},
        clock=lambda: 1700000000.25,
    )
    assert ids == ["USDA/NAIP/DOQQ/m_1"]
    found = image(FolderStore(tmp_path / "store"), ids[0])
    assert found.id == ids[0]
    assert found.version == 1700000000250000
    assert dict(found.properties) == {
        "cloud": 1.5,
        "tags": ["a", {"b": None}],
        "datetime": "mine",
        "system:index": "m_1",
        "system:time_start": 1313366400000,
        "system:time_end": 1313497800000,
    }
    assert [band.name for band in found.bands] == ["R", "G", "B", "N"]
    grid = found.bands[0].grid
    assert (grid.crs, grid.transform, grid.width, grid.height) == ("EPSG:26914", UTM, 523, 300)
    with rasterio.open(source) as original:
        for number, band in enumerate(found.bands):
            assert (band.pixel_type.precision, band.pixel_type.minimum, band.pixel_type.maximum) == ("int", 0, 255)
            got, valid = pixels(found, number)
            assert got.tobytes() == original.read(number + 1).tobytes()
            np.testing.assert_array_equal(valid, original.read_masks(number + 1) != 0)
        west, south, east, north = rasterio.warp.transform_bounds(original.crs, 4326, *original.bounds)
    np.testing.assert_allclose(found.footprint.bounds, (west, south, east, north), atol=5e-5)


@settings(max_examples=25, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]),
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    count=st.integers(1, 5),
    terms=st.tuples(*[st.floats(-1e6, 1e6, allow_subnormal=False) for _ in range(2)]),
    pixel=st.floats(1e-3, 1e3),
    turned=st.booleans(),
    data=st.binary(min_size=8, max_size=64),
)
def test_any_raster_is_kept_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: str,
    width: int,
    height: int,
    count: int,
    terms: tuple[float, float],
    pixel: float,
    turned: bool,
    data: bytes,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    size = count * height * width * np.dtype(dtype).itemsize
    values = np.frombuffer((data * (size // len(data) + 1))[:size], dtype=dtype).reshape(count, height, width)
    skew = pixel / 3 if turned else 0.0
    transform = Affine(pixel, skew, terms[0], skew, -pixel, terms[1])
    raster(folder / "a.tif", values, transform=transform, crs="EPSG:3857")
    ingest(folder / "a.tif", folder / "store", "x/y")
    with FolderStore(folder / "store") as store:
        found = image(store, "x/y")
        with rasterio.open(folder / "a.tif") as original:
            assert found.bands[0].grid.transform == original.transform
        for number in range(count):
            assert pixels(found, number)[0].tobytes() == values[number].tobytes()
            assert pixels(found, number)[0].dtype == np.dtype(dtype)


def test_files_are_cloud_optimised(tmp_path: Path) -> None:
    raster(tmp_path / "a.tif", noise(3, 700, 1100))
    ingest(tmp_path / "a.tif", tmp_path / "store", "dem")
    (made,) = (tmp_path / "store").rglob("*.tif")
    with rasterio.open(made) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.block_shapes == [(256, 256)] * 3
        assert dataset.overviews(1) == [2, 4, 8]
        assert dataset.colorinterp == (ColorInterp.gray, ColorInterp.undefined, ColorInterp.undefined)
    found = image(FolderStore(tmp_path / "store"), "dem")
    assert found.bands[0].source.levels == (1, 2, 4, 8)


@pytest.mark.parametrize("resampling", ["nearest", "average", "mode", None])
def test_pyramids_are_made_as_asked(tmp_path: Path, resampling: str | None) -> None:
    values = noise(1, 400, 401)
    source = raster(tmp_path / "a.tif", values, nodata=3)
    ingest(source, tmp_path / "store", "dem", resampling=resampling)
    found = image(FolderStore(tmp_path / "store"), "dem")
    assert found.bands[0].source.levels == (1, 2)
    coarse, valid = found.bands[0].source.read([0], PixelWindow(0, 0, 201, 200), 1)
    with rasterio.open(source, "r+") as original:
        original.build_overviews([2], rasterio.enums.Resampling[resampling or "average"])
    with rasterio.open(source, overview_level=0) as overview:
        np.testing.assert_array_equal(coarse, overview.read())
        np.testing.assert_array_equal(valid, overview.read_masks() != 0)


def test_classes_with_colours_are_not_averaged(tmp_path: Path) -> None:
    values = np.where(noise(1, 300, 300) < 125, 1, 250).astype("uint8")
    raster(tmp_path / "a.tif", values, photometric="PALETTE", colormap={1: (255, 0, 0, 255), 250: (0, 0, 9, 255)})
    ingest(tmp_path / "a.tif", tmp_path / "store", "cdl")
    coarse, _ = image(FolderStore(tmp_path / "store"), "cdl").bands[0].source.read([0], PixelWindow(0, 0, 150, 150), 1)
    assert set(np.unique(coarse)) == {1, 250}


def test_pyramiding_policies_apply_by_band(tmp_path: Path) -> None:
    raster(tmp_path / "a.tif", noise(3, 300, 300), descriptions=["red", "qa", "nir"])
    ingest(tmp_path / "a.tif", tmp_path / "store", "x", resampling={"qa": "nearest"})
    found = image(FolderStore(tmp_path / "store"), "x")
    assert [band.name for band in found.bands] == ["red", "qa", "nir"]
    coarse, _ = found.bands[1].source.read([found.bands[1].index], PixelWindow(0, 0, 150, 150), 1)
    assert set(np.unique(coarse)) <= set(np.unique(noise(3, 300, 300)[1]))
    for number in range(3):
        np.testing.assert_array_equal(pixels(found, number)[0], noise(3, 300, 300)[number])


def test_a_mask_becomes_an_internal_mask(tmp_path: Path) -> None:
    mask = np.tri(300, 300, dtype=bool)
    raster(tmp_path / "a.tif", noise(2, 300, 300), mask=mask)
    ingest(tmp_path / "a.tif", tmp_path / "store", "x")
    found = image(FolderStore(tmp_path / "store"), "x")
    for band in (0, 1):
        values, valid = pixels(found, band)
        np.testing.assert_array_equal(values, noise(2, 300, 300)[band])
        np.testing.assert_array_equal(valid, mask)


COLOURS = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]


def test_an_alpha_band_is_a_mask(tmp_path: Path) -> None:
    values = noise(4, 60, 60)
    values[3] = np.where(np.arange(60) < 30, 0, 255)
    raster(tmp_path / "a.tif", values, colorinterp=COLOURS)
    for bands in (None, ["R", "G", "B"]):
        ingest(tmp_path / "a.tif", tmp_path / "store", "x", bands=bands)
        found = image(FolderStore(tmp_path / "store"), "x")
        assert [band.name for band in found.bands] == (bands or ["b1", "b2", "b3"])
        np.testing.assert_array_equal(pixels(found, 1)[0], values[1])
        np.testing.assert_array_equal(pixels(found, 1)[1], values[3] > 0)


def test_an_alpha_band_with_a_name_is_a_band(tmp_path: Path) -> None:
    values = noise(4, 60, 60)
    values[3, :30] = 0
    raster(tmp_path / "a.tif", values, colorinterp=COLOURS)
    ingest(tmp_path / "a.tif", tmp_path / "store", "x", bands=["R", "G", "B", "N"])
    found = image(FolderStore(tmp_path / "store"), "x")
    np.testing.assert_array_equal(pixels(found, 3)[0], values[3])
    assert all(pixels(found, band)[1].all() for band in range(4))


def test_nodata_can_be_given(tmp_path: Path) -> None:
    raster(tmp_path / "a.tif", noise(1, 30, 30))
    ingest(tmp_path / "a.tif", tmp_path / "store", "x", nodata=17)
    values, valid = pixels(image(FolderStore(tmp_path / "store"), "x"))
    np.testing.assert_array_equal(valid, values != 17)
    raster(tmp_path / "masked.tif", noise(1, 30, 30), mask=np.tri(30, 30, dtype=bool))
    with pytest.raises(IngestError, match="has a mask"):
        ingest(tmp_path / "masked.tif", tmp_path / "store", "x", nodata=17)
    with pytest.raises(IngestError, match="nodata value 300"):
        ingest(tmp_path / "a.tif", tmp_path / "store", "x", nodata=300)


def test_scale_and_offset_are_described_and_not_applied(tmp_path: Path) -> None:
    raster(tmp_path / "a.tif", noise(2, 9, 9), scales=(0.02, 1.0), descriptions=["LST", "QC"])
    ingest(tmp_path / "a.tif", tmp_path / "store", "x", properties={"LST_offset": 5})
    found = image(FolderStore(tmp_path / "store"), "x")
    assert found.properties["LST_scale"] == 0.02
    assert "QC_scale" not in found.properties
    np.testing.assert_array_equal(pixels(found)[0], noise(2, 9, 9)[0])


@pytest.mark.parametrize(
    ("crs", "name"),
    [("EPSG:4326", "EPSG:4326"), ("EPSG:32613", "EPSG:32613"), ("EPSG:5070", "EPSG:5070"), ("EPSG:3857", "EPSG:3857"),
     (SINUSOIDAL, "SR-ORG:6974")],
)  # fmt: skip
def test_known_crss_are_named(tmp_path: Path, crs: str, name: str) -> None:
    raster(tmp_path / "a.tif", noise(1, 9, 9), crs=crs, transform=Affine(0.1, 0, 20, 0, -0.1, 30))
    ingest(tmp_path / "a.tif", tmp_path / "store", "x")
    assert image(FolderStore(tmp_path / "store"), "x").bands[0].grid.crs == name


def test_other_crss_are_kept_as_wkt(tmp_path: Path) -> None:
    raster(tmp_path / "a.tif", noise(1, 9, 9), crs=ALBERS)
    ingest(tmp_path / "a.tif", tmp_path / "store", "x")
    kept = image(FolderStore(tmp_path / "store"), "x").bands[0].grid.crs
    with rasterio.open(tmp_path / "a.tif") as original:
        assert kept == original.crs.to_wkt()


def test_files_of_different_grids_make_one_image(tmp_path: Path) -> None:
    fine, coarse = noise(1, 60, 80, dtype="uint16"), noise(1, 30, 40, dtype="float32", seed=1)
    raster(tmp_path / "B2.tif", fine)
    raster(
        tmp_path / "B5.tif", coarse, transform=Affine(10.0, 0.0, 485900.0, 0.0, -10.0, 5209247.0), nodata=float("nan")
    )
    ids = ingest([tmp_path / "B5.tif", tmp_path / "B2.tif"], tmp_path / "store", "S2/scene", one_image=True)
    assert ids == ["S2/scene"]
    found = image(FolderStore(tmp_path / "store"), "S2/scene")
    assert [(band.name, band.grid.width, band.pixel_type.precision) for band in found.bands] == [
        ("B5", 40, "float"),
        ("B2", 80, "int"),
    ]
    np.testing.assert_array_equal(pixels(found, 0)[0], coarse[0])
    np.testing.assert_array_equal(pixels(found, 1)[0], fine[0])
    with pytest.raises(IngestError, match="2 bands"):
        ingest([tmp_path / "B5.tif", tmp_path / "B2.tif"], tmp_path / "store", "y", one_image=True, bands=["a"])


def test_several_files_make_several_images(tmp_path: Path) -> None:
    paths = [raster(tmp_path / f"{name}.tif", noise(1, 9, 9, seed=seed)) for seed, name in enumerate("cab")]
    ids = ingest(paths, tmp_path / "store", "A/B", properties={"n": 1})
    assert ids == ["A/B/c", "A/B/a", "A/B/b"]
    store = FolderStore(tmp_path / "store")
    collection = store.get("A/B")
    assert [found.id for found in collection.images(Query())] == ["A/B/a", "A/B/b", "A/B/c"]  # type: ignore[union-attr]
    np.testing.assert_array_equal(pixels(image(store, "A/B/c"))[0], noise(1, 9, 9, seed=0)[0])
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(paths[0], other)
    with pytest.raises(IngestError, match="both become"):
        ingest([paths[0], other / "c.tif"], tmp_path / "store", "A/B")


def test_a_band_per_date_becomes_an_image_per_date(tmp_path: Path) -> None:
    values = noise(3, 9, 9, dtype="int16")
    source = raster(tmp_path / "a.tif", values, descriptions=["2001-01-09", "2000-12-31", "2001-01-01"], nodata=4)
    ids = ingest(source, tmp_path / "store", "M/L", bands=["LST"], dates_from_bands=True)
    assert ids == ["M/L/2000_12_31", "M/L/2001_01_01", "M/L/2001_01_09"]
    store = FolderStore(tmp_path / "store")
    found = image(store, "M/L/2001_01_09")
    assert found.properties["system:time_start"] == 978998400000
    assert [band.name for band in found.bands] == ["LST"]
    got, valid = pixels(found)
    np.testing.assert_array_equal(got, values[0])
    np.testing.assert_array_equal(valid, values[0] != 4)
    assert [i.id for i in store.get("M/L").images(Query(start=978307200000))] == ids[1:]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("descriptions", "options", "message"),
    [
        (["2001-01-09", "red"], {}, "Band 2 of .* is not described by a date"),
        (["2001-01-09", "2001_01_09"], {}, "two bands of"),
        (["2001-01-09", "2001-01-10"], {"bands": ["a", "b"]}, "1 of 2001_01_09, but 2 names"),
        (["2001-01-09", "2001-01-10"], {"time_start": "2001-01-01"}, "leave time_start"),
        (["2001-01-09", "2001-13-10"], {}, "not described by a date"),
    ],
)
def test_invalid_series_are_refused(
    tmp_path: Path, descriptions: list[str], options: dict[str, Any], message: str
) -> None:
    raster(tmp_path / "a.tif", noise(2, 9, 9), descriptions=descriptions)
    with pytest.raises(IngestError, match=message):
        ingest(tmp_path / "a.tif", tmp_path / "store", "M/L", dates_from_bands=True, **options)


# --- what is refused ------------------------------------------------------------------------------------------


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    store, empty = tmp_path / "store", tmp_path / "empty"
    empty.mkdir()
    good = raster(tmp_path / "good.tif", noise(2, 9, 9))
    text = tmp_path / "text.tif"
    text.write_text("not a raster")
    (tmp_path / "cut.tif").write_bytes(raster(tmp_path / "whole.tif", noise(1, 500, 500)).read_bytes()[:5000])
    nowhere = raster(tmp_path / "nowhere.tif", noise(1, 9, 9), crs=None)
    complex_ = raster(tmp_path / "complex.tif", noise(1, 9, 9).astype("complex64"))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        unplaced = raster(tmp_path / "unplaced.tif", noise(1, 9, 9), transform=Affine.identity())
    cases: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
        (UnreadableFileError, "no file", tmp_path / "missing.tif", {}),
        (UnreadableFileError, "neither a raster nor a vector", text, {}),
        (UnreadableFileError, "holds no file that looks like", empty, {}),
        (UnreadableFileError, "is damaged", tmp_path / "cut.tif", {}),
        (MissingCrsError, "no coordinate reference system", nowhere, {}),
        (MissingCrsError, "not georeferenced", unplaced, {}),
        (IngestError, "complex", complex_, {}),
        (IngestError, "no file to ingest", [], {}),
        (IngestError, "2 bands, but 3 names", good, {"bands": ["a", "b", "c"]}),
        (IngestError, "must differ", good, {"bands": ["a", "a"]}),
        (IngestError, "not by 'cubic'", good, {"resampling": "cubic"}),
        (IngestError, "CRS 'EPSG:1' is not understood", good, {"crs": "EPSG:1"}),
        (IngestError, "is not a date", good, {"time_start": "15/08/2011"}),
        (IngestError, "end .* before the start", good, {"time_start": "2011-02-01", "time_end": "2011-01-01"}),
        (IngestError, "not a JSON value", good, {"properties": {"a": float("nan")}}),
        (IngestError, "Earth Engine's own", good, {"properties": {"system:index": "a"}}),
    ]
    for error, message, files, options in cases:
        with pytest.raises(error, match=message):
            ingest(files, store, "A/B/c", **options)
    assert not store.exists() or list(snapshot(store)) == ["catalog.json"]
    ingest(nowhere, store, "A/B/c", crs="EPSG:32613")
    assert image(FolderStore(store), "A/B/c").bands[0].grid.crs == "EPSG:32613"


def test_existing_ids_are_refused(tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", noise(1, 9, 9))
    store = tmp_path / "store"
    ingest(source, store, "A/B/c")
    before = snapshot(store)
    for asset_id, message in [
        ("A/B", "A/B is a collection already"),
        ("A", "A is a folder already"),
        ("A/B/c/d", "A/B/c is a image, so nothing"),
    ]:
        with pytest.raises(AssetExistsError, match=message):
            ingest(source, store, asset_id)
    assert snapshot(store) == before


HOSTILE = [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/../b",
    "a/./b",
    "a\\b",
    "a\0b",
    "a\nb",
    "a\u2028b",
    "x" * 300,
    "\udc80",
]


@pytest.mark.parametrize("asset_id", HOSTILE)
def test_invalid_ids_are_refused(tmp_path: Path, asset_id: str) -> None:
    source = raster(tmp_path / "a.tif", noise(1, 9, 9))
    with pytest.raises(InvalidAssetIdError, match="cannot be an asset id"):
        ingest(source, tmp_path / "store", asset_id)
    ingest(source, tmp_path / "store", "A/b")
    if asset_id:
        assert FolderStore(tmp_path / "store").get(asset_id) is None


@given(st.lists(st.text(st.characters(exclude_characters="/"), min_size=1), min_size=1, max_size=4).map("/".join))
def test_folders_of_ids_stay_inside_and_apart(asset_id: str) -> None:
    try:
        check_id(asset_id)
    except InvalidAssetIdError:
        return
    folder = folder_of(asset_id)
    assert folder.isascii()
    assert folder.count("/") == asset_id.count("/")
    for segment, name in zip(asset_id.split("/"), folder.split("/"), strict=True):
        assert "." not in name
        assert bytes.fromhex(name.split("=", 1)[1][:2]) if "=" in name else name == segment


def test_unusual_ids_are_served(tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", noise(1, 9, 9))
    ids = ["v1.0/catalog.json/item.json", "v1.0/.lock", "users/jo é/ü?x=1#y%2e", "CON", "a:b", "index.sqlite"]
    for asset_id in ids:
        ingest(source, tmp_path / "store", asset_id)
    store = FolderStore(tmp_path / "store")
    for asset_id in ids:
        assert image(store, asset_id).id == asset_id
    (tmp_path / "store" / ".index.sqlite").unlink()
    assert {asset_id: image(store, asset_id).id for asset_id in ids} == {asset_id: asset_id for asset_id in ids}


@pytest.mark.parametrize(
    "href",
    ["https://someone:secret@example.com/a.tif", "https:///a.tif", "http://example.com/a b.tif", "s3://bucket/a.tif",
     "file:///etc/passwd", "/etc/passwd", "../../../etc/passwd", "..\\a", "~/a", "/vsicurl/http://x", "", "a\0b",
     "../../../outside.tif"],
)  # fmt: skip
def test_references_out_of_the_store_are_refused(tmp_path: Path, href: str) -> None:
    ingest(raster(tmp_path / "outside.tif", noise(1, 9, 9)), tmp_path / "store", "A/b")
    path = tmp_path / "store" / "A" / "b" / "item.json"
    document = json.loads(path.read_text())
    document["assets"]["data"]["href"] = href
    path.write_text(json.dumps(document))
    touch(tmp_path / "store" / "A" / "collection.json")
    with pytest.raises(UnsafeHrefError):
        FolderStore(tmp_path / "store").get("A/b")


def test_symbolic_links_out_of_the_store_are_refused(tmp_path: Path) -> None:
    outside = raster(tmp_path / "outside.tif", noise(1, 9, 9))
    root = tmp_path / "store"
    ingest(outside, root, "A/b")
    (root / "in.tif").symlink_to(root / "A")
    (root / "out.tif").symlink_to(outside)
    (root / "up").symlink_to(tmp_path)
    assert resolve_href(root, "A/b/item.json", "../../in.tif") == "in.tif"
    for href in ("../../out.tif", "../../up/outside.tif"):
        with pytest.raises(UnsafeHrefError, match="outside the store"):
            resolve_href(root, "A/b/item.json", href)
    (stored,) = (root / "A" / "b").glob("*.tif")
    store = FolderStore(root)
    found = image(store, "A/b")
    stored.unlink()
    stored.symlink_to(outside)
    with pytest.raises(OSError, match="leads outside"):
        pixels(found)


def test_files_beside_a_raster_are_not_looked_at(tmp_path: Path) -> None:
    """GDAL would take overviews and masks from them, wherever their links and metadata lead."""
    root = tmp_path / "store"
    ingest(raster(tmp_path / "zeros.tif", np.zeros((1, 600, 600), dtype="uint8")), root, "A/b")
    secret = raster(tmp_path / "secret.tif", np.full((1, 300, 300), 77, dtype="uint8"))
    (stored,) = (root / "A" / "b").glob("*.tif")
    raster(stored, np.zeros((1, 600, 600), dtype="uint8"))  # without a pyramid of its own
    hint = f'<MDI key="OVERVIEW_FILE">{secret}</MDI>'
    metadata = f'<PAMDataset><Metadata domain="OVERVIEWS">{hint}</Metadata></PAMDataset>'
    mask = raster(tmp_path / "mask.tif", np.zeros((1, 600, 600), dtype="uint8"))
    for suffix in (".aux.xml", ".ovr", ".msk"):
        beside = stored.with_name(stored.name + suffix)
        if suffix == ".aux.xml":
            beside.write_text(metadata)
        else:
            beside.symlink_to(mask if suffix == ".msk" else secret)
        source = image(FolderStore(root), "A/b").bands[0].source
        assert source.read([0], PixelWindow(0, 0, 600, 600), 0)[1].all()
        with pytest.raises(OSError, match="verview"):
            source.read([0], PixelWindow(0, 0, 300, 300), 1)
        beside.unlink()


# --- the folder -----------------------------------------------------------------------------------------------


@pytest.fixture
def planet(tmp_path: Path) -> Iterator[FolderStore]:
    source = raster(tmp_path / "a.tif", noise(1, 9, 9))
    root = tmp_path / "planet"
    for day in (3, 1, 2):
        ingest(source, root, f"A/B/d{day}", time_start=f"2020-01-0{day}", properties={"day": day})
    ingest(source, root, "A/image")
    ingest(source, root, "top")
    with FolderStore(root) as store:
        yield store


def test_asset_stores_are_recognised(planet: FolderStore) -> None:
    store: AssetStore = planet
    assert list(store.children("")) == ["A", "top"]
    assert list(store.children("A")) == ["A/B", "A/image"]
    assert list(store.children("A/B")) == ["A/B/d1", "A/B/d2", "A/B/d3"]
    assert list(store.children("nothing")) == []
    assert store.get("") == FolderAsset("")
    assert store.get("nothing/there") is None
    assert store.describe() == {
        "type": "folder", "path": str(planet.path), "folder": 0, "collection": 2, "image": 5, "table": 0,
    }  # fmt: skip


def test_listings(planet: FolderStore) -> None:
    listed = [(line.id, line.type, line.size, line.names) for line in planet.summaries()]
    assert listed == [
        ("A", "IMAGE_COLLECTION", 1, ["b1"]),
        ("A/B", "IMAGE_COLLECTION", 3, ["b1"]),
        ("top", "IMAGE", 1, ["b1"]),
    ]
    assert [line.id for line in planet.summaries("A/B")] == ["A/B/d1", "A/B/d2", "A/B/d3"]
    (one,) = planet.summaries("A/B/d2")
    assert (one.type, one.time_start) == ("IMAGE", 1577923200000)
    with pytest.raises(UnknownAssetError, match="no asset 'A/C'"):
        list(planet.summaries("A/C"))


def test_pystac_reads_the_folder(planet: FolderStore) -> None:
    catalog = pystac.Catalog.from_file(str(planet.path / "catalog.json"))
    items = {item.id: item for item in catalog.get_items(recursive=True)}
    assert sorted(items) == ["A/B/d1", "A/B/d2", "A/B/d3", "A/image", "top"]
    item = items["A/B/d2"]
    assert item.datetime is not None
    assert item.datetime.isoformat() == "2020-01-02T00:00:00+00:00"
    assert item.get_parent().id == "A/B"  # type: ignore[union-attr]
    href = item.assets["data"].get_absolute_href()
    assert href is not None
    with rasterio.open(href) as dataset:
        np.testing.assert_array_equal(dataset.read(), noise(1, 9, 9))
        assert item.assets["data"].extra_fields["proj:transform"] == list(dataset.transform)[:6]
    assert shapely.geometry.shape(item.geometry).is_valid
    collection = item.get_collection()
    assert collection is not None
    moments = [moment.isoformat()[:10] for moment in collection.extent.temporal.intervals[0] if moment]
    assert moments == ["2020-01-01", "2020-01-03"]


def test_ingesting_again_replaces(tmp_path: Path, planet: FolderStore) -> None:
    before = snapshot(planet.path)
    old = image(planet, "A/B/d1")
    again = raster(tmp_path / "again.tif", noise(1, 20, 20, seed=9))
    ingest(again, planet.path, "A/B/d1", time_start="2021-01-01")
    new = image(planet, "A/B/d1")
    np.testing.assert_array_equal(pixels(new)[0], noise(1, 20, 20, seed=9)[0])
    assert "day" not in new.properties
    assert not Path(old.bands[0].source.path).exists()  # type: ignore[attr-defined]
    assert len(snapshot(planet.path)) == len(before)
    assert [found.id for found in planet.get("A/B").images(Query(start=1600000000000))] == ["A/B/d1"]  # type: ignore[union-attr]
    assert planet.describe()["image"] == 5


def test_ingesting_the_same_changes_nothing_but_versions(tmp_path: Path, planet: FolderStore) -> None:
    before = snapshot(planet.path)
    ingest(tmp_path / "a.tif", planet.path, "A/B/d1", time_start="2020-01-01", properties={"day": 1})
    after = snapshot(planet.path)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {Path(name).name for name in changed} == {"item.json", "collection.json", "catalog.json"}


def test_a_store_pickles_by_its_path(planet: FolderStore) -> None:
    copy = pickle.loads(pickle.dumps(planet))
    assert image(copy, "top").bands == image(planet, "top").bands
    found = pickle.loads(pickle.dumps(image(planet, "top")))
    np.testing.assert_array_equal(pixels(found)[0], noise(1, 9, 9)[0])


def test_folders_that_are_no_stores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidStoreError, match="no folder"):
        FolderStore(tmp_path / "missing")
    with pytest.raises(InvalidStoreError, match="holds no assets"):
        FolderStore(tmp_path)
    (tmp_path / "catalog.json").write_text("{")
    with pytest.raises(InvalidStoreError, match="cannot be read as a STAC document"):
        FolderStore(tmp_path).get("a")


def test_a_full_disk_leaves_the_store_unchanged(tmp_path: Path, planet: FolderStore) -> None:
    big = raster(tmp_path / "big.tif", noise(1, 1200, 1200))
    before = snapshot(planet.path)
    code = (
        "import resource, signal, sys\n"
        "from eechips.emulator.assets import AssetWriteError, ingest\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try:\n"
        f"    ingest({str(big)!r}, {str(planet.path)!r}, 'A/B/d1')\n"
        "except AssetWriteError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip(), done.stderr
    assert snapshot(planet.path) == before
    assert not list(planet.path.rglob(".tmp-*"))


def test_a_failed_ingestion_leaves_the_store_unchanged(tmp_path: Path, planet: FolderStore) -> None:
    sources = [raster(tmp_path / f"d{n}.tif", noise(1, 9, 9, seed=n)) for n in (1, 2, 3, 4)]
    before = snapshot(planet.path)
    obstacle = planet.path / "A" / "B" / "d3" / ".tmp-item.json"
    obstacle.mkdir()
    with pytest.raises(AssetWriteError, match=r"Cannot write .*d3/item\.json: Is a directory"):
        ingest(sources, planet.path, "A/B")
    obstacle.rmdir()
    assert snapshot(planet.path) == before
    assert not list(planet.path.rglob(".tmp-*"))
    assert not (planet.path / "A" / "B" / "d4").exists()
    assert ingest(sources, planet.path, "A/B") == [f"A/B/d{n}" for n in (1, 2, 3, 4)]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_an_unwritable_folder_is_reported(tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", noise(1, 9, 9))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(AssetWriteError, match="Permission denied"):
        ingest(source, closed / "store", "a")


def test_concurrent_ingestion_and_reading_agree(tmp_path: Path) -> None:
    root = tmp_path / "store"
    sources = [raster(tmp_path / f"{n}.tif", noise(1, 9, 9, seed=n)) for n in range(8)]
    ingest(sources[0], root, "A/B/i0")
    code = (
        "import sys\n"
        "from eechips.emulator.assets import ingest\n"
        "for n in sys.argv[3:]: ingest(f'{sys.argv[1]}/{n}.tif', sys.argv[2], f'A/B/i{n}')\n"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(root), *numbers])
        for numbers in (["1", "2", "3"], ["4", "5", "6", "7"])
    ]
    with FolderStore(root) as store, ThreadPoolExecutor(2) as executor:

        def look(_: int) -> int:
            images = list(store.get("A/B").images(Query()))  # type: ignore[union-attr]
            for found in images:
                np.testing.assert_array_equal(pixels(found)[0], noise(1, 9, 9, seed=int(found.id[-1]))[0])
            return len(images)

        while any(run.poll() is None for run in runs):
            list(executor.map(look, range(4)))
        assert all(run.returncode == 0 for run in runs)
        assert look(0) == 8


def touch(path: Path) -> None:
    """Gives a document another modification time, as an editor does."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


# --- small things ---------------------------------------------------------------------------------------------


def test_properties_are_parsed_from_the_command_line() -> None:
    assert parse_properties(["a=1", "b=-2.5e3", "c=x=y", "d=", "e=1_0", "f=007", "g=nan", "h=.5", "i=+3"]) == {
        "a": 1, "b": -2500.0, "c": "x=y", "d": "", "e": "1_0", "f": 7, "g": "nan", "h": 0.5, "i": 3,
    }  # fmt: skip
    for wrong in ("a", "=1"):
        with pytest.raises(IngestError, match="name=value"):
            parse_properties([wrong])


@pytest.mark.parametrize("value", [None, 1, "href", {"rel": "item"}])
def test_invalid_links_of_a_document_are_ignored(value: Any) -> None:
    assert stac.links({"links": value}, "item") == []
