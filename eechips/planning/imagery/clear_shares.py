"""Measure how much of a chip each image of a collection shows clear, and its score, of many chips in one request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ee

from eechips.geo.grid import Grid, service_crs
from eechips.planning import asset_metadata, planning_requests
from eechips.planning.imagery.expressions import corners_inside
from eechips.planning.imagery.frame_choice import Candidate, TimeWindow
from eechips.planning.imagery.frame_scores import FrameScore
from eechips.planning.imagery.image_filters import PropertyFilter
from eechips.planning.imagery.image_masking import CloudMask

# Pixels of all chips of a request, times the images of each, whose quality band the server reads. With chips of 64 x 64
# pixels and 73 images, a request has 56 chips. A request that is too large for the service is halved.
_PIXELS = 1 << 24
_MOST_CHIPS = 400
_MOST_COUNTED = 1000  # chips whose images are counted by one request
_MOST_IMAGES = 1_000_000
_MOST_PIXELS = 1_000_000_000

_CURE = "`start` and `end` that are nearer to each other, or smaller chips (`size`)"


@dataclass(frozen=True, slots=True)
class ClearSource:
    """What tells clear pixels.

    Attributes:
        collection: asset id.
        band: whose mask says which pixels are clear if there is no quality band.
        mask: quality band or score, with its settings; None if the dataset has none.
        score: what is measured of the clear pixels besides; None for nothing.
    """

    collection: str
    band: str
    mask: CloudMask | None
    tests: tuple[PropertyFilter, ...] = ()
    score: FrameScore | None = None

    def clear(self, image: ee.Image) -> ee.Image:
        """Return an image of 1 where a pixel is clear, else 0, also outside the footprint."""
        is_clear = image.select([self.band]).mask().gt(0) if self.mask is None else self.mask.clear(image, self.band)
        return is_clear.rename(["clear"]).unmask(0, False)


def fetch_candidates(
    source: ClearSource, grids: Sequence[Grid], windows: Sequence[TimeWindow]
) -> Iterator[tuple[Candidate, ...]]:
    """Yield the images of each chip within its interval of time, with clear shares and scores, by time.

    The server counts clear pixels on the chip's own grid, so the share is that of the pixels that the chip would have.
    The images of the chips are counted first, a request for each thousand chips, which determines how many chips share
    a request.

    Args:
        windows: interval of the images of each chip.
    """
    chips = list(zip(grids, windows, strict=True))
    costs = [
        count * grid.width * grid.height / _PIXELS
        for grid, count in zip(grids, _count_images(source, chips), strict=True)
    ]
    return planning_requests.request_each(
        chips, partial(_ask, source), size=_MOST_CHIPS, costs=costs, noun="chips", cure=_CURE
    )


def _count_images(source: ClearSource, chips: Sequence[tuple[Grid, TimeWindow]]) -> list[int]:
    """Return the number of images of each chip; 1 if there is only one chip, as nothing is to be divided."""

    def ask(some: Sequence[tuple[Grid, TimeWindow]]) -> list[int]:
        counts: Any = ee.List(_rows(some)).map(lambda row: _images(source, row).size()).getInfo()
        return list(counts)

    if len(chips) == 1:
        return [1]
    return list(planning_requests.request_each(chips, ask, size=_MOST_COUNTED, noun="chips", cure=_CURE))


def _ask(source: ClearSource, chips: Sequence[tuple[Grid, TimeWindow]]) -> list[tuple[Candidate, ...]]:
    """Send one request."""
    answers: Any = ee.List(_rows(chips)).map(partial(_measured, source)).getInfo()
    candidates = []
    for (grid, _), rows in zip(chips, answers, strict=True):
        pixels = grid.width * grid.height
        chip_candidates = [
            Candidate(index, int(time), float(count or 0) / pixels, *(None if v is None else float(v) for v in scores))
            for index, time, count, *scores in rows
        ]
        candidates.append(tuple(sorted(chip_candidates, key=lambda candidate: (candidate.time, candidate.index))))
    return candidates


def _rows(chips: Sequence[tuple[Grid, TimeWindow]]) -> list[list[Any]]:
    """Return what the server needs to know of chips: ring, crs, transform, start and end."""
    return [
        [corners_inside(grid), service_crs(grid.crs), list(grid.transform), window.start, window.end]
        for grid, window in chips
    ]


def _interior(values: Any) -> ee.Geometry:
    interior: ee.Geometry = ee.Geometry.Polygon(values.get(0), ee.Projection(values.getString(1)), False)
    return interior


def _images(source: ClearSource, row: Any) -> ee.ImageCollection:
    """Return the images of a chip within its interval of time, for the server."""
    values: Any = ee.List(row)
    every = asset_metadata.filter_images(source.collection, "collection", tests=source.tests)
    there = every.filterDate(ee.Date(values.get(3)), ee.Date(values.get(4)))
    chip_images: ee.ImageCollection = there.filterBounds(_interior(values))
    return chip_images


def _measured(source: ClearSource, row: Any) -> Any:
    """Return a server-side list for each image of a chip: its index, its time, its clear pixels, any score."""
    values: Any = ee.List(row)
    interior, projection = _interior(values), ee.Projection(values.getString(1), values.get(2))

    def measure(element: Any) -> Any:
        image = ee.Image(element)
        clear, reducer = source.clear(image), ee.Reducer.sum().unweighted()
        columns = ["clear"]
        if source.score is not None:
            clear = clear.addBands(source.score.image(image).updateMask(clear).rename(["score"]))
            reducer = reducer.combine(ee.Reducer.mean().unweighted(), "", True)
            columns = ["clear_sum", "score_mean"]
        reduced = clear.reduceRegion(reducer=reducer, geometry=interior, crs=projection, maxPixels=_MOST_PIXELS)
        measured = [reduced.get(name) for name in columns]
        return ee.List([image.get("system:index"), image.get("system:time_start"), *measured])

    return _images(source, row).toList(_MOST_IMAGES).map(measure)
