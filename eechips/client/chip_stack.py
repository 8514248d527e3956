"""Make one chip of several on the same pixels: their bands, and the mask of each, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eechips.client.chip_parameters import has_bands, with_mask_band
from eechips.formats import MASK_BAND
from eechips.formats.interface import stacked_name
from eechips.recipe import Chip
from eechips.recipe.template import Template

if TYPE_CHECKING:
    import ee


@dataclass(frozen=True, slots=True, eq=False)
class ChipStack(Chip):
    """Several chips of one grid, format and type, whose bands are fetched by one request.

    Attributes:
        chips: in their order.
    """

    chips: tuple[Chip, ...] = ()

    def rendered(self) -> ee.Image:
        """Return the requested image."""
        image: ee.Image = self.image.image() if isinstance(self.image, Template) else self.image
        return image


def stack_chips(chips: Sequence[Chip]) -> ChipStack:
    """Return the stack of chips whose images are templates with named bands."""
    parts: list[tuple[Any, ...]] = []
    values = []
    for chip in chips:
        assert isinstance(chip.image, Template)
        parts.append(
            (chip.image.build, chip.image.fixed, tuple(chip.image.values), chip.bands, chip.format, chip.dtype)
        )
        values.append(list(chip.image.values.values()))
    names = [
        stacked_name(number, name) for number, chip in enumerate(chips) for name in (*(chip.bands or ()), MASK_BAND)
    ]
    first = chips[0]
    return ChipStack(
        image=Template(_stacked, (tuple(parts),), {"values": values}),
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
        images.append(masked.rename([stacked_name(number, name) for name in (*bands, MASK_BAND)]))
    stack: ee.Image = ee.Image.cat(images)
    return stack
