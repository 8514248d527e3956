"""Each project's recorded values of the real service, of the table of `test_recorded_values`."""

from __future__ import annotations

import pytest
import requests

from local_tests.published.test_recorded_values import computed, is_near, read_rows
from local_tests.support.local_earth_engine import Server

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("source", sorted({row["source"] for row in read_rows()}))
def test_values_are_those_that_others_state(demo_server: Server, source: str) -> None:
    wrong = []
    with requests.Session() as session:
        for row in (row for row in read_rows() if row["source"] == source):
            value = computed(session, demo_server.url, row)
            if not is_near(value, row["expected"], row["tolerance"]):
                wrong.append((row["test"], value, row["expected"], row["tolerance"]))
    assert wrong == []
