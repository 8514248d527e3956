"""Mark requests for values, features and data of pixels: the response to another request is noticed.

Values and features have no name: a proxy or cache that exchanges the responses to two requests, whose URLs are the
same, would give a plan the number of images in place of a date, or a region the values of another. A marked request
computes the list of a digest of the expression and the value, or features with the digest as a property. The
expressions equal ``ee.List(["…", value])`` and ``features.map(lambda feature: feature.set("…", "…"))``
(https://developers.google.com/earth-engine/reference/rest/v1/Expression).

Features of a stored collection also have the number of its rows, so that lost and repeated rows are noticed. The count
has at most one row more than a page; what it costs the service is not known. Tables of several pages and computed
tables have none. All pages have the same expression, as arguments must not change between pages
(https://google.aip.dev/158).

Within a list, the service writes a collection without its elements: geedim's tests note that nested collections do not
return "collection image info". A collection is therefore requested once more, without a mark.

Arrays have no place, and GeoTIFFs of one place at several times have the same one. Requests for data of pixels have a
mask band of eechips, which no file keeps, and cubes give their last band its name: that name ends with a digest of the
request. An array names its bands as the fields of its type ("structured array",
https://developers.google.com/earth-engine/apidocs/ee-data-computepixels); a GeoTIFF does so by the descriptions of its
bands, and is not checked if it has none. Pictures, and stored pixels, which no expression names, have no mark.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eechips.client.http.http_messages import HttpRequest, HttpResponse, service_method
from eechips.errors import ValidationError
from eechips.formats import MASK_BAND

if TYPE_CHECKING:
    import ee

ROWS = "eechips:rows"
"""Property of features with the number of the table's rows, or with one more than a page has."""
OTHER_RESPONSE = "the response to another request came back"
_STORED = ("ImageCollection.load", "Collection.loadTable")
_NO = {"constantValue": False}
_SUBSETS = ("Collection.filter", "Collection.limit")


def row_count_node(result: str, values: Mapping[str, Any], page_size: object) -> dict[str, Any] | None:
    """Return the number of a table's rows as a value node; None if counting might compute the rows.

    ``Collection.map`` keeps the number, unless it drops nulls, and so does sorting, a limit with a key alone.
    """

    def invocation(node: Any) -> tuple[str, Mapping[str, Any]]:
        while "valueReference" in node:
            node = values[node["valueReference"]]
        call = node.get("functionInvocationValue", {})
        return call.get("functionName", ""), call.get("arguments", {})

    source = reference_node(result)
    function, arguments = invocation(source)
    while (function == "Collection.map" and arguments.get("dropNulls", _NO) == _NO) or (
        function == "Collection.limit" and "limit" not in arguments
    ):
        source = arguments["collection"]
        function, arguments = invocation(source)
    while function in _SUBSETS:
        function, arguments = invocation(arguments["collection"])
    if function not in _STORED or not isinstance(page_size, int):
        return None
    some = call_node("Collection.limit", collection=source, limit={"constantValue": page_size + 1})
    return call_node("Collection.size", collection=some)


def check_counts(counts: set[int], received: int, *, is_whole: bool) -> None:
    """Raise ValidationError if features have different numbers of rows, or a whole table has another one.

    Args:
        counts: none, if the rows are not counted.
        is_whole: whether the page is the whole table.
    """
    if len(counts) > 1:
        raise proxy_error(OTHER_RESPONSE, "exchanges")
    for total in counts if is_whole else ():
        check_count(received, total)


def check_count(received: int, total: int) -> None:
    """Raise ValidationError if fewer or more rows came back than the service has counted."""
    if received != total:
        raise proxy_error(f"{received:,} rows of a table of {total:,} came back", "alters")


def proxy_error(sign: str, what: str, status: int | None = None) -> ValidationError:
    """Make the error of responses that something between this machine and the service exchanges or alters.

    Args:
        sign: what shows it.
        what: what is done to responses: a verb.
    """
    return ValidationError(
        f"{sign}: a cache or proxy between this machine and Earth Engine {what} responses. Send the requests past it",
        status=status,
    )


def call_node(function: str, /, **arguments: Any) -> dict[str, Any]:
    """Return the call of a function as a value node of an expression."""
    return {"functionInvocationValue": {"functionName": function, "arguments": arguments}}


