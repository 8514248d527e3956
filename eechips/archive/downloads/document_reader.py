"""Read the JSON documents of a catalogue from the web, from files or by fsspec: retries, size limits, errors of the
server, documents that cannot be read.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from eechips.archive.downloads.access_denial import parse_region_hint
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.partial_files import parse_content_range
from eechips.archive.downloads.signers import Signer
from eechips.client import retry
from eechips.client.error_classification import is_transient_status, response_message
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError, EechipsError, PermanentError, TransientError
from eechips.storage.range_file import RangeFile
from eechips.storage.untrusted_files import parse_json
from eechips.text.formatting import format_bytes
from eechips.web.redaction import redact
from eechips.web.retry_after import parse_retry_after
from eechips.web.urls import display_url, host_of, is_remote, local_path

T = TypeVar("T")

_log = logging.getLogger(__name__)

POLICY = RetryPolicy(retries=6, delay=0.5, max_delay=16.0, total=120.0)
LARGEST_DOCUMENT = 1 << 26
"""Bytes of a document that is read into memory: a catalogue, an item, a page of an API."""
LARGEST_LIST = 1 << 29
"""Bytes of a whole list of items from a server without range requests."""
_MOST_REREADS = 2
"""Repeats of a request whose response is no JSON but damaged, or a page of a proxy: a search would lack items."""
_LONGEST = 300  # characters quoted from a message
_S3 = "s3"
_WEB = ("http", "https", _S3)
_STORES = frozenset({"aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google"})
"""Packages whose exceptions report a store's failure where fsspec does not raise OSError."""


