"""Evaluate recorded requests, and requests that are not recorded, by the local Earth Engine in the same process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import quote, unquote, urlencode, urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message

from eechips_local.recording.canonical_request import CanonicalRequest
from eechips_local.recording.name_aliases import PAGE_PREFIX
from eechips_local.recording.placeholders import Placeholders, map_texts
from eechips_local.recording.recording_folder import RecordingFolder

_OF_CONNECTION = frozenset({b"connection", b"content-length", b"transfer-encoding"})


class LocalEvaluation:
    """Evaluates requests. Names of the recording, of thumbnails and of pages, become local ones first.

    Args:
        app: the local Earth Engine.
    """

    def __init__(self, folder: RecordingFolder, app: ASGIApp) -> None:
        self._folder, self._app = folder, app
        self._tokens: dict[str, str | None] = {}

    async def evaluate(self, request: CanonicalRequest, placeholders: Placeholders) -> Response:
        """Return the local response to a request.

        Args:
            request: in canonical form.
            placeholders: placeholders of the client.

        Raises:
            RecordingError: if the request that has created a name is damaged.
        """
        path, query, body = request.path, dict(request.query), request.body
        if request.name_key is not None:
            response, path = await self._create_name(request, placeholders)
            if response is not None:
                return response
        token = request.page_token
        if token is not None and token.startswith(PAGE_PREFIX):
            local = await self._find_page(request.operation, token, placeholders) or token
            query = {**query, "pageToken": local} if "pageToken" in query else query
            body = {**body, "pageToken": local} if isinstance(body, dict) and "pageToken" in body else body
        version = "" if request.operation == "discovery" else "v1/"
        content = b"" if body is None else json.dumps(map_texts(body, placeholders.show)).encode()
        response = await self.send(
            request.method,
            f"/{version}{quote(placeholders.show(path), safe='/:$,')}",
            urlencode(map_texts(query, placeholders.show), doseq=True),
            content,
            placeholders.servers[0],
        )
        if response.status_code == 200 and response.headers.get("content-type") == "application/json":
            decoded = json.loads(bytes(response.body))
            self._tokens[request.key] = decoded.get("nextPageToken") if isinstance(decoded, dict) else None
        return response

    async def send(self, method: str, path: str, query: str, content: bytes, server: str) -> Response:
        """Send a request to the local Earth Engine; see https://asgi.readthedocs.io/en/latest/specs/www.html.

        Args:
            method: HTTP method.
            path: encoded, with the first slash.
            query: encoded.
            content: the body, JSON.
            server: base URL of this server, as the client knows it.
        """
        host = urlsplit(server).netloc.encode("ascii")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
            "method": method, "path": unquote(path), "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"), "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 0),
            "headers": [(b"host", host), (b"content-type", b"application/json")],
        }  # fmt: skip
        response, body = Response(), bytearray()

        parts: Iterator[Message] = iter([{"type": "http.request", "body": content, "more_body": False}])

        async def receive() -> Message:
            if (part := next(parts, None)) is not None:
                return part
            never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
            return await never  # the client stays

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                response.status_code = message["status"]
                response.raw_headers = [
                    header for header in message.get("headers", ()) if header[0] not in _OF_CONNECTION
                ]
            else:
                body.extend(message.get("body", b""))

        await self._app(scope, receive, send)
        response.body = bytes(body)
        response.raw_headers.append((b"content-length", str(len(body)).encode()))
        return response

    async def _create_name(self, request: CanonicalRequest, placeholders: Placeholders) -> tuple[Response | None, str]:
        """Create a local name for that in a request.

        Returns:
            The response if it is an error, and the path with the local name; the path as it is if its name is not one
            of the recording, but of the local Earth Engine.
        """
        key = str(request.name_key)
        created = self._folder.find_key(str(request.name_kind), key)
        if created is None:
            return None, request.path
        response = await self.evaluate(created.request, placeholders)
        if response.status_code != 200:
            return response, request.path
        name = json.loads(bytes(response.body))["name"]
        return None, f"{name}{request.path.partition(key)[2]}"

    async def _find_page(self, operation: str, token: str, placeholders: Placeholders) -> str | None:
        """Return the local token of a page; None if the page before it is not recorded, or locally the last one."""
        key = token.removeprefix(PAGE_PREFIX)
        if key not in self._tokens:
            before = self._folder.find_key(operation, key)
            if before is None:
                return None
            await self.evaluate(before.request, placeholders)
        return self._tokens.get(key)
