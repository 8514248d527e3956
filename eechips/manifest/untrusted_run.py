"""Check that a ledger and run.json, which may come from others, hold only what eechips writes.

Paths are looked at in every ledger that is opened. The values are looked at, all of them, in those of other users.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eechips.errors import StorageError, UsageError
from eechips.manifest.manifest_columns import (
    FILE,
    FRAME,
    FRAME_VALUES,
    LAYER_COLUMNS,
    MANIFEST,
    Column,
    State,
    names_of,
)
from eechips.manifest.sqlite.database import Connection
from eechips.storage import check_name
from eechips.storage.untrusted_files import parse_json, read_json
from eechips.text.formatting import short_digest
from eechips.text.timestamps import parse_timestamp

if TYPE_CHECKING:
    from eechips.manifest.sqlite.ledger import Ledger

INFO_NAME = "run.json"
_INFO_CURE = "move it away, and give the command of the run again, which writes it anew"
_ID_BYTES = 32

_MOMENT = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z"
"""Pattern of :func:`eechips.text.timestamps.utc_now`."""
_WRONG_ROWS = {
    "units": "file IS NOT NULL AND bytes IS NULL",
    "further_files": "typeof(sha256) != 'text' OR typeof(bytes) != 'integer' OR bytes < 0",
    "exports": "typeof(operation) != 'text' OR url NOT GLOB 'gs://?*/?*' OR typeof(requests) != 'integer'"
    f" OR typeof(seconds) != 'real' OR started NOT GLOB '{_MOMENT}'",
}
"""Conditions of SQL for rows that no run has recorded, by table."""

_INFO: Mapping[str, type | tuple[type, ...]] = {
    "command": (str, type(None)),
    "directory": str,
    "folder": str,
    "recipe": str,
    "identity": str,
    "parameters": dict,
    "name": str,
    "call": (dict, type(None)),
    "source": str,
    "results": (str, type(None)),
    "endpoint": str,
    "project": (str, type(None)),
    "datasets": list,
    "bands": list,
    "notes": list,
    "assembled": list,
    "versions": dict,
    "started": str,
    "finished": (str, type(None)),
    "units": dict,
    "code_changes": list,
}
"""Types of the values of run.json."""


def read_info(folder: Path) -> dict[str, Any]:
    """Read run.json; empty if there is none.

    Raises:
        StorageError: if it is not as eechips writes it.
        UsageError: if it is a link out of the folder, or no regular file.
    """
    path = folder / INFO_NAME
    try:
        info = read_json(path, folder)
    except FileNotFoundError:
        return {}
    except StorageError as error:
        if isinstance(error.__cause__, OSError):  # the disk is at fault, not the file
            raise
        raise StorageError(f"{error}. What helps: {_INFO_CURE}") from error
    if not isinstance(info, dict):
        raise StorageError(f"{path} is damaged: it is not a JSON object. What helps: {_INFO_CURE}")
    for key, kind in _INFO.items():
        if key in info and not isinstance(info[key], kind):
            raise StorageError(f"{path} is damaged: {key} is {json.dumps(info[key])[:60]}")
    for key, kinds in (("datasets", dict), ("bands", dict), ("notes", str)):
        if not all(isinstance(entry, kinds) for entry in info.get(key, ())):
            raise StorageError(f"{path} is damaged: {key} has values of other types")
    for entry in info.get("datasets", ()):
        if not isinstance(entry.get("id"), str) or not all(isinstance(v, (str, type(None))) for v in entry.values()):
            raise StorageError(f"{path} is damaged: datasets has values of other types")
    return info


def check_paths(ledger: Ledger) -> None:
    """Check that every path recorded in a ledger stays below the folder of the results.

    Raises:
        UsageError: naming the unit and the path.
    """
    for identifier, file in _invalid_paths(ledger.database):
        _check_path(ledger, f"unit {short_digest(identifier)} has its file at", file)
    assembled = ledger.meta().get("assembled") or []
    if not isinstance(assembled, list):
        raise StorageError(f"{ledger.path} is damaged: assembled is {assembled!r}"[:300])
    for assembled_file in assembled:
        file = assembled_file.get("file") if isinstance(assembled_file, dict) else None
        _check_path(ledger, "what was made of all results is at", file)


def _check_path(ledger: Ledger, subject: str, file: object) -> None:
    try:
        check_name(file if isinstance(file, str) else "")
    except UsageError:
        raise UsageError(
            f"{ledger.path} cannot be used: {subject} {file!r}, which leads out of the folder. Somebody has changed it"
        ) from None


def check_values(ledger: Ledger) -> None:
    """Check that the values of a ledger have the types that eechips writes.

    Raises:
        StorageError: naming the unit.
    """
    for key, wrong in _wrong_meta(ledger.meta()):
        raise StorageError(f"{ledger.path} is damaged: {key} is {json.dumps(wrong)[:60]}")
    _check_units(ledger)
    _check_layers(ledger)
    for table, wrong in _WRONG_ROWS.items():
        query = f"SELECT position FROM {table} WHERE typeof(position) != 'integer' OR {wrong}"
        for (position,) in ledger.database.execute(query):
            raise _invalid(ledger, f"no. {position}", f"of {table}")


def _check_units(ledger: Ledger) -> None:
    for rows in ledger.batches(names_of(MANIFEST)):
        for column, values in zip(MANIFEST, zip(*rows, strict=True), strict=True):
            for _, value in set(zip(map(type, values), values, strict=True)):  # most columns have few values
                try:
                    _check_value(column, value)
                except (ValueError, TypeError, RecursionError) as error:
                    position, identifier = rows[values.index(value)][:2]
                    name = identifier.hex() if isinstance(identifier, bytes) else f"no. {position}"
                    raise _invalid(ledger, name, error) from error


def _check_layers(ledger: Ledger) -> None:
    for position, layer, text in ledger.database.execute("SELECT position, layer, metadata FROM layers"):
        try:
            if not isinstance(layer, str) or "/" in layer or layer.startswith((".", "__")):
                raise ValueError(f"the name of a layer is {layer!r:.80}")
            known_metadata(parse_json(text))
        except (ValueError, TypeError, AttributeError) as error:
            raise _invalid(ledger, f"no. {position}", error) from error


def _invalid(ledger: Ledger, unit: str, reason: object) -> StorageError:
    unit = short_digest(unit)
    return StorageError(f"{ledger.path} is damaged: unit {unit} has values that no run records: {reason!s:.200}")


def _check_value(column: Column, value: Any) -> None:
    """Raise ValueError, TypeError or RecursionError if a value of a row of units is none that a run has recorded."""
    if column.is_digest:
        if not isinstance(value, bytes) or len(value) != _ID_BYTES:
            raise ValueError(f"{column.name} is {value!r:.80}")
        return
    is_json = column.name == "unit" or column.element_type is not None
    if is_json and not isinstance(value, (str, type(None))):
        raise TypeError(f"{column.name} is {value!r:.80}")
    if column.name == "unit" and not isinstance(parse_json(value), dict):
        raise ValueError(f"{column.name} is {value!r:.80}")
    if column.name == "state":
        State(value)
    is_list = column.element_type is not None and value is not None
    if not _accepts(column, json.loads(value) if is_list else value):
        raise ValueError(f"{column.name} is {value!r:.80}")


def _accepts(column: Column, value: Any) -> bool:
    is_wrong_time = column.name == "finished" and isinstance(value, str) and parse_timestamp(value) is None
    return column.accepts(value) and not is_wrong_time


def known_values(stored: Mapping[str, Any], columns: Iterable[Column]) -> dict[str, Any]:
    """Return the values of columns that a row or a JSON object has, lists as such.

    Raises:
        ValueError: if one is not as a ledger holds it.
    """
    values = {column.name: stored[column.name] for column in columns if column.name in stored}
    if values.get("file") is not None and None in (values.get("bytes"), values.get("sha256")):
        raise ValueError("a file has no size or no digest")
    for column in columns:
        if column.name in values and not _accepts(column, values[column.name]):
            raise ValueError(f"{column.name} is {values[column.name]!r:.80}")
    return values


def known_metadata(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a file, with a value for each of ``LAYER_COLUMNS``.

    Raises:
        ValueError: if a value is not as the ledger holds it.
    """
    facts = dict.fromkeys(LAYER_COLUMNS) | known_values(stored, (*FILE, *FRAME))
    frames = stored.get("frames")
    if frames is None:
        return facts
    if not frames or not all(isinstance(frame.get("frame"), int) for frame in frames):
        raise ValueError("its frames have no numbers")
    return facts | {"frames": [known_values(frame, FRAME_VALUES) for frame in frames]}


