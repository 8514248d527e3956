"""Divide regions into batches for one request each: near each other, and not too many."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ee
import numpy as np

from eechips.planning import point_cells
from eechips.planning.point_cells import Cost, Indices
from eechips.planning.zones import ZoneShapes

SLOTS = 40
"""Requests that a project may have in flight: so many batches keep all of them busy."""

LEAST = 16
"""Regions of a batch, however few there are altogether. Below that a request for several costs as much as several
requests (benchmarks/region_batches.py); from there on an image's price is shared."""

_BYTES_PER_VERTEX, _BYTES_PER_REGION = 40, 200  # of a request's body
_LOOKED_AT = 16  # regions that are asked how many images there are
_MARGIN = 1000  # metres: the extent of an image is only for orientation


@dataclass(frozen=True, slots=True)
class ImageDensity:
    """The number and the size of the images that meet regions.

    Attributes:
        images: that meet a region: the most of some that were looked at.
        width: degrees of longitude that the first image spans; 360 if it has no bounds.
        height: degrees of latitude likewise, 180.
    """

    images: int
    width: float
    height: float


def measure_images(images: ee.ImageCollection, shapes: ZoneShapes) -> ImageDensity:
    """Ask how many images meet regions, and how large an image is. One request.

    Args:
        images: narrowed to the dates that count; at least one.
        shapes: of the regions.
    """
    count = len(shapes.points)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(int))

    def meeting(point: Any) -> Any:
        return images.filterBounds(ee.Geometry.Point(ee.List(point))).size()

    outline = images.first().geometry()
    ring = ee.Algorithms.If(outline.isUnbounded(), None, outline.bounds(_MARGIN).coordinates().get(0))
    answer: Any = ee.List([ee.List(shapes.points[chosen].tolist()).map(meeting), ring]).getInfo()
    numbers, corners = answer
    if corners is None:
        return ImageDensity(max(numbers), 360.0, 180.0)
    width, height = np.ptp(np.array(corners, dtype=float), axis=0).tolist()
    return ImageDensity(max(numbers), width, height)


def divide_regions(
    shapes: ZoneShapes,
    cost: Cost,
    imagery: ImageDensity,
    *,
    groups: Sequence[Hashable] | None = None,
    most: int | None = None,
) -> Iterator[Indices]:
    """Divide regions into batches; every region is in one of them.

    Regions that lie farther apart than an image is wide do not come together: most images would meet only some of
    them. If there are enough regions, batches are small enough to be ``SLOTS`` at least.

    Args:
        shapes: of the regions.
        cost: of each.
        imagery: what is reduced.
        groups: only regions of equal groups come together.
        most: regions of a batch at most; None to choose by size alone.

    Yields:
        Indices of the regions of a batch, ascending. Batches that follow each other are mostly near each other.
    """
    count = len(shapes.points)
    usual = max(LEAST, -(-count // SLOTS)) if most is None else most
    sizes = (shapes.vertices * _BYTES_PER_VERTEX + _BYTES_PER_REGION).astype(np.int64)
    columns = np.floor((shapes.points[:, 0] + 180.0) / max(imagery.width, 1e-3)).tolist()
    rows = np.floor((shapes.points[:, 1] + 90.0) / max(imagery.height, 1e-3)).tolist()
    together: dict[Hashable, list[int]] = {}
    for index, key in enumerate(zip(groups or [None] * count, columns, rows, strict=True)):
        together.setdefault(key, []).append(index)
    for indices in together.values():
        some = np.array(indices)
        parts = point_cells.divide_places(
            shapes.points[some], cost, sizes=sizes[some], areas=shapes.areas[some], most=usual
        )
        yield from (some[part] for part in parts)
