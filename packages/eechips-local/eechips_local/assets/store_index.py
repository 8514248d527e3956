"""Index a store's STAC documents in a SQLite file with an R-tree: when it is rebuilt, and how images are found by place
and time.

The documents are the truth, the index is made from them and can be deleted. It is fresh as long as the documents
of the containers it knows have kept their modification time and size: to add, replace or remove an item
also touches its container's document. So a query looks at one file per container above its asset, however many
images that holds. A stale index is rebuilt beside the old one and renamed over it; ``ingest`` keeps it fresh
by small transactions. Readers take no lock between two batches of rows.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eechips_local.asset_folder import ROOT_DOCUMENT
from eechips_local.assets import stac
from eechips_local.assets.asset_errors import AssetWriteError, InvalidStoreError
from eechips_local.assets.asset_names import ancestors, join_id, resolve_href, split_id
from eechips_local.assets.index_rows import SCHEMA, IndexRow, container_key, delete_row, find_container, write_rows
from eechips_local.assets.ingestion.records import AssetRecord, ContainerKind, ContainerRecord
from eechips_local.assets.store_files import commit, locked, private_folder, remove, workspace
from eechips_local.evaluation.asset_model import Query
from eechips_local.geometry.longitude_boxes import split_with_seam
from eechips_local.pixels.file_source import HandlePool

_FILE = ".index.sqlite"
_FORMAT = "3"
_BATCH = 500
_BUSY_SECONDS = 30.0


class StoreIndex:
    """The index of the store in a folder. Threads may share it; processes open their own.

    Args:
        root: the store's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / _FILE
        self._private: Path | None = None
        self._making = threading.Lock()
        self._connections: HandlePool[tuple[str, int], sqlite3.Connection] = HandlePool(
            lambda key: _connect(key[0]), sqlite3.Connection.close, limit=16
        )

    def close(self) -> None:
        """Close idle connections."""
        self._connections.clear()

    def container(self, asset_id: str) -> ContainerRecord | None:
        """Return the folder or collection of an id, or None."""
        with self._fresh(asset_id) as connection:
            return find_container(connection, asset_id)

    def asset(self, asset_id: str) -> IndexRow | None:
        """Return the image, table or classifier of an id, or None."""
        parent, name = split_id(asset_id)
        with self._fresh(asset_id) as connection:
            row = connection.execute(
                "SELECT a.kind, l.value, a.record, a.footprint FROM asset a JOIN layout l ON l.key = a.layout"
                " WHERE a.parent = (SELECT key FROM container WHERE id = ?) AND a.name = ?",
                (parent, name),
            ).fetchone()
        return None if row is None else IndexRow(asset_id, *row)

    def stamp(self, asset_id: str) -> str:
        """Return the versions of the documents of an asset's container, and of its own if it is one itself."""
        with self._fresh(asset_id) as connection:
            rows = connection.execute(
                "SELECT href, stamp FROM container WHERE id IN (?, ?) ORDER BY id", (split_id(asset_id)[0], asset_id)
            ).fetchall()
        return json.dumps(rows)

    def children(self, parent: str, *, images: bool = True) -> Iterator[str]:
        """Yield ids directly under a container, in order; images may be left out."""
        with self._fresh(parent) as connection:
            key = container_key(connection, parent)
            if key is None:
                return
            below = connection.execute("SELECT id FROM container WHERE parent = ?", (key,)).fetchall()
        folders = sorted((row[0] for row in below), reverse=True)
        for name in self._names(key, images):
            asset_id = join_id(parent, name)
            while folders and folders[-1] < asset_id:
                yield folders.pop()
            yield asset_id
        yield from reversed(folders)

    def images(self, collection: str, query: Query) -> Iterator[IndexRow]:
        """Yield images of a collection that may match, in the order of ids."""
        with self._fresh(collection) as connection:
            key = container_key(connection, collection)
        if key is None:
            return
        if "system:index" in query.equals:
            row = self.asset(join_id(collection, str(query.equals["system:index"])))
            if row is not None and row.kind == "image":
                yield row
        elif query.bounds is None and query.start is None and query.end is None:
            yield from self._scan(collection, key)
        else:
            keys = self._select(key, query)
            for start in range(0, len(keys), _BATCH):
                yield from self._fetch(collection, key, keys[start : start + _BATCH])

    def count(self, collection: str) -> tuple[int, float | None, float | None]:
        """Return the number of images of a container, and their least and greatest ``system:time_start``."""
        with self._fresh(collection) as connection:
            row = connection.execute(
                "SELECT count(*), min(time), max(time) FROM asset"
                " WHERE parent = (SELECT key FROM container WHERE id = ?) AND kind = 'image'",
                (collection,),
            ).fetchone()
        return int(row[0]), row[1], row[2]

    def totals(self) -> dict[str, int]:
        """Return the numbers of folders, collections, images, tables and classifiers."""
        with self._fresh("") as connection:
            counts = dict(connection.execute("SELECT kind, count(*) FROM asset GROUP BY kind"))
            counts.update(connection.execute("SELECT kind, count(*) FROM container WHERE id != '' GROUP BY kind"))
        return {kind: int(counts.get(kind, 0)) for kind in ("folder", "collection", "image", "table", "classifier")}

    def tree(self, asset_id: str) -> tuple[list[ContainerRecord], list[IndexRow]]:
        """Return a folder or collection with all containers below it, parents first, and their other assets."""
        with self._fresh(asset_id) as connection:
            container_rows = connection.execute(
                "SELECT key, id, kind, href, stamp, properties FROM container"
                " WHERE id = ? OR substr(id, 1, ?) = ? ORDER BY id",
                (asset_id, len(asset_id) + 1, f"{asset_id}/"),
            ).fetchall()
            rows = [
                IndexRow(join_id(parent, name), *rest)
                for key, parent, *_ in container_rows
                for name, *rest in connection.execute(
                    "SELECT a.name, a.kind, l.value, a.record, a.footprint FROM asset a"
                    " JOIN layout l ON l.key = a.layout WHERE a.parent = ? ORDER BY a.name",
                    (key,),
                )
            ]
        containers = [
            ContainerRecord(own, kind, href, stamp, json.loads(properties))
            for _, own, kind, href, stamp, properties in container_rows
        ]
        return sorted(containers, key=lambda container: container.id.count("/")), rows

    def ensure(self) -> None:
        """Rebuild the index if any container's document has changed. The caller holds the store's lock."""
        if not self._is_fresh(None):
            self._make()

    def update(
        self, containers: Sequence[ContainerRecord], records: Sequence[AssetRecord], removed: Sequence[str] = ()
    ) -> None:
        """Add, replace and remove containers and assets in one transaction. The caller holds the store's lock.

        Args:
            containers: containers that are new or changed.
            records: assets, likewise.
            removed: ids of containers and assets that are no longer there, children before parents.
        """
        with contextlib.closing(_connect(str(self._path), write=True)) as connection, _writing(self._path):
            connection.execute("BEGIN IMMEDIATE")
            write_rows(connection, containers, records)
            for asset_id in removed:
                delete_row(connection, asset_id)
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _fresh(self, asset_id: str) -> Iterator[sqlite3.Connection]:
        """Yield a connection to an index that is fresh for an asset and all containers above it."""
        if not self._is_fresh(asset_id):
            self._renew(asset_id)
        with self._lease() as connection:
            yield connection

    @contextlib.contextmanager
    def _lease(self) -> Iterator[sqlite3.Connection]:
        path = self._private or self._path
        # The inode tells a new index from the one it has been renamed over.
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):  # a link may lead out of the store, and a pipe has no end
            raise InvalidStoreError(f"The index {path} is not a regular file: remove it, and it is rebuilt.")
        try:
            with self._connections.lease((str(path), status.st_ino)) as connection:
                yield connection
        except sqlite3.OperationalError:  # a full disk, a lock
            raise
        except sqlite3.DatabaseError as error:
            raise InvalidStoreError(f"The index {path} is damaged ({error}): remove it, and it is rebuilt.") from error

    def _renew(self, asset_id: str) -> None:
        if not os.access(self._root, os.W_OK):
            self._make_private(asset_id)
            return
        with locked(self._root):
            if not self._is_fresh(asset_id):
                self._make()

    def _make_private(self, asset_id: str) -> None:
        """Make an index for this process alone, where the store may be read but not written."""
        with self._making:
            if self._private is None:
                self._private = private_folder(self) / _FILE
            if not self._is_fresh(asset_id):
                self._make()

    def _is_fresh(self, asset_id: str | None) -> bool:
        """Return whether the containers above an id, and one of that id itself, are as indexed; None asks for all."""
        try:
            with self._lease() as connection:
                if connection.execute("SELECT value FROM meta WHERE name = 'format'").fetchone() != (_FORMAT,):
                    return False
                if asset_id is None:
                    rows = connection.execute("SELECT href, stamp FROM container").fetchall()
                else:
                    ids = dict.fromkeys([*(ancestors(asset_id) if asset_id else [""]), asset_id])
                    marks = ",".join("?" * len(ids))
                    rows = connection.execute(
                        f"SELECT href, stamp FROM container WHERE id IN ({marks})", list(ids)
                    ).fetchall()
        except (FileNotFoundError, sqlite3.DatabaseError, InvalidStoreError):
            return False
        return bool(rows) and all(
            isinstance(href, str) and stamp_of(self._root / href) == stamp for href, stamp in rows
        )

    def _make(self) -> None:
        target = self._private or self._path
        with workspace(target.parent) as place:
            path = place / _FILE
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection, _writing(target):
                connection.execute("PRAGMA journal_mode = OFF")
                connection.execute("PRAGMA synchronous = OFF")
                connection.executescript(SCHEMA)
                connection.execute("INSERT INTO meta VALUES ('format', ?)", (_FORMAT,))
                connection.execute("BEGIN")
                for container, records in _walk(self._root):
                    write_rows(connection, [container], records)
                connection.execute("COMMIT")
            commit(path, target)
            if target == self._path:  # else SQLite would roll back what a killed process began, in the new index
                remove(self._root, target.with_name(f"{_FILE}-journal"))

    def _all(self, statement: str, *parameters: Any) -> list[Any]:
        with self._lease() as connection:
            return connection.execute(statement, parameters).fetchall()

    def _names(self, key: int, images: bool) -> Iterator[str]:
        kinds = "" if images else " AND kind != 'image'"
        last = ""
        while True:
            names = self._all(
                f"SELECT name FROM asset WHERE parent = ? AND name > ?{kinds} ORDER BY name LIMIT ?", key, last, _BATCH
            )
            for (last,) in names:
                yield last
            if len(names) < _BATCH:
                return

    def _scan(self, collection: str, key: int) -> Iterator[IndexRow]:
        last = ""
        while True:
            rows = self._all(
                "SELECT a.name, a.kind, l.value, a.record, a.footprint FROM asset a JOIN layout l ON l.key = a.layout"
                " WHERE a.parent = ? AND a.name > ? ORDER BY a.name LIMIT ?",
                key,
                last,
                _BATCH,
            )
            for name, *rest in rows:
                row = IndexRow(join_id(collection, name), *rest)
                if row.kind == "image":
                    yield row
                last = name
            if len(rows) < _BATCH:
                return

    def _select(self, key: int, query: Query) -> list[int]:
        conditions = ["parent = ?", "kind = 'image'"]
        parameters: list[float] = [key]
        if query.start is not None:
            conditions.append("time >= ?")
            parameters.append(query.start)
        if query.end is not None:
            conditions.append("time < ?")
            parameters.append(query.end)
        if query.bounds is not None:
            places, values = _places(key, query)
            # The plus sign keeps SQLite from walking an index of a million rows beside the R-tree.
            conditions = [f"key IN ({places})", *(f"+{condition}" for condition in conditions)]
            parameters = [*values, *parameters]
        rows = self._all(f"SELECT key FROM asset WHERE {' AND '.join(conditions)} ORDER BY name", *parameters)
        return [row[0] for row in rows]

    def _fetch(self, collection: str, parent: int, keys: Sequence[int]) -> Iterator[IndexRow]:
        marks = ",".join("?" * len(keys))
        rows_by_key = {
            row[0]: IndexRow(join_id(collection, row[1]), *row[2:])
            for row in self._all(
                "SELECT a.key, a.name, a.kind, l.value, a.record, a.footprint"
                f" FROM asset a JOIN layout l ON l.key = a.layout WHERE a.parent = ? AND a.key IN ({marks})",
                parent,
                *keys,
            )
        }
        # A row that has gone since the keys were selected was removed by its owner: there is nothing to show.
        return (rows_by_key[key] for key in keys if key in rows_by_key)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a failed write into a sentence."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise AssetWriteError(
            f"Cannot write {path}: {error}. Ingest again when its disk has room and works."
        ) from error


