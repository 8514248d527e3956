"""Read the bands of a catalogue's items, described by the items or by headers of their files; refuse files that differ
from their item.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from eechips_local.assets.asset_errors import IngestError
from eechips_local.assets.ingestion.item_metadata import ItemMetadata, band_names
from eechips_local.assets.ingestion.item_metadata import rasters as rasters_of
from eechips_local.assets.ingestion.raster_files import crs_of
from eechips_local.assets.ingestion.remote_rasters import ALONE, is_remote_name, reading, shown_name, translated, url_of
from eechips_local.assets.stored_images import StorePool
from eechips_local.catalogs.allowed_files import AllowedFiles, Links
from eechips_local.catalogs.catalog_schema import Stamp
from eechips_local.evaluation.asset_model import BandInfo, PixelType, PixelWindow
from eechips_local.pixels.file_source import DatasetPool, FileSource, is_alpha_name, open_file
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.half_floats import held_dtype
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from eechips_local.quota.read_counts import Reads
from eechips_local.warning_filters import ignore

_REMEMBERED = 4096  # headers
_OPEN_FILES = 256
_NEAR = 1e-3  # pixels by which a declared grid may be off: items round their numbers


@dataclass(frozen=True, slots=True)
class RasterHeader:
    """Header of a raster file.

    Attributes:
        grid: grid of its pixels; None if it does not say where they lie.
        width: columns.
        height: rows.
        names: descriptions of its bands; None for one without.
        dtypes: their numpy types.
        count: number of its bands without a last one that masks the others (alpha), which counts if the item names it.
        levels: decimation factors of its pyramid.
        placed_by: what places its pixels instead of a grid; empty if nothing does.
        nodata_beside: nodata values in a local ``.aux.xml`` file, as of JPEG 2000; empty if there is none.
    """

    grid: PixelGrid | None
    width: int
    height: int
    names: tuple[str | None, ...]
    dtypes: tuple[str, ...]
    count: int
    levels: tuple[int, ...]
    placed_by: str = ""
    nodata_beside: tuple[float | None, ...] = ()


class ItemRasters:
    """The files of a catalogue's items. Threads may share it; headers are remembered, the last few thousand.

    A local file that has changed is opened again. Of remote files, that would cost a request for each read.

    Args:
        places: which files may be read.
        reads: counts the headers that are.
    """

    def __init__(self, places: AllowedFiles, reads: Reads) -> None:
        self._places = places
        self._reads = reads
        self._lock = threading.Lock()
        self._headers: OrderedDict[str, tuple[Stamp | None, RasterHeader]] = OrderedDict()
        self.pool: DatasetPool = StorePool(_OPEN_FILES)

    def bands(self, asset_id: str, document: Mapping[str, Any], links: Links) -> tuple[BandInfo, ...]:
        """Return the bands of an item.

        Files are opened only if the item does not tell their bands, types or grid.

        Args:
            asset_id: id of the image.
            links: gives its links.

        Raises:
            InvalidError: if it has no raster, or one that may not be read or cannot be understood.
            EarthEngineError: if a server does not answer.
        """
        declared_rasters = rasters_of(document)
        if not declared_rasters:
            there = ", ".join(
                f"{key} ({asset.get('type') or asset.get('href')})" for key, asset in document["assets"].items()
            )
            raise InvalidError(
                f"Image asset '{asset_id}' has no GeoTIFF or JPEG 2000 file with data among its assets: "
                f"{there or 'there are none'}."
            )
        sources = [ItemRaster(asset_id, declared, links, self) for declared in declared_rasters]
        layouts = [source.layout() for source in sources]
        try:
            names = band_names(
                [(declared.key, layout.names) for declared, layout in zip(declared_rasters, layouts, strict=True)]
            )
        except ValueError as error:
            raise InvalidError(f"Image asset '{asset_id}': {error}.") from error
        return tuple(
            BandInfo(name, PixelType.of(dtype), layout.grid, source, index)
            for source, layout, own in zip(sources, layouts, names, strict=True)
            for index, (name, dtype) in enumerate(zip(own, layout.dtypes, strict=True))
        )

    def place(self, asset_id: str, href: str, links: Links) -> str:
        """See ``AllowedFiles.find``."""
        return self._places.find(asset_id, href, links)

    def header(self, place: str) -> RasterHeader:
        """Return the header of a file.

        Args:
            place: GDAL's name of it.

        Raises:
            InvalidError: if it cannot be read.
            EarthEngineError: if its server does not answer.
        """
        stamp = _stamp_of(place)
        with self._lock:
            known_stamp, known = self._headers.get(place, (None, None))
            if known is not None and known_stamp == stamp:
                self._headers.move_to_end(place)
                return known
            if known is not None:
                del self._headers[place]
                self.pool.clear()
                self.pool = StorePool(_OPEN_FILES)  # datasets in use go back to the other
        raster_header = self._read(place)
        with self._lock:
            self._headers[place] = stamp, raster_header
            while len(self._headers) > _REMEMBERED:
                self._headers.popitem(last=False)
        return raster_header

    def close(self) -> None:
        """Close what is open; it can still be used."""
        self.pool.clear()

    def _read(self, place: str) -> RasterHeader:
        self._reads.add(headers=1)
        is_local = not is_remote_name(place)
        for mask in (f"{place}.msk", f"{place}.MSK"):  # not opened: it may be a list of other files
            if is_local and Path(mask).is_file():
                raise InvalidError(
                    f"{place} has a mask in {mask}, which is not read: copy it with gdal_translate -of COG, which puts "
                    "both into one file."
                )
        nodata_beside: tuple[float | None, ...] = ()
        try:
            ignore(NotGeoreferencedWarning)
            if is_local and Path(f"{place}.aux.xml").is_file():
                with open_file(place) as dataset:
                    nodata_beside = tuple(dataset.nodatavals)
            with rasterio.Env(**ALONE), reading(place), open_file(place) as dataset:
                if any(dtype.startswith("complex") for dtype in dataset.dtypes):
                    raise InvalidError(f"{shown_name(place)} has complex numbers, which no image holds.")
                if "uint64" in dataset.dtypes:  # as ``RasterFiles.sources`` refuses them
                    raise InvalidError(f"{shown_name(place)} has unsigned numbers of 64 bits, which no image holds.")
                alpha = dataset.count > 1 and dataset.colorinterp[-1] is ColorInterp.alpha
                is_mask = alpha and MaskFlags.alpha in dataset.mask_flag_enums[0]
                return RasterHeader(
                    grid=_grid_of(dataset),
                    width=dataset.width,
                    height=dataset.height,
                    names=tuple(dataset.descriptions),
                    dtypes=tuple(held_dtype(np.dtype(dtype).name) for dtype in dataset.dtypes),
                    count=dataset.count - 1 if is_mask else dataset.count,
                    levels=FileSource.open(place, self.pool).levels,
                    placed_by=_placed_by(dataset),
                    nodata_beside=nodata_beside,
                )
        except RasterioError as error:
            raise _said(error, place) from error


@dataclass(frozen=True, slots=True)
class BandLayout:
    """Structure of an item's file.

    Attributes:
        names: names of its bands, or None for one that has none.
        dtypes: their numpy types.
    """

    names: tuple[str | None, ...]
    dtypes: tuple[str, ...]
    grid: PixelGrid


@dataclass(frozen=True, slots=True, eq=False)
class ItemRaster:
    """A ``RasterSource`` over a file of an item, which is opened when it has to be.

    Attributes:
        asset_id: id of the image.
        declared: what the item declares of the file.
        links: gives the item's links.
        rasters: opens files.
    """

    asset_id: str
    declared: ItemMetadata
    links: Links = field(repr=False)
    rasters: ItemRasters = field(repr=False)

    @property
    def levels(self) -> tuple[int, ...]:
        """See ``RasterSource``.

        Raises:
            InvalidError: if the file is not what the item tells.
        """
        return self._checked()[1].levels

    def layout(self) -> BandLayout:
        """Return the file's bands and grid, as the item tells or, where that is not enough, as the file itself says.

        Raises:
            InvalidError: if the file says too little, or has other bands than the item tells.
        """
        declared = self.declared
        if declared.grid is not None and declared.dtypes is not None:
            return BandLayout(declared.names, declared.dtypes, declared.grid)
        place, header = self._checked()
        grid = declared.grid or header.grid
        if grid is None:
            raise InvalidError(
                f"Image asset '{self.asset_id}': neither the item nor {shown_name(place)} says where its pixels lie."
            )
        count = len(declared.names) or header.count
        own = header.names[:count]
        names = declared.names or (own if _are_usable(own) else (None,) * count)
        # A single band that the item does not name is known by its asset.
        return BandLayout(names if declared.names or count > 1 else (None,), header.dtypes[:count], grid)

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Read native pixels of one level; see ``RasterSource.read``.

        Raises:
            InvalidError: if the file cannot be read, or is not what the item tells.
            EarthEngineError: if its server does not answer.
        """
        place, header = self._checked()
        declared = self.declared.nodata if self.declared.names else self.declared.nodata * len(header.names)
        both = (header.nodata_beside, declared)
        nodata = {band: value for values in both for band, value in enumerate(values) if value is not None}
        try:
            with rasterio.Env(**ALONE), reading(place):
                data = frozenset(band for band, name in enumerate(self.declared.names) if not is_alpha_name(name))
                source = FileSource(place, header.levels, self.rasters.pool, tuple(nodata.items()), data)
                return source.read(bands, window, level)
        except RasterioError as error:
            raise _said(error, place) from error

    def _checked(self) -> tuple[str, RasterHeader]:
        """Return GDAL's name of the file, and its header, which is as the item tells."""
        place = self.rasters.place(self.asset_id, self.declared.href, self.links)
        header = self.rasters.header(place)
        problem = _difference(self.declared, header)
        if problem is not None:
            raise InvalidError(f"Image asset '{self.asset_id}': {shown_name(place)} {problem}.")
        return place, header


