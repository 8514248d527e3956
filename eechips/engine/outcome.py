"""Describe the outcome of a unit, from its worker to the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from eechips.client.compute_profiles import ProfileShare
from eechips.client.exports.export_tasks import ExportTask
from eechips.client.quota.usage import RequestLog
from eechips.errors import EechipsError
from eechips.manifest.manifest_columns import Record, WorkUnit
from eechips.storage import StagedFile


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """A request of several units that failed.

    Attributes:
        first: position of the first of these units.
        error: without secrets.
        is_divisible: whether half of the units may share a request again. Otherwise each is fetched alone, where it
            gets its own error.
    """

    first: int
    error: str
    is_divisible: bool


@dataclass(frozen=True, slots=True)
class StartedExports:
    """The batch tasks that export the results of a unit, which is finished when they have ended.

    Attributes:
        tasks: one for each chip or table, in their order.
        requests: sent for the unit before, those that started the tasks included.
        seconds: seconds that these took.
    """

    tasks: tuple[ExportTask, ...]
    requests: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a unit.

    Attributes:
        record: for the ledger; None if the unit was abandoned because the run stops.
        staged: files to commit, the first of the record first.
        fatal: an error that concerns every unit, so that the run must stop.
        recipe_failure: place at which the recipe raised an exception, or the fault of its request; equal for failures
            of the same kind.
        service_failure: HTTP status of a failure of the service that many units may share, and a key that is equal for
            failures of the same kind.
        request_logs: the requests that were sent, if they are logged.
        is_exclusive: the recipe fetched by itself, so that the process could fetch no other unit meanwhile.
        failed_request: the request that the unit shared, if it failed; the unit is fetched again.
        joined: outcomes of the further units of the assignment.
        profiles: profiles of the unit's requests; None if they were not profiled.
        request_seconds: for which the requests of the assignment were in flight, if they worked at once.
        pixels_that_worked: number of pixels of the largest part of a request that was too large for the service.
        exports: batch tasks that export the unit's results; then there is no record yet.
    """

    position: int
    record: Record | None = None
    staged: tuple[StagedFile, ...] = ()
    fatal: EechipsError | None = None
    recipe_failure: str | None = None
    request_logs: tuple[RequestLog, ...] = ()
    is_exclusive: bool = False
    service_failure: tuple[int, str] | None = None
    failed_request: FailedRequest | None = None
    joined: tuple[Outcome, ...] = ()
    profiles: tuple[ProfileShare, ...] | None = None
    request_seconds: float | None = None
    pixels_that_worked: int | None = None
    exports: StartedExports | None = None

    @property
    def each(self) -> tuple[Outcome, ...]:
        """The outcomes of all units of the assignment."""
        return (self, *self.joined)

    def __reduce__(self) -> tuple[Any, ...]:
        # The default of a dataclass with slots looks its fields up for every unit, in both processes.
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class AssignmentProgress:
    """A worker has finished a unit of an assignment of several, whose time limit begins anew.

    Attributes:
        position: position of the first unit of the assignment.
    """

    position: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker has executed an assignment, successfully or not."""

    assignment: WorkUnit
    outcome: Outcome

    def each(self) -> Iterator[Finished]:
        """Yield the event of each unit of the assignment, with its own outcome alone."""
        if not self.assignment.joined:
            yield self
            return
        for unit, outcome in zip(self.assignment.units, self.outcome.each, strict=True):
            yield Finished(unit, replace(outcome, joined=()) if outcome.joined else outcome)


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker ended, or was killed because an assignment took too long.

    Attributes:
        blame: whether this assignment was the cause; False for another assignment of the same worker, None if unknown.
    """

    assignment: WorkUnit
    reason: str
    blame: bool | None

    def each(self) -> Iterator[Lost]:
        """Yield the event, or that of each unit if the assignment is the cause: which of its units is unknown."""
        if not self.assignment.joined or not self.blame:
            yield self
            return
        for unit in self.assignment.units:
            yield Lost(unit, self.reason, None)
