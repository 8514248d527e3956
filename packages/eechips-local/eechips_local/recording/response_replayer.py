"""Respond to requests from a recording, without the service."""

from __future__ import annotations

import asyncio
from collections import Counter

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from eechips_local.protocol.http import http_response, json_response
from eechips_local.protocol.messages import error_response
from eechips_local.protocol.request_errors import EarthEngineError, NotFoundError
from eechips_local.recording.canonical_request import CanonicalRequest, ReceivedRequest, canonical_request
from eechips_local.recording.local_evaluation import LocalEvaluation
from eechips_local.recording.nearest_request import MissingRequests
from eechips_local.recording.placeholders import Placeholders
from eechips_local.recording.recording_folder import RecordingError, RecordingFolder
from eechips_local.recording.recording_http import ORIGIN_HEADER, base_url, receive, send_recorded


class NotRecordedError(EarthEngineError):
    """A request has no recorded response (HTTP 400: the client would repeat a 500)."""

    code = 400
    status = "FAILED_PRECONDITION"


class ResponseReplayer:
    """Responds to requests from a recording.

    Args:
        local: the local Earth Engine, which evaluates requests that are not recorded; None refuses them.
    """

    def __init__(self, folder: RecordingFolder, local: ASGIApp | None = None) -> None:
        self._folder, self._missing = folder, MissingRequests(folder)
        self._counts: Counter[str] = Counter()
        self._local = None if local is None else LocalEvaluation(folder, local)

    async def handle(self, request: Request) -> Response:
        """Respond to one request. Errors become Earth Engine's."""
        try:
            response = await self._respond(request)
        except (EarthEngineError, RecordingError) as error:
            self._counts["refused"] += 1
            service_error = NotRecordedError(str(error)) if isinstance(error, RecordingError) else error
            return http_response(error_response(service_error))
        self._counts[response.headers[ORIGIN_HEADER]] += 1
        return response

    async def report(self, request: Request) -> Response:
        """Return counts of requests by where their responses came from."""
        return json_response({"recorded": 0, "filled": 0, "refused": 0, **self._counts})

    async def _respond(self, request: Request) -> Response:
        received = await receive(request)
        placeholders = received.create_placeholders(base_url(request))
        loop = asyncio.get_running_loop()
        canonical = await loop.run_in_executor(None, canonical_request, received, placeholders)
        entry = None if canonical is None else await loop.run_in_executor(None, self._folder.find, canonical)
        if entry is not None:
            return send_recorded(entry.response, placeholders, {ORIGIN_HEADER: "recorded"})
        if self._local is None:
            if canonical is not None and canonical.name_key is not None and not self._is_created(canonical):
                raise NotFoundError("Not found: the name does not exist or has expired.")
            raise NotRecordedError(await loop.run_in_executor(None, self._missing.describe, received, canonical))
        response = await self._evaluate(received, canonical, request.scope["raw_path"].decode("ascii"), placeholders)
        response.headers[ORIGIN_HEADER] = "filled"
        return response

    async def _evaluate(
        self, received: ReceivedRequest, request: CanonicalRequest | None, path: str, placeholders: Placeholders
    ) -> Response:
        assert self._local is not None
        if request is None:
            return await self._local.send(
                received.method, path, received.query, received.content, placeholders.servers[0]
            )
        return await self._local.evaluate(request, placeholders)

    def _is_created(self, request: CanonicalRequest) -> bool:
        """Return whether the name in a request is one of the recording; otherwise clients create a new one."""
        return self._folder.find_key(str(request.name_kind), str(request.name_key)) is not None
