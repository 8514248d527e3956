"""Assignments of several units: how many units they have, by what requests took so far, and when they are late."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.engine.executors.executor import Executor, WorkerHandle
from eechips.engine.joining.unit_joining import RequestCosts, UnitJoining
from eechips.engine.outcome import AssignmentProgress, FailedRequest, Finished, Lost, Outcome
from eechips.geo.grid import Grid
from eechips.manifest.manifest_columns import WorkUnit
from eechips.recipe import canonical_json, to_unit

PIXELS = 64 * 64
SIDE = 100


def planned(count: int) -> Iterator[WorkUnit | None]:
    for position in range(count):
        yield WorkUnit(position, f"{position:064x}", canonical_json(to_unit(position)), f"chips/{position}")


def window(unit: int) -> tuple[str, Grid]:
    column, row = unit % SIDE, unit // SIDE
    return "image", Grid("EPSG:32613", (1.0, 0.0, 64.0 * column, 0.0, -1.0, -64.0 * row), 64, 64)


def take_all(joiner: UnitJoining, count: int, slots: int, seconds: Callable[[int], float]) -> list[int]:
    """Take the assignments of a run whose requests take so many seconds for their units; return the units of each."""
    sizes: list[int] = []
    seen: set[int] = set()
    while True:
        try:
            assignment = joiner.take(slots, count - sum(sizes))
        except StopIteration:
            break
        assert assignment is not None
        seen |= {unit.position for unit in assignment.units}
        sizes.append(len(assignment.units))
        joiner.note([Finished(assignment, Outcome(assignment.position, None, request_seconds=seconds(sizes[-1])))])
    assert seen == set(range(count))
    assert sum(sizes) == count
    return sizes


@pytest.mark.slow
def test_a_request_that_costs_little_for_its_pixels_has_many_units() -> None:
    sizes = take_all(UnitJoining(window, RequestCosts(), planned(10_000)), 10_000, 40, lambda units: 1.0 + units / 64)
    assert len(sizes) <= 200
    assert max(sizes) <= 256


def test_assignments_come_in_the_order_in_which_their_first_units_were_received() -> None:
    positions = random.Random(3).sample(range(400), 400)
    units = list(planned(400))
    joiner = UnitJoining(window, RequestCosts(), (units[position] for position in positions))
    assignments: list[list[int]] = []
    while sum(map(len, assignments)) < 400:
        assignment = joiner.take(4, 400)
        assert assignment is not None
        assignments.append([positions.index(unit.position) for unit in assignment.units])
    firsts = [min(assignment) for assignment in assignments]
    assert len(assignments) < 200  # they share requests
    assert firsts == sorted(firsts)


@pytest.mark.slow
def test_a_request_that_takes_disproportionately_long_has_few_units() -> None:
    """The most units a second have requests whose squared part takes as long as the fixed part: of 20 units."""
    sizes = take_all(
        UnitJoining(window, RequestCosts(), planned(5_000)), 5_000, 40, lambda units: 0.4 + 0.001 * units**2
    )
    later = sizes[40:]
    assert 5 <= sum(later) / len(later) <= 40
    assert max(later) <= 100


def simulate(count: int, slots: int, seconds: Callable[[int], float]) -> float:
    """Return when the last of the assignments of a run ends, whose slots are busy as long as there are assignments."""
    joiner = UnitJoining(window, RequestCosts(), planned(count))
    busy: list[tuple[float, int, WorkUnit]] = []
    now, left, is_exhausted = 0.0, count, False
    while busy or not is_exhausted:
        while not is_exhausted and len(busy) < slots:
            try:
                assignment = joiner.take(slots, left)
            except StopIteration:
                is_exhausted = True
                break
            assert assignment is not None
            left -= len(assignment.units)
            heapq.heappush(busy, (now + seconds(len(assignment.units)), assignment.position, assignment))
        if busy:
            now, _, assignment = heapq.heappop(busy)
            took = seconds(len(assignment.units))
            joiner.note([Finished(assignment, Outcome(assignment.position, None, request_seconds=took))])
    return now


@pytest.mark.slow
@pytest.mark.parametrize(("count", "slots"), [(36, 40), (100, 40), (400, 8), (600, 20), (1_600, 40)])
@pytest.mark.parametrize(
    "seconds",
    [lambda units: 0.15 + 0.156 * units, lambda units: 0.05 + 0.4 * units, lambda units: 0.4 + 0.0015 * units**2],
    ids=["pixels cost most", "pixels cost nearly all", "large windows cost more than their parts"],
)
def test_requests_that_save_nothing_delay_nothing(count: int, slots: int, seconds: Callable[[int], float]) -> None:
    """A run without sharing takes as many rounds as each slot has units."""
    alone = math.ceil(count / slots) * seconds(1)
    assert simulate(count, slots, seconds) <= 1.1 * alone


def test_the_end_of_a_run_is_shared_among_the_slots() -> None:
    sizes = take_all(UnitJoining(window, RequestCosts(), planned(3_000)), 3_000, 40, lambda units: 1.0 + units / 16)
    assert max(sizes[-10:]) <= 30


FAILED = Outcome(0, None, failed_request=FailedRequest(0, "HTTP 504: it took too long", is_divisible=True))


@pytest.mark.parametrize("outcome", [Outcome(0, None, pixels_that_worked=8 * PIXELS), FAILED])
def test_a_request_that_was_too_large_makes_later_ones_smaller(outcome: Outcome) -> None:
    joiner = UnitJoining(window, RequestCosts(), planned(4_000))
    first = joiner.take(2, 4_000)
    assert first is not None
    assert len(first.units) > 32
    joiner.note([Finished(first, outcome)])
    second = joiner.take(2, 4_000 - len(first.units))
    assert second is not None
    assert 1 < len(second.units) <= len(first.units) // 4


def test_a_lowered_size_is_raised_after_it_has_worked_for_a_while() -> None:
    costs = RequestCosts()
    for _ in range(2):
        costs.note_too_large(1 << 14, 1 << 14)
        assert costs.most_pixels == 1 << 14
    waits = 0
    while costs.most_pixels == 1 << 14:
        costs.note(1 << 14, 1.0)
        waits += 1
    assert (costs.most_pixels, waits) == (1 << 15, 40)


def test_requests_that_were_sent_before_the_size_was_lowered_do_not_delay_its_rise() -> None:
    costs = RequestCosts()
    for _ in range(40):  # all that were in flight
        costs.note_too_large(1 << 17, 1 << 15)
    waits = 0
    while costs.most_pixels == 1 << 15:
        costs.note(1 << 15, 1.0)
        waits += 1
    assert (costs.most_pixels, waits) == (1 << 16, 20)


def test_halves_of_a_assignment_lie_side_by_side_and_lower_the_size_only_if_both_fail() -> None:
    joiner = UnitJoining(window, RequestCosts(), planned(4_000))
    assignment = joiner.take(2, 4_000)
    assert assignment is not None
    joiner.note([Finished(assignment, FAILED)])
    after = joiner._costs.most_pixels
    halves = joiner.divide(assignment.units)
    assert sorted(unit.position for half in halves for unit in half.units) == [
        unit.position for unit in assignment.units
    ]
    assert abs(len(halves[0].units) - len(halves[1].units)) <= len(assignment.units) // 4
    for axis in (0, 1):
        sides = [{divmod(unit.position, SIDE)[axis] for unit in half.units} for half in halves]
        if not sides[0] & sides[1]:
            break
    else:
        raise AssertionError("the halves overlap along both axes")
    joiner.note([Finished(halves[0], FAILED)])
    assert joiner._costs.most_pixels == after
    joiner.note([Finished(halves[1], FAILED)])
    assert joiner._costs.most_pixels < after


def test_a_assignment_whose_worker_was_lost_teaches_nothing() -> None:
    joiner = UnitJoining(window, RequestCosts(), planned(500))
    assignment = joiner.take(1, 500)
    assert assignment is not None
    joiner.note([Lost(assignment, "it died", blame=True), Finished(assignment, Outcome(0, None, request_seconds=1e9))])
    found = joiner.take(1, 400)
    assert found is not None
    assert len(found.units) > 20


def test_units_that_are_not_planned_yet_are_awaited() -> None:
    units = iter([*list(planned(3)), None, *list(planned(5))[3:]])
    joiner = UnitJoining(window, RequestCosts(), units)
    first = joiner.take(1, 3)
    assert first is not None
    taken = [*first.units]
    while (assignment := joiner.take(1, 1)) is not None:
        taken += assignment.units
        if len(taken) == 5:
            break
    assert sorted(unit.position for unit in taken) == list(range(5))
    with pytest.raises(StopIteration):
        joiner.take(1, 0)


class Waiting(Executor[WorkerHandle]):
    """Never finishes an assignment, and has the time that a test gives it."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(Throttle(None, QuotaLimits(4, 4), clients=1), 10.0, lambda: self.now)
        self._handles.append(WorkerHandle(is_ready=True))

    def scale(self, slots: int, assignments: int, *, exclusive: bool) -> bool:
        return False

    def submit(self, assignment: WorkUnit, *, alone: bool = False) -> None:
        self._assign(assignment, alone=alone)

    def wait(self, timeout: float) -> list[Finished | Lost]:
        return []

    def kill(self) -> None: ...

    def _capacity(self, handle: WorkerHandle) -> int:
        return 4

    def late_at(self, now: float, progress: int | None = None) -> set[int]:
        while self.now < now:  # a run looks at the clock several times a second
            self.now = min(self.now + 1.0, now)
            self._late(self._handles[0])
        if progress is not None:
            self._note_progress(self._handles[0], AssignmentProgress(progress))
        return self._late(self._handles[0])


