"""Make Earth Engine's bands of items' rasters: which band of which asset, grids, offsets (Sentinel-2's baseline 04.00);
refuse files that contradict their item.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import CogFile, CogHeader, CogReader, Item
from eechips_local.archives.archive_record import ArchiveRecord, BandRecord, ValueRule
from eechips_local.archives.items.item_properties import number_of
from eechips_local.assets.ingestion.item_metadata import bands_of as declared_bands
from eechips_local.assets.ingestion.item_metadata import grid_of, is_jpeg2000, shared_by_bands
from eechips_local.evaluation.asset_model import BandInfo, PixelType, PixelWindow
from eechips_local.pixels.grids.pixel_grid import PixelGrid

_NEAR = 1e-2  # pixels by which an item's grid may be off: items round their numbers
# Colour infrared of NAIP: "NRG asset ids begin with 'c_'" (Earth Engine's catalogue, USDA/NAIP/DOQQ).
_INFRARED = re.compile(r"[A-Za-z]{2}_c_\d{7}_")


@dataclass(frozen=True, slots=True, eq=False)
class ArchiveRaster:
    """Bands of a raster of an item, in Earth Engine's numbers. A ``RasterSource``.

    Attributes:
        item_id: id of the item, for messages.
        asset: key of the asset.
        href: its address, unsigned.
        numbers: numbers of the file's bands, from 1; the source's bands are in this order.
        rule: how the numbers of all of them become Earth Engine's.
        declared: grid that the item tells, which the file must have; None to take the file's.
    """

    item_id: str
    asset: str
    href: str = field(repr=False)
    file: CogFile = field(repr=False)
    numbers: tuple[int, ...]
    rule: ValueRule
    declared: PixelGrid | None

    @property
    def grid(self) -> PixelGrid:
        """Grid of full resolution: as the item tells it, else as the file does."""
        return self.file.header.grid if self.declared is None else self.declared

    @property
    def levels(self) -> tuple[int, ...]:
        """See ``RasterSource``.

        Raises:
            ArchiveRefusedError: if the file is not what the item tells.
        """
        self._check()
        return self.file.levels

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Read Earth Engine's numbers; see ``RasterSource.read``.

        A band of the dataset masks no other, even if the file calls it alpha, as many of NAIP do with near infrared.

        Raises:
            ArchiveError: if the file cannot be read.
            ArchiveRefusedError: if it is not what the item tells.
        """
        alpha = self._check().alpha
        values, valid = self.file.read([self.numbers[band] - 1 for band in bands], window, level)
        if alpha is not None and alpha + 1 in self.numbers:
            valid = np.ones_like(valid)
        try:
            return self.rule.apply(values, valid)
        except ArchiveRefusedError as error:
            raise ArchiveRefusedError(f"Item {self.item_id}: asset {self.asset} {error}") from None

    @property
    def level_sizes(self) -> Sequence[tuple[int, int]]:
        """See ``SizedLevels``."""
        return self.file.level_sizes

    def prefetch_header(self) -> None:
        """See ``FetchedSource``."""
        self.file.prefetch_header()

    def prefetch(self, bands: Sequence[int], window: PixelWindow, level: int) -> None:
        """See ``FetchedSource``."""
        self.file.prefetch([self.numbers[band] - 1 for band in bands], window, level)

    def _check(self) -> CogHeader:
        """Return the header of a file that is what the item tells."""
        header, declared = self.file.header, self.declared
        if max(self.numbers) > len(header.dtypes):
            raise ArchiveRefusedError(
                f"Item {self.item_id}: asset {self.asset} has {len(header.dtypes)} bands, but the dataset's record "
                f"needs band {max(self.numbers)}."
            )
        if declared is not None and not are_alike(declared, header.grid):
            raise ArchiveRefusedError(
                f"Item {self.item_id}: asset {self.asset} has the grid {_shown(header.grid)}, but the item declares "
                f"{_shown(declared)}. Its file and its metadata do not belong together; leave the image out."
            )
        return header


