"""Send requests for an archive's files over connections to checked addresses: redirects, proxies (HTTPS_PROXY), trusted
certificates (REQUESTS_CA_BUNDLE).
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from eechips_local.archives.archive_clock import CLOCK, Clock
from eechips_local.archives.archive_errors import (
    ArchiveAwayError,
    ArchiveError,
    ArchiveRefusedError,
    DoubtfulResponseError,
)
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.host_throttle import HostCounts, HostThrottle, HostThrottles
from eechips_local.archives.hosts.retry_header import parse_retry_after
from eechips_local.archives.hosts.signed_addresses import Redirect, RedirectTargets
from eechips_local.assets.asset_names import shown_url
from eechips_local.protocol.final_responses import POOLS, Connection, TlsConnection

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 3
_READ = (200, 206)
_ENDED = (*_REDIRECTS, 400, 401, 403, 404, 410)  # statuses of an address that leads no longer to a file
_BUSY = (429, 503)
_LONGEST_WAIT = 20.0  # seconds that a request waits for its host's throttle
_FILES_RATE = 1000.0  # requests a second; the number of connections bounds them first


def pool_classes(hosts: AllowedHosts) -> dict[str, type[HTTPConnectionPool]]:
    """Return urllib3's pools by scheme, whose connections go to checked addresses of hosts."""

    class Plain(Connection):
        def _new_conn(self) -> Any:
            return _connect(self, super()._new_conn, hosts, "http")

    class Encrypted(TlsConnection):
        def _new_conn(self) -> Any:
            return _connect(self, super()._new_conn, hosts, "https")

    plain = type("Pool", (HTTPConnectionPool,), {"ConnectionCls": Plain})
    return {"http": plain, "https": type("Pool", (HTTPSConnectionPool,), {"ConnectionCls": Encrypted})}


