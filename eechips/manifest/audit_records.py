"""Record what audits (``verify --refetch``) have found in random samples of a run's units: size of the sample, share
that may differ with 95% confidence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from eechips.errors import UsageError
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger

SampleSize: TypeAlias = "int | float"
"""Size of a sample: an int is a number of units, a float a share of them, above 0.0 and up to 1.0."""
AUDITS = "audits"
"""In the ledger: the audits of the run, as JSON."""

CONFIDENCE = 0.95
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%")
_LISTED = 100  # ids of differing units that are kept


def parse_sample_size(text: str | int) -> SampleSize:
    """Parse ``60``, a number of units, or ``1%``, a share of them; raise UsageError if it is neither."""
    percent = _PERCENT.fullmatch(str(text))
    if percent is not None and 0.0 < float(percent[1]) <= 100.0:
        return float(percent[1]) / 100.0
    if re.fullmatch(r"[1-9]\d{0,9}", str(text)):
        return int(text)
    raise UsageError(f"{text!r} is not a size of a sample: give a number of units, such as 60, or a share, such as 1%")


def count_sample(size: SampleSize, population: int) -> int:
    """Return the number of units of a sample, one at least."""
    wanted = size if isinstance(size, int) else math.ceil(population * size - 1e-9)
    return min(max(wanted, 1), population)


@dataclass(frozen=True, slots=True)
class Audit:
    """A random sample of the units of a run, fetched again and compared.

    Attributes:
        time: when, ISO 8601, UTC.
        seed: seed of the selection.
        population: number of units with files, of which the sample was drawn.
        compared: number of units that were fetched again and compared.
        different: number of these whose pixels or values differ.
        failed: number of units of the sample that could not be fetched again, and count for nothing.
        units: ids of differing units, the first hundred.
    """

    time: str
    seed: int
    population: int
    compared: int
    different: int
    failed: int = 0
    units: tuple[str, ...] = ()

    @property
    def largest_share(self) -> float:
        """The share of the units that differ is not greater than this, with a confidence of 95%."""
        return largest_difference(self.population, self.compared, self.different) / max(self.population, 1)

    def describe(self) -> str:
        """Return one sentence with the result and its confidence."""
        verdict = f"{self.different:,} of {self.compared:,} units differ" if self.different else (
            f"no difference in {self.compared:,}"
        )  # fmt: skip
        if self.compared == self.population:
            return f"{verdict} of {self.population:,}: all were compared"
        share = math.ceil(1000 * self.largest_share) / 10  # rounded up
        of = f"{verdict}, of {self.population:,}" if self.different else f"{verdict} of {self.population:,}"
        return f"{of}: with {CONFIDENCE:.0%} confidence at most {share:g}% of the units are another's or have changed"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Audit:
        """Read an audit of the ledger; raise TypeError, ValueError or KeyError if it is none."""
        counts = {name: int(value[name]) for name in ("seed", "population", "compared", "different", "failed")}
        if not 0 <= counts["different"] <= counts["compared"] <= counts["population"]:
            raise ValueError("its counts contradict each other")
        return cls(time=str(value["time"]), units=tuple(map(str, value["units"])), **counts)


def largest_difference(population: int, compared: int, different: int) -> int:
    """Return how many units of a run may differ, by a one-sided confidence bound.

    It is the greatest number K for which a sample without replacement shows so few differences with a probability of
    ``1 - CONFIDENCE`` at least, by the hypergeometric distribution (Wang, "Exact optimal confidence intervals for
    hypergeometric parameters", Journal of the American Statistical Association 110, 2015). Without differences, and for
    a small part of many units, K / population is about 3 / compared (Hanley and Lippman-Hand, "If nothing goes wrong,
    is everything all right?", JAMA 249, 1983).

    Args:
        compared: number of units in the sample.
        different: number of units in the sample that differ.
    """
    low, high = different, population - (compared - different)
    while low < high:
        middle = (low + high + 1) // 2
        if _probability(population, middle, compared, different) >= 1 - CONFIDENCE:
            low = middle
        else:
            high = middle - 1
    return low


def _probability(population: int, marked: int, drawn: int, most: int) -> float:
    """Return the probability that a sample without replacement has at most so many marked units."""
    every = _log_choices(population, drawn)
    least = max(0, drawn - (population - marked))
    logs = (
        _log_choices(marked, count) + _log_choices(population - marked, drawn - count) - every
        for count in range(least, min(most, marked) + 1)
    )
    return math.fsum(map(math.exp, logs))


def _log_choices(count: int, chosen: int) -> float:
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)


def record_audit(folder: Path, audit: Audit) -> None:
    """Add an audit to the ledger of a run.

    Raises:
        RunLockedError: if a process is running in the folder.
        StorageError: if the ledger cannot be written.
    """
    kept = {**asdict(audit), "units": list(audit.units[:_LISTED])}
    with lock_folder(folder), Ledger(folder / LEDGER_NAME) as ledger:
        ledger.note(AUDITS, [*(ledger.meta().get(AUDITS) or []), kept])


def read_audits(folder: Path) -> list[Audit]:
    """Return the audits of a run, the first one first; those that cannot be read are left out."""
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        stored = ledger.meta().get(AUDITS) or []
    audits = []
    for value in stored if isinstance(stored, list) else []:
        try:
            audits.append(Audit.from_json(value))
        except (TypeError, ValueError, KeyError, OverflowError):  # a ledger of others
            continue
    return audits
