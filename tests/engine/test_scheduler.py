"""The scheduler counts each unit once, in whatever order executors report, and however often."""

from __future__ import annotations

import io
import itertools
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.engine.executors.executor import Executor, WorkerHandle, lost
from eechips.engine.interrupt import Interrupt
from eechips.engine.joining.unit_joining import RequestCosts, UnitJoining
from eechips.engine.outcome import FailedRequest, Finished, Lost, Outcome
from eechips.engine.progress import Progress
from eechips.engine.run_features.run_monitor import RunMonitor
from eechips.engine.run_log import RunLog
from eechips.engine.scheduler import Scheduler
from eechips.files.temporary_names import new_writer
from eechips.geo.grid import Grid
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import read_files, sum_totals
from eechips.recipe import canonical_json, to_unit
from eechips.storage import LocalStore

_DESKS, _DEPTH = 3, 2
_TOKEN = str(new_writer())


def planned(position: int) -> WorkUnit:
    return WorkUnit(position, f"{position:064x}", canonical_json(to_unit(position)), f"chips/{position}")


class Unreliable(Executor[WorkerHandle]):
    """Loses handles, and reports results late, twice, or of assignments that it has called lost."""

    def __init__(self, throttle: Throttle, store: LocalStore, draw: st.DataObject) -> None:
        super().__init__(throttle, float("inf"))
        self._store, self._draw = store, draw
        self._handles += [WorkerHandle(is_ready=True) for _ in range(_DESKS)]
        self._troubles = 25
        self._sent: list[WorkUnit] = []
        self._split: set[int] = set()  # units whose shared request has failed
        self._reported: list[Finished | Lost] = []

    def scale(self, slots: int, assignments: int, *, exclusive: bool) -> bool:
        return False

    def wait(self, timeout: float) -> list[Finished | Lost]:
        events: list[Finished | Lost] = []
        for handle in self._handles:
            self._troubles -= 1
            what = "finish" if self._troubles < 0 else self._draw.draw(st.sampled_from(_WHAT))
            if what == "finish":
                found = (
                    self._finish(handle, self._outcome(assignment))
                    for assignment, _ in list(handle.assignments.values())
                )
                events += [each for each in found if each is not None]
            elif what == "lose":
                events += lost(handle, "it died", set())
                handle.is_alone = False
            elif what == "lose one":  # the guilty one is known
                events += lost(handle, "it was late", set(list(handle.assignments)[:1]))
                handle.is_alone = False
            elif what == "late" and self._sent:
                assignment = self._draw.draw(st.sampled_from(self._sent))
                events.append(Finished(assignment, self._outcome(assignment)))
            elif what == "again" and self._reported:
                events.append(self._draw.draw(st.sampled_from(self._reported)))
            elif what == "twice" and events:
                events.append(events[-1])
        self._reported += events
        return events

    def kill(self) -> None:
        for handle in self._handles:
            handle.assignments.clear()

    def submit(self, assignment: WorkUnit, *, alone: bool = False) -> None:
        self._assign(assignment, alone=alone)
        self._sent.append(assignment)

    def _capacity(self, handle: WorkerHandle) -> int:
        return _DEPTH

    def _outcome(self, assignment: WorkUnit) -> Outcome:
        first, *others = map(self._outcome_of, assignment.units)
        return replace(first, joined=tuple(others))

    def _outcome_of(self, assignment: WorkUnit) -> Outcome:
        if assignment.position % 5 == 4 and assignment.position not in self._split:
            self._split.add(assignment.position)
            return Outcome(
                assignment.position,
                None,
                failed_request=FailedRequest(assignment.position, "it failed", is_divisible=False),
            )
        staged = self._store.stage(
            f"{assignment.name}.txt", str(assignment.position).encode(), f"{_TOKEN}-{next(_NUMBERS)}"
        )
        record = Record(
            position=assignment.position, state=State.DONE, attempts=1, requests=2, file=staged.name, bytes=staged.size
        )
        return Outcome(assignment.position, record, (staged,))


_NUMBERS = itertools.count()
_WHAT = ("finish", "nothing", "lose", "lose one", "late", "again", "twice")


class Rows:
    """Tells that units with neighbouring numbers lie side by side."""

    def request_window(self, unit: Any) -> tuple[int, Grid]:
        return unit // 6, Grid("EPSG:32613", (1.0, 0.0, 64.0 * unit, 0.0, -1.0, 0.0), 64, 64)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 12))
@pytest.mark.parametrize("joins", [None, Rows()])
def test_each_unit_is_recorded_once_despite_repeated_late_or_lost_reports(
    joins: Rows | None, data: st.DataObject, count: int
) -> None:
    shown, seconds = io.StringIO(), itertools.count(step=11)
    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger(Path(folder) / LEDGER_NAME) as ledger,
        RunLog(Path(folder)) as log,
        Progress(count, 0, 4, stream=shown, clock=lambda: next(seconds)) as progress,
    ):
        ledger.store_plan({}, map(planned, range(count)))
        store = LocalStore(Path(folder))
        executor = Unreliable(
            Throttle(None, QuotaLimits(4, 4) if joins is None else QuotaLimits(1, 1), clients=1), store, data
        )
        sharing = () if joins is None else (UnitJoining(joins.request_window, RequestCosts()),)
        scheduler = Scheduler(
            ledger.open_units(),
            count,
            ledger=ledger,
            store=store,
            executor=executor,
            progress=progress,
            log=log,
            interrupt=Interrupt(),
            features=(*sharing, RunMonitor(executor)),
        )
        assert scheduler.run()
        counts = ledger.counts()
        assert sum(counts.values()) == count
        assert set(counts) <= {State.DONE, State.FAILED_PERMANENT}
        for file in read_files(ledger.database):
            assert file.name == f"chips/{file.position}.txt"
            assert (Path(folder) / file.name).read_text() == str(file.position)
            assert file.size == len(str(file.position))
        assert sum_totals(ledger.database).requests == 2 * counts.get(State.DONE, 0)
    lines = [line for line in shown.getvalue().splitlines() if "units" in line]
    assert lines[-1].startswith(f"{count}/{count} units")
    for line in lines:
        found = re.match(r"(\d+)/(\d+) units", line)
        assert found is not None
        assert int(found[1]) <= int(found[2])
        assert "-" not in line


def test_an_exceeded_estimate_leaves_no_time() -> None:
    shown, now = io.StringIO(), [0.0]
    with Progress(3, 0, 4, stream=shown, clock=lambda: now[0]) as progress:
        for _ in range(5):
            now[0] += 20.0
            progress.settle(failed=False)
            progress.show(0, 4)
    assert "5/3 units" in shown.getvalue()
    assert "-" not in shown.getvalue()
