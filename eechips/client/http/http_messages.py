"""Define the client's HTTP requests, responses and timeouts, and check responses: size, gzip, truncated JSON, web pages
of a proxy, old copies of a cache.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from eechips.client.error_classification import WEB_PAGE, classify_response, parse_error
from eechips.errors import EechipsError, TooLargeError, TransientError, ValidationError
from eechips.text.formatting import parse_count
from eechips.web.retry_after import parse_retry_after

MAX_BYTES = 128 << 20
"""Largest body, compressed and decompressed. The service computes at most 48 MiB of pixels for a request
(https://developers.google.com/earth-engine/apidocs/ee-data-computepixels); no file of them is twice as large. Values
have 100 MiB at most ("Computed value is too large", https://developers.google.com/earth-engine/guides/usage). A request
for a plan whose response is larger is divided like one that the service refuses."""
_MOST_DIGITS = 308  # of the integer part of a double
_NUMBERS = bytes.maketrans(b"123456789E", b"000000000e")
_LARGE = (b"e000", b"e+000", b"0" * 210)
"""Parts of a number that may be too large for a double, with each digit written as 0: an exponent of three digits, or
210 digits, which an exponent of two takes beyond it."""
_MOST_EXPANSION = 500
"""Times that values become larger when they are decompressed, at most: equal features become 300 times as large. A bomb
of zeros becomes 1,030 times as large, the bound of the format (https://zlib.net/zlib_tech.html)."""
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_MEMBERS = 100
"""Members of a gzip stream: what follows each is copied, so that a hundred MiB of empty ones would take hours."""
_PARTIAL = 206
_BLANK = codecs.BOM_UTF8 + b" \t\r\n"
_CONTENTS: Mapping[str, tuple[str, Any]] = {
    "table:computeFeatures": ("type", "FeatureCollection"),
    "value:compute": ("result", None),
    "rest": ("resources", None),
    "algorithms": ("algorithms", None),
    "thumbnails": ("name", None),
    "tables": ("name", None),
}
"""A field that every response of a method has, and its value if that is always the same
(https://developers.google.com/earth-engine/reference/rest/v1/projects.table/computeFeatures,
https://developers.google.com/earth-engine/reference/rest/v1/projects.thumbnails,
https://developers.google.com/discovery/v1/reference/apis; the client reads the field of every response)."""
_MOST_OF_ID = 51
"""Characters of a request id that are kept before a hyphen and eight others: it has 60 at most
(https://developers.google.com/earth-engine/reference/rest/v1/projects.image/export)."""
_ASSETS = "/assets/"
_SLASHES = re.compile("/+")


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
        url: absolute.
        body: body of the request; None for none.
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
        Encodings are those that eechips reads: googleapiclient accepts ``deflate``, too.

        Args:
            url: absolute.
            headers: may have a name twice, in different case.
        """
        names = {name.lower(): name for name in headers if name.lower() != "accept-encoding"}
        return cls(method, url.removesuffix("?"), body, {name: headers[name] for name in names.values()})

    @property
    def text(self) -> str:
        """The body as text; empty if there is none."""
        return self.body.decode() if isinstance(self.body, bytes) else self.body or ""

    def after(self, error: EechipsError) -> HttpRequest:
        """Return the request to send after an error: with another id if the queue of tasks was full, which uses up the
        id (code 57160282156).
        """
        content = json.loads(self.text) if isinstance(error, TransientError) and error.is_queue_full else {}
        if "requestId" not in content:
            return self
        content["requestId"] = f"{content['requestId'][:_MOST_OF_ID]}-{uuid.uuid4().hex[:8]}"
        headers = {name: text for name, text in self.headers.items() if name.lower() != "content-length"}
        return replace(self, body=json.dumps(content), headers=headers)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response with its whole body.

    Attributes:
        headers: names in lower case.
        body: as received, until it is :meth:`decoded`.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> EechipsError | None:
        """The classified error that the response reports; None if it reports success.

        No request asks for a range, so 206 is an error of a cache or proxy (RFC 9110, 15.3.7).
        """
        if self.status == _PARTIAL:
            return ValidationError(
                "a part of the response came back, which was not asked for. A proxy or cache on the way may cut"
                " responses: try without it",
                status=self.status,
            )
        if 200 <= self.status < 300:
            return None
        body = parse_error(self.body, self.headers.get("content-type", ""))
        return classify_response(self.status, body, parse_retry_after(self.headers))

    def decoded(self) -> HttpResponse:
        """Return the response with its body decompressed, whether or not a header announces gzip.

        No other format that eechips requests begins with the bytes of gzip.

        Raises:
            ValidationError: if the stream is damaged or truncated, or becomes larger than any file of the service.
            TooLargeError: if values become larger than any of the service.
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
                    raise self._unpacked_error(len(self.body) - len(member.unconsumed_tail))
                if not member.eof:
                    raise ValidationError("truncated gzip")
                rest = member.unused_data.lstrip(b"\0")
                if len(pieces) > _MOST_MEMBERS:
                    raise ValidationError(f"gzip of more than {_MOST_MEMBERS} members came back", status=self.status)
        except zlib.error as error:
            raise ValidationError(f"truncated or damaged gzip: {error}") from None
        return replace(self, body=b"".join(pieces))

    def _unpacked_error(self, read: int) -> ValidationError | TooLargeError:
        """Make the error of a body that is too large when it is decompressed.

        Values may be: a request for fewer of them is smaller. A file of the service is not, nor is a bomb.

        Args:
            read: bytes that became :data:`MAX_BYTES`.
        """
        is_dense = read * _MOST_EXPANSION >= MAX_BYTES
        if is_dense and self.status == 200 and self.headers.get("content-type", "").startswith("application/json"):
            return too_large_error(self.status, repeats=1)
        return ValidationError(f"gzip of more than {MAX_BYTES >> 20} MiB came back", status=self.status)

    def refuse_stored(self) -> None:
        """Raise ValidationError if a cache answers from its store a POST, which only the service may do.

        What a cache has stored under the URL of a POST belongs to another one, whose body differs. Stored responses
        tell their age (RFC 9111, 4); some proxies tell 0 of every response.
        """
        if parse_count(self.headers.get("age", "").strip()):
            raise ValidationError(
                "an old response came back from a cache, to a request that none may answer: try without the proxy or"
                " cache on the way",
                status=self.status,
            )

    def refuse_page(self) -> None:
        """Raise ValidationError for a web page, which proxies and captive portals send with status 200."""
        is_page = self.headers.get("content-type", "").startswith("text/html")
        if is_page or self.body[:64].lstrip(_BLANK).lower().startswith((b"<!doctype html", b"<html")):
            raise ValidationError(f"{WEB_PAGE}: a proxy or a login page is in between", status=self.status)

    def refuse_fragment(self, url: str, asset: str | None = None) -> None:
        """Refuse JSON that is truncated, as a response without Content-Length may be, or whose numbers overflow.

        NaN and infinite numbers are refused as well. The service's values are a ``google.protobuf.Value``, which has
        none (https://protobuf.dev/reference/protobuf/google.protobuf/#value), but Python reads them, and a table would
        have an empty cell. A response to a request for a table or a value that has none is refused too: the client
        takes ``{}``, or an error with status 200, for an empty table. An asset has its own name
        (https://developers.google.com/earth-engine/reference/rest/v1/projects.assets#EarthEngineAsset).

        Args:
            asset: name of the asset whose description was requested, as :func:`requested_asset` returns it.

        Raises:
            ValidationError: if the body is announced as JSON and is not, a number in it is no finite double, or it is
                not what was requested.
        """
        method = service_method(url) if asset is None else ""
        is_json = self.headers.get("content-type", "").startswith("application/json")
        if not (is_json or asset is not None or method in _CONTENTS):
            return
        try:
            content = load_values(self.body)
        except OverflowError as error:
            raise ValidationError(str(error), status=self.status) from None
        except (ValueError, RecursionError):
            raise ValidationError("truncated or damaged JSON", status=self.status) from None
        if asset is not None and not _describes(content, asset):
            raise ValidationError(f"a response came back that does not describe the asset {asset}", status=self.status)
        if isinstance(content, dict) and set(content) == {"error"}:
            raise ValidationError("an error with a status of success came back", status=self.status)
        if method in _CONTENTS:
            self._refuse_other_content(content, method)

    def _refuse_other_content(self, content: Any, method: str) -> None:
        """Raise ValidationError if the JSON of a response is not what a method of the service returns."""
        key, expected = _CONTENTS[method]
        if not isinstance(content, dict) or key not in content or expected not in (None, content[key]):
            raise ValidationError(f"a response to {method} without {key} came back", status=self.status)
        if key == "name" and not isinstance(content[key], str):
            raise ValidationError(f"a response to {method} whose name is no text came back", status=self.status)
        if key == "type" and not all(isinstance(feature, dict) for feature in content.get("features", ())):
            raise ValidationError("a table whose rows are not all features came back", status=self.status)


def service_method(url: str) -> str:
    """Return the method of the service that a URL requests, such as ``value:compute``."""
    return url.partition("?")[0].rpartition("/")[2]


def requested_asset(request: HttpRequest) -> str | None:
    """Return the name, without its project, of the asset whose description a request is for; None for others."""
    path = unquote(urlsplit(request.url).path)
    name = path.partition(_ASSETS)[2].strip("/")
    return name if request.method == "GET" and name and ":" not in name else None


def _describes(content: Any, asset: str) -> bool:
    """Return whether a value of JSON describes an asset, by its name, or by its id: of public ones without project."""
    if not isinstance(content, dict) or "type" not in content:
        return False
    name, identifier = content.get("name"), content.get("id")
    named = (name.partition(_ASSETS)[2] if isinstance(name, str) else "", identifier)
    return any(
        isinstance(text, str) and _SLASHES.sub("/", text).strip("/") == _SLASHES.sub("/", asset) for text in named
    )


def too_large_error(status: int, *, repeats: int = 0) -> TooLargeError:
    """Make the error of a response whose body exceeds :data:`MAX_BYTES`."""
    return TooLargeError(f"an answer of more than {MAX_BYTES >> 20} MiB came back.", status=status, repeats=repeats)


def load_values(text: bytes | str, parse_float: Callable[[str], float] = float) -> Any:
    """Parse JSON of the service, whose numbers are finite.

    Args:
        text: JSON.
        parse_float: parses a number with a fraction or an exponent.

    Raises:
        ValueError: if it is malformed, or an object has a key twice.
        OverflowError: if it has NaN, Infinity, or a number that is too large for a double.
    """

    def refuse(name: str) -> Any:
        raise OverflowError(f"{name} came back, which is not a number of JSON")

    def overflow(digits: str) -> Any:
        raise OverflowError(f"the number {digits[:40]} came back, which is beyond the range of doubles")

    def finite(digits: str) -> float:
        return overflow(digits) if math.isinf(float(digits)) else parse_float(digits)

    def finite_integer(digits: str) -> int:
        return overflow(digits) if len(digits) > _MOST_DIGITS else int(digits)

    data = text.encode() if isinstance(text, str) else text
    text = data.decode()  # the client reads neither UTF-16 nor a byte-order mark
    if not _may_be_large(data):  # a function for each number takes its time
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=refuse, parse_float=parse_float)
    return json.loads(
        text, object_pairs_hook=_distinct, parse_constant=refuse, parse_float=finite, parse_int=finite_integer
    )


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("an object has a key twice")
    return values


def _may_be_large(data: bytes) -> bool:
    """Return whether JSON may have a number too large for a double. A regular expression takes ten times as long."""
    digits = data.translate(_NUMBERS)
    return any(mark in digits for mark in _LARGE)
