"""Read stored images on any grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.model import BandInfo, ImageAsset, LazySequence, PixelWindow
from eechips_local.geometry.map_projection import WGS84, Projection
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render
from eechips_local.pixels.location import around_globe, locate_once, parts_of
from eechips_local.pixels.pixel_grid import PixelGrid
from eechips_local.pixels.resampling import MARGINS, Method, masked, merge, pick_lattice, resample, window_of
from eechips_local.values.values import Geometry

# A level is used if its pixels are no larger than the output's, with this much tolerance for rounding.
_LEVEL_TOLERANCE = 1.001


@runtime_checkable
class PixelSource(Protocol):
    """A source that can give single pixels for less than the window around them."""

    def pick(
        self, bands: Sequence[int], columns: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
        """Read pixels.

        Args:
            bands: indices from 0.
            columns: of the pixels, all within the level's extent; of two dimensions that broadcast with ``rows``.
            rows: likewise.
            level: position in ``levels``.

        Returns:
            Values and validity as ``read`` gives them, shape (bands, height, width); None if only ``read`` can.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Bands of one source and one grid, resampled to any other grid.

    The pyramid level is the coarsest whose pixels are no larger than the output's
    (https://developers.google.com/earth-engine/guides/scale).
    """

    infos: Sequence[BandInfo]
    method: Method = "nearest"

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Read bands together from the level that suits the grid, and resample them to it."""
        infos = [self.infos[band] for band in bands]
        source, native = infos[0].source, infos[0].grid
        location = locate_once(Projection(native.crs, native.transform), grid, render)
        level, factor = 0, 1
        for position, candidate in enumerate(source.levels):
            if candidate <= location.scale * _LEVEL_TOLERANCE:
                level, factor = position, candidate
        if factor > 1:
            native = native.level(factor, keeps_extent=infos[0].keeps_extent)
            location = locate_once(Projection(native.crs, native.transform), grid, render)
        indices = [info.index for info in infos]
        extent = PixelWindow(0, 0, native.width, native.height)
        location = around_globe(location, Projection(native.crs, native.transform), extent)
        if self.method == "nearest" and isinstance(source, PixelSource):
            picked = pick_lattice(lambda c, r: source.pick(indices, c, r, level), location, extent, grid.shape)
            if picked is not None:
                return picked
        parts = []
        for part in parts_of(location):
            window = window_of(part, extent, MARGINS[self.method])
            if window is not None:
                parts.append(resample(*source.read(indices, window, level), window, part, self.method))
        dtype = np.uint8 if infos[0].pixel_type.precision == "int" else np.float32
        return merge(parts) if parts else masked(len(infos), dtype, grid.shape)


def stored_image(asset: ImageAsset) -> Image:
    """Return the image of a stored asset; its bands are made when the asset's may be."""
    if asset.is_composite:
        unbounded = tuple(replace(band, projection=WGS84, extent=None, fixed=False) for band in _bands(asset))
        return Image(unbounded, asset.properties, None, asset.id, asset.version)
    bands = _bands(asset) if isinstance(asset.bands, tuple) else LazySequence(lambda: _bands(asset))
    return Image(bands, asset.properties, Geometry(asset.footprint), asset.id, asset.version)


def _bands(asset: ImageAsset) -> tuple[ImageBand, ...]:
    first = asset.bands[0] if asset.bands else None
    if first is not None and all(info.source is first.source and info.grid is first.grid for info in asset.bands):
        # The usual case, without the hashes of grids: a search looks at dozens of images.
        raster, projection = Stored(tuple(asset.bands)), Projection(first.grid.crs, first.grid.transform)
        whole = PixelWindow(0, 0, first.grid.width, first.grid.height)
        return tuple(
            ImageBand(info.name, info.pixel_type, projection, raster, index, whole)
            for index, info in enumerate(asset.bands)
        )
    groups: dict[tuple[int, PixelGrid], list[BandInfo]] = {}
    for info in asset.bands:
        groups.setdefault((id(info.source), info.grid), []).append(info)
    rasters = {key: Stored(tuple(infos)) for key, infos in groups.items()}
    counts: dict[tuple[int, PixelGrid], Iterator[int]] = {key: count() for key in groups}
    return tuple(
        ImageBand(
            info.name,
            info.pixel_type,
            Projection(info.grid.crs, info.grid.transform),
            rasters[id(info.source), info.grid],
            next(counts[id(info.source), info.grid]),
            PixelWindow(0, 0, info.grid.width, info.grid.height),
        )
        for info in asset.bands
    )