def _stamp_of(place: str) -> Stamp | None:
    """Return what changes with a local file; None for remote ones, and where there is none."""
    try:
        status = None if is_remote_name(place) else Path(place).stat()
    except OSError:
        return None
    return None if status is None else (status.st_ino, status.st_mtime_ns, status.st_size)


def _said(error: RasterioError, place: str) -> EarthEngineError:
    """Return GDAL's error of a file as the service reports it."""
    if is_remote_name(place):
        return translated(error, url_of(place))
    return InvalidError(f"{place} cannot be read: {error}")


def _are_usable(names: Sequence[str | None]) -> bool:
    return all(names) and len(set(names)) == len(names)


def _grid_of(dataset: Any) -> PixelGrid | None:
    if dataset.transform == Affine.identity() or dataset.crs is None:
        return None
    try:
        return PixelGrid(crs_of(dataset, None), dataset.transform, dataset.width, dataset.height)
    except IngestError:
        return None


def _placed_by(dataset: Any) -> str:
    if dataset.gcps[0]:
        return "ground control points"
    return "rational polynomials" if dataset.rpcs else ""


def _difference(declared: ItemMetadata, header: RasterHeader) -> str | None:
    """Return the difference between a file and its item, a sentence without its subject; None if there is none."""
    if len(declared.names) > len(header.names):
        return f"has {len(header.names)} bands, but the item declares {len(declared.names)}"
    count = len(declared.dtypes or ())
    if declared.dtypes is not None and declared.dtypes != header.dtypes[:count]:
        return f"holds {', '.join(header.dtypes[:count])}, but the item declares {', '.join(declared.dtypes)}"
    if header.grid is None and header.placed_by:
        # Items of Earth Search and the Planetary Computer declare grids of scenes of Sentinel-1 that they do not have:
        # https://github.com/sentinel-hub/titiler-openeo/issues/338
        return f"is placed by {header.placed_by}, not by a grid: warp it first, for example with gdalwarp"
    if declared.grid is None:
        return None
    if (declared.grid.width, declared.grid.height) != (header.width, header.height):
        size = f"{declared.grid.width}x{declared.grid.height}"
        return f"has {header.width}x{header.height} pixels, but the item declares {size}"
    if header.grid is not None and not declared.grid.lies_on(header.grid, _NEAR):
        return f"is not where the item declares it: {_shown(header.grid)}, not {_shown(declared.grid)}"
    return None


def _shown(grid: PixelGrid) -> str:
    return f"{grid.short_crs} from {grid.transform.c:g}, {grid.transform.f:g}"
