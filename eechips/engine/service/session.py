"""Connect this process to the service of a run: its project (none on localhost), credentials and quota, its local
Earth Engine, notes on synthetic data (demo planet, stubs).
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eechips.client.access.connection import Connection, ServiceTarget, connect_to_nothing
from eechips.client.access.connection import connect as connect_client
from eechips.client.access.credentials import find_credentials, find_project, is_project, missing_project
from eechips.client.http.transport import Transport, use_transport
from eechips.client.quota import stored_limits
from eechips.client.quota.congestion import USUAL
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.engine.config import RunConfig
from eechips.engine.plans.plan import BudgetError
from eechips.engine.progress import WaitReport
from eechips.engine.results.archive_provenance import archive_note, served_note
from eechips.engine.service.local_server import EXPORTS_FOLDER, LocalServer, local_earth_engine, remove_unused_exports
from eechips.engine.service.quota_connection import QuotaSharing, share_quota
from eechips.engine.service.served_archives import ServedArchives
from eechips.engine.service.workload_tag import workload_tag_of
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import Stopped
from eechips.manifest.data_source import DataSource
from eechips.recipe import Recipe, traits_of
from eechips.storage import Store
from eechips.web.urls import is_loopback

_log = logging.getLogger(__name__)
_SYNTHETIC = "The demo planet is synthetic: it was computed, not observed."
STUBS = "stubs"
"""In the ledger: ids of the datasets that were stubs, which the demo planet lacks."""


@dataclass(frozen=True, slots=True)
class Session:
    """A connected process.

    Attributes:
        notes: for users of the results, such as that they are synthetic.
        server: the local Earth Engine that was started for it, if there is one.
        served: open archives of the local Earth Engine, also of one that others have started; None for none.
        sharing: the part of the run in a quota that it shares; None if it has the quota for itself.
    """

    connection: Connection
    throttle: Throttle
    notes: tuple[str, ...]
    server: LocalServer | None
    sharing: QuotaSharing | None = None
    served: ServedArchives | None = None

    @property
    def archives(self) -> tuple[Mapping[str, Any], ...]:
        """The open archives, with their datasets."""
        return () if self.served is None else self.served.archives

    def check(self) -> None:
        """Raise ConfigurationError if the local Earth Engine has ended."""
        if self.server is not None:
            self.server.check()


@contextlib.contextmanager
def connect(config: RunConfig, server_log: Path | None = None, *, recipe: Recipe | None = None) -> Iterator[Session]:
    """Initialise Earth Engine in this process for the duration of the block.

    With ``local``, a local Earth Engine runs for the same duration. The previous state of the client is restored at
    the end.

    Args:
        config: has the service, the project and the credentials.
        server_log: file for the errors of the local Earth Engine.
        recipe: recipe of the run; if it needs no service, nothing is initialised.

    Raises:
        ConfigurationError: if credentials, project or endpoint do not work.
        BudgetError: if the budget of requests is too small to connect.
    """
    context, clients = config.executor_class.sharing_context(), config.chosen_executor.workers + 1
    if recipe is not None and not traits_of(recipe).needs_service:
        throttle = Throttle(context, _own_limits(recipe, config), clients=clients)
        alone = connect_to_nothing(throttle.client(0), config.policy, config.timeouts)
        with use_transport(alone.transport):
            yield Session(alone, throttle, (), None)
        return
    with contextlib.ExitStack() as stack:
        server = _start_server(stack, config, server_log, recipe) if config.is_local else None
        target = find_target(config, server.url if server is not None else config.service)
        target = replace(target, workload_tag=config.workload_tag or workload_tag_of(recipe))
        throttle = Throttle(context, quota_limits(config, target), clients=clients)
        name = "eechips" if recipe is None else f"eechips {recipe.name}"
        sharing = stack.enter_context(share_quota(config, target, throttle, name))
        try:
            client = connect_client(target, throttle.client(0), config.policy, config.timeouts, _reporting_wait)
            connection = stack.enter_context(client)
        except Stopped:  # nothing else stops a client that connects
            raise BudgetError from None
        with use_transport(connection.transport):
            served = _ask_archives(config, server)
            notes = notes_of(config)
            if served is not None and server is None:
                notes = (served_note(served.archives),)
            yield Session(connection, throttle, notes, server, sharing, served)


def _reporting_wait(transport: Transport) -> WaitReport:
    def describe(elapsed: str) -> str:
        return f"Connecting to {transport.endpoint} for {elapsed}: {transport.token_failure or 'no answer yet'}"

    return WaitReport(describe)


def _start_server(
    stack: contextlib.ExitStack, config: RunConfig, log: Path | None, recipe: Recipe | None
) -> LocalServer:
    """Start the local Earth Engine of a run, which ends with the stack."""
    exports: dict[str, Any] = {}
    if hasattr(recipe, "run_interactively"):  # a script, which may export
        folder = config.out.absolute() / EXPORTS_FOLDER
        exports = {"drive": folder / "drive", "buckets": folder / "buckets", "export_assets": folder / "assets"}
        stack.callback(remove_unused_exports, config.out)
    _log.info("Starting the local Earth Engine%s…", "" if recipe is not None else ", to look up versions of assets")
    return stack.enter_context(
        local_earth_engine(
            config.local_assets,
            demo_datasets="all" if config.is_synthetic else None,
            archive=config.archives,
            in_flight=config.most_in_flight + config.chosen_executor.workers,
            log=log,
            **exports,
        )
    )


def _ask_archives(config: RunConfig, server: LocalServer | None) -> ServedArchives | None:
    """Return the open archives of a local Earth Engine: of the run's own, or of one on this machine."""
    if server is not None:
        return ServedArchives.ask(server.url) if config.archives else None
    if not is_loopback(config.service):
        return None
    served = ServedArchives.ask(config.service.rstrip("/"))
    return served.shared() if served.archives else None


