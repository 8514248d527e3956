"""Make the record of a unit, from the metadata of its files or from its error: which failures are transient, how much
of a message is kept.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eechips.client.compute_profiles import ProfileShare
from eechips.client.error_classification import internal_error
from eechips.client.quota.usage import Usage
from eechips.engine.outcome import Outcome
from eechips.engine.run_features.circuit_breaker import service_failure_of
from eechips.errors import (
    ConfigurationError,
    EechipsError,
    InternalError,
    PermanentError,
    RecipeError,
    StorageError,
    TransientError,
    UsageError,
)
from eechips.formats import EncodedFile
from eechips.manifest.manifest_columns import FILE_COLUMNS, Record, State, UnitFile, WorkUnit, decode_columns
from eechips.recipe import Chip, Frame, FrameStack
from eechips.storage import StagedFile
from eechips.text.formatting import replace_control_characters
from eechips.text.timestamps import utc_now
from eechips.web.redaction import redact, redact_beginning, redact_end

_MAX_MESSAGE = 2000  # characters; a recipe may raise a whole response as the message
_MAX_TRACEBACK = 8000
_PASSING = (TransientError, InternalError)
"""Errors of units that the next run tries again."""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A file of a unit before it is staged.

    Attributes:
        name: path below the output folder.
        result: what the recipe returned for it.
        layer: its name among the files of the unit; empty if it has none.
    """

    name: str
    encoded: EncodedFile
    result: Any
    layer: str = ""


def record_of(position: int, result: Any, files: Sequence[ResultFile], staged: Sequence[StagedFile]) -> Record:
    """Return the record of a unit: that of its first file, except for what concerns all layers.

    The valid fraction is the least of its layers: a sample that lacks a layer is empty. That of a time series is the
    mean of its frames.

    Args:
        result: what the recipe returned for the unit.
        staged: the files, in the same order; empty if they are not stored.
    """
    records = [_of_file(position, file, staged[number] if staged else None) for number, file in enumerate(files)]
    record = records[0]
    if isinstance(result, Mapping):
        fractions = [fraction for fraction in _layer_fractions(files) if fraction is not None]
        record = replace(
            record,
            state=State.EMPTY if lacks_layer(files) else State.DONE,
            valid_fraction=min(fractions, default=None),
            sources=_union(record.sources for record in records),
            dates=_union(record.dates for record in records),
        )
    if not staged or (len(staged) == 1 and not isinstance(result, (Mapping, FrameStack))):
        return record
    return replace(record, files=tuple(map(_described, files, records)))


def _of_file(position: int, file: ResultFile, staged: StagedFile | None) -> Record:
    result, metadata = file.result, file.encoded.metadata
    # Pictures do not say where they lie: the request did.
    grid = result.grid if isinstance(result, (Chip, FrameStack)) else None
    crs, transform = (metadata.crs, metadata.transform) if grid is None else (grid.crs, grid.transform)
    return Record(
        position=position,
        state=State.EMPTY if metadata.valid_fraction == 0.0 else State.DONE,
        file=None if staged is None else staged.name,
        bytes=None if staged is None else staged.size,
        sha256=None if staged is None else staged.sha256,
        width=metadata.width,
        height=metadata.height,
        bands=_json(metadata.bands),
        dtype=metadata.dtype,
        crs=crs,
        transform=_json(transform),
        valid_fraction=metadata.valid_fraction,
        rows=metadata.rows,
        sources=_json(getattr(result, "sources", None)),
        dates=_json(getattr(result, "dates", None)),
    )


def lacks_layer(files: Sequence[ResultFile]) -> bool:
    """Return whether a layer of a unit has no valid pixel: a file, or all frames of a time series."""
    return 0.0 in _layer_fractions(files)


def _layer_fractions(files: Sequence[ResultFile]) -> list[float | None]:
    """Return the fraction of valid pixels of each layer; frames of a time series are one layer."""
    layers: dict[Any, list[float]] = {}
    for number, file in enumerate(files):
        frame = file.result.frame if isinstance(file.result, Chip) else None
        own_fractions = layers.setdefault(number if frame is None else frame.series, [])
        if (fraction := file.encoded.metadata.valid_fraction) is not None:
            own_fractions.append(fraction)
    return [sum(own_fractions) / len(own_fractions) if own_fractions else None for own_fractions in layers.values()]


def _union(lists: Iterable[str | None]) -> str | None:
    return _json(dict.fromkeys(value for text in lists if text for value in json.loads(text)))