class Reporting(Waiting):
    """The same, with workers that report progress."""

    reports_progress = True


def test_the_time_limit_grows_with_the_units_or_begins_anew_with_each() -> None:
    joiner = UnitJoining(window, RequestCosts(), planned(8))
    assignment, alone = joiner.take(1, 8), next(planned(1))
    assert assignment is not None
    assert alone is not None
    alone = WorkUnit(99, "f" * 64, alone.unit, "chips/99")
    assert len(assignment.units) == 8
    executor, reporting = Waiting(), Reporting()
    for each in (executor, reporting):
        each.submit(assignment)
        each.submit(alone)
    assert executor.late_at(11) == {99}
    assert executor.late_at(79) == {99}
    assert executor.late_at(81) == {0, 99}
    assert reporting.late_at(9, progress=0) == set()
    assert reporting.late_at(18, progress=0) == {99}
    assert reporting.late_at(29) == {0, 99}


def test_the_event_of_a_unit_has_its_outcome_alone() -> None:
    assignment = UnitJoining(window, RequestCosts(), planned(8)).take(1, 8)
    assert assignment is not None
    outcomes = [Outcome(unit.position) for unit in assignment.units]
    events = list(Finished(assignment, replace(outcomes[0], joined=tuple(outcomes[1:]))).each())
    assert [event.outcome for event in events] == outcomes
    assert [event.assignment for event in events] == list(assignment.units)


def test_workers_are_not_late_after_a_stop_of_all_processes() -> None:
    """Ctrl-Z for an hour: all units under way seemed to hang, and every worker was killed."""
    executor = Waiting()
    executor.submit(next(planned(1)))
    assert executor.late_at(6) == set()
    executor.now += 3600.0
    assert executor.late_at(executor.now) == set()
    assert executor.late_at(executor.now + 3) == set()
    assert executor.late_at(executor.now + 2) == {0}
