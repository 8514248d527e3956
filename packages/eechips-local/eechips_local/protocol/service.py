"""Process requests under the quota and the fault plan: names of thumbnails and maps (kept 3 hours), workload tags,
which operations cost compute, evaluation in workers.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from eechips_local.evaluation.evaluation_pool import EvaluationPool, PendingEvaluation
from eechips_local.exports.task_queue import TaskQueue
from eechips_local.protocol import partial_responses
from eechips_local.protocol.fault_injection import alter_response, replace_response
from eechips_local.protocol.fault_plan import FaultPlan
from eechips_local.protocol.field_checks import check_workload_tag
from eechips_local.protocol.http import http_response, json_response, wait_unless_left
from eechips_local.protocol.messages import ServiceResponse, WorkerRequest, check, decode, error_response
from eechips_local.protocol.picture_sizes import is_small
from eechips_local.protocol.request_body import read_body
from eechips_local.protocol.request_errors import EarthEngineError, NotFoundError
from eechips_local.protocol.request_log import LatestRequests, ObservedRequest, RequestLog
from eechips_local.quota.compute_cost import PROFILE_REQUEST_HEADER, PROFILE_RESPONSE_HEADER, profile_id
from eechips_local.quota.compute_quota import ComputeQuota
from eechips_local.quota.latency import Latency
from eechips_local.quota.quota import RESTRICTED, Quota

if TYPE_CHECKING:  # it loads libraries that a server without a key does without
    from eechips_local.protocol.issued_tokens import TokenIssuer

# "Thumbnail names live a few hours."
_LIFE = 3 * 3600.0
# Bytes of all requests that have a name; past it the oldest expire early.
_MOST_KEPT = 256 << 20


class ResultNames:
    """Requests by the names under which their results can be fetched, for a few hours."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = _MOST_KEPT) -> None:
        self._clock = clock
        self._most = most
        self._kept: OrderedDict[str, tuple[float, bytes, str | None]] = OrderedDict()
        self._size = 0

    def create(self, parent: str, kind: str, content: bytes, tag: str | None = None) -> str:
        """Keep a request's body, and its workload tag, under a new name that cannot be guessed."""
        name = f"{parent}/{kind}/{secrets.token_hex(16)}-{secrets.token_hex(16)}"
        packed = zlib.compress(content, 1)
        self._kept[name] = (self._clock() + _LIFE, packed, tag)
        self._size += len(packed) + len(name)
        while self._size > self._most or next(iter(self._kept.values()))[0] < self._clock():
            oldest, (_, forgotten, _) = self._kept.popitem(last=False)
            self._size -= len(forgotten) + len(oldest)
        return name

    def find(self, name: str) -> tuple[bytes, str | None]:
        """Return the body of the request of a name, and its workload tag.

        Raises:
            NotFoundError: if there is none, or its time is over.
        """
        end, packed, tag = self._kept.get(name, (0.0, b"", None))
        if end < self._clock():
            raise NotFoundError("Not found: the name does not exist or has expired.")
        return zlib.decompress(packed), tag


# Checks that run when a name is created, to reject invalid requests at once. Small pictures are checked when fetched.
_CHECKED = {"thumbnails": "thumbnails:check", "maps": "maps:check"}
_UNCHECKED = (None, "AUTO_JPEG_PNG", "PNG", "JPEG")
_FREE = frozenset(
    {
        *_CHECKED.values(),
        "exports:check",
        *(
            f"assets:{method}"
            for method in (
                "get",
                "create",
                "delete",
                "patch",
                "copy",
                "move",
                "listAssets",
                "listImages",
                "listFeatures",
                "getIamPolicy",
                "setIamPolicy",
                "testIamPermissions",
                "search",
            )
        ),
        "image:importExternal",
        "store:describe",
        "store:archives",
        "store:files",
        "store:list",
        "store:catalogue",
    }
)
"""Operations that compute nothing for the client."""
_CHANGING = frozenset(
    {
        *(f"assets:{method}" for method in ("create", "delete", "patch", "copy", "move", "setIamPolicy")),
        "image:importExternal",
    }
)
"""Operations that come to their end when the client leaves."""


