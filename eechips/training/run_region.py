"""Find the requested region of a run, if it is known locally."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError
from eechips.geo.polygons import wrap_at_antimeridian
from eechips.geo.vectors import read_vectors


def requested_region(roi: str | Path | None, info: Mapping[str, Any]) -> BaseGeometry | None:
    """Return the region that must contain the chips of a run.

    Args:
        roi: ``W,S,E,N`` in degrees, or a vector file; None for what run.json says.
        info: run.json.

    Returns:
        Polygons in longitude and latitude; None if the run has no region, or one that only Earth Engine knows, or a
        file that is not there any more.

    Raises:
        RegionError: if ``roi`` is given and is neither.
    """
    if roi is not None:
        found = _polygon(roi, Path())
        if found is None:
            raise RegionError(f"roi {str(roi)!r} is neither W,S,E,N in degrees nor a vector file")
        return found
    named = (info.get("parameters") or {}).get("roi")
    return _polygon(named, Path(info.get("directory") or ".")) if isinstance(named, str) else None


def _polygon(roi: str | Path, folder: Path) -> BaseGeometry | None:
    try:
        west, south, east, north = map(float, str(roi).split(","))
    except ValueError:
        path = folder / roi
        return shapely.union_all(read_vectors(path, repairs=True).geometries) if path.is_file() else None
    if not (south < north and west != east):
        raise RegionError(f"{str(roi)!r} is not W,S,E,N in degrees")
    return wrap_at_antimeridian(shapely.box(west, south, east + 360.0 if east < west else east, north))
