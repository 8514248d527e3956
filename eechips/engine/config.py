"""Check and complete the options of a run: ranges, options that exclude each other, ``budget``, the rate and the slots
by default, retry policy, time limits.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eechips.client.access.endpoint import ENDPOINT_VARIABLE, HIGH_VOLUME_ENDPOINT, check_endpoint
from eechips.client.exports.export_place import ExportPlace
from eechips.client.http.http_messages import Timeouts
from eechips.client.retry import RetryPolicy
from eechips.engine.executors import ExecutorChoice, find_executor
from eechips.engine.run_options import DEMO, METHODS, ON_EMPTY, RunOptions
from eechips.engine.service.workload_tag import check_workload_tag
from eechips.errors import UsageError
from eechips.option_fields import check_types, documented
from eechips.storage import NameTemplate, local_path
from eechips.text.suggestion import did_you_mean
from eechips.web.urls import display_url, is_http, strip_signature

if TYPE_CHECKING:
    from eechips.client.chip_parameters import Method
    from eechips.engine.executors.executor import Executor

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
_FACTORS: Mapping[str, int] = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MOST_OF_BUDGET = Decimal(10**18)
"""Amount beyond which a bound means nothing."""
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d*)?(?:E[+-]?\d+)?)\s*([KMGT]?B?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBudget:
    """What a run may use before it stops; it can be resumed. None is no bound.

    Attributes:
        requests: HTTP requests, planning included.
        bytes: received bytes.
        minutes: after which nothing new starts.
        eecu_hours: compute of a month, planning included.
    """

    requests: int | None = None
    bytes: int | None = None
    minutes: float | None = None
    eecu_hours: float | None = None

    @classmethod
    def parse(cls, value: str | Mapping[str, str | float]) -> RunBudget:
        """Return the budget of a text such as ``minutes=90,bytes=2GB``, or of amounts by name.

        Raises:
            UsageError: if a name is unknown, or an amount is not above 0.
        """
        if not isinstance(value, (str, Mapping)):
            raise UsageError(f"`budget` is text such as minutes=90,bytes=2GB, or amounts by name, not {value!r}")
        parts = [part.partition("=") for part in value.split(",") if part.strip()] if isinstance(value, str) else []
        pairs = [(name, amount) for name, _, amount in parts] if isinstance(value, str) else list(value.items())
        names = [field.name for field in fields(cls)]
        amounts: dict[str, Decimal] = {}
        for key, text in pairs:
            name = str(key).strip().replace("-", "_")
            if name not in names:
                raise UsageError(f"`budget` bounds {', '.join(names)}, not {key!r}{did_you_mean(name, names)}")
            amounts[name] = _amount(name, text)
        whole = {name: int(amount) for name, amount in amounts.items() if name in ("requests", "bytes")}
        if any(whole[name] != amounts[name] for name in whole):
            raise UsageError(f"`budget` counts whole requests and bytes, not {value!r}")
        others = {name: float(amount) for name, amount in amounts.items() if name not in whole}
        return cls(**whole, **others)  # type: ignore[arg-type]


def _amount(name: str, text: str | float) -> Decimal:
    matched = _AMOUNT.fullmatch(str(text).upper())
    if matched is None or (matched[2] and name != "bytes"):
        raise UsageError(f"`budget` {name}={text} is not an amount, such as minutes=90 or bytes=2GB")
    amount = Decimal(matched[1]) * _FACTORS[matched[2].removesuffix("B")]
    if not 0 < amount <= _MOST_OF_BUDGET:
        raise UsageError(f"`budget` {name} must be above 0, and at most {_MOST_OF_BUDGET:.0e}, not {text}")
    return amount


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


_LEAST = {"estimate": 1, "in_flight": 1, "retries": 0, "profile_every": 0}
_LEAST_RATE = 0.001
"""Requests a second. Fewer are a mistake; systems cannot wait as long as the least numbers demand."""
_LONGEST_WAIT = 86400.0
"""Seconds of a time-out of a connection, and between repeats."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig(RunOptions):
    """Options that every run has, checked, with the values that follow from them.

    Raises:
        UsageError: if an option has another type or is out of range, or options contradict each other.
    """

    def __post_init__(self) -> None:
        _check(self)

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
        """``executor``, parsed: its name, the number of workers, and the address of a scheduler."""
        return ExecutorChoice.parse(self.executor)

    @property
    def limits(self) -> RunBudget:
        """``budget``, parsed: requests, bytes, minutes and EECU-hours."""
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


