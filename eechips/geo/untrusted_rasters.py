"""Open raster files from outside: named formats only, nothing beside the file, no reference out of it, and no PNG whose
texts would fill the memory.

A contract forbids other ways to open them (``tests/geo/test_geodata_contract.py``).
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

_ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
"""GDAL's option to look at no file beside the one that is named."""
_MISSING = re.compile(r"no such file|does not exist|response code: 404", re.IGNORECASE)
"""GDAL's messages about missing files."""
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_TEXTS = 1 << 18
"""Bytes of the texts of a PNG. libpng inflates each, and keeps all: 4 MB become 7.6 GB."""


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

    if path.is_file():
        with path.open("rb") as file:
            check_texts(file)
    # rasterio.open takes one driver only, and addresses.
    with rasterio.Env(**_ALONE, **options), DatasetReader(str(path), driver=list(drivers), sharing=False) as dataset:
        check_references(dataset)
        yield dataset


def open_as(path: str, drivers: Sequence[str] | None) -> Any:
    """Open a raster that the user names, by GDAL's name of it.

    Args:
        drivers: GDAL's names of the formats that it may have by its name; None for all.

    Raises:
        rasterio.errors.RasterioIOError: if it has another format, or cannot be opened.
    """
    from rasterio.errors import RasterioIOError
    from rasterio.io import DatasetReader

    try:
        return DatasetReader(path, driver=drivers and list(drivers), sharing=False)
    except RasterioIOError as error:
        if not drivers or "not recognized as being" not in str(error):
            raise
        raise RasterioIOError("a raster of another format must be named by it, such as .vrt or .nc") from error


def check_mask(path: str) -> None:
    """Reject a mask beside a raster that is no GeoTIFF.

    GDAL opens it with any driver, also as a list of other files (``HaveMaskFile`` in gcore/gdaldefaultoverviews.cpp).

    Args:
        path: GDAL's name of the raster.

    Raises:
        rasterio.errors.RasterioIOError: if it is no GeoTIFF.
    """
    from rasterio.errors import RasterioIOError
    from rasterio.io import DatasetReader

    for name in (f"{path}.msk", f"{path}.MSK"):
        try:
            DatasetReader(name, driver=["GTiff"], sharing=False).close()
        except RasterioIOError as error:
            if not _MISSING.search(str(error)):
                raise RasterioIOError(
                    f"the mask {name} is no GeoTIFF, or damaged: remove it, or replace it by a GeoTIFF"
                ) from error


def check_texts(file: IO[bytes]) -> None:
    """Reject a PNG whose compressed texts may become gigabytes; other files pass.

    Raises:
        rasterio.errors.RasterioIOError: if it has such.
    """
    from rasterio.errors import RasterioIOError

    if file.read(len(_PNG)) != _PNG:
        return
    texts = 0
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        texts += length if kind in (b"zTXt", b"iTXt") else 0
        file.seek(length + 4, 1)  # the content, and its checksum
    if texts > _MOST_TEXTS:
        raise RasterioIOError(f"its texts have {texts:,} bytes, and may become a thousand times as large")


def check_references(dataset: Any) -> None:
    """Reject a raster whose metadata name another file or address; GDAL would read its overviews from there.

    A GeoTIFF may do so in a tag: ``OVERVIEW_FILE`` in the domain ``OVERVIEWS`` (GDAL's gcore/gdaldefaultoverviews.cpp).

    Args:
        dataset: opened by rasterio, before anything is read.

    Raises:
        rasterio.errors.RasterioIOError: if it does.
    """
    from rasterio.errors import RasterioIOError

    if any(name.upper() == "OVERVIEW_FILE" for name in dataset.tags(ns="OVERVIEWS")):
        raise RasterioIOError("its metadata refer to another file for its overviews")
