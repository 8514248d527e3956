"""Landsat, NAIP, HLS, the Copernicus DEM and Sentinel-1 of archives, one image for each item."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from eechips_local.archives.archive_errors import ArchiveError, ArchiveRefusedError
from eechips_local.archives.archive_list import CDSE, EARTH_SEARCH, LANDSATLOOK, LPCLOUD, PLANETARY_COMPUTER
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.archive_store import ArchiveStore
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query
from local_tests.archives.listed_items import FolderReader, ListedItems
from local_tests.archives.real_items import RealItems, make_items
from local_tests.archives.sample_items import item_box, stac_item, write_cog

pytestmark = pytest.mark.unit

GRID = Affine(30.0, 0.0, 600_000.0, 0.0, -30.0, 5_800_020.0)
BOX = item_box(GRID, (8, 8))


def store_of(archive: ArchiveDescription, folder: Path, *items: dict[str, Any]) -> tuple[ArchiveStore, ListedItems]:
    found: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        found.setdefault(item["collection"], []).append(item)
    search = ListedItems(found)
    return ArchiveStore(archive, search, FolderReader(folder)), search


def image_of(store: ArchiveStore, asset_id: str) -> ImageAsset:
    found = store.get(asset_id)
    assert isinstance(found, ImageAsset)
    return found


def whole(image: ImageAsset, name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    band = next(band for band in image.bands if band.name == name)
    values, valid = band.source.read([band.index], PixelWindow(0, 0, band.grid.width, band.grid.height), 0)
    return values[0], valid[0]


@pytest.fixture(scope="module")
def real(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RealItems:
    """Real Landsat and NAIP as items of Planetary Computer."""
    folder = tmp_path_factory.mktemp("real")
    collections = ("landsat-c2-l2", "naip")
    return make_items(
        real_data, folder, "planetary-computer", "https://naipeuwest.blob.core.windows.net", collections=collections
    )


OLI = [
    *(f"SR_B{n}" for n in range(1, 8)), "SR_QA_AEROSOL", "ST_B10", "ST_ATRAN", "ST_CDIST", "ST_DRAD", "ST_EMIS",
    "ST_EMSD", "ST_QA", "ST_TRAD", "ST_URAD", "QA_PIXEL", "QA_RADSAT",
]  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "index", "assets"),
    [
        ("LC08", "LC08_041027_20150604", {"SR_B4": "red", "SR_B5": "nir08", "ST_B10": "lwir11", "ST_QA": "qa"}),
        ("LE07", "LE07_041027_20070505", {"SR_B3": "red", "SR_B7": "swir22", "ST_B6": "lwir", "QA_PIXEL": "qa_pixel"}),
        (
            "LT05",
            "LT05_041027_19970602",
            {"SR_B1": "blue", "SR_CLOUD_QA": "cloud_qa", "SR_ATMOS_OPACITY": "atmos_opacity"},
        ),
    ],
)
@pytest.mark.slow
def test_landsat_has_the_numbers_of_its_files(
    real: RealItems, dataset: str, index: str, assets: dict[str, str]
) -> None:
    store, search = store_of(PLANETARY_COMPUTER, real.folder, *real.items)
    image = image_of(store, f"LANDSAT/{dataset}/C02/T1_L2/{index}")
    [(_, asked)] = search.asked
    assert asked.equals["landsat:wrs_path"] == "041"
    assert asked.equals["platform"] == f"landsat-{dataset[-1]}"
    item_id = next(item["id"] for item in real.items if item["id"].startswith(dataset))
    for name, asset in assets.items():
        values, valid = whole(image, name)
        with rasterio.open(real.file(item_id, asset)) as file:
            assert np.array_equal(values, np.where(valid, file.read(1), values))
            assert np.array_equal(valid, file.read_masks(1) != 0)
    assert image.properties["WRS_PATH"] == 41
    assert image.properties["SPACECRAFT_ID"] == f"LANDSAT_{dataset[-1]}"
    assert image.properties["CLOUD_COVER"] == 22.86
    assert image.properties["COLLECTION_NUMBER"] == 2
    assert image.properties["DATE_ACQUIRED"] == f"{index[-8:-4]}-{index[-4:-2]}-{index[-2:]}"


@pytest.mark.slow
def test_landsat_has_earth_engines_bands(real: RealItems) -> None:
    store, _ = store_of(PLANETARY_COMPUTER, real.folder, *real.items)
    image = image_of(store, "LANDSAT/LC08/C02/T1_L2/LC08_041027_20150604")
    assert [band.name for band in image.bands] == OLI


@pytest.mark.slow
def test_landsat_of_another_satellite_or_tier_is_left_out(real: RealItems) -> None:
    store, _ = store_of(PLANETARY_COMPUTER, real.folder, *real.items)
    for dataset, number in (("LC08/C02/T1_L2", 1), ("LC09/C02/T1_L2", 0), ("LC08/C02/T2_L2", 0)):
        collection: Any = store.get(f"LANDSAT/{dataset}")
        assert len(list(collection.images(Query()))) == number


def test_landsat_without_surface_temperature_has_its_bands_masked(tmp_path: Path) -> None:
    """Earth Engine's catalogue: "Some assets have only SR data, in which case ST bands are present but empty"."""
    declared = write_cog(tmp_path / "red.tif", np.ones((1, 8, 8), np.uint16), GRID)
    item = stac_item(
        "LC08_L2SR_081119_20200101_02_T2",
        "landsat-c2-l2",
        BOX,
        {
            "datetime": "2020-01-01T17:05:46.732651Z",
            "landsat:collection_category": "T2",
            "platform": "landsat-8",
            "proj:epsg": 32632,
            **declared,
        },
        {"red": {"href": "https://landsateuwest.blob.core.windows.net/red.tif"}},
    )
    store, _ = store_of(PLANETARY_COMPUTER, tmp_path, item)
    collection: Any = store.get("LANDSAT/LC08/C02/T2_L2")
    [image] = collection.images(Query())
    assert [band.name for band in image.bands] == ["SR_B4", *(name for name in OLI if name.startswith("ST_"))]
    assert whole(image, "SR_B4")[1].all()
    values, valid = whole(image, "ST_B10")
    assert values.shape == valid.shape == (8, 8)
    assert values.dtype == np.uint16
    assert not valid.any()
    assert len({(band.grid, band.source.levels) for band in image.bands}) == 1
    assert store.files(image.id, ("ST_B10", "SR_B4")) == store.files(image.id)
    assert image.properties["system:time_start"] == 1577898346733.0


