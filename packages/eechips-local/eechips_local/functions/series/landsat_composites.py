"""``ee.Algorithms.Landsat``: ``simpleCloudScore``, ``pathRowLimit`` and ``simpleComposite``: cloud scores, the least
cloudy scenes, and composites of raw scenes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import Bounds, PixelType, Query
from eechips_local.functions.images.image_bands import unique_names
from eechips_local.functions.registration import function
from eechips_local.functions.series.image_collections import composite, first_image, images_within, reduction
from eechips_local.functions.series.landsat_calibration import is_calibrated, is_thermal, toa
from eechips_local.pixels.composite import Reduced
from eechips_local.pixels.expected_bands import ExpectedBands
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, bands_from
from eechips_local.pixels.pixelwise_rasters import PerPixel, all_of, both, mapped
from eechips_local.pixels.types import BYTE, FLOAT
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers import MIN
from eechips_local.reducers.rank_statistics import percentile as percentiles
from eechips_local.values.values import Collection

Floats = npt.NDArray[np.float32]

_SCORE = PixelType("int", 0, 100)
_CLOUD = "cloud"
_ALL = 1 << 31
# Blue, green, red, near infrared, both of shortwave infrared, and temperature, by the sensor.
_SPECTRUM: Mapping[str, tuple[str, ...]] = {
    "OLI_TIRS": ("B2", "B3", "B4", "B5", "B6", "B7", "B10"),
    "ETM": ("B1", "B2", "B3", "B4", "B5", "B7", "B6_VCID_1"),
    "TM": ("B1", "B2", "B3", "B4", "B5", "B7", "B6"),
}


def _rescaled(values: Floats, low: float, high: float) -> Floats:
    rescaled: Floats = (values - np.float32(low)) / np.float32(high - low)
    return rescaled


def _score(pixels: Sequence[Pixels]) -> Pixels:
    """Return 0 to 100: the least of several signs of clouds."""
    blue, green, red, nir, swir1, swir2, kelvin = (p.values.astype(np.float32) for p in pixels)
    with np.errstate(all="ignore"):
        snow = np.nan_to_num((green - swir1) / (green + swir1))
    signs = (
        _rescaled(blue, 0.1, 0.3),
        _rescaled(red + green + blue, 0.2, 0.8),
        _rescaled(nir + swir1 + swir2, 0.3, 0.8),
        _rescaled(kelvin, 300, 290),
        _rescaled(snow, 0.8, 0.6),
    )
    score = np.clip(np.minimum.reduce(signs), 0, 1)
    return Pixels(np.rint(score * 100).astype(np.uint8), all_of(pixels))


def _cloud_band(image: Image) -> ImageBand:
    """Return the band of the cloud score of an image of reflectance and temperature.

    Raises:
        InvalidError: if its sensor is unknown, or a band is missing.
    """
    sensor = image.properties.get("SENSOR_ID")
    names = _SPECTRUM.get(str(sensor))
    if names is None:
        raise InvalidError(
            f"Cloud scores need the property SENSOR_ID, one of {', '.join(_SPECTRUM)}; found {str(sensor)[:100]}."
        )
    known = {band.name: band for band in image.bands}
    missing = [name for name in names if name not in known]
    if missing:
        raise InvalidError(f"Cloud scores of {sensor} need the bands {', '.join(names)}; {missing[0]} is missing.")
    raster = PerPixel((tuple(known[name] for name in names),), (_score,))
    return replace(known[names[0]], name=_CLOUD, type=_SCORE, raster=raster, index=0)


@function("Landsat.simpleCloudScore")
def simple_cloud_score(image: Image) -> Image:
    """Return the image with the band "cloud": 0 to 100, of brightness, temperature and snow index.

    The thresholds are those of the script "SimpleCloudScore" among Earth Engine's examples, by which its documentation
    explains the algorithm: https://developers.google.com/earth-engine/guides/landsat#simple-cloud-score. The score is
    rounded to whole numbers.
    """
    (name,) = unique_names([_CLOUD], [band.name for band in image.bands])
    return image.with_bands([*image.bands, replace(_cloud_band(image), name=name)])


def _cover(image: Image) -> float:
    """Return the share of clouds, the greatest where it is unknown."""
    cover = image.properties.get("CLOUD_COVER")
    return float(cover) if isinstance(cover, (int, float)) and cover >= 0 else np.inf


def _limited(collection: Collection, in_cell: int, in_total: int, bounds: Bounds | None) -> list[Image]:
    """Return the least cloudy images under some bounds, in their order in the collection."""
    images = list(images_within(collection, bounds))
    taken: Counter[tuple[object, object]] = Counter()
    kept: list[int] = []
    for position in sorted(range(len(images)), key=lambda position: _cover(images[position])):
        cell = images[position].properties.get("WRS_PATH"), images[position].properties.get("WRS_ROW")
        taken[cell] += 1
        if taken[cell] <= in_cell:
            kept.append(position)
    return [images[position] for position in sorted(kept[:in_total])]


@function("Landsat.pathRowLimit")
def path_row_limit(collection: Collection, maxScenesPerPathRow: int, maxScenesTotal: int) -> Collection:
    """Return the least cloudy scenes by CLOUD_COVER: so many of each path and row, and so many of a request.

    A request that shows a region counts the scenes over that region only.
    https://developers.google.com/earth-engine/apidocs/ee-algorithms-landsat-pathrowlimit
    """
    if maxScenesPerPathRow < 1 or maxScenesTotal < 1:
        raise InvalidError("The numbers of scenes must be positive.")

    def elements(query: Query) -> Iterator[Image]:
        return iter(_limited(collection, maxScenesPerPathRow, maxScenesTotal, query.bounds))

    return Collection(
        "Image",
        elements,
        properties=collection.properties,
        id=collection.id,
        version=collection.version,
        is_searchable=False,
    )


def _scored(scene: Image) -> Image:
    """Return the calibrated bands of a raw scene, and its cloud score."""
    image = toa(scene)
    return image.with_bands([*(b for b in image.bands if is_calibrated(b)), _cloud_band(image)])


def _clearest(limit: Image, span: int, image: Image) -> Image:
    """Return an image without its score, masked where that is more than ``span`` above the least of all images."""
    (least,), score = limit.bands, image.bands[-1]

    def cover(pixels: Sequence[Pixels]) -> Pixels:
        value, own, lowest = pixels
        clear = own.valid & lowest.valid & (own.values.astype(np.int64) <= lowest.values.astype(np.int64) + span)
        return Pixels(value.values, both(value.mask, clear))

    bands = image.bands[:-1]
    raster = PerPixel(tuple((band, score, least) for band in bands), (cover,) * len(bands))
    return image.with_bands(bands_from(raster, bands))


def _as_bytes(band: ImageBand, *, is_temperature: bool) -> ImageBand:
    def convert(pixels: Sequence[Pixels]) -> Pixels:
        values = pixels[0].values - 100.0 if is_temperature else pixels[0].values * 255.0
        return Pixels(np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8), pixels[0].mask)

    return mapped((band,), convert, lambda _: BYTE)[0]


@function("Landsat.simpleComposite")
def simple_composite(
    collection: Collection, percentile: int, cloudScoreRange: int, maxDepth: int, asFloat: bool
) -> Image:
    """Return a composite of raw scenes: percentiles of the pixels whose cloud scores are near the least.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-landsat-simplecomposite: scenes are calibrated and
    scored; at each pixel, scores within ``cloudScoreRange`` of the least are accepted. Each path and row gives at most
    ``maxDepth`` scenes, the least cloudy ones. Bands of quality are left out.
    """
    if cloudScoreRange < 0:
        raise InvalidError(f"The cloudScoreRange must not be negative; found {cloudScoreRange}.")
    if maxDepth < 1:
        raise InvalidError(f"The maxDepth must be positive; found {maxDepth}.")
    scene = first_image(collection)
    if scene is None:
        return Image(())
    sensor = scene.properties.get("SENSOR_ID")
    first = _scored(scene)
    expected, names = ExpectedBands.of(first), first.band_names[:-1]
    known: dict[Bounds | None, list[Image]] = {}

    def scored(bounds: Bounds | None) -> list[Image]:
        if bounds not in known:
            known[bounds] = [expected.check(_scored(image)) for image in _limited(collection, maxDepth, _ALL, bounds)]
        return known[bounds]

    def scores(bounds: Bounds | None) -> Iterator[Image]:
        return (image.with_bands(image.bands[-1:]) for image in scored(bounds))

    least = composite(Reduced(scores, ((0,),), reduction(MIN), 1), [_CLOUD], [_SCORE])

    def clear(bounds: Bounds | None) -> Iterator[Image]:
        return (_clearest(least, cloudScoreRange, image) for image in scored(bounds))

    calls = tuple((band,) for band in range(len(names)))
    raster = Reduced(clear, calls, reduction(percentiles([percentile])), 1)
    composite_image = composite(raster, names, [FLOAT] * len(names))
    if asFloat:
        return composite_image
    return composite_image.with_bands(
        [_as_bytes(band, is_temperature=is_thermal(band, sensor)) for band in composite_image.bands]
    )
