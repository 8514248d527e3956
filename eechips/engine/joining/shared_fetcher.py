"""Fetch the chips of several units in shared requests."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eechips.client.chip_groups import SharedChip, share_chips
from eechips.client.compute_profiles import ProfileShare
from eechips.client.error_classification import internal_error
from eechips.client.fetcher import Fetcher
from eechips.client.http.transport import Transport
from eechips.client.quota.usage import Usage
from eechips.engine.fetch_result import chips_of, empty_file, fetch_shared
from eechips.engine.outcome import FailedRequest, Outcome
from eechips.engine.results.outcome_records import failed
from eechips.errors import InternalError, Stopped, TooLargeError, TransientError
from eechips.formats import EncodedFile
from eechips.manifest.manifest_columns import WorkUnit
from eechips.recipe import Chip

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
        outcome: the outcome if the unit is fetched again, or abandoned; else it is finished by itself.
    """

    result: Any
    began: float
    first: int | None = None
    files: dict[int, EncodedFile] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    profiles: list[ProfileShare] = field(default_factory=list)
    outcome: Outcome | None = None


class SharedFetcher:
    """Fetches chips in shared requests.

    Args:
        logs: record every request.
        secrets: values that are redacted in errors.
    """

    def __init__(self, fetcher: Fetcher, transport: Transport, *, logs: bool, secrets: Iterable[str]) -> None:
        self._fetcher, self._transport = fetcher, transport
        self._logs, self._secrets = logs, tuple(secrets)

    def fetch(
        self, results: Mapping[WorkUnit, Any], *, is_profiled: bool = False
    ) -> tuple[dict[int, SharedResult], int | None]:
        """Fetch the chips of units that lie near each other and show the same image.

        The units of a shared request that fails are fetched again: in halves, as long as a smaller request may succeed,
        then alone, where each gets its own error.

        Args:
            results: results that the recipe returned for the units, in the order of the plan.
            is_profiled: whether the requests are profiled. A request is divided among its units by the pixels of their
                chips.

        Returns:
            The results by position, and the pixels of the largest part of a request that was too large for the service,
            if one was.
        """
        began = time.monotonic()
        fetched = {unit.position: SharedResult(result, began) for unit, result in results.items()}
        owners = []
        for unit, result in results.items():
            for chip in chips_of(result):
                empty = empty_file(chip)
                if empty is None:
                    owners.append((unit, chip))
                else:
                    fetched[unit.position].files[id(chip)] = empty
        parts = []
        for shared in share_chips([chip for _, chip in owners]):
            # Unless another request of these units has failed.
            if all(fetched[owners[member.index][0].position].outcome is None for member in shared.members):
                parts.append(self._fetch_together(shared, owners, fetched, is_profiled=is_profiled))
        return fetched, min((pixels for pixels in parts if pixels is not None), default=None)

    def _fetch_together(
        self,
        shared: SharedChip,
        owners: Sequence[tuple[WorkUnit, Chip]],
        fetched: Mapping[int, SharedResult],
        *,
        is_profiled: bool,
    ) -> int | None:
        """Send a shared request, and note its files or its failure in the results of its units.

        A large window may be what the service cannot do in time, so that it is not repeated as often as other requests.

        Returns:
            The pixels of its largest part, if it was divided.
        """
        members = [owners[member.index] for member in shared.members]
        units = list(dict.fromkeys(unit for unit, _ in members))
        chips = [chip for _, chip in owners]
        most, error = None, None
        limits = self._transport.limited_retries(_RETRIES, _RETRY_SECONDS)
        with self._transport.metered(logs=self._logs, profiles=is_profiled) as usage, limits:
            try:
                files, most = fetch_shared(self._fetcher, shared, chips)
            except (Exception, Stopped) as caught:  # noqa: BLE001 - each unit gets its own error when it is fetched alone
                error = caught
        profiles = _divide(usage, members)
        if error is not None:
            self._note_failure(error, shared, units, fetched, usage, profiles)
            return None
        for index, file in files.items():
            unit, chip = owners[index]
            result = fetched[unit.position]
            result.files[id(chip)] = file
            result.usage.kinds.update(usage.kinds)
            result.first = units[0].position if result.first is None else result.first
        fetched[units[0].position].usage.add(usage)
        for position, own_profiles in profiles.items():
            fetched[position].profiles += own_profiles
        return most

    def _note_failure(
        self,
        error: BaseException,
        shared: SharedChip,
        units: Sequence[WorkUnit],
        fetched: Mapping[int, SharedResult],
        usage: Usage,
        profiles: Mapping[int, tuple[ProfileShare, ...]],
    ) -> None:
        """Note that units are fetched again, or all are abandoned, as the run stops. The first has the log."""
        first = units[0]
        outcome = Outcome(first.position) if isinstance(error, Stopped) else failed(first, error, self._secrets)
        if outcome.record is None:
            for position, result in fetched.items():
                result.outcome = Outcome(position)
            fetched[first.position].outcome = outcome
            return
        reason = outcome.record.error or type(error).__name__
        # What is wrong with one image concerns all windows of it, but not other images.
        may_be_size = isinstance(internal_error(error), (TransientError, TooLargeError, InternalError))
        failure = FailedRequest(first.position, reason, len(units) > 1 and (may_be_size or len(shared.parts) > 1))
        for unit in units:
            logs = tuple(usage.request_logs or ()) if unit is first else ()
            own_profiles = profiles.get(unit.position)
            fetched[unit.position].outcome = Outcome(
                unit.position, failed_request=failure, request_logs=logs, profiles=own_profiles
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
