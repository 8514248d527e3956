"""The datasets that public scripts use most, over HTTP: bands, stored types, and the number of images of a time.

What is expected is stated in Earth Engine's catalogue, https://developers.google.com/earth-engine/datasets/catalog.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

from local_tests.support.local_earth_engine import Server, initialize

PLACE = (-105.0, 40.0)
MARCH = ("2015-03-01", "2015-04-01")
YEAR = ("2015-01-01", "2016-01-01")
JULY = ("2020-07-01", "2020-08-01")
OPTICAL = "SR_B1 SR_B2 SR_B3 SR_B4 SR_B5 SR_B7"
MODIS_INDEXES = "NDVI EVI DetailedQA sur_refl_b01 sur_refl_b02 sur_refl_b03 sur_refl_b07 ViewZenith SolarZenith"
ERA5 = (
    "mean_2m_air_temperature minimum_2m_air_temperature maximum_2m_air_temperature dewpoint_2m_temperature "
    "total_precipitation surface_pressure mean_sea_level_pressure u_component_of_wind_10m v_component_of_wind_10m"
)
NLCD = ["1992", "2001", "2004", "2006", "2008", "2011", "2013", "2016"]
NLCD_IMAGES = [
    f"NLCD{year}{region}"
    for year in NLCD
    for region in (("", "_AK", "_HI", "_PR") if year in ("2001", "2011") else ("",))
]
LANDCOVER = {10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100}


class Facts(NamedTuple):
    """What the catalogue states: first bands, first type, fewest and most images of a time."""

    id: str
    bands: str
    dtype: str
    images: tuple[int, int] | None = None
    span: tuple[str, str] = MARCH
    classes: set[int] = set()  # noqa: RUF012


USUAL = (
    # The place lies in two tiles, each with the swaths of two orbits, every five days.
    Facts("COPERNICUS/S2_SR_HARMONIZED", "B1 B2 B3 B4 B5 B6 B7 B8 B8A B9 B11 B12", "uint16", (5, 28), JULY),
    Facts("COPERNICUS/S2_HARMONIZED", "B1 B2 B3 B4 B5 B6 B7 B8 B8A B9 B10 B11 B12", "uint16", (5, 28), JULY),
    Facts("COPERNICUS/S2_CLOUD_PROBABILITY", "probability", "uint8", (5, 28), JULY),
    Facts(
        "GOOGLE/DYNAMICWORLD/V1",
        "water trees grass flooded_vegetation crops shrub_and_scrub built bare",
        "float32", (1, 14), JULY,
    ),
    Facts("COPERNICUS/S1_GRD", "VV VH angle", "float64", (2, 12)),
    Facts(
        "LANDSAT/LC09/C02/T1_L2",
        f"{OPTICAL[:-6]} SR_B6 SR_B7 SR_QA_AEROSOL ST_B10",
        "uint16", (2, 4), ("2023-03-01", "2023-04-01"),
    ),
    Facts("LANDSAT/LC08/C02/T1_L2", f"{OPTICAL[:-6]} SR_B6 SR_B7 SR_QA_AEROSOL ST_B10", "uint16", (2, 4)),
    Facts("LANDSAT/LC08/C02/T1_TOA", "B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 B11 QA_PIXEL", "float32", (2, 4)),
    Facts("LANDSAT/LC08/C02/T1", "B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 B11 QA_PIXEL", "uint16", (2, 4)),
    Facts("LANDSAT/LE07/C02/T1_L2", f"{OPTICAL} SR_ATMOS_OPACITY SR_CLOUD_QA ST_B6", "uint16", (2, 4)),
    Facts("LANDSAT/LE07/C02/T1_TOA", "B1 B2 B3 B4 B5 B6_VCID_1 B6_VCID_2 B7 B8 QA_PIXEL", "float32", (2, 4)),
    Facts(
        "LANDSAT/LT05/C02/T1_L2",
        f"{OPTICAL} SR_ATMOS_OPACITY SR_CLOUD_QA ST_B6",
        "uint16", (2, 4), ("2005-03-01", "2005-04-01"),
    ),
    Facts(
        "LANDSAT/LT05/C02/T1_TOA",
        "B1 B2 B3 B4 B5 B6 B7 QA_PIXEL",
        "float32", (2, 4), ("2005-03-01", "2005-04-01"),
    ),
    Facts(
        "LANDSAT/LT04/C02/T1_L2",
        f"{OPTICAL} SR_ATMOS_OPACITY SR_CLOUD_QA ST_B6",
        "uint16", (2, 4), ("1990-03-01", "1990-04-01"),
    ),
    Facts("MODIS/061/MOD13Q1", "NDVI EVI DetailedQA", "int16", (2, 2)),
    Facts("MODIS/061/MOD13A1", MODIS_INDEXES, "int16", (2, 2)),
    Facts("MODIS/061/MOD13A2", "NDVI EVI DetailedQA", "int16", (2, 2)),
    Facts("MODIS/061/MYD13Q1", MODIS_INDEXES, "int16", (2, 2)),
    Facts("MODIS/061/MOD09A1", "sur_refl_b01 sur_refl_b02 sur_refl_b03 sur_refl_b04", "int16", (4, 4)),
    Facts("MODIS/061/MOD09GA", "num_observations_1km", "int8", (31, 31)),
    Facts("MODIS/061/MOD11A1", "LST_Day_1km QC_Day Day_view_time", "uint16", (29, 31)),
    Facts("MODIS/061/MOD11A2", "LST_Day_1km QC_Day Day_view_time", "uint16", (4, 4)),
    Facts("MODIS/061/MYD11A1", "LST_Day_1km QC_Day Day_view_time", "uint16", (31, 31)),
    Facts(
        "MODIS/061/MCD43A4",
        "Nadir_Reflectance_Band1 Nadir_Reflectance_Band2 Nadir_Reflectance_Band3",
        "int16", (31, 31),
    ),
    Facts("MODIS/061/MCD64A1", "BurnDate Uncertainty QA FirstDay LastDay", "int16", (1, 1)),
    Facts("MODIS/061/MOD15A2H", "Fpar_500m Lai_500m FparLai_QC FparExtra_QC", "uint8", (4, 4)),
    Facts("MODIS/061/MCD15A3H", "Fpar Lai FparLai_QC FparExtra_QC", "uint8", (8, 8)),
    Facts("MODIS/061/MOD16A2", "ET LE PET PLE ET_QC", "int16", (4, 4)),
    Facts("MODIS/061/MOD17A2H", "Gpp PsnNet Psn_QC", "int16", (4, 4)),
    Facts("MODIS/061/MCD12Q1", "LC_Type1 LC_Type2 LC_Type3", "uint8", (1, 1), YEAR),
    Facts("MODIS/061/MOD10A1", "NDSI_Snow_Cover", "uint8", (31, 31)),
    Facts("MODIS/061/MOD44B", "Percent_Tree_Cover Percent_NonTree_Vegetation", "uint8", (1, 1), YEAR),
    Facts("ECMWF/ERA5_LAND/HOURLY", "dewpoint_temperature_2m temperature_2m skin_temperature", "float32", (744, 744)),
    Facts(
        "ECMWF/ERA5_LAND/DAILY_AGGR",
        "dewpoint_temperature_2m temperature_2m skin_temperature",
        "float32", (31, 31),
    ),
    Facts(
        "ECMWF/ERA5_LAND/MONTHLY_AGGR",
        "dewpoint_temperature_2m temperature_2m skin_temperature",
        "float32", (1, 1),
    ),
    Facts("ECMWF/ERA5/DAILY", ERA5, "float32", (31, 31)),
    Facts("ECMWF/ERA5/MONTHLY", ERA5, "float32", (1, 1)),
    Facts("UCSB-CHG/CHIRPS/DAILY", "precipitation", "float32", (31, 31)),
    Facts("UCSB-CHG/CHIRPS/PENTAD", "precipitation", "float32", (6, 6)),
    Facts("NASA/GPM_L3/IMERG_V07", "", "float32", (1488, 1488)),
    Facts(
        "IDAHO_EPSCOR/GRIDMET",
        "pr rmax rmin sph srad th tmmn tmmx vs erc eto bi fm100 fm1000 etr vpd",
        "float32", (31, 31),
    ),
    Facts("IDAHO_EPSCOR/TERRACLIMATE", "aet def pdsi pet pr ro soil srad swe tmmn tmmx vap vpd vs", "int16", (1, 1)),
    Facts("GRIDMET/DROUGHT", "pdsi z spi14d spi30d", "float32", (6, 7)),
    Facts("OREGONSTATE/PRISM/AN81d", "ppt tmean tmin tmax tdmean vpdmin vpdmax", "float32", (31, 31)),
    Facts("OREGONSTATE/PRISM/AN81m", "ppt tmean tmin tmax tdmean vpdmin vpdmax", "float32", (1, 1)),
    Facts("NASA/ORNL/DAYMET_V4", "dayl prcp srad swe tmax tmin vp", "float32", (31, 31)),
    Facts("NOAA/CDR/OISST/V2_1", "sst anom ice err", "int16", (31, 31)),
    Facts("NOAA/VIIRS/DNB/MONTHLY_V1/VCMSLCFG", "avg_rad cf_cvg", "float32", (1, 1)),
    Facts("NOAA/VIIRS/DNB/MONTHLY_V1/VCMCFG", "avg_rad cf_cvg", "float32", (1, 1)),
    Facts(
        "NOAA/DMSP-OLS/NIGHTTIME_LIGHTS",
        "avg_vis stable_lights cf_cvg avg_lights_x_pct",
        "uint8", (1, 1), ("2010-01-01", "2011-01-01"),
    ),
    Facts("CIESIN/GPWv411/GPW_Population_Density", "population_density", "float32", (1, 1), YEAR),
    Facts("USGS/SRTMGL1_003", "elevation", "int16"),
    Facts("CGIAR/SRTM90_V4", "elevation", "int16"),
    Facts("NASA/NASADEM_HGT/001", "elevation num swb", "int16"),
    Facts("COPERNICUS/DEM/GLO30", "DEM EDM FLM HEM WBM", "float32", (1, 4), ("2010-01-01", "2016-01-01")),
    Facts(
        "JRC/GSW1_4/GlobalSurfaceWater",
        "occurrence change_abs change_norm seasonality recurrence transition max_extent",
        "uint8",
    ),
    Facts("JRC/GSW1_4/MonthlyHistory", "water", "uint8", (1, 1), classes={0, 1, 2}),
    Facts("JRC/GSW1_4/YearlyHistory", "waterClass", "uint8", (1, 1), YEAR, {0, 1, 2, 3}),
    Facts("UMD/hansen/global_forest_change_2023_v1_11", "treecover2000 loss gain", "uint8"),
    Facts("ESA/WorldCover/v200", "Map", "uint8", (1, 1), ("2021-01-01", "2022-01-01"), LANDCOVER),
    Facts("ESA/WorldCover/v100", "Map", "uint8", (1, 1), ("2020-01-01", "2021-01-01"), LANDCOVER),
    Facts("USGS/NLCD_RELEASES/2021_REL/NLCD", "landcover", "uint8", (1, 1), ("2021-01-01", "2022-01-01")),
    Facts("USFS/GTAC/LCMS/v2023-9", "Change Land_Cover Land_Use", "uint8", (1, 4), ("2011-01-01", "2012-01-01")),
    Facts("USGS/NLCD", "landcover impervious percent_tree_cover", "uint8", (1, 1), ("2011-01-01", "2012-01-01")),
    Facts("USDA/NASS/CDL", "cropland cultivated confidence", "uint8", (1, 1), YEAR),
    Facts("USDA/NAIP/DOQQ", "R G B N", "uint8", (1, 12), YEAR),
)  # fmt: skip


@pytest.fixture(scope="module")
def stub_server(serve: Callable[..., Server]) -> Server:
    return serve("--demo-datasets", "all", "--rate", "none", "--concurrency", "none")


def test_they_are_sixty() -> None:
    assert len({facts.id for facts in USUAL}) == len(USUAL) >= 60


@pytest.mark.slow
@pytest.mark.parametrize("facts", USUAL, ids=lambda facts: facts.id)
def test_bands_types_and_images_are_those_of_the_catalogue(stub_server: Server, facts: Facts) -> None:
    ee: Any = initialize(stub_server)
    point = ee.Geometry.Point(PLACE)
    if facts.images is None:
        image, count = ee.Image(facts.id), ee.Number(0)
    else:
        images = ee.ImageCollection(facts.id).filterBounds(point).filterDate(*facts.span)
        image, count = ee.Image(images.first()), images.size()
    names, number = ee.List([image.bandNames(), count]).getInfo()
    assert names[: len(facts.bands.split())] == facts.bands.split()
    if facts.images is not None:
        assert facts.images[0] <= number <= facts.images[1]
    grid = {
        "dimensions": {"width": 16, "height": 16}, "crsCode": "EPSG:4326",
        "affineTransform": {"scaleX": 0.01, "scaleY": -0.01, "translateX": PLACE[0], "translateY": PLACE[1]},
    }  # fmt: skip
    content = ee.data.computePixels({"expression": image.select(names[0]), "fileFormat": "NPY", "grid": grid})
    pixels = np.load(io.BytesIO(content))[names[0]]
    assert pixels.shape == (16, 16)
    assert pixels.dtype == np.dtype(facts.dtype)
    if facts.classes:
        assert set(np.unique(pixels).tolist()) <= facts.classes


def test_points_of_the_guide_to_classification_lie_in_their_cover(stub_server: Server) -> None:
    """https://developers.google.com/earth-engine/guides/classification paints the classes orange, green and blue."""
    ee: Any = initialize(stub_server)
    points = ee.FeatureCollection("GOOGLE/EE/DEMOS/demo_landcover_labels")
    cover = ee.Image("ESA/WorldCover/v200/2021").remap([50, 60, 10, 20, 30, 80], [0, 0, 1, 1, 1, 2])
    found = cover.sampleRegions(points, ["landcover"], 10).errorMatrix("landcover", "remapped").getInfo()
    assert found == [[32, 0, 0], [0, 33, 0], [0, 0, 34]]


