"""Serve on loopback: the configuration of a server, how many workers it has, signals, and the order in which it starts
and stops.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from eechips_local.evaluation.evaluation_pool import EvaluationPool
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.exports.destinations import ExportConfig
from eechips_local.exports.export_process import ExportStarter
from eechips_local.exports.task_queue import TaskQueue
from eechips_local.functions import load_functions
from eechips_local.functions.registration import has_packages
from eechips_local.protocol.app import create_app
from eechips_local.protocol.fault_plan import FaultPlan
from eechips_local.protocol.http import BoundedProtocol
from eechips_local.protocol.peer_user import OwnUserOnly
from eechips_local.protocol.routes.static_files import StaticFile
from eechips_local.protocol.service import Service
from eechips_local.protocol.source_checks import ShortConnections
from eechips_local.quota.compute_quota import ComputeQuota
from eechips_local.quota.latency import Latency
from eechips_local.quota.quota import Quota, QuotaConfig
from eechips_local.stores import StoreConfig, StoreError, check

if TYPE_CHECKING:  # it loads libraries that a server without a key does without
    from eechips_local.protocol.issued_tokens import TokenIssuer

HOST = "127.0.0.1"
# Two cores read 12 to 14 chips a second from a host with 50 ms of latency with two processes, 19 to 23 with eight, and
# 12 to 17 with sixteen; host and chips are those of benchmarks/open_archive.py.
_WAITING_WORKERS = 4  # a core
_MOST_WORKERS = 32


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Configuration of the server.

    Attributes:
        port: 0 for any that is free.
        store: the assets.
        quota: requests in flight and a second.
        limits: limits of each request.
        exports: where exports go, and how many run.
        latency: extra time before each response, or None.
        faults: which faults to inject.
        workers: processes that evaluate; None for one a core, and for four where they wait for archives.
        stubs_file: file to which ids of datasets are appended whose stubs requests load, one a line; None for none.
        files: files of the page for browsers, by their paths; none for no page.
        key: file to which the key of a service account of this server is written; None for no account.
    """

    port: int = 0
    store: StoreConfig = field(default_factory=StoreConfig)
    quota: QuotaConfig = field(default_factory=QuotaConfig)
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    exports: ExportConfig = field(default_factory=ExportConfig)
    latency: Latency | None = None
    faults: FaultPlan = field(default_factory=FaultPlan)
    workers: int | None = None
    stubs_file: Path | None = None
    files: Mapping[str, StaticFile] = field(default_factory=dict)
    key: Path | None = None


def announce_json(url: str) -> None:
    """Print one line of JSON on standard output when the server is ready, for the parent program."""
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()


def wait_for_parent() -> None:
    """Wait for the end of standard input, whose other end the parent closes when it ends."""
    while sys.stdin.buffer.read(4096):
        pass


def serve(
    config: ServerConfig,
    announce: Callable[[str], None] = announce_json,
    wait_for_end: Callable[[], object] | None = None,
) -> None:
    """Serve until SIGINT, SIGTERM or the return of a function.

    Args:
        config: how.
        announce: called with the URL when the server is ready.
        wait_for_end: see :func:`run`.

    Raises:
        StoreError: if the configuration of what to serve is invalid.
        RegistrationError: if functions of other packages cannot be used.
        KeyFileError: if the key cannot be written; a StoreError.
        OSError: if the port is taken.
    """
    with listening(config.port) as listener, open_app(config, _open_issuer(config, listener)) as local:
        run(local.app, listener, announce, wait_for_end, stop=local.stop)


def _open_issuer(config: ServerConfig, listener: socket.socket) -> TokenIssuer | None:
    """Write the key of a server, and return what issues tokens for it; None for a server without one.

    Raises:
        KeyFileError: if the key cannot be written.
    """
    if config.key is None:
        return None
    from eechips_local.protocol.issued_tokens import TokenIssuer
    from eechips_local.protocol.service_account import write_key

    return TokenIssuer(write_key(config.key, _address(listener)))


def _address(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}"


