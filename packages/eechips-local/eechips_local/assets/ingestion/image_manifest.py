"""Ingest images by manifests: tilesets of several files, bands of them, masks and values for missing data.

See https://developers.google.com/earth-engine/guides/image_manifest and
https://developers.google.com/earth-engine/reference/rest/v1/ImageManifest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from eechips_local.assets.asset_errors import IngestError, UnreadableFileError
from eechips_local.assets.asset_names import check_band_ids
from eechips_local.assets.ingestion.asset_ingestion import POLICIES
from eechips_local.assets.ingestion.cogs import gdal_crs
from eechips_local.assets.ingestion.raster_files import BandSource, RasterFiles, crs_of, stored_nodata
from eechips_local.assets.ingestion.remote_rasters import reading
from eechips_local.pixels.half_floats import held_dtype

DRIVERS = ("GTiff",)
"""Formats that are read: Earth Engine's other one, TFRecord, is not."""
FindObject = Callable[[str], Path]
"""Returns the file of the object of a URI."""
_ROWS = 256
_DTYPES = {
    "INT8": "int8", "UINT8": "uint8", "INT16": "int16", "UINT16": "uint16", "INT32": "int32", "UINT32": "uint32",
    "FLOAT": "float32", "DOUBLE": "float64",
}  # fmt: skip
_FRACTION = 0.01  # of a pixel, by which sources of a mosaic may lie off their common grid


@dataclass(frozen=True, slots=True)
class _Source:
    """A file of a tileset, and the transform in place of its own."""

    path: str
    transform: Affine | None


@dataclass(frozen=True, slots=True)
class _Tileset:
    """Files that are one raster.

    Attributes:
        sources: the later ones are above the earlier ones.
        crs: in place of the files' own, or None.
        dtype: likewise.
        mask: whether its last band is a mask.
    """

    sources: tuple[_Source, ...]
    crs: str | None
    dtype: str | None
    mask: bool


@dataclass(frozen=True, slots=True)
class _Band:
    """A band to be: where its values are, those that are none, how its pyramid is made, and its mask's tileset."""

    name: str
    tileset: str
    index: int
    missing: tuple[float, ...]
    resampling: str
    mask: str | None


