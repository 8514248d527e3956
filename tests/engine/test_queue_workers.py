"""Queue workers with a shared folder, some of them killed: a small run of benchmarks/queue_workers.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local_tests.support.object_server import missing_packages
from tests.support.programs import run_program

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "queue_workers.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BENCHMARK.is_file(), reason="the benchmarks are not beside the tests"),
]


@pytest.mark.parametrize(
    ("store", "server"),
    [
        ("folder", ""),
        pytest.param("file", "", marks=pytest.mark.exhaustive),
        ("s3", "bucket"),
        pytest.param("s3", "moto", marks=pytest.mark.exhaustive),
    ],
)
def test_killed_workers_lose_nothing_and_touch_no_file_of_others(store: str, server: str) -> None:
    if store == "s3" and missing_packages("s3"):
        pytest.skip(str(missing_packages("s3")))
    words = ["--units", "60", "--workers", "3", "--kills", "1", "--store", store]
    words += ["--server", server] if server else []
    run_program(sys.executable, BENCHMARK, *words, status=0)
