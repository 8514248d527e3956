"""Open HTTP sessions: connections that are kept alive, proxies of the environment, and none to clouds' metadata
services or private networks.
"""

from __future__ import annotations

import contextlib
import importlib.util
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3
import urllib3.connection

from eechips.client.http.response_framing import make_strict
from eechips.errors import ConfigurationError, PermanentError
from eechips.web.network import is_metadata_address, is_metadata_host, is_private_address, is_private_host
from eechips.web.urls import is_loopback

_MOST_CONNECTIONS = 64
"""Connections kept open at most by one process, to one host."""
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""After so many seconds of silence, every so many seconds, so often: a connection that a suspended laptop, or a
network that went away, has left dead is noticed within a minute, not at the read time-out."""

SEND_OF_REQUESTS = requests.adapters.HTTPAdapter.send


class Adapter(requests.adapters.HTTPAdapter):
    """The adapter of our own sessions: its requests have passed the throttle when they get here."""

    def __init__(self) -> None:
        super().__init__(pool_connections=4, pool_maxsize=_MOST_CONNECTIONS, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Add the socket options to every connection."""
        super().init_poolmanager(*args, socket_options=_socket_options(), **kwargs)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool of a host, whose connections refuse responses that may belong to other requests."""
        return make_strict(super().get_connection_with_tls_context(*args, **kwargs))

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request by the original method, also after :func:`throttle_requests_library`."""
        return SEND_OF_REQUESTS(self, *args, **kwargs)


class GuardedAdapter(Adapter):
    """An adapter for addresses that others have written: it does not connect to clouds' metadata services.

    It looks at the addresses that sockets are opened to, so that names and redirections are covered. The connection to
    a proxy is the user's own choice; only addresses written in URLs are checked then, since the proxy resolves names.

    Args:
        is_public: whether it connects to the public internet alone.
    """

    def __init__(self, *, is_public: bool = False) -> None:
        self._is_public = is_public
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have the pools make guarded connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _limited_pools(partial(_refuse_address, self._is_public))

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request, unless its URL names an address that is off limits.

        Raises:
            PermanentError: if it does, or its host resolves to one.
        """
        host = urlsplit(request.url).hostname or ""
        _refuse(host, self._is_public, is_metadata=is_metadata_host(host), is_private=is_private_host(host))
        return super().send(request, *args, **kwargs)


def _refuse_address(is_public: bool, host: str, address: str) -> None:
    _refuse(host, is_public, is_metadata=is_metadata_address(address), is_private=is_private_address(address))


def _refuse(host: str, is_public: bool, *, is_metadata: bool, is_private: bool) -> None:
    if is_metadata:
        raise PermanentError(
            f"{host} is an address of this machine's own network, where clouds hand out its credentials: nothing is"
            " downloaded from there"
        )
    if is_public and is_private:
        raise PermanentError(
            f"{host} is an address of a private network, and was named by a host of the public internet: nothing is"
            " downloaded from there. If you trust it, name it yourself, in a list of items on this machine"
        )


def _limited_pools(refuse: Callable[[str, str], None]) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Return, by scheme, the classes of pools that do not connect to addresses that are off limits.

    Args:
        refuse: refuses a host by its name and an address. It must not hold the adapter: connections that are kept open
            hold this function, and would never be closed with an adapter that is given up.
    """

    class Connection(urllib3.connection.HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connect_within_limits(self, super()._new_conn, refuse)

    class TlsConnection(urllib3.connection.HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connect_within_limits(self, super()._new_conn, refuse)

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connection

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": Pool, "https": TlsPool}


def _connect_within_limits(
    connection: urllib3.connection.HTTPConnection,
    connect: Callable[[], socket.socket],
    refuse: Callable[[str, str], None],
) -> socket.socket:
    """Connect to a host none of whose addresses is off limits."""
    with contextlib.suppress(OSError, UnicodeError):  # connecting reports what is wrong with a name
        for *_, target in socket.getaddrinfo(connection.host.strip("[]"), connection.port, type=socket.SOCK_STREAM):
            refuse(connection.host, str(target[0]))
    opened = connect()
    try:
        refuse(connection.host, str(opened.getpeername()[0]))  # the name may have got another address meanwhile
    except PermanentError:
        opened.close()
        raise
    return opened


def open_session(endpoint: str, *, is_guarded: bool = False, is_public: bool = False) -> requests.Session:
    """Return a session with keep-alive, no retries of its own, and proxies looked up once.

    Requests would look for proxies, certificates and ``.netrc`` passwords anew for every request; the last
    could even replace our credentials.

    Args:
        endpoint: base URL.
        is_guarded: whether it refuses the addresses of clouds' metadata services: for URLs that others have written.
        is_public: whether it refuses those of private networks as well: for URLs that the public internet has named.

    Raises:
        ConfigurationError: if the environment names a proxy that cannot be used.
    """
    session = requests.Session()
    settings = session.merge_environment_settings(endpoint, {}, None, None, None)
    session.verify = settings["verify"]
    if not is_loopback(endpoint):
        session.proxies = settings["proxies"]
        _check_proxy(endpoint, session.proxies)
    session.trust_env = False
    for scheme in ("https://", "http://"):
        session.mount(scheme, GuardedAdapter(is_public=is_public) if is_guarded or is_public else Adapter())
    return session


def _check_proxy(url: str, proxies: Mapping[str, str]) -> None:
    """Check the proxy that a URL uses, of those by scheme.

    Raises:
        ConfigurationError: if it is no address, or one that ``requests`` cannot use; the message has no password.
    """
    utils: Any = requests.utils  # without types
    address = utils.select_proxy(url, proxies)
    if not address:
        return
    try:
        proxy = urllib3.util.parse_url(utils.prepend_scheme_if_needed(address, "http"))
    except (urllib3.exceptions.LocationParseError, TypeError):  # requests raises the latter for a user without a host
        proxy = urllib3.util.Url()
    is_socks = str(proxy.scheme).startswith("socks")
    if not proxy.host or not (proxy.scheme in ("http", "https") or is_socks):
        raise ConfigurationError(
            "the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY) has no address such as"
            " http://proxy:3128: correct the variable"
        )
    if is_socks and importlib.util.find_spec("socks") is None:
        raise ConfigurationError("the environment names a SOCKS proxy, which needs a package: pip install pysocks")


def open_token_session() -> requests.Session:
    """Open a session for token endpoints, with the environment's proxies and their exceptions for each host.

    A machine's metadata server is not behind the proxy of the service. No ``.netrc`` password replaces a header.
    """
    session = requests.Session()
    session.auth = _unchanged
    for scheme in ("https://", "http://"):
        session.mount(scheme, Adapter())
    return session


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _socket_options() -> list[tuple[int, int, int]]:
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    # Not every system has each of them.
    known = {getattr(socket, name, None): value for name, value in _KEEP_ALIVE.items()}
    return options + [(socket.IPPROTO_TCP, option, value) for option, value in known.items() if option is not None]
