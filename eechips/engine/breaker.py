"""Stop a run whose units all fail for the same reason."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from eechips.engine.outcome import Outcome
from eechips.errors import (
    EechipsError,
    InternalError,
    ProjectUnavailableError,
    RecipeError,
    TransientError,
    UnknownServiceError,
)
from eechips.manifest.unit_record import Record, State, WorkUnit

ALIKE_LIMIT = 20
"""Consecutive units with the same failure that stop the run."""
MOST_ALIKE = 1000
"""The same for failures in the recipe, if some of the first units that started have not ended: those that fail at once
end before those that wait for the service."""
REFUSED_LIMIT = 100
"""The same for requests with status 400 once a unit has succeeded: units next to each other in the plan may lie where
there are no data, for example."""
PATIENCE = 1800.0
"""Seconds without a success after which transient failures stop the run. Each was retried for minutes already."""
_MOST_REOPENED = 1000
"""Most units that are reopened after the error that stopped the run: the last ones that failed."""
_BAD_REQUEST = 400


class Breaker:
    """Count consecutive failures.

    A run is stopped if the first units all fail at the same place of the recipe, if the service refuses consecutive
    units with the same unknown error, if the service fails for half an hour, or if consecutive units fail with
    internal errors. Units that the service refused are reopened, so that the next run tries them again.

    Attributes:
        reopened: new records of units that failed with the error that stopped the run.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = 0
        self._awaited: set[int] = set()  # positions of the first units that started, until they end
        self._recipe_failure: str | None = None
        self._alike = 0  # units that failed with it, if all have
        self._has_differed = False
        self._key: str | None = None
        self._streak = 0
        self._refused: deque[tuple[str, Record]] = deque(maxlen=_MOST_REOPENED)
        self._stopped_by: str | None = None
        self._has_succeeded = False
        self._internal = 0
        self._since = clock()
        self.reopened: list[Record] = []

    def begin(self, task: WorkUnit) -> None:
        """Note units that start."""
        if self._started < ALIKE_LIMIT:
            first = task.units[: ALIKE_LIMIT - self._started]
            self._awaited.update(unit.position for unit in first)
            self._started += len(first)

    def note(self, task: WorkUnit, outcome: Outcome) -> EechipsError | None:
        """Count an outcome.

        Args:
            task: the unit.
            outcome: of the unit.

        Returns:
            The error that stops the run; None to continue.
        """
        record = outcome.record
        if record is None:
            return None
        stop = self._note_recipe(record, outcome.recipe_failure) or self._note_service(
            task, record, outcome.service_failure
        )
        return stop or self._note_internal(record)

    def _note_internal(self, record: Record) -> InternalError | None:
        self._internal = self._internal + 1 if record.error_class == InternalError.__name__ else 0
        if self._internal < ALIKE_LIMIT:
            return None
        return InternalError(
            f"{self._internal:,} units in a row failed, and no recipe is to blame: {record.error}. The run stops; its"
            " results are kept. To resume: run the same command again, which tries these units again",
            traceback=record.traceback or "",
        )

    def _note_recipe(self, record: Record, recipe_failure: str | None) -> RecipeError | None:
        if self._has_differed:
            return None
        self._awaited.discard(record.position)
        if recipe_failure is None or (self._alike and recipe_failure != self._recipe_failure):
            self._has_differed = True
            return None
        self._recipe_failure = recipe_failure
        self._alike += 1
        limit = MOST_ALIKE if self._awaited else ALIKE_LIMIT
        if self._alike < limit:
            return None
        message = f"the first {limit:,} units all failed alike: {record.error}"
        return RecipeError(message, traceback=record.traceback or "")

    def _note_service(
        self, task: WorkUnit, record: Record, service_failure: tuple[int, str] | None
    ) -> EechipsError | None:
        if not record.state.is_failure:
            self._has_succeeded, self._since = True, self._clock()
        if service_failure is None:
            self._key, self._streak = None, 0
            return None
        status, key = service_failure
        if status == _BAD_REQUEST and task.attempts:
            return None  # it was the end of an earlier run already, which is to get past it
        if key != self._key:
            self._key, self._streak = key, 0
        self._streak += 1
        if record.state is State.FAILED_TRANSIENT:
            return self._failing(record)
        # Those too that came before the last success: with many requests in flight, some succeed late.
        self._refused.append((key, record))
        limit = REFUSED_LIMIT if status == _BAD_REQUEST and self._has_succeeded else ALIKE_LIMIT
        if self._streak < limit and key != self._stopped_by:  # later failures of requests in flight
            return None
        self._stopped_by = key
        self.reopened = [replace(each, state=State.FAILED_TRANSIENT) for of, each in self._refused if of == key]
        return ProjectUnavailableError(
            f"Earth Engine refuses every request (HTTP {status}: {record.error}): {self._streak:,} units in a row."
            " The run stops; its results are kept. To resume: find out what the message means, and run the same command"
            " again: it tries these units again."
        )

    def _failing(self, record: Record) -> EechipsError | None:
        if self._streak < ALIKE_LIMIT or self._clock() - self._since < PATIENCE:
            return None
        minutes = round((self._clock() - self._since) / 60)
        return ProjectUnavailableError(
            f"Earth Engine has answered no request for {minutes} minutes ({record.error}). The run stops; its results"
            " are kept. To resume: run the same command again later; https://status.earthengine.app shows whether the"
            " service has trouble."
        )


def service_failure_of(error: EechipsError) -> tuple[int, str] | None:
    """Return the status of an unknown or lasting failure of the service, and a key that failures of its kind share.

    Args:
        error: that a unit failed with.
    """
    if not isinstance(error, (UnknownServiceError, TransientError)) or error.status is None or error.status < 300:
        return None
    kind = re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "", str(error))[:200] if error.status == _BAD_REQUEST else ""
    return error.status, f"{type(error).__name__} {error.status} {kind}".strip()
