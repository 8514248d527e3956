"""Tell the user and the log of failed units, restricted mode, a lost connection, waits that the service asks for, and
units that take long, with advice.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from eechips.engine.executors.executor import Executor
from eechips.engine.outcome import Finished, Lost
from eechips.engine.run_context import RunFeature
from eechips.manifest.manifest_columns import Record, WorkUnit
from eechips.recipe import Recipe, traits_of
from eechips.text.formatting import format_count, format_duration

if TYPE_CHECKING:
    from eechips.engine.run_context import RunControl
    from eechips.engine.service.quota_connection import QuotaSharing

_THROUGHPUT_SECONDS = 5.0  # between two events of the throughput in the log
_FEW = 3  # rejections that are normal at any limit
_WAIT_SECONDS = 600.0  # between two messages on a wait that the service asks for
_SENTENCES = {
    "restricted": "Earth Engine announces restricted mode: the project's compute of this month is used up, and fewer"
    " requests run at once.",
    "unrestricted": "Earth Engine has lifted restricted mode.",
    "offline": "No connection to the service: waiting for it. Nothing is lost; Ctrl-C stops.",
    "online": "The service is reachable again.",
    "wait over": "The wait that Earth Engine asked for is over: the run resumes.",
}
"""Sentences that are printed for events of the log."""


class _ResultWatch(RunFeature):
    """A feature that counts what the service has rejected since the last result."""

    _rejected_before = 0

    def start(self, run: RunControl) -> None:
        """Count from here: the session may have planned, or made another run."""
        super().start(run)
        self._note_result()

    def _note_result(self) -> None:
        self._rejected_before = self.run.throttle.rejected

    @property
    def _rejected(self) -> int:
        """Rejections since the last result; 0 if there are no more than the search for the limit causes."""
        throttle = self.run.throttle
        count = throttle.rejected - self._rejected_before
        return count if count > max(_FEW, throttle.limit) else 0


class RunMonitor(_ResultWatch):
    """Report settled and failed units, slots, throughput and pauses; each change of state once.

    Args:
        sharing: sharing of the quota; None if the run has it for itself.
        verbose: show failures as well, and log every request.
    """

    def __init__(self, executor: Executor[Any], sharing: QuotaSharing | None = None, *, verbose: bool = False) -> None:
        self._executor, self._sharing, self._is_verbose, self._clock = executor, sharing, verbose, time.monotonic
        self._is_offline = self._is_restricted = False
        self._wait_reported: float | None = None
        self._shown_notices: tuple[str | None, str | None] = (None, None)
        self._throughput_logged = time.monotonic()

    def settle(self, records: Sequence[Record]) -> None:
        """Count settled units; log failures."""
        self._note_result()
        for record in records:
            self.run.progress.settle(failed=record.state.is_failure)
            if record.state.is_failure:
                fields = {"position": record.position, "error_class": record.error_class, "error": record.error}
                self.run.log.write("unit failed", **fields)
                if self._is_verbose:
                    self.run.progress.say(f"unit {record.position}: {record.error_class}: {record.error}")

    def note(self, events: Sequence[Finished | Lost]) -> None:
        """Log the requests of units, if the run is verbose."""
        finished = (unit_event for event in events if isinstance(event, Finished) for unit_event in event.each())
        for event in finished if self._is_verbose else ():
            for request in event.outcome.request_logs:
                self.run.log.write("request", id=event.assignment.id, **dataclasses.asdict(request))

    def watch(self) -> None:
        """Report the changes since the previous call."""
        throttle = self.run.throttle
        self.run.progress.show(throttle.in_flight, throttle.limit, self._pause())
        if throttle.is_restricted != self._is_restricted:
            self._is_restricted = not self._is_restricted  # other processes change it: it is read once
            self._tell("restricted" if self._is_restricted else "unrestricted")
        if (throttle.offline_since is not None) != self._is_offline:
            self._is_offline = not self._is_offline
            self._tell("offline" if self._is_offline else "online")
        notices = self._executor.notice, None if self._sharing is None else self._sharing.message
        for shown, notice in zip(self._shown_notices, notices, strict=True):
            if notice != shown:
                self.run.log.write("notice", text=notice)
                if notice is not None:
                    self.run.progress.say(notice)
        self._shown_notices = notices
        self._watch_wait(throttle.asked_left)
        if self._clock() - self._throughput_logged >= _THROUGHPUT_SECONDS:
            self._throughput_logged = self._clock()
            self.run.log.write(
                "throughput",
                settled=self.run.settled,
                in_flight=throttle.in_flight,
                limit=throttle.limit,
                sent=throttle.sent,
                rejected=throttle.rejected,
            )

    def _pause(self) -> str:
        """Return why the run waits for the service; empty if it does not."""
        throttle = self.run.throttle
        if throttle.offline_since is not None:
            return "no connection"
        rejected = f"{self._rejected:,} rejected (429) since the last result" if self._rejected else ""
        asked = f"the service asks to wait {format_duration(left)}" if (left := throttle.pause_left) >= 1.0 else ""
        return ", ".join(filter(None, (rejected, asked)))

    def _tell(self, event: str) -> None:
        """Write an event of the service to the log, and its sentence for the user."""
        self.run.log.write(event)
        self.run.progress.say(_SENTENCES[event])

    def _watch_wait(self, left: float) -> None:
        """Report a long Retry-After: when it begins, every ten minutes, and when it ends."""
        now, reported = self._clock(), self._wait_reported
        if left > 0.0 and (reported is None or now - reported >= _WAIT_SECONDS):
            until = datetime.now(timezone.utc) + timedelta(seconds=left)
            self._wait_reported = now
            self.run.log.write("waiting", seconds=round(left))
            self.run.progress.say(
                f"Earth Engine asks to wait: the run resumes in {format_duration(left)}, at {until:%H:%M} UTC."
                " Nothing is lost; Ctrl-C stops."
            )
        elif left <= 0.0 and reported is not None:
            self._wait_reported = None
            self._tell("wait over")


SILENCE = 60.0
"""Seconds without a finished unit until the first message; each further one waits twice as long."""

_LONGEST = 120  # characters of a unit that is shown; a longer one, such as a polygon, is named
_COLLECTION = re.compile(r"\bImageCollection\s*\(")
_BY_PLACE = re.compile(r"\bfilterBounds\s*\(|\bFilter\.(bounds|intersects|geometry)\s*\(")


class SlowUnitReports(_ResultWatch):
    """Tell the user of units that take long, while no unit finishes; with the first message also advice."""

    def __init__(self, advice: Callable[[], str], clock: Callable[[], float] = time.monotonic) -> None:
        self._advice, self._clock = advice, clock
        self._began: dict[int, tuple[float, WorkUnit]] = {}
        self._quiet_since = clock()
        self._pause = SILENCE

    def message(self) -> str | None:
        """Return the message that is due, if any."""
        now = self._clock()
        if not self._began or now - self._quiet_since < self._pause:
            return None
        is_first, self._pause = self._pause == SILENCE, 2 * self._pause
        position, (began, unit) = min(self._began.items(), key=lambda item: item[1][0])
        shown = unit.unit if len(unit.unit) <= _LONGEST else unit.name
        count = f"{format_count(len(self._began), 'unit')} {'is' if len(self._began) == 1 else 'are'}"
        text = (
            f"No unit has finished for {format_duration(now - self._quiet_since)}: {count} under way, the longest for"
            f" {format_duration(now - began)}, unit {position}: {shown}"
        )
        advice = self._advice() if is_first else ""
        return f"{text}. {advice}" if advice else text

    def prepare(self, assignment: WorkUnit) -> WorkUnit:
        """Note when an assignment begins."""
        now = self._clock()
        self._quiet_since = self._quiet_since if self._began else now
        self._began |= {unit.position: (now, unit) for unit in assignment.units}
        return assignment

    def note(self, events: Sequence[Finished | Lost]) -> None:
        """Note which units have ended."""
        for unit in (unit for event in events for unit in event.assignment.units):
            self._began.pop(unit.position, None)
            self._quiet_since, self._pause = self._clock(), SILENCE
            self._note_result()

    def watch(self) -> None:
        """Report, unless the service cannot be reached, asks to wait, or rejects the requests."""
        throttle = self.run.throttle
        if throttle.offline_since is not None or throttle.pause_left > 0.0 or self._rejected:
            self._quiet_since = self._clock()
        elif (text := self.message()) is not None:
            self.run.log.write("slow", text=text)
            self.run.progress.say(text)


def advice_for(recipe: Recipe, archives: Sequence[str] = ()) -> str:
    """Return advice that usually makes the units of a recipe faster, judging by its file."""
    traits = traits_of(recipe)
    path = traits.path
    try:
        text = path.read_text(encoding="utf-8") if path is not None else ""
    except (OSError, UnicodeDecodeError):
        text = ""
    if _COLLECTION.search(text) and not _BY_PLACE.search(text) and path is not None:
        return (
            f"{path.name} reads an ImageCollection without filterBounds: each unit may read all of its images, the"
            " whole world over. Add .filterBounds(region) and .filterDate(start, end) right after it."
        )
    away = f"{', '.join(archives)}, or the service of its tokens, may be away: requests wait. " if archives else ""
    if traits.is_builtin:
        return (
            f"{away}Large requests take minutes: an earlier --end or later --start, a coarser --scale, and fewer pixels"
            " or regions in a request make them quicker. Ctrl-C stops; the same command resumes the run."
        )
    return (
        f"{away}Usual cures: filterBounds and filterDate right after each ImageCollection, a coarser scale, a smaller"
        " region, no getInfo() for every unit. Ctrl-C stops; the same command resumes the run."
    )
