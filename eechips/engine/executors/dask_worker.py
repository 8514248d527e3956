"""Execute units in a worker of a Dask cluster, with a share of the quota."""

from __future__ import annotations

import platform
from pathlib import Path

from eechips.client.access.connection import ServiceTarget
from eechips.client.access.discovery import Discovery
from eechips.client.quota.permits import QuotaLimits, QuotaShare, UsageDelta
from eechips.client.quota.throttle import Throttle, UsageMeter
from eechips.engine.outcome import Outcome
from eechips.engine.worker import start_worker
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import ConfigurationError
from eechips.files.removal import NamedPath, remove_tree
from eechips.files.scratch_folders import temporary_folder_of
from eechips.manifest.manifest_columns import WorkUnit
from eechips.storage import LocalStore, RemoteStore

LOG_NAME = "dask.log"
"""Log file of Dask, in the folder of the ledger."""


class DaskWorker:
    """A worker process of a cluster. Several threads may use it.

    Args:
        probe: a file that exists where the results are stored, if this machine has the same file system.

    Raises:
        ConfigurationError: if this machine has another version of eechips, or no credentials that work.
    """

    def __init__(self, spec: WorkerSpec, discovery: Discovery, probe: Path) -> None:
        spec.check_version()
        target = _find_target(spec)
        self._folder = temporary_folder_of(self)
        file = discovery.save(self._folder / "discovery.json")
        self._throttle = Throttle(None, QuotaLimits(in_flight=1, start=1, learns=False), clients=1)
        is_elsewhere = isinstance(spec.store, LocalStore) and not probe.exists()
        self._worker = start_worker(
            spec, target, file, self._throttle.client(0), RemoteStore() if is_elsewhere else None
        )
        self._meter = UsageMeter(self._throttle)

    def execute(self, assignment: WorkUnit, share: QuotaShare) -> tuple[Outcome, UsageDelta]:
        """Execute an assignment; return its outcome, and the use of the quota since the previous call."""
        self._throttle.share(share)
        outcome = self._worker.execute(assignment)
        return outcome, self._meter.report()

    def close(self) -> None:
        """Send nothing from now on, and remove temporary files."""
        self._throttle.stop()
        self._worker.close()
        remove_tree(self._folder, NamedPath())


def _find_target(spec: WorkerSpec) -> ServiceTarget:
    try:
        return spec.find_target()
    except ConfigurationError as error:
        raise ConfigurationError(
            f"a Dask worker on {platform.node()} has no working credentials: {error}. Credentials are never sent to"
            " workers: run `earthengine authenticate` on each machine, or set GOOGLE_APPLICATION_CREDENTIALS there, or"
            " give `credentials` a key file that all workers can read under the same path"
        ) from None
