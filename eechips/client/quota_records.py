"""Define the records by which runs share a quota, and the place of the records of all runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run reports.

    Attributes:
        run: id of the run.
        count: number of its reports; a run whose count changes is alive.
        term: number of the term whose record it has read.
        seen: count of that record.
        held: slots that it may be using.
        in_flight: requests that are with the service.
        wanted: slots that it could use.
        most: slots that it is allowed at most.
        sent: requests since its beginning.
        rejected: requests with the response 429 since its beginning.
        is_restricted: whether the service announces its restricted mode.
        seconds: seconds that a request of it takes on average; 0 if that is not known.
        about: what it is, for people.
    """

    run: str
    count: int
    term: int
    seen: int
    held: int
    in_flight: int
    wanted: int
    most: int
    sent: int
    rejected: int
    is_restricted: bool
    seconds: float
    about: str


@dataclass(frozen=True, slots=True)
class Grant:
    """Share of a run.

    Attributes:
        slots: slots that it may use from now on.
        reserved: slots that it may still be using.
        rejected: rejections of the run that the leader has taken into account.
        rate: requests a second; None for no limit.
    """

    slots: int
    reserved: int
    rejected: int
    rate: float | None


@dataclass(frozen=True, slots=True)
class TermRecord:
    """What the leader of a term has decided.

    Attributes:
        number: number of the term.
        leader: id of the run that leads.
        count: number of the records of this term; a leader whose count changes is alive.
        limit: slots of all runs together.
        is_learned: whether the service has shown that it accepts no more.
        grants: by the id of the run, in the order in which they came.
        is_over: whether the leader has left.
        seconds: seconds that a request of the leader takes on average; 0 if that is not known.
        about: what the leader is, for people.
    """

    number: int
    leader: str
    count: int
    limit: float
    is_learned: bool = False
    grants: Mapping[str, Grant] = field(default_factory=dict)
    is_over: bool = False
    seconds: float = 0.0
    about: str = ""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How often runs write, and for how long they are believed to be alive.

    Attributes:
        step: seconds between two records of a run; twice as long while it is alone.
        for_each: further seconds between two records for each run that shares the quota.
        lease: seconds after which a run without a new record has lost its slots.
        short_step: seconds between two records of a run while slots move from one run to another.
    """

    step: float
    for_each: float
    lease: float
    short_step: float

    def pause(self, others: int, *, is_changing: bool = False) -> float:
        """Return the seconds to the next record of a run.

        Args:
            others: runs that share the quota with it.
            is_changing: whether slots move from one run to another.
        """
        if is_changing:
            return self.short_step
        wanted = self.step + self.for_each * others if others else 2.0 * self.step
        return min(wanted, max(self.step, self.lease / 6.0))
