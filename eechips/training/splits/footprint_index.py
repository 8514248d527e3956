"""Find chips that overlap or lie near each other on the ellipsoid.

Footprints are rings of normal vectors of the WGS84 ellipsoid, which have no antimeridian and no pole. Near
pairs are found in two steps. A search that can only find too many: a geodesic of s metres turns the normal by
s / ``LEAST_CURVE`` radians at most, for no normal section of the ellipsoid is bent more than the meridian at the
equator, whose radius of curvature is a(1 - e²); so chips that are nearer than that have caps, around their normals,
that meet, and boxes of longitude and latitude around these caps that meet as well. Then a measurement: the nearest two
points of both outlines in a conformal plane around them, and the geodesic between these two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips.errors import UsageError
from eechips.geo.crs import unproject
from eechips.geo.ellipsoid import (
    LEAST_CURVE,
    SEMI_MAJOR,
    SLACK,
    Floats,
    Indices,
    TangentPlanes,
    boxes_around,
    lonlat_of,
    normals_of,
    unit_vectors,
)
from eechips.geo.footprints import divide_edges, grid_corners
from eechips.geo.grid import Grid

_INSET = 1e-6  # pixels: chips that share an edge do not overlap, whatever the last digits of their transforms
_BEND = 0.01  # metres that an edge may bend between two corners of its ring, …
_BEND_PIXELS = 0.01  # … or pixels, whichever is more
_MOST_PIECES = 256  # of an edge
_LONG = 0.1  # radians: edges that are longer are cut into the most pieces, as an edge may bend there and back
_NEAR_RIM = np.radians(1.0)  # of the antimeridian and the poles, where one plane may show a place twice
_PASSES = 2
_AT_ONCE = 2_000  # outlines whose neighbours are looked for at a time
_PAIRS_AT_ONCE = 20_000


class FootprintIndex:
    """The footprints of grids, equal ones once, with a spatial index.

    Attributes:
        numbers: numbers of the outline of every grid that was given, (n,).
        centres: longitude and latitude in degrees of the middle of every outline, (m, 2).

    Raises:
        UsageError: if a CRS is unknown, or a grid reaches beyond what it can show.
    """

    def __init__(self, grids: Sequence[Grid]) -> None:
        known: dict[Grid, int] = {}
        self.numbers: Indices = np.array([known.setdefault(grid, len(known)) for grid in grids], dtype=np.int64)
        self._grids = list(known)
        crs_numbers: dict[str, int] = {}
        self._crs = np.array([crs_numbers.setdefault(grid.crs, len(crs_numbers)) for grid in known], dtype=np.int64)
        self._flat = np.empty(len(known), dtype=object)  # in the plane of their CRS
        rings: list[Floats] = [np.empty((0, 3))] * len(known)
        by_crs: dict[str, list[int]] = defaultdict(list)
        for index, grid in enumerate(known):
            by_crs[grid.crs].append(index)
        for crs, indices in by_crs.items():
            places = np.array(indices)
            corners = grid_corners([self._grids[index] for index in indices], _INSET)
            self._flat[places] = shapely.polygons(corners)
            sizes = np.array([max(self._grids[index].shape) for index in indices])
            for index, ring in zip(indices, _rings(crs, corners, sizes), strict=True):
                rings[index] = ring
        self._starts = np.concatenate([[0], np.cumsum([len(ring) for ring in rings], dtype=np.int64)])
        self._vertices = np.concatenate(rings) if rings else np.empty((0, 3))
        self._middles = np.array([unit_vectors(ring.sum(axis=0)) for ring in rings]).reshape(-1, 3)
        self._radii = self._reach()
        self.centres: Floats = lonlat_of(self._middles)

    def __len__(self) -> int:
        return len(self._grids)

    def near(self, some: Indices, others: Indices, metres: float) -> Iterator[tuple[Indices, Indices, Floats]]:
        """Yield pairs of footprints that overlap or are closer than a distance.

        Args:
            some: numbers of outlines, without repeats.
            others: numbers of outlines, without repeats; may have some of the same.
            metres: the distance; 0 for those that overlap. A common edge is no overlap.

        Yields:
            Numbers of ``some``, numbers of ``others``, and metres between each two, 0 where they overlap; in portions.
        """
        if not len(some) or not len(others):
            return
        turn = metres / LEAST_CURVE / 2 + SLACK
        boxes, owners = self._boxes(others, turn)
        tree = shapely.STRtree(boxes)
        for start in range(0, len(some), _AT_ONCE):
            asking = some[start : start + _AT_ONCE]
            asked, asked_by = self._boxes(asking, turn)
            one, other = tree.query(asked)
            pairs = np.unique(np.stack([asking[asked_by[one]], others[owners[other]]]), axis=1)
            chords = np.linalg.norm(self._middles[pairs[0]] - self._middles[pairs[1]], axis=1)
            angles = 2 * np.arcsin(np.minimum(chords / 2, 1.0))
            pairs = pairs[:, angles <= self._radii[pairs].sum(axis=0) + 2 * turn]
            for first in range(0, pairs.shape[1], _PAIRS_AT_ONCE):
                one, other = pairs[:, first : first + _PAIRS_AT_ONCE]
                yield self._measured(one, other, metres)

    def _boxes(self, numbers: Indices, turn: float) -> tuple[Any, Indices]:
        return boxes_around(np.tile(self.centres[numbers], 2), self._radii[numbers] + turn)

    def distances(self, some: Indices, others: Indices) -> Floats:
        """Compute metres between pairs of outlines, along the geodesic; 0 where they overlap.

        The error is at most a centimetre or a hundredth of a pixel, whichever is more; for chips of hundreds of
        kilometres, some thousandths of the distance.
        """
        best = np.full(len(some), np.inf)
        middles = unit_vectors(self._middles[some] + self._middles[others])
        for _ in range(_PASSES):
            plane = TangentPlanes(middles)
            one, other = self._shown(some, plane), self._shown(others, plane)
            metres, middles = plane.nearest(one, other)
            metres[shapely.intersects(one, other)] = 0.0
            best = np.minimum(best, metres)
        return best

    def _measured(self, some: Indices, others: Indices, limit: float) -> tuple[Indices, Indices, Floats]:
        metres = np.full(len(some), np.inf)
        is_flat = self._crs[some] == self._crs[others]
        touching = np.zeros(len(some), dtype=bool)
        touching[is_flat] = shapely.intersects(self._flat[some[is_flat]], self._flat[others[is_flat]])
        metres[touching] = 0.0
        rest = ~touching
        if limit == 0.0:  # what the plane of a common CRS says is exact, and the last word away from its rim
            rest &= ~is_flat | self._is_at_rim[some] | self._is_at_rim[others]
        if rest.any():
            metres[rest] = self.distances(some[rest], others[rest])
        is_near = (metres < limit) | (metres == 0.0)
        return some[is_near], others[is_near], metres[is_near]

    @property
    def _is_at_rim(self) -> npt.NDArray[np.bool_]:
        lon, lat = np.radians(self.centres).T
        reach = self._radii + _NEAR_RIM
        to_antimeridian = np.arcsin(np.clip(np.cos(lat) * np.sin(np.pi - np.abs(lon)), -1.0, 1.0))
        at_antimeridian = (np.abs(lon) > np.pi / 2) & (to_antimeridian < reach)
        near_rim: npt.NDArray[np.bool_] = at_antimeridian | (np.pi / 2 - np.abs(lat) < reach)
        return near_rim

    def _reach(self) -> Floats:
        """Return the greatest angle between an outline's middle and any of its points."""
        owners = np.repeat(np.arange(len(self)), np.diff(self._starts))
        chords = np.linalg.norm(self._vertices - self._middles[owners], axis=1)
        angles = np.zeros(len(self))
        np.maximum.at(angles, owners, 2 * np.arcsin(np.minimum(chords / 2, 1.0)))
        # Edges bend between the corners of a ring by ``_BEND``, or by a share of an edge, which is two radii at most.
        return angles * (1 + 2 * _BEND_PIXELS) + 2 * _BEND / SEMI_MAJOR + SLACK

    def _shown(self, numbers: Indices, plane: TangentPlanes) -> Any:
        """Return the footprints as polygons, each in its own plane."""
        counts = np.diff(self._starts)[numbers]
        owners = np.repeat(np.arange(len(numbers)), counts)
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        vertices = self._vertices[self._starts[numbers][owners] + offsets]
        return shapely.polygons(shapely.linearrings(plane.project(vertices, owners), indices=owners))


