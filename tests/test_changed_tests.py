"""``nox -s quick`` finds the tests of what has changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import grimp
import pytest

from tools.changed_tests import SelectedTests, changed_files, list_tests, select

TESTS = [
    "packages/eechips-local/local_tests/functions/test_join.py",
    "tests/datasets/test_records.py",
    "tests/docs/test_glossary.py",
    "tests/engine/test_estimate.py",
    "tests/engine/test_run.py",
    "tests/geo/test_grid.py",
    "tests/geo/test_grid_groups.py",
    "tests/builtin_recipes/test_grid.py",
]
IMPORTS = [
    ("tests.engine.test_run", "eechips.geo.grid"),
    ("tests.builtin_recipes.test_grid", "eechips.builtin_recipes.sample"),
    ("eechips.builtin_recipes.sample", "eechips.geo.inner"),
    ("eechips.engine.run", "eechips.geo.grid"),
    ("tests.engine.test_estimate", "eechips.engine.run"),
]


@pytest.fixture
def graph() -> grimp.ImportGraph:
    graph = grimp.ImportGraph()
    for importer, imported in IMPORTS:
        graph.add_import(importer=importer, imported=imported)
    return graph


@pytest.mark.parametrize(
    ("changed", "own", "importing"),
    [
        ("eechips/geo/grid.py", TESTS[5:7], ["tests/engine/test_run.py"]),
        ("eechips/geo/inner.py", [], ["tests/builtin_recipes/test_grid.py"]),
        ("eechips/datasets/records/snow.toml", ["tests/datasets/test_records.py"], []),
        ("packages/eechips-local/eechips_local/functions/conditions/joins.py", TESTS[:1], []),
        ("tests/engine/test_run.py", ["tests/engine/test_run.py"], []),
        ("README.md", [], ["tests/docs/test_glossary.py"]),
        ("pyproject.toml", [], []),
    ],
)
def test_tests_are_selected_by_name_and_imports(
    graph: grimp.ImportGraph, changed: str, own: list[str], importing: list[str]
) -> None:
    assert select([changed], graph, TESTS) == SelectedTests(tuple(own), tuple(importing))


def test_changes_are_those_since_the_branch_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the base has got since is no change of the branch."""
    monkeypatch.chdir(tmp_path)

    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=Test", "-c", "user.email=test@example.com", *words], check=True)

    def commit(name: str) -> None:
        (tmp_path / name).write_text("1")
        git("add", ".")
        git("commit", "-q", "-m", name)

    git("init", "-q", "-b", "main")
    commit("first.py")
    git("checkout", "-q", "-b", "feature")
    commit("second.py")
    git("checkout", "-q", "main")
    commit("third.py")
    git("checkout", "-q", "feature")
    (tmp_path / "first.py").write_text("2")
    (tmp_path / "fourth.py").write_text("1")
    assert changed_files(None) == ["first.py", "fourth.py", "second.py"]
    assert changed_files("feature") == ["first.py", "fourth.py"]


def test_every_file_of_tests_is_listed() -> None:
    listed = set(list_tests())
    assert "tests/test_changed_tests.py" in listed
    assert listed >= {str(path) for folder in ("tests/geo", "tests/cli") for path in Path(folder).glob("test_*.py")}
