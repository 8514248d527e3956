"""Parse and format quantities, and clean texts from other sources for display."""

from __future__ import annotations

import re

from eechips.errors import UsageError

_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_DISTANCE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(m|km)\s*", re.IGNORECASE)
_MOST_DIGITS = 18  # below 2**63


def parse_count(text: str) -> int | None:
    """Return the number that ASCII digits write; None for other text, and for more than 18 digits.

    ``str.isdigit`` accepts characters that ``int`` refuses ("²"), and ``str.strip`` strips some that ``int`` does not.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def format_bytes(count: float) -> str:
    """Format a number of bytes with a decimal unit: 9.7 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_count(count: int, noun: str) -> str:
    """Format a number with a noun in the singular or plural: 1 unit, 2,000 units."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_duration(seconds: float) -> str:
    """Format a duration: 40 s, 3 min, 5.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_compute(seconds: float) -> str:
    """Format a compute: 0.842 EECU-seconds, 1.24 EECU-hours."""
    value, unit = (seconds, "EECU-seconds") if seconds < 360 else (seconds / 3600, "EECU-hours")
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


def format_extent(west: float, south: float, east: float, north: float) -> str:
    """Format an extent in degrees: longitude -105.2 to -104.1, latitude 39 to 40.25."""
    return f"longitude {west:.7g} to {east:.7g}, latitude {south:.7g} to {north:.7g}"


def format_distance(metres: float) -> str:
    """Format a distance as :func:`parse_distance` reads it: 0m, 250m, 1.5km."""
    return f"{metres:.3g}m" if metres < 1000 else f"{metres / 1000:.4g}km"


def parse_distance(option: str, text: str, *, may_be_zero: bool = False) -> float:
    """Parse a distance such as ``500m`` or ``10km``.

    Args:
        option: name of the option or parameter, for the error message.
        text: number and unit; spaces and case do not matter.
        may_be_zero: accept a distance of zero.

    Returns:
        Metres.

    Raises:
        UsageError: if the text is not a distance, or is zero where it must be positive.
    """
    found = _DISTANCE.fullmatch(text)
    metres = float(found[1]) * (1000.0 if found[2].lower() == "km" else 1.0) if found else 0.0
    if found is None or not (metres or may_be_zero):
        raise UsageError(f"{option} {text!r} is not a distance such as 500m or 10km")
    return metres


def replace_control_characters(text: str) -> str:
    """Replace unsafe characters of a text by U+FFFD.

    These are control characters, which move a terminal's cursor or set its title, characters that change the direction
    of writing, and lone surrogates, which cannot be encoded. Line feeds and tabs are kept.
    """
    return _CONTROL_CHARACTERS.sub("\ufffd", text)
