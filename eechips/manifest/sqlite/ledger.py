"""Store every unit of a run and its outcome in SQLite: store the plan, record and reopen units, check the file.

One process writes it: the parent. The plan is stored before the first request, in one transaction, so that a
folder holds a whole plan or none; or as it is made, and then the ledger knows that it is not whole. Outcomes are
stored in batches. Nothing here ever holds all units in memory: a plan may have a million.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from eechips.errors import RunMismatchError, StorageError
from eechips.manifest.manifest_columns import OPEN_STATES, RECORD, RECORD_COLUMNS, Record, State, WorkUnit
from eechips.manifest.sqlite.database import (
    ADD_TO_COUNT,
    COUNT_UNITS,
    INDEXES,
    SCHEMA,
    SCHEMA_VERSION,
    TABLES,
    check_schema,
    connect,
    damaged,
)
from eechips.storage.untrusted_files import parse_json

LEDGER_NAME = "manifest.sqlite"

COMPUTE = "compute"
"""In meta: the account of the run's compute."""

_BATCH = 2000  # rows read at a time
_IS_PARTIAL = "is_partial"  # in meta
_PLANNED = "position, id, unit, name, attempts, replaces"

_SUMS = frozenset(column.name for column in RECORD if column.is_sum)
_RECORDED = tuple(column for column in RECORD_COLUMNS if column != "eecu_seconds")
"""Columns that are stored with every outcome, the state first; profiles are mostly fetched later."""
_recorded_values = attrgetter(*_RECORDED[1:])
_ADD_COMPUTE = "UPDATE units SET eecu_seconds = coalesce(eecu_seconds, 0.0) + ? WHERE position = ?"


