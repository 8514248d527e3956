"""Divide the path of a vector file from the name of its layer, and hash the file: of a Shapefile all of its files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from eechips.errors import UsageError
from eechips.files.hashes import hash_file
from eechips.files.local_paths import is_file, is_url, local_path
from eechips.geo.vector_formats import SIDECARS, SUFFIXES, RefusedFileError, check_beside

_LAYER = "|layername="
"""As QGIS writes it: https://docs.qgis.org/latest/en/docs/pyqgis_developer_cookbook/loadlayer.html"""

_FILE_SUFFIXES = frozenset({*SUFFIXES, ".gdb", ".csv", ".tsv", ".txt", ".xlsx", ".xls", ".ods"})
"""Suffixes of files of places, also of those that are not read."""


def split_layer(path: str | Path) -> tuple[Path, str | None]:
    """Return the file and the layer of ``fields.gpkg|layername=parcels``; None for the first layer."""
    file, separator, layer = str(path).partition(_LAYER)
    return Path(file), layer if separator else None


def join_layer(path: Path, layer: str) -> str:
    """Return the path of a layer; see :func:`split_layer`."""
    return f"{path}{_LAYER}{layer}"


def is_vector_file(path: str | Path) -> bool:
    """Return whether a path, perhaps with a layer, is that of a regular file."""
    return is_file(split_layer(path)[0])


def names_vector_file(path: str | Path) -> bool:
    """Return whether a text has the form of a file's path, not of an asset's id; the file may be missing."""
    text = str(path)
    is_path = text.startswith(("/", ".", "~", "\\")) or text == "-" or "://" in text
    return is_path or split_layer(path)[0].suffix.lower() in _FILE_SUFFIXES


def describe_missing(path: str | Path) -> str:
    """Return why a path, perhaps with a layer, is not that of a regular file, for an error."""
    file = split_layer(path)[0]
    if str(file) == "-":
        return "standard input is not read: write it to a file first"
    if is_url(file) and not file.exists():
        return f"{str(path)!r} is an address, not a file or folder of this machine; download it first"
    try:
        local_path(file)
    except UsageError as error:
        return str(error)
    if os.path.isdir(file):  # noqa: PTH112 - pathlib raises for a text that is too long
        if file.suffix.lower() == ".gdb":
            return f"{file} is a File Geodatabase, which is not read: export it to GeoPackage"
        return f"{file} is a folder: name a file in it"
    if os.path.exists(file):  # noqa: PTH110
        return f"{file} is a pipe or a device, which is not read: write its content to a file first"
    return f"there is no file {file}"


def hash_vectors(path: Path) -> str:
    """Return the SHA-256 of a vector file, hexadecimal; of a Shapefile that of the hashes of all its files.

    That of a layer which the path names depends on the name as well: each layer is another input.

    The ids of a Shapefile's features are in its .dbf, and its CRS in its .prj. A link out of its folder is not
    followed: the reader refuses the Shapefile for it.

    Raises:
        OSError: if it cannot be read.
    """
    path, layer = split_layer(path)
    digest = hash_file(path)
    if layer is not None:
        return hashlib.sha256(f"{digest} layer:{layer}".encode()).hexdigest()
    if path.suffix.lower() != ".shp":
        return digest
    parts = {part.suffix.lower(): part for part in path.parent.iterdir() if part.stem == path.stem}
    sidecars = [f"{suffix}:{_hash_sidecar(parts[suffix], path)}" for suffix in SIDECARS if suffix in parts]
    return hashlib.sha256(" ".join([digest, *sidecars]).encode()).hexdigest()


def _hash_sidecar(part: Path, main: Path) -> str:
    """Return the SHA-256 of a file beside a Shapefile; of a link out of their folder the word for it."""
    try:
        check_beside(part, main)
    except RefusedFileError:
        return "link"
    return hash_file(part)
