"""Whole scenes from servers with every fault that there is, and their throughput beside that of curl and aria2c.

    python benchmarks/scenes.py
    python benchmarks/scenes.py --skip-faults --links 125 --rounds 5
    python benchmarks/scenes.py --seeds 1 2 3 --skip-throughput

The STAC API is ``rustac serve`` and the files' servers are processes of tests/support/scene_servers.py, all on
loopback; the latter count. 200 scenes of 1 to 60 MB, 2 GB in all, lie on two hosts, of which the second has no Range.
Connections are cut at random, addresses are signed for some seconds, a file is replaced while it is sent, three
checksums of the catalogue are wrong, and the command is killed (SIGKILL) twice. At the end this must hold; what does
not is told, and the exit status is 1:

- every good scene has the sha256 of the file that is served, and ``eechips verify`` finds nothing;
- exactly the three are in quarantine;
- the host with Range has sent no more than 1.05 times the bytes of its good scenes for these;
- the same command again asks neither the catalogue nor the hosts for anything.

With several seeds that happens several times. What was sent twice is told by why.

Then, without faults, eechips, ``curl --parallel`` and, where they are installed, ``aria2c`` and ``obstore`` (in
Rust, here with a sha256 of each file; ``--obstore PYTHON`` names a Python that has it) fetch the same files in turns
from the same server, over loopback as fast as it goes and over lines of so many megabytes a second; eechips has at
least 0.95 times the throughput of one of them on each. That is between the first and the last byte, as the server sees
it. The whole commands are told as well, how long the system takes afterwards to put what they left onto the disk, and
their processor time: the others neither hash nor check what they get, nor put it on the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

import numpy as np
import rasterio
from rasterio.transform import from_origin

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from eechips.files.hashes import hash_file  # noqa: E402
from tests.support.scene_servers import item, multihash, stac_api  # noqa: E402

_TYPE = "image/tiff; application=geotiff"
_EDGE = 512
_SHARE = 1.05
_LEAST = 0.95
_WRONG = 3
_AT_ONCE = 10
_WHY = {
    "replaced": "of the file that was replaced",
    "left": "that a killed command had not kept",
    "cut": "where connections were cut",
    "whole": "of files that were there",
}


@dataclass(frozen=True)
class Scene:
    """A file that is served.

    Attributes:
        name: below its server's folder, without suffix.
        path: path of what is served in the end.
        host: 0 has Range, 1 does not.
        is_wrong: whether the catalogue has another checksum.
    """

    name: str
    path: Path
    host: int
    is_wrong: bool

    @property
    def size(self) -> int:
        return self.path.stat().st_size


def write_raster(path: Path, megabytes: float, generator: np.random.Generator) -> None:
    """A GeoTIFF of about that size, which nothing compresses."""
    rows = max(_EDGE, round(megabytes * 1e6 / 2 / _EDGE))
    profile = {"driver": "GTiff", "width": _EDGE, "height": rows, "count": 1, "dtype": "uint16", "crs": "EPSG:32613"}
    with rasterio.open(path, "w", transform=from_origin(5e5, 4.4e6, 10, 10), **profile) as file:
        file.write(generator.integers(0, 65536, (1, rows, _EDGE), dtype="uint16"))


def make_scenes(folder: Path, count: int, megabytes: float) -> list[Scene]:
    """Scenes of 1 to 60 MB, so many in all; three quarters of them for the first host."""
    generator = np.random.default_rng(7)
    sizes = np.clip(generator.lognormal(0.0, 1.0, count), 0.05, None)
    sizes = np.clip(sizes / sizes.sum() * megabytes, 1.0, 60.0)
    scenes = []
    for number, size in enumerate(sizes):
        host = int(number % 4 == 3)
        path = folder / f"host{host}" / f"s{number:04d}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_raster(path, float(size), generator)
        scenes.append(Scene(path.stem, path, host, is_wrong=False))
    return scenes


@contextmanager
def serving(folder: Path, **faults: Any) -> Iterator[str]:
    """A files' server in a process of its own; gives its address."""
    command = [sys.executable, "-m", "tests.support.scene_servers", str(folder), "--faults", json.dumps(faults)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(url: str) -> Any:
    with urlopen(url) as answer:
        return json.load(answer)


def stats(url: str) -> dict[str, Any]:
    return dict(ask(f"{url}/stats"))


def items_of(scenes: Sequence[Scene], urls: Sequence[str]) -> list[dict[str, Any]]:
    """The catalogue; what it says of a file that will be replaced is of the new one."""
    found = []
    for scene in scenes:
        new = scene.path.with_name(f"{scene.path.name}.new")
        source = new if new.exists() else scene.path
        data = source.read_bytes()
        checksum = multihash(b"something else" if scene.is_wrong else data)
        asset = {"href": f"{urls[scene.host]}/{scene.path.name}", "type": _TYPE, "roles": ["data"]}
        found.append(item(scene.name, {"data": asset | {"file:checksum": checksum, "file:size": len(data)}}))
    return found


def command(stac: str, out: Path, *options: str) -> list[str]:
    program = str(Path(sys.executable).with_name("eechips"))
    own = ["--collection", "demo", "--out", str(out), "--quiet", "--in-flight", str(_AT_ONCE)]
    return [program, "scenes", "--stac", stac, *own, *options]


def killed(line: Sequence[str], urls: Sequence[str], after: int) -> bool:
    """Runs a command and kills it once the servers have sent so many bytes; whether it lived until then."""
    process = subprocess.Popen(line)
    while process.poll() is None:
        if sum(stats(url)["sent"] for url in urls) >= after:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.02)
    return False


