"""Catalogues of open archives that lie: refused, told in a sentence, nothing sent elsewhere, within bounded memory."""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from affine import Affine
from pyproj import Transformer

from local_tests.archives.archive_host import ArchiveHost, listening_host
from local_tests.archives.real_items import ItemMaker, Raster, SentinelProduct, sentinel_item
from local_tests.support.command_server import serving_command
from local_tests.support.local_earth_engine import initialize
from local_tests.support.loopback import QuietServer, serving
from local_tests.support.process_tree import descendants
from tests.support.programs import run_program

pytestmark = pytest.mark.slow

S2 = "COPERNICUS/S2_SR_HARMONIZED"
SECRET = "sig=hush"
SIDE, METRES, LEFT, TOP, CRS = 256, 10.0, 400_000.0, 4_900_000.0, "EPSG:32631"
MOST_MEMORY = 2 << 30  # bytes of all processes of a server of two workers

HREFS = {
    "loopback": ("http://127.0.0.1:{other}/a.tif", "is none of its hosts"),
    "localhost": ("http://localhost:{other}/a.tif", "is none of its hosts"),
    "number": ("http://2130706433:{other}/a.tif", "is none of its hosts"),
    "user": ("http://127.0.0.1:{own}@127.0.0.1:{other}/a.tif", "with the name of a user"),
    "metadata": ("http://169.254.169.254/latest/meta-data/iam", "is none of its hosts"),
    "named": ("http://localhost/a.tif", "is at 127.0.0.1, in a private network|is at ::1, in a private network"),
    "file": ("file:///etc/passwd", "only http(s) addresses"),
    "path": ("/etc/passwd", "HTTP 404"),
    "elsewhere": ("https://evil.example/a.tif", "is none of its hosts"),
    "to-loopback": ("http://127.0.0.1:{own}/files/to-loopback.tif", "is none of its hosts"),
    "to-metadata": ("http://127.0.0.1:{own}/files/to-metadata.tif", "is none of its hosts"),
    "to-file": ("http://127.0.0.1:{own}/files/to-file.tif", "only http(s) addresses"),
    "gigabytes": ("http://127.0.0.1:{own}/files/gigabytes.tif", "its header takes more than 32 MB"),
    "claims": ("http://127.0.0.1:{own}/files/claims.tif", "its header refers to bytes behind its end"),
    "missing": ("http://127.0.0.1:{own}/files/missing.tif", "HTTP 404"),
}
"""Addresses of files by cases, and what is told of them."""


@dataclass
class Elsewhere:
    """A server that must not be asked."""

    port: int = 0
    requests: list[str] = field(default_factory=list)


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    found = Elsewhere()

    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            found.requests.append("a connection")

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        found.port = int(server.server_address[1])
        with serving(server):
            yield found


def claiming(side: int, tile: int, data: bytes = b"", left: float = LEFT) -> bytes:
    """Return a TIFF file of one band that claims to have some pixels; all of its tiles are the same data."""
    across = -(-side // tile)
    count = min(across * across, 2**32 - 1)
    places = 300 + len(data)
    keys = struct.pack("<16H", 1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32631)
    inline = count == 1
    tags = [
        (256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 16), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1),
        (322, 4, 1, tile), (323, 4, 1, tile), (324, 4, count, 300 if inline else places),
        (325, 4, count, len(data) if inline else places),
        (33550, 12, 3, places), (33922, 12, 6, places + 24), (34735, 3, 16, places + 72),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    front = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)
    tail = struct.pack("<9d", METRES, METRES, 0.0, 0.0, 0.0, 0.0, left, TOP, 0.0) + keys
    return front.ljust(300, b"\0") + data + tail + bytes(70_000)


def inflating(gigabytes: int) -> bytes:
    """Return a tile that inflates to much more than its pixels."""
    press = zlib.compressobj(9)
    zeros = bytes(16 << 20)
    return b"".join([*(press.compress(zeros) for _ in range(64 * gigabytes)), press.flush()])


@dataclass(frozen=True, slots=True)
class HostileArchive:
    """An archive with a scene for each case, the server that must not be asked, and the folder of everything."""

    host: ArchiveHost
    other: Elsewhere
    toml: Path
    folder: Path
    cases: tuple[str, ...]

    def centre(self, case: str) -> tuple[float, float]:
        """Return the middle of a case's scene in degrees."""
        to_degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
        column = self.cases.index(case) + 0.5
        longitude, latitude = to_degrees.transform(LEFT + column * SIDE * METRES, TOP - SIDE * METRES / 2)
        return float(longitude), float(latitude)

    def environment(self, name: str) -> dict[str, str]:
        return {**os.environ, "XDG_CACHE_HOME": str(self.folder / f"cache-{name}")}


