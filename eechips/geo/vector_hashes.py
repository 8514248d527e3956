"""Hash vector files: of a Shapefile all of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from eechips.files.hashes import hash_file
from eechips.geo.vector_formats import SIDECARS, RefusedFileError, check_beside
from eechips.geo.vector_paths import split_layer


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
