"""The lowest versions of libraries that the project allows have all that it uses of them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shapely

ROOT = Path(__file__).parents[1]
LOCAL = ROOT / "packages" / "eechips-local"


def version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))


def calls(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Return the functions of Shapely that a module calls, with the keywords of each call."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if "shapely." in text else ():
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="shapely"), attr=name), keywords=keywords):
                yield name, tuple(keyword.arg or "" for keyword in keywords)


def additions(function: Any, keywords: tuple[str, ...]) -> Iterator[str]:
    """Return the versions that have added a function and some of its keywords, as its documentation tells them."""
    text = inspect.getdoc(function) or ""
    for pattern in (r"", *(rf"{name} : .*\n(?:(?: .*)?\n)*? {{4}}" for name in keywords)):
        found = re.search(rf"^{pattern}\.\. versionadded:: (\d+\.\d+)", text, re.MULTILINE)
        if found is not None:
            yield found[1]


@pytest.mark.slow
def test_the_lowest_shapely_has_all_functions_that_are_called() -> None:
    texts = [(root / "pyproject.toml").read_text(encoding="utf-8") for root in (ROOT, LOCAL)]
    lowest = min(version(low) for text in texts for low in re.findall(r'"shapely>=([\d.]+)', text))
    paths = [*(ROOT / "eechips").rglob("*.py"), *(LOCAL / "eechips_local").rglob("*.py")]
    called = {call for path in paths for call in calls(path)}
    assert len(called) > 40
    newer = [
        (name, keywords, added)
        for name, keywords in called
        for added in additions(getattr(shapely, name), keywords)
        if version(added) > lowest
    ]
    assert not newer