Handler = Callable[["Service", Request], Awaitable[Response]]
"""Processes a request of one route."""


@dataclass(slots=True, kw_only=True)
class Service:
    """Everything that handlers share: workers, quota, faults and names.

    Attributes:
        workers: processes that evaluate.
        quota: requests in flight and a second.
        payload: greatest size of a body, in bytes.
        tasks: exports.
        latency: extra time before each response, or None.
        faults: which faults to inject.
        names: requests by their names.
        body_seconds: time for a body to arrive.
        account: account of what requests have computed.
        log: the latest requests with their bodies, for tests.
        latest: the latest requests without them, for the page.
        tokens: issues and checks access tokens; None without a service account: authorization is not looked at.
        instance: tells this server from one that is started anew at its address, whose counts begin at 0.
    """

    workers: EvaluationPool
    quota: Quota
    payload: int
    tasks: TaskQueue
    latency: Latency | None = None
    faults: FaultPlan = field(default_factory=FaultPlan)
    names: ResultNames = field(default_factory=ResultNames)
    body_seconds: float = 60.0
    account: ComputeQuota = field(default_factory=ComputeQuota)
    log: RequestLog = field(default_factory=RequestLog)
    latest: LatestRequests = field(default_factory=LatestRequests)
    tokens: TokenIssuer | None = None
    instance: str = field(default_factory=partial(secrets.token_hex, 8))

    async def body(self, request: Request) -> bytes:
        """Return a request's body.

        Raises:
            InvalidError: if it is too large.
            BodyTimeoutError: if it takes too long to arrive.
            ClientGoneError: if the client leaves before it has arrived.
        """
        content: bytes | None = getattr(request.state, "body", None)
        if content is None:
            content = await read_body(request, self.payload, self.body_seconds)
        if self.log.is_on:
            request.state.content = content
        return content

    async def evaluate(
        self, request: Request, operation: str, content: bytes | None = None, tag: str | None = None
    ) -> Response:
        """Run an operation in a worker, and charge it.

        Args:
            request: whose path and query the operation has, and whose body.
            operation: key of ``evaluation.OPERATIONS``.
            content: instead of the request's body.
            tag: workload tag, if the request has none.

        Raises:
            ComputeSpentError: if the operation may compute, and the compute of the month is used up.
            ClientGoneError: if the client leaves meanwhile. The worker is then free for other requests.
        """
        if operation not in _FREE:
            self.account.check(self.quota.config.eecu_hours)
        if content is None:
            content = await self.body(request)
        work = WorkerRequest(
            operation, content, _resource_name(request), {**request.query_params, **request.path_params}
        )
        pending = PendingEvaluation(work)
        evaluating = asyncio.wrap_future(self.workers.submit(pending))
        if operation not in _CHANGING:
            await wait_unless_left(request, evaluating, pending)
        response = await evaluating
        return await self.respond(request, operation, response, tag)

    async def respond(
        self, request: Request, operation: str, response: ServiceResponse, tag: str | None = None
    ) -> Response:
        """Charge a request for its compute, and return its response after the extra time that its pixels take.

        Args:
            request: request of the client.
            operation: key of ``evaluation.OPERATIONS``.
            response: response of a worker.
            tag: workload tag, if the request has none.
        """
        headers = {}
        _set_tag(request, response.workload_tag or tag)
        if response.cost.seconds and operation not in _FREE:
            self.account.charge(response.workload_tag or tag, response.cost.seconds, response.cost.stubs)
            if PROFILE_REQUEST_HEADER in request.headers:
                headers[PROFILE_RESPONSE_HEADER] = profile_id(response.cost)
        if self.latency is not None:
            length = len(response.content)
            await asyncio.sleep(self.latency.of_size(operation, response.pixels, response.bands, length))
        return http_response(response, headers)

    async def create_name(self, request: Request, kind: str) -> Response:
        """Create a name for a computation, and return the resource.

        Raises:
            InvalidError: if the request is malformed.
        """
        content = await self.body(request)
        resource = dict(check(kind, decode(content)))
        tag = request.query_params.get("workloadTag")
        if tag:
            check_workload_tag(tag)
        checking = _CHECKED.get(kind)
        is_picture = kind == "thumbnails" and resource.get("fileFormat") in _UNCHECKED
        if checking is not None and not (is_picture and is_small(resource)):
            checked = await self.evaluate(request, checking, content)
            if checked.status_code != 200:
                return checked
        tag = resource.get("workloadTag", tag)
        _set_tag(request, tag)
        name = self.names.create(f"projects/{request.path_params['project']}", kind, content, tag)
        # The client requests the name only: skip encoding the rest.
        alone = request.query_params.get("fields") == "name"
        return json_response({"name": name} if alone else {**resource, "name": name})

    async def handle(self, kind: str, handler: Handler, request: Request) -> Response:
        """Process a request under the quota and the fault plan. Errors become Earth Engine's."""
        observed = self.latest.begin(kind, _resource_name(request) if "asset" in request.path_params else "")
        request.state.observed = observed
        try:
            # A slot is for a request that is whole: clients that do not finish theirs would hold all slots.
            request.state.body = await read_body(request, self.payload, self.body_seconds)
            if self.tokens is not None:
                self.tokens.check(_authorization(request))
            self.quota.enter(kind)
        except EarthEngineError as error:
            self.latest.end(observed)
            return self._count(kind, request, http_response(error_response(error)))
        except BaseException:
            self.latest.end(observed)
            raise
        try:
            if self.latency is not None:
                await asyncio.sleep(self.latency.draw(kind))
            fault = self.faults.strike(kind)
            response = None if fault is None else replace_response(fault)
            if response is None:
                try:
                    mask = partial_responses.parse(request.query_params.get("fields") or "*")
                    response = select_fields(await handler(self, request), mask)
                except EarthEngineError as error:
                    response = http_response(error_response(error))
                response = response if fault is None else alter_response(fault, response)
        except BaseException:
            self._leave(observed)
            raise
        return _InFlightResponse(self._count(kind, request, response), partial(self._leave, observed))

    def _leave(self, observed: ObservedRequest) -> None:
        self.quota.leave()
        self.latest.end(observed)

    def _count(self, kind: str, request: Request, response: Response) -> Response:
        """Count and log a response, and mark it in restricted mode."""
        self.log.add(kind, request.url.path, response.status_code, getattr(request.state, "content", b""))
        self.quota.statistics.answers[kind, response.status_code] += 1
        request.state.observed.status = response.status_code
        if self.quota.config.restricted:
            response.headers.update(RESTRICTED)
        return response


