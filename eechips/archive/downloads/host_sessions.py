"""Send requests to many hosts: one session for each, a limit of concurrent requests, and checked redirects."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from eechips.archive.downloads.transfer_limits import read_with_timeout
from eechips.client.error_classification import classify_exception, is_transient_status
from eechips.client.http.http_sessions import open_session
from eechips.errors import PermanentError, TransientError
from eechips.storage.untrusted_files import parse_json
from eechips.text.formatting import format_bytes
from eechips.web.network import is_public_host
from eechips.web.retry_after import parse_retry_after
from eechips.web.urls import display_url, host_of, split_checked

_REDIRECTIONS = 10
_MOVED = (301, 302, 303, 307, 308)
_SEE_OTHER = 303
"""The redirect that is followed by GET (RFC 9110, 15.4.4); the others keep method and body."""
_LARGEST_TOKEN = 1 << 20
"""Bytes of a response with a token."""
_LARGEST_ERROR = 1 << 16
"""Bytes that are read of an error response."""
_PIECE = 1 << 16
_SPELT = re.compile(r"https?://[A-Za-z0-9.:-]+/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*", re.IGNORECASE)
"""A URL that is sent as it is: a signature may cover its spelling, which requests would change."""


class HostSessions:
    """Sessions by host. Threads share it; use it in a ``with`` block.

    A session keeps its connections. All sessions share the cookies, which some logins need: each cookie states which
    hosts receive it (a login host may set those of its domain). Headers with secrets are computed anew at each
    redirect, so that no host receives the secret of another.

    Args:
        connect: seconds to connect to a host.
        read: seconds without a byte of a response.
        home: URL of the catalogue that names the files. A catalogue on the public internet, and a redirect from a
            public host, cannot lead into private networks.
    """

    def __init__(self, per_host: int, connect: float, read: float, home: str = "") -> None:
        self._per_host, self._timeout = per_host, (connect, read)
        self._home = home
        self._sessions: dict[tuple[str, bool], requests.Session] = {}
        self._cookies = requests.cookies.RequestsCookieJar()
        self._limits: dict[str, threading.Semaphore] = {}
        self._opening = threading.Lock()

    def __enter__(self) -> HostSessions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            session.close()

    @property
    def read_timeout(self) -> float:
        """Seconds that a host may be silent within a response."""
        return self._timeout[1]

    def semaphore(self, url: str) -> threading.Semaphore:
        """Return the semaphore that limits concurrent transfers from a host."""
        with self._opening:
            return self._limits.setdefault(host_of(url), threading.Semaphore(self._per_host))

    @contextlib.contextmanager
    def get(
        self,
        url: str,
        headers: Mapping[str, str],
        secrets: Callable[[str], Mapping[str, str]],
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Iterator[requests.Response]:
        """Send a request and follow redirects; the body of the response is still unread.

        Args:
            url: absolute; may be a secret.
            secrets: returns further headers for the host of a URL. A request other than GET or HEAD that is redirected
                to another host has none: the first host must not choose what is changed there.

        Raises:
            TransientError, PermanentError: if there is no response; the message omits the URL's query.
        """
        is_public = self._is_home_public
        try:
            first = host_of(url)
        except ValueError:
            raise PermanentError(f"{display_url(url)} is not an http(s) URL") from None
        for _ in range(_REDIRECTIONS + 1):
            own = secrets(url) if method in ("GET", "HEAD") or host_of(url) == first else {}
            response = self._send(method, url, {**headers, **own}, body, is_public=is_public)
            try:
                target = response.headers.get("Location")
                if response.status_code not in _MOVED or not target:
                    yield response
                    return
                is_public = is_public or _is_public(url)
                url = _moved(url, target)
                if response.status_code == _SEE_OTHER:
                    method, body = "GET", None
            finally:
                response.close()
            if urlsplit(url).scheme not in ("http", "https"):
                raise PermanentError(f"the server redirects to {display_url(url)}, which is not an http(s) URL")
        raise PermanentError(f"{display_url(url)}: more than {_REDIRECTIONS} redirects")

    def request_json(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> Any:
        """Request a JSON document, such as a token.

        Raises:
            TransientError: if a retry may help.
            PermanentError: if the host rejects the request; the message contains no secret.
        """
        response = self._send(method, url, headers, form)
        try:
            body = self.read(response, url, _LARGEST_TOKEN)
            if is_transient_status(response.status_code):
                after = parse_retry_after({name.lower(): value for name, value in response.headers.items()})
                text = f"{display_url(url)} answered HTTP {response.status_code}"
                raise TransientError(text, status=response.status_code, retry_after=after)
            if response.status_code != 200:
                text = f"{display_url(url)} refused with HTTP {response.status_code}"
                raise PermanentError(text, status=response.status_code)
            return parse_json(body)
        except ValueError:
            raise PermanentError(f"{display_url(url)} did not respond with JSON") from None
        finally:
            response.close()

    def read(self, response: requests.Response, address: str, most: int) -> bytes:
        """Read the decoded body of a response into memory; of an error response only the beginning.

        Chunks are decoded within bounds (urllib3 2.6), however much their encoding expands.

        Args:
            address: URL for the message.
            most: maximum number of decoded bytes.

        Raises:
            PermanentError: if the body is larger.
            TransientError: if the body does not arrive or is damaged.
        """
        is_error = not 200 <= response.status_code < 300
        if is_error:
            most = _LARGEST_ERROR
        body = bytearray()
        try:
            read = functools.partial(response.raw.read1, _PIECE, decode_content=True)
            for piece in read_with_timeout(read, self.read_timeout):
                body += piece
                if len(body) > most:
                    break
        except (OSError, urllib3.exceptions.HTTPError) as error:
            classified = classify_exception(error)
            if classified is None:
                raise
            raise classified from None  # the message of the exception may contain the whole URL
        if len(body) > most and not is_error:
            raise PermanentError(
                f"{display_url(address)} sends more than the {format_bytes(most)} allowed: the response is discarded"
            )
        return bytes(body[:most])

    @functools.cached_property
    def _is_home_public(self) -> bool:
        return _is_public(self._home)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Mapping[str, str] | bytes | None = None,
        *,
        is_public: bool = False,
    ) -> requests.Response:
        """Send one request without following redirects; the body of the response is still unread."""
        session = self._session(url, is_public)
        try:
            request = session.prepare_request(requests.Request(method, url, headers=dict(headers), data=body))
            request.url = url if _SPELT.fullmatch(url) else request.url
            return session.send(
                request,
                stream=True,
                allow_redirects=False,
                timeout=self._timeout,
                proxies=session.proxies,
                verify=session.verify,
            )
        except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema):
            raise PermanentError(f"{display_url(url)} is not an http(s) URL") from None
        except requests.RequestException as error:
            classified = classify_exception(error)
            if classified is None:
                raise
            # The message of the exception contains the whole URL.
            raise type(classified)(f"{host_of(url)}: {classified}") from None
        except ValueError:  # requests parses the target of a redirect, although it must not follow it
            raise PermanentError(f"{display_url(url)} redirects to a malformed URL") from None

    def _session(self, url: str, is_public: bool) -> requests.Session:
        with self._opening:
            host = f"{urlsplit(url).scheme}://{host_of(url)}"
            if (host, is_public) not in self._sessions:
                session = open_session(f"{host}/", is_guarded=True, is_public=is_public)
                session.headers["Accept-Encoding"] = "identity"
                session.cookies = self._cookies
                self._sessions[host, is_public] = session
            return self._sessions[host, is_public]


def _is_public(url: str) -> bool:
    """Return whether a URL is http(s) and its host on the public internet."""
    try:
        parts = split_checked(url)
        return parts.scheme.lower() in ("http", "https") and is_public_host(parts.hostname or "")
    except ValueError:
        return False


def _moved(url: str, target: str) -> str:
    """Return the absolute target of a redirect."""
    # http.client decodes headers as Latin-1; non-ASCII bytes are UTF-8 in practice (RFC 9110, 5.5).
    with contextlib.suppress(UnicodeError):
        target = target.encode("latin-1").decode()
    try:
        absolute_url = urljoin(url, target.strip())
        split_checked(absolute_url)
    except ValueError:
        raise PermanentError(f"{display_url(url)} redirects to a malformed URL") from None
    return absolute_url
