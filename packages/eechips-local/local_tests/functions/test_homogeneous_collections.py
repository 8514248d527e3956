"""Which collections Earth Engine refuses to combine, by the real client over HTTP: cases that users and tests report.

A number such as "code 66566155600" is a public script or note; its comments quote the service's message, or say what
works around it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from local_tests.support.local_earth_engine import Server, initialize

Make = Callable[[Any], list[Any]]

JANUARY, FEBRUARY = 2_678_400, 2_419_200
MILLIS = 1_500_000_000_000


@pytest.fixture(scope="module")
def ee(serve: Callable[..., Server]) -> Any:
    return initialize(serve("--no-demo", "--rate", "none", "--concurrency", "none"))


def value_of(ee: Any, image: Any) -> dict[str, Any]:
    found: dict[str, Any] = image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point([7.0, 46.0]), 30).getInfo()
    return found


def refusal(ee: Any, image: Any) -> str:
    with pytest.raises(ee.EEException) as caught:
        value_of(ee, image)
    response: Any = caught.value.__context__
    assert response.resp.status == 400
    assert b'"INVALID_ARGUMENT"' in response.content
    return str(caught.value)


def landsat(ee: Any) -> Any:
    """Surface reflectance of Landsat's Collection 2, scaled as its catalogue says."""
    return ee.Image(9000).toUint16().multiply(0.0000275).add(-0.2)


def ndvi(ee: Any) -> Any:
    return ee.Image([900, 300]).toUint16().normalizedDifference().rename("NDVI")


def classes(ee: Any, count: int) -> Any:
    return ee.Image(3).toUint8().remap(list(range(1, count)), list(range(1, count)), 0)


def image_in_april(ee: Any, scale: Any) -> Any:
    """A band on pixels of its own, as reduceResolution needs."""
    return ee.Image(5).toUint8().multiply(scale).reproject("EPSG:4326", None, 500)


REFUSED: dict[str, tuple[Make, str | None, str | None]] = {
    "github.com/gee-community/geemap/issues/1058: a year without images is int16, others are scaled": (
        lambda ee: [ee.Image(0).toInt16(), landsat(ee)], "Short", "Float<-0.2, 1.6022125>"),
    "code 53755605705: Sentinel-2 unscaled, and Landsat 8 scaled": (
        lambda ee: [ee.Image(900).toUint16(), landsat(ee)], "Integer<0, 65535>", "Float<-0.2, 1.6022125>"),
    "code 53755605705, the other way round": (
        lambda ee: [landsat(ee), ee.Image(900).toUint16()], "Float<-0.2, 1.6022125>", "Integer<0, 65535>"),
    "code 66566155600: a constant for a lacking image, and cloud probability": (
        lambda ee: [ee.Image(0), ee.Image(30).toUint8()], "MaskOnly", "Short<0, 255>"),
    "code 66623946087: constants of float numbers, one a year": (
        lambda ee: [ee.Image.constant(ee.Number(year).float()) for year in (0, 1)],
        "Float<0.0, 0.0>", "Float<1.0, 1.0>"),
    "code 61763780661: bytes by scale and days": (
        lambda ee: [ee.Image(7).toUint8().multiply(0.1).multiply(days) for days in (9, 10)],
        "Float<0.0, 229.5>", "Float<0.0, 255.0>"),
    "code 55222167243: dates of images": (
        lambda ee: [ee.Image(0).add(ee.Number(MILLIS + day)) for day in (0, 1)],
        f"Long<{MILLIS}, {MILLIS}>", f"Long<{MILLIS + 1}, {MILLIS + 1}>"),
    "code 63434628059: seconds of months": (
        lambda ee: [ee.Image(JANUARY), ee.Image(FEBRUARY)],
        f"Integer<{JANUARY}, {JANUARY}>", f"Integer<{FEBRUARY}, {FEBRUARY}>"),
    "code 63502944532: NDVI of Landsat 7 brought to that of Landsat 8": (
        lambda ee: [ndvi(ee).multiply(0.9723).add(0.0235), ndvi(ee)], None, "Float<-1.0, 1.0>"),
    "code 57106772073: bands of TerraClimate, scaled by 0.1 and by 1": (
        lambda ee: [ee.Image(80).toUint16().multiply(scale) for scale in (0.1, 1)],
        "Float<0.0, 6553.5>", "Integer<0, 65535>"),
    "code 67357574789: Sentinel-2 and Landsat 8, both scaled": (
        lambda ee: [ee.Image(900).toUint16().divide(10_000), landsat(ee)], None, "Float<-0.2, 1.6022125>"),
    "code 67119427482: reduced to another resolution, and not": (
        lambda ee: [ee.Image(5).toUint8().reproject("EPSG:4326", None, 90),
                    image_in_april(ee, 1).reduceResolution(ee.Reducer.median())],
        "Short<0, 255>", "Float<0.0, 255.0>"),
    "code 70889015015: remapped by lists of other lengths": (
        lambda ee: [classes(ee, 4), classes(ee, 6)], "Byte<0, 3>", "Byte<0, 5>"),
    "github.com/eMapR/LT-GEE, LandTrendr.js: a whole band and an index": (
        lambda ee: [ee.Image(3).toInt16(), ee.Image(0.5).toFloat()], "Short", "Float"),
    "code 51920532450: two types of classes in LANDFIRE": (
        lambda ee: [ee.Image(3).toInt16(), ee.Image(3).toUint16()], "Short", "Integer<0, 65535>"),
}  # fmt: skip

