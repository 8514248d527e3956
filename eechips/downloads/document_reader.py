"""Reading what a catalogue consists of: JSON documents of the web, of files, or of what fsspec reaches."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from eechips.client import retry
from eechips.client.classification import classify_exception, is_transient_status, response_message
from eechips.client.redaction import redact
from eechips.client.retry import RetryPolicy
from eechips.downloads.host_sessions import HostSessions, read_bounded
from eechips.downloads.partial import parse_content_range
from eechips.downloads.refusal import parse_region_hint
from eechips.downloads.signing import Signer
from eechips.errors import ConfigurationError, EechipsError, PermanentError, TransientError
from eechips.received_files import parse_json
from eechips.text import format_bytes
from eechips.timestamps import parse_retry_after
from eechips.urls import display_url, local_path

T = TypeVar("T")

_log = logging.getLogger(__name__)

POLICY = RetryPolicy(retries=6, delay=0.5, max_delay=16.0, total=120.0)
LARGEST_DOCUMENT = 1 << 26
"""Bytes of a document that is read into memory: a catalogue, an item, a page of an API's answer."""
LARGEST_LIST = 1 << 29
"""Bytes of a whole list of items that a server does not send in parts."""
_LONGEST = 300  # characters of what others say
_S3 = "s3"
_WEB = ("http", "https", _S3)
_STORES = frozenset({"aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google"})
"""Packages whose errors are those of a store, as far as fsspec does not make an OSError of them."""


