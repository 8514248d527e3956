"""Initialise the Earth Engine client in the parent and in the workers; say why the service refuses or cannot be
reached; check the version of earthengine-api.

The client keeps its state in its modules. :func:`connect` puts that state back as it was when the
connection closes, so that a run in a notebook leaves the user's own session alone. Recipes that read through GDAL get
the transport of their process: its retry policy, its quota, and its signal to stop.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from eechips.client.access.credentials import missing_project
from eechips.client.access.discovery import ClientInit, Discovery, DiscoveryFile
from eechips.client.error_classification import classify_exception
from eechips.client.http.http_messages import Timeouts
from eechips.client.http.transport import Transport, use_transport
from eechips.client.quota.throttle import QuotaClient
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError, EechipsError, TransientError, UnreachableError, UsageError
from eechips.web.redaction import redact
from eechips.web.urls import is_google, is_loopback

_CONNECT_POLICY = RetryPolicy(retries=5, delay=0.5, max_delay=4.0, total=45.0)
"""Waits of ten seconds in all; of half a minute while no token can be had, as :mod:`eechips.client.access.access_token`
backs off by itself."""
LOCAL_POLICY = replace(_CONNECT_POLICY, delay=0.05, max_delay=0.2)
"""For services of this machine, which are started or are not: waits of less than a second in all."""
_CHECK_NETWORK = "check the network and the proxy (HTTPS_PROXY), then repeat the command"
_START_SERVER = "start the server of that address (`eechips serve`), or correct `endpoint`, then repeat the command"
_CHARGED_PROJECT = re.compile(r"(?:API has not been used in|required permission to use) project ([0-9]+)\b")
_NO_QUOTA_PROJECT = "authenticating by using local Application Default Credentials"
_CATALOG_TIMEOUT = 10.0  # seconds for the client's list of deprecated assets, which it fetches without a bound


@dataclass(frozen=True, slots=True)
class ServiceTarget:
    """Service, project and credentials. Picklable: workers receive it through pipes, never through a file.

    Attributes:
        endpoint: base URL.
        project: whose quota is used.
        credentials: google.auth credentials, or None to send none.
        workload_tag: sent with each computation of the client; empty for none.
        reuses_connections: send several requests over a connection, one after the other.
    """

    endpoint: str
    project: str
    credentials: Any
    workload_tag: str = ""
    reuses_connections: bool = True

    def transport(
        self, quota: QuotaClient, policy: RetryPolicy, timeouts: Timeouts, discovery: Discovery | None = None
    ) -> Transport:
        """Make the transport of a process to the service."""
        return Transport(
            self.endpoint,
            quota,
            policy,
            timeouts,
            project=self.project,
            credentials=self.credentials,
            discovery=discovery,
            reuses_connections=self.reuses_connections,
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """An initialised client."""

    target: ServiceTarget
    transport: Transport

    @property
    def discovery(self) -> Discovery:
        """The discovery documents with which the client was initialised."""
        discovery = self.transport.discovery
        if discovery is None:
            raise ConfigurationError(f"{self.target.endpoint} described itself incompletely")
        return discovery


@contextlib.contextmanager
def connect(
    target: ServiceTarget,
    quota: QuotaClient,
    policy: RetryPolicy,
    timeouts: Timeouts,
    waiting: Callable[[Transport], AbstractContextManager[object]] = contextlib.nullcontext,
) -> Iterator[Connection]:
    """Initialise the client of this process for the duration of the block.

    Args:
        quota: client of the run's throttle; every request passes it.
        waiting: makes what surrounds the initialisation, such as a report of the wait.

    Raises:
        ConfigurationError: if the endpoint cannot be reached, or refuses; says what to do.
        UsageError: if another thread is connected to another service or project.
    """
    import ee
    from google.auth.exceptions import GoogleAuthError
    from googleapiclient.errors import Error as GoogleError

    check_client()
    first_policy = LOCAL_POLICY if is_loopback(target.endpoint) else _CONNECT_POLICY
    transport = target.transport(quota, first_policy, timeouts)
    with contextlib.ExitStack() as stack:
        with _CONNECTING:
            stack.enter_context(_own_client(target))
            try:
                with waiting(transport), use_transport(transport), _socket_timeout(_CATALOG_TIMEOUT):
                    _initialize(target, transport, offline=not is_google(target.endpoint))
            except (EechipsError, ee.EEException, GoogleError, GoogleAuthError) as error:
                raise _refusal(target, error) from None
        transport.policy = policy
        ee.data.setDefaultWorkloadTag(target.workload_tag)
        try:
            yield Connection(target, transport)
        finally:
            transport.close()


NO_SERVICE = ServiceTarget("", "", None)
"""Target of recipes that need no service."""


def connect_to_nothing(quota: QuotaClient, policy: RetryPolicy, timeouts: Timeouts) -> Connection:
    """Return a connection for recipes that need no service: no client is initialised, and requests fail."""
    return Connection(NO_SERVICE, NO_SERVICE.transport(quota, policy, timeouts, Discovery(b"", b"")))


def connect_worker(
    target: ServiceTarget, quota: QuotaClient, policy: RetryPolicy, timeouts: Timeouts, discovery: DiscoveryFile
) -> Connection:
    """Initialise the client of a worker, without a single request."""
    if target == NO_SERVICE:
        return connect_to_nothing(quota, policy, timeouts)
    import ee

    relay = initialize_client(ClientInit(target.endpoint, target.project, discovery))
    ee.data.setDefaultWorkloadTag(target.workload_tag)
    transport = target.transport(quota, policy, timeouts, relay.discovery)
    relay.transport = transport
    return Connection(target, transport)


class LazyTransport:
    """Transport of the client that passes requests to the one of its process, which may be set later: after a fork.

    Attributes:
        discovery: responses to the client's initialisation.
        transport: transport that sends all other requests; None until it is set.
    """

    def __init__(self, discovery: Discovery) -> None:
        self.discovery = discovery
        self.transport: Transport | None = None

    def request(self, uri: str, *args: Any, **options: Any) -> tuple[Any, bytes]:
        """Send a request; the signature is that of ``httplib2.Http.request``."""
        if self.transport is not None:
            return self.transport.request(uri, *args, **options)
        import httplib2

        body = self.discovery.discovery if "$discovery" in uri else self.discovery.algorithms
        return httplib2.Response({"status": "200", "content-type": "application/json"}), body


@functools.lru_cache(maxsize=1)
def initialize_client(briefing: ClientInit) -> LazyTransport:
    """Initialise the client, but for the transport, without a request.

    That takes time and memory. It is done once per process for the same briefing; a forked process inherits it.
    """
    import ee

    check_client()
    ee.Reset()
    relay = LazyTransport(briefing.discovery.load())
    _initialize(ServiceTarget(briefing.endpoint, briefing.project, None), relay, offline=True)
    return relay


def skip_deprecated_assets() -> None:
    """Have the client fetch no list of deprecated assets, from storage.googleapis.com, when it is initialised next.

    It does not when it has one; this one has an entry that no asset matches.
    """
    import ee

    ee.deprecation.deprecated_assets = {"": ee.deprecation.DeprecatedAsset("", None, None, None)}


def _initialize(target: ServiceTarget, transport: Any, *, offline: bool) -> None:
    import ee

    if offline:
        skip_deprecated_assets()
    ee.data.setMaxRetries(0)
    # Credentials are the transport's business: it sends them to the endpoint alone.
    ee.Initialize(None, url=target.endpoint, project=target.project, http_transport=transport)


@dataclass(slots=True, eq=False)
class _ClientUse:
    """A use of the client of this process.

    Attributes:
        thread: identity of the thread that connected.
        before: state of the client when it began: session, list of deprecated assets, functions.
    """

    target: ServiceTarget
    thread: int
    before: tuple[Any, Any, Any]


_USES: list[_ClientUse] = []
"""Present uses, in the order of their beginning."""
_CONNECTING = threading.RLock()
"""Held while the client is initialised over the network: one thread changes its state at a time."""


@contextlib.contextmanager
def _own_client(target: ServiceTarget) -> Iterator[None]:
    """Give the client a state of its own inside the block, with the functions of the block's own service.

    Blocks of several threads may overlap, and end in any order, if they are of the same service and project.

    Raises:
        UsageError: if another thread is in the block of another service or project.
    """
    import ee
    from ee import _state

    with _CONNECTING:
        others = [use.target for use in _USES if use.thread != threading.get_ident()]
        if other := next((o for o in others if (o.endpoint, o.project) != (target.endpoint, target.project)), None):
            raise UsageError(
                f"another thread of this process is connected to {other.endpoint} for the project {other.project}, and"
                " Earth Engine's client has one connection per process: wait for its end, or use another process"
            )
        before = _state._state, ee.deprecation.deprecated_assets, ee.ApiFunction._api
        use = _ClientUse(target, threading.get_ident(), before)
        # Threads of another use send requests while the client is initialised.
        _state._state = replace(before[0]) if others and before[0] is not None else None
        ee.ApiFunction._api = {}
        _USES.append(use)
    try:
        yield
    finally:
        with _CONNECTING:
            later = next(iter(_USES[_USES.index(use) + 1 :]), None)
            _USES.remove(use)
            if later is not None:
                later.before = use.before
            elif _USES or (use.before[0] is not None and use.before[0].initialized):
                _state._state, ee.deprecation.deprecated_assets, ee.ApiFunction._api = use.before
            else:
                ee.Reset()


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _is_of_no_project(text: str) -> bool:
    """Return whether an error says that requests have no project, or one of Google's tools, without Earth Engine.

    Conditions are those of ``ee.Initialize``, which hides the service's message then, unless it knows the algorithms.
    """
    import ee

    match = _CHARGED_PROJECT.search(text)
    number = "" if match is None else match[1]
    is_of_client = ee.oauth.CLIENT_ID.startswith(f"{number}-")
    return (
        text == ee.NO_PROJECT_EXCEPTION or _NO_QUOTA_PROJECT in text or ee.oauth.is_sdk_project(number) or is_of_client
    )


def _refusal(target: ServiceTarget, error: Exception) -> EechipsError:
    if _is_of_no_project(str(error)):
        return missing_project(f"Earth Engine takes no requests for the project {target.project}")
    classified = classify_exception(error)
    if isinstance(classified, ConfigurationError):
        return classified
    if isinstance(classified, UnreachableError) and classified.retry_after is not None:  # not the service itself
        return ConfigurationError(f"got no access token in several tries: {classified}. To resume: {_CHECK_NETWORK}")
    if isinstance(classified, TransientError) and classified.status is None:
        cure = _START_SERVER if is_loopback(target.endpoint) else _CHECK_NETWORK
        return ConfigurationError(f"cannot reach {target.endpoint}: {classified}. To resume: {cure}")
    if classified is not None:
        return ConfigurationError(f"{target.endpoint} refused: {classified}")
    return ConfigurationError(f"{target.endpoint} does not answer like Earth Engine: {redact(str(error))[:200]}")


TESTED = ">=1.6.13,<2"
"""Versions of earthengine-api that pyproject.toml allows."""


_USED = (
    *("_state._state", "_state.get_state", "ApiFunction._api", "deprecation.deprecated_assets"),
    *("deprecation.DeprecatedAsset", "data.setMaxRetries", "data._get_cloud_projects"),
)
"""Names in ``ee`` that :func:`connect` and :mod:`eechips.client.exports.export_tasks` use, and that may change."""


def check_client() -> None:
    """Make sure that the installed client is one that can be initialised beside the user's own session.

    Raises:
        ConfigurationError: naming what is missing, and which versions will do.
    """
    import ee

    for name in _USED:
        try:
            operator.attrgetter(name)(ee)
        except AttributeError:
            raise ConfigurationError(
                f"earthengine-api {ee.__version__} differs from what eechips knows: it has no ee.{name}. Install one"
                f" that it was tried with: pip install 'earthengine-api{TESTED}'"
            ) from None
