"""Raster files become images: cloud-optimised GeoTIFFs with the pixels, transform and CRS they came with."""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from pyproj.exceptions import CRSError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader, DatasetWriter, MemoryFile
from rasterio.windows import Window

from eechips.emulator.assets.crs import crs_name
from eechips.emulator.assets.errors import AssetWriteError, IngestError, MissingCrsError, UnreadableFileError
from eechips.emulator.assets.files import Deposit, workspace
from eechips.emulator.assets.footprint import outline
from eechips.emulator.assets.records import RasterBand, RasterFile
from eechips.emulator.pixels.grid import Grid, parse_crs

RESAMPLINGS = ("average", "nearest", "mode")
_BLOCK = 256
_CHUNK_BYTES = 64 << 20
_IN_MEMORY_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class BandSource:
    """A band that is to be stored.

    Attributes:
        path: file, or GDAL's name of a subdataset.
        number: the band there, from 1.
        name: in the image.
        resampling: of its pyramid, one of ``RESAMPLINGS``.
        masked: whether an alpha band or mask of the file says where it is valid.
        nodata: stored value that stands for no data, or None.
        dtype: numpy name of the type.
        scale: factor from stored values to physical ones, which is told and never applied.
        offset: summand after the factor, likewise.
        crs: as ``Grid.crs``.
    """

    path: str
    number: int
    name: str
    resampling: str
    masked: bool
    nodata: float | None
    dtype: str
    scale: float
    offset: float
    crs: str


@dataclass(frozen=True, slots=True)
class StoredRasters:
    """What became of an image's bands.

    Attributes:
        files: GeoTIFFs in the image's folder.
        bands: in order.
        footprint: outline in longitude and latitude.
    """

    files: tuple[RasterFile, ...]
    bands: tuple[RasterBand, ...]
    footprint: shapely.geometry.base.BaseGeometry


