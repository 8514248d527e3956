"""Configure a run: everything that does not change its results."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eechips.client.credentials import ENDPOINT_VARIABLE, HIGH_VOLUME_ENDPOINT, check_endpoint
from eechips.client.http_messages import Timeouts
from eechips.client.retry import RetryPolicy
from eechips.engine.config_checks import METHODS, ON_EMPTY, check_config
from eechips.engine.executors import EXECUTORS, ExecutorChoice, find_executor
from eechips.engine.run_budget import RunBudget
from eechips.errors import UsageError
from eechips.option_fields import data_field, documented, option, option_field
from eechips.storage import local_path
from eechips.web.urls import display_url, is_http, strip_signature

if TYPE_CHECKING:
    from eechips.client.chip_parameters import Method
    from eechips.engine.executors.executor import Executor

OnEmpty = Literal["keep", "skip", "redraw"]

DEMO = "demo"
"""``local`` without a folder: the demo planet."""

QUOTA_VARIABLE = "EECHIPS_QUOTA_FOLDER"
"""Variable that names the folder, or the URL of an object store, in which runs share a quota."""

RESULTS, SERVICE, RUN, WORKERS, LIMITS = "Results", "Earth Engine", "Run", "Workers", "Limits and retries"
"""Headings of the options in the help."""

SERVICE_RATE = 100.0
"""Requests a second that a project may send: 6,000 a minute
(https://developers.google.com/earth-engine/guides/usage, read 2025-11)."""
_MOST_IN_FLIGHT = 1000
"""Slots that ``auto`` can grow to."""
_LOCAL_IN_FLIGHT = 40
"""Slots of the local Earth Engine, which has the cores of this machine and no more."""
_OFFLINE = 7 * 86400.0
"""Seconds to wait for a network that is down. The user can stop the run, and resume it later."""
_ARCHIVE_NAME = re.compile(r"[a-z0-9-]+")


def is_archive_name(text: str) -> bool:
    """Return whether a text can only be the name of a known archive: it is no address, and names no file."""
    return _ARCHIVE_NAME.fullmatch(text) is not None


def archive_text(archive: str | Path) -> str:
    """Return an archive as runs record it: a name, an address, or an absolute path.

    Raises:
        UsageError: if it is empty, or an address contains a user, a password or a signature.
    """
    text = str(archive)
    if is_http(text):
        if text != strip_signature(text):
            raise UsageError(
                f"the address of the archive {display_url(text)} must have neither a user nor a query, which run.json"
                " would show"
            )
        return text
    return text if is_archive_name(text) else str(local_path(archive).resolve())


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerOptions:
    """Options of a run whose ``out`` is an object store: the folder of its ledger becomes that of the run."""

    ledger: Path | None = option_field(
        None,
        "With an object store: local folder of the ledger and the log.",
        RESULTS,
        metavar="DIR",
        kind="folder",
        default="outputs/<url>",
        is_advanced=True,
        decides="path",
    )


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Options of every run: where results go, which service is asked, how requests are limited and repeated.

    Raises:
        UsageError: see :func:`eechips.engine.config_checks.check_config`.
    """

    out: Path = field(
        metadata=option(
            "Folder of the results, or URL of an object store: s3://bucket/folder. It is created if needed.",
            RESULTS,
            metavar="DIR|URL",
            default="outputs/<command>-<dataset>",
            decides="path",
        )
    )
    results: str | None = None
    name: str | None = data_field(
        None,
        "Template of the results' names, as in '{eco_name}/{id}'. Fields are those of the units: columns of a file,"
        " {index}, {id}. {id} is the file's column if there is one of that name.",
        RESULTS,
        metavar="TEMPLATE",
    )
    on_empty: OnEmpty = data_field(
        "keep",
        "What to do with results without a single valid pixel, and with places with fewer suitable images than"
        " frames. keep: write the file; missing frames are masked. skip: write no file. redraw: write no file,"
        " and take another random point of the same ecoregion or class instead, up to 10 times. Not for jpg,"
        " which has no mask.",
        RESULTS,
        choices=ON_EMPTY,
    )
    local: bool | str | Path = option_field(
        False,
        "Start a local Earth Engine for this run, with the demo planet or, as `--local=DIR`, assets of your own;"
        " needs no account. DIR is a folder of assets, or a catalogue.",
        SERVICE,
        metavar="[DIR]",
        kind="assets",
        bare_value=DEMO,
        decides="network",
    )
    archive: str | Path | Sequence[str | Path] = option_field(
        (),
        "Start a local Earth Engine for this run that reads the public Cloud Optimized GeoTIFFs of an open archive;"
        " needs no account. earth-search, planetary-computer, landsatlook, lpcloud or aef; the URL of a STAC API;"
        " or a file: a static catalogue, STAC GeoParquet, or a TOML description. May be repeated.",
        SERVICE,
        metavar="NAME|URL|FILE",
        is_multiple=True,
        decides="network",
    )
    project: str | None = option_field(
        None,
        "Google Cloud project whose Earth Engine quota is used.",
        SERVICE,
        metavar="ID",
        default="that of the credentials",
        variable="EECHIPS_PROJECT",
        decides="credentials",
    )
    credentials: Path | None = option_field(
        None,
        "File of credentials: the key of a service account, or any that GOOGLE_APPLICATION_CREDENTIALS may name.",
        SERVICE,
        metavar="FILE",
        kind="file",
        default="those of earthengine authenticate, else application-default ones",
        is_advanced=True,
        decides="credentials",
    )
    endpoint: str | None = option_field(
        None,
        "Base URL of the service.",
        SERVICE,
        metavar="URL",
        default="Earth Engine's high-volume endpoint",
        variable=ENDPOINT_VARIABLE,
        is_advanced=True,
        decides="network",
    )
    send_credentials: bool = option_field(
        False,
        "Send credentials to `endpoint` even if it is not https at a host of Google.",
        SERVICE,
        is_advanced=True,
        decides="credentials",
    )
    method: Literal["auto", "url", "pixels"] = data_field(
        "auto",
        "How pixels are requested: url (two requests a chip) or pixels (one, computePixels). auto is pixels, but"
        " getPixels for chips of a stored image, and one request for neighbouring chips of the same images, where"
        " the files are the same.",
        SERVICE,
        choices=METHODS,
        is_advanced=True,
    )
    share_requests: bool = True  # the files are the same either way: for comparisons
    workload_tag: str | None = option_field(
        None,
        "Label of the run's requests, under which Google Cloud lists their compute: 1 to 63 lower-case letters,"
        " digits, - and _.",
        SERVICE,
        default="EECHIPS_WORKLOAD_TAG, else eechips-<command>-<hash of the parameters>",
        is_listed=False,
        decides="run",
    )
    profile_every: int = 20  # units of which one is profiled; 0 for none
    fetch_seed: int | None = None  # of the order in which units are fetched; None for the order of the plan
    max_disk: int | None = None  # bytes of the files that are kept for the readers of a stream; None for all
    accept_changed_code: bool = option_field(
        False,
        "Continue a run whose recipe or script has changed: units that are left are fetched with the changed code."
        " run.json records the change.",
        RUN,
        is_advanced=True,
        decides="code",
    )
    extend: bool = option_field(
        False,
        "Extend a finished run by what its options now add: later dates, further places or datasets. Existing files are"
        " kept; run.json records what was added.",
        RUN,
        decides="run",
    )
    dry_run: bool = option_field(False, "Plan and estimate only: request no pixels.", RUN, decides="run")
    estimate: int | None = option_field(
        None,
        "Fetch N results first, estimate the rest, and ask whether to continue.",
        RUN,
        metavar="N",
        least=1,
        decides="run",
    )
    confirm: Callable[[Any], bool] | None = option_field(
        None,
        "With `estimate`: function that receives the forecast and returns whether to continue; None to stop.",
        RUN,
        is_listed=False,
        decides="code",
    )
    confirm_start: Callable[[Any], bool] | None = option_field(
        None,
        "Function that receives the estimate of a new run and returns whether to begin; None to begin.",
        RUN,
        is_listed=False,
        decides="code",
    )
    quiet: bool = option_field(False, "Show errors only, no progress.", RUN, flags=("-q",), decides="run")
    verbose: bool = False  # log every request, show failures
    executor: str = option_field(
        "processes",
        "What carries out the work: processes of this machine, threads of this process, a Dask cluster, or a Beam"
        " pipeline, whose own options follow after --. processes:4, dask:4 and beam:4 have at most 4 workers, not"
        " 25. dask:ADDRESS is the cluster of a Dask scheduler; dask starts one on this machine.",
        WORKERS,
        metavar="|".join((*EXECUTORS.names, "NAME:N", "dask:ADDRESS")),
        is_advanced=True,
        decides="code",
    )
    pipeline_options: tuple[str, ...] = option_field(
        (),
        "Options of Beam, such as --runner=DataflowRunner.",
        WORKERS,
        default="processes of this machine",
        is_listed=False,
        decides="code",
    )
    in_flight: int | Literal["auto"] = option_field(
        "auto",
        "Maximum number of requests in flight. auto: find the project's quota, and remember it for its next run.",
        LIMITS,
        kind="count_or_auto",
        is_advanced=True,
        decides="run",
    )
    quota_folder: str | Path | None = option_field(
        None,
        "Folder, or URL of an object store, in which runs on several machines share the quota of the project.",
        LIMITS,
        default=f"{QUOTA_VARIABLE}; without it, runs of this user on this machine share it",
        is_listed=False,
        decides="path",
    )
    rate: float | Literal["auto"] | None = option_field(
        "auto",
        "Maximum number of requests per second. auto: 100, and no limit with `local`.",
        LIMITS,
        kind="rate",
        is_advanced=True,
        decides="run",
    )
    budget: str | Mapping[str, str | float] = option_field(
        "",
        "Stop when the run has used this much: requests=1000, bytes=2GB, minutes=90, or eecu-hours=5 of compute this"
        " month. The run can be resumed. Planning counts. Several are separated by commas.",
        LIMITS,
        metavar="NAME=N",
        is_advanced=True,
        decides="run",
    )
    retries: int = option_field(
        10,
        "Maximum number of retries of a request after transient errors.",
        LIMITS,
        metavar="N",
        least=0,
        is_advanced=True,
        decides="run",
    )
    retry_delay: float = option_field(
        1.0,
        "Maximum seconds before the first repeat; each further one waits twice as long.",
        LIMITS,
        is_listed=False,
        decides="run",
    )
    connect_timeout: float = option_field(
        10.0, "Seconds to connect to the service.", LIMITS, is_listed=False, decides="run"
    )
    read_timeout: float = 330.0  # seconds of silence: more than the 5 minutes that Earth Engine computes
    export_to: str | None = option_field(
        None,
        "Place in Cloud Storage, such as gs://bucket/folder. A chip or table whose computation takes longer than a"
        " request may, or more memory in its smallest part, is exported there by a batch task, and fetched. For"
        " tif, npy and tables. Otherwise parts are requested, and a failure is recorded if the smallest takes too"
        " long.",
        LIMITS,
        metavar="URL",
        is_advanced=True,
        decides="network",
    )
    reuses_connections: bool = option_field(
        True, "Send several requests over a connection, one after the other.", LIMITS, is_listed=False, decides="run"
    )
    unit_timeout: float = option_field(
        1800.0,
        "Seconds that one result may take, repeats included; then its worker is replaced.",
        LIMITS,
        metavar="S",
        is_advanced=True,
        decides="run",
    )
    command: str = option_field("", "The command as typed, for run.json.", RUN, is_listed=False, decides="run")

    def __post_init__(self) -> None:
        check_config(self)

    @property
    def is_local(self) -> bool:
        """Whether a local Earth Engine is started for the run."""
        return bool(self.local) or bool(self.archives)

    @property
    def archives(self) -> tuple[str, ...]:
        """The open archives of the local Earth Engine: names, addresses, and absolute paths."""
        requested = (self.archive,) if isinstance(self.archive, (str, Path)) else self.archive
        return tuple(dict.fromkeys(map(archive_text, requested)))

    @property
    def is_synthetic(self) -> bool:
        """Whether the source is the demo planet."""
        return self.is_local and self.local_assets is None and not self.archives

    @property
    def local_assets(self) -> Path | None:
        """The folder of assets of the local Earth Engine; None for the demo planet, and for archives alone."""
        return None if not self.local or self.local is True or self.local == DEMO else local_path(self.local)

    @property
    def executor_class(self) -> type[Executor[Any]]:
        """The class of the executor; a package that it needs may be missing."""
        return find_executor(self.chosen_executor.name)

    @property
    def chosen_executor(self) -> ExecutorChoice:
        """``executor`` by its parts."""
        return ExecutorChoice.parse(self.executor)

    @property
    def limits(self) -> RunBudget:
        """``budget`` as numbers."""
        return RunBudget.parse(self.budget)

    @property
    def service(self) -> str:
        """The base URL of the service; with ``local`` the server has another.

        Raises:
            UsageError: if ``EECHIPS_ENDPOINT`` names none.
        """
        return check_endpoint(self.endpoint or os.environ.get(ENDPOINT_VARIABLE) or HIGH_VOLUME_ENDPOINT)

    @property
    def source(self) -> str:
        """The source of the data; see :class:`~eechips.manifest.data_source.DataSource`."""
        if not self.is_local:
            return self.service
        folder = self.local_assets.resolve() if self.local_assets else None
        from eechips.manifest.data_source import DataSource  # its package imports numpy, which a help does not need

        return str(DataSource(folder=folder, archives=self.archives, is_demo=folder is None and not self.archives))

    @property
    def requests_per_second(self) -> float | None:
        """``rate`` as a number, or None for no limit."""
        if self.rate == "auto":
            return None if self.is_local else SERVICE_RATE
        return None if self.rate is None or math.isinf(self.rate) else self.rate

    @property
    def pixel_method(self) -> Method:
        """The pixel method: one request per chip, unless ``method`` is ``url``."""
        return "url" if self.method == "url" else "pixels"

    @property
    def shares_requests(self) -> bool:
        """Whether neighbouring chips of the same images share a request."""
        return self.share_requests and self.method != "pixels"

    @property
    def reads_assets(self) -> bool:
        """Whether chips are read from stored images where that gives the same file."""
        return self.method == "auto"

    @property
    def most_in_flight(self) -> int:
        """Maximum number of requests in flight."""
        if self.in_flight == "auto":
            return _LOCAL_IN_FLIGHT if self.is_local else _MOST_IN_FLIGHT
        return self.in_flight

    @property
    def policy(self) -> RetryPolicy:
        """The retry policy of a request; the time of a unit bounds the total."""
        total = min(RetryPolicy().total, self.unit_timeout)
        longest = RetryPolicy().longest_wait
        if self.executor_class.is_remote:  # where a worker that waits looks like one that hangs
            longest = min(longest, self.unit_timeout / 2)
        return RetryPolicy(
            retries=self.retries, delay=self.retry_delay, total=total, offline=_OFFLINE, longest_wait=longest
        )

    @property
    def timeouts(self) -> Timeouts:
        """Time limits of a request."""
        total = max(Timeouts().total, self.read_timeout)
        return Timeouts(connect=self.connect_timeout, read=self.read_timeout, total=total)