def make_items(host: ArchiveHost, hrefs: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield an item for each case, beside each other."""
    maker = ItemMaker("planetary-computer", host.folder, f"{host.url}/files")
    host.folder.mkdir(parents=True, exist_ok=True)
    for number, (case, href) in enumerate(hrefs.items()):
        corner = Affine(METRES, 0, LEFT + number * SIDE * METRES, 0, -METRES, TOP)
        tile = f"31T{chr(65 + number)}{chr(65 + number)}"
        product = SentinelProduct(
            "S2B", "20230713T104629", "20230713T104859", "20230713T105001", "20230713T131712", "05.09", 51, tile
        )
        values = np.full((1, SIDE, SIDE), 2000 + number, "uint16")
        band = Raster(values, CRS, corner)
        item = sentinel_item(maker, product, {"B02": band, "B04": band, "B05": band.every(2)})
        if href:
            item["assets"]["B04"]["href"] = f"{href}?{SECRET}"
        if case == "parents":
            item["id"] = "../../../../" + item["id"]
        yield item


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileArchive]:
    folder = tmp_path_factory.mktemp("hostile")
    with listening_host(folder / "files") as (host, _), elsewhere() as other:
        own = host.url.rpartition(":")[2]
        bomb = f"{host.url}/files/bomb.tif"
        hrefs = {case: href.format(own=own, other=other.port) for case, (href, _) in HREFS.items()}
        hrefs |= {"good": "", "parents": "", "bomb": bomb}
        host.items = tuple(make_items(host, hrefs))
        host.redirects = {
            "to-loopback.tif": f"http://127.0.0.1:{other.port}/a.tif?{SECRET}",
            "to-metadata.tif": f"http://169.254.169.254/latest/meta-data/?{SECRET}",
            "to-file.tif": "file:///etc/passwd",
        }
        (host.folder / "gigabytes.tif").write_bytes(claiming(1 << 19, 16))  # the places of its tiles take 8 GB
        os.truncate(host.folder / "gigabytes.tif", 10 << 30)
        (host.folder / "claims.tif").write_bytes(claiming(1 << 30, 256))
        corner = LEFT + list(hrefs).index("bomb") * SIDE * METRES
        (host.folder / "bomb.tif").write_bytes(claiming(SIDE, SIDE, inflating(2), corner))
        toml = host.description(folder / "hostile.toml", "planetary-computer")
        text = toml.read_text().replace('hosts = ["', 'hosts = ["localhost", "')
        toml.write_text(text)
        yield HostileArchive(host, other, toml, folder, tuple(hrefs))
        assert other.requests == []


def is_told(message: str, told: str) -> bool:
    return any(each in message for each in told.split("|"))


@pytest.mark.exhaustive
def test_a_run_tells_of_each_file_why_it_is_refused(hostile: HostileArchive) -> None:
    points = hostile.folder / "points.csv"
    rows = [
        f"{case},{longitude},{latitude}" for case in hostile.cases for longitude, latitude in [hostile.centre(case)]
    ]
    points.write_text("\n".join(["case,longitude,latitude", *rows, ""]))
    out = hostile.folder / "run"
    words = [
        sys.executable, "-m", "eechips", "sample", "--dataset", "S2", "--points", str(points), "--start", "2023-07-01",
        "--end", "2023-08-01", "--bands", "B4", "--size", "32", "--format", "tif", "--archive", str(hostile.toml),
        "--out", str(out), "--name", "{case}", "--executor", "processes:1", "--quiet",
    ]  # fmt: skip
    ended = run_program(*words, status=1, env=hostile.environment("run"), timeout=300)
    units = pd.read_parquet(out / "manifest.parquet")
    assert len(units) == len(hostile.cases)
    for unit in units.itertuples():
        case = str(unit.case)
        if case in HREFS:
            assert unit.state == "failed_permanent", case
            assert is_told(str(unit.error), HREFS[case][1]), f"{case}: {unit.error}"
        elif case == "bomb":  # its tile is cut to its pixels, or refused
            assert unit.state == "empty" or "bomb.tif" in str(unit.error), unit.error
        else:
            assert unit.state == "done", f"{case}: {unit.error}"
    for path in (*out.rglob("*"), *(hostile.folder / "cache-run").rglob("*")):
        if path.is_file() and path.suffix != ".tif" and "searches" not in path.parts:
            assert SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in ended.stdout + ended.stderr
    assert not list(hostile.folder.parent.glob("*S2B*"))
    assert hostile.other.requests == []


def page(*items: Any, links: tuple[Any, ...] = ()) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": items, "links": links}).encode()


def odd_items(good: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield items with numbers and ids that no image can have."""
    for number in (float("nan"), float("inf"), -float("inf"), 1e308):
        yield {**good, "id": f"box{number}", "bbox": [number] * 4, "geometry": None}
        yield {**good, "id": f"cloud{number}", "properties": {**good["properties"], "eo:cloud_cover": number}}
        assets = {"B04": {**good["assets"]["B04"], "proj:transform": [number] * 6}}
        yield {**good, "id": f"grid{number}", "assets": assets}
    for uri in ("../../../../etc/passwd", "S2B_MSIL2A_../../x_N0509_R051_T31TAA_x.SAFE", "\0", "S" * 100_000):
        yield {**good, "id": uri, "properties": {**good["properties"], "s2:product_uri": uri, "s2:datastrip_id": uri}}


def resident(pids: Iterable[int]) -> int:
    """Return the bytes of memory of processes."""
    found = 0
    for pid in pids:
        try:
            found += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
    return found


@pytest.mark.exhaustive
def test_a_server_refuses_pages_and_files_within_bounded_memory(
    hostile: HostileArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ee

    monkeypatch.setenv("XDG_CACHE_HOME", str(hostile.folder / "cache-served"))
    host, good = hostile.host, hostile.host.items[hostile.cases.index("good")]
    circle = {"rel": "next", "method": "POST", "href": f"{host.api}/search", "body": {"datetime": "2001-01-05/.."}}
    away = {"rel": "next", "href": f"http://127.0.0.1:{hostile.other.port}/search"}
    cases = {
        "2001-01-01": (b'{"features": [' + b'{"id":"a"},' * 1_000_000 + b'{"id":"b"}]}', "more than 1,000,000 objects"),
        "2001-01-02": (b'{"features": [' + b"[" * 400_000 + b"]" * 400_000 + b"]}", "nested too deeply"),
        "2001-01-03": (page(good, links=(away,)), "is none of its hosts"),
        "2001-01-04": (b'{"features": ["' + b"a" * (40 << 20) + b'"]}', "bytes"),
        "2001-01-05": (page(good, links=(circle,)), "without end"),
        "2001-01-06": (page({**good, "assets": dict.fromkeys(map(str, range(100_000)))}), "has 100,000 assets"),
    }
    host.pages = {day: content for day, (content, _) in cases.items()} | {"2001-01-07": page(*odd_items(good))}
    options = ("--archive", str(hostile.toml), "--workers", "2", "--rate", "none", "--concurrency", "none")
    others = set(descendants(os.getpid()))
    with serving_command("serve", *options) as server:
        initialize(server)
        peak = 0
        scenes = ee.ImageCollection(S2).filterBounds(ee.Geometry.Point(hostile.centre("good")))
        for day, (_, told) in cases.items():
            before = len(host.searches)
            dated = scenes.filterDate(ee.Date(day).advance(1, "day"), ee.Date(day).advance(2, "day"))
            with pytest.raises(ee.EEException, match=told) as caught:
                dated.size().getInfo()
            assert len(host.searches) - before <= 3, day
            assert "Traceback" not in str(caught.value)
            peak = max(peak, resident(set(descendants(os.getpid())) - others))
        assert scenes.filterDate("2001-01-08", "2001-01-09").size().getInfo() <= 1
        for case in HREFS:
            grid = {"dimensions": {"width": 8, "height": 8}}
            found = ee.ImageCollection(S2).filterBounds(ee.Geometry.Point(hostile.centre(case)))
            image = found.filterDate("2023-07-01", "2023-08-01").mosaic().select("B4")
            longitude, latitude = hostile.centre(case)
            affine = {"scaleX": 1e-4, "scaleY": -1e-4, "translateX": longitude, "translateY": latitude}
            grid |= {"affineTransform": affine, "crsCode": "EPSG:4326"}
            with pytest.raises(ee.EEException) as caught:
                ee.data.computePixels({"expression": image, "fileFormat": "NPY", "grid": grid})
            assert is_told(str(caught.value), HREFS[case][1]), f"{case}: {caught.value}"
            assert SECRET not in str(caught.value)
            peak = max(peak, resident(set(descendants(os.getpid())) - others))
    assert peak < MOST_MEMORY
    assert hostile.other.requests == []
