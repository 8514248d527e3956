import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from eechips.engine.thread_pool import UnitThreadPool


@dataclass
class Worker:
    """Executes tasks, each when it is let go; records which threads do."""

    go: threading.Event = field(default_factory=threading.Event)
    begun: "queue.SimpleQueue[int]" = field(default_factory=queue.SimpleQueue)

    def execute(self, task: int) -> int:
        self.begun.put(threading.get_ident())
        assert self.go.wait(60)
        return task


@pytest.fixture
def no_more_threads() -> Iterator[Any]:
    """A function after which the system refuses to start a thread: none has so large a stack."""
    before = threading.stack_size()
    yield lambda: threading.stack_size(1 << 50)
    threading.stack_size(before)


def test_running_threads_do_the_tasks_of_those_that_cannot_start(no_more_threads: Any) -> None:
    worker, outcomes = Worker(), queue.SimpleQueue[Any]()
    pool = UnitThreadPool(worker.execute, outcomes.put, outcomes.put)  # type: ignore[arg-type]
    pool.submit(1)  # type: ignore[arg-type]
    first = worker.begun.get(timeout=60)
    no_more_threads()
    for task in (2, 3):
        pool.submit(task)  # type: ignore[arg-type]
    worker.go.set()
    assert [outcomes.get(timeout=60) for _ in range(3)] == [1, 2, 3]
    pool.submit(4)  # type: ignore[arg-type]
    assert outcomes.get(timeout=60) == 4
    assert {worker.begun.get(timeout=60) for _ in range(3)} == {first}


def test_without_any_thread_it_fails(no_more_threads: Any) -> None:
    no_more_threads()
    with pytest.raises(RuntimeError):
        UnitThreadPool(Worker().execute, print, print).submit(1)  # type: ignore[arg-type]
