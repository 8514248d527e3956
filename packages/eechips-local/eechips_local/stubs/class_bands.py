"""Tell the classes of stubs' bands: those that stand for a value, and the land that they name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eechips_local.stubs.dataset_description import BandClass

LAND_CLASSES = ("water", "snow", "built", "crop", "tree", "shrub", "bare", "grass")
"""What the land of the demo planet can be, in the order in which it is decided."""


# What names of classes say of land.
LAND_WORDS: tuple[tuple[str, str], ...] = (
    ("water", r"\bwater|ocean|\bsea\b|\blake|river|\bmarine"),
    ("snow", r"\bsnow|\bice\b|glacier"),
    ("built", r"built|urban|settlement|developed|impervious|artificial|residential|industrial|road"),
    ("crop", r"\bcrop|agricult|farm|cultivat|arable|plantation|orchard|corn|wheat|rice|soy"),
    ("tree", r"forest|\btree|needle|broadlea|conifer|woodland|mangrove"),
    ("shrub", r"shrub|\bscrub|heath|chaparral"),
    ("bare", r"\bbare|barren|\bsand|\brock|desert|sparse"),
    ("grass", r"grass|herbaceous|pasture|savanna|meadow|steppe|tundra|wetland"),
)


_NO_VALUE = re.compile(
    r"\bno[ -]?data|missing|\bfill\b|unclassified|not classified|background|undefined|unknown|saturated|not processed",
    re.IGNORECASE,
)
"""Names of classes of pixels of which nothing is known."""


_FEWEST = 3
"""Kinds of land that the classes of a map of land cover name, at the least."""


def known_classes(classes: Sequence[BandClass]) -> Sequence[BandClass]:
    """Return the classes without those that stand for no value, unless all do."""
    return [band_class for band_class in classes if not _NO_VALUE.search(band_class.name)] or classes


def land_of(classes: Sequence[BandClass]) -> tuple[tuple[int, ...], ...]:
    """Return for each of ``LAND_CLASSES`` the values of the classes that name it; empty if few do."""
    codes = sorted({band_class.value for band_class in classes})
    land_values: dict[str, list[int]] = {}
    for band_class in classes:
        name = next((land for land, words in LAND_WORDS if re.search(words, band_class.name.lower())), None)
        if name is not None:
            land_values.setdefault(name, []).append(band_class.value)
    if len(land_values) < _FEWEST:
        return ()
    rest = tuple(value for values in land_values.values() for value in values) or tuple(codes)
    # Grass stands for open land of other kinds, trees and crops for each other, before any class at all.
    likely = {"shrub": "grass", "bare": "grass", "grass": "crop", "crop": "grass", "tree": "grass"}
    return tuple(tuple(land_values.get(land) or land_values.get(likely.get(land, "")) or rest) for land in LAND_CLASSES)
