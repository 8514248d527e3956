"""The body of a worker process: receives units by a pipe, and sends what became of them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import connection as mp_connection
from multiprocessing import parent_process
from multiprocessing.connection import Connection as Pipe

from eechips.client.redaction import redact
from eechips.client.throttle import Throttle
from eechips.engine.thread_pool import Crew
from eechips.engine.worker import WorkerSetup, start_worker

_SWITCH_INTERVAL = 0.0002
"""Seconds after which a thread that computes lets another of its process go on. One that has got the lock of the
throttle holds up all processes until it goes on; the usual 5 ms would be most of the time between two requests."""
_BROKEN_THREAD = 70  # exit status; EX_SOFTWARE of sysexits.h


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker can take units."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A worker could not start.

    Attributes:
        reason: what happened.
    """

    reason: str


def main(setup: WorkerSetup, throttle: Throttle, seat: int, pipe: Pipe, environment: Mapping[str, str]) -> None:
    """The body of a worker process: receives units, sends outcomes, until it is told None or its parent is gone.

    Args:
        setup: what to do.
        throttle: of the run.
        seat: of this worker at the throttle.
        pipe: to the parent.
        environment: of the parent: a fork server has that of the time when it was started.
    """
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _die_with_parent()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    try:
        worker = start_worker(setup, throttle.client(seat))
    except Exception as error:  # noqa: BLE001 - told to the parent, which gives up when no worker starts
        pipe.send(Broken(redact(f"{type(error).__name__}: {error}")))
        return
    pipe.send(Ready())
    crew = Crew(worker, pipe.send, lambda: os._exit(_BROKEN_THREAD))
    while True:
        try:
            task = pipe.recv()
        except (EOFError, ConnectionResetError):  # the latter if the parent was killed
            return
        if task is None:
            return
        crew.take(task)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        mp_connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="eechips-watch-parent").start()
