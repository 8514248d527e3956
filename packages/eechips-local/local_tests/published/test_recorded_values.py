"""Values that other projects recorded of the real service, or Google documents, held against the local Earth Engine.

The table has expressions, values and tolerances from tests that call the service and from Google's samples;
``tools/recorded_values.py`` and ``tools/sample_values.py`` write it. Tolerances are those of the tests: many numbers
were computed elsewhere. Samples are exact to the last digit that they print. `test_recorded_projects` compares them,
`test_printed_values` has further values. Rows of the samples for JavaScript have the expressions that Google's client
for JavaScript sends; the matrices of kernels are their ``weights``.

``recorded_disagreements.json`` has the values that do not agree, the value here, and why. Of collections of geetools
the features are compared. ``benchmarks/recorded_values.py`` counts by repository.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests

from local_tests.support.local_earth_engine import Server

_TABLE = Path(__file__).with_name("recorded_values.jsonl.gz")
DISAGREEMENTS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("recorded_disagreements.json").read_text(encoding="utf-8")
)
_SINGLE = 1e-6  # relative: pixels are float32, and numbers of tests have six digits


def test_table_has_values_of_many_projects() -> None:
    counts = Counter(row["source"].partition("@")[0] for row in read_rows())
    assert sum(counts.values()) >= 1500
    assert len(counts) >= 13


def test_disagreements_are_explained_and_known_exactly(demo_server: Server) -> None:
    """A value that agrees meanwhile belongs into the table."""
    with requests.Session() as session:
        for row in DISAGREEMENTS:
            value = computed(session, demo_server.url, row)
            assert is_near(value, row["value"]), (row["test"], value)
            assert not is_near(value, row["expected"], row["tolerance"]), row["test"]
            assert len(row["why"].split()) > 5, row["test"]


@cache
def read_rows() -> list[dict[str, Any]]:
    """Read the table, which takes a second: each process of pytest-xdist imports this module."""
    return [json.loads(line) for line in gzip.decompress(_TABLE.read_bytes()).splitlines()]


def computed(session: requests.Session, url: str, row: dict[str, Any]) -> Any:
    """Return the value of a row's expression, or of its key; a kernel's weights as numbers.

    Args:
        session: session of the client.
        url: address of the server.
        row: row of the table.
    """
    answer = session.post(f"{url}/v1/projects/local/value:compute", json={"expression": row["expression"]}, timeout=60)
    assert answer.status_code == 200, (row["test"], answer.text)
    result = answer.json().get("result")
    value = result[row["key"]] if row["key"] else result
    if row["key"] != "weights":
        return value
    return [[float(each) for each in line.strip(" []").split(", ")] for line in value.strip().split("\n")]


def check_examples(ee: Any, source: str, examples: Iterable[tuple[Callable[[Any], Any], Any]]) -> None:
    """Compute each example, a function of the client, and compare its value with the expected one."""
    for number, (example, expected) in enumerate(examples):
        shown = example(ee)
        value = shown.getInfo() if isinstance(shown, ee.ComputedObject) else shown
        assert is_near(value, expected), f"{source}, value {number}: {value}"


def is_near(value: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Return whether a value is the expected one: numbers by a tolerance, lists and dictionaries by their elements."""
    if isinstance(expected, list):
        return (
            isinstance(value, list)
            and len(value) == len(expected)
            and all(is_near(one, other, tolerance) for one, other in zip(value, expected, strict=True))
        )
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(is_near(value[name], expected[name], tolerance) for name in expected)
        )
    if isinstance(expected, (int, float)) and isinstance(value, (int, float)):
        return bool(value == pytest.approx(expected, abs=max(tolerance, 1e-9), rel=_SINGLE))
    return bool(value == expected)
