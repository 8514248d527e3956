"""Connect a process to the service of its cubes, by default that of the user's session: once, with one throttle for all
threads.

Other processes of the user share the quota of the project in the folder in which runs share it. Credentials are never
pickled: each process finds its own, as the workers of a run do.

Expressions are JSON already: the client (``ee``) need not be initialised.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from eechips.client.access.connection import Connection, ServiceTarget
from eechips.client.access.endpoint import ENDPOINT_VARIABLE, HIGH_VOLUME_ENDPOINT, check_endpoint
from eechips.client.chip_parameters import file_format
from eechips.client.fetcher import Fetcher
from eechips.client.http.http_messages import HttpRequest
from eechips.client.quota.throttle import Throttle
from eechips.client.template_requests import TemplateRequests
from eechips.cubes.cube_expressions import Expression
from eechips.engine.config import RunConfig
from eechips.engine.service.quota_connection import share_quota
from eechips.engine.service.session import find_target, quota_limits, target_of
from eechips.errors import UsageError, ValidationError
from eechips.formats import npy
from eechips.formats.chip_format import Expectation
from eechips.formats.raster import paste_parts
from eechips.geo.grid import Grid
from eechips.recipe import Chip
from eechips.recipe.results import Template
from eechips.version import __version__
from eechips.web.urls import is_google

if TYPE_CHECKING:
    import ee
    from typing_extensions import Never


@dataclass(frozen=True, slots=True, eq=False)
class ExpressionChip(Chip):
    """A chip whose image is an expression in the form of requests. Its bands are the bands of the image, in order.

    Attributes:
        expression: ``{"result": key, "values": {key: node}}``.
        image: none; the expression replaces it.
    """

    image: ee.Image | Template = field(default_factory=lambda: Template(_no_client))
    expression: Mapping[str, Any] = field(default_factory=dict)


class ExpressionRequests(TemplateRequests):
    """Requests for expressions. Threads may share it."""

    def __init__(self, endpoint: str, project: str, workload_tag: str) -> None:
        super().__init__(_no_client)
        self._base, self._project, self._tag = f"{endpoint}/v1/projects/{project}", project, workload_tag

    def fill(self, chip: Chip) -> HttpRequest:
        """Return the request for an :class:`ExpressionChip` with a grid: ``image:computePixels``."""
        assert isinstance(chip, ExpressionChip)
        assert chip.grid is not None
        body = {"fileFormat": file_format(chip), "grid": chip.grid.to_pixel_grid()}
        return self._request("image:computePixels", chip.expression, body)

    def compute(self, expression: Mapping[str, Any]) -> HttpRequest:
        """Return the request for a value: ``value:compute``."""
        return self._request("value:compute", expression, {})

    def _request(self, method: str, expression: Mapping[str, Any], body: Mapping[str, Any]) -> HttpRequest:
        headers = {
            "content-type": "application/json",
            "user-agent": f"eechips/{__version__}",
            "X-Goog-User-Project": self._project,
        }
        text = json.dumps({"expression": expression, **body, "workloadTag": self._tag})
        return HttpRequest("POST", f"{self._base}/{method}", text, headers)


def _no_client(*_: object) -> Never:
    raise AssertionError("requests for expressions are made without the client")


_TAG = "eechips-cube"
_TOTAL = 600.0
"""Seconds after which a request is not repeated; :class:`eechips.client.retry.RetryPolicy`."""


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Whose pixels are read, and with what quota. Picklable, and without credentials.

    Attributes:
        endpoint: base URL.
        project: whose quota is used; None for that of the credentials.
        credentials: file of credentials, at a path that is valid for all processes.
        credentials_function: returns google.auth credentials; called once in each process.
        in_flight: requests in flight at most.
        quota_folder: in which processes share the quota; None for that of the user's runs.
    """

    endpoint: str
    project: str | None = None
    credentials: Path | None = None
    credentials_function: Callable[[], Any] | None = None
    in_flight: int | Literal["auto"] = "auto"
    quota_folder: str | Path | None = None


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How often a request of a cube is repeated.

    Attributes:
        retries: repeats at most.
        delay: longest wait before the first, in seconds.
    """

    retries: int = 10
    delay: float = 1.0


class PixelService:
    """A connection whose threads share a throttle.

    Args:
        credentials: credentials of the user's session in this process; None to find them.
    """

    def __init__(self, address: ServiceAddress, credentials: Any = None) -> None:
        self._stack = ExitStack()
        config = RunConfig(
            out=Path(),
            executor="threads",
            endpoint=address.endpoint,
            project=address.project,
            credentials=address.credentials,
            in_flight=address.in_flight,
            quota_folder=address.quota_folder,
        )
        target = _find_target(config, address, credentials)
        throttle = Throttle(None, quota_limits(config, target), clients=1)
        self._stack.enter_context(share_quota(config, target, throttle, "eechips cube"))
        self._transport = target.transport(throttle.client(0), config.policy, config.timeouts)
        self._stack.callback(self._transport.close)
        self._requests = ExpressionRequests(target.endpoint, target.project, _TAG)
        self._fetcher = Fetcher(Connection(target, self._transport), "pixels", requests=self._requests)

    def compute(self, expression: Expression, retries: RetryLimits) -> Any:
        """Return the value of an expression.

        Raises:
            RequestError: classified.
            ConfigurationError: if the service refuses the project or the credentials.
        """
        with self._transport.limited_retries(retries.retries, _TOTAL, retries.delay):
            return self._transport.post(self._requests.compute(expression), _value)

    def read(
        self, expression: Expression, grid: Grid, names: tuple[str, ...], retries: RetryLimits
    ) -> npt.NDArray[np.float32]:
        """Return the pixels of an image whose bands are floats.

        A request that is too large for the service is divided.

        Returns:
            (band, row, column).

        Raises:
            RequestError: classified.
            ConfigurationError: as :meth:`compute`.
        """
        # Fields of a response are the bands of a chip; `dtype` is checked for each.
        wanted = ExpressionChip(grid=grid, format="npy", bands=names, dtype="float32", expression=expression)
        with self._transport.limited_retries(retries.retries, _TOTAL, retries.delay):
            return self._fetcher.chip(wanted, _decode, paste_parts)

    def close(self) -> None:
        """Close the connections, and return the share of the quota."""
        self._stack.close()


class _Services:
    """The services of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[ServiceAddress, PixelService] = {}
        atexit.register(self.close)

    def find(self, address: ServiceAddress, credentials: Any) -> PixelService:
        with self._lock:
            if address not in self._open:
                self._open[address] = PixelService(address, credentials)
            return self._open[address]

    def close(self) -> None:
        with self._lock:
            opened, self._open = list(self._open.values()), {}
        for service in opened:
            service.close()


