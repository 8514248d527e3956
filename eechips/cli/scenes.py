"""``eechips scenes``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from eechips.cli.finish import FAILURES, finish, show_log
from eechips.cli.options import HELP, Bytes, Names, date_options, given, repair_option, run_options
from eechips.jobs.scenes.api import scenes_recipe
from eechips.jobs.scenes.refresh import refresh_scenes

_LEFT_OUT = ("endpoint", "project")
"""Options that may be in the environment, for other verbs."""
_OF_OTHERS = (
    "local", "local_assets", "local_remote", "endpoint", "project", "credentials", "send_credentials", "ledger",
    "executor", "scheduler", "processes", "method",
)  # fmt: skip
"""Options of every run that are for Earth Engine and its workers: most are refused, and none is of use."""
_MEANINGS = {
    "start": "First day, YYYY-MM-DD. [default: the catalogue's first]",
    "end": "Day after the last, YYYY-MM-DD. [default: the catalogue's last]",
    "out": "Folder of the results. [default: outputs/scenes-<collection>]",
    "name": "Names of the files, as in '{item}/{asset}'.",
    "in_flight": "Transfers at once; auto: 10.",
    "rate": "Requests a second at most; auto: no limit.",
    "read_timeout": "Seconds of silence after which a request is given up and repeated. [default: 60]",
    "unit_timeout": "Seconds that one file may take; what has come is kept. [default: 86400]",
    "dry_run": "Ask the catalogue only: how many files, and how large they are.",
}
"""What options of every run mean here, where that is something else."""


@click.command("scenes", context_settings=HELP)
@click.option(
    "--stac",
    required=True,
    metavar="URL|PATH",
    help="A STAC API, a static catalogue, or STAC GeoParquet: a file, a pattern, or a folder.",
)
@click.option("--collection", type=Names(), help="Ids of collections. [default: all]")
@click.option("--roi", metavar="W,S,E,N|FILE", help="Items that meet this box, or the polygons of a vector file.")
@repair_option
@date_options
@click.option("--where", multiple=True, metavar="COND", help="'eo:cloud_cover < 20'; may be repeated.")
@click.option("--assets", type=Names(), help="Keys of assets, or names of their bands. [default: those that are data]")
@click.option("--max-items", type=click.IntRange(1), metavar="N", help="The first N items.")
@click.option("--per-host", type=click.IntRange(1), default=10, show_default=True, help="Transfers from one host.")
@click.option("--max-rate", type=Bytes(), help="Bytes a second of all transfers together.")
@click.option(
    "--auth",
    type=click.Choice(["none", "bearer", "basic", "netrc", "oauth", "sas"]),
    default="none",
    show_default=True,
    help="What opens the addresses: a token, name and password, those of .netrc, a token that is fetched, or"
    " signatures of an endpoint.",
)
@click.option("--auth-host", type=Names(), help="Hosts that may see the secrets; *.example.com for a domain.")
@click.option(
    "--token-url",
    metavar="URL",
    help="With oauth: where tokens are. With sas: what signs; has {collection}, or is asked with ?href=.",
)
@click.option(
    "--secrets",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Lines token=, username=, password=, client_id=, client_secret=; EECHIPS_SCENES_TOKEN and so on count more.",
)
@click.option("--requester-pays", is_flag=True, help="The AWS account pays for what S3 sends.")
@click.option(
    "--keep-query",
    type=Names(),
    metavar="NAME,…",
    help="Parameters of the files' addresses that are stored; * for all. [default: none, as they may be secrets]",
)
@click.option(
    "--ingest",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Put the scenes into this folder of assets, for `eechips serve --assets DIR`.",
)
@click.option("--refresh", is_flag=True, help="Ask the catalogue again, and add what is new to the run that is there.")
@click.option("--id", "asset_id", help="With --ingest: Earth Engine id of their collection. [scenes/<collection>]")
@run_options
def command(**options: Any) -> None:
    """Fetch whole scenes that a STAC search finds, one file for each asset.

    What was cut goes on where it was, if the server can do that and the file is still the same. A file counts when
    size, checksum and GDAL's header are what the catalogue says; one that is wrong three times goes into quarantine/.
    The catalogue's answer is kept: the same command asks nobody again. Earth Engine is not asked.

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
    context = click.get_current_context()
    is_refreshed = options.pop("refresh") and not options["dry_run"]
    chosen = given(options)
    for name in _LEFT_OUT:
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            chosen.pop(name, None)
    recipe, config = scenes_recipe(chosen)
    if is_refreshed:
        show_log(config)
        refresh_scenes(recipe, config)
    elif not config.quiet and (answer := recipe.kept(config.out)) is not None:
        lacking = f" It names {answer.unread:,} things that could not be read: see run.log." if answer.unread else ""
        told = f"The catalogue's answer is {answer.age} old; --refresh asks it again.{lacking}"
        click.echo(told, err=True)
    finish(recipe, config)
    if recipe.refused:
        context.exit(FAILURES)


for _option in command.params:
    if isinstance(_option, click.Option):
        _option.hidden = _option.name in _OF_OTHERS
        _option.help = _MEANINGS.get(_option.name or "", _option.help)
