"""Find the tests of what a branch changes: python tools/changed_tests.py [BASE].

It prints two lines of paths: tests that have changed or are named like a changed file, and other tests that import a
changed module. BASE is the branch to compare with; without it ``main``, or ``origin/main`` if that is nearer.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import grimp

PACKAGES = {"eechips": ("eechips", "tests"), "eechips_local": ("packages/eechips-local/eechips_local", "local_tests")}
"""Folder of each package, and the package of its tests."""
TEST_FOLDERS = {"tests": "tests", "local_tests": "packages/eechips-local/local_tests"}


@dataclass(frozen=True, slots=True)
class SelectedTests:
    """Test files, as paths below the repository.

    Attributes:
        own: those that have changed, and those that are named like a changed file.
        importing: others that import a changed module, or where no test does, that import a module that does; of pages,
            those of the documentation.
    """

    own: tuple[str, ...]
    importing: tuple[str, ...]


def changed_files(base: str | None) -> list[str]:
    """Return the files that differ from the point where the branch left its base, new ones included."""
    bases = [base] if base else [each for each in ("main", "origin/main") if _git("rev-parse", "-q", "--verify", each)]
    points = [_git("merge-base", "HEAD", each)[0] for each in bases]
    nearest = min(points, key=lambda point: int(_git("rev-list", "--count", f"{point}..HEAD")[0]), default="HEAD")
    return sorted({*_git("diff", "--name-only", nearest), *_git("ls-files", "--others", "--exclude-standard")})


def select(changed: Iterable[str], graph: grimp.ImportGraph, tests: Iterable[str]) -> SelectedTests:
    """Select the tests of changed files.

    Args:
        changed: paths below the repository. Pages select the tests of the documentation.
        graph: imports of the packages and their tests.
        tests: paths of all test files.
    """
    tests = set(tests)
    own: set[str] = set()
    importing: set[str] = set()
    for path in changed:
        if path in tests:
            own.add(path)
            continue
        if path.endswith(".md"):
            importing |= {test for test in tests if test.startswith("tests/docs/")}
        own |= {test for test in tests if _is_named_like(test, path)}
        module = _module(path)
        if module is not None and module in graph.modules:
            direct = graph.find_modules_that_directly_import(module)
            found = tests & {_path(each) for each in direct}
            if not found:
                found = tests & {
                    _path(test) for each in direct for test in graph.find_modules_that_directly_import(each)
                }
            importing |= found
    return SelectedTests(tuple(sorted(own)), tuple(sorted(importing - own)))


def list_tests() -> list[str]:
    """Return the paths of all test files."""
    return _git("ls-files", "-co", "--exclude-standard", *(f"{folder}/**test_*.py" for folder in TEST_FOLDERS.values()))


def _is_named_like(test: str, path: str) -> bool:
    """Return whether a test belongs to a file of a package by its name.

    The tests of a module have its name, without a plural's s, in the folder of its package; those of another file, such
    as a record, are all in that folder. The tests of the local Earth Engine are in one folder.
    """
    file = PurePosixPath(path)
    for folder, package in PACKAGES.values():
        if file.is_relative_to(folder):
            room = file.relative_to(folder).parts[0] if package == "tests" and file.parent.as_posix() != folder else ""
            name = f"_{file.stem.removesuffix('s')}" if file.suffix == ".py" else "test_"
            return name in PurePosixPath(test).stem and PurePosixPath(test).is_relative_to(
                f"{TEST_FOLDERS[package]}/{room}"
            )
    return False


def _module(path: str) -> str | None:
    """Return the module of a file of a package; None for another file."""
    for name, (folder, _) in PACKAGES.items():
        file = PurePosixPath(path)
        if file.is_relative_to(folder) and file.suffix == ".py":
            parts = (name, *file.relative_to(folder).with_suffix("").parts)
            return ".".join(parts).removesuffix(".__init__")
    return None


def _path(module: str) -> str:
    """Return the path of a module of tests; other modules have one that does not exist."""
    package, *rest = module.split(".")
    return "/".join((TEST_FOLDERS.get(package, package), *rest)) + ".py"


def _git(*words: str) -> list[str]:
    git = shutil.which("git") or "git"
    return subprocess.run([git, *words], check=False, capture_output=True, text=True).stdout.splitlines()


def main() -> None:
    """Print the tests of the changed files."""
    sys.path[:0] = [str(Path.cwd()), str(Path.cwd() / "packages/eechips-local")]
    graph = grimp.build_graph(*PACKAGES, *TEST_FOLDERS, cache_dir=".import_linter_cache")
    selection = select(changed_files(sys.argv[1] if len(sys.argv) > 1 else None), graph, list_tests())
    sys.stdout.write(f"{' '.join(selection.own)}\n{' '.join(selection.importing)}\n")


if __name__ == "__main__":
    main()
