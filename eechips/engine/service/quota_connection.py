"""Share the quota of a project with other runs while a run is connected: choose the place of the records, list the
runs, say when the place fails.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eechips.client.access.connection import ServiceTarget
from eechips.client.quota.quota_folder import QuotaFolder, default_quota_folder, is_run_alive
from eechips.client.quota.quota_members import RunReport, TermRecord
from eechips.client.quota.shared_quota import SharedQuota
from eechips.client.quota.throttle import Throttle
from eechips.engine.config import RunConfig
from eechips.engine.run_options import QUOTA_VARIABLE
from eechips.errors import ConfigurationError, EechipsError, UsageError
from eechips.files.local_paths import CACHE_VARIABLE
from eechips.files.temporary_names import new_writer
from eechips.storage import is_address, local_path
from eechips.web.redaction import redact
from eechips.web.urls import is_loopback

_STOP_TIMEOUT = 10.0
_log = logging.getLogger(__name__)


def quota_place(config: RunConfig, endpoint: str) -> str | Path | None:
    """Return the place in which a run shares its quota; None if it has the quota for itself.

    The default is a folder of the user's cache, except for servers on loopback: their ports change, so they are shared
    only in a folder that is named by ``quota_folder``, ``EECHIPS_QUOTA_FOLDER`` or ``EECHIPS_CACHE``.
    """
    if config.is_local or config.executor_class.is_detached:  # the slots of such workers cannot change
        return None
    if (named := _named_place(config)) is not None:
        return named
    if is_loopback(endpoint) and not os.environ.get(CACHE_VARIABLE):
        return None
    return default_quota_folder()


def _named_place(config: RunConfig) -> str | Path | None:
    place = config.quota_folder or os.environ.get(QUOTA_VARIABLE)
    if not place or is_address(str(place)):
        return place or None
    try:
        return local_path(place)
    except UsageError as error:
        raise UsageError(f"{_name_of_place(config)}: {error}") from None


def _name_of_place(config: RunConfig) -> str:
    """Return the name of the option or variable that names the place."""
    return "quota_folder" if config.quota_folder else QUOTA_VARIABLE


@dataclass(frozen=True, slots=True)
class SharingRun:
    """A run that shares a quota.

    Attributes:
        about: what it is, as it says itself.
        slots: slots that it may use.
    """

    about: str
    slots: int


def list_sharing_runs(place: str | Path, endpoint: str, project: str) -> tuple[list[SharingRun], int]:
    """List the runs that share a quota at present, the one that learns the limit first.

    Runs of other machines count if they write within a few seconds.

    Args:
        place: folder, or URL of an object store.

    Returns:
        The runs, and the slots of all together.

    Raises:
        EechipsError, OSError: if the place does not respond.
    """
    folder = QuotaFolder(place, endpoint, project)
    if not folder.exists():
        return [], 0
    term, reports = _read_records(folder)
    if term is None or term.is_over:
        return [], 0
    ids = [term.leader, *reports]
    alive = {run for run in ids if is_run_alive(run)}
    unknown = {run for run in ids if is_run_alive(run) is None}
    if unknown:
        time.sleep(2.0 * folder.times.pause(0))
        later, new = _read_records(folder)
        if later is not None and (later.number, later.count) != (term.number, term.count):
            alive.add(later.leader)
            term = later
        alive |= {run for run in unknown & new.keys() if reports.get(run) != new[run]}
        reports = new
    granted = {run: grant.slots for run, grant in term.grants.items()}
    runs = [SharingRun(reports[run].about, granted.get(run, 0)) for run in reports if run in alive]
    if term.leader in alive:
        runs.insert(0, SharingRun(term.about, max(0, int(term.limit) - sum(granted.values()))))
    return runs, int(term.limit)


def _read_records(folder: QuotaFolder) -> tuple[TermRecord | None, dict[str, RunReport]]:
    terms, runs = folder.find()
    reports = {run: folder.read_report(run) for run in runs}
    term = folder.read_term(terms[-1]) if terms else None
    return term, {run: report for run, report in reports.items() if report is not None}


class QuotaSharing:
    """The part of a run in a shared quota, kept up by a thread."""

    def __init__(self, quota: SharedQuota, project: str) -> None:
        self._quota, self._project = quota, project
        self._done = threading.Event()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._keep, name="eechips-quota", daemon=True)
        self._thread.start()

    @property
    def learns(self) -> bool:
        """Return whether this run learns the limit of the project, for itself or for all runs."""
        return self._quota.is_leader

    @property
    def message(self) -> str | None:
        """What a user should know at present; None while the run is alone."""
        quota = self._quota
        if quota.is_cut_off:
            return (
                f"The folder of the shared quota does not respond ({self._problem}): the run continues with one request"
                " in flight."
            )
        if not quota.others:
            return None
        if quota.is_waiting:
            return f"Other runs use the quota of {self._project}: this run waits for its share."
        return f"Other runs use the quota of {self._project}: it is divided among all."

    def close(self) -> None:
        """Return the slots of the run."""
        self._done.set()
        self._thread.join(_STOP_TIMEOUT)
        if self._thread.is_alive():
            return  # the lease ends by itself
        with contextlib.suppress(EechipsError, OSError):
            self._quota.leave()

    def _keep(self) -> None:
        while not self._done.wait(self._quota.pause):
            try:
                self._quota.step()
                self._problem = None
            except (EechipsError, OSError) as error:
                problem = redact(str(error))
                self._problem = self._problem or problem  # texts of a store have durations: one notice, not one a step
                _log.debug("The records of the shared quota cannot be exchanged: %s", problem)


@contextlib.contextmanager
def share_quota(
    config: RunConfig, target: ServiceTarget, throttle: Throttle, name: str
) -> Iterator[QuotaSharing | None]:
    """Share the quota of a project for the duration of the block.

    Args:
        name: name of the run, for other users.

    Yields:
        The part of this run; None if it has the quota for itself.

    Raises:
        ConfigurationError: if the place that the user has named does not respond.
    """
    place = quota_place(config, target.endpoint)
    sharing = None if place is None else _join(config, target, throttle, name, place)
    with contextlib.nullcontext() if sharing is None else contextlib.closing(sharing):
        yield sharing


def _join(
    config: RunConfig, target: ServiceTarget, throttle: Throttle, name: str, place: str | Path
) -> QuotaSharing | None:
    try:
        folder = QuotaFolder(place, target.endpoint, target.project)
        folder.prepare()
        quota = SharedQuota(
            folder,
            throttle,
            str(new_writer()),
            folder.times,
            rate=config.requests_per_second,
            about=f"{name}, process {os.getpid()} on {platform.node()}",
            is_running=is_run_alive,
        )
        quota.join()
    except (EechipsError, OSError) as error:
        if _named_place(config) is None:
            _log.debug("The quota is not shared with other runs: %s", error)
            return None
        raise ConfigurationError(f"{_name_of_place(config)} {place} cannot be used: {error}") from error
    sharing = QuotaSharing(quota, target.project)
    if sharing.message is not None:
        _log.info("%s", sharing.message)
    return sharing
