"""Convert times by the ``dateFormat`` of ``ee.Algorithms.TemporalSegmentation``: days, fractional years or
milliseconds.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import numpy.typing as npt

from eechips_local.protocol.request_errors import InvalidError

Floats = npt.NDArray[np.float64]

_DAY = 86_400_000.0
_YEAR = 365.25
_EPOCH = 719_163
"""Days from 0001-01-01, which is day 1, to 1970: https://github.com/parevalo/gee-ccdc-tools, ``dates.js``."""


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """A ``dateFormat``.

    Attributes:
        convert: from milliseconds since 1970.
        year: length of a year.
    """

    convert: Callable[[Floats], Floats]
    year: float

    @classmethod
    def of(cls, number: int) -> TimeFormat:
        """Return the format of a number: 0 for days since the year 1, 1 for fractional years, 2 for milliseconds.

        Raises:
            InvalidError: if there is no such format.
        """
        if number == 0:
            return cls(lambda times: times / _DAY + _EPOCH, _YEAR)
        if number == 1:
            return cls(fractional_years, 1.0)
        if number == 2:
            return cls(lambda times: times, _YEAR * _DAY)
        raise InvalidError(f"dateFormat must be 0, 1 or 2; found {number}.")


def fractional_years(times: Floats) -> Floats:
    """Return times in milliseconds as years and the part of the year that has passed."""
    years = []
    for time in times.tolist():
        year = datetime.fromtimestamp(time / 1000, timezone.utc).year
        start = datetime(year, 1, 1, tzinfo=timezone.utc).timestamp() * 1000
        years.append(year + (time - start) / _DAY / (366 if calendar.isleap(year) else 365))
    return np.array(years, dtype=np.float64)