@functools.cache
def _services(process: int) -> _Services:
    """Return the services of a process: a forked one has none of its parent's connections."""
    return _Services()


def find_service(address: ServiceAddress, credentials: Any = None) -> PixelService:
    """Return the service of this process, connected when it is first used.

    Args:
        credentials: credentials of the user's session in this process; None to find them.

    Raises:
        ConfigurationError: if there are no credentials, or no project.
    """
    return _services(os.getpid()).find(address, credentials)


def close_services() -> None:
    """Close the connections of this process and return its share of the quota. They open again when pixels are read."""
    _services(os.getpid()).close()


def find_address(
    *,
    endpoint: str | None,
    project: str | None,
    credentials: str | Path | None,
    in_flight: int | Literal["auto"],
    quota_folder: str | Path | None,
    ee_init_kwargs: Mapping[str, Any] | None,
) -> tuple[ServiceAddress, Any]:
    """Return the service that arguments name, else that of the user's session (``ee.Initialize``), else the default.

    Args:
        ee_init_kwargs: arguments of ``ee.Initialize``: url, opt_url, project, credentials; and credentials_function.

    Returns:
        The address, and the credentials of the session; None to find them.

    Raises:
        UsageError: if ``ee_init_kwargs`` has others, or contradicts itself.
    """
    arguments = dict(ee_init_kwargs or {})
    function, own = arguments.pop("credentials_function", None), arguments.pop("credentials", None)
    if own == "persistent":
        own = None
    url, old_url, named = arguments.pop("url", None), arguments.pop("opt_url", None), arguments.pop("project", None)
    if arguments:
        raise UsageError(f"ee_init_kwargs has `{next(iter(arguments))}`, which eechips cannot pass on: leave it out")
    if function is not None and own is not None:
        raise UsageError("ee_init_kwargs has `credentials` and `credentials_function`: give one of them")
    session = _session()
    base = endpoint or url or old_url or (session.cloud_api_base_url if session is not None else None)
    place = check_endpoint(base or os.environ.get(ENDPOINT_VARIABLE) or HIGH_VOLUME_ENDPOINT)
    is_of_session = session is not None and session.cloud_api_base_url == place
    project = project or named or (session.cloud_api_user_project if session is not None and is_of_session else None)
    if own is None and credentials is None and session is not None and is_of_session:
        own = session.credentials
    file = None if credentials is None else Path(credentials).absolute()
    address = ServiceAddress(place, project, file, function, in_flight, quota_folder)
    return address, own if is_google(place) else None


def _session() -> Any:
    """Return the state of the client, if it is initialised in this process; else None."""
    state = getattr(sys.modules.get("ee._state"), "_state", None)
    return state if state is not None and state.initialized else None


def _find_target(config: RunConfig, address: ServiceAddress, credentials: Any) -> ServiceTarget:
    """Return the service with its credentials. Google's hosts alone receive those of a session or a function."""
    if credentials is None and address.credentials_function is not None and is_google(config.service):
        credentials = address.credentials_function()
    if credentials is None:
        return find_target(config, config.service)
    return target_of(config, config.service, credentials)


def _value(body: bytes) -> Any:
    try:
        return json.loads(body)["result"]
    except (ValueError, KeyError, TypeError):
        raise ValidationError("no value came back") from None


def _decode(chip: Any, body: bytes) -> npt.NDArray[np.float32]:
    """Return the fields of a response as (band, row, column).

    Raises:
        ValidationError: if the size, the number of bands or their type is not as requested.
    """
    array = npy.load(body)
    width, height = chip.size
    expectation = Expectation(width=width, height=height, bands=chip.bands, dtype=chip.dtype)
    fields = array.dtype.names
    if fields is None or array.ndim != 2:
        raise ValidationError("the response has no bands")
    expectation.check_size(array.shape[1], array.shape[0])
    expectation.check_bands(len(fields))
    for name in fields:
        expectation.check_dtype(array.dtype[name].name)
    values = np.ascontiguousarray(array).view(np.float32).reshape(height, width, len(fields))
    return np.ascontiguousarray(values.transpose(2, 0, 1))