class ImageManifest:
    """A manifest whose files are ready to be read.

    Args:
        document: checked manifest.
        find: returns the file of an object.
        rasters: opens files.
        scratch: empty folder for files that are made on the way, and for links to those that are read.

    Raises:
        IngestError: if the manifest asks for what cannot be done.
    """

    def __init__(self, document: Mapping[str, Any], find: FindObject, rasters: RasterFiles, scratch: Path) -> None:
        if document.get("footprint"):
            raise IngestError("The local Earth Engine takes no footprint of a manifest: leave it out.")
        self._rasters = rasters
        self._scratch = scratch
        prefix = str(document.get("uriPrefix") or "")
        masks = self._masks(document)
        self._tilesets: dict[str, _Tileset] = {}
        for tileset in document.get("tilesets") or ():
            key = str(tileset.get("id") or "")
            if key in self._tilesets:
                raise IngestError(f"Two tilesets have the id '{key}': each must have its own.")
            self._tilesets[key] = _Tileset(
                tuple(self._source(source, prefix, find) for source in tileset.get("sources") or ()),
                tileset.get("crs") or None,
                _dtype(tileset.get("dataType")),
                key in masks,
            )
        if not self._tilesets or not all(tileset.sources for tileset in self._tilesets.values()):
            raise IngestError("A manifest needs tilesets with sources.")
        if set(masks) - set(self._tilesets):
            raise IngestError("A mask band is of a tileset that the manifest does not have.")
        self._bands = self._read_bands(document, masks)

    def sources(self, report: Callable[[float], None]) -> tuple[BandSource, ...]:
        """Return the bands; those that no file has as they are to be are written first.

        Args:
            report: called with the share that is done, from 0 to 1.

        Raises:
            IngestError: if files do not fit together.
            UnreadableFileError: if one cannot be read.
        """
        band_sources = []
        for number, band in enumerate(self._bands, 1):
            self._check_masks(band)
            direct = self._direct(band)
            band_sources.append(direct if direct is not None else self._written(band, number))
            report(number / len(self._bands))
        return tuple(band_sources)

    def objects(self) -> tuple[BandSource, ...]:
        """Return the bands of files that are to be used as they are: cloud-optimised GeoTIFFs.

        Raises:
            IngestError: if a band is not in one file as it is to be, or that is not tiled.
        """
        band_sources = []
        for band in self._bands:
            direct = self._direct(band)
            if direct is None:
                raise IngestError(
                    f"The band '{band.name}' of an external image must be in one file: ingest it instead."
                )
            if not self._rasters.open(direct.path).profile.get("tiled"):
                raise IngestError(f"{Path(direct.path).name} is not a Cloud Optimized GeoTIFF: it has no tiles.")
            band_sources.append(replace(direct, path=str(Path(direct.path).resolve())))
        return tuple(band_sources)

    def _source(self, source: Mapping[str, Any], prefix: str, find: FindObject) -> _Source:
        """Link the files of a source into a folder of their own, so that GDAL finds no others beside them."""
        paths = [find(prefix + uri) for uri in source.get("uris") or ()]
        if not paths:
            raise IngestError("A source of the manifest has no uris.")
        folder = self._scratch / f"source{len(list(self._scratch.iterdir()))}"
        folder.mkdir()
        for path in paths:
            (folder / path.name).symlink_to(path.resolve())
        affine_transform = source.get("affineTransform")
        transform = None
        if affine_transform is not None:
            names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
            transform = Affine(*(float(affine_transform.get(name) or 0.0) for name in names))
        return _Source(str(folder / paths[0].name), transform)

    def _masks(self, document: Mapping[str, Any]) -> dict[str, frozenset[str]]:
        """Return tilesets whose last band is a mask, with the bands that it masks; none for all."""
        declared_masks = document.get("maskBands") or []
        masks = [declared_masks] if isinstance(declared_masks, Mapping) else declared_masks
        return {str(mask.get("tilesetId") or ""): frozenset(mask.get("bandIds") or ()) for mask in masks}

    def _read_bands(self, document: Mapping[str, Any], masks: Mapping[str, frozenset[str]]) -> list[_Band]:
        policy, missing = document.get("pyramidingPolicy"), _missing(document)
        places = [(key, index) for key, tileset in self._tilesets.items() for index in range(self._count(tileset))]
        declared_bands = list(document.get("bands") or ())
        if not declared_bands:
            declared_bands = [{"id": f"b{number}", "place": place} for number, place in enumerate(places, 1)]
        is_in_order = all("tilesetBandIndex" not in band for band in declared_bands) and len(self._tilesets) == 1
        bands = []
        for position, band in enumerate(declared_bands):
            name = str(band.get("id") or "")
            if "place" in band:
                key, index = band["place"]
            else:
                key = str(band.get("tilesetId") or (next(iter(self._tilesets)) if len(self._tilesets) == 1 else ""))
                index = position if is_in_order else int(band.get("tilesetBandIndex") or 0)
            if key not in self._tilesets:
                raise IngestError(f"The band '{name}' is of the tileset '{key}', which the manifest does not have.")
            count = self._count(self._tilesets[key])
            if not 0 <= index < count:
                raise IngestError(f"The band '{name}' has the tileset band index {index}, but there are {count} bands.")
            mask = next((tileset for tileset, names in masks.items() if not names or name in names), None)
            own = _missing(band) if band.get("missingData") is not None else missing
            bands.append(_Band(name, key, index, own, _resampling(band.get("pyramidingPolicy") or policy, name), mask))
        names = [band.name for band in bands]
        if len(set(names)) < len(names) or not all(names):
            raise IngestError(f"Band ids must differ and not be empty: {', '.join(names)}.")
        check_band_ids(names)
        return bands

    def _count(self, tileset: _Tileset) -> int:
        """Return the number of a tileset's bands, without a mask."""
        count = int(self._rasters.open(tileset.sources[0].path).count)
        return count - 1 if tileset.mask else count

    def _check_masks(self, band: _Band) -> None:
        """Refuse missing data of a band whose file has a mask of its own, unless a mask band replaces it.

        See https://developers.google.com/earth-engine/docs/release-notes, February 26, 2025.
        """
        if not band.missing or band.mask is not None:
            return
        for source in self._tilesets[band.tileset].sources:
            if _has_mask(self._rasters.open(source.path), band.index):
                raise IngestError(
                    f"{Path(source.path).name} has a mask of its own: leave out the missing data of '{band.name}'."
                )

    def _direct(self, band: _Band) -> BandSource | None:
        """Return a band that a file has as it is to be, or None."""
        tileset = self._tilesets[band.tileset]
        is_whole = len(tileset.sources) == 1 and tileset.sources[0].transform is None
        if not is_whole or tileset.dtype is not None or band.mask is not None or len(band.missing) > 1:
            return None
        path = tileset.sources[0].path
        dataset = self._rasters.open(path)
        labels = [f"b{number}" for number in range(1, dataset.count + 1)]
        source = self._rasters.sources(path, names=labels, resampling=None, nodata=None, crs=tileset.crs)[band.index]
        if band.missing and source.masked:
            return None
        nodata = source.nodata if not band.missing else stored_nodata(band.missing[0], source.dtype)
        return replace(source, name=band.name, resampling=band.resampling, nodata=nodata)

    def _written(self, band: _Band, number: int) -> BandSource:
        """Write a band's values and mask on the common grid of its sources."""
        tileset = self._tilesets[band.tileset]
        mosaic = _Mosaic(self._rasters, tileset)
        mask = None
        if band.mask is not None:
            mask = _Mosaic(self._rasters, self._tilesets[band.mask])
            if (mask.transform, mask.width, mask.height) != (mosaic.transform, mosaic.width, mosaic.height):
                raise IngestError(f"The mask of the band '{band.name}' has another grid than its values.")
        path = self._scratch / f"band{number}.tif"
        dtype = np.dtype(tileset.dtype) if tileset.dtype is not None else mosaic.dtype
        profile: dict[str, Any] = {
            "driver": "GTiff", "width": mosaic.width, "height": mosaic.height, "count": 1, "dtype": dtype,
            "crs": gdal_crs(mosaic.crs), "transform": mosaic.transform, "tiled": True,
            "bigtiff": "IF_SAFER",
        }  # fmt: skip
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as file:
            for start in range(0, mosaic.height, _ROWS):
                window = Window(0, start, mosaic.width, min(_ROWS, mosaic.height - start))
                values, valid = mosaic.read(band.index, band.missing, window, is_masked=mask is not None)
                if mask is not None:
                    shown, known = mask.read(mask.count - 1, (), window)
                    valid &= known & (shown != 0)
                values = np.where(valid, values, values.dtype.type(0)).astype(dtype)
                file.write(values, 1, window=window)
                file.write_mask(valid, window=window)
        return BandSource(
            path=str(path), number=1, name=band.name, resampling=band.resampling, masked=True, nodata=None,
            dtype=dtype.name, scale=1.0, offset=0.0, crs=mosaic.crs,
        )  # fmt: skip


