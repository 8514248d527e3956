"""Send the requests of an archive's searches and tokens to its own hosts: attempts, timeouts, redirects (to
another host without a token), the largest response, connections of each thread.
"""

from __future__ import annotations

import os
import random
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from eechips_local.archives.archive_clock import Clock
from eechips_local.archives.archive_errors import (
    ArchiveAwayError,
    ArchiveError,
    ArchiveRefusedError,
    ArchiveStatusError,
)
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.checked_connections import certificates, pool_classes
from eechips_local.archives.hosts.host_throttle import HostThrottles
from eechips_local.archives.hosts.retry_header import parse_retry_after
from eechips_local.archives.hosts.transient_failures import is_transient, unsendable
from eechips_local.assets.asset_names import shown_url
from eechips_local.protocol.final_responses import FinalAdapter

_TIMEOUT = (
    10.0,
    30.0,
)  # seconds to connect, and between two parts of a response; the Planetary Computer gives up at 30
_LONGEST = 120.0  # seconds of a whole response
_CHUNK = 64 << 10
_REDIRECTS = 4
_BUSY = (429, 503)
_FIRST_WAIT, _HIGHEST_WAIT = 0.25, 8.0  # seconds between attempts
_TRY_AGAIN = re.compile(rb"(?i)try again in (\d{1,4}) seconds")
_ATTEMPTS_AT_ERROR = 2  # of a request that the host answers with 500
_UNREAD = {"br", "zstd", "compress"} - set(urllib3.HTTPResponse.CONTENT_DECODERS)  # asked for where they are installed
_AWAY = 30.0  # seconds for which a host that was not reached is taken to be still away


