"""Fetch data: the commands from ``eechips sample`` to ``run``, with the options that their configs declare.

Each command is made when it is called: the modules of the recipes import numpy, pandas and ee."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eechips.cli.command import FetchCommand, VerbOption
from eechips.cli.group import FAILURES
from eechips.cli.parameters import HELP, Assignment, LocalPath, declared_options, meta_flag, typed_options
from eechips.cli.terminal import echo, echo_json
from eechips.errors import UsageError

if TYPE_CHECKING:
    from eechips.engine.config import RunConfig
    from eechips.recipe import Recipe

Changes = Mapping[str, Mapping[str, Any]]
"""Attributes of :class:`eechips.option_fields.Option` that differ for a command, by name of the field."""

_NO_REDRAW: Changes = {
    "on_empty": {
        "choices": ("keep", "skip"),
        "help": "What to do with results without a single valid pixel. keep: write the file. skip: write no file. Not"
        " for jpg, which has no mask.",
    }
}
"""Changes of ``--on-empty`` for commands that draw no random points."""

_NOT_FOR_SCENES = frozenset({
    "local", "endpoint", "project", "credentials", "send_credentials", "ledger", "executor", "processes", "method",
    "on_empty", "export_to", "accept_changed_code",
})  # fmt: skip
"""Options of a run that concern Earth Engine and its workers."""
_SCENE_CHANGES: Changes = {
    "out": {"default": "outputs/scenes-<collection>"},
    "name": {"help": "Template of the files' names, as in '{item}/{asset}'."},
    "in_flight": {"help": "Maximum number of transfers at a time; auto: 10."},
    "rate": {"help": "Maximum number of requests per second; auto: no limit."},
    "unit_timeout": {
        "help": "Seconds that one file may take; the part that has arrived is kept.",
        "default": "86400",
    },
    "dry_run": {"help": "Only ask the catalogue: how many files, and how large they are."},
}
"""Options of a run that have another meaning for scenes."""

_SAMPLE = """Fetch image chips at random points, on a regular grid, or at the points of a file.

    Exactly one of --per-ecoregion, --per-class, --total, --spacing, --cells and --points selects the points. A chip
    shows the images between the two dates, the latest on top; with --mask, the latest clear pixels. To resume an
    interrupted run, repeat its command; a complete run is not repeated.

    \b
    Examples:
      eechips sample --dataset NAIP --per-ecoregion 25 --local
      eechips sample --dataset S2 --per-class 100:ESA/WorldCover/v200:Map --roi 5.9,45.8,6.9,46.8 \\
          --start 2023-06-01 --end 2023-09-01 --mask --bands B4,B3,B2,B8 --format tif --min-distance chip
      eechips sample --dataset S2 --dataset SRTM --dataset WORLDCOVER --total 1000 --roi study_area.gpkg
      eechips sample --dataset S2 --points plots.csv --date-field surveyed --near 30d --name '{plot}'
      eechips sample --dataset S2 --cells majortom:10km --roi study_area.gpkg --size 1056 --crs utm
      eechips sample --dataset NAIP --spacing 10km --roi=-105.5,39.5,-104.5,40.5 --crs utm
"""

_IMAGES = """Fetch every image of a collection that intersects a region, one file each.

    A file contains the image's part of the region, by default on the image's own pixel grid with unchanged values. If
    bands have different scales (Sentinel-2), other bands are resampled to the first one, unless --scale or --align is
    given. The manifest lists id, date and valid fraction of each image.

    \b
    Examples:
      eechips images --dataset S2 --roi=-105.3,39.9,-105.28,39.92 --start 2020-06-01 --end 2020-07-01 \\
          --where 'CLOUDY_PIXEL_PERCENTAGE < 20' --mask --bands B4,B3,B2,B8 --local
      eechips images --dataset L8 --roi park.gpkg --clip --mask qa_pixel:cloud,shadow,snow --crs utm
      eechips images --dataset NAIP --roi=-105.3,39.9,-105.29,39.91 --format png
