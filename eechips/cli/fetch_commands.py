"""Write the help texts of the commands that fetch, from ``eechips sample`` to ``run``, and call them;
:mod:`eechips.commands` declares their parameters.

Each command is made when it is called: the modules of the recipes import numpy, pandas and ee.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from eechips.cli.group import FAILURES, show_notes
from eechips.cli.terminal import echo, echo_json, echo_lines
from eechips.commands.command import FetchCommand, VerbOption
from eechips.commands.fetching import find_command
from eechips.errors import UsageError

_SAMPLE = """Fetch image chips at random points, on a regular grid, or at the points of a file.

    Exactly one of --per-ecoregion, --per-class, --total, --cells, --points and --regions selects the places. A chip
    shows the images between the two dates, the latest on top; with --mask, the latest clear pixels. With --regions
    each polygon of a file has a chip of its extent. To resume an interrupted run, repeat its command; a complete run
    is not repeated.

    \b
    Examples:
      eechips sample --dataset NAIP --per-ecoregion 25 --local
      eechips sample --dataset S2 --per-class 100:ESA/WorldCover/v200:Map --roi 5.9,45.8,6.9,46.8 \\
          --start 2023-06-01 --end 2023-09-01 --mask --bands B4,B3,B2,B8 --format tif --min-distance chip
      eechips sample --dataset S2 --dataset SRTM --dataset WORLDCOVER --total 1000 --roi study_area.gpkg
      eechips sample --dataset S2 --points plots.csv --columns date=surveyed --near 30d --name '{plot}'
      eechips sample --dataset S2 --cells majortom:10km --roi study_area.gpkg --size 1056 --crs utm
      eechips sample --dataset S2 --regions fields.gpkg --columns id=field --clip --start 2023-06-01 --end 2023-09-01
      eechips sample --dataset NAIP --cells regular:10km --roi=-105.5,39.5,-104.5,40.5 --crs utm
"""

_IMAGES = """Fetch every image of a collection that intersects a region, one file each.

    A file contains the image's part of the region, by default on the image's own pixel grid with unchanged values. If
    bands have different scales (Sentinel-2), other bands are resampled to the first one, unless --scale or --grid is
    given. The manifest lists id, date and valid fraction of each image. With --regions each polygon of a file has a
    file for each image, on one pixel grid.

    \b
    Examples:
      eechips images --dataset S2 --roi=-105.3,39.9,-105.28,39.92 --start 2020-06-01 --end 2020-07-01 \\
          --where 'CLOUDY_PIXEL_PERCENTAGE < 20' --mask --bands B4,B3,B2,B8 --local
      eechips images --dataset L8 --roi park.gpkg --clip --mask qa_pixel:cloud,shadow,snow --crs utm
      eechips images --dataset S2 --regions fields.gpkg --columns id=field --clip --start 2020-06-01 --end 2020-07-01
      eechips images --dataset NAIP --roi=-105.3,39.9,-105.29,39.91 --format png
"""

_COMPOSITES = """Make one image per period, of all images of the period, between two dates.

    All files have the same pixel grid, by default that of the collection's earliest image in the region. A period
    without an image has no file and is recorded as empty; for the others, the manifest lists the images used. With
    --regions each polygon of a file has a file for each period.

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
    With --regions each polygon of a file has a mosaic of its own.

    \b
    Examples:
      eechips mosaic --dataset SRTM --roi=-105.5,39.5,-105.0,40.0 --local
      eechips mosaic --dataset S2 --roi 7.0,46.0,8.0,47.0 --start 2023-06-01 --end 2023-09-01 \\
          --reducer median --mask --bands B4,B3,B2,B8 --crs utm --out outputs/valais
      eechips mosaic --dataset NAIP --roi county.gpkg --clip --start 2021-01-01 --end 2022-01-01
      eechips mosaic --dataset S2 --regions parks.gpkg --columns id=park --clip --start 2023-06-01 --end 2023-09-01 \\
          --reducer median --mask
"""

_TIMESERIES = """Write a table of a dataset's values over time for each region.

    A table has a row for each image, or for each period, with the region's id, the date, a column for each band, and
    the number of pixels used. With several reducers, columns are named band_reducer. Missing values are empty cells.

    For many regions, --output one requests several of them at a time and writes one table, series.parquet, sorted by
    id.

    \b
    Examples:
      eechips timeseries --dataset MODIS/061/MOD11A2 --bands LST_Day_1km --reducer max \\
          --regions FAO/GAUL_SIMPLIFIED_500m/2015/level2 --columns id=ADM2_CODE --bbox=-80,42,-78,44 \\
          --start 2019-06-01 --end 2019-07-01 --multiply 0.02 --add -273.15 --local
      eechips timeseries --dataset MOD13A2 --regions counties.gpkg --columns id=geoid --reducer mean,p10,p90 \\
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
      eechips points --dataset S2 --points labels.gpkg --columns date=observed --near 10d --mask
      eechips points --dataset S2 --points fields.gpkg --start 2023-06-01 --end 2023-09-01 --composite median \\
          --reducer mean,stdDev
