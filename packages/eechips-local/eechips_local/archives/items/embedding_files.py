"""Search the files of the Satellite Embedding dataset in the table that lists them.

The table (``aef_index.parquet``) has a row for each file. Its columns, names of files and their place in Earth Engine's
images: https://developers.google.com/earth-engine/guides/aef_on_gcs_readme (read 2026-11-23).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import Item, ItemQuery
from eechips_local.archives.items.item_conditions import is_match
from eechips_local.assets.footprint import outline
from eechips_local.assets.vectors.untrusted_parquet import BoundedParquet
from eechips_local.geometry.longitude_boxes import split_bounds
from eechips_local.pixels.grids.pixel_grid import PixelGrid

COLLECTION = "satellite-embedding-v1-annual"
"""Id under which the files are searched: the table has none."""

COLUMNS = (
    "path", "year", "crs", "utm_zone", "utm_west", "utm_south", "utm_east", "utm_north",
    "wgs84_west", "wgs84_south", "wgs84_east", "wgs84_north",
)  # fmt: skip
"""Columns of the table that are read."""

_FILE = re.compile(r"(\d{4}/\d{1,2}[NS]/)([A-Za-z0-9]+-(\d{10})-(\d{10}))\.(?:tiff?|vrt)$")
_STEP = 10.0  # metres
_SIDE, _IMAGE_SIDE = 8192, 16384  # pixels of a file, and of an image
_YEARS = 1970, 9999


class EmbeddingFiles:
    """An ``ItemSearch`` over the table of files. Threads may share it; it pickles.

    The rows of a file go from south to north, as those of Earth Engine's image do from which it was cut: the number
    of rows in its name counts from the south. (A file of 10N at 36.6 N has 8192: 4,051,000 m are in the northern half
    of the image that begins at 24 x 163,840 m. https://source.coop/tge-labs/aef says the same of the files.)

    Args:
        path: path of the table.
        base: address of the folder that holds the folders of the years.
    """

    def __init__(self, path: Path, base: str) -> None:
        self._path, self._base = path, base
        self._lock = threading.Lock()
        self._read: pa.Table | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return EmbeddingFiles, (self._path, self._base)

    def items(self, collection: str, query: ItemQuery) -> Iterator[Item]:
        """Yield the files that may match, each once.

        Raises:
            ArchiveRefusedError: if the table cannot be read.
        """
        if collection != COLLECTION:
            return
        table = self._load()
        for row in table.filter(_choose(table, query)).to_pylist():
            item = self._item(row)
            if item is not None and is_match(item, query):
                yield item

    def collections(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the only collection."""
        return {COLLECTION: {"id": COLLECTION, "item_assets": {"data": {}}}}

    def _load(self) -> pa.Table:
        with self._lock:
            if self._read is None:
                try:
                    with BoundedParquet(self._path) as file:
                        table = file.read(COLUMNS)
                    names = pc.extract_regex(table["path"], r"(?P<id>[A-Za-z0-9]+-\d{10}-\d{10})\.(?:tiff?|vrt)$")
                    self._read = table.append_column("id", pc.struct_field(names, "id"))
                except (pa.ArrowException, OSError, KeyError, ValueError) as error:
                    raise ArchiveRefusedError(
                        f"{self._path} cannot be read as the table of the files of Satellite Embeddings "
                        f"({type(error).__name__}). Remove it, to fetch it again."
                    ) from error
            return self._read

    def _item(self, row: Mapping[str, Any]) -> Item | None:
        """Return the file of a row as a STAC item; None for a row that is not understood."""
        match = _FILE.search(str(row["path"]))
        bounds = [row[name] for name in COLUMNS[4:]]
        if match is None or not all(isinstance(value, (int, float)) and np.isfinite(value) for value in bounds):
            return None
        west, south, east, north = bounds[:4]
        year, crs = int(row["year"]), str(row["crs"])
        if (east - west, north - south) != (_SIDE * _STEP, _SIDE * _STEP) or not _YEARS[0] < year < _YEARS[1]:
            return None
        down, right = int(match[3]), int(match[4])
        own_west, own_south, own_east, own_north = bounds[4:]
        if not 0.0 <= own_east - own_west <= 180.0:  # across the antimeridian
            own_west, own_east = -180.0, 180.0
        box = shapely.box(own_west, own_south, own_east, own_north)
        shape = _outline(crs, west, south).intersection(box)
        return {
            "type": "Feature",
            "id": match[2],
            "collection": COLLECTION,
            "bbox": bounds[4:],
            "geometry": None if shape.is_empty else shapely.geometry.mapping(shape),
            "properties": {
                "datetime": None,
                "start_datetime": f"{year}-01-01T00:00:00Z",
                "end_datetime": f"{year + 1}-01-01T00:00:00Z",
                "utm_zone": row["utm_zone"],
                "proj:code": crs,
                "proj:shape": [_IMAGE_SIDE, _IMAGE_SIDE],
                "proj:transform": [_STEP, 0.0, west - right * _STEP, 0.0, _STEP, south - down * _STEP],
            },
            "assets": {
                "data": {
                    "href": f"{self._base}/{match[1]}{match[2]}.tiff",
                    "proj:shape": [_SIDE, _SIDE],
                    "proj:transform": [_STEP, 0.0, west, 0.0, _STEP, south],
                }
            },
        }


def has_columns(names: set[str]) -> bool:
    """Return whether the columns of a GeoParquet file are those of the table."""
    return set(COLUMNS) <= names


def _choose(table: pa.Table, query: ItemQuery) -> pa.ChunkedArray:
    """Return which rows may match."""
    may_match = pc.is_valid(table["id"])
    if query.ids is not None:
        may_match = pc.and_(may_match, pc.is_in(table["id"], pa.array(query.ids, pa.string())))
    first, last = (_year(query.start, _YEARS[0]), _year(query.end, _YEARS[1]))
    may_match = pc.and_(
        may_match, pc.and_(pc.greater_equal(table["year"], first - 1), pc.less_equal(table["year"], last))
    )
    if query.bounds is not None:
        boxes = [_meets(table, part) for part in split_bounds(query.bounds)]
        may_match = pc.and_(may_match, boxes[0] if len(boxes) == 1 else pc.or_(*boxes))
    return may_match


def _meets(table: pa.Table, box: tuple[float, float, float, float]) -> Any:
    west, south, east, north = (table[name] for name in COLUMNS[8:])
    across = pc.and_(pc.less_equal(west, box[2]), pc.greater_equal(east, box[0]))
    width = pc.subtract(east, west)  # across the antimeridian, west is greater, or the box reaches around the Earth
    across = pc.or_(across, pc.or_(pc.less(width, 0.0), pc.greater(width, 180.0)))
    return pc.and_(across, pc.and_(pc.less_equal(south, box[3]), pc.greater_equal(north, box[1])))


def _year(milliseconds: float | None, otherwise: int) -> int:
    if milliseconds is None or not np.isfinite(milliseconds):
        return otherwise
    return int(np.datetime64(int(milliseconds), "ms").astype("datetime64[Y]").astype(int)) + 1970


@lru_cache(4096)
def _outline(crs: str, west: float, south: float) -> BaseGeometry:
    """Return the outline in degrees of a file from its corner; its edges are curves there."""
    return outline(PixelGrid(crs, Affine(_STEP, 0.0, west, 0.0, _STEP, south), _SIDE, _SIDE))