@dataclass(frozen=True, slots=True, eq=False)
class MaskedRaster:
    """A band that an image has without pixels, on the grid of another of its rasters. A ``RasterSource``.

    Attributes:
        like: the other raster.
        dtype: data type of the values.
    """

    like: ArchiveRaster
    dtype: str

    @property
    def levels(self) -> tuple[int, ...]:
        """See ``RasterSource``."""
        return self.like.levels

    @property
    def level_sizes(self) -> Sequence[tuple[int, int]]:
        """See ``SizedLevels``."""
        return self.like.level_sizes

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return zeros, none of them valid."""
        shape = len(bands), window.height, window.width
        return np.zeros(shape, self.dtype), np.zeros(shape, dtype=bool)


def are_alike(one: PixelGrid, other: PixelGrid) -> bool:
    """Return whether two grids have one size, and the same corners to a hundredth of a pixel."""
    return one == other or (one.shape == other.shape and one.lies_on(other, _NEAR))


def _shown(grid: PixelGrid) -> str:
    return f"{grid.short_crs}, {grid.width}x{grid.height} pixels from {grid.transform.c:g}, {grid.transform.f:g}"


def rasters_of(item: Item, record: ArchiveRecord, reader: CogReader) -> dict[str, tuple[ArchiveRaster, int]]:
    """Return the source of each band that an item has, and its position in there, by the bands' names.

    Args:
        item: as JSON.
        record: record of the dataset; its bands whose asset, or whose band of it, the item does not have are left out,
            and those that are JPEG 2000 beside others that are not: no windows of these can be read.
        reader: opens files; only headers are read, of files whose bands may have another order and are not declared.

    Raises:
        ArchiveError: if an address is none that the archive's description allows, or such a header cannot be read.
        ArchiveRefusedError: if an item does not say whether an offset is to be subtracted, or contradicts itself.
    """
    assets, properties = item["assets"], item["properties"]
    groups: dict[tuple[str, ValueRule], list[BandRecord]] = {}
    own_assets = {band.asset: assets[band.asset] for band in record.bands if band.asset in assets}
    readable = {key for key, asset in own_assets.items() if not is_jpeg2000(asset)} or set(own_assets)
    hrefs = {key: href_of(assets[key], record.alternate) for key in readable}
    files = {key: reader.open(href, collection=record.collection) for key, href in hrefs.items()}
    for band in record.bands:
        number = _number(band, item, files[band.asset]) if band.asset in readable else None
        if number is not None:
            groups.setdefault((band.asset, band.value), []).append(replace(band, number=number))
    band_sources: dict[str, tuple[ArchiveRaster, int]] = {}
    for (key, declared_rule), own in groups.items():
        rule = declared_rule.for_item(properties)
        if rule.offset and any(number_of(_offset(assets[key], properties, band.number)) == 0.0 for band in own):
            raise ArchiveRefusedError(
                f"Item {item['id']}: by its properties, {-rule.offset:g} is to be subtracted from the numbers of asset "
                f"{key}, but 0 is declared as their offset, as if that were done. Leave the image out."
            )
        raster = ArchiveRaster(
            str(item["id"]),
            key,
            hrefs[key],
            files[key],
            tuple(band.number for band in own),
            rule,
            grid_of(assets[key], properties),
        )
        band_sources.update({band.name: (raster, position) for position, band in enumerate(own)})
    return band_sources


def bands_of(item: Item, record: ArchiveRecord, reader: CogReader) -> tuple[BandInfo, ...]:
    """Return the bands of the image of an item, in the record's order.

    Headers are read of files whose grid the item does not tell; only that of the first where all have one grid.

    Raises:
        ArchiveError: if such a header cannot be read.
    """
    rasters = (
        _with_one_grid(rasters_of(item, record, reader)) if record.is_one_grid else rasters_of(item, record, reader)
    )
    bands = []
    for band in record.bands:
        if band.name in rasters:
            raster, position = rasters[band.name]
            bands.append(BandInfo(band.name, PixelType.of(band.value.dtype), raster.grid, raster, position))
        elif band.is_always and rasters:
            raster, _ = next(iter(rasters.values()))
            masked = MaskedRaster(raster, band.value.dtype)
            bands.append(BandInfo(band.name, PixelType.of(masked.dtype), raster.grid, masked, 0))
    return tuple(bands)


def _with_one_grid(rasters: Mapping[str, tuple[ArchiveRaster, int]]) -> dict[str, tuple[ArchiveRaster, int]]:
    """Return sources whose grid is that of the first, where their item tells none."""
    grid = next((raster.grid for raster, _ in rasters.values()), None)
    sources = {id(raster): raster for raster, _ in rasters.values()}
    known = {
        key: raster if raster.declared is not None else replace(raster, declared=grid)
        for key, raster in sources.items()
    }
    return {name: (known[id(raster)], position) for name, (raster, position) in rasters.items()}


def href_of(asset: Mapping[str, Any], alternate: str = "") -> str:
    """Return the address of an asset, or its alternate address of a name; a file of this machine has no other."""
    href, others = str(asset.get("href") or ""), asset.get("alternate")
    other = others.get(alternate) if alternate and isinstance(others, Mapping) else None
    if not isinstance(other, Mapping) or href.startswith(("/", "file:")):
        return href
    return str(other.get("href") or "")


def _number(band: BandRecord, item: Item, file: CogFile) -> int | None:
    """Return the number of a band in an item's file; None if the item, or the file where it must be asked, lacks it."""
    declared = declared_bands(item["assets"][band.asset])
    names = [entry.get("common_name", entry.get("eo:common_name")) for entry in declared]  # of STAC 1.0 and 1.1
    if not declared and _INFRARED.match(str(item["id"])):
        names = ["nir", "red", "green"]
    if band.common_name and all(names) and names:
        return names.index(band.common_name) + 1 if band.common_name in names else None
    count = len(declared) or (len(file.header.dtypes) if band.common_name else band.number)
    return band.number if band.number <= count else None


def _offset(asset: Mapping[str, Any], properties: Mapping[str, Any], number: int) -> Any:
    """Return the offset that an asset, or else its item, declares for a band; None if neither declares one."""
    bands = declared_bands(asset, properties)
    band = bands[number - 1] if number <= len(bands) else shared_by_bands(asset, properties)
    return band.get("raster:offset")