class Rasters:
    """Raster files opened for one ingestion; a context manager that closes them."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._opened: dict[str, DatasetReader] = {}

    def __enter__(self) -> Rasters:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def open(self, path: str) -> DatasetReader:
        """Opens a file or subdataset, once.

        Raises:
            UnreadableFileError: if GDAL cannot.
        """
        if path not in self._opened:
            try:
                with warnings.catch_warnings():
                    # What is wrong with ungeoreferenced files is said by crs_of, in our words.
                    warnings.simplefilter("ignore", NotGeoreferencedWarning)
                    self._opened[path] = self._stack.enter_context(rasterio.open(path))
            except RasterioIOError as error:
                raise UnreadableFileError(f"{path} cannot be read as a raster: {error}") from error
        return self._opened[path]

    def sources(
        self,
        path: str,
        *,
        names: Sequence[str] | None,
        resampling: str | Mapping[str, str] | None,
        nodata: float | None,
        crs: str | None,
    ) -> list[BandSource]:
        """The bands of a file as they are to be stored.

        A last band that is alpha masks the others and is not stored, unless all bands, it included, are named.

        Args:
            path: file or subdataset.
            names: of the bands; None takes their descriptions, or "b1", "b2", ….
            resampling: see ``BandSource``, for all bands or by name; None averages, except classes with colours.
            nodata: in place of the file's own, or None.
            crs: in place of the file's own, or None.

        Raises:
            IngestError: if names or types do not suit.
            MissingCrsError: if the file is not georeferenced.
        """
        dataset = self.open(path)
        dtypes, colours = dataset.dtypes, dataset.colorinterp
        if any(np.dtype(dtype).kind == "c" for dtype in dtypes):
            raise IngestError(
                f"{path} has complex numbers, which Earth Engine does not hold: store the parts as bands."
            )
        name_of_crs = crs_of(dataset, crs)
        flags = dataset.mask_flag_enums[0]
        alpha = dataset.count > 1 and colours[-1] is ColorInterp.alpha and MaskFlags.alpha in flags
        as_data = alpha and names is not None and len(names) == dataset.count
        count = dataset.count - 1 if alpha and not as_data else dataset.count
        masked = MaskFlags.per_dataset in flags and not as_data and nodata is None
        nodatavals, scales, offsets = dataset.nodatavals, dataset.scales, dataset.offsets
        return [
            BandSource(
                path=path,
                number=position + 1,
                name=name,
                resampling=_resampling(resampling, name, colours[position]),
                masked=masked,
                nodata=_nodata(nodatavals[position], nodata, dtypes[position], path),
                dtype=np.dtype(dtypes[position]).name,
                scale=float(scales[position]),
                offset=float(offsets[position]),
                crs=name_of_crs,
            )
            for position, name in enumerate(_names(dataset, path, count, names))
        ]

    def store(self, sources: Sequence[BandSource], root: Path, folder: str, deposit: Deposit) -> StoredRasters:
        """Writes bands as GeoTIFFs: one for those that have file, type, nodata and pyramid in common.

        Args:
            sources: the bands, in order.
            root: the store's folder.
            folder: the image's folder, relative to it.
            deposit: takes the files.

        Raises:
            AssetWriteError: if a file cannot be written, or does not hold what was written to it.
        """
        groups: dict[tuple[str, ...], list[BandSource]] = {}
        for source in sources:
            key = (source.path, source.dtype, repr(source.nodata), source.resampling)
            groups.setdefault(key, []).append(source)
        files: list[RasterFile] = []
        bands: dict[str, RasterBand] = {}
        for group in groups.values():
            dataset = self.open(group[0].path)
            with workspace(root / folder) as place:
                made, levels = _write(dataset, group, place)
                href = deposit.add(made, folder)
            files.append(_describe(dataset, group[0], href, levels))
            for index, source in enumerate(group):
                bands[source.name] = RasterBand(
                    source.name, len(files) - 1, index, source.nodata, source.scale, source.offset
                )
        outlines = dict.fromkeys(_grid(file) for file in files)
        footprint = shapely.union_all([outline(grid) for grid in outlines])
        return StoredRasters(tuple(files), tuple(bands[source.name] for source in sources), footprint)


def crs_of(dataset: DatasetReader, override: str | None) -> str:
    """The CRS of a raster, as ``Grid.crs``.

    Raises:
        MissingCrsError: if it has none, or no transform.
        IngestError: if the one given instead is not understood.
    """
    if dataset.transform == Affine.identity():
        raise MissingCrsError(
            f"{dataset.name} is not georeferenced: warp it to a grid first, for example with gdalwarp."
        )
    if override is not None:
        try:
            return crs_name(override)
        except CRSError as error:
            raise IngestError(f"The CRS {override!r} is not understood: {error}") from error
    if dataset.crs is None:
        raise MissingCrsError(f"{dataset.name} has no coordinate reference system: say which with crs='EPSG:…'.")
    return crs_name(dataset.crs.to_wkt())


def _names(dataset: DatasetReader, path: str, count: int, names: Sequence[str] | None) -> list[str]:
    if names is None:
        described = [name or "" for name in dataset.descriptions[:count]]
        usable = all(described) and len(set(described)) == count
        return described if usable else [f"b{number}" for number in range(1, count + 1)]
    if len(names) != count:
        raise IngestError(f"{path} has {count} bands, but {len(names)} names were given: {', '.join(names)}.")
    if len(set(names)) != count or not all(names):
        raise IngestError(f"Band names must differ and not be empty: {', '.join(names)}.")
    return list(names)


def _resampling(asked: str | Mapping[str, str] | None, name: str, colour: ColorInterp) -> str:
    chosen = asked if isinstance(asked, str) else (asked or {}).get(name)
    if chosen is None:
        # A colour table says that values are classes, whose average means nothing.
        return "mode" if colour is ColorInterp.palette else "average"
    if chosen not in RESAMPLINGS:
        raise IngestError(f"Pyramids are made by {', '.join(RESAMPLINGS)}, not by {chosen!r}.")
    return chosen


def _nodata(own: float | None, override: float | None, dtype: str, path: str) -> float | None:
    value = own if override is None else override
    if value is None:
        return None
    kind = np.dtype(dtype)
    if kind.kind == "f" or (float(value).is_integer() and np.iinfo(kind).min <= value <= np.iinfo(kind).max):
        return float(value)
    if override is not None:
        raise IngestError(f"The nodata value {override} is none of {dtype}, the type of {path}.")
    return None  # no pixel can have it


def _write(dataset: DatasetReader, group: Sequence[BandSource], place: Path) -> tuple[Path, tuple[int, ...]]:
    """Writes a cloud-optimised GeoTIFF and reads it back; returns it and the levels of its pyramid."""
    made = place / "image.tif"
    try:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with _draft(dataset, group, place) as draft:
                levels = _levels(dataset.width, dataset.height)
                rasterio.shutil.copy(
                    draft,
                    str(made),
                    driver="COG",
                    blocksize=_block(dataset.width, dataset.height),
                    compress="DEFLATE",
                    predictor="YES",
                    bigtiff="IF_SAFER",
                    overviews="IGNORE_EXISTING" if levels else "NONE",
                    overview_count=levels,
                    overview_resampling=group[0].resampling.upper(),
                )
            return made, _check(dataset, group, made)
    except (RasterioError, rasterio._err.CPLE_BaseError) as error:
        free = shutil.disk_usage(place).free
        raise AssetWriteError(
            f"Cannot store {dataset.name} in {place.parent}: {error} ({free >> 20} MB are free there)."
        ) from error


@contextmanager
def _draft(dataset: DatasetReader, group: Sequence[BandSource], place: Path) -> Iterator[str]:
    """The name of a GeoTIFF to copy from: GDAL's COG driver only copies."""
    dtype = np.dtype(group[0].dtype)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": dataset.width,
        "height": dataset.height,
        "count": len(group),
        "dtype": dtype,
        "crs": CRS.from_user_input(_gdal_crs(group[0].crs)),
        "transform": dataset.transform,
        "nodata": group[0].nodata,
        "photometric": "MINISBLACK",
        "alpha": "NO",
        "bigtiff": "IF_SAFER",
    }
    if dataset.width * dataset.height * len(group) * dtype.itemsize <= _IN_MEMORY_BYTES:
        with MemoryFile() as memory:
            with memory.open(**profile) as draft:
                _fill(dataset, group, draft)
            yield memory.name
    else:
        with rasterio.open(place / "draft.tif", "w", tiled=True, **profile) as draft:
            _fill(dataset, group, draft)
        yield str(place / "draft.tif")


