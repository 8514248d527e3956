"""Count lines, files and functions of each part, and what one run executes.

    python tools/code_measures.py            # counts of the files
    python tools/code_measures.py --run      # and functions and modules of `eechips sample --local`, in a minute

Lines are all lines of Python files; those of code are neither blank, nor a comment, nor of a docstring. A function is
a ``def`` at any depth. A loose module stands in the root of a package. The run takes four chips of the demo planet. A
function counts once, in whichever process executes it. The local Earth Engine, a process of the other distribution, is
left out.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
EECHIPS = ROOT / "eechips"
LOCAL = ROOT / "packages" / "eechips-local" / "eechips_local"
PARTS = {"archive": ("archive",), "training": ("training", "torch.py")}
"""Of the root distribution: what is not the core."""

TRACER = """
import _thread, os, sys, threading
_root, _out = os.environ["MEASURED_ROOT"], os.environ["MEASURED_OUT"]
_seen, _modules = set(), set()

def _note(frame, event, argument):
    code = frame.f_code
    if event != "call" or not code.co_filename.startswith(_root):
        return
    key = (code.co_filename, code.co_firstlineno)
    if key not in _seen:
        _seen.add(key)
        kind = "module" if code.co_name == "<module>" else "function"
        if kind == "function" and (code.co_name.startswith("<") or not code.co_flags & 1):
            return  # a comprehension, a lambda, the body of a class
        with open(os.path.join(_out, str(os.getpid())), "a") as file:
            file.write(f"{kind}\\t{code.co_filename}\\t{code.co_firstlineno}\\n")

_start = _thread.start_new_thread

def _start_noted(function, *rest):
    def run(*positional, **named):
        sys.setprofile(_note)
        function(*positional, **named)
    return _start(run, *rest)

_thread.start_new_thread = _start_noted  # the threads that execute units are no threading.Thread
threading.setprofile(_note)
sys.setprofile(_note)
"""
"""``sitecustomize``: each process notes each function of the package once."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Size of a part of the code.

    Attributes:
        files: number of Python files.
        lines: in all of them.
        code: lines that are neither blank, nor a comment, nor of a docstring.
        functions: number of them.
    """

    files: int
    lines: int
    code: int
    functions: int


def measure(paths: Iterable[Path]) -> Measure:
    """Count lines and functions of Python files."""
    texts = [path.read_text(encoding="utf-8") for path in paths]
    functions = sum(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for text in texts
        for node in ast.walk(ast.parse(text))
    )
    return Measure(len(texts), sum(len(text.splitlines()) for text in texts), sum(map(count_code, texts)), functions)


def count_code(text: str) -> int:
    """Count the lines of a Python file that are neither blank, nor a comment, nor of a docstring or other bare text."""
    left_out = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(text.splitlines(), start=1)
    return sum(number not in left_out and line.strip()[:1] not in ("", "#") for number, line in lines)


def parts() -> dict[str, Measure]:
    """Return the sizes of the parts of both distributions, and of their tests."""
    own = sorted(EECHIPS.rglob("*.py"))
    named = {
        part: [path for path in own if path.relative_to(EECHIPS).parts[0] in names] for part, names in PARTS.items()
    }
    others = {path for paths in named.values() for path in paths}
    files = {
        "eechips": own,
        "eechips, core": [path for path in own if path not in others],
        **{f"eechips, {part}": paths for part, paths in named.items()},
        "eechips-local": sorted(LOCAL.rglob("*.py")),
        "tests of eechips": sorted(set((ROOT / "tests").rglob("*.py")) - set((ROOT / "tests" / "data").rglob("*.py"))),
        "tests of eechips-local": sorted((LOCAL.parent / "local_tests").rglob("*.py")),
    }
    return {name: measure(paths) for name, paths in files.items()}


def loose_modules(package: Path) -> list[str]:
    """Return the names of the modules in the root of a package."""
    return sorted(path.stem for path in package.glob("*.py") if not path.stem.startswith("__"))


def run_once() -> tuple[int, int, int]:
    """Fetch four chips, and return the number of functions, of their files, and of modules that a worker imports."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "site").mkdir()
        (folder / "found").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(TRACER, encoding="utf-8")
        places = os.pathsep.join(map(str, (folder / "site", ROOT, LOCAL.parent)))
        environment = os.environ | {
            "PYTHONPATH": places, "MEASURED_ROOT": f"{EECHIPS}{os.sep}", "MEASURED_OUT": str(folder / "found"),
        }  # fmt: skip
        words = ["sample", "--dataset", "NAIP", "--per-ecoregion", "1", "--size", "64", "--local", "-q", "--out", "run"]
        subprocess.run([sys.executable, "-m", "eechips", *words], cwd=folder, env=environment, check=True)
        notes = [
            [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
            for path in (folder / "found").iterdir()
        ]
    called = {(path, name) for lines in notes for kind, path, name in lines if kind == "function"}
    imported = max((sum(kind == "module" for kind, _, _ in lines) for lines in notes), default=0)
    return len(called), len({path for path, _ in called}), imported


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="also trace a run")
    asked = parser.parse_args()
    click.echo("| part | files | lines | of code | functions |\n|---|---:|---:|---:|---:|")
    for name, size in parts().items():
        click.echo(f"| {name} | {size.files:,} | {size.lines:,} | {size.code:,} | {size.functions:,} |")
    for package in (EECHIPS, LOCAL):
        found = loose_modules(package)
        click.echo(f"\nLoose modules of {package.name}: {len(found)}: {', '.join(found)}")
    if asked.run:
        functions, files, modules = run_once()
        click.echo(
            f"\nA run of four chips: {functions:,} functions in {files} files; a process imports {modules} modules."
        )


if __name__ == "__main__":
    main()
