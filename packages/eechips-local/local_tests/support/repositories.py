"""Repositories of other people, and pytest in them."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

OWN_PLUGINS = ("-pno:cacheprovider", "-pno:zarr", "-pno:anyio", "-pno:hypothesispytest")
"""Options of pytest without plugins of others, whose packages take three times as long to import as pytest itself."""


def make_repository(folder: Path, **files: str) -> Path:
    """Write files, named with two underscores for a slash, into a new folder."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def run_pytest(
    folder: Path, *arguments: str, ini: str = "", output: Path | None = None, temporary: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, as its owner does, and wait for the end of its output, unless that goes to a file."""
    text = f'[tool.pytest.ini_options]\npythonpath = ["src"]\n{ini}'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "EECHIPS_"))}
    if temporary is not None:
        environment["TMPDIR"] = str(temporary)
    words = [sys.executable, "-m", "pytest", "-q", *OWN_PLUGINS, *arguments]
    run = functools.partial(
        subprocess.run, words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, text=True, timeout=240
    )
    if output is None:
        return run(capture_output=True)
    with output.open("w", encoding="utf-8") as file:
        return run(stdout=file, stderr=file)