@pytest.mark.parametrize("name", ["WRI/GPPD/power_plants", "USGS/SRTMGL1_003", "FAO/GAUL/2015/level0"])
def test_only_folders_and_collections_are_listed(stub_server: Server, name: str) -> None:
    """Xee tells a collection from a table by it."""
    ee: Any = initialize(stub_server)
    parent = f"projects/earthengine-public/assets/{name}"
    with pytest.raises(ee.EEException, match="neither a Folder nor an ImageCollection"):
        ee.data.listAssets({"parent": parent})
    assert ee.data.listAssets({"parent": parent.rpartition("/")[0], "pageSize": 3})["assets"]


@pytest.mark.parametrize(
    ("name", "indices", "years", "one", "missing"),
    [
        (
            "COPERNICUS/CORINE/V20/100m",
            ["1990", "2000", "2006", "2012", "2018"], [1986, 1999, 2005, 2011, 2017], "2012", "1995",
        ),
        (
            "USGS/NLCD_RELEASES/2016_REL", [*NLCD, "2016_AK", "2016_HI"], [*map(int, NLCD), 2016, 2016],
            "2006", "NLCD2001",
        ),
        ("USGS/NLCD", NLCD_IMAGES, [int(index[4:8]) for index in NLCD_IMAGES], "NLCD2006", "NLCD2002"),
    ],
)  # fmt: skip
def test_land_cover_of_some_years_has_images_of_these(
    stub_server: Server, name: str, indices: list[str], years: list[int], one: str, missing: str
) -> None:
    """Of CORINE, sankee's tests record them (github.com/aazuspan/sankee, tests/test_datasets.py), of NLCD the catalogue
    and its samples.
    """
    ee: Any = initialize(stub_server)
    images = ee.ImageCollection(name)
    starts = images.aggregate_array("system:time_start").map(lambda start: ee.Date(start).get("year"))
    year = years[indices.index(one)]
    of_year = images.filterDate(str(year), str(year + 1))
    found = ee.List([images.aggregate_array("system:index"), starts, of_year.aggregate_array("system:index")])
    assert found.getInfo() == [indices, years, [one]]
    assert ee.Image(f"{name}/{one}").date().get("year").getInfo() == year
    with pytest.raises(ee.EEException, match="not found"):
        ee.Image(f"{name}/{missing}").getInfo()