def _fill(dataset: DatasetReader, group: Sequence[BandSource], draft: DatasetWriter) -> None:
    numbers = [source.number for source in group]
    for window in _windows(dataset, group):
        draft.write(dataset.read(numbers, window=window), window=window)
        if group[0].masked:
            draft.write_mask(dataset.read_masks(numbers[0], window=window) != 0, window=window)
    draft.descriptions = [source.name for source in group]
    draft.scales = [source.scale for source in group]
    draft.offsets = [source.offset for source in group]


def _check(dataset: DatasetReader, group: Sequence[BandSource], made: Path) -> tuple[int, ...]:
    """Compares what was written with what was read: GDAL may lose errors of its last writes."""
    numbers = [source.number for source in group]
    with rasterio.open(made) as stored:
        for window in _windows(dataset, group):
            if dataset.read(numbers, window=window).tobytes() != stored.read(window=window).tobytes():
                raise AssetWriteError(f"What was stored of {dataset.name} differs from it: is the disk full?")
        return 1, *stored.overviews(1)


def _describe(dataset: DatasetReader, source: BandSource, href: str, levels: tuple[int, ...]) -> RasterFile:
    t = dataset.transform
    return RasterFile(
        href=href,
        crs=source.crs,
        transform=(t.a, t.b, t.c, t.d, t.e, t.f),
        width=dataset.width,
        height=dataset.height,
        dtype=source.dtype,
        levels=levels,
    )


def _grid(file: RasterFile) -> Grid:
    return Grid(file.crs, Affine(*file.transform), file.width, file.height)


def _windows(dataset: DatasetReader, group: Sequence[BandSource]) -> Iterator[Window]:
    """Strips of whole blocks that fit in memory."""
    block = dataset.block_shapes[0][0]
    row_bytes = dataset.width * len(group) * np.dtype(group[0].dtype).itemsize
    rows = max(block, _CHUNK_BYTES // row_bytes // block * block)
    for start in range(0, dataset.height, rows):
        yield Window(0, start, dataset.width, min(rows, dataset.height - start))


def _block(width: int, height: int) -> int:
    """Edge of a tile in pixels: GDAL wants multiples of 16."""
    return min(_BLOCK, math.ceil(max(width, height) / 16) * 16)


def _levels(width: int, height: int) -> int:
    """How often to halve until all is in one tile, as Earth Engine's pyramids do.

    https://developers.google.com/earth-engine/guides/scale
    """
    return max(0, math.ceil(math.log2(max(width, height) / _BLOCK)))


def _gdal_crs(crs: str) -> str:
    return crs if crs.startswith("EPSG:") else str(parse_crs(crs).to_wkt())
