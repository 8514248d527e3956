"""Make the expressions of frames as templates: one image, the images of a period reduced to one, or no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import ee

from eechips.geo.grid import Grid
from eechips.planning.expressions import LayerImages, box_around, chip_reach, place_of
from eechips.planning.image_reducers import is_fractional, make_reducer
from eechips.recipe.template import Template


def single_image(images: LayerImages, source: str) -> Template:
    """Make the template of a frame that shows one image alone, masked outside its footprint.

    Args:
        images: of the dataset.
        source: id of the image.
    """
    return Template(_single, (images,), {"source": source})


def period_image(
    images: LayerImages, grid: Grid, coordinates: Sequence[float], reducer: str, first: str, last: str
) -> Template:
    """Make the template of a frame that reduces the images of a period to one.

    Args:
        images: of the dataset.
        grid: of the chip.
        coordinates: of its place, longitude and latitude in degrees.
        reducer: of the values of a pixel, or ``mosaic``: the latest.
        first: start of the period, inclusive, ISO 8601.
        last: end of the period, exclusive, ISO 8601.
    """
    undated = replace(images, start=None, end=None)
    values = {"coordinates": list(coordinates), "reach": chip_reach(grid), "first": first, "last": last}
    return Template(_period, (undated, reducer), values, place_of)


def missing_image(images: LayerImages) -> Template:
    """Make the template of a frame without a valid pixel.

    Args:
        images: of the dataset, with the types of its bands.
    """
    return Template(_missing, (images,))


def _single(images: LayerImages, source: str) -> ee.Image:
    return images.select(ee.Image(source))


def _missing(images: LayerImages) -> ee.Image:
    return images.nothing()


def _period(
    images: LayerImages, reducer: str, coordinates: Sequence[float], reach: float, first: str, last: str
) -> ee.Image:
    """Return the images of a period reduced to one; masked where there is none."""
    there = images.over(box_around(coordinates, reach)).filterDate(first, last)
    if reducer == "mosaic":
        return images.mosaic(there, images.nothing())
    # A reduction of no images has no bands: the masked image gives it bands, and adds no value.
    every = there.map(images.select).merge(ee.ImageCollection([images.nothing()]))
    reduced: ee.Image = every.reduce(make_reducer(reducer)).rename(list(images.bands))
    if reducer == "count":
        reduced = reduced.unmask(0).toUint16()
    elif is_fractional(reducer):
        reduced = reduced.toFloat()
    return reduced
