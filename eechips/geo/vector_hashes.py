"""Hash vector files: of a Shapefile all of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from eechips.files.hashes import hash_file
from eechips.geo.vector_formats import SIDECARS


def hash_vectors(path: Path) -> str:
    """Return the SHA-256 of a vector file, hexadecimal; of a Shapefile that of the hashes of all its files.

    The ids of a Shapefile's features are in its .dbf, and its CRS in its .prj.

    Raises:
        OSError: if it cannot be read.
    """
    digest = hash_file(path)
    if path.suffix.lower() != ".shp":
        return digest
    parts = {part.suffix.lower(): part for part in path.parent.iterdir() if part.stem == path.stem}
    sidecars = [f"{suffix}:{hash_file(parts[suffix])}" for suffix in SIDECARS if suffix in parts]
    return hashlib.sha256(" ".join([digest, *sidecars]).encode()).hexdigest()
