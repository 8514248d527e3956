"""A process of pytest-xdist reports what fails around a test, although it reports a test that passes once."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_tests.support.repositories import make_repository, run_pytest

KINDS = """
import pytest

@pytest.fixture
def failing():
    raise RuntimeError("set-up fails")

@pytest.fixture
def ending():
    yield
    raise RuntimeError("teardown fails")

@pytest.fixture
def skipping():
    pytest.skip("not here")

def test_passes(): pass
def test_fails(): assert 1 == 2
def test_set_up(failing): pass
def test_teardown(ending): pass
def test_skipped(skipping): pass
@pytest.mark.xfail
def test_expected(): assert False
"""
CONFTEST = """
import sys
sys.path.insert(0, {folder!r})
from local_tests.support.worker_reports import pytest_runtest_protocol

def pytest_runtest_logreport(report):
    if hasattr(report, "worker_id"):  # of the process that receives them
        print("received", report.nodeid.partition("::")[2], report.when, report.outcome)
"""
RECEIVED = {
    "test_passes": ["call passed"],
    "test_fails": ["call failed"],
    "test_set_up": ["setup failed"],
    "test_teardown": ["call passed", "teardown failed"],
    "test_skipped": ["setup skipped"],
    "test_expected": ["call skipped"],
}


@pytest.mark.slow
def test_what_fails_around_a_test_is_reported(tmp_path: Path) -> None:
    conftest = CONFTEST.format(folder=str(Path(__file__).parents[1]))
    done = run_pytest(make_repository(tmp_path, test_kinds=KINDS, conftest=conftest), "-n1", "-s")
    received = [line.split(" ", 2)[1:] for line in done.stdout.splitlines() if "received " in line]
    assert [[name, said] for name, each in RECEIVED.items() for said in each] == received, done.stdout + done.stderr
    assert "1 failed, 2 passed, 1 skipped, 1 xfailed, 2 errors" in done.stdout
