"""Fetch the units of a run in an order that is shuffled by a seed: that of the first epoch of training."""

from __future__ import annotations

from collections.abc import Iterator

from eechips.engine.run_feature import RunFeature
from eechips.manifest.fetch_order import FETCH_SEED, epoch_order, planned_positions
from eechips.manifest.ledger import Ledger
from eechips.manifest.unit_record import WorkUnit


class ShuffledUnits(RunFeature):
    """Submit the open units in the order of the first epoch, by a seed or as planned, once the plan is whole."""

    def __init__(self, ledger: Ledger, seed: int | None) -> None:
        self._ledger, self._seed = ledger, seed

    def divert(self, units: Iterator[WorkUnit | None]) -> Iterator[WorkUnit | None]:
        """Yield the units in the shuffled order; None while the plan is not whole."""
        if self._ledger.meta().get(FETCH_SEED) != self._seed:
            self._ledger.note(FETCH_SEED, self._seed)
        return self._diverted(units)

    def _diverted(self, units: Iterator[WorkUnit | None]) -> Iterator[WorkUnit | None]:
        open_units: set[int] = set()
        for unit in units:
            if unit is None:
                yield None
            else:
                open_units.add(unit.position)
        yield from self._ordered(open_units)

    def _ordered(self, open_units: set[int]) -> Iterator[WorkUnit | None]:
        """Yield the open units, given by their positions; None while one has to wait."""
        planned = planned_positions(self._ledger.database)
        for position in planned[epoch_order(len(planned), self._seed)].tolist():
            if position in open_units:
                yield self._ledger.unit(position)
        for position in sorted(open_units.difference(planned.tolist())):
            yield self._ledger.unit(position)
