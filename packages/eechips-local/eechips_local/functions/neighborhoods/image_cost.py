"""``Image.cumulativeCost`` and ``directionalDistanceTransform``: the least cost of a way from a source, and distances
in one direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eechips_local.functions.registration import function
from eechips_local.pixels.grids.pixel_grid import PixelGrid, apply, metres_per_unit, transformer
from eechips_local.pixels.grids.pixel_size import pixel_edges
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render, bands_from
from eechips_local.pixels.neighborhood import Margins, Neighborhood, cropped, pairs_at, shift
from eechips_local.pixels.types import DOUBLE, FLOAT
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError

Floats = npt.NDArray[np.float64]

_MOST_STEPS = 4096
_MOST_PIXELS = 1 << 24
_RADIUS = 6_378_137.0


def _only_band(image: Image, what: str) -> ImageBand:
    """Return the band of an image of one scalar band.

    Raises:
        InvalidError: if it is not one.
    """
    if len(image.bands) != 1 or image.bands[0].type.dimensions:
        raise InvalidError(f"The {what} must have one scalar band; found {len(image.bands)} bands.")
    return image.bands[0]


# Distances in one direction


def _offsets(angle: float, most: int) -> list[tuple[int, int]]:
    """Return rows and columns of the pixels on a line, up to a distance; counterclockwise from the east."""
    east, north = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    step = max(abs(east), abs(north))
    offsets = []
    for count in range(1, most + 1):
        row, column = -round(count * north / step), round(count * east / step)
        if math.hypot(row, column) > most:
            break
        offsets.append((row, column))
    return offsets


@function("Image.directionalDistanceTransform")
def directional_distance_transform(source: Image, angle: float, maxDistance: int, labelBand: str | None) -> Image:
    """Return the band "distance": from each pixel to the nearest one in a direction that is not zero, in pixels.

    The angle is counterclockwise from the east, as in the cloud shadows of Earth Engine's tutorials (90° less the sun's
    azimuth looks towards the sun: developers.google.com/earth-engine/tutorials/community/sentinel-2-s2cloudless).
    Pixels that are not zero have distance 0; pixels without one within ``maxDistance`` are masked. With ``labelBand``,
    the other bands come before it, with the values of the pixels that were found.
    https://developers.google.com/earth-engine/apidocs/ee-image-directionaldistancetransform
    """
    if maxDistance < 1:
        raise InvalidError(f"The maxDistance must be positive; found {maxDistance}.")
    if maxDistance > _MOST_STEPS:
        raise MemoryLimitError()
    if labelBand is None:
        label, others = _only_band(source, "source"), []
    else:
        named = [band for band in source.bands if band.name == labelBand]
        if not named:
            raise InvalidError(f"Band '{labelBand}' not found in the image.")
        label, others = named[0], [band for band in source.bands if band is not named[0]]
    if any(band.type.dimensions for band in (label, *others)):
        raise InvalidError("Array images have no distances; only scalar bands are supported.")
    line = [(0, 0), *_offsets(angle, maxDistance)]
    rows, columns = [row for row, _ in line], [column for _, column in line]
    margins = Margins(-min(columns), -min(rows), max(columns), max(rows))

    def compute(pixels: Sequence[Pixels], _: Margins, grid: PixelGrid) -> list[Pixels]:
        goal = pixels[0].valid & (pixels[0].values != 0)
        distance = np.full(grid.shape, np.inf)
        layer_values = [np.zeros(grid.shape, dtype=p.values.dtype) for p in pixels[1:]]
        valid = [np.zeros(grid.shape, dtype=bool) for _ in pixels[1:]]
        for row, column in line:
            here = margins.top + row, margins.left + column
            new = shift(goal, *here, grid.shape) & np.isinf(distance)
            if new.any():
                distance[new] = math.hypot(row, column)
                for values, known, p in zip(layer_values, valid, pixels[1:], strict=True):
                    values[new] = shift(p.values, *here, grid.shape)[new]
                    known[new] = shift(p.valid, *here, grid.shape)[new]
        reached = np.isfinite(distance)
        layers = [Pixels(values, known) for values, known in zip(layer_values, valid, strict=True)]
        return [*layers, Pixels(np.where(reached, distance, 0).astype(np.float32), reached)]

    raster = Neighborhood((label, *others), lambda _: margins, compute)
    bands = [*others, replace(label, name="distance", type=FLOAT)]
    return source.computed(bands_from(raster, bands))


# Least costs


def _lengths(grid: PixelGrid, row: int, column: int, *, geodetic: bool) -> Floats:
    """Return metres from each pixel to its neighbour at an offset; shape (height - |row|, width - |column|)."""
    shape = grid.height - abs(row), grid.width - abs(column)
    if not geodetic:
        t = grid.transform
        x, y = column * t.a + row * t.b, column * t.d + row * t.e
        return np.full(shape, math.hypot(x, y) * metres_per_unit(grid.crs))
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(*apply(grid.transform, columns, rows))
    lon, lat = np.radians(lon), np.radians(lat)
    here, there = pairs_at(row, column, grid.shape)
    half = np.sin((lat[there] - lat[here]) / 2) ** 2
    half += np.cos(lat[here]) * np.cos(lat[there]) * np.sin((lon[there] - lon[here]) / 2) ** 2
    metres: Floats = 2 * _RADIUS * np.arcsin(np.sqrt(np.clip(half, 0, 1)))
    return metres


def least_costs(
    cost: Floats, source: npt.NDArray[np.bool_], grid: PixelGrid, *, geodetic: bool
) -> tuple[Floats, Floats]:
    """Return the least costs of ways from the sources to each pixel, and the lengths of these ways in metres.

    A step to one of the eight neighbours costs its length times the mean of both pixels' costs. Steps are relaxed from
    the pixels whose cost has changed, the nearest ones at a time, until nothing changes: delta-stepping (Meyer and
    Sanders 2003, https://doi.org/10.1016/S0196-6774(03)00076-2) with a mean step, or a third of these pixels, at least.

    Args:
        cost: cost of a metre; infinite where there is no way. Shape (height, width).
        source: where ways begin.
        geodetic: see ``cumulative_cost``.
    """
    closed = np.pad(cost, 1, constant_values=np.inf)  # no step leads over an edge
    width = closed.shape[1]
    steps: list[tuple[int, int, Floats]] = []
    for row, column in ((0, 1), (1, 0), (1, 1), (1, -1)):
        lengths = np.ones(closed.shape)  # infinite costs over an edge, too
        here, _ = pairs_at(row, column, cost.shape)
        lengths[1:-1, 1:-1][here] = _lengths(grid, row, column, geodetic=geodetic)
        offset = row * width + column
        steps += [(offset, 0, lengths.ravel()), (-offset, -offset, lengths.ravel())]
    prices, way = closed.ravel(), np.zeros(closed.size)
    total = np.where(np.pad(source, 1).ravel() & np.isfinite(prices), 0.0, np.inf)
    waiting = np.flatnonzero(total == 0)
    open_prices = prices[np.isfinite(prices)]
    reach = float(open_prices.mean() * steps[0][2].mean()) if open_prices.size else 0.0
    while waiting.size:
        costs = total[waiting]
        is_near = costs <= max(costs.min() + reach, np.partition(costs, costs.size // 3)[costs.size // 3])
        changed, reached = waiting[is_near], [waiting[~is_near]]
        for offset, of_length, lengths in steps:
            ends = changed + offset
            length = lengths[changed + of_length]
            candidate = total[changed] + length * (prices[changed] + prices[ends]) / 2
            better = candidate < total[ends]
            ends = ends[better]
            total[ends] = candidate[better]
            way[ends] = way[changed[better]] + length[better]
            reached.append(ends)
        waiting = np.unique(np.concatenate(reached))
    inner = slice(1, -1), slice(1, -1)
    return total.reshape(closed.shape)[inner], way.reshape(closed.shape)[inner]


@dataclass(frozen=True, slots=True, eq=False)
class _Costs:
    """A raster of least costs."""

    cost: ImageBand
    source: ImageBand
    most: float
    geodetic: bool

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Read as far beyond the grid as ways may lead."""
        edges = [np.asarray(edge)[np.isfinite(edge)] for edge in pixel_edges(grid)]
        shortest = min((float(edge.min()) for edge in edges if edge.size), default=grid.nominal_scale)
        steps = math.ceil(min(self.most / max(shortest, 1e-9), _MOST_PIXELS))
        margins = Margins.around(steps)
        if (grid.width + 2 * steps) * (grid.height + 2 * steps) > _MOST_PIXELS:
            raise MemoryLimitError()
        padded = margins.padded(grid)
        prices, starts = render.read((self.cost, self.source), padded)
        values = prices.values.astype(np.float64)
        is_open = prices.valid & np.isfinite(values)
        if (values[is_open] < 0).any():
            raise InvalidError("Costs must not be negative.")
        total, way = least_costs(
            np.where(is_open, values, np.inf), starts.valid & (starts.values != 0), padded, geodetic=self.geodetic
        )
        inside = cropped(np.isfinite(total) & (way <= self.most), margins, grid.shape)
        return [Pixels(np.where(inside, cropped(total, margins, grid.shape), 0.0), inside)] * len(bands)


@function("Image.cumulativeCost")
def cumulative_cost(cost: Image, source: Image, maxDistance: float, geodeticDistance: bool) -> Image:
    """Return the band "cumulative_cost": the least cost of a way from a source, for costs by the metre.

    Ways lead over the eight neighbours of a pixel; a step costs the mean of both pixels' costs times its length, on a
    sphere of radius 6,378,137 m or in the plane of the projection. Pixels whose way is longer than ``maxDistance``, or
    that have none, are masked. https://developers.google.com/earth-engine/guides/image_cumulative_cost
    """
    band, sources = _only_band(cost, "cost image"), _only_band(source, "source image")
    if not 0 < maxDistance < math.inf:
        raise InvalidError(f"The maxDistance must be positive; found {maxDistance}.")

    raster = _Costs(band, sources, maxDistance, geodeticDistance)
    return cost.computed(bands_from(raster, band, ["cumulative_cost"], DOUBLE))
