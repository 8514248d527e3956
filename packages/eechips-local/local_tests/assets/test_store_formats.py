"""Images that are ingested into a folder and read from its store, against rasterio."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import rasterio.warp
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from eechips_local.assets import FolderStore, IngestError, ingest, parse_properties
from eechips_local.assets.ingestion.item_metadata import rasters
from eechips_local.evaluation.asset_model import PixelWindow, Query
from eechips_local.pixels.file_source import FileSource
from local_tests.support.captured_log import CapturedLog
from local_tests.support.ingested_rasters import UTM, image, noise, pixels, raster

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
ALBERS = "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +x_0=0 +y_0=0 +datum=WGS84 +units=m"


@pytest.mark.parametrize("shape", [(1, 1), (47, 42), (3, 500)])
def test_small_images_are_stored_without_a_warning(tmp_path: Path, caplog: CapturedLog, shape: tuple[int, int]) -> None:
    ingest(raster(tmp_path / "a.tif", noise(1, *shape)), tmp_path / "store", "users/someone/a")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(("nodata", "is_told"), [(None, True), (-9999.0, True), (np.nan, False)])
def test_nan_that_is_data_is_reported(tmp_path: Path, caplog: CapturedLog, nodata: float | None, is_told: bool) -> None:
    values = np.where(np.tri(30, 40, dtype=bool), np.nan, 1)[None].astype("float32")
    ingest(raster(tmp_path / "a.tif", values, nodata=nodata), tmp_path / "store", "x")
    assert pixels(image(FolderStore(tmp_path / "store"), "x"))[1].all() == is_told
    assert ["counts as data" in message for message in caplog.messages] == [True] * is_told


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
    (stored,) = (tmp_path / "store").rglob("*.tif")
    assert dict(found.properties) == {
        "cloud": 1.5,
        "tags": ["a", {"b": None}],
        "datetime": "mine",
        "system:index": "m_1",
        "system:time_start": 1313366400000,
        "system:time_end": 1313497800000,
        "system:asset_size": stored.stat().st_size,
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


@pytest.mark.slow
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


@pytest.mark.parametrize("size", [47, 200])  # small ones are held decoded
def test_half_floats_are_kept_as_single_ones(tmp_path: Path, size: int) -> None:
    values = (np.arange(size * size).reshape(1, size, size) % 2048 / 8).astype("float32")
    source = raster(tmp_path / "a.tif", values, NBITS=16, nodata=-1.0)
    ingest(source, tmp_path / "store", "x/y")
    with FolderStore(tmp_path / "store") as store:
        found, _ = pixels(image(store, "x/y"), 0)
    linked, _ = FileSource.open(source).read([0], PixelWindow(0, 0, size, size), 0)
    for read in (found, linked[0]):
        np.testing.assert_array_equal(read, values[0])
        assert read.dtype == np.float32
    (described,) = rasters({"assets": {"a": {"href": "a.tif", "bands": [{"data_type": "float16"}]}}})
    assert described.dtypes == ("float32",)


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


@pytest.mark.parametrize("resampling", ["nearest", "average", None])
def test_pyramids_are_made_as_asked(tmp_path: Path, resampling: str | None) -> None:
    values = noise(1, 400, 402)
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


def test_a_mask_of_one_band_masks_that_band_only(tmp_path: Path) -> None:
    """GDAL states it by no flag; only virtual rasters have such masks."""
    raster(tmp_path / "a.tif", noise(2, 60, 60))
    rasterio.shutil.copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    source = '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource>'
    mask = f'<MaskBand><VRTRasterBand dataType="Byte">{source}</VRTRasterBand></MaskBand>'
    first, second, rest = (tmp_path / "a.vrt").read_text().split("</VRTRasterBand>")
    (tmp_path / "a.vrt").write_text(f"{first}</VRTRasterBand>{second}{mask}</VRTRasterBand>{rest}")
    ingest(tmp_path / "a.vrt", tmp_path / "store", "x")
    found = image(FolderStore(tmp_path / "store"), "x")
    assert pixels(found, 0)[1].all()
    np.testing.assert_array_equal(pixels(found, 1)[1], noise(2, 60, 60)[0] != 0)


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


@pytest.mark.parametrize(("nodata", "masked"), [(-(2**63), -(2**63)), (2**63 - 1, 2**63 - 1), (0.5, 0)])
def test_nodata_that_is_not_written_as_it_is_masks_the_same_pixels(tmp_path: Path, nodata: float, masked: int) -> None:
    values = noise(1, 9, 12, dtype="int16" if nodata == 0.5 else "int64") % 20 - 10
    values[0, :3, :4] = masked
    rasterio.shutil.copy(raster(tmp_path / "a.tif", values), tmp_path / "a.vrt", driver="VRT")
    described = (tmp_path / "a.vrt").read_text()
    (tmp_path / "a.vrt").write_text(described.replace("<ColorI", f"<NoDataValue>{nodata}</NoDataValue><ColorI"))
    ingest(tmp_path / "a.vrt", tmp_path / "store", "x")
    np.testing.assert_array_equal(pixels(image(FolderStore(tmp_path / "store"), "x"))[1], values[0] != masked)
    with pytest.raises(IngestError, match=r"too many digits|is none of int16"):
        ingest(tmp_path / "a.tif", tmp_path / "store", "y", nodata=nodata)


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


def test_properties_are_parsed_from_the_command_line() -> None:
    assert parse_properties(["a=1", "b=-2.5e3", "c=x=y", "d=", "e=1_0", "f=007", "g=nan", "h=.5", "i=+3"]) == {
        "a": 1, "b": -2500.0, "c": "x=y", "d": "", "e": "1_0", "f": 7, "g": "nan", "h": 0.5, "i": 3,
    }  # fmt: skip
    for wrong in ("a", "=1"):
        with pytest.raises(IngestError, match="name=value"):
            parse_properties([wrong])
