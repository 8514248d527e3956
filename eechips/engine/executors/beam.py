"""Execute units in the workers of Apache Beam pipelines, wherever the runner starts them.

Parent and workers communicate through files (:mod:`eechips.engine.queues.beam_queue`) in the place of the results. The
units are distributed over as many partitions as the run has slots, and a worker owns the slots of the partitions that
it processes: all workers together never exceed the quota, however many they are. A worker processes all its partitions
concurrently, so a slow unit does not delay the others.

A runner may repeat work. Duplicate results and outcomes count once. Units that a failed pipeline did not complete are
given to the next one.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from eechips.engine.executors.executor import Executor, ExecutorContext, WorkerHandle, lost
from eechips.engine.outcome import Finished, Lost, Outcome
from eechips.engine.queues.beam_queue import LOST, WRONG, BeamQueue, OutcomeBatch, PipelineJob, StopMode
from eechips.errors import ConfigurationError, UsageError
from eechips.manifest.manifest_columns import WorkUnit
from eechips.processes.child_processes import module_command
from eechips.storage import ObjectStore
from eechips.web.redaction import redact

LOG_NAME = "beam.log"
"""Log file of Beam and its workers, in the folder of the ledger."""
_MODULE = "eechips.engine.executors.beam_pipeline"
_MOST_ASSIGNMENTS = 250_000
"""Units of one pipeline: they are held in memory here."""
_LOOK, _LOOK_FAR = 0.5, 3.0  # seconds between two looks into a folder, and into an object store
_MAX_FRUITLESS = 3
"""Consecutive pipelines without an outcome that end the run."""
_END_TIMEOUT = 60.0  # seconds until a pipeline without work must have ended
_PARALLELISM = frozenset({"--runner", "--direct_running_mode", "--direct_num_workers"})
_CANCEL_TIMEOUT = 10.0  # seconds until a cancelled pipeline is killed


class BeamExecutor(Executor[WorkerHandle]):
    """Execute units in Beam pipelines, one after the other. All units that are ready at a time form one pipeline.

    The store of the run publishes results immediately. The throttle counts the requests that workers report. The
    processes of the context are workers on this machine, if the options of Beam do not have their number.
    """

    is_remote = True
    is_detached = True

    def __init__(self, context: ExecutorContext) -> None:
        super().__init__(context.throttle, context.assignment_timeout)
        self._spec, self._clients, self._slots = context.spec, context.processes + 1, context.throttle.limit
        self._rate = None if self._spec.rate is None else self._spec.rate / self._slots
        self._options = _with_defaults(context.pipeline_options, context.processes)
        self._scratch, self._log, self._note_queue = context.scratch, context.folder / LOG_NAME, context.note_queue
        self._handles.append(WorkerHandle(is_ready=True))
        self._numbers = itertools.count()
        self._running: _Pipeline | None = None
        self._settled: list[BeamQueue] = []
        self._fruitless = 0

    @classmethod
    def create(cls, context: ExecutorContext) -> BeamExecutor:
        """Make the executor of a run."""
        return cls(context)

    def __enter__(self) -> BeamExecutor:
        if importlib.util.find_spec("apache_beam") is None:
            raise ConfigurationError("executor 'beam' needs Apache Beam: pip install 'eechips[beam]'")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._running is not None and not self.is_busy:
            self._running.has_ended(_END_TIMEOUT)  # all units have outcomes: the workers only have to notice
            self._settled.append(self._running.queue)
            self._running.kill()
            self._running = None
        self.kill()
        if kind is None:
            self._clear()

    def scale(self, slots: int, assignments: int, *, exclusive: bool) -> bool:
        """Do nothing: the runner starts the workers."""
        return False

    def wait(self, timeout: float) -> list[Finished | Lost]:
        """Wait for outcomes, for ``timeout`` seconds at most.

        Raises:
            ConfigurationError: if pipelines fail without an outcome.
        """
        self._clear()
        (handle,) = self._handles
        if self._running is None:
            if handle.assignments:
                self._begin(handle)
            return []
        running = self._running
        if self.throttle.is_stopped:
            running.stop("finish")
        has_ended = running.has_ended(timeout)
        if has_ended:
            running.kill()  # workers may be left, and write more
        events = self._collect(handle, running, is_over=has_ended)
        return events + self._end(handle, running) if has_ended else events

    def kill(self) -> None:
        """End the pipeline. The next run recovers the outcomes that its workers have written."""
        if self._running is not None:
            self._running.stop("now")
            self._running.kill()
            self._running = None
        self._handles[0].assignments.clear()

    def submit(self, assignment: WorkUnit, *, alone: bool = False) -> None:
        """Add an assignment to the next pipeline, which starts when no further assignment comes."""
        self._assign(assignment, alone=alone)

    def _capacity(self, handle: WorkerHandle) -> int:
        return 0 if self._running is not None else _MOST_ASSIGNMENTS

    def _begin(self, handle: WorkerHandle) -> None:
        queue = BeamQueue(self._spec.store, f"{self._spec.token}-{next(self._numbers)}")
        self._note_queue(queue.token, True)
        partitions = queue.write_partitions([assignment for assignment, _ in handle.assignments.values()], self._slots)
        failure = self._scratch / f"{queue.token}.txt"
        job = PipelineJob(self._spec, self._rate, queue, tuple(partitions), self._options, failure)
        job.save(self._scratch / f"{queue.token}.pickle")
        look = _LOOK_FAR if isinstance(self._spec.store, ObjectStore) else _LOOK
        self._running = _Pipeline(job, self._scratch / f"{queue.token}.pickle", self._log, look)

    def _collect(self, handle: WorkerHandle, running: _Pipeline, *, is_over: bool) -> list[Finished | Lost]:
        """Return the events since the previous call."""
        events: list[Finished | Lost] = []
        for batch in running.batches(is_over=is_over):
            if batch.usage is not None:
                client = 1 + running.number_of(batch.worker) % (self._clients - 1)
                self.throttle.absorb(client, batch.usage, min(len(handle.assignments), self._slots))
            for event in batch.events:
                assignment, _ = handle.assignments.get(event.assignment.position, (None, 0.0))
                if assignment is not None and assignment.id == event.assignment.id:  # else a duplicate, or of another
                    del handle.assignments[assignment.position]
                    events.append(replace(event, assignment=assignment))
        if events:
            self._fruitless = 0
        return events

    def _end(self, handle: WorkerHandle, running: _Pipeline) -> list[Finished | Lost]:
        """Return the events of the assignments that a pipeline has not completed."""
        self._running = None
        self._settled.append(running.queue)
        for client in range(1, self._clients):
            self.throttle.reclaim(client)
        if running.is_wrong:
            raise UsageError(f"Beam does not take these options: {running.failure}")
        left = [assignment for assignment, _ in handle.assignments.values()]
        if not left:
            return []
        handle.is_alone = False
        if self.throttle.is_stopped:
            handle.assignments.clear()
            return [Finished(assignment, Outcome(assignment.position, None)) for assignment in left]
        self._fruitless += 1
        reason = "its worker died" if running.has_lost_worker else running.failure or "the pipeline ended without it"
        if self._fruitless >= _MAX_FRUITLESS and not (running.has_lost_worker and len(left) <= self._slots):
            raise ConfigurationError(f"the pipeline does not work: {reason}; the output of Beam is in {self._log}")
        # Suspects get a pipeline each; while other units are under way, no unit is blamed.
        is_suspect = (self._fruitless > 1 or len(left) == 1) and len(left) <= self._slots
        events = lost(handle, reason, set())
        return list(events if is_suspect else (replace(event, blame=False) for event in events))

    def _clear(self) -> None:
        """Remove Beam queues whose outcomes are all in the ledger."""
        while self._settled:
            queue = self._settled.pop()
            queue.clear()
            self._note_queue(queue.token, False)


class _Pipeline:
    """A submitted pipeline.

    Args:
        log: file for the output of Beam.
        look: seconds between two listings of the queue.
    """

    def __init__(self, job: PipelineJob, path: Path, log: Path, look: float) -> None:
        self.queue = job.queue
        self._submission, self._look = job, look
        self._looked = time.monotonic()
        self._read: set[str] = set()
        self._workers: list[str] = []
        self._stop_sent: StopMode | None = None
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [*module_command(_MODULE), str(path)],
                stdin=subprocess.PIPE,  # it ends with this process
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def is_wrong(self) -> bool:
        """Return whether the pipeline did not start, because of its options."""
        return self._process.returncode == WRONG

    @property
    def failure(self) -> str | None:
        """Return the reason of a failure; None if it has not failed."""
        if self._process.returncode == 0:
            return None
        try:
            reason = redact(self._submission.failure.read_text())
        except FileNotFoundError:
            return f"its process ended with status {self._process.returncode}"
        return reason

    @property
    def has_lost_worker(self) -> bool:
        """Return whether it ended because a worker process of this machine died."""
        return self._process.returncode == LOST

    def number_of(self, worker: str) -> int:
        """Return the number of a worker: 0, 1, 2 in the order of their first batches."""
        return self._workers.index(worker)

    def has_ended(self, timeout: float) -> bool:
        """Wait for the end, for ``timeout`` seconds at most; return whether the pipeline has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        return self._process.returncode is not None

    def batches(self, *, is_over: bool) -> list[OutcomeBatch]:
        """Return the batches since the previous call, if it is time to list them."""
        if not is_over and time.monotonic() - self._looked < self._look:
            return []
        self._looked = time.monotonic()
        new_batches = []
        for name in self.queue.batch_names():
            if name not in self._read:
                try:
                    batch = self.queue.read_batch(name)
                except FileNotFoundError:  # a network file system may list a file before it shows its content
                    continue
                self._read.add(name)
                new_batches.append(batch)
                if batch.worker not in self._workers:
                    self._workers.append(batch.worker)
        return new_batches

    def stop(self, how: StopMode) -> None:
        """Make the workers stop, once."""
        if self._stop_sent != how:
            self._stop_sent = how
            self.queue.stop(how)

    def kill(self) -> None:
        """Cancel the pipeline, and kill its processes on this machine."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_CANCEL_TIMEOUT)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # workers may be left
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


def _with_defaults(options: tuple[str, ...], size: int) -> tuple[str, ...]:
    """Return the options of Beam; by default one worker process on this machine for each core."""
    if {option.partition("=")[0] for option in options} & _PARALLELISM:
        return options
    workers = min(size, os.cpu_count() or 1)
    return (*options, "--direct_running_mode=multi_processing", f"--direct_num_workers={workers}")
