"""Decode blocks of TIFF files with GDAL, in small TIFF files in memory, and describe headers: grid, CRS, nodata, masks;
complex numbers are refused.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile

from eechips_local.archives.archive_errors import ArchiveError, ArchiveRefusedError
from eechips_local.archives.files import tiff_header
from eechips_local.archives.files.inflated_blocks import Buffer
from eechips_local.archives.files.tiff_header import TiffDirectory, TiffTag
from eechips_local.assets.asset_errors import IngestError
from eechips_local.assets.ingestion.raster_files import crs_of
from eechips_local.pixels.grids.pixel_grid import PixelGrid, parse_crs, transformer
from eechips_local.warning_filters import ignore

_LONG8 = 16
# Of georeferencing: GeoTIFF 1.1 (OGC 19-008r4); of GDAL: https://gdal.org/en/stable/drivers/raster/gtiff.html.
_GEO = frozenset({33550, 33922, 34264, 34735, 34736, 34737, tiff_header.METADATA})
_COLORS = frozenset({320, 529, 530, 531, 532})
_UNSPECIFIED = re.compile(r'DATUM\["(?:Not specified|unknown)[^"]*",\s*(?:SPHEROID|ELLIPSOID)\["WGS 84"', re.IGNORECASE)
_UTM = re.compile(r"32[67]\d\d")  # on WGS 84
_NODATA_VALUES = b"NODATA_VALUES"  # of GDAL's metadata: pixels are masked where all bands have theirs
_GREY_RGB_PALETTE = (0, 1, 2, 3)  # others are turned into these by GDAL
# What decoding depends on; 347 is JPEGTables, 50674 LercParameters. GDAL masks by nodata.
_DECODING = frozenset({
    tiff_header.BITS, tiff_header.COMPRESSION, tiff_header.PHOTOMETRIC, tiff_header.FILL_ORDER, tiff_header.SAMPLES,
    tiff_header.PREDICTOR, tiff_header.EXTRA_SAMPLES, tiff_header.SAMPLE_FORMAT, 347, 50674,
    tiff_header.NODATA,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class RasterDescription:
    """What GDAL reads in a header.

    Attributes:
        grid: grid of full resolution.
        dtypes: numpy names, one for each band.
        nodata: nodata value of all bands, or None.
        alpha: position of the band that masks the others, or None.
        is_masked_otherwise: whether GDAL masks values by more than these say.
    """

    grid: PixelGrid
    dtypes: tuple[str, ...]
    nodata: float | None
    alpha: int | None
    is_masked_otherwise: bool


@dataclass(frozen=True, slots=True, eq=False)
class DecodedBlock:
    """A block that GDAL has decoded, as ``RasterBlock``.

    Attributes:
        values: shape (bands, rows, columns).
        valid: where they are, of the same shape; None for everywhere.
    """

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_] | None

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.values.nbytes + (0 if self.valid is None else self.valid.nbytes)

    def read(
        self, bands: Sequence[int], rows: slice, columns: slice
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return values, and where they are valid; see ``RasterBlock``."""
        valid = None if self.valid is None else self.valid[:, rows, columns][list(bands)]
        return self.values[:, rows, columns][list(bands)], valid