@dataclass(frozen=True, slots=True)
class UnreadDocument:
    """What a catalogue leads to, and could not be read.

    Attributes:
        address: of it, or of what it stands in.
        reason: for people.
    """

    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class DocumentReader:
    """Reads documents. Threads may share it.

    Those of S3 are asked for as scenes are, by addresses that are signed, or not where there are no credentials.

    Attributes:
        hosts: whom documents of the web come from.
        signer: says what they want to be shown.
        policy: of asking again.
        pause: waits before that; may raise to stop.
        unread: what could not be read so far, although the catalogue names it.
    """

    hosts: HostSessions
    signer: Signer
    policy: RetryPolicy = POLICY
    pause: Callable[[float], None] = time.sleep
    unread: list[UnreadDocument] = field(default_factory=list)

    def read(self, address: str) -> Any:
        """A document.

        Raises:
            PermanentError: if there is none, or it is no JSON; with status 404 if nothing is there.
            TransientError: if nobody has answered, again and again.
            ConfigurationError: if an extra, or a certificate, is missing.
        """
        if is_web(address):
            return self.ask("GET", address)
        try:
            return _parsed(_text(address), address)
        except FileNotFoundError:
            raise PermanentError(f"{display_url(address)} is not there", status=404) from None
        except Exception as error:
            if isinstance(error, EechipsError) or not is_of_store(error):
                raise
            raise PermanentError(f"{display_url(address)} cannot be read: {describe_error(error)}") from None

    def ask(self, method: str, address: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """What a host answers, as JSON.

        Args:
            method: of HTTP.
            address: absolute.
            body: JSON, for POST.
            headers: further ones.

        Raises:
            PermanentError, TransientError, ConfigurationError: see :meth:`read`.
        """
        sent = dict(headers or {}) | {"Accept": "application/geo+json, application/json;q=0.9, */*;q=0.5"}
        sent["Accept-Encoding"] = "gzip, deflate"
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"

        def once() -> Any:
            content, _ = self._exchange(method, address, sent, data, LARGEST_DOCUMENT)
            try:
                return _parsed(content.decode("utf-8-sig"), address)
            except UnicodeDecodeError:
                raise PermanentError(f"{display_url(address)} answered something that is no text") from None

        return self._patiently(once, address)

    def content(self, address: str) -> bytes:
        """A whole file of the web.

        Raises:
            PermanentError, TransientError, ConfigurationError: see :meth:`read`.
        """
        return self._patiently(lambda: self._exchange("GET", address, {}, None, LARGEST_LIST)[0], address)

    def part(self, address: str, begin: int, end: int) -> tuple[bytes, int, int]:
        """A part of a file of the web.

        Args:
            address: absolute.
            begin: first byte.
            end: byte after the last.

        Returns:
            What came, where it begins, and the size of the whole file. A server without ``Range`` sends all.

        Raises:
            PermanentError, TransientError, ConfigurationError: see :meth:`read`.
        """
        wanted = {"Range": f"bytes={begin}-{end - 1}"}

        def once() -> tuple[bytes, int, int]:
            content, answer = self._exchange("GET", address, wanted, None, LARGEST_LIST)
            found = parse_content_range(answer.get("Content-Range"))
            if found is None and not answer.get("Content-Type", "").lower().startswith("multipart/byteranges"):
                return content, 0, len(content)
            if found is None or found[0] != begin or found[2] is None:
                raise PermanentError(f"{display_url(address)} answered another part than was asked for")
            return content, begin, found[2]

        return self._patiently(once, address)

    def _patiently(self, once: Callable[[], T], address: str) -> T:
        def attempt() -> T:
            try:
                return once()
            except TransientError as error:
                _log.info("%s does not answer (%s): asking again", display_url(address), redact(str(error))[:_LONGEST])
                raise

        # A host that is away at present is no network that is: an attempt like any other.
        return retry.call(attempt, replace(self.policy, offline=0.0), pause=self.pause)

    def _exchange(
        self, method: str, address: str, headers: Mapping[str, str], data: bytes | None, most: int
    ) -> tuple[bytes, Mapping[str, str]]:
        """One request, and one more if its signature has run out: the body, and the headers of the answer."""
        is_renewed = False
        while True:
            url = self.signer.sign(address, "").url if urlsplit(address).scheme == _S3 else address
            with self.hosts.get(url, headers, self.signer.headers, method=method, body=data) as response:
                region = parse_region_hint(response.headers) if response.status_code >= 300 else None
                is_refused = response.status_code in (401, 403) or region is not None
                if is_refused and not is_renewed and self.signer.renew(address, "", region):
                    is_renewed = True
                    continue
                return _content(response, address, most), response.headers


class RangeFile(io.RawIOBase):
    """A file of the web, as one that can be read anywhere; what is read is asked for.

    Args:
        reader: asks.
        address: absolute.

    Raises:
        PermanentError, TransientError, ConfigurationError: if it does not open.
    """

    def __init__(self, reader: DocumentReader, address: str) -> None:
        super().__init__()
        self._reader, self._address, self._place = reader, address, 0
        data, _, self._size = reader.part(address, 0, 1)
        self._whole = data if len(data) == self._size else None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes elsewhere."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or as many as there are."""
        end = self._size if size is None or size < 0 else min(self._size, self._place + size)
        if self._place >= end:
            return b""
        if self._whole is not None:
            found = self._whole[self._place : end]
        else:
            found, begin, _ = self._reader.part(self._address, self._place, end)
            found = found[self._place - begin : end - begin]
        self._place += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer, as many bytes as it takes."""
        view = memoryview(buffer).cast("B")
        found = self.read(len(view))
        view[: len(found)] = found
        return len(found)


def is_of_store(error: BaseException) -> bool:
    """Whether what was raised says that something cannot be read."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _STORES


def describe_error(error: BaseException) -> str:
    """What an error says, on one line, without secrets."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return redact(text)[:_LONGEST] or type(error).__name__


def is_web(address: str) -> bool:
    """Whether HTTP leads to an address: one of the web, or of S3."""
    return urlsplit(address).scheme.lower() in _WEB


def _text(address: str) -> str:
    """The text of a file of this machine, or of what fsspec reaches.

    Raises:
        OSError: if it cannot be read.
    """
    path = local_path(address)
    try:
        if path is not None and path.exists() and not path.is_file():
            raise PermanentError(f"{path} is a folder, a pipe or a device, and no document")
        with open_remote(address) if path is None else path.open("rb") as file:
            content = bytes(file.read(LARGEST_DOCUMENT + 1))
        if len(content) > LARGEST_DOCUMENT:
            raise PermanentError(
                f"{display_url(address)} has more than {format_bytes(LARGEST_DOCUMENT)}, as no document has"
            )
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PermanentError(f"{display_url(address)} is no text") from None


def open_remote(address: str) -> Any:
    """A file that fsspec reaches, to read from; use it in a ``with`` block.

    Raises:
        ConfigurationError: if a package or credentials are missing.
        OSError: if it cannot be read.
    """
    import fsspec

    try:
        return fsspec.open(address, "rb").open()
    except (ImportError, ValueError) as error:  # the package for its scheme is missing, or there is no such scheme
        raise ConfigurationError(f"{display_url(address)} cannot be opened: {describe_error(error)}") from None


def _content(response: requests.Response, address: str, most: int) -> bytes:
    """The body of an answer.

    Args:
        response: whose body is still to be read.
        address: for messages.
        most: bytes that it may have.

    Raises:
        PermanentError: if the host refuses, or sends more.
        TransientError: if asking again may help.
    """
    status = response.status_code
    try:
        content = read_bounded(response, address, most)
    except requests.RequestException as error:
        found: EechipsError | None = classify_exception(error)
        if found is None:
            raise
        raise found from None  # what the exception says may have the whole address in it
    if 200 <= status < 300:
        return content
    if is_transient_status(status):
        after = parse_retry_after({name.lower(): value for name, value in response.headers.items()})
        raise TransientError(_answered(f"HTTP {status}", content), status=status, retry_after=after)
    if status in (401, 403):
        text = f"{display_url(address)} is refused with HTTP {status}: see --auth and --auth-host"
        raise PermanentError(text, status=status)
    raise PermanentError(_answered(f"{display_url(address)} answered HTTP {status}", content), status=status)


def _answered(text: str, content: bytes) -> str:
    message = redact(_told_of(content) or response_message(content)).strip()[:_LONGEST]
    return f"{text}: {message}" if message else text


def _told_of(content: bytes) -> str:
    """What an error of OGC APIs says (``description``; RFC 7807: ``detail``, ``title``); empty for any other."""
    try:
        document = parse_json(content)
    except ValueError:
        return ""
    fields = document if isinstance(document, dict) else {}
    found = next((fields[name] for name in ("description", "detail", "title") if fields.get(name)), "")
    return found if isinstance(found, str) else json.dumps(found)


def _parsed(text: str, address: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        pass
    is_page = text.lstrip()[:64].lower().startswith(("<!doctype html", "<html"))
    what = "a page of HTML: its address may be another, or it wants a login" if is_page else "something that is no JSON"
    raise PermanentError(f"{display_url(address)} has {what}")


def describe_unread(unread: Sequence[UnreadDocument]) -> str:
    """What a catalogue names that could not be read, for people."""
    if not unread:
        return ""
    first = unread[0]
    why = first.reason if first.address in first.reason else f"{first.address}: {first.reason}"
    if len(unread) == 1:
        return f"the catalogue names something that could not be read: {why}"
    return f"the catalogue names {len(unread):,} things that could not be read (run.log has all), such as {why}"
