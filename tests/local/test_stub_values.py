"""Values of stubs that decide what a usual recipe finds: flags, ranges, years, countries, months."""

from __future__ import annotations

from datetime import date, datetime, timezone
from itertools import islice
from typing import Any

import numpy as np
import pytest

from eechips_local.demo import DemoStore
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.stubs.dataset_description import BandDescription, Interval
from eechips_local.stubs.known_datasets import KnownSource
from eechips_local.stubs.stub_bands import plan_band, with_ranges_of_like_bands
from eechips_local.stubs.stub_scene import StubScene
from eechips_local.stubs.stub_tables import StubTable
from tests.local.test_stated_values import known
from tests.local.test_stubs import RECORDS, UNTIL, image_of, indexes, millis, read

COLUMNS = ("ppt", "tdmean", "tmax", "tmean", "tmin", "vpdmax", "vpdmin")


@pytest.mark.parametrize(
    ("dataset", "band", "low", "high"),
    [
        ("LARSE/GEDI/GEDI02_A_002_MONTHLY", "sensitivity", 0.0, 1.0),
        ("LARSE/GEDI/GEDI02_A_002_MONTHLY", "beam", 0.0, 11.0),
        ("LARSE/GEDI/GEDI02_A_002_MONTHLY", "solar_elevation", -90.0, 90.0),
        ("LARSE/GEDI/GEDI02_A_002_MONTHLY", "rh98", -3.0, 60.0),
        ("NASA/GDDP-CMIP6", "tas", 192.15, 336.94),
        ("NASA/GDDP-CMIP6", "pr", 0.0, 0.0083),
        ("ECMWF/ERA5_LAND/DAILY_AGGR", "total_precipitation_sum", 0.0, 0.02),
        ("ECMWF/ERA5_LAND/DAILY_AGGR", "total_evaporation_sum", -0.02, 0.0),
        ("ECMWF/ERA5/MONTHLY", "total_precipitation", 0.0, 0.4),
        ("OREGONSTATE/PRISM/Norm81m", "tmean", -30.0, 37.88),
        ("NASA/GPM_L3/IMERG_V06", "precipitationCal", 0.0, 174.0),
        ("JAXA/GPM_L3/GSMaP/v6/operational", "hourlyPrecipRate", 0.0, 204.88),
        ("ASTER/AST_L1T_003", "B3N", 1.0, 255.0),
        ("LANDSAT/LC08/C02/T2_TOA", "B4", 0.0, 1.0),
        ("LANDSAT/LE7_TOA_5YEAR/2008_2012", "B6_VCID_2", 100.0, 255.0),
        ("LE7_TOA_5YEAR/1999_2003", "B4", 0.0, 255.0),
        ("projects/soilgrids-isric/phh2o_mean", "phh2o_0-5cm_mean", 35.0, 95.0),
        # What the description names, where no range is stated.
        ("LARSE/GEDI/GRIDDEDVEG_002/COUNTS/V1/1KM", "orbits_uniq", 0.0, 30.0),
        ("NASA/ECOSTRESS/L2T_LSTE/V2", "LST_err", 0.0, 6.5),
    ],
)
def test_values_lie_within_the_range_of_the_record(dataset: str, band: str, low: float, high: float) -> None:
    """Values have the ranges of Google's catalogue, or narrower ones; else usual ranges."""
    values = read(image_of(RECORDS, dataset), band)
    assert low <= values.min() <= values.max() <= high


def test_days_on_which_something_burned_are_days_of_a_year() -> None:
    """The record states no range of them; what does not burn is masked."""
    band = next(band for band in image_of(RECORDS, "NASA/VIIRS/002/VNP64A1").bands if band.name == "Last_Day")
    plan = band.source.scene.bands[band.index]  # type: ignore[attr-defined]
    assert (plan.low, plan.high, plan.is_fire) == (1.0, 366.0, True)


@pytest.mark.parametrize("band", ["quality_flag", "degrade_flag"])
def test_flags_are_flags(band: str) -> None:
    assert set(read(image_of(RECORDS, "LARSE/GEDI/GEDI02_A_002_MONTHLY"), band).ravel().tolist()) <= {0, 1}


@pytest.mark.parametrize(("version", "last"), [("2013", 12), ("2023_v1_11", 23), ("2024_v1_12", 24)])
def test_a_forest_is_lost_in_one_of_the_years_of_the_version(version: str, last: int) -> None:
    dataset = KnownSource().find(f"UMD/hansen/global_forest_change_{version}")
    assert dataset is not None
    band = next(band for band in dataset.bands if band.name == "lossyear")
    assert plan_band(band, dataset.id).codes == tuple(range(last + 1))
    image = image_of(RECORDS, dataset.id)
    years, lost = (read(image, band, 512) for band in ("lossyear", "loss"))
    assert ((years > 0) == (lost == 1)).all()
    assert years.max() <= last
    assert (lost == 0).mean() > 0.5


