"""Choose the value of pixels without data, and check the one that a user has chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

from eechips.errors import UsageError, ValidationError

_GREATEST = 10**15 - 1
"""Greatest nodata value that rasterio writes with all digits: of 2**63 - 1 GDAL reads 9 back."""


def free_value(valid: Any) -> float | int:
    """Return a value of the type of valid pixels that none of them has."""
    if valid.dtype.kind == "f":
        return float("nan")
    if not (valid == 0).any():
        return 0
    used_values = np.unique(valid)
    limits = np.iinfo(valid.dtype)
    # The greatest free value: where the sorted values first depart from greatest, greatest - 1, …
    greatest = min(int(limits.max), _GREATEST)
    for value in used_values[used_values <= greatest][::-1].tolist():
        if value < greatest:
            break
        greatest -= 1
    if greatest < limits.min:
        raise ValidationError(f"valid pixels have all values of {valid.dtype}, so that none is left for masked pixels")
    return greatest


def check_nodata(nodata: float | None, dtype: str) -> None:
    """Check that a dtype holds the value of pixels without data, and that it is written with all digits.

    Raises:
        UsageError: if it does not; the message has the range.
    """
    if nodata is None or np.dtype(dtype).kind in "fc":
        return
    least, greatest = max(np.iinfo(dtype).min, -_GREATEST), min(np.iinfo(dtype).max, _GREATEST)
    if not float(nodata).is_integer() or not least <= nodata <= greatest:
        raise UsageError(f"`nodata` {nodata:g} is no {dtype}, which holds whole numbers {least} to {greatest} there")
