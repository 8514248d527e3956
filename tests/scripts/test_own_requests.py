"""Requests that a script sends outside of its pools are retried and checked, as requests of calls are."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from local_tests.support.local_earth_engine import Server
from tests.support.altering_front import altering_front
from tests.support.framing_front import Answer
from tests.support.user_scripts import files, run, run_with_faults

pytestmark = pytest.mark.slow

SCRIPT = """
import threading
import urllib.request

import ee
import requests

ee.Initialize()


def address(n):
    region = ee.Geometry.Point([-105.2 + 0.01 * n, 40.0]).buffer(500).bounds()
    options = {"region": region, "dimensions": 32, "min": 0, "max": 4000, "format": "png"}
    return ee.Image("USGS/SRTMGL1_003").getThumbURL(options)


def save(n):
    with open(f"{n}.png", "wb") as file:
        file.write(requests.get(address(n)).content)


for n in range(3):
    save(n)
threads = [threading.Thread(target=save, args=(n,)) for n in range(3, 6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
urllib.request.urlretrieve(address(6), "6.png")
"""


SPAWNED = """
import multiprocessing

import ee

ee.Initialize()


def save(n):
    with open(f"{n}.txt", "w") as file:
        file.write(str(ee.Number(n).getInfo()))


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=save, args=(n,)) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print([process.exitcode for process in processes])
"""


def test_processes_that_a_script_spawns_send_requests_of_the_run(demo_server: Server, tmp_path: Path) -> None:
    """They executed the script anew, and lacked the credentials."""
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    result = run(script, demo_server, tmp_path)
    assert "[0, 0]" in result.stdout, result.stderr
    assert files(tmp_path / "run") == {"0.txt": b"0", "1.txt": b"1"}


@pytest.mark.exhaustive
def test_faults_do_not_reach_the_files_of_a_script_without_a_pool(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "sequence.py"
    script.write_text(SCRIPT)
    assert run(script, demo_server, tmp_path, "--out", "good").returncode == 0
    pixels = {"on": "thumbnails:getPixels", "probability": 1.0, "times": 1}
    kinds = ("status", "truncate", "truncate-silently", "reset", "gzip")
    result = run_with_faults(script, tmp_path, [{"type": kind, **pixels} for kind in kinds])
    assert result.returncode == 0, result.stderr
    assert files(tmp_path / "run") == files(tmp_path / "good")
    assert len(files(tmp_path / "run")) == 7


@pytest.mark.exhaustive
def test_json_in_place_of_an_image_does_not_reach_the_files_of_a_script(demo_server: Server, tmp_path: Path) -> None:
    """As of a gateway whose errors have status 200; or nothing comes back."""
    script = tmp_path / "sequence.py"
    script.write_text(SCRIPT)
    assert run(script, demo_server, tmp_path, "--out", "good").returncode == 0
    seen: set[str] = set()

    def alter_first(path: str, _: bytes, answer: Answer) -> Answer:
        if ":getPixels" not in path or path in seen:
            return answer
        seen.add(path)
        return Answer(200, answer.headers, (b"", b"null", b'{"error": {"code": 503, "message": "Oh."}}')[len(seen) % 3])

    with altering_front(demo_server.url, alter_first) as url:
        result = run(script, replace(demo_server, url=url), tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(seen) == 7
    assert files(tmp_path / "run") == files(tmp_path / "good")


COMPUTED = """
import ee
from multiprocessing import Pool

ee.Initialize()


def save(n):
    scale = {"scaleX": 0.001, "shearX": 0, "translateX": -105.2, "scaleY": -0.001, "shearY": 0, "translateY": 40 - n}
    grid = {"dimensions": {"width": 16, "height": 16}, "affineTransform": scale, "crsCode": "EPSG:4326"}
    data = ee.data.computePixels({"expression": ee.Image("USGS/SRTMGL1_003"), "fileFormat": "GEO_TIFF", "grid": grid})
    with open(f"{n}.tif", "wb") as file:
        file.write(data)


save(0)
save(1)
if __name__ == "__main__":
    Pool(2).map(save, [2, 3])
"""


def test_faults_do_not_reach_what_the_client_computes(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "computed.py"
    script.write_text(COMPUTED)
    assert run(script, demo_server, tmp_path, "--out", "good").returncode == 0
    pixels = {"on": "image:computePixels", "probability": 1.0, "times": 1}
    kinds = ("html", "wrong-content", "truncate-silently")
    result = run_with_faults(script, tmp_path, [{"type": k, **pixels, "after": n} for n in (0, 2) for k in kinds])
    assert result.returncode == 0, result.stderr
    assert files(tmp_path / "run") == files(tmp_path / "good")
    assert len(files(tmp_path / "run")) == 4


APART = """
import asyncio
import multiprocessing
import sys
import threading

import ee
import httpx

ee.Initialize()


def save(n):
    with open(f"{n}.txt", "w") as file:
        file.write(str(ee.Number(n).getInfo()))


async def fetch(n):
    await asyncio.to_thread(save, n)
    address = ee.Image(1).getThumbURL({"region": ee.Geometry.BBox(0, 0, 1, 1), "dimensions": 4, "format": "png"})
    async with httpx.AsyncClient() as client:
        response = await client.get(address)
    with open(f"{n}.png", "wb") as file:
        file.write(response.content)


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        pool.map(save, range(2))
    apart = APART
    if apart == "asyncio":
        asyncio.run(fetch(2))
    else:
        for worker in apart(target=save, args=(2,)), apart(target=sys.exit, args=(3,)):
            worker.start()
            worker.join()
"""


@pytest.mark.parametrize(
    ("apart", "name"),
    [
        ("multiprocessing.Process", "multiprocessing.Process"),
        ("threading.Thread", "threading.Thread"),
        ('"asyncio"', "coroutines"),
    ],
)
def test_work_without_a_pool_is_named(apart: str, name: str, demo_server: Server, tmp_path: Path) -> None:
    """A script that also had a pool ended without a message that this work is not recorded."""
    script = tmp_path / "apart.py"
    script.write_text(APART.replace("APART", apart))
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"done again when the script is repeated: the work of {name}. Use a pool" in result.stderr
    failed = re.search(r"have failed: Process-\d+ \(exit code 3\)\.", result.stderr)
    assert (failed is not None) == name.endswith("Process")


def test_requests_that_fail_for_good_are_named(demo_server: Server, tmp_path: Path) -> None:
    """A script without a pool that left them out ended as one that has everything."""
    script = tmp_path / "script.py"
    script.write_text(
        "import ee, requests\nee.Initialize()\n"
        "region = ee.Geometry.Point([-105.2, 40.0]).buffer(500).bounds()\n"
        "def fetch(n, band):\n"
        "    image = ee.Image('USGS/SRTMGL1_003').select(band)\n"
        "    answer = requests.get(image.getThumbURL({'region': region, 'dimensions': 8 + n, 'min': 0, 'max': 4000}))\n"
        "    if answer.ok:\n        open(f'{n}.png', 'wb').write(answer.content)\n"
        "for n in range(4):\n    fetch(n, 'elevation' if n % 2 else 'height')\n"
        "for n in (0, 2):\n    fetch(n, 'elevation' if n else 'slope')\n"
        "try:\n    ee.data.getAsset('projects/p/assets/nothing')\nexcept ee.EEException:\n    pass\n"
    )
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert files(tmp_path / "run").keys() == {"1.png", "2.png", "3.png"}
    assert "3 requests of the script itself failed, and it may lack data: " in result.stderr
    assert "Band pattern 'height' did not match any bands" in result.stderr
