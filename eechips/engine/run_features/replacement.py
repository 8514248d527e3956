"""Replace empty or dropped units by others that the recipe draws (``on_empty='redraw'``), up to ten times each."""

from __future__ import annotations

import contextvars
import json
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from eechips.engine.plans.plan import service_error_of
from eechips.engine.plans.planner import Planner
from eechips.engine.run_context import RunFeature
from eechips.errors import Stopped, UsageError
from eechips.manifest.exclusions import EXCLUSIONS, OPEN
from eechips.manifest.extensions import plan_parts
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import read_dropped
from eechips.recipe import (
    Recipe,
    Redraw,
    SupportsReplacement,
    Unit,
    canonical_json,
    to_unit,
    traits_of,
    unit_id,
    unit_value,
)
from eechips.storage import NameTemplate

MOST_REPLACEMENTS = 10
"""Most units that are drawn, one after the other, to replace one: a region may have no data at all."""
_BATCH = 500  # units per draw
_MOST_WAITING = 500
"""Units that are held in memory before those that replace empty ones have to wait."""


def is_refilling(recipe: Recipe, ledger: Ledger) -> bool:
    """Return whether units that the user dropped must be replaced, and the recipe can replace them."""
    return ledger.meta().get(EXCLUSIONS) == OPEN and _redraw_of(recipe) is not None


def replacement_of(recipe: Recipe) -> Redraw:
    """Return the function of a recipe that draws replacements; raise UsageError if it has none."""
    redraw = _redraw_of(recipe)
    if redraw is None:
        raise UsageError(
            f"{recipe.name} cannot draw other units in the place of empty ones: choose on_empty='keep' or 'skip'"
            + (", or define redraw(unit, number) in the recipe" if traits_of(recipe).path is not None else "")
        )
    return redraw


