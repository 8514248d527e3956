"""Read the ledger of a run as a whole: numbers of units, failures, sums of costs and bytes, files, grids, source
images, and waiting batch tasks.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from eechips.manifest.manifest_columns import FAILURES, LAYERS, OPEN_STATES, Column, State
from eechips.manifest.sqlite.database import Connection
from eechips.recipe.units import COMPLETES

RowT = TypeVar("RowT", bound=tuple[Any, ...])


class RecordedResult(NamedTuple):
    """A recorded file of a unit. A tuple, as there may be a million.

    Attributes:
        position: position of the unit in the plan.
        unit: its id.
        layer: layer of the file; empty if the unit has one file, or is a script's.
        name: path of the file below the output folder.
        size: bytes.
        sha256: SHA-256 digest of its content, hexadecimal.
        finished: when the unit was finished, in seconds since 1970; None if that is unknown.
    """

    position: int
    unit: str
    layer: str
    name: str
    size: int
    sha256: str | None
    finished: float | None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all attempted units.

    Attributes:
        requests: sent for them, repeats included.
        bytes: number of bytes of their files.
        seconds: sum of the time spent on each.
        dropped: those without data whose file was not kept.
    """

    units: int
    requests: int
    bytes: int
    seconds: float
    dropped: int


class StatusNumbers(NamedTuple):
    """Numbers of the units of a run.

    Attributes:
        requests: sent for all units.
        rate: results a second between the first and the last one finished; None if there are too few, or all
            finished within a second.
        dropped: empty units that have no file.
        without_file: units that are done and have no file.
        without_rows: units whose file is a table without rows.
    """

    requests: int
    rate: float | None
    dropped: int
    without_file: int
    without_rows: int


def read_status_numbers(database: Connection) -> StatusNumbers:
    """Return numbers of the units for the status of a run."""
    requests, count, seconds, *others = database.execute(
        "SELECT coalesce(sum(requests), 0), count(finished),"
        " (julianday(max(finished)) - julianday(min(finished))) * 86400.0,"
        " coalesce(sum(state = 'empty' AND file IS NULL), 0), coalesce(sum(state = 'done' AND file IS NULL), 0),"
        " coalesce(sum(rows = 0 AND file IS NOT NULL), 0) FROM units"
    ).fetchone()
    has_rate = count > 1 and seconds >= 1.0  # two units that finish together were not a thousand a second
    return StatusNumbers(requests, (count - 1) / seconds if has_rate else None, *others)


def count_failures(database: Connection) -> dict[str, int]:
    """Return failed units by class of their error."""
    query = "SELECT error_class, count(*) FROM units WHERE state LIKE 'failed%' GROUP BY 1 ORDER BY 2 DESC, 1"
    return dict(database.execute(query).fetchall())


def read_failures(database: Connection) -> Iterator[tuple[Any, ...]]:
    """Yield the columns :data:`~eechips.manifest.manifest_columns.FAILURES` of failed units."""
    columns = ", ".join(column.selection for column in FAILURES)
    yield from database.execute(f"SELECT {columns} FROM units WHERE state LIKE 'failed%' ORDER BY position")


def sum_bytes(database: Connection) -> int:
    """Sum the bytes of all files."""
    query = "SELECT sum(bytes) FROM (SELECT bytes FROM units UNION ALL SELECT bytes FROM further_files)"
    return int(database.execute(query).fetchone()[0] or 0)


def sum_totals(database: Connection) -> Totals:
    """Sum the costs of all attempted units."""
    units, requests, seconds, dropped = database.execute(
        "SELECT count(*), coalesce(sum(requests), 0), coalesce(sum(seconds), 0.0),"
        " coalesce(sum(state = 'empty' AND file IS NULL), 0) FROM units WHERE state != 'planned'"
    ).fetchone()
    return Totals(units, requests, sum_bytes(database), seconds, dropped)


