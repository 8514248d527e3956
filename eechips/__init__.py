"""Fetch image chips and time series from Google Earth Engine in large numbers.

The commands of the command line are functions here, with the same names and options::

    import eechips

    run = eechips.sample("NAIP", per_ecoregion=25, local=True)
    run.units, run.failures

Names are imported when they are first used, so that ``import eechips`` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eechips.catalogs.build import catalog as catalog
    from eechips.catalogs.catalog import open_catalog as open_catalog
    from eechips.catalogs.ingest import ingest as ingest
    from eechips.cli.lock_commands import lock as lock
    from eechips.cli.lock_commands import rebuild as rebuild
    from eechips.cli.queue_commands import join as join
    from eechips.cli.queue_commands import plan as plan
    from eechips.cli.queue_commands import work as work
    from eechips.cli.retry_commands import retry as retry
    from eechips.cli.verify_commands import verify as verify
    from eechips.engine.config import RunConfig as RunConfig
    from eechips.engine.doctor import doctor as doctor
    from eechips.engine.local_server import local_earth_engine as local_earth_engine
    from eechips.errors import ConfigurationError as ConfigurationError
    from eechips.errors import EechipsError as EechipsError
    from eechips.errors import UsageError as UsageError
    from eechips.geo.grid import Grid as Grid
    from eechips.jobs.chips import sample as sample
    from eechips.jobs.composites import composites as composites
    from eechips.jobs.images import images as images
    from eechips.jobs.mosaic import mosaic as mosaic
    from eechips.jobs.points import points as points
    from eechips.jobs.scenes.api import scenes as scenes
    from eechips.jobs.timeseries import timeseries as timeseries
    from eechips.jobs.user_recipes import run as run
    from eechips.manifest.run import Run as Run
    from eechips.manifest.run import open_run as open_run
    from eechips.recipe import Chip as Chip
    from eechips.recipe import Table as Table
    from eechips.recipe.row_sources import Series as Series
    from eechips.recipe.template import Template as Template
    from eechips.reports.contact_sheet import preview as preview
    from eechips.reports.figure import plot as plot
    from eechips.reports.inspection import failures as failures
    from eechips.reports.inspection import status as status
    from eechips.reports.page import report as report
    from eechips.scripts.pools import Pool as Pool
    from eechips.training.dataset_card import card as card
    from eechips.training.dataset_statistics import stats as stats
    from eechips.training.geodataframe import load as load
    from eechips.training.quality_check import check as check
    from eechips.training.sharding import pack as pack
    from eechips.training.splitting import split as split
    from eechips.training.stack import stack as stack

_MODULES = {
    "Chip": "eechips.recipe",
    "ConfigurationError": "eechips.errors",
    "EechipsError": "eechips.errors",
    "Grid": "eechips.geo.grid",
    "Pool": "eechips.scripts.pools",
    "Run": "eechips.manifest.run",
    "RunConfig": "eechips.engine.config",
    "Series": "eechips.recipe.row_sources",
    "Table": "eechips.recipe",
    "Template": "eechips.recipe.template",
    "UsageError": "eechips.errors",
    "card": "eechips.training.dataset_card",
    "catalog": "eechips.catalogs.build",
    "check": "eechips.training.quality_check",
    "composites": "eechips.jobs.composites",
    "doctor": "eechips.engine.doctor",
    "failures": "eechips.reports.inspection",
    "images": "eechips.jobs.images",
    "ingest": "eechips.catalogs.ingest",
    "join": "eechips.cli.queue_commands",
    "load": "eechips.training.geodataframe",
    "local_earth_engine": "eechips.engine.local_server",
    "lock": "eechips.cli.lock_commands",
    "mosaic": "eechips.jobs.mosaic",
    "open_catalog": "eechips.catalogs.catalog",
    "open_run": "eechips.manifest.run",
    "pack": "eechips.training.sharding",
    "plan": "eechips.cli.queue_commands",
    "plot": "eechips.reports.figure",
    "points": "eechips.jobs.points",
    "preview": "eechips.reports.contact_sheet",
    "rebuild": "eechips.cli.lock_commands",
    "report": "eechips.reports.page",
    "retry": "eechips.cli.retry_commands",
    "run": "eechips.jobs.user_recipes",
    "sample": "eechips.jobs.chips",
    "scenes": "eechips.jobs.scenes.api",
    "split": "eechips.training.splitting",
    "stack": "eechips.training.stack",
    "stats": "eechips.training.dataset_statistics",
    "status": "eechips.reports.inspection",
    "timeseries": "eechips.jobs.timeseries",
    "verify": "eechips.cli.verify_commands",
    "work": "eechips.cli.queue_commands",
}

__all__ = [
    "Chip",
    "ConfigurationError",
    "EechipsError",
    "Grid",
    "Pool",
    "Run",
    "RunConfig",
    "Series",
    "Table",
    "Template",
    "UsageError",
    "__version__",
    "card",
    "catalog",
    "check",
    "composites",
    "doctor",
    "failures",
    "images",
    "ingest",
    "join",
    "load",
    "local_earth_engine",
    "lock",
    "mosaic",
    "open_catalog",
    "open_run",
    "pack",
    "plan",
    "plot",
    "points",
    "preview",
    "rebuild",
    "report",
    "retry",
    "run",
    "sample",
    "scenes",
    "split",
    "stack",
    "stats",
    "status",
    "timeseries",
    "verify",
    "work",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("eechips")
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
