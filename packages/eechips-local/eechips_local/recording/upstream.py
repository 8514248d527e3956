"""Forward requests to the service whose responses are recorded: which headers, time limits, the greatest size of a
response.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from http.cookiejar import DefaultCookiePolicy
from typing import Protocol
from urllib.parse import urlsplit

import requests
import urllib3

from eechips_local.protocol.final_responses import FinalAdapter
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError, UnavailableError

HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"
"""The endpoint for many small requests: https://developers.google.com/earth-engine/cloud/highvolume."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SECONDS = (30.0, 600.0)  # to connect, and between two parts of a response
_CONNECTIONS = 128
_MOST_BYTES = 256 << 20
_MOST_MEMBERS = 100  # of a gzip stream: what follows each is copied
# Of one connection (RFC 9110, section 7.6.1), or set anew for the next one; and what authorises a client here.
_NOT_FORWARDED = frozenset(
    {"accept-encoding", "authorization", "connection", "content-length", "cookie", "host", "keep-alive",
     "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
     "x-eechips-keep-alive"}
)  # fmt: skip


class CredentialsError(EarthEngineError):
    """The service gets no request, as the recorder's credentials do not work (HTTP 401)."""

    code = 401
    status = "UNAUTHENTICATED"


class Authorization(Protocol):
    """Credentials with which requests are sent. Threads share them."""

    def authorize(self, headers: MutableMapping[str, str]) -> str:
        """Add the authorization to the headers of a request.

        Returns:
            The token.

        Raises:
            CredentialsError: if the credentials do not work; says what to do.
            UnavailableError: if there is no token at present.
        """

    def should_resend(self, token: str, status: int, resent: int) -> bool:
        """Return whether a request is to be sent again because its token was refused.

        Args:
            status: status of the response.
            resent: number of times that the request was sent again already.

        Raises:
            UnavailableError: if a token was refused that was accepted for other requests.
        """


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A whole response, decompressed.

    Attributes:
        status: status of HTTP.
        headers: by lower-case names.
        content: the body.
        token: with which the request was sent; empty for none.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    token: str = field(default="", repr=False)


def check_address(address: str) -> str:
    """Return the base URL of a service as it is used, without a slash at its end.

    Raises:
        ValueError: if credentials must not be sent there, or it has more than scheme, host and port.
    """
    parts = urlsplit(address)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not is_safe or not parts.hostname or parts.username or parts.path.strip("/") or parts.query:
        raise ValueError("it must be https://HOST, or http://127.0.0.1:PORT: credentials are sent there")
    return f"{parts.scheme}://{parts.netloc}"


class Upstream:
    """A service to which requests are forwarded as they are, but for the credentials. Threads may share it.

    Those of a client are for this machine, and are not forwarded. The recorder's own ones are sent instead.

    Attributes:
        address: base URL of the service.
        is_authorized: whether requests have the recorder's credentials.

    Args:
        address: base URL, see :func:`check_address`.
        authorization: the recorder's credentials for this service; None to send none.

    Raises:
        ValueError: if it is no such URL.
    """

    def __init__(self, address: str, authorization: Authorization | None = None) -> None:
        self.address = check_address(address)
        self._authorization = authorization
        self.is_authorized = authorization is not None
        self._session = _open_session(self.address, is_local=urlsplit(address).hostname in LOOPBACK)

    def send(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> UpstreamResponse:
        """Send a request once; send it again only if its token was refused.

        Args:
            method: HTTP method.
            target: encoded path and query, with the first slash.
            headers: headers of the client.
            content: the body.

        Raises:
            UnavailableError: if no whole response arrives. Its text has no URL, which may have a key.
            InvalidError: if the response is larger than any of the service, or the target could name another host.
            CredentialsError: if the recorder's credentials do not work.
        """
        if not target.startswith("/"):  # after the address, "@host" and ".host" would be another host
            raise InvalidError("The target of the request is no path.")
        sent = {name: value for name, value in headers.items() if name.lower() not in _NOT_FORWARDED}
        sent["accept-encoding"] = "gzip"
        for resent in itertools.count():
            token = "" if self._authorization is None else self._authorization.authorize(sent)
            response = replace(self._exchange(method, target, sent, content), token=token)
            if self._authorization is None or "/$discovery/" in target:  # which anybody may read
                break
            if not self._authorization.should_resend(token, response.status, resent):
                break
        return response

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _exchange(self, method: str, target: str, sent: Mapping[str, str], content: bytes) -> UpstreamResponse:
        """Send a request with its headers once; see :meth:`send` for errors."""
        try:
            request = self._session.prepare_request(
                requests.Request(method, self.address, data=content or None, headers=sent)
            )
            # As the client has sent it: requests would remove ".." from paths, and decode percent-encoded characters.
            request.url = self.address + target
            response = self._session.send(request, allow_redirects=False, stream=True, timeout=_SECONDS)
            with response:
                received = _read(response.raw)
        except (requests.RequestException, urllib3.exceptions.HTTPError, zlib.error, OSError) as error:
            raise UnavailableError(f"The service did not respond completely ({type(error).__name__}).") from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        return UpstreamResponse(response.status_code, headers, received)


def _open_session(address: str, *, is_local: bool) -> requests.Session:
    """Return a session that adds nothing to a request: no cookies, no headers, no passwords of ``.netrc``."""
    session = requests.Session()
    settings = session.merge_environment_settings(address, {}, None, None, None)
    session.verify = settings["verify"]
    if not is_local:
        session.proxies = settings["proxies"]
    session.trust_env = False
    session.headers.clear()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.mount("https://", FinalAdapter(pool_maxsize=_CONNECTIONS))
    session.mount("http://", FinalAdapter(pool_maxsize=_CONNECTIONS))
    return session


def _read(raw: urllib3.BaseHTTPResponse) -> bytes:
    """Read a body to its announced end, and decompress it; see :meth:`Upstream.send` for errors."""
    encoding = raw.headers.get("content-encoding", "identity").lower()
    if encoding not in ("gzip", "identity"):
        raise zlib.error(f"encoded as {encoding[:20]}, which was not asked for")
    body = bytearray()
    while part := raw.read(1 << 20, decode_content=False):
        body += part
        if len(body) > _MOST_BYTES:
            raise _too_large()
    if encoding == "identity":
        return bytes(body)
    content = gunzip(bytes(body), _MOST_BYTES)
    if content is None:
        raise _too_large()
    return content


def _too_large() -> InvalidError:
    return InvalidError(f"The response has more than {_MOST_BYTES >> 20} MiB: it is not recorded.")


def gunzip(packed: bytes, most: int) -> bytes | None:
    """Decompress gzip of one or several members (RFC 1952, section 2.2); None if it has more bytes than a limit.

    Raises:
        zlib.error: if it is damaged or truncated, or followed by something else.
    """
    pieces: list[bytes] = []
    while packed:
        if len(pieces) == _MOST_MEMBERS:
            raise zlib.error(f"more than {_MOST_MEMBERS} members")
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        pieces.append(member.decompress(packed, most + 1))
        most -= len(pieces[-1])
        if most < 0:
            return None
        if not member.eof:
            raise zlib.error("truncated")
        packed = member.unused_data.lstrip(b"\0")
    return b"".join(pieces)
