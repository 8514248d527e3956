"""Pixels of several painted sources on one grid, each with an outline: the first that shows a pixel counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.demo.painting.painted_source import Integers, PaintedSource
from eechips_local.evaluation.asset_model import PixelWindow


@dataclass(frozen=True, slots=True)
class MergedSource:
    """A ``RasterSource`` of several that have the same grid and dtype.

    Attributes:
        sources: the first that is valid at a pixel counts.
    """

    sources: tuple[PaintedSource, ...]

    @property
    def dtype(self) -> str:
        """The dtype of the stored values."""
        return self.sources[0].dtype

    @property
    def levels(self) -> tuple[int, ...]:
        """See ``PaintedSource.levels``."""
        return self.sources[0].levels

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``RasterSource.read``."""
        columns = np.arange(window.column, window.column + window.width)[None, :]
        rows = np.arange(window.row, window.row + window.height)[:, None]
        values: npt.NDArray[Any] = np.zeros((len(bands), window.height, window.width), dtype=self.dtype)
        valid = np.zeros(values.shape, dtype=bool)
        for source in self._needed(columns, rows, level):
            pixels, seen = source.read(bands, window, level)
            _fill(values, valid, pixels, seen)
        return values, valid

    def pick(
        self, bands: Sequence[int], columns: Integers, rows: Integers, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
        """See ``stored_image.PixelSource``."""
        shape = (len(bands), *np.broadcast_shapes(columns.shape, rows.shape))
        values: npt.NDArray[Any] = np.zeros(shape, dtype=self.dtype)
        valid = np.zeros(shape, dtype=bool)
        for source in self._needed(columns, rows, level):
            picked = source.pick(bands, columns, rows, level)
            if picked is None:
                return None
            _fill(values, valid, *picked)
        return values, valid

    def _needed(self, columns: Integers, rows: Integers, level: int) -> list[PaintedSource]:
        """Return the sources that show pixels which none before shows: the others need not be painted."""
        shown = np.zeros(np.broadcast_shapes(columns.shape, rows.shape), dtype=bool)
        result = []
        for source in self.sources:
            inside = source.shows(columns, rows, level)
            if (inside & ~shown).any():
                result.append(source)
            shown |= inside
        return result


def _fill(
    values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], pixels: npt.NDArray[Any], seen: npt.NDArray[np.bool_]
) -> None:
    new = seen & ~valid
    values[new] = pixels[new]
    valid |= new