def _invalid_paths(database: Connection) -> Iterator[tuple[str, Any]]:
    """Yield id and path of files whose paths may lead out of the folder of results; most ledgers have none."""
    odd = (
        "(typeof(file) != 'text' OR file = '' OR file GLOB '/*' OR file GLOB '*..*' OR file GLOB '*\\*'"
        " OR file GLOB '*:*' OR instr(CAST(file AS BLOB), x'00'))"
    )
    for table in ("units", "further_files", "layers"):
        query = f"SELECT position, file FROM {table} WHERE file IS NOT NULL AND {odd}"
        for position, file in database.execute(query).fetchall():
            row = database.execute("SELECT lower(hex(id)) FROM units WHERE position = ?", (position,)).fetchone()
            yield row[0] if row else "?", file


def _wrong_meta(meta: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    kinds = {"recipe": str, "identity": str, "parameters": dict, "name": str, "source": str, "results": str}
    yield from ((key, meta[key]) for key, kind in kinds.items() if key in meta and not isinstance(meta[key], kind))
    assembled = meta.get("assembled") or []
    wanted = (("file", str), ("bytes", int), ("sha256", str))
    if not isinstance(assembled, list) or not all(isinstance(e, dict) and _has(e, wanted) for e in assembled):
        yield "assembled", assembled
    stubs = meta.get("stubs") or []
    if not isinstance(stubs, list) or not all(isinstance(stub, str) for stub in stubs):
        yield "stubs", stubs
    outside = meta.get("outside") or {"files": 0, "folders": []}
    is_told = isinstance(outside, dict) and _has(outside, (("files", int), ("folders", list)))
    if not is_told or not all(isinstance(folder, str) for folder in outside["folders"]):
        yield "outside", outside


def _has(values: Mapping[str, Any], wanted: tuple[tuple[str, type], ...]) -> bool:
    return all(isinstance(values.get(name), kind) for name, kind in wanted)