def faults(folder: Path, scenes: list[Scene], lifetime: float, seed: int) -> list[str]:
    """The run with all faults; returns what does not hold."""
    generator = np.random.default_rng(7 + seed)
    ranged = [number for number, scene in enumerate(scenes) if scene.host == 0]
    replaced = scenes[max(ranged, key=lambda number: scenes[number].size)]
    write_raster(replaced.path.with_name(f"{replaced.path.name}.new"), replaced.size / 1e6, generator)
    wrong = [ranged[5], ranged[11], next(n for n, scene in enumerate(scenes) if scene.host == 1)][:_WRONG]
    scenes = [Scene(s.name, s.path, s.host, is_wrong=number in wrong) for number, s in enumerate(scenes)]
    total = sum(scene.size for scene in scenes)
    problems, out = [], folder / "out"
    common = {"lifetime": lifetime, "seed": seed}
    with (
        serving(folder / "host0", cuts=0.3, replaced=[replaced.path.name], **common) as first,
        serving(folder / "host1", has_ranges=False, cuts=0.1, lifetime=lifetime) as second,
    ):
        urls = (first, second)
        with stac_api(items_of(scenes, urls), folder) as stac:
            line = command(stac, out, "--auth", "sas", "--token-url", f"{first}/sign")
            began = time.perf_counter()
            kills = [killed(line, urls, int(share * total)) for share in (0.3, 0.65)]
            status = subprocess.run(line, check=False).returncode
            seconds = time.perf_counter() - began
        asked = [stats(url) for url in urls]
        again = subprocess.run(line, check=False).returncode  # the catalogue is gone
        if not all(kills):
            problems.append("it was through before it could be killed")
        if [stats(url) for url in urls] != asked:
            problems.append("the same command again has asked the hosts")
        good = [scene for scene in scenes if not scene.is_wrong]
        for scene in good:
            file = out / "scenes" / scene.name / "data.tif"
            if not file.exists() or hash_file(file) != hash_file(scene.path):
                problems.append(f"{scene.name} is not what is served")
        kept = sorted(path for path in (out / "quarantine").glob("*.json"))
        names = {json.loads(path.read_text())["item"] for path in kept}
        if names != {scene.name for scene in scenes if scene.is_wrong}:
            problems.append(f"in quarantine are {sorted(names)}")
        sent = asked[0]["names"]
        mine = [scene for scene in good if scene.host == 0]
        size = sum(scene.size for scene in mine)
        ratio = sum(sent[scene.path.name] for scene in mine) / size
        twice: Counter[str] = Counter()
        for scene in mine:
            twice.update(asked[0]["twice"].get(scene.path.name, {}))
        if ratio > _SHARE:
            problems.append(f"the host with Range has sent {ratio:.3f} times the bytes")
        checked = subprocess.run([line[0], "verify", str(out)], capture_output=True, text=True, check=False)
        if checked.returncode:
            problems.append(checked.stdout)
        print(
            f"{len(scenes)} scenes, {total / 1e6:,.0f} MB, seed {seed}, killed twice:"
            f" {seconds:.0f} s, exit status {status}, {again}"
        )
        for url, found, host in zip(urls, asked, (0, 1), strict=True):
            served = sum(scene.size for scene in scenes if scene.host == host)
            what = f"{found['requests']:,} requests {found['statuses']}"
            print(f"  {url}: {what}, {found['sent'] / served:.3f} times its bytes")
        print(f"  good scenes of the host with Range: {ratio:.4f} times their bytes; sent twice are")
        for how, text in _WHY.items():
            print(f"    {twice[how] / size:.4f} {text}")
        print(f"  in quarantine: {', '.join(sorted(names))}")
    return problems