def stamp_of(path: Path) -> str:
    """Return the version of a document, which changes when the document does; "" if it is missing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return ""
    return f"{status.st_mtime_ns}:{status.st_size}"


def _places(key: int, query: Query) -> tuple[str, list[float]]:
    """Return a subquery for the keys of assets that meet a query's bounds and dates, and its parameters."""
    assert query.bounds is not None
    selects, values = [], []
    for west, south, east, north in split_with_seam(query.bounds):
        conditions = ["last >= ?", "first <= ?", "east >= ?", "west <= ?", "north >= ?", "south <= ?"]
        values += [key, key, west, east, south, north]
        if query.start is not None:
            conditions.append("finish >= ?")
            values.append(query.start)
        if query.end is not None:
            conditions.append("begin <= ?")
            values.append(query.end)
        selects.append(f"SELECT key FROM extent WHERE {' AND '.join(conditions)}")
    return " UNION ".join(selects), values


def _connect(path: str, *, write: bool = False) -> sqlite3.Connection:
    mode = "rw" if write else "ro"
    return sqlite3.connect(
        f"{Path(path).as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _walk(root: Path) -> Iterator[tuple[ContainerRecord, Iterator[AssetRecord]]]:
    """Yield every container that the links lead to, parents first, with its images and tables."""
    resolve_href(root, ROOT_DOCUMENT, ROOT_DOCUMENT)  # refused if it is a link out of the store
    seen: set[str] = set()
    waiting: list[tuple[str, str | None]] = [(ROOT_DOCUMENT, None)]
    while waiting:
        href, parent = waiting.pop()
        if href in seen:
            continue
        seen.add(href)
        stamp = stamp_of(root / href)
        document = stac.read_document(root / href)
        container_id = stac.container_id(document, parent)
        if parent is not None and split_id(container_id)[0] != parent:
            raise InvalidStoreError(f"{root / href} has the id {container_id}, which is not right under {parent!r}")
        kind: ContainerKind = stac.container_kind(document)
        record = ContainerRecord(container_id, kind, href, stamp, stac.container_properties(document))
        yield record, _walk_items(root, href, document, container_id)
        children = [(resolve_href(root, href, child), container_id) for child in stac.links(document, "child")]
        waiting.extend(reversed(children))


def _walk_items(root: Path, href: str, document: Mapping[str, Any], container_id: str) -> Iterator[AssetRecord]:
    for link in stac.links(document, "item"):
        path = resolve_href(root, href, link)
        record = stac.read_item(stac.read_document(root / path), container_id, root, path)
        if split_id(record.id)[0] != container_id:
            raise InvalidStoreError(f"{root / path} has the id {record.id}, which is not right under {container_id!r}")
        yield record
