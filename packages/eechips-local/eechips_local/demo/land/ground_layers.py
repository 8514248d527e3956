"""Compute the reflectance of the ground from the layers that cover it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eechips_local.demo.land import spectra
from eechips_local.demo.land.farmland import Field32, SurveyBlocks
from eechips_local.demo.land.natural_cover import grass_cover
from eechips_local.demo.land.terrain import Terrain
from eechips_local.demo.painting.mercator import Floats, Rect
from eechips_local.demo.painting.upsampling import Upsampler

_F = np.float32

_LINES = 64
"""Rows of cells whose reflectance is computed at a time."""


@dataclass(frozen=True)
class GroundLayer:
    """Something that covers part of the cells.

    Attributes:
        share: share of each cell, 0 to 1.
        first: name in ``spectra.REFLECTANCE``.
        second: name of what ``mix`` leads to.
        mix: 0 is all ``first``, 1 is all ``second``.
        tone: brightness, multiplies the reflectance.
    """

    share: Field32
    first: str
    second: str | None = None
    mix: Field32 | None = None
    tone: Field32 | None = None

    def lines(self, some: slice) -> GroundLayer:
        """Return the layer on some rows of cells."""
        mix, tone = (part if part is None or part.shape[0] == 1 else part[some] for part in (self.mix, self.tone))
        return replace(self, share=self.share[some], mix=mix, tone=tone)

    def lay(self, value: Field32, at: int, leaves: float | None) -> None:
        """Lay the layer over the reflectance of what is below it, in place.

        Args:
            value: reflectance in a band.
            at: index of the band in ``spectra.BANDS``.
            leaves: share of their leaves that broad-leaved trees have; None for anything else.
        """
        first = spectra.REFLECTANCE[self.first][at]
        if leaves is not None:
            bare = spectra.REFLECTANCE["bare broadleaf"][at]
            first = bare + (first - bare) * leaves
        over: Field32 | np.float32 = _F(first)
        if self.second is not None and self.mix is not None:
            over = self.mix * _F(spectra.REFLECTANCE[self.second][at] - first)
            over += _F(first)
        if self.tone is not None:
            over = over * self.tone
        step = over - value
        step *= self.share
        value += step


@dataclass(frozen=True)
class Ground:
    """The ground in the cells of a rectangle.

    Attributes:
        terrain: relief on the rectangle's nodes (``terrain.nodes``).
        open_green: greenness of the grass of open land, 0 to 1.
        open_tone: brightness of open land.
        layers: what lies over the open land, from the ground up, by name.
        light: brightness of the light.
        houses: density of houses, 0 to 1; None where there are none.
        blocks: blocks of the survey grid; None where single fields are not drawn.
    """

    rect: Rect
    terrain: Terrain
    open_green: Field32
    open_tone: Field32
    layers: dict[str, GroundLayer]
    light: Field32
    houses: Field32 | None
    blocks: SurveyBlocks | None

    def reflectance(self, bands: Sequence[str], vigour: float = 1.0) -> npt.NDArray[np.float32]:
        """Return the reflectance, shape (bands, height, width).

        Args:
            bands: bands of ``spectra.BANDS``.
            vigour: how green vegetation is, 1 in summer, 0 when it is dormant. Crops have calendars of their own.
        """
        soil, grass = _open_land(self.terrain, bands)
        up = Upsampler(self.rect, self.terrain.rect)
        result = np.empty((len(bands), self.rect.height, self.rect.width), dtype=np.float32)
        green = self.open_green * _F(vigour)
        # Broad leaves come early and stay late.
        leaves = min(1.0, max(0.0, 2.2 * vigour - 0.2))
        light = self.light
        if "water" in self.layers:
            light = light + (_F(1.0) - light) * self.layers["water"].share
        for n in range(len(bands)):
            value = up(grass[n])
            value *= green
            value += up(soil[n])
            np.multiply(value, self.open_tone, out=result[n])
        # Some rows of all layers fit into the processor's cache.
        for first in range(0, self.rect.height, _LINES):
            some = slice(first, first + _LINES)
            covers = [(name, layer.lines(some)) for name, layer in self.layers.items()]
            for value, band in zip(result[:, some], bands, strict=True):
                at = spectra.BANDS.index(band)
                for name, cover in covers:
                    cover.lay(value, at, leaves if name == "broadleaf" else None)
                value *= light[some]
        return result


def _open_land(land: Terrain, bands: Sequence[str]) -> tuple[Floats, Floats]:
    """Return the reflectance of open land with dry grass, and what green grass adds: shape (bands, nodes)."""
    cover = grass_cover(land)
    bright, red = 0.62 + 0.75 * land.character("bright"), land.character("red")
    soil, grass = [], []
    for band in bands:
        at = spectra.BANDS.index(band)
        plain, ochre = spectra.REFLECTANCE["soil"][at], spectra.REFLECTANCE["red soil"][at]
        dry, live = spectra.REFLECTANCE["dry grass"][at], spectra.REFLECTANCE["live grass"][at]
        bare = (plain + (ochre - plain) * red) * bright
        soil.append(bare + (dry - bare) * cover)
        grass.append((live - dry) * cover)
    return np.array(soil), np.array(grass)
