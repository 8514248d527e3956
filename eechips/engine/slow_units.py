"""Report units under way when none finishes for a while, with advice."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from eechips.engine.outcome import Finished, Lost
from eechips.engine.run_feature import RunFeature, each_unit
from eechips.manifest.unit_record import WorkUnit
from eechips.recipe import Recipe, traits_of
from eechips.text.formatting import format_count, format_duration

SILENCE = 60.0
"""Seconds without a finished unit until the first message; each further one waits twice as long."""

_LONGEST = 120  # characters of a unit that is shown
_COLLECTION = re.compile(r"\bImageCollection\s*\(")
_BY_PLACE = re.compile(r"\bfilterBounds\s*\(|\bFilter\.(bounds|intersects|geometry)\s*\(")


class SlowUnitReports(RunFeature):
    """Tell the user of units that take long, while no unit finishes.

    Args:
        advice: returns advice for the user; called with the first message.
        clock: seconds, monotonic.
    """

    def __init__(self, advice: Callable[[], str], clock: Callable[[], float] = time.monotonic) -> None:
        self._advice, self._clock = advice, clock
        self._began: dict[int, tuple[float, str]] = {}
        self._quiet_since = clock()
        self._pause = SILENCE

    def begin(self, assignment: WorkUnit) -> None:
        """Record that a unit is under way."""
        if not self._began:
            self._quiet_since = self._clock()
        self._began[assignment.position] = (self._clock(), assignment.unit)

    def end(self, position: int) -> None:
        """Record that a unit is finished."""
        self._began.pop(position, None)
        self._quiet_since, self._pause = self._clock(), SILENCE

    def wait(self) -> None:
        """Record that units cannot finish at present, as the service asks to wait or is unreachable."""
        self._quiet_since = self._clock()

    def message(self) -> str | None:
        """Return the message that is due, if any."""
        now = self._clock()
        if not self._began or now - self._quiet_since < self._pause:
            return None
        is_first, self._pause = self._pause == SILENCE, 2 * self._pause
        position, (began, unit) = min(self._began.items(), key=lambda item: item[1][0])
        shown = unit if len(unit) <= _LONGEST else f"{unit[: _LONGEST - 1]}…"
        count = f"{format_count(len(self._began), 'unit')} {'is' if len(self._began) == 1 else 'are'}"
        text = (
            f"No unit has finished for {format_duration(now - self._quiet_since)}: {count} under way, the longest for"
            f" {format_duration(now - began)}, unit {position}: {shown}"
        )
        return f"{text}\n{self._advice()}" if is_first else text

    def prepare(self, assignment: WorkUnit) -> WorkUnit:
        """Note when an assignment begins."""
        for unit in assignment.units:
            self.begin(unit)
        return assignment

    def note(self, events: Sequence[Finished | Lost]) -> None:
        """Note which units have ended."""
        for unit in each_unit(events):
            self.end(unit.position)

    def watch(self) -> None:
        """Report, unless the service cannot be reached, or asks to wait."""
        throttle = self.run.throttle
        if throttle.offline_since is not None or throttle.asked_left > 0.0:
            self.wait()
        elif (text := self.message()) is not None:
            self.run.log.write("slow", text=text)
            self.run.progress.say(text)


def advice_for(recipe: Recipe) -> str:
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
    if traits.is_builtin:
        return (
            "Large requests take minutes: an earlier --end or later --start, a coarser --scale, and fewer pixels or"
            " regions in a request make them quicker. Ctrl-C stops; the same command resumes the run."
        )
    return (
        "Usual cures: filterBounds and filterDate right after each ImageCollection, a coarser scale, a smaller region,"
        " no getInfo() for every unit. Ctrl-C stops; the same command resumes the run."
    )