def throughput(folder: Path, scenes: Sequence[Scene], rounds: int, link: float | None, python: str) -> float:
    """Megabytes a second of eechips and of others, in turns; returns the first as a multiple of the one next to it.

    That is between the first and the last byte, as the server sees it; the whole commands are told as well.
    """
    total = sum(scene.size for scene in scenes)
    names = ["eechips", "curl", *(["aria2c"] if shutil.which("aria2c") else []), *(["obstore"] if python else [])]
    rivals = {**_RIVALS, "obstore": partial(obstore, python=python)}
    taken: dict[str, list[Taken]] = {name: [] for name in names}
    for number in range(rounds):
        for name in taken if number % 2 else reversed(taken):
            out = folder / f"out{number}"
            out.mkdir()
            with serving(folder, rate=None if link is None else link * 1e6) as url:
                found = [
                    item(scene.name, {"data": {"href": f"{url}/host{scene.host}/{scene.path.name}", "type": _TYPE}})
                    for scene in scenes
                ]
                with stac_api(found, folder) as stac:
                    line = command(stac, out) if name == "eechips" else rivals[name](found, out, folder / "list.txt")
                    taken[name].append(timed(line, url))
            shutil.rmtree(out)
    print(f"{'as fast as it goes' if link is None else f'{link:g} MB/s'}: {rounds} rounds of {total / 1e6:,.0f} MB")
    ratios: list[float] = []
    for name, each in taken.items():
        rate = median(total / 1e6 / one.transfer for one in each)
        seconds = ", ".join(f"{one.transfer:.2f}" for one in each)
        whole, disk, own, other = (
            median(getattr(one, field) for one in each) for field in ("whole", "disk", "processor", "server")
        )
        print(f"  {name:8}{rate:8.1f} MB/s  ({seconds} s); processor {own:.2f} s, of the server {other:.2f} s")
        print(f"          the command {whole:.2f} s, then to the disk {disk:.2f} s")
        if name != "eechips":
            shares = [b.processor / a.processor for a, b in zip(each, taken["eechips"], strict=True)]
            print(f"          processor of eechips / {name}: {median(shares):.2f}")
            # Of each pair, one after the other: whatever else the machine does changes slowly.
            ratios.append(median(b.transfer / a.transfer for a, b in zip(taken["eechips"], each, strict=True)))
            print(f"          eechips / {name}: {ratios[-1]:.3f}")
    return max(ratios)


@dataclass(frozen=True)
class Taken:
    """Seconds that a command has taken.

    Attributes:
        transfer: between the first and the last byte.
        whole: from its start to its end.
        disk: until the system has put what is left onto the disk.
        processor: processor time of its processes.
        server: processor of the files' server.
    """

    transfer: float
    whole: float
    disk: float
    processor: float
    server: float


def curl(found: Sequence[dict[str, Any]], out: Path, config: Path) -> list[str]:
    """The same by curl, which has a list of addresses and files."""
    lines = (f'url = "{each["assets"]["data"]["href"]}"\noutput = "{out}/{each["id"]}.tif"\n' for each in found)
    config.write_text("".join(lines))
    own = ["curl", "--silent", "--show-error", "--fail", "--no-progress-meter"]
    return [*own, "--parallel", "--parallel-max", str(_AT_ONCE), "--config", str(config)]


