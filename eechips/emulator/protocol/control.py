"""What the server was asked, what it serves, and what it shall do wrong. Not part of Earth Engine's protocol."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.faults import FaultPlan
from eechips.emulator.messages import decode
from eechips.emulator.protocol.service import Service, json_response


async def statistics(service: Service, request: Request) -> Response:
    """Requests by kind, responses by status, requests in flight."""
    return json_response(service.quota.statistics.report())


async def store(service: Service, request: Request) -> Response:
    """What the server answers for; says so where it is synthetic."""
    return await service.run("store:describe")


async def plan_faults(service: Service, request: Request) -> Response:
    """Replaces the fault plan."""
    service.faults = FaultPlan.parse(decode(await service.body(request)))
    return json_response(service.faults.report())


async def faults(service: Service, request: Request) -> Response:
    """The fault plan, and what of it happened."""
    return json_response(service.faults.report())


ROUTES = (
    ("GET", "/_stats", statistics),
    ("GET", "/_store", store),
    ("GET", "/_faults", faults),
    ("POST", "/_faults", plan_faults),
)
