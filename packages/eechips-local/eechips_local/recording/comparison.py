"""Compare recorded responses with local evaluation, by the functions of Earth Engine that the requests use."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from starlette.types import ASGIApp

from eechips_local.recording.canonical_request import CREATED, list_functions
from eechips_local.recording.local_evaluation import LocalEvaluation
from eechips_local.recording.placeholders import Placeholders
from eechips_local.recording.recording_folder import RecordingEntry, RecordingFolder
from eechips_local.recording.response_difference import ABSOLUTE, ValueDifference, find_difference

# What the client asks for when it starts, and creations of names, which are compared by what they name.
_NOT_COMPARED = frozenset({"algorithms", "config", "discovery", *CREATED})
_AT_ONCE = 8
_PLACEHOLDERS = Placeholders("local", ("http://127.0.0.1",))


@dataclass(frozen=True, slots=True)
class RequestDifference:
    """A request whose recorded response differs from the local one.

    Attributes:
        path: path of its file in the recording.
        functions: functions that its expression calls.
        where: the first field or array that differs.
        recorded: what the recording has there.
        local: what the local Earth Engine has there.
    """

    path: str
    functions: tuple[str, ...]
    where: str
    recorded: str
    local: str


@dataclass(frozen=True, slots=True)
class FunctionCount:
    """How many requests use a function, and how many of those differ.

    Attributes:
        function: function of Earth Engine; the operation in parentheses for requests without an expression.
        requests: requests that use it.
        different: number of those that differ.
    """

    function: str
    requests: int
    different: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A recording compared with local evaluation.

    Attributes:
        compared: number of requests.
        not_compared: numbers of other requests by operation.
        tolerance: greatest relative difference of equal numbers.
        functions: functions of the requests, those with most differences first.
        differences: in the order of their files.
    """

    compared: int
    not_compared: Mapping[str, int]
    tolerance: float
    functions: Sequence[FunctionCount]
    differences: Sequence[RequestDifference]

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON."""
        return {**asdict(self), "not_compared": dict(self.not_compared), "absolute_tolerance": ABSOLUTE}


def compare_recording(folder: RecordingFolder, app: ASGIApp, tolerance: float) -> Comparison:
    """Evaluate all requests of a recording locally, and compare.

    Args:
        app: the local Earth Engine.
        tolerance: greatest relative difference of equal numbers.

    Raises:
        RecordingError: if a file of the recording is damaged.
    """
    return asyncio.run(_compare(folder, LocalEvaluation(folder, app), tolerance))


async def _compare(folder: RecordingFolder, local: LocalEvaluation, tolerance: float) -> Comparison:
    not_compared: Counter[str] = Counter()
    used: Counter[str] = Counter()
    different: Counter[str] = Counter()
    compared, differences = 0, []

    def entries() -> Iterator[RecordingEntry]:
        for entry in folder.list_entries():
            if entry.request.operation in _NOT_COMPARED and entry.response.status < 400:
                not_compared[entry.request.operation] += 1
            else:
                yield entry

    waiting = entries()
    while batch := list(islice(waiting, _AT_ONCE)):
        for entry, difference in zip(
            batch, await asyncio.gather(*(_compare_one(local, entry, tolerance) for entry in batch)), strict=True
        ):
            compared += 1
            functions = _functions(folder, entry)
            used.update(functions)
            if difference is not None:
                differences.append(
                    RequestDifference(
                        entry.path, tuple(functions), difference.where, difference.recorded, difference.local
                    )
                )
                different.update(functions)
    counts = [FunctionCount(name, count, different[name]) for name, count in used.items()]
    counts.sort(
        key=lambda function_count: (
            -function_count.different,
            -function_count.different / function_count.requests,
            function_count.function,
        )
    )
    return Comparison(compared, dict(sorted(not_compared.items())), tolerance, counts, differences)


async def _compare_one(local: LocalEvaluation, entry: RecordingEntry, tolerance: float) -> ValueDifference | None:
    """Return how a recorded response differs from the local one; None if it does not. Errors differ by status."""
    response = await local.evaluate(entry.request, _PLACEHOLDERS)
    if response.status_code != entry.response.status:
        recorded = _describe(entry.response.status, entry.response.content)
        evaluated = _describe(response.status_code, bytes(response.body))
        return ValueDifference("status", recorded, evaluated)
    if response.status_code >= 400:
        return None
    content = entry.response.content
    if entry.response.is_json:
        content = _PLACEHOLDERS.show(content.decode()).encode()
    return find_difference(content, bytes(response.body), is_json=entry.response.is_json, tolerance=tolerance)


def _functions(folder: RecordingFolder, entry: RecordingEntry) -> list[str]:
    """Return the functions of a request, or of the one that created its name."""
    request = entry.request
    if request.name_key is not None:
        created = folder.find_key(str(request.name_kind), request.name_key)
        request = request if created is None else created.request
    return list_functions(request.body) or [f"({entry.request.operation})"]


def _describe(status: int, content: bytes) -> str:
    """Return a status, with the message of an error."""
    try:
        message = json.loads(content)["error"]["message"] if status >= 400 else ""
    except (ValueError, KeyError, TypeError):
        message = ""
    return f"{status} {str(message)[:80]}".strip()