"""

_COMPOSITES = """Make one image per period, of all images of the period, between two dates.

    All files have the same pixel grid, by default that of the collection's earliest image in the region. A period
    without an image has no file and is recorded as empty; for the others, the manifest lists the images used.

    \b
    Examples:
      eechips composites --dataset S2 --roi=-105.3,39.9,-105.28,39.92 --start 2020-06-01 --end 2020-08-01 \\
          --every '1 month' --reducer median --mask --bands B4,B3,B2,B8 --local
      eechips composites --dataset MODIS_LST --roi alps.gpkg --start 2010-03-01 --every season --reducer mean
      eechips composites --dataset L8 --roi=5.9,45.8,6.1,46.0 --every year --reducer p25 --mask --crs utm --scale 30
"""

_MOSAIC = """Make one cloud-optimised GeoTIFF of a region of any size.

    The region is fetched in windows that align with the blocks of the source. Each window is verified; all are then
    assembled into mosaic.tif, and mosaic.windows.parquet lists their checksums. If a window fails, there is no mosaic;
    to resume, repeat the command or use eechips retry. Windows are kept, and take about as much disk as the mosaic.

    \b
    Examples:
      eechips mosaic --dataset SRTM --roi=-105.5,39.5,-105.0,40.0 --local
      eechips mosaic --dataset S2 --roi 7.0,46.0,8.0,47.0 --start 2023-06-01 --end 2023-09-01 \\
          --reducer median --mask --bands B4,B3,B2,B8 --crs utm --out outputs/valais
      eechips mosaic --dataset NAIP --roi county.gpkg --clip --start 2021-01-01 --end 2022-01-01
"""

_TIMESERIES = """Write a table of a dataset's values over time for each region.

    A table has a row for each image, or for each period, with the region's id, the date, a column for each band, and
    the number of pixels used. With several reducers, columns are named band_reducer. Missing values are empty cells.

    For many regions, --output one requests several of them at a time and writes one table, series.parquet, sorted by
    id.

    \b
    Examples:
      eechips timeseries --dataset MODIS/061/MOD11A2 --bands LST_Day_1km --reducer max \\
          --regions FAO/GAUL_SIMPLIFIED_500m/2015/level2 --id-field ADM2_CODE --bbox=-80,42,-78,44 \\
          --start 2019-06-01 --end 2019-07-01 --multiply 0.02 --add -273.15 --local
      eechips timeseries --dataset MOD13A2 --regions counties.gpkg --id-field geoid --reducer mean,p10,p90 \\
          --every "1 month" --start 2019-01-01 --end 2022-01-01 --output one
"""

_POINTS = """Add the values of a dataset to a table of points or polygons.

    The result is points.parquet: the columns and rows of your file in their order, with a column for each band. A
    point gets the value of the pixel that contains it. Missing values are empty cells. Neighbouring places are
    requested together, so that 100,000 of them take some hundred requests.

    \b
    Examples:
      eechips points --dataset SRTM --points plots.csv --local
      eechips points --dataset MODIS_LST --points plots.csv --each-image --start 2019-01-01 --end 2020-01-01
      eechips points --dataset S2 --points labels.gpkg --date-field observed --near 10d --mask
      eechips points --dataset S2 --points fields.gpkg --start 2023-06-01 --end 2023-09-01 --composite median \\
          --reducer mean,stdDev
"""

_SCENES = """Fetch the scenes that a STAC search finds, one file for each asset.

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

_RUN = """Run a recipe, an existing script that uses a pool, or a run file.

    A recipe is a Python file with two functions. get_requests returns a list of small JSON values, the units;
    get_result receives the number and value of a unit in a worker process, and returns what to fetch: a Chip, a Table,
    bytes or an array.

    In a script, each item passed to multiprocessing.Pool, or another pool of Python, becomes a unit. Arguments after --
    are the script's. Files that it writes to relative paths are written to the run's folder.

    A run file is TOML with a table for each command to run, such as [sample] and [split], with its options as keys.
    Options that are typed here replace keys of the tables. eechips init --from writes one of a run.

    With --executor beam, arguments after -- are options of Beam; arguments of a script precede them, with another --.

    \b
    Examples:
      eechips run recipes/naip_chips.py -p per_ecoregion=25 --local --check
      eechips run recipes/naip_chips.py -p per_ecoregion=25 --local
      eechips run recipes/modis_lst.py --project my-project --out outputs/lst
      eechips run recipes/cog_ndvi.py -p href=s3://bucket/scene.tif --max-memory 512MB --processes 4
      eechips run my_script.py --local -- 500 --fast
      eechips run chips.toml --local
      eechips run my_script.py --local --executor beam -- 500 --fast -- --runner=DirectRunner
"""


