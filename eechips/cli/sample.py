"""``eechips sample``."""

from __future__ import annotations

from typing import Any

import click

from eechips.cli.finish import finish
from eechips.cli.options import (
    HELP,
    Size,
    chip_options,
    colour_options,
    date_options,
    given,
    grid_options,
    mask_option,
    repair_option,
    run_options,
)
from eechips.cli.sections import sectioned
from eechips.jobs.chips import sample_recipe
from eechips.recipe import CHIP_FORMATS

SECTIONS = {
    "What": ("dataset", "bands", "start", "end", "mask", "format", "minimum", "maximum", "palette", "provenance"),
    "Where: exactly one of": ("per_ecoregion", "per_class", "total", "spacing", "points"),
    "Where, in detail": (
        *("roi", "repair", "class_image", "classes", "ecoregions", "ecoregion_field", "lon_field", "lat_field"),
        *("date_field", "window", "min_distance", "mask_image", "on_empty", "seed", "limit"),
    ),
    "Pixels": ("size", "grid", "crs", "scale", "align", "transform"),
}


@click.command("sample", cls=sectioned(SECTIONS), context_settings=HELP)
@click.option(
    "--dataset",
    required=True,
    multiple=True,
    metavar="NAME",
    help="Alias (eechips datasets) or any Earth Engine id. Several times: a file of each for every place, all on the"
    " pixels of the first.",
)
@click.option(
    "--bands",
    multiple=True,
    metavar="[NAME:]A,B,…",
    help="Bands, in order; of several datasets --bands S2:B4,B3 --bands SRTM:elevation. [default: the dataset's]",
)
@date_options
@mask_option
@click.option(
    "--format",
    type=click.Choice(CHIP_FORMATS),
    help="png and jpg: pictures, 1 or 3 bands of 8 bits. tif (GeoTIFF) and npy: the data. [default: png; tif for"
    " several datasets]",
)
@colour_options
@click.option("--per-ecoregion", type=int, metavar="N", help="N random points in each ecoregion that meets the region.")
@click.option("--per-class", type=int, metavar="N", help="N random points in each class of --class-image.")
@click.option("--total", type=int, metavar="N", help="N random points, uniform on the sphere.")
@click.option("--spacing", metavar="10km", help="Places in regular rows, so far from each other.")
@click.option("--points", metavar="FILE", help="Points of a CSV file, GeoParquet or vector file.")
@click.option(
    "--roi",
    metavar="REGION",
    help="W,S,E,N in degrees, a vector file, or ASSET:FIELD=VALUE. [default: the dataset's, Colorado for NAIP; the"
    " world for --total]",
)
@repair_option
@click.option("--class-image", metavar="ID:BAND", help="Map of the classes, as ESA/WorldCover/v200:Map.")
@click.option("--classes", metavar="A,B,…", help="Classes wanted, as 10,40,50. [default: all that are found]")
@click.option("--ecoregions", metavar="ASSET", help="Table of the strata. [default: RESOLVE/ECOREGIONS/2017]")
@click.option("--ecoregion-field", metavar="FIELD", help="Its column that identifies them. [default: ECO_ID]")
@click.option("--lon-field", metavar="FIELD", help="Longitudes of --points. [default: longitude, lon, … x]")
@click.option("--lat-field", metavar="FIELD", help="Latitudes. [default: latitude, lat, y]")
@click.option(
    "--date-field",
    metavar="FIELD",
    help="Dates of --points: a chip shows the image nearest to its own, of two equally near the earlier.",
)
@click.option("--window", metavar="30d", help="How much older or younger than that an image may be: 30d, 12h, 2w.")
@click.option(
    "--min-distance",
    metavar="500m|chip",
    help="Leave out points nearer than this to one before. chip: so near that chips could overlap.",
)
@click.option("--mask-image", metavar="ID:BAND", help="Only where this is not zero, and not masked.")
@click.option(
    "--provenance",
    is_flag=True,
    help="Note all images of which a chip shows a pixel, and their dates; else only the one whose pixels it has.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed draws the same points.")
@click.option("--limit", type=int, metavar="N", help="Stop after N chips in all, spread over the strata.")
@chip_options
@click.option("--size", type=Size(), default=256, show_default=True, help="Pixels of a chip.")
@click.option(
    "--grid",
    metavar="native|thumb",
    help="native: on the source image's own pixels. thumb: buffer().bounds() around the point, resampled."
    " [default: native for tif and npy, thumb for png and jpg]",
)
@grid_options
@run_options
def command(**options: Any) -> None:
    """Take image chips: at random places, in regular rows, or where a file says.

    A chip shows the dataset's images between the two dates, the latest on top; with --mask, the latest clear pixels.
    Interrupted, the same command goes on where it stopped; finished, it does nothing.

    \b
    Examples:
      eechips sample --dataset NAIP --per-ecoregion 25 --local
      eechips sample --dataset S2 --per-class 100 --class-image ESA/WorldCover/v200:Map --roi 5.9,45.8,6.9,46.8 \\
          --start 2023-06-01 --end 2023-09-01 --mask --bands B4,B3,B2,B8 --format tif --min-distance chip
      eechips sample --dataset S2 --dataset SRTM --dataset WORLDCOVER --total 1000 --roi study_area.gpkg
      eechips sample --dataset S2 --points plots.csv --date-field surveyed --window 30d --name '{plot}'
      eechips sample --dataset NAIP --spacing 10km --roi=-105.5,39.5,-104.5,40.5 --crs utm
    """
    chosen = given({**options, "bands": options["bands"] or None})
    if len(options["dataset"]) == 1:
        (chosen["dataset"],) = options["dataset"]
    finish(*sample_recipe(chosen))
