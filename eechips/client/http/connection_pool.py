"""Exchange HTTP requests and responses over the connections of a process; tell hosts that cannot be reached."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import cast

import requests
import requests.adapters
import urllib3
import urllib3.exceptions

from eechips.client.error_classification import classify_exception
from eechips.client.http.http_messages import HttpRequest, HttpResponse, Timeouts
from eechips.client.http.http_sessions import open_session
from eechips.client.http.response_framing import read_body
from eechips.client.quota.permits import Permit
from eechips.errors import UnreachableError
from eechips.web.urls import is_loopback

_UNREACHABLE = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
"""No connection could be made, for which the request is not to blame."""

KEEP_ALIVE_HEADER = "x-eechips-keep-alive"
"""Asks a local Earth Engine to keep the connection open. It closes those of other clients, which may share them after a
fork."""


class ConnectionPool:
    """The connections of one process, with the settings of a session but without its work for each request.

    Looking up hooks, cookies and redirections takes half of the time that ``requests`` needs for a request, and
    eechips uses none of them. Connecting, verifying certificates and passing proxies are the same. Threads may share
    it. A forked process opens its own connections: two processes that share one would read each other's responses.
    Responses that may belong to other requests are refused; see :mod:`eechips.client.http.response_framing`.

    Args:
        is_reused: whether a connection carries several requests, one after the other.
    """

    def __init__(self, endpoint: str, *, is_reused: bool = True) -> None:
        self._endpoint, self._is_reused = endpoint, is_reused
        self._open_all()

    def exchange(self, request: HttpRequest, timeouts: Timeouts, permit: Permit) -> HttpResponse:
        """Send a request once and receive the whole response, without following redirections.

        Args:
            permit: permit of the request. The outcome is recorded in it.

        Raises:
            UnreachableError: if no connection can be made.
            EechipsError: if the exchange fails, classified; its text has no URL.
            TooLargeError: if the body is larger than any response of the service.
        """
        end = time.monotonic() + timeouts.total
        try:
            response = self._send(request, timeouts)
            try:
                headers = {name.lower(): value for name, value in response.headers.items()}
                permit.record_response(response.status, headers)
                body = read_body(response, timeouts, end)
                permit.received = len(body)
                return HttpResponse(response.status, headers, body)
            finally:
                _release(response)
        except Exception as error:  # classified below, or raised again as it is
            cause = error.original_error if isinstance(error, urllib3.exceptions.ProxyError) else error
            permit.is_unreachable = isinstance(cause, _UNREACHABLE)
            failure = classify_exception(error)
            if failure is None:
                raise
        # The original names the URL, which is a secret.
        raise UnreachableError(str(failure)) if permit.is_unreachable else failure from None

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _send(self, request: HttpRequest, timeouts: Timeouts) -> urllib3.BaseHTTPResponse:
        """Send a request and return the response, whose body is not read yet."""
        if self._process != os.getpid():
            self._open_all()
        headers: Mapping[str, str] = {"Accept-Encoding": "gzip", **request.headers}
        if is_loopback(request.url):
            headers = {**headers, KEEP_ALIVE_HEADER: "1"}
        scheme, _, rest = request.url.partition("://")
        host, slash, path = rest.partition("/")
        origin = f"{scheme}://{host}"
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = self._open(f"{origin}/")
            pool.ConnectionCls.framing.longest = timeouts.total  # type: ignore[attr-defined]
        return pool.urlopen(
            request.method,
            slash + path if pool.proxy is None or scheme == "https" else request.url,
            body=request.body.encode() if isinstance(request.body, str) else request.body,
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=urllib3.Timeout(connect=timeouts.connect, read=timeouts.read),
            preload_content=False,
            decode_content=False,
        )

    def _open_all(self) -> None:
        self._session = open_session(self._endpoint)
        self._pools: dict[str, urllib3.HTTPConnectionPool] = {}
        self._process = os.getpid()  # last: other threads use the rest as soon as it is this process

    def _open(self, origin: str) -> urllib3.HTTPConnectionPool:
        session = self._session
        adapter = cast(requests.adapters.HTTPAdapter, session.get_adapter(origin))
        request = session.prepare_request(requests.Request("GET", origin))
        pool = adapter.get_connection_with_tls_context(request, session.verify, session.proxies, session.cert)
        if not self._is_reused:
            pool.ConnectionCls.framing.is_doubtful = True  # type: ignore[attr-defined]
        return cast(urllib3.HTTPConnectionPool, pool)


def _release(response: urllib3.BaseHTTPResponse) -> None:
    """Return a connection to the pool for the next request; close it if its body was not read to the end."""
    if response.closed or getattr(response, "length_remaining", None) == 0:
        response.release_conn()
    else:
        response.close()
