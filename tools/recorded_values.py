"""Collect values that other projects' tests state of Earth Engine, with the expressions that have them.

The tests of these projects call the service and compare its answer with a value. This module is a plugin for pytest
that notes the expression, the value and its tolerance; run it in a copy of the project, by the local Earth Engine, once
for each project:

    VALUES_FILE=values.jsonl VALUES_SOURCE='Open-ET/openet-ptjpl@6475acf4d68d' \
        python -m pytest --earth-engine -p recorded_values openet/ptjpl/tests/test_b_*.py

It notes the argument ``expected`` of tests that send one request and, with ``-o enable_assertion_pass_hook=true``, what
an assertion compares by ``==`` with a literal or a number of ``pytest.approx``, and what one holds near a number:
``assert number.getInfo() == 42``, ``assert abs(output["eto"] - 7.9) <= 0.01``. Look at each test that fails: its value
is not noted. Tests of pytest-gee keep their expressions and values in files; add
those by

    python tools/recorded_values.py files geetools/tests 'gee-community/geetools@c2724f622799' values.jsonl

Then add the lines to the table that ``local_tests/published/test_recorded_values.py`` reads:

    python tools/recorded_values.py table values.jsonl packages/eechips-local/local_tests/recorded_values.jsonl.gz

Expressions that load assets are left out: their values depend on the pixels. So are long ones, and those of which no
value of the answer is near the number, as the test computes further. That is asked of the answer of the local Earth
Engine: a value in which it errs by more than a tenth would be left out, too. ``rejected.txt`` lists all that were.
"""

from __future__ import annotations

import ast
import gzip
import inspect
import json
import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ee
import pytest

_LONGEST = 120_000  # characters of an expression
_ROUNDED = 1e-6  # to which pytest-gee writes values
_NEAR = 0.1  # of the number: the value of the answer that a test compares
_DIFFERENCE = re.compile(r"<=? ([-+.e\d]+)\n.*\babs\(\(([-+.e\d]+) - ([-+.e\d]+)\)\)", re.DOTALL)
_LIMITS = re.compile(r"<=?\s*([0-9.]+(?:e-?[0-9]+)?)\b|(?:abs|rel)=([0-9.]+(?:e-?[0-9]+)?)")

_asked: list[tuple[Any, Any]] = []
_approximate: list[tuple[Any, float]] = []  # what pytest.approx was given, and its tolerance


def pytest_configure() -> None:
    """Note what the client asks for, and what tests approximate."""
    send, approx = ee.data.computeValue, pytest.approx

    def approximate(expected: Any, rel: float | None = None, abs: float | None = None, nan_ok: bool = False) -> Any:
        if isinstance(expected, (int, float)):
            tolerances = (abs or 0.0, (rel or (0.0 if abs else _ROUNDED)) * math.fabs(expected))
            _approximate.append((expected, max(tolerances)))
        return approx(expected, rel, abs, nan_ok)

    pytest.approx = approximate

    def compute(asked: Any) -> Any:
        value = send(asked)
        _asked.append((ee.serializer.encode(asked, for_cloud_api=True), value))
        return value

    ee.data.computeValue = compute


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Iterator[None]:
    """Write a line for a test with an expected number and one request."""
    _asked.clear()
    yield
    given = item.callspec.params if hasattr(item, "callspec") else {}
    if len(_asked) != 1 or not isinstance(given.get("expected", ""), (int, float, type(None))):
        return
    ((expression, value),) = _asked
    _write(
        {
            "test": item.nodeid,
            "expected": given["expected"],
            "tolerance": _tolerance(item, given),
            "expression": expression,
            "value": value,
        }
    )


def pytest_assertion_pass(item: pytest.Item, orig: str, expl: str) -> None:
    """Write a line for an assertion that compares an answer with a literal, an approximate number or one near it."""
    compared = ast.parse(orig, mode="eval").body
    if isinstance(compared, ast.Call) and compared.args:  # float(number.getInfo() == pytest.approx(3))
        compared = compared.args[0]
    if difference := _DIFFERENCE.search(expl):
        _write_near(item, *map(float, difference.groups()))
    if not (_asked and isinstance(compared, ast.Compare) and isinstance(compared.ops[0], ast.Eq)):
        return
    other = compared.comparators[0]
    if isinstance(other, ast.Call) and ast.unparse(other.func) == "pytest.approx" and _approximate:
        expected, tolerance = _approximate[-1]
    else:
        try:
            expected, tolerance = ast.literal_eval(other), 0.0
        except ValueError:
            return
    expression, value = _asked[-1]
    line = {"test": item.nodeid, "expected": expected, "tolerance": tolerance}
    _write({**line, "expression": expression, "value": value})


