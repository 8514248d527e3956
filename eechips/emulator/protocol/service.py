"""What all resources share: the workers, the quota, the names that were created, and how errors are told."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.errors import EarthEngineError, InvalidError, NotFoundError
from eechips.emulator.faults import FaultPlan
from eechips.emulator.protocol.disturbance import disturbed
from eechips.emulator.quota import Latency, Quota, TooManyRequestsError
from eechips.emulator.workers import Answer, Job, Workers, error_answer

# "Thumbnail names live a few hours."
_LIFE = 3 * 3600.0
_MOST_NAMES = 200_000


class Names:
    """Requests by the names under which their results can be fetched, for a few hours."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, dict[str, Any]]] = OrderedDict()

    def create(self, parent: str, kind: str, request: dict[str, Any]) -> str:
        """Keeps a request under a new name that cannot be guessed."""
        name = f"{parent}/{kind}/{secrets.token_hex(16)}-{secrets.token_hex(16)}"
        self._kept[name] = (self._clock() + _LIFE, request)
        while len(self._kept) > _MOST_NAMES or next(iter(self._kept.values()))[0] < self._clock():
            self._kept.popitem(last=False)
        return name

    def find(self, name: str) -> dict[str, Any]:
        """The request of a name.

        Raises:
            NotFoundError: if there is none, or its time is over.
        """
        end, request = self._kept.get(name, (0.0, {}))
        if end < self._clock():
            raise NotFoundError("Not found: the name does not exist or has expired.")
        return request


@dataclass(slots=True)
class Service:
    """What the handlers of the resources work with."""

    workers: Workers
    quota: Quota
    payload: int
    latency: Latency | None = None
    faults: FaultPlan = field(default_factory=FaultPlan)
    names: Names = field(default_factory=Names)

    async def body(self, request: Request) -> dict[str, Any]:
        """A request's JSON body.

        Raises:
            InvalidError: if it is too large or no JSON object.
        """
        if int(request.headers.get("content-length") or 0) > self.payload:
            raise self._too_large()
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > self.payload:
                raise self._too_large()
        try:
            found = json.loads(content or b"{}")
        except (ValueError, RecursionError) as error:
            raise InvalidError("Invalid JSON payload received.") from error
        if not isinstance(found, dict):
            raise InvalidError("Invalid JSON payload received: an object is expected.")
        return found

    def _too_large(self) -> InvalidError:
        return InvalidError(f"Request payload size exceeds the limit: {self.payload} bytes.")

    async def run(self, operation: str, request: dict[str, Any]) -> Response:
        """Has a worker answer."""
        answer = await asyncio.wrap_future(self.workers.submit(Job(operation, request)))
        return as_response(answer)

    async def admitted(self, kind: str, handle: Callable[[], Awaitable[Response]]) -> Response:
        """Handles a request under the quota and the fault plan; errors become Earth Engine's."""

        async def answer() -> Response:
            try:
                return await handle()
            except EarthEngineError as error:
                return as_response(error_answer(error))

        try:
            with self.quota.admitted(kind):
                if self.latency is not None:
                    await asyncio.sleep(self.latency.draw())
                fault = self.faults.strike(kind)
                response = await (answer() if fault is None else disturbed(fault, answer))
        except TooManyRequestsError as error:
            response = as_response(error_answer(error))
        self.quota.statistics.statuses[response.status_code] += 1
        return response


def as_response(answer: Answer) -> Response:
    """An answer as an HTTP response."""
    return Response(answer.content, answer.status, media_type=answer.media_type)


def json_response(value: Any) -> Response:
    """A JSON response."""
    return Response(json.dumps(value), media_type="application/json")
