"""Store every unit of a run and its outcome in SQLite.

One process writes it: the parent. The plan is stored before the first request, in one transaction, so that a
folder holds a whole plan or none; or as it is made, and then the ledger knows that it is not whole. Outcomes are
stored in batches. Nothing here ever holds all units in memory: a plan may have a million.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from eechips.errors import RunMismatchError, StorageError
from eechips.manifest.database import connect, damaged
from eechips.manifest.unit_record import FAILURES, MANIFEST, RECORD, RECORD_COLUMNS, Record, State, WorkUnit

LEDGER_NAME = "manifest.sqlite"
SCHEMA_VERSION = 4

COMPUTE = "compute"
"""In meta: the account of the run's compute."""

_BATCH = 2000  # rows read at a time
_IS_PARTIAL = "is_partial"  # in meta
_PLANNED = "position, id, unit, name, attempts, replaces"

_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE units ({", ".join(column.definition for column in MANIFEST)});
"""
# Made after the plan is stored: that is faster than keeping them up to date row by row.
_INDEXES = """
CREATE INDEX units_state ON units (state, position);
CREATE UNIQUE INDEX units_file ON units (file) WHERE file IS NOT NULL;
CREATE UNIQUE INDEX units_replaces ON units (replaces) WHERE replaces IS NOT NULL;
"""


# Only in ledgers whose units have several files: those beyond a unit's first.
_FURTHER = (
    "CREATE TABLE IF NOT EXISTS further_files"
    " (file TEXT PRIMARY KEY, position INTEGER NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS further_files_position ON further_files (position)"
)

# Only in such ledgers: metadata of every file, also the first of a unit. Files of scripts have the layer ''.
_LAYERS = (
    "CREATE TABLE IF NOT EXISTS layers"
    " (file TEXT PRIMARY KEY, position INTEGER NOT NULL, layer TEXT NOT NULL, metadata TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS layers_position ON layers (position)"
)
_OF_SEVERAL = ("further_files", "layers")

# Only in ledgers of runs that have exported results: the batch tasks of units that are not recorded yet.
_EXPORTS = (
    "CREATE TABLE IF NOT EXISTS exports"
    " (position INTEGER NOT NULL, number INTEGER NOT NULL, operation TEXT NOT NULL, url TEXT NOT NULL,"
    " requests INTEGER NOT NULL, seconds REAL NOT NULL, started TEXT NOT NULL, PRIMARY KEY (position, number))"
)

_MOMENT = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z"
"""Pattern of :func:`eechips.timestamps.utc_now`."""

_SUMS = frozenset(column.name for column in RECORD if column.is_sum)
_RECORDED = tuple(column for column in RECORD_COLUMNS if column != "eecu_seconds")
"""Columns that are stored with every outcome, the state first; profiles are mostly fetched later."""
_recorded_values = attrgetter(*_RECORDED[1:])
_ADD_COMPUTE = "UPDATE units SET eecu_seconds = coalesce(eecu_seconds, 0.0) + ? WHERE position = ?"


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all attempted units.

    Attributes:
        units: number of units.
        requests: sent for them, repeats included.
        bytes: of their files.
        seconds: sum of the time spent on each.
        dropped: those without data whose file was not kept.
    """

    units: int
    requests: int
    bytes: int
    seconds: float
    dropped: int


class RecordedResult(NamedTuple):
    """A recorded file of a unit. A tuple, as there may be a million.

    Attributes:
        position: of the unit in the plan.
        unit: its id.
        name: path of the file below the output folder.
        size: bytes.
        sha256: of its content, hexadecimal.
        finished: when the unit was finished, in seconds since 1970; None if that is unknown.
    """

    position: int
    unit: str
    name: str
    size: int
    sha256: str | None
    finished: float | None