@pytest.mark.parametrize(
    ("name", "years", "image"),
    [
        ("USFS/GTAC/LCMS/v2022-8", range(1985, 2023), "LCMS_CONUS_v2022-8_2016"),
        ("USFS/GTAC/LCMS/v2021-7", range(1985, 2022), "LCMS_CONUS_v2021-7_2016"),
        ("USGS/NLCD_RELEASES/2019_REL/NLCD", (2001, 2004, 2006, 2008, 2011, 2013, 2016, 2019), "2016"),
        ("COPERNICUS/Landcover/100m/Proba-V-C3/Global", range(2015, 2020), "2016"),
        ("MODIS/061/MCD12Q1", range(2001, 2024), "2016_01_01"),
    ],
)
def test_years_and_names_are_those_that_sankee_records(
    stub_server: Server, name: str, years: Sequence[int], image: str
) -> None:
    """github.com/aazuspan/sankee, tests/test_datasets.py: of all years, and of the first image of 2016."""
    ee: Any = initialize(stub_server)
    images = ee.ImageCollection(name)
    starts = images.aggregate_array("system:time_start").map(lambda start: ee.Date(start).get("year")).distinct()
    found, first = ee.List([starts, images.filterDate("2016", "2017").first().get("system:index")]).getInfo()
    assert found[: len(years)] == list(years)  # records know of later ones
    assert first == image