ACCEPTED: dict[str, tuple[Make, str, float]] = {
    "github.com/Open-ET/openet-core, interpolate.py: masks, then a constant": (
        lambda ee: [ee.Image(1).toUint8(), ee.Image(1).toUint8(), ee.Image.constant(0)], "sum", 2),
    "code 61509333806: an integer band, then a constant": (
        lambda ee: [ee.Image(9).toUint16(), ee.Image(0)], "max", 9),
    "code 56730281605: a comparison, then a constant": (
        lambda ee: [ee.Image(9).toUint16().gt(4), ee.Image(0)], "sum", 1),
    "code 67280843122: a float band, then a constant below it": (
        lambda ee: [ee.Image(0.25).toFloat(), ee.Image(0).selfMask()], "mosaic", 0.25),
    "github.com/forestdatapartnership/whisp, datasets.py: alerts, and nothing where a tile lacks the band": (
        lambda ee: [ee.Image(3).toUint8(), ee.Image(0).selfMask()], "mosaic", 3),
    "github.com/Open-ET/openet-refet-gee, test_daily.py: doubles": (
        lambda ee: [ee.Image.constant(v).double() for v in (1, 1.5)], "mean", 1.25),
    "github.com/Open-ET/openet-core, src_images: 16 bits": (
        lambda ee: [ee.Image.constant(v).int16() for v in (1, 300)], "max", 300),
    "github.com/gee-community/geemap/pull/1953: bytes": (
        lambda ee: [ee.Image.constant(v).byte() for v in (1, 200)], "mosaic", 200),
    "developers.google.com/earth-engine/guides/image_collection08: pictures of other ranges": (
        lambda ee: [ee.Image(v).visualize(min=0, max=top) for v, top in ((1, 2), (5, 10))], "mosaic", 128),
    "github.com/forestdatapartnership/whisp, nbr_terraclass: comparisons": (
        lambda ee: [ee.Image(3).toUint8().eq(1), ee.Image(3).toUint8().eq(2).Or(ee.Image(3).toUint8().eq(3))],
        "mosaic", 1),
    "developers.google.com/earth-engine/apidocs/ee-image-reproject: elevations of NASADEM and SRTM": (
        lambda ee: [ee.Image(v).toInt16() for v in (100, 103)], "mean", 101.5),
    "code 66944731097: casts of images, where casts of numbers are refused": (
        lambda ee: [ee.Image.constant(year).float() for year in (0, 1)], "sum", 1),
    "code 70889015015: int8 after remap": (
        lambda ee: [classes(ee, 4).toInt8(), classes(ee, 6).toInt8()], "max", 3),
    "github.com/gee-community/geeViz, getImagesLib.py: floats, then doubles, which messages name Float, too": (
        lambda ee: [ee.Image(v).toFloat().divide(scale) for v, scale in ((1, 4), (7, 1.25))], "max", 5.6),
    "a type within that of the first image: int in float, the rule that fits all of these": (
        lambda ee: [ee.Image(0.5).toFloat(), ee.Image(7).toUint8()], "max", 7),
}  # fmt: skip


def composite(ee: Any, images: list[Any], reducer: str) -> Any:
    return getattr(ee.ImageCollection(images), reducer)()


