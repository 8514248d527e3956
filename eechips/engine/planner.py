"""Have a recipe plan: at once, or in a thread while its first units are fetched; keep the responses for a resume."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from eechips.client.permits import Stopped
from eechips.client.response_cache import RESPONSE_CACHE, ResponseCache
from eechips.engine.plan import SPENT, plan_units, planner_errors, service_error_of
from eechips.engine.run_feature import RunFeature
from eechips.errors import (
    EechipsError,
    RunMismatchError,
    StorageError,
    UsageError,
)
from eechips.files.removal import LockedFolder, remove
from eechips.manifest.ledger import Ledger
from eechips.manifest.preview_record import PreviewRecord
from eechips.manifest.unit_record import WorkUnit
from eechips.recipe import (
    PlanPreview,
    Recipe,
    SupportsPreview,
)
from eechips.storage import NameTemplate

ANSWERS_NAME = "planning.sqlite"
"""Cached responses to the planner, in the folder of a run with an incomplete plan."""
_BATCH = 500  # units per transaction
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def caching_answers(folder: Path) -> Iterator[None]:
    """Keep the responses to requests in this block for the planner of a run, also of a later command."""
    with contextlib.closing(_open_answers(folder / ANSWERS_NAME)) as answers:
        token = RESPONSE_CACHE.set(answers)
        try:
            yield
        finally:
            RESPONSE_CACHE.reset(token)


@contextlib.contextmanager
def kept_answers(folder: Path) -> Iterator[None]:
    """Keep the responses to a planner in this block until it has ended without an error.

    After an interruption, also by SIGKILL, the next planner in the folder receives them without a request.
    """
    with caching_answers(folder):
        yield
    _remove_answers(folder / ANSWERS_NAME)


def announce_answers(folder: Path) -> None:
    """Tell the user that planning goes on, if an earlier command has kept responses in the folder of a run."""
    if (folder / ANSWERS_NAME).exists():
        _log.info("Planning goes on: requests that were answered before are not sent again")


def _open_answers(path: Path) -> ResponseCache:
    """Open the cached responses; begin anew if they are damaged."""
    try:
        return ResponseCache(path)
    except StorageError:
        _remove_answers(path)
        return ResponseCache(path)


def _remove_answers(path: Path) -> None:
    for suffix in ("", "-journal"):
        remove(path.with_name(path.name + suffix), LockedFolder(path.parent))


class Planner:
    """Have a recipe plan in a separate thread, and add its units to the ledger in their order.

    The thread starts with :meth:`start`, :meth:`begin` or :meth:`finish`. Before, :meth:`plan_first` plans a few units.

    After an interruption the recipe plans from the beginning. Responses to requests that it sent before come from a
    file, so that the plan is the same, and its first units are those of the ledger. Units that :meth:`plan_first` has
    planned are planned by the same requests again.

    Attributes:
        stored: position after the last unit of the plan that is in the ledger.
        is_done: whether the thread has ended and all that it has planned is in the ledger.
        failure: error of the recipe or the service; the ledger has the units so far.

    Args:
        ledger: ledger of the run; used by the thread that calls, alone.
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
        self._known = self.stored = 0 if meta is not None else ledger.end
        self._answers = _open_answers(self._path)
        self._preview = PreviewRecord.read(ledger) if meta is None else PreviewRecord()
        self._batches: SimpleQueue[Sequence[WorkUnit] | BaseException | None] = SimpleQueue()
        self.failure: Exception | None = None
        self._is_closed = False
        self.is_started = self.is_done = self.is_whole = False

    def plan_first(self, recipe: SupportsPreview, count: int, note_chosen: Callable[[], None]) -> PlanPreview:
        """Plan and store the first units only, in this thread; :meth:`start` plans the others.

        Args:
            count: number of units; fewer are planned if the ledger has some of them.
            note_chosen: called when the places are chosen, before units are planned that the ledger lacks.

        Returns:
            The preview, with the points of all units.

        Raises:
            ConfigurationError, RequestError, RecipeError, UsageError: see :func:`units_of`.
            RunMismatchError: if the ledger has other units.
        """
        token = RESPONSE_CACHE.set(self._answers)
        try:
            with planner_errors():
                preview = recipe.preview_units(0)
                end = min(max(count, 1), len(preview.points))
                units: Iterator[Any] = iter(())
                if self.stored < end:
                    self._preview = self._preview.extended(end, len(preview.points))
                    units = islice(self._values(), end)
                stored = list(islice(units, self.stored))  # by responses that the folder of the run has
                note_chosen()
                if self.stored < end:
                    self._store(list(plan_units(chain(stored, units), self._recipe.identity, self._template)))
                    self._preview.note(self._ledger)
        finally:
            RESPONSE_CACHE.reset(token)
        if self.failure is not None:
            raise self.failure
        if self.stored >= len(preview.points):
            self._complete()
        self._known = self.stored
        return preview

    def _values(self) -> Iterator[Any]:
        """Yield the units of the plan; those of a preview by requests of their own."""
        if not self._preview.ends or not isinstance(self._recipe, SupportsPreview):
            yield from self._recipe.get_requests()
            return
        total = len(self._recipe.preview_units(0).points)
        for first, end in pairwise((0, *self._preview.ends, total)):
            yield from self._recipe.plan_units(range(first, end))

    def start(self) -> None:
        """Start the thread."""
        if self.is_started or self.is_done:
            return
        self.is_started = True
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._plan,), daemon=True, name="eechips-plan").start()

    def begin(self) -> None:
        """Wait for the first units, so that a plan that fails leaves nothing behind.

        Raises:
            ConfigurationError, RequestError, RecipeError, UsageError: see :func:`units_of`.
        """
        self.start()
        while not self.stored and not self.is_done:
            self.advance(waits=True)
        if self.failure is not None:
            raise self.failure
        if not self.stored:
            raise UsageError("the plan is empty: get_requests gave no units" if self.is_whole else SPENT)

    def finish(self) -> None:
        """Wait for the whole plan.

        Raises:
            ConfigurationError, RequestError, RecipeError, UsageError: see :meth:`begin`.
        """
        self.start()
        while not self.is_done:
            self.advance(waits=True)
        self.begin()

    def advance(self, *, waits: bool = False) -> int:
        """Store the units that were planned meanwhile.

        Args:
            waits: wait until there are some, or the plan ends.

        Returns:
            Their number, without those that the ledger had.
        """
        before = self.stored
        while not self.is_done and (waits or not self._batches.empty()):
            planned, waits = self._batches.get(), False
            if planned is None:
                self._complete()
            elif isinstance(planned, BaseException):
                self._note_failure(planned)
            else:
                self._store(planned)
        return self.stored - before

    def _store(self, planned: Sequence[WorkUnit]) -> None:
        """Add the units that the ledger lacks."""
        new = self._unknown(planned)
        if not new:
            return
        if self._meta is not None:
            self._ledger.begin_plan(self._meta)
            self._meta = None
        self._ledger.add(new)
        self.stored = max(self.stored, new[-1].position + 1)

    def open_units(self, position: int = 0) -> Iterator[WorkUnit | None]:
        """Yield the units to fetch from a position on, in the order of the plan; None while the next is not ready."""
        while True:
            end = self.stored
            yield from self._ledger.open_units(position, end)
            position = end
            if position == self.stored:  # else more units were stored meanwhile
                if self.is_done:
                    return
                yield None

    def close(self) -> None:
        """Stop planning, and remove the cached responses if the plan is complete."""
        self._is_closed = True
        self._answers.close()
        if self.is_whole:
            _remove_answers(self._path)

    def _plan(self) -> None:
        RESPONSE_CACHE.set(self._answers)
        try:
            units = plan_units(self._values(), self._recipe.identity, self._template)
            while batch := list(islice(units, _BATCH)):
                if self._is_closed:
                    return
                self._batches.put(batch)
            self._batches.put(None)
        except BaseException as error:  # noqa: BLE001 - the main thread receives it
            self._batches.put(error)

    def _complete(self) -> None:
        self.is_done = self.is_whole = True
        if not self.stored:
            return
        self._ledger.complete_plan()
        try:
            self._accept()
        except EechipsError as error:
            self.failure = error

    def _note_failure(self, error: BaseException) -> None:
        self.is_done = True
        if isinstance(error, Exception):
            self.failure = service_error_of(error)
        elif not isinstance(error, Stopped):
            raise error

    def _unknown(self, units: Sequence[WorkUnit]) -> Sequence[WorkUnit]:
        """Return the units that the ledger lacks; note a failure if its others differ from these."""
        if not units or units[0].position >= self._known:
            return units
        try:
            return self._ledger.unplanned(units)
        except RunMismatchError as error:
            self.is_done = True
            self.failure = error
            return ()


class GradualPlanning(RunFeature):
    """Add units to a run while they are planned."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner

    def advance(self, *, is_draining: bool) -> None:
        """Note the units that were planned meanwhile."""
        if not self._planner.is_done:
            if added := self._planner.advance():
                self.run.grow(added)
            if self._planner.failure is not None:
                self.run.end_with(self._planner.failure)
        self.run.progress.is_growing = not self._planner.is_done

    @property
    def is_busy(self) -> bool:
        """Whether units are being planned."""
        return not self._planner.is_done

    @property
    def is_expecting(self) -> bool:
        """Whether workers wait for the plan."""
        return not self._planner.is_done and not self.run.is_busy

    def is_settled(self) -> bool:
        """Return whether the plan is complete."""
        return self._planner.is_whole
