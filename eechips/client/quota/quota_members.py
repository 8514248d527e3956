"""Keep account, by their records, of the runs that share a quota, and of what is known of its limit; divide slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run reports.

    Attributes:
        count: number of its reports; a run whose count changes is alive.
        term: number of the term whose record it has read.
        seen: count of that record.
        held: slots that it may be using.
        in_flight: requests that are with the service.
        wanted: slots that it could use.
        most: slots that it is allowed at most.
        sent: requests since its beginning.
        rejected: requests with the response 429 since its beginning.
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
        leader: id of the run that leads.
        count: number of the records of this term; a leader whose count changes is alive.
        limit: slots of all runs together.
        is_learned: whether the service has shown that it accepts no more.
        grants: by the id of the run, in the order in which they came.
        is_over: whether the leader has left.
        about: what the leader is, for people.
    """

    number: int
    leader: str
    count: int
    limit: float
    is_learned: bool = False
    grants: Mapping[str, Grant] = field(default_factory=dict)
    is_over: bool = False
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


def fair_shares(total: int, wanted: Sequence[int]) -> list[int]:
    """Divide slots by max-min fairness.

    Args:
        total: slots.
        wanted: slots that each run could use, in the order in which the runs came.

    Returns:
        The slots of each; what cannot be divided goes to those that came first.
    """
    shares = [0] * len(wanted)
    left = max(0, total)
    order = sorted(range(len(wanted)), key=lambda number: (wanted[number], -number))
    for done, number in enumerate(order):
        shares[number] = min(wanted[number], left // (len(order) - done))
        left -= shares[number]
    return shares


@dataclass(slots=True)
class CountWatch:
    """When the count of a run was last seen to change."""

    count: tuple[int, int]
    since: float
    has_changed: bool = False

    def note(self, count: tuple[int, int], now: float) -> None:
        """Note a count and the time at which it was read."""
        if count != self.count:
            self.count, self.since, self.has_changed = count, now, True


@dataclass(slots=True)
class QuotaMember:
    """The leader's account of another run.

    Attributes:
        issued: counts and slots of the grants of this term, from the one on that the run was using when it reported.
        carried: slots that the run may be using since an earlier term.
        report: the latest; None before the first.
    """

    grant: Grant
    issued: list[tuple[int, int]] = field(default_factory=list)
    carried: int = 0
    report: RunReport | None = None

    def note(self, report: RunReport, term: int) -> None:
        """Free slots that the run holds no longer, according to its report."""
        self.report = report
        if report.term == term:
            self.carried = 0
            while len(self.issued) > 1 and self.issued[1][0] <= report.seen:
                del self.issued[0]
        current = max((slots for _, slots in self.issued), default=0)
        self.grant = replace(self.grant, reserved=max(self.grant.slots, current, self.carried, report.held))

    def change(self, slots: int, count: int) -> None:
        """Set the slots from a record of the term on."""
        self.issued.append((count, slots))
        self.grant = replace(self.grant, slots=slots, reserved=max(slots, self.grant.reserved))

    @property
    def in_flight(self) -> int:
        """Requests of the run that are with the service."""
        return 0 if self.report is None else self.report.in_flight

    @property
    def idle(self) -> int:
        """Slots that are reserved for the run, and that it could not use."""
        used = max(self.in_flight, 0 if self.report is None else self.report.wanted)
        return max(0, self.grant.reserved - used)


_RECENT = 0.9
"""Factor by which the requests of earlier steps count less."""
_FEW, _MOST_REJECTED = 2.0, 0.015
"""Recent rejections, and their share of all requests, above which the accepted limit is lowered by one."""
_LEAST = 0.9
"""Share of the most accepted requests in flight below which such rejections are taken for accidents: fewer requests
would not help."""
_CALM = 10
"""Requests for each slot after a limit was too high, before the limit is raised near it again: a raise that fails costs
some rejections."""
_NEAR = 0.9
"""Share of a limit that was too high, from which on the limit grows in little steps."""
_GROWN = 1.1
"""Share of a limit that was too high, above which an accepted limit shows that the quota has grown. Requests of
different durations can hide for a while that a limit is too high by one."""
_SMALL_PART, _LARGE_PART = 50, 2
"""Parts of the limit by which it grows before the next proof: one of 50, or of 2."""


@dataclass(slots=True)
class LimitProof:
    """What the leader knows of the limit, while other runs use it as well.

    It notices rejections of their requests only when they report. So the limit grows by little steps, whose slots the
    leader uses itself, and they are divided among all when no run has reported a rejection for a while.

    Attributes:
        limit: slots that were accepted.
        tried: slots of the limit at the previous step, which has not been rejected yet.
        rejected_at: a limit that was too high; None if none is known.
        best: most requests that were in flight at once under an accepted limit. A limit that runs did not use, as they
            were starting or short of CPU, is no evidence of the quota.
        proofs: requests without a rejection since the limit has been at least so high.
        calm: requests since a limit was found to be too high.
        recent: requests, and rejections of them, of the last steps.
    """

    limit: int
    tried: int
    rejected_at: int | None = None
    best: int = 0
    proofs: int = 0
    calm: int = 0
    recent: tuple[float, float] = (0.0, 0.0)

    def note(self, limit: int, in_flight: int, sent: int, own: int, others: int) -> bool:
        """Record the limit of a step.

        Args:
            limit: slots.
            in_flight: requests of all runs that are with the service.
            sent: requests of all runs that were reported since the previous step.
            own: rejections of this run since then.
            others: rejections that the other runs have reported since then.

        Returns:
            Whether the limit is refuted, and falls to ``limit``.
        """
        self.calm += sent
        self.best = max(self.best, min(in_flight, self.limit))
        rejected = own + others
        if limit < self.tried:
            self.rejected_at, self.calm = self.tried, 0
            self.best = min(self.best, limit)  # the quota may have shrunk
            rejected = 0  # which have lowered the limit already
        elif self.rejected_at is not None and self.limit > _GROWN * self.rejected_at:
            self.rejected_at = None  # the quota has grown
        self.recent = self.recent[0] * _RECENT + sent, self.recent[1] * _RECENT + rejected
        if limit > self.limit:
            if others:
                self.rejected_at, self.tried, self.proofs, self.calm = self.tried, self.limit, 0, 0
                return True
            if own or limit < self.tried or self.tried <= self.limit:
                self.tried, self.proofs = limit, 0
            self.proofs += sent
            if self.proofs > limit:
                self.limit, self.tried, self.proofs = self.tried, limit, 0
                self.recent = (0.0, 0.0)
            return False
        self.limit, self.tried, self.proofs = limit, limit, 0
        requests, rejections = self.recent
        if rejections >= _FEW and rejections > _MOST_REJECTED * requests and limit > max(1.0, _LEAST * self.best):
            self.rejected_at, self.calm, self.recent = limit, 0, (0.0, 0.0)
            self.limit = self.tried = limit - 1
            return True
        return False

    @property
    def most(self) -> int:
        """Slots to which the limit may grow before the next proof."""
        is_near = self.rejected_at is not None and self.limit >= _NEAR * self.rejected_at
        if is_near and self.calm < _CALM * self.limit:
            return self.limit
        return self.limit + 1 + self.limit // (_SMALL_PART if is_near else _LARGE_PART)
