"""Execute units in a worker process that is connected to its parent by a pipe."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

from eechips.client.access.connection import ServiceTarget
from eechips.client.access.discovery import DiscoveryFile
from eechips.client.quota.throttle import Throttle
from eechips.engine.executors.threads import UnitThreadPool
from eechips.engine.outcome import AssignmentProgress
from eechips.engine.worker import start_worker
from eechips.engine.worker_spec import WorkerSpec
from eechips.manifest.manifest_columns import WorkUnit
from eechips.processes.child_processes import end_with_parent
from eechips.web.redaction import redact

_SWITCH_INTERVAL = 0.0002
"""Seconds after which a computing thread yields to other threads of its process. A thread that has acquired the lock of
the throttle delays all processes until it runs again; Python's default of 5 ms would be most of the time between two
requests."""
_BROKEN_THREAD = 70  # exit status; EX_SOFTWARE of sysexits.h


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has started and accepts units."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The worker could not start."""

    reason: str


def main(
    spec: WorkerSpec,
    target: ServiceTarget,
    discovery: DiscoveryFile,
    throttle: Throttle,
    client: int,
    pipe: Pipe,
    environment: Mapping[str, str],
) -> None:
    """Have threads receive units and send outcomes, until the parent sends None or ends.

    Args:
        client: number of this worker at the throttle.
        environment: environment of the parent; a fork server keeps the variables of the time of its start.
    """
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with_parent()
    sys.setswitchinterval(_SWITCH_INTERVAL)

    def receive() -> WorkUnit | None:
        try:
            assignment: WorkUnit | None = pipe.recv()
        except (EOFError, ConnectionResetError):  # the latter if the parent was killed
            return None
        return assignment

    def report(progress: AssignmentProgress) -> None:
        with threads.delivering:
            pipe.send(progress)

    try:
        worker = start_worker(spec, target, discovery, throttle.client(client))
        threads = UnitThreadPool(receive, lambda assignment: worker.execute(assignment, report), pipe.send, _exit)
        threads.start()
    except Exception as error:  # noqa: BLE001 - the parent stops the run if no worker starts
        pipe.send(Broken(redact(f"{type(error).__name__}: {error}")))
        return
    pipe.send(Ready())
    threads.wait()


def _exit(error: BaseException) -> None:
    traceback.print_exception(type(error), error, error.__traceback__)
    sys.stderr.flush()
    os._exit(_BROKEN_THREAD)