def _authorization(request: Request) -> str | None:
    """Return the header with a request's token, or such a one for a token in its address, which RFC 6750 (section 2.3)
    calls ``access_token`` and Earth Engine's discovery document also ``oauth_token``.
    """
    tokens = [request.query_params[name] for name in ("access_token", "oauth_token") if name in request.query_params]
    return request.headers.get("authorization", f"Bearer {tokens[0]}" if tokens else None)


def _set_tag(request: Request, tag: str | None) -> None:
    """Note the workload tag of a request; requests without a quota are not observed."""
    observed: ObservedRequest | None = getattr(request.state, "observed", None)
    if observed is not None:
        observed.tag = tag


def _resource_name(request: Request) -> str:
    """Return the name of the asset in a request's path, or of its project; empty where there is none."""
    project, asset = request.path_params.get("project"), request.path_params.get("asset")
    if project is None:
        return ""
    return f"projects/{project}" if asset is None else f"projects/{project}/assets/{asset}"


class _InFlightResponse(Response):
    """A response whose request is in flight until its last byte is sent."""

    def __init__(self, response: Response, leave: Callable[[], None]) -> None:
        super().__init__()
        self._response, self._leave = response, leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._response(scope, receive, send)
        finally:
            self._leave()


def select_fields(response: Response, mask: partial_responses.Mask) -> Response:
    """Return a response with the selected fields only; errors and other types than JSON as they are."""
    if "*" in mask or response.status_code != 200 or response.media_type != "application/json":
        return response
    return json_response(partial_responses.select(json.loads(bytes(response.body)), mask))
