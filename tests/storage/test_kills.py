"""A run to an object store that is killed again and again: the benchmark of it, on few units."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local_tests.support.object_server import missing_packages
from tests.support.programs import run_program

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.exhaustive
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmark looks at /proc")
def test_nothing_is_lost_or_uploaded_again_without_a_cause() -> None:
    reason = missing_packages("s3")
    if reason is not None:
        pytest.skip(reason)
    arguments = [sys.executable, str(ROOT / "benchmarks" / "objects.py"), "--units", "1200", "--kills", "2", "--verify"]
    ended = run_program(*arguments, status=0, timeout=280)
    assert "all as it should be" in ended.stdout
