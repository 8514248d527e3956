"""Simulate runs that share a quota through records: clocks that differ, deaths, pauses, partitions."""

from __future__ import annotations

import contextlib
import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.quota_folder import FOLDER_TIMES
from eechips.client.quota.quota_members import LeaseTimes, RunReport, TermRecord
from eechips.client.quota.shared_quota import SharedQuota
from eechips.client.quota.throttle import Throttle

STEP = 0.05  # seconds of the simulation
QUOTA = 40


class Records:
    """The records of all runs, in memory.

    Attributes:
        is_down: whether nobody reaches them.
    """

    def __init__(self) -> None:
        self.terms: dict[int, TermRecord] = {}
        self.reports: dict[str, RunReport] = {}
        self.is_down = False


@dataclass
class View:
    """The records as one run reaches them.

    Attributes:
        is_cut: whether the run does not reach them.
        loses: whether responses to writes are lost, after the write.
    """

    records: Records
    is_cut: bool = False
    loses: Callable[[], bool] = lambda: False

    def _reach(self) -> None:
        if self.is_cut or self.records.is_down:
            raise OSError("no connection")

    def _lose(self) -> None:
        if self.loses():
            raise OSError("the response was lost")

    def find(self) -> tuple[list[int], list[str]]:
        self._reach()
        return sorted(self.records.terms), sorted(self.records.reports)

    def read_term(self, number: int) -> TermRecord | None:
        self._reach()
        return self.records.terms.get(number)

    def read_report(self, run: str) -> RunReport | None:
        self._reach()
        return self.records.reports.get(run)

    def create_term(self, record: TermRecord) -> bool:
        self._reach()
        if record.number in self.records.terms:
            return False
        self.records.terms[record.number] = record
        self._lose()
        return True

    def write_term(self, record: TermRecord) -> None:
        self._reach()
        self.records.terms[record.number] = record
        self._lose()

    def write_report(self, report: RunReport) -> None:
        self._reach()
        self.records.reports[report.run] = report
        self._lose()

    def remove_term(self, number: int) -> None:
        with contextlib.suppress(OSError):
            self._reach()
            self.records.terms.pop(number, None)

    def remove_report(self, run: str) -> None:
        with contextlib.suppress(OSError):
            self._reach()
            self.records.reports.pop(run, None)


@dataclass
class Run:
    """A simulated run.

    Attributes:
        demand: requests that it would have in flight.
        is_dead: killed.
        is_paused: its thread of the quota does not run; its requests do.
    """

    name: str
    view: View
    throttle: Throttle
    quota: SharedQuota
    demand: int = 1000
    is_dead: bool = False
    is_paused: bool = False
    next_step: float = 0.0
    active: list[tuple[float, int, contextlib.ExitStack, bool]] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    busy: float = 0.0

    @property
    def under_way(self) -> int:
        """Units under way, those that wait to be repeated included: some more than slots."""
        return min(self.demand, math.ceil(1.3 * self.throttle.expected_limit))