@dataclass(frozen=True, slots=True)
class UnreadDocument:
    """A document that a catalogue names and that cannot be read.

    Attributes:
        address: address of the document, or of the one that names it.
        reason: for people.
    """

    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class DocumentReader:
    """Reader of documents. Threads may share it.

    Documents in S3 are requested by signed URLs, like scenes, or anonymously without credentials.

    Attributes:
        pause: waits between retries; may raise to stop.
        unread: documents that could not be read so far.
        moved: hosts to which requests other than GET were redirected, by the host that was asked.
    """

    hosts: HostSessions
    signer: Signer
    policy: RetryPolicy = POLICY
    pause: Callable[[float], None] = time.sleep
    unread: list[UnreadDocument] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)

    def note_unread(self, address: str, reason: object) -> None:
        """Note a document that cannot be read; its address is shown without secrets."""
        self.unread.append(UnreadDocument(display_url(address), str(reason)))

    def read(self, address: str) -> Any:
        """Read a document.

        Raises:
            PermanentError: if it does not exist (status 404) or is not JSON.
            TransientError: if the retries fail.
            ConfigurationError: if an extra or a certificate is missing.
        """
        if is_web(address):
            return self.ask("GET", address)
        try:
            return _parsed(_text(address), address)
        except FileNotFoundError:
            raise PermanentError(f"{display_url(address)} does not exist", status=404) from None
        except Exception as error:
            if isinstance(error, EechipsError) or not is_of_store(error):
                raise
            raise PermanentError(f"{display_url(address)} cannot be read: {describe_error(error)}") from None

    def ask(self, method: str, address: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Send a request and return the JSON response.

        Args:
            body: JSON value, for POST.

        Raises:
            PermanentError, TransientError, ConfigurationError: see :meth:`read`.
        """
        sent = dict(headers or {}) | {"Accept": "application/geo+json, application/json;q=0.9, */*;q=0.5"}
        sent["Accept-Encoding"] = "gzip, deflate"
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"

        repeats = min(_MOST_REREADS, self.policy.retries)
        while True:
            content, _ = self._patiently(lambda: self._exchange(method, address, sent, data, LARGEST_DOCUMENT), address)
            try:
                return _decoded(content, address)
            except PermanentError:
                if not repeats:
                    raise
            repeats -= 1
            self.pause(self.policy.delay)

    def content(self, address: str) -> bytes:
        """Download a whole file.

        Raises:
            PermanentError, TransientError, ConfigurationError: see :meth:`read`.
        """
        return self._patiently(lambda: self._exchange("GET", address, {}, None, LARGEST_LIST)[0], address)

    def part(self, address: str, begin: int, end: int) -> tuple[bytes, int, int]:
        """Download a range of a file, without the byte at ``end``.

        Returns:
            The received bytes, the offset of their first, and the size of the file. They are the whole file where the
            server sends no ranges, or does not know the size.

        Raises:
            PermanentError, TransientError, ConfigurationError: see :meth:`read`.
        """
        wanted = {"Range": f"bytes={begin}-{end - 1}"}

        def once() -> tuple[bytes, int, int]:
            content, answer = self._exchange("GET", address, wanted, None, LARGEST_LIST)
            content_range = parse_content_range(answer.get("Content-Range"))
            if content_range is None and not answer.get("Content-Type", "").lower().startswith("multipart/byteranges"):
                return content, 0, len(content)
            if content_range is None or content_range[0] != begin:
                raise PermanentError(f"{display_url(address)} sent another range than requested")
            if content_range[2] is None:  # servers need not know the size (RFC 9110, 14.4)
                content, _ = self._exchange("GET", address, {}, None, LARGEST_LIST)
                return content, 0, len(content)
            return content, begin, content_range[2]

        return self._patiently(once, address)

    def open(self, address: str) -> RangeFile:
        """Open a file; each read sends a range request, unless the server sends whole files only.

        Raises:
            PermanentError, TransientError, ConfigurationError: see :meth:`read`; also when the file is read.
        """
        data, _, size = self.part(address, 0, 1)

        def read_range(begin: int, end: int) -> bytes:
            content, first, _ = (data, 0, size) if len(data) == size else self.part(address, begin, end)
            return content[begin - first : end - first]

        return RangeFile(size, read_range)

    def _patiently(self, once: Callable[[], T], address: str) -> T:
        def attempt() -> T:
            try:
                return once()
            except TransientError as error:
                _log.info("%s does not respond (%s): retrying", display_url(address), redact(str(error))[:_LONGEST])
                raise

        # One unreachable host does not mean that the network is down: it counts as an attempt.
        return retry.call(attempt, replace(self.policy, offline=0.0, is_of_run=False), pause=self.pause)

    def _exchange(
        self, method: str, address: str, headers: Mapping[str, str], data: bytes | None, most: int
    ) -> tuple[bytes, Mapping[str, str]]:
        """Send a request, and repeat it once if the signature has expired; return body and headers."""
        is_renewed = False
        # Not on a host that another one names: a catalogue must not choose what secrets change there.
        is_moved = method != "GET" and host_of(address) in self.moved.values()
        secrets = (lambda _: {}) if is_moved else self.signer.headers
        while True:
            url = self.signer.sign(address, "") if urlsplit(address).scheme == _S3 else address
            with self.hosts.get(url, headers, secrets, method=method, body=data) as response:
                if method != "GET" and host_of(response.url) != host_of(url):
                    self.moved[host_of(url)] = host_of(response.url)
                region = parse_region_hint(response.headers) if response.status_code >= 300 else None
                is_refused = response.status_code in (401, 403) or region is not None
                if is_refused and not is_renewed and self.signer.renew(address, "", region):
                    is_renewed = True
                    continue
                return read_content(self.hosts, response, address, most), response.headers


def is_of_store(error: BaseException) -> bool:
    """Return whether an exception comes from a store's package."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _STORES


def describe_error(error: BaseException) -> str:
    """Return the message of an exception on one line, without secrets."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return redact(text)[:_LONGEST] or type(error).__name__


def is_web(address: str) -> bool:
    """Return whether a URL is read by HTTP: http(s), or S3."""
    return urlsplit(address).scheme.lower() in _WEB


def may_link(home: str, place: str) -> bool:
    """Return whether a document may name another one.

    One from elsewhere must not: fsspec has protocols that lead to files of this machine (``simplecache::file:///``) and
    into private networks (``webhdfs://``).

    Args:
        home: URL of the document.
        place: absolute URL of the other one.
    """
    if local_path(home) is not None:
        return True
    there, here = urlsplit(place), urlsplit(home)
    return is_remote(place) or (bool(here.netloc) and (there.scheme, there.netloc) == (here.scheme, here.netloc))


def _text(address: str) -> str:
    """Read the text of a local file, or of a file of fsspec."""
    path = local_path(address)
    try:
        if path is not None and path.exists() and not path.is_file():
            raise PermanentError(f"{path} is a folder, a pipe or a device, not a document")
        with open_remote(address) if path is None else path.open("rb") as file:
            content = bytes(file.read(LARGEST_DOCUMENT + 1))
        if len(content) > LARGEST_DOCUMENT:
            raise PermanentError(
                f"{display_url(address)} has more than the {format_bytes(LARGEST_DOCUMENT)} allowed for a document"
            )
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PermanentError(f"{display_url(address)} is not text in UTF-8") from None


def open_remote(address: str) -> Any:
    """Open a file of fsspec for reading; use it in a ``with`` block.

    Raises:
        ConfigurationError: if a package or credentials are missing.
        OSError: if the file cannot be read.
    """
    import fsspec

    try:
        return fsspec.open(address, "rb").open()
    except (ImportError, ValueError) as error:  # the package of the scheme is missing, or the scheme is unknown
        raise ConfigurationError(f"{display_url(address)} cannot be opened: {describe_error(error)}") from None


def read_content(hosts: HostSessions, response: requests.Response, address: str, most: int) -> bytes:
    """Read the body of a response.

    Args:
        most: maximum number of decoded bytes.

    Raises:
        TransientError: if the same request may succeed later; with the wait that the host demands.
        PermanentError: if it will not, or the body is larger.
    """
    status = response.status_code
    content = hosts.read(response, address, most)
    if 200 <= status < 300:
        return content
    if is_transient_status(status):
        after = parse_retry_after({name.lower(): value for name, value in response.headers.items()})
        raise TransientError(_answered(f"HTTP {status}", content), status=status, retry_after=after)
    if status in (401, 403):
        text = f"{display_url(address)} denies access with HTTP {status}: set `auth` and `auth_host`"
        raise PermanentError(text, status=status)
    raise PermanentError(_answered(f"{display_url(address)} answered HTTP {status}", content), status=status)


def _answered(text: str, content: bytes) -> str:
    message = redact(_error_message(content) or response_message(content)).strip()[:_LONGEST]
    return f"{text}: {message}" if message else text


def _error_message(content: bytes) -> str:
    """Return the message of an OGC API error (``description``; RFC 7807: ``detail``, ``title``); else empty."""
    try:
        document = parse_json(content)
    except ValueError:
        return ""
    fields = document if isinstance(document, dict) else {}
    message = next((fields[name] for name in ("description", "detail", "title") if fields.get(name)), "")
    return message if isinstance(message, str) else json.dumps(message)


def _decoded(content: bytes, address: str) -> Any:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PermanentError(f"{display_url(address)} did not respond with text") from None
    return _parsed(text, address)


def _parsed(text: str, address: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        pass
    is_page = text.lstrip()[:64].lower().startswith(("<!doctype html", "<html"))
    what = "an HTML page: the URL may be wrong, or need a login" if is_page else "not JSON"
    raise PermanentError(f"{display_url(address)} is {what}")


def describe_unread(unread: Sequence[UnreadDocument]) -> str:
    """Describe what was not read of a catalogue, or may be missing in its answer."""
    if not unread:
        return ""
    first = unread[0]
    why = first.reason if first.address in first.reason else f"{first.address}: {first.reason}"
    if len(unread) == 1:
        return f"part of the catalogue may be missing: {why}"
    return f"{len(unread):,} parts of the catalogue may be missing (all are in run.log), such as {why}"
