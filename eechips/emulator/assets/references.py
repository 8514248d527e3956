"""Images whose GeoTIFFs stay what they are: hard links to local files, URLs of remote ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import shapely
from affine import Affine

from eechips.emulator.assets.cogs import StoredRasters, describe
from eechips.emulator.assets.errors import IngestError
from eechips.emulator.assets.files import Deposit, workspace
from eechips.emulator.assets.footprint import outline
from eechips.emulator.assets.rasters import BandSource, Rasters
from eechips.emulator.assets.records import RasterBand, RasterFile
from eechips.emulator.assets.remote import gdal_name, is_remote_name, reading, shown_name
from eechips.emulator.pixels.grid import Grid
from eechips.emulator.pixels.raster import DatasetPool, GeoTiff

_GEOTIFF = "GTiff"


def refer_to_bands(
    rasters: Rasters, sources: Sequence[BandSource], root: Path, folder: str, deposit: Deposit
) -> StoredRasters:
    """Takes the files of bands as they are.

    A local file gets a second name inside the store: the store then holds it, without copying it, and nothing in the
    store leads out of it. Overviews serve as far as their sizes are rounded up, as GDAL makes them.

    Args:
        rasters: opens files.
        sources: the bands, in order.
        root: the store's folder.
        folder: the image's folder, relative to it.
        deposit: takes the links.

    Raises:
        IngestError: if a file is no GeoTIFF, cannot be linked, or does not say itself what its nodata value is.
    """
    files: dict[str, RasterFile] = {}
    for source in sources:
        if source.path not in files:
            files[source.path] = _file(rasters, source, root, folder, deposit)
    order = list(files)
    bands = tuple(
        RasterBand(s.name, order.index(s.path), s.number - 1, s.nodata, s.scale, s.offset)
        for s in _checked(rasters, sources)
    )
    grids = dict.fromkeys(Grid(f.crs, Affine(*f.transform), f.width, f.height) for f in files.values())
    return StoredRasters(tuple(files.values()), bands, shapely.union_all([outline(grid) for grid in grids]))


def _checked(rasters: Rasters, sources: Sequence[BandSource]) -> Sequence[BandSource]:
    """The bands, if what is told of them is also what their files say: pixels are read from those alone."""
    for source in sources:
        own = rasters.open(source.path).nodatavals[source.number - 1]
        if source.nodata is not None and repr(source.nodata) != repr(own):
            raise IngestError(
                f"{shown_name(source.path)} has {'no nodata value' if own is None else f'the nodata value {own}'}, "
                f"not {source.nodata}: ingest a copy."
            )
    return sources


def _file(rasters: Rasters, source: BandSource, root: Path, folder: str, deposit: Deposit) -> RasterFile:
    dataset = rasters.open(source.path)
    if dataset.driver != _GEOTIFF:
        raise IngestError(f"{shown_name(source.path)} is no GeoTIFF but {dataset.driver}: ingest a copy.")
    with reading(source.path):
        levels = GeoTiff.open(source.path, DatasetPool()).levels
    if is_remote_name(source.path):
        href = source.path.removeprefix(gdal_name(""))
    else:
        href = _link(Path(source.path), root, folder, deposit)
    return describe(dataset, source, href, levels)


def _link(path: Path, root: Path, folder: str, deposit: Deposit) -> str:
    with workspace(root / folder) as place:
        made = place / "image.tif"
        try:
            os.link(path, made)
        except OSError as error:
            raise IngestError(
                f"{path} cannot get a second name in {root} ({error.strerror}): both must be on one disk, and the file "
                "one's own. Ingest a copy."
            ) from error
        return deposit.add(made, folder)
