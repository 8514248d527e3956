"""Add assets to a folder that the local Earth Engine serves, and list them: ``eechips-local assets``."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from eechips_local.cli.console import HELP, CommandError, LocalPath, Names, debug_option, echo

_MOST_LOOKED_AT = 100
"""Images whose longitudes are looked at after an ingestion: those of one sort have the same."""


@click.group("assets", context_settings=HELP)
def assets_command() -> None:
    """Add assets to a folder that the local Earth Engine serves, and list them.

    \b
    Examples:
      eechips-local assets ingest scene.tif --into my_assets --id USDA/NAIP/DOQQ/m_1 --time-start 2020-08-31
      eechips-local assets ls my_assets
      eechips-local serve --assets my_assets
    """


@assets_command.command("ingest", context_settings=HELP)
@click.argument("files", nargs=-1, required=True, type=LocalPath(), metavar="FILE|FOLDER|ITEM…")
@click.option("--into", required=True, type=LocalPath(), metavar="DIR", help="Folder of assets.")
@click.option(
    "--id",
    "asset_id",
    required=True,
    help="Earth Engine id of the asset, or of the collection for several files. An asset that has it is replaced.",
)
@click.option(
    "--name",
    metavar="TEMPLATE",
    help="Names of several assets, from {stem}, {date}, {folder} and {path} of the file. [default: {stem}]",
)
@click.option("--pattern", metavar="GLOB", help="Only files of a folder that match, as '*.tif'.")
@click.option("--recursive", is_flag=True, help="Include subfolders.")
@click.option("--time-start", metavar="T", help="Start: ISO date or date and time (UTC), or milliseconds.")
@click.option("--time-end", metavar="T", help="End, in the same form.")
@click.option(
    "--bands", type=Names(), help="Names of the bands; for STAC items, the assets to use. [default: the file's]"
)
@click.option(
    "-p", "properties", multiple=True, metavar="NAME=VALUE", help="Property of the image or table. May be repeated."
)
@click.option("--nodata", type=float, metavar="V", help="Value for no data, instead of the file's.")
@click.option(
    "--pyramiding",
    multiple=True,
    metavar="[BAND=]POLICY",
    help="mean, sample or mode. [default: mean; mode for bands with colours]",
)
@click.option("--crs", help="Coordinate reference system, instead of the file's.")
@click.option("--layer", help="Layer of a vector file that has several.")
@click.option("--dates-from-names", is_flag=True, help="Start each asset on the first date in its file's name.")
@click.option(
    "--dates-from-bands", is_flag=True, help="An image for each date in the bands' descriptions, or of a NetCDF file."
)
@click.option(
    "--dates",
    metavar="T,T…|FILE",
    help="An image for each date: dates of the bands in order, or a file with one date per line.",
)
@click.option("--one-image", is_flag=True, help="Use the files as bands of one image.")
@click.option(
    "--by-reference",
    is_flag=True,
    help="Link the files of STAC items (local) or store their URLs (remote) instead of copying them.",
)
@click.option("--allow-remote", is_flag=True, help="Allow files of STAC items on web servers.")
@debug_option
def ingest_command(
    files: tuple[Path, ...],
    into: Path,
    asset_id: str,
    name: str | None,
    pattern: str | None,
    recursive: bool,
    time_start: str | None,
    time_end: str | None,
    bands: tuple[str, ...] | None,
    properties: tuple[str, ...],
    nodata: float | None,
    pyramiding: tuple[str, ...],
    crs: str | None,
    layer: str | None,
    dates_from_names: bool,
    dates_from_bands: bool,
    dates: str | None,
    one_image: bool,
    by_reference: bool,
    allow_remote: bool,
) -> None:
    """Convert rasters or vector files to assets: cloud-optimised GeoTIFF or GeoParquet, described by STAC.

    A folder stands for the rasters or vector files in it; a local JSON file with STAC items or a collection stands for
    the GeoTIFFs that these describe.

    \b
    Examples:
      eechips-local assets ingest m_4709963_se_14_1_20200831.tif --into my_assets \\
          --id USDA/NAIP/DOQQ/m_4709963_se_14_1_20200831 --time-start 2020-08-31 --bands R,G,B,N
      eechips-local assets ingest quads/ --into my_assets --id USDA/NAIP/DOQQ --dates-from-names --bands R,G,B,N
      eechips-local assets ingest lst_2000_2017.nc --into my_assets --id MODIS/061/MOD11A2 --dates-from-bands
      eechips-local assets ingest ecoregions.gpkg --into my_assets --id RESOLVE/ECOREGIONS/2017
      eechips-local assets ingest collection.json --into my_assets --id COPERNICUS/S2_SR --by-reference --allow-remote
    """
    from eechips_local.assets.ingestion.asset_ingestion import ingest, parse_properties, parse_pyramiding

    with _one_sentence():
        ids = ingest(
            list(files),
            into,
            asset_id,
            name=name,
            pattern=pattern,
            recursive=recursive,
            time_start=_time(time_start),
            time_end=_time(time_end),
            bands=bands,
            properties=parse_properties(properties),
            resampling=parse_pyramiding(pyramiding),
            nodata=nodata,
            crs=crs,
            layer=layer,
            dates=None if dates is None else _dates(dates),
            dates_from_bands=dates_from_bands,
            dates_from_names=dates_from_names,
            one_image=one_image,
            by_reference=by_reference,
            remote=allow_remote,
        )
    for new in ids:
        echo(new)
    _note_longitudes(into, ids[:_MOST_LOOKED_AT])


def _note_longitudes(folder: Path, ids: Sequence[str]) -> None:
    """Say of the first image with longitudes beyond 180 degrees how these are read."""
    from eechips_local.assets.folder_store import FolderStore
    from eechips_local.assets.footprint import beyond_180
    from eechips_local.evaluation.asset_model import ImageAsset

    with contextlib.closing(FolderStore(folder)) as store:
        for name in ids:
            image = store.get(name)
            reach = beyond_180(image.bands[0].grid) if isinstance(image, ImageAsset) and image.bands else None
            if reach is not None:
                echo(
                    f"Note: longitudes of {name} are {reach[0]:g} to {reach[1]:g}. The local Earth Engine finds a"
                    " pixel at 185 also at -175; Google does not document whether the service does. What helps: shift"
                    " the raster to -180 to 180 before you upload it.",
                    err=True,
                )
                return


@assets_command.command("ls", context_settings=HELP)
@click.argument("folder", type=LocalPath(), metavar="DIR")
@click.argument("asset_id", required=False, default="", metavar="[ID]")
@debug_option
def list_command(folder: Path, asset_id: str) -> None:
    """List the assets of a folder, or those below an id.

    \b
    Examples:
      eechips-local assets ls my_assets
      eechips-local assets ls my_assets USDA/NAIP/DOQQ
    """
    from eechips_local.assets.folder_store import FolderStore

    with _one_sentence():
        store = FolderStore(folder)
        for asset in store.summaries(asset_id):
            dates = " - ".join(dict.fromkeys(map(_day, filter(None, (asset.time_start, asset.time_end)))))
            size = "" if asset.type == "IMAGE" else f"{asset.size:,}"
            echo(f"{asset.type:<17}{size:>8}  {asset.id}  {dates}  {','.join(asset.names)}".rstrip())
        store.close()


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Print errors of the asset store as one sentence, unless ``--debug`` is given."""
    from eechips_local.assets.asset_errors import AssetError

    try:
        yield
    except AssetError as error:
        if click.get_current_context().meta.get("debug"):
            raise
        raise CommandError(str(error)) from error


def _dates(text: str) -> list[str]:
    """Return dates separated by commas, or the non-empty lines of a file."""
    path = Path(text)
    if path.is_file():
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [date.strip() for date in text.split(",")]


def _time(text: str | None) -> str | int | None:
    """Return milliseconds as a number, dates unchanged."""
    return int(text) if text is not None and re.fullmatch("-?[0-9]{1,18}", text) else text


def _day(milliseconds: float) -> str:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc) + dt.timedelta(milliseconds=milliseconds)
    return moment.date().isoformat()
