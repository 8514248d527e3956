"""Forward requests to the service whose responses are recorded."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import requests
import urllib3

from eechips.emulator.request_errors import InvalidError, UnavailableError

HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"
"""The endpoint for many small requests: https://developers.google.com/earth-engine/cloud/highvolume."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SECONDS = (30.0, 600.0)  # to connect, and between two parts of a response
_CONNECTIONS = 128
_MOST_BYTES = 256 << 20
# Of one connection (RFC 9110, section 7.6.1), or set anew for the next one.
_OF_CONNECTION = frozenset(
    {"accept-encoding", "connection", "content-length", "host", "keep-alive", "proxy-authorization",
     "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "x-eechips-keep-alive"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A whole response, decompressed.

    Attributes:
        status: of HTTP.
        headers: by lower-case names.
        content: the body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class Upstream:
    """A service to which requests are forwarded as they are, with the client's credentials. Threads may share it.

    Args:
        address: base URL: https, or http on this machine, since credentials are sent there.

    Raises:
        ValueError: if it is another URL.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        if not is_safe or not parts.hostname or parts.username or parts.path.strip("/") or parts.query:
            raise ValueError("it must be https://HOST, or http://127.0.0.1:PORT: credentials are sent there")
        self.address = f"{parts.scheme}://{parts.netloc}"
        self._session = _open_session(self.address, is_local=parts.hostname in _LOOPBACK)

    def send(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> UpstreamResponse:
        """Send a request once.

        Args:
            method: of HTTP.
            target: encoded path and query, with the first slash.
            headers: of the client.
            content: the body.

        Raises:
            UnavailableError: if no whole response arrives. Its text has no URL, which may have a key.
            InvalidError: if the response is larger than any of the service.
        """
        sent = {name: value for name, value in headers.items() if name.lower() not in _OF_CONNECTION}
        try:
            sent["accept-encoding"] = "gzip"
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
        found = {name.lower(): value for name, value in response.headers.items()}
        return UpstreamResponse(response.status_code, found, received)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _open_session(address: str, *, is_local: bool) -> requests.Session:
    """Return a session that adds nothing to a request: no cookies, no headers, no passwords of ``.netrc``."""
    session = requests.Session()
    if not is_local:
        settings = session.merge_environment_settings(address, {}, None, None, None)
        session.proxies, session.verify = settings["proxies"], settings["verify"]
    session.trust_env = False
    session.headers.clear()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return session


def _read(raw: urllib3.BaseHTTPResponse) -> bytes:
    """Read a body to its announced end, and decompress it; see :meth:`Upstream.send` for errors."""
    encoding = raw.headers.get("content-encoding", "identity").lower()
    if encoding not in ("gzip", "identity"):
        raise zlib.error(f"encoded as {encoding[:20]}, which was not asked for")
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    content = bytearray()
    while part := raw.read(1 << 20, decode_content=False):
        content += decompressor.decompress(part, _MOST_BYTES) if decompressor else part
        if len(content) > _MOST_BYTES or (decompressor and decompressor.unconsumed_tail):
            raise InvalidError(f"The response has more than {_MOST_BYTES >> 20} MiB: it is not recorded.")
    if decompressor is not None and content and not decompressor.eof:
        raise zlib.error("truncated")
    return bytes(content)
