"""Choose the service that a run or a lockfile has used, and connect to it for versions of assets and digests of
expressions.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from eechips.client.access.endpoint import ENDPOINT_VARIABLE, HIGH_VOLUME_ENDPOINT
from eechips.client.template_requests import result_digest
from eechips.engine.config import RunConfig, is_archive_name
from eechips.engine.service.session import connect
from eechips.errors import UsageError
from eechips.lockfile.lockfile_writer import ServiceQueries
from eechips.manifest.data_source import DataSource
from eechips.manifest.run import Run
from eechips.manifest.run_signature import is_own
from eechips.recipe import Recipe, traits_of, unit_value

SERVICE_OPTIONS = ("local", "archive", "project", "credentials", "endpoint", "send_credentials")
"""Options that choose the service, and how to connect to it."""


@contextlib.contextmanager
def service_queries(recipe: Recipe | None, config: RunConfig) -> Iterator[ServiceQueries]:
    """Connect to the service for the duration of the block.

    Args:
        recipe: a built-in one; expressions are unknown without it, and for recipes of users: their code may do
            anything when it is called.

    Raises:
        ConfigurationError: if credentials, project or endpoint do not work.
    """
    from eechips.planning.asset_metadata import fetch_versions  # imports the client

    def expression(position: int, unit: str) -> str | None:
        if recipe is None or not traits_of(recipe).is_builtin:
            return None
        return result_digest(recipe.get_result(position, unit_value(json.loads(unit))))

    with connect(config):
        yield ServiceQueries(fetch_versions, expression)


def no_queries() -> ServiceQueries:
    """Return queries that find no version and no expression, without a service."""
    return ServiceQueries(lambda _: {}, lambda *_: None)


def service_of_run(run: Run, source: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the service that a run has used, if the user names none.

    Args:
        run: the run; its run.json is believed if this user wrote it.

    Raises:
        UsageError: if only the user can name the service.
    """
    info = run.info
    if _is_named(options) or not is_own(info, run.path):
        return service_of_source(source, options)
    project_option = {"project": info.get("project")} if info.get("project") and not options.get("project") else {}
    data = DataSource.parse(source)
    if data.is_local:
        is_there = data.folder is None or data.folder.is_dir()
        return {**project_option, **_local_options(data)} if is_there else service_of_source(source, {})
    endpoint = info.get("endpoint")  # signed, as the source is not
    return {**project_option, "endpoint": endpoint} if endpoint else service_of_source(source, {})


def service_of_source(source: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the service of some data, if neither the user nor ``EECHIPS_ENDPOINT`` names one.

    Raises:
        UsageError: if only the user can name it.
    """
    if not source or source == HIGH_VOLUME_ENDPOINT or _is_named(options) or os.environ.get(ENDPOINT_VARIABLE):
        return {}
    data = DataSource.parse(source)
    if data.folder is not None:
        archives = "".join(f" `archive` {name:.200}," for name in data.archives)
        raise UsageError(
            f"the results are of assets of a local Earth Engine ({data.folder!s:.200}): give{archives} their"
            " folder as `local`, or the `endpoint` that serves them"
        )
    if not all(map(is_archive_name, data.archives)):
        raise UsageError(f"the results are of {data.describe():.400}: name it, or another, as `archive`")
    if data.is_local:
        return _local_options(data)
    raise UsageError(f"the results are of the service at {source:.200}: name it, or another, as `endpoint`")


def _local_options(data: DataSource) -> dict[str, Any]:
    """Return the options that start the local Earth Engine of some data."""
    folder = {"local": data.folder or True} if data.folder is not None or data.is_demo else {}
    return {**folder, **({"archive": data.archives} if data.archives else {})}


def _is_named(options: Mapping[str, Any]) -> bool:
    return any(options.get(name) for name in ("local", "archive", "endpoint"))
