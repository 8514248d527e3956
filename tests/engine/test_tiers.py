"""Compare the compute of a run with what a noncommercial project has in a month."""

from __future__ import annotations

import pytest

from eechips.engine.compute_sample import ComputeRange
from eechips.engine.tiers import Tier, describe_compute


@pytest.mark.parametrize(
    ("compute", "tier", "text"),
    [
        (ComputeRange(8.951, 8.84, 9.06), None, "about 8.95 EECU-seconds (95%: 8.84 to 9.06)"),
        (ComputeRange(360.0, 300.0, 420.0), None, "about 0.1 EECU-hours (95%: 300 EECU-seconds to 0.117 EECU-hours)"),
        (ComputeRange(7200.0, 3600.0, 10800.0), None, "about 2 EECU-hours (95%: 1 to 3)"),
        (ComputeRange(2.0, 2.0, 2.0), None, "2 EECU-seconds"),
        (ComputeRange(2.0, None, None), None, "about 2 EECU-seconds"),
        (
            ComputeRange(54_000.0, 54_000.0, 54_000.0),
            "community",
            "15 EECU-hours, 10.0% of a month of the community tier",
        ),
    ],
)
def test_compute_is_told_with_its_range_and_its_share_of_the_month(
    compute: ComputeRange, tier: Tier | None, text: str
) -> None:
    assert describe_compute(compute, tier) == text
