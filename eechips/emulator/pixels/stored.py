"""Read stored images on any grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from eechips.emulator.model import BandInfo, ImageAsset, LazySequence, PixelWindow
from eechips.emulator.pixels.grid import PixelGrid
from eechips.emulator.pixels.image import Image, ImageBand, Pixels, Render
from eechips.emulator.pixels.resample import Method, locate_once, pick_lattice, read_lattice
from eechips.emulator.projection import Projection
from eechips.emulator.values import Geometry

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
            What ``read`` gives for those pixels, shape (bands, height, width); None if it must be asked instead.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Bands that a source holds, resampled to whatever grid is asked for.

    The pyramid level is the coarsest whose pixels are no larger than the output's
    (https://developers.google.com/earth-engine/guides/scale).
    """

    infos: Sequence[BandInfo]
    method: Method = "nearest"

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Read bands that share a source and a grid together."""
        groups: dict[tuple[int, PixelGrid], list[int]] = {}
        for band in bands:
            info = self.infos[band]
            groups.setdefault((id(info.source), info.grid), []).append(band)
        found: dict[int, Pixels] = {}
        for members in groups.values():
            found.update(zip(members, self._read_group(members, grid, render), strict=True))
        return [found[band] for band in bands]

    def _read_group(self, members: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        infos = [self.infos[m] for m in members]
        source, native = infos[0].source, infos[0].grid
        location = locate_once(Projection(native.crs, native.transform), grid, render)
        factor_index, factor = 0, 1
        for index, candidate in enumerate(source.levels):
            if candidate <= location.scale * _LEVEL_TOLERANCE:
                factor_index, factor = index, candidate
        if factor > 1:
            native = native.level(factor)
            location = locate_once(Projection(native.crs, native.transform), grid, render)

        indices = [i.index for i in infos]

        def read(window: PixelWindow) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
            return source.read(indices, window, factor_index)

        extent = PixelWindow(0, 0, native.width, native.height)
        if self.method == "nearest" and isinstance(source, PixelSource):
            picked = pick_lattice(lambda c, r: source.pick(indices, c, r, factor_index), location, extent, grid.shape)
            if picked is not None:
                return picked
        dtype = np.uint8 if infos[0].pixel_type.precision == "int" else np.float32
        return read_lattice(read, len(infos), dtype, location, extent, grid.shape, self.method)


def stored_image(asset: ImageAsset) -> Image:
    """Return the image of a stored asset; its bands are made when the asset's may be."""
    bands = _bands(asset) if isinstance(asset.bands, tuple) else LazySequence(lambda: _bands(asset))
    return Image(bands, asset.properties, Geometry(asset.footprint), asset.id, asset.version)


def _bands(asset: ImageAsset) -> tuple[ImageBand, ...]:
    raster = Stored(asset.bands)
    return tuple(
        ImageBand(
            info.name,
            info.pixel_type,
            Projection(info.grid.crs, info.grid.transform),
            raster,
            index,
            PixelWindow(0, 0, info.grid.width, info.grid.height),
        )
        for index, info in enumerate(asset.bands)
    )