"""

_FEATURES = """Fetch the features of a table on the server as GeoParquet, however many they are.

    The region is divided into cells of at most 1,000 features, which are requested separately. Each feature that meets
    the region is in the result once. The files in features/ are one table with one schema. GEDI_L2A and GEDI_L4A are
    the laser shots of all granules there whose quality flags are good.

    \b
    Examples:
      eechips features --dataset RESOLVE/ECOREGIONS/2017 --roi=-106,39,-104,41 --columns ECO_NAME,BIOME_NUM --local
      eechips features --dataset GOOGLE/Research/open-buildings/v3/polygons --roi town.gpkg --where 'confidence > 0.75'
      eechips features --dataset GEDI_L2A --roi 7,46,8,47 --start 2020-06-01 --end 2020-09-01 \\
          --columns rh98,sensitivity,delta_time
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
      eechips run recipes/cog_ndvi.py -p href=s3://bucket/scene.tif --max-memory 512MB \\
          --executor processes:4
      eechips run my_script.py --local -- 500 --fast
      eechips run chips.toml --local
      eechips run my_script.py --local --executor beam -- 500 --fast -- --runner=DirectRunner
"""


@click.pass_context
def _fetch(context: click.Context, /, **values: Any) -> None:
    from eechips.cli.recipe_execution import finish

    command = _command_of(context)
    show_notes(is_quiet=values["quiet"])
    finish(*command.make(command.options(values)))


sample_command = partial(find_command, "sample", callback=_fetch, help=_SAMPLE)
images_command = partial(find_command, "images", callback=_fetch, help=_IMAGES)
composites_command = partial(find_command, "composites", callback=_fetch, help=_COMPOSITES)
mosaic_command = partial(find_command, "mosaic", callback=_fetch, help=_MOSAIC)
timeseries_command = partial(find_command, "timeseries", callback=_fetch, help=_TIMESERIES)
points_command = partial(find_command, "points", callback=_fetch, help=_POINTS)
features_command = partial(find_command, "features", callback=_fetch, help=_FEATURES)


@click.pass_context
def _fetch_scenes(context: click.Context, /, **values: Any) -> None:
    from eechips.archive.scenes.api import refresh_scenes, scenes_recipe
    from eechips.cli.recipe_execution import finish, show_log

    recipe, config = scenes_recipe(_command_of(context).options(values))
    if values["refresh"] and not config.dry_run:
        show_log(config)
        refresh_scenes(recipe, config)
    elif not config.quiet and (answer := recipe.kept(config.out)) is not None:
        unread = f" {answer.unread:,} parts of it may be missing: see run.log." if answer.unread else ""
        echo(f"The catalogue's answer is {answer.age} old; --refresh searches again.{unread}", err=True)
    finish(recipe, config)
    if recipe.refused:
        context.exit(FAILURES)


scenes_command = partial(find_command, "scenes", callback=_fetch_scenes, help=_SCENES)


def run_command() -> click.Command:
    """Make ``eechips run``."""
    command = find_command("run", callback=_run_recipe, help=_RUN)
    schema = VerbOption(
        ["--schema"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_schema,
        decides="run",
        help="Print the JSON schema of run files, for an editor.",
    )
    after = next(number for number, parameter in enumerate(command.params, start=1) if parameter.name == "check")
    command.params.insert(after, schema)
    return command


@click.pass_context
def _run_recipe(context: click.Context, /, recipe: Path, check: bool, **values: Any) -> None:
    from eechips.builtin_recipes.user_recipes import checked
    from eechips.cli.recipe_execution import finish

    if recipe.suffix.lower() == ".toml":
        _run_file(recipe, quiet=bool(values.get("quiet")))
        return
    command = _command_of(context)
    chosen = command.options({"recipe": recipe, **values})
    if not check:
        finish(*command.make(chosen))
        return
    report = checked(command.make, chosen)
    echo_lines(report.lines)
    if report.failed:
        context.exit(FAILURES)


def _run_file(path: Path, *, quiet: bool) -> None:
    """Run the commands of a run file, with the options of a run that are typed here."""
    from eechips.cli.run_file import read_run_file, run_steps
    from eechips.cli.run_file_writer import typed_keys

    context = click.get_current_context()
    typed = typed_keys(context)
    typed.pop("recipe")
    if of_recipe := sorted({"parameters", "max_memory", "check", "arguments"}.intersection(typed)):
        raise UsageError(f"`{of_recipe[0]}` is for a recipe: write it into {path}, below [run]")
    root = context.find_root()
    run_steps(read_run_file(path, root, typed), root, quiet=quiet)


def _print_schema(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from eechips.cli.run_file_writer import run_file_schema

    echo_json(run_file_schema(context.find_root()), indent=1)
    context.exit()


def _command_of(context: click.Context) -> FetchCommand:
    assert isinstance(context.command, FetchCommand)
    return context.command
