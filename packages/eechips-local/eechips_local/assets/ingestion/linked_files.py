"""Ingest images without copying their files (``by_reference``): hard links to local files, URLs of remote ones."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import rasterio
import shapely
from affine import Affine
from rasterio.enums import MaskFlags

from eechips_local.assets.asset_errors import IngestError
from eechips_local.assets.asset_names import is_remote
from eechips_local.assets.footprint import outline
from eechips_local.assets.ingestion.cogs import StoredRasters, describe
from eechips_local.assets.ingestion.raster_files import BandSource, RasterFiles
from eechips_local.assets.ingestion.records import RasterBand, RasterFile
from eechips_local.assets.ingestion.remote_rasters import ALONE, gdal_name, is_remote_name, reading, shown_name
from eechips_local.assets.store_files import Deposit, workspace
from eechips_local.pixels.file_source import DRIVERS, DatasetPool, FileSource, open_file
from eechips_local.pixels.grids.pixel_grid import PixelGrid


def refer_to_bands(
    rasters: RasterFiles, sources: Sequence[BandSource], root: Path, folder: str, deposit: Deposit
) -> StoredRasters:
    """Take the files of bands as they are.

    A local file gets a second name inside the store: the store then holds it, without copying it, and nothing in the
    store leads out of it. Overviews serve as far as their sizes are rounded up, as GDAL makes them.

    Args:
        rasters: opens files.
        sources: the bands, in order.
        root: the store's folder.
        folder: the image's folder, relative to it.
        deposit: takes the links.

    Raises:
        IngestError: if a file is neither GeoTIFF nor JPEG 2000, cannot be linked, or does not say itself what its
            nodata value is.
    """
    files: dict[str, RasterFile] = {}
    for source in sources:
        if source.path not in files:
            files[source.path] = _file(rasters, source, root, folder, deposit)
    order = list(files)
    bands = tuple(RasterBand(s.name, order.index(s.path), s.number - 1, s.nodata, s.scale, s.offset) for s in sources)
    grids = dict.fromkeys(PixelGrid(f.crs, Affine(*f.transform), f.width, f.height) for f in files.values())
    for source in sources:
        taken = {other.number for other in sources if other.path == source.path}
        _check(rasters, source, taken, _place(files[source.path].href, root))
    return StoredRasters(tuple(files.values()), bands, shapely.union_all([outline(grid) for grid in grids]))


def _file(rasters: RasterFiles, source: BandSource, root: Path, folder: str, deposit: Deposit) -> RasterFile:
    dataset = rasters.open(source.path)
    if dataset.driver not in DRIVERS:
        raise IngestError(
            f"{shown_name(source.path)} is neither GeoTIFF nor JPEG 2000 but {dataset.driver}: ingest a copy."
        )
    if is_remote_name(source.path):
        href = source.path.removeprefix(gdal_name(""))
    else:
        href = _link(Path(source.path), root, folder, deposit)
    place = _place(href, root)
    with reading(place), rasterio.Env(**ALONE):
        levels = FileSource.open(place, DatasetPool()).levels
    return replace(describe(dataset, source, href, levels), keeps_extent=True)


def _place(href: str, root: Path) -> str:
    """Return the file as it will be read."""
    return gdal_name(href) if is_remote(href) else str(root / href)


def _check(rasters: RasterFiles, source: BandSource, taken: Collection[int], place: str) -> None:
    """Check that the file itself has everything that is declared of a band: pixels are read from it alone.

    Raises:
        IngestError: if the item, or a file beside it, knows of a nodata value or a mask that it does not have.
    """
    with reading(place), rasterio.Env(**ALONE), open_file(place) as alone:
        nodata, flags = alone.nodatavals[source.number - 1], alone.mask_flag_enums[source.number - 1]
        last = alone.count
    if MaskFlags.alpha in flags and not source.masked and last not in taken:
        raise IngestError(
            f"{shown_name(source.path)} calls its last band alpha, so that it masks the others: choose it as well, or "
            "ingest a copy."
        )
    if source.nodata is not None and repr(source.nodata) != repr(nodata):
        own = "no nodata value" if nodata is None else f"the nodata value {nodata}"
        raise IngestError(f"{shown_name(source.path)} has {own}, not {source.nodata}: ingest a copy.")
    if flags != rasters.open(source.path).mask_flag_enums[source.number - 1]:
        raise IngestError(f"{shown_name(source.path)} has its mask in another file: ingest a copy.")


def _link(path: Path, root: Path, folder: str, deposit: Deposit) -> str:
    with workspace(root / folder) as place:
        link_path = place / f"image{path.suffix.lower() or '.tif'}"
        try:
            os.link(path, link_path)
        except OSError as error:
            raise IngestError(
                f"{path} cannot get a second name in {root} ({error.strerror}): both must be on one disk, and the file "
                "one's own. Ingest a copy."
            ) from error
        return deposit.add(link_path, folder)