def _check(config: RunConfig) -> None:
    """Raise UsageError if an option has another type or is out of range, or options contradict each other."""
    check_types(type(config), {field.name: getattr(config, field.name) for field in fields(config)}, allows_none=False)
    _check_local(config)
    if config.extend and config.dry_run:
        raise UsageError("`dry_run` estimates whole runs: leave it or `extend` out")
    if config.method not in METHODS:
        raise UsageError(f"unknown method '{config.method}': auto, url or pixels")
    _check_executor(config)
    _check_exports(config)
    if config.on_empty not in ON_EMPTY:
        raise UsageError(f"on_empty must be {', '.join(ON_EMPTY[:-1])} or {ON_EMPTY[-1]}, not {config.on_empty!r}")
    if config.name:
        NameTemplate(config.name)
    if config.workload_tag is not None:
        check_workload_tag(config.workload_tag)
    if config.estimate is not None and config.max_disk is not None:
        raise UsageError("`max_disk` removes files that were read: leave it or `estimate` out")
    RunBudget.parse(config.budget)
    _check_ranges(config)
    if config.endpoint is not None:
        check_endpoint(config.endpoint)


def _check_local(config: RunConfig) -> None:
    chosen = "`archive`" if config.archives else "`local`"
    if config.is_local and config.endpoint is not None:
        raise UsageError(f"{chosen} starts a server of its own and excludes `endpoint`")
    if config.is_local and config.send_credentials:
        raise UsageError(f"{chosen} needs no credentials of Earth Engine and excludes `send_credentials`")
    if config.archives and config.local and config.local_assets is None:
        raise UsageError(
            "`local` without a folder serves the demo planet, which is synthetic, and `archive` serves real pixels:"
            " give only one of them. With a folder, `local` serves its assets beside the archive"
        )
    if config.local_assets is not None and not config.local_assets.is_dir():
        raise UsageError(f"there is no folder of assets {config.local_assets}; for the demo planet, give `local` alone")


def _check_executor(config: RunConfig) -> None:
    executor = config.chosen_executor  # raises what is wrong with the option
    if config.pipeline_options and executor.name != "beam":
        word = config.pipeline_options[0]
        of_beam, several = "options of Beam need executor='beam'", "values of one option are joined by commas: A,B,C"
        hint = f"; {of_beam if word.startswith('--') else several}"
        raise UsageError(f"unexpected argument {word!r}{hint}")
    if config.pipeline_options and not config.pipeline_options[0].startswith("--"):
        raise UsageError(f"options of Beam look like --runner=DirectRunner, not {config.pipeline_options[0]!r}")


def _check_exports(config: RunConfig) -> None:
    if config.export_to is None:
        return
    ExportPlace.parse(config.export_to)
    if config.is_local:
        raise UsageError(
            f"{'`archive`' if config.archives else '`local`'} has no buckets to export to: start eechips serve with"
            " --buckets, and name it as `endpoint`"
        )
    if config.executor_class.is_detached:
        raise UsageError(
            f"`export_to` is not for executor={config.executor!r}, whose workers cannot receive a unit again when its"
            " export has ended: take processes, threads or dask"
        )


def _check_ranges(config: RunConfig) -> None:
    for name, bound in _LEAST.items():
        value = getattr(config, name)
        if value not in (None, "auto") and value < bound:
            raise UsageError(f"{name} must be at least {bound}")
    if isinstance(config.rate, (int, float)) and not config.rate >= _LEAST_RATE:
        raise UsageError(f"rate must be at least {_LEAST_RATE:g} a second, not {config.rate:g}")
    for name in ("connect_timeout", "read_timeout", "retry_delay"):
        if not 0 < getattr(config, name) <= _LONGEST_WAIT:
            raise UsageError(f"{name} must be above 0 and at most {_LONGEST_WAIT:,.0f} seconds")
    if not config.unit_timeout > 0:
        raise UsageError("unit_timeout must be above 0")
