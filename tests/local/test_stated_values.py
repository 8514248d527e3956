"""Values of stubs that a record states: of pictures, ranges, classes, flags, descriptions and properties."""

from __future__ import annotations

from datetime import date
from itertools import islice
from typing import Any

import numpy as np
import pytest

from eechips_local.evaluation.asset_model import PixelWindow, Query
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.stubs.dataset_description import BandDescription, BitField, DatasetDescription
from eechips_local.stubs.known_datasets import KnownSource
from eechips_local.stubs.stated_values import stated_limits, stated_values
from eechips_local.stubs.stub_bands import plan_band
from eechips_local.stubs.stub_images import StubCollection
from eechips_local.stubs.stub_scene import StubScene
from tests.local.test_stubs import RECORDS, image_of, read


def known(id: str) -> DatasetDescription:
    dataset = KnownSource().find(id)
    assert dataset is not None
    return dataset


def test_values_are_those_that_the_picture_of_the_record_shows() -> None:
    """Its range has a rain of 1,444 mm, its picture 1 to 17 mm; without a picture, the range counts."""
    rain = next(band for band in known("UCSB-CHG/CHIRPS/DAILY").bands if band.name == "precipitation")
    assert (rain.minimum, rain.maximum) == (1.0, 17.0)


def test_a_range_after_scale_is_one_of_stored_values() -> None:
    """The record of WorldClim states degrees of bands whose stored values are tenths of them."""
    coldest = next(band for band in known("WORLDCLIM/V1/BIO").bands if band.name == "bio06")
    assert (coldest.scale, coldest.minimum, coldest.maximum) == (0.1, -573, 258)


def test_pixels_have_classes_that_mean_something() -> None:
    """Neither "Missing data" nor "Detector saturated"."""
    codes = set(read(image_of(RECORDS, "MODIS/061/MOD10A2"), "Maximum_Snow_Extent", 200).ravel().tolist())
    assert codes <= {1, 11, 25, 37, 39, 50, 100, 200}
    assert len(codes) > 1


def test_flags_have_the_values_of_their_fields() -> None:
    fields = BandDescription("QA", bits=(BitField(0, 2, (1, 2, 3)), BitField(2, 1)))
    assert plan_band(fields, "ACME/QA").codes == (1, 2, 5)


def test_properties_have_the_values_that_the_record_states() -> None:
    images: Any = RECORDS.get("JAXA/GCOM-C/L3/OCEAN/SST/V1")
    found = {image.properties["SATELLITE_DIRECTION"] for image in islice(images.images(Query()), 30)}
    assert found == {"A", "D"}


@pytest.mark.parametrize(
    ("description", "type", "values"),
    [
        ("Orbit\n\n* A: Nighttime data\n* D: Daytime data", "STRING", ("A", "D")),
        ('Allowed values are "Degraded" and "Nominal".\n', "STRING", ("Degraded", "Nominal")),
        ("Flag ('Y'/'N')", "STRING", ("Y", "N")),
        ("* 0: None\n* 1: good\n", "INT", (0, 1)),
        ("Format: HH:MM\n\n* HH = Hour\n* MM = Minutes\n", "STRING", ()),
        ("Name of the platform.", "STRING", ()),
        ("* a: one\n* b: two\n", "DOUBLE", ()),
    ],
)
def test_values_are_read_from_descriptions(description: str, type: str, values: tuple[Any, ...]) -> None:
    assert stated_values(description, type) == values


@pytest.mark.parametrize(
    ("description", "type", "limits"),
    [
        ("Confidence score [0.65;1.0] assigned by the model.", "DOUBLE", (0.65, 1.0)),
        ("Percentage cloud cover (0-100), -1 = not calculated.", "DOUBLE", (0.0, 100.0)),
        ("Not used in L1GT products. Values: 0 - 999 (0 is used for L1T products).", "INT", (0.0, 999.0)),
        ("Format (0-100)", "STRING", None),
        ("Particle number concentration between 0.5 and 0.7 micrometres", "DOUBLE", None),
    ],
)
def test_limits_are_read_from_descriptions(description: str, type: str, limits: tuple[float, float] | None) -> None:
    assert stated_limits(description, type) == limits


def test_numbers_of_rows_lie_within_stated_limits() -> None:
    buildings: Any = RECORDS.get("GOOGLE/Research/open-buildings/v3/polygons")
    found = [row.properties["confidence"] for row in buildings.rows(Query(bounds=(3.3, 6.4, 3.5, 6.6)))]
    assert 0.65 <= min(found) < max(found) <= 1.0


