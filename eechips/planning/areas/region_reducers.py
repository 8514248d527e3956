"""Parse the reducers of pixels in regions, and name their columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eechips.errors import UsageError

if TYPE_CHECKING:
    import ee

REDUCERS = ("mean", "median", "min", "max", "sum", "stdDev", "variance", "mode", "first", "count")
"""Earth Engine's reducers with one output, by the names of their constructors."""

COUNT = "count"

VALID_FRACTION = "valid_fraction"

_PERCENTILE = re.compile(r"p(\d{1,2}|100)")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Reducers that are applied to the same pixels, and the number of pixels.

    Attributes:
        names: names of ``REDUCERS``, or ``p0`` to ``p100`` for percentiles; in the order of the columns.

    Raises:
        UsageError: if there is no name, or one is unknown or repeated.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in REDUCERS and not _PERCENTILE.fullmatch(name):
                there = ", ".join(REDUCERS)
                raise UsageError(f"unknown reducer {name!r}: there are {there}, and p0 to p100 for percentiles")
        if not self.names:
            raise UsageError("`reducer` must name at least one reducer: mean,max,p90")
        if len(set(self.names)) < len(self.names):
            raise UsageError(f"a reducer is asked for twice: {','.join(self.names)}")

    def reducer(self) -> ee.Reducer:
        """Return all reducers combined, and the count as the last unless it is among them."""
        outputs = self._outputs
        combined = _reducer(outputs[0])
        for name in outputs[1:]:
            combined = combined.combine(_reducer(name), sharedInputs=True)
        return combined

    def single(self) -> ee.Reducer:
        """Return the first reducer only."""
        return _reducer(self.names[0])

    def columns(self, bands: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the columns.

        With one reducer, a column has the name of its band, followed by the counts: ``count``, or ``<band>_count`` with
        several bands. With several reducers, columns are ``<band>_<reducer>``, band by band, followed by the counts
        unless ``count`` is among the reducers.
        """
        return tuple(column for column, _, _ in self._cells(bands))

    def columns_of(self, name: str, bands: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of one reducer, in the order of the bands; empty if it is not among the reducers."""
        return tuple(column for column, _, output in self._cells(bands) if output == name)

    def counts(self, bands: Sequence[str]) -> frozenset[str]:
        """Return the columns with numbers of pixels."""
        return frozenset(column for column, _, output in self._cells(bands) if output == COUNT)

    def valid_fractions(self, bands: Sequence[str]) -> tuple[str, ...]:
        """Return for each band the name of the column with its valid fraction.

        It has the prefix of the column of counts: ``valid_fraction``, or ``<band>_valid_fraction`` with several bands
        or several reducers.
        """
        is_alone = len(self.names) == 1 and len(bands) == 1
        return tuple(VALID_FRACTION if is_alone else f"{band}_{VALID_FRACTION}" for band in bands)

    def values(self, bands: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return for each band the columns with its values: all except the counts."""
        cells = self._cells(bands)
        return {
            band: tuple(column for column, own, output in cells if own == band and output != COUNT) for band in bands
        }

    def outputs(self, bands: Sequence[str], *, of_collection: bool = False) -> tuple[str, ...]:
        """Return for each column the name of its value in Earth Engine's output.

        Reducers with one output name it after the band, reducers with several after band and output; ``reduceRegions``
        omits the name of a single band.
        https://developers.google.com/earth-engine/guides/reducers_reduce_region
        https://developers.google.com/earth-engine/guides/reducers_reduce_regions

        Args:
            of_collection: whether ``reduceRegions`` is used, not ``reduceRegion``.
        """
        is_lone = len(self._outputs) == 1

        def name(band: str, output: str) -> str:
            if of_collection and len(bands) == 1:
                return output
            return band if is_lone else f"{band}_{output}"

        return tuple(name(band, output) for _, band, output in self._cells(bands))

    @property
    def _outputs(self) -> tuple[str, ...]:
        return self.names if COUNT in self.names else (*self.names, COUNT)

    def _cells(self, bands: Sequence[str]) -> list[tuple[str, str, str]]:
        """Return column, band and output of each value."""
        if len(self.names) == 1:
            values = [(band, band, self.names[0]) for band in bands]
            counts = [(COUNT if len(bands) == 1 else f"{band}_{COUNT}", band, COUNT) for band in bands]
            return values + counts
        values = [(f"{band}_{name}", band, name) for band in bands for name in self.names]
        return values + ([] if COUNT in self.names else [(f"{band}_{COUNT}", band, COUNT) for band in bands])


def parse_statistics(text: str | Sequence[str]) -> Statistics:
    """Parse reducers: ``mean,max,p90``, or a sequence of names.

    Raises:
        UsageError: see :class:`Statistics`.
    """
    names = text.split(",") if isinstance(text, str) else text
    return Statistics(tuple(name.strip() for name in names))


def _reducer(name: str) -> ee.Reducer:
    import ee

    if _PERCENTILE.fullmatch(name):
        return ee.Reducer.percentile([int(name[1:])], [name])
    reducer: ee.Reducer = getattr(ee.Reducer, name)()
    return reducer
