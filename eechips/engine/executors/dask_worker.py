"""A worker on another machine, which has a share of the quota: what it needs, and what it tells."""

from __future__ import annotations

import platform
import threading
from dataclasses import dataclass
from pathlib import Path

from eechips.client.connection import ServiceTarget
from eechips.client.discovery import Discovery
from eechips.client.throttle import QuotaLimits, QuotaShare, Throttle, UsageDelta
from eechips.engine.beam_worker import Posting
from eechips.engine.outcome import Outcome
from eechips.engine.worker import WorkerSetup, start_worker
from eechips.errors import ConfigurationError
from eechips.manifest.record import WorkUnit
from eechips.removal import Named, remove_tree, temporary_folder_of
from eechips.storage import LocalStore, RemoteStore

LOG_NAME = "dask.log"
"""What Dask has to say, in the folder of the ledger."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker on another machine is told, once. Picklable; it holds no credentials: a worker finds its own.

    Attributes:
        posting: what to do, and whom to ask; its rate is not used.
        documents: what the parent was told by the service.
        probe: file in the output folder, by which a worker sees whether the folder is its own as well.
        rate: requests a second of all workers together; None for no limit.
    """

    posting: Posting
    discovery: Discovery
    probe: Path
    rate: float | None


class DaskWorker:
    """A worker process of a cluster. Several threads may use it.

    Args:
        orders: what to do.

    Raises:
        ConfigurationError: if this machine has another version of eechips, or no credentials that work.
    """

    def __init__(self, orders: Orders) -> None:
        duty = orders.posting.duty
        orders.posting.check_version()
        target = _find_target(orders.posting)
        self._folder = temporary_folder_of(self)
        discovery = orders.discovery.save(self._folder / "discovery.json")
        self._throttle = Throttle(None, QuotaLimits(in_flight=1, start=1, learns=False), clients=1)
        is_elsewhere = isinstance(duty.store, LocalStore) and not orders.probe.exists()
        setup = WorkerSetup(duty, target, discovery)
        self._worker = start_worker(setup, self._throttle.client(0), RemoteStore() if is_elsewhere else None)
        self._telling = threading.Lock()
        self._told = (0, 0, 0)

    def execute(self, task: WorkUnit, share: QuotaShare) -> tuple[Outcome, UsageDelta]:
        """Executes a task.

        Args:
            task: the task.
            share: of the quota, at present.

        Returns:
            What became of it, and what the host has sent since it returned the last time.
        """
        self._throttle.share(share)
        outcome = self._worker.execute(task)
        return outcome, self._tally()

    def close(self) -> None:
        """Has nothing repeated any more."""
        self._throttle.stop()
        remove_tree(self._folder, Named())

    def _tally(self) -> UsageDelta:
        throttle = self._throttle
        with self._telling:
            now = (throttle.sent, throttle.rejected, throttle.received)
            sent, rejected, received = (new - old for new, old in zip(now, self._told, strict=True))
            self._told = now
            return UsageDelta(sent, rejected, received, throttle.in_flight, throttle.limit, throttle.is_restricted)


def _find_target(posting: Posting) -> ServiceTarget:
    try:
        return posting.find_target()
    except ConfigurationError as error:
        raise ConfigurationError(
            f"a Dask worker on {platform.node()} finds no credentials that work: {error}. Credentials are never sent to"
            " workers. Run `earthengine authenticate` on each machine, or set GOOGLE_APPLICATION_CREDENTIALS there, or"
            " give --credentials FILE with a path that all workers can read"
        ) from None
