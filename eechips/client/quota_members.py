"""Keep account of the slots and requests of each run that shares a quota, and divide slots fairly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from eechips.client.quota_records import Grant, RunReport

_FORGET = 0.9
"""Factor a step by which the requests of earlier steps count less for their average duration."""


@dataclass(slots=True)
class RequestTime:
    """How long a request takes on average, by Little's law: the mean in flight divided by the requests a second.

    Attributes:
        sent: requests since the beginning, when last measured.
        since: time of that.
        busy: seconds of requests in flight, of the last steps.
        ended: requests that ended in them.
    """

    sent: int
    since: float
    busy: float = 0.0
    ended: float = 0.0

    def measure(self, sent: int, in_flight: int, now: float) -> None:
        """Record a step.

        Args:
            sent: requests that have been answered since the beginning, without rejected ones.
            in_flight: requests that are with the service.
            now: seconds.
        """
        self.busy = self.busy * _FORGET + in_flight * (now - self.since)
        self.ended = self.ended * _FORGET + sent - self.sent
        self.sent, self.since = sent, now

    @property
    def seconds(self) -> float:
        """The average; 0 if no request has ended."""
        return self.busy / self.ended if self.ended >= 1.0 else 0.0


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
        grant: the present one.
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
    def idle(self) -> int:
        """Slots that are reserved for the run, and that it could not use."""
        used = 0 if self.report is None else max(self.report.in_flight, self.report.wanted)
        return max(0, self.grant.reserved - used)
