"""Process several requests that come as the parts of one, as Google's APIs do: at most 1,000.

Google's JavaScript client reads and cancels several tasks so (``ee.data.getTaskStatus``), and ``BatchHttpRequest`` of
googleapiclient, whose path is the ``batchPath`` of the discovery document. The format is the same for all of Google's
APIs: https://developers.google.com/calendar/api/guides/batch.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from http import HTTPStatus
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message as Event
from starlette.types import Scope

from eechips_local.protocol.request_body import read_body
from eechips_local.protocol.request_errors import InvalidError, LimitError
from eechips_local.protocol.service import Handler, Service

PATH = "/batch"
_MOST_CALLS = 1000
_MOST_BYTES = 256 << 20  # of all responses together


@dataclass(frozen=True, slots=True)
class _Call:
    """A request within another.

    Attributes:
        id: value of its Content-ID, without brackets; empty for none.
        method: HTTP method.
        target: path and query.
    """

    id: str
    method: str
    target: str
    headers: Message
    body: bytes


async def process_batch(service: Service, request: Request) -> Response:
    """Process the calls of a batch one after the other; each is counted and checked as a request of its own.

    Raises:
        InvalidError: if the body is no batch, or has more than 1,000 calls.
        LimitError: if the responses together are too large.
        BodyTimeoutError: if the body takes too long to arrive.
        ClientGoneError: if the client leaves before it has arrived.
    """
    content = await read_body(request, service.payload, service.body_seconds)
    calls = list(_calls(request.headers.get("content-type", ""), content))
    if len(calls) > _MOST_CALLS:
        raise InvalidError(f"A batch has at most {_MOST_CALLS} calls, not {len(calls)}.")
    boundary = f"batch_{secrets.token_hex(16)}"
    parts: list[bytes] = []
    size = 0
    for call in calls:
        response = await _respond(request, call)
        size += len(response)
        if size > _MOST_BYTES:
            raise LimitError(f"The responses of a batch have together at most {_MOST_BYTES} bytes.")
        head = f"--{boundary}\r\nContent-Type: application/http\r\n"
        identity = f"Content-ID: <response-{call.id}>\r\n" if call.id else ""
        parts.append(f"{head}{identity}\r\n".encode() + response + b"\r\n")
    return Response(
        b"".join(parts) + f"--{boundary}--\r\n".encode(), media_type=f"multipart/mixed; boundary={boundary}"
    )


def _calls(content_type: str, content: bytes) -> Iterator[_Call]:
    """Yield the calls of a batch.

    Raises:
        InvalidError: if something is malformed.
    """
    batch = BytesParser().parsebytes(b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n" + content)
    if batch.get_content_type() != "multipart/mixed" or not batch.is_multipart():
        raise InvalidError("A batch is a multipart/mixed message, whose parts are requests.")
    for part in batch.walk():
        if part is batch:
            continue
        payload = part.get_payload(decode=True)
        if part.get_content_type() != "application/http" or not isinstance(payload, bytes):
            raise InvalidError("A part of a batch has the type application/http.")
        line, _, rest = payload.lstrip().partition(b"\n")
        words = line.decode("latin-1").split()
        if len(words) < 2:
            raise InvalidError("A part of a batch begins with a method and a path.")
        headers = BytesParser().parsebytes(rest)
        body = headers.get_payload(decode=True)
        target = "/" + words[1].lstrip("/")
        if unquote(target.partition("?")[0]) == PATH:
            raise InvalidError("A batch has no batches.")
        identity = str(part.get("Content-ID", "")).strip().removeprefix("<").removesuffix(">")
        yield _Call(identity, words[0].upper(), target, headers, body if isinstance(body, bytes) else b"")


async def _respond(request: Request, call: _Call) -> bytes:
    """Return the response to a call, as HTTP writes it."""
    status = 500
    head: list[tuple[bytes, bytes]] = []
    body = bytearray()
    bodies: list[Event] = [{"type": "http.request", "body": call.body, "more_body": False}]

    async def receive() -> Event:
        return bodies.pop() if bodies else await request.receive()  # which tells that the client has left

    async def send(event: Event) -> None:
        nonlocal status
        if event["type"] == "http.response.start":
            status = event["status"]
            head.extend(event["headers"])
        else:
            body.extend(event.get("body", b""))

    await request.app(_scope(request, call), receive, send)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase if status in _STATUSES else ''}".encode()]
    return b"\r\n".join([*lines, *(name + b": " + value for name, value in head), b"", bytes(body)])


_STATUSES = frozenset(HTTPStatus)


def _scope(request: Request, call: _Call) -> Scope:
    """Return the ASGI scope of a call. It inherits the headers of the batch, except those about the content."""
    headers = {
        name.lower(): value
        for name, value in request.headers.items()
        if not name.lower().startswith("content-") and name.lower() != "transfer-encoding"
    }
    headers.update({name.lower(): str(value) for name, value in call.headers.items()})
    headers.update({"host": request.headers.get("host", ""), "content-length": str(len(call.body))})
    path, _, query = call.target.partition("?")
    return {
        **request.scope,
        "method": call.method,
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "path_params": {},
        "state": {},
    }


ROUTES: tuple[tuple[str, str, Handler], ...] = (("POST", PATH, process_batch),)
