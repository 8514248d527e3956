"""Open raster files to ingest: names of bands, nodata, masks, the name of the CRS; refuse complex numbers, uint64, and
files that are not georeferenced.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from eechips_local.assets.asset_errors import IngestError, MissingCrsError, UnreadableFileError
from eechips_local.assets.ingestion.pyramids import choose_resampling
from eechips_local.assets.ingestion.remote_rasters import cure_of, is_remote_name, reading, shown_name, url_of
from eechips_local.assets.vectors.vector_formats import RefusedFileError, check_crs
from eechips_local.pixels.file_source import DRIVERS, is_alpha_name, open_file
from eechips_local.pixels.grids.pixel_grid import UnknownCrsError, parse_crs, transformer
from eechips_local.pixels.half_floats import held_dtype, held_values
from eechips_local.warning_filters import ignore

IN_MEMORY_BYTES = 128 << 20
# Folders may hold thousands of files, and a process may open about a thousand.
_OPEN_FILES = 64
_SINGLE = (
    ".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".img", ".dat", ".raw", ".bin", ".bil",
    ".bip", ".bsq", ".flt",
)  # fmt: skip
_ALONE = (
    *DRIVERS, "PNG", "JPEG", "WEBP", "GIF", "BIGGIF", "BMP", "HFA", "ENVI", "EHdr", "GenBin", "ISCE", "ROI_PAC",
)  # fmt: skip
"""GDAL's names of the formats of such files, none of which is a list of other files."""
_SHOWN = 80  # characters of a CRS in messages
_SYNTAX = re.compile(r"\w{2,}:")
"""Beginning of GDAL's name of a subdataset, unless a file has that name."""
_UNLISTED = {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}
"""GDAL's option to look for files beside a raster by their names: it finds a mask as ``.msk`` or ``.MSK`` only."""
_MISSING = re.compile(r"no such file|does not exist", re.IGNORECASE)
"""GDAL's messages about missing files."""