def _described(file: ResultFile, record: Record) -> UnitFile:
    """Return a file with its metadata: the columns of its record, and its place in a time series.

    A file with several frames has a list ``frames`` with the place, source, date and valid fraction of each.
    """
    result = file.result
    facts = dict.fromkeys(FILE_COLUMNS) | decode_columns((name, getattr(record, name)) for name in FILE_COLUMNS)
    frame = result.frame if isinstance(result, Chip) else None
    if frame is not None:
        facts |= {"series": frame.series, **_frame_facts(frame)}
    if isinstance(result, FrameStack):
        rows = zip(result.chips, result.frames, file.encoded.frame_fractions, strict=True)
        facts["series"] = result.frames[0].series
        facts["frames"] = [
            {
                **_frame_facts(frame),
                "sources": chip.sources or None,
                "dates": chip.dates or None,
                "valid_fraction": valid,
            }
            for chip, frame, valid in rows
        ]
    return UnitFile(record.file or "", record.bytes or 0, record.sha256 or "", file.layer, json.dumps(facts))


def _frame_facts(frame: Frame) -> dict[str, Any]:
    score = {} if frame.score is None else {"score": frame.score}
    return {"frame": frame.number, "start": frame.start, "end": frame.end, "clear_fraction": frame.clear, **score}


def failed(assignment: WorkUnit, error: BaseException, secrets: Collection[str] = ()) -> Outcome:
    """Return the outcome of a unit that raised an exception.

    Args:
        error: the exception: an error of eechips, or an unexpected one, which is an internal error. Exceptions of the
            recipe are marked by :func:`eechips.client.error_classification.raising_recipe_errors`.
        secrets: values that are redacted in the record.
    """
    classified = internal_error(error)
    recipe_failure = trace = None
    if isinstance(classified, (RecipeError, UsageError)):
        recipe_failure = _place(error.__cause__ or error)
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(classified, PermanentError) and classified.fault:
        recipe_failure = classified.fault
    if isinstance(classified, (RecipeError, InternalError)) and classified.traceback:
        trace = classified.traceback
    if isinstance(classified, (ConfigurationError, StorageError)):
        return Outcome(assignment.position, None, fatal=_scrubbed(classified, secrets))
    record = Record(
        position=assignment.position,
        state=State.FAILED_TRANSIENT if isinstance(classified, _PASSING) else State.FAILED_PERMANENT,
        error_class=type(classified).__name__,
        error=replace_control_characters(redact_beginning(str(classified), _MAX_MESSAGE, secrets)),
        traceback=replace_control_characters(redact_end(trace, _MAX_TRACEBACK, secrets)) if trace else None,
    )
    return Outcome(
        assignment.position, record, recipe_failure=recipe_failure, service_failure=service_failure_of(classified)
    )


def _scrubbed(error: EechipsError, secrets: Collection[str]) -> EechipsError:
    """Return the same error without secrets."""
    scrubbed = type(error)(redact(str(error), secrets))
    scrubbed.__dict__.update(error.__dict__)
    return scrubbed


def unit_failure(position: int, error: Exception, attempts: int, requests: int) -> Record:
    """Return the record of a unit that has failed permanently, for a reason outside its recipe."""
    return Record(
        position=position,
        state=State.FAILED_PERMANENT,
        attempts=attempts,
        requests=requests,
        error_class=type(error).__name__,
        error=replace_control_characters(str(error)),
        finished=utc_now(),
    )


def _place(error: BaseException) -> str:
    """Return class and place of an exception, which failures of the same cause have in common."""
    frames = traceback.extract_tb(error.__traceback__)
    last = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__} {last}"


def completed(
    outcome: Outcome,
    usage: Usage,
    seconds: float,
    *,
    shared_request: int | None = None,
    shared_profiles: Iterable[ProfileShare] = (),
) -> Outcome:
    """Return an outcome with its cost.

    Args:
        seconds: seconds that it took.
        shared_request: position of the first unit of the request that it shared.
        shared_profiles: profiles of the requests that it shared.
    """
    profiles = None if usage.profiles is None else (*shared_profiles, *map(ProfileShare, usage.profiles))
    record, exports = outcome.record, outcome.exports
    if record is not None:
        record = replace(
            record,
            attempts=1 + usage.repeats,
            requests=usage.requests,
            seconds=round(seconds, 3),
            shared_request=shared_request,
            method=None if record.state.is_failure else ", ".join(usage.kinds) or None,
            finished=utc_now(),
        )
    if exports is not None:
        exports = replace(exports, requests=usage.requests, seconds=round(seconds, 3))
    return replace(
        outcome, record=record, exports=exports, request_logs=tuple(usage.request_logs or ()), profiles=profiles
    )


def _json(value: Any) -> str | None:
    return None if not value else json.dumps(list(value))
