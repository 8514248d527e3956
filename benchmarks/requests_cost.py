"""What equivalent requests cost: the same chips by URL, computePixels, getPixels and shared requests.

    python benchmarks/requests_cost.py --chips 9 --repeats 5

The chips are those of the demo planet at fixed places: pictures of NAIP, chips of Sentinel-2 on its own pixels, and
twelve monthly medians of one band of each place. All plans of a kind are measured one after the other, again and again,
against one local server without a quota; printed are medians for a chip or place, and ratios to the first plan of the
kind. Processor time is the server's, without the drawing of the demo planet's images, which are drawn once before.
EECU are those of the server's model. Bytes are those of bodies as sent. Files of all plans are compared byte by byte.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from harness import ASKING, PIXELS, Server, serving

import eechips
from eechips.client.http.connection_pool import ConnectionPool

ROI = "-105.1,39.6,-105.0,39.7"
YEAR = {"start": "2020-01-01", "end": "2021-01-01"}
S2 = {"dataset": "S2", "bands": "B4,B3,B2,B8", "format": "tif", "start": "2020-05-01", "end": "2020-07-01"}
MONTHS = {
    "dataset": "L8",
    "bands": "SR_B4",
    "mask": "auto",
    "every": "month",
    "reducer": "median",
    "format": "tif",
    **YEAR,
}
KINDS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "NAIP picture": (
        {"dataset": "NAIP", "size": 256},
        {"url": {"method": "url"}, "computePixels": {"method": "pixels"}},
    ),
    "Sentinel-2 chip": (
        {**S2, "size": 256, "share_requests": False},
        {"url": {"method": "url"}, "computePixels": {"method": "pixels"}, "getPixels": {}},
    ),
    "12 monthly medians": ({**MONTHS, "size": 64}, {"computePixels": {"share_requests": False}, "shared": {}}),
}


@dataclass(frozen=True)
class Cost:
    """Cost of a chip: requests, bytes, EECU-seconds, and seconds of the server's processors and of the run."""

    requests: float
    sent: float
    received: float
    eecu: float
    cpu: float
    seconds: float


class Bodies:
    """Counts the bytes of requests and responses of this process."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.received: list[int] = []
        exchange = ConnectionPool.exchange

        def counted(pool: ConnectionPool, request: Any, *arguments: Any) -> Any:
            response = exchange(pool, request, *arguments)
            self.sent.append(len(request.text))
            self.received.append(len(response.body))
            return response

        ConnectionPool.exchange = counted  # type: ignore[method-assign]


def measure(server: Server, bodies: Bodies, out: Path, chosen: dict[str, Any], chips: int) -> tuple[Cost, str]:
    """Run a sample; return its cost for each chip, and a digest of its files."""
    given = {"total": chips, "seed": 7, "roi": ROI, "rate": None, "in_flight": 4, "executor": "threads", "quiet": True}
    # The run pauses after its first chip, with its plan: planning costs all plans the same.
    eechips.sample(**given, **chosen, endpoint=server.url, out=out, estimate=1)
    before, cpu, began = server.get("_stats"), server.cpu(), time.perf_counter()
    bodies.sent.clear()
    bodies.received.clear()
    run = eechips.sample(**given, **chosen, endpoint=server.url, out=out)
    seconds, cpu = time.perf_counter() - began, server.cpu() - cpu
    after = server.get("_stats")
    counted = Counter(after["requests"]) - Counter(before["requests"])
    eecu = after["compute"]["eecu_seconds"] - before["compute"]["eecu_seconds"]
    assert set(run.units["state"]) <= {"done", "empty"}
    files = sorted(path for path in out.rglob("*") if path.suffix in (".tif", ".png"))
    digest = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()
    requests = sum(number for kind, number in counted.items() if kind in {*PIXELS, *ASKING})
    parts = (requests, sum(bodies.sent), sum(bodies.received), eecu, cpu, seconds)
    return Cost(*(part / (chips - 1) for part in parts)), digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="measure this kind only")
    given = parser.parse_args()
    bodies = Bodies()
    print(f"{'':20} {'plan':14} requests   sent  received      EECU ms      server ms    wall ms")
    options = ("--demo", "--rate", "none", "--concurrency", "none", "--workers", "1")
    with serving("emulator", *options) as server, tempfile.TemporaryDirectory() as folder:
        for kind in given.kind or KINDS:
            chosen, plans = KINDS[kind]
            costs: dict[str, list[Cost]] = {name: [] for name in plans}
            digests = set()
            for repeat in range(-1, given.repeats):  # the first draws the images
                for name, plan in plans.items():
                    out = Path(folder) / f"{kind}-{name}-{repeat}"
                    cost, digest = measure(server, bodies, out, {**chosen, **plan}, given.chips)
                    digests.add(digest)
                    if repeat >= 0:
                        costs[name].append(cost)
            assert len(digests) == 1, "the files of the plans differ"
            first: Cost | None = None
            for name, found in costs.items():
                cost = Cost(*(median(values) for values in zip(*(vars(each).values() for each in found), strict=True)))
                first = first or cost
                print(
                    f"{kind:20} {name:14} {cost.requests:8.2f} {cost.sent:6,.0f} {cost.received:9,.0f}"
                    f" {1000 * cost.eecu:6.0f} x{cost.eecu / first.eecu:.2f}"
                    f" {1000 * cost.cpu:6.1f} x{cost.cpu / first.cpu:.2f} {1000 * cost.seconds:6.0f}"
                    f" x{cost.seconds / first.seconds:.2f}"
                )


if __name__ == "__main__":
    main()