def test_landsatlook_is_read_from_its_bucket(tmp_path: Path) -> None:
    """Its own addresses need an account of the USGS; the alternate ones need keys of AWS only."""
    declared = write_cog(tmp_path / "paid.tif", np.full((1, 8, 8), 9000, np.uint16), GRID)
    asset = {
        "href": "https://landsatlook.usgs.gov/data/free.tif",
        "alternate": {"s3": {"storage:requester_pays": True, "href": "s3://usgs-landsat/collection02/paid.tif"}},
    }
    item = stac_item(
        "LC08_L2SP_028030_20200114_20200824_02_T1_SR",
        "landsat-c2l2-sr",
        BOX,
        {
            "datetime": "2020-01-14T17:05:46Z",
            "landsat:collection_category": "T1",
            "platform": "LANDSAT_8",
            "landsat:wrs_path": "028",
            "landsat:wrs_row": "030",
            "proj:epsg": 32632,
            **declared,
        },
        {"blue": asset},
    )
    store, _ = store_of(LANDSATLOOK, tmp_path, item)
    collection: Any = store.get("LANDSAT/LC08/C02/T1_L2")
    [image] = collection.images(Query())
    assert image.id == "LANDSAT/LC08/C02/T1_L2/LC08_028030_20200114"
    assert whole(image, "SR_B2")[0][0, 0] == 9000
    [file] = store_of(LANDSATLOOK, tmp_path, item)[0].files(image.id) or ()
    assert file.href == "s3://usgs-landsat/collection02/paid.tif"


@pytest.mark.slow
def test_naip_is_one_asset_of_four_bands(real: RealItems) -> None:
    store, _ = store_of(PLANETARY_COMPUTER, real.folder, *real.items)
    collection: Any = store.get("USDA/NAIP/DOQQ")
    images = list(collection.images(Query(bounds=(-180.0, -90.0, 180.0, 90.0))))
    assert len(images) == len(real.of("naip")) > 10
    image = images[0]
    assert image.id in {f"USDA/NAIP/DOQQ/{item['id'][3:]}" for item in real.of("naip")}
    assert len({id(band.source) for band in image.bands}) == 1
    item_id = next(item["id"] for item in real.of("naip") if item["id"].endswith(image.properties["system:index"]))
    values, valid = image.bands[0].source.read([3, 0], PixelWindow(4, 5, 30, 20), 0)
    with rasterio.open(real.file(item_id, "image")) as file:
        expected = file.read([4, 1])[:, 5:25, 4:34]
    assert np.array_equal(values, expected)
    assert valid.all()
    assert [band.name for band in image.bands] == ["R", "G", "B", "N"]
    taken = image.properties["system:index"][-8:]
    start = date(int(taken[:4]), int(taken[4:6]), int(taken[6:]))
    assert image.properties["system:time_start"] == (start - date(1970, 1, 1)).days * 86_400_000.0
    assert image_of(store, image.id).properties == image.properties