class _Mosaic:
    """The files of a tileset on one grid.

    Args:
        rasters: opens files.
        tileset: whose.

    Raises:
        IngestError: if they do not lie on one grid, or differ in their bands.
    """

    def __init__(self, rasters: RasterFiles, tileset: _Tileset) -> None:
        self._rasters = rasters
        self._tileset = tileset
        first = tileset.sources[0]
        dataset = rasters.open(first.path)
        self.crs = crs_of(dataset, tileset.crs)
        self.count: int = dataset.count
        self.dtype = np.dtype(np.result_type(*map(held_dtype, dataset.dtypes)))
        self._places: list[tuple[str, int, int, int, int]] = []
        base = first.transform or dataset.transform
        for source in tileset.sources:
            self._places.append((source.path, *self._place(source, base)))
        left = min(column for _, column, _, _, _ in self._places)
        top = min(row for _, _, row, _, _ in self._places)
        self._places = [(path, column - left, row - top, *size) for path, column, row, *size in self._places]  # type: ignore[misc]
        self.width = max(column + width for _, column, _, width, _ in self._places)
        self.height = max(row + height for _, _, row, _, height in self._places)
        self.transform = base * Affine.translation(left, top)

    def _place(self, source: _Source, base: Affine) -> tuple[int, int, int, int]:
        """Return column, row, width and height of a source on the grid of the first one."""
        dataset = self._rasters.open(source.path)
        name = Path(source.path).name
        if dataset.count != self.count or crs_of(dataset, self._tileset.crs) != self.crs:
            raise IngestError(f"{name} differs from other sources of its tileset in its bands or its CRS.")
        offset = ~base * (source.transform or dataset.transform)
        edges = [offset * (0, 0), offset * (dataset.width, dataset.height)]
        column, row = (round(value) for value in edges[0])
        expected = [(column, row), (column + dataset.width, row + dataset.height)]
        distance = max(
            abs(a - b)
            for actual, wanted in zip(edges, expected, strict=True)
            for a, b in zip(actual, wanted, strict=True)
        )
        if distance > _FRACTION:
            raise IngestError(
                f"{name} does not lie on the pixel grid of the first source of its tileset: warp it to that grid."
            )
        self.dtype = np.dtype(np.result_type(self.dtype, *map(held_dtype, dataset.dtypes)))
        return column, row, dataset.width, dataset.height

    def read(
        self, index: int, missing: Sequence[float], window: Window, *, is_masked: bool = False
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return values of a band and where they are valid, each of shape (rows, columns), in rows of the mosaic.

        Args:
            index: number of the band, from 0.
            missing: values that stand for no data.
            window: whole rows.
            is_masked: whether a mask band replaces the masks of files.
        """
        values = np.zeros((window.height, window.width), self.dtype)
        valid = np.zeros(values.shape, bool)
        for path, column, row, width, height in self._places:
            begin, end = max(window.row_off, row), min(window.row_off + window.height, row + height)
            if begin >= end:
                continue
            dataset = self._rasters.open(path)
            part = Window(0, begin - row, width, end - begin)
            try:
                with reading(path):
                    pixels = dataset.read(index + 1, window=part)
                    known = _valid(dataset, index, pixels, missing, part, is_masked=is_masked)
            except RasterioError as error:
                raise UnreadableFileError(f"{Path(path).name} is damaged: {error}") from error
            place = slice(begin - window.row_off, end - window.row_off), slice(column, column + width)
            values[place] = np.where(known, pixels, values[place])
            valid[place] |= known
        return values, valid


def _valid(
    dataset: DatasetReader,
    index: int,
    values: npt.NDArray[Any],
    missing: Sequence[float],
    window: Window,
    *,
    is_masked: bool,
) -> npt.NDArray[np.bool_]:
    """Return where a file's band is valid: by its own mask or nodata value, or the missing data of the manifest."""
    is_replaced = is_masked if _has_mask(dataset, index) else bool(missing) or _is_alpha(dataset, index)
    known = np.ones(values.shape, bool)
    if not is_replaced:
        known = dataset.read_masks(index + 1, window=window) != 0
    for value in missing:  # compared as the type of the values: 0.1 is another number in float32 than in float64
        known &= ~np.isnan(values) if math.isnan(value) else values != value
    return known


def _is_alpha(dataset: DatasetReader, index: int) -> bool:
    return MaskFlags.alpha in dataset.mask_flag_enums[index] or dataset.colorinterp[index] is ColorInterp.alpha


def _has_mask(dataset: DatasetReader, index: int) -> bool:
    """Return whether a band of a file has a mask for all bands (GMF_PER_DATASET), which is no band of opacity."""
    return MaskFlags.per_dataset in dataset.mask_flag_enums[index] and not _is_alpha(dataset, index)


def _missing(holder: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in (holder.get("missingData") or {}).get("values") or ())


def _dtype(name: Any) -> str | None:
    if name in (None, "", "DATA_TYPE_UNSPECIFIED"):
        return None
    if name not in _DTYPES:
        raise IngestError(f"The data type '{name}' is not known: use one of {', '.join(_DTYPES)}.")
    return _DTYPES[name]


def _resampling(policy: Any, band: str) -> str:
    """Return how a pyramid is made: the policy is MEAN where there is none."""
    name = "MEAN" if policy in (None, "", "PYRAMIDING_POLICY_UNSPECIFIED") else str(policy)
    if name.lower() not in POLICIES:
        known = ", ".join(policy.upper() for policy in POLICIES)
        raise IngestError(
            f"The local Earth Engine has no pyramiding policy '{name}' (band '{band}'): use one of {known}."
        )
    return POLICIES[name.lower()]
