"""Choose the bands and colours of pictures (png, jpg): ``stretch``, palette, 1 or 3 bands of 8 bits; refuse what a
format cannot hold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eechips.builtin_recipes.recipe_options import split_names
from eechips.datasets import Dataset
from eechips.errors import UsageError
from eechips.formats import CHIP_FORMATS
from eechips.planning.asset_metadata import Band

_COUNTS = (1, 3)  # bands of a picture: grey or a palette's colours, or red, green and blue
_COLOUR = re.compile("[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class RenderStyle:
    """The requested format and colours of results.

    Attributes:
        format: format of the results; data (GeoTIFF, NPY) have no colours.
        stretch: values that become black and white; None for the dataset's default.
        palette: colours (hexadecimal, from the first value to the last) for a picture of one band; empty for the
            dataset's default.
    """

    format: str
    stretch: tuple[float, float] | None = None
    palette: tuple[str, ...] = ()

    @property
    def is_picture(self) -> bool:
        """Return whether the results are pictures (PNG, JPEG), not values."""
        return CHIP_FORMATS.get(self.format).is_picture

    @property
    def export_obstacle(self) -> str | None:
        """Return why chips cannot be exported, a clause; None if they can."""
        return "Earth Engine exports no pictures: choose format tif or npy" if self.is_picture else None

    @property
    def is_set(self) -> bool:
        """Return whether the user gives values or colours."""
        return self.stretch is not None

    def visualization(self, bands: Sequence[str], known: Dataset | None) -> dict[str, Any]:
        """Return the parameters of ``ee.Image.visualize``; empty for values.

        Args:
            known: the record of their dataset, if it has one: its colours are the default.
        """
        if not self.is_picture:
            return {}
        options = dict(known.visualization) if known else {}
        if len(bands) != 1 or (known and tuple(bands) != known.default_bands):
            options.pop("palette", None)
        if self.stretch is not None:
            options["min"], options["max"] = self.stretch
        if self.palette:
            options["palette"] = list(self.palette)
        return options

    def check(self) -> None:
        """Raise UsageError if the options contradict each other."""
        if not self.is_picture and self.is_set:
            raise UsageError(f"`stretch` makes pictures (png, jpg); {self.format} holds the values")

    def check_empty(self, on_empty: str) -> None:
        """Raise UsageError if empty results are not kept, and cannot be recognised in the format."""
        if not CHIP_FORMATS.get(self.format).has_mask and on_empty != "keep":
            raise UsageError(
                f"on_empty={on_empty!r} needs png, tif or npy: {self.format} has no mask, and nothing tells an empty"
                " chip from a black one"
            )

    def check_chosen(self, bands: Sequence[str] | None) -> None:
        """Raise UsageError if a picture cannot have as many bands as the user names (None for the dataset's own)."""
        if self.is_picture and bands and len(bands) not in _COUNTS:
            raise UsageError(f"{self.format} takes 1 or 3 bands, not {len(bands)}: tif and npy take any")

    def check_found(self, bands: Sequence[Band], known: Dataset | None) -> None:
        """Check that a picture can be made of the bands of a dataset.

        Args:
            bands: to take, as the server has them.
            known: the record of their dataset, if it has one.

        Raises:
            UsageError: if they are neither 1 nor 3, or their values need more than 8 bits and no range is given.
        """
        if not self.is_picture:
            return
        names = [band.name for band in bands]
        if len(bands) not in _COUNTS:
            raise UsageError(f"{self.format} takes 1 or 3 bands: choose `bands` from {', '.join(names)}")
        wide = sorted({band.dtype for band in bands} - {"uint8"})
        if wide and not self.visualization(names, known):
            raise UsageError(
                f"the values of {', '.join(names)} are {wide[0]} and {self.format} holds 8 bits: give `stretch`,"
                " the values that become black and white, or take format='tif'"
            )


def parse_stretch(stretch: str | Sequence[float] | None) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Return the values that become black and white, and the colours from the first value to the last.

    Args:
        stretch: two numbers, also as text with colours: ``0,3000`` or ``-1,1:ff0000,00ff00``; None for the dataset's
            default.

    Raises:
        UsageError: if they are not two numbers, the first is not below the second, or a colour is not hexadecimal.
    """
    if stretch is None:
        return None, ()
    limits, separator, colours = stretch.partition(":") if isinstance(stretch, str) else (stretch, "", "")
    try:
        least, greatest = map(float, limits.split(",") if isinstance(limits, str) else limits)
    except (TypeError, ValueError):
        raise UsageError(f"`stretch` {stretch!r} is not two numbers: MIN,MAX") from None
    if not least < greatest:
        raise UsageError(f"`stretch`: the first value ({least:g}) must be below the second ({greatest:g})")
    palette = split_names(colours) if separator else ()
    if wrong := [colour for colour in palette if not _COLOUR.fullmatch(colour)]:
        raise UsageError(f"`stretch`: {wrong[0]!r} is not a hexadecimal colour, as ff0000 is for red")
    return (least, greatest), palette
