"""Send requests to the local Earth Engine in the same process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message

from eechips.emulator.recording.placeholders import Placeholders, map_texts
from eechips.emulator.recording.recording_folder import RecordingEntry

_OF_CONNECTION = frozenset({"connection", "content-length", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class SubRequest:
    """A request to an application.

    Attributes:
        method: of HTTP.
        path: encoded, with the first slash.
        query: encoded.
        content: the body, JSON.
    """

    method: str
    path: str
    query: str = ""
    content: bytes = b""


async def send_request(app: ASGIApp, request: SubRequest) -> Response:
    """Return an application's response to a request; see https://asgi.readthedocs.io/en/latest/specs/www.html."""
    from urllib.parse import unquote

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
        "method": request.method, "path": unquote(request.path), "raw_path": request.path.encode("ascii"),
        "query_string": request.query.encode("ascii"), "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 0),
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
    }  # fmt: skip
    found = Response()
    content = bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": request.content, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            found.status_code = message["status"]
            found.raw_headers = [
                each for each in message.get("headers", ()) if each[0].decode("latin-1") not in _OF_CONNECTION
            ]
        else:
            content.extend(message.get("body", b""))

    await app(scope, receive, send)
    found.body = bytes(content)
    found.raw_headers.append((b"content-length", str(len(content)).encode()))
    return found


async def fill_request(
    app: ASGIApp, request: SubRequest, created: RecordingEntry | None, placeholders: Placeholders
) -> Response:
    """Return the local response to a request that is not recorded.

    Args:
        app: the local Earth Engine.
        request: of a client.
        created: the recorded request that has created the name in this one; None without such a name.
        placeholders: of the client.
    """
    if created is None:
        return await send_request(app, request)
    response, name = await create_name(app, created.request.body, created.request.operation, placeholders)
    if name is None:
        return response
    version, _, rest = request.path.partition("/projects/")
    method = rest.partition(created.request.key)[2]
    return await send_request(app, SubRequest(request.method, f"{version}/{name}{method}", request.query))


async def create_name(app: ASGIApp, body: Any, kind: str, placeholders: Placeholders) -> tuple[Response, str | None]:
    """Create a name in the local Earth Engine.

    Args:
        app: the local Earth Engine.
        body: of the recorded request.
        kind: such as ``thumbnails``.
        placeholders: of the client.

    Returns:
        Its response, and the name; None if the response is an error.
    """
    content = json.dumps(map_texts(body, placeholders.show)).encode()
    response = await send_request(app, SubRequest("POST", f"/v1/projects/{placeholders.project}/{kind}", "", content))
    if response.status_code != 200:
        return response, None
    return response, json.loads(bytes(response.body))["name"]