def describe(image: TiffDirectory) -> RasterDescription:
    """Return what GDAL reads in the header of full resolution.

    Raises:
        ArchiveRefusedError: if it is not georeferenced, or of numbers that no image holds.
    """
    ignore(NotGeoreferencedWarning)
    tags = {tag: value for tag, value in image.tags.items() if tag in _DECODING | _GEO | _COLORS}
    tags |= {tiff_header.PLANAR: _short(image, 2 if image.is_planar else 1)}
    empty = [b""] * (image.samples if image.is_planar else 1)
    try:
        with _opened(_small_tiff(image, tags, image.block_height, empty)) as dataset:
            if any(dtype.startswith("complex") for dtype in dataset.dtypes):
                raise ArchiveRefusedError("it has complex numbers, which no image holds")
            transform, crs = dataset.transform, _name_zone(crs_of(dataset, None))
            flags, nodata = dataset.mask_flag_enums[0], dataset.nodatavals[0]
            if image.is_planar and (
                (MaskFlags.nodata in flags and MaskFlags.per_dataset in flags)
                or image.number(tiff_header.PHOTOMETRIC) not in _GREY_RGB_PALETTE
            ):
                raise ArchiveRefusedError("its values or masks depend on several bands, which it stores apart")
            return RasterDescription(
                PixelGrid(crs, transform, image.width, image.height),
                tuple(np.dtype(dtype).name for dtype in dataset.dtypes),
                nodata,
                dataset.count - 1 if MaskFlags.alpha in flags else None,
                # rasterio knows no nodata value of 64 bits that is out of range, and GDAL has one.
                MaskFlags.nodata in flags and (MaskFlags.per_dataset in flags or nodata is None),
            )
    except IngestError as error:
        raise ArchiveRefusedError("it is not georeferenced by a transform and a CRS of the Earth") from error
    except RasterioError as error:
        said = str(error).rpartition(".tif: ")[2].rstrip(".")  # without the name of the small file
        raise ArchiveRefusedError(f"GDAL does not read it: {said}") from error


@lru_cache(maxsize=64)
def _name_zone(crs: str) -> str:
    """Return the EPSG code of a UTM zone of an unspecified datum on the ellipsoid of WGS 84; other CRS as they are.

    Files of HLS are such: their items name the zone of WGS 84 (NASA-IMPACT/hls-cmr_stac, ``process_projection``).
    """
    if _UNSPECIFIED.search(crs) is None:
        return crs
    _, code = parse_crs(crs).to_authority("EPSG", min_confidence=50) or ("", "")
    if _UTM.fullmatch(code) is None:
        return crs
    places = np.array([[200_000.0, 500_000.0, 800_000.0], [-1e6, 1e6, 9e6]])
    is_same = np.allclose(transformer(crs, f"EPSG:{code}").transform(*places), places, rtol=0.0, atol=1e-3)
    return f"EPSG:{code}" if is_same else crs


def decode(image: TiffDirectory, numbers: Sequence[int], data: Sequence[Buffer]) -> list[DecodedBlock]:
    """Decode blocks.

    Args:
        image: whose they are.
        data: their bytes, b"" for those that the file leaves out.

    Raises:
        ArchiveError: if they cannot be decoded.
    """
    rows = [image.rows_of(number) for number in numbers]
    whole = [i for i, count in enumerate(rows) if count == image.block_height]
    decoded_blocks: dict[int, DecodedBlock] = {}
    for group in (whole, *([i] for i, count in enumerate(rows) if count != image.block_height)):
        if group:
            decoded = _decode_alike(image, [data[i] for i in group], rows[group[0]])
            decoded_blocks.update(zip(group, decoded, strict=True))
    return [decoded_blocks[i] for i in range(len(numbers))]


def _decode_alike(image: TiffDirectory, data: Sequence[Buffer], rows: int) -> list[DecodedBlock]:
    tags = {tag: value for tag, value in image.tags.items() if tag in _DECODING}
    if image.is_mask:
        tags[tiff_header.PHOTOMETRIC] = _short(image, 1)
    elif image.is_planar:
        tags = _one_sample(image, tags)
    else:
        tags |= {tag: value for tag, value in image.tags.items() if tag in _COLORS}
        metadata = image.tags.get(tiff_header.METADATA)
        if metadata is not None and _NODATA_VALUES in metadata.data:
            tags[tiff_header.METADATA] = metadata
    try:
        with _opened(_small_tiff(image, tags, rows, data)) as dataset:
            values: npt.NDArray[Any] = dataset.read()
            valid = None if image.is_mask else _validity(dataset, values)
    except RasterioError as error:
        raise ArchiveError("its pixels cannot be decoded: it is damaged, or compressed in an unknown way") from error
    parts = [slice(i * rows, (i + 1) * rows) for i in range(len(data))]
    return [DecodedBlock(values[:, part], None if valid is None else valid[:, part]) for part in parts]


