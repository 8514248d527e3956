"""Divide regions into batches of near regions, each for one request."""

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
"""Requests that a project may have in flight; as many batches use all of them."""

LEAST = 16
"""Minimum regions of a batch. A request for fewer costs as much as one request for each region; in larger batches
regions share the cost of an image (benchmarks/region_batches.py)."""

_BYTES_PER_VERTEX, _BYTES_PER_REGION = 30, 200  # of a request's body
_LOOKED_AT = 16  # regions whose images are counted
_MARGIN = 1000  # metres: approximate extents of images are enough


@dataclass(frozen=True, slots=True)
class ImageDensity:
    """Number and size of the images that meet regions.

    Attributes:
        images: maximum number of images that meet one region, from some of the regions.
        width: width of the first image, in degrees of longitude; 360 if it has no bounds.
        height: height of the first image, in degrees of latitude; 180 if it has no bounds.
    """

    images: int
    width: float
    height: float


def measure_images(images: ee.ImageCollection, shapes: ZoneShapes) -> ImageDensity:
    """Fetch the number of images that meet regions, and the size of an image, in one request.

    Args:
        images: filtered by date; at least one.
        shapes: shapes of the regions.
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
    """Divide regions into batches; every region is in one batch.

    Regions that are farther apart than the width of an image are in different batches, since most images would meet
    only some of them. If there are enough regions, there are at least ``SLOTS`` batches.

    Args:
        shapes: shapes of the regions.
        cost: cost of each region.
        imagery: number and size of the images that are reduced.
        groups: groups of the regions; a batch has regions of one group only. None for one group.
        most: maximum regions of a batch; None to choose by size only.

    Yields:
        Indices of the regions of a batch, ascending. Consecutive batches are mostly near each other.
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
