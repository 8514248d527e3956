"""Answer requests for access tokens: ``POST /token``, as the servers of Google's accounts do."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from eechips_local.protocol.request_body import read_body
from eechips_local.protocol.request_errors import NotFoundError
from eechips_local.protocol.service import Service

_LARGEST = 1 << 16  # bytes of a grant


async def issue_token(service: Service, request: Request) -> Response:
    """Return a token for an assertion that the key of this server has signed.

    Raises:
        NotFoundError: if the server has written no key.
        InvalidError, BodyTimeoutError, ClientGoneError: if the body of the request does not arrive.
    """
    if service.tokens is None:
        raise NotFoundError("This server issues no tokens: start it with serve --key FILE, which writes a key.")
    from eechips_local.protocol.issued_tokens import GrantError

    content = await read_body(request, _LARGEST, service.body_seconds)
    try:
        fields = parse_qs(content.decode("ascii"), max_num_fields=10)
        return _respond(200, service.tokens.issue({name: values[0] for name, values in fields.items()}))
    except GrantError as error:
        return _respond(400, {"error": error.code, "error_description": str(error)})
    except ValueError:
        return _respond(400, {"error": "invalid_request", "error_description": "The body must be a form in ASCII."})


def _respond(status: int, content: dict[str, Any]) -> Response:
    return JSONResponse(content, status, {"cache-control": "no-store"})  # RFC 6749, section 5.1


ROUTES = (("POST", "/token", issue_token),)
