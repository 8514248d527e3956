"""HTTP sessions: kept alive, and a worker's others made to pass the throttle."""

from __future__ import annotations

import socket
from typing import Any

import requests
import requests.adapters

from eechips.client.throttle import Seat
from eechips.client.transport import is_loopback

_MOST_CONNECTIONS = 64
"""Connections kept open at most by one process, to one host."""
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""After so many seconds of silence, every so many seconds, so often: a connection that a suspended laptop, or a
network that went away, has left dead is noticed within a minute, not at the read time-out."""

_send_of_requests = requests.adapters.HTTPAdapter.send


class Adapter(requests.adapters.HTTPAdapter):
    """The adapter of our own sessions: its requests have passed the throttle when they get here."""

    def __init__(self) -> None:
        super().__init__(pool_connections=4, pool_maxsize=_MOST_CONNECTIONS, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Adds the socket options to every connection."""
        super().init_poolmanager(*args, socket_options=_socket_options(), **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As the original, whatever :func:`throttle_others` has made of that."""
        return _send_of_requests(self, *args, **kwargs)


def open_session(endpoint: str) -> requests.Session:
    """A session with keep-alive, no retries of its own, and proxies looked up once.

    Requests would look for proxies, certificates and ``.netrc`` passwords anew for every request; the last
    could even replace our credentials.
    """
    session = requests.Session()
    if not is_loopback(endpoint):
        settings = session.merge_environment_settings(endpoint, {}, None, None, None)
        session.proxies, session.verify = settings["proxies"], settings["verify"]
    session.trust_env = False
    for scheme in ("https://", "http://"):
        session.mount(scheme, Adapter())
    return session


def throttle_others(seat: Seat) -> None:
    """Has every request that this process sends by ``requests``, outside our own sessions, pass the throttle.

    For worker processes only, where a recipe may fetch by itself: its requests count against the same quota.
    """

    def send(adapter: requests.adapters.HTTPAdapter, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        with seat.slot() as slot:
            response = _send_of_requests(adapter, request, *args, **kwargs)
            slot.status = response.status_code
            return response

    requests.adapters.HTTPAdapter.send = send  # type: ignore[assignment,method-assign]


def _socket_options() -> list[tuple[int, int, int]]:
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    # Not every system has each of them.
    known = {getattr(socket, name, None): value for name, value in _KEEP_ALIVE.items()}
    return options + [(socket.IPPROTO_TCP, option, value) for option, value in known.items() if option is not None]
