"""Parse coordinate reference systems by Earth Engine's names, transform coordinates, find UTM zones; list the usual
names of columns of longitude and latitude.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from eechips.errors import RegionError, UsageError
from eechips.geo.vector_formats import RefusedFileError, check_crs

# Codes of Earth Engine that PROJ does not know. The sinusoidal grid of MODIS: "MODIS grids",
# https://modis-land.gsfc.nasa.gov/MODLAND_grid.html (sphere of radius 6371007.181 m). Google's Mercator projection:
# https://developers.google.com/earth-engine/apidocs/export-video-todrive.
_SR_ORG = {
    "SR-ORG:6974": "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs",
    "SR-ORG:6842": "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs",
    "SR-ORG:6627": "EPSG:3857",
}


LON_NAMES = ("longitude", "lon", "long", "lng", "decimallongitude", "x", "longitud", "longitudine", "länge", "laenge")
LAT_NAMES = ("latitude", "lat", "decimallatitude", "y", "latitud", "latitudine", "breite")
"""Default names of columns with coordinates in degrees, in upper or lower case, in order of precedence.

Those with ``decimal`` are of Darwin Core (https://dwc.tdwg.org/terms/#dwc:decimalLatitude), as GBIF writes them. The
last ones are Spanish, Italian and German; French and Portuguese have the first. German ones may also be a length and a
width.
"""

_UTM_NORTH, _UTM_SOUTH = 84.0, -80.0
"""Latitudes at which UTM ends (NGA.SIG.0012, 2014)."""


def find_column(there: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the column that has the first of some names in lower case that any column has; None if none has one."""
    by_lower = {name.strip().lower(): name for name in reversed(there)}
    return next((by_lower[name] for name in names if name in by_lower), None)


@cache
def parse_crs(crs: str) -> CRS:
    """Return the pyproj CRS of a code or WKT, which may be another user's.

    Raises:
        UsageError: if neither PROJ nor the table of Earth Engine's own codes knows it, or it names a file.
    """
    try:
        check_crs(crs)
        return CRS.from_user_input(_SR_ORG.get(crs.upper(), crs))
    except RefusedFileError as error:
        raise UsageError(f"{error}, instead of {crs[:200]!r}") from None
    except CRSError as error:
        raise UsageError(f"unknown coordinate reference system: {crs}") from error


@cache
def is_usable(crs: str) -> bool:
    """Return whether coordinates of a CRS can be converted to longitude and latitude.

    They cannot if the CRS is unknown, or has no place on Earth, as a local one.
    """
    try:
        _transformer(crs)
    except UsageError:
        return False
    return True


@cache
def _transformer(crs: str) -> Transformer:
    try:
        return Transformer.from_crs("EPSG:4326", parse_crs(crs), always_xy=True)
    except ProjError as error:
        raise UsageError(f"the coordinate reference system has no place on Earth: {crs}") from error


def project(crs: str, lonlat: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert longitudes and latitudes (n, 2) in degrees of WGS84 to x, y (n, 2) of another CRS."""
    points = np.asarray(lonlat, dtype=np.float64)
    x, y = _transformer(crs).transform(points[:, 0], points[:, 1])
    return np.column_stack([x, y])


def unproject(crs: str, xy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert x, y (n, 2) of a CRS to longitudes and latitudes (n, 2) in degrees of WGS84; infinite where undefined."""
    points = np.asarray(xy, dtype=np.float64)
    x, y = _transformer(crs).transform(points[:, 0], points[:, 1], direction="INVERSE")
    return np.column_stack([x, y])


def utm_crs(longitude: float, latitude: float) -> str:
    """Return the EPSG code of a place's UTM zone (WGS84), without the exceptions for Norway and Svalbard."""
    zone = min(int((longitude + 180.0) // 6.0) + 1, 60)
    return f"EPSG:{32600 + zone if latitude >= 0 else 32700 + zone}"


def find_utm_crs(longitude: float, latitude: float) -> str:
    """Return the EPSG code of the UTM zone of a place in degrees.

    Raises:
        RegionError: near the poles, where UTM has no zones.
    """
    if not _UTM_SOUTH <= latitude <= _UTM_NORTH:
        other = "EPSG:3413" if latitude > 0 else "EPSG:3031"
        raise RegionError(f"UTM has no zone at latitude {latitude:g}: take crs='{other}'")
    return utm_crs(longitude, latitude)