def _write_near(item: pytest.Item, tolerance: float, *numbers: float) -> None:
    """Write a line for two numbers, of which one is a value of an answer and the other what it should be."""
    for expression, value in reversed(_asked):
        for name, one in ({**value, "": None} if isinstance(value, dict) else {"": value}).items():
            if isinstance(one, (int, float)) and one in numbers:
                expected = numbers[1 - numbers.index(one)]
                line = {"test": item.nodeid, "expected": expected, "tolerance": tolerance, "key": name}
                _write({**line, "expression": expression, "value": value})
                return


def _write(line: dict[str, Any]) -> None:
    """Add a line to the file of lines."""
    with Path(os.environ["VALUES_FILE"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"source": os.environ["VALUES_SOURCE"], **line}) + "\n")


def write_files(tests: Path, source: str, lines: Path) -> None:
    """Add the expressions and values that tests keep by pytest-gee: serialized_test_x.yml and test_x.yml."""
    import yaml

    with lines.open("a", encoding="utf-8") as file:
        for path in sorted(tests.rglob("serialized_*.yml")):
            values = path.with_name(path.name.removeprefix("serialized_"))
            if not values.exists():
                continue  # images have arrays in other files
            expression, expected = (yaml.safe_load(each.read_text(encoding="utf-8")) for each in (path, values))
            test = str(values.relative_to(tests.parent))
            line = {"source": source, "test": test, "tolerance": _ROUNDED, "expression": expression}
            if isinstance(expected, dict) and "features" in expected:
                line["key"], expected = "features", expected["features"]  # pytest-gee leaves out what is besides
            file.write(json.dumps({**line, "expected": expected, "value": expected}) + "\n")


def _tolerance(item: pytest.Function, given: dict[str, Any]) -> float:
    """Return the tolerance of a test: its argument ``tol``, or the greatest in its text; 0 for equal numbers."""
    tolerances = [given["tol"]] if "tol" in given else []
    declared = inspect.signature(item.function).parameters.values()
    tolerances += [each.default for each in declared if each.name == "tol" and each.default is not each.empty]
    if tolerances:
        return float(tolerances[0])
    found = _LIMITS.findall(inspect.getsource(item.function))
    return max((float(one or other) for one, other in found), default=0.0)


def _key(line: dict[str, Any]) -> str | None:
    """Return the name of the value that a test compares; "" for the answer itself, None if it is not there."""
    if line["expected"] == line["value"]:
        return ""
    if not isinstance(line["expected"], (int, float, type(None))):
        return "" if isinstance(line["value"], type(line["expected"])) else None
    values = line["value"] if isinstance(line["value"], dict) else {"": line["value"]}
    for name, value in values.items():
        if line["expected"] is None or value is None:
            if line["expected"] is value:
                return str(name)
        elif isinstance(value, (int, float)) and abs(value - line["expected"]) <= max(
            line["tolerance"], _NEAR * abs(line["expected"])
        ):
            return str(name)
    return None


def add_to_table(lines: Path, table: Path) -> None:
    """Add the lines to the table, and list those that are not added."""
    kept = gzip.decompress(table.read_bytes()).decode().splitlines() if table.exists() else []
    seen = {(json.dumps(row["expression"], separators=(",", ":")), row["key"]) for row in map(json.loads, kept)}
    rejected = []
    for text in lines.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        expression = json.dumps(line["expression"], separators=(",", ":"))
        key = line["key"] if "key" in line else _key(line)
        if len(expression) > _LONGEST or ".load" in expression or key is None or (expression, key) in seen:
            rejected.append(f"{line['source']} {line['test']}: {line['expected']}, {line['value']}")
            continue
        seen.add((expression, key))
        row = {name: line[name] for name in ("source", "test", "expected", "tolerance", "expression")}
        kept.append(json.dumps({**row, "key": key}, separators=(",", ":")))
    table.write_bytes(gzip.compress("\n".join(kept).encode() + b"\n", 9, mtime=0))
    lines.with_name("rejected.txt").write_text("\n".join(rejected) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(kept)} values; {len(rejected)} are left out\n")


if __name__ == "__main__":
    if sys.argv[1] == "files":
        write_files(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    else:
        add_to_table(Path(sys.argv[2]), Path(sys.argv[3]))
