"""Choose the bands and colours of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eechips.datasets import Dataset
from eechips.errors import UsageError
from eechips.formats import CHIP_FORMATS
from eechips.planning.asset_metadata import Band

_COUNTS = (1, 3)  # bands of a picture: grey or a palette's colours, or red, green and blue


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
        """Return whether any colour option is given."""
        return self.stretch is not None or bool(self.palette)

    def visualization(self, bands: Sequence[str], known: Dataset | None) -> dict[str, Any]:
        """Return the parameters of ``ee.Image.visualize``; empty for values.

        Args:
            bands: bands of the picture.
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
        """Check that the options agree.

        Raises:
            UsageError: if they contradict each other.
        """
        if not self.is_picture and self.is_set:
            raise UsageError(f"`stretch` and `palette` make pictures (png, jpg); {self.format} holds the values")

    def check_empty(self, on_empty: str) -> None:
        """Check that empty results can be recognised in the format.

        Args:
            on_empty: treatment of empty results: ``keep``, ``skip`` or ``redraw``.

        Raises:
            UsageError: if they cannot, and are not kept.
        """
        if not CHIP_FORMATS.get(self.format).has_mask and on_empty != "keep":
            raise UsageError(
                f"on_empty={on_empty!r} needs png, tif or npy: {self.format} has no mask, and nothing tells an empty"
                " chip from a black one"
            )

    def check_chosen(self, bands: Sequence[str] | None) -> None:
        """Check the number of bands of a picture.

        Args:
            bands: bands that the user names; None for the dataset's own.

        Raises:
            UsageError: if a picture cannot have as many bands.
        """
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


def parse_stretch(given: str | Sequence[float] | None) -> tuple[float, float] | None:
    """Return the values that become black and white.

    Args:
        given: two numbers, also as text: ``0,3000``; None for the dataset's default.

    Raises:
        UsageError: if they are not two numbers, or the first is not below the second.
    """
    if given is None:
        return None
    try:
        least, greatest = map(float, given.split(",") if isinstance(given, str) else given)
    except (TypeError, ValueError):
        raise UsageError(f"`stretch` {given!r} is not two numbers: MIN,MAX") from None
    if not least < greatest:
        raise UsageError(f"`stretch`: the first value ({least:g}) must be below the second ({greatest:g})")
    return least, greatest