@pytest.mark.parametrize("case", REFUSED)
def test_a_band_that_does_not_fit_the_first_image_is_refused(ee: Any, case: str) -> None:
    make, expected, actual = REFUSED[case]
    message = refusal(ee, ee.ImageCollection([image.rename("b") for image in make(ee)]).mosaic())
    parts = re.search(
        r"Expected a homogeneous image collection, but an image with an incompatible band was encountered\. "
        r"Mismatched type for band 'b':\nExpected type: (.*)\.\n  Actual type: (.*)\.\n     Image ID: 1\n"
        r"This band might require an explicit cast\.$",
        message,
    )
    assert parts is not None, message
    assert expected in (None, parts[1])
    assert actual in (None, parts[2])


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_band_that_fits_the_first_image_is_accepted(ee: Any, case: str) -> None:
    make, reducer, expected = ACCEPTED[case]
    assert next(iter(value_of(ee, composite(ee, make(ee), reducer)).values())) == pytest.approx(expected)


def bands(ee: Any, *names: str) -> Any:
    return ee.Image.constant(list(range(1, len(names) + 1))).toInt16().rename(list(names))


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (("B1", "B2", "MSK_CLDPRB"), ("B1", "B2")),  # github.com/leftfield-geospatial/geedim/issues/16
        (("B1",), ("B1", "B2")),  # as between three and four bands of NAIP
        (("R", "G", "B"), ("N", "R", "G")),
        (("I1", "I2"), ("I2", "I1")),  # code 34423321208: VIIRS, cured by select(bandNames)
    ],
)
def test_other_bands_or_another_order_are_refused(ee: Any, first: tuple[str, ...], later: tuple[str, ...]) -> None:
    mixed = ee.ImageCollection([bands(ee, *first), bands(ee, *later)])
    expected = (
        "Expected a homogeneous image collection, but an image with incompatible bands was encountered: First image"
        f" type: {len(first)} bands ([{', '.join(first)}]). Current image type: {len(later)} bands"
        f" ([{', '.join(later)}])."
    )
    assert expected in refusal(ee, mixed.mosaic())
    # Also for one band that both have, selected after (code 70389672238); selected before, all is well.
    common = next(name for name in first if name in later)
    assert expected in refusal(ee, mixed.mosaic().select(common))
    assert value_of(ee, mixed.select([common]).mosaic()).keys() == {common}


WALKS: dict[str, Callable[[Any, Any], Any]] = {
    **{name: lambda ee, images, name=name: getattr(images, name)() for name in (
        "mosaic", "sum", "mean", "median", "max", "min", "mode", "product", "count", "And", "Or", "toArrayPerBand",
    )},
    "reduce": lambda ee, images: images.reduce(ee.Reducer.percentile([50])),
    "several": lambda ee, images: images.select([0, 0], ["x", "y"]).reduce(ee.Reducer.linearFit()),
    "qualityMosaic": lambda ee, images: images.qualityMosaic("b"),
    "LandTrendr": lambda ee, images: ee.Algorithms.TemporalSegmentation.LandTrendr(images, 3),
    "Ccdc": lambda ee, images: ee.Algorithms.TemporalSegmentation.Ccdc(images),
}  # fmt: skip


@pytest.mark.parametrize("name", WALKS)
def test_all_that_combines_pixels_is_strict(ee: Any, name: str) -> None:
    """`qualityMosaic` and series have no case that is known; they read pixels of all images as the others do."""
    images = [ee.Image(v).rename("b").set("system:time_start", n * 10**11) for n, v in enumerate((0, 1))]
    composite = WALKS[name](ee, ee.ImageCollection(images))
    assert composite.bandNames().size().getInfo() >= 1  # what bands there are is answered without a check
    assert refusal(ee, composite).startswith("Expected a homogeneous image collection")


def test_arrays_have_the_union_of_the_types_of_all_images(ee: Any) -> None:
    """As the reference says; scripts fit polynomials to constants, one an image (codes 21332149597, 24270366060)."""
    images = [ee.Image.constant(v).addBands(ee.Image(w).toUint8()) for v, w in ((0, 4), (-5.5, 9), (300, 1))]
    stack = ee.ImageCollection(images).toArray()
    assert value_of(ee, stack) == {"array": [[0, 4], [-5.5, 9], [300, 1]]}
    kind = stack.bandTypes().getInfo()["array"]
    assert kind == {"type": "PixelType", "precision": "double", "min": -5.5, "max": 300, "dimensions": 2}
    assert "incompatible bands" in refusal(ee, ee.ImageCollection([images[0], ee.Image(1)]).toArray())


