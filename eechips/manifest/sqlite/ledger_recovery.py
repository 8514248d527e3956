"""Make the ledger of a run again: from its manifest, or from what can be read of the damaged ledger.

A finished run has everything in ``manifest.parquet``, ``layers.parquet`` and ``run.json``. Of an interrupted one the
rows that SQLite can still read are kept; the next run of the command adds the units that are missing to the plan.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.errors import EechipsError, StorageError
from eechips.files.removal import LockedFolder, NamedPath, remove, replace, set_aside
from eechips.files.temporary_names import new_writer, temporary_name
from eechips.manifest.export import LAYERS_NAME, PARQUET_NAME
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.manifest_columns import FRAME, LAYER_COLUMNS, LAYERS, LISTS, MANIFEST, RECORD, State, names_of
from eechips.manifest.sqlite.database import COUNT_UNITS, NO_CONTENT, PLANNED_COUNT, Connection, connect, damaged
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.untrusted_run import INFO_NAME, check_paths, check_values, read_info
from eechips.storage.untrusted_files import open_parquet, parse_json

_DESCRIPTION = (
    "recipe", "identity", "parameters", "name", "source", "results", "checksums_only", "plans_gradually", "assembled",
    "assembly",
)  # fmt: skip
"""Keys of run.json that the ledger has as well: which run it is of, and what was assembled of its results."""

_UNIT = names_of(MANIFEST)
_FURTHER = ("position", "file", "bytes", "sha256")
_LAYER = ("position", "file", "layer", "metadata")
_OF_FRAMES = names_of(column for column in (*FRAME, *RECORD) if column.of_frame)
_BLOCK = 512  # rows that are read at a time, until one cannot be read
_MOST_EMPTY = 64  # blocks without a row after the last one


@dataclass(frozen=True, slots=True)
class RecoveredLedger:
    """A ledger that was made again.

    Attributes:
        source: name of the file from which it was made.
        is_whole: whether it has the whole plan; if not, the command of the run adds the rest.
        reopened: units that are fetched again, as it is unknown which files they have.
        kept: the damaged ledger under its new name; None if there was none.
    """

    source: str
    units: int
    is_whole: bool
    reopened: int
    kept: Path | None


@dataclass(slots=True)
class _Rows:
    """Rows of the tables of a ledger, with ids as bytes and lists as JSON.

    Attributes:
        source: name of the file that they come from.
        meta: what is known of the plan.
        units: in the order of ``_UNIT``.
        further: in the order of ``_FURTHER``.
        layers: in the order of ``_LAYER``.
        is_whole: whether no row is missing.
    """

    source: str
    meta: dict[str, Any]
    units: list[tuple[Any, ...]]
    further: list[tuple[Any, ...]]
    layers: list[tuple[Any, ...]]
    is_whole: bool


def _fill(ledger: Ledger, rows: _Rows) -> int:
    """Store rows in a new ledger; reopen the units of which files may be unknown, and return their number."""
    ledger.begin_plan(rows.meta)
    marks = ", ".join("?" * len(_UNIT))
    with ledger.transaction():
        ledger.database.executemany(f"INSERT INTO units ({', '.join(_UNIT)}) VALUES ({marks})", rows.units)
        ledger.database.execute(COUNT_UNITS)
        ledger.add_files(rows.further, rows.layers)
    reopened = ledger.reopen(_lacking_files(rows)) if not rows.is_whole else 0
    if rows.is_whole:
        ledger.complete_plan()
    return reopened


def recover_ledger(folder: Path) -> RecoveredLedger:
    """Make the ledger of a run again; keep the damaged one under another name.

    Raises:
        UsageError: if a process is running in the folder, or what there is was not written by eechips.
        StorageError: if nothing is left to make it of; the message says what to do.
    """
    path = folder / LEDGER_NAME
    with lock_folder(folder):
        rows = _read_rows(folder)
        temporary = folder / temporary_name(LEDGER_NAME, str(new_writer()))
        try:
            with Ledger(temporary) as ledger:
                reopened = _fill(ledger, rows)
                check_paths(ledger)
                check_values(ledger)
            kept = set_aside(path) if path.is_file() else None
            for suffix in ("-wal", "-shm", "-journal"):
                remove(folder / f"{LEDGER_NAME}{suffix}", LockedFolder(folder))
            replace(temporary, path)
        except OSError as error:
            raise StorageError.of_write(path, error) from error
        finally:
            for suffix in ("", "-wal", "-shm", "-journal"):
                remove(temporary.with_name(temporary.name + suffix), NamedPath())
    return RecoveredLedger(rows.source, len(rows.units), rows.is_whole, reopened, kept)


def check_not_lost(folder: Path) -> None:
    """Refuse to begin a run anew, and to replace its manifest, where its ledger is lost and a result is left.

    Raises:
        StorageError: if so; the message says what makes the ledger again.
    """
    if not (folder / PARQUET_NAME).is_file():
        return
    try:
        is_left = any(
            (folder / row["file"]).is_file() for row in _parquet_rows(folder / PARQUET_NAME, ["file"]) if row["file"]
        )
    except StorageError:  # there is no manifest that could be kept
        return
    if is_left:
        raise damaged(folder / LEDGER_NAME, f"{NO_CONTENT}, while {PARQUET_NAME} names results that are there")


def _read_rows(folder: Path) -> _Rows:
    """Read what is left of a ledger."""
    info = read_info(folder)
    if "name" not in info:
        raise StorageError(
            f"the ledger of {folder} cannot be made again: {INFO_NAME} is missing, or does not say which run it is of."
            " What helps: run the command again, in another folder"
        )
    meta = {name: info[name] for name in _DESCRIPTION if info.get(name) is not None}
    reasons = []
    readers = [_of_ledger, _of_manifest]
    for read in reversed(readers) if info.get("finished") else readers:
        try:
            return read(folder, meta)
        except StorageError as error:
            reasons.append(str(error))
    raise StorageError(
        f"the ledger of {folder} cannot be made again: {'; '.join(reasons)}. What helps: run its command again, in"
        f" another folder: {info.get('command') or 'it is in the program that made the run'}"
    )


def _of_manifest(folder: Path, meta: dict[str, Any]) -> _Rows:
    """Read the manifest of a finished run."""
    units = []
    for row in _parquet_rows(folder / PARQUET_NAME, _UNIT):
        row["id"] = bytes.fromhex(row["id"])
        row |= {name: json.dumps(row[name]) for name in LISTS if row[name] is not None}
        units.append(tuple(row[name] for name in _UNIT))
    further, layers = [], []
    if (folder / LAYERS_NAME).exists():
        first = {unit[0]: unit[_UNIT.index("file")] for unit in units}
        rows = _parquet_rows(
            folder / LAYERS_NAME, names_of(LAYERS), {layer.name for layer in LAYERS if layer.is_optional}
        )
        for (position, file), frames in itertools.groupby(rows, key=lambda row: (row["position"], row["file"])):
            layer = list(frames)
            layers.append((position, file, layer[0]["layer"] or "", json.dumps(_metadata(layer))))
            if file != first.get(position):
                further.append((position, file, layer[0]["bytes"], layer[0]["sha256"]))
    return _Rows(PARQUET_NAME, meta, units, further, layers, is_whole=True)


def _parquet_rows(path: Path, names: Sequence[str], optional: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as dicts, without the optional columns that it lacks."""
    with open_parquet(path) as file:
        names = [name for name in names if name not in optional or name in file.schema_arrow.names]
        lacking = sorted(set(names) - set(file.schema_arrow.names))
        if lacking:
            raise StorageError(f"{path} is not a manifest: it lacks {', '.join(lacking)}")
        for batch in file.iter_batches(columns=names):
            yield from batch.to_pylist()


