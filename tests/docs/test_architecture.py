"""The map of the code is right: packages, rules of import, and the two walks; names stand once."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, read_page, read_section, read_table, unquote

ROOT = DOCS.parent
SOURCE = ROOT / "eechips"
PAGE = read_page("architecture.md")

WALKS = ["## A unit, from `eechips sample` to its file", "## An expression, from POST to pixels"]

SAME_CLASSES: dict[str, str] = {}
"""Public classes that stand more than once, with the reason."""

SAME_MODULES: dict[str, str] = {}
"""Modules that stand more than once, with the reason."""


def test_packages_and_modules_are_those_of_the_project() -> None:
    packages = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
    modules = sorted(path.stem for path in SOURCE.glob("*.py") if not path.stem.startswith("__"))
    assert [unquote(row["package"]) for row in read_table(PAGE, "package")] == packages
    assert [unquote(row["module"]) for row in read_table(PAGE, "module", "contains")] == modules


def test_layers_and_contracts_are_those_that_are_checked() -> None:
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^layers = \[\n(.*?)^\]", settings, re.DOTALL | re.MULTILINE)
    assert block
    layers = [line.replace("eechips.", "").split(" | ") for line in re.findall(r'"(.*)"', block[1])]
    section = read_section(PAGE, "## Imports")
    documented = [re.findall(r"`(\w+)`", line) for line in re.findall(r"^\d+\. (.*)$", section, re.MULTILINE)]
    assert documented == layers
    names = re.findall(r'contracts\]\]\nname = "(.*)"\ntype = "forbidden"', settings)
    assert re.findall(r"^- (.*)\.$", section, re.MULTILINE) == names


def _functions(path: Path) -> set[str]:
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = (each for each in node.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)))
            found |= {f"{node.name}.{method.name}" for method in methods}
    return found


@pytest.mark.parametrize("heading", WALKS)
def test_every_function_of_a_walk_exists_in_its_file(heading: str) -> None:
    hops = read_table(read_section(PAGE, heading), "hop", "function", "file")
    assert [int(hop["hop"]) for hop in hops] == list(range(1, len(hops) + 1))
    missing = [hop for hop in hops if unquote(hop["function"]) not in _functions(SOURCE / unquote(hop["file"]))]
    assert missing == []


@pytest.mark.parametrize("heading", WALKS)
def test_hops_and_files_of_a_walk_are_counted(heading: str) -> None:
    section = read_section(PAGE, heading)
    files = [unquote(hop["file"]) for hop in read_table(section, "hop")]
    entries = [file for number, file in enumerate(files) if number == 0 or files[number - 1] != file]
    again = sorted({file for file in entries if entries.count(file) > 1})
    counted = re.search(
        r"(\d+) hops through (\d+) files; (\d+) files are entered more than once(.*?)\.(?:\s|$)", section, re.DOTALL
    )
    assert counted
    assert [int(number) for number in counted.groups()[:3]] == [len(files), len(set(files)), len(again)]
    assert re.findall(r"`([\w/.]+)`", counted[4]) == again


def _repeated(names: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in names.items() if len(places) > 1}


def _sources() -> list[Path]:
    return [path for path in sorted(SOURCE.rglob("*.py")) if not path.stem.startswith("__")]


def test_public_classes_stand_once() -> None:
    found = defaultdict(list)
    for path in _sources():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(path.relative_to(SOURCE).as_posix())
    repeated = _repeated(found)
    assert {name: places for name, places in repeated.items() if name not in SAME_CLASSES} == {}
    assert SAME_CLASSES.keys() <= repeated.keys(), "remove from the list what stands once"


def test_modules_stand_once() -> None:
    found = defaultdict(list)
    for path in _sources():
        found[path.stem].append(path.relative_to(SOURCE).as_posix())
    repeated = _repeated(found)
    assert {name: places for name, places in repeated.items() if name not in SAME_MODULES} == {}
    assert SAME_MODULES.keys() <= repeated.keys(), "remove from the list what stands once"
