"""A simulated run of twelve hours, in half a minute: it stops at the daily quota and resumes completely."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "twelve_hours.py"


@pytest.mark.exhaustive
def test_a_long_run_survives_tokens_outages_and_a_daily_quota() -> None:
    command = [sys.executable, str(BENCHMARK), "--seconds", "30"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "next day" in result.stdout
