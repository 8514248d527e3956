"""Scripts that pass addresses of Earth Engine from one pool to another, or from their main part to a pool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eechips import open_run
from eechips.scripts import issued_names
from eechips.scripts.issued_names import learn
from eechips.scripts.pooling.call_folder import CallFolder, CallResult
from eechips.scripts.replacements.library_patches import keep_client
from eechips.scripts.serialization import describe
from local_tests.support.local_earth_engine import Server, wait_until
from tests.support.programs import run_program
from tests.support.user_scripts import command

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


DOWNLOADS = """
import os
from concurrent.futures import ThreadPoolExecutor
import ee, requests
ee.Initialize()

def download(address):
    if address == os.environ.get("FAILS"):
        raise ValueError("no luck")
    content = requests.get(address).content
    with open(address.rpartition("/")[2].partition(":")[0] + ".png", "wb") as file:
        file.write(content)

if __name__ == "__main__":
    shown = {"dimensions": 8, "region": ee.Geometry.BBox(0, 0, 1, 1), "min": 0, "max": 9}
    addresses = [ee.Image(int(n)).getThumbURL(shown) for n in os.environ["LIST"]]
    if "FAILING" in os.environ:
        os.environ["FAILS"] = addresses[1]
    with ThreadPoolExecutor() as pool:
        list(pool.map(download, addresses))
"""


def test_issued_names_stand_for_their_requests(demo_ee: Any) -> None:
    """A run may have another server than its last one."""
    image = demo_ee.Image(1)
    with keep_client():
        made = [demo_ee.data.getMapId({"image": shown})["mapid"] for shown in (image, image, image.add(1))]
    named = [
        f"{server}/v1/{name}" for server, name in zip(("http://127.0.0.1:1", "https://a.b", ""), made, strict=True)
    ]
    assert len({*made}) == 3
    first, again, other = ([describe([1, name]), describe(SimpleNamespace(name=name))] for name in named)
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_names_of_unknown_requests_are_told_apart() -> None:
    first, other = (describe([f"http://127.0.0.1:1/v1/projects/p/thumbnails/{name}:getPixels"]) for name in ("a", "b"))
    assert first != other


def test_the_requests_of_names_are_known_where_a_result_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "projects/p/thumbnails/a-1"
    learn({name: "ab12"})
    folder = CallFolder(tmp_path / "0001", b"key")
    folder.keep(3, CallResult([f"https://a.b/v1/{name}:getPixels"]))
    monkeypatch.setattr(issued_names, "_requests", {})
    assert describe(name) == name
    folder.result(3)
    assert describe(name) == "thumbnails/ab12"


@pytest.mark.exhaustive
def test_a_failed_download_is_repeated_and_no_other(demo_server: Server, tmp_path: Path) -> None:
    """The addresses of all downloads are new when the script is run again."""
    script, out = tmp_path / "downloads.py", tmp_path / "run"
    script.write_text(DOWNLOADS)

    retry = [sys.executable, "-m", "eechips", "retry", "run"]

    def made(words: list[str], numbers: str, **more: str) -> tuple[int, set[bytes]]:
        environment = {**os.environ, "LIST": numbers, **more}
        completed = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True)
        return completed.returncode, {path.read_bytes() for path in out.glob("*.png")}

    code, first = made(command(script, demo_server), "123", FAILING="1")
    assert code
    assert len(first) == 2
    code, whole = made(retry, "231")  # the same calls in another order
    assert code == 0
    assert first < whole
    assert len(whole) == 3


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
    units = open_run(out).units  # a file that was committed, but not recorded, is fetched again
    kept = {out / name: (out / name).stat().st_mtime_ns for name in units.file[units.state == "done"].dropna()}
    run_program(*words, *arguments, status=0, cwd=tmp_path)
    assert sorted(path.name for path in out.glob("*.png")) == [f"{n}.png" for n in range(6)]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert open_run(out).verify() == []
