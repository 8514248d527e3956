"""Build polygons that tile: gather lines, cut them where they meet, and name the faces between them.

Neighbours share every vertex of their common border because each border is drawn once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import shapely

from eechips_local.demo import land_character
from eechips_local.demo.painting import mercator, noise
from eechips_local.demo.painting.mercator import SIZE, Floats

Label = TypeVar("Label", bound=Hashable)

_COAST_STEP = 1 << 14


@lru_cache(maxsize=1)
def _coast_lattice() -> Floats:
    """Return units inland of the coast on a lattice of 2**14 units, shape (rows, columns); at least 1 away from
    zero.
    """
    rough = land_character.coast_lattice()
    axis = np.arange(len(rough), dtype=np.float64) * float(_COAST_STEP)
    reach = sum(amplitude for _, amplitude in land_character.COAST_OCTAVES)
    j, i = np.nonzero(np.abs(rough) < reach)
    rough[j, i] = land_character.coast(axis[i][None, :], axis[j][None, :])[0]
    rough = np.where(np.abs(rough) < 1.0, 1.0, rough)
    return np.concatenate([rough, rough[:, :1]], axis=1)


@cache
def coast() -> npt.NDArray[Any]:
    """Return straight pieces of the coast in degrees, as line strings: the zero line of the coast's lattice."""
    value = _coast_lattice()
    land = value > 0.0
    # The four sides of a cell, clockwise from the north, where the zero line may cross.
    corner = [land[:-1, :-1], land[:-1, 1:], land[1:, 1:], land[1:, :-1]]
    mixed = (corner[0] != corner[1]) | (corner[1] != corner[2]) | (corner[2] != corner[3])
    j, i = np.nonzero(mixed)
    sides = [((j, i), (j, i + 1)), ((j, i + 1), (j + 1, i + 1)), ((j + 1, i), (j + 1, i + 1)), ((j, i), (j + 1, i))]
    crossed, points = [], []
    for (ja, ia), (jb, ib) in sides:
        a, b = value[ja, ia], value[jb, ib]
        crossed.append((a > 0.0) != (b > 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(crossed[-1], a / (a - b), 0.0)
        points.append(((ia + (ib - ia) * t) * _COAST_STEP, (ja + (jb - ja) * t) * _COAST_STEP))
    count = np.sum(crossed, axis=0)
    pieces = []
    for first in range(4):
        for second in range(first + 1, 4):
            chosen = crossed[first] & crossed[second] & (count == 2)
            # A saddle has four crossings: its land corners are kept apart.
            pair = (first, second)
            saddle = (count == 4) & np.where(land[j, i], pair in ((0, 3), (1, 2)), pair in ((0, 1), (2, 3)))
            chosen |= saddle
            start, end = points[first], points[second]
            pieces.append(np.stack([p[chosen] for p in (*start, *end)], axis=1))
    x0, y0, x1, y1 = np.concatenate(pieces).T
    lines = np.stack([degrees(x0, y0), degrees(x1, y1)], axis=1)
    lines = lines[(lines[:, 0] != lines[:, 1]).any(axis=1)]
    return np.asarray(shapely.linestrings(lines))


def degrees(x: Floats, y: Floats) -> Floats:
    """Return longitude and latitude of units, shape (n, 2), rounded to 1e-7 degrees so that equal places are equal."""
    result: Floats = np.rint(np.stack([mercator.longitude_of(x), mercator.latitude_of(y)], axis=-1) * 1e7) / 1e7
    return result


@cache
def land() -> npt.NDArray[Any]:
    """Return the land as faces of the coast alone."""
    faces = _faces([coast()])
    inside = shapely.point_on_surface(faces)
    x, y = mercator.x_of(shapely.get_x(inside)), mercator.y_of(shapely.get_y(inside))
    chosen: npt.NDArray[Any] = faces[_sample(x, y) > 0.0]
    return chosen


def _sample(x: Floats, y: Floats) -> Floats:
    """Return the coast's lattice between its nodes."""
    value = _coast_lattice()
    px, py = x * (1.0 / _COAST_STEP), y * (1.0 / _COAST_STEP)
    i = np.clip(np.floor(px).astype(np.int64), 0, value.shape[1] - 2)
    j = np.clip(np.floor(py).astype(np.int64), 0, value.shape[0] - 2)
    f, g = px - i, py - j
    upper = value[j, i] + (value[j, i + 1] - value[j, i]) * f
    lower = value[j + 1, i] + (value[j + 1, i + 1] - value[j + 1, i]) * f
    result: Floats = upper + (lower - upper) * g
    return result


def _faces(lines: Iterable[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    edge = shapely.linestrings([[[-180, -85], [-180, 85]], [[180, -85], [180, 85]]])
    noded = shapely.unary_union(np.concatenate([*lines, edge]))
    return np.asarray(shapely.get_parts(shapely.polygonize(shapely.get_parts(noded))))


def tiles(
    lines: Iterable[npt.NDArray[Any]], name: Callable[[Floats, Floats], list[Label]]
) -> dict[Label, shapely.Geometry]:
    """Cut the land along lines and put together the faces of equal name.

    Args:
        lines: arrays of line strings in degrees.
        name: labels of places, given arrays of longitude and latitude.

    Returns:
        One valid polygon or multipolygon for each label.
    """
    faces = _faces([coast(), *lines])
    inside = shapely.point_on_surface(faces)
    on_land = np.zeros(len(faces), dtype=bool)
    # A tree of the many small things: the few large ones are then prepared, once each.
    on_land[shapely.STRtree(inside).query(land(), predicate="contains")[1]] = True
    faces, inside = faces[on_land], inside[on_land]
    groups: dict[Label, list[int]] = {}
    for number, label in enumerate(name(shapely.get_x(inside), shapely.get_y(inside))):
        groups.setdefault(label, []).append(number)
    return {label: shapely.coverage_union_all(faces[numbers]) for label, numbers in groups.items()}


def joined(parts: Iterable[shapely.Geometry]) -> shapely.Geometry:
    """Return the union of tiles."""
    return shapely.coverage_union_all(list(parts))


@dataclass(frozen=True)
class VoronoiSites:
    """Places whose nearest neighbourhoods are cells, on a plane that repeats eastwards.

    Attributes:
        x: units, those near the antimeridian repeated on its other side.
        y: units.
        origin: number of the place that each is a copy of.
        tree: tree of points.
    """

    x: Floats
    y: Floats
    origin: npt.NDArray[np.int64]
    tree: shapely.STRtree

    @classmethod
    def of(cls, x: Floats, y: Floats) -> VoronoiSites:
        """Return sites at places."""
        margin = SIZE // 6
        east, west = np.flatnonzero(x < margin), np.flatnonzero(x > SIZE - margin)
        xs = np.concatenate([x, x[east] + SIZE, x[west] - SIZE])
        ys = np.concatenate([y, y[east], y[west]])
        tree = shapely.STRtree(shapely.points(xs, ys))
        return cls(xs, ys, np.concatenate([np.arange(len(x)), east, west]), tree)

    def nearest(self, x: Floats, y: Floats) -> npt.NDArray[np.int64]:
        """Return the number of the place that is nearest to each position."""
        site_numbers: npt.NDArray[np.int64] = self.origin[self.tree.nearest(shapely.points(x, y))]
        return site_numbers

    def borders(self) -> Floats:
        """End of the straight borders between the cells, shape (n, 2, 2)."""
        margin = SIZE // 6
        frame = shapely.box(-margin, -margin, SIZE + margin, SIZE + margin)
        points = shapely.multipoints(np.stack([self.x, self.y], axis=1))
        lines = shapely.get_parts(shapely.voronoi_polygons(points, extend_to=frame, only_edges=True))
        ends: Floats = shapely.get_coordinates(lines).reshape(-1, 2, 2)
        return ends

    def between(self, ends: Floats) -> npt.NDArray[np.int64]:
        """Return the two places that each border lies between, shape (n, 2)."""
        middle = ends.mean(axis=1)
        dx, dy = middle[:, 0, None] - self.x, middle[:, 1, None] - self.y
        near = np.sort(np.argpartition(dx * dx + dy * dy, 1, axis=1)[:, :2], axis=1)
        return self.origin[near]


def drawn(ends: Floats, step: Callable[[Floats, Floats], Floats]) -> npt.NDArray[Any]:
    """Return borders of the bent plane as line strings in degrees.

    Args:
        ends: shape (n, 2, 2).
        step: units between vertices, given the middles' x and y.
    """
    delta = ends[:, 1] - ends[:, 0]
    length = np.sqrt(delta[:, 0] * delta[:, 0] + delta[:, 1] * delta[:, 1])
    counts = np.ceil(length / step(*ends.mean(axis=1).T)).astype(np.int64).clip(1) + 1
    line = np.repeat(np.arange(len(ends)), counts)
    place = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = place / (counts[line] - 1)
    bent = ends[line, 0] + delta[line] * share[:, None]
    last = place == counts[line] - 1
    bent[last] = ends[line[last], 1]
    x, y = land_character.unbend(bent[:, 0], bent[:, 1])
    return np.asarray(shapely.linestrings(degrees(x, y), indices=line))


def near_land(ends: Floats) -> npt.NDArray[np.bool_]:
    """Return borders of which an end or the middle is not far out at sea."""
    close = np.zeros(len(ends), dtype=bool)
    for point in (ends[:, 0], ends.mean(axis=1), ends[:, 1]):
        close |= inland(point[:, 0], point[:, 1]) > -2.5e5
    return close


def inland(x: Floats, y: Floats) -> Floats:
    """Return units from positions to the coast, negative at sea, anywhere on the plane."""
    return _sample(np.mod(x, SIZE), np.clip(y, 0.0, SIZE - 1.0))


def jittered(k: int, seed: int, rows: range, columns: range) -> tuple[Floats, Floats]:
    """Return a place in each square of 2**k units."""
    i, j = np.meshgrid(np.array(columns), np.array(rows))
    i, j = i.ravel(), j.ravel()
    x = (i + 0.15 + 0.7 * noise.random(i, j, seed)) * float(1 << k)
    y = (j + 0.15 + 0.7 * noise.random(i, j, seed + 1)) * float(1 << k)
    return x, y
