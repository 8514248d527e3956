"""Packages of extras are imported, or the error says which extra installs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from eechips.errors import UsageError
from eechips.extras import import_extra
from eechips.text.toml_text import parse_toml

ROOT = Path(__file__).parents[1]


def test_a_module_is_imported() -> None:
    assert import_extra("json", "text needs json", "ml") is json


def test_a_package_that_is_not_installed_is_named_with_its_extra() -> None:
    with pytest.raises(UsageError, match=r"^maps need absent_package: pip install 'eechips\[maps\]'$"):
        import_extra("absent_package.part", "maps need absent_package", "maps")


def test_errors_name_extras_that_exist() -> None:
    text = "".join(path.read_text() for path in (ROOT / "eechips").rglob("*.py"))
    named = re.findall(r'import_extra\("[^"]+", (?:"[^"]+"|\w+), "(\w+)"\)', text)
    assert len(named) == text.count('import_extra("') > 9
    assert set(named) <= set(parse_toml((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
