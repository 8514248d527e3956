"""Throughput of a run over time: sums that hold for any times."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.manifest.folder_lock import is_held, lock_folder
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.run import open_run
from eechips.manifest.run_status import read_history
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger

BEGAN = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def iso(seconds: float) -> str:
    moment = datetime.fromtimestamp(BEGAN + seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make(folder: Path, finished: Sequence[float], *, planned: int = 0, log: Sequence[tuple[float, str]] = ()) -> None:
    """A folder of units that were settled so many seconds after BEGAN, and a log of events."""
    folder.mkdir(exist_ok=True)
    ids = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(len(finished) + planned)]
    with Ledger(folder / LEDGER_NAME) as ledger:
        ledger.store_plan({}, [WorkUnit(n, identifier, "{}", f"c/{n}") for n, identifier in enumerate(ids)])
        ledger.record(
            [Record(position=n, state=State.FAILED_PERMANENT, finished=iso(t)) for n, t in enumerate(finished)]
        )
    lines = [{"time": iso(moment), "event": event} for moment, event in log]
    (folder / "run.log").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_throughput_of_a_steady_run(tmp_path: Path) -> None:
    make(tmp_path, [n / 4 for n in range(400)], log=[(0, "started")])
    found = read_history(tmp_path, BEGAN + 1e6, intervals=50)
    assert (found.seconds, found.duration, found.commands) == (2, 100.0, 1)
    assert found.rates == (4.0,) * 50
    assert found.rate == 4.0
    assert found.in_flight == ()
    assert found.recent is None


def test_pauses_between_commands_are_left_out(tmp_path: Path) -> None:
    """Ten seconds at 3 units a second, a day of nothing and a command that settled nothing, five seconds at 2."""
    day = 86_400
    times = [n / 3 for n in range(30)] + [day + n / 2 for n in range(10)]
    make(tmp_path, times, log=[(0, "started"), (500, "started"), (day, "started")])
    found = read_history(tmp_path, BEGAN + 2 * day)
    assert found.rates == (3.0,) * 10 + (2.0,) * 5
    assert (found.duration, found.commands) == (15.0, 2)
    assert found.rate == pytest.approx(35 / 13)  # of each command, without its first second


def test_planning_does_not_slow_the_speed(tmp_path: Path) -> None:
    """Two commands that plan for a minute each, and then settle ten units in five seconds."""
    times = [60 + n / 2 for n in range(10)] + [1060 + n / 2 for n in range(10)]
    make(tmp_path, times, log=[(0, "started"), (1000, "started")])
    assert read_history(tmp_path, BEGAN + 2000).rate == pytest.approx(2.0)


def test_a_burst_has_no_speed(tmp_path: Path) -> None:
    """Two commands whose 40 units were all in flight for half a minute, and ended in one second."""
    make(tmp_path, [30.0] * 40 + [1030.0] * 40, log=[(0, "started"), (1000, "started")])
    assert read_history(tmp_path, BEGAN + 2000).rate is None


@pytest.mark.slow
@given(
    times=st.lists(st.floats(0, 5000), min_size=1, max_size=60),
    starts=st.lists(st.floats(0, 5000), max_size=5),
    intervals=st.integers(1, 80),
    running=st.booleans(),
)
@settings(max_examples=60)
def test_no_unit_is_lost_or_counted_twice(
    tmp_path_factory: pytest.TempPathFactory, times: list[float], starts: list[float], intervals: int, running: bool
) -> None:
    folder = tmp_path_factory.mktemp("run")
    make(folder, times, log=[(start, "started") for start in starts])
    found = read_history(folder, BEGAN + 5001, intervals=intervals, is_running=running)
    assert len(found.rates) <= intervals
    lengths = [min(found.seconds, found.duration - n * found.seconds) for n in range(len(found.rates))]
    assert all(length > 0 for length in lengths)
    assert sum(lengths) == pytest.approx(found.duration)
    assert sum(r * length for r, length in zip(found.rates, lengths, strict=True)) == pytest.approx(len(times))


def test_the_remaining_time_follows_the_last_minute(tmp_path: Path) -> None:
    """Slow for an hour, then 5 a second for two minutes: 1,000 more take 200 seconds."""
    times = [n * 10 for n in range(360)] + [3600 + n / 5 for n in range(600)]
    make(tmp_path, times, planned=1000, log=[(0, "started")])
    assert read_history(tmp_path, BEGAN + 3720, is_running=True).recent == pytest.approx(5.0)
    with lock_folder(tmp_path):
        status = open_run(tmp_path).status(clock=lambda: BEGAN + 3720)
        assert status.is_running
        assert status.seconds_left == pytest.approx(200.0)
    status = open_run(tmp_path).status(clock=lambda: BEGAN + 3720)
    assert (status.is_running, status.seconds_left, status.history.recent) == (False, None, None)


def test_a_run_without_a_finished_unit_has_no_history(tmp_path: Path) -> None:
    make(tmp_path, [], planned=3)
    found = read_history(tmp_path, BEGAN)
    assert (found.rates, found.rate, found.duration) == ((), None, 0.0)
    make(tmp_path, [], planned=3, log=[(0, "started")])
    assert read_history(tmp_path, BEGAN + 10, is_running=True).rates == (0.0,) * 10
    (tmp_path / "run.log").unlink()
    assert open_run(tmp_path).status().to_json()["history"]["rates"] == ()


@pytest.mark.slow
def test_a_running_process_is_recognised(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    code = (
        "import sys, eechips.manifest.folder_lock as l\n"
        "with l.lock_folder(l.Path(sys.argv[1])): print('in', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code.replace("l.Path", "__import__('pathlib').Path"), str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        assert is_held(tmp_path)
        process.kill()
        process.wait()
        assert not is_held(tmp_path)
    with lock_folder(tmp_path):
        pass
    assert (tmp_path / ".eechips.lock").read_text().split()[0] == str(os.getpid())
    assert not is_held(tmp_path)  # the process lives on, but has left the folder


def test_slots_are_sampled_every_few_seconds(tmp_path: Path) -> None:
    """Without a line per request; an interval without a look is as the one before."""
    make(tmp_path, [n / 2 for n in range(60)], log=[(0, "started")])
    looks = [(5, 10, 20), (10, 20, 20), (16, 40, 40), (26, 40, 40)]
    with (tmp_path / "run.log").open("a") as log:
        for moment, in_flight, limit in looks:
            line = {"time": iso(moment), "event": "throughput", "settled": 1, "in_flight": in_flight, "limit": limit}
            log.write(json.dumps(line) + "\n")
    found = read_history(tmp_path, BEGAN + 1e6, intervals=6)
    assert found.seconds == 5
    assert found.in_flight == (10.0, 10.0, 20.0, 40.0, 40.0, 40.0)
    assert found.limits == (20.0, 20.0, 20.0, 40.0, 40.0, 40.0)
    assert open_run(tmp_path).status().to_json()["history"]["limits"][-1] == 40.0


def test_errors_are_counted_over_time(tmp_path: Path) -> None:
    """Failed units by their own moment; rejected requests by how much the count grew, which begins anew each time."""
    make(tmp_path, [n / 2 for n in range(60)], log=[(0, "started"), (20, "started")])
    with (tmp_path / "run.log").open("a") as log:
        for moment, rejected in [(5, 3), (11, 4), (24, 2), (29, 7)]:
            line = {"time": iso(moment), "event": "throughput", "in_flight": 1, "limit": 40, "rejected": rejected}
            log.write(json.dumps(line) + "\n")
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        done = [n for n in range(60) if n not in (3, 4, 50)]
        ledger.record([Record(position=n, state=State.DONE, finished=iso(n / 2)) for n in done])
    found = read_history(tmp_path, BEGAN + 1e6, intervals=6)
    assert found.seconds == 5
    assert found.failed == (2, 0, 0, 0, 0, 1)
    assert found.rejected == (0, 3, 1, 0, 2, 5)


def test_a_run_that_was_killed_before_its_first_unit(tmp_path: Path) -> None:
    make(tmp_path, [], planned=3, log=[(0, "started")])
    with (tmp_path / "run.log").open("a") as log:
        line = {"time": iso(5), "event": "throughput", "in_flight": 1, "limit": 40, "rejected": 1}
        log.write(json.dumps(line) + "\n")
    found = read_history(tmp_path, BEGAN + 1e6)
    assert (found.rates, found.in_flight, found.rejected) == ((), (), ())
