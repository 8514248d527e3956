"""Learn how many requests may be in flight at once from those that the service rejects (429): where to begin, how fast
to grow, its restricted mode.

The algorithm is additive increase, multiplicative decrease (Chiu and Jain 1989), as in TCP, with three differences:

- The service rejects at once instead of queueing, so a rejection shows the exact number of requests in excess.
- A request may be rejected for other reasons than the limit. Only rejections that accumulate at one limit, or follow
  immediately after raising it, lower it.
- The quota may change at any time. The limit is raised again after a wait, which doubles each time the raise is
  rejected.

A run that does not know the limit begins low and grows fast until the first rejection (docs/decisions/0010).

A service without a quota rejects nothing, however slow it becomes. Above the usual quota of a project, the limit
therefore doubles only if the last doubling has increased the responses a second.
"""

from __future__ import annotations

from eechips.client.quota.process_memory import CongestionCells

_TOLERATED = 0.25
"""Share of rejections at one limit up to which the limit stays. They are taken for accidents, or are caused by other
users of the same quota: fewer requests would not help."""
_DOUBTFUL = 0.24
"""Share that is assumed of a limit that has just been raised, so that its first rejection lowers it."""
_HEAVY_SHARE = 0.5
"""Share of rejections above which the limit is far too high: it falls by a factor, not by one."""
_DECREASE = 0.75
_MEMORY = 30.0
"""Requests over which the share of rejections is averaged."""
_EPOCH = 0.5
"""Seconds between two reductions by a factor: requests sent before the first must not cause the second."""
_SHORT_WAIT, _LONG_WAIT = 1.0, 8.0
"""Seconds until the limit is raised again after it was too high: the first wait, which doubles, and the longest, since
the quota may have changed."""
_CALM, _CALM_SECONDS = 120.0, 30.0
"""Responses that have to come before the longest wait ends, so that raising costs a small quota no more than a large
one, and the seconds after which it ends without them."""
_REFUTED, _REFUTED_WITHIN = 2.0, 0.5
"""Rejections that refute a raise, and the responses for each permit within which they have to come."""
_PROBE = 0.5
"""Least growth of the limit, in permits a second."""
_GROWTH = 1.35
"""Growth of the limit without rejections, as a factor a second."""
_RESTRICTED = 0.5
"""Share of the limit that remains when the service announces its restricted mode."""
_CERTAIN = 3.0
"""Announcements in a row that begin the restricted mode; as many responses without one end it."""
_LONGEST_STEP = 0.25
"""Longest growth in seconds that one response causes: a pause is no evidence."""
USUAL = 40.0
"""Permits that a project has by default (https://developers.google.com/earth-engine/guides/usage, 2025-11). An
administrator can lower it, other programs may use a part of it, and no response tells it."""
START = 5.0
"""Permits with which a run begins that does not know the quota."""
_RAMP_FACTOR, _RAMP_MOST = 2.5, 40.0
"""Growth in permits a second until the first rejection: for each permit, and at most. The service rejects at once, so
that silence for the time of a rejection (some 0.1 s) shows that the requests so far were accepted, long before they are
finished: 40 permits are reached after 1.1 s, and a lower quota is exceeded by what is sent in that time."""
_RAMP_BEYOND = 0.5
"""Growth for each permit above the default, where most quotas end."""
_WORTHWHILE = 1.3
"""Factor by which a doubling must increase the responses a second."""
_WINDOW = 1.0
"""Least seconds for which responses are counted to measure that."""
_PROMPT = 10.0
"""Responses a second and permit above which the permits do not limit the run; this machine, or that of the service,
does."""
_WARM = 1.2
"""Factor of growth since the last count above which the first throughput has not settled."""
_HOLD = 30.0
"""Seconds until a doubling that brought nothing is tried again."""


