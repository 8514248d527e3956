"""The map of the code is right: packages, rules of import, and the two walks; names stand once."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, read_page, read_section, read_table, unquote

ROOT = DOCS.parent
SOURCE = ROOT / "eechips"
LOCAL = ROOT / "packages" / "eechips-local" / "eechips_local"
PAGE = read_page("architecture.md")

WALKS = ["## A unit, from `eechips sample` to its file", "## An expression, from POST to pixels"]

SAME_CLASSES = {"Connection": "of the client to Earth Engine; of the ledger to SQLite, as Python's own is called"}
"""Public classes that stand more than once, with the reason."""

SAME_MODULES = {
    "untrusted_parquet": "the local Earth Engine shares no code with the rest, so it has a copy",
    "dbase_texts": "the local Earth Engine shares no code with the rest, so it has a copy",
    "deferred_imports": "the local Earth Engine shares no code with the rest, so it has a copy",
    "markup": "the local Earth Engine shares no code with the rest, so it has a copy",
    "parquet": "a format of tables; a format of packs",
    "raster": "of a format; of a window",
    "results": "of a recipe; of windows",
    "run": "the engine's function; a run as it is seen afterwards",
    "search": "of a STAC catalogue; its place in the recipe of scenes",
    "toml_text": "the local Earth Engine shares no code with the rest, so it has a copy",
    "untrusted_vectors": "the local Earth Engine shares no code with the rest, so it has a copy",
    "vector_formats": "the local Earth Engine shares no code with the rest, so it has a copy",
    "vector_reader": "the local Earth Engine shares no code with the rest, so it has a copy",
    "warning_filters": "the local Earth Engine shares no code with the rest, so it has a copy",
}
"""Modules that stand more than once, with the reason."""

HALVES = (SOURCE, LOCAL)
"""The local Earth Engine shares no code with the rest: a class may stand once in each of the two."""


def test_packages_and_modules_are_those_of_the_project() -> None:
    packages = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
    modules = sorted(path.stem for path in SOURCE.glob("*.py") if not path.stem.startswith("__"))
    assert [unquote(row["package"]) for row in read_table(PAGE, "package")] == packages
    assert [unquote(row["module"]) for row in read_table(PAGE, "module", "contains")] == modules


def test_features_are_all_of_the_engine_in_the_order_of_the_calls() -> None:
    features = {"RunFeature": ""}
    classes = [
        (node, path.relative_to(SOURCE).as_posix())
        for path in sorted((SOURCE / "engine").rglob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]
    for _ in range(3):  # of subclasses, and those of these
        for node, file in classes:
            if features.keys() & {base.id for base in node.bases if isinstance(base, ast.Name)}:
                features.setdefault(node.name, file)
    public = {name: file for name, file in features.items() if file and not name.startswith("_")}
    rows = {unquote(row["feature"]): unquote(row["file"]) for row in read_table(PAGE, "feature")}
    assert rows == public
    source = (SOURCE / "engine" / "fetch_phases.py").read_text(encoding="utf-8")
    calls = [line for line in source.split("def _features")[1].splitlines() if "yield" in line]
    named = [name for line in calls for name in rows if f" {name}(" in line]
    assert named == [name for name in rows if name in named]


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


def _source(name: str) -> Path:
    """Return the path of a module of either distribution, as pages name it."""
    return (LOCAL.parent if name.startswith("eechips_local/") else SOURCE) / name


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
    section = read_section(PAGE, heading)
    steps = read_table(section, "step", "function", "file") if "| step |" in section else []
    hops = read_table(section, "hop", "function", "file")
    assert [int(step["step"]) for step in steps] == list(range(1, len(steps) + 1))
    assert [int(hop["hop"]) for hop in hops] == list(range(1, len(hops) + 1))
    assert re.findall(r"^(\d+) steps ", section, re.MULTILINE) == [str(len(steps))] * bool(steps)
    assert re.findall(r"^(\d+) hops ", section, re.MULTILINE) == [str(len(hops))]
    every = [*steps, *hops]
    missing = [each for each in every if unquote(each["function"]) not in _functions(_source(unquote(each["file"])))]
    assert missing == []


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not tell the class of a traced function")
@pytest.mark.skipif(sys.platform == "win32", reason="its clocks differ between processes")
def test_walks_are_those_of_a_traced_run_and_request() -> None:
    done = subprocess.run([sys.executable, "tools/walks.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("heading", "package"), [("eechips", "eechips"), ("eechips-local", "eechips_local")])
def test_the_first_ten_files_are_ten(heading: str, package: str) -> None:
    rows = read_table(read_section(PAGE, f"### Of {heading}"), "file", "read")
    files = [unquote(row["file"]) for row in rows]
    assert len(set(files)) == 10
    assert [name for name in files if not _source(name).is_file()] == []
    assert all(name.startswith("eechips_local/") == (package == "eechips_local") for name in files)


@pytest.mark.parametrize("folder", ["", "explanation", "decisions", "contributing"])
def test_modules_that_pages_name_exist(folder: str) -> None:
    modules = [
        path.relative_to(ROOT).as_posix()
        for path in (*SOURCE.rglob("*.py"), *LOCAL.rglob("*.py"), *ROOT.glob("[bdr]*/*.py"))
    ]
    for page in (DOCS / folder).glob("*.md"):
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        named = re.findall(r"`(?:python )?([\w/]+\.py)\b", text)
        missing = [name for name in named if not any(f"/{module}".endswith(f"/{name}") for module in modules)]
        assert missing == [], page.name


def _sources(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py") if not path.stem.startswith("__"))


def _repeated(names: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in names.items() if len(places) > 1}


@pytest.mark.slow
@pytest.mark.parametrize("root", HALVES, ids=lambda root: root.name)
def test_names_of_public_classes_are_unique(root: Path) -> None:
    found = defaultdict(list)
    for path in _sources(root):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(path.relative_to(root).as_posix())
    assert {name: places for name, places in _repeated(found).items() if name not in SAME_CLASSES} == {}


def test_each_module_is_listed_once() -> None:
    found = defaultdict(list)
    for path in (*_sources(SOURCE), *_sources(LOCAL)):
        found[path.stem].append(path.relative_to(ROOT).as_posix())
    assert sorted(_repeated(found)) == sorted(SAME_MODULES), _repeated(found)
    assert len(SAME_MODULES) < 15
