"""Mark requests for values and features, so that the response to another request is noticed.

Neither has a name: a proxy or cache that exchanges the responses to two requests, whose URLs are the same, would give a
plan the number of images in place of a date, or a region the values of another. A marked request computes the list of a
digest of the expression and the value, or features with the digest as a property. The expressions are those of
``ee.List(["…", value])`` and ``features.map(lambda feature: feature.set("…", "…"))``
(https://developers.google.com/earth-engine/reference/rest/v1/Expression).

Within a list, the service writes a collection without its elements: geedim's tests note that nested collections do not
return "collection image info". A collection is therefore requested once more, without a mark.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import Any

from eechips.client.http_messages import HttpRequest, HttpResponse, service_method
from eechips.errors import ValidationError

_VALUE, _FEATURES = "value:compute", "table:computeFeatures"
_KEY, _FUNCTION_KEY = "eechips:marked", "eechips:mark"
_PROPERTY = "eechips:mark"
_OBJECT = re.compile(rb'\{"result":\s*\{')
_FEATURE = re.compile(rb'"type":\s*"Feature"')  # not within a text of JSON, in which quotes follow a backslash
_DIGITS = 16
_OTHER = "the response to another request came back"


@dataclass(frozen=True, slots=True)
class MarkedRequest:
    """A request whose response has a mark. A page without features has none.

    Attributes:
        request: computes the mark, too.
        mark: digest of the expression.
    """

    request: HttpRequest
    mark: str

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
            _marked_value(result, mark) if service_method(request.url) == _VALUE else _marked_features(result, mark)
        )
        marked = {**body, "expression": {**expression, "result": _KEY, "values": values}}
        headers = {name: text for name, text in request.headers.items() if name.lower() != "content-length"}
        return cls(replace(request, body=json.dumps(marked), headers=headers), mark)

    def unmarked(self, response: HttpResponse) -> HttpResponse | None:
        """Return the response that the request would have without its mark; None if it has to be sent without one.

        Raises:
            ValidationError: if it has not the mark: it is the response to another request.
        """
        body = (
            self._value(response.body) if service_method(self.request.url) == _VALUE else self._features(response.body)
        )
        if body is None:
            raise exchanged_error(_OTHER, response.status)
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
            raise exchanged_error(_OTHER, unmarked.status)

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
        if count == len(_FEATURE.findall(body)) and _PROPERTY.encode() not in rest:
            return rest  # in a tenth of the time of parsing and writing a page
        content = json.loads(body)
        try:
            marks = [feature["properties"].pop(_PROPERTY) for feature in content.get("features") or ()]
        except (KeyError, TypeError, AttributeError):
            return None
        return json.dumps(content).encode() if all(mark == self.mark for mark in marks) else None


def exchanged_error(sign: str, status: int | None = None) -> ValidationError:
    """Make the error of responses that are exchanged, from what shows it."""
    return ValidationError(
        f"{sign}: a cache or proxy between this machine and Earth Engine exchanges responses. Send the requests past"
        " it",
        status=status,
    )


def digest_of(expression: str) -> str:
    """Return the mark of an expression."""
    return hashlib.sha256(expression.encode()).hexdigest()[:_DIGITS]


def _is_collection(body: bytes) -> bool:
    """Return whether a response has a collection, as an object with a type."""
    if _OBJECT.match(body) is None:
        return False
    return str(json.loads(body)["result"].get("type", "")).endswith(("FeatureCollection", "ImageCollection"))


def _marked_value(result: str, mark: str) -> dict[str, Any]:
    return {_KEY: {"arrayValue": {"values": [{"constantValue": mark}, {"valueReference": result}]}}}


def _marked_features(result: str, mark: str) -> dict[str, Any]:
    name = "_EECHIPS_FEATURE"
    function = {"functionDefinitionValue": {"argumentNames": [name], "body": _FUNCTION_KEY}}
    set_mark = {"object": {"argumentReference": name}, "key": {"constantValue": _PROPERTY}}
    set_mark["value"] = {"constantValue": mark}
    mapped = {"collection": {"valueReference": result}, "baseAlgorithm": function}
    return {
        _FUNCTION_KEY: {"functionInvocationValue": {"functionName": "Element.set", "arguments": set_mark}},
        _KEY: {"functionInvocationValue": {"functionName": "Collection.map", "arguments": mapped}},
    }
