import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from eechips.engine.executors.threads import UnitThreadPool


@dataclass
class Worker:
    """Executes assignments, each when it is let go; records which threads do."""

    go: threading.Event = field(default_factory=threading.Event)
    begun: "queue.SimpleQueue[int]" = field(default_factory=queue.SimpleQueue)

    def execute(self, assignment: int) -> int:
        self.begun.put(threading.get_ident())
        assert self.go.wait(60)
        return assignment


@pytest.fixture
def no_more_threads() -> Iterator[Any]:
    """A function after which the system refuses to start a thread: none has so large a stack."""
    before = threading.stack_size()
    yield lambda: threading.stack_size(1 << 50)
    threading.stack_size(before)


def start_pool(worker: Worker) -> "tuple[queue.SimpleQueue[Any], queue.SimpleQueue[Any], UnitThreadPool]":
    """The assignments and the outcomes of a pool that has started."""
    assignments, outcomes = queue.SimpleQueue[Any](), queue.SimpleQueue[Any]()
    pool = UnitThreadPool(assignments.get, worker.execute, outcomes.put, outcomes.put)  # type: ignore[arg-type]
    pool.start()
    return assignments, outcomes, pool


def test_assignments_are_executed_at_once() -> None:
    worker = Worker()
    assignments, outcomes, _ = start_pool(worker)
    for assignment in range(5):
        assignments.put(assignment)
    assert len({worker.begun.get(timeout=60) for _ in range(5)}) == 5
    worker.go.set()
    assert {outcomes.get(timeout=60) for _ in range(5)} == set(range(5))


def test_a_assignment_is_received_while_an_outcome_cannot_be_delivered() -> None:
    worker, assignments = Worker(), queue.SimpleQueue[Any]()
    worker.go.set()
    delivering, delivered = threading.Event(), threading.Event()

    def deliver(outcome: Any) -> None:
        delivering.set()
        assert delivered.wait(60)

    UnitThreadPool(assignments.get, worker.execute, deliver, print).start()  # type: ignore[arg-type]
    assignments.put(1)
    assert delivering.wait(60)
    first = worker.begun.get(timeout=60)
    assignments.put(2)
    assert worker.begun.get(timeout=60) != first
    delivered.set()


def test_threads_end_after_the_last_assignment() -> None:
    worker = Worker()
    worker.go.set()
    assignments, outcomes, pool = start_pool(worker)
    assignments.put(1)
    assert outcomes.get(timeout=60) == 1
    assignments.put(None)
    pool.wait()
    assignments.put(2)
    assert assignments.get(timeout=60) == 2  # no thread received it


def test_running_threads_do_the_assignments_of_those_that_cannot_start(no_more_threads: Any) -> None:
    worker = Worker()
    assignments, outcomes, _ = start_pool(worker)
    no_more_threads()
    for assignment in (1, 2, 3):
        assignments.put(assignment)
    worker.go.set()
    assert [outcomes.get(timeout=60) for _ in range(3)] == [1, 2, 3]
    assignments.put(4)
    assert outcomes.get(timeout=60) == 4
    assert len({worker.begun.get(timeout=60) for _ in range(4)}) == 1


def test_without_any_thread_it_fails(no_more_threads: Any) -> None:
    no_more_threads()
    with pytest.raises(RuntimeError):
        start_pool(Worker())
