"""Open raster files from outside: named formats only, nothing beside the file, and no reference out of it.

A contract forbids other ways to open them (``tests/geo/test_geodata_contract.py``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
"""GDAL's option to look at no file beside the one that is named."""


@contextlib.contextmanager
def open_raster(path: Path, drivers: Sequence[str], **options: Any) -> Iterator[Any]:
    """Open a raster file with some drivers of GDAL.

    Args:
        drivers: GDAL's names of the formats: of those that open no other file.
        **options: other GDAL configuration options.

    Yields:
        A rasterio dataset.

    Raises:
        rasterio.errors.RasterioIOError: if it has another format, is damaged, or refers to another file.
    """
    import rasterio
    from rasterio.io import DatasetReader

    # rasterio.open takes one driver only, and addresses.
    with rasterio.Env(**_ALONE, **options), DatasetReader(str(path), driver=list(drivers), sharing=False) as dataset:
        check_references(dataset)
        yield dataset


def check_references(dataset: Any, *, beside: bool = False) -> None:
    """Reject a raster whose metadata name another file or address; GDAL would read its overviews from there.

    A GeoTIFF may do so in a tag: ``OVERVIEW_FILE`` in the domain ``OVERVIEWS`` (GDAL's gcore/gdaldefaultoverviews.cpp).
    GDAL opens a mask beside it with any driver, also as a virtual raster (``HaveMaskFile`` there).

    Args:
        dataset: opened by rasterio, before anything is read.
        beside: whether GDAL has looked for files beside it, which must not name files elsewhere.

    Raises:
        rasterio.errors.RasterioIOError: if it does.
    """
    from rasterio.errors import RasterioIOError

    if any(name.upper() == "OVERVIEW_FILE" for name in dataset.tags(ns="OVERVIEWS")):
        raise RasterioIOError("its metadata refer to another file for its overviews")
    if beside:
        folder = dataset.files[0].rpartition("/")[0]
        if any(other.rpartition("/")[0] != folder for other in dataset.files):
            raise RasterioIOError("a file beside it refers to other files")
