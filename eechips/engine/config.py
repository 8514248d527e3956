"""Configure a run: everything that does not change its results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eechips.client.chip_parameters import Method
from eechips.client.credentials import HIGH_VOLUME_ENDPOINT, check_endpoint
from eechips.client.retry import RetryPolicy
from eechips.client.transport import Timeouts
from eechips.engine.costs import Forecast
from eechips.engine.executors.executor import EXECUTORS, find_executor
from eechips.errors import UsageError

OnEmpty = Literal["keep", "skip", "redraw"]
ON_EMPTY: tuple[OnEmpty, ...] = ("keep", "skip", "redraw")

SERVICE_RATE = 100.0
"""Requests a second that a project may send: 6,000 a minute
(https://developers.google.com/earth-engine/guides/usage, read 2025-11)."""
_MOST_IN_FLIGHT = 1000
"""Slots that ``auto`` can grow to."""
_LOCAL_IN_FLIGHT = 40
"""Slots of the local Earth Engine, which has the cores of this machine and no more."""
_OFFLINE = 7 * 86400.0
"""Seconds to wait for a network that is away: whoever knows better can stop the run, and nothing is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Where the results of a run go, which service it uses, and how it retries.

    Attributes:
        out: output folder; made if need be.
        results: address of an object store for the results, such as ``s3://bucket/folder``, or another folder; then
            ``out`` has the ledger and the log only. None for ``out``.
        endpoint: base URL of the service; None for Earth Engine's high-volume endpoint.
        local: start a local Earth Engine for this run and ask that.
        local_assets: with ``local``: the folder of assets, or catalogue, that it serves; None for the demo planet.
        local_remote: with ``local_assets``: whether files that it refers to on web servers are read; those of a
            catalogue in object stores, too.
        project: Google Cloud project whose quota is used.
        credentials: key file of a service account; None for the user's stored credentials.
        send_credentials: send credentials to ``endpoint`` although it is not https at a host of Google's.
        executor: how units are processed: by ``processes`` of this machine, ``threads`` of this process, or the workers
            of a ``dask`` cluster or of a ``beam`` pipeline; or an executor that another package adds.
        scheduler: address of a Dask scheduler; None to start a cluster on this machine.
        pipeline_options: of Beam, as on a command line, such as ``--runner=DataflowRunner``; none for processes of this
            machine.
        processes: worker processes; of a Dask cluster, workers.
        retries: repeats of one request after transient failures.
        retry_delay: seconds before the first of them, at most; each further one waits twice as long.
        method: how pixels are asked for: by URL (two requests a chip) or by computePixels (one); ``auto`` is the
            latter.
        rate: requests a second; None for no limit; ``auto`` for the service's own limit, none with ``local``.
        in_flight: requests in flight at most; what the service rejects lowers the limit, and it grows again.
            ``auto`` finds the quota by itself, whatever its size, and remembers it for the project's next run.
        connect_timeout: seconds to reach the server.
        read_timeout: seconds between two pieces of an answer.
        unit_timeout: seconds that one unit may take, repeats included; then its worker is replaced.
        max_requests: requests that the run may send, planning included; then it stops, and can be resumed.
        max_bytes: bytes of answers after which nothing more is asked.
        max_minutes: minutes after which nothing more is begun.
        on_empty: what becomes of a result that has masked pixels only. ``keep``: it is a file like any other.
            ``skip``: there is no file. ``redraw``: nor is there, and the recipe draws another unit in its place, up to
            10 times. JPEG has no mask: nobody can tell.
        estimate_first: units that are fetched first, those of earlier commands included; then the rest is foreseen,
            and it goes on only if ``confirm`` says so.
        confirm: receives what is foreseen and says whether to go on; None to stop there.
        name: template of the results' names, such as ``{eco_name}/{id}``; None for the recipe's own.
        quiet: no progress.
        verbose: a line for every failed unit.
        command: the command as typed, for run.json.
        dry_run: for the command line: estimate only.

    Raises:
        UsageError: if a value is out of range, or options contradict each other.
    """

    out: Path
    results: str | None = None
    endpoint: str | None = None
    local: bool = False
    local_assets: Path | None = None
    local_remote: bool = False
    project: str | None = None
    credentials: Path | None = None
    send_credentials: bool = False
    executor: str = "processes"
    scheduler: str | None = None
    pipeline_options: tuple[str, ...] = ()
    processes: int = 25
    retries: int = 10
    retry_delay: float = 1.0
    method: Literal["auto", "url", "pixels"] = "auto"
    rate: float | Literal["auto"] | None = "auto"
    in_flight: int | Literal["auto"] = "auto"
    connect_timeout: float = 10.0
    read_timeout: float = 330.0
    unit_timeout: float = 1800.0
    max_requests: int | None = None
    max_bytes: int | None = None
    max_minutes: float | None = None
    on_empty: OnEmpty = "keep"
    estimate_first: int | None = None
    confirm: Callable[[Forecast], bool] | None = None
    name: str | None = None
    quiet: bool = False
    verbose: bool = False
    command: str = ""
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.local and self.endpoint is not None:
            raise UsageError("local starts a server of its own and excludes endpoint")
        if self.local_assets is not None and not self.local:
            raise UsageError("local_assets needs local")
        if self.local_remote and self.local_assets is None:
            raise UsageError("local_remote needs local_assets: the demo planet has no files")
        if self.local_assets is not None and not self.local_assets.is_dir():
            raise UsageError(f"there is no folder of assets {self.local_assets}")
        if self.method not in ("auto", "url", "pixels"):
            raise UsageError(f"unknown method '{self.method}': auto, url or pixels")
        if self.executor not in EXECUTORS:
            names = EXECUTORS.names
            raise UsageError(f"executor must be {', '.join(names[:-1])} or {names[-1]}, not {self.executor!r}")
        if self.scheduler is not None and self.executor != "dask":
            raise UsageError("scheduler is the address of a Dask scheduler and needs executor='dask'")
        self._check_pipeline()
        if self.on_empty not in ON_EMPTY:
            raise UsageError(f"on_empty must be {', '.join(ON_EMPTY[:-1])} or {ON_EMPTY[-1]}, not {self.on_empty!r}")
        if self.estimate_first is not None and self.estimate_first < 1:
            raise UsageError("estimate_first must be at least 1")
        least = {"processes": 1, "in_flight": 1, "retries": 0, "max_requests": 1, "max_bytes": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            if value not in (None, "auto") and value < bound:
                raise UsageError(f"{name} must be at least {bound}")
        if isinstance(self.rate, (int, float)) and self.rate <= 0:
            raise UsageError(f"rate must be above 0, not {self.rate:g}")
        for name in ("connect_timeout", "read_timeout", "unit_timeout", "retry_delay", "max_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be above 0")
        if self.endpoint is not None:
            check_endpoint(self.endpoint)

    def _check_pipeline(self) -> None:
        if self.pipeline_options and self.executor != "beam":
            raise UsageError(f"unexpected argument {self.pipeline_options[0]!r}; options of Beam need executor='beam'")
        if self.pipeline_options and not self.pipeline_options[0].startswith("--"):
            raise UsageError(f"options of Beam look like --runner=DirectRunner, not {self.pipeline_options[0]!r}")

    @property
    def service(self) -> str:
        """The base URL of the service; with ``local`` the server has another."""
        return check_endpoint(self.endpoint or HIGH_VOLUME_ENDPOINT)

    @property
    def source(self) -> str:
        """The source of the data. Results of different sources never share a folder."""
        if not self.local:
            return self.service
        return f"local:{self.local_assets.resolve()}" if self.local_assets else "local:demo"

    @property
    def requests_per_second(self) -> float | None:
        """``rate`` as a number, or None for no limit."""
        if self.rate == "auto":
            return None if self.local else SERVICE_RATE
        return None if self.rate is None or math.isinf(self.rate) else self.rate

    @property
    def pixel_method(self) -> Method:
        """The pixel method: one request per chip, unless ``method`` is ``url``."""
        return "url" if self.method == "url" else "pixels"

    @property
    def most_in_flight(self) -> int:
        """Maximum number of requests in flight."""
        if self.in_flight == "auto":
            return _LOCAL_IN_FLIGHT if self.local else _MOST_IN_FLIGHT
        return self.in_flight

    @property
    def policy(self) -> RetryPolicy:
        """The retry policy of a request; the time of a unit bounds the total."""
        total = min(RetryPolicy().total, self.unit_timeout)
        longest = RetryPolicy().longest_wait
        if find_executor(self.executor).is_remote:  # a worker there that waits cannot be told from one that hangs
            longest = min(longest, self.unit_timeout / 2)
        return RetryPolicy(
            retries=self.retries, delay=self.retry_delay, total=total, offline=_OFFLINE, longest_wait=longest
        )

    @property
    def timeouts(self) -> Timeouts:
        """Time limits of a request."""
        total = max(Timeouts().total, self.read_timeout)
        return Timeouts(connect=self.connect_timeout, read=self.read_timeout, total=total)
