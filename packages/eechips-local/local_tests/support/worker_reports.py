"""Reports of tests in the processes of pytest-xdist: one for each test that passes."""

from __future__ import annotations

import pytest
from _pytest.runner import runtestprotocol


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Send no report of a set-up or a teardown that passed, nor when a test begins and ends.

    pytest-xdist would send five messages for each test, which take longer than many tests. What asks for all reports
    receives them: a file of JUnit's format, and a list of durations.
    """
    options = item.config.option
    if not hasattr(item.config, "workerinput") or options.xmlpath or options.durations:
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True