@dataclass(frozen=True)
class ArchiveRequest:
    """A request.

    Attributes:
        method: GET or POST.
        url: without credentials.
        headers: headers of the request; those that authorize it never leave its host.
        body: JSON of a POST.
        largest: bytes of the response at most, decompressed.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Any = None
    largest: int = 32 << 20


class ArchiveSession:
    """Sends requests to an archive's hosts. Threads share it; each has connections of its own.

    Args:
        hosts: hosts that may be asked, redirected requests included.
        throttles: throttles of the hosts; their clock is the session's.
        patience: seconds for which a request is repeated while the archive does not answer.
    """

    def __init__(self, hosts: AllowedHosts, throttles: HostThrottles, patience: float = 90.0) -> None:
        self._hosts, self.throttles, self._patience, self._clock = hosts, throttles, patience, throttles.clock
        self._local = threading.local()
        self._away: dict[str, float] = {}

    def fetch(
        self, request: ArchiveRequest, read: Callable[[bytes], Any] = bytes, patience: float | None = None
    ) -> Any:
        """Send a request until it is answered; return what ``read`` makes of the body.

        Args:
            request: to send.
            read: makes the result of a body; raises ``ValueError`` if the body is not whole.
            patience: seconds in place of the session's.

        Raises:
            ArchiveAwayError: if the host is not reached for as long.
            ArchiveStatusError: if it answers with an error.
            ArchiveError: if it does not answer whole.
            ArchiveRefusedError: if the address is not allowed, or the response too large.
        """
        host = self._hosts.check(request.url).netloc
        patience = self._patience if patience is None else patience
        end = self._clock.monotonic() + patience
        if patience < _AWAY and self._clock.monotonic() < self._away.get(host, float("-inf")):
            raise ArchiveAwayError(f"{host} is not reached.")
        attempt = 0
        while True:
            attempt += 1
            try:
                content = self._read(request, read)
            except ArchiveError as error:
                is_last = _is_server_error(error) and attempt == _ATTEMPTS_AT_ERROR
                if is_last or not is_transient(error) or not self._waits(host, attempt, end):
                    if isinstance(error, ArchiveAwayError):
                        self._away[host] = self._clock.monotonic() + _AWAY
                    raise
            else:
                self._away.pop(host, None)
                return content

    def _read(self, request: ArchiveRequest, read: Callable[[bytes], Any]) -> Any:
        content = self._send(request)
        try:
            return read(content)
        except ValueError:
            raise ArchiveError(f"{shown_url(request.url)} answers with what is cut short, or no JSON.") from None

    def _waits(self, host: str, attempt: int, end: float) -> bool:
        """Wait before the next attempt; False if there is none."""
        wait = min(_HIGHEST_WAIT, _FIRST_WAIT * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        wait = max(wait, self.throttles.of(host).wait())
        if self._clock.monotonic() + wait > end:
            return False
        self._clock.sleep(wait)
        return True

    def _send(self, request: ArchiveRequest) -> bytes:
        url, headers = request.url, dict(request.headers)
        for _ in range(_REDIRECTS + 1):
            parts = self._hosts.check(url)
            with self.throttles.of(parts.netloc).turn() as sent:
                answer = self._exchange(request, url, headers, sent)
            if isinstance(answer, bytes):
                return answer
            if parts.netloc != urlsplit(answer).netloc or urlsplit(answer).scheme != parts.scheme:
                headers = {name: value for name, value in headers.items() if name.lower() == "accept"}
            url = answer
        raise ArchiveRefusedError(f"{shown_url(request.url)} redirects more than {_REDIRECTS} times.")

    def _exchange(self, request: ArchiveRequest, url: str, headers: Mapping[str, str], sent: float) -> bytes | str:
        """Send one request; return the body, or the address of a redirect."""
        host = urlsplit(url).netloc
        throttle = self.throttles.of(host)
        try:
            response = self._session().request(
                request.method,
                url,
                json=request.body,
                headers={"User-Agent": "eechips-local", **headers},
                timeout=_TIMEOUT,
                allow_redirects=False,
                stream=True,
                proxies=requests.utils.get_environ_proxies(url),
                verify=certificates() or True,
            )
            with response:
                if response.is_redirect or response.is_permanent_redirect:
                    throttle.accept(0)
                    return _redirect(request, url, response)
                if response.status_code >= 300:
                    self._fail(request, response, sent)
                body = _read(response, request, self._clock)
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            throttle.fail()
            if not is_transient(error):
                raise unsendable(host, error) from None
            if isinstance(error, (requests.exceptions.ConnectionError, requests.exceptions.Timeout)):
                raise ArchiveAwayError(f"{host} is not reached: {_cause(error)}.") from None
            raise ArchiveError(f"{host} gives no whole response: {_cause(error)}.") from None
        throttle.accept(len(body) if response.raw is None else max(response.raw.tell(), 0))
        return body

    def _fail(self, request: ArchiveRequest, response: requests.Response, sent: float) -> None:
        """Raise the error that a response is."""
        status = response.status_code
        throttle = self.throttles.of(urlsplit(request.url).netloc)
        if status in _BUSY:
            throttle.refuse(sent, _find_wait(response))
        else:
            throttle.fail()
        raise ArchiveStatusError(f"{shown_url(request.url)} answers with HTTP {status}.", status)

    def _session(self) -> requests.Session:
        """Return the session of this thread and process."""
        key = os.getpid()
        if getattr(self._local, "key", None) != key:
            session = requests.Session()
            session.trust_env = False  # no credentials of .netrc
            adapter = _CheckedAdapter(self._hosts)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            self._local.session, self._local.key = session, key
        own_session: requests.Session = self._local.session
        return own_session


class _CheckedAdapter(FinalAdapter):
    """Opens connections to checked addresses only. What goes through a proxy is resolved there."""

    def __init__(self, hosts: AllowedHosts) -> None:
        self._hosts = hosts
        super().__init__(pool_maxsize=1)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make the pools, with connections of our own."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = pool_classes(self._hosts)


def _read(response: requests.Response, request: ArchiveRequest, clock: Clock) -> bytes:
    """Return the body, decompressed, bounded in size and time."""
    unread = _UNREAD.intersection(re.split(r"[,\s]+", response.headers.get("Content-Encoding", "").lower()))
    if unread:
        raise ArchiveRefusedError(
            f"{shown_url(request.url)} answers compressed by {min(unread)}, which was not asked for: a proxy may do it."
        )
    end = clock.monotonic() + _LONGEST
    parts, size = [], 0
    for part in response.iter_content(_CHUNK):
        size += len(part)
        if size > request.largest:
            raise ArchiveRefusedError(
                f"{shown_url(request.url)} answers with more than {request.largest:,} bytes: nothing of it is used."
            )
        if clock.monotonic() > end:
            raise ArchiveError(f"{shown_url(request.url)} takes more than {_LONGEST:.0f} s for a response.")
        parts.append(part)
    return b"".join(parts)


def _redirect(request: ArchiveRequest, url: str, response: requests.Response) -> str:
    target = urljoin(url, response.headers["Location"])
    if request.method != "GET" and response.status_code not in (307, 308):
        raise ArchiveRefusedError(f"{shown_url(url)} redirects a search to {shown_url(target)}: name that address.")
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise ArchiveRefusedError(f"{shown_url(url)} redirects to {shown_url(target)}, which is not encrypted.")
    return target


def _is_server_error(error: ArchiveError) -> bool:
    return isinstance(error, ArchiveStatusError) and error.http_status == 500


def _find_wait(response: requests.Response) -> float:
    """Return the seconds that a host wants to be left alone: of its header or, as the Planetary Computer, its text."""
    if "Retry-After" in response.headers:
        return parse_retry_after(response.headers["Retry-After"])
    match = _TRY_AGAIN.search(response.raw.read(1024, decode_content=True))
    return float(match[1]) if match else 0.0


def _cause(error: BaseException) -> str:
    """Return the kind of the innermost cause: texts of errors may have signed addresses."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return type(error).__name__
