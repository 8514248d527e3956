"""Distances as people write them."""

from __future__ import annotations

import re

from eechips.errors import UsageError

_DISTANCE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(m|km)\s*", re.IGNORECASE)


def parse_distance(option: str, text: str, *, may_be_zero: bool = False) -> float:
    """Metres of ``500m`` or ``10km``.

    Raises:
        UsageError: if it is no distance, or not above zero where it must be.
    """
    found = _DISTANCE.fullmatch(text)
    metres = float(found[1]) * (1000.0 if found[2].lower() == "km" else 1.0) if found else 0.0
    if found is None or not (metres or may_be_zero):
        raise UsageError(f"{option} {text!r} is not a distance such as 500m or 10km")
    return metres


def human_distance(metres: float) -> str:
    """A distance for people, as it can be typed: 0m, 250m, 1.5km."""
    return f"{metres:.3g}m" if metres < 1000 else f"{metres / 1000:.4g}km"