def test_a_table_with_a_column_of_years_has_rows_of_each_year() -> None:
    mangroves: Any = RECORDS.get("projects/mangrovedatahub2/assets/CGMD-Extent30")
    rows = list(mangroves.rows(Query(bounds=(133.0, -2.6, 133.7, -2.1))))
    assert {row.properties["year"] for row in rows} == set(range(1984, 2024))
    assert len({row.index for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("dataset", "band", "value"), [("JRC/GFC2020/V1", "Map", 1), ("DLR/WSF/WSF2015/v1", "settlement", 255)]
)
def test_a_band_of_one_value_is_masked_where_it_does_not_hold(dataset: str, band: str, value: int) -> None:
    """Google's record of the first has one class, and that of the second the range from 255 to 255."""
    info = next(info for info in image_of(RECORDS, dataset).bands if info.name == band)
    column, row = (int(v) for v in ~info.grid.level(64).transform * (7.0, 47.0))
    values, valid = info.source.read([info.index], PixelWindow(column, row, 200, 200), 6)
    assert set(values[valid].tolist()) == {value}
    assert 0.0 < valid.mean() < 1.0


def test_estimated_ranges_are_extremes() -> None:
    """Of the heights of aerosols, -79 to 69,371 m; the record of fires states its range as one of all flames."""
    height = next(band for band in known("COPERNICUS/S5P/OFFL/L3_AER_LH").bands if band.name == "aerosol_height")
    flame = next(band for band in known("USDA/WRC/v0").bands if band.name == "CFL")
    plans = plan_band(height, "A"), plan_band(flame, "A")
    middles = [StubScene("A", (plan,), date(2020, 1, 1)).encode(np.full((1, 1, 1), 0.5), (0,)) for plan in plans]
    assert [float(middle[0, 0, 0]) for middle in middles] == pytest.approx([67_622.56 / 8, 861.7 / 2], rel=0.01)


def test_values_of_several_decades_are_as_many_in_each() -> None:
    """The picture of the record shows 0.0005 to 0.2 minutes for a metre."""
    friction = "projects/malariaatlasproject/assets/accessibility/friction_surface/2015_v1_0"
    values = read(image_of(RECORDS, friction), "friction", 64)
    assert 0.0005 <= values.min() <= values.max() <= 0.2
    assert np.mean((values > 0.0022) & (values < 0.04)) > 0.3


def test_images_lie_where_and_when_the_record_says() -> None:
    images: Any = RECORDS.get("AAFC/ACI")
    first, *_, last = images.images(Query())
    assert first.footprint.bounds == (-135.17, 36.83, -51.24, 62.25)
    assert (first.properties["system:index"], last.properties["system:index"]) == ("2009", "2024")


@pytest.mark.parametrize(
    ("dataset", "property"),
    [("projects/neon-prod-earthengine/assets/CHM/001", "NEON_SITE"), ("TIGER/2016/Roads", "fullname")],
)
def test_a_value_that_is_made_up_is_not_searched_for(dataset: str, property: str) -> None:
    """An empty collection would say that the dataset has no such image."""
    asset: Any = RECORDS.get(dataset)
    elements = asset.images if isinstance(asset, StubCollection) else asset.rows
    with pytest.raises(InvalidError, match=f"{dataset} has made up values of '{property}', so none is 'SOAP'"):
        list(elements(Query(equals={property: "SOAP"})))
    assert list(islice(elements(Query(equals={property: "synthetic 3"})), 1)) is not None


def test_one_field_of_flags_has_the_values_that_the_picture_shows() -> None:
    """Of the fires of MODIS, 1 and 2 are pixels that were not processed: the picture shows 3 to 8."""
    values = read(image_of(RECORDS, "MODIS/061/MYD14A2"), "FireMask", 256)
    assert {4, 5} <= set(values.ravel().tolist()) <= set(range(3, 9))


def test_a_stated_range_of_other_numbers_gives_way_to_the_picture() -> None:
    """No land has 7,500 kelvin: that is the range of the files, before their scale; the picture shows 216 to 348."""
    values = read(image_of(RECORDS, "MODIS/061/MOD21A1N"), "LST_1KM")
    assert 216.0 <= values.min() < values.max() <= 348.0


def test_scales_are_applied_where_the_picture_shows_values_in_units() -> None:
    """The records of MODIS/061/MOD21C1 and of Aqua state ranges of the files, and show a picture in kelvin.

    The newer one of Terra says: "scale factors and offsets described in the MODIS documentation for MOD21C1 bands are
    already applied to assets ingested into Earth Engine".
    """
    for dataset in ("MODIS/061/MOD21C1", "MODIS/061/MYD21C3"):
        image = image_of(RECORDS, dataset)
        assert 216.0 <= read(image, "LST_Day").min() < read(image, "LST_Day").max() <= 348.0
        assert 0.49 <= read(image, "Emis_31_Night").min() < read(image, "Emis_31_Night").max() <= 1.0
    stored = read(image_of(RECORDS, "HYCOM/GLBu0_08/sea_temp_salinity"), "water_temp_0")
    assert np.abs(stored).max() > 1000.0  # thousandths of a degree, of 20 degrees less


def test_a_list_property_has_all_stated_values() -> None:
    image = image_of(RECORDS, "OPERA/RTC/L2_V1/S1")
    assert image.properties["POLARIZATIONS"] == ["VV", "VH", "HV", "HH"]
    assert image.properties["PROCESSING_TYPE"] in ("NOMINAL", "URGENT", "CUSTOM", "UNDEFINED")
