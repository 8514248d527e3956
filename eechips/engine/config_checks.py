"""Check the options of a run: their types, their ranges, and those that contradict each other."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from eechips.client.credentials import check_endpoint
from eechips.client.export_place import ExportPlace
from eechips.engine.run_budget import RunBudget
from eechips.engine.workload_tag import check_workload_tag
from eechips.errors import UsageError
from eechips.option_fields import check_types
from eechips.storage import NameTemplate

if TYPE_CHECKING:
    from eechips.engine.config import RunConfig

METHODS = ("auto", "url", "pixels")
ON_EMPTY = ("keep", "skip", "redraw")
_LEAST = {"estimate": 1, "in_flight": 1, "retries": 0, "profile_every": 0}
_LEAST_RATE = 0.001
"""Requests a second. Fewer are a mistake; systems cannot wait as long as the least numbers demand."""
_LONGEST_WAIT = 86400.0
"""Seconds of a time-out of a connection, and between repeats."""


def check_config(config: RunConfig) -> None:
    """Check the options of a run.

    Raises:
        UsageError: if a value has another type or is out of range, or options contradict each other.
    """
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
        hint = "; options of Beam need executor='beam'" if word.startswith("--") else ""
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
