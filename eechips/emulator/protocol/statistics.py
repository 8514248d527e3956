"""What the server was asked, and what it serves. Not part of Earth Engine's protocol."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.protocol.service import Service, json_response


async def show(service: Service, request: Request) -> Response:
    """Requests by kind, responses by status, requests in flight."""
    return json_response(service.quota.statistics.report())


async def store(service: Service, request: Request) -> Response:
    """What the server answers for; says so where it is synthetic."""
    return await service.run("store:describe", {})
