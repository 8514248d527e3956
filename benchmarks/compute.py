"""The compute of runs beside the server's own account, budgets, and what profiling costs.

    python benchmarks/compute.py --chips 400 --paired 3 --many 2000

Three parts, all against servers of this machine, by the real client over HTTP:

1. The demo planet: every unit of `eechips sample` profiled, with and without injected faults; the sum over the manifest
   and the planning, beside the server's account of the run's workload tag.
2. The same with `--max-eecu-hours`, several budgets: what the server has charged when the run stops.
3. A server with a ready picture: runs with `--profile-every 0`, 20 and 1 in turn; requests and seconds of processor
   time of the run's processes, as the machine may be shared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from harness import Command, Server, serving
from processes import adopt_orphans

import eechips

FAULTS = [
    {"type": "truncate", "on": "image:computePixels", "probability": 0.03},
    {"type": "reset-body", "on": "image:computePixels", "probability": 0.03},
    {"type": "reject", "probability": 0.03},
    {"type": "status", "status": 503, "probability": 0.03},
]
RECIPE = """
import ee
from eechips import Chip

def get_requests():
    return [{{"n": n}} for n in range({count})]

def get_result(index, unit):
    image = ee.Image("x/y").add(unit["n"])
    return Chip(image, region=ee.Geometry.Rectangle(8, 46, 8.1, 46.1), dimensions=(256, 256), format="png")
"""


def charged(server: Server, tag: str) -> float:
    """EECU-seconds of a workload tag."""
    found = server.get("_stats")["compute"]["workload_tags"].get(tag, {"eecu_seconds": 0.0})
    return float(found["eecu_seconds"])


def sampled(server: Server, out: Path, chips: int, tag: str, **options: Any) -> eechips.Run:
    given: dict[str, Any] = {"dataset": "NAIP", "per_ecoregion": chips // 4, "size": 128, "executor": "threads"}
    given |= {"endpoint": server.url, "project": "local", "rate": None, "in_flight": 8, "quiet": True}
    return eechips.sample(**{**given, "out": out, "workload_tag": tag, "retry_delay": 0.05, **options})


def compare(server: Server, folder: Path, chips: int) -> None:
    print("| run | attempts | manifest + planning | server | difference |\n|---|---:|---:|---:|---:|")
    for name, faults in (("every unit profiled", []), ("the same, with faults", FAULTS)):
        server.post("_faults", seed=1, faults=faults)
        tag = f"whole-{len(faults)}"
        run = sampled(server, folder / tag, chips, tag, profile_every=1)
        server.post("_faults", faults=[])
        units = run.units
        own = units["eecu_seconds"].sum() + run.info["compute"]["planning_eecu_seconds"]
        account = charged(server, tag)
        difference = 100 * (own / account - 1)
        print(f"| {name} | {units['attempts'].sum():,} | {own:.3f} | {account:.3f} | {difference:+.2f}% |", flush=True)
    tag = "one-in-20"
    found = sampled(server, folder / tag, chips, tag).info["compute"]
    used = f"{found['eecu_seconds']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
    account = charged(server, tag)
    print(f"| one in 20 profiled | | {used} | {account:.3f} | {100 * (found['eecu_seconds'] / account - 1):+.2f}% |")


def limit(server: Server, folder: Path, chips: int) -> None:
    whole = charged(server, "one-in-20")
    print("\n| budget, EECU-seconds | charged | difference | units | profiled |\n|---:|---:|---:|---:|---:|")
    for share in (0.1, 0.25, 0.5, 0.75):
        budget, tag = share * whole, f"budget-{share:g}".replace(".", "-")
        run = sampled(server, folder / tag, chips, tag, max_eecu_hours=budget / 3600)
        account, units = charged(server, tag), run.units
        done, profiled = (units["state"] == "done").sum(), units["eecu_seconds"].notna().sum()
        print(
            f"| {budget:.3f} | {account:.3f} | {100 * (account / budget - 1):+.2f}% | {done} | {profiled} |", flush=True
        )


def cost(folder: Path, many: int, paired: int) -> None:
    recipe = folder / "recipe.py"
    recipe.write_text(RECIPE.format(count=many))
    rows: list[dict[str, Any]] = []
    with serving("light", "--rate", "none", "--concurrency", "none") as server:
        for number in range(paired):
            for every in (0, 20, 1) if number % 2 else (1, 20, 0):
                before = sum(server.get("_stats")["requests"].values())
                out = folder / f"cost-{number}-{every}"
                words = [
                    sys.executable,
                    "-m",
                    "eechips",
                    "run",
                    str(recipe),
                    "--endpoint",
                    server.url,
                    "--project",
                    "local",
                    "--out",
                    str(out),
                ]
                words += ["--processes", "2", "--in-flight", "16", "--rate", "none", "--quiet", "--no-report"]
                ended = Command([*words, "--profile-every", str(every)], folder / "log").wait()
                assert ended.status == 0, (folder / "log").read_text()[-2000:]
                sent = sum(server.get("_stats")["requests"].values()) - before
                rows.append({"every": every, "requests": sent, "cpu": ended.cpu, "number": number})
    frame = pd.DataFrame(rows).pivot(index="number", columns="every")
    print(f"\n{many:,} chips, {paired} rounds\n\n| profiled | requests | more | processor time | more, paired |")
    print("|---|---:|---:|---:|---:|")
    for every, name in ((0, "none"), (20, "one in 20"), (1, "all")):
        sent, cpu = frame["requests"][every].median(), frame["cpu"][every].median()
        more = 100 * (sent / frame["requests"][0].median() - 1)
        ratios = (frame["cpu"][every] / frame["cpu"][0]).tolist()
        print(f"| {name} | {sent:,.0f} | {more:+.2f}% | {cpu:.2f} s | {100 * (statistics.median(ratios) - 1):+.1f}% |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=400)
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--paired", type=int, default=3)
    given = parser.parse_args()
    adopt_orphans()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving("emulator", "--rate", "none", "--concurrency", "none") as server:
            compare(server, folder, given.chips)
            limit(server, folder, given.chips)
        cost(folder, given.many, given.paired)


if __name__ == "__main__":
    main()
