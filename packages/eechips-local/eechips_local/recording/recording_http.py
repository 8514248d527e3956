"""Receive requests, perhaps compressed, and send recorded responses; the header that tells their origin."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response

from eechips_local.protocol.request_body import read_body
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.recording.canonical_request import ReceivedRequest
from eechips_local.recording.placeholders import Placeholders
from eechips_local.recording.recorded_response import RecordedResponse
from eechips_local.recording.upstream import gunzip

ORIGIN_HEADER = "x-eechips-recording"
"""Header of responses.

Of a replay: ``recorded``, or ``filled`` for a response that was evaluated locally. Of a recorder: ``kept``, ``known``
for one that the recording has already, ``not-final``, or ``not-recorded``.
"""

_MOST_BYTES = 32 << 20  # of a request; the service has a third


async def receive(request: Request) -> ReceivedRequest:
    """Return a request with its body, decompressed.

    Raises:
        EarthEngineError: if the body is too large, does not arrive, or cannot be decompressed.
    """
    content = await read_body(request, _MOST_BYTES)
    headers = {name.lower(): value for name, value in request.headers.items()}
    if headers.get("content-encoding", "").lower() == "gzip":
        del headers["content-encoding"]
        content = _decompress(content)
    # Of the scope: as part of a URL, an encoded "?" or "#" would end the path.
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    return ReceivedRequest(request.method, path.lstrip("/"), query, headers, content)


def _decompress(content: bytes) -> bytes:
    """Decompress the body of a request.

    Raises:
        InvalidError: if it is damaged or too large.
    """
    try:
        decompressed = gunzip(content, _MOST_BYTES)
    except zlib.error as error:
        raise InvalidError(f"The body of the request is no whole gzip file: {error}.") from error
    if decompressed is None:
        raise InvalidError(f"The body of the request has more than {_MOST_BYTES >> 20} MiB.")
    return decompressed


def base_url(request: Request) -> str:
    """Return the URL of this server as the client knows it, without a slash at the end."""
    return str(request.base_url).rstrip("/")


def send_recorded(
    recorded: RecordedResponse, placeholders: Placeholders, added: Mapping[str, str] = MappingProxyType({})
) -> Response:
    """Return a recorded response for a client.

    Args:
        recorded: with placeholders.
        added: further headers.
    """
    content = recorded.content
    if recorded.is_json:
        content = placeholders.show(content.decode()).encode()
    headers = {"x-content-type-options": "nosniff", **added}
    if recorded.disposition is not None:
        headers["content-disposition"] = recorded.disposition
    return Response(content, recorded.status, headers, recorded.media_type)