def count_workers(store: StoreConfig) -> int:
    """Return the number of processes that evaluate: more than cores, where they wait for the network meanwhile.

    At least two, so that a heavy request does not keep all others waiting.
    """
    cores = os.cpu_count() or 1
    return max(cores, min(_WAITING_WORKERS * cores, _MOST_WORKERS)) if store.archives else max(2, cores)


@dataclass(frozen=True, slots=True)
class LocalApp:
    """An application whose workers are running.

    Attributes:
        stop: ends its workers and tasks. Requests in flight get an error.
    """

    app: ASGIApp
    stop: Callable[[], None]


@contextmanager
def open_app(config: ServerConfig, tokens: TokenIssuer | None = None) -> Iterator[LocalApp]:
    """Start the workers of a server for the duration of the block; give its application.

    Args:
        config: configuration of the server.
        tokens: tokens of its service account, if it has one.

    Raises:
        StoreError: if the configuration of what to serve is invalid.
        RegistrationError: if functions of other packages cannot be used.
    """
    if config.exports.assets is not None:
        _create_folder(config.exports.assets)
    check(config.store)
    if has_packages():  # else the server does without the libraries of pixels
        load_functions()
    workers = EvaluationPool(config.workers or count_workers(config.store), config.store, config.limits)
    try:
        account = ComputeQuota(stubs_file=config.stubs_file)
        tasks = TaskQueue(config.exports, ExportStarter(config.store, config.limits), account.charge)
        try:
            service = Service(
                workers=workers,
                quota=Quota(config.quota),
                payload=config.limits.payload,
                tasks=tasks,
                latency=config.latency,
                faults=config.faults,
                account=account,
                tokens=tokens,
            )

            def stop() -> None:
                workers.stop()
                tasks.stop()

            yield LocalApp(create_app(service, config.files), stop)
        finally:
            tasks.stop()
    finally:
        workers.stop()


def _create_folder(folder: Path) -> None:
    """Make the folder of exported assets if it is missing, and finish what a server was killed at."""
    from eechips_local.assets.asset_changes import AssetChanges
    from eechips_local.assets.asset_errors import AssetError
    from eechips_local.assets.ingestion.publish import create

    try:
        create(folder)
        AssetChanges(folder).recover()
    except AssetError as error:
        raise StoreError(str(error)) from error


@contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """Open a socket that listens on loopback. Port 0 takes any that is free.

    Raises:
        OSError: if the port is taken.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(2048)
        yield listener


def run(
    app: ASGIApp,
    listener: socket.socket,
    announce: Callable[[str], None] = announce_json,
    wait_for_end: Callable[[], object] | None = None,
    *,
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Process requests until SIGINT, SIGTERM or the return of a function.

    Args:
        app: the application.
        listener: see :func:`listening`.
        announce: called with the URL when the server is ready.
        wait_for_end: called in a thread; the server stops when it returns. None for signals only.
        stop: called in a thread when the server stops, before requests in flight have ended.
    """
    server = _Server(
        uvicorn.Config(
            ShortConnections(OwnUserOnly(app)), log_level="warning", access_log=False, lifespan="off",
            timeout_keep_alive=120, timeout_graceful_shutdown=2, ws="none",
            http=BoundedProtocol,
            proxy_headers=False,  # a client may not say who it is
        ),
        lambda: announce(_address(listener)),
        stop,
    )  # fmt: skip
    if wait_for_end is not None:
        threading.Thread(target=_stop_after, args=(wait_for_end, server), daemon=True).start()
    with _returning_after_signals():
        server.run(sockets=[listener])


@contextmanager
def _returning_after_signals() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM, which uvicorn raises again when it has stopped: the callers have to clean up."""
    is_main = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {number: signal.signal(number, lambda number, frame: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    """Calls functions when it is ready, and when it stops."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._stop = stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        stopping = asyncio.create_task(asyncio.to_thread(self._stop))  # requests in flight wait for what it ends
        await super().shutdown(sockets)
        await stopping


def _stop_after(wait_for_end: Callable[[], object], server: uvicorn.Server) -> None:
    wait_for_end()
    server.should_exit = True
