"""Have a recipe plan: at once, or in a thread while its first units are fetched; keep the responses for a resume."""

from __future__ import annotations

import contextlib
import contextvars
import heapq
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from eechips.client.error_classification import RESUME
from eechips.client.http.response_cache import RESPONSE_CACHE, ResponseCache
from eechips.engine.config import RunConfig
from eechips.engine.plans.plan import BudgetError, draw_spread, plan_units, planner_errors, seed_of, service_error_of
from eechips.engine.run_context import RunFeature
from eechips.errors import EechipsError, ProjectUnavailableError, RunMismatchError, Stopped, StorageError, UsageError
from eechips.files.removal import LockedFolder, remove
from eechips.manifest.extensions import PreviewRecord
from eechips.manifest.manifest_columns import WorkUnit
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import find_gap
from eechips.processes.context_values import context_value
from eechips.recipe import PlanPreview, Recipe, SupportsPreview
from eechips.storage import NameTemplate

ANSWERS_NAME = "planning.sqlite"
"""Cached responses to the planner, in the folder of a run with an incomplete plan."""
_BATCH = 500  # units per transaction


@contextlib.contextmanager
def kept_answers(config: RunConfig) -> Iterator[None]:
    """Keep the responses to a planner in this block until it has ended without an error.

    After an interruption, also by SIGKILL, the next planner in the folder receives them without a request.
    """
    with contextlib.closing(_open_answers(config)) as answers, context_value(RESPONSE_CACHE, answers):
        yield
    remove_answers(config.out)


def _open_answers(config: RunConfig) -> ResponseCache:
    """Open the cached responses; begin anew if they are damaged."""
    path, source = config.out / ANSWERS_NAME, f"{config.source} {_file_versions(config)}"
    try:
        return ResponseCache(path, source=source)
    except StorageError:
        remove_answers(config.out)
        return ResponseCache(path, source=source)


def _file_versions(config: RunConfig) -> list[tuple[str, int, int]]:
    """Return names, sizes and times of the local files that the data come from, without hidden ones."""
    roots = [Path(root) for root in (config.local_assets, *config.archives) if root is not None]
    files = sorted(file for root in roots for file in (root, *root.rglob("[!.]*")) if file.is_file())
    return [(str(file), (status := file.stat()).st_size, status.st_mtime_ns) for file in files]


def has_answers(config: RunConfig) -> bool:
    """Return whether the next planner of a run needs fewer requests, as its folder has responses."""
    if (config.out / ANSWERS_NAME).exists():
        # On a full disk, the caller's own error says more.
        with contextlib.suppress(StorageError), contextlib.closing(_open_answers(config)) as answers:
            return not answers.is_empty
    return False


def remove_answers(folder: Path) -> None:
    """Remove the responses that a planner has kept in the folder of a run, which this process has locked."""
    for suffix in ("", "-journal"):
        remove(folder / f"{ANSWERS_NAME}{suffix}", LockedFolder(folder))


