"""Share the quota of a project among runs that only have a folder or an object store in common: a leader grants slots,
leases of killed runs end.

One run, the leader, learns how many requests may be in flight (:mod:`eechips.client.quota.congestion`), and grants the
other runs shares of them. Every record has one writer:

- A run writes a report every few seconds: what it holds, what it could use, what the service has rejected.
- The leader writes the record of its term: the limit, and a grant for each run.
- A term begins by a conditional write, which one run wins. Its number is one more than that of the term before.

The rules that keep the runs within the limit:

- The leader raises a grant only by slots that no run holds. A grant that was lowered stays reserved until its run has
  reported that it holds no more.
- Each run has a lease, which it renews by writing its report, or the record of its term. If it cannot, it keeps one
  slot. The leader takes the slots of a run whose lease has ended; the other runs replace a leader whose lease has
  ended.
- Times are compared on the monotonic clock of the process that measured them only. A run measures its lease from before
  it wrote; the others from when they noticed. So the former ends first, whatever the clocks of machines say.

Slots are divided by max-min fairness (Bertsekas and Gallager, Data Networks, 1992, 6.5.2): no run has more than it can
use, and what that leaves is divided equally.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from eechips.client.quota.permit_issuer import read_lease_clock
from eechips.client.quota.permits import QuotaShare, QuotaUse, UsageDelta
from eechips.client.quota.quota_folder import QuotaFolder
from eechips.client.quota.quota_members import (
    CountWatch,
    Grant,
    LeaseTimes,
    LimitProof,
    QuotaMember,
    RunReport,
    TermRecord,
    fair_shares,
)
from eechips.client.quota.throttle import Throttle

_MOST_SLOTS = 1000
"""Slots of all runs together, at most."""
_SAFE = 0.6
"""Share of the lease after which a run gives up its slots; requests in flight then have the rest to finish."""
_SILENT = 3.0
"""Steps without a report after which the slots of a run are no evidence that the limit is used."""
_LINGER = 1 / 3
"""Share of the lease for which the slots of a run stay unused whose process is known to have been killed."""
_SETTLED = 1
"""Slots of a run that may move to other runs without shorter steps."""
_EAGER = 4
"""Factor by which a run that uses all of its slots could use more."""


class SharedQuota:
    """A run's side of a quota that several runs share. Call :meth:`step` every few seconds from one thread.

    Args:
        run: id of this run, unique.
        times: the same for all runs.
        rate: requests a second of all runs; None for no limit.
        about: what the run is, for people.
        is_running: returns whether the process of a run is running; None if that is not visible from here.
        clock: seconds; the clock of the throttle's lease.

    Attributes:
        is_leader: whether this run learns the limit, and grants shares of it.
        others: number of other runs that have a share.
    """

    def __init__(
        self,
        records: QuotaFolder,
        throttle: Throttle,
        run: str,
        times: LeaseTimes,
        *,
        rate: float | None = None,
        about: str = "",
        is_running: Callable[[str], bool | None] = lambda _: None,
        clock: Callable[[], float] = read_lease_clock,
    ) -> None:
        self._records, self._throttle, self._run, self._times = records, throttle, run, times
        self._rate, self._about, self._is_running, self._clock = rate, about, is_running, clock
        self._term = TermRecord(0, "", 0, 0.0)
        self._first_limit = throttle.total_limit
        self.is_leader = False
        self._count = 0
        self._term_watch = CountWatch((0, 0), clock())
        self._watches: dict[str, CountWatch] = {}
        self._members: dict[str, QuotaMember] = {}
        self.others = 0
        self._is_changing = False
        self._lingering: list[tuple[int, float]] = []
        self._proof = LimitProof(0, 0)
        self._reported = self._counted = (0, 0)
        self._renewed = clock()

    @property
    def total(self) -> int:
        """Slots of all runs together, as far as this run knows."""
        return self._throttle.total_limit if self.is_leader else int(self._term.limit)

    @property
    def is_waiting(self) -> bool:
        """Return whether this run follows another, and has no slot yet."""
        return not self.is_leader and self._throttle.limit == 0

    @property
    def is_cut_off(self) -> bool:
        """Return whether the lease of this run has ended, because the place of the records does not respond."""
        return self._clock() > self._renewed + _SAFE * self._times.lease

    @property
    def pause(self) -> float:
        """Seconds to the next step."""
        return self._times.pause(self.others, is_changing=self._is_changing)

    def join(self) -> None:
        """Begin to take part: become the leader, or give up all slots until the leader grants some.

        Raises:
            EechipsError, OSError: if the place of the records does not respond. The run then continues alone.
        """
        self._throttle.follow()
        try:
            self.step()
        except BaseException:
            self._throttle.lead(self._first_limit, is_learned=False)
            raise

    def step(self) -> None:
        """Exchange records once, and apply what has changed.

        Raises:
            EechipsError, OSError: if the place of the records does not respond.
        """
        began = self._clock()
        terms, runs = self._records.find()
        latest = max(terms, default=0)
        if self.is_leader and self._is_replaced(latest):
            self._stand_down()
        if not self.is_leader:
            self._read_term(latest)
            if self._is_open(latest, began):
                self._stand(latest)
        if self.is_leader:
            self._lead(runs)
            for old in terms:
                if old < self._term.number:
                    self._records.remove_term(old)
        else:
            self._follow()
        self._renewed = began
        self._throttle.renew_lease(began + _SAFE * self._times.lease)

    def leave(self) -> None:
        """Return all slots: the run has no request in flight any more.

        Raises:
            EechipsError, OSError: if the place of the records does not respond. Then the lease ends by itself.
        """
        if not self.is_leader:
            self._records.remove_report(self._run)
            return
        _, runs = self._records.find()
        if set(runs) <= {self._run}:
            self._records.remove_term(self._term.number)
        else:
            self._write_term(is_over=True)
        self.is_leader = False

    # Following

    def _read_term(self, latest: int) -> None:
        """Read the record of the latest term; one that cannot be read changes nothing."""
        term = self._records.read_term(latest) if latest else None
        if term is not None:
            self._term = term
        self._term_watch.note((latest, -1 if term is None else term.count), self._clock())

    def _is_open(self, latest: int, now: float) -> bool:
        """Return whether there is no leader, or its lease has ended."""
        if not latest or now - self._term_watch.since > self._times.lease:
            return True
        term = self._term
        if term.number != latest:
            return False
        return term.is_over or term.leader == self._run or self._is_running(term.leader) is False

    def _stand(self, latest: int) -> None:
        """Try to begin the next term, in which the other runs keep their grants."""
        before = self._term
        kept = {
            run: replace(grant, reserved=max(grant.slots, grant.reserved))
            for run, grant in before.grants.items()
            if run not in (self._run, before.leader)
        }
        limit = before.limit if before.limit >= 1.0 else float(self._first_limit)
        is_learned = before.is_learned
        term = TermRecord(latest + 1, self._run, 1, limit, is_learned, kept, about=self._about)
        if not self._records.create_term(term):
            return
        self._term, self.is_leader, self._lingering = term, True, []
        if before.leader not in ("", self._run) and not before.is_over and self._is_running(before.leader) is False:
            self._linger(int(limit) - _sum_reserved(kept.values()))
        self._members = {run: QuotaMember(grant, [(1, grant.slots)], grant.reserved) for run, grant in kept.items()}
        self._watches = {}
        reserved = _sum_reserved(kept.values())
        self._throttle.reserve(reserved, 0, self._rate, ceiling=_MOST_SLOTS, bound=limit)
        self._throttle.lead(limit, is_learned=is_learned)
        known = int(limit) + 1 if is_learned else None
        self._proof = LimitProof(int(limit), int(limit), known)
        self._counted = self._throttle.sent, self._throttle.rejected
        self._records.remove_report(self._run)

    def _follow(self) -> None:
        """Apply the grant of this run, and report."""
        grant = self._term.grants.get(self._run, Grant(0, 0, 0, None))
        before = self._throttle.limit
        self.others = len(self._term.grants.keys() | {self._term.leader}) - (self._run in self._term.grants)
        rates = [rate for rate in (grant.rate, self._rate) if rate is not None]
        use = self._throttle.measure()
        self._throttle.share(QuotaShare(grant.slots, min(rates, default=None), grant.rejected))
        moved = max(abs(grant.slots - before), use.held - grant.slots)
        self._is_changing = grant.slots == 0 or moved > _SETTLED
        self._count += 1
        self._records.write_report(self._report(use))

    def _report(self, use: QuotaUse) -> RunReport:
        now = self._throttle.measure()
        return RunReport(
            run=self._run,
            count=self._count,
            term=self._term.number,
            seen=self._term.count,
            held=max(now.limit, now.held),
            in_flight=now.in_flight,
            wanted=_wanted(use, self._throttle.own_most),
            most=self._throttle.own_most,
            sent=now.sent,
            rejected=now.rejected,
            is_restricted=now.is_restricted,
            about=self._about,
        )

    # Leading

    def _is_replaced(self, latest: int) -> bool:
        """Return whether another run leads.

        The number of the term is not enough: if all runs leave while the leader is cut off, numbers begin again.
        """
        if latest != self._term.number:
            return True
        term = self._records.read_term(latest)
        return term is not None and term.leader != self._run

    def _stand_down(self) -> None:
        """Follow the leader of a later term."""
        self.is_leader = False
        self._members, self._watches = {}, {}
        self._throttle.follow()

    def _lead(self, runs: Iterable[str]) -> None:
        """Take the reports of the other runs into account, and grant shares."""
        present = [run for run in runs if run != self._run]
        for gone in (self._members.keys() | self._watches.keys()) - set(present):
            self._members.pop(gone, None)
            self._watches.pop(gone, None)
        for run in present:
            self._note_report(run)
        self.others = len(self._members)
        self._prove()
        count = self._term.count + 1
        self._divide(count)
        is_learned = not self._throttle.is_ramping
        self._term = replace(self._term, count=count, limit=float(self._throttle.total_limit), is_learned=is_learned)
        self._write_term(is_over=False)

    def _write_term(self, *, is_over: bool) -> None:
        grants = {run: member.grant for run, member in self._members.items()}
        if is_over:
            self._term = replace(self._term, count=self._term.count + 1)
        self._records.write_term(replace(self._term, grants=grants, is_over=is_over))

    def _note_report(self, run: str) -> None:
        """Learn from the report of a run; forget the run if its lease has ended."""
        now = self._clock()
        report = self._records.read_report(run)
        watch = self._watches.get(run)
        key = (0, -1) if report is None else (0, report.count)
        if watch is None:
            watch = self._watches[run] = CountWatch(key, now)
        else:
            watch.note(key, now)
        is_running = self._is_running(run)
        if is_running is False and run in self._members:
            self._linger(self._members[run].grant.reserved)
        if is_running is False or now - watch.since > self._times.lease:
            self._members.pop(run, None)  # the watch stays: a report that cannot be removed is no new run
            self._records.remove_report(run)
            return
        if report is None:
            return
        member = self._members.get(run)
        if member is None:
            if not (is_running or watch.has_changed):  # it may be the report of a run that has ended
                return
            member = self._members[run] = QuotaMember(Grant(0, 0, report.rejected, None))
            member.report = report
        self._learn(member.report, report)
        member.note(report, self._term.number)
        member.grant = replace(member.grant, rejected=report.rejected)

    def _linger(self, slots: int) -> None:
        """Leave the slots of a run that was killed unused for a while: its requests may still be with the service."""
        self._lingering.append((slots, self._clock() + _LINGER * self._times.lease))

    def _prove(self) -> None:
        """Keep account of the limit that was accepted."""
        throttle, limit = self._throttle, self._throttle.total_limit
        (sent, rejected), self._reported = self._reported, (0, 0)
        own = throttle.sent - self._counted[0], throttle.rejected - self._counted[1]
        self._counted = throttle.sent, throttle.rejected
        if not self._members:
            best = min(limit, max(self._proof.best, throttle.in_flight))
            self._proof = LimitProof(limit, limit, None if throttle.is_ramping else limit + 1, best)
            return
        in_flight = throttle.in_flight + sum(member.in_flight for member in self._members.values())
        if self._proof.note(limit, in_flight, sent + own[0], own[1], rejected):
            throttle.refute(self._proof.limit)

    def _learn(self, before: RunReport | None, report: RunReport) -> None:
        """Learn from the requests of a run since its previous report."""
        if before is None:
            return
        sent, rejected = report.sent - before.sent, report.rejected - before.rejected
        self._reported = self._reported[0] + max(0, sent), self._reported[1] + max(0, rejected)
        if sent > 0 or rejected > 0:
            self._throttle.learn_from(
                UsageDelta(sent, rejected, 0, report.in_flight, report.held, report.is_restricted)
            )

    def _idle(self, run: str, member: QuotaMember) -> int:
        """Return the slots that are reserved for a run, and that it does not use: all, if it has not written lately."""
        silence = self._clock() - self._watches[run].since
        return member.grant.reserved if silence > _SILENT * self.pause else member.idle

    def _divide(self, count: int) -> None:
        """Divide the slots among all runs, this one included."""
        throttle, members = self._throttle, [*self._members.values()]
        use = throttle.measure()
        own_most = throttle.own_most
        now = self._clock()
        self._lingering = [(slots, until) for slots, until in self._lingering if until > now]
        lingering = sum(slots for slots, _ in self._lingering)
        if not members:
            lingering = max(0, min(lingering, throttle.total_limit - 1))
            throttle.reserve(lingering, lingering, self._rate, ceiling=own_most, bound=math.inf)
            # The next report of a run that has just been found shows that it is alive.
            self._is_changing = any(now - watch.since < 2.0 * self._times.step for watch in self._watches.values())
            return
        ceiling = min(_MOST_SLOTS, own_most + sum(member.report.most if member.report else 0 for member in members))
        total = min(throttle.total_limit, self._proof.limit)
        wanted = [_wanted(use, own_most)] + [member.report.wanted if member.report else 1 for member in members]
        lingering = max(0, min(lingering, total - 1))
        own, *targets = fair_shares(total - lingering, wanted)
        for member, target in zip(members, targets, strict=True):
            if target < member.grant.slots:
                member.change(target, count)
        reserved = _sum_reserved(member.grant for member in members)
        idle = lingering + sum(self._idle(run, member) for run, member in self._members.items())
        left = max(total - own, reserved)
        bound = math.inf if throttle.is_ramping else self._proof.most
        rate = _part(self._rate, own, total)
        throttle.reserve(left, idle, rate, ceiling=ceiling, bound=bound)
        free = max(0, total - lingering - reserved - max(own, throttle.measure().held))
        for member, target in zip(members, targets, strict=True):
            before = member.grant
            slots = min(target, before.reserved + free)
            if slots > before.slots:
                member.change(slots, count)
                free -= max(0, slots - before.reserved)
            member.grant = replace(member.grant, rate=_part(self._rate, member.grant.slots, total))
        moving = sum(
            max(target, member.grant.reserved) - min(target, member.grant.slots)
            for member, target in zip(members, targets, strict=True)
        )
        self._is_changing = moving > _SETTLED * len(members)


def _wanted(use: QuotaUse, most: int) -> int:
    """Return the slots that a run could use: few more than it uses, unless it uses all that it has."""
    wanted = _EAGER * (use.peak + 1) if use.peak >= use.limit else use.peak + 1
    return max(1, min(wanted, most))


def _sum_reserved(grants: Iterable[Grant]) -> int:
    return sum(grant.reserved for grant in grants)


def _part(rate: float | None, slots: int, total: int) -> float | None:
    """Return the part of the rate that belongs to some of the slots."""
    return None if rate is None or total <= 0 else rate * slots / total
