"""What notebooks of other people do, by the real client."""

from __future__ import annotations

import io
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image as Picture


def _yearly(ee: Any) -> Any:
    """Make an image a year as ``create_timeseries`` of geemap does; 1999 has none."""
    source = ee.ImageCollection([ee.Image(year).rename("b").set("system:time_start", ee.Date(f"{year}-05-01").millis())
                                 for year in (1998, 2000)])  # fmt: skip

    def of_year(date: Any) -> Any:
        start = ee.Date(date)
        part = source.filterDate(start, start.advance(1, "year"))
        image = part.reduce(ee.Reducer.median())
        return image.set("empty", part.limit(1).size().eq(0)).rename(["median"])

    return ee.ImageCollection(ee.List(["1998-01-01", "1999-01-01", "2000-01-01"]).map(of_year))


def test_images_without_bands_may_be_left_out_by_their_properties(demo_ee: Any) -> None:
    kept = _yearly(demo_ee).filterMetadata("empty", "equals", 0)
    assert kept.size().getInfo() == 2
    values = kept.map(lambda image: image.set("mean", image.reduceRegion("mean", demo_ee.Geometry.Point(0, 0), 1)))
    assert values.aggregate_array("mean").getInfo() == [{"median": 1998}, {"median": 2000}]


def test_bands_of_images_without_bands_are_refused(demo_ee: Any) -> None:
    message = r"Image.rename: The number of names \(1\) must match the number of bands \(0\)"
    with pytest.raises(demo_ee.EEException, match=message):
        _yearly(demo_ee).getInfo()
    with pytest.raises(demo_ee.EEException, match=message):
        demo_ee.Image(_yearly(demo_ee).toList(3).get(1)).select(0).getInfo()


@pytest.mark.parametrize(("values", "colour"), [((7, 50, 90, 120), (7, 50, 90)), ((7, 50), (7, 7, 7))])
def test_a_layer_without_options_shows_the_first_bands(demo_ee: Any, values: Any, colour: Any) -> None:
    layer = demo_ee.Image.constant(list(values)).getMapId()
    with urlopen(layer["tile_fetcher"].format_tile_url(0, 0, 1)) as response:
        pixels = np.asarray(Picture.open(io.BytesIO(response.read())).convert("RGB")).astype(int)
    assert np.abs(pixels - colour).max() <= 3  # of a JPEG


@pytest.mark.parametrize(
    ("cast", "values", "expected"),
    [("toFloat", (0.2, 0.5, 1.5), (51, 128, 255)), ("toUint16", (0, 32768, 65535), (0, 128, 255))],
)
def test_a_layer_without_options_is_stretched_by_its_type(demo_ee: Any, cast: str, values: Any, expected: Any) -> None:
    """ "floats are stretched in [0, 1], 16-bit data are stretched to the full range of possible values": the guide
    https://developers.google.com/earth-engine/guides/image_visualization.
    """
    layer = getattr(demo_ee.Image.constant(list(values)), cast)().getMapId()
    with urlopen(layer["tile_fetcher"].format_tile_url(0, 0, 1)) as response:
        pixels = np.asarray(Picture.open(io.BytesIO(response.read())).convert("RGB")).astype(int)
    assert np.abs(pixels - expected).max() <= 3  # of a JPEG


def test_classes_are_drawn_in_their_stated_colours(demo_ee: Any) -> None:
    """The example of https://developers.google.com/earth-engine/guides/image_visualization."""
    stated = {"landcover_class_values": "0,1,2", "landcover_class_palette": "0000FF,00FF00,AABBCD"}
    image = demo_ee.Image(2).rename("landcover").set(stated)
    point = demo_ee.Geometry.Point(0, 0)
    drawn = image.visualize().reduceRegion("first", point, 1000).getInfo()
    assert drawn == {"vis-red": 0xAA, "vis-green": 0xBB, "vis-blue": 0xCD}
    other = demo_ee.Image(3).rename("landcover").set(stated).visualize().reduceRegion("first", point, 1000)
    assert other.values().getInfo() == [0, 0, 0]
    assert image.visualize(min=0, max=4).bandNames().getInfo() == ["vis-gray"]
    with urlopen(image.getMapId()["tile_fetcher"].format_tile_url(0, 0, 1)) as response:
        tile = np.asarray(Picture.open(io.BytesIO(response.read())).convert("RGB")).astype(int)
    assert np.abs(tile - (0xAA, 0xBB, 0xCD)).max() <= 3  # of a JPEG


@pytest.mark.slow
def test_photographs_are_counted_as_they_are_listed(demo_ee: Any) -> None:
    """geemap leaves out years without photographs: it asks for the size of a year of the country."""
    naip = demo_ee.ImageCollection("USDA/NAIP/DOQQ")
    coast = naip.filterBounds(demo_ee.Geometry.Point(-71.5, 41.6)).filterDate("2012-01-01", "2013-01-01").first()
    flown = coast.date()
    for first, last in ((flown, flown.advance(1, "day")), (flown.advance(1, "second"), flown.advance(1, "hour"))):
        day = naip.filterDate(first, last)
        for found in (
            day,
            day.filter(demo_ee.Filter.listContains("system:band_names", "N")),
            day.filter(demo_ee.Filter.listContains("system:band_names", "N").Not()),
        ):
            listed, counted = demo_ee.List([found.aggregate_array("system:index").size(), found.size()]).getInfo()
            assert counted == listed


def test_bands_of_composites_are_aggregated_on_their_own_grid(demo_ee: Any) -> None:
    """As geetools' tests of ``reduceInterval`` do, without a scale."""
    ee = demo_ee
    composites = ee.ImageCollection(
        [ee.ImageCollection([ee.Image(n).toByte(), ee.Image(n + 2).toByte()]).mean() for n in (1, 5)]
    )
    box = ee.Geometry.BBox(7, 46, 9, 48)
    assert composites.toBands().reduceRegion("mean", box).getInfo() == {"0_constant": 2, "1_constant": 6}


def test_an_array_without_dimensions_is_a_number(demo_ee: Any) -> None:
    """A sieve as in MTMF-Classification.js of kr-stn/EarthEngine_scripts@807d62e7c0ab: four times the bands."""
    ee = demo_ee
    most = ee.Array(ee.Number(2)).multiply(4)
    count = ee.Image(1).reproject("EPSG:4326", None, 30).connectedPixelCount(most, True)
    assert count.reduceRegion(ee.Reducer.first(), ee.Geometry.Point(0, 0), 30).getInfo() == {"constant": 8}
    assert ee.Number(1).add(most).getInfo() == 9


def test_pixels_that_are_arrays_are_counted(demo_ee: Any) -> None:
    """As ``covarw`` of mortcanty/eeimad@a242edaaa01a does of centred bands."""
    ee = demo_ee
    lonlat = ee.Image.pixelLonLat().updateMask(ee.Image.pixelLonLat().select(0).lt(0.5))
    region = ee.Geometry.Rectangle([0, 0, 1, 1], "EPSG:4326", False)
    grid = {"geometry": region, "crs": "EPSG:4326", "crsTransform": [0.1, 0, 0, 0, -0.1, 1]}
    for reducer in (ee.Reducer.count(), ee.Reducer.count().combine(ee.Reducer.first(), sharedInputs=True)):
        found = lonlat.toArray().reduceRegion(reducer=reducer, **grid).getInfo()
        assert next(value for name, value in found.items() if "first" not in name) == 50
