"""Stop a run whose units all fail for the same reason: 20 alike in a row, 100 if their data may be the cause, or half
an hour without success.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from eechips.client.error_classification import WEB_PAGE
from eechips.engine.outcome import Outcome
from eechips.errors import (
    EechipsError,
    InternalError,
    PermanentError,
    ProjectUnavailableError,
    RecipeError,
    TransientError,
    UnknownServiceError,
)
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.text.formatting import format_count

ALIKE_LIMIT = 20
"""Consecutive units with the same failure that stop the run. Units that fail in the recipe end at once, while others
still wait for the service: one such failure is allowed for each unit that started earlier and has not ended."""
REFUSED_LIMIT = 100
"""The same for faults of data, and for unknown errors with status 400 once a unit has succeeded: units next to each
other in the plan may lie where there are no data, for example."""
PATIENCE = 1800.0
"""Seconds without a success after which transient failures stop the run. Each was retried for minutes already."""
PAGE_PATIENCE = 600.0
"""The same if no unit has succeeded and web pages came back, as of a proxy that lets only requests for plans pass. A
login page in the middle of a run gets the longer time: somebody may log in."""
_MOST_REOPENED = 1000
"""Most units that are reopened after the error that stopped the run: the last ones that failed."""
_BAD_REQUEST = 400


class Breaker:
    """Count consecutive failures.

    A run is stopped if the first units all fail at the same place of the recipe or by the same fault of their
    requests, if the service refuses consecutive units with the same unknown error, if the service fails for half an
    hour, or if consecutive units fail with internal errors. Units that the service refused are reopened, so that the
    next run tries them again.

    Attributes:
        reopened: new records of units that failed with the error that stopped the run.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first = _FirstUnits()
        self._has_differed = False
        self._key: str | None = None
        self._streak = 0
        self._refused: deque[tuple[str, Record]] = deque(maxlen=_MOST_REOPENED)
        self._stopped_by: str | None = None
        self._has_succeeded = False
        self._internal = 0
        self._since = clock()
        self.reopened: list[Record] = []

    def begin(self, assignment: WorkUnit) -> None:
        """Note units that start."""
        if not self._has_differed:
            self._first.begin(unit.position for unit in assignment.units)

    def note(self, assignment: WorkUnit, outcome: Outcome) -> EechipsError | None:
        """Count an outcome; return the error that stops the run, or None."""
        record = outcome.record
        if record is None:
            return None
        stop = self._note_recipe(record, outcome.recipe_failure) or self._note_service(
            assignment, record, outcome.service_failure
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

    def _note_recipe(self, record: Record, recipe_failure: str | None) -> RecipeError | PermanentError | None:
        if self._has_differed:
            return None
        first = self._first
        if recipe_failure is None or recipe_failure != (first.failure or recipe_failure):
            self._has_differed, self._first = True, _FirstUnits()
            return None
        first.fail(record.position, recipe_failure)
        is_data = record.error_class == PermanentError.__name__
        if first.failed < (REFUSED_LIMIT if is_data else ALIKE_LIMIT) * max(1, len(first.overtaken)):
            return None
        message = f"the first {first.failed:,} units all failed alike: {record.error}"
        if is_data:
            return PermanentError(
                f"{message} The run stops; its results are kept. To resume: correct the command or the recipe, or run"
                " the same command again, which goes on with the other units."
            )
        return RecipeError(message, traceback=record.traceback or "")

    def _note_service(
        self, assignment: WorkUnit, record: Record, service_failure: tuple[int, str] | None
    ) -> EechipsError | None:
        if not record.state.is_failure:
            self._has_succeeded, self._since = True, self._clock()
        if service_failure is None:
            self._key, self._streak = None, 0
            return None
        status, key = service_failure
        if status == _BAD_REQUEST and assignment.attempts:
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
        alike = [refused for refused_key, refused in self._refused if refused_key == key]
        self.reopened = [replace(refused, state=State.FAILED_TRANSIENT) for refused in alike]
        what = "refuses every request"
        if status == _BAD_REQUEST:  # which blames the request, not the project
            what = "has an answer that eechips does not know, perhaps to a fault of the recipe or its data"
        return ProjectUnavailableError(
            f"Earth Engine {what} (HTTP {status}: {record.error}): {format_count(self._streak, 'unit')} in a row."
            " The run stops; its results are kept. To resume: find out what the message means, and run the same command"
            " again: it tries these units again."
        )

    def _failing(self, record: Record) -> EechipsError | None:
        is_page = (record.error or "").startswith(WEB_PAGE)
        patience = PAGE_PATIENCE if is_page and not self._has_succeeded else PATIENCE
        if self._streak < ALIKE_LIMIT or self._clock() - self._since < patience:
            return None
        minutes = round((self._clock() - self._since) / 60)
        if is_page:
            return ProjectUnavailableError(
                f"No request has reached Earth Engine for {minutes} minutes: {record.error}. The run stops; its results"
                " are kept. To resume: log in there, or take a network without the proxy, and run the same command"
                " again."
            )
        return ProjectUnavailableError(
            f"Earth Engine has sent no usable answer for {minutes} minutes ({record.error}). The run stops; its results"
            " are kept. To resume: run the same command again later; https://status.earthengine.app shows whether the"
            " service has trouble."
        )


class _FirstUnits:
    """The units that started first, while all that have ended have failed alike.

    Attributes:
        failure: failure of all units that have ended; None if none has.
        failed: number of these.
    """

    def __init__(self) -> None:
        self.failure: str | None = None
        self.failed = 0
        self._order: list[int] = []  # positions, as the units started
        self._under_way: set[int] = set()
        self.overtaken: set[int] = set()  # that have not ended, among as many that started first as have failed

    def begin(self, positions: Iterable[int]) -> None:
        """Note units that start; one that starts again keeps its rank."""
        for position in positions:
            if position not in self._under_way:
                self._order.append(position)
                self._under_way.add(position)

    def fail(self, position: int, failure: str) -> None:
        """Note a unit that has failed like those before it."""
        self.failure = failure
        self.failed += 1
        self._under_way.discard(position)
        self.overtaken.discard(position)
        if self.failed <= len(self._order) and (added := self._order[self.failed - 1]) in self._under_way:
            self.overtaken.add(added)


def service_failure_of(error: EechipsError) -> tuple[int, str] | None:
    """Return the status of an unknown or lasting failure of the service, and a key that failures of its kind share."""
    if not isinstance(error, (UnknownServiceError, TransientError)) or error.status is None:
        return None
    kind = re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "", str(error))[:200] if error.status == _BAD_REQUEST else ""
    return error.status, f"{type(error).__name__} {error.status} {kind}".strip()
