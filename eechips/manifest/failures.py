"""Select the failed units of a run: list them (failures.csv), group them by message, and reopen them by class or id for
a retry.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from eechips.errors import EechipsError, UsageError
from eechips.files.removal import LockedFolder, remove
from eechips.manifest.export import COPIED, FAILURES_NAME, ValueColumns, export_layers, export_parquet, unit_values
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.manifest_columns import COLUMNS, FAILURES, Record, State
from eechips.manifest.sqlite.database import Connection
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import count_failures, read_failures
from eechips.storage import write_file
from eechips.text.formatting import format_spreadsheet
from eechips.web.redaction import redact_unit

_FAILURE_COLUMNS = tuple(column.name for column in FAILURES if column.name != "unit")
_LEAST_ID = 4  # hexadecimal digits that a unit may be called by
_VARIABLE = re.compile(
    r"(?P<kept>HTTP \d{3}\b)|'[^']*'|\"[^\"]*\"|\b[0-9a-f]{16,}\b|(?<![A-Za-z_])-?\d[\d.,:]*\d|(?<![A-Za-z_])-?\d"
)
"""Quoted texts, ids and numbers, in which messages of one kind differ."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A unit that was tried and has no result.

    Attributes:
        position: in the plan, from 0.
        id: sha256, hexadecimal.
        unit: canonical JSON.
        name: path that its result would have, without suffix.
        state: whether the next run tries it in any case.
        error_class: name of the class in :mod:`eechips.errors`.
        error: what happened.
        traceback: traceback of the recipe, for a RecipeError.
        attempts: how often it was tried, in all runs.
        seconds: seconds that the last run spent on it.
        finished: when that was, ISO 8601, UTC.
    """

    position: int
    id: str
    unit: str
    name: str
    state: State
    error_class: str
    error: str
    traceback: str | None
    attempts: int
    seconds: float | None
    finished: str | None

    @property
    def kind(self) -> tuple[str, str]:
        """Class and message, without the names and numbers in which messages of one kind differ."""
        return self.error_class, _general(self.error)

    @property
    def record(self) -> Record:
        """The failure as it is recorded again; its attempts are known already."""
        values = {name: getattr(self, name) for name in self.__slots__ if name not in ("id", "unit", "name")}
        return Record(**{**values, "attempts": 0})


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures with the same error.

    Attributes:
        error_class: name of the class in :mod:`eechips.errors`.
        error: the message; with ``…`` in place of the names and numbers in which they differ.
    """

    error_class: str
    error: str
    count: int


def _failed(database: Connection) -> Iterator[Failure]:
    """Yield failed units in the order of the plan."""
    columns = ", ".join(COLUMNS[field.name].selection for field in fields(Failure))
    query = f"SELECT {columns} FROM units WHERE state LIKE 'failed%' ORDER BY position"
    known: dict[str | None, str | None] = {}  # many failures share their texts: each is kept once
    for *identity, state, error_class, error, traceback, attempts, seconds, finished in database.execute(query):
        texts = (known.setdefault(text, text) for text in (error_class or "Error", error or "", traceback))
        yield Failure(*identity, State(state), *texts, attempts, seconds, finished)  # type: ignore[call-arg]


def list_failures(folder: str | Path, classes: Sequence[str] = ()) -> list[Failure]:
    """Return the failed units of a run, in the order of the plan.

    Args:
        classes: only those whose error has one of these classes; ``permanent`` is PermanentError. All if empty.

    Raises:
        UsageError: if no failed unit has such a class.
    """
    with Ledger(Path(folder) / LEDGER_NAME, readonly=True) as ledger:
        return _selected(ledger.database, classes)


def group_failures(failures: Iterable[Failure]) -> list[FailureGroup]:
    """Group failures by error, most frequent first."""
    groups: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for failure in failures:
        groups[failure.kind][failure.error] += 1
    failure_groups = [
        FailureGroup(error_class, _common(texts), texts.total()) for (error_class, _), texts in groups.items()
    ]
    return sorted(failure_groups, key=lambda kind: (-kind.count, kind.error_class, kind.error))


