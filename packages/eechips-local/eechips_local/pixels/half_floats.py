"""Read half floats as single ones, whichever GDAL reads them: from version 3.11 on it has a type of 16 bits for them.

https://github.com/OSGeo/gdal/issues/10146. Earth Engine has no such type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def held_dtype(name: str) -> str:
    """Return the numpy name of the type in which values of a file's type are held."""
    return "float32" if name == "float16" else name


def held_values(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values of a file in the type in which they are held, of the same shape."""
    return values.astype(np.float32) if values.dtype == np.float16 else values