class Planner:
    """Have a recipe plan in a separate thread, and add its units to the ledger in their order.

    The thread starts with :meth:`start`, :meth:`begin` or :meth:`finish`. Before, :meth:`plan_some` plans a few units.

    After an interruption the recipe plans from the beginning. Responses to requests that it sent before come from a
    file, so that the plan is the same, and has the units of the ledger. Units that :meth:`plan_some` has planned are
    planned by the same requests again.

    Attributes:
        stored: position up to which the ledger has all units of the plan.
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
        config: RunConfig,
        meta: Mapping[str, Any] | None,
        accept: Callable[[], None],
    ) -> None:
        self._recipe, self._ledger, self._template, self._meta = recipe, ledger, template, meta
        self._accept, self._folder = accept, config.out
        self._known, self.stored = (0, 0) if meta is not None else (ledger.end, find_gap(ledger.database))
        self._answers = _open_answers(config)
        self._preview = PreviewRecord.read(ledger) if meta is None else PreviewRecord()
        self._some = self._read_some()
        self._added = 0
        self._batches: SimpleQueue[Sequence[WorkUnit] | BaseException | None] = SimpleQueue()
        self.failure: Exception | None = None
        self._is_closed = False
        self.is_started = self.is_done = self.is_whole = False

    def plan_some(
        self, recipe: SupportsPreview, count: int, note_chosen: Callable[[], None]
    ) -> tuple[PlanPreview, int, int]:
        """Plan and store some units only, spread over the plan, in this thread; :meth:`start` plans the others.

        Args:
            count: number of units; fewer are planned if the ledger has some.
            note_chosen: called when the places are chosen, before units are planned that the ledger lacks.

        Returns:
            The preview, with the points of all units; the number of units that were planned now; and of those before.

        Raises:
            ConfigurationError, RequestError, RecipeError, UsageError: see :func:`units_of`.
            RunMismatchError: if the ledger has other units.
        """
        new: Sequence[WorkUnit] = ()
        with context_value(RESPONSE_CACHE, self._answers), planner_errors():
            preview = recipe.preview_plan()
            total = len(preview.points)
            wanted = min(max(count, 1), total) - len(self._some)
            if wanted > 0:
                for drawn in self._preview.drawn:  # by responses that the folder of the run has
                    self._ledger.unplanned(self._plan_at(recipe, drawn))
            note_chosen()
            if wanted > 0:
                others = [position for position in range(total) if position not in self._some]
                chosen = draw_spread(others, wanted, seed_of(self._recipe))
                new = self._plan_at(recipe, chosen)
                self._preview = PreviewRecord((*self._preview.drawn, tuple(chosen)), total)
                self._add(new, self._preview.values)  # at once: a later command plans these units as they were
                self._some = self._read_some()
        self._known, self.stored = self._ledger.end, find_gap(self._ledger.database)
        if self.stored >= total:
            self._complete()
        if self.failure is not None:
            raise self.failure
        return preview, len(new), len(self._some) - len(new)

    @property
    def has_previews_only(self) -> bool:
        """Whether all units of the ledger are of previews."""
        return self._meta is not None or sum(self._ledger.counts().values()) == len(self._some)

    def _plan_at(self, recipe: SupportsPreview, positions: Sequence[int]) -> list[WorkUnit]:
        """Plan the units at some positions, ascending."""
        values = recipe.plan_units(positions)
        return list(plan_units(values, self._recipe.identity, self._template, positions, self._some))

    def _read_some(self) -> dict[int, WorkUnit]:
        """Return the units of previews by position."""
        drawn = sorted(chain.from_iterable(self._preview.drawn))
        return {unit.position: unit for unit in self._ledger.units_at(drawn)}

    def _values(self) -> Iterator[Any]:
        """Yield the units of the plan. Units of previews are planned by separate requests, as they were before."""
        if not self._preview.drawn or not isinstance(self._recipe, SupportsPreview):
            yield from self._recipe.get_requests()
            return
        drawn = self._preview.drawn
        tried = frozenset(chain.from_iterable(drawn))
        total = len(self._recipe.preview_plan().points)
        parts = [*drawn, [position for position in range(total) if position not in tried]]
        units = (zip(part, self._recipe.plan_units(part), strict=True) for part in parts)
        yield from (unit for _, unit in heapq.merge(*units, key=itemgetter(0)))

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
            raise self.failure if self.stored else _before_run(self.failure)
        if not self.stored:
            raise UsageError("the plan is empty: get_requests gave no units") if self.is_whole else BudgetError

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
        before = self._added
        while not self.is_done and (waits or not self._batches.empty()):
            planned, waits = self._batches.get(), False
            if planned is None:
                self._complete()
            elif isinstance(planned, BaseException):
                self._note_failure(planned)
            else:
                self._store(planned)
        return self._added - before

    def _store(self, planned: Sequence[WorkUnit]) -> None:
        """Add the units that the ledger lacks; note a failure if its others differ from these."""
        try:
            new = planned if planned[0].position >= self._known else self._ledger.unplanned(planned)
        except RunMismatchError as error:
            self.is_done, self.failure = True, error
            return
        if new:
            self._add(new)
        self.stored = max(self.stored, planned[-1].position + 1)

    def _add(self, new: Sequence[WorkUnit], values: Mapping[str, Any] | None = None) -> None:
        if self._meta is not None:
            self._ledger.begin_plan(self._meta)
            self._meta = None
        self._ledger.add(new, values)
        self._added += len(new)

    def open_units(self) -> Iterator[WorkUnit | None]:
        """Yield the units to fetch in the order of the plan; None while the next is not ready."""
        position = 0
        while True:
            end = self.stored
            yield from self._ledger.open_units(position, end)
            position = end
            if position == self.stored:  # else more units were stored meanwhile
                if self.is_done:
                    return
                yield None

    def close(self) -> None:
        """Stop planning."""
        self._is_closed = True
        self._answers.close()

    def _plan(self) -> None:
        RESPONSE_CACHE.set(self._answers)
        try:
            units = plan_units(self._values(), self._recipe.identity, self._template, planned=self._some)
            while batch := list(islice(units, _BATCH)):
                if self._is_closed:
                    return
                self._batches.put(batch)
            self._batches.put(None)
        except BaseException as error:  # noqa: BLE001 - the main thread receives it
            self._batches.put(error)

    def _complete(self) -> None:
        self.is_done = self.is_whole = True
        if self.stored:
            self._ledger.complete_plan()
        self._answers.close()
        remove_answers(self._folder)
        try:
            if self.stored:
                self._accept()
        except EechipsError as error:
            self.failure = error

    def _note_failure(self, error: BaseException) -> None:
        self.is_done = True
        if isinstance(error, Exception):
            self.failure = service_error_of(error)
        elif not isinstance(error, Stopped):
            raise error


def _before_run(error: Exception) -> Exception:
    """Return the error of a plan without units, whose message does not tell of results."""
    if isinstance(error, ProjectUnavailableError):
        error.args = (str(error).replace(RESUME, "Repeat the command"), *error.args[1:])
    return error


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