def test_other_ways_to_pixels_are_strict_and_lists_are_not(ee: Any) -> None:
    images = ee.ImageCollection([ee.Image(0), ee.Image(1), ee.Image(2)])
    point = ee.Geometry.Point([7.0, 46.0])
    with pytest.raises(ee.EEException, match="homogeneous"):
        images.getRegion(point, 30).getInfo()
    with pytest.raises(ee.EEException, match="homogeneous"):
        images.max().sample(point, 30).getInfo()
    with pytest.raises(ee.EEException, match="homogeneous"):
        ee.data.computePixels({"expression": images.mosaic(), "fileFormat": "NPY", "grid": {
            "dimensions": {"width": 1, "height": 1}, "crsCode": "EPSG:4326",
            "affineTransform": {"scaleX": 1, "scaleY": -1, "translateX": 0, "translateY": 1}}})  # fmt: skip
    # developers.google.com/earth-engine/apidocs/ee-imagecollection-fromimages prints such a collection.
    assert len(images.getInfo()["features"]) == 3
    assert value_of(ee, images.toBands()) == {"0_constant": 0, "1_constant": 1, "2_constant": 2}
    assert value_of(ee, images.sort("system:index", False).first()) == {"constant": 2}
    kind = images.mosaic().getInfo()["bands"][0]["data_type"]
    assert (kind["min"], kind["max"]) == (0, 0)  # the type of the first image


def test_the_order_of_images_decides(ee: Any) -> None:
    """Merged collections keep the order, and prefix the names of images; sorting and filters change what is first."""
    narrow, wide = (ee.ImageCollection([image.set("n", n)]) for n, image in
                    enumerate((ee.Image(0), ee.Image(7).toUint8())))  # fmt: skip
    assert wide.merge(narrow).aggregate_array("system:index").getInfo() == ["1_0", "2_0"]
    assert value_of(ee, wide.merge(narrow).max()) == {"constant": 7}
    assert "Image ID: 2_0" in refusal(ee, narrow.merge(wide).max())
    assert value_of(ee, narrow.merge(wide).sort("n", False).max()) == {"constant": 7}
    assert value_of(ee, narrow.merge(wide).filter(ee.Filter.gt("n", 0)).max()) == {"constant": 7}
    assert "homogeneous" in refusal(ee, wide.merge(narrow).sort("n").max())


def test_images_far_from_the_pixels_are_compared_too(ee: Any) -> None:
    """Two tiles in South America broke the mosaic everywhere: github.com/forestdatapartnership/whisp/pull/248."""
    here, far = (ee.Geometry.BBox(west, 45, west + 2, 47) for west in (6, -60))
    tiles = ee.ImageCollection([bands(ee, "conf24", "conf25").clip(here), bands(ee, "conf24").clip(far)])
    assert "incompatible bands" in refusal(ee, tiles.mosaic())
    assert value_of(ee, tiles.filterBounds(here).mosaic()) == {"conf24": 1, "conf25": 2}


def test_cast_is_the_union_that_the_service_offers(ee: Any) -> None:
    """developers.google.com/earth-engine/apidocs/ee-imagecollection-cast: bands that an image lacks are masked."""
    mixed = ee.ImageCollection([bands(ee, "R", "G", "B"), bands(ee, "N", "R", "G")])
    union = mixed.cast(dict.fromkeys("RGBN", "int16"), list("RGBN"))
    assert value_of(ee, union.mosaic()) == {"R": 2, "G": 3, "B": 3, "N": 1}
    with pytest.raises(ee.EEException, match=r"'N' is missing"):
        value_of(ee, mixed.cast(dict.fromkeys("RGB", "int16"), list("RGB")).mosaic())


def test_bands_of_properties_have_no_range(ee: Any) -> None:
    """The guide fits lines so: https://developers.google.com/earth-engine/guides/reducers_regression."""
    times = [1.0e12, 1.1e12, 1.3e12]
    images = [bands(ee, "rain").toFloat().multiply(n).set("system:time_start", time) for n, time in enumerate(times)]

    def timed(image: Any) -> Any:
        return ee.Image(image).addBands(image.metadata("system:time_start").divide(1e12))

    collection = ee.ImageCollection(images).map(timed).select(["system:time_start", "rain"])
    fit = value_of(ee, collection.reduce(ee.Reducer.linearFit()))
    slope, offset = np.polyfit([1.0, 1.1, 1.3], [0, 1, 2], 1)
    assert (fit["scale"], fit["offset"]) == pytest.approx((slope, offset))
    kind = ee.Image(images[0]).metadata("system:time_start").bandTypes().getInfo()["system:time_start"]
    assert kind == {"type": "PixelType", "precision": "double"}