@dataclass(frozen=True, slots=True)
class BandSource:
    """A band that is to be stored.

    Attributes:
        path: file, or GDAL's name of a subdataset.
        number: the band there, from 1.
        name: in the image.
        resampling: resampling of its pyramid, see :func:`~eechips_local.assets.ingestion.pyramids.choose_resampling`.
        masked: whether an alpha band or mask says where it is valid.
        own_mask: whether that mask is this band's alone, as in a VRT.
        nodata: stored value that stands for no data, or None.
        dtype: numpy name of the type.
        scale: factor from stored values to physical ones, which is recorded and never applied.
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
    own_mask: bool = False


class RasterFiles:
    """Raster files opened for one ingestion; a context manager that closes them.

    The last ones used stay open: a dataset serves until a few dozen others have been opened.

    Args:
        drivers: GDAL's names of the formats that are read; None for those of the file's name. What others wrote about
            their files is no reason to open what leads further (VRT, WMS).
    """

    def __init__(self, drivers: Sequence[str] | None = None) -> None:
        self._drivers = drivers
        self._opened: OrderedDict[str, DatasetReader] = OrderedDict()
        self._whole: OrderedDict[str, npt.NDArray[Any]] = OrderedDict()

    def __enter__(self) -> RasterFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        while self._opened:
            self._opened.popitem()[1].close()

    def open(self, path: str) -> DatasetReader:
        """Open a file or subdataset, or take the one that is open.

        Raises:
            UnreadableFileError: if GDAL cannot.
        """
        if path not in self._opened:
            self._opened[path] = self._fresh(path)
            while len(self._opened) > _OPEN_FILES:
                self._opened.popitem(last=False)[1].close()
        self._opened.move_to_end(path)
        return self._opened[path]

    def _fresh(self, path: str) -> DatasetReader:
        drivers = self._drivers
        if drivers is None and _is_single(path):
            drivers = _ALONE
        try:
            ignore(NotGeoreferencedWarning)  # crs_of says what is wrong with such files
            with reading(path):
                if drivers is None or is_remote_name(path):
                    return open_file(path, drivers)
                with rasterio.Env(**_UNLISTED):
                    for suffix in (".msk", ".MSK"):
                        _check_mask(path + suffix)
                    return open_file(path, drivers)
        except RasterioIOError as error:
            shown = shown_name(path)
            said = str(error).replace(path, shown)
            if drivers is _ALONE and "not recognized as being" in said:
                said += " A list of rasters must be named .vrt."
            if is_remote_name(path):
                said += cure_of(said)
            raise UnreadableFileError(f"{shown} cannot be read as a raster: {said}") from error

    def sources(
        self,
        path: str,
        *,
        names: Sequence[str] | None,
        resampling: str | Mapping[str, str] | None,
        nodata: float | None,
        crs: str | None,
    ) -> list[BandSource]:
        """Return the bands of a file as they are to be stored.

        A last band that is alpha masks the others and is not stored. If all bands, it included, are named, it is
        stored, and masks the others only if it is called alpha.

        Args:
            path: file or subdataset.
            names: names of the bands; None takes their descriptions, or "b1", "b2", ….
            resampling: see ``BandSource``, for all bands or by name; None averages, except classes with colours.
            nodata: in place of the file's own, or None.
            crs: in place of the file's own, or None.

        Raises:
            IngestError: if names or types do not suit.
            MissingCrsError: if the file is not georeferenced.
        """
        dataset = self.open(path)
        dtypes, colours = dataset.dtypes, dataset.colorinterp
        if any(dtype.startswith("complex") for dtype in dtypes):  # also GDAL's complex_int16, which numpy lacks
            raise IngestError(
                f"{path} has complex numbers, which Earth Engine does not hold: store the parts as bands."
            )
        if "uint64" in dtypes:  # there is ``ee.Image.toInt64`` and no ``toUint64``; large numbers would turn negative
            raise IngestError(
                f"{path} has unsigned numbers of 64 bits, which Earth Engine does not hold: convert it, "
                "for example with gdal_translate -ot Int64 or Float64."
            )
        name_of_crs = crs_of(dataset, crs)
        masks = dataset.mask_flag_enums
        flags = masks[0]
        alpha = dataset.count > 1 and colours[-1] is ColorInterp.alpha and MaskFlags.alpha in flags
        as_data = alpha and names is not None and len(names) == dataset.count
        count = dataset.count - 1 if alpha and not as_data else dataset.count
        masked = MaskFlags.per_dataset in flags and not (as_data and names and not is_alpha_name(names[-1]))
        nodatavals, scales, offsets = dataset.nodatavals, dataset.scales, dataset.offsets
        # GDAL's flags of a band whose mask is its own; a mask stands for a value that rasterio would write as another.
        own = [
            not flags or (MaskFlags.nodata in flags and not _is_exact(value, dtype))
            for flags, value, dtype in zip(masks, nodatavals, dtypes, strict=True)
        ]
        if (masked or any(own)) and nodata is not None:
            raise IngestError(f"{path} has a mask that says where it is valid: leave nodata out.")
        return [
            BandSource(
                path=path,
                number=position + 1,
                name=name,
                resampling=choose_resampling(resampling, name, colours[position]),
                masked=own[position] or (masked and not (as_data and position == count - 1)),
                own_mask=own[position],
                nodata=None if own[position] else _nodata(nodatavals[position], nodata, dtypes[position], path),
                dtype=held_dtype(np.dtype(dtypes[position]).name),
                scale=float(scales[position]),
                offset=float(offsets[position]),
                crs=name_of_crs,
            )
            for position, name in enumerate(_names(dataset, path, count, names))
        ]

    def renamed(self, source: BandSource, name: str, resampling: str | Mapping[str, str] | None) -> BandSource:
        """Return a band with another name, by which its pyramid may be chosen; see :meth:`sources`."""
        colour = self.open(source.path).colorinterp[source.number - 1]
        return replace(source, name=name, resampling=choose_resampling(resampling, name, colour))

    def pixels(self, group: Sequence[BandSource], window: Window) -> npt.NDArray[Any]:
        """Return stored values of bands of one file, of shape (bands, rows, columns).

        Small files are kept in memory, the last ones used: one may be a series with a band for each of a thousand
        dates, and each read of such a file takes rasterio as long as it has bands.

        Raises:
            UnreadableFileError: if the file is damaged.
        """
        path = group[0].path
        dataset = self.open(path)
        numbers = [source.number for source in group]
        size = dataset.width * dataset.height * dataset.count * np.dtype(group[0].dtype).itemsize
        if size > IN_MEMORY_BYTES or len(set(dataset.dtypes)) > 1:
            return _read(dataset, numbers, window)
        if path not in self._whole:
            self._whole[path] = _read(dataset, None, None)
        self._whole.move_to_end(path)
        while sum(values.nbytes for values in self._whole.values()) > IN_MEMORY_BYTES:
            self._whole.popitem(last=False)
        rows, columns = window.toslices()
        return self._whole[path][[number - 1 for number in numbers], rows, columns]

    def valid(self, source: BandSource, window: Window) -> npt.NDArray[np.bool_]:
        """Return the valid pixels by the mask or alpha band of a band's file, shape (rows, columns).

        Raises:
            UnreadableFileError: if the file is damaged.
        """
        dataset = self.open(source.path)
        try:
            with reading(source.path):
                valid: npt.NDArray[np.bool_] = dataset.read_masks(source.number, window=window) != 0
        except RasterioError as error:
            raise UnreadableFileError(f"{shown_name(source.path)} is damaged: {error}") from error
        return valid


def _is_single(path: str) -> bool:
    if _SYNTAX.match(path) and not os.path.exists(path):  # noqa: PTH110 - of long names, too
        return False
    name = unquote(urlsplit(url_of(path)).path) if is_remote_name(path) else path
    return name.lower().endswith(_SINGLE)


def _check_mask(name: str) -> None:
    """Reject a mask beside a raster that is no GeoTIFF: GDAL opens it with any driver, also as a list of other files.

    Raises:
        RasterioIOError: if it is none; not if it is missing.
    """
    try:
        open_file(name, ("GTiff",)).close()
    except RasterioIOError as error:
        if not _MISSING.search(str(error)):
            raise RasterioIOError(
                f"the mask {name} is no GeoTIFF, or damaged: remove it, or replace it by a GeoTIFF"
            ) from error


def _read(dataset: DatasetReader, numbers: Sequence[int] | None, window: Window | None) -> npt.NDArray[Any]:
    try:
        with reading(dataset.name):
            return held_values(dataset.read(numbers, window=window))
    except RasterioError as error:
        raise UnreadableFileError(f"{shown_name(dataset.name)} is damaged: {error}") from error


def crs_of(dataset: DatasetReader, override: str | None) -> str:
    """Return the CRS of a raster, as ``Grid.crs``.

    Raises:
        MissingCrsError: if it has none, or no transform.
        IngestError: if it, or the one given instead, is not understood.
    """
    if dataset.transform == Affine.identity():
        raise MissingCrsError(
            f"{dataset.name} is not georeferenced: warp it to a grid first, for example with gdalwarp."
        )
    if override is None and dataset.crs is None:
        raise MissingCrsError(f"{dataset.name} has no coordinate reference system: say which, as in --crs EPSG:4326.")
    crs = dataset.crs.to_wkt() if override is None else override
    short = crs if len(crs) <= _SHOWN else f"{crs[:_SHOWN]}…"
    try:
        name = crs_name(crs)
        transformer(name, "EPSG:4326")
        return name
    except UnknownCrsError:
        raise IngestError(
            f"The CRS {short!r} of {dataset.name} has no place on Earth: say which it is, as in --crs EPSG:32613."
        ) from None
    except CRSError as error:
        # PROJ repeats the whole text, of several thousand characters, before it says what is wrong with it.
        reason = str(error).replace(crs, short)
        raise IngestError(f"The CRS {short!r} is not understood: {reason}") from error


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


def _nodata(own: float | None, override: float | None, dtype: str, path: str) -> float | None:
    value = own if override is None else override
    nodata = None if value is None else stored_nodata(value, dtype)
    if nodata is None and override is not None:
        raise IngestError(f"The nodata value {override} is none of {dtype}, the type of {path}.")
    if override is not None and not _is_exact(override, dtype):
        raise IngestError(
            f"The nodata value {override} has too many digits: {path} must state it itself, or have a mask."
        )
    return nodata


def _is_exact(nodata: float | None, dtype: str) -> bool:
    """Return whether GDAL masks the same pixels by a nodata value that rasterio writes: of -2**63 it reads -9 back.

    By 0.5 it masks zeros of integers.
    """
    if dtype == "int64" and (nodata is None or abs(nodata) >= 10**15):
        return False
    return nodata is None or stored_nodata(nodata, dtype) is not None


def stored_nodata(value: float, dtype: str) -> float | None:
    """Return a nodata value; None where no pixel of the type can have it."""
    kind = np.dtype(dtype)
    if kind.kind == "f" or (float(value).is_integer() and np.iinfo(kind).min <= value <= np.iinfo(kind).max):
        return float(value)
    return None


_SINUSOIDAL = "SR-ORG:6974"


@cache
def crs_name(wkt: str) -> str:
    """Return the name of a CRS, without its heights: images have none.

    Args:
        wkt: anything that pyproj understands.

    Returns:
        "EPSG:n" where PROJ identifies it beyond doubt and the two are equal, "SR-ORG:6974" where it is the
        sinusoidal grid of MODIS, else the text as it is.

    Raises:
        pyproj.exceptions.CRSError: if it cannot be understood, or names a file.
    """
    try:
        check_crs(wkt)
    except RefusedFileError as error:
        raise CRSError(str(error)) from None
    parsed = CRS.from_user_input(wkt)
    if parsed.is_compound or (len(parsed.axis_info) > 2 and not parsed.is_geocentric):
        parsed = parsed.to_2d()
        wkt = parsed.to_wkt()
    authority = parsed.to_authority(auth_name="EPSG", min_confidence=100)
    if authority is not None:
        code = ":".join(authority)
        if parse_crs(code).equals(parsed, ignore_axis_order=True):
            return code
    # OGC:CRS84 is EPSG:4326 with longitude first, which is the order of every raster and GeoJSON anyway.
    if parse_crs("EPSG:4326").equals(parsed, ignore_axis_order=True):
        return "EPSG:4326"
    if parse_crs(_SINUSOIDAL).equals(parsed, ignore_axis_order=True):
        return _SINUSOIDAL
    return wkt
