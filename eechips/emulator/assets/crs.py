"""How Earth Engine would name a file's coordinate reference system."""

from __future__ import annotations

from functools import cache

from pyproj import CRS

from eechips.emulator.pixels.grid import parse_crs

_SINUSOIDAL = "SR-ORG:6974"


@cache
def crs_name(wkt: str) -> str:
    """The name of a CRS.

    Args:
        wkt: anything that pyproj understands.

    Returns:
        "EPSG:n" where PROJ identifies it beyond doubt and the two are equal, "SR-ORG:6974" where it is the
        sinusoidal grid of MODIS, else the text as it is.

    Raises:
        pyproj.exceptions.CRSError: if it cannot be understood.
    """
    parsed = CRS.from_user_input(wkt)
    authority = parsed.to_authority(auth_name="EPSG", min_confidence=100)
    if authority is not None:
        code = ":".join(authority)
        if parse_crs(code).equals(parsed, ignore_axis_order=True):
            return code
    # OGC:CRS84 is EPSG:4326 with longitude first, which is the order of every raster and GeoJSON anyway.
    if parse_crs("EPSG:4326").equals(parsed, ignore_axis_order=True):
        return "EPSG:4326"
    if parse_crs(_SINUSOIDAL).equals(parsed, ignore_axis_order=True):
        return _SINUSOIDAL
    return wkt