def bytes_of_units(database: Connection) -> list[int]:
    """Return the bytes of the files of each attempted unit."""
    further = "coalesce((SELECT sum(f.bytes) FROM further_files AS f WHERE f.position = u.position), 0)"
    query = f"SELECT coalesce(u.bytes, 0) + {further} FROM units AS u WHERE u.state != 'planned' ORDER BY u.position"
    return [int(size) for (size,) in database.execute(query)]


def has_layers(database: Connection) -> bool:
    """Return whether units have several files."""
    query = "SELECT EXISTS (SELECT 1 FROM layers) OR EXISTS (SELECT 1 FROM further_files)"
    return bool(database.execute(query).fetchone()[0])


def find_gap(database: Connection) -> int:
    """Return the first position without a unit; after an estimate or a recovery, later ones may have units."""
    count, end = database.execute("SELECT count(*), coalesce(max(position) + 1, 0) FROM units").fetchone()
    if count == end:
        return int(end)
    has_first = database.execute("SELECT 1 FROM units WHERE position = 0").fetchone()
    follows = "SELECT 1 FROM units WHERE position = u.position + 1"
    query = f"SELECT position FROM units u WHERE NOT EXISTS ({follows}) ORDER BY position LIMIT 1"
    return int(database.execute(query).fetchone()[0]) + 1 if has_first else 0