def reference_node(key: str) -> dict[str, Any]:
    """Return the reference to a value of an expression as a node."""
    return {"valueReference": key}


_VALUE, _FEATURES = "value:compute", "table:computeFeatures"
_KEY, _FUNCTION_KEY = "eechips:marked", "eechips:mark"
_PROPERTY = "eechips:mark"
_OBJECT = re.compile(rb'\{"result":\s*\{')
_FEATURE = re.compile(rb'"type":\s*"Feature"')  # not within a text of JSON, in which quotes follow a backslash
_COUNT = b'"' + ROWS.encode() + rb'":\s*(\d+)(?![\d.eE])'
_COUNTS = re.compile(rb",\s*" + _COUNT + b"|" + _COUNT + rb"\s*,?")
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class MarkedRequest:
    """A request whose response has a mark. A page without features has none.

    Attributes:
        request: computes the mark, too.
        mark: digest of the expression.
        is_first: whether the request is not for a later page.
    """

    request: HttpRequest
    mark: str
    is_first: bool = True

    @classmethod
    def of(cls, request: HttpRequest, *, is_planning: bool) -> MarkedRequest | None:
        """Mark a request for features, or while planning for a value; None for others, or without an expression."""
        if service_method(request.url) not in ((_VALUE, _FEATURES) if is_planning else (_FEATURES,)):
            return None
        try:
            body = json.loads(request.text)
            expression = body["expression"]
            result, values = expression["result"], dict(expression["values"])
        except (ValueError, KeyError, TypeError):
            return None
        mark = digest_of(json.dumps(expression))
        values |= (
            {_KEY: {"arrayValue": {"values": [{"constantValue": mark}, {"valueReference": result}]}}}
            if service_method(request.url) == _VALUE
            else _marked_features(result, mark, row_count_node(result, values, body.get("pageSize")))
        )
        marked = {**body, "expression": {**expression, "result": _KEY, "values": values}}
        headers = {name: text for name, text in request.headers.items() if name.lower() != "content-length"}
        return cls(replace(request, body=json.dumps(marked), headers=headers), mark, "pageToken" not in body)

    def unmarked(self, response: HttpResponse) -> HttpResponse | None:
        """Return the response that the request would have without its mark; None if it has to be sent without one.

        Raises:
            ValidationError: if it has not the mark: it is the response to another request; or if rows are lost.
        """
        body = (
            self._value(response.body) if service_method(self.request.url) == _VALUE else self._features(response.body)
        )
        if body is None:
            raise exchanged_error(OTHER_RESPONSE, response.status)
        return None if _is_collection(body) else replace(response, body=body)

    def compare_collections(self, marked: HttpResponse, unmarked: HttpResponse) -> None:
        """Compare what a marked response has of a collection with the response that was requested without a mark.

        No source says which fields a collection within a list has: those that it has are compared.

        Raises:
            ValidationError: if it is no collection of the same type, or has another id.
        """
        known = json.loads(self._value(marked.body) or b"{}").get("result") or {}
        content = json.loads(unmarked.body)["result"]
        if not isinstance(content, dict) or any(
            content.get(key) != known[key] for key in ("type", "id") if key in known
        ):
            raise exchanged_error(OTHER_RESPONSE, unmarked.status)

    def _value(self, body: bytes) -> bytes | None:
        """Return a response without the mark of its value; None if it has none."""
        start = rb'\s*\{\s*"result"\s*:\s*\[\s*"' + self.mark.encode() + rb'"\s*,'
        listed = re.fullmatch(start + rb"(.*)\]\s*\}\s*", body, re.DOTALL)
        if listed is not None:
            return b'{"result":' + listed[1] + b"}"
        content = json.loads(body)
        answer = content.get("result") if isinstance(content, dict) else None
        if not isinstance(answer, list) or len(answer) != 2 or answer[0] != self.mark:
            return None
        return json.dumps({**content, "result": answer[1]}).encode()

    def _features(self, body: bytes) -> bytes | None:
        """Return a page without the marks of its features; None if one has none."""
        own = b'"' + _PROPERTY.encode() + rb'":\s*"' + self.mark.encode() + b'"'
        rest, count = re.subn(rb",\s*" + own + b"|" + own + rb"\s*,?", b"", body)
        features = len(_FEATURE.findall(body))
        counts = {int(before or after) for before, after in _COUNTS.findall(rest)}
        rest = _COUNTS.sub(b"", rest)
        is_whole = self.is_first and b'"nextPageToken"' not in rest
        if count == features and not any(name.encode() in rest for name in (_PROPERTY, ROWS)):
            # in a tenth of the time of parsing and writing a page
            check_counts(counts, features, is_whole=is_whole)
            return rest
        content = json.loads(body)
        try:
            properties = [feature["properties"] for feature in content.get("features") or ()]
            marks = {values.pop(_PROPERTY) for values in properties}
            counts = {int(values.pop(ROWS)) for values in properties if ROWS in values}
        except (KeyError, TypeError, AttributeError, ValueError):
            return None
        if marks - {self.mark}:
            return None
        check_counts(counts, len(properties), is_whole=self.is_first and not content.get("nextPageToken"))
        return json.dumps(content).encode()


