"""Group pixel grids that one larger window of the same pixels covers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from affine import Affine

from eechips.geo.grid import Grid, Part, Window

_TOLERANCE = 1e-6
"""Pixels by which the corner of a grid may lie off the pixels of another, as both are rounded."""
_PHASE = 10_000  # parts of a pixel to which the corner of a grid is rounded to find grids of the same pixels


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Limits of a group of grids.

    Attributes:
        pixels: of the window that covers the group.
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
        grid: that covers all members.
        members: of each member, its index among the grids and its window of ``grid``.
    """

    grid: Grid
    members: tuple[Part[int], ...]


def group_grids(grids: Sequence[Grid], limits: GroupLimits) -> list[GridGroup]:
    """Group grids of the same pixels by their place, so that each group fits the limits.

    Grids that lie on other pixels than all others, or too far from them, are groups of their own. The members of a
    group are divided at the middle of its longer side until each part fits.

    Returns:
        The groups, in the order of their first members; each grid is in one.
    """
    lattices: dict[Hashable, list[Part[int]]] = defaultdict(list)
    anchors: dict[Hashable, Grid] = {}
    for index, grid in enumerate(grids):
        key: Hashable = _lattice(grid)
        column, row = _offset(anchors.setdefault(key, grid), grid)
        if max(abs(column - round(column)), abs(row - round(row))) > _TOLERANCE:
            key, column, row = index, 0.0, 0.0
            anchors[key] = grid
        lattices[key].append(Part(Window(round(column), round(row), grid.width, grid.height), index))
    groups = [_cover(anchors[key], members) for key, found in lattices.items() for members in _divide(found, limits)]
    return sorted(groups, key=lambda group: group.members[0].content)


def _lattice(grid: Grid) -> tuple[Hashable, ...]:
    """Return a key that grids of the same pixels have in common."""
    a, b, _, d, e, _ = grid.transform
    column, row = ~Affine(a, b, 0, d, e, 0) * (grid.transform[2], grid.transform[5])
    phase = tuple(round((value - math.floor(value)) * _PHASE) % _PHASE for value in (column, row))
    return grid.crs, a, b, d, e, phase


def _offset(anchor: Grid, grid: Grid) -> tuple[float, float]:
    """Return the column and row of a grid's corner in the pixels of another."""
    column, row = ~anchor.affine * (grid.transform[2], grid.transform[5])
    return column, row


def _divide(members: list[Part[int]], limits: GroupLimits) -> Iterable[list[Part[int]]]:
    """Divide grids by their place until each part fits the limits."""
    pending = [members]
    while pending:
        some = pending.pop()
        if len(some) == 1 or _fits(some, limits):
            yield some
            continue
        box = _box([member.window for member in some])
        is_wide = box.width >= box.height
        ordered = sorted(some, key=lambda member: (_centre(member.window, is_wide=is_wide), member.content))
        middle = (box.column + box.width / 2 if is_wide else box.row + box.height / 2) * 2
        left = [member for member in ordered if _centre(member.window, is_wide=is_wide) < middle]
        if len(left) in (0, len(ordered)):  # grids of the same place, or of very different sizes
            left = ordered[: len(ordered) // 2]
        pending += [sorted(part, key=lambda member: member.content) for part in (ordered[len(left) :], left)]


def _fits(members: Sequence[Part[int]], limits: GroupLimits) -> bool:
    if len(members) > limits.members:
        return False
    area = _box([member.window for member in members]).pixels
    return area <= limits.pixels and area <= limits.waste * sum(member.window.pixels for member in members)


def _centre(window: Window, *, is_wide: bool) -> int:
    """Return twice the centre of a window along an axis."""
    return 2 * window.column + window.width if is_wide else 2 * window.row + window.height


def _box(windows: Sequence[Window]) -> Window:
    """Return the window that covers windows."""
    column, row = min(each.column for each in windows), min(each.row for each in windows)
    right = max(each.column + each.width for each in windows)
    bottom = max(each.row + each.height for each in windows)
    return Window(column, row, right - column, bottom - row)


def _cover(anchor: Grid, members: Sequence[Part[int]]) -> GridGroup:
    box = _box([member.window for member in members])
    shifted = tuple(
        Part(Window(w.column - box.column, w.row - box.row, w.width, w.height), member.content)
        for member in members
        for w in (member.window,)
    )
    return GridGroup(anchor.window(box.column, box.row, box.width, box.height), shifted)
