"""Compare the compute of a run with what a noncommercial project has in a month."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from eechips.client.error_classification import next_renewal
from eechips.engine.compute_sample import ComputeRange
from eechips.text import format_compute

Tier = Literal["community", "contributor", "partner"]
TIER_HOURS: Mapping[Tier, int] = {"community": 150, "contributor": 1_000, "partner": 100_000}
"""EECU-hours a month (https://developers.google.com/earth-engine/guides/noncommercial_tiers, read 2026-11).

The API does not name the tier of a project; its page in the Cloud Console does. Commercial projects have no such quota.
"""
TIERS: tuple[Tier, ...] = tuple(TIER_HOURS)


def describe_compute(compute: ComputeRange, tier: Tier | None) -> str:
    """Return an estimated compute with its range, and its share of the month, as a text.

    Args:
        compute: of a run.
        tier: of the project; None if it is unknown.
    """
    about = "" if compute.low == compute.high == compute.seconds else "about "
    text = about + format_compute(compute.seconds)
    if about and compute.low is not None and compute.high is not None:
        ends = [format_compute(end) for end in (compute.low, compute.high)]
        unit = text[text.rindex(" ") :]
        if all(end.endswith(unit) for end in ends):
            ends = [end.removesuffix(unit) for end in ends]
        text += f" (95%: {ends[0]} to {ends[1]})"
    if tier is not None:
        share = compute.seconds / 3600.0 / TIER_HOURS[tier]
        text += f", {_percent(share)} of a month of the {tier} tier"
    return text


def describe_month(tier: Tier | None, now: datetime) -> str:
    """Return the compute of a month, and when it is renewed, as a text.

    Args:
        tier: of the project, as the user has named it: the service does not.
        now: the present time, UTC.
    """
    renewed = f"renewed on {next_renewal('month', now):%Y-%m-%d %H:%M} UTC"
    if tier is None:
        tiers = ", ".join(f"{hours:,} ({name})" for name, hours in TIER_HOURS.items())
        return f"the service does not name the project's tier; EECU-hours a month: {tiers}; {renewed}"
    return f"{TIER_HOURS[tier]:,} EECU-hours a month in the {tier} tier, {renewed}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.001 else "less than 0.1%"
