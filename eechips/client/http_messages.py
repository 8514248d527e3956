"""Define HTTP requests and responses as the client sends and receives them, and check responses."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from eechips.client.error_classification import classify_response, parse_error
from eechips.errors import EechipsError, TooLargeError, ValidationError
from eechips.retry_after import parse_retry_after

MAX_BYTES = 128 << 20
"""Largest body, compressed and decompressed. The service computes at most 48 MiB of pixels for a request
(https://developers.google.com/earth-engine/apidocs/ee-data-computepixels); no file of them is twice as large. Values
have 100 MiB at most ("Computed value is too large", https://developers.google.com/earth-engine/guides/usage). A request
for a plan whose response is larger is divided like one that the service refuses."""
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds on one request, in seconds.

    Attributes:
        connect: to reach the server.
        read: between two pieces of the response. The service ends interactive computations after about 5
            minutes, so a little more than that.
        total: for the whole response.
    """

    connect: float = 10.0
    read: float = 330.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request.

    Attributes:
        method: of HTTP.
        url: absolute.
        body: of the request; None for none.
        headers: without those of the connection.
    """

    method: str
    url: str
    body: str | bytes | None
    headers: Mapping[str, str]

    @classmethod
    def from_client(cls, method: str, url: str, body: str | bytes | None, headers: Mapping[str, str]) -> HttpRequest:
        """Return a request of the Earth Engine client as its own session sends it.

        ``requests`` takes names that differ in case for one header, whose last value counts: the client's
        ``X-Goog-Api-Client`` replaces that of googleapiclient. It also drops the question mark before an empty query.

        Args:
            method: of HTTP.
            url: absolute.
            body: of the request.
            headers: may have a name twice, in different case.
        """
        names = {name.lower(): name for name in headers}
        return cls(method, url.removesuffix("?"), body, {name: headers[name] for name in names.values()})

    @property
    def text(self) -> str:
        """The body as text; empty if there is none."""
        return self.body.decode() if isinstance(self.body, bytes) else self.body or ""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response with its whole body.

    Attributes:
        status: HTTP status.
        headers: names in lower case.
        body: as received, until it is :meth:`decoded`.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> EechipsError | None:
        """The classified error that the response reports; None if it reports success."""
        if 200 <= self.status < 300:
            return None
        body = parse_error(self.body, self.headers.get("content-type", ""))
        return classify_response(self.status, body, parse_retry_after(self.headers))

    def decoded(self) -> HttpResponse:
        """Return the response with its body decompressed, whether or not a header announces gzip.

        No other format that eechips requests begins with the bytes of gzip.

        Raises:
            ValidationError: if the stream is damaged or truncated.
            TooLargeError: if it becomes larger than any response of the service.
        """
        if not self.body.startswith(_GZIP_MAGIC):
            return self
        pieces: list[bytes] = []
        left, rest = MAX_BYTES, self.body
        try:
            while rest:  # a stream may have several members (RFC 1952, 2.2), and zeros after the last
                member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
                pieces.append(member.decompress(rest, left + 1))
                left -= len(pieces[-1])
                if left < 0:
                    raise too_large_error(self.status)
                if not member.eof:
                    raise ValidationError("truncated gzip")
                rest = member.unused_data.lstrip(b"\0")
        except zlib.error as error:
            raise ValidationError(f"truncated or damaged gzip: {error}") from None
        return replace(self, body=b"".join(pieces))

    def refuse_page(self) -> None:
        """Refuse a web page, which proxies and captive portals send with status 200.

        Raises:
            ValidationError: if the body is one.
        """
        is_page = self.headers.get("content-type", "").startswith("text/html")
        if is_page or self.body[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise ValidationError("a web page came back: a proxy or a login page is in between", status=self.status)

    def refuse_fragment(self) -> None:
        """Refuse JSON that is truncated, as a response without Content-Length may be, or whose numbers overflow.

        Raises:
            ValidationError: if the body is announced as JSON and is not, or a number in it is no finite double.
        """
        if self.headers.get("content-type", "").startswith("application/json"):
            try:
                json.loads(self.body, parse_float=_finite)
            except OverflowError as error:
                raise ValidationError(str(error), status=self.status) from None
            except (ValueError, RecursionError):
                raise ValidationError("truncated or damaged JSON", status=self.status) from None


def _finite(text: str) -> float:
    if math.isinf(found := float(text)):
        raise OverflowError(f"the number {text[:40]} came back, which is beyond the range of doubles")
    return found


def too_large_error(status: int) -> TooLargeError:
    """Make the error of a response whose body exceeds :data:`MAX_BYTES`."""
    return TooLargeError(f"an answer of more than {MAX_BYTES >> 20} MiB came back", status=status)