def _metadata(frames: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the metadata of a file from its rows: one, or one for each of its frames."""
    own = [{name: frame[name] for name in LAYER_COLUMNS if frame.get(name) is not None} for frame in frames]
    if len(own) == 1:
        return own[0]
    shared = {name: value for name, value in own[0].items() if name not in _OF_FRAMES}
    return {
        **shared,
        "frames": [{name: own_frame[name] for name in _OF_FRAMES if name in own_frame} for own_frame in own],
    }


def _of_ledger(folder: Path, meta: dict[str, Any]) -> _Rows:
    """Read the rows of a damaged ledger that can be read."""
    path = folder / LEDGER_NAME
    if not path.is_file():
        raise StorageError(f"{path} is missing")
    with contextlib.closing(connect(path, readonly=True)) as database:
        units, is_whole = _table(database, "units", _UNIT, "position")
        further, has_further = _table(database, "further_files", _FURTHER, "rowid")
        layers, has_layers = _table(database, "layers", _LAYER, "rowid")
        try:
            stored = {key: parse_json(value) for key, value in database.execute("SELECT key, value FROM meta")}
        except (EechipsError, ValueError, TypeError):
            stored = {"is_partial": True}
    units = [unit for unit in units if _is_sound(unit)]
    if not units:
        raise StorageError(f"no unit can be read of {path}")
    positions = {unit[0] for unit in units}
    is_whole = is_whole and not stored.get("is_partial") and positions == set(range(len(units)))
    is_whole = is_whole and stored.get(PLANNED_COUNT) in (None, len(units))
    whole = is_whole and has_further and has_layers
    lost = () if whole else ("redrawn",)  # replacements may be among what cannot be read
    kept = {key: value for key, value in stored.items() if isinstance(key, str) and key not in lost}
    return _Rows(
        LEDGER_NAME,
        {**kept, **meta},
        units,
        [row for row in further if row[0] in positions],
        [row for row in layers if row[0] in positions],
        whole,
    )


def _is_sound(unit: Sequence[Any]) -> bool:
    """Return whether a row has an id, a unit and a state."""
    _, identifier, text, name, _, state, *_ = unit
    try:
        State(state)
        return isinstance(parse_json(text), dict) and isinstance(name, str) and len(identifier) == 32
    except (ValueError, TypeError):
        return False


def _table(database: Connection, table: str, columns: Sequence[str], key: str) -> tuple[list[tuple[Any, ...]], bool]:
    """Read the rows of a table one by one where they cannot be read together; return whether all were read."""
    query = f"SELECT {', '.join(columns)} FROM {table} NOT INDEXED WHERE {key} >= ? AND {key} < ? ORDER BY {key}"
    all_rows: list[tuple[Any, ...]] = []
    is_whole, empty, first = True, 0, 0
    while empty < _MOST_EMPTY:
        rows, is_read = _block(database, query, first, first + _BLOCK)
        all_rows += rows
        is_whole = is_whole and is_read
        empty = 0 if rows else empty + 1
        first += _BLOCK
        if not all_rows and not is_read and empty > 1:  # there is no such table, or no page of it
            break
    return all_rows, is_whole


def _block(database: Connection, query: str, first: int, end: int) -> tuple[list[tuple[Any, ...]], bool]:
    try:
        return database.execute(query, (first, end)).fetchall(), True
    except StorageError:
        if end - first == 1:
            return [], False
    middle = (first + end) // 2
    (before, _), (after, _) = _block(database, query, first, middle), _block(database, query, middle, end)
    return before + after, False


def _lacking_files(rows: _Rows) -> Iterable[int]:
    """Return the positions of units that may have more files than are known: those that have fewer than others."""
    further, layers = (Counter(position for position, *_ in table) for table in (rows.further, rows.layers))
    with_file = [unit[0] for unit in rows.units if unit[_UNIT.index("file")] is not None]
    known = {position: 1 + further[position] for position in with_file}
    if rows.layers:
        known = {position: min(count, layers[position]) for position, count in known.items()}
    most = max(known.values(), default=0)
    return [position for position, count in known.items() if count < most]
