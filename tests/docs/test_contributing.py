"""The pages for contributors: each command exists, and the code of each page works in a package of its own."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, read_page, read_table, unquote

ROOT = DOCS.parent
_FILE = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)

PAGES_WITH_PACKAGES = [
    "add-a-dataset",
    "add-a-format",
    "add-an-emulator-function",
    "add-an-executor",
    "add-a-run-feature",
]


def test_commands_are_those_of_the_task_runner() -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    sessions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    table = read_table((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "command", "checks")
    assert [unquote(row["command"]) for row in table] == [f"nox -s {name}" for name in sessions]


def install_page(page: str, folder: Path) -> list[str]:
    """Write the files of a page as pip installs them; return the names of its tests."""
    files = dict(_FILE.findall(read_page(f"contributing/{page}.md")))
    settings = files.pop("pyproject.toml")
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    name = re.search(r'^name = "(.*)"$', settings, re.MULTILINE)
    assert name
    info = folder / f"{name[1].replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name[1]}\nVersion: 1.0\n")
    points = re.findall(r'^\[project\.entry-points\."([\w.]+)"\]\n((?:\w.*\n)+)', settings, re.MULTILINE)
    assert points, f"{page} declares no entry point"
    lines = [f"[{group}]\n{entries.replace(chr(34), '')}" for group, entries in points]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return [name for name in files if name.startswith("test_")]


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES_WITH_PACKAGES)
def test_code_of_a_page_works_as_an_installed_package(page: str, tmp_path: Path) -> None:
    tests = install_page(page, tmp_path)
    assert tests, f"{page} has no test"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
