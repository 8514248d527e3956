"""Profile a sample of a run's requests, keep account of its compute, and stop it within a budget."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from eechips.client.compute_profiles import ProfileShare
from eechips.client.http.transport import Transport
from eechips.engine.costs.compute_sample import ComputeAccount
from eechips.engine.costs.profile_fetcher import ProfileFetcher
from eechips.engine.outcome import Finished, Lost
from eechips.engine.run_context import RunFeature, StopReason
from eechips.engine.run_log import RunLog
from eechips.manifest.manifest_columns import WorkUnit
from eechips.manifest.sqlite.ledger import COMPUTE, Ledger
from eechips.text.formatting import format_compute
from eechips.text.timestamps import present

SECONDS_AN_HOUR = 3600.0
FINISH_SECONDS = 30.0
"""Seconds to wait for the last profiles of a run."""

_MOST_UNANSWERED = 10
"""Units without a profile, of a run that has none at all, after which a budget cannot be kept."""
_ASSIGNMENT_SHARE = 0.01
"""Share of the budget that an assignment may have: the run stops within half of it."""
_CONFIDENCE = 2.0
"""Standard deviations by which the compute of units under way may exceed what is expected of them."""
_FIRST_DOUBT = 9.0
"""Multiple of its compute by which the first profiled assignment may be exceeded; less for the mean of several."""
_SAVE_SECONDS = 2.0
"""Seconds between two writes of the account, if no profile comes."""


@dataclass(slots=True)
class _Assignment:
    """A profiled assignment whose profiles are not all known yet.

    Attributes:
        units: units that it settled.
        shares: position and share of a profile.
        left: profiles that are not known yet.
        seconds: EECU-seconds by profile; None for one that the service does not give.
    """

    finished: datetime
    units: int
    shares: tuple[tuple[int, ProfileShare], ...]
    left: set[str]
    seconds: dict[str, float | None]

    def take(self, fetched: Mapping[str, float | None]) -> None:
        """Take its own profiles of those that came: many assignments wait at once, so others are not looked at."""
        known = {profile: fetched[profile] for profile in self.left if profile in fetched}
        self.seconds |= known
        self.left -= known.keys()


class ComputeMonitor(RunFeature):
    """Profile a sample of assignments, keep account of the compute, and stop a run before its budget is exceeded.

    Profiles are fetched in a thread of its own.

    Attributes:
        every: one assignment in so many is profiled; 0 for none.

    Args:
        every: one assignment in so many is profiled; 0 for none.
        budget: EECU-seconds that the run may use a month; None for any amount.
        is_adaptive: whether assignments may wait for the profiles of others: workers receive them one by one.
        now: the present time, UTC.
    """

    def __init__(
        self,
        ledger: Ledger,
        transport: Transport,
        log: RunLog,
        *,
        every: int,
        budget: float | None = None,
        is_adaptive: bool = True,
        now: Callable[[], datetime] = present,
    ) -> None:
        self._ledger, self._transport, self.every, self._budget = ledger, transport, every, budget
        self._is_adaptive, self._now, self._clock = is_adaptive, now, time.monotonic
        self._fetcher = ProfileFetcher(transport, log)
        self.account = ComputeAccount.from_json(ledger.meta().get(COMPUTE) if ledger.has_plan else None)
        self._submitted = 0
        self._drawn: tuple[int, int] | None = None  # block of the sample, and the assignment that was drawn of it
        self._under_way: dict[int, int] = {}  # units by position of their assignment
        self._assignments: list[_Assignment] = []
        self._planning: set[str] = set()
        self._collected = 0  # profiles of requests outside of units
        self._is_changed = False
        self._unanswered = 0
        self._saved = time.monotonic()
        is_profiling = every > 0 or budget is not None
        if is_profiling and transport.unmetered.profiles is None:
            transport.unmetered.profiles = []

    @property
    def is_unanswered(self) -> bool:
        """Return whether the service names no profiles, although they were asked for, so that a budget is void."""
        return self._unanswered >= _MOST_UNANSWERED and not self.account.sample.assignments

    @property
    def is_spent(self) -> bool:
        """Return whether the budget leaves no room for a further unit, and nothing is under way that may change it."""
        if self._budget is None or self.is_unanswered:
            return self._budget is not None
        if not self._is_adaptive:  # all units are under way, most of them waiting
            return (
                self._spent + self._expected(sum(assignment.units for assignment in self._assignments)) >= self._budget
            )
        if self._units_under_way:
            return False
        return self._spent + 0.5 * self._expected(self._assignment_units) >= self._budget

    @property
    def may_start(self) -> bool:
        """Return whether a further unit may start now: the units under way will, very probably, leave room for it."""
        if self._budget is None or not self._is_adaptive:
            return True
        units, mean = self._units_under_way, self.account.sample.mean
        if mean is None:  # one unit, once planning is known: a small budget may leave no room for more
            return units < 1 and not self._planning
        spread = self.account.sample.spread
        margin = _CONFIDENCE * (mean if spread is None else spread) * math.sqrt(units)
        doubt = 1.0 + _FIRST_DOUBT / self.account.sample.assignments
        expected = doubt * self._expected(units) + 0.5 * self._expected(self._assignment_units)
        return self._spent + expected + margin < self._budget

    def prepare(self, assignment: WorkUnit) -> WorkUnit:
        """Return an assignment that is about to be submitted, marked if it is to be profiled."""
        is_profiled = assignment.is_profiled or self._budget is not None or self._draw()
        self._submitted += 1
        self._under_way[assignment.position] = len(assignment.units)
        return replace(assignment, is_profiled=True) if is_profiled else assignment

    def stop_reason(self) -> StopReason | None:
        """Return that the budget is spent, or that it cannot be kept."""
        if not self.is_spent:
            return None
        return StopReason(
            "compute budget exhausted",
            "Stopping: the service reports no compute, so that `budget` eecu-hours cannot be kept."
            if self.is_unanswered
            else "Stopping: the limit of EECU-hours is reached.",
        )

    def room(self) -> float:
        """Return for how many units the budget leaves room: few share requests, if each costs much of it."""
        if not self.may_start:
            return 0
        if self._budget is None:
            return math.inf
        mean = self.account.sample.mean
        return max(1, int(_ASSIGNMENT_SHARE * self._budget / mean)) if mean else 1

    @property
    def is_expecting(self) -> bool:
        """Whether units wait for profiles that are on their way."""
        return bool(self._assignments or self._planning) and not self.may_start

    def note(self, events: Sequence[Finished | Lost]) -> None:
        """Note the profiles of assignments."""
        for event in events:
            self._under_way.pop(event.assignment.position, None)
            if isinstance(event, Finished) and not event.assignment.exported:
                self._note_finished(event)
        self._collect_planning()

    def note_exports(self, seconds: float) -> None:
        """Note the compute of batch tasks, in EECU-seconds: all of it is known."""
        self.account.add_exports(self._now(), seconds)
        self._is_changed = True

    def watch(self) -> None:
        """Record the profiles that have come, and show what the whole run will use."""
        if self._record_profiles():
            total = self.account.total(self.run.count - self.run.settled)
            if total is not None:
                self.run.progress.note(f"about {format_compute(total.seconds)} in all")

    def _record_profiles(self) -> bool:
        """Record the profiles that have come; return whether any has."""
        fetched, now = self._fetcher.take(), self._now()
        planned = self._planning & fetched.keys()
        if planned:
            self._planning -= planned
            self.account.add_planning(now, math.fsum(fetched[profile] or 0.0 for profile in planned))
        rows: list[tuple[int, float]] = []
        for assignment in self._assignments:
            assignment.take(fetched)
            if not assignment.left:
                rows += self._settle(assignment)
        self._assignments = [assignment for assignment in self._assignments if assignment.left]
        is_due = self._is_changed and self._clock() - self._saved >= _SAVE_SECONDS
        if rows or planned or is_due:
            self._save(rows)
        return bool(rows or planned)

    def finish(self) -> None:
        """Wait for the last profiles, and record them."""
        self._collect_planning()
        self._fetcher.finish(FINISH_SECONDS if self._fetcher.is_busy else 0.0)
        self._record_profiles()
        self._save(())

    def close(self) -> None:
        """Stop fetching profiles."""
        self._fetcher.close()

    def _draw(self) -> bool:
        """Draw whether the next assignment is of the sample: the first, and one at random of each further ``every``.

        A fixed interval would miss units that differ, where the plan has a period, such as the dates of each place.
        """
        if not self.every:
            return False
        block, number = divmod(self._submitted, self.every)
        if self._drawn is None or self._drawn[0] != block:
            self._drawn = block, random.Random(block).randrange(self.every) if block else 0
        return number == self._drawn[1]

    def _note_finished(self, event: Finished) -> None:
        outcomes = event.outcome.each
        units = sum(outcome.record is not None for outcome in outcomes)
        shares = tuple((o.position, share) for o in outcomes for share in o.profiles or ())
        has_requests = any(outcome.record is not None and outcome.record.requests for outcome in outcomes)
        is_unanswered = event.assignment.is_profiled and has_requests and not shares  # the service has named no profile
        if is_unanswered or not event.assignment.is_profiled:
            self._unanswered += units if is_unanswered else 0
            self.account.add_unprofiled(self._now(), units)
            self._is_changed = True
            return
        seconds: dict[str, float | None] = {}
        if not shares:  # without requests, there is no compute
            seconds = {"": 0.0}
            shares = tuple((o.position, ProfileShare("", 0.0)) for o in outcomes if o.record is not None)
        profiles = {share.profile for _, share in shares} - seconds.keys()
        self._assignments.append(_Assignment(self._now(), units, shares, profiles, seconds))
        self._fetcher.add(profiles, is_urgent=self._budget is not None)

    def _settle(self, assignment: _Assignment) -> list[tuple[int, float]]:
        """Add an assignment to the account; return position and EECU-seconds of its units."""
        if any(seconds is None for seconds in assignment.seconds.values()):
            self._unanswered += assignment.units
            self.account.add_unprofiled(assignment.finished, assignment.units)
            return []
        known = {profile: seconds or 0.0 for profile, seconds in assignment.seconds.items()}
        by_unit: dict[int, float] = {}
        for position, share in assignment.shares:
            by_unit[position] = by_unit.get(position, 0.0) + share.share * known[share.profile]
        self.account.add_profiled(assignment.finished, assignment.units, math.fsum(by_unit.values()))
        return list(by_unit.items())

    def _collect_planning(self) -> None:
        """Have the profiles of requests outside of units fetched."""
        taken = (self._transport.unmetered.profiles or [])[self._collected :]
        if taken:
            self._collected += len(taken)
            self._planning.update(taken)
            self._fetcher.add(taken, is_urgent=self._budget is not None)

    def _save(self, rows: Iterable[tuple[int, float]]) -> None:
        self._saved, self._is_changed = self._clock(), False
        self._ledger.add_compute(rows, self.account.to_json())

    @property
    def _spent(self) -> float:
        spent = self.account.spent_in_month(self._now())
        return 0.0 if spent is None else spent.seconds

    def _expected(self, units: int) -> float:
        return units * (self.account.sample.mean or 0.0)

    @property
    def _assignment_units(self) -> int:
        """Units of an assignment, as those before."""
        sample = self.account.sample
        return math.ceil(sample.units / sample.assignments) if sample.assignments else 1

    @property
    def _units_under_way(self) -> int:
        """Units that were submitted, or whose profiles are not known yet."""
        return sum(self._under_way.values()) + sum(assignment.units for assignment in self._assignments)
