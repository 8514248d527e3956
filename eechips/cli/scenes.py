"""``eechips scenes``."""

from __future__ import annotations

from typing import Any

import click

from eechips.cli.command import FetchCommand, VerbOption
from eechips.cli.fetch_command import declared_options, run_parameters
from eechips.cli.finish import FAILURES, finish, show_log
from eechips.cli.options import HELP, given
from eechips.jobs.scenes.api import scenes_recipe
from eechips.jobs.scenes.recipe import SEARCH, Scenes
from eechips.jobs.scenes.refresh import refresh_scenes

_OF_EARTH_ENGINE = frozenset({
    "local", "local_assets", "local_remote", "endpoint", "project", "credentials", "send_credentials", "ledger",
    "executor", "scheduler", "processes", "method", "on_empty",
})  # fmt: skip
"""Options of other runs, which are for Earth Engine and its workers."""
_CHANGES: dict[str, dict[str, Any]] = {
    "out": {"default": "outputs/scenes-<collection>"},
    "name": {"help": "Template of the files' names, as in '{item}/{asset}'."},
    "in_flight": {"help": "Maximum number of transfers at a time; auto: 10.", "is_advanced": False},
    "rate": {"help": "Maximum number of requests per second; auto: no limit."},
    "read_timeout": {
        "help": "Seconds of silence after which a request is given up and repeated.",
        "default": "60",
    },
    "unit_timeout": {
        "help": "Seconds that one file may take; the part that has arrived is kept.",
        "default": "86400",
    },
    "dry_run": {"help": "Only ask the catalogue: how many files, and how large they are."},
}
"""Options of every run that mean something else here."""


def _parameters() -> list[click.Parameter]:
    refresh = VerbOption(
        ["--refresh"],
        is_flag=True,
        heading=SEARCH,
        help="Ask the catalogue again, and add new items to the existing run.",
    )
    return [
        *declared_options(Scenes, changes={"repair": {"heading": SEARCH}}),
        refresh,
        *run_parameters(without=_OF_EARTH_ENGINE, changes=_CHANGES),
    ]


@click.pass_context
def _run(context: click.Context, /, **options: Any) -> None:
    is_refreshed = options.pop("refresh") and not options["dry_run"]
    chosen = given(options)
    recipe, config = scenes_recipe(chosen)
    if is_refreshed:
        show_log(config)
        refresh_scenes(recipe, config)
    elif not config.quiet and (answer := recipe.kept(config.out)) is not None:
        unread = f" {answer.unread:,} of its entries could not be read: see run.log." if answer.unread else ""
        click.echo(f"The catalogue's answer is {answer.age} old; --refresh searches again.{unread}", err=True)
    finish(recipe, config)
    if recipe.refused:
        context.exit(FAILURES)


_HELP = """Fetch the scenes that a STAC search finds, one file for each asset.

    Interrupted downloads resume where they stopped, if the server supports it and the file is unchanged. A file is
    complete when its size, its checksum and its GDAL header match the catalogue; a file that is wrong three times is
    moved to quarantine/. The catalogue's answer is kept: the same command does not search again. Earth Engine is not
    used.

    \b
    Examples:
      eechips scenes --stac https://earth-search.aws.element84.com/v1 --collection sentinel-2-l2a \\
          --roi=-105.3,39.8,-105.2,40.0 --start 2023-06-01 --end 2023-07-01 \\
          --where 'eo:cloud_cover < 20' --assets red,nir --max-items 4 --ingest my_assets
      eechips scenes --stac https://planetarycomputer.microsoft.com/api/stac/v1 --collection naip \\
          --roi park.gpkg --assets image --auth sas \\
          --token-url https://planetarycomputer.microsoft.com/api/sas/v1/token/{collection}
      eechips scenes --stac items.parquet --auth netrc --max-rate 20MB
"""

command = FetchCommand("scenes", params=_parameters(), callback=_run, help=_HELP, context_settings=HELP)
