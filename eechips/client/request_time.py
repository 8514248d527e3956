"""Measure how long a request takes on average."""

from __future__ import annotations

from dataclasses import dataclass

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
