"""Strata of large tables: what the service refuses is asked for in parts, and the points stay the same."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import shapely

from eechips.datasets import ECOREGIONS
from eechips.errors import RegionError, TooLargeError
from eechips.planning.areas.regions import parse_region
from eechips.planning.sampling.samplers import Stratum
from eechips.planning.sampling.stratified_draw import StrataPool, StratifiedDraw
from eechips.planning.sampling.stratum_outlines import fetch_strata
from eechips_local.assets import ingest
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server, initialize
from tests.support.commands import run_command
from tests.support.ecoregion_outlines import write_outlines

WEST = "-125,31,-102,49"
COLORADO = "-109.06,36.99,-102.04,41.0"
OUTLINES = "table:computeFeatures"
TIMED_OUT, MEMORY = "Computation timed out.", "User memory limit exceeded."


@pytest.fixture(scope="module")
def store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an asset store of the ecoregions with a hundredth of the vertices of the originals."""
    folder = tmp_path_factory.mktemp("ecoregions")
    ingest(write_outlines(real_data, folder / "ecoregions.parquet", 0.01), folder / "store", ECOREGIONS)
    return folder / "store"


@pytest.fixture
def serve_outlines(store: Path, serve: Callable[..., Server]) -> Callable[..., Server]:
    """Start servers of these ecoregions, with further options."""

    def start(*options: str) -> Server:
        return serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none", *options)

    return start


@contextmanager
def refusing(server: Server, *faults: dict[str, Any]) -> Iterator[None]:
    """Have a server refuse requests inside the block."""

    def plan(*planned: dict[str, Any]) -> None:
        body = json.dumps({"seed": 0, "faults": planned}).encode()
        with urlopen(Request(f"{server.url}/_faults", body, {"Content-Type": "application/json"})):
            pass

    plan(*({"type": "status", "status": 400, **fault} for fault in faults))
    try:
        yield
    finally:
        plan()


def fetch(server: Server, roi: str) -> list[Stratum]:
    initialize(server)
    region = parse_region(roi)
    return fetch_strata(region.geometry(), ECOREGIONS, "ECO_ID", "ECO_NAME", outline=region.polygon())


def points(strata: list[Stratum]) -> list[tuple[int | float | str, tuple[float, float]]]:
    return StratifiedDraw(StrataPool(strata, 7), [stratum.id for stratum in strata], 50).interleaved()


@pytest.mark.slow
def test_outlines_inside_the_region_are_whole_and_the_others_are_clipped(
    serve_outlines: Callable[..., Server], real_data: Path
) -> None:
    import geopandas

    from tests.support.ecoregion_outlines import SIMPLIFIED

    table = geopandas.read_parquet(real_data / SIMPLIFIED).set_index("ECO_ID").geometry
    box = parse_region(WEST).polygon()
    strata = fetch(serve_outlines(), WEST)
    assert {stratum.id for stratum in strata} == set(table.index[table.intersects(box)])
    whole = 0
    for stratum in strata:
        expected = table[stratum.id].intersection(box)
        assert stratum.geometry.symmetric_difference(expected).area < 2e-3 * expected.area
        whole += box.contains(table[stratum.id])
    assert 0 < whole < len(strata)


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([{"on": OUTLINES, "message": TIMED_OUT, "times": 2}], marks=pytest.mark.slow),
        pytest.param([{"on": OUTLINES, "message": MEMORY, "after": 1, "times": 8}], marks=pytest.mark.slow),
        [{"on": OUTLINES, "message": m, "probability": 0.2, "times": 6} for m in (TIMED_OUT, MEMORY)],
    ],
    ids=["listing", "outlines", "both"],
)
def test_points_are_the_same_however_requests_are_divided(
    serve_outlines: Callable[..., Server], faults: list[dict[str, Any]]
) -> None:
    server = serve_outlines()
    expected = points(fetch(server, WEST))
    with refusing(server, *faults):
        assert points(fetch(server, WEST)) == expected


@pytest.mark.exhaustive
def test_an_outline_larger_than_a_response_is_fetched_in_cells(serve_outlines: Callable[..., Server]) -> None:
    expected = fetch(serve_outlines(), WEST)
    server = serve_outlines("--response", "12000")
    before = server.requests().get(OUTLINES, 0)
    found = fetch(server, WEST)
    assert points(found) == points(expected)
    assert server.requests()[OUTLINES] - before > len(expected)


@pytest.mark.slow
def test_an_outline_that_is_refused_in_cells_is_fetched_with_a_larger_margin_and_the_user_is_told(
    serve_outlines: Callable[..., Server], caplog: CapturedLog
) -> None:
    server = serve_outlines()
    expected = {stratum.id: stratum.geometry for stratum in fetch(server, COLORADO)}
    # The listing, the four outlines together, the first two, the first alone, and its cells.
    with refusing(server, {"on": OUTLINES, "message": MEMORY, "after": 1, "times": 5}):
        found = fetch(server, COLORADO)
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert message.endswith("is exact to 100 m only, as Earth Engine refused a finer one: User memory limit exceeded.")
    assert [stratum.id for stratum in found] == list(expected)
    for stratum in found:
        assert shapely.hausdorff_distance(stratum.geometry, expected[stratum.id]) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(
    ("message", "error", "after", "most"),
    [
        (MEMORY, RegionError, 1, 10),
        ("Geometry has too many edges (3970390 > 2000000).", RegionError, 1, 5),
        (TIMED_OUT, TooLargeError, 0, 6),
    ],
)
def test_a_refusal_that_cannot_be_divided_says_what_to_do(
    serve_outlines: Callable[..., Server], message: str, error: type[Exception], after: int, most: int
) -> None:
    server = serve_outlines()
    before = server.requests().get(OUTLINES, 0)
    with refusing(server, {"on": OUTLINES, "message": message, "after": after}), pytest.raises(error) as caught:
        fetch(server, COLORADO)
    text = str(caught.value)
    assert message in text
    assert text.endswith("What helps: a table with simpler outlines (`per_ecoregion`), or a smaller region (`roi`).")
    assert server.requests()[OUTLINES] - before <= most


@pytest.mark.slow
def test_a_refused_plan_ends_with_one_sentence(demo_server: Server, tmp_path: Path) -> None:
    places = ["--per-ecoregion", "3", "--roi", COLORADO, "--format", "tif"]
    command = ["sample", "--dataset", "NASADEM", *places, "--endpoint", demo_server.url, "--out", str(tmp_path / "run")]
    for refused, helps in (
        (OUTLINES, "a table with simpler outlines (--per-ecoregion), or a smaller region (--roi)."),
        ("value:compute", ""),
    ):
        with refusing(demo_server, {"on": refused, "message": MEMORY}):
            result = run_command(*command)
        assert result.exit_code == 2
        (line,) = result.output.splitlines()[-1:]
        assert line.startswith("Error: a planning request was rejected: User memory limit exceeded.")
        assert line.count(" What helps: ") == 1
        assert line.endswith(helps)
