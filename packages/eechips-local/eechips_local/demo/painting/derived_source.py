"""Pixels that follow from painted ones: their values depend on all layers of the picture, or on the pixel itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from eechips_local.demo.painting.painted_source import Integers, PaintedSource
from eechips_local.evaluation.asset_model import PixelWindow

_ROWS = 128
"""Rows of a window that are derived at a time."""


class Derivation(Protocol):
    """What makes bands of layers. Can be pickled."""

    def layers(self, bands: Sequence[int]) -> Sequence[int]:
        """Return the layers of the picture that bands need."""
        ...

    def derive(
        self, layers: npt.NDArray[Any], bands: Sequence[int], columns: Integers, rows: Integers, factor: int
    ) -> npt.NDArray[Any]:
        """Return stored values of bands, shape (bands, height, width).

        Args:
            layers: values of :meth:`layers`, shape (layers, height, width).
            bands: indices from 0.
            columns: columns of the pixels in their level of the pyramid; of two dimensions that broadcast with
                ``rows``.
            rows: likewise.
            factor: factor of the level: 1 is full resolution.
        """
        ...


@dataclass(frozen=True, slots=True)
class DerivedSource:
    """A ``RasterSource`` of bands that are derived from a painted picture.

    Attributes:
        painted: the picture.
        derivation: makes bands of its layers.
        dtype: data type of the stored values.
    """

    painted: PaintedSource
    derivation: Derivation
    dtype: str

    @property
    def levels(self) -> tuple[int, ...]:
        """See ``PaintedSource.levels``."""
        return self.painted.levels

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``RasterSource.read``."""
        values = np.empty((len(bands), window.height, window.width), dtype=self.dtype)
        valid = np.empty(values.shape, dtype=bool)
        needed, factor = self.derivation.layers(bands), self.levels[level]
        columns = np.arange(window.column, window.column + window.width)[None, :]
        for top in range(0, window.height, _ROWS):
            part = slice(top, min(top + _ROWS, window.height))
            strip = PixelWindow(window.column, window.row + top, window.width, part.stop - top)
            layers, seen = self.painted.read(needed, strip, level)
            rows = np.arange(strip.row, strip.row + strip.height)[:, None]
            values[:, part] = self.derivation.derive(layers, bands, columns, rows, factor)
            valid[:, part] = seen.all(axis=0)
        return values, valid

    def pick(
        self, bands: Sequence[int], columns: Integers, rows: Integers, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
        """See ``stored_image.PixelSource``."""
        picked = self.painted.pick(self.derivation.layers(bands), columns, rows, level)
        if picked is None:
            return None
        layers, seen = picked
        values = self.derivation.derive(layers, bands, columns, rows, self.levels[level]).astype(self.dtype)
        return values, np.broadcast_to(seen.all(axis=0), values.shape)
