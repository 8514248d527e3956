"""Define kernels: the weights of a pixel's neighbourhood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Weights of a neighbourhood at one scale.

    Attributes:
        values: shape (height, width); the first row is the northernmost of a north-up grid.
        x: column of the pixel itself.
        y: row of the pixel itself.
    """

    values: npt.NDArray[np.float64]
    x: int
    y: int


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """A neighbourhood.

    Attributes:
        weights: called with the edge of a pixel in metres; kernels in pixels ignore it.
        description: type and parameters, as ``getInfo`` shows them.
    """

    weights: Callable[[float], Weights]
    description: Mapping[str, Any]
