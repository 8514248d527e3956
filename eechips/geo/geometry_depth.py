"""Find geometries that are nested too deep to be parsed: GEOS recurses, and some 20,000 levels end the process."""

from __future__ import annotations

import re
import struct

MOST_LEVELS = 100
"""Levels of collections in collections; a MultiPolygon has one."""

_COLLECTIONS = frozenset({4, 5, 6, 7, 9, 10, 11, 12, 15, 16})
_RINGS = frozenset({3, 17})
_LINES = frozenset({2, 8})
_EWKB_Z, _EWKB_M, _EWKB_SRID = 0x80000000, 0x40000000, 0x20000000
# Headers of collections in either order of bytes, without those flags: only where there are many, it is walked.
_HEADER = re.compile(
    rb"\x01(?:[\x04-\x10]\x00|[\xec-\xf8]\x03|[\xd4-\xe0]\x07|[\xbc-\xc8]\x0b)\x00"
    rb"|\x00[\x00\x20\x40\x60\x80\xa0\xc0\xe0]\x00(?:\x00[\x04-\x10]|\x03[\xec-\xf8]|\x07[\xd4-\xe0]|\x0b[\xbc-\xc8])"
)


def is_too_deep(geometry: bytes | str) -> bool:
    """Return whether a geometry has more than ``MOST_LEVELS`` levels.

    Args:
        geometry: WKB (OGC 06-103r4, or that of PostGIS), WKT or GeoJSON; damaged ones are not too deep.
    """
    if isinstance(geometry, str):
        return geometry.upper().count("COLLECTION") > MOST_LEVELS or _depth(geometry) > 8 * MOST_LEVELS
    if len(geometry) < 9 * MOST_LEVELS or sum(1 for _ in _HEADER.finditer(geometry)) <= MOST_LEVELS:
        return False
    try:
        return _walk(geometry)
    except struct.error:
        return False


def _depth(text: str) -> int:
    """Return how deep the parentheses and brackets of a text are nested."""
    if sum(map(text.count, "([{")) <= MOST_LEVELS:
        return 0
    depth = most = 0
    for match in re.finditer(r"[(\[{]|[)\]}]", text):
        depth += 1 if match[0] in "([{" else -1
        most = max(most, depth)
    return most


def _walk(data: bytes) -> bool:
    """Return whether WKB is nested too deep; raise struct.error where it ends too early."""
    position, left = 0, [1]  # geometries that are left at each level
    while left:
        if left[-1] == 0:
            left.pop()
            continue
        left[-1] -= 1
        order = "<" if data[position : position + 1] == b"\x01" else ">"
        (code,) = struct.unpack_from(f"{order}I", data, position + 1)
        position += 5 + (4 if code & _EWKB_SRID else 0)
        plain = code & 0x0FFFFFFF
        axes = 2 + bool(code & _EWKB_Z) + bool(code & _EWKB_M) + (0, 1, 1, 2)[min(plain // 1000, 3)]
        kind = plain % 1000
        if kind == 1:
            position += 8 * axes
            continue
        (count,) = struct.unpack_from(f"{order}I", data, position)
        position += 4
        if kind in _COLLECTIONS:
            left.append(count)
            if len(left) > MOST_LEVELS + 1:
                return True
        elif kind in _LINES:
            position += 8 * axes * count
        elif kind in _RINGS:
            for _ in range(count):
                (points,) = struct.unpack_from(f"{order}I", data, position)
                position += 4 + 8 * axes * points
        else:
            return False
    return False
