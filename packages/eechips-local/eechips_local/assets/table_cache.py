"""Hold the rows of a large table in memory, with the boxes around their geometries: which tables, and how rows are
found by a box.

A script that divides a table into cells sends thousands of requests for small parts of it. Rows of a table lie in any
order, so each of these would read the whole file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import Bounds
from eechips_local.geometry.longitude_boxes import boxes_each_turn

if TYPE_CHECKING:  # each worker asks for the held bytes, and most of them read no table
    import pyarrow as pa

_LEAST_ROWS = 20_000  # reading fewer takes some hundredths of a second
_MOST_BYTES = 400_000_000  # of a table in memory
_MOST_FILES = 1000  # of which a process knows whether to hold them
_SORTED = 50  # of fewer rows than this part of them, sorting the numbers is faster than marking them


@dataclass(frozen=True, slots=True, eq=False)
class HeldTable:
    """The rows of a table.

    Attributes:
        rows: without the boxes.
        geometry: name of the column of geometries.
        order: numbers of the rows by their western edges.
        edges: west, south, east and north in degrees of the boxes in that order; NaN for rows without a geometry,
            which are the last.
        widest: greatest width of a box in degrees.
    """

    rows: pa.Table
    geometry: str
    order: npt.NDArray[np.int64]
    edges: tuple[npt.NDArray[np.float64], ...]
    widest: float

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return int(self.rows.nbytes) + self.order.nbytes + sum(edge.nbytes for edge in self.edges)

    def find(self, bounds: Bounds) -> npt.NDArray[np.int64]:
        """Return the numbers of the rows whose boxes meet a rectangle, ascending; longitudes may pass 180 degrees."""
        numbers = np.concatenate([self._find_box(*box) for box in boxes_each_turn(bounds)])
        if len(numbers) < len(self.order) // _SORTED:
            return np.unique(numbers)
        is_found = np.zeros(len(self.order), dtype=bool)
        is_found[numbers] = True
        return np.flatnonzero(is_found)

    def _find_box(self, west: float, south: float, east: float, north: float) -> npt.NDArray[np.int64]:
        first = np.searchsorted(self.edges[0], west - self.widest)
        last = np.searchsorted(self.edges[0], east, side="right")
        _, souths, easts, norths = (edge[first:last] for edge in self.edges)
        return self.order[first:last][(easts >= west) & (souths <= north) & (norths >= south)]


def hold_table(path: Path) -> HeldTable | None:
    """Return the rows of a GeoParquet file with a covering, which the process holds from now on.

    Returns:
        None if they are few, or too many to hold.
    """
    status = path.stat()
    version = status.st_mtime_ns, status.st_size
    covering = _covering(path, version)
    return None if covering is None else _holder().hold(path, covering, version)


def held_bytes() -> int:
    """Return the bytes of the table that this process holds."""
    return _holder().size


class _Holder:
    """Hold the table that was needed last."""

    def __init__(self) -> None:
        self._key: tuple[Path, tuple[int, int]] | None = None
        self._table: HeldTable | None = None

    @property
    def size(self) -> int:
        return 0 if self._table is None else self._table.size

    def hold(self, path: Path, covering: str, version: tuple[int, int]) -> HeldTable:
        if self._table is None or self._key != (path, version):
            import pyarrow as pa

            self._table = None
            self._table = _read(path, covering)
            self._key = path, version
            pa.default_memory_pool().release_unused()
        return self._table


@lru_cache(maxsize=1)
def _holder() -> _Holder:
    return _Holder()


def covering_of(geo: Mapping[str, Any]) -> str:
    """Return the name of the column of the boxes around geometries, from a file's metadata of GeoParquet."""
    return str(geo["columns"][geo["primary_column"]]["covering"]["bbox"]["xmin"][0])


@lru_cache(maxsize=_MOST_FILES)
def _covering(path: Path, version: tuple[int, int]) -> str | None:
    """Return the name of the column of the boxes of a table that is to be held; None for other tables."""
    from eechips_local.assets.vectors.untrusted_parquet import BoundedParquet

    with BoundedParquet(path) as file:
        groups = (file.metadata.row_group(group) for group in range(file.num_row_groups))
        if file.metadata.num_rows < _LEAST_ROWS or sum(group.total_byte_size for group in groups) > _MOST_BYTES:
            return None
        return covering_of(json.loads(file.schema_arrow.metadata[b"geo"]))


def _read(path: Path, covering: str) -> HeldTable:
    from eechips_local.assets.vectors.untrusted_parquet import BoundedParquet

    with BoundedParquet(path) as file:
        table = file.read(use_threads=False).combine_chunks()
    geometry = json.loads(table.schema.metadata[b"geo"])["primary_column"]
    corners = table.column(covering).combine_chunks()
    edges = [
        corners.field(name).to_numpy(zero_copy_only=False).astype(np.float64)
        for name in ("xmin", "ymin", "xmax", "ymax")
    ]
    order = np.argsort(edges[0], kind="stable")
    widths = edges[2] - edges[0]
    # Rounding must not leave out a box that touches the rectangle.
    widest = float(np.nanmax(widths, initial=0.0)) * (1 + 1e-9) + 1e-9
    return HeldTable(table.drop_columns([covering]), geometry, order, tuple(edge[order] for edge in edges), widest)
