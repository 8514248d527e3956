"""Submit a pipeline in a separate process, and wait for its end: ``python -m … FILE``.

Beam starts threads, servers and processes that end only with its own process. The submitting process therefore has a
session of its own: Ctrl-C in the terminal does not reach it, and killing its process group ends everything. It ends
with its parent, and cancels the pipeline on other machines. Worker processes of this machine end with the parent as
well, even if this process was killed before. If one of them dies, the pipeline ends.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import cloudpickle  # type: ignore[import-untyped]
import grpc  # type: ignore[import-untyped]
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions
from apache_beam.runners.runner import PipelineState
from apache_beam.utils.shared import Shared

from eechips.engine.queues.beam_queue import FAILED, LOST, WRONG, PipelineJob
from eechips.engine.queues.beam_worker import BeamWorker, process_partitions
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import ConfigurationError
from eechips.storage import write_file

_MOST_REASON = 2000  # characters
_WORKER_THREAD = "run_worker"  # Beam's name for the threads that each wait for the end of a worker process


class WorkerFn(beam.DoFn):
    """A function of a pipeline that shares one worker with all others of its process.

    Args:
        rate: requests per second for each slot; None for no limit.
    """

    def __init__(self, spec: WorkerSpec, rate: float | None) -> None:
        # Pickled by value, since Beam would pickle a recipe of the main program by reference.
        self._make_worker, self._shared = cloudpickle.dumps(functools.partial(BeamWorker, spec, rate)), Shared()

    def setup(self) -> None:
        """Connect the worker of this process."""
        self._worker: BeamWorker = self._shared.acquire(lambda: pickle.loads(self._make_worker)())
        self._worker.enter()

    def teardown(self) -> None:
        """Disconnect the worker of this process."""
        self._worker.leave()


class ProcessPartitions(WorkerFn):
    """Process the partitions of a bundle concurrently, once all are known.

    Args:
        parent: pipe that ends with the parent, for worker processes of this machine; see :func:`pipe_of_parent`.
    """

    def __init__(self, job: PipelineJob, parent: tuple[int, int] | None) -> None:
        super().__init__(job.spec, job.rate)
        self._queue, self._parent = job.queue, parent

    def setup(self) -> None:
        """Connect the worker of this process."""
        if self._parent is not None:
            _end_with_parent(self._parent)
        super().setup()

    def start_bundle(self) -> None:
        """Begin a bundle."""
        self._partitions: list[int] = []

    def process(self, partition: int) -> None:
        """Add a partition to the bundle."""
        self._partitions.append(partition)

    def finish_bundle(self) -> None:
        """Process the partitions."""
        process_partitions(self._worker, self._queue, self._partitions)


def parse(options: Sequence[str]) -> PipelineOptions:
    """Parse the options of Beam; raise ValueError if the value of an option is invalid.

    Args:
        options: as on a command line.
    """
    parsed = PipelineOptions(list(options))
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):  # argparse ends the process
            parsed.get_all_options()
    except SystemExit:
        raise ValueError(errors.getvalue().strip().rpartition("\n")[2]) from None
    # The graph contains everything that workers need; the main session would be that of this module.
    parsed.view_as(SetupOptions).save_main_session = False
    return parsed


def build(job: PipelineJob, options: PipelineOptions) -> beam.Pipeline:
    """Build the pipeline."""
    # DirectRunner would first look for another runner on the network.
    runner = "apache_beam.runners.portability.fn_api_runner.FnApiRunner" if job.is_local else None
    parent = pipe_of_parent() if job.is_local else None
    pipeline = beam.Pipeline(runner=runner, options=options)
    _ = (
        pipeline
        | "Partitions" >> beam.Create(job.partitions)
        | "Spread" >> beam.Reshuffle()
        | "Fetch" >> beam.ParDo(ProcessPartitions(job, parent))
    )
    return pipeline


def pipe_of_parent() -> tuple[int, int]:
    """Return device and inode of standard input. Worker processes inherit it; only the parent holds the other end."""
    about = os.fstat(sys.stdin.fileno())
    return about.st_dev, about.st_ino


@functools.cache
def _end_with_parent(parent: tuple[int, int]) -> None:
    """Make this worker process, and all others of its group, end when the parent does."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    if os.getpid() != os.getpgrp() and pipe_of_parent() == parent:  # the leader of the group watches it in _PipelineEnd
        threading.Thread(target=watch, daemon=True, name="eechips-watch-parent").start()


