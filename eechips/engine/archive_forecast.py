"""Forecast what the rest of a run takes from open archives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eechips.engine.compute_sample import half_width
from eechips.manifest.archive_traffic import ArchiveTraffic


@dataclass(frozen=True, slots=True)
class ArchiveForecast:
    """What the rest of a run takes from open archives, if its units share as little as those that were tried.

    Attributes:
        mean: expected.
        most: upper end of the 95% confidence range.
    """

    mean: ArchiveTraffic
    most: ArchiveTraffic

    def describe(self) -> str:
        """Return it as a text, with the reason why it may be less."""
        most = f"95%: at most {self.most.describe()}"
        return f"about {self.mean.describe()} if units share no blocks of files ({most}); less if they do"


def forecast_traffic(left: int, tried: Sequence[ArchiveTraffic], pixels: float = 1.0) -> ArchiveForecast | None:
    """Extrapolate what units take from open archives; None if those that were tried have taken nothing.

    Args:
        left: units that are left.
        tried: what each of the tried units has taken.
        pixels: mean pixels of the remaining units, divided by that of the tried units.
    """
    requests, sizes = [traffic.requests for traffic in tried], [traffic.bytes for traffic in tried]
    if not sum(requests):  # all was kept on this machine, which tells nothing of the others
        return None
    factor = max(1.0, pixels)  # a smaller unit may need as many blocks
    means, mosts = [], []
    for numbers in (requests, sizes):
        mean = left * sum(numbers) / len(numbers)
        means.append(round(factor * mean))
        mosts.append(round(factor * (mean + half_width(left, numbers))))
    return ArchiveForecast(ArchiveTraffic(*means), ArchiveTraffic(*mosts))
