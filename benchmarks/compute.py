"""The compute of runs beside the server's own account, budgets, and what profiling costs.

    python benchmarks/compute.py --chips 400 --paired 3 --many 2000

Three parts, all against servers of this machine, by the real client over HTTP:

1. The demo planet: every unit of `eechips sample` profiled, with and without injected faults; the sum over the manifest
   and the planning, beside the server's account of the run's workload tag.
2. The same with `--budget eecu-hours=N`, several budgets: what the server has charged when the run stops.
3. A server with a ready picture: runs that profile no, one in 20 and every unit in turn, without a quota, and at a
   quota of 40 in flight that is filled (1.05 s a request): requests, seconds of slots, processor time of the run's
   processes, and chips a second. The ratios are medians of pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from harness import Command, Server, look, serving
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

_RUN = "import json, sys, eechips; eechips.run(sys.argv[1], **json.loads(sys.argv[2]))"


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
        run = sampled(server, folder / tag, chips, tag, budget={"eecu_hours": budget / 3600})
        account, units = charged(server, tag), run.units
        done, profiled = (units["state"] == "done").sum(), units["eecu_seconds"].notna().sum()
        print(
            f"| {budget:.3f} | {account:.3f} | {100 * (account / budget - 1):+.2f}% | {done} | {profiled} |", flush=True
        )


QUOTA = ("--rate", "100", "--concurrency", "40", "--latency", "1.05;0.1")
NO_QUOTA = ("--rate", "none", "--concurrency", "none")


def cost(folder: Path, many: int, paired: int, quota: bool) -> None:
    """Compare runs that profile none, some and all of their requests, without a quota or with one that they fill."""
    recipe = folder / "recipe.py"
    recipe.write_text(RECIPE.format(count=many))
    rows: list[dict[str, Any]] = []
    in_flight = "40" if quota else "16"
    profiled = (0, 20) if quota else (0, 20, 1)
    with serving("light", *(QUOTA if quota else NO_QUOTA)) as server:
        for number in range(paired):
            for every in profiled if number % 2 else profiled[::-1]:
                before = look(server)
                out = folder / f"cost-{in_flight}-{number}-{every}"
                options = {
                    "out": str(out), "endpoint": server.url, "project": "local", "quiet": True,
                    "executor": "processes:2",
                    "in_flight": int(in_flight), "profile_every": every, **({} if quota else {"rate": None}),
                }  # fmt: skip
                words = [sys.executable, "-c", _RUN, str(recipe), json.dumps(options)]
                ended = Command(words, folder / "log").wait()
                assert ended.status == 0, (folder / "log").read_text()[-2000:]
                after = look(server)
                rows.append(
                    {
                        "every": every,
                        "number": number,
                        "requests": after.requests - before.requests,
                        "slots": after.busy - before.busy,
                        "cpu": ended.cpu,
                        "rate": many / ended.seconds,
                    }
                )
    frame = pd.DataFrame(rows).pivot(index="number", columns="every")
    print(f"\n{many:,} chips, {paired} rounds, {'a quota of 40 that is filled' if quota else 'no quota'}\n")
    print("| profiled | requests | more | slot seconds | more | processor time | more | chips/s | more |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for every, name in ((0, "none"), (20, "one in 20"), (1, "all")):
        if every not in profiled:
            continue
        cells = []
        for column in ("requests", "slots", "cpu", "rate"):
            ratio = statistics.median((frame[column][every] / frame[column][0]).tolist())
            cells += [f"{frame[column][every].median():,.1f}", f"{100 * (ratio - 1):+.2f}%"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


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
        for quota in (False, True):
            cost(folder, given.many, given.paired, quota)


if __name__ == "__main__":
    main()
