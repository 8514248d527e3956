"""Cells: groups of places near each other, each small enough for one request.

What a request of ``Image.reduceRegions`` costs is not the number of its places. The service computes tiles of 256 x 256
pixels: places in one tile of an image share it, a place alone takes one of its own. A request has a price besides (a
slot of the quota for its time, 100 a second at most), which is why places far from each other still go together, until
their tiles are too many.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips.geo.grid import Grid
from eechips.planning.projection import project

Indices = npt.NDArray[np.int64]

TILE = 256
"""Pixels along the edge of the tiles that Earth Engine computes
(https://developers.google.com/earth-engine/guides/scale, read 2026-11)."""

MOST_PLACES = 5_000
"""Places of a request. A point is some 40 bytes of its body, which may have 10,485,760."""
MOST_BYTES = 2_000_000
"""Bytes of a request's geometries, which the service expands to several times as many."""
MOST_VALUES = 500_000
"""Values of an answer: with the number of its place each is some 15 bytes of JSON, of 64 MB at most."""
MOST_IMAGES = 1_000
"""Images of a request that has a row for each: a page of ``table:computeFeatures``."""
MOST_TILES = 50_000
"""Tiles of all images together that a request makes the service compute, in less than five minutes.
This is a guess at the service; what it refuses all the same is cut further, and the size remembered."""

_RADIUS = 6_371_008.8  # metres: the mean of the Earth (IUGG)
_DAY = 86_400_000.0  # milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of places in a request.

    Attributes:
        values: values of the answer for each place.
        images: images that are looked at for each place.
        tile: edge of a tile in metres.
        per_day: images a day at a place, where places have moments; rows of a request are those of all its days.
    """

    values: float
    images: float
    tile: float
    per_day: float = 0.0


def divide_places(
    lonlat: npt.NDArray[np.float64],
    cost: Cost,
    *,
    sizes: Indices | None = None,
    areas: npt.NDArray[np.float64] | None = None,
    moments: npt.NDArray[np.float64] | None = None,
    most: int = MOST_PLACES,
) -> Iterator[Indices]:
    """Groups places so that each group fits one request.

    A group that is too much is halved at the median along its longest axis (k-d tree), as often as it takes: where
    places are dense, cells are small. Halves have equal numbers of places, so that a lonely place is with its nearest
    neighbours, however far they are, and no cell has less than half of what it could have but for the tiles. Axes are
    those of space, not of the map: there is no seam at the antimeridian or at the poles. Moments are a fourth axis,
    which is cut first if a group's dates would take too many images.

    Args:
        lonlat: longitudes and latitudes (n, 2) in degrees.
        cost: of each place.
        sizes: bytes of each place in a request; 40 if not given.
        areas: square metres that each place covers; 0 if not given.
        moments: of the places, in milliseconds.
        most: places of a cell.

    Yields:
        Indices of the places of a cell, ascending. Cells that follow each other are near each other.
    """
    if not len(lonlat):
        return
    lon, lat = np.radians(lonlat[:, 0]), np.radians(lonlat[:, 1])
    space = _RADIUS * np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    keys = _tile_keys(lonlat, cost.tile)
    more = np.zeros(len(lonlat)) if areas is None else areas / cost.tile**2
    bytes_of = np.full(len(lonlat), 40) if sizes is None else sizes

    def days(some: Indices) -> float:
        return 0.0 if moments is None else float(np.ptp(moments[some])) / _DAY

    def fits(some: Indices) -> bool:
        if len(some) == 1:
            return True
        if len(some) > min(most, MOST_PLACES) or len(some) * cost.values > MOST_VALUES:
            return False
        if bytes_of[some].sum() > MOST_BYTES:
            return False
        return bool((len(np.unique(keys[some])) + more[some].sum()) * max(cost.images, 1.0) <= MOST_TILES)

    waiting: list[Indices] = [np.arange(len(lonlat))]
    while waiting:
        some = waiting.pop()
        if len(some) > 1 and moments is not None and days(some) * cost.per_day > MOST_IMAGES:
            along = moments[some]
        elif fits(some):
            yield some
            continue
        else:
            axes = space[some]
            along = axes[:, int(np.argmax(np.ptp(axes, axis=0)))]
        order = np.argsort(along, kind="stable")
        middle = len(some) // 2
        waiting.extend(np.sort(some[half]) for half in (order[middle:], order[:middle]))


def count_tiles(lonlat: npt.NDArray[np.float64], tile: float) -> int:
    """Return how many tiles of an edge in metres hold points, about: tiles of the service lie otherwise."""
    return len(np.unique(_tile_keys(lonlat, tile)))


def _tile_keys(lonlat: npt.NDArray[np.float64], tile: float) -> Indices:
    """Return a number for each place, equal for those in one tile of rows of equal latitude."""
    step = math.degrees(tile / _RADIUS)
    row = np.floor((lonlat[:, 1] + 90.0) / step)
    middle = np.clip((row + 0.5) * step - 90.0, -89.9, 89.9)
    column = np.floor((lonlat[:, 0] + 180.0) * np.cos(np.radians(middle)) / step)
    return np.asarray(row * 2**32 + column, dtype=np.int64)


_CLOSE = 1e-6  # of a pixel: a point so near to an edge is not taken to be on either side of it


def merge_duplicates(
    shapes: npt.NDArray[np.object_], moments: npt.NDArray[np.float64] | None, base_grid: Grid | None
) -> list[npt.NDArray[np.int64]]:
    """Return places of which one stands for all: equal ones, and points of one pixel.

    Args:
        shapes: points or polygons in longitude and latitude.
        moments: of each, in milliseconds; those of different moments are different. None for none.
        base_grid: under whose pixels points have equal values; None if there is none, and for polygons.

    Returns:
        Positions of the places that are one, in order of the first of each.
    """
    keys = np.array(shapely.to_wkb(shapes), dtype=object)
    if base_grid is not None:
        a, b, c, d, e, f = base_grid.transform
        xy = project(base_grid.crs, shapely.get_coordinates(shapes)) - (c, f)
        pixel = np.column_stack([e * xy[:, 0] - b * xy[:, 1], a * xy[:, 1] - d * xy[:, 0]]) / (a * e - b * d)
        is_within: npt.NDArray[np.bool_] = np.isfinite(pixel) & (np.abs(pixel - np.round(pixel)) > _CLOSE)
        inside = np.asarray(is_within.all(axis=1))
        whole = np.floor(np.where(inside[:, None], pixel, 0)).astype(np.int64)
        keys[inside] = [pair.tobytes() for pair in whole[inside]]
    found: dict[Any, list[int]] = {}
    for index, key in enumerate(keys.tolist()):
        found.setdefault(key if moments is None else (key, moments[index]), []).append(index)
    return [np.array(indices) for indices in found.values()]
