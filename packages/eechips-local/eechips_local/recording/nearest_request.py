"""Describe a request that is not recorded: what it asks for, and which recorded request is most like it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from eechips_local.recording.canonical_request import CanonicalRequest, ReceivedRequest, list_functions
from eechips_local.recording.recording_folder import RecordingError, RecordingFolder

_MOST_READ = 2000
_MOST_SHOWN = 6
_LONGEST = 120


class MissingRequests:
    """Describes requests without a recorded response. Threads may share it."""

    def __init__(self, folder: RecordingFolder) -> None:
        self._folder = folder
        self._known: dict[str, Counter[str]] = {}  # by path; the request of a path never changes

    def describe(self, received: ReceivedRequest, request: CanonicalRequest | None) -> str:
        """Return the message for a request.

        Args:
            request: in canonical form; None if requests like it are not recorded.
        """
        if request is None:
            return (
                f"A recording has no responses to {received.method} {received.path[:_LONGEST]}: it answers what "
                "computes and reads, not what changes assets or starts exports. --fill leaves it to the local Earth "
                "Engine."
            )
        functions = list_functions(request.body)
        what = f" with {_shorten(functions)}" if functions else f" ({request.path[:_LONGEST]})"
        text = f"{request.operation}{what} is not recorded in {self._folder.folder} (key {request.key[:12]}). "
        nearest = self._find_nearest(request)
        if nearest is None:
            text += f"There is no recorded {request.operation} there. "
        else:
            path, fewer, more = nearest
            text += f"Nearest is {path}: {_describe_difference(fewer, more)}. "
        return f"{text}Record it with eechips-local record, or evaluate it locally with replay --fill."

    def _find_nearest(self, request: CanonicalRequest) -> tuple[str, list[str], list[str]] | None:
        """Return the path of the recorded request of the same operation with the fewest other parts.

        Returns:
            The path, the parts that only the recorded request has, and those that only this one has.
        """
        wanted = Counter(_parts(request.to_json()))
        size = sum(wanted.values())
        best: tuple[int, str] | None = None
        with suppress(RecordingError):
            for path in islice(self._folder.list_names(request.operation), _MOST_READ):
                recorded_parts = self._find_parts(path)
                different = (
                    sum(recorded_parts.values())
                    + size
                    - 2 * sum(min(count, recorded_parts[part]) for part, count in wanted.items())
                )
                if best is None or different < best[0]:
                    best = different, path
        if best is None:
            return None
        recorded_parts = self._find_parts(best[1])
        return best[1], list((recorded_parts - wanted).elements()), list((wanted - recorded_parts).elements())

    def _find_parts(self, path: str) -> Counter[str]:
        if path not in self._known:
            self._known[path] = Counter(_parts(self._folder.read_request(path).to_json()))
        return self._known[path]


def _describe_difference(fewer: list[str], more: list[str]) -> str:
    """Return what the nearest request has that this one does not, and the reverse."""
    texts = [f"it has {_shorten(fewer)}"] if fewer else []
    texts += [f"this request has {_shorten(more)}"] if more else []
    return "; ".join(texts) or "its values are in another order"


def _parts(value: Any, name: str = "") -> Iterator[str]:
    """Yield the leaves of JSON with the names of their fields, without the numbers of values and of references."""
    if isinstance(value, dict):
        for key, child in value.items():
            if key in ("valueReference", "result", "body") and isinstance(child, str):
                continue
            yield from _parts(child, name if key.isdigit() or key == "constantValue" else key)
    elif isinstance(value, list):
        for child in value:
            yield from _parts(child, name)
    else:
        yield f"{name} {json.dumps(value, ensure_ascii=False)}"[:_LONGEST]


def _shorten(texts: list[str]) -> str:
    rest = f" and {len(texts) - _MOST_SHOWN} more" if len(texts) > _MOST_SHOWN else ""
    return ", ".join(texts[:_MOST_SHOWN]) + rest