class CongestionController:
    """Controller that raises and lowers a limit, in cells that processes may share. The caller holds their lock.

    Its methods take the time, ``now`` (seconds, monotonic), and ``restricted``: whether a response announces the
    restricted mode.
    """

    def __init__(self, cells: CongestionCells) -> None:
        self._cells = cells

    def begin(self, limit: float, ceiling: float, now: float, *, ramps: bool, free: float | None = None) -> None:
        """Set all cells for the beginning of a run.

        Args:
            limit: permits to begin with.
            ceiling: permits at most.
            ramps: whether the limit is unknown: it grows fast until the first rejection.
            free: permits up to which the limit grows without a check that this raises the throughput; None for the
                ceiling.
        """
        cells = self._cells
        cells.limit, cells.ceiling = min(limit, ceiling), ceiling
        cells.bound = float("inf")
        cells.share = 0.0
        cells.too_high_at = cells.lowered_at = cells.grown_at = now
        cells.wait, cells.raised, cells.signs = _SHORT_WAIT, 0.0, 0.0
        cells.ramping, cells.ramped_at = float(ramps), -_EPOCH
        cells.restricted = 0.0
        cells.free = ceiling if free is None else min(free, ceiling)
        cells.window_at = cells.window_count = cells.pace = 0.0

    def resize(self, ceiling: float) -> None:
        """Set the maximum number of permits; scale the limit and the free permits with it."""
        cells, before = self._cells, self._cells.ceiling
        cells.limit = max(1.0, cells.limit * ceiling / before)
        cells.free = max(1.0, cells.free * ceiling / before)
        cells.ceiling = ceiling

    def bound(self, ceiling: float, bound: float) -> None:
        """Set the maximum number of permits, without scaling the limit.

        Args:
            ceiling: permits at most.
            bound: permits to which the limit may grow for the time being; it does not fall to it.
        """
        cells = self._cells
        cells.ceiling, cells.bound = ceiling, bound
        cells.free = min(max(cells.free, USUAL), ceiling)
        cells.limit = min(cells.limit, ceiling)

    def refute(self, limit: float, now: float) -> None:
        """Return to a limit that was accepted, because a raise was rejected where this controller does not see it."""
        cells = self._cells
        if not cells.ramping:
            cells.wait = min(2.0 * cells.wait, _LONG_WAIT)
        cells.ramping = cells.window_at = cells.raised = 0.0
        cells.too_high_at = cells.grown_at = now
        cells.limit = min(cells.limit, max(1.0, limit))

    def resume(self, limit: float, now: float) -> None:
        """Continue with the limit that another controller has learned."""
        self.begin(limit, max(limit, self._cells.ceiling), now, ramps=False, free=max(limit, USUAL))

    def answered(self, in_flight: int, now: float, *, restricted: bool) -> None:
        """Record a response that was not a rejection.

        Args:
            in_flight: permits in use, that of this request included.
        """
        cells = self._cells
        before = int(cells.limit)
        self._restrict(restricted, now)
        cells.share *= 1.0 - 1.0 / _MEMORY
        cells.answers += 1.0
        self._prove(now)
        self._grow(in_flight, now)
        if int(cells.limit) > before and not cells.ramping:
            cells.share = max(cells.share, _DOUBTFUL)
            if cells.raised:  # the last raise was accepted
                cells.wait = _SHORT_WAIT
            cells.raised, cells.answers, cells.doubts = 1.0, 0.0, 0.0

    def waited(self, in_flight: int, now: float) -> None:
        """Record that a request waits for a permit: while the limit is unknown, it grows if nothing was rejected."""
        if self._cells.ramping:
            self._grow(in_flight, now)

    def rejected(self, in_flight: int, now: float, *, restricted: bool) -> None:
        """Record a rejection.

        Args:
            in_flight: permits in use by other requests.
        """
        cells = self._cells
        self._restrict(restricted, now)
        cells.share += (1.0 - cells.share) / _MEMORY
        cells.grown_at = now
        was_ramping = bool(cells.ramping)
        cells.ramping = cells.window_at = 0.0
        if was_ramping:
            cells.ramped_at = cells.lowered_at = now
        if now < cells.ramped_at + _EPOCH:  # each was sent before the first rejection was known, and is one too many
            cells.too_high_at, cells.answers = now, 0.0
            cells.limit = max(1.0, min(cells.limit - 1.0, float(in_flight)))
            return
        cells.doubts += 1.0
        is_early = cells.raised and cells.answers <= _REFUTED_WITHIN * cells.limit
        is_refuted = is_early and cells.doubts >= _REFUTED
        if cells.share <= _TOLERATED and not is_refuted:
            return
        cells.too_high_at, cells.raised, cells.answers = now, 0.0, 0.0
        cells.wait = min(2.0 * cells.wait, _LONG_WAIT)
        limit = cells.limit
        # The requests in flight were accepted. Those sent under the same limit are rejected as well, which is no
        # further evidence.
        lowered = max(limit - 1.0, float(in_flight))
        if cells.share > _HEAVY_SHARE and now >= cells.lowered_at + _EPOCH:
            cells.lowered_at = now
            lowered = min(limit * _DECREASE, float(in_flight))
        cells.limit = max(1.0, min(limit, lowered))

    def _prove(self, now: float) -> None:
        """Count responses at the free limit, and double it if the last doubling raised the throughput."""
        cells = self._cells
        limit, free = cells.limit, cells.free
        if limit < free or free >= cells.ceiling or now < cells.window_at:
            return
        if not cells.window_at:
            cells.window_at, cells.window_count = now, 0.0
            return
        cells.window_count += 1.0
        seconds = now - cells.window_at
        if seconds < _WINDOW or cells.window_count < 2.0 * limit:
            return
        pace, before = cells.window_count / seconds, cells.pace
        cells.window_at, cells.pace = 0.0, pace
        if pace >= _PROMPT * limit:
            cells.window_at, cells.pace = now + _HOLD, 0.0
        elif before <= 0.0 and (before == 0.0 or pace > -before * _WARM):
            cells.pace = -pace  # workers are still starting: the pace of this limit is not known yet
        elif pace >= before * _WORTHWHILE:
            cells.free = min(2.0 * free, cells.ceiling)
        else:
            cells.free = cells.limit = max(1.0, free / 2.0)
            cells.window_at, cells.pace = now + _HOLD, 0.0

    def _grow(self, in_flight: int, now: float) -> None:
        """Raise the limit, unless permits are unused: these are no evidence for a higher one."""
        cells = self._cells
        step = min(now - cells.grown_at, _LONGEST_STEP)
        cells.grown_at = now
        if in_flight >= int(cells.limit) - 1:
            most = min(cells.free, cells.bound)
            cells.limit = max(cells.limit, min(self._grown(step, now), most))

    def _grown(self, step: float, now: float) -> float:
        cells = self._cells
        limit = cells.limit
        if cells.restricted:
            return limit + _PROBE * step
        if cells.ramping:
            below = min(_RAMP_FACTOR * limit, _RAMP_MOST)
            return limit + step * (below if limit < USUAL else _RAMP_BEYOND * limit)
        calm = now - cells.too_high_at
        if cells.share > _DOUBTFUL or calm < cells.wait:
            return limit
        if cells.wait == _LONG_WAIT and cells.answers < _CALM and calm < _CALM_SECONDS:
            return limit
        return float(max(limit * _GROWTH**step, limit + _PROBE * step))

    def announced(self, restricted: bool) -> bool:
        """Record whether a response announces the restricted mode, which begins after several in a row.

        Returns:
            Whether the mode has begun with this response.
        """
        cells = self._cells
        signs = min(max(cells.signs + (1.0 if restricted else -1.0), 0.0), _CERTAIN)
        cells.signs = signs
        has_begun = signs == _CERTAIN and not cells.restricted
        if has_begun:
            cells.restricted = 1.0
        elif signs == 0.0:
            cells.restricted = 0.0
        return has_begun

    def _restrict(self, restricted: bool, now: float) -> None:
        if self.announced(restricted):
            cells = self._cells
            cells.limit = max(1.0, cells.limit * _RESTRICTED)
            cells.lowered_at = now
