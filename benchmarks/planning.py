"""Planning of 847 ecoregions x 1,000 points, with outlines of any number of vertices, and with requests refused.

    python benchmarks/planning.py --data ../shared/data --share 0.05
    python benchmarks/planning.py --data ../shared/data --share 1     # the vertices of RESOLVE's own file

`eechips sample --per-ecoregion` over the whole world is planned twice:

1. by a local Earth Engine that refuses nothing;
2. by one that refuses a tenth of the planning requests each with "Computation timed out.", "User memory limit
   exceeded." and "Too many concurrent aggregations.", and every response beyond a third of the usual size.

The points of both must be the same. Seconds are of this machine, which also does what Earth Engine would do.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import serving

import eechips
from eechips.builtin_recipes.samples.chip_plan import ChipPlan
from eechips.client.http.connection_pool import ConnectionPool
from eechips.datasets import ECOREGIONS
from eechips_local.assets import ingest

WORLD = "-180,-90,180,90"
REFUSALS = (
    (400, "Computation timed out."),
    (400, "User memory limit exceeded."),
    (429, "Too many concurrent aggregations."),
)
RESPONSE = 64 << 20  # bytes of a response of the local Earth Engine


class Exchanges:
    """Sizes of the requests of this process, and the places that it plans."""

    def __init__(self) -> None:
        self.bodies: list[int] = []
        self.responses: list[int] = []
        self.places: list[Any] = []
        exchange, choose_places = ConnectionPool.exchange, ChipPlan.choose_places

        def measured(pool: ConnectionPool, request: Any, *arguments: Any) -> Any:
            response = exchange(pool, request, *arguments)
            if request.method == "POST":  # others ask for what the client needs, not for the plan
                self.bodies.append(len(request.text.encode()))
                self.responses.append(len(response.decoded().body))
            return response

        def kept(plan: ChipPlan) -> Any:
            self.places = list(choose_places(plan))
            return self.places

        ConnectionPool.exchange, ChipPlan.choose_places = measured, kept  # type: ignore[method-assign]

    def clear(self) -> None:
        self.bodies, self.responses, self.places = [], [], []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--share", type=float, default=0.05, help="of the vertices of the original outlines")
    parser.add_argument("--points", type=int, default=1000, help="in each ecoregion")
    parser.add_argument("--roi", default=WORLD)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.support.ecoregion_outlines import write_outlines

    exchanges = Exchanges()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        ingest(write_outlines(options.data, Path(folder) / "ecoregions.parquet", options.share), store, ECOREGIONS)
        digests = []
        print(f"{'':12}{'requests':>9}{'refused':>9}{'largest body':>14}{'response':>12}{'seconds':>9}{'points':>10}")
        for name, limit in (("undisturbed", RESPONSE), ("refused", RESPONSE // 3)):
            with serving("emulator", "--assets", str(store), "--response", str(limit)) as server:
                if name == "refused":
                    fault = {"type": "status", "on": "table:computeFeatures", "probability": 0.1}
                    faults = [{**fault, "status": status, "message": message} for status, message in REFUSALS]
                    server.post("_faults", seed=1, faults=faults)
                exchanges.clear()
                began = time.perf_counter()
                eechips.sample(
                    "NASADEM", per_ecoregion=options.points, roi=options.roi, format="tif", endpoint=server.url,
                    out=Path(folder) / name, quiet=True, dry_run=True,
                )  # fmt: skip
                seconds = time.perf_counter() - began
                refused = sum(n for code, n in server.get("_stats")["statuses"].items() if int(code) >= 400)
            places = [(place.fields["eco_id"], place.point) for place in exchanges.places]
            digests.append(hashlib.sha256(repr(places).encode()).hexdigest())
            print(
                f"{name:12}{len(exchanges.bodies):>9,}{refused:>9,}{max(exchanges.bodies):>14,}"
                f"{max(exchanges.responses):>12,}{seconds:>9.1f}{len(places):>10,}"
            )
    if digests[0] != digests[1]:
        raise SystemExit("the points differ")


if __name__ == "__main__":
    main()