@pytest.mark.slow
def test_files_of_an_image_are_named_with_their_bands(real: RealItems) -> None:
    store, _ = store_of(PLANETARY_COMPUTER, real.folder, *real.items)
    item = real.of("naip")[0]
    files = store.files(f"USDA/NAIP/DOQQ/{item['id'][3:]}", ("R", "N"))
    assert files is not None
    [file] = files
    assert (file.item, file.href, file.bands) == (item["id"], item["assets"]["image"]["href"], ("R", "N"))
    assert store.files("USDA/NAIP/DOQQ/m_3712213_sw_10_1_20140613") is None


def test_naip_begins_with_the_day_and_keeps_its_numbers(tmp_path: Path) -> None:
    """Items of NAIP are dated 16:00 of their day, which is made up; zeros are data."""
    colours = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    declared = write_cog(tmp_path / "m_3710263_sw_13_060_20210729.tif", colours, GRID)
    item = stac_item(
        "co_m_3710263_sw_13_060_20210729",
        "naip",
        BOX,
        {"datetime": "2021-07-29T16:00:00Z", "naip:state": "co", "naip:year": "2021", "proj:epsg": 32632, **declared},
        {"image": {"href": "https://naipeuwest.blob.core.windows.net/naip/v002/m_3710263_sw_13_060_20210729.tif"}},
    )
    store, _ = store_of(PLANETARY_COMPUTER, tmp_path, item)
    collection: Any = store.get("USDA/NAIP/DOQQ")
    [image] = collection.images(Query(start=1_627_516_800_000.0, end=1_627_516_800_001.0))
    assert image.id == "USDA/NAIP/DOQQ/m_3710263_sw_13_060_20210729"
    assert image.properties["system:time_start"] == 1_627_516_800_000.0
    values, valid = whole(image, "N")
    assert np.array_equal(values, colours[3])
    assert valid.all()


def test_hls_is_served_as_reflectance(tmp_path: Path) -> None:
    """Files hold integers x 10,000 and -9999 for no data; Earth Engine serves floats."""
    red = np.array([[[-9999, 0, 1, 1234]]], np.int16)
    mask = np.array([[[255, 0, 64, 2]]], np.uint8)
    declared = write_cog(tmp_path / "B04.tif", red, GRID, nodata=-9999)
    write_cog(tmp_path / "Fmask.tif", mask, GRID)
    item = stac_item(
        "HLS.L30.T21JUL.2013117T135010.v2.0",
        "hls2-l30",
        item_box(GRID, (1, 4)),
        {
            "datetime": "2013-04-27T13:50:10.123Z",
            "platform": "landsat-8",
            "eo:cloud_cover": 3,
            "view:sun_azimuth": 42.5,
            "view:azimuth": 102.5,
            "proj:epsg": 32632,
            **declared,
        },
        {key: {"href": f"https://hls2euwest.blob.core.windows.net/hls2/{key}.tif"} for key in ("B04", "Fmask")},
    )
    store, search = store_of(PLANETARY_COMPUTER, tmp_path, item)
    image = image_of(store, "NASA/HLS/HLSL30/v002/T21JUL_20130427T135010")
    assert search.asked[0][1].ids == ("HLS.L30.T21JUL.2013117T135010.v2.0",)
    values, valid = whole(image, "B4")
    assert values.dtype == np.float32
    assert valid.tolist() == [[False, True, True, True]]
    assert np.array_equal(values[0, 1:], np.array([0.0, 0.0001, 0.1234], np.float32))
    codes, known = whole(image, "Fmask")
    assert known.tolist() == [[False, True, True, True]]
    assert codes[0, 1:].tolist() == [0, 64, 2]
    properties = {name: value for name, value in image.properties.items() if not name.startswith("system:")}
    angles = {"MEAN_SUN_AZIMUTH_ANGLE": 42.5, "MEAN_VIEW_AZIMUTH_ANGLE": 102.5}  # hls-cmr_stac, process_view_geometry
    assert properties == {"CLOUD_COVERAGE": 3, **angles}


