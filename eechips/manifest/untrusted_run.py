"""Check that a ledger and run.json, which may come from others, hold only what eechips writes.

Paths are looked at in every ledger that is opened. The values are looked at, all of them, in those of other users.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eechips.errors import StorageError, UsageError
from eechips.manifest.sqlite.database import Connection
from eechips.manifest.sqlite.unit_record import FILE, FRAME, FRAME_VALUES, LARGEST, MANIFEST, Column, State
from eechips.storage import check_name
from eechips.storage.untrusted_files import parse_json, read_json

if TYPE_CHECKING:
    from eechips.manifest.sqlite.ledger import Ledger

INFO_NAME = "run.json"
_INFO_CURE = "move it away, and give the command of the run again, which writes it anew"
_BRACKETS = 64  # in the JSON of a unit whose nesting is looked at

_MOMENT = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z"
"""Pattern of :func:`eechips.text.timestamps.utc_now`."""

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
        _check_path(ledger, f"unit {identifier[:16]} has its file at", file)
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
    for identifier in _invalid_units(ledger.database):
        raise StorageError(f"{ledger.path} is damaged: unit {identifier[:16]} has values that no run records")
    for identifier, text in _deeply_nested_units(ledger.database):
        try:
            parse_json(text)
        except ValueError as error:
            raise StorageError(f"{ledger.path} is damaged: unit {identifier[:16]}: {error}") from error


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


def _invalid_units(database: Connection) -> Iterator[str]:
    """Yield ids of units whose row, or those of their files and batch tasks, no run has recorded."""
    query = f"SELECT lower(hex(id)) FROM units WHERE {' OR '.join(_wrong_columns())}"
    yield from (identifier for (identifier,) in database.execute(query))
    for table, wrong in (
        ("further_files", "typeof(sha256) != 'text' OR typeof(bytes) != 'integer' OR bytes < 0"),
        ("layers", f"typeof(layer) != 'text' OR {_invalid_metadata()}"),
        (
            "exports",
            "typeof(operation) != 'text' OR url NOT GLOB 'gs://?*/?*' OR typeof(requests) != 'integer'"
            f" OR typeof(seconds) != 'real' OR started NOT GLOB '{_MOMENT}'",
        ),
    ):
        rows = database.execute(f"SELECT position FROM {table} WHERE typeof(position) != 'integer' OR {wrong}")
        yield from (f"no. {position}" for (position,) in rows)


def _deeply_nested_units(database: Connection) -> Iterator[tuple[str, str]]:
    """Yield id and JSON of units that have many brackets."""
    brackets = "2 * length(unit) - length(replace(unit, '[', '')) - length(replace(unit, '{', ''))"
    yield from database.execute(f"SELECT lower(hex(id)), unit FROM units WHERE {brackets} > ?", (_BRACKETS,))


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


def _wrong_columns() -> Iterator[str]:
    """Yield conditions of SQL for a row of units that no run has recorded."""
    yield "position < 0 OR typeof(id) != 'blob' OR length(id) != 32"
    yield "typeof(unit) != 'text' OR NOT json_valid(unit) OR json_type(unit) != 'object'"
    yield f"state IS NULL OR state NOT IN ({', '.join(repr(state.value) for state in State)})"
    yield "(file IS NOT NULL AND bytes IS NULL)"
    yield from (f"{column.name} IS NULL" for column in MANIFEST if not column.is_nullable)
    yield from (_wrong_value(column) for column in MANIFEST if not column.is_digest)
    yield "(finished IS NOT NULL AND (finished NOT GLOB '[12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T*'" + (
        " OR julianday(finished) IS NULL))"
    )


def _wrong_value(column: Column) -> str:
    """Return the condition for a value that is not of the type of its column."""
    name = column.name
    if column.element_type is not None:
        return _wrong_list(column, name)
    if column.value_type is int:
        return f"typeof({name}) NOT IN ('null', 'integer') OR {name} NOT BETWEEN 0 AND {LARGEST[int]}"
    if column.value_type is float:
        return f"typeof({name}) NOT IN ('null', 'real', 'integer') OR abs({name}) > {LARGEST[float]}"
    return f"typeof({name}) NOT IN ('null', 'text')"


def _wrong_list(column: Column, value: str) -> str:
    """Return the condition for a value that is not a JSON list of texts, or of six numbers for a transform."""
    kinds = "('integer', 'real')" if column.element_type is float else "('text')"
    count = f" OR json_array_length({value}) != 6" if column.name == "transform" else ""
    odd = f"EXISTS (SELECT 1 FROM json_each({value}) WHERE type NOT IN {kinds})"
    return (
        f"({value} IS NOT NULL AND CASE WHEN typeof({value}) != 'text' OR NOT json_valid({value}) THEN 1"
        f" WHEN json_type({value}) != 'array' THEN 1 ELSE {odd}{count} END)"
    )


def _invalid_metadata() -> str:
    """Return the condition for a row of layers whose metadata no run has recorded."""
    wrong = " OR ".join(_wrong_json(column, "metadata") for column in (*FILE, *FRAME))
    valid = "typeof(metadata) != 'text' OR NOT json_valid(metadata)"
    return (
        f"CASE WHEN {valid} THEN 1 WHEN json_type(metadata) != 'object' THEN 1 ELSE {wrong} OR {_invalid_frames()} END"
    )


def _invalid_frames() -> str:
    """Return the condition for a list of frames, in the metadata of a file, that no run has recorded."""
    wrong = " OR ".join(_wrong_json(column, "f.value") for column in FRAME_VALUES)
    unnumbered = "json_type(f.value, '$.frame') IS NOT 'integer'"
    condition = f"CASE WHEN f.type != 'object' THEN 1 ELSE {wrong} OR {unnumbered} END"
    return f"EXISTS (SELECT 1 FROM json_each(metadata, '$.frames') AS f WHERE {condition})"


def _wrong_json(column: Column, document: str) -> str:
    """Return the condition for a value of a JSON object that is not of the type of its column."""
    if column.element_type is not None:
        return _wrong_list(column, f"json_extract({document}, '$.{column.name}')")
    kinds = {int: "'integer'", float: "'integer', 'real'", str: "'text'"}[column.value_type]
    return f"coalesce(json_type({document}, '$.{column.name}'), 'null') NOT IN ('null', {kinds})"
