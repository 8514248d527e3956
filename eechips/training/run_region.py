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
from eechips.manifest.region_file import read_region_file


def requested_region(roi: str | Path | None, folder: Path, info: Mapping[str, Any]) -> BaseGeometry | None:
    """Return the region that must contain the chips of a run.

    Args:
        roi: ``W,S,E,N`` in degrees, or a vector file; None for what run.json says.
        folder: folder of the run.
        info: run.json.

    Returns:
        Polygons in longitude and latitude; None if the run has no region, or one that only Earth Engine knows, or a
        file that is not there any more, see :func:`eechips.manifest.region_file.find_region_file`.

    Raises:
        RegionError: if ``roi`` is given and is neither.
    """
    if roi is not None:
        box = _box(str(roi))
        if box is not None:
            return box
        if not Path(roi).is_file():
            raise RegionError(f"roi {str(roi)!r} is neither W,S,E,N in degrees nor a vector file")
        return shapely.union_all(read_vectors(Path(roi), crs_option=None).geometries)
    named = (info.get("parameters") or {}).get("roi")
    if not isinstance(named, str):
        return None
    box = _box(named)
    return read_region_file(folder, info) if box is None else box


def _box(roi: str) -> BaseGeometry | None:
    """Return the box ``W,S,E,N``; None if the text is none.

    Raises:
        RegionError: if the numbers are no box.
    """
    try:
        west, south, east, north = map(float, roi.split(","))
    except ValueError:
        return None
    if not (south < north and west != east):
        raise RegionError(f"{roi!r} is not W,S,E,N in degrees")
    return wrap_at_antimeridian(shapely.box(west, south, east + 360.0 if east < west else east, north))
