"""Keep account of what is known of the limit of a quota, while several runs use it."""

from __future__ import annotations

from dataclasses import dataclass

_RECENT = 0.9
"""Factor by which the requests of earlier steps count less."""
_FEW, _MOST_REJECTED = 2.0, 0.015
"""Recent rejections, and their share of all requests, above which the accepted limit is lowered by one."""
_LEAST = 0.9
"""Share of the highest accepted limit below which such rejections are taken for accidents: fewer requests would not
help."""
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
        best: the highest limit that was accepted.
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

    def note(self, limit: int, sent: int, own: int, others: int) -> bool:
        """Record the limit of a step.

        Args:
            limit: slots.
            sent: requests of all runs that were reported since the previous step.
            own: rejections of this run since then.
            others: rejections that the other runs have reported since then.

        Returns:
            Whether the limit is refuted, and falls to ``limit``.
        """
        self.calm += sent
        if limit < self.tried:
            self.rejected_at, self.calm = self.tried, 0
        elif self.rejected_at is not None and self.limit > _GROWN * self.rejected_at:
            self.rejected_at = None  # the quota has grown
        rejected = own + others
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
                self.best, self.recent = max(self.best, self.limit), (0.0, 0.0)
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