class _PipelineEnd:
    """End the pipeline on SIGTERM, or when the parent ends."""

    def __init__(self) -> None:
        self.result: Any = None
        signal.signal(signal.SIGTERM, lambda *_: self.end())
        threading.Thread(target=self.watch, daemon=True, name="eechips-watch-parent").start()

    def watch(self) -> None:
        """Wait for the end of the parent, which holds the other end of standard input."""
        sys.stdin.buffer.read()
        self.end()

    def end(self) -> None:
        """Cancel the pipeline, and end its processes on this machine."""
        if self.result is not None:
            with contextlib.suppress(Exception):  # this process ends in any case
                self.result.cancel()
        os.killpg(os.getpgrp(), signal.SIGKILL)


@contextlib.contextmanager
def _ending_with_workers() -> Iterator[None]:
    """End this process when a worker process of this machine dies: the runner would wait for it forever."""
    before = threading.excepthook

    def handle(failure: threading.ExceptHookArgs) -> None:
        before(failure)
        if failure.thread is not None and failure.thread.name == _WORKER_THREAD:
            sys.stderr.flush()
            os._exit(LOST)

    threading.excepthook = handle
    try:
        yield
    finally:
        threading.excepthook = before


@contextlib.contextmanager
def serving_on_loopback() -> Iterator[None]:
    """Have the servers of Beam's runner for this machine listen on loopback, inside the block.

    They ask for no credentials, hand out files of this machine, and listen on all addresses, ``[::]:0``: ``GrpcServer``
    of Beam 2.65 to 2.77
    (https://github.com/apache/beam/blob/master/sdks/python/apache_beam/runners/portability/fn_api_runner/worker_handlers.py).
    An address of another form is an error.
    """
    make_server = grpc.server

    def make_local_server(*arguments: Any, **options: Any) -> Any:
        server: Any = make_server(*arguments, **options)
        add_port = server.add_insecure_port

        def add_local_port(address: str) -> int:
            host, _, port = address.rpartition(":")
            if host not in ("[::]", "localhost", "127.0.0.1"):
                raise ConfigurationError(f"Beam opens a server on {address}, not on this machine alone")
            return int(add_port(f"127.0.0.1:{port}"))

        server.add_insecure_port = add_local_port
        return server

    grpc.server = make_local_server
    try:
        yield
    finally:
        grpc.server = make_server


def main(path: Path) -> int:
    """Submit the pipeline in a file; return the exit status."""
    job: PipelineJob = pickle.loads(path.read_bytes())
    status = WRONG
    try:
        end_of_pipeline = _PipelineEnd()
        pipeline = build(job, parse(job.options))
        status = FAILED
        with _ending_with_workers(), serving_on_loopback() if job.is_local else contextlib.nullcontext():
            end_of_pipeline.result = pipeline.run()
            state = end_of_pipeline.result.wait_until_finish()
    except Exception as error:  # noqa: BLE001 - reported to the parent
        write_file(job.failure, f"{type(error).__name__}: {error}"[-_MOST_REASON:].encode())
        return status
    if state not in (None, PipelineState.DONE):
        write_file(job.failure, f"the runner reports {state}".encode())
        return FAILED
    return 0


if __name__ == "__main__":
    # Pickled by their names in this module, not in __main__, so that workers find them.
    from eechips.engine.executors import beam_pipeline

    status = beam_pipeline.main(Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(status)  # threads of a failed runner would keep the process alive
