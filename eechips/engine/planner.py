"""Plan in the background while the first units are fetched, and resume the plan after an interruption."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from eechips.client.permits import Stopped
from eechips.client.response_cache import RESPONSE_CACHE, ResponseCache
from eechips.engine.plan import SPENT, plan_units, service_error_of
from eechips.errors import EechipsError, RunMismatchError, UsageError
from eechips.manifest.ledger import Ledger
from eechips.manifest.unit_record import WorkUnit
from eechips.recipe import Recipe
from eechips.removal import LockedFolder, remove
from eechips.storage import NameTemplate

ANSWERS_NAME = "planning.sqlite"
"""Cached responses to the planner, in the folder of a run with an incomplete plan."""
_BATCH = 500  # units per transaction


class Planner:
    """Have a recipe plan in a separate thread, and add its units to the ledger in their order.

    After an interruption the recipe plans from the beginning. Responses to requests that it sent before come from a
    file, so that the plan is the same, and its first units are those of the ledger.

    Attributes:
        is_done: whether the thread has ended and all that it has planned is in the ledger.
        is_whole: whether the plan is complete.
        failure: error of the recipe or the service; the ledger has the units so far.

    Args:
        recipe: of the run.
        ledger: of the run; used by the thread that calls, alone.
        template: of the names.
        folder: of the run.
        meta: description of the plan, if the ledger has none.
        accept: called when the plan is complete; an exception stops the run.
    """

    def __init__(
        self,
        recipe: Recipe,
        ledger: Ledger,
        template: NameTemplate,
        folder: Path,
        meta: Mapping[str, Any] | None,
        accept: Callable[[], None],
    ) -> None:
        self._recipe, self._ledger, self._template, self._meta = recipe, ledger, template, meta
        self._accept = accept
        self._path = folder / ANSWERS_NAME
        self._known = 0 if meta is not None else ledger.end
        self._stored = self._known
        self._answers = ResponseCache(self._path)
        self._batches: SimpleQueue[Sequence[WorkUnit] | BaseException | None] = SimpleQueue()
        self.failure: Exception | None = None
        self._is_closed = False
        self.is_done = self.is_whole = False
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._plan,), daemon=True, name="eechips-plan").start()

    def begin(self) -> None:
        """Wait for the first units, so that a plan that fails leaves nothing behind.

        Raises:
            ConfigurationError, RequestError, RecipeError, UsageError: see :func:`eechips.engine.plan.units_of`.
        """
        while not self._stored and not self.is_done:
            self._take(self._batches.get())
        if self.failure is not None:
            raise self.failure
        if not self._stored:
            raise UsageError("the plan is empty: get_requests gave no units" if self.is_whole else SPENT)

    def finish(self) -> None:
        """Wait for the whole plan.

        Raises:
            ConfigurationError, RequestError, RecipeError, UsageError: see :meth:`begin`.
        """
        while not self.is_done:
            self._take(self._batches.get())
        self.begin()

    def advance(self) -> int:
        """Store the units that were planned meanwhile; return their number."""
        before = self._stored
        while not self._batches.empty():
            self._take(self._batches.get())
        return self._stored - before

    def open_units(self) -> Iterator[WorkUnit | None]:
        """Yield the units to fetch, in the order of the plan; None whenever more are planned but not ready."""
        position = 0
        while True:
            end = self._stored
            yield from self._ledger.open_units(position, end)
            position = end
            if position == self._stored:  # else more units were stored meanwhile
                if self.is_done:
                    return
                yield None

    def close(self) -> None:
        """Stop planning, and remove the cached responses if the plan is complete."""
        self._is_closed = True
        self._answers.close()
        if self.is_whole:
            for suffix in ("", "-journal"):
                remove(self._path.with_name(self._path.name + suffix), LockedFolder(self._path.parent))

    def _plan(self) -> None:
        RESPONSE_CACHE.set(self._answers)
        try:
            units = plan_units(self._recipe.get_requests(), self._recipe.identity, self._template)
            while batch := list(islice(units, _BATCH)):
                if self._is_closed:
                    return
                self._batches.put(batch)
            self._batches.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by check(), in the thread that runs the run
            self._batches.put(error)

    def _take(self, planned: Sequence[WorkUnit] | BaseException | None) -> None:
        if self.is_done:  # it has failed
            return
        if planned is None:
            self._complete()
        elif isinstance(planned, BaseException):
            self.is_done = True
            if isinstance(planned, Exception):
                self.failure = service_error_of(planned)
            elif not isinstance(planned, Stopped):
                raise planned
        else:
            self._store(planned)

    def _complete(self) -> None:
        self.is_done = self.is_whole = True
        if not self._stored:
            return
        self._ledger.complete_plan()
        try:
            self._accept()
        except EechipsError as error:
            self.failure = error

    def _store(self, units: Sequence[WorkUnit]) -> None:
        known = [unit for unit in units if unit.position < self._known]
        if known and self._ledger.ids(known[0].position, known[-1].position + 1) != [unit.id for unit in known]:
            self.is_done = True
            self.failure = RunMismatchError(
                f"the plan of {self._path.parent} was interrupted, and its first units have changed since:"
                " choose another output folder, or remove this one"
            )
        new = units[len(known) :]
        if not new or self.is_done:
            return
        if self._meta is not None:
            self._ledger.begin_plan(self._meta)
            self._meta = None
        self._ledger.add(new)
        self._stored = new[-1].position + 1