def test_all_bands_of_lcms_have_pixels(stub_server: Server) -> None:
    """The catalogue states no range of the probabilities, so that a reduction of all bands was refused."""
    ee: Any = initialize(stub_server)
    images = ee.ImageCollection("USFS/GTAC/LCMS/v2023-9").filter('study_area == "CONUS"')
    found = images.first().reduceRegion(ee.Reducer.first(), ee.Geometry.Point(PLACE), 30).getInfo()
    shares = [value for name, value in found.items() if "Probability" in name]
    assert len(shares) == 23
    assert all(0 <= share <= 100 for share in shares)


@pytest.mark.parametrize("name", ["HOURLY", "MONTHLY_AGGR"])
def test_all_bands_of_era5_land_have_pixels(stub_server: Server, name: str) -> None:
    """Its record states no ranges, so that the energy balance of geeet was refused: it takes thermal radiation."""
    ee: Any = initialize(stub_server)
    image = ee.ImageCollection(f"ECMWF/ERA5_LAND/{name}").filterDate("2021-07-01", "2021-07-02").first()
    found = image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point(PLACE), 11132).getInfo()
    assert None not in found.values()
    if name == "HOURLY":
        assert 150 <= found["surface_thermal_radiation_downwards_hourly"] / 3600 <= 450  # W/m2


