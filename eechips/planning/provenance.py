"""Find the images that contribute pixels to a chip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ee

from eechips.geo.grid import Grid
from eechips.planning import planning_requests
from eechips.planning.date_matching import DateMatch
from eechips.planning.expressions import LayerImages, box_around, chip_reach, grid_interior

_PIXELS = 1 << 22  # of the chips in one request
_MOST_CHIPS = 500


@dataclass(frozen=True, slots=True)
class ChipFootprint:
    """The properties of a chip that determine its images.

    Attributes:
        grid: its pixels.
        coordinates: coordinates of its place, longitude and latitude in degrees.
        source: ``system:index`` of the image on top; None for the latest, or the nearest to the date.
        date_match: date and interval of its images; None for all images.
    """

    grid: Grid
    coordinates: tuple[float, float]
    source: str | None = None
    date_match: DateMatch | None = None


@dataclass(frozen=True, slots=True)
class Contributor:
    """An image that contributes pixels.

    Attributes:
        index: its ``system:index``.
        time: its ``system:time_start`` in milliseconds since 1970, or None.
    """

    index: str
    time: int | None


def find_contributors(images: LayerImages, chips: Sequence[ChipFootprint]) -> Iterator[tuple[Contributor, ...]]:
    """Yield for each chip the images that contribute at least one pixel in one band, by time.

    The server mosaics the numbers of the images, with their masks, like the images themselves, and counts them on the
    chip's pixel grid. This costs about as much as the chips, but responses are small. Hundreds of small chips, or some
    dozen of 256 pixels, share a request.

    Args:
        images: images of the dataset.
        chips: all with a date, or all without.
    """
    size = max((chip.grid.width * chip.grid.height for chip in chips), default=1)
    step = max(1, min(_MOST_CHIPS, _PIXELS // size))
    cure = "a run without `provenance`, or `start` and `end` that are nearer to each other"
    return planning_requests.request_each(chips, partial(_ask, images), size=step, noun="chips", cure=cure)


def _ask(images: LayerImages, chips: Sequence[ChipFootprint]) -> list[tuple[Contributor, ...]]:
    """Send one request."""
    answers: Any = ee.List([_contributing(images, chip) for chip in chips]).getInfo()
    contributors = []
    for names, times in answers:
        chip_contributors = [Contributor(n, None if t is None else int(t)) for n, t in zip(names, times, strict=True)]
        contributors.append(tuple(sorted(chip_contributors, key=lambda c: (c.time is not None, c.time or 0, c.index))))
    return contributors


def _contributing(images: LayerImages, chip: ChipFootprint) -> Any:
    """Return the names and times of the images of a chip as two server-side lists."""
    box = box_around(chip.coordinates, chip_reach(chip.grid))
    date_match = chip.date_match
    there = (
        images.over(box)
        if date_match is None
        else images.near(box, date_match.moment, date_match.first, date_match.last)
    )
    names = there.aggregate_array("system:index")

    def numbered(element: Any) -> Any:
        image = ee.Image(element)
        number = ee.Image.constant(names.indexOf(image.get("system:index"))).toInt32()
        return images.select(image).multiply(0).toInt32().add(number)

    numbers: Any = there.map(numbered).mosaic()
    if chip.source is not None:
        top = there.filter(ee.Filter.eq("system:index", chip.source)).map(numbered)
        numbers = ee.ImageCollection([numbers, top.mosaic()]).mosaic()
    grid = chip.grid
    projection = ee.Projection(grid.crs, list(grid.transform))
    counted = ee.Image(numbers).reduceRegion(
        reducer=ee.Reducer.frequencyHistogram(),
        geometry=grid_interior(grid),
        crs=projection,
        maxPixels=1e9,
    )
    keys = counted.values().map(lambda histogram: ee.Dictionary(histogram).keys()).flatten().distinct()
    positions = keys.map(lambda key: ee.Number.parse(key).int())
    shown = positions.map(lambda position: names.get(ee.Number(position)))
    times = there.toList(1_000_000).map(lambda image: ee.Image(image).get("system:time_start"))
    return ee.List([shown, positions.map(lambda position: times.get(ee.Number(position)))])
