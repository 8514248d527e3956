"""Divide places or regions into groups of near ones, each small enough for one request.

The cost of a request of ``Image.reduceRegions`` depends less on the number of places than on the number of tiles: the
service computes images in tiles of 256 x 256 pixels, which near places share. Each request also has a fixed cost (it
occupies a slot of the quota, and 100 a second are allowed), so that distant places share requests, too, up to a number
of tiles.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ee
import numpy as np
import numpy.typing as npt
import shapely

from eechips.geo.crs import project
from eechips.geo.ellipsoid import Booleans, Floats, Geometries, Indices, normals_of
from eechips.geo.grid import METRES_PER_DEGREE, Grid
from eechips.planning.areas.zones import ZoneShapes

TILE = 256
"""Pixels along the edge of the tiles that Earth Engine computes
(https://developers.google.com/earth-engine/guides/scale, read 2026-11)."""

MOST_PLACES = 5_000
"""Maximum places of a request. A point takes some 40 bytes of its body, which may have 10,485,760."""
MOST_BYTES = 2_000_000
"""Maximum bytes of a request's geometries, which the service expands to several times as many."""
MOST_VALUES = 500_000
"""Maximum values of a response: each takes some 15 bytes of JSON with the number of its place, of 64 MB at most."""
MOST_IMAGES = 1_000
"""Maximum images of a request that returns a row for each: a page of ``table:computeFeatures``."""
MOST_TILES = 50_000
"""Maximum tiles, of all images together, that the service computes for a request, within its limit of five minutes.
This is an estimate: requests that the service rejects are split, and the accepted size is kept for later ones."""

_RADIUS = 6_371_008.8  # metres: the Earth's mean radius (IUGG)
_DAY = 86_400_000.0  # milliseconds


_VERTEX = 40  # bytes of a request


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of places in a request.

    Attributes:
        values: values in the response for each place.
        images: images that are read for each place.
        tile: edge of a tile in metres.
        per_day: images a day at a place, for places with moments; a request returns rows for all of its days.
    """

    values: float
    images: float
    tile: float
    per_day: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Loads:
    """What places add to a request.

    Attributes:
        keys: number of each place's tile.
        more: further tiles that each place covers.
        sizes: bytes of each place.
        most: maximum places of a request.
    """

    cost: Cost
    keys: Indices
    more: Floats
    sizes: npt.NDArray[Any]
    most: int

    def fit(self, some: Indices) -> bool:
        """Return whether one request takes some of the places."""
        if len(some) == 1:
            return True
        if len(some) > self.most or len(some) * self.cost.values > MOST_VALUES:
            return False
        if self.sizes[some].sum() > MOST_BYTES:
            return False
        tiles = len(np.unique(self.keys[some])) + self.more[some].sum()
        return bool(tiles * max(self.cost.images, 1.0) <= MOST_TILES)


def divide_places(
    lonlat: Floats,
    cost: Cost,
    *,
    sizes: Indices | None = None,
    areas: Floats | None = None,
    moments: Floats | None = None,
    most: int = MOST_PLACES,
) -> Iterator[Indices]:
    """Divide places into groups that fit into one request each.

    A group that is too large is halved at the median along its longest axis (k-d tree), recursively, so that groups
    cover little ground where places are dense. Halves have equal numbers of places: an isolated place is in one group
    with its nearest neighbours, and unless tiles limit it, a group is at least half full. Axes are three-dimensional,
    so that there is no seam at the antimeridian or the poles. Time is a fourth axis, which is halved first if a group's
    dates span too many images.

    Args:
        lonlat: longitudes and latitudes (n, 2) in degrees.
        sizes: bytes of each place in a request, shape (n,); None for 40.
        areas: square metres that each place covers, shape (n,); None for 0.
        moments: moments of the places, in milliseconds since 1970, shape (n,); None for none.
        most: maximum places of a group.

    Yields:
        Indices of the places of a group, ascending. Consecutive groups are near each other.
    """
    if not len(lonlat):
        return
    space = _RADIUS * normals_of(lonlat)
    more = np.zeros(len(lonlat)) if areas is None else areas / cost.tile**2
    bytes_of = np.full(len(lonlat), _VERTEX) if sizes is None else sizes
    loads = _Loads(cost, tile_keys(lonlat, cost.tile), more, bytes_of, min(most, MOST_PLACES))
    waiting: list[Indices] = [np.arange(len(lonlat))]
    while waiting:
        some = waiting.pop()
        if len(some) > 1 and moments is not None and np.ptp(moments[some]) / _DAY * cost.per_day > MOST_IMAGES:
            along = moments[some]
        elif loads.fit(some):
            yield some
            continue
        else:
            axes = space[some]
            along = axes[:, int(np.argmax(np.ptp(axes, axis=0)))]
        order = np.argsort(along, kind="stable")
        middle = len(some) // 2
        waiting.extend(np.sort(some[half]) for half in (order[middle:], order[:middle]))


def divide_shapes(shapes: Geometries, cost: Cost, moments: Floats | None = None) -> Iterator[Indices]:
    """Divide points or polygons into groups by their centres; see :func:`divide_places`.

    Args:
        shapes: geometries in longitude and latitude, shape (n,).
    """
    west, south, east, north = shapely.bounds(shapes).T
    areas = (east - west) * np.cos(np.radians((south + north) / 2)) * (north - south) * METRES_PER_DEGREE**2
    centres, sizes = shapely.get_coordinates(shapely.centroid(shapes)), _VERTEX * shapely.get_num_coordinates(shapes)
    return divide_places(centres, cost, sizes=sizes, areas=areas, moments=moments)


def tile_keys(lonlat: Floats, tile: float) -> Indices:
    """Return a number for each place, equal for places in the same tile; the service's tiles lie elsewhere."""
    step = math.degrees(tile / _RADIUS)
    row = np.floor((lonlat[:, 1] + 90.0) / step)
    middle = np.clip((row + 0.5) * step - 90.0, -89.9, 89.9)
    column = np.floor((lonlat[:, 0] + 180.0) * np.cos(np.radians(middle)) / step)
    return np.asarray(row * 2**32 + column, dtype=np.int64)


_CLOSE = 1e-6  # of a pixel: points within this distance of an edge may be on either side


def merge_duplicates(shapes: Geometries, moments: Floats | None, base_grid: Grid | None) -> list[Indices]:
    """Group places with equal values: equal shapes, or points in one pixel, at the same moment.

    Args:
        shapes: points or polygons in longitude and latitude, shape (n,).
        moments: moments of the places, in milliseconds since 1970, shape (n,); None for none.
        base_grid: grid whose pixels determine the values of points; None if there is none, and for polygons.

    Returns:
        Indices of the places of each group, in the order of their first places.
    """
    keys = np.array(shapely.to_wkb(shapes), dtype=object)
    if base_grid is not None:
        a, b, c, d, e, f = base_grid.transform
        xy = project(base_grid.crs, shapely.get_coordinates(shapes)) - (c, f)
        pixel = np.column_stack([e * xy[:, 0] - b * xy[:, 1], a * xy[:, 1] - d * xy[:, 0]]) / (a * e - b * d)
        is_within: Booleans = np.isfinite(pixel) & (np.abs(pixel - np.round(pixel)) > _CLOSE)
        inside = np.asarray(is_within.all(axis=1))
        whole = np.floor(np.where(inside[:, None], pixel, 0)).astype(np.int64)
        keys[inside] = [pair.tobytes() for pair in whole[inside]]
    groups: dict[Any, list[int]] = {}
    for index, key in enumerate(keys.tolist()):
        groups.setdefault(key if moments is None else (key, moments[index]), []).append(index)
    return [np.array(indices) for indices in groups.values()]


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
    """Fetch the number of images that meet regions, and the size of an image, in one request; there is an image."""
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
        parts = divide_places(shapes.points[some], cost, sizes=sizes[some], areas=shapes.areas[some], most=usual)
        yield from (some[part] for part in parts)
