"""Describe the outcome of a unit as an element of a collection."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Optional

from apache_beam.coders.row_coder import RowCoder
from apache_beam.coders.typecoders import registry

from eechips.engine.outcome import Finished, Lost
from eechips.errors import WorkerLostError
from eechips.manifest.unit_record import FILE_COLUMNS, LISTS, State
from eechips.text.timestamps import utc_now


# Beam makes a schema of it, and supports Optional, but not `str | None`.
class FetchedUnit(NamedTuple):
    """The outcome of a unit.

    Attributes:
        id: id of the unit: SHA-256 of the unit and the recipe.
        unit: the input value, as JSON.
        state: ``done``; ``empty``, without a valid pixel; ``failed_transient``, which can be retried;
            ``failed_permanent``.
        path: path of the file, or its address; None if there is none.
        bytes: its size.
        sha256: SHA-256 digest of its content, hexadecimal.
        metadata: metadata of the file, as JSON: :data:`~eechips.manifest.unit_record.FILE_COLUMNS`, without missing
            values.
        layers: JSON list of files, for a unit that has several: path, bytes, sha256.
        error_class: name of the class in ``eechips.errors``, if it failed.
        error: message of the error, if it failed.
        attempts: number of tries.
        requests: sent for it, including retries.
        seconds: from the start of the unit to its file.
        finished: time, ISO 8601, UTC.
        plan: identity of what the unit belongs to: SHA-256 of the recipe, with its code and parameters, and the source.
    """

    id: str
    unit: str
    state: str
    path: Optional[str] = None  # noqa: UP045
    bytes: Optional[int] = None  # noqa: UP045
    sha256: Optional[str] = None  # noqa: UP045
    metadata: str = "{}"
    layers: str = "[]"
    error_class: Optional[str] = None  # noqa: UP045
    error: Optional[str] = None  # noqa: UP045
    attempts: int = 1
    requests: int = 0
    seconds: float = 0.0
    finished: str = ""
    plan: str = ""


registry.register_coder(FetchedUnit, RowCoder)


def fetched_unit_of(event: Finished | Lost, unit: Any, place: str, plan: str) -> FetchedUnit:
    """Return the element for an outcome."""
    value = json.dumps(unit, ensure_ascii=False)
    if isinstance(event, Lost):
        failed = State.FAILED_TRANSIENT.value
        return FetchedUnit(
            id=event.assignment.id,
            unit=value,
            state=failed,
            error_class=WorkerLostError.__name__,
            error=event.reason,
            finished=utc_now(),
            plan=plan,
        )
    record = event.outcome.record
    assert record is not None
    metadata = {name: getattr(record, name) for name in FILE_COLUMNS if getattr(record, name) is not None}
    staged = () if event.outcome.staged is None else (event.outcome.staged, *event.outcome.further)
    layers = [{"path": f"{place}/{file.name}", "bytes": file.size, "sha256": file.sha256} for file in staged]
    return FetchedUnit(
        id=event.assignment.id,
        unit=value,
        state=record.state.value,
        path=None if record.file is None else f"{place}/{record.file}",
        bytes=record.bytes,
        sha256=record.sha256,
        metadata=json.dumps({name: json.loads(fact) if name in LISTS else fact for name, fact in metadata.items()}),
        layers=json.dumps(layers if len(layers) > 1 else []),
        error_class=record.error_class,
        error=record.error,
        attempts=record.attempts,
        requests=record.requests,
        seconds=record.seconds or 0.0,
        finished=record.finished or "",
        plan=plan,
    )