def notes_of(config: RunConfig, stubs: Sequence[str] = ()) -> tuple[str, ...]:
    """Return notes for users of the results of a run: that they are synthetic, and which datasets were stubs."""
    if config.archives:
        return (archive_note(DataSource.parse(config.source)),)
    planet = (_SYNTHETIC,) if config.is_synthetic else ()
    return (*planet, stub_note(stubs)) if stubs and planet else planet


def stub_note(datasets: Sequence[str]) -> str:
    """Return the sentence that names the datasets that the demo planet lacks."""
    return f"Stubs of datasets that the demo planet lacks, whose values mean nothing: {', '.join(datasets)}."


def quota_limits(config: RunConfig, target: ServiceTarget) -> QuotaLimits:
    """Return the quota of a run; it starts with what the project's last run has learned."""
    known = stored_limits.load_learned_limit(target.endpoint, target.project) if config.in_flight == "auto" else None
    if config.executor_class.is_detached:  # the slots of such workers cannot grow
        slots = known.in_flight if known is not None else int(USUAL)
        slots = slots if config.in_flight == "auto" else config.in_flight
        return QuotaLimits(slots, slots, rate=None, requests=config.limits.requests, received=config.limits.bytes)
    return QuotaLimits(
        in_flight=config.most_in_flight,
        start=min(known.in_flight, config.most_in_flight) if known is not None else None,
        is_known=config.in_flight != "auto" or config.is_local,
        rate=config.requests_per_second,
        requests=config.limits.requests,
        received=config.limits.bytes,
    )


def _own_limits(recipe: Recipe, config: RunConfig) -> QuotaLimits:
    """Return the limits of a run whose recipe needs no service: there is no quota to learn."""
    wanted: int = config.in_flight if config.in_flight != "auto" else traits_of(recipe).slots or os.cpu_count() or 1
    rate = None if config.rate == "auto" else config.requests_per_second
    return QuotaLimits(
        wanted, wanted, rate=rate, requests=config.limits.requests, received=config.limits.bytes, learns=False
    )


def find_target(config: RunConfig, endpoint: str) -> ServiceTarget:
    """Return the service, project and credentials to connect with.

    Raises:
        ConfigurationError: if there are no credentials, or no project.
    """
    credentials = find_credentials(endpoint, config.credentials, send_anywhere=config.send_credentials)
    return target_of(config, endpoint, credentials)


def target_of(config: RunConfig, endpoint: str, credentials: Any) -> ServiceTarget:
    """Return the service and project to connect with, by credentials.

    Raises:
        ConfigurationError: if there is no project, or its id is none.
    """
    project = find_project(config.project, credentials)
    if not project and is_loopback(endpoint):
        project = "local"
    if not project:
        raise missing_project()
    if not is_project(project):
        raise missing_project(f"{project!r} is no id of a Google Cloud project")
    return ServiceTarget(endpoint, project, credentials, reuses_connections=config.reuses_connections)


def worker_spec_of(
    recipe: Recipe, config: RunConfig, store: Store, token: str, target: ServiceTarget, **others: Any
) -> WorkerSpec:
    """Return what the workers of a run, or of a pipeline, need to know; ``others`` differ between the two."""
    return WorkerSpec(
        recipe=recipe,
        store=store,
        token=token,
        target=target,
        policy=config.policy,
        timeouts=config.timeouts,
        method=config.pixel_method,
        reads_assets=config.reads_assets,
        send_credentials=config.send_credentials,
        unit_timeout=config.unit_timeout,
        rate=config.requests_per_second,
        logs=config.verbose or config.estimate is not None,
        keeps_empty=config.on_empty == "keep",
        export_to=config.export_to,
        **others,
    )
