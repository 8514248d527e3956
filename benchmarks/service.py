"""A light server: the local Earth Engine's own protocol, quota, latency and faults, with ready pictures behind them.

    python benchmarks/service.py --port 8700 --concurrency 40 --latency 0.9

Where clients are measured, rendering must not be the bottleneck. Everything that goes over the wire is answered by the
application of ``eechips serve``; only the processes that evaluate are replaced, by pictures of the size, format, bands
and grid that a request names (see pictures.py). Options are those of ``python -m eechips_local.run_server`` that
concern the quota; ``/_stats``, ``/_faults``, ``/_quota``, ``/_latency`` are the same. Beyond them, ``GET /_units`` says
what was asked for each unit, a unit being the point whose coordinates come first in a request: time, kind, and what
became of it (the fault that struck, or the status).
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from collections import defaultdict
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pictures import MASK, Asked, picture
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eechips_local.exports.export_process import ExportStarter
from eechips_local.exports.task_queue import TaskQueue
from eechips_local.protocol.app import create_app
from eechips_local.protocol.fault_plan import Fault, FaultPlan
from eechips_local.protocol.messages import ServiceResponse
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.protocol.service import Service
from eechips_local.quota.compute_cost import GET_PROFILES, ComputeCost, profile_text
from eechips_local.quota.compute_quota import ComputeQuota
from eechips_local.quota.quota import Quota
from eechips_local.server import ServerConfig, listening, run, wait_for_parent
from eechips_local.server_options import OPTIONS, OptionError, configured

MISSING = "bench/missing"
"""An asset that is not there: whoever asks for it meets with a permanent failure."""

_OPTIONS = ("concurrency", "rate", "minute", "latency", "payload")
_MEDIA = {"PNG": "image/png", "AUTO_JPEG_PNG": "image/png", "NPY": "application/octet-stream", "GEO_TIFF": "image/tiff"}
_NAME = re.compile(rb'"name":\s*"([^"]+)"')
_POINT = re.compile(rb"\[\s*(-?\d+\.\d+(?:e-?\d+)?),\s*(-?\d+\.\d+(?:e-?\d+)?)\s*\]")
_FORMAT = re.compile(rb'"fileFormat":\s*"(\w+)"')
_SIZES = [re.compile(rb'"%s":\s*(?:\{"constantValue":\s*)?(\d+)' % name) for name in (b"width", b"height")]
_RECTANGLE = re.compile(rb'"constantValue":\s*\[0,\s*0,\s*(\d+),\s*(\d+)\]')
_BANDS = re.compile(rb'"bandSelectors":\s*\{"constantValue":\s*(\[[^\]]*\])')
_CRS = re.compile(rb'"crs(?:Code|":\s*\{"constantValue)":\s*"([^"]+)"')
_TRANSFORM = re.compile(rb'"crsTransform":\s*\{"constantValue":\s*(\[[^\]]*\])')
_AFFINE = re.compile(rb'"affineTransform":\s*(\{[^}]*\})')
_CELLS = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")


def unit_of(body: bytes) -> str:
    """The unit that a request is for: its first pair of coordinates; empty if it has none."""
    found = _POINT.search(body)
    return f"{float(found.group(1))!r},{float(found.group(2))!r}" if found else ""


def asked(body: bytes) -> Asked:
    """What the body of a request for pixels asks for, found without reading all of it."""
    given: dict[str, Any] = {"unit": unit_of(body)}
    if named := _FORMAT.search(body):
        given["format"] = named.group(1).decode()
    sizes = [size.search(body) for size in _SIZES]
    rectangle = _RECTANGLE.search(body)
    if all(sizes):
        given["width"], given["height"] = (int(size.group(1)) for size in sizes if size)
    elif rectangle:
        given["width"], given["height"] = (int(n) for n in rectangle.groups())
    if bands := _BANDS.search(body):
        given["bands"] = tuple(json.loads(bands.group(1)))
    if MASK.encode() in body:
        given["bands"] = (*given.get("bands", Asked.bands), MASK)
    if crs := _CRS.search(body):
        given["crs"] = crs.group(1).decode()
    if affine := _AFFINE.search(body):
        cells = json.loads(affine.group(1))
        given["transform"] = tuple(cells.get(name, 0.0) for name in _CELLS)
    elif transform := _TRANSFORM.search(body):
        given["transform"] = tuple(json.loads(transform.group(1)))
    return Asked(**given)


class NoWorkers:
    """The worker processes of a server that has none."""

    def reads(self) -> dict[str, int]:
        """Return no reads of catalogues."""
        return {}

    def archive_traffic(self) -> dict[str, int]:
        """Return no traffic of open archives."""
        return {"requests": 0, "bytes": 0, "used": 0}


class ReadyService(Service):
    """Has a picture ready where a worker would evaluate."""

    async def evaluate(
        self, request: Request, operation: str, content: bytes | None = None, tag: str | None = None
    ) -> Response:
        """Answer at once."""
        if content is None:
            content = await self.body(request)
        return await self.respond(request, operation, _answer(operation, content), tag)


def _answer(operation: str, content: bytes) -> ServiceResponse:
    if operation == "thumbnails:check":
        return ServiceResponse(b"{}")
    if operation in ("thumbnails:getPixels", "image:computePixels"):
        if MISSING.encode() in content:
            raise InvalidError(f"Image.load: Image asset '{MISSING}' not found.")
        request = asked(content)
        if request.format not in _MEDIA:
            raise InvalidError(f"The light server has no {request.format}.")
        size = request.width * request.height
        bands = len(request.bands)
        cost = ComputeCost(calls=1, pixels=size * bands)
        return ServiceResponse(picture(request), _MEDIA[request.format], pixels=size, bands=bands, cost=cost)
    if operation == "value:compute":
        expression = json.loads(content)["expression"]
        node = expression["values"][expression["result"]]
        if "constantValue" in node:
            return ServiceResponse(json.dumps({"result": node["constantValue"]}).encode())
        if GET_PROFILES.encode() in content:
            calls = [each["functionInvocationValue"]["arguments"] for each in node["arrayValue"]["values"]]
            texts = [profile_text(call["ids"]["constantValue"], 1) for call in calls]
            return ServiceResponse(json.dumps({"result": texts}).encode())
    raise InvalidError(f"The light server does not evaluate: {operation}.")


_struck: ContextVar[list[str]] = ContextVar("struck")
"""Where the fault that meets a request is written down."""


class NotedFaults(FaultPlan):
    """A fault plan that tells which request met a fault."""

    def strike(self, kind: str) -> Fault | None:
        """The fault that a request meets, or None."""
        fault = super().strike(kind)
        if fault is not None:
            _struck.get().append(fault.type)
        return fault


@dataclass
class Witness:
    """Notes what is asked for each unit, and what comes of it.

    Attributes:
        app: what answers.
        units: by unit, the requests in order: [seconds on the clock of ``/_stats``, kind, outcome]. The outcome is
            None as long as there is none.
        in_flight: requests for chips that were received and not yet answered, those that the quota rejects included.
        most: greatest number of these at once.
    """

    app: ASGIApp
    units: dict[str, list[list[Any]]] = field(default_factory=lambda: defaultdict(list))
    names: dict[str, str] = field(default_factory=dict)
    in_flight: int = 0
    most: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        _struck.set([])
        if path == "/_units":
            await _send_json(send, self.units)
        elif path == "/_most":
            await _send_json(send, self.most)
        elif path.endswith(("/thumbnails", "/image:computePixels")):
            body = await _body(receive)
            if body is None:
                return
            kind = "thumbnails:create" if path.endswith("/thumbnails") else "image:computePixels"
            await self._noted(unit_of(body), kind, scope, _again(body, receive), send)
        elif path.endswith(":getPixels"):
            name = path[: -len(":getPixels")].partition("/")[2].partition("/")[2]
            await self._noted(self.names.get(name, ""), "thumbnails:getPixels", scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _noted(self, unit: str, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        note: list[Any] = [time.monotonic(), kind, None]
        self.units[unit].append(note)
        status: int | None = None
        answer = b""

        async def noting(message: Message) -> None:
            nonlocal status, answer
            if message["type"] == "http.response.start":
                status = message["status"]
            elif kind == "thumbnails:create" and status == 200:
                answer += message.get("body", b"")
                if not message.get("more_body"):
                    self._learn(unit, answer)
            await send(message)

        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await self.app(scope, receive, noting)
        finally:
            self.in_flight -= 1
        faults = _struck.get()
        note[2] = faults[0] if faults else status

    def _learn(self, unit: str, body: bytes) -> None:
        """Remembers the name that a unit's request was given; a disturbed answer may have none."""
        found = _NAME.search(gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body)
        if found:
            self.names[found.group(1).decode()] = unit


async def _body(receive: Receive) -> bytes | None:
    """The body of a request; None if its client was gone before all of it was there."""
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Receives a body that has been received already, and then what follows."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


async def _send_json(send: Send, value: Any) -> None:
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0 for any that is free")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when standard input ends")
    options = [option for option in OPTIONS if option.name in _OPTIONS]
    for option in options:
        parser.add_argument(f"--{option.name}", metavar=option.metavar, help=option.help)
    given = vars(parser.parse_args())
    try:
        config = configured(ServerConfig(), {option.name: given[option.name] for option in options})
    except OptionError as error:
        parser.error(str(error))
    # Nothing reaches a worker: there are none. Without folders, every export is rejected.
    account = ComputeQuota()
    service = ReadyService(
        workers=NoWorkers(),
        quota=Quota(config.quota),
        payload=config.limits.payload,
        tasks=TaskQueue(config.exports, ExportStarter(config.store, config.limits), account.charge),
        latency=config.latency,
        faults=NotedFaults(),
        account=account,
    )
    with listening(given["port"]) as listener:
        run(Witness(create_app(service)), listener, wait_for_end=wait_for_parent if given["exit_with_parent"] else None)


if __name__ == "__main__":
    main()