def test_population_is_of_a_country_and_a_year() -> None:
    collection: Any = RECORDS.get("WorldPop/GP/100m/pop")
    images = list(collection.images(Query()))
    assert [image.properties["year"] for image in images] == list(range(2000, 2021))
    assert {image.properties["country"] for image in images} == {"USA"}
    assert images[0].properties["system:index"] == "USA_2000"
    assert images[0].footprint.bounds[0] > -130


def test_normals_have_one_image_for_each_month_of_the_year() -> None:
    months = [f"{month:02}" for month in range(1, 13)]
    assert indexes("OREGONSTATE/PRISM/Norm81m", (1970, 1, 1), (2030, 1, 1)) == months
    assert RECORDS.get("OREGONSTATE/PRISM/Norm81m/07") is not None
    assert RECORDS.get("OREGONSTATE/PRISM/Norm91m/13") is None


@pytest.mark.parametrize(
    ("dataset", "days", "equals", "count", "name"),
    [
        ("NOAA/GFS0P25", 10, {"forecast_hours": 6}, 40, "2020010100F006"),
        ("NASA/NEX-GDDP", 31, {"scenario": "rcp85", "model": "CCSM4"}, 31, "20200101_CCSM4_rcp85"),
        ("USFS/GTAC/LCMS/v2023-9", 366, {"study_area": "CONUS"}, 1, "2020_CONUS"),
        ("NOAA/GOES/16/MCMIPM", 0.25, {"domain": 2}, 36, "20200101T0000_2"),
    ],
)
def test_each_interval_has_an_image_of_every_variant(
    dataset: str, days: float, equals: dict[str, Any], count: int, name: str
) -> None:
    """Records state hours of forecasts, scenarios, models and areas, of which one image each has the same time."""
    collection: Any = RECORDS.get(dataset)
    start = millis(2020, 1, 1)
    images = list(collection.images(Query(start=start, end=start + int(days * 86_400_000), equals=equals)))
    assert len(images) == count
    assert images[0].properties["system:index"] == name
    found = RECORDS.get(f"{dataset}/{name}")
    assert isinstance(found, ImageAsset)
    assert equals.items() <= found.properties.items()