def aria2c(found: Sequence[dict[str, Any]], out: Path, config: Path) -> list[str]:
    """The same by aria2c."""
    config.write_text("".join(f"{each['assets']['data']['href']}\n out={each['id']}.tif\n" for each in found))
    own = ["aria2c", "--quiet", "--file-allocation=none", "--max-connection-per-server=1"]
    return [*own, f"--max-concurrent-downloads={_AT_ONCE}", "--dir", str(out), "--input-file", str(config)]


_OBSTORE = """
import asyncio, hashlib, sys
from urllib.parse import urlsplit
import obstore
from obstore.store import HTTPStore

async def fetch(turn, stores, url, path):
    parts = urlsplit(url)
    home = f"{parts.scheme}://{parts.netloc}"
    store = stores.setdefault(home, HTTPStore.from_url(home, client_options={"allow_http": True}))
    async with turn:
        answer, digest = await obstore.get_async(store, parts.path.lstrip("/")), hashlib.sha256()
        with open(path, "wb") as file:
            async for piece in answer.stream(min_chunk_size=1 << 19):
                digest.update(piece)
                file.write(piece)

async def main():
    turn, stores = asyncio.Semaphore(int(sys.argv[2])), {}
    lines = [line.rstrip("\\n").split("\\t") for line in open(sys.argv[1])]
    await asyncio.gather(*(fetch(turn, stores, url, path) for url, path in lines))

asyncio.run(main())
"""


def obstore(found: Sequence[dict[str, Any]], out: Path, config: Path, *, python: str) -> list[str]:
    """The same by obstore, and a sha256 of each file."""
    config.write_text("".join(f"{each['assets']['data']['href']}\t{out}/{each['id']}.tif\n" for each in found))
    return [python, "-c", _OBSTORE, str(config), str(_AT_ONCE)]


_RIVALS = {"curl": curl, "aria2c": aria2c}


def timed(line: Sequence[str], url: str) -> Taken:
    """Runs a command, with nothing of others left to be written."""
    os.sync()
    served = ask(f"{url}/processor")
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(line, check=True, stderr=subprocess.DEVNULL)  # curl shows a bar, whatever it is told
    ended, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    found = stats(url)
    os.sync()
    return Taken(
        transfer=found["seconds"],
        whole=ended - began,
        disk=time.perf_counter() - ended,
        processor=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        server=ask(f"{url}/processor") - served,
    )


def hashing(size: int) -> float:
    """Seconds of one core that sha256 of so many bytes takes here."""
    block = bytes(1 << 19)
    digest, began = hashlib.sha256(), time.process_time()
    for _ in range(size // len(block)):
        digest.update(block)
    return time.process_time() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--megabytes", type=float, default=1900.0, help="of all scenes, about")
    parser.add_argument("--lifetime", type=float, default=3.0, help="seconds that a signed address opens")
    parser.add_argument(
        "--links", type=float, nargs="*", default=[125.0, 300.0], help="MB/s of lines; 125 is a gigabit a second"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1], help="of the faults")
    parser.add_argument("--obstore", default="", metavar="PYTHON", help="a Python that has obstore")
    parser.add_argument("--skip-faults", action="store_true")
    parser.add_argument("--skip-throughput", action="store_true")
    given = parser.parse_args()
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="eechips-scenes-") as name:
        folder = Path(name)
        scenes = make_scenes(folder, given.scenes, given.megabytes)
        for seed in () if given.skip_faults else given.seeds:
            problems += faults(folder, scenes, given.lifetime, seed)
            shutil.rmtree(folder / "out")
        if not given.skip_throughput:
            print(f"sha256 of all bytes takes {hashing(sum(scene.size for scene in scenes)):.2f} s of one core")
        for link in () if given.skip_throughput else (None, *given.links):
            ratio = throughput(folder, scenes, given.rounds, link, given.obstore)
            if ratio < _LEAST:
                line = "loopback" if link is None else f"{link:g} MB/s"
                problems.append(f"{line}: {ratio:.3f} times the throughput of others")
    for problem in problems:
        print(f"NOT SO: {problem}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