def export_failures(ledger: Ledger, folder: Path) -> Path | None:
    """Write failures.csv if there are failures; remove an old one if there are none.

    Columns: :data:`~eechips.manifest.manifest_columns.FAILURES`, with the texts and numbers of the units and their
    properties, without secrets, instead of the unit as JSON. Geometries are in manifest.parquet. No cell is a formula;
    see :func:`eechips.text.formatting.format_spreadsheet`.

    Raises:
        StorageError: if it cannot be written.
    """
    path = folder / FAILURES_NAME
    rows = list(read_failures(ledger.database))
    if not rows:
        remove(path, LockedFolder(folder))
        return None
    own = ValueColumns((row[2] for row in rows), _FAILURE_COLUMNS)
    table: list[Sequence[Any]] = [(*_FAILURE_COLUMNS, *own.names.values())]
    for row in rows:
        values = unit_values(redact_unit(json.loads(row[2])))
        table.append((*row[:2], *row[3:], *(values.get(name) for name in own.names)))
    write_file(path, format_spreadsheet(table).encode())
    return path


def rewrite_manifest(ledger: Ledger, folder: Path) -> None:
    """Write the failures and the manifest anew after a change of units; the next run puts them beside the results.

    Raises:
        StorageError: if one cannot be written.
    """
    export_failures(ledger, folder)
    export_parquet(ledger, folder)
    export_layers(ledger, folder)
    if ledger.meta().get("results"):
        ledger.note(COPIED, False)


@contextlib.contextmanager
def reopen_failures(folder: str | Path, classes: Sequence[str] = (), ids: Sequence[str] = ()) -> Iterator[int]:
    """Set failed units back to planned for the block, which calls the function of the run again.

    If the run is refused or stops with an error, units that it did not try are failures as before.

    Args:
        classes: see :func:`list_failures`.
        ids: only these units, by id or its beginning. All if empty.

    Yields:
        How many units were made planned.

    Raises:
        UsageError: if no failed unit has such a class or id, or a process is running in the folder.
    """
    folder = Path(folder)
    with lock_folder(folder), Ledger(folder / LEDGER_NAME) as ledger:
        chosen = _selected(ledger.database, classes, ids)
        ledger.reopen(failure.position for failure in chosen)
    try:
        yield len(chosen)
    except EechipsError:
        with lock_folder(folder), Ledger(folder / LEDGER_NAME) as ledger:
            untried = {unit.position: unit.attempts for unit in ledger.open_units()}
            ledger.record([f.record for f in chosen if untried.get(f.position) == f.attempts])
        raise


def _selected(database: Connection, classes: Sequence[str], ids: Sequence[str] = ()) -> list[Failure]:
    names = {_class_named(name, count_failures(database)) for name in classes}
    prefixes = {prefix.lower() for prefix in ids}
    for prefix in prefixes:
        if not re.fullmatch(rf"[0-9a-f]{{{_LEAST_ID},64}}", prefix):
            raise UsageError(f"'{prefix}' is not an id of a unit: give at least {_LEAST_ID} hexadecimal digits of it")
    selected = [
        failure
        for failure in _failed(database)
        if (not names or failure.error_class in names) and (not prefixes or failure.id.startswith(tuple(prefixes)))
    ]
    for prefix in sorted(prefixes):
        matches = sum(failure.id.startswith(prefix) for failure in selected)
        if matches != 1:
            which = "no failed unit has" if matches == 0 else f"{matches} failed units have"
            raise UsageError(f"{which} an id that begins with {prefix}")
    return selected


def _class_named(name: str, known: Collection[str]) -> str:
    """Return the class with a name, regardless of case and of ``Error`` at its end."""
    for class_name in known:
        if name.casefold() in (class_name.casefold(), class_name.casefold().removesuffix("error")):
            return class_name
    there = f"there are {', '.join(known)}" if known else "nothing failed"
    raise UsageError(f"no unit failed with '{name}': {there}")


def _general(message: str) -> str:
    """Remove quoted text, numbers and ids from a message; keep the status of an HTTP response."""
    return _VARIABLE.sub(lambda match: match["kept"] or _blank(match[0]), message)


def _common(messages: Collection[str]) -> str:
    """Join messages of one kind; names and numbers in which they differ become ``…``."""
    first, *others = (list(_VARIABLE.finditer(message)) for message in messages)
    text = next(iter(messages))
    if any(len(other) != len(first) for other in others):
        return _general(text)
    shown = []
    end = 0
    for number, match in enumerate(first):
        values = dict.fromkeys([match[0], *(other[number][0] for other in others)])
        shown += [text[end : match.start()], match[0] if len(values) == 1 else _blank(match[0])]
        end = match.end()
    return "".join([*shown, text[end:]])


def _blank(text: str) -> str:
    return "'…'" if text[0] in "'\"" else "…"
