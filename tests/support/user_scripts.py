"""Scripts of users, run by eechips and by plain Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from local_tests.support.local_earth_engine import Server, start_server, stop_server
from tests.support.programs import run_program

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "data" / "scripts"
OF_THE_RUN = {
    "manifest.sqlite", "manifest.parquet", "run.json", "layers.parquet", "run.log", ".eechips.lock", "failures.csv",
    "report.html",
}  # fmt: skip


def command(script: Path, server: Server, *arguments: str) -> list[str]:
    options = ["--endpoint", server.url, "--executor", "processes:2", "--out", "run", *arguments]
    return [sys.executable, "-m", "eechips", "run", str(script), *options]


def run(script: Path, server: Server, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = command(script, server, *arguments)
    return run_program(*words, cwd=cwd, env=environment, timeout=240)


def plain(script: Path, server: Server, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS / "plain"), "LOCAL_EARTH_ENGINE": server.url}
    words = [sys.executable, str(script), *arguments]
    return run_program(*words, cwd=cwd, env=environment, timeout=100)


def run_with_faults(script: Path, cwd: Path, faults: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """Run a script over a server that makes the faults, and check that it has made some."""
    plan = cwd / "faults.json"
    plan.write_text(json.dumps({"seed": 1, "faults": faults}))
    server = start_server("--rate", "none", "--concurrency", "none", "--faults", str(plan))
    try:
        result = run(script, server, cwd)
        with urlopen(f"{server.url}/_faults") as response:
            assert json.load(response)["consumed"]
    finally:
        stop_server(server)
    return result


def files(folder: Path) -> dict[str, bytes]:
    """Contents by name, without what belongs to the run."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    own = (".calls", "manifest.sqlite-", ".scratch")
    return {n: p.read_bytes() for n, p in sorted(found.items()) if n not in OF_THE_RUN and not n.startswith(own)}
