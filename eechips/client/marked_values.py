"""Mark requests for values, so that the response to another request is noticed.

A value has no name: a proxy or cache that exchanges the responses to two requests, whose URLs are the same, would give
a plan the number of images in place of a date. A marked request computes the list of a digest of the expression and the
value, as ``ee.List(["…", value]).getInfo()`` does
(https://developers.google.com/earth-engine/reference/rest/v1/Expression).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import Any

from eechips.client.http_messages import HttpRequest, HttpResponse
from eechips.errors import ValidationError

_PATH = "value:compute"
_KEY = "marked"
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class MarkedRequest:
    """A request for a value whose response has a mark.

    Attributes:
        request: computes the mark and the value.
        mark: digest of the expression.
    """

    request: HttpRequest
    mark: str

    @classmethod
    def of(cls, request: HttpRequest) -> MarkedRequest | None:
        """Mark a request; None if it is for no value, or has no expression to mark."""
        if request.url.partition("?")[0].rpartition("/")[2] != _PATH:
            return None
        try:
            body = json.loads(request.text)
            result, values = body["expression"]["result"], dict(body["expression"]["values"])
        except (ValueError, KeyError, TypeError):
            return None
        if _KEY in values:
            return None
        mark = hashlib.sha256(json.dumps(body["expression"]).encode()).hexdigest()[:_DIGITS]
        values[_KEY] = {"arrayValue": {"values": [{"constantValue": mark}, {"valueReference": result}]}}
        marked = {**body, "expression": {**body["expression"], "result": _KEY, "values": values}}
        headers = {name: text for name, text in request.headers.items() if name.lower() != "content-length"}
        return cls(replace(request, body=json.dumps(marked), headers=headers), mark)

    def unmarked(self, response: HttpResponse) -> HttpResponse:
        """Return the response that the request would have without its mark.

        Raises:
            ValidationError: if it has not the mark: it is the response to another request.
        """
        listed = re.fullmatch(
            rb'\s*\{\s*"result"\s*:\s*\[\s*"' + self.mark.encode() + rb'"\s*,(.*)\]\s*\}\s*', response.body, re.DOTALL
        )
        if listed is not None:
            return replace(response, body=b'{"result":' + listed[1] + b"}")
        content: Any = json.loads(response.body)
        answer = content.get("result") if isinstance(content, dict) else None
        if not isinstance(answer, list) or len(answer) != 2 or answer[0] != self.mark:
            raise ValidationError(
                "the response to another request came back while planning: a cache or proxy between this machine and"
                " Earth Engine exchanges responses. Send the requests past it",
                status=response.status,
            )
        return replace(response, body=json.dumps({**content, "result": answer[1]}).encode())
