"""Receive requests, and send recorded responses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.protocol.request_body import read_body
from eechips.emulator.recording.canonical_request import ReceivedRequest
from eechips.emulator.recording.placeholders import Placeholders
from eechips.emulator.recording.recorded_response import RecordedResponse

ORIGIN_HEADER = "x-eechips-recording"
"""Header of a replay: ``recorded``, or ``filled`` for a response that was evaluated locally."""

_MOST_BYTES = 32 << 20  # of a request; the service has a third


async def receive(request: Request) -> ReceivedRequest:
    """Return a request with its body.

    Raises:
        EarthEngineError: if the body is too large, or does not arrive.
    """
    content = await read_body(request, _MOST_BYTES)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return ReceivedRequest(request.method, request.url.path.lstrip("/"), request.url.query, headers, content)


def base_url(request: Request) -> str:
    """Return the URL of this server as the client knows it, without a slash at the end."""
    return str(request.base_url).rstrip("/")


def send_recorded(
    recorded: RecordedResponse, placeholders: Placeholders, added: Mapping[str, str] = MappingProxyType({})
) -> Response:
    """Return a recorded response for a client.

    Args:
        recorded: with placeholders.
        placeholders: of the client.
        added: further headers.
    """
    content = recorded.content
    if recorded.is_json:
        content = placeholders.show(content.decode()).encode()
    headers = {"x-content-type-options": "nosniff", **added}
    if recorded.disposition is not None:
        headers["content-disposition"] = recorded.disposition
    return Response(content, recorded.status, headers, recorded.media_type)
