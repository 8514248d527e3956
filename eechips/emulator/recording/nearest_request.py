"""Describe a request that is not recorded: what it asks for, and which recorded request is most like it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from eechips.emulator.recording.canonical_request import CanonicalRequest, ReceivedRequest, list_functions
from eechips.emulator.recording.recording_folder import RecordingError, RecordingFolder

_MOST_READ = 2000
_MOST_SHOWN = 6
_LONGEST = 120


def describe_missing(folder: RecordingFolder, received: ReceivedRequest, request: CanonicalRequest | None) -> str:
    """Return the message for a request without a recorded response.

    Args:
        folder: of the recording.
        received: the request.
        request: in canonical form; None if requests like it are not recorded.
    """
    if request is None:
        return (
            f"A recording has no responses to {received.method} {received.path[:_LONGEST]}: it answers what computes "
            "and reads, not what changes assets or starts exports. --fill leaves it to the local Earth Engine."
        )
    functions = list_functions(request.body)
    what = f" with {_shorten(functions)}" if functions else f" ({request.path[:_LONGEST]})"
    text = f"{request.operation}{what} is not recorded in {folder.folder} (key {request.key[:12]}). "
    nearest = _find_nearest(folder, request)
    if nearest is None:
        text += f"There is no recorded {request.operation} there. "
    else:
        path, fewer, more = nearest
        text += f"Nearest is {path}: {_describe_difference(fewer, more)}. "
    return f"{text}Record it with --record, or evaluate it locally with --fill."


def _find_nearest(folder: RecordingFolder, request: CanonicalRequest) -> tuple[str, list[str], list[str]] | None:
    """Return the path of the recorded request of the same operation with the fewest other parts.

    Returns:
        The path, the parts that only the recorded request has, and those that only this one has.
    """
    wanted = Counter(_parts(request.to_json()))
    best: tuple[int, str, list[str], list[str]] | None = None
    with suppress(RecordingError):
        for path, other in islice(folder.list_requests(request.operation), _MOST_READ):
            found = Counter(_parts(other.to_json()))
            fewer, more = list((found - wanted).elements()), list((wanted - found).elements())
            different = len(fewer) + len(more)
            if best is None or different < best[0]:
                best = different, path, fewer, more
    return None if best is None else best[1:]


def _describe_difference(fewer: list[str], more: list[str]) -> str:
    """Return what the nearest request has that this one does not, and the reverse."""
    texts = [f"it has {_shorten(fewer)}"] if fewer else []
    texts += [f"this request has {_shorten(more)}"] if more else []
    return "; ".join(texts) or "its values are in another order"


def _parts(value: Any, name: str = "") -> Iterator[str]:
    """Yield the leaves of JSON with the names of their fields, without the numbers of values and of references."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key in ("valueReference", "result", "body") and isinstance(each, str):
                continue
            yield from _parts(each, name if key.isdigit() or key == "constantValue" else key)
    elif isinstance(value, list):
        for each in value:
            yield from _parts(each, name)
    else:
        yield f"{name} {json.dumps(value, ensure_ascii=False)}"[:_LONGEST]


def _shorten(texts: list[str]) -> str:
    rest = f" and {len(texts) - _MOST_SHOWN} more" if len(texts) > _MOST_SHOWN else ""
    return ", ".join(texts[:_MOST_SHOWN]) + rest
