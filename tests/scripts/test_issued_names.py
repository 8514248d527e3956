"""Scripts that pass addresses of Earth Engine from one pool to another, or from their main part to a pool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eechips import open_run
from eechips.scripts.serialization import describe
from tests.scripts.test_resume import wait_until

ADDRESSES = """
import os, sys
from multiprocessing import Pool
import ee, requests
ee.Initialize()

def address(n):
    return n, ee.Image(n + 1).getThumbURL({"dimensions": 8, "region": ee.Geometry.BBox(0, 0, 1, 1)})

def save(n, address):
    if n == 3 and "MARK" in os.environ:
        open(os.environ["MARK"], "w").close()
        while True:
            pass
    response = requests.get(address)
    response.raise_for_status()
    with open(f"{n}.png", "wb") as file:
        file.write(response.content)

if __name__ == "__main__":
    pairs = list(map(address, range(6))) if "alone" in sys.argv else Pool(2).map(address, range(6))
    Pool(2).starmap(save, pairs)
"""


def test_issued_names_are_no_part_of_a_unit() -> None:
    first, again = (
        describe([1, f"{server}/v1/projects/p/thumbnails/{name}:getPixels", f"projects/p/locations/here/maps/{name}"])
        for server, name in (("http://127.0.0.1:1", "a1-b2"), ("https://earthengine-highvolume.googleapis.com", "c3"))
    )
    assert first == again == [1, "thumbnails:getPixels", "maps"]
    assert describe("projects/p/assets/thumbnails/x") == "projects/p/assets/thumbnails/x"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], pytest.param(["--", "alone"], marks=pytest.mark.exhaustive)])
def test_a_killed_script_has_new_addresses_when_it_is_run_again(arguments: list[str], tmp_path: Path) -> None:
    """The names of the first server are gone, as are those of Earth Engine after some hours."""
    script, mark, out = tmp_path / "addresses.py", tmp_path / "mark", tmp_path / "run"
    script.write_text(ADDRESSES)
    words = [
        sys.executable,
        "-m",
        "eechips",
        "run",
        str(script),
        "--local",
        "--executor",
        "processes:2",
        "--out",
        "run",
    ]
    environment = {**os.environ, "MARK": str(mark)}
    process = subprocess.Popen([*words, *arguments], cwd=tmp_path, env=environment, start_new_session=True, text=True)
    wait_until(lambda: mark.exists() and any(out.glob("*.png")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    again = subprocess.run([*words, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert sorted(path.name for path in out.glob("*.png")) == [f"{n}.png" for n in range(6)]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert open_run(out).verify() == []
