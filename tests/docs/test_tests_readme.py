"""tests/README.md: its folders and markers are those of the tests."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.pages import read_table, unquote

TESTS = Path(__file__).resolve().parents[1]


def test_folders_of_the_page_are_those_with_tests() -> None:
    rows = read_table((TESTS / "README.md").read_text(encoding="utf-8"), "folder", "tests")
    present = {path.relative_to(TESTS).parts[0] for path in TESTS.glob("*/**/*.py")}
    assert sorted(unquote(row["folder"]) for row in rows) == sorted(present)


def test_markers_of_the_page_are_those_of_the_configuration() -> None:
    rows = read_table((TESTS / "README.md").read_text(encoding="utf-8"), "marker", "meaning")
    settings = (TESTS.parent / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^markers = \[\n(.*?)^\]", settings, re.MULTILINE | re.DOTALL)
    assert block
    assert [unquote(row["marker"]) for row in rows] == re.findall(r'^  "(\w+):', block[1], re.MULTILINE)
