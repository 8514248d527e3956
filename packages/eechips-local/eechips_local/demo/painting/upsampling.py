"""Carry values from the nodes of relief to the finer cells of a picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eechips_local.demo.land.farmland import Field32
from eechips_local.demo.painting.mercator import Floats, Rect


class Upsampler:
    """Carries values from nodes to the cells of a rectangle, linearly.

    Where the nodes are the cells, it only changes the type.

    Args:
        at: the nodes, which surround them; their pitch is that of the cells or a multiple of it.
    """

    def __init__(self, rect: Rect, at: Rect) -> None:
        self._same = rect == at
        if not self._same:
            self._columns, self._across = _place(rect.x, at.column, at.pitch)
            ratio = at.pitch // rect.pitch
            # Between two rows of nodes lie as many rows of cells, always at the same places.
            first, last = rect.row - ratio // 2, rect.row + rect.height - 1 - ratio // 2
            self._lines = slice(first // ratio - at.row, last // ratio - at.row + 1)
            self._rows = slice(first % ratio, first % ratio + rect.height)
            self._down = ((np.arange(ratio) + 0.5) * (1.0 / ratio)).astype(np.float32)[:, None]

    def __call__(self, values: npt.NDArray[np.floating]) -> Field32:
        """Return values of shape (nodes) at the cells."""
        narrow = values.astype(np.float32)
        if self._same:
            return narrow
        steps = (narrow[:, 1:] - narrow[:, :-1]).take(self._columns, axis=1)
        steps *= self._across
        lines = narrow.take(self._columns, axis=1)
        lines += steps
        steps = lines[1:] - lines[:-1]
        upper, steps = lines[:-1][self._lines], steps[self._lines]
        result: Field32 = steps[:, None, :] * self._down
        result += upper[:, None, :]
        return result.reshape(-1, result.shape[-1])[self._rows]


def _place(positions: Floats, first: int, pitch: int) -> tuple[npt.NDArray[np.int64], Field32]:
    """Return the number of the node before each position, and how far it lies from there to the next."""
    t = positions * (1.0 / pitch) - (first + 0.5)
    whole = np.floor(t)
    return whole.astype(np.int64), (t - whole).astype(np.float32)
