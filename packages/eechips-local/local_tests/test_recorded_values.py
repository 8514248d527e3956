"""Values that tests of other projects state of the real service, held against the local Earth Engine.

The tests of OpenET's models (https://github.com/Open-ET) send expressions of constants to Earth Engine and compare the
answers with numbers. The table has the expression, the number and the tolerance of each; ``tools/recorded_values.py``
writes it. Tolerances are those of the tests: many numbers were computed elsewhere.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests

from local_tests.support.local_earth_engine import Server

_TABLE = Path(__file__).with_name("recorded_values.jsonl.gz")
_ROWS: list[dict[str, Any]] = [json.loads(line) for line in gzip.decompress(_TABLE.read_bytes()).splitlines()]
_SINGLE = 1e-6  # relative: pixels are float32, and numbers of tests have six digits


def test_table_has_values_of_many_projects() -> None:
    counts = Counter(row["source"].partition("@")[0] for row in _ROWS)
    assert sum(counts.values()) >= 500
    assert len(counts) >= 8


@pytest.mark.parametrize("source", sorted({row["source"] for row in _ROWS}))
def test_values_are_those_that_others_state(demo_server: Server, source: str) -> None:
    wrong = []
    with requests.Session() as session:
        for row in (row for row in _ROWS if row["source"] == source):
            address = f"{demo_server.url}/v1/projects/local/value:compute"
            answer = session.post(address, json={"expression": row["expression"]}, timeout=60)
            assert answer.status_code == 200, (row["test"], answer.text)
            result = answer.json().get("result")
            value = result[row["key"]] if row["key"] else result
            if not _is_near(value, row["expected"], row["tolerance"]):
                wrong.append((row["test"], value, row["expected"], row["tolerance"]))
    assert wrong == []


def _is_near(value: Any, expected: float | None, tolerance: float) -> bool:
    if value is None or expected is None:
        return value is expected
    return bool(value == pytest.approx(expected, abs=max(tolerance, 1e-9), rel=_SINGLE))