def _rings(crs: str, corners: Floats, sizes: npt.NDArray[np.int_]) -> Iterator[Floats]:
    """Yield rings of normals (k, 3), in the order of the corners (n, 4, 2), with as many normals as accuracy needs."""
    coarse = _normals(crs, divide_edges(corners, 4)).reshape(
        -1, 4, 4, 3
    )  # of each edge, its beginning and three quarters
    ends = coarse[:, :, 0]
    following = np.roll(ends, -1, axis=1)
    planes = unit_vectors(np.cross(ends, following))  # of the great circles between corners
    bends = np.abs((coarse * planes[:, :, None]).sum(axis=-1)).max(axis=(1, 2))
    lengths = np.linalg.norm(following - ends, axis=-1).max(axis=1)
    allowed = np.maximum(_BEND / SEMI_MAJOR, _BEND_PIXELS * lengths / sizes)
    powers = np.ceil(np.log2(np.clip(np.sqrt(bends / allowed), 1, _MOST_PIECES)))
    counts = np.where(lengths > _LONG, _MOST_PIECES, 2 ** powers.astype(np.int64))
    ring_of: dict[int, Floats] = {}
    for count in np.unique(counts):
        chosen = np.flatnonzero(counts == count)
        rings = _normals(crs, divide_edges(corners[chosen], int(count))).reshape(len(chosen), -1, 3)
        ring_of.update(zip(chosen.tolist(), rings, strict=True))
    return (ring_of[index] for index in range(len(corners)))


def _normals(crs: str, xy: Floats) -> Floats:
    """Return the unit normals of the ellipsoid at places (…, 2) of a CRS."""
    lonlat = unproject(crs, xy.reshape(-1, 2))
    if not np.isfinite(lonlat).all():
        raise UsageError(f"a chip reaches beyond the area of {crs}: its location is undefined")
    return normals_of(lonlat)
