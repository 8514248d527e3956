"""Read the region of a run: a box, or a vector file of the user who made the run."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError
from eechips.geo.vector_paths import hash_vectors, is_vector_file
from eechips.manifest.run_signature import is_own

_log = logging.getLogger(__name__)


def find_region_file(folder: Path, info: Mapping[str, Any]) -> Path | None:
    """Return the vector file that a run's region was read from.

    Files outside the folder are those of this user's own runs. The run.json of another user may name any file.

    Args:
        info: run.json.

    Returns:
        The file; None if there is none, if it has changed since, or if another user's run names one outside its folder.
    """
    name, sha256 = _named_file(info)
    if name is None:
        return None
    path = Path(str(info.get("directory") or ".")) / name
    if not is_own(info, folder):
        path = folder / Path(name)
        if not path.resolve().is_relative_to(folder.resolve()):
            return None
    try:
        return path if is_vector_file(path) and hash_vectors(path) == sha256 else None
    except OSError:
        return None


def tell_missing_file(folder: Path, info: Mapping[str, Any]) -> None:
    """Log why :func:`find_region_file` finds no file, if the run has one."""
    name, _ = _named_file(info)
    if name is None:
        return
    if is_own(info, folder):
        why = "it is not there any more, or has changed since the run was planned"
    else:
        why = f"the run lacks the signature of your key: `eechips trust {shlex.quote(str(folder))}` signs it"
    _log.warning("The outlines of %s are left out: %s", name, why)


def _named_file(info: Mapping[str, Any]) -> tuple[str, str] | tuple[None, None]:
    """Return path and SHA-256 digest of the vector file that a run.json names; None if it names none."""
    parameters = info.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    option = "roi" if parameters.get("roi") is not None else "regions"
    name, sha256 = parameters.get(option), parameters.get(f"{option}_sha256")
    return (name, sha256) if isinstance(name, str) and isinstance(sha256, str) and "\0" not in name else (None, None)


def read_region_file(folder: Path, info: Mapping[str, Any]) -> BaseGeometry | None:
    """Read the union of the polygons of :func:`read_region_polygons`; None if there are none."""
    polygons = read_region_polygons(folder, info)
    return shapely.union_all(polygons) if len(polygons) else None


def read_region_polygons(folder: Path, info: Mapping[str, Any]) -> Sequence[BaseGeometry]:
    """Read the polygons of :func:`find_region_file`.

    Returns:
        Polygons in longitude and latitude; empty if there is no such file, or if it cannot be read, which is logged.
    """
    from eechips.geo.vectors import read_vectors  # most reports need no pyarrow or shapely

    path = find_region_file(folder, info)
    if path is None:
        return ()
    crs = info["parameters"].get("input_crs")
    try:
        # The run that read the file has logged its notes.
        vectors = read_vectors(path, crs=crs if isinstance(crs, str) else None, crs_option=None, notes=logging.DEBUG)
    except RegionError as error:
        _log.warning("The region of the run is left out: %s", error)
        return ()
    return [geometry for geometry in vectors.geometries if geometry is not None]
