"""Read stored images on any grid: which level of the pyramid serves it, and which bands and footprint the image of an
asset has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelWindow
from eechips_local.evaluation.lazy_values import LazySequence
from eechips_local.geometry.map_projection import WGS84, Projection
from eechips_local.pixels.grids.location import Location, around_globe, locate_once, parts_of
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.grids.resampling import MARGINS, Method, masked, merge, pick_lattice, resample, window_of
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render
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
            columns: columns of the pixels, all within the level's extent; of two dimensions that broadcast with
                ``rows``.
            rows: likewise.
            level: position in ``levels``.

        Returns:
            Values and validity as ``read`` gives them, shape (bands, height, width); None if only ``read`` can.
        """
        ...


@runtime_checkable
class FetchedSource(Protocol):
    """A source whose pixels come over a network, and may be asked for before they are needed."""

    def prefetch_header(self) -> None:
        """Begin to fetch what has to be known before pixels can be fetched."""
        ...

    def prefetch(self, bands: Sequence[int], window: PixelWindow, level: int) -> None:
        """Begin to fetch pixels, as ``read`` takes them.

        Raises:
            EarthEngineError: if the header cannot be read.
        """
        ...


@runtime_checkable
class SizedLevels(Protocol):
    """A source whose levels have sizes of their own: programs round them up or down."""

    @property
    def level_sizes(self) -> Sequence[tuple[int, int]]:
        """Columns and rows of each level, whose pixels are stretched over the extent."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Bands of one source and one grid, resampled to any other grid.

    The pyramid level is the coarsest whose pixels are no larger than the output's
    (https://developers.google.com/earth-engine/guides/scale).
    """

    infos: Sequence[BandInfo]
    method: Method = "nearest"

    def prefetch_header(self, band: int) -> bool:
        """Begin to fetch the header of a band's source, if it is one that is fetched."""
        begin = getattr(self.infos[band].source, "prefetch_header", None)  # quicker than isinstance: asked of all
        if begin is None:
            return False
        begin()
        return True

    def prefetch(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> None:
        """Begin to fetch the pixels that :meth:`read` will need of sources that are fetched."""
        infos = [self.infos[band] for band in bands]
        source = infos[0].source
        level, extent, location = self._locate(infos[0], grid, render)
        for part in parts_of(location):
            window = window_of(part, extent, MARGINS[self.method])
            if window is not None and isinstance(source, FetchedSource):
                source.prefetch([info.index for info in infos], window, level)

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Read bands together from the level that suits the grid, and resample them to it."""
        infos = [self.infos[band] for band in bands]
        source = infos[0].source
        level, extent, location = self._locate(infos[0], grid, render)
        indices = [info.index for info in infos]
        pick = getattr(source, "pick", None)  # of a PixelSource; quicker than isinstance: asked of all
        if self.method == "nearest" and pick is not None:
            picked = pick_lattice(lambda c, r: pick(indices, c, r, level), location, extent, grid.shape)
            if picked is not None:
                return picked
        parts = []
        for part in parts_of(location):
            window = window_of(part, extent, MARGINS[self.method])
            if window is not None:
                parts.append(resample(*source.read(indices, window, level), window, part, self.method))
        dtype = np.uint8 if infos[0].pixel_type.precision == "int" else np.float32
        return merge(parts) if parts else masked(len(infos), dtype, grid.shape)

    def _locate(self, info: BandInfo, grid: PixelGrid, render: Render) -> tuple[int, PixelWindow, Location]:
        """Return the level of the pyramid that suits a grid, its extent, and where the grid lies in it."""
        native = info.grid
        location = locate_once(Projection(native.crs, native.transform), grid, render)
        level, factor = 0, 1
        for position, candidate in enumerate(info.source.levels):
            if candidate <= location.scale * _LEVEL_TOLERANCE:
                level, factor = position, candidate
        if factor > 1:
            native = level_grid(info, level, factor)
            location = locate_once(Projection(native.crs, native.transform), grid, render)
        extent = PixelWindow(0, 0, native.width, native.height)
        return level, extent, around_globe(location, Projection(native.crs, native.transform), extent)


def level_grid(info: BandInfo, level: int, factor: int) -> PixelGrid:
    """Return the grid of a level of a band's pyramid."""
    if isinstance(info.source, SizedLevels):
        return info.grid.stretched(*info.source.level_sizes[level])
    return info.grid.level(factor, keeps_extent=info.keeps_extent)


def stored_image(asset: ImageAsset) -> Image:
    """Return the image of a stored asset; its bands are made when the asset's may be."""
    if asset.is_composite:
        unbounded = tuple(replace(band, projection=WGS84, extent=None, fixed=False) for band in _bands(asset))
        return Image(unbounded, asset.properties, None, asset.id, asset.version)
    bands = _bands(asset) if isinstance(asset.bands, tuple) else LazySequence(lambda: _bands(asset))
    return Image(bands, asset.properties, Geometry(asset.footprint, geodesic_ring=True), asset.id, asset.version)


def _bands(asset: ImageAsset) -> tuple[ImageBand, ...]:
    groups: dict[tuple[int, int], list[BandInfo]] = {}  # without the hashes of grids: a search looks at many images
    for info in asset.bands:
        groups.setdefault((id(info.source), id(info.grid)), []).append(info)
    shared = {key: (Stored(tuple(infos)), *_lattice(infos[0].grid), count()) for key, infos in groups.items()}
    bands = []
    for info in asset.bands:
        raster, projection, whole, position = shared[id(info.source), id(info.grid)]
        if info.is_unbounded:
            band = ImageBand(info.name, info.pixel_type, WGS84, raster, next(position), None, False)
        else:
            band = ImageBand(info.name, info.pixel_type, projection, raster, next(position), whole)
        bands.append(band)
    return tuple(bands)


def _lattice(grid: PixelGrid) -> tuple[Projection, PixelWindow]:
    return Projection(grid.crs, grid.transform), PixelWindow(0, 0, grid.width, grid.height)