def sample_units(database: Connection, most: int) -> list[str]:
    """Return open units as JSON: up to so many, spread evenly over the plan."""
    end = database.execute("SELECT coalesce(max(position) + 1, 0) FROM units").fetchone()[0]
    step = max(1, -(-end // most))
    query = f"SELECT unit FROM units WHERE position % ? = 0 AND state IN ({OPEN_STATES}) ORDER BY position"
    sampled = database.execute(query, (step,)).fetchall()
    if not sampled:  # only a few are left, between these
        query = f"SELECT unit FROM units WHERE state IN ({OPEN_STATES}) ORDER BY position LIMIT ?"
        sampled = database.execute(query, (most,)).fetchall()
    return [unit for (unit,) in sampled]


def open_positions(database: Connection, first: int, end: int) -> list[int]:
    """Return the positions of the open units between two positions, in order.

    Args:
        first: position of the first that may be.
        end: position after the last that may be.
    """
    between = "position >= ? AND position < ?"
    query = f"SELECT position FROM units WHERE {between} AND state IN ({OPEN_STATES}) ORDER BY position"
    return [position for (position,) in database.execute(query, (first, end))]


def read_dropped(database: Connection, *, empty: bool = True) -> Iterator[int]:
    """Yield positions of units that have neither a file nor a replacement, in order.

    Units that complete others are not among them: what replaces the others has all files.

    Args:
        empty: include units that were empty, not only excluded ones.
    """
    states = "('empty', 'skipped')" if empty else "('skipped')"
    query = (
        f"SELECT position FROM units WHERE state IN {states} AND file IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM units AS other WHERE other.replaces = units.position)"
        f" AND (NOT instr(unit, '\"{COMPLETES}\"') OR json_extract(unit, '$.{COMPLETES}') IS NULL) ORDER BY position"
    )
    yield from (position for (position,) in database.execute(query))


def read_files(database: Connection, positions: Collection[int] | None = None) -> Iterator[RecordedResult]:
    """Yield the recorded files of all units, or of some, in the order of the plan; a unit's first file comes first."""
    among = "" if positions is None else " AND u.position IN (SELECT value FROM json_each(:positions))"
    queries = (
        f"SELECT u.position, lower(hex(u.id)), coalesce((SELECT layer FROM layers WHERE file = {f}.file), ''),"
        f" {f}.file, {f}.bytes, {f}.sha256, (julianday(u.finished) - 2440587.5) * 86400.0, {number}"  # from 1970 on
        f" FROM {table} WHERE {f}.file IS NOT NULL{among}"
        for f, number, table in (
            ("u", "-1", "units AS u"),
            ("f", "f.rowid", "further_files AS f JOIN units AS u USING (position)"),
        )
    )
    values = {} if positions is None else {"positions": json.dumps(list(positions))}
    rows = database.execute(f"{' UNION ALL '.join(queries)} ORDER BY 1, 8", values)
    yield from (RecordedResult(*row[:-1]) for row in rows)


def sample_files(database: Connection, count: int) -> list[str]:
    """Return paths of at most so many files of units with data, spread over the plan."""
    having = "state = 'done' AND file IS NOT NULL"
    first, last = database.execute(f"SELECT min(position), max(position) FROM units WHERE {having}").fetchone()
    if first is None:
        return []
    query = f"SELECT file FROM units WHERE {having} AND position >= ? ORDER BY position LIMIT 1"
    wanted = (first + (last - first) * i // max(count - 1, 1) for i in range(count))
    return list(dict.fromkeys(database.execute(query, (position,)).fetchone()[0] for position in wanted))


class FilesAhead(Generic[RowT]):
    """Files of units, read in step with the units.

    Args:
        rows: begin with the position of their unit; in the order of the plan.
    """

    def __init__(self, rows: Iterable[RowT]) -> None:
        self._rows = iter(rows)
        self._next = next(self._rows, None)

    def of(self, position: int) -> list[RowT]:
        """Return the rows of the unit at a position; positions ascend."""
        own: list[RowT] = []
        while self._next is not None and self._next[0] <= position:
            if self._next[0] == position:
                own.append(self._next)
            self._next = next(self._rows, None)
        return own


def layer_columns(database: Connection) -> tuple[Column, ...]:
    """Return the columns of the files of a run: all but the optional ones of which no file has a value."""
    without = {column.name for column in LAYERS if column.is_optional and not _has_value(database, column.name)}
    return tuple(column for column in LAYERS if column.name not in without)


def _has_value(database: Connection, name: str) -> bool:
    """Return whether the metadata of some file, or of a frame in it, have a value of a column."""
    of_frame = f"SELECT 1 FROM json_each(metadata, '$.frames') AS f WHERE json_extract(f.value, '$.{name}') IS NOT NULL"
    query = (
        f"SELECT EXISTS (SELECT 1 FROM layers WHERE instr(metadata, '\"{name}\"')"
        f" AND (json_extract(metadata, '$.{name}') IS NOT NULL OR EXISTS ({of_frame})))"
    )
    return bool(database.execute(query).fetchone()[0])


def read_unit_files(database: Connection, positions: Sequence[int] | None = None) -> Iterator[tuple[Any, ...]]:
    """Yield every file of the units that have several, in the order of the plan, each unit's first file first.

    Args:
        positions: positions of some units, a few hundred at most; the only file of a unit is included then. None for
            all units.

    Yields:
        Position, id, layer (None for a file of a script), path, bytes, sha256, and metadata as JSON.
    """
    several = "SELECT position FROM layers UNION SELECT position FROM further_files"
    chosen = several if positions is None else ", ".join("?" * len(positions))
    among = "" if positions is None else f" WHERE position IN ({chosen})"
    yield from database.execute(
        "SELECT u.position, lower(hex(u.id)), nullif(l.layer, ''), f.file, f.bytes, f.sha256,"
        " coalesce(l.metadata, '{}') FROM ("
        "  SELECT position, file, bytes, sha256, -1 AS number FROM units WHERE file IS NOT NULL"
        f"   AND position IN ({chosen})"
        f"  UNION ALL SELECT position, file, bytes, sha256, rowid FROM further_files{among}"
        " ) AS f JOIN units AS u ON u.position = f.position LEFT JOIN layers AS l ON l.file = f.file"
        " WHERE u.file IS NOT NULL ORDER BY u.position, f.number",
        (*(positions or ()), *(positions or ())),
    )


def read_file_grids(database: Connection) -> Iterator[tuple[str, str, str, int, int]]:
    """Yield the grid of every file of units with a grid: path, CRS, transform as JSON, width, height."""
    columns = "crs, transform, width, height"
    known = "crs IS NOT NULL AND transform IS NOT NULL AND width IS NOT NULL AND height IS NOT NULL"
    yield from database.execute(f"SELECT file, {columns} FROM units WHERE file IS NOT NULL AND {known}")
    further = "further_files AS f JOIN units USING (position)"
    yield from database.execute(f"SELECT f.file, {columns} FROM {further} WHERE {known}")


def read_sources(database: Connection, since: str = "") -> Iterator[tuple[str, str | None]]:
    """Yield the id of each asset that results show, in order, and when the first of these results was fetched.

    Args:
        since: only results that were fetched at or after this moment, ISO 8601, UTC.
    """
    yield from database.execute(
        "SELECT s.value, min(u.finished) FROM units AS u, json_each(u.sources) AS s WHERE u.state IN ('done', 'empty')"
        " AND typeof(s.value) = 'text' AND coalesce(u.finished, '') >= ? GROUP BY s.value ORDER BY s.value",
        (since,),
    )


def read_positions_of(database: Connection, sources: Collection[str]) -> list[int]:
    """Return the positions of units whose results show one of some assets, given by their ids."""
    rows = database.execute(
        "SELECT DISTINCT u.position FROM units AS u, json_each(u.sources) AS s"
        " WHERE u.file IS NOT NULL AND s.value IN (SELECT value FROM json_each(?)) ORDER BY u.position",
        (json.dumps(list(sources)),),
    )
    return [int(position) for (position,) in rows]


def read_bands(database: Connection) -> tuple[str, ...]:
    """Return the names of all bands of results, in order."""
    rows = database.execute("SELECT DISTINCT b.value FROM units AS u, json_each(u.bands) AS b ORDER BY b.value")
    return tuple(str(name) for (name,) in rows)


def read_exports(database: Connection) -> dict[int, tuple[list[tuple[str, str]], int, float]]:
    """Return the stored batch tasks by position of their unit: see :meth:`Ledger.add_exports`."""
    exports: dict[int, tuple[list[tuple[str, str]], int, float]] = {}
    query = "SELECT position, operation, url, requests, seconds FROM exports ORDER BY position, number"
    for position, operation, url, requests, seconds in database.execute(query):
        exports.setdefault(position, ([], requests, seconds))[0].append((operation, url))
    return exports


def count_exports(database: Connection) -> tuple[int, str | None]:
    """Return the number of units that wait for batch tasks, and when the oldest of these was started."""
    count, oldest = database.execute("SELECT count(DISTINCT position), min(started) FROM exports").fetchone()
    return count, oldest


class UnitOutcome(NamedTuple):
    """How far a unit is.

    Attributes:
        finished: time of the last attempt, ISO 8601, UTC; None before the first.
        replacement: position of the unit that replaces it; None if none does.
    """

    state: State
    has_file: bool
    finished: str | None
    replacement: int | None


def read_outcomes(database: Connection, positions: Sequence[int]) -> dict[int, UnitOutcome]:
    """Return how far some units are, a few hundred at most, by position."""
    marks = ", ".join("?" * len(positions))
    query = (
        "SELECT u.position, u.state, u.file IS NOT NULL, u.finished, r.position FROM units AS u"
        f" LEFT JOIN units AS r ON r.replaces = u.position WHERE u.position IN ({marks})"
    )
    rows = database.execute(query, tuple(positions)).fetchall()
    return {
        position: UnitOutcome(State(state), bool(has_file), finished, replacement)
        for position, state, has_file, finished, replacement in rows
    }


def read_digest(database: Connection, file: str) -> str | None:
    """Return the SHA-256 digest of a file of a unit, or None."""
    query = "SELECT sha256 FROM units WHERE file = :file UNION ALL SELECT sha256 FROM further_files WHERE file = :file"
    row = database.execute(query, {"file": file}).fetchone()
    return None if row is None else str(row[0])
