"""What DuckDB reads to find the items of a place and a month: files and rows of its own profile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eechips.archive.catalogs.catalog import Catalog

BOX, START, END = (-105.3, 39.9, -105.0, 40.1), "2020-06-01", "2020-07-01"
MONTH = "AND year = 2020 AND month = 6"


@dataclass(frozen=True)
class Scan:
    """A query and what it cost.

    Attributes:
        name: name of it.
        items: items that it found.
        files: files that were read.
        groups: row groups that were scanned.
        rows: in the row groups that can have matches by the statistics in the files.
        all_groups: row groups of the files.
        bytes: number of bytes that were read.
        seconds: seconds of processor time.
    """

    name: str
    items: int
    files: int
    groups: int
    rows: int
    all_groups: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.name:<24} {self.items:>6,} items, {self.seconds * 1000:7.1f} ms of processor; {self.files:>6,}"
            f" files, {self.groups:,} of {self.all_groups:,} row groups, {self.rows:>9,} rows in them,"
            f" {self.bytes / 1000:>9,.0f} kB read"
        )


def scans(catalog: Catalog, plain: str) -> Iterator[Scan]:
    """The query of a place and a month, asked in several ways of a catalogue, and of a plain file of items."""
    glob = f"read_parquet('{catalog.path}/**/*.parquet', hive_partitioning = true)"
    listed = catalog.partitions(bbox=BOX, start=START, end=END)
    cells = ", ".join(f"'{cell}'" for cell in sorted({partition.cell for partition in catalog.partitions(bbox=BOX)}))
    files = [str(catalog.path / partition.path) for partition in listed]
    own = _rows(f"{catalog.path}/**/*.parquet")
    yield scan("of the plain file", f"read_parquet('{plain}')", _rows(plain))
    yield scan("of all partitions", glob, own)
    yield scan("with year and month", glob, own, MONTH)
    yield scan("with cells, year, month", glob, own, f"AND cell IN ({cells}) {MONTH}")
    yield scan("of the listed files", f"read_parquet({files})", own)


def scan(name: str, source: str, rows: int, further: str = "") -> Scan:
    """Looks for the items of the place and the month, twice: for the answer, and for the profile.

    Args:
        name: name of the query.
        source: what is read, as SQL has it.
        rows: in the row groups that can have matches.
        further: conditions.
    """
    import duckdb

    west, south, east, north = BOX
    sql = (
        f"SELECT id FROM {source} WHERE bbox.xmin <= {east} AND bbox.xmax >= {west} AND bbox.ymin <= {north}"
        f" AND bbox.ymax >= {south} AND datetime >= '{START}' AND datetime < '{END}' {further}"
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        started = time.process_time()
        found = connection.execute(sql).fetchall()
        seconds = time.process_time() - started
        profile = json.loads(connection.execute(f"EXPLAIN (ANALYZE, FORMAT json) {sql}").fetchall()[0][1])
    (node,) = (node for node in _nodes(profile) if node.get("type") == "TABLE_SCAN")
    return Scan(
        name=name,
        items=len(found),
        files=int(node["extra_info"]["Total Files Read"]),
        groups=node["row_groups_scanned"],
        rows=rows,
        all_groups=node["total_row_groups_to_scan"],
        bytes=profile["io"]["total_bytes_read"],
        seconds=seconds,
    )


def _rows(files: str) -> int:
    """Rows in the row groups that can have matches."""
    import duckdb

    west, south, east, north = BOX
    (found,) = duckdb.sql(f"""
        WITH statistics AS (
            SELECT file_name, row_group_id, any_value(row_group_num_rows) AS rows,
                max(stats_min_value) FILTER (path_in_schema = 'bbox, xmin')::DOUBLE AS west,
                max(stats_min_value) FILTER (path_in_schema = 'bbox, ymin')::DOUBLE AS south,
                max(stats_max_value) FILTER (path_in_schema = 'bbox, xmax')::DOUBLE AS east,
                max(stats_max_value) FILTER (path_in_schema = 'bbox, ymax')::DOUBLE AS north,
                max(stats_min_value) FILTER (path_in_schema = 'datetime') AS first,
                max(stats_max_value) FILTER (path_in_schema = 'datetime') AS last
            FROM parquet_metadata('{files}') GROUP BY ALL)
        SELECT coalesce(sum(rows), 0) FROM statistics WHERE west <= {east} AND east >= {west} AND south <= {north}
            AND north >= {south} AND first < '{END}' AND last >= '{START}'""").fetchall()
    return int(found[0])


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nodes(part)