def _redraw_of(recipe: Recipe) -> Redraw | None:
    return recipe.redraw if isinstance(recipe, SupportsReplacement) else None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An empty unit that is to be replaced.

    Attributes:
        empty: its position.
        original: the unit of the recipe's plan that it, or a chain of replacements, stands for.
        number: number of the draw, from 1.
        further: draws before this one that gave units or places of the plan.
    """

    empty: int
    original: WorkUnit
    number: int
    further: int


class Replacements(RunFeature):
    """Draw replacements of empty units in the background, while workers continue, and add them to the plan.

    The state is in the ledger: which units are empty, and which replace them. A run that was stopped can therefore be
    resumed.

    Attributes:
        unfilled: number of empty units without a possible replacement.
        planner: makes the rest of the plan, whose units have the first positions; None if it is complete.

    Args:
        ledger: ledger of the run; used by the thread that calls, alone.
        of_empty: replace empty units; else only those that the user has dropped.

    Raises:
        UsageError: if the recipe draws none.
    """

    def __init__(self, recipe: Recipe, ledger: Ledger, template: NameTemplate, *, of_empty: bool = True) -> None:
        self.planner: Planner | None = None
        self._draw, self._identity = replacement_of(recipe), recipe.identity
        self._ledger, self._template, self._is_of_empty = ledger, template, of_empty
        # Positions, of which there may be many, and the number of further draws.
        self._wanted = deque((position, 0) for position in read_dropped(ledger.database, empty=of_empty))
        self._places = _Places(ledger)
        self._asked: list[_Wanted] = []
        self._answers: SimpleQueue[Sequence[Unit | None] | BaseException] = SimpleQueue()
        self._failure: Exception | None = None
        self.unfilled = 0

    @property
    def is_engaged(self) -> bool:
        """Whether units are being drawn."""
        return bool(self._asked)

    is_expecting = is_engaged

    @property
    def is_busy(self) -> bool:
        """Whether units are being drawn, or will be."""
        return bool(self._asked) or (bool(self._wanted) and self._failure is None)

    @property
    def waiting(self) -> int:
        """Number of empty units that are to be replaced."""
        return len(self._wanted) + len(self._asked)

    def settle(self, records: Sequence[Record]) -> None:
        """Note the units that were dropped, if empty units are replaced."""
        if self._is_of_empty:
            dropped = (record for record in records if record.state is State.EMPTY and record.file is None)
            self._wanted.extend((record.position, 0) for record in dropped)

    def advance(self, *, is_draining: bool) -> None:
        """Submit the replacements that are ready, before the rest of the plan, and have more drawn."""
        added = [] if self._answers.empty() else self._take(self._answers.get())
        is_planned = self.planner is None or self.planner.is_done
        if not (is_draining or self._asked or self._failure) and is_planned and self.run.waiting < _MOST_WAITING:
            self._asked = self._next()
            if self._asked:
                pairs = [(unit_value(json.loads(wanted.original.unit)), wanted.number) for wanted in self._asked]
                ask = contextvars.copy_context().run  # with the transport of this run: the process may have others
                threading.Thread(target=ask, args=(self._ask, pairs), daemon=True, name="eechips-redraw").start()
        if added:
            self.run.add(added)
            self.run.log.write("replaced", units=len(added))

    def _next(self) -> list[_Wanted]:
        batch: list[_Wanted] = []
        while self._wanted and len(batch) < _BATCH:
            position, further = self._wanted.popleft()
            original, number = self._ledger.unit(position), 1 + further
            while original.replaces is not None:
                original, number = self._ledger.unit(original.replaces), number + 1
            if number > MOST_REPLACEMENTS:
                self.unfilled += 1
            else:
                batch.append(_Wanted(position, original, number, further))
        return batch

    def is_settled(self) -> bool:
        """Return whether every empty unit has a replacement, as far as possible.

        Raises:
            EechipsError: the recipe's draw or the service fails; the ledger has the units that lack a replacement.
        """
        if self._failure is not None:
            raise self._failure
        return not self.waiting

    def _ask(self, pairs: Sequence[tuple[Any, int]]) -> None:
        try:
            drawn = zip(self._draw(pairs), pairs, strict=True)
            self._answers.put([None if value is None else to_unit(value) for value, _ in drawn])
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that runs the run
            self._answers.put(error)

    def _take(self, answer: Sequence[Unit | None] | BaseException) -> list[WorkUnit]:
        asked, self._asked = self._asked, []
        if isinstance(answer, BaseException):
            self._wanted.extend((wanted.empty, wanted.further) for wanted in asked)  # the next command draws again
            if isinstance(answer, Exception):
                self._failure = service_error_of(answer)
            elif not isinstance(answer, Stopped):
                raise answer
            return []
        ids = [None if unit is None else unit_id(unit, self._identity) for unit in answer]
        known: set[str | None] = {None, *self._ledger.known([identifier for identifier in ids if identifier])}
        end = self._ledger.end
        added: list[WorkUnit] = []
        for wanted, unit, identifier in zip(asked, answer, ids, strict=True):
            if unit is None or identifier is None:
                self.unfilled += 1
                continue
            if identifier in known or not self._places.take(unit):  # a unit of the plan is no replacement
                self._wanted.append((wanted.empty, wanted.further + 1))
                continue
            known.add(identifier)
            position = end + len(added)
            name = self._template.render_unique(unit, identifier, position)
            added.append(WorkUnit(position, identifier, canonical_json(unit), name, replaces=wanted.empty))
        self._ledger.add(added)
        return added


class _Places:
    """The places of the units of an extended run, which no other unit may have.

    With the options of an extension, a draw may give the place of a replacement that an earlier plan has.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: set[str] | None = None
        self._is_extended = bool(plan_parts(ledger.meta()))

    def take(self, unit: Unit) -> bool:
        """Return whether no other unit has the place of a unit; from now on this one has it."""
        if not self._is_extended or "coordinates" not in unit:
            return True
        if self._known is None:
            query = "SELECT DISTINCT json_extract(unit, '$.coordinates') FROM units"
            self._known = {place for (place,) in self._ledger.database.execute(query)}
        place = canonical_json(unit["coordinates"])
        is_free = place not in self._known
        self._known.add(place)
        return is_free
