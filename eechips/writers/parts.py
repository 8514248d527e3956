"""Parts of one image, put together again. Every pixel keeps its value: nothing is resampled or blended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eechips.errors import ValidationError
from eechips.geo.grid import Part


def paste(parts: Sequence[Part[Any]]) -> Any:
    """One array of the arrays of its parts.

    Args:
        parts: arrays of shape (…, rows, columns), all of one type and alike in their leading axes, and their windows,
            which tile a rectangle that begins at column 0 and row 0.

    Returns:
        Shape (…, rows, columns) of the rectangle.

    Raises:
        ValidationError: if types or leading axes differ: then they are not parts of one image.
        ValueError: if the windows do not tile a rectangle.
    """
    windows = [part.window for part in parts]
    width = max(window.column + window.width for window in windows)
    height = max(window.row + window.height for window in windows)
    if sum(window.pixels for window in windows) != width * height:
        raise ValueError(f"the parts do not tile {width}x{height} pixels")
    kinds = {(part.content.dtype, part.content.shape[:-2]) for part in parts}
    if len(kinds) != 1:
        found = " and ".join(sorted(f"{dtype} {list(leading)}" for dtype, leading in kinds))
        raise ValidationError(f"parts of one image came back with different types or bands: {found}")
    ((dtype, leading),) = kinds
    whole = np.empty((*leading, height, width), dtype)
    for part in parts:
        whole[(..., *part.window.slices)] = part.content
    return whole
