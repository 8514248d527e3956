"""Identity of functions: the code and parameters that are part of it."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eechips.builtin_recipes.function_recipe import fingerprint
from tests.support.programs import run_program

CODE = """
import dataclasses, functools, math
import numpy as np
import pandas as pd

SIZE = 3
TABLE = pd.DataFrame({"a": [1, 2]})
ARRAY = np.arange(4)
UNUSED = 1

class Base:
    def half(self, value):
        return value / 2

@dataclasses.dataclass
class Setting(Base):
    size: int = 4
    def twice(self):
        return 2 * self.size

setting = Setting()

def helper(value):
    return math.sqrt(value) * SIZE

@functools.lru_cache
def cached(value):
    return value + 1

def scaled(factor):
    def multiply(value):
        return factor * value
    return multiply

triple = scaled(3)

def again(value):
    return 0 if value < 1 else again(value - 1)

def work(index, unit, bias=SIZE):
    inner = [helper(x) for x in unit]
    return inner, setting.twice(), cached(1), triple(2), TABLE, ARRAY, again(3), {"b", "a", "c"} & WORDS

WORDS = {"a", "b", "c", "d", "e"}
"""


def fingerprint_of(code: str, parameters: dict[str, Any] | None = None) -> str:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, "<cell>", "exec"), namespace)
    return fingerprint([namespace["work"]], parameters or {})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SIZE = 3", "SIZE = 5"),
        ('{"a": [1, 2]}', '{"a": [1, 3]}'),
        ("np.arange(4)", "np.arange(5)"),
        ("value / 2", "value / 3"),
        ("2 * self.size", "3 * self.size"),
        ("setting = Setting()", "setting = Setting(7)"),
        ("size: int = 4", "size: int = 5"),
        ("math.sqrt(value)", "math.exp(value)"),
        ("value + 1", "value + 2"),
        ("scaled(3)", "scaled(4)"),
        ("factor * value", "factor + value"),
        ("again(value - 1)", "again(value - 2)"),
        ("bias=SIZE", "bias=2"),
        ("for x in unit]", "for x in unit if x]"),
        ('"d", "e"}', '"d", "f"}'),
    ],
)
def test_code_that_changes_results_changes_the_fingerprint(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert fingerprint_of(CODE) != fingerprint_of(CODE.replace(old, new))


def test_unused_code_does_not_change_the_fingerprint() -> None:
    assert fingerprint_of(CODE) == fingerprint_of(CODE.replace("UNUSED = 1", "UNUSED = 2"))
    assert fingerprint_of(CODE) == fingerprint_of("\n\n" + CODE + "\nmore = [1]\n")


def test_parameters_change_the_fingerprint() -> None:
    assert fingerprint_of(CODE, {"a": 1}) != fingerprint_of(CODE, {"a": 2})
    assert fingerprint_of(CODE, {"a": np.zeros(3)}) != fingerprint_of(CODE, {"a": np.ones(3)})
    assert fingerprint_of(CODE, {"a": 1}) != fingerprint_of(CODE, {"a": "1"})


@pytest.mark.slow
def test_the_fingerprint_is_the_same_in_another_process(tmp_path: Path) -> None:
    """With its sources, and with other hashes of strings."""
    imported = "from eechips.builtin_recipes.function_recipe import fingerprint"
    program = f"{CODE}\n{imported}\nprint(fingerprint([work], {{'a': {{'x', 'y'}}}}))"
    (tmp_path / "program.py").write_text(program)
    found = {
        run_program(
            sys.executable, "program.py", status=0, cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(found) == 1


def test_other_modules_are_known_by_their_names() -> None:
    """Their content may be anything: locks, files, the whole client."""
    import ee

    def work(index: int, unit: Any) -> Any:
        return ee.Image(1), textwrap.dedent(unit), np.zeros(3)

    assert fingerprint([work], {}) == fingerprint([work], {})


def test_objects_that_cannot_be_serialised_count_by_their_type() -> None:
    import threading

    def make() -> Callable[[], Any]:
        lock = threading.Lock()
        return lambda: lock

    assert fingerprint([make()], {}) == fingerprint([make()], {})


def test_client_expressions_are_part_of_the_fingerprint(demo_ee: Any) -> None:
    def make(image: Any) -> Callable[[], Any]:
        return lambda: image

    first, again, other = (make(demo_ee.Image(number).add(1)) for number in (1, 1, 2))
    assert fingerprint([first], {}) == fingerprint([again], {})
    assert fingerprint([first], {}) != fingerprint([other], {})
