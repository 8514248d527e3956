"""A simulated run of twelve hours, in half a minute: it stops at the daily quota and resumes completely."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.programs import run_program

pytestmark = pytest.mark.slow

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "twelve_hours.py"


@pytest.mark.exhaustive
def test_a_long_run_survives_tokens_outages_and_a_daily_quota() -> None:
    command = [sys.executable, str(BENCHMARK), "--seconds", "30"]
    result = run_program(*command, status=0, timeout=280)
    assert "next day" in result.stdout
