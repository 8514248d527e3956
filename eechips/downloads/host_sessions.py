"""Whom files are fetched from: one session for each host, so many requests to it at once, and redirections."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from eechips.client.classification import classify_exception, is_transient_status
from eechips.client.http_sessions import open_session
from eechips.errors import PermanentError, TransientError
from eechips.network import is_host_public
from eechips.received_files import parse_json
from eechips.text import format_bytes
from eechips.urls import display_url, host_of

_REDIRECTIONS = 10
_MOVED = (301, 302, 303, 307, 308)
_SEE_OTHER = 303
"""The redirection that is followed by GET (RFC 9110, 15.4.4). Else a search that became GET would ask for anything."""
_LARGEST_TOKEN = 1 << 20
"""Bytes of an answer that has a token."""
_LARGEST_ERROR = 1 << 16
"""Bytes that are read of what a host says about an error."""
_PIECE = 1 << 16


class HostSessions:
    """Sessions by host. Threads share it; use it in a ``with`` block.

    A session keeps its connections. Cookies, which some logins work by, are kept together: each says itself which
    hosts may see it (a login's host may open those of its domain). What a request carries beyond its range is asked for
    anew at each redirection, so that no host is shown what belongs to another.

    Args:
        per_host: transfers from one host at a time.
        connect: seconds to reach a host.
        read: seconds between two pieces of an answer.
        home: address of the catalogue that names the files. One of the public internet leads into no private network,
            and no redirection of a public host does.
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
        for session in self._sessions.values():
            session.close()

    @property
    def read_timeout(self) -> float:
        """Seconds that a host may be silent within an answer."""
        return self._timeout[1]

    def semaphore(self, url: str) -> threading.Semaphore:
        """What whoever transfers from a host has to hold."""
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
        """Asks for a file, and follows redirections; its body is still to be read.

        Args:
            url: absolute; may be a secret.
            headers: of the request, whoever answers it.
            secrets: further headers, which the host of a URL may see.
            method: of HTTP.
            body: of the request.

        Raises:
            TransientError, PermanentError: if there is no answer; without the URL's query.
        """
        is_public = self._is_home_public
        for _ in range(_REDIRECTIONS + 1):
            response = self._send(method, url, {**headers, **secrets(url)}, body, is_public=is_public)
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
                raise PermanentError(f"{display_url(url)} is where the server sends us, and nothing that HTTP leads to")
        raise PermanentError(f"{display_url(url)}: more than {_REDIRECTIONS} redirections")

    def request_json(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> Any:
        """A whole answer that is JSON, such as a token.

        Args:
            method: of HTTP.
            url: absolute.
            headers: of the request.
            form: fields of the body.

        Raises:
            TransientError: if asking again may help.
            PermanentError: if the host refuses; says why, as far as that tells no secret.
        """
        response = self._send(method, url, headers, form)
        try:
            body = read_bounded(response, url, _LARGEST_TOKEN)
            if is_transient_status(response.status_code):
                raise TransientError(
                    f"{display_url(url)} answered HTTP {response.status_code}", status=response.status_code
                )
            if response.status_code != 200:
                text = f"{display_url(url)} refused with HTTP {response.status_code}"
                raise PermanentError(text, status=response.status_code)
            return parse_json(body)
        except requests.RequestException as error:
            raise TransientError(f"{display_url(url)}: {classify_exception(error)}") from None
        except ValueError:
            raise PermanentError(f"{display_url(url)} answered something that is no JSON") from None
        finally:
            response.close()

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
        """One request, without following redirections; the body of its answer is still to be read."""
        session = self._session(url, is_public)
        try:
            request = session.prepare_request(requests.Request(method, url, headers=dict(headers), data=body))
            return session.send(
                request,
                stream=True,
                allow_redirects=False,
                timeout=self._timeout,
                proxies=session.proxies,
                verify=session.verify,
            )
        except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema):
            raise PermanentError(f"{display_url(url)} is no address that HTTP leads to") from None
        except requests.RequestException as error:
            found = classify_exception(error)
            if found is None:
                raise
            # What the exception says has the whole URL in it.
            raise type(found)(f"{host_of(url)}: {found}") from None
        except ValueError:  # requests looks at the next address, although nobody wants to be led there
            raise PermanentError(f"{display_url(url)} sends us to what is no address") from None

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
    """Whether a URL is one of the web, of a host on the public internet."""
    try:
        parts = urlsplit(url)
        return parts.scheme.lower() in ("http", "https") and is_host_public(parts.hostname or "")
    except ValueError:
        return False


def read_bounded(response: requests.Response, address: str, most: int) -> bytes:
    """Read the body of an answer into memory, decoded; of errors only the beginning.

    Pieces are decoded within bounds (urllib3 2.6), whatever their coding unpacks into.

    Args:
        response: whose body is still to be read.
        address: for the message.
        most: bytes that it may have, decoded.

    Raises:
        PermanentError: if it has more.
        requests.RequestException: if it does not come, or is damaged.
    """
    is_error = not 200 <= response.status_code < 300
    if is_error:
        most = _LARGEST_ERROR
    pieces: list[bytes] = []
    size = 0
    for piece in response.iter_content(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            if is_error:
                break
            raise PermanentError(
                f"{display_url(address)} sends more than the {format_bytes(most)} allowed: the response is discarded"
            )
    return b"".join(pieces)[:most]


def _moved(url: str, target: str) -> str:
    """Where a redirection leads.

    Raises:
        PermanentError: if that is no address.
    """
    # http.client reads headers as Latin-1; in practice what is not ASCII there is UTF-8, as RFC 9110, 5.5, allows.
    with contextlib.suppress(UnicodeError):
        target = target.encode("latin-1").decode()
    try:
        found = urljoin(url, target.strip())
        _ = urlsplit(found).port
    except ValueError:
        raise PermanentError(f"{display_url(url)} sends us to what is no address") from None
    return found
