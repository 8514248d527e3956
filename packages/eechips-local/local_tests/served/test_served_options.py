"""The server's options, from both command lines, as a client meets them; and how a server ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from local_tests.support.local_earth_engine import (
    Server,
    computations_in_flight,
    initialize,
    read_announcement,
    start_server,
    stop_server,
    wait_until,
)
from local_tests.support.process_tree import children, is_running, processor_seconds

pytestmark = pytest.mark.slow

SEVEN = {"expression": {"result": "0", "values": {"0": {"constantValue": 7}}}}


def compute(server: Server, body: dict[str, Any] = SEVEN) -> requests.Response:
    return requests.post(f"{server.url}/v1/projects/local/value:compute", json=body, timeout=60)


def test_limits(serve: Callable[..., Server]) -> None:
    server = serve(
        "--no-demo", "--rate", "none", "--workers", "1", "--payload", "2000", "--elements", "10", "--pixels", "1000",
        "--thumbnail", "500", "--response", "300", "--seconds", "1",
    )  # fmt: skip
    ee = initialize(server)
    square = ee.Geometry.Rectangle([0, 0, 16, 16], None, False)
    image = ee.Image(1).toByte().clip(square)
    for message, attempt in {
        "Request payload size exceeds the limit: 2000 bytes": lambda: ee.String("a" * 3000).getInfo(),
        "accumulating over 10 elements": lambda: ee.FeatureCollection.randomPoints(square, 11).getInfo(),
        "must be less than or equal to 500 bytes": lambda: image.getDownloadURL({"format": "NPY", "scale": 1e5}),
        "Response size exceeds limit of 300 bytes": lambda: ee.List.sequence(1, 1000).getInfo(),
        "Computation timed out": lambda: ee.List.sequence(1, 5).iterate(_endless, 0).getInfo(),
    }.items():
        with pytest.raises(ee.EEException, match=message):
            attempt()
    big = {"dimensions": {"width": 32, "height": 32}, "affineTransform": {"scaleX": 1, "scaleY": -1}}
    with pytest.raises(ee.EEException, match=r"Total request size \(2048 bytes\) must be less than or equal to 1000"):
        ee.data.computePixels({"expression": image, "fileFormat": "NPY", "grid": {**big, "crsCode": "EPSG:4326"}})


def _endless(x: Any, found: Any) -> Any:
    import ee

    inner = ee.List.sequence(1, 5000).map(lambda y: ee.List.sequence(1, 5000).map(lambda z: ee.Number(z).add(y)).size())
    return ee.Number(found).add(inner.size()).add(x)


def test_the_quota_turns_away_what_is_too_much(serve: Callable[..., Server]) -> None:
    server = serve("--no-demo", "--workers", "1", "--concurrency", "2", "--rate", "none", "--latency", "0.5")
    with computations_in_flight(server, 1):
        assert compute(server).status_code == 200
    with computations_in_flight(server, 2):
        answers = [compute(server) for _ in range(3)]
    assert [a.status_code for a in answers] == [429] * 3
    assert answers[0].json()["error"]["message"].startswith("Too Many Requests")
    assert compute(server).status_code == 200
    stats = server.stats()
    assert (stats["in_flight"]["peak"], stats["statuses"]["429"]) == (2, 3)


def test_latency_comes_before_each_answer(serve: Callable[..., Server]) -> None:
    server = serve("--no-demo", "--workers", "1", "--concurrency", "2", "--rate", "none", "--latency", "0.5")
    start = time.monotonic()
    assert compute(server).json() == {"result": 7}
    assert time.monotonic() - start >= 0.5


def test_a_plan_of_faults_from_a_file(serve: Callable[..., Server], tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"seed": 1, "faults": [{"type": "reject", "times": 1, "retry_after": 3}]}))
    server = serve("--no-demo", "--workers", "1", "--faults", str(plan))
    first, second = compute(server), compute(server)
    assert (first.status_code, first.headers["retry-after"], second.status_code) == (429, "3", 200)
    assert requests.get(f"{server.url}/_faults").json()["consumed"]


@pytest.mark.parametrize(
    "command", [[sys.executable, "-m", "eechips_local.run_server"], [sys.executable, "-m", "eechips_local", "serve"]]
)
@pytest.mark.parametrize(
    ("options", "message"),
    [(["--rate", "fast"], "--rate: could not convert"), (["--faults", "no.json"], "--faults: cannot read no.json")],
)
def test_options_that_cannot_be_used(command: list[str], options: list[str], message: str) -> None:
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly(ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "eechips_local", "serve", "--demo", "--port", "0", "--workers", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert found, said
        assert requests.get(f"{found.group()}/_store", timeout=60).json()["stores"][0]["synthetic"] is True
        # A terminal sends Ctrl-C to all processes of the group.
        os.killpg(process.pid, ending)
        assert process.wait(60) in (0, 130, -ending)
        assert process.stderr.read() == ""
    with pytest.raises(requests.ConnectionError):
        requests.get(found.group(), timeout=60)


@pytest.mark.parametrize("ending", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_busy_workers_end_with_the_server(ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "eechips_local.run_server", "--no-demo", "--workers", "1", "--rate", "none"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process,
        ThreadPoolExecutor(1) as threads,
    ):
        server = Server(read_announcement(process)["url"])
        assert compute(server).status_code == 200  # the worker has started
        fork_server = next(each for each in children(process.pid) if children(each))
        (worker,) = children(fork_server)
        before = processor_seconds(worker)
        endless = initialize(server).List.sequence(1, 100).iterate(_endless, 0)
        answer = threads.submit(compute, server, {"expression": json.loads(endless.serialize())})
        wait_until(lambda: processor_seconds(worker) > before + 0.2)
        process.send_signal(ending)
        wait_until(lambda: not is_running(worker))
        assert process.wait(60) in (0, -ending)
        assert (answer.result().status_code, answer.result().json()["error"]["status"]) == (503, "UNAVAILABLE")


def test_a_port_that_is_taken(serve: Callable[..., Server]) -> None:
    server = serve("--no-demo", "--workers", "1", "--concurrency", "2", "--rate", "none", "--latency", "0.5")
    port = server.url.rpartition(":")[2]
    command = [sys.executable, "-m", "eechips_local", "serve", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"cannot listen on port {port}" in done.stderr


def test_a_server_that_raises_warnings_as_errors_answers(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """``PYTHONWARNINGS=error eechips-local serve``: affine 3.1, for one, warns of transforms multiplied by ``*``."""
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    running = start_server("--workers", "1")
    try:
        ee = initialize(running)
        dem = ee.Image("USGS/SRTMGL1_003")
        fine = dem.reproject("EPSG:32632", None, 100)
        images = [
            dem.resample("bilinear"),
            fine.reduceResolution("mean", False, 100).reproject("EPSG:32632", None, 500),
            fine.reduceResolution("mean", False, 500).reproject("EPSG:32633", None, 500),
            fine.translate(100, 0, "meters", "EPSG:32633"),
            fine.changeProj("EPSG:32632", fine.projection().scale(2, 2)),
            fine.clipToBoundsAndScale(ee.Geometry.Rectangle([10, 45, 10.1, 45.1]), None, None, None, 200),
            ee.Terrain.slope(dem).multiply(1e300).multiply(1e300),
            ee.Image.pixelCoordinates("EPSG:32632"),
        ]
        for image in images:
            assert image.reduceRegion("first", ee.Geometry.Point(10.05, 45.05), 250).getInfo()
        huge = ee.List([1e300, 1e308, -1e308])
        for reducer in ("mean", "kurtosis", "sum", "histogram", "bitwiseAnd", "product"):
            huge.reduce(getattr(ee.Reducer, reducer)()).getInfo()
        pairs = huge.zip(huge.reverse())
        for reducer in ("linearFit", "pearsonsCorrelation", "sensSlope"):
            pairs.reduce(getattr(ee.Reducer, reducer)()).getInfo()
    finally:
        stop_server(running)
    assert "Warning" not in capfd.readouterr().err
