"""What a process of pytest-xdist imports first is what pytest collects, under the same names."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_tests.support.collection import NOT_SLOW, SLOW, is_left_out, module_name


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
