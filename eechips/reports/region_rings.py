"""Read the rings of the requested region for the map of a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eechips.manifest.region_file import find_region_file, read_region_file

Ring = list[tuple[float, float]]
"""Longitudes and latitudes in degrees; the last place equals the first."""

_PRECISION = 1e-3  # precision of corners as a share of the region's extent
_DIGITS = 6  # of degrees: 0.1 m


def region_rings(folder: Path, info: Mapping[str, Any]) -> list[Ring]:
    """Return the rings of a run's region: outlines, and holes in them.

    The result is empty for a table on the server, for a file that was removed or changed after the run was planned, and
    for another user's run whose file lies elsewhere.

    Args:
        folder: folder of the run.
        info: run.json.
    """
    parameters = info.get("parameters") or {}
    for name in ("roi", "bbox", "region"):
        if (box := _box(parameters.get(name))) is not None:
            west, south, east, north = box
            return [[(west, south), (east, south), (east, north), (west, north), (west, south)]]
    return [] if find_region_file(folder, info) is None else _rings(folder, info)


def _box(value: Any) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north of a value; an east beyond 180 is across the antimeridian."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        return None
    if len(numbers) != 4:
        return None
    west, south, east, north = numbers
    if east < west and east >= -180 and west <= 180:
        east += 360.0
    is_box = -540 <= west < east <= 540 and -90 <= south < north <= 90
    return (west, south, east, north) if is_box else None


def _rings(folder: Path, info: Mapping[str, Any]) -> list[Ring]:
    """Return the rings of the union of a file's polygons."""
    import shapely

    whole = read_region_file(folder, info)
    if whole is None:
        return []
    west, south, east, north = shapely.bounds(whole).tolist()
    simple = shapely.simplify(whole, _PRECISION * max(east - west, north - south))
    rings = shapely.get_rings(shapely.get_parts(simple))
    return [[(round(x, _DIGITS), round(y, _DIGITS)) for x, y in ring.coords] for ring in rings]
