"""Declare the options of a run, which do not change its results, and their defaults: executor, retries, time-outs,
rate, budget, …
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from eechips.client.access.endpoint import ENDPOINT_VARIABLE
from eechips.engine.executors import EXECUTORS
from eechips.option_fields import data_field, documented, option, option_field

METHODS = ("auto", "url", "pixels")
ON_EMPTY = ("keep", "skip", "redraw")
OnEmpty = Literal["keep", "skip", "redraw"]

DEMO = "demo"
"""``local`` without a folder: the demo planet."""

QUOTA_VARIABLE = "EECHIPS_QUOTA_FOLDER"
"""Variable that names the folder, or the URL of an object store, in which runs share a quota."""

RESULTS, SERVICE, RUN, WORKERS, LIMITS = "Results", "Earth Engine", "Run", "Workers", "Limits and retries"
"""Headings of the options in the help."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where results go, which service is asked, how requests are limited and repeated."""

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
        "Names of the result files, with fields of the units in braces: '{eco_name}/{id}'. Fields are columns of a"
        " file, {index} and {id}. {id} is the file's column if there is one of that name.",
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
        "Start a local Earth Engine for this run, with synthetic data (the demo planet) or, as `--local=DIR`, assets"
        " of your own; needs no account. DIR is a folder of assets, or a catalogue.",
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
