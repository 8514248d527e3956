"""Hold the rows of large tables in memory, with the boxes around their geometries.

A script that divides a table into cells sends thousands of requests for small parts of it. Rows of a table lie in any
order, so each of these would read the whole file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eechips_local.assets.store_index import boxes
from eechips_local.evaluation.model import Bounds

_LEAST_ROWS = 20_000  # reading fewer takes some hundredths of a second
_MOST_BYTES = 512_000_000  # of a table in memory
_MOST_TABLES = 2  # held in a process
_TURNS = (-360.0, 0.0, 360.0)


@dataclass(frozen=True, slots=True, eq=False)
class HeldTable:
    """The rows of a table.

    Attributes:
        rows: without the boxes.
        west: of each row's geometry, in degrees; NaN for none. Likewise ``south``, ``east`` and ``north``.
    """

    rows: pa.Table
    west: npt.NDArray[np.float64]
    south: npt.NDArray[np.float64]
    east: npt.NDArray[np.float64]
    north: npt.NDArray[np.float64]

    def find(self, bounds: Bounds) -> npt.NDArray[np.int64]:
        """Return the numbers of the rows whose boxes meet a rectangle, ascending; longitudes may pass 180 degrees."""
        found = np.zeros(len(self.west), dtype=bool)
        for west, south, east, north in boxes(bounds):
            level = np.flatnonzero((self.south <= north) & (self.north >= south))
            for turn in _TURNS:
                found[level] |= (self.west[level] <= east + turn) & (self.east[level] >= west + turn)
        return np.flatnonzero(found)


def hold_table(path: Path, metadata: pq.FileMetaData, covering: str) -> HeldTable | None:
    """Return the rows of a file, which the process holds from now on; None if they are few, or too many to hold.

    Args:
        path: of the file.
        metadata: of the file.
        covering: column of the boxes.
    """
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if metadata.num_rows < _LEAST_ROWS or size > _MOST_BYTES:
        return None
    status = path.stat()
    return _held(path, covering, (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=_MOST_TABLES)
def _held(path: Path, covering: str, version: tuple[int, int]) -> HeldTable:
    table = pq.read_table(path).combine_chunks()
    corners = table.column(covering).combine_chunks()
    edges = [
        corners.field(name).to_numpy(zero_copy_only=False).astype(np.float64)
        for name in ("xmin", "ymin", "xmax", "ymax")
    ]
    return HeldTable(table.drop_columns([covering]), *edges)
