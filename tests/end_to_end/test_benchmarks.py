"""Checks of the benchmarks of whole runs, and a small run of benchmarks/chaos.py."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
from PIL import Image

from local_tests.support.local_earth_engine import Server, ServerProcess, initialize, stop_server
from tests.support.programs import run_program

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

pytestmark = [
    pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside the tests"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched in /proc"),
]


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The benchmarks' modules."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import chaos  # type: ignore[import-not-found]
    import harness  # type: ignore[import-not-found]
    import pictures  # type: ignore[import-not-found]
    import points  # type: ignore[import-not-found]
    import quota  # type: ignore[import-not-found]

    return SimpleNamespace(chaos=chaos, harness=harness, pictures=pictures, points=points, quota=quota)


@pytest.mark.slow
def test_every_benchmark_imports_names_that_exist() -> None:
    modules = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
    places = [str(BENCHMARKS), str(BENCHMARKS.parent), str(BENCHMARKS.parent / "packages" / "eechips-local")]
    run_program(sys.executable, "-c", f"import sys; sys.path[:0] = {places}; import {', '.join(modules)}", status=0)


@pytest.fixture(scope="module")
def light() -> Iterator[Server]:
    command = [sys.executable, str(BENCHMARKS / "service.py"), "--exit-with-parent", "--rate", "none"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    server = ServerProcess(json.loads(process.stdout.readline())["url"], process)
    yield server
    stop_server(server)


def naip(ee: Any, point: list[float]) -> tuple[Any, Any]:
    region = ee.Geometry.Point(point).buffer(127).bounds()
    images = ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(region).filterDate("2015-01-01", "2030-01-01")
    return images.mosaic().select("R", "G", "B"), region


@pytest.mark.slow
def test_ready_pictures_differ_by_unit_and_not_by_the_way_they_are_asked_for(light: Server) -> None:
    ee = initialize(light)
    found = []
    for point in ([-105.25, 39.5], [-105.5, 39.25]):
        image, region = naip(ee, point)
        url = image.getThumbURL({"region": region, "dimensions": "60x40", "format": "png"})
        by_url = requests.get(url, timeout=60).content
        cut = image.clipToBoundsAndScale(geometry=region, width=60, height=40)
        assert ee.data.computePixels({"expression": cut, "fileFormat": "PNG"}) == by_url
        picture = Image.open(io.BytesIO(by_url))
        picture.load()
        assert (picture.size, picture.mode, picture.info) == ((60, 40), "RGB", {"unit": f"{point[0]},{point[1]}"})
        found.append(by_url)
    assert found[0] != found[1]


@pytest.mark.slow
def test_ready_data_have_the_grid_and_bands_asked_for(light: Server) -> None:
    ee = initialize(light)
    image, _ = naip(ee, [-105.25, 39.5])
    affine = {"scaleX": 2, "scaleY": -2, "translateX": 500_000, "translateY": 4_400_000}
    grid = {"dimensions": {"width": 64, "height": 32}, "affineTransform": affine, "crsCode": "EPSG:32613"}
    table = np.load(io.BytesIO(ee.data.computePixels({"expression": image, "fileFormat": "NPY", "grid": grid})))
    assert (table.shape, table.dtype.names) == ((32, 64), ("R", "G", "B"))
    content = ee.data.computePixels({"expression": image, "fileFormat": "GEO_TIFF", "grid": grid})
    with rasterio.MemoryFile(content) as memory, memory.open() as file:
        assert (file.crs.to_string(), tuple(file.transform)[:6]) == ("EPSG:32613", (2, 0, 500_000, 0, -2, 4_400_000))
        assert np.array_equal(file.read(2), table["G"])


@pytest.mark.slow
def test_the_light_server_knows_what_was_asked_for_each_unit(light: Server) -> None:
    ee = initialize(light)
    image, region = naip(ee, [-100.125, 40.5])
    faults = [
        {"type": "gzip", "on": "thumbnails:create", "times": 1},
        {"type": "stall-body", "on": "thumbnails:create", "times": 1, "seconds": 0.1},
        {"type": "status", "status": 503, "on": "thumbnails:getPixels", "times": 1},
    ]
    requests.post(f"{light.url}/_faults", json={"faults": faults}, timeout=60)
    found = []
    for _ in range(2):
        url = image.getThumbURL({"region": region, "dimensions": "8x8", "format": "png"})
        found.append(requests.get(url, timeout=60).status_code)
    assert found == [503, 200]
    units = requests.get(f"{light.url}/_units", timeout=60).json()
    assert "" not in units
    notes = units["-100.125,40.5"]
    assert [note[1:] for note in notes] == [
        ["thumbnails:create", "gzip"], ["thumbnails:getPixels", "status"],
        ["thumbnails:create", "stall-body"], ["thumbnails:getPixels", 200],
    ]  # fmt: skip
    times = [note[0] for note in notes]
    assert times == sorted(times)


def test_points_of_the_benchmark_do_not_overlap(benchmarks: SimpleNamespace) -> None:
    places = benchmarks.points.points(20_000)
    assert len({tuple(place) for place in places}) == 20_000
    assert len(benchmarks.points.trouble(300)) == 5


def samples(benchmarks: SimpleNamespace, quota: list[float], rejected: float = 0.0) -> list[Any]:
    """Looks at a server twice a second, with so many in flight in each half second."""
    found = [benchmarks.harness.Sample(time=0.0, busy=0.0, chips=0, requests=0, rejected=0)]
    for number, in_flight in enumerate(quota, start=1):
        before = found[-1]
        found.append(
            benchmarks.harness.Sample(
                time=number * 0.5,
                busy=before.busy + in_flight * 0.5,
                chips=number * 10,
                requests=number * 100,
                rejected=round(number * 100 * rejected),
            )
        )
    return found


def test_a_change_is_followed_once_the_new_quota_is_full(benchmarks: SimpleNamespace) -> None:
    followed = benchmarks.quota.followed
    looks = samples(benchmarks, [40.0] * 10 + [20.0] * 4 + [10.0] * 20)[10:]
    assert followed(looks, 5.0, 10) == pytest.approx(2.0, abs=0.5)
    assert followed(looks, 5.0, 40) is None
    assert followed(samples(benchmarks, [40.0] * 10 + [10.0] * 20, rejected=0.2)[10:], 5.0, 10) is None


def test_the_first_and_last_units_do_not_count(benchmarks: SimpleNamespace) -> None:
    first, last = benchmarks.quota.steady(samples(benchmarks, [0.0] * 5 + [40.0] * 90 + [3.0] * 5), 1000)
    assert (first.chips, last.chips) == (50, 950)
    assert (last.busy - first.busy) / (last.time - first.time) == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ([1.0, "thumbnails:create", 200], [2.0, "thumbnails:getPixels", 200], "progress"),
        ([1.0, "thumbnails:create", 429], [2.0, "thumbnails:create", 200], "fault"),
        ([1.0, "thumbnails:getPixels", "reset"], [2.0, "thumbnails:getPixels", 200], "fault"),
        ([9.5, "thumbnails:getPixels", 200], [12.0, "thumbnails:create", 200], "crash"),
        ([9.5, "thumbnails:create", "gzip"], [12.0, "thumbnails:create", 200], "crash"),
        ([0.5, "thumbnails:getPixels", 200], [22.0, "thumbnails:create", 200], "nothing"),
        ([11.2, "thumbnails:create", 200], [12.0, "thumbnails:create", 200], "crash"),
        ([11.8, "image:computePixels", "gzip"], [12.0, "image:computePixels", 200], "nothing"),
    ],
)
def test_every_repeat_needs_a_reason(
    benchmarks: SimpleNamespace, before: list[Any], after: list[Any], reason: str
) -> None:
    assert benchmarks.chaos.explanation(before, after, [(11.0, 11.5)]) == reason


# A command that leaves two processes behind: one that works for a while and ends, one that stays.
LEAVES = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.4: pass"])
subprocess.Popen(["sleep", "61"])
"""
OBSERVES = """
import sys
from pathlib import Path
from harness import Command
from processes import adopt_orphans
adopt_orphans()
ended = Command([sys.executable, "-c", sys.argv[1]], Path("/dev/null")).wait(grace=4.0)
print(ended.status, ended.cpu >= 0.4, ended.orphans)
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_no_process_is_lost_from_sight() -> None:
    command = [sys.executable, "-c", OBSERVES, LEAVES]
    done = run_program(*command, status=0, timeout=60, cwd=BENCHMARKS)
    assert done.stdout == "0 True ('sleep 61 ',)\n"


@pytest.mark.exhaustive
@pytest.mark.parametrize("method", ["url", pytest.param("pixels", marks=pytest.mark.exhaustive)])
def test_a_run_under_random_faults_loses_nothing(tmp_path: Path, method: str) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(BENCHMARKS / "chaos.py"), "--units", "300", "--kill-every", "3", "--seed", "7"]
    command += ["--unit-timeout", "10", "--method", method, "--json", str(figures)]
    run_program(*command, status=0, timeout=280)
    (story,) = json.loads(figures.read_text())
    assert story["problems"] == []
    assert story["killed"] >= 2
    assert story["repeats"]["fault"] > 10


@pytest.mark.exhaustive
@pytest.mark.slow
def test_killed_processes_and_refused_credentials_lose_nothing() -> None:
    command = [
        sys.executable,
        str(BENCHMARKS / "kills.py"),
        "--seed",
        "4",
    ]  # of processes, with a key of the environment
    run_program(*command, status=0, timeout=280)
