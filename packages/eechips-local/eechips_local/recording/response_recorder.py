"""Stand before a service: forward requests, respond as it does, and keep the responses whose status is final."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from eechips_local.assets.asset_errors import AssetWriteError
from eechips_local.protocol.http import http_response, json_response
from eechips_local.protocol.messages import error_response
from eechips_local.protocol.request_errors import EarthEngineError, NotFoundError
from eechips_local.recording.canonical_request import CanonicalRequest, ReceivedRequest, canonical_request
from eechips_local.recording.name_aliases import PAGE_PREFIX, NameAliases
from eechips_local.recording.placeholders import SERVER, Placeholders, map_texts
from eechips_local.recording.recorded_response import RecordedResponse
from eechips_local.recording.recording_folder import RecordingError, RecordingFolder
from eechips_local.recording.recording_http import ORIGIN_HEADER, base_url, receive, send_recorded
from eechips_local.recording.upstream import Upstream, UpstreamResponse

_THREADS = 128  # requests in flight; the quota is the service's
_FORWARDED = ("content-type", "content-disposition", "retry-after")
_FORWARDED_PREFIX = "x-earth-engine-"
_NO_PROJECT = "local"
"""Project of runs of eechips with a server of this machine, unless the user names one."""
# Responses of these statuses are not final: they say something of the credentials (401, 403, 407) or of the moment
# (408, 409, 425, 429, 499) and not of the request. The client sends it again, or stops.
_PARTIAL = 206
_OF_PARTS = frozenset({"if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"})
_NOT_FINAL = frozenset({401, 403, 407, 408, 409, 425, 429, 499})


class NotKeptError(EarthEngineError):
    """A request is not forwarded, or its response cannot be kept (HTTP 400: the client would repeat a 500)."""

    code = 400
    status = "FAILED_PRECONDITION"


class ResponseRecorder:
    """Responds to requests by the responses of a service, and keeps them.

    Args:
        upstream: the service.
    """

    def __init__(self, upstream: Upstream, folder: RecordingFolder) -> None:
        self._upstream, self._folder = upstream, folder
        self._aliases = NameAliases()
        self._threads = ThreadPoolExecutor(_THREADS)
        self._counts: Counter[str] = Counter()

    @property
    def is_authorized(self) -> bool:
        """Return whether requests are forwarded with credentials of the recorder."""
        return self._upstream.is_authorized

    def close(self) -> None:
        """Wait for requests in flight, and close the connections."""
        self._threads.shutdown()
        self._upstream.close()

    async def handle(self, request: Request) -> Response:
        """Respond to one request. Errors become Earth Engine's."""
        try:
            received = await receive(request)
            target = request.scope["raw_path"].decode("ascii")
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._exchange, received, target, base_url(request))
        except EarthEngineError as error:
            return http_response(error_response(error))

    async def report(self, request: Request) -> Response:
        """Return counts of requests by what became of their responses."""
        return json_response({"kept": 0, "known": 0, "not_final": 0, "not_recorded": 0, **self._counts})

    def _exchange(self, received: ReceivedRequest, target: str, server: str) -> Response:
        """Forward a request, and keep its response if it is final. Runs in a thread."""
        if self.is_authorized and received.project == _NO_PROJECT:
            raise NotKeptError(
                "The recorder forwards no request of the project 'local', which clients name if they have none: name"
                " yours, with --project or EECHIPS_PROJECT."
            )
        placeholders = received.create_placeholders(server, self._upstream.address)
        request = canonical_request(received, placeholders)
        if request is None:
            self._counts["not_recorded"] += 1
            response = self._send(received, target, received.query, received.content)
            return self._forward(response, "not-recorded", server)
        response = self._send_canonical(received, request, target)
        if response.token:
            placeholders = replace(placeholders, secrets=(*placeholders.secrets, response.token))
        recorded = self._to_recorded(response, request, placeholders)
        if recorded is None:
            self._counts["not_final"] += 1
            return self._forward(response, "not-final", server)
        try:
            is_new = self._folder.keep(request, recorded)
        except AssetWriteError as error:
            raise NotKeptError(f"The response cannot be recorded: {error}") from error
        except RecordingError:  # nested too deeply
            self._counts["not_recorded"] += 1
            return self._forward(response, "not-recorded", server)
        origin = "kept" if is_new else "known"
        self._counts[origin] += 1
        return send_recorded(recorded, placeholders, {ORIGIN_HEADER: origin, **_service_headers(response)})

    def _send_canonical(self, received: ReceivedRequest, request: CanonicalRequest, target: str) -> UpstreamResponse:
        """Send a request for a whole response, with the service's own names instead of those of the recording.

        Raises:
            NotFoundError: if it has a name that no request of this recorder has created.
        """
        content, query = received.content, received.query
        if request.name_key is not None:
            name = self._aliases.find(f"{request.name_kind}/{request.name_key}")
            if name is None:
                raise NotFoundError("Not found: the name does not exist or has expired.")
            version, _, rest = target.partition("/projects/")
            target = f"{version}/{name}{rest.partition(request.name_key)[2]}"
        token = request.page_token
        if token is not None and (own := self._aliases.find(token)) is not None:
            quoted = quote(own, safe="")
            content = content.replace(
                token.encode(), (quoted if received.is_folded else json.dumps(own)[1:-1]).encode()
            )
            query = query.replace(token, quoted)
        headers = {name: value for name, value in received.headers.items() if name not in _OF_PARTS}
        return self._send(replace(received, headers=headers), target, query, content)

    def _send(self, received: ReceivedRequest, target: str, query: str, content: bytes) -> UpstreamResponse:
        target = f"{target}?{query}" if query else target
        return self._upstream.send(received.method, target, received.headers, content)

    def _to_recorded(
        self, response: UpstreamResponse, request: CanonicalRequest, placeholders: Placeholders
    ) -> RecordedResponse | None:
        """Return what to record of a response; None if it is not final."""
        is_error = 400 <= response.status < 500 and response.status not in _NOT_FINAL
        if not (200 <= response.status < 300 and response.status != _PARTIAL) and not is_error:
            return None
        recorded = RecordedResponse.from_headers(response.status, response.headers, response.content)
        if not recorded.is_json:
            # Of proxies and portals: no response of the service is HTML, and its errors are JSON:
            # https://google.aip.dev/193.
            return None if is_error or recorded.media_type.startswith("text/html") else recorded
        try:
            value = json.loads(response.content)
            if is_error:
                if _is_of_key(value):
                    return None
                value = map_texts(value, placeholders.hide_in_error)
            else:
                value = self._with_aliases(value, map_texts(value, placeholders.hide), request)
            content = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            return None
        return replace(recorded, content=content)

    def _with_aliases(self, value: Any, hidden: Any, request: CanonicalRequest) -> Any:
        """Return a response's JSON with names of the recording instead of the service's.

        Args:
            value: as the service has sent it.
            hidden: with placeholders.
            request: to which it responds.
        """
        if not isinstance(value, dict):
            return hidden
        name, token = value.get("name"), value.get("nextPageToken")
        if request.created_kind is not None and isinstance(name, str):
            alias = f"{request.created_kind}/{request.key}"
            self._aliases.add(alias, name)
            return {**hidden, "name": f"projects/{{project}}/{alias}"}
        if isinstance(token, str) and token:
            alias = f"{PAGE_PREFIX}{request.key}"
            self._aliases.add(alias, token)
            return {**hidden, "nextPageToken": alias}
        if request.operation == "discovery":
            return {**hidden, **{name: f"{SERVER}/" for name in ("rootUrl", "baseUrl", "mtlsRootUrl") if name in value}}
        return hidden

    def _forward(self, response: UpstreamResponse, origin: str, server: str) -> Response:
        """Return a response that is not recorded, as the service sent it; redirects lead to this server.

        Args:
            origin: see `ORIGIN_HEADER`.
            server: base URL of this server.
        """
        headers = {name: value for name, value in response.headers.items() if name in _FORWARDED}
        if "location" in response.headers:
            address = f"{self._upstream.address}/"
            headers["location"] = response.headers["location"].replace(address, f"{server}/", 1)
        headers |= {ORIGIN_HEADER: origin, **_service_headers(response)}
        return Response(response.content, response.status, headers)


def _is_of_key(error: Any) -> bool:
    """Return whether an error says something of the API key, with HTTP 400.

    Reasons are those of https://cloud.google.com/apis/design/errors#error_info.
    """
    content = error.get("error") if isinstance(error, dict) else None
    details = content.get("details") if isinstance(content, dict) else None
    reasons = (
        [detail.get("reason") for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    )
    return any(str(reason).startswith("API_KEY_") for reason in reasons)


def _service_headers(response: UpstreamResponse) -> dict[str, str]:
    """Return the headers in which the service reports quota and profile; they are not recorded."""
    return {name: value for name, value in response.headers.items() if name.startswith(_FORWARDED_PREFIX)}
