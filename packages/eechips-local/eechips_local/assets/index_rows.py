"""Define the tables of a store's SQLite index, and write its rows: containers, images and tables, with their extents in
space and time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import shapely

from eechips_local.assets.asset_errors import InvalidStoreError
from eechips_local.assets.asset_names import split_id
from eechips_local.assets.ingestion.records import AssetRecord, ClassifierRecord, ContainerRecord, ImageRecord

# The R-tree has longitude, latitude, time and container as dimensions, all 32-bit and rounded outwards:
# it narrows, the exact columns decide.
SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE container (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, parent INTEGER, kind TEXT NOT NULL,
    href TEXT NOT NULL, stamp TEXT NOT NULL, properties TEXT NOT NULL
);
CREATE INDEX container_parent ON container (parent, id);
CREATE TABLE layout (key INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);
CREATE TABLE asset (
    key INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, time REAL,
    layout INTEGER NOT NULL, record TEXT NOT NULL, footprint BLOB NOT NULL
);
CREATE UNIQUE INDEX asset_name ON asset (parent, name);
CREATE INDEX asset_time ON asset (parent, time);
CREATE VIRTUAL TABLE extent USING rtree (
    key, west, east, south, north, begin, finish, first, last
);
"""


@dataclass(frozen=True, slots=True)
class IndexRow:
    """An asset as the index has it.

    Attributes:
        id: the full Earth Engine id.
        kind: kind of its record: "image", "table" or "classifier".
        layout: JSON of what images of a collection commonly share.
        record: JSON of what is the asset's own.
        footprint: WKB.
    """

    id: str
    kind: str
    layout: str
    record: str
    footprint: bytes


def container_key(connection: sqlite3.Connection, asset_id: str) -> int | None:
    """Return the key of a container; None if there is none with the id."""
    row = connection.execute("SELECT key FROM container WHERE id = ?", (asset_id,)).fetchone()
    return None if row is None else int(row[0])


def find_container(connection: sqlite3.Connection, asset_id: str) -> ContainerRecord | None:
    """Return a container; None if there is none with the id."""
    row = connection.execute(
        "SELECT id, kind, href, stamp, properties FROM container WHERE id = ?", (asset_id,)
    ).fetchone()
    if row is None:
        return None
    own, kind, href, stamp, properties = row
    return ContainerRecord(own, kind, href, stamp, json.loads(properties))


def write_rows(
    connection: sqlite3.Connection, containers: Iterable[ContainerRecord], records: Iterable[AssetRecord]
) -> None:
    """Write containers, then images and tables below them; those with the same names are replaced.

    Raises:
        InvalidStoreError: if an image or a table has no container.
    """
    for container in containers:
        parent = container_key(connection, split_id(container.id)[0]) if container.id else None
        connection.execute(
            "INSERT INTO container (id, parent, kind, href, stamp, properties) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, href = excluded.href, stamp = excluded.stamp,"
            " properties = excluded.properties",
            (container.id, parent, container.kind, container.href, container.stamp, _dump(container.properties)),
        )
    parents: dict[str, int] = {}
    layouts: dict[str, int] = {}
    for record in records:
        parent_id, name = split_id(record.id)
        if parent_id not in parents:
            key = container_key(connection, parent_id)
            if key is None:
                raise InvalidStoreError(f"{record.id} has no container {parent_id!r} in the index")
            parents[parent_id] = key
        layout, own = pack(record)
        if layout not in layouts:
            connection.execute("INSERT OR IGNORE INTO layout (value) VALUES (?)", (layout,))
            layouts[layout] = connection.execute("SELECT key FROM layout WHERE value = ?", (layout,)).fetchone()[0]
        _write_asset(connection, parents[parent_id], name, layouts[layout], own, record)


def _write_asset(
    connection: sqlite3.Connection, parent: int, name: str, layout: int, own: str, record: AssetRecord
) -> None:
    time = record.time_start
    connection.execute(
        "INSERT INTO asset (parent, name, kind, time, layout, record, footprint) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (parent, name) DO UPDATE SET kind = excluded.kind, time = excluded.time,"
        " layout = excluded.layout, record = excluded.record, footprint = excluded.footprint",
        (parent, name, record.kind, time, layout, own, shapely.to_wkb(record.footprint)),
    )
    (key,) = connection.execute("SELECT key FROM asset WHERE parent = ? AND name = ?", (parent, name)).fetchone()
    west, south, east, north = record.footprint.bounds if not record.footprint.is_empty else (-180, -90, 180, 90)
    moment = time or 0.0
    connection.execute(
        "INSERT OR REPLACE INTO extent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (key, west, east, south, north, moment, moment, parent, parent),
    )


def delete_row(connection: sqlite3.Connection, asset_id: str) -> None:
    """Delete a container, an image or a table; one that is not there is no error."""
    parent, name = split_id(asset_id)
    key_row = connection.execute(
        "SELECT key FROM asset WHERE parent = (SELECT key FROM container WHERE id = ?) AND name = ?", (parent, name)
    ).fetchone()
    if key_row is not None:
        connection.execute("DELETE FROM extent WHERE key = ?", key_row)
        connection.execute("DELETE FROM asset WHERE key = ?", key_row)
    connection.execute("DELETE FROM container WHERE id = ?", (asset_id,))


def pack(record: AssetRecord) -> tuple[str, str]:
    """Return a record as two JSON texts: what images of a collection commonly share, and what is its own."""
    if isinstance(record, ImageRecord):
        shared: Any = [
            [[file.crs, file.dtype, list(file.levels), file.keeps_extent] for file in record.files],
            [[band.name, band.file, band.index, band.nodata] for band in record.bands],
        ]
        own: Any = [
            record.version,
            dict(record.properties),
            [[file.href, *file.transform, file.width, file.height] for file in record.files],
        ]
    elif isinstance(record, ClassifierRecord):
        shared, own = {}, [record.version, dict(record.properties), record.href]
    else:
        shared = dict(record.columns)
        own = [record.version, dict(record.properties), record.href, record.rows]
    return _dump(shared), _dump(own)


def hrefs_of(row: IndexRow) -> list[str]:
    """Return the files of an asset, relative to the store, and the URLs of those that are elsewhere."""
    own = json.loads(row.record)
    return [place[0] for place in own[2]] if row.kind == "image" else [own[2]]


def _dump(value: Mapping[str, Any] | list[Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
