"""What a process of pytest-xdist imports first is what pytest collects, under the same names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from local_tests.support.collection import NOT_SLOW, SLOW, is_left_out, may_have_slow_parameter, module_name


def test_modules_have_the_names_by_which_pytest_imports_them(request: pytest.FixtureRequest) -> None:
    collected = {item.path: item.module.__name__ for item in request.session.items if isinstance(item, pytest.Function)}
    assert {path: module_name(path) for path in collected} == collected


def test_modules_that_are_left_out_have_no_selected_test(request: pytest.FixtureRequest) -> None:
    marks = request.config.option.markexpr
    assert not any(is_left_out(item.path, marks) for item in request.session.items)


@pytest.mark.parametrize(
    ("text", "by_default", "with_slow"),
    [
        ("def test_it(): ...", False, True),
        ("pytestmark = pytest.mark.slow", True, False),
        ("@pytest.mark.slow\ndef test_it(): ...", False, False),
        ("from local_tests.support.parameters import slow_except", False, False),
    ],
)
def test_a_module_is_left_out_by_its_text(tmp_path: Path, text: str, by_default: bool, with_slow: bool) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(text, encoding="utf-8")
    assert is_left_out(path, NOT_SLOW) is by_default
    assert is_left_out(path, SLOW) is with_slow
    assert not is_left_out(path, "")


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2], False), ([1, pytest.param(2, marks=pytest.mark.slow)], True), (iter([1]), True)],
    ids=["without marks", "one of two is slow", "of an iterator, which can be read once"],
)
def test_a_test_may_have_slow_parameters_of_its_own(tmp_path: Path, values: Iterable[Any], expected: bool) -> None:
    path = tmp_path / "test_it.py"
    path.write_text("def test_it(number): ...", encoding="utf-8")

    @pytest.mark.parametrize("number", values)
    def function(number: int) -> None: ...

    assert may_have_slow_parameter(function, path) is expected
    assert list(values)


@pytest.mark.parametrize(
    "text", ['@pytest.fixture(\n    scope="module", params=VALUES)', "def pytest_generate_tests(metafunc): ..."]
)
def test_a_test_may_have_slow_parameters_of_its_module(tmp_path: Path, text: str) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(text, encoding="utf-8")
    assert may_have_slow_parameter(test_modules_that_are_left_out_have_no_selected_test, path)
