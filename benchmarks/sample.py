"""How long `eechips sample` takes on the local Earth Engine, and what memory; beside the original script's pattern.

    python benchmarks/sample.py --per-ecoregion 1000 --rounds 1
    python benchmarks/sample.py --per-ecoregion 100 --rounds 3 --rival

Wall time is from the start of the command to its end: Python's start, the local server's, planning, fetching, checking,
the ledger. The rival gets the same points and a server that is already up, and checks nothing. Memory is the sum of the
proportional set sizes, sampled every half second, and so is the processors' time, which other programs on the machine
hardly change.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from processes import command_line, cpu_of, descendants, own_cpu_of, parent, pss

HERE = Path(__file__).parent


class Usage(threading.Thread):
    """What a process and its descendants use, by role: peaks of the proportional set sizes, seconds of processors."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.peaks: dict[str, float] = {}
        self.done = threading.Event()
        self._seconds: dict[str, float] = {}

    def run(self) -> None:
        while not self.done.wait(0.5):
            now: dict[str, float] = {}
            spent: dict[str, float] = {}
            for pid in (self.root, *descendants(self.root)):
                role = role_of(pid, self.root)
                now[role] = now.get(role, 0) + pss(pid)
                # What the parent has waited for are the others' processes.
                spent[role] = spent.get(role, 0.0) + (own_cpu_of(pid) if pid == self.root else cpu_of(pid))
            for role, size in now.items():
                self.peaks[role] = max(self.peaks.get(role, 0), size)
                self._seconds[role] = max(self._seconds.get(role, 0.0), spent[role])

    def __str__(self) -> str:
        return ", ".join(
            f"{role} {self._seconds[role]:.1f} s, {size:.0f} MB" for role, size in sorted(self.peaks.items())
        )


def role_of(pid: int, root: int) -> str:
    """What a process under a command is."""
    if pid == root:
        return "parent"
    chain = [pid]
    while chain[-1] not in (root, 0):
        chain.append(parent(chain[-1]))
    return "server" if any("-m eechips_local" in command_line(each) for each in chain) else "workers"


def eechips(out: Path, per_ecoregion: int, method: str) -> tuple[float, Usage, int]:
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "eechips", "sample", "--dataset", "NAIP", "--per-ecoregion", str(per_ecoregion),
         "--local", "--method", method, "--out", str(out)],
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    usage = Usage(process.pid)
    usage.start()
    status = process.wait()
    seconds = time.perf_counter() - began
    usage.done.set()
    assert status == 0, status
    return seconds, usage, len(list(out.rglob("*.png")))


def rival(points: Path, out: Path) -> float:
    server = subprocess.Popen(
        [sys.executable, "-m", "eechips_local.run_server", "--exit-with-parent", "--rate", "none", "--concurrency",
         "40"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    url = json.loads(server.stdout.readline())["url"]
    began = time.perf_counter()
    subprocess.run([sys.executable, HERE / "original_pattern.py", points, url, out], check=True)
    seconds = time.perf_counter() - began
    server.communicate()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-ecoregion", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--method", default="auto", choices=["auto", "url", "pixels"])
    parser.add_argument("--rival", action="store_true")
    given = parser.parse_args()
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(given.rounds):
            out = Path(folder) / f"ours-{round_}"
            seconds, usage, chips = eechips(out, given.per_ecoregion, given.method)
            ours.append(seconds)
            print(f"eechips: {chips} chips in {seconds:.1f} s, {chips / seconds:.1f}/s; {usage}", flush=True)
            if given.rival:
                import eechips as package

                points = Path(folder) / "points.json"
                units = package.open_run(out).units["unit"]
                points.write_text(json.dumps([unit["coordinates"] for unit in units]))
                seconds = rival(points, Path(folder) / f"theirs-{round_}")
                theirs.append(seconds)
                print(f"original pattern: {chips} chips in {seconds:.1f} s, {chips / seconds:.1f}/s", flush=True)
            shutil.rmtree(out)
    if theirs:
        ratio = statistics.median(t / o for o, t in zip(ours, theirs, strict=True))
        print(f"median ratio original / eechips: {ratio:.2f} ({os.cpu_count()} cores)")


if __name__ == "__main__":
    main()
