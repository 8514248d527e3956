"""The confidence of audits."""

from __future__ import annotations

from math import comb

import pytest

from eechips.errors import UsageError
from eechips.manifest.audit_records import Audit, count_sample, largest_difference, parse_sample_size


@pytest.mark.parametrize("population", [1, 2, 7, 24])
def test_the_bound_is_that_of_the_hypergeometric_distribution(population: int) -> None:
    """The greatest number of marked units for which so few in the sample have a probability of 5% at least."""

    def brute(drawn: int, found: int) -> int:
        def probability(marked: int) -> float:
            ways = (comb(marked, n) * comb(population - marked, drawn - n) for n in range(found + 1))
            return sum(ways) / comb(population, drawn)

        return max(k for k in range(found, population - drawn + found + 1) if probability(k) >= 0.05)

    for drawn in range(1, population + 1):
        for found in range(drawn + 1):
            assert largest_difference(population, drawn, found) == brute(drawn, found)


def test_without_differences_the_bound_is_near_the_rule_of_three() -> None:
    audit = Audit("", 1, 6000, 60, 0)
    assert audit.largest_share == pytest.approx(3 / 60, rel=0.05)
    assert audit.describe() == (
        "no difference in 60 of 6,000: with 95% confidence at most 4.9% of the units are another's or have changed"
    )
    assert largest_difference(1_000_000, 10_000, 0) / 1_000_000 == pytest.approx(3 / 10_000, rel=0.01)


def test_sizes_of_samples() -> None:
    assert [count_sample(parse_sample_size(text), 6000) for text in ("1%", "0.001%", "100%", "60", 60, "9999")] == [
        60, 1, 6000, 60, 60, 6000,
    ]  # fmt: skip
    with pytest.raises(UsageError, match="not a size of a sample"):
        parse_sample_size("-1%")


def test_what_no_audit_has_written_is_no_audit() -> None:
    for value in ({}, {"seed": 1}, {**dict.fromkeys(("seed", "population", "compared", "failed"), 1), "different": 2}):
        with pytest.raises((KeyError, ValueError)):
            Audit.from_json(value)
