"""Respond to requests from a recording, without the service."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from eechips.emulator.messages import error_response
from eechips.emulator.protocol.http import http_response
from eechips.emulator.recording.canonical_request import CanonicalRequest, canonical_request
from eechips.emulator.recording.nearest_request import describe_missing
from eechips.emulator.recording.placeholders import Placeholders
from eechips.emulator.recording.recording_folder import RecordingEntry, RecordingError, RecordingFolder
from eechips.emulator.recording.recording_http import ORIGIN_HEADER, base_url, receive, send_recorded
from eechips.emulator.recording.sub_request import SubRequest, fill_request
from eechips.emulator.request_errors import EarthEngineError


class NotRecordedError(EarthEngineError):
    """A request has no recorded response (HTTP 400: the client would repeat a 500)."""

    code = 400
    status = "FAILED_PRECONDITION"


class ResponseReplayer:
    """Responds to requests from a recording.

    Args:
        folder: of the recording.
        local: the local Earth Engine, which evaluates requests that are not recorded; None refuses them.
    """

    def __init__(self, folder: RecordingFolder, local: ASGIApp | None = None) -> None:
        self._folder, self._local = folder, local

    async def handle(self, request: Request) -> Response:
        """Respond to one request. Errors become Earth Engine's."""
        try:
            return await self._respond(request)
        except EarthEngineError as error:
            return http_response(error_response(error))

    async def _respond(self, request: Request) -> Response:
        received = await receive(request)
        placeholders = Placeholders(received.project, (base_url(request),))
        loop = asyncio.get_running_loop()
        canonical = await loop.run_in_executor(None, canonical_request, received, placeholders)
        entry = None if canonical is None else await loop.run_in_executor(None, self._find, canonical)
        if entry is not None:
            return send_recorded(entry.response, placeholders, {ORIGIN_HEADER: "recorded"})
        if self._local is None:
            described = await loop.run_in_executor(None, describe_missing, self._folder, received, canonical)
            raise NotRecordedError(described)
        sent = SubRequest(received.method, request.scope["raw_path"].decode("ascii"), received.query, received.content)
        response = await fill_request(self._local, sent, self._find_created(canonical), placeholders)
        response.headers[ORIGIN_HEADER] = "filled"
        return response

    def _find(self, request: CanonicalRequest) -> RecordingEntry | None:
        try:
            return self._folder.find(request)
        except RecordingError as error:
            raise NotRecordedError(str(error)) from error

    def _find_created(self, request: CanonicalRequest | None) -> RecordingEntry | None:
        """Return the recorded request that created the name of another one; None without it."""
        if request is None or request.name_key is None:
            return None
        kind = request.operation.removesuffix("-get")
        try:
            return self._folder.find_created(kind, request.name_key)
        except RecordingError as error:
            raise NotRecordedError(str(error)) from error