@pytest.mark.parametrize("name", ["NOAA/VIIRS/001/VNP13A1", "NASA/VIIRS/002/VNP13A1"])
def test_indices_of_viirs_are_integers_as_those_of_modis(stub_server: Server, name: str) -> None:
    """A builder of training sets takes NDVI and EVI2 of the former, which had neither a range nor a sign."""
    ee: Any = initialize(stub_server)
    image = ee.ImageCollection(name).filterDate("2021-07-01", "2021-08-01").first()
    image = image.select(["NDVI", "EVI2", "red_reflectance", "NIR_reflectance"])
    found, types = ee.List([image.reduceRegion("first", ee.Geometry.Point(PLACE), 500), image.bandTypes()]).getInfo()
    assert {kind["min"] for kind in types.values()} == {-32768}
    assert all(isinstance(value, int) for value in found.values())
    assert 0 < found["red_reflectance"] < found["NIR_reflectance"] <= 10_000


def test_all_bands_of_proba_v_have_pixels_and_the_index_is_that_of_vito_s_files(stub_server: Server) -> None:
    """Its record states no range of NDVI and TIME, so that a notebook's getRegion of all bands was refused."""
    ee: Any = initialize(stub_server)
    images = ee.ImageCollection("VITO/PROBAV/C1/S1_TOC_100M").filterDate("2016-07-01", "2016-07-11")
    names, *rows = images.getRegion(ee.Geometry.Point(6.134136, 49.612485), 500).getInfo()
    assert len(rows) == 10
    index = [value for row in rows if (value := row[names.index("NDVI")]) is not None]
    assert index
    assert all(95 < value <= 250 for value in index)  # of 0.3 to 0.92, in summer


