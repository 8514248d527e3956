"""Group chips that one request can fetch: windows of one larger chip."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eechips.formats import CHIP_FORMATS
from eechips.geo.grid import Part
from eechips.geo.grid_groups import GroupLimits, group_grids
from eechips.recipe.template import Template

if TYPE_CHECKING:
    from eechips.recipe import Chip

MOST_PIXELS = 1 << 20
"""Pixels of a shared request: some megabytes, so that a failure repeats little, and enough for 256 chips of 64x64."""

MOST_WASTE = 1.2
"""Pixels that a shared request may have for each pixel of its chips. Pixels between chips cost bytes and compute."""


@dataclass(frozen=True, slots=True)
class SharedChip:
    """A chip that covers others.

    Attributes:
        chip: to fetch.
        members: of each chip that it covers, its index and its window.
    """

    chip: Chip
    members: tuple[Part[int], ...]


def share_chips(chips: Sequence[Chip]) -> list[SharedChip]:
    """Group chips that show the same image on the same pixels, and lie near each other.

    Returns:
        The groups of two chips or more.
    """
    similar: dict[Hashable, list[int]] = defaultdict(list)
    for index, chip in enumerate(chips):
        key = _key(chip)
        if key is not None:
            similar[key].append(index)
    limits = GroupLimits(pixels=MOST_PIXELS, members=len(chips), waste=MOST_WASTE)
    found = []
    for indices in similar.values():
        for group in group_grids([grid for i in indices if (grid := chips[i].grid) is not None], limits):
            if len(group.members) > 1:
                members = tuple(replace(member, content=indices[member.content]) for member in group.members)
                first = chips[members[0].content]
                image = first.image.over(group.grid) if isinstance(first.image, Template) else first.image
                cover = replace(first, image=image, grid=group.grid, name=None, sources=(), dates=(), frame=None)
                found.append(SharedChip(cover, members))
    return found


def _key(chip: Chip) -> Hashable | None:
    """Return what chips of a shared request have in common; None for a chip that is fetched alone."""
    if chip.grid is None or CHIP_FORMATS.get(chip.format).decode is None:
        return None
    image: Hashable
    if isinstance(chip.image, Template):
        own = chip.image.window_values
        placed = () if own is None else tuple(own(chip.grid))
        values = {name: value for name, value in chip.image.values.items() if name not in placed}
        image = chip.image.build, chip.image.fixed, own, json.dumps(values, sort_keys=True)
    else:
        image = chip.image.serialize()
    return image, chip.format, chip.bands, chip.dtype
