"""Find the cells of S2 (https://s2geometry.io) of points, and list the cells of a region."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.geo.ellipsoid import Floats, Indices, boxes_around, lonlat_of, normals_of

LEVELS = 30
"""The finest level."""

_SWAP = 1  # orientation of the curve: i and j are exchanged
# The order in which the curve visits quarters, by orientation (https://s2geometry.io/devguide/s2cell_hierarchy).
_POSITIONS = np.array([[0, 1, 3, 2], [0, 3, 1, 2], [2, 3, 1, 0], [2, 1, 3, 0]], dtype=np.uint64)
_TURNS = np.array([1, 0, 0, 3], dtype=np.int64)
_COLUMNS, _ROWS = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])  # of the quarters of a cell
# Radians between two points of a face at most, on the quadratic projection: kMaxDiag of s2metrics.cc.
_LONGEST_DIAGONAL = 2.438654594434021


def cell_ids(longitudes: Floats, latitudes: Floats, level: int) -> npt.NDArray[np.uint64]:
    """Return the 64-bit ids of the cells of points, shape (n,)."""
    x, y, z = xyz = normals_of(np.column_stack([longitudes, latitudes])).T
    axis = np.abs(xyz).argmax(axis=0)
    largest = np.take_along_axis(xyz, axis[None], axis=0)[0]
    face = axis + 3 * (largest < 0)
    u = np.choose(face, [y, -x, -x, z, z, -y]) / largest
    v = np.choose(face, [z, z, -y, y, -x, -x]) / largest
    return _encode(face, _index(u, level), _index(v, level), level)


def cell_tokens(ids: npt.NDArray[np.uint64]) -> list[str]:
    """Return the tokens of cells: the digits of their ids in base 16 without the zeros at the end."""
    return [f"{number:016x}".rstrip("0") for number in ids.tolist()]


def list_cells(region: BaseGeometry, level: int) -> tuple[npt.NDArray[np.uint64], Floats]:
    """List the cells whose centres lie in a region, in the order of their ids.

    Args:
        region: in longitude and latitude.
        level: 0 to 30.

    Returns:
        The ids, shape (n,), and the centres in longitude and latitude, shape (n, 2).
    """
    shapely.prepare(region)
    face = np.arange(6)
    i: Indices = np.zeros(6, np.int64)
    j: Indices = np.zeros(6, np.int64)
    for depth in range(level + 1):
        if depth:
            face = np.repeat(face, 4)
            i, j = (2 * i[:, None] + _COLUMNS).ravel(), (2 * j[:, None] + _ROWS).ravel()
        near = _may_meet(region, _centres(face, i, j, depth), _LONGEST_DIAGONAL / 2**depth)
        face, i, j = face[near], i[near], j[near]
    centres = _centres(face, i, j, level)
    inside = shapely.intersects_xy(region, *centres.T)
    ids = _encode(face[inside], i[inside], j[inside], level)
    order = np.argsort(ids)
    return ids[order], centres[inside][order]


def _may_meet(region: BaseGeometry, centres: Floats, radius: float) -> npt.NDArray[np.bool_]:
    """Return which discs a region may meet, by the boxes around them. Radius in radians."""
    boxes, owners = boxes_around(np.tile(centres, 2), radius)
    meets = np.zeros(len(centres), np.bool_)
    meets[owners[shapely.intersects(region, boxes)]] = True
    return meets


def _encode(face: Indices, i: Indices, j: Indices, level: int) -> npt.NDArray[np.uint64]:
    """Return the ids of cells by their faces, and their columns and rows, of 2 to the power of the level."""
    path_bits = face.astype(np.uint64)
    orientation = face & _SWAP
    for bit in range(level - 1, -1, -1):
        quarter = (((i >> bit) & 1) << 1) | ((j >> bit) & 1)
        position = _POSITIONS[orientation, quarter]
        path_bits = (path_bits << np.uint64(2)) | position
        orientation = orientation ^ _TURNS[position.astype(np.int64)]
    return ((path_bits << np.uint64(1)) | np.uint64(1)) << np.uint64(2 * (LEVELS - level))


def _index(value: Floats, level: int) -> Indices:
    """Return the column or row of a coordinate -1 to 1 on a face: S2's quadratic projection."""
    root = 0.5 * np.sqrt(1 + 3 * np.abs(value))
    share = np.where(value >= 0, root, 1 - root)
    leaf = np.clip(np.floor(share * 2**LEVELS), 0, 2**LEVELS - 1).astype(np.int64)
    cell_index: Indices = leaf >> (LEVELS - level)
    return cell_index


def _centres(face: Indices, i: Indices, j: Indices, level: int) -> Floats:
    """Return the centres of cells in longitude and latitude, shape (n, 2)."""
    u, v = (_coordinate((index + 0.5) / 2**level) for index in (i, j))
    one = np.ones_like(u)
    x = np.choose(face, [one, -u, -u, -one, v, v])
    y = np.choose(face, [u, one, -v, -v, -one, u])
    z = np.choose(face, [v, v, one, -u, -u, -one])
    return lonlat_of(np.column_stack([x, y, z]))


def _coordinate(share: Floats) -> Floats:
    """Return the coordinate -1 to 1 of a share 0 to 1 of a face: the inverse of the quadratic projection."""
    return np.where(share >= 0.5, (4 * share**2 - 1) / 3, (1 - 4 * (1 - share) ** 2) / 3)
