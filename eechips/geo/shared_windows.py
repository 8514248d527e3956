"""Group pixel grids that one larger window of the same pixels covers, and divide them into halves."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eechips.geo.grid import Grid, Part, Window

_TOLERANCE = 1e-6
"""Pixels by which the corner of a grid may lie off the pixels of another, as both are rounded."""
_FILLED = 0.9  # share of its limits that a group is to fill, as rows are not cut in two
_PHASE = 10_000  # parts of a pixel to which the corner of a grid is rounded to find grids of the same pixels


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Limits of a group of grids.

    Attributes:
        pixels: pixels of the window that covers the group.
        members: grids.
        waste: pixels of the window for each pixel of the grids, 1 if they tile it.
    """

    pixels: int
    members: int
    waste: float


@dataclass(frozen=True, slots=True)
class GridGroup:
    """Grids, and the window that covers them.

    Attributes:
        members: members of each member, its index among the grids and its window of ``grid``.
    """

    grid: Grid
    members: tuple[Part[int], ...]


def group_grids(grids: Sequence[Grid], limits: GroupLimits) -> list[GridGroup]:
    """Group grids of the same pixels by their place, so that each group fits the limits.

    Grids that lie on other pixels than all others, or too far from them, are groups of their own. The members of a
    group are divided along its longer side until each part fits.

    Returns:
        The groups, in the order of their first members; each grid is in one.
    """
    groups = [
        _cover(grids[lattice.indices[0]], lattice, numbers)
        for lattice in _lattices(grids)
        for numbers in _divide(lattice.boxes, limits)
    ]
    return sorted(groups, key=lambda group: group.members[0].content)


def halve_grids(grids: Sequence[Grid]) -> tuple[list[int], list[int]]:
    """Divide grids into two halves by their place, along the longer side of what covers them.

    Args:
        grids: two or more. Those of several lattices of pixels are divided in the order of their lattices.

    Returns:
        The indices of each half, ascending.
    """
    lattices = list(_lattices(grids))
    if len(lattices) > 1:
        numbers = [index for lattice in lattices for index in lattice.indices]
        return sorted(numbers[: len(numbers) // 2]), sorted(numbers[len(numbers) // 2 :])
    boxes = lattices[0].boxes
    ordered = _order(np.arange(len(boxes)), boxes)
    count = _cut(boxes[ordered], 2, is_full=True)
    return sorted(ordered[:count].tolist()), sorted(ordered[count:].tolist())


@dataclass(frozen=True, slots=True)
class _Lattice:
    """Grids of the same pixels.

    Attributes:
        indices: indices of the grids, ascending.
        boxes: boxes of each, its first column and row and those after its last, in pixels from the corner of the first
            grid: (grids, 4).
    """

    indices: list[int]
    boxes: npt.NDArray[np.int64]


def _lattices(grids: Sequence[Grid]) -> Iterator[_Lattice]:
    """Yield the grids of each lattice of pixels."""
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for index, grid in enumerate(grids):
        a, b, _, d, e, _ = grid.transform
        alike[grid.crs, a, b, d, e].append(index)
    for indices in alike.values():
        a, b, _, d, e, _ = grids[indices[0]].transform
        x, y = np.array([(grids[index].transform[2], grids[index].transform[5]) for index in indices]).T
        sizes = np.array([(grids[index].width, grids[index].height) for index in indices])
        determinant = a * e - b * d
        corners = np.stack([(e * x - b * y) / determinant, (a * y - d * x) / determinant], axis=1)
        phases = np.rint((corners - np.floor(corners)) * _PHASE).astype(np.int64) % _PHASE
        same: dict[Hashable, list[int]] = defaultdict(list)
        for number, phase in enumerate(map(tuple, phases.tolist())):
            same[phase].append(number)
        for numbers in same.values():
            offsets = corners[numbers] - corners[numbers[0]]
            is_exact = np.abs(offsets - np.rint(offsets)).max(axis=1) <= _TOLERANCE
            first = np.rint(offsets).astype(np.int64)
            boxes = np.concatenate([first, first + sizes[numbers]], axis=1)
            yield _Lattice([indices[numbers[i]] for i in np.flatnonzero(is_exact)], boxes[is_exact])
            for i in np.flatnonzero(~is_exact):
                yield _Lattice([indices[numbers[i]]], boxes[i : i + 1])


def _divide(boxes: npt.NDArray[np.int64], limits: GroupLimits) -> Iterator[npt.NDArray[np.int64]]:
    """Divide boxes by their place until each part fits the limits; yield the indices of each part, ascending."""
    pending = [np.arange(len(boxes))]
    while pending:
        numbers = pending.pop()
        some = boxes[numbers]
        width, height = some[:, 2:].max(axis=0) - some[:, :2].min(axis=0)
        filled = int(_areas(some).sum())
        area = int(width * height)
        is_full = area <= limits.waste * filled
        if len(numbers) == 1 or (len(numbers) <= limits.members and area <= limits.pixels and is_full):
            yield numbers
            continue
        ordered = _order(numbers, some)
        groups = 2
        if is_full:
            share = max(len(numbers) / limits.members, area / limits.pixels) / _FILLED
            groups = max(groups, math.ceil(share))
        count = _cut(some[ordered], groups, is_full=is_full)
        pending += [np.sort(numbers[ordered[count:]]), np.sort(numbers[ordered[:count]])]


def _order(numbers: npt.NDArray[np.int64], boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the order of boxes along the longer side of what covers them; equal ones are in that of their numbers."""
    width, height = boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)
    axis = 0 if width >= height else 1
    return np.lexsort((numbers, boxes[:, axis] + boxes[:, axis + 2]))


def _cut(boxes: npt.NDArray[np.int64], groups: int, *, is_full: bool) -> int:
    """Return how many boxes, in the order of their centres along the longer side, are the first part of two.

    Boxes that fill what covers them are divided near the ratio of the fewest groups that hold them, so that the groups
    are full: of three groups one is cut off. Boxes with gaps between them are divided near the middle. Of the
    divisions near it, that with the smallest boxes cuts no row in two.

    Args:
        boxes: ordered.
        groups: groups that hold them.
        is_full: whether there are no large gaps.
    """
    total = len(boxes)
    middle = max(1, total * (groups // 2) // groups)
    reach = total // (4 * groups) + math.isqrt(total) // 2 if is_full else total // 4
    counts = np.arange(max(1, middle - reach), min(total - 1, middle + reach) + 1)
    first, second = _running(boxes), _running(boxes[::-1])
    areas = _areas(first)[counts - 1] + _areas(second)[total - counts - 1]
    return int(counts[np.lexsort((np.abs(counts - middle), areas))[0]])


def _running(boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return what covers the first box, the first two, and so on."""
    first, last = np.minimum.accumulate(boxes[:, :2]), np.maximum.accumulate(boxes[:, 2:])
    return np.concatenate([first, last], axis=1)


def _areas(boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    sides: npt.NDArray[np.int64] = boxes[:, 2:] - boxes[:, :2]
    return sides[:, 0] * sides[:, 1]


def _cover(anchor: Grid, lattice: _Lattice, numbers: npt.NDArray[np.int64]) -> GridGroup:
    boxes = lattice.boxes[numbers]
    column, row = boxes[:, :2].min(axis=0).tolist()
    right, bottom = boxes[:, 2:].max(axis=0).tolist()
    members = tuple(
        Part(Window(left - column, top - row, end - left, base - top), lattice.indices[number])
        for number, (left, top, end, base) in zip(numbers.tolist(), boxes.tolist(), strict=True)
    )
    return GridGroup(anchor.window(column, row, right - column, bottom - row), members)
