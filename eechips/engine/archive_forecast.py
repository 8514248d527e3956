"""Forecast what the rest of a run takes from open archives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eechips.engine.compute_sample import half_width
from eechips.manifest.archive_traffic import ArchiveTraffic
from eechips.text.formatting import format_bytes


@dataclass(frozen=True, slots=True)
class ArchiveForecast:
    """What the rest of a run takes from open archives.

    Attributes:
        mean: expected, if the units share as few blocks of files as those that were tried.
        most: upper end of its 95% confidence range.
        shared_bytes: bytes if all pixels of the blocks are used, by this unit or that; approximately.
    """

    mean: ArchiveTraffic
    most: ArchiveTraffic
    shared_bytes: int

    def describe(self) -> str:
        """Return it as a text."""
        text = f"about {self.mean.describe()} if units share no blocks of files (95%: at most {self.most.describe()})"
        return f"{text}, about {format_bytes(self.shared_bytes)} if they share all"


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
    used = sum(traffic.used for traffic in tried)
    unused = max(0, sum(sizes) - used)  # of the blocks that are here already
    shared = min(means[1], max(0, round(pixels * left * used / len(tried)) - unused))
    return ArchiveForecast(ArchiveTraffic(*means), ArchiveTraffic(*mosts), shared)
