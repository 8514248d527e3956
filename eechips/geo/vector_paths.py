"""Divide the path of a vector file from the name of its layer."""

from __future__ import annotations

from pathlib import Path

from eechips.files.local_paths import is_file

_LAYER = "|layername="
"""As QGIS writes it: https://docs.qgis.org/latest/en/docs/pyqgis_developer_cookbook/loadlayer.html"""


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