def fetch_command(
    name: str,
    options: str,
    recipe: str,
    help: str,
    *,
    without: Collection[str] = (),
    changes: Changes | None = None,
    adapt: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> click.Command:
    """Make a command whose options are the fields of a config and those of a run, but for code of the user.

    Args:
        name: of the command.
        options: the config, as ``module:name`` in :mod:`eechips.jobs`.
        recipe: the function that makes the recipe, and the config of its run, likewise.
        help: description and examples.
        without: options of the run that the command does not have.
        changes: what differs in options of the run; see :func:`declared_options`.
        adapt: changes the options that are typed before the recipe is made of them.
    """

    def make(typed: dict[str, Any]) -> tuple[Recipe, RunConfig]:
        made: tuple[Recipe, RunConfig] = pkgutil.resolve_name(f"eechips.jobs.{recipe}")(adapt(typed))
        return made

    def call(**typed: Any) -> None:
        from eechips.cli.finish import finish

        finish(*make(typed_options(typed)))

    own = declared_options(pkgutil.resolve_name(f"eechips.jobs.{options}"))
    shared = run_parameters(without={*without, "accept_changed_code"}, changes=changes)
    return FetchCommand(name, make=make, params=[*own, *shared], callback=call, help=help, context_settings=HELP)


def _single_dataset(typed: dict[str, Any]) -> dict[str, Any]:
    """Return options of which a dataset that is named once is the only one: its files have no name of a dataset."""
    names = typed["dataset"]
    return {**typed, "dataset": names[0]} if not isinstance(names, str) and len(names) == 1 else typed


sample_command = partial(
    fetch_command, "sample", "sample_options:SampleOptions", "chips:sample_recipe", _SAMPLE, adapt=_single_dataset
)
images_command = partial(
    fetch_command, "images", "imagery_options:ImagesOptions", "images:images_recipe", _IMAGES, changes=_NO_REDRAW
)
composites_command = partial(
    fetch_command, "composites", "imagery_options:CompositesOptions", "composites:composites_recipe", _COMPOSITES,
    changes=_NO_REDRAW,
)  # fmt: skip
mosaic_command = partial(
    fetch_command, "mosaic", "imagery_options:MosaicOptions", "mosaic:mosaic_recipe", _MOSAIC, without=("on_empty",)
)
timeseries_command = partial(
    fetch_command, "timeseries", "table_options:TimeSeriesOptions", "timeseries:timeseries_recipe", _TIMESERIES,
    without=("on_empty",),
)  # fmt: skip
points_command = partial(
    fetch_command, "points", "table_options:PointsOptions", "points:points_recipe", _POINTS, without=("on_empty",)
)


def scenes_command() -> click.Command:
    """Make ``eechips scenes``."""
    from eechips.archive.scenes.scenes_options import SEARCH, ScenesOptions

    def make(options: dict[str, Any]) -> tuple[Recipe, RunConfig]:
        from eechips.archive.scenes.api import scenes_recipe

        return scenes_recipe(options)

    refresh = VerbOption(
        ["--refresh"],
        is_flag=True,
        heading=SEARCH,
        decides="network",
        help="Ask the catalogue again, and add new items to the existing run.",
    )
    parameters = [
        *declared_options(ScenesOptions),
        refresh,
        *run_parameters(without=_NOT_FOR_SCENES, changes=_SCENE_CHANGES),
    ]
    return FetchCommand(
        "scenes", make=make, params=parameters, callback=_fetch_scenes, help=_SCENES, context_settings=HELP
    )


@click.pass_context
def _fetch_scenes(context: click.Context, /, **options: Any) -> None:
    from eechips.archive.scenes.api import scenes_recipe
    from eechips.archive.scenes.refresh import refresh_scenes
    from eechips.cli.finish import finish, show_log

    is_refreshed = options.pop("refresh") and not options["dry_run"]
    recipe, config = scenes_recipe(typed_options(options))
    if is_refreshed:
        show_log(config)
        refresh_scenes(recipe, config)
    elif not config.quiet and (answer := recipe.kept(config.out)) is not None:
        unread = f" {answer.unread:,} of its entries could not be read: see run.log." if answer.unread else ""
        echo(f"The catalogue's answer is {answer.age} old; --refresh searches again.{unread}", err=True)
    finish(recipe, config)
    if recipe.refused:
        context.exit(FAILURES)


def run_command() -> click.Command:
    """Make ``eechips run``."""
    own: list[click.Parameter] = [
        click.Argument(["recipe"], type=LocalPath()),
        VerbOption(
            ["-p", "parameters"],
            type=Assignment(),
            multiple=True,
            decides="code",
            help="Value of a parameter of the recipe.",
        ),
        VerbOption(
            ["--max-memory"],
            metavar="SIZE",
            decides="code",
            help="Memory of a worker, Python included, as 256MB, for recipes that size their units by it. The same as"
            " -p max_memory=SIZE.",
        ),
        VerbOption(
            ["--check"],
            is_flag=True,
            decides="run",
            help="Try three units of the plan, show their results, and estimate the run. The files are deleted, unless"
            " --out is given: then they are in DIR/check.",
        ),
        VerbOption(
            ["--schema"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_schema,
            decides="run",
            help="Print the JSON schema of run files, for an editor.",
        ),
    ]
    return FetchCommand(
        "run",
        make=_make_run,
        params=[*own, *run_parameters()],
        callback=_run_recipe,
        help=_RUN,
        context_settings=HELP,
    )


def _make_run(options: dict[str, Any]) -> tuple[Recipe, RunConfig]:
    from eechips.jobs.user_recipes import script_recipe

    return script_recipe(options)


def _run_recipe(
    recipe: Path, parameters: tuple[tuple[str, str], ...], max_memory: str | None, check: bool, **options: Any
) -> None:
    from eechips.cli.finish import finish
    from eechips.jobs.user_recipes import checked, script_recipe

    if recipe.suffix.lower() == ".toml":
        _run_file(recipe, quiet=bool(options.get("quiet")))
        return
    values = dict(parameters) if max_memory is None else {**dict(parameters), "max_memory": max_memory}
    chosen = {"path": recipe, "parameters": values, **_shared_out(typed_options(options))}
    if not check:
        finish(*script_recipe(chosen))
        return
    found = checked(script_recipe, chosen)
    for line in found.lines:
        echo(line)
    if found.failed:
        click.get_current_context().exit(FAILURES)


def _run_file(path: Path, *, quiet: bool) -> None:
    """Run the commands of a run file, with the options of a run that are typed here."""
    from eechips.cli.finish import RECEIVER
    from eechips.cli.run_file import read_run_file, run_steps
    from eechips.cli.run_file_writer import typed_keys

    context = click.get_current_context()
    if RECEIVER in context.meta:  # another command asks for the recipe, as plan, submit, or a run file does
        raise UsageError(f"{path} is a run file, which has no units of its own: name one of its commands")
    typed = typed_keys(context)
    typed.pop("recipe")
    if of_recipe := sorted({"parameters", "max_memory", "check", "arguments"}.intersection(typed)):
        raise UsageError(f"`{of_recipe[0]}` is for a recipe: write it into {path}, below [run]")
    root = context.find_root()
    run_steps(read_run_file(path, root, typed), root, quiet=quiet)


def _print_schema(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from eechips.cli.run_file_schema import run_file_schema

    echo_json(run_file_schema(context.find_root()), indent=1)
    context.exit()


def _shared_out(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the arguments after ``--`` divided between the script and Beam."""
    words = options.pop("pipeline_options", ())
    if options.get("executor") != "beam":
        return {**options, "arguments": words}
    last = max((number for number, word in enumerate(words) if word == "--"), default=-1)
    return {**options, "arguments": words[: max(last, 0)], "pipeline_options": words[last + 1 :]}


def run_parameters(*, without: Collection[str] = (), changes: Changes | None = None) -> list[click.Parameter]:
    """Return the options of a run, which every command that fetches has; see :func:`declared_options`."""
    from eechips.engine.config import RUN, LedgerOptions, RunConfig

    yes = meta_flag(
        "yes",
        "-y",
        "--yes",
        help="Do not ask, with --estimate or before a run that may take a tenth of a month's compute.",
        heading=RUN,
    )
    arguments = click.Argument(["pipeline_options"], nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]")
    declared = [
        option
        for config in (RunConfig, LedgerOptions)
        for option in declared_options(config, without=without, changes=changes)
    ]
    return [arguments, *declared, yes]
