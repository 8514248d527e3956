"""Bounds of a run, as they are typed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.engine.config import RunBudget
from eechips.engine.run_features.run_limits import BudgetLimit
from eechips.errors import UsageError


def test_amounts_are_read_with_their_units() -> None:
    assert RunBudget.parse("minutes=90, bytes=2GB") == RunBudget(minutes=90.0, bytes=2_000_000_000)
    assert RunBudget.parse("bytes=2G") == RunBudget.parse("bytes=2GB")
    assert RunBudget.parse({"eecu-hours": 0.5, "requests": 10}) == RunBudget(eecu_hours=0.5, requests=10)


@given(thousandths=st.integers(1, 99_999))
def test_bytes_of_three_decimals_are_whole(thousandths: int) -> None:
    text = f"bytes={thousandths // 1000}.{thousandths % 1000:03}GB"
    assert RunBudget.parse(text) == RunBudget(bytes=thousandths * 1_000_000)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("requests=1e400", "must be above 0, and at most"),
        ("requests=0", "must be above 0"),
        ("bytes=1.5", "counts whole requests and bytes"),
        ("hours=3", "not 'hours'"),
        ("minutes=9G", "is not an amount"),
        ("minutes=nan", "is not an amount"),
        (None, "is text such as"),
        ([], "is text such as"),
    ],
)
def test_what_is_no_amount_is_refused(value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RunBudget.parse(value)


def test_no_unit_starts_past_the_deadline_or_while_a_longer_wait_is_asked_for() -> None:
    now = [0.0]
    throttle = Throttle(None, QuotaLimits(4, 4), clients=1, clock=lambda: now[0])
    throttle.lead(1, is_learned=False)
    limit = BudgetLimit(100.0, lambda: now[0])
    control: Any = SimpleNamespace(throttle=throttle)
    limit.start(control)
    assert limit.stop_reason() is None
    with throttle.client(0).permit() as permit:
        permit.status, permit.retry_after = 429, 200.0
    reason = limit.stop_reason()
    assert reason is not None
    assert "asks to wait 3 min, longer than the time limit allows" in reason.text
    now[0] = 100.0
    reason = limit.stop_reason()
    assert reason is not None
    assert reason.text == "Stopping: the time limit is reached; finishing the requests in flight."