class World:
    """A service with a quota, and runs that share it.

    Attributes:
        now: seconds.
        attempts: requests.
        rejected: number of rejected requests.
        most: most requests that could have been in flight at once.
        excess: greatest number of requests above the quota or the limit that the runs had learned, whichever was
            higher.
        learned: highest limit that a run had learned.
        lag: seconds for which a run holds a slot after the service has answered.
        is_visible: whether the runs are on one machine, and see which of them live.
        lasts: whether the service finishes the requests of killed runs.
        times: times of the records.
    """

    def __init__(
        self, seed: int = 0, quota: int = QUOTA, seconds: float = 1.0, times: LeaseTimes = FOLDER_TIMES
    ) -> None:
        self.random = random.Random(seed)
        self.records, self.runs, self.quota, self.seconds = Records(), [], quota, seconds
        self.runs: list[Run] = []
        self.now = 0.0
        self.attempts = self.rejected = self.most = self.excess = self.learned = self._numbers = 0
        self.busy = 0.0
        self.in_flight = 0
        self.lag = 0.02
        self.is_visible = False
        self.lasts = False
        self.times = times

    def is_running(self, run: str) -> bool | None:
        """Return whether a run lives, if it is on the same machine."""
        return not self.runs[int(run)].is_dead if self.is_visible and int(run) < len(self.runs) else None

    def clock(self, *, skew: bool) -> Callable[[], float]:
        """Return the clock of a machine; with ``skew`` it has another origin, and is up to 2% fast or slow."""
        offset = self.random.uniform(-1e6, 1e6) if skew else 0.0
        rate = self.random.uniform(0.98, 1.02) if skew else 1.0
        return lambda: 1e7 + offset + rate * self.now

    def start(self, demand: int = 1000, *, most: int = 1000, start: int | None = None, skew: bool = True) -> Run:
        clock = self.clock(skew=skew)
        limits = QuotaLimits(in_flight=most, start=start, is_known=most < 1000)
        throttle = Throttle(None, limits, clients=1, clock=clock, lease_clock=clock)
        name = f"{len(self.runs)}"
        view = View(self.records)
        quota = SharedQuota(view, throttle, name, self.times, clock=clock, is_running=self.is_running)
        run = Run(name, view, throttle, quota, demand)
        self.runs.append(run)
        run.quota.join()
        run.next_step = self.now + self.random.uniform(0, 1) * run.quota.pause
        return run

    def kill(self, run: Run) -> None:
        """Kill a run: the service ends its requests, unless they last."""
        run.is_dead = True
        if not self.lasts:
            self.in_flight -= sum(not is_over for *_, is_over in run.active)
            run.active.clear()

    def leave(self, run: Run) -> None:
        """Finish a run."""
        run.demand = 0
        self.pass_time(5 * self.seconds)
        run.quota.leave()
        run.is_dead = True

    def pass_time(self, seconds: float) -> World:
        """Let time pass; figures begin anew."""
        self.attempts = self.rejected = self.most = self.excess = self.learned = 0
        self.busy = 0.0
        for run in self.runs:
            run.busy = 0.0
        for _ in range(round(seconds / STEP)):
            self._advance()
        self.busy /= seconds
        for run in self.runs:
            run.busy /= seconds
        return self

    def _advance(self) -> None:
        self.now += STEP
        alive = [run for run in self.runs if not run.is_dead]
        self.random.shuffle(alive)
        for run in self.runs:
            while run.active and run.active[0][0] <= self.now:
                end, number, stack, is_over = heapq.heappop(run.active)
                if is_over:
                    stack.close()
                else:
                    self.in_flight -= 1
                    heapq.heappush(run.active, (end + self.random.uniform(0, 2 * self.lag), number, stack, True))
            run.waiting = [until for until in run.waiting if until > self.now]
        for run in alive:
            if not run.is_paused and self.now >= run.next_step:
                with contextlib.suppress(OSError):
                    run.quota.step()
                run.next_step = self.now + run.quota.pause * self.random.uniform(0.9, 1.3)
        for run in alive:
            while run.throttle.in_flight < run.throttle.limit and len(run.active) + len(run.waiting) < run.under_way:
                self._request(run)
            if len(run.active) + len(run.waiting) < run.under_way:  # a thread waits for a permit
                run.throttle._note_waiting(run.throttle.clock())
            self.busy += len(run.active) * STEP
        possible = sum(max(run.throttle.limit, run.throttle.in_flight) for run in alive)
        learned = max((run.quota.total for run in alive), default=0)
        self.most, self.learned = max(self.most, possible), max(self.learned, learned)
        self.excess = max(self.excess, possible - max(self.quota, learned))
        for run in alive:
            run.busy += len(run.active) * STEP

    def _request(self, run: Run) -> None:
        self.attempts += 1
        stack = contextlib.ExitStack()
        permit = stack.enter_context(run.throttle.client(0).permit())
        if self.in_flight >= self.quota:
            self.rejected += 1
            permit.status = 429
            stack.close()
            run.waiting.append(self.now + 0.5)
            return
        permit.status = 200
        self.in_flight += 1
        end = self.now + self.random.lognormvariate(0, 0.3) * self.seconds
        self._numbers += 1
        heapq.heappush(run.active, (end, self._numbers, stack, False))


def shares(world: World) -> list[float]:
    total = sum(run.busy for run in world.runs)
    return [run.busy / total for run in world.runs if not run.is_dead]