def _validity(dataset: Any, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Return where GDAL says that values are valid; None for everywhere."""
    flags = {flag for band_flags in dataset.mask_flag_enums for flag in band_flags}
    if flags == {MaskFlags.all_valid}:
        return None
    nodata = dataset.nodatavals[0]
    is_exact = nodata is not None and values.dtype.kind in "iu" and abs(nodata) < 2**53 and nodata == int(nodata)
    if flags == {MaskFlags.nodata} and is_exact:  # GDAL compares floats loosely
        valid: npt.NDArray[np.bool_] = np.not_equal(values, int(nodata))
    else:
        valid = np.not_equal(dataset.read_masks(), 0)
    return valid


def _opened(content: bytes) -> Any:
    return _Memory(content)


class _Memory:
    """A dataset of GDAL over bytes."""

    def __init__(self, content: bytes) -> None:
        self._file = MemoryFile(content, ext=".tif")

    def __enter__(self) -> Any:
        try:
            self._dataset = rasterio.open(self._file.name, driver="GTiff", sharing=False)
        except BaseException:
            self._file.close()
            raise
        return self._dataset

    def __exit__(self, *_: object) -> None:
        self._dataset.close()
        self._file.close()


def _short(image: TiffDirectory, value: int) -> TiffTag:
    return TiffTag(3, 1, struct.pack(image.order + "H", value))


def _one_sample(image: TiffDirectory, tags: Mapping[int, TiffTag]) -> dict[int, TiffTag]:
    """Return tags for one band of many that are stored apart."""
    kept = {tag: value for tag, value in tags.items() if tag != tiff_header.EXTRA_SAMPLES}
    for tag in (tiff_header.BITS, tiff_header.SAMPLE_FORMAT):
        if tag in kept:
            kept[tag] = _short(image, image.number(tag))
    return kept | {tiff_header.SAMPLES: _short(image, 1), tiff_header.PHOTOMETRIC: _short(image, 1)}


def _small_tiff(image: TiffDirectory, tags: Mapping[int, TiffTag], rows: int, data: Sequence[Buffer]) -> bytes:
    """Return a BigTIFF file whose blocks stand one below the other; those of separate bands for one place."""
    order = image.order
    planes = image.samples if tags.get(tiff_header.PLANAR) == _short(image, 2) else 1
    height = rows * len(data) // planes

    def longs(values: Sequence[int]) -> TiffTag:
        return TiffTag(_LONG8, len(values), struct.pack(f"{order}{len(values)}Q", *values))

    counts = [len(block) for block in data]
    own = {tiff_header.WIDTH: longs([image.block_width]), tiff_header.LENGTH: longs([height])}
    if image.is_tiled:
        own |= {tiff_header.TILE_WIDTH: longs([image.block_width]), tiff_header.TILE_LENGTH: longs([rows])}
        where, sizes = tiff_header.TILE_OFFSETS, tiff_header.TILE_COUNTS
    else:
        own |= {tiff_header.STRIP_ROWS: longs([rows])}
        where, sizes = tiff_header.STRIP_OFFSETS, tiff_header.STRIP_COUNTS
    own |= {where: longs(counts), sizes: longs(counts)}
    entries = {**tags, **own}
    directory = 16 + 8 + 20 * len(entries) + 8
    start = directory + sum((len(t.data) + 7) // 8 * 8 for t in entries.values() if len(t.data) > 8)
    offsets, position = [], start
    for count in counts:
        offsets.append(position if count else 0)
        position += count
    entries[where] = longs(offsets)
    head, extra = [], []
    place = directory
    for tag in sorted(entries):
        tiff_tag = entries[tag]
        if len(tiff_tag.data) <= 8:
            value = tiff_tag.data.ljust(8, b"\0")
        else:
            value = struct.pack(order + "Q", place)
            extra.append(tiff_tag.data.ljust((len(tiff_tag.data) + 7) // 8 * 8, b"\0"))
            place += len(extra[-1])
        head.append(struct.pack(order + "HHQ", tag, tiff_tag.type, tiff_tag.count) + value)
    magic = b"II" if order == "<" else b"MM"
    front = magic + struct.pack(order + "HHHQQ", 43, 8, 0, 16, len(entries)) + b"".join(head) + bytes(8)
    return b"".join([front, *extra, *data])
