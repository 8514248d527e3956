"""Time series of chips on the demo planet: requests, time and bytes of a sample, with the run killed and resumed.

    python benchmarks/frames.py --places 1000 --kills 2

Each place has twelve monthly frames of 64x64 pixels of 2020: ten bands of Sentinel-2, the clearest image of the month,
and the Sentinel-1 image nearest in time, VV and VH. The local server runs on its own, so that its counts outlive a run
that is killed. The command and all its processes are killed by SIGKILL whenever a further equal share of the files is
there, and the command is repeated until it ends; `eechips verify` follows. Profiles are not fetched, so that all
requests for values are of the plan.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pandas as pd

S2 = "S2:B2,B3,B4,B5,B6,B7,B8,B8A,B11,B12"
MONTHS = 12


def requests_of(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/_stats") as response:
        counted: dict[str, int] = json.load(response)["requests"]
    return counted


def ready(out: Path) -> int:
    """The number of files of results so far."""
    return sum(1 for _ in (out / "chips").glob("*.tif")) if (out / "chips").is_dir() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        limits = ["--rate", "100", "--concurrency", "40"]
        server = subprocess.Popen(
            [sys.executable, "-m", "eechips_local.run_server", "--exit-with-parent", "--demo", *limits],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        command = [
            sys.executable, "-m", "eechips", "sample", "--dataset", "S2", "--bands", S2, "--dataset", "S1",
            "--bands", "S1:VV,VH", "--near", "S1:6d", "--every", "month", "--start", "2020-01-01",
            "--end", "2021-01-01", "--total", str(given.places), "--roi=-105.3,39.6,-104.7,40.2", "--size", "64",
            "--endpoint", url, "--project", "local", "--out", str(out), "--quiet",
        ]  # fmt: skip
        wanted = given.places * MONTHS * 2
        began, commands = time.perf_counter(), 0
        stops = [wanted * (number + 1) // (given.kills + 1) for number in range(given.kills)]
        while True:
            commands += 1
            process = subprocess.Popen(command, start_new_session=True)
            stop = stops.pop(0) if stops else None
            while (status := process.poll()) is None:
                if stop is not None and ready(out) >= stop:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    print(f"killed with {ready(out):,} of {wanted:,} files")
                    break
                time.sleep(0.1)
            if status is not None:
                break
        seconds = time.perf_counter() - began
        counted = requests_of(url)
        verify = subprocess.run([sys.executable, "-m", "eechips", "verify", str(out)], capture_output=True, text=True)
        rows = pd.read_parquet(out / "layers.parquet")
        units = pd.read_parquet(out / "manifest.parquet", columns=["state", "unit"])
        print(f"status {status} after {commands} commands, {seconds:.0f} s")
        print(f"verify: status {verify.returncode}: {verify.stdout.strip()[-200:]}")
        print(f"units: {units['state'].value_counts().to_dict()}")
        print(f"files: {len(rows):,}, {rows['bytes'].sum() / 1e6:,.1f} MB")
        frames = [frame for unit in units["unit"] for frame in json.loads(unit)["frames"]]
        near = sum(bool((frame.get("near") or {}).get("S1")) for frame in frames)
        shown = sum("image" in frame for frame in frames)
        print(f"frames: {len(frames):,}, {shown:,} with an image of S2, {near:,} with one of S1")
        every, values = sum(counted.values()), counted.get("value:compute", 0)
        print(f"requests by kind: {counted}; {every / given.places:.1f} a place")
        alone = values + len(rows)
        print(f"planning, choice of frames included: {values:,} of {every:,} requests, {values / every:.2%}")
        print(f"                                     {values / alone:.2%} of {alone:,} if each file took a request")
        server.communicate()


if __name__ == "__main__":
    main()
