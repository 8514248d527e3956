"""Decide which coordinate reference system a file of places or regions is in."""

from __future__ import annotations

import logging
import mmap
import re
import shlex
from pathlib import Path

from pyproj import CRS
from pyproj.exceptions import CRSError

from eechips.errors import RegionError
from eechips.geo.text_tables import is_text_table
from eechips.geo.vector_formats import RefusedFileError, check_crs

_log = logging.getLogger(__name__)

WGS84 = "EPSG:4326"
"""Longitude and latitude of WGS84."""
_CRS_MEMBER = re.compile(rb'"crs"\s*:\s*\{[^{}]{0,99}\{\s*"name"\s*:\s*"([^"\\]{1,200})"')
SHOWN_CRS = 80
"""Characters of a CRS that a message shows."""


def choose_crs(path: Path, own: str | None, requested: str | None, option: str | None = "input_crs") -> str:
    """Return the CRS of a file: its own, the one that the caller gives, or for WKT in a CSV longitude and latitude.

    Args:
        path: file, for messages.
        own: CRS that the file says.
        option: option of the caller for that, for messages; None if there is none.

    Raises:
        RegionError: if the caller gives another than the file's own, or if there is none.
    """
    if own is not None and requested is not None and _has_no_crs(path):
        own = None
    if own == WGS84 and (named := _named_crs(path)) is not None and not _is_wgs84(path, named):
        _log.warning(
            "%s names a coordinate reference system that GDAL does not know (%s): it is read as longitude and latitude"
            " (%s)",
            path,
            named[:SHOWN_CRS],
            WGS84,
        )
    if own is not None:
        if requested is not None and not parse_file_crs(path, own).equals(
            parse_file_crs(path, requested), ignore_axis_order=True
        ):
            raise RegionError(f"{path} says that it is in {parse_file_crs(path, own).name}: leave `{option}` out")
        return own
    if requested is not None:
        return requested
    if is_text_table(path):
        if option is not None:  # else the run whose file it is has said so
            _log.warning(
                "%s does not say its coordinate reference system: its WKT is read as longitude and latitude (%s); `%s`"
                " names another",
                path,
                WGS84,
                option,
            )
        return WGS84
    hint = f": {path.with_suffix('.prj').name} is missing" if path.suffix.lower() == ".shp" else ""
    cure = "store it in the file, for example with ogr2ogr -a_srs" if option is None else f"say it with `{option}`"
    raise RegionError(f"{path} does not say what coordinate reference system it is in{hint}; {cure}")


def _has_no_crs(path: Path) -> bool:
    """Return whether a file is GeoJSON that names no system: GDAL then says WGS84.

    RFC 7946, section 4, has other systems "where all involved parties have a prior arrangement". Earlier GeoJSON names
    them by a member ``crs``, Esri's JSON by ``spatialReference``. For TopoJSON, GDAL says none.
    """
    if path.suffix.lower() not in (".geojson", ".json") or not path.is_file():
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return re.search(rb'"(crs|spatialReference)"', content) is None


def _named_crs(path: Path) -> str | None:
    """Return the name in the member ``crs`` of GeoJSON, or None. GDAL takes one that it does not know for WGS84."""
    if path.suffix.lower() not in (".geojson", ".json") or not path.is_file():
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        match = _CRS_MEMBER.search(content)
        return None if match is None else match[1].decode(errors="replace")


def _is_wgs84(path: Path, name: str) -> bool:
    if name.upper().endswith("CRS84"):
        return True
    try:
        return parse_file_crs(path, name).equals(CRS(WGS84), ignore_axis_order=True)
    except RegionError:
        return False


def crs_cure(path: Path, requested: str | None = None) -> str:
    """Return what to do with a file of projected coordinates that says no system, or another, for a message.

    Args:
        requested: CRS that the caller gives instead.
    """
    if requested is not None or is_text_table(path) or _has_no_crs(path):
        return "name their coordinate reference system with `input_crs`"
    words = ["ogr2ogr", "-a_srs", "EPSG:32632", other_name(path.stem, path), path.name]
    return f"say so in the file, as in {shlex.join(words)}"


def parse_file_crs(path: Path, crs: str) -> CRS:
    """Return the pyproj CRS of a text that a file or the caller gives.

    Raises:
        RegionError: if PROJ does not know it, or it names a file.
    """
    try:
        check_crs(crs)
        return CRS.from_user_input(crs)
    except RefusedFileError as error:
        raise RegionError(f"{path}: {error}") from None
    except CRSError as error:
        shown = crs if len(crs) <= SHOWN_CRS else f"{crs[:SHOWN_CRS]}…"
        raise RegionError(
            f"{path}: PROJ does not know the coordinate reference system {shown!r}; give a code, such as EPSG:32632"
        ) from error


def other_name(stem: str, path: Path) -> str:
    """Return the name of a GeoPackage that is not that of a file."""
    return next(name for name in (f"{stem}.gpkg", f"{stem}-2.gpkg") if name != path.name)