class Ledger:
    """The ledger of one output folder. Use it in a ``with`` block.

    Args:
        path: of the SQLite file.
        readonly: opens it without the right to change it.

    Raises:
        StorageError: if it cannot be opened.
        RunMismatchError: if another version of eechips made it.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self._readonly = readonly
        self._tables: frozenset[str] | None = None
        with contextlib.ExitStack() as unless_opened:
            self._db = connect(path, readonly=readonly)
            unless_opened.callback(self._db.close)
            self._db.execute("PRAGMA busy_timeout = 30000")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA_VERSION):
                raise RunMismatchError(f"{path} has format {version}, this eechips writes {SCHEMA_VERSION}")
            self._check_schema(has_plan=version == SCHEMA_VERSION)
            if not readonly:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
            unless_opened.pop_all()
        self._has_schema = bool(version == SCHEMA_VERSION)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; merge the write-ahead log into it if possible."""
        if not self._readonly:
            with contextlib.suppress(StorageError):  # another process is reading: the log stays
                self._db.execute("PRAGMA busy_timeout = 200")
                self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()

    def _check_schema(self, *, has_plan: bool) -> None:
        """Refuse a database with anything but plain tables: a view may never end, and a trigger may undo writes.

        Raises:
            StorageError: naming what there is.
        """
        rows = self._db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
        for kind, name, sql in rows:
            if kind not in ("table", "index") or not re.match(r"(CREATE (TABLE|(UNIQUE )?INDEX) |$)", sql):
                raise StorageError(f"{self.path} is no ledger of eechips: it has the {kind} {name!r}")
        if has_plan:
            columns = {row[1] for row in self._db.execute("PRAGMA table_info(units)")}
            lacking = sorted({column.name for column in MANIFEST} - columns)
            if lacking or ("table", "meta") not in {row[:2] for row in rows}:
                raise StorageError(f"{self.path} is damaged: it lacks {', '.join(lacking) or 'the table meta'}")

    @property
    def writer_name(self) -> str:
        """The name of the run of this ledger as a writer of temporary files; a copy of the folder is another writer."""
        with self._transaction():
            self._db.execute("CREATE TABLE IF NOT EXISTS identity (value TEXT NOT NULL)")
            if self._db.execute("SELECT 1 FROM identity").fetchone() is None:
                self._db.execute("INSERT INTO identity VALUES (?)", (secrets.token_hex(16),))
            ((value,),) = self._db.execute("SELECT value FROM identity").fetchall()
        return f"{value} {self.path.resolve()}"

    @property
    def has_plan(self) -> bool:
        """Return whether a plan is stored, or the first units of one: see :attr:`is_partial`."""
        return self._has_schema

    @property
    def _has_further(self) -> bool:
        return self._has_table("further_files")

    @property
    def has_layers(self) -> bool:
        """Return whether units have several files."""
        return self._has_table("layers") or self._has_further

    def _has_table(self, name: str) -> bool:
        if self._tables is not None:
            return name in self._tables
        found = frozenset(each for (each,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        # While a run has the lock of the folder, no other process adds tables. A transaction may still be undone.
        if not self._readonly and not self._db.in_transaction:
            self._tables = found
        return name in found

    def store_plan(self, meta: Mapping[str, Any], units: Iterable[WorkUnit]) -> None:
        """Store the plan and its origin in one transaction; replace an earlier plan.

        Args:
            meta: JSON values, read back by :meth:`meta`.
            units: in the order of their positions; consumed as a stream.
        """
        with self._transaction():
            self._make_tables(meta)
            self._db.executemany(
                "INSERT INTO units (position, id, unit, name) VALUES (?, ?, ?, ?)",
                ((u.position, bytes.fromhex(u.id), u.unit, u.name) for u in units),
            )
            self._script(_INDEXES)
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._has_schema = True

    def begin_plan(self, meta: Mapping[str, Any]) -> None:
        """Store the origin of a plan whose units are added as they are planned; replace an earlier plan.

        It is not whole before :meth:`complete_plan` is called.

        Args:
            meta: JSON values, read back by :meth:`meta`.
        """
        with self._transaction():
            self._make_tables({**meta, _IS_PARTIAL: True})
            self._script(_INDEXES)
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._has_schema = True

    def complete_plan(self) -> None:
        """Record that the plan has all its units."""
        with self._transaction():
            self._db.execute("DELETE FROM meta WHERE key = ?", (_IS_PARTIAL,))

    @property
    def is_partial(self) -> bool:
        """Return whether the plan lacks units: planning was interrupted, or is under way."""
        return bool(self.meta().get(_IS_PARTIAL))

    def _make_tables(self, meta: Mapping[str, Any]) -> None:
        for table in ("units", "meta", "exports", *_OF_SEVERAL):
            self._db.execute(f"DROP TABLE IF EXISTS {table}")
        self._script(_SCHEMA)
        rows = [(key, json.dumps(value)) for key, value in meta.items()]
        self._db.executemany("INSERT INTO meta VALUES (?, ?)", rows)

    @property
    def has_gaps(self) -> bool:
        """Return whether positions before the last unit have none, as after a recovery of a damaged ledger."""
        count = self._db.execute("SELECT count(*) FROM units").fetchone()[0]
        return bool(count != self.end)

    def unplanned(self, units: Sequence[WorkUnit]) -> list[WorkUnit]:
        """Return those of some units of a plan, in its order, that the ledger lacks.

        Raises:
            RunMismatchError: if it has others in their place.
        """
        query = "SELECT position, lower(hex(id)) FROM units WHERE position >= ? AND position <= ?"
        known = dict(self._db.execute(query, (units[0].position, units[-1].position)).fetchall()) if units else {}
        if any(known.get(unit.position, unit.id) != unit.id for unit in units):
            raise RunMismatchError(
                f"the plan of {self.path.parent} was interrupted, and its first units have changed since:"
                " choose another output folder, or remove this one"
            )
        return [unit for unit in units if unit.position not in known]

    def check_integrity(self) -> None:
        """Read every page of the database.

        Raises:
            StorageError: if one is damaged.
        """
        (found,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise damaged(self.path, " ".join(str(found).split()))

    def add(self, units: Iterable[WorkUnit]) -> None:
        """Add units to the end of the plan, all or none; they may replace others. A unit is replaced only once.

        Raises:
            StorageError: if one of those that are replaced is replaced already.
        """
        rows = [(u.position, bytes.fromhex(u.id), u.unit, u.name, u.replaces) for u in units]
        with self._transaction():
            self._db.executemany("INSERT INTO units (position, id, unit, name, replaces) VALUES (?, ?, ?, ?, ?)", rows)

    def amend(self, units: Iterable[WorkUnit]) -> None:
        """Replace units without a result by others at the same positions, all or none; they are planned again."""
        cleared = ", ".join(f"{c} = NULL" for c in RECORD_COLUMNS if c not in ("state", "attempts", "requests"))
        with self._transaction():
            self._db.executemany(
                f"UPDATE units SET id = ?, unit = ?, name = ?, state = 'planned', attempts = 0, {cleared}"
                " WHERE position = ? AND file IS NULL",
                ((bytes.fromhex(u.id), u.unit, u.name, u.position) for u in units),
            )

    def note(self, key: str, value: Any) -> None:
        """Store a JSON value beside the origin of the plan."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def meta(self) -> dict[str, Any]:
        """Return the metadata of the plan."""
        rows = self._db.execute("SELECT key, value FROM meta").fetchall()
        try:
            return {key: json.loads(value) for key, value in rows}
        except (ValueError, TypeError, RecursionError) as error:
            raise StorageError(f"{self.path} is damaged: {error}") from error

    def counts(self, first: int = 0, end: int | None = None) -> dict[State, int]:
        """Return units by state; states without units are left out.

        Args:
            first: position of the first that counts.
            end: position after the last that counts; None for all.
        """
        query = "SELECT state, count(*) FROM units WHERE position >= ? AND position < ? GROUP BY state"
        rows = self._db.execute(query, (first, self.end if end is None else end)).fetchall()
        return {State(state): count for state, count in rows}

    def failures_by_class(self) -> dict[str, int]:
        """Return failed units by class of their error."""
        query = "SELECT error_class, count(*) FROM units WHERE state LIKE 'failed%' GROUP BY 1 ORDER BY 2 DESC, 1"
        return dict(self._db.execute(query).fetchall())

    def total_bytes(self) -> int:
        """Sum the bytes of all files."""
        tables = ["units", "further_files"] if self._has_further else ["units"]
        sums = (self._db.execute(f"SELECT coalesce(sum(bytes), 0) FROM {table}").fetchone()[0] for table in tables)
        return sum(map(int, sums))

    def pace(self) -> tuple[int, float | None]:
        """Return requests sent for all units, and results a second between the first and the last one finished."""
        requests, count, seconds = self._db.execute(
            "SELECT coalesce(sum(requests), 0), count(finished),"
            " (julianday(max(finished)) - julianday(min(finished))) * 86400.0 FROM units"
        ).fetchone()
        return int(requests), (count - 1) / seconds if seconds and count > 1 else None

    @property
    def end(self) -> int:
        """The position after the last unit."""
        return int(self._db.execute("SELECT coalesce(max(position) + 1, 0) FROM units").fetchone()[0])

    def count_open(self) -> int:
        """Count the open units."""
        return sum(count for state, count in self.counts().items() if state.is_open)

    def sample_units(self, most: int) -> list[str]:
        """Return open units as JSON: up to so many, spread evenly over the plan."""
        states = [state.value for state in State if state.is_open]
        marks = ", ".join("?" * len(states))
        step = max(1, -(-self.end // most))
        query = f"SELECT unit FROM units WHERE position % ? = 0 AND state IN ({marks}) ORDER BY position"
        found = self._db.execute(query, (step, *states)).fetchall()
        if not found:  # only a few are left, between these
            found = self._db.execute(
                f"SELECT unit FROM units WHERE state IN ({marks}) ORDER BY position LIMIT ?", (*states, most)
            ).fetchall()
        return [unit for (unit,) in found]

    def open_units(self, first: int = 0, end: int | None = None) -> Iterator[WorkUnit]:
        """Yield the open units in the order of the plan, without those that are added later.

        The ledger may be changed meanwhile.

        Args:
            first: position of the first that may be.
            end: position after the last that may be; None for all.
        """
        return self._open_units(first, self.end if end is None else end)

    def _open_units(self, first: int, end: int) -> Iterator[WorkUnit]:
        states = [state.value for state in State if state.is_open]
        marks = ", ".join("?" * len(states))
        last = first - 1
        while True:
            rows = self._db.execute(
                f"SELECT {_PLANNED} FROM units"
                f" WHERE position > ? AND position < ? AND state IN ({marks}) ORDER BY position LIMIT ?",
                (last, end, *states, _BATCH),
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield from map(_planned, rows)

    def dropped(self, *, empty: bool = True) -> Iterator[int]:
        """Yield positions of units that have neither a file nor a replacement, in order.

        Args:
            empty: include units that were empty, not only excluded ones.
        """
        states = "('empty', 'skipped')" if empty else "('skipped')"
        query = (
            f"SELECT position FROM units WHERE state IN {states} AND file IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM units AS other WHERE other.replaces = units.position) ORDER BY position"
        )
        yield from (position for (position,) in self._db.execute(query))

    def count_dropped(self) -> int:
        """Return empty units that have no file."""
        query = "SELECT count(*) FROM units WHERE state = 'empty' AND file IS NULL"
        return int(self._db.execute(query).fetchone()[0])

    def count_without_file(self) -> int:
        """Return units that are done and have no file."""
        query = "SELECT count(*) FROM units WHERE state = 'done' AND file IS NULL"
        return int(self._db.execute(query).fetchone()[0])

    def count_without_rows(self) -> int:
        """Return units whose file is a table without rows."""
        query = "SELECT count(*) FROM units WHERE rows = 0 AND file IS NOT NULL"
        return int(self._db.execute(query).fetchone()[0])

    def unit(self, position: int) -> WorkUnit:
        """Return the unit at a position of the plan."""
        return _planned(self._db.execute(f"SELECT {_PLANNED} FROM units WHERE position = ?", (position,)).fetchone())

    @property
    def first_unit(self) -> WorkUnit | None:
        """The first unit of the plan that the ledger has; None if it has none. Parts of a plan begin anywhere."""
        row = self._db.execute(f"SELECT {_PLANNED} FROM units ORDER BY position LIMIT 1").fetchone()
        return None if row is None else _planned(row)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return the ids of a selection that belong to units. The first call creates an index."""
        wanted = {bytes.fromhex(identifier) for identifier in ids}
        marks = ", ".join("?" * len(wanted))
        with self._transaction():
            self._db.execute("CREATE INDEX IF NOT EXISTS units_id ON units (id)")
        return {found.hex() for (found,) in self._db.execute(f"SELECT id FROM units WHERE id IN ({marks})", [*wanted])}

    def totals(self) -> Totals:
        """Sum the costs of all attempted units."""
        query = (
            "SELECT count(*), coalesce(sum(requests), 0), coalesce(sum(bytes), 0), coalesce(sum(seconds), 0.0),"
            " coalesce(sum(state = 'empty' AND file IS NULL), 0) FROM units WHERE state != 'planned'"
        )
        return Totals(*self._db.execute(query).fetchone())

    def files(self) -> Iterator[tuple[int, str, int]]:
        """Yield position, path and size in bytes of every recorded file."""
        query = "SELECT position, file, bytes FROM units WHERE file IS NOT NULL"
        if self._has_further:
            query += " UNION ALL SELECT position, file, bytes FROM further_files"
        yield from self._db.execute(f"{query} ORDER BY position")

    def results(self) -> Iterator[RecordedResult]:
        """Yield every recorded file."""
        seconds = "(julianday(u.finished) - 2440587.5) * 86400.0"  # from 1970 on
        query = f"SELECT u.position, lower(hex(u.id)), u.file, u.bytes, u.sha256, {seconds} FROM units AS u"
        query += " WHERE u.file IS NOT NULL"
        if self._has_further:
            query += f" UNION ALL SELECT u.position, lower(hex(u.id)), f.file, f.bytes, f.sha256, {seconds}"
            query += " FROM further_files AS f JOIN units AS u USING (position)"
        yield from (RecordedResult(*row) for row in self._db.execute(f"{query} ORDER BY 1"))

    def sample_files(self, count: int) -> list[str]:
        """Return paths of at most so many files of units with data, spread over the plan."""
        having = "state = 'done' AND file IS NOT NULL"
        first, last = self._db.execute(f"SELECT min(position), max(position) FROM units WHERE {having}").fetchone()
        if first is None:
            return []
        query = f"SELECT file FROM units WHERE {having} AND position >= ? ORDER BY position LIMIT 1"
        wanted = (first + (last - first) * i // max(count - 1, 1) for i in range(count))
        return list(dict.fromkeys(self._db.execute(query, (position,)).fetchone()[0] for position in wanted))

    def invalid_paths(self) -> Iterator[tuple[str, Any]]:
        """Yield id and path of files whose paths may lead out of the folder of results; most ledgers have none."""
        odd = (
            "(typeof(file) != 'text' OR file = '' OR file GLOB '/*' OR file GLOB '*..*' OR file GLOB '*\\*'"
            " OR file GLOB '*:*' OR instr(CAST(file AS BLOB), x'00'))"
        )
        for table in ["units", *(name for name in _OF_SEVERAL if self._has_table(name))]:
            query = f"SELECT position, file FROM {table} WHERE file IS NOT NULL AND {odd}"
            for position, file in self._db.execute(query).fetchall():
                row = self._db.execute("SELECT lower(hex(id)) FROM units WHERE position = ?", (position,)).fetchone()
                yield row[0] if row else "?", file

    def invalid_units(self, columns: str, metadata: str) -> Iterator[str]:
        """Yield ids of units for which a SQL condition on their row, or on the rows of their layers, holds."""
        yield from (row[0] for row in self._db.execute(f"SELECT lower(hex(id)) FROM units WHERE {columns}"))
        for table, wrong in (
            ("further_files", "typeof(sha256) != 'text' OR typeof(bytes) != 'integer' OR bytes < 0"),
            ("layers", f"typeof(layer) != 'text' OR {metadata}"),
            (
                "exports",
                "typeof(operation) != 'text' OR url NOT GLOB 'gs://?*/?*' OR typeof(requests) != 'integer'"
                f" OR typeof(seconds) != 'real' OR started NOT GLOB '{_MOMENT}'",
            ),
        ):
            if self._has_table(table):
                rows = self._db.execute(f"SELECT position FROM {table} WHERE typeof(position) != 'integer' OR {wrong}")
                yield from (f"no. {position}" for (position,) in rows)

    def deeply_nested_units(self, count: int) -> Iterator[tuple[str, str]]:
        """Yield id and JSON of units that have more brackets than so many."""
        brackets = "2 * length(unit) - length(replace(unit, '[', '')) - length(replace(unit, '{', ''))"
        yield from self._db.execute(f"SELECT lower(hex(id)), unit FROM units WHERE {brackets} > ?", (count,))

    def further_files(self) -> Iterator[tuple[str, str, str]]:
        """Yield id of the unit, path and sha256 of every file after the first of a unit."""
        if self._has_further:
            yield from self._db.execute(
                "SELECT lower(hex(id)), f.file, f.sha256 FROM further_files AS f JOIN units USING (position)"
                " ORDER BY position, f.file"
            )

    def layers(self) -> Iterator[tuple[Any, ...]]:
        """Yield position, id, layer, path, bytes, sha256 and metadata (JSON) of each file of units with layers."""
        return (row for row in self.unit_files() if row[2])

    def unit_files(self) -> Iterator[tuple[Any, ...]]:
        """Yield every file of the units that have several, in the order of the plan, each unit's first file first.

        Yields:
            Position, id, layer (None for a file of a script), path, bytes, sha256, and metadata as JSON.
        """
        if not self.has_layers:
            return
        none = "(SELECT NULL AS position, NULL AS file, NULL AS bytes, NULL AS sha256, NULL AS layer, NULL AS metadata)"
        layers = "layers" if self._has_table("layers") else none
        further = "further_files" if self._has_further else none
        order = "rowid" if self._has_further else "0"
        yield from self._db.execute(
            "SELECT u.position, lower(hex(u.id)), nullif(l.layer, ''), f.file, f.bytes, f.sha256,"
            " coalesce(l.metadata, '{}') FROM ("
            "  SELECT position, file, bytes, sha256, -1 AS number FROM units WHERE file IS NOT NULL AND position IN"
            f"   (SELECT position FROM {layers} UNION SELECT position FROM {further})"
            f"  UNION ALL SELECT position, file, bytes, sha256, {order} FROM {further}"
            f" ) AS f JOIN units AS u ON u.position = f.position LEFT JOIN {layers} AS l ON l.file = f.file"
            " WHERE u.file IS NOT NULL ORDER BY u.position, f.number"
        )

    def sources(self) -> Iterator[tuple[str, str | None]]:
        """Yield the id of each asset that results show, in order, and when the first of these results was fetched."""
        yield from self._db.execute(
            "SELECT s.value, min(u.finished) FROM units AS u, json_each(u.sources) AS s"
            " WHERE u.state IN ('done', 'empty') AND typeof(s.value) = 'text' GROUP BY s.value ORDER BY s.value"
        )

    def owner(self, file: str) -> int | None:
        """Return the position of the unit that a file belongs to, or None."""
        query = "SELECT position FROM units WHERE file = :file"
        if self._has_further:
            query += " UNION ALL SELECT position FROM further_files WHERE file = :file"
        row = self._db.execute(query, {"file": file}).fetchone()
        return None if row is None else int(row[0])

    def set_errors(self, remarks: Mapping[int, str]) -> None:
        """Store a text as the error of settled units that have none, by position; their states stay."""
        rows = [(text, position) for position, text in remarks.items()]
        with self._transaction():
            self._db.executemany("UPDATE units SET error = ? WHERE position = ? AND error IS NULL", rows)

    def record(
        self,
        records: Sequence[Record],
        further: Sequence[tuple[int, str, int, str]] = (),
        layers: Sequence[tuple[int, str, str, str]] = (),
    ) -> None:
        """Store outcomes, all or none; attempts, requests and compute add to those of earlier runs.

        Args:
            records: the outcomes.
            further: position of the unit, path, size in bytes and sha256 of files beyond a unit's first.
            layers: position of the unit, path, layer and metadata (JSON) of files that have a layer.
        """
        assignments = ", ".join(f"{c} = {c} + ?" if c in _SUMS else f"{c} = ?" for c in _RECORDED)
        rows = [(record.state.value, *_recorded_values(record), record.position) for record in records]
        with self._transaction():
            self._db.executemany(f"UPDATE units SET {assignments} WHERE position = ?", rows)
            profiled = [(r.eecu_seconds, r.position) for r in records if r.eecu_seconds is not None]
            self._db.executemany(_ADD_COMPUTE, profiled)
            self._forget_files(record.position for record in records)
            if self._has_table("exports"):
                settled = [(record.position,) for record in records if not record.state.is_open]
                self._db.executemany("DELETE FROM exports WHERE position = ?", settled)
            if further:
                self._script(_FURTHER)
                self._db.executemany(
                    "INSERT OR REPLACE INTO further_files (position, file, bytes, sha256) VALUES (?, ?, ?, ?)", further
                )
            if layers:
                self._script(_LAYERS)
                self._db.executemany(
                    "INSERT OR REPLACE INTO layers (position, file, layer, metadata) VALUES (?, ?, ?, ?)", layers
                )

    def add_exports(
        self, position: int, tasks: Sequence[tuple[str, str]], requests: int, seconds: float, started: str
    ) -> None:
        """Store the batch tasks that export the results of a unit; they are removed when the unit is recorded.

        Args:
            position: of the unit.
            tasks: operation and address of the file, in the order of the results.
            requests: sent for the unit so far.
            seconds: that they took.
            started: when the tasks were started, ISO 8601.
        """
        rows = [(position, number, *task, requests, seconds, started) for number, task in enumerate(tasks)]
        with self._transaction():
            self._script(_EXPORTS)
            self._db.execute("DELETE FROM exports WHERE position = ?", (position,))
            self._db.executemany("INSERT INTO exports VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def exports(self) -> dict[int, tuple[list[tuple[str, str]], int, float]]:
        """Return the stored tasks by position of their unit: see :meth:`add_exports`."""
        found: dict[int, tuple[list[tuple[str, str]], int, float]] = {}
        if self._has_table("exports"):
            query = "SELECT position, operation, url, requests, seconds FROM exports ORDER BY position, number"
            for position, operation, url, requests, seconds in self._db.execute(query):
                found.setdefault(position, ([], requests, seconds))[0].append((operation, url))
        return found

    def count_exports(self) -> tuple[int, str | None]:
        """Return the number of units that wait for batch tasks, and when the oldest of these was started."""
        if not self._has_table("exports"):
            return 0, None
        query = "SELECT count(DISTINCT position), min(started) FROM exports"
        count, oldest = self._db.execute(query).fetchone()
        return count, oldest

    def add_compute(self, seconds: Iterable[tuple[int, float]], account: Mapping[str, Any]) -> None:
        """Add the compute of units, and store the account of the run, all or none.

        Args:
            seconds: position and EECU-seconds of each unit.
            account: as JSON, read back by :meth:`meta` under :data:`COMPUTE`.
        """
        with self._transaction():
            self._db.executemany(_ADD_COMPUTE, ((value, position) for position, value in seconds))
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (COMPUTE, json.dumps(account)))

    def with_results(self, positions: Iterable[int], *, or_empty: bool) -> list[int]:
        """Return the units of a selection that have results; with ``or_empty``, also empty ones without a file."""
        states = "'done', 'empty'" if or_empty else "'done'"
        query = f"SELECT 1 FROM units WHERE position = ? AND (state IN ({states}) OR file IS NOT NULL)"
        return [each for each in positions if self._db.execute(query, (each,)).fetchone() is not None]

    def reopen(self, positions: Iterable[int]) -> int:
        """Set units back to planned and remove their results; return their number."""
        cleared = ", ".join(f"{c} = NULL" for c in RECORD_COLUMNS if c != "state" and c not in _SUMS)
        wanted = set(positions)
        with self._transaction():
            cursor = self._db.executemany(
                f"UPDATE units SET state = 'planned', {cleared} WHERE position = ?", ((p,) for p in wanted)
            )
            self._forget_files(wanted)
        return cursor.rowcount

    def _forget_files(self, positions: Iterable[int]) -> None:
        """Remove the rows of files of earlier results, as the next result may have fewer files."""
        rows = [(position,) for position in positions]
        for table in _OF_SEVERAL:
            if self._has_table(table):
                self._db.executemany(f"DELETE FROM {table} WHERE position = ?", rows)

    def batches(self, columns: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
        """Yield rows of the units in the order of the plan, a few thousand at a time."""
        cursor = self._db.execute(f"SELECT {', '.join(columns)} FROM units ORDER BY position")
        while rows := cursor.fetchmany(_BATCH * 5):
            yield rows

    def failures(self) -> Iterator[tuple[Any, ...]]:
        """Yield the columns :data:`~eechips.manifest.unit_record.FAILURES` of failed units."""
        columns = ", ".join(column.selection for column in FAILURES)
        yield from self._db.execute(f"SELECT {columns} FROM units WHERE state LIKE 'failed%' ORDER BY position")

    def _script(self, statements: str) -> None:
        self._tables = None
        # executescript() would commit the transaction.
        for statement in statements.split(";"):
            if statement.strip():
                self._db.execute(statement)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._tables = None
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _planned(row: tuple[Any, ...]) -> WorkUnit:
    position, identifier, unit, name, attempts, replaces = row
    return WorkUnit(position, identifier.hex(), unit, name, attempts, replaces)