def test_copernicus_dem_is_found_whenever_its_item_was_dated(tmp_path: Path) -> None:
    """Items carry the date of the release; Earth Engine dates the heights 2010 to 2015."""
    grid = Affine(1 / 3600, 0.0, 10.0 - 1 / 7200, 0.0, -1 / 3600, 46.0 + 1 / 7200)
    heights = np.linspace(-3.5, 1200.25, 64, dtype=np.float32).reshape(1, 8, 8)
    declared = write_cog(tmp_path / "dem.tif", heights, grid, "EPSG:4326")
    item = stac_item(
        "Copernicus_DSM_COG_10_N45_00_E010_00_DEM",
        "cop-dem-glo-30",
        [10.0, 45.0, 11.0, 46.0],
        {"datetime": "2021-04-22T00:00:00Z", "proj:epsg": 4326, **declared},
        {"data": {"href": "https://elevationeuwest.blob.core.windows.net/copernicus-dem/dem.tif"}},
    )
    for archive in (PLANETARY_COMPUTER, EARTH_SEARCH):
        store, search = store_of(archive, tmp_path, item)
        collection: Any = store.get("COPERNICUS/DEM/GLO30")
        [image] = collection.images(Query(start=1_262_304_000_000.0, end=1_325_376_000_000.0))
        assert search.asked[0][1].start is None
        assert image.id == "COPERNICUS/DEM/GLO30/Copernicus_DSM_10_N45_00_E010_00"
        assert np.array_equal(whole(image, "DEM")[0], heights[0])
        assert image.properties["system:time_start"] == 1_291_161_600_000


def test_sentinel1_is_refused_under_earth_engines_name_and_served_under_its_own(tmp_path: Path) -> None:
    linear = np.array([[[-32768.0, 0.02, 0.5, 1.0]]], np.float32)
    declared = write_cog(tmp_path / "vv.tif", linear, GRID, nodata=-32768.0)
    name = "S1A_IW_GRDH_1SDV_20230628T210705_20230628T210730_049191_05EA4D_rtc"
    item = stac_item(
        name,
        "sentinel-1-rtc",
        item_box(GRID, (1, 4)),
        {
            "datetime": "2023-06-28T21:07:18Z",
            "sat:orbit_state": "ascending",
            "platform": "SENTINEL-1A",
            "proj:epsg": 32632,
            **declared,
        },
        {"vv": {"href": "https://sentinel1euwestrtc.blob.core.windows.net/vv.tif"}},
    )
    store, search = store_of(PLANETARY_COMPUTER, tmp_path, item)
    for asset_id in ("COPERNICUS/S1_GRD", f"COPERNICUS/S1_GRD/{name}"):
        with pytest.raises(
            ArchiveRefusedError, match="PLANETARY_COMPUTER/SENTINEL1_RTC, which is served under that name"
        ):
            store.get(asset_id)
    assert search.asked == []
    image = image_of(store, f"PLANETARY_COMPUTER/SENTINEL1_RTC/{name}")
    values, valid = whole(image, "VV")
    assert values[valid].tolist() == linear[0, 0, 1:].tolist()
    assert not valid[0, 0]
    assert image.properties["orbitProperties_pass"] == "ASCENDING"
    for archive in (EARTH_SEARCH, CDSE):
        with pytest.raises(ArchiveRefusedError, match="uncalibrated amplitudes"):
            store_of(archive, tmp_path)[0].get("COPERNICUS/S1_GRD")


def test_one_header_tells_the_grid_of_all_bands_where_the_item_does_not(tmp_path: Path) -> None:
    """Items of CMR-STAC have no projection; only the first file is there, so no other header can have been read."""
    write_cog(tmp_path / "B01.tif", np.full((1, 8, 8), 250, np.int16), GRID)
    keys = ("B01", "B02", "B03", "Fmask")
    address = "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/HLSL30.020"
    item = stac_item(
        "HLS.L30.T32UPU.2024153T100712.v2.0",
        "HLSL30_2.0",
        BOX,
        {"datetime": "2024-06-01T10:07:12.345Z", "eo:cloud_cover": 30},
        {key: {"href": f"{address}/{key}.tif"} for key in keys},
    )
    store, _ = store_of(LPCLOUD, tmp_path, item)
    image = image_of(store, "NASA/HLS/HLSL30/v002/T32UPU_20240601T100712")
    assert [band.name for band in image.bands] == ["B1", "B2", "B3", "Fmask"]
    assert {band.grid.transform for band in image.bands} == {GRID}
    values, _ = whole(image, "B1")
    assert values[0, 0] == np.float32(0.025)
    with pytest.raises(ArchiveError, match=r"B02\.tif is not there"):
        whole(image, "B2")
