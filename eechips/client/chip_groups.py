"""Group chips that one request can fetch, windows of one larger chip and bands of one image, within limits of pixels,
bytes, bands and waste.

:mod:`eechips.engine.joining.unit_joining` decides which units of a run come here together.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eechips.client.chip_parameters import has_bands, with_mask_band
from eechips.client.http.marked_requests import MASK_BAND_TO_MARK
from eechips.formats import CHIP_FORMATS
from eechips.formats.chip_format import stacked_name
from eechips.geo.grid import Grid, Part, Window
from eechips.geo.shared_windows import GroupLimits, group_grids
from eechips.recipe import Chip
from eechips.recipe.results import Template

if TYPE_CHECKING:
    import ee


@dataclass(frozen=True, slots=True, eq=False)
class ChipStack(Chip):
    """Several chips of one grid, format and type, whose bands are fetched by one request in their order."""

    chips: tuple[Chip, ...] = ()

    def rendered(self) -> ee.Image:
        """Return the requested image."""
        return self.image.image() if isinstance(self.image, Template) else self.image


def stack_chips(chips: Sequence[Chip]) -> ChipStack:
    """Return the stack of chips whose images are templates with named bands."""
    parts: list[tuple[Any, ...]] = []
    values = []
    passes_values = True
    for chip in chips:
        assert isinstance(chip.image, Template)
        passes_values &= chip.image.passes_values
        parts.append(
            (chip.image.build, chip.image.fixed, tuple(chip.image.values), chip.bands, chip.format, chip.dtype)
        )
        values.append(list(chip.image.values.values()))
    names = [
        stacked_name(number, name)
        for number, chip in enumerate(chips)
        for name in (*(chip.bands or ()), MASK_BAND_TO_MARK)
    ]
    first = chips[0]
    return ChipStack(
        image=Template(_stacked, (tuple(parts),), {"values": values}, passes_values=passes_values),
        grid=first.grid,
        format=first.format,
        bands=tuple(names),
        dtype=first.dtype,
        chips=tuple(chips),
    )


def _stacked(parts: Sequence[tuple[Any, ...]], values: Sequence[Sequence[Any]]) -> ee.Image:
    """Return the bands and masks of all parts."""
    import ee

    images = []
    for number, ((build, fixed, names, bands, file_format, dtype), part_values) in enumerate(
        zip(parts, values, strict=True)
    ):
        image = build(*fixed, **dict(zip(names, part_values, strict=True)))
        image = image if has_bands(image, bands) else image.select(list(bands))
        masked = with_mask_band(image, file_format, dtype, bands)
        images.append(masked.rename([stacked_name(number, name) for name in (*bands, MASK_BAND_TO_MARK)]))
    stack: ee.Image = ee.Image.cat(images)
    return stack


MOST_PIXELS = 1 << 20
"""Pixels of a shared request: some megabytes, so that a failure repeats little, and enough for 256 chips of 64x64."""

MOST_WASTE = 1.2
"""Pixels that a shared request may have for each pixel of its chips. Pixels between chips cost bytes and compute."""


_MOST_BYTES = 16 << 20
"""Bytes of the images of one place that are requested together, uncompressed."""
_WIDEST = "float32"  # type that unknown ones are counted as
_MOST_BANDS = 1_000
"""Bands of a request; the service takes 1,024, see :data:`eechips.client.chip_parts.PIXEL_LIMITS`."""


@dataclass(frozen=True, slots=True)
class SharedMember:
    """A chip in a shared request.

    Attributes:
        part: part of the request in which it lies.
        window: window of that part.
    """

    index: int
    part: int
    window: Window


@dataclass(frozen=True, slots=True)
class SharedChip:
    """A chip that covers others.

    Attributes:
        parts: the chips whose bands it has, one after the other; itself alone if it shows one image.
    """

    chip: Chip
    parts: tuple[Chip, ...]
    members: tuple[SharedMember, ...]

    def computed(self, indices: Collection[int]) -> SharedChip:
        """Return the chip that covers some of the chips of one image, and is not read from a stored image."""
        assert self.chip.grid is not None
        members = [member for member in self.members if member.index in indices]
        windows = [member.window for member in members]
        column, row = min(window.column for window in windows), min(window.row for window in windows)
        width = max(window.column + window.width for window in windows) - column
        height = max(window.row + window.height for window in windows) - row
        chip = replace(_over(self.chip, self.chip.grid.window(column, row, width, height)), asset=None)
        moved = (
            replace(member, window=replace(member.window, column=own_window.column - column, row=own_window.row - row))
            for member, own_window in zip(members, windows, strict=True)
        )
        return SharedChip(chip, (chip,), tuple(moved))


def _over(chip: Chip, grid: Grid) -> Chip:
    """Return the chip that shows the image of another one on a grid."""
    image = chip.image.over(grid) if isinstance(chip.image, Template) else chip.image
    return replace(chip, image=image, grid=grid)


def share_chips(chips: Sequence[Chip]) -> list[SharedChip]:
    """Group chips that one request can fetch.

    Chips that show the same image on the same pixels near each other become one larger window. Then windows of the same
    pixels and type, such as the frames of a time series, become the bands of one request.

    Returns:
        The groups of two chips or more.
    """
    covers = _cover(chips)
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for number, (cover, _) in enumerate(covers):
        alike[_pixel_type(cover) or number].append(number)
    shared_chips = []
    for numbers in alike.values():
        for some in _divide(numbers, [cover for cover, _ in covers]):
            parts = tuple(covers[number][0] for number in some)
            members = tuple(
                SharedMember(member.content, part, member.window)
                for part, number in enumerate(some)
                for member in covers[number][1]
            )
            if len(members) > 1:
                shared_chips.append(SharedChip(stack_chips(parts) if len(parts) > 1 else parts[0], parts, members))
    return shared_chips


def _cover(chips: Sequence[Chip]) -> list[tuple[Chip, tuple[Part[int], ...]]]:
    """Return chips that cover those which show the same image near each other, with index and window of each."""
    similar: dict[Hashable, list[int]] = defaultdict(list)
    placed: dict[Hashable, tuple[str, ...]] = {}
    for index, chip in enumerate(chips):
        key = _key(chip, placed)
        if key is not None:
            similar[key].append(index)
    limits = GroupLimits(pixels=MOST_PIXELS, members=len(chips), waste=MOST_WASTE)
    covers = []
    for indices in similar.values():
        for group in group_grids([grid for i in indices if (grid := chips[i].grid) is not None], limits):
            members = tuple(replace(member, content=indices[member.content]) for member in group.members)
            first = chips[members[0].content]
            if len(members) > 1:
                first = replace(_over(first, group.grid), name=None, sources=(), dates=(), frame=None)
            covers.append((first, members))
    return covers


def _divide(numbers: Sequence[int], chips: Sequence[Chip]) -> Iterator[list[int]]:
    """Divide chips of equal pixels so that the bands of each part fit one request."""
    some: list[int] = []
    size = bands = 0
    for number in numbers:
        chip = chips[number]
        assert chip.grid is not None
        count = len(chip.bands or ()) + 1
        bytes_each = Window(0, 0, *chip.grid.shape).estimate_bytes(count, chip.dtype or _WIDEST)
        if some and (size + bytes_each > _MOST_BYTES or bands + count > _MOST_BANDS):
            yield some
            some, size, bands = [], 0, 0
        some.append(number)
        size, bands = size + bytes_each, bands + count
    if some:
        yield some


def _pixel_type(chip: Chip) -> Hashable | None:
    """Return what chips of one stack have in common: grid, format and type; None for a chip that is in no stack."""
    if chip.bands is None or chip.grid is None or not isinstance(chip.image, Template):
        return None
    # Images of one dataset have one type even if it is unknown.
    return chip.grid, chip.format, chip.dtype, None if chip.dtype is not None else (chip.image.fixed, chip.bands)


def _key(chip: Chip, placed: dict[Hashable, tuple[str, ...]]) -> Hashable | None:
    """Return what chips of a shared request have in common; None for a chip that is fetched alone.

    Args:
        placed: names of the values that follow from a grid, by the function that returns them; completed here.
    """
    if chip.grid is None or CHIP_FORMATS.get(chip.format).decode is None:
        return None
    image: Hashable
    if isinstance(chip.image, Template):
        own = chip.image.window_values
        if own is not None and own not in placed:
            placed[own] = tuple(own(chip.grid))
        values = {name: value for name, value in chip.image.values.items() if name not in placed.get(own, ())}
        image = chip.image.build, chip.image.fixed, own, json.dumps(values, sort_keys=True)
    else:
        image = chip.image.serialize()
    return image, chip.format, chip.bands, chip.dtype, chip.asset