def exchanged_error(sign: str, status: int | None = None) -> ValidationError:
    """Make the error of responses that are exchanged, from what shows it."""
    return proxy_error(sign, "exchanges", status)


def digest_of(expression: str) -> str:
    """Return the mark of an expression."""
    return hashlib.sha256(expression.encode()).hexdigest()[:_DIGITS]


def confirm_empty(source: ee.FeatureCollection) -> None:
    """Ask for the size of a collection: an empty page has no mark that shows to which request it belongs.

    Raises:
        ValidationError: if it has features.
    """
    import ee

    mark = digest_of(source.serialize())
    if ee.List([mark, source.size()]).getInfo() != [mark, 0]:
        raise exchanged_error("an empty table came back, and its size is not 0")


def _is_collection(body: bytes) -> bool:
    """Return whether a response has a collection, as an object with a type."""
    if _OBJECT.match(body) is None:
        return False
    return str(json.loads(body)["result"].get("type", "")).endswith(("FeatureCollection", "ImageCollection"))


def _marked_features(result: str, mark: str, count: dict[str, Any] | None) -> dict[str, Any]:
    name = "_EECHIPS_FEATURE"
    function = {"functionDefinitionValue": {"argumentNames": [name], "body": _FUNCTION_KEY}}
    feature: dict[str, Any] = {"argumentReference": name}
    if count is not None:
        feature = _with_property(feature, ROWS, count)
    marked = _with_property(feature, _PROPERTY, {"constantValue": mark})
    return {
        _FUNCTION_KEY: marked,
        _KEY: call_node("Collection.map", collection=reference_node(result), baseAlgorithm=function),
    }


def _with_property(feature: dict[str, Any], key: str, value: dict[str, Any]) -> dict[str, Any]:
    return call_node("Element.set", object=feature, key={"constantValue": key}, value=value)


MASK_BAND_TO_MARK = f"{MASK_BAND}:to_mark"
"""Name of the mask band until it is marked: a text that no user has, as every occurrence of it is replaced."""

_ARRAY = b"\x93NUMPY"
_DESCRIPTION = b'role="description"'
"""Of the text in which GDAL stores the descriptions of bands (https://gdal.org/en/stable/drivers/raster/gtiff.html)."""


@dataclass(frozen=True, slots=True)
class MarkedPixels:
    """A request whose response names its mask band by the mark.

    Attributes:
        mark: name of the band; empty for a request without a mask band.
    """

    request: HttpRequest
    mark: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> MarkedPixels:
        """Mark a request for a chip, or for several."""
        text = request.text
        if MASK_BAND_TO_MARK not in text:
            return cls(request)
        mark = f"{MASK_BAND}_{digest_of(text)}"
        return cls(replace(request, body=text.replace(MASK_BAND_TO_MARK, mark)), mark)

    def is_of_other(self, body: bytes) -> bool:
        """Return whether a response is that to another request, as far as it names its bands."""
        return bool(self.mark) and names_other(self.mark, body)


def names_other(mark: str, data: bytes) -> bool:
    """Return whether a file names its bands, and none of them by a mark."""
    return (data.startswith(_ARRAY) or _DESCRIPTION in data) and mark.encode() not in data