class Ledger(contextlib.AbstractContextManager["Ledger"]):
    """The ledger of one output folder: what writes it, and reads it unit by unit. Use it in a ``with`` block.

    Functions over its connection read it as a whole: see :mod:`eechips.manifest.sqlite.ledger_queries`.

    Attributes:
        has_plan: whether a plan is stored, or the first units of one: see :attr:`is_partial`.

    Args:
        readonly: opens it without the right to change it.

    Raises:
        StorageError: if it cannot be opened, or an earlier version of eechips made it.
        RunMismatchError: if a later one did.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path, self.folder = path, path.parent.absolute()  # a script changes the working directory
        self._readonly = readonly
        with contextlib.ExitStack() as unless_opened:
            self.database = connect(path, readonly=readonly)
            unless_opened.callback(self.database.close)
            self.database.execute("PRAGMA busy_timeout = 30000")
            version = self.database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA_VERSION):
                reason = f"{path} has format {version}, this eechips writes {SCHEMA_VERSION}"
                if version > SCHEMA_VERSION:
                    raise RunMismatchError(f"{reason}: install a newer eechips")
                raise StorageError(f"{reason}. What helps: eechips verify {shlex.quote(str(path.parent))} --reopen")
            check_schema(self.database, has_plan=version == SCHEMA_VERSION)
            if not readonly:
                self.database.execute("PRAGMA journal_mode = WAL")
                self.database.execute("PRAGMA synchronous = NORMAL")
            unless_opened.pop_all()
        self.has_plan = bool(version == SCHEMA_VERSION)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; merge the write-ahead log into it if possible."""
        if not self._readonly:
            with contextlib.suppress(StorageError):  # another process is reading: the log stays
                self.database.execute("PRAGMA busy_timeout = 200")
                self.database.execute("PRAGMA journal_mode = DELETE")
        self.database.close()

    @property
    def writer_name(self) -> str:
        """The name of the run of this ledger as a writer of temporary files; a copy of the folder is another writer."""
        with self.transaction():
            self.database.execute("CREATE TABLE IF NOT EXISTS identity (value TEXT NOT NULL)")
            if self.database.execute("SELECT 1 FROM identity").fetchone() is None:
                self.database.execute("INSERT INTO identity VALUES (?)", (secrets.token_hex(16),))
            ((value,),) = self.database.execute("SELECT value FROM identity").fetchall()
        return f"{value} {self.path.resolve()}"

    def store_plan(self, meta: Mapping[str, Any], units: Iterable[WorkUnit]) -> None:
        """Store the plan and its origin in one transaction; replace an earlier plan.

        Args:
            meta: JSON values, read back by :meth:`meta`.
            units: in the order of their positions; consumed as a stream.
        """
        with self.transaction():
            for table in TABLES:
                self.database.execute(f"DROP TABLE IF EXISTS {table}")
            self._script(SCHEMA)
            self.set_meta(meta)
            self.database.executemany(
                "INSERT INTO units (position, id, unit, name) VALUES (?, ?, ?, ?)",
                ((u.position, bytes.fromhex(u.id), u.unit, u.name) for u in units),
            )
            self.database.execute(COUNT_UNITS)
            self._script(INDEXES)
            self.database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self.has_plan = True

    def begin_plan(self, meta: Mapping[str, Any]) -> None:
        """Store the origin of a plan whose units are added as they are planned; replace an earlier plan.

        It is not whole before :meth:`complete_plan` is called.

        Args:
            meta: JSON values, read back by :meth:`meta`.
        """
        self.store_plan({**meta, _IS_PARTIAL: True}, ())

    def complete_plan(self) -> None:
        """Record that the plan has all its units."""
        with self.transaction():
            self.database.execute("DELETE FROM meta WHERE key = ?", (_IS_PARTIAL,))

    @property
    def is_partial(self) -> bool:
        """Return whether the plan lacks units: planning was interrupted, or is under way."""
        return bool(self.meta().get(_IS_PARTIAL))

    def unplanned(self, units: Sequence[WorkUnit]) -> list[WorkUnit]:
        """Return those of some units of a plan, in its order, that the ledger lacks.

        Raises:
            RunMismatchError: if it has others in their place.
        """
        query = "SELECT position, lower(hex(id)) FROM units WHERE position >= ? AND position <= ?"
        known = dict(self.database.execute(query, (units[0].position, units[-1].position)).fetchall()) if units else {}
        if any(known.get(unit.position, unit.id) != unit.id for unit in units):
            raise RunMismatchError(
                f"the plan of {self.path.parent} was interrupted, and its first units have changed since:"
                " choose another output folder, or remove this one"
            )
        return [unit for unit in units if unit.position not in known]

    def check_integrity(self) -> None:
        """Read every page of the database; raise StorageError if one is damaged."""
        (verdict,) = self.database.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise damaged(self.path, " ".join(str(verdict).split()))

    def add(
        self, units: Iterable[WorkUnit], values: Mapping[str, Any] | None = None, chosen: Iterable[str] = ()
    ) -> None:
        """Add units to the end of the plan, all or none; they may replace others. A unit is replaced only once.

        Args:
            values: JSON values by name, which replace those beside the origin of the plan.
            chosen: ids of units that replace no other any more.

        Raises:
            StorageError: if one of those that are replaced is replaced already.
        """
        rows = [(u.position, bytes.fromhex(u.id), u.unit, u.name, u.replaces) for u in units]
        with self.transaction():
            self.database.executemany(
                "INSERT INTO units (position, id, unit, name, replaces) VALUES (?, ?, ?, ?, ?)", rows
            )
            self.database.execute(ADD_TO_COUNT, (len(rows),))
            ids = [(bytes.fromhex(identifier),) for identifier in chosen]
            self.database.executemany("UPDATE units SET replaces = NULL WHERE id = ?", ids)
            self.set_meta(values or {})

    def amend(self, units: Iterable[WorkUnit]) -> None:
        """Replace units without a result by others at the same positions, all or none; they are planned again."""
        cleared = ", ".join(f"{c} = NULL" for c in RECORD_COLUMNS if c not in ("state", "attempts", "requests"))
        with self.transaction():
            self.database.executemany(
                f"UPDATE units SET id = ?, unit = ?, name = ?, state = 'planned', attempts = 0, {cleared}"
                " WHERE position = ? AND file IS NULL",
                ((bytes.fromhex(u.id), u.unit, u.name, u.position) for u in units),
            )

    def note(self, key: str, value: Any) -> None:
        """Store a JSON value beside the origin of the plan."""
        with self.transaction():
            self.set_meta({key: value})

    def set_meta(self, values: Mapping[str, Any]) -> None:
        """Store JSON values beside the origin of the plan, in the transaction of the caller."""
        rows = [(key, json.dumps(value)) for key, value in values.items()]
        self.database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def meta(self) -> dict[str, Any]:
        """Return the metadata of the plan."""
        rows = self.database.execute("SELECT key, value FROM meta").fetchall()
        try:
            return {key: parse_json(value) for key, value in rows}
        except (ValueError, TypeError) as error:
            raise StorageError(f"{self.path} is damaged: {error}") from error

    def counts(self, first: int = 0, end: int | None = None) -> dict[State, int]:
        """Return units by state; states without units are left out.

        Args:
            first: position of the first that counts.
            end: position after the last that counts; None for all.
        """
        query = "SELECT state, count(*) FROM units WHERE position >= ? AND position < ? GROUP BY state"
        rows = self.database.execute(query, (first, self.end if end is None else end)).fetchall()
        return {State(state): count for state, count in rows}

    @property
    def end(self) -> int:
        """The position after the last unit."""
        return int(self.database.execute("SELECT coalesce(max(position) + 1, 0) FROM units").fetchone()[0])

    def count_open(self) -> int:
        """Count the open units."""
        return sum(count for state, count in self.counts().items() if state.is_open)

    def open_units(self, first: int = 0, end: int | None = None) -> Iterator[WorkUnit]:
        """Yield the open units in the order of the plan, without those that are added later.

        The ledger may be changed meanwhile.

        Args:
            first: position of the first that may be.
            end: position after the last that may be; None for all.
        """
        return self._open_units(first, self.end if end is None else end)

    def _open_units(self, first: int, end: int) -> Iterator[WorkUnit]:
        """Yield the open units of a part of the plan; some thousand are read at a time."""
        last = first - 1
        while True:
            rows = self.database.execute(
                f"SELECT {_PLANNED} FROM units"
                f" WHERE position > ? AND position < ? AND state IN ({OPEN_STATES}) ORDER BY position LIMIT ?",
                (last, end, _BATCH),
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield from map(_planned, rows)

    def unit(self, position: int) -> WorkUnit:
        """Return the unit at a position of the plan."""
        (unit,) = self.units_at((position,))
        return unit

    def units_at(self, positions: Iterable[int]) -> Iterator[WorkUnit]:
        """Yield the units at positions of the plan that have one."""
        for position in positions:
            row = self.database.execute(f"SELECT {_PLANNED} FROM units WHERE position = ?", (position,)).fetchone()
            if row is not None:
                yield _planned(row)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return the ids of a selection that belong to units. The first call creates an index."""
        wanted = {bytes.fromhex(identifier) for identifier in ids}
        marks = ", ".join("?" * len(wanted))
        with self.transaction():
            self.database.execute("CREATE INDEX IF NOT EXISTS units_id ON units (id)")
        return {
            unit_id.hex()
            for (unit_id,) in self.database.execute(f"SELECT id FROM units WHERE id IN ({marks})", [*wanted])
        }

    def owner(self, file: str) -> int | None:
        """Return the position of the unit that a file belongs to, or None."""
        query = (
            "SELECT position FROM units WHERE file = :file"
            " UNION ALL SELECT position FROM further_files WHERE file = :file"
        )
        row = self.database.execute(query, {"file": file}).fetchone()
        return None if row is None else int(row[0])

    def release(self, *files: str) -> None:
        """Take files from their units: they are gone, or others have their names. The units keep their digests."""
        names = [(file,) for file in files]
        with self.transaction():
            self.database.executemany("UPDATE units SET file = NULL, bytes = NULL WHERE file = ?", names)
            for table in ("further_files", "layers"):
                self.database.executemany(f"DELETE FROM {table} WHERE file = ?", names)

    def set_errors(self, remarks: Mapping[int, str]) -> None:
        """Store a text as the error of settled units that have none, by position; their states stay."""
        rows = [(text, position) for position, text in remarks.items()]
        with self.transaction():
            self.database.executemany("UPDATE units SET error = ? WHERE position = ? AND error IS NULL", rows)

    def record(self, records: Sequence[Record]) -> None:
        """Store outcomes, all or none; attempts, requests and compute are added to earlier ones."""
        assignments = ", ".join(f"{c} = {c} + ?" if c in _SUMS else f"{c} = ?" for c in _RECORDED)
        rows = [(record.state.value, *_recorded_values(record), record.position) for record in records]
        with self.transaction():
            self.database.executemany(f"UPDATE units SET {assignments} WHERE position = ?", rows)
            profiled = [(r.eecu_seconds, r.position) for r in records if r.eecu_seconds is not None]
            self.database.executemany(_ADD_COMPUTE, profiled)
            self.forget_files(record.position for record in records)
            settled = [(record.position,) for record in records if not record.state.is_open]
            self.database.executemany("DELETE FROM exports WHERE position = ?", settled)
            files = [(record.position, record.file, file) for record in records for file in record.files]
            self.add_files(
                [(p, file.name, file.size, file.sha256) for p, first, file in files if file.name != first],
                [(position, file.name, file.layer, file.metadata) for position, _, file in files if file.metadata],
            )

    def add_files(
        self, further: Iterable[tuple[int, str, int, str]], layers: Iterable[tuple[int, str, str, str]]
    ) -> None:
        """Store files of units, within a transaction.

        Args:
            further: position of the unit, path, size in bytes and sha256 of files beyond a unit's first.
            layers: position of the unit, path, layer and metadata (JSON) of files that have metadata of their own.
        """
        self.database.executemany(
            "INSERT OR REPLACE INTO further_files (position, file, bytes, sha256) VALUES (?, ?, ?, ?)", further
        )
        self.database.executemany(
            "INSERT OR REPLACE INTO layers (position, file, layer, metadata) VALUES (?, ?, ?, ?)", layers
        )

    def add_exports(
        self, position: int, tasks: Sequence[tuple[str, str]], requests: int, seconds: float, started: str
    ) -> None:
        """Store the batch tasks that export the results of a unit; they are removed when the unit is recorded.

        Args:
            tasks: operation and address of the file, in the order of the results.
            requests: sent for the unit so far.
            seconds: seconds that they took.
            started: when the tasks were started, ISO 8601.
        """
        rows = [(position, number, *task, requests, seconds, started) for number, task in enumerate(tasks)]
        with self.transaction():
            self.database.execute("DELETE FROM exports WHERE position = ?", (position,))
            self.database.executemany("INSERT INTO exports VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def add_compute(self, seconds: Iterable[tuple[int, float]], account: Mapping[str, Any]) -> None:
        """Add the compute of units, and store the account of the run, all or none.

        Args:
            seconds: position and EECU-seconds of each unit.
            account: as JSON, read back by :meth:`meta` under :data:`COMPUTE`.
        """
        with self.transaction():
            self.database.executemany(_ADD_COMPUTE, ((value, position) for position, value in seconds))
            self.set_meta({COMPUTE: account})

    def reopen(self, positions: Iterable[int]) -> int:
        """Set units back to planned and remove their results; return their number."""
        cleared = ", ".join(f"{c} = NULL" for c in RECORD_COLUMNS if c != "state" and c not in _SUMS)
        wanted = set(positions)
        with self.transaction():
            cursor = self.database.executemany(
                f"UPDATE units SET state = 'planned', {cleared} WHERE position = ?", ((p,) for p in wanted)
            )
            self.forget_files(wanted)
        return cursor.rowcount

    def forget_files(self, positions: Iterable[int]) -> None:
        """Remove the rows of files of earlier results, as the next result may have fewer files."""
        rows = [(position,) for position in positions]
        for table in ("further_files", "layers"):
            self.database.executemany(f"DELETE FROM {table} WHERE position = ?", rows)

    def rows(self, columns: Sequence[str], positions: Sequence[int] | None = None) -> Iterator[tuple[Any, ...]]:
        """Yield rows of the units, as :meth:`batches` does, one at a time."""
        for batch in self.batches(columns, positions):
            yield from batch

    def batches(self, columns: Sequence[str], positions: Sequence[int] | None = None) -> Iterator[list[Any]]:
        """Yield rows of the units in the order of the plan, some thousand at a time.

        Args:
            columns: names of the columns.
            positions: positions of the units; None for all.
        """
        chosen = "" if positions is None else " WHERE position IN (SELECT value FROM json_each(?))"
        query = f"SELECT {', '.join(columns)} FROM units{chosen} ORDER BY position"
        cursor = self.database.execute(query, () if positions is None else (json.dumps([*positions]),))
        while batch := cursor.fetchmany(_BATCH * 5):
            yield batch

    def _script(self, statements: str) -> None:
        # executescript() would commit the transaction.
        for statement in statements.split(";"):
            if statement.strip():
                self.database.execute(statement)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Write what is written inside the block, or nothing if it raises an exception."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self.database.in_transaction:
                self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")


def _planned(row: tuple[Any, ...]) -> WorkUnit:
    position, identifier, unit, name, attempts, replaces = row
    return WorkUnit(position, identifier.hex(), unit, name, attempts, replaces)