def certificates() -> str | None:
    """Return the file of trusted certificates that the environment names, as for requests; None for the usual ones."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or None


def _connect(connection: Any, connect: Callable[[], Any], hosts: AllowedHosts, scheme: str) -> Any:
    """Open the connection to one of the addresses that were checked, whatever the name is resolved to next."""
    name = connection._dns_host
    addresses = hosts.resolve(name, connection.port, scheme)
    try:
        for position, address in enumerate(addresses):
            connection._dns_host = address
            try:
                return connect()
            except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError):
                if position == len(addresses) - 1:
                    raise
    finally:
        connection._dns_host = name
    raise ArchiveAwayError(f"The host {name} has no address.")


class HostTransport:
    """Sends requests for an archive's files to its hosts, as fast as each accepts. Threads share it; it pickles.

    A redirect is followed to another of the hosts, without the headers that authorize the request. Where it led is
    asked directly until it expires, or denies access.

    Args:
        hosts: hosts that may be asked.
        connections: to each of them, at most.
    """

    def __init__(self, hosts: AllowedHosts, connections: int = 16, clock: Clock = CLOCK) -> None:
        self._hosts, self._connections, self._clock = hosts, connections, clock
        self._throttles = HostThrottles(connections, _FILES_RATE, clock)
        self._redirects = RedirectTargets(clock)
        self._lock = threading.Lock()
        self._pools: dict[tuple[int, str], urllib3.PoolManager] = {}
        self._proxies: dict[tuple[str, str], str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what opens it in another process."""
        return HostTransport, (self._hosts, self._connections, self._clock)

    def open(self, url: str, headers: Mapping[str, str], connect: float, silence: float) -> ThrottledResponse:
        """Send a GET request; return the response, of which nothing is read.

        Args:
            url: signed.
            connect: seconds until a connection stands.
            silence: seconds without a byte.

        Raises:
            HTTPError: the error of urllib3, if there is no response.
            ArchiveError: if the host is not found, or wants no request now.
            ArchiveRefusedError: if a host, or the address that it has, is not allowed.
            DoubtfulResponseError: if a redirect leads to such a host.
        """
        timeout = urllib3.Timeout(connect=connect, read=silence)
        known = self._redirects.get(url)
        if known is None:
            return self._follow(url, headers, timeout)
        try:
            response = self._ask(known.url, headers, timeout, is_other_host=known.is_other_host)
        except Exception:
            self._redirects.remove(url)
            raise
        if response.status in _ENDED or response.status >= 500:
            self._redirects.remove(url)
        if response.status not in _ENDED:
            return response
        response.close()
        return self._follow(url, headers, timeout)

    def _follow(self, url: str, headers: Mapping[str, str], timeout: urllib3.Timeout) -> ThrottledResponse:
        """Send a request where redirects lead, and remember that if it is answered there."""
        place, end, is_other_host = url, math.inf, False
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._ask(place, headers, timeout, is_other_host=is_other_host)
            if response.status not in _REDIRECTS:
                if place != url and response.status in _READ:
                    self._redirects.keep(url, Redirect(place, end, is_other_host))
                return response
            response.close()
            parts = urlsplit(place)
            try:
                target = urljoin(place, response.headers.get("Location", ""))
                other_host = urlsplit(target).netloc != parts.netloc
            except ValueError:  # such as http://[::1
                raise DoubtfulResponseError(f"{shown_url(place)} redirects to what is no address.") from None
            if parts.scheme == "https" and urlsplit(target).scheme != "https":
                raise DoubtfulResponseError(
                    f"{shown_url(place)} redirects to {shown_url(target)}, which is not encrypted."
                )
            end = min(end, self._redirects.find_end(target, response.headers))
            is_other_host = is_other_host or other_host
            try:
                self._hosts.check(target)
            except ArchiveRefusedError as error:
                raise DoubtfulResponseError(
                    f"{shown_url(place)} redirects, as proxies do to a login page. {error}"
                ) from None
            place = target
        raise DoubtfulResponseError(f"{shown_url(place)} redirects more than {_MOST_REDIRECTS} times.")

    def _ask(
        self, url: str, headers: Mapping[str, str], timeout: urllib3.Timeout, *, is_other_host: bool
    ) -> ThrottledResponse:
        """Send a request to one of the hosts, without the headers that authorize it if it is another than the first."""
        host = self._hosts.check(url).netloc
        return self._send(url, host, _carried(headers) if is_other_host else headers, timeout)

    def counts(self) -> dict[str, HostCounts]:
        """Return what this process has sent to each host."""
        return self._throttles.counts()

    def _send(self, url: str, host: str, headers: Mapping[str, str], timeout: urllib3.Timeout) -> ThrottledResponse:
        throttle = self._throttles.of(host)
        wait = throttle.wait()
        if wait > _LONGEST_WAIT:
            raise ArchiveError(f"{host} wants no requests for {wait:.0f} s.")
        turn = throttle.turn()
        sent = turn.__enter__()
        try:
            response = self._pool(url).request(
                "GET", url, headers=headers, preload_content=False, decode_content=False, redirect=False,
                retries=False, timeout=timeout,
            )  # fmt: skip
        except BaseException:
            throttle.fail()
            turn.__exit__(None, None, None)
            raise
        if response.status in _BUSY:
            throttle.refuse(sent, parse_retry_after(response.headers.get("Retry-After", "")))
        return ThrottledResponse(response, throttle, lambda: turn.__exit__(None, None, None))

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Return the connections of this process, by way of a proxy where the environment names one."""
        parts = urlsplit(url)
        place = parts.scheme, parts.netloc
        with self._lock:
            if place not in self._proxies:  # to look through the environment takes longer than a request
                selected_proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
                self._proxies[place] = selected_proxy or ""
            proxy = self._proxies[place]
            key = os.getpid(), proxy
            if key not in self._pools:
                options: dict[str, Any] = {
                    "num_pools": 32,
                    "maxsize": self._connections,
                    "block": True,
                    "ca_certs": certificates(),
                }
                if proxy:
                    self._pools[key] = _proxied(proxy, options)
                else:
                    self._pools[key] = urllib3.PoolManager(**options)
                    self._pools[key].pool_classes_by_scheme = pool_classes(self._hosts)
            return self._pools[key]


def _proxied(address: str, options: Mapping[str, Any]) -> urllib3.ProxyManager:
    """Return connections by way of a proxy, as requests makes them: http if it has no scheme, a user in a header."""
    url = address if "://" in address else f"http://{address}"
    if not urlsplit(url).hostname:
        raise requests.exceptions.InvalidProxyURL(f"The proxy {shown_url(url)} has no host.")
    user, password = requests.utils.get_auth_from_url(url)
    headers = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if user else None
    manager = urllib3.ProxyManager(url, proxy_headers=headers, **options)
    manager.pool_classes_by_scheme = POOLS
    return manager


def _carried(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those headers that another host than the first may have."""
    return {name: value for name, value in headers.items() if name.lower() in _KEPT}


_KEPT = frozenset({"range", "if-match", "accept-encoding"})


class ThrottledResponse:
    """A response of urllib3 that ends its host's turn when it is read, or closed.

    Attributes:
        status: status of HTTP.
        headers: headers of the response.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse, throttle: HostThrottle, end: Callable[[], object]) -> None:
        self.status, self.headers = response.status, response.headers
        self._response, self._throttle, self._end = response, throttle, end
        self._read, self._is_open = 0, True

    def read(self, amount: int | None = None) -> bytes:
        """Return bytes of the body, as they came."""
        chunk = self._response.read(amount, decode_content=False)
        self._read += len(chunk)
        return chunk

    def read1(self, amount: int) -> bytes:
        """Return bytes of the body that are there, at most ``amount``; none at its end."""
        chunk: bytes = self._response.read1(amount, decode_content=False)
        self._read += len(chunk)
        return chunk

    def release_conn(self) -> None:
        """Give the connection back for the next request."""
        self._response.release_conn()
        self._finish(is_whole=True)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._response.release_conn()
        self._finish(is_whole=False)

    def _finish(self, *, is_whole: bool) -> None:
        if self._is_open:
            self._is_open = False
            if is_whole:
                self._throttle.accept(self._read)
            elif self.status not in _BUSY:
                self._throttle.fail(self._read)
            self._end()
