"""Process the partitions of a bundle in a Beam worker, and report the outcomes."""

from __future__ import annotations

import heapq
import os
import platform
import time
from collections.abc import Callable, Sequence

from eechips.engine.beam_worker import BeamWorker
from eechips.engine.file_queue import FileQueue, OutcomeBatch, StopMode
from eechips.engine.outcome import Finished, Lost
from eechips.errors import ConfigurationError

_WRITE_SECONDS = 2.0  # seconds between two batches of a worker
_MOST_EVENTS = 1000  # events in a batch


def process_partitions(
    worker: BeamWorker, queue: FileQueue, partitions: Sequence[int], clock: Callable[[], float] = time.monotonic
) -> None:
    """Execute the units of some partitions that have no reported outcome, and report theirs.

    Args:
        worker: that executes.
        queue: of the run.
        partitions: their numbers.
        clock: seconds, monotonic.

    Raises:
        ConfigurationError: if the queue is not to be seen from here.
    """
    try:
        every = [queue.read_units(partition) for partition in partitions]
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"a worker on {platform.node()} does not see the folder of the results ({error}): give --out a folder"
            " that all machines share, or the address of an object store, such as s3://bucket/folder"
        ) from None
    settled = queue.completed_ids(partitions)  # by one that was lost before it had done with these partitions
    tasks = [task for task in heapq.merge(*every, key=lambda task: task.position) if task.id not in settled]
    report = _Report(worker, queue, partitions, clock)
    report.begin()
    try:
        worker.process(len(partitions), tasks, report.add, report.write_if_due)
    finally:
        report.write()


class _Report:
    """Collect events, and write them every few seconds."""

    def __init__(
        self, worker: BeamWorker, queue: FileQueue, partitions: Sequence[int], clock: Callable[[], float]
    ) -> None:
        self._worker, self._queue, self._partitions, self._clock = worker, queue, partitions, clock
        self._events: list[Finished | Lost] = []
        self._written = clock()
        self._stop: StopMode | None = None

    def begin(self) -> None:
        """Report that this process works on the partitions."""
        self._queue.write_batch(self._partitions, OutcomeBatch(self._worker.name, host=(platform.node(), os.getpid())))

    def add(self, event: Finished | Lost) -> None:
        """Add an event. One that concerns every unit stops the work."""
        self._events.append(event)
        if isinstance(event, Finished) and event.outcome.fatal is not None:
            self._stop = "finish"
        if len(self._events) >= _MOST_EVENTS:
            self.write()

    def write_if_due(self) -> StopMode | None:
        """Write the events, if it is time; return whether and how to stop."""
        if self._clock() - self._written >= _WRITE_SECONDS:
            self.write()
            self._stop = self._queue.stop_mode or self._stop
        return self._stop

    def write(self) -> None:
        """Write the collected events."""
        self._written = self._clock()
        events, self._events = self._events, []
        tally = self._worker.usage()
        if events or (tally is not None and tally.sent):
            self._queue.write_batch(self._partitions, OutcomeBatch(self._worker.name, tuple(events), tally))
