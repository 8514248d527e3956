"""Pixels that are masked everywhere: bands that images have before anything is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelWindow


@dataclass(frozen=True, slots=True)
class MaskedSource:
    """A ``RasterSource`` without a valid pixel.

    Attributes:
        dtype: data type of the values.
    """

    dtype: str

    @property
    def levels(self) -> tuple[int, ...]:
        """Full resolution only."""
        return (1,)

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``RasterSource.read``."""
        shape = (len(bands), window.height, window.width)
        return np.zeros(shape, dtype=self.dtype), np.zeros(shape, dtype=bool)
