"""Runs that share a quota through records, simulated: clocks that differ, deaths, pauses, partitions, many runs."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.client.quota.quota_folder import FOLDER_TIMES, STORE_TIMES
from eechips.client.quota.quota_members import LeaseTimes, RunReport, TermRecord, fair_shares
from local_tests.support.parameters import slow_except
from tests.support.quota_world import QUOTA, Run, View, World, shares


@given(st.integers(0, 200), st.lists(st.integers(1, 100), min_size=1, max_size=20))
def test_fair_shares_are_max_min_fair(total: int, wanted: list[int]) -> None:
    found = fair_shares(total, wanted)
    assert sum(found) == min(total, sum(wanted))
    assert all(0 <= share <= want for share, want in zip(found, wanted, strict=True))
    most = max(found)
    assert all(share == want or share >= most - 1 for share, want in zip(found, wanted, strict=True))


def test_what_cannot_be_divided_goes_to_those_that_came_first() -> None:
    assert fair_shares(41, [1000, 1000]) == [21, 20]
    assert fair_shares(2, [1000, 1000, 1000]) == [1, 1, 0]


def test_a_run_alone_has_the_whole_quota() -> None:
    world = World()
    run = world.start()
    world.pass_time(10)
    assert run.quota.is_leader
    world.pass_time(60)
    assert world.busy >= 0.96 * QUOTA
    assert world.rejected <= 0.02 * world.attempts


@pytest.mark.parametrize("seed", slow_except(range(3), 0))
def test_two_runs_have_half_each_and_fill_the_quota(seed: int) -> None:
    world = World(seed)
    world.start()
    world.pass_time(20)
    world.start()
    world.pass_time(6)
    assert world.most <= QUOTA + 2
    world.pass_time(60)
    assert world.busy >= 0.95 * QUOTA
    assert world.rejected <= 0.02 * world.attempts
    assert all(0.4 <= share <= 0.6 for share in shares(world))


def test_what_a_run_cannot_use_goes_to_the_others() -> None:
    world = World()
    world.start()
    small = world.start(demand=5)
    world.start()
    world.pass_time(20)
    world.pass_time(60)
    assert small.busy >= 4.5
    assert world.busy >= 0.95 * QUOTA
    assert abs(world.runs[0].busy - world.runs[2].busy) <= 3


@pytest.mark.slow
def test_a_finished_run_returns_its_slots_at_once() -> None:
    for first in (True, False):  # the leader, or the other
        world = World()
        runs = [world.start(), world.start()]
        world.pass_time(20)
        world.leave(runs[0 if first else 1])
        world.pass_time(4)
        world.pass_time(10)
        assert world.busy >= 0.93 * QUOTA, first
    world.leave(runs[0])
    assert world.records.terms == {}
    assert world.records.reports == {}


@pytest.mark.parametrize("victim", slow_except([0, 1], 0))
def test_the_slots_of_a_killed_run_are_free_after_its_lease(victim: int) -> None:
    world = World(3)
    world.start()
    world.start()
    world.start()
    world.pass_time(20)
    world.kill(world.runs[victim])
    world.pass_time(FOLDER_TIMES.lease * 0.9)
    assert world.busy <= 0.85 * QUOTA  # nobody takes them before
    world.pass_time(8)
    world.pass_time(30)
    assert world.busy >= 0.95 * QUOTA
    assert world.most <= QUOTA + 2
    assert sum(run.quota.is_leader for run in world.runs if not run.is_dead) == 1


@pytest.mark.parametrize("victim", slow_except([0, 1], 0))
def test_on_one_machine_the_slots_of_a_killed_run_are_free_when_its_requests_are_over(victim: int) -> None:
    world = World(3)
    world.is_visible = world.lasts = True
    for _ in range(3):
        world.start()
    world.pass_time(20)
    world.kill(world.runs[victim])
    world.pass_time(2)
    assert world.busy <= 0.85 * QUOTA  # the service may still compute what the killed run requested
    world.pass_time(FOLDER_TIMES.lease / 3 + 2)
    assert world.rejected <= 0.02 * world.attempts
    world.pass_time(20)
    assert world.busy >= 0.95 * QUOTA


@pytest.mark.parametrize("seed", slow_except(range(3), 0))
def test_runs_that_begin_together_fill_the_quota_before_long_in_a_store(seed: int) -> None:
    world = World(seed, seconds=2.0, times=STORE_TIMES)
    for _ in range(8):
        world.start()
        world.pass_time(0.3)
    world.pass_time(6)
    world.pass_time(4)
    assert world.busy >= 0.9 * QUOTA
    assert min(run.busy for run in world.runs) >= 2
    assert world.most <= QUOTA + 2


@pytest.mark.slow
@pytest.mark.parametrize("times", [FOLDER_TIMES, STORE_TIMES])
def test_runs_whose_shares_do_not_change_write_seldom(times: LeaseTimes) -> None:
    world = World(2, times=times)
    for _ in range(4):
        world.start()
    world.pass_time(20)
    before = [report.count for report in world.records.reports.values()]
    world.pass_time(60)
    after = [report.count for report in world.records.reports.values()]
    assert len(after) == 3
    most = 1.3 * 60 / times.pause(3)
    assert all(later - earlier <= most for earlier, later in zip(before, after, strict=True))


def test_a_run_alone_takes_no_short_steps_for_a_report_that_nobody_removes() -> None:
    world = World()
    first = world.start()
    world.records.reports["7"] = replace(_report(first), run="7", count=5)
    world.pass_time(10)
    assert first.quota.pause == FOLDER_TIMES.pause(0)


def _report(run: Run) -> RunReport:
    return run.quota._report(run.throttle.measure())


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_run_that_is_cut_off_keeps_one_slot_and_the_others_take_the_rest(victim: int) -> None:
    world = World(4)
    world.start()
    world.start()
    world.pass_time(20)
    cut = world.runs[victim]
    cut.view.is_cut = True
    world.pass_time(FOLDER_TIMES.lease + 5)
    assert world.most <= QUOTA + 3
    world.pass_time(30)
    assert cut.quota.is_cut_off
    assert cut.throttle.limit == 1
    assert world.busy >= 0.95 * QUOTA
    assert world.most <= QUOTA + 3
    cut.view.is_cut = False
    world.pass_time(6)
    assert world.most <= QUOTA + 3
    world.pass_time(30)
    assert all(0.4 <= share <= 0.6 for share in shares(world))
    assert world.busy >= 0.95 * QUOTA


@pytest.mark.slow
def test_a_leader_that_was_cut_off_follows_a_run_that_began_after_all_others_had_left() -> None:
    world = World(11)
    world.start()
    world.start()
    world.pass_time(20)
    world.runs[0].view.is_cut = True
    world.pass_time(FOLDER_TIMES.lease + 5)
    world.leave(world.runs[1])
    assert world.records.terms == {}
    world.start()
    assert list(world.records.terms) == [1]  # the number of the term of the run that is cut off
    world.runs[0].view.is_cut = False
    world.pass_time(6)
    assert sum(run.quota.is_leader for run in world.runs if not run.is_dead) == 1
    world.pass_time(30)
    assert all(0.4 <= share <= 0.6 for share in shares(world))
    assert world.rejected <= 0.03 * world.attempts


@pytest.mark.slow
def test_a_paused_run_does_not_use_slots_that_were_granted_to_others() -> None:
    world = World(5)
    world.start()
    world.start()
    world.pass_time(20)
    world.runs[0].is_paused = True  # its workers continue
    world.pass_time(60)
    assert world.most <= QUOTA + 3
    assert world.runs[0].throttle.limit == 1
    world.runs[0].is_paused = False
    world.pass_time(10)
    assert world.most <= QUOTA + 3
    world.pass_time(30)
    assert all(0.4 <= share <= 0.6 for share in shares(world))


@pytest.mark.slow
def test_without_the_records_every_run_keeps_one_slot() -> None:
    world = World(6)
    for _ in range(4):
        world.start()
    world.pass_time(20)
    world.records.is_down = True
    world.pass_time(30)
    assert [run.throttle.limit for run in world.runs] == [1] * 4
    world.records.is_down = False
    world.pass_time(40)
    world.pass_time(30)
    assert world.busy >= 0.93 * QUOTA
    assert world.most <= QUOTA + 2


@pytest.mark.slow
def test_forty_runs_have_a_slot_each_and_sixty_share_forty() -> None:
    world = World(7)
    for _ in range(40):
        world.start()
        world.pass_time(0.5)
    world.pass_time(30)
    world.pass_time(30)
    assert world.busy >= 0.95 * QUOTA
    assert world.most <= QUOTA + 3
    assert world.rejected <= 0.02 * world.attempts
    assert min(run.busy for run in world.runs) > 0.5
    for _ in range(20):
        world.start()
    world.pass_time(30)
    world.pass_time(30)
    assert world.busy >= 0.95 * QUOTA
    assert world.rejected <= 0.02 * world.attempts


@pytest.mark.slow
def test_a_run_with_a_limit_of_its_own_stays_below_it() -> None:
    world = World(8)
    world.start(most=8, start=8)
    world.start()
    world.pass_time(60)
    world.pass_time(30)
    assert world.runs[0].busy <= 8
    assert world.busy >= 0.95 * QUOTA


def test_a_smaller_quota_is_learned_by_all() -> None:
    world = World(9)
    for _ in range(3):
        world.start()
    world.pass_time(20)
    world.quota = 12
    world.pass_time(30)
    world.pass_time(60)
    assert 0.9 * 12 <= world.busy <= 13
    assert world.rejected <= 0.05 * world.attempts


@pytest.mark.parametrize("seed", slow_except([2, 10, 18], 2))
def test_a_quota_that_shrinks_is_kept_and_full_after_half_a_minute(seed: int) -> None:
    world = World(seed)
    for _ in range(4):
        world.start()
    world.pass_time(20)
    world.quota = 12
    world.pass_time(30)
    world.pass_time(30)
    assert world.busy >= 0.98 * 12
    assert world.rejected <= 0.02 * world.attempts


@pytest.mark.parametrize("seed", slow_except(range(3), 0))
def test_a_small_quota_is_full(seed: int) -> None:
    world = World(seed, quota=6)
    for _ in range(4):
        world.start()
    world.pass_time(30)
    world.pass_time(30)
    assert world.busy >= 0.94 * 6
    assert world.rejected <= 0.04 * world.attempts


@pytest.mark.slow
def test_a_limit_that_runs_did_not_use_while_they_were_short_of_cpu_falls_when_they_do() -> None:
    world = World(1)
    runs = [world.start(skew=False) for _ in range(4)]
    for _ in range(60):
        for run in runs:
            run.demand = world.random.choice([0, 1, 5, 20, 1000])
        world.pass_time(0.5)
    for run in runs:
        run.demand = 1000
    world.pass_time(10)
    world.pass_time(20)
    assert world.busy >= 0.95 * QUOTA
    assert world.rejected <= 0.02 * world.attempts


@pytest.mark.parametrize("seed", slow_except(range(3), 0))
def test_a_limit_that_runs_did_not_use_while_they_started_falls_when_they_do(seed: int) -> None:
    world = World(seed, quota=10)
    runs = [world.start(demand=0, skew=False) for _ in range(4)]
    world.pass_time(6)
    runs[0].demand = 1000
    world.pass_time(5)
    for run in runs:
        run.demand = 1000
    world.pass_time(10)
    world.pass_time(20)
    assert world.busy >= 0.88 * 10
    assert world.rejected <= 0.04 * world.attempts


def test_a_record_that_cannot_be_read_is_replaced_after_a_lease() -> None:
    world = World(10)
    world.start()
    world.pass_time(5)
    world.kill(world.runs[0])

    class Damaged(View):
        def read_term(self, number: int) -> TermRecord | None:
            return None if number == 1 else super().read_term(number)

    run = world.start()
    view = Damaged(world.records)
    run.quota._records = view
    world.pass_time(FOLDER_TIMES.lease + 3)
    assert run.quota.is_leader
    assert run.throttle.limit >= 10


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["start", "kill", "leave", "cut", "heal", "pause", "continue", "lose", "demand", "nothing"]),
        st.integers(0, 7),
        st.floats(0.5, 20.0),
    ),
    min_size=3,
    max_size=14,
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(EVENTS, st.integers(0, 1000))
def test_whatever_happens_the_quota_is_kept_and_is_full_again_afterwards(
    events: list[tuple[str, int, float]], seed: int
) -> None:
    world = World(seed)
    world.start(start=QUOTA)
    world.pass_time(3)
    for what, number, seconds in events:
        alive = [run for run in world.runs if not run.is_dead]
        run = alive[number % len(alive)]
        if what == "start" and len(alive) < 8:
            with contextlib.suppress(OSError):
                world.start()
        elif what in ("kill", "leave") and len(alive) > 1:
            with contextlib.suppress(OSError):
                (world.kill if what == "kill" else world.leave)(run)
        elif what == "cut":
            run.view.is_cut = True
        elif what == "heal":
            run.view.is_cut = False
        elif what in ("pause", "continue"):
            run.is_paused = what == "pause"
        elif what == "lose":
            run.view.loses = lambda: world.random.random() < 0.3
        elif what == "demand":
            run.demand = number * 8
        world.pass_time(seconds)
        unleased = sum(run.throttle.limit == 1 for run in world.runs if not run.is_dead)
        assert world.excess <= 3 + unleased
        assert world.learned <= 1.2 * QUOTA
    for run in world.runs:
        run.view.is_cut = run.is_paused = False
        run.view.loses = lambda: False
        run.demand = 1000
    world.pass_time(3 * FOLDER_TIMES.lease)
    world.pass_time(30)
    assert world.busy >= 0.93 * QUOTA
    assert world.excess <= 1
    assert world.rejected <= 0.03 * world.attempts
    found = shares(world)
    assert max(found) - min(found) <= 0.2
