"""Receive the final response to a request: interim ones come before it, from some servers and proxies.

``http.client`` skips interim responses with the status 100 only, and any number of them. It takes any other, such as
102 or 103, for the response itself: the real one stays in the connection, and is taken for that to the next request
(RFC 9110, 15.2: "A client MUST be able to parse one or more 1xx responses received prior to a final response").
"""

from __future__ import annotations

import http.client
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_MOST_INTERIM = 100  # servers send a few at most
_SWITCHING_PROTOCOLS = 101  # which no request asks for


class FinalResponse(http.client.HTTPResponse):
    """A response that is no interim one."""

    def _read_status(self) -> tuple[str, int, str]:
        """Read the status line of the final response.

        Raises:
            HTTPException: if there are too many interim ones, or one changes the protocol.
        """
        for _ in range(_MOST_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200:
                return version, status, reason
            if status == _SWITCHING_PROTOCOLS:
                raise http.client.HTTPException("a change of the protocol came back, which no request asked for")
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException(f"more than {_MOST_INTERIM} interim responses came back")


class _OnlyResponse(FinalResponse):
    """A final response after which nothing of its connection is read."""

    def begin(self) -> None:
        """Read the head, and have the connection closed after the body."""
        super().begin()
        self.will_close = True


class Connection(HTTPConnection):
    """A connection that receives final responses."""

    response_class = FinalResponse


class TlsConnection(HTTPSConnection):
    """An encrypted one."""

    response_class = FinalResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = TlsConnection


POOLS: dict[str, type[HTTPConnectionPool]] = {"http": _Pool, "https": _TlsPool}
"""Pools of such connections, by scheme."""


class FinalAdapter(HTTPAdapter):
    """An adapter of ``requests`` that receives final responses, each over a connection of its own.

    What follows a response, such as a second one, would be taken for that to the next request.
    """

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        """Return the pool of a host, whose connections are closed after their response."""
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        if pool.ConnectionCls.response_class is not _OnlyResponse:  # pools are kept
            pool.ConnectionCls = type("_OnlyOnce", (pool.ConnectionCls,), {"response_class": _OnlyResponse})
        return pool
