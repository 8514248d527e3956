"""A small run of benchmarks/open_archive_chaos.py: every pixel the file's, no unit lost, no host hammered."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.programs import run_program

CHAOS = Path(__file__).resolve().parents[2] / "benchmarks" / "open_archive_chaos.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not CHAOS.is_file(), reason="the benchmarks are not beside the tests"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched in /proc"),
]


@pytest.mark.exhaustive
def test_an_open_archive_that_fails_in_many_ways_loses_nothing_and_is_not_hammered() -> None:
    words = [sys.executable, str(CHAOS), "--units", "40", "--columns", "3", "--rows", "1", "--side", "512"]
    words += ["--outage", "6", "--kill-share", "0.2", "--only", "kills", "--only", "outage", "--only", "change"]
    ended = run_program(*words, status=0, timeout=880)
    *table, problems = ended.stdout.splitlines()
    assert [row.split()[0] for row in table[1:]] == ["calm", "kills", "outage", "change"]
    assert json.loads(problems) == {"problems": 0}
