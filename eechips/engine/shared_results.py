"""Fetch the chips of several units in shared requests."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eechips.client.compute_profiles import ProfileShare
from eechips.client.error_classification import internal_error
from eechips.client.fetcher import Fetcher
from eechips.client.permits import Stopped
from eechips.client.shared_requests import SharedChip, share_chips
from eechips.client.transport import Transport
from eechips.client.usage import Usage
from eechips.engine.fetch_result import empty_file, fetch_shared
from eechips.engine.outcome import FailedRequest, Outcome
from eechips.engine.outcome_records import failed
from eechips.errors import InternalError, TooLargeError, TransientError
from eechips.formats import EncodedFile
from eechips.manifest.unit_record import WorkUnit
from eechips.recipe import Chip, FrameStack

_RETRIES = 4
_RETRY_SECONDS = 60.0
"""Bounds on the repetition of a shared request: its units are fetched in halves then, at last alone, with the bounds of
the run."""


@dataclass(slots=True)
class SharedResult:
    """The result of a unit, and the files that it has from requests shared with other units.

    Attributes:
        began: when the assignment was taken up, in seconds of the monotonic clock.
        first: position of the first unit of the request that it shares; None if it shares none.
        files: by the identity of their chips.
        usage: usage of the shared requests that count for this unit; its kinds are those of all that it shares.
        profiles: profiles of shared requests, with the unit's share of each.
    """

    result: Any
    began: float
    first: int | None = None
    files: dict[int, EncodedFile] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    profiles: list[ProfileShare] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SharedFetch:
    """What shared requests gave to the units of an assignment.

    Attributes:
        results: results of units that are finished one after the other, by position.
        outcomes: outcomes of units that are fetched again, or abandoned, by position.
        pixels_that_worked: number of pixels of the largest part of a request that was too large for the service; None
            if none was.
    """

    results: Mapping[int, SharedResult]
    outcomes: Mapping[int, Outcome]
    pixels_that_worked: int | None = None


class SharedFetcher:
    """Fetches chips in shared requests.

    Args:
        logs: record every request.
        secrets: values that are redacted in errors.
    """

    def __init__(self, fetcher: Fetcher, transport: Transport, *, logs: bool, secrets: Iterable[str]) -> None:
        self._fetcher, self._transport = fetcher, transport
        self._logs, self._secrets = logs, tuple(secrets)

    def fetch(self, results: Mapping[WorkUnit, Any], *, is_profiled: bool = False) -> SharedFetch:
        """Fetch the chips of units that lie near each other and show the same image.

        The units of a shared request that fails are fetched again: in halves, as long as a smaller request may succeed,
        then alone, where each gets its own error.

        Args:
            results: results that the recipe returned for the units, in the order of the plan.
            is_profiled: whether the requests are profiled. A request is divided among its units by the pixels of their
                chips.
        """
        began = time.monotonic()
        by_position = {unit.position: SharedResult(result, began) for unit, result in results.items()}
        outcomes: dict[int, Outcome] = {}
        parts: list[int] = []
        owners = []
        for unit, result in results.items():
            for chip in chips_of(result):
                empty = empty_file(chip)
                if empty is None:
                    owners.append((unit, chip))
                else:
                    by_position[unit.position].files[id(chip)] = empty
        chips = [chip for _, chip in owners]
        for shared in share_chips(chips):
            members = [owners[member.index] for member in shared.members]
            units = list(dict.fromkeys(unit for unit, _ in members))
            if any(unit.position in outcomes for unit in units):
                continue  # another request of these units has failed
            try:
                files, most, error, usage = self._request(shared, chips, units, is_profiled=is_profiled)
            except Stopped:
                return SharedFetch({}, _abandoned(results))
            parts += [] if most is None else [most]
            divided = _divide(usage, members)
            if error is None:
                for index, file in files.items():
                    one = by_position[owners[index][0].position]
                    one.files[id(chips[index])] = file
                    one.usage.kinds.update(usage.kinds)
                    one.first = units[0].position if one.first is None else one.first
                by_position[units[0].position].usage.add(usage)
                for position, profiles in divided.items():
                    by_position[position].profiles += profiles
            else:
                outcome = failed(units[0], error, self._secrets)
                if outcome.fatal is not None:
                    return SharedFetch({}, {**_abandoned(results), units[0].position: outcome})
                reason = (outcome.record.error if outcome.record is not None else None) or type(error).__name__
                failure = FailedRequest(units[0].position, reason, _is_divisible(shared, units, error))
                outcomes.update(_fetched_again(units, failure, usage, divided))
        kept = {position: result for position, result in by_position.items() if position not in outcomes}
        return SharedFetch(kept, outcomes, min(parts, default=None))

    def _request(
        self, shared: SharedChip, chips: Sequence[Chip], units: Sequence[WorkUnit], *, is_profiled: bool
    ) -> tuple[Mapping[int, EncodedFile], int | None, Exception | None, Usage]:
        """Send a shared request.

        A large window may be what the service cannot do in time, so that it is not repeated as often as other requests.

        Returns:
            Its files by the index of their chips, and the pixels of its largest part if it was divided; or its error.
            And what it used.
        """
        requests = self._fetcher.requests.unit_context(*(unit.position for unit in units))
        limits = self._transport.limited_retries(_RETRIES, _RETRY_SECONDS)
        with self._transport.metered(logs=self._logs, profiles=is_profiled) as usage, requests, limits:
            try:
                return *fetch_shared(self._fetcher, shared, chips), None, usage
            except Exception as error:  # noqa: BLE001 - each unit gets its own error when it is fetched alone
                return {}, None, error, usage


def _abandoned(units: Iterable[WorkUnit]) -> dict[int, Outcome]:
    """Return outcomes of units that the end of the run stops."""
    return {unit.position: Outcome(unit.position, None) for unit in units}


def _is_divisible(shared: SharedChip, units: Sequence[WorkUnit], error: Exception) -> bool:
    """Return whether half of the units of a request that failed may succeed, as far as its error says.

    What is wrong with one image concerns all windows of it, but not other images.
    """
    may_be_size = isinstance(internal_error(error), (TransientError, TooLargeError, InternalError))
    return len(units) > 1 and (may_be_size or len(shared.parts) > 1)


def _fetched_again(
    units: Sequence[WorkUnit],
    failure: FailedRequest,
    usage: Usage,
    profiles: Mapping[int, tuple[ProfileShare, ...]],
) -> Iterator[tuple[int, Outcome]]:
    """Yield outcomes of units whose shared request failed; the first has the log of its requests."""
    for unit in units:
        logs = tuple(usage.request_logs or ()) if unit is units[0] else ()
        of_unit = profiles.get(unit.position)
        yield (
            unit.position,
            Outcome(unit.position, None, failed_request=failure, request_logs=logs, profiles=of_unit),
        )


def _divide(usage: Usage, members: Sequence[tuple[WorkUnit, Chip]]) -> dict[int, tuple[ProfileShare, ...]]:
    """Divide the profiles of a shared request, if there are any, among its units, by the pixels of their chips."""
    if usage.profiles is None:
        return {}
    pixels: Counter[int] = Counter()
    for unit, chip in members:
        width, height = chip.size or (1, 1)
        pixels[unit.position] += width * height
    return {
        position: tuple(ProfileShare(profile, count / pixels.total()) for profile in usage.profiles)
        for position, count in pixels.items()
    }


def chips_of(result: Any) -> Iterator[Chip]:
    """Yield the chips among the results of a unit."""
    results: Sequence[Any] = list(result.values()) if isinstance(result, Mapping) else [result]
    for layer in results:
        if isinstance(layer, FrameStack):
            yield from layer.chips
        elif isinstance(layer, Chip):
            yield layer