def test_scenes_of_mss_pass_the_filters_of_msslib(stub_server: Server) -> None:
    """github.com/gee-community/msslib, ``filterCol``: of all bands, verified to half a pixel; ``getDem`` joins heights
    in a projection that all bands share.
    """
    ee: Any = initialize(stub_server)
    point = ee.Geometry.Point(-122.239, 44.018)
    for name, bands in (("LANDSAT/LM01/C02/T1", (4, 5, 6, 7)), ("LANDSAT/LM05/C02/T2", (1, 2, 3, 4))):
        scenes = ee.ImageCollection(name).filterBounds(point).filter(ee.Filter.lte("GEOMETRIC_RMSE_VERIFY", 0.5))
        for band in bands:
            scenes = scenes.filter(ee.Filter.eq(f"PRESENT_BAND_{band}", "Y"))
        scene = scenes.first()
        heights = ee.Image("JAXA/ALOS/AW3D30/V2_2").select(["AVE_DSM"], ["elev"])
        coarse = ee.Image("USGS/GMTED2010").rename("elev")
        mosaic = ee.ImageCollection([coarse, heights]).mosaic().reproject(scene.projection())
        found = scene.addBands(mosaic).reduceRegion(ee.Reducer.first(), point, 60).getInfo()
        assert 0 <= found[f"B{bands[0]}"] <= 255
        assert found["elev"] is not None
        assert round(scene.projection().nominalScale().getInfo()) == 60


def test_heights_of_merit_exceed_127_metres(stub_server: Server) -> None:
    """Its record shows them from -3 to 18, from which the stub took their type."""
    ee: Any = initialize(stub_server)
    heights = ee.Image("MERIT/DEM/v1_0_3").reduceRegion(ee.Reducer.first(), ee.Geometry.Point(PLACE), 90)
    assert heights.get("dem").getInfo() > 1000


def test_products_of_worldcereal_are_found(stub_server: Server) -> None:
    """By the names of its record's description, as nasaharvest/galileo asks for them (worldcereal.py)."""
    ee: Any = initialize(stub_server)
    models = ee.ImageCollection("ESA/WorldCereal/2021/MODELS/v100")
    for product in ("temporarycrops", "maize", "wintercereals", "springcereals", "irrigation"):
        found = models.filter(f"product == '{product}'").mosaic().unmask(0).select("classification")
        assert found.reduceRegion(ee.Reducer.first(), ee.Geometry.Point(PLACE), 10).getInfo()["classification"] in (
            0, 100,
        )  # fmt: skip