@pytest.mark.parametrize(
    ("dataset", "year", "scenarios", "other"),
    [
        ("NASA/GDDP-CMIP6", 2014, ["historical"], "ssp245"),
        ("NASA/GDDP-CMIP6", 2015, ["ssp245", "ssp585"], "historical"),
        ("NASA/NEX-DCP30_ENSEMBLE_STATS", 2005, ["historical"], "rcp45"),
        ("IDAHO_EPSCOR/MACAv2_METDATA", 2006, ["rcp85", "rcp45"], "historical"),
    ],
)
def test_models_of_the_climate_are_historical_until_their_projections_begin(
    dataset: str, year: int, scenarios: list[str], other: str
) -> None:
    """Records call "historical" the runs before 2015 (CMIP6) and 2006 (CMIP5): a past day has one image of a model."""
    collection: Any = RECORDS.get(dataset)
    month = Query(start=millis(year, 1, 1), end=millis(year, 1, 31))
    found = [image.properties["scenario"] for image in collection.images(month)]
    assert found == scenarios * (len(found) // len(scenarios))
    assert len(found) == collection.count(month)
    first = next(iter(collection.images(month)))
    assert RECORDS.get(first.id) == first
    assert RECORDS.get(first.id.replace(scenarios[0], other)) is None


@pytest.mark.slow
def test_images_of_scenarios_are_listed_from_any_place() -> None:
    collection: Any = RECORDS.get("NASA/NEX-DCP30_ENSEMBLE_STATS")
    ids = [image.id for image in collection.images(Query())]
    for start in (0, 670, 673, len(ids) - 2):
        listed = [image.id for image in islice(collection.images_from(start), 5)]
        assert listed == ids[start : start + 5]


def test_forecasts_are_of_their_hour() -> None:
    """24 of one day, in order, as notebooks limit them; the record names the time a forecast is for."""
    names = indexes("NOAA/GFS0P25", (2018, 12, 22), (2018, 12, 23))
    assert len(names) == 4 * 209
    assert names[:24] == [f"2018122200F{hour:03}" for hour in range(24)]
    image = RECORDS.get("NOAA/GFS0P25/2018122206F123")
    assert isinstance(image, ImageAsset)
    assert image.properties["forecast_time"] - image.properties["system:time_start"] == 123 * 3_600_000


def test_forecasts_are_found_by_the_day_and_hour_of_their_creation() -> None:
    """Google's example of these asks for day 162 and hour 12, of which there is one in each year."""
    collection: Any = RECORDS.get("ECMWF/NRT_FORECAST/IFS/WAVE")
    start = datetime(2024, 11, 20, 12, tzinfo=timezone.utc)
    moment = int(start.timestamp()) * 1000
    image = next(iter(collection.images(Query(start=moment, end=moment + 1)))).properties
    parts = {name: image[f"creation_{name}"] for name in ("year", "month", "day", "doy", "hour", "time")}
    assert parts == {"year": 2024, "month": 11, "day": 20, "doy": 325, "hour": 12, "time": moment}
    assert image["forecast_time"] == moment + image["forecast_hours"] * 3_600_000


@pytest.mark.parametrize(
    ("image", "start"),
    [
        ("NOAA/GOES/18/FDCC/2022341230117000000", (2022, 12, 7, 23, 1)),
        ("NOAA/GOES/17/MCMIPC/2020211190617600000", (2020, 7, 29, 19, 6)),
    ],
)
def test_a_name_may_have_the_day_of_the_year(image: str, start: tuple[int, ...]) -> None:
    """As in Google's examples of these datasets."""
    found = RECORDS.get(image)
    assert isinstance(found, ImageAsset)
    assert found.properties["system:time_start"] == millis(*start)


def test_rows_have_dates_of_the_time_of_the_table() -> None:
    """Google's example parses them as yyyy-MM-dd."""
    table: Any = RECORDS.get("USGS/LIMA/SR_METADATA")
    dates = [date.fromisoformat(row.properties["ACQ_DATE"]) for row in table.rows(Query())]
    assert date(1999, 6, 30) <= min(dates) < max(dates) <= date(2002, 9, 4)


def test_rows_of_an_index_have_times_that_compare_as_texts() -> None:
    """Google's example of GEDI's index asks for time_start > "2020-10-10T15:57:18" and for time_end < a later text."""
    table: Any = RECORDS.get("LARSE/GEDI/GEDI02_A_002_INDEX")
    times = [(row.properties["time_start"], row.properties["time_end"]) for row in table.rows(Query())]
    assert all("2019-03-25" < start < end for start, end in times)
    assert any(start > "2020-10-10T15:57:18" and end < "2020-11-11T01:20:45" for start, end in times)


def test_the_limit_of_a_type_is_no_usual_value() -> None:
    """The record of night lights states 0 to 6553.4, the greatest 16-bit number by 0.1; its picture shows 0 to 100."""
    light = next(b for b in known("NASA/VIIRS/002/VNP46A2").bands if b.name == "Gap_Filled_DNB_BRDF_Corrected_NTL")
    plan = plan_band(light, "A")
    half, least = (StubScene("A", (plan,), date(2020, 1, 1)).encode(np.full((1, 1, 1), v), (0,)) for v in (0.5, 0.1))
    assert float(half[0, 0, 0]) < 6553.4 / 7
    assert float(least[0, 0, 0]) < 10.0


def test_standard_deviations_are_mostly_small() -> None:
    """The record of a share of clay states 0 to 90; Google's example shows 1 to 6."""
    values = read(image_of(RECORDS, "ISDASOIL/Africa/v1/clay_content"), "stdev_0_20", 256)
    assert np.median(values) < 90 / 4
    assert values.max() <= 90


def test_rain_by_the_hour() -> None:
    """geetools expects 719 images in the last thirty days to 31 March (tests/test_ImageCollection.py)."""
    assert len(indexes("JAXA/GPM_L3/GSMaP/v6/operational", (2020, 3, 1), (2020, 3, 31))) == 720
    assert indexes("JAXA/GPM_L3/GSMaP/v6/operational", (2021, 7, 13), (2021, 7, 14))[0] == "20210713_0000"


def test_bands_of_one_kind_have_one_range() -> None:
    """The record of EMIT's radiances states the range of radiance_1, of 285 bands with the same words."""
    values = read(image_of(RECORDS, "NASA/EMIT/L1B/RAD"), "radiance_36")
    assert 0.0 <= values.min() < values.max() <= 10.0
    stated = BandDescription("B2", "Blue of band 2", "sr", minimum=0.0, maximum=0.5)
    alike = BandDescription("B3", "Blue of band 3", "sr")
    others = [BandDescription("B4", "Red of band 4", "sr"), BandDescription("B5", "Blue of band 5", "nm")]
    filled = with_ranges_of_like_bands([alike, stated, *others])
    assert [(band.minimum, band.maximum) for band in filled[:2]] == [(0.0, 0.5)] * 2
    assert list(filled[2:]) == others


def test_a_band_without_a_known_range_is_refused() -> None:
    image = image_of(RECORDS, "NASA/GEOS-CF/v1/rpl/tavg1hr")
    with pytest.raises(InvalidError, match="no range of the band 'AOD550_DST2' of NASA/GEOS-CF/v1/rpl/tavg1hr"):
        read(image, "AOD550_DST2")


def test_the_table_of_the_guide_to_charts() -> None:
    """Its columns are those that the guide makes: bands of PRISM's normals by month, and three more."""
    table: Any = RECORDS.get("projects/google/charts_feature_example")
    rows = list(table.rows(Query()))
    months = {f"{month:02}_{name}" for month in range(1, 13) for name in COLUMNS}
    assert set(table.columns) == {*months, "label", "value", "warm"}
    assert [(row.properties["label"], row.properties["value"]) for row in rows] == [
        ("Desert", 0), ("Forest", 1), ("Grassland", 2)
    ]  # fmt: skip
    for row in rows:
        known = row.properties
        assert set(known) == set(table.columns)
        assert known["01_tmean"] < known["07_tmean"]
        assert all(known[f"{m:02}_tmin"] < known[f"{m:02}_tmean"] < known[f"{m:02}_tmax"] for m in range(1, 13))
        assert known["warm"] == (known["01_tmean"] > 0)
    assert [row.properties["07_ppt"] for row in rows] == [80.3894, 23.4092, 76.1818]
    assert rows[0].geometry is not None
    assert rows[0].geometry.bounds == (-109.21, 31.42, -108.3, 32.03)


def test_the_land_cover_of_the_old_version_is_painted() -> None:
    """Google's introduction to the API for Python samples all of its bands."""
    old: Any = DemoStore(UNTIL).get("MODIS/006/MCD12Q1")
    new: Any = DemoStore(UNTIL).get("MODIS/061/MCD12Q1")
    images = list(old.images(Query()))
    assert [image.properties["system:index"] for image in images][:: len(images) - 1] == ["2001_01_01", "2020_01_01"]
    again = next(iter(new.images(Query())))
    for name in ("LC_Type1", "LC_Prop1", "QC"):
        assert (read(images[0], name) == read(again, name)).all()


def test_water_is_class_0_of_the_oldest_land_cover() -> None:
    """So Google's guide to visualization and OpenET's models read it, which remap 0 and 15."""
    oldest: Any = DemoStore(UNTIL).get("MODIS/051/MCD12Q1")
    newest: Any = DemoStore(UNTIL).get("MODIS/061/MCD12Q1")
    images = list(oldest.images(Query()))
    assert (images[-1].id, len(images)) == ("MODIS/051/MCD12Q1/2013_01_01", 13)
    classes = read(list(newest.images(Query()))[12], "LC_Type1", 512)
    assert len(np.unique(classes)) > 2
    assert (read(images[-1], "Land_Cover_Type_1", 512) == classes % 17).all()


def test_a_climatology_has_an_image_for_each_month() -> None:
    assert indexes("WORLDCLIM/V1/MONTHLY", (1900, 1, 1), (2030, 1, 1)) == [f"{month:02}" for month in range(1, 13)]


def test_probabilities_are_near_their_ends() -> None:
    values = read(image_of(RECORDS, "projects/forestdatapartnership/assets/palm/model_2025b"), "probability", 512)
    assert np.mean((values < 0.1) | (values > 0.9)) > 0.4


def test_a_small_place_has_rows_of_its_size() -> None:
    """Also where nothing of the demo planet is special, and each with its own index."""
    roads: Any = RECORDS.get("TIGER/2016/Roads")
    for west, south, size in ((-90.0, 35.0, 4.0), (-90.0, 35.0, 0.1), (-80.123, 41.456, 0.01)):
        rows = list(roads.rows(Query(bounds=(west, south, west + size, south + size))))
        assert 4 <= len(rows) <= 100
        assert len({row.index for row in rows}) == len(rows)
        assert all(row.geometry.bounds[2] - row.geometry.bounds[0] < size for row in rows)
    assert len(list(roads.rows(Query(bounds=(-90.0, 35.0, -90.0, 35.0))))) == 1


def test_roads_have_the_codes_of_the_census() -> None:
    """https://www.census.gov/library/reference/code-lists/route-type-codes.html"""
    roads: Any = RECORDS.get("TIGER/2016/Roads")
    place = (-90.0, 35.0, -86.0, 39.0)
    assert {row.properties["rttyp"] for row in roads.rows(Query(bounds=place))} <= set("CIMOSU")
    named = list(roads.rows(Query(bounds=place, equals={"rttyp": "M"})))
    assert named
    assert all(row.properties["mtfcc"].startswith("S1") for row in named)


def test_water_that_evaporates_in_a_month_is_no_sum_of_a_year() -> None:
    """The picture of the record shows 0 to 1,400 mm of a year, of images of a month."""
    bands = known("OpenET/ENSEMBLE/CONUS/GRIDMET/MONTHLY/v2_0").bands
    month = next(band.maximum for band in bands if band.name == "et_ensemble_mad")
    assert month == pytest.approx(1400 * 31 / 365)


def test_a_collection_that_grows_without_a_stated_interval_has_an_image_a_day() -> None:
    assert indexes("NASA/TEMPO/HCHO_L3", (2024, 4, 1), (2024, 4, 5)) == ["20240401", "20240402", "20240403", "20240404"]


def test_whole_percentages_are_whole_numbers() -> None:
    """A picture without a stretch shows floating-point values from 0 to 1, and bytes from 0 to 255."""
    cover = known("USGS/NLCD_RELEASES/2023_REL/RCMAP/V6/COVER")
    assert plan_band(cover.bands[0], cover.id).dtype == "uint8"


def test_digital_numbers_of_light_without_a_scale_differ() -> None:
    """Their range, 20 to 2,000, is not one of reflectances."""
    values = read(image_of(RECORDS, "VITO/PROBAV/C1/S1_TOC_100M"), "NIR", 200)
    assert 20 <= values.min() < values.max() <= 2000


def test_the_sea_has_a_floor_where_the_range_has_one() -> None:
    image = image_of(RECORDS, "NOAA/NGDC/ETOPO1")
    band = next(band for band in image.bands if band.name == "bedrock")
    values, _ = band.source.read([band.index], PixelWindow(100, 5000, 8, 8), 0)  # in the Pacific
    assert values.max() < -500
    assert read(image, "bedrock").min() > 1000


def test_differences_of_heights_are_no_heights() -> None:
    """Positions on slopes are within 200 m of nought, where land is higher: none is cut off at the range's end."""
    values = read(image_of(RECORDS, "CSP/ERGo/1_0/Global/SRTM_mTPI"), "elevation", 64)
    assert -200.0 < values.min() < values.max() < 190.0


def test_current_tables_have_versions_of_earlier_months() -> None:
    """Their records: "Historical versions, starting with July 2017, are available in the format WCMC/WDPA/YYYYMM"."""
    current, earlier = (RECORDS.get(f"WCMC/WDPA/{version}/polygons") for version in ("current", "202307"))
    assert isinstance(current, StubTable)
    assert isinstance(earlier, StubTable)
    assert earlier.columns == current.columns
    assert (current.id, earlier.id) == ("WCMC/WDPA/current/polygons", "WCMC/WDPA/202307/polygons")
    for month in ("201606", "209912", "202313x"):
        assert RECORDS.get(f"WCMC/WDPA/{month}/polygons") is None


def test_most_rain_is_far_from_the_greatest() -> None:
    """Of 204.88 mm an hour, which the record of GSMaP states: its picture shows 0 to 10."""
    rates = read(image_of(RECORDS, "JAXA/GPM_L3/GSMaP/v7/operational"), "hourlyPrecipRate", 64)
    assert (rates < 50.0).mean() > 0.9


def test_a_photograph_from_near_shows_more_than_one_colour() -> None:
    """Of 60 m of Switzerland, in pixels of 10 cm."""
    assert len(np.unique(read(image_of(RECORDS, "Switzerland/SWISSIMAGE/orthos/10cm"), "R", 600))) > 5


def test_the_most_rain_of_a_rate_does_not_grow_with_the_days_of_an_image() -> None:
    """IMERG states mm/h also of months: 250 mm of a day are some 10 of an hour."""
    dataset = KnownSource().find("NASA/GPM_L3/IMERG_MONTHLY_V07")
    assert dataset is not None
    band = next(band for band in dataset.bands if band.name == "precipitation")
    month, day = (plan_band(band, dataset.id, interval).high for interval in (Interval(1, "month"), Interval(1, "day")))
    assert month == day == max(band.maximum or 0.0, 250.0 / 24.0)
