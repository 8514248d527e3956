"""Numbers in JSON."""

from __future__ import annotations

import math
from typing import Any


def json_number(value: float) -> Any:
    """A number as Earth Engine sends it: whole without a fraction; as text what JSON lacks, infinities and NaN."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
