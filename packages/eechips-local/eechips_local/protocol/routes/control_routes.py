"""Report statistics and requests, and change quota, latency and faults. Not part of Earth Engine's protocol."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from eechips_local.protocol.http import json_response
from eechips_local.protocol.messages import decode
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.protocol.service import Service
from eechips_local.protocol.source_checks import check_json, check_own_page
from eechips_local.quota.latency import Latency

_MOST_TASKS = 50


async def statistics(service: Service, request: Request) -> Response:
    """Return counts of requests, responses, rejections, reads of catalogues and what was taken from open archives, the
    account of compute, the datasets whose stubs were loaded, the server's clock, and what tells it from a later one.
    """
    report = {
        **service.quota.report(),
        "instance": service.instance,
        "catalogs": service.workers.reads(),
        "archives": service.workers.archive_traffic(),
        "compute": service.account.report(),
        "stubs": sorted(service.account.stubs),
    }
    return json_response(report)


async def quota(service: Service, request: Request) -> Response:
    """Return the limits in force."""
    return json_response(asdict(service.quota.config))


async def set_quota(service: Service, request: Request) -> Response:
    """Change the limits that are given; those that are not stay."""
    service.quota.config = service.quota.config.changed(await _decoded(service, request))
    return await quota(service, request)


async def latency(service: Service, request: Request) -> Response:
    """Return the extra time before responses, as ``--latency`` takes it, or null."""
    return json_response({"latency": None if service.latency is None else str(service.latency)})


async def set_latency(service: Service, request: Request) -> Response:
    """Change the extra time before responses: ``{"latency": "lognormal:0.9,0.5"}``; null for none."""
    settings = await _decoded(service, request)
    text = settings.get("latency") if isinstance(settings, dict) and settings.keys() == {"latency"} else 0
    if not isinstance(text, (str, type(None))):
        raise InvalidError("A latency is an object with the field 'latency': what --latency takes, or null.")
    try:
        service.latency = None if text is None else Latency.parse(text)
    except ValueError as error:
        raise InvalidError(f"Invalid latency: {error}") from error
    return await latency(service, request)


async def store(service: Service, request: Request) -> Response:
    """Return a description of the served assets, which names synthetic ones."""
    return await service.evaluate(request, "store:describe")


async def archives(service: Service, request: Request) -> Response:
    """Return the open archives that are served, with the terms of their datasets and what differs."""
    return await service.evaluate(request, "store:archives")


async def files(service: Service, request: Request) -> Response:
    """Return the files of open archives from which images are read: ``{"ids": […], "bands": […]}``, likewise."""
    check_json(request.headers)
    return await service.evaluate(request, "store:files")


async def activity(service: Service, request: Request) -> Response:
    """Return what the server does now: statistics, the latest requests without their bodies, and the latest tasks."""
    check_own_page(request.headers)
    report = {
        **service.quota.report(),
        "compute": service.account.report(),
        "latest": service.latest.report(),
        "tasks": service.tasks.latest(_MOST_TASKS),
    }
    return json_response(report)


async def assets(service: Service, request: Request) -> Response:
    """Return all assets outside of collections."""
    check_own_page(request.headers)
    return await service.evaluate(request, "store:list")


async def plan_faults(service: Service, request: Request) -> Response:
    """Replace the fault plan."""
    # A plan of a kind of its own, which a benchmark may have put in, is replaced by one of that kind.
    service.faults = type(service.faults).parse(await _decoded(service, request))
    return json_response(service.faults.report())


async def faults(service: Service, request: Request) -> Response:
    """Return the fault plan, and what of it happened."""
    return json_response(service.faults.report())


async def requests(service: Service, request: Request) -> Response:
    """Return the latest requests with their bodies and statuses, the oldest first."""
    return json_response({"requests": service.log.report()})


async def keep_requests(service: Service, request: Request) -> Response:
    """Forget the requests so far, and keep the latest from now on: ``{"keep": 1000}``; 0 for none."""
    settings = await _decoded(service, request)
    keep = settings.get("keep") if isinstance(settings, dict) and settings.keys() == {"keep"} else None
    if not isinstance(keep, int) or isinstance(keep, bool) or keep < 0:
        raise InvalidError("The requests to keep are an object with the field 'keep': their greatest number.")
    service.log.restart(keep)
    return await requests(service, request)


async def _decoded(service: Service, request: Request) -> Any:
    check_json(request.headers)
    return decode(await service.body(request))


ROUTES = (
    ("GET", "/_stats", statistics),
    ("GET", "/_store", store),
    ("GET", "/_archives", archives),
    ("POST", "/_files", files),
    ("GET", "/_activity", activity),
    ("GET", "/_assets", assets),
    ("GET", "/_faults", faults),
    ("POST", "/_faults", plan_faults),
    ("GET", "/_quota", quota),
    ("POST", "/_quota", set_quota),
    ("GET", "/_requests", requests),
    ("POST", "/_requests", keep_requests),
    ("GET", "/_latency", latency),
    ("POST", "/_latency", set_latency),
)
