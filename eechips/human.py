"""Numbers and texts as people read them."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def human_bytes(count: float) -> str:
    """A number of bytes for people: 9.7 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def human_time(seconds: float) -> str:
    """A duration for people: 40 s, 3 min, 5.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def human_extent(west: float, south: float, east: float, north: float) -> str:
    """An extent in degrees for people: longitude -105.2 to -104.1, latitude 39 to 40.25."""
    return f"longitude {west:.7g} to {east:.7g}, latitude {south:.7g} to {north:.7g}"


def printable(text: str) -> str:
    """A text of somebody else that can be shown on a terminal and encoded.

    Control characters (which move a terminal's cursor, or name its window), those that turn the direction of writing,
    and lone surrogates are replaced by U+FFFD; line feeds and tabulators are kept.
    """
    return _UNPRINTABLE.sub("\ufffd", text)
