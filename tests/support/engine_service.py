"""A small real HTTP service that speaks enough of Earth Engine's protocol to test the client and the engine.

It reads what it needs from the expression graph: a constant (``ee.Image(7)``), and the size. Each constant has
its own picture. Faults are planned per constant, or for any request, and every request is remembered.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import secrets
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import ee
import numpy as np
import rasterio
from rasterio.io import MemoryFile

from eechips_local.protocol.routes.discovery_document import described
from local_tests.support.loopback import QuietServer

_CLIENT = Path(ee.__file__).parent / "tests"
DISCOVERY = json.dumps(described("https://earthengine.googleapis.com/")).encode()
_LEFT_OUT = (
    "AggregateFeatureCollection", "Array", "Classifier", "Clusterer", "ConfusionMatrix", "Kernel", "Landsat",
    "TemporalSegmentation", "Terrain",
)  # fmt: skip
TOO_MANY = "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded."


def _list_functions() -> bytes:
    """Return the list of functions that the client reads when it is initialised.

    It has what these tests compute with, without descriptions: the client takes most of the time of a small run to read
    all of the service's. Local Earth Engines serve a whole list.
    """
    functions = json.loads((_CLIENT / "algorithms.json").read_bytes())["algorithms"]
    kept = []
    for function in functions:
        if function["name"].removeprefix("algorithms/").partition(".")[0] not in _LEFT_OUT:
            arguments = [{**argument, "description": ""} for argument in function.get("arguments", [])]
            kept.append({**function, "description": "", "arguments": arguments})
    return json.dumps({"algorithms": kept}).encode()


ALGORITHMS = _list_functions()


def _value(asked: dict[str, Any]) -> Any:
    """Return the value of a request: 42, or a list of a constant and 42."""
    expression = asked.get("expression", {"values": {"": {}}, "result": ""})
    listed = expression["values"][expression["result"]].get("arrayValue", {}).get("values", [])
    return [listed[0]["constantValue"], 42] if len(listed) == 2 else 42


class Service:
    """The requests, responses and planned faults of the service; ``url`` is its address."""

    def __init__(self) -> None:
        self.url = ""
        self.lock = threading.Lock()
        self.requests: list[tuple[str, str]] = []
        self.moments: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.connections: set[int] = set()
        self.names: dict[str, dict[str, Any]] = {}
        self.faults: dict[int | None, deque[str]] = defaultdict(deque)
        self.in_flight = 0
        self.most_in_flight = 0
        self.latency = 0.0
        self.crowd = 0  # pixels are held back until so many requests have been in flight
        self.together = threading.Event()
        self.rows_per_page: int | None = None
        self.refusals: deque[tuple[int, bytes]] = deque()  # status and body for the next requests that begin a unit
        self.outage: tuple[int, bytes] | None = None  # of all of them, as long as it stands there

    def plan(self, key: int | None, *faults: str) -> None:
        """Plans faults for the next pixel (or table) requests of a constant; None for the creating POSTs."""
        self.faults[key].extend(faults)

    def count(self, kind: str) -> int:
        """Requests of a kind: discovery, algorithms, create, pixels, compute, features, value."""
        with self.lock:
            return sum(1 for found, _ in self.requests if found == kind)

    @property
    def kinds(self) -> Counter[str]:
        with self.lock:
            return Counter(kind for kind, _ in self.requests)

    def forget(self) -> None:
        """Forgets which requests were made."""
        with self.lock:
            self.requests.clear()
            self.moments.clear()

    @property
    def secrets(self) -> list[str]:
        """The secret part of every thumbnail name that was given out."""
        return [name.rsplit("/", 1)[1] for name in self.names]


def constant_of(body: dict[str, Any]) -> int:
    """The first number in an expression that is an image's constant."""
    found = re.search(r'"functionName": "Image.constant".{0,80}?"constantValue": (\d+)', json.dumps(body))
    return int(found.group(1)) if found else 0


def set_properties(body: dict[str, Any]) -> dict[str, str]:
    """The constant texts that an expression sets as properties of features."""
    calls = [value.get("functionInvocationValue", {}) for value in body["expression"]["values"].values()]
    sets = [call["arguments"] for call in calls if call.get("functionName") == "Element.set"]
    return {
        call["key"]["constantValue"]: call["value"]["constantValue"]
        for call in sets
        if "constantValue" in call["value"]
    }


def picture(constant: int, width: int, height: int) -> Any:
    """The pixels of a constant's picture: uint8, (3, height, width), smooth, different for every constant."""
    rows, columns = np.mgrid[0:height, 0:width]
    bands = [(rows * (1 + constant % 5) + columns * (2 + b) + constant * 13 + b * 40) % 256 for b in range(3)]
    return np.stack(bands).astype("uint8")


def encode(
    file_format: str,
    constant: int,
    width: int,
    height: int,
    grid: dict[str, Any] | None,
    mask_band: str = "eechips_mask",
) -> bytes:
    """A constant's picture as a file, the mask (all valid but the first row of every seventh constant) included."""
    pixels = picture(constant, width, height)
    mask = np.ones((height, width), dtype="uint8")
    if constant % 7 == 0:
        mask[0] = 0
    if constant == 999:
        mask[:] = 0
    pixels = pixels * mask
    if file_format == "NPY":
        array = np.zeros((height, width), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1"), (mask_band, "u1")])
        for name, band in zip("RGB", pixels, strict=True):
            array[name] = band
        array[mask_band] = mask
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()
    # Without a transform rasterio warns, also where the format has none.
    options: dict[str, Any] = {"transform": rasterio.Affine(1, 0, 5e5, 0, -1, 4e6)}
    bands = pixels
    if file_format == "GEO_TIFF":
        bands = np.concatenate([pixels, mask[None]])
        affine = (grid or {}).get("affineTransform", {})
        transform = rasterio.Affine(
            *(
                affine.get(k, d)
                for k, d in zip(
                    ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY"),
                    (1, 0, 5e5, 0, -1, 4e6),
                    strict=True,
                )
            )
        )
        options = {"crs": (grid or {}).get("crsCode", "EPSG:32613"), "transform": transform}
    elif file_format == "PNG" and not mask.all():
        bands = np.concatenate([pixels, mask[None] * 255])
    driver = {"PNG": "PNG", "JPEG": "JPEG", "GEO_TIFF": "GTiff"}[file_format]
    with MemoryFile() as memory:
        with memory.open(
            driver=driver, width=width, height=height, count=len(bands), dtype="uint8", **options
        ) as target:
            target.write(bands)
            if file_format == "GEO_TIFF":
                target.descriptions = ("R", "G", "B", mask_band)
        return bytes(memory.read())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes) -> None:
        if self.path.startswith("/_"):  # a control of a local Earth Engine, which this is not
            self._send(404, {}, b"{}", None)
            return
        service = self.service
        kind, key = self._classify(body)
        with service.lock:
            service.requests.append((kind, self.path))
            service.moments.append(time.monotonic())
            service.headers.append({k.lower(): v for k, v in self.headers.items()})
            service.connections.add(self.client_address[1])
            service.in_flight += 1
            service.most_in_flight = max(service.most_in_flight, service.in_flight)
            queue = service.faults.get(None if kind in ("create", "value") else key)
            fault = queue.popleft() if queue and kind not in ("discovery", "algorithms") else None
            if service.most_in_flight >= service.crowd:
                service.together.set()
        try:
            if service.crowd and kind in ("pixels", "compute"):
                service.together.wait(60)
            if service.latency and kind in ("create", "pixels", "compute", "features", "value"):
                time.sleep(service.latency)
            status, headers, content = self._refusal(kind) or self._content(kind, body)
        finally:
            with service.lock:
                service.in_flight -= 1
        self._send(status, headers, content, fault)

    def _refusal(self, kind: str) -> tuple[int, dict[str, str], bytes] | None:
        service = self.service
        if kind not in ("create", "compute"):
            return None
        with service.lock:
            found = service.refusals.popleft() if service.refusals else service.outage
        return None if found is None else (found[0], {"Content-Type": "application/json"}, found[1])

    def _classify(self, body: bytes) -> tuple[str, int | None]:
        path = self.path.split("?")[0]
        if path.startswith("/elsewhere"):
            return "unknown", None
        if path.endswith("$discovery/rest"):
            return "discovery", None
        if path.endswith("/algorithms"):
            return "algorithms", None
        if path.endswith("/thumbnails"):
            return "create", None
        if path.endswith(":getPixels"):
            asked = self.service.names.get(path.removesuffix(":getPixels").split("/", 2)[2])
            return "pixels", constant_of(asked) if asked else None
        if path.endswith("image:computePixels"):
            return "compute", constant_of(json.loads(body))
        if path.endswith("table:computeFeatures"):
            return "features", constant_of(json.loads(body))
        if path.endswith("value:compute"):
            return "value", None
        return "unknown", None

    def _content(self, kind: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        service = self.service
        if kind == "discovery":
            return 200, {"Content-Type": "application/json"}, DISCOVERY
        if kind == "algorithms":
            return 200, {"Content-Type": "application/json"}, ALGORITHMS
        if kind == "create":
            project = self.path.split("/")[3]
            name = f"projects/{project}/thumbnails/{secrets.token_hex(8)}-{secrets.token_hex(8)}"
            service.names[name] = json.loads(body)
            return 200, {"Content-Type": "application/json"}, json.dumps({"name": name}).encode()
        if kind == "pixels":
            name = self.path.split("?")[0].removesuffix(":getPixels").split("/", 2)[2]
            if name not in service.names:
                return 404, {}, b'{"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}}'
            return self._pixels(service.names[name])
        if kind == "compute":
            return self._pixels(json.loads(body))
        if kind == "features":
            return self._features(json.loads(body))
        if kind == "value":
            return 200, {"Content-Type": "application/json"}, json.dumps({"result": _value(json.loads(body))}).encode()
        return 404, {}, b'{"error": {"code": 404, "message": "no such method", "status": "NOT_FOUND"}}'

    def _pixels(self, asked: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        text = json.dumps(asked)
        grid = asked.get("grid")
        if grid:
            width, height = grid["dimensions"]["width"], grid["dimensions"]["height"]
        else:
            sizes = [re.search(rf'"{n}": {{"constantValue": (\d+)', text) for n in ("width", "height")]
            rectangle = re.search(r'"constantValue": \[0, 0, (\d+), (\d+)\]', text)
            rectangle = rectangle or re.search(r"\[\[\[0, 0\].*?\[(\d+), (\d+)\]", text)
            numbers = rectangle.groups() if rectangle else [s.group(1) if s else "64" for s in sizes]
            width, height = int(numbers[0]), int(numbers[1])
        mask_band = re.search(r"eechips_mask\w*", text)
        content = encode(
            asked["fileFormat"], constant_of(asked), width, height, grid, mask_band[0] if mask_band else "mask"
        )
        return 200, {"Content-Type": "application/octet-stream"}, content

    def _features(self, asked: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        constant, texts = constant_of(asked), set_properties(asked)
        size = self.service.rows_per_page or asked.get("pageSize", 1000)
        first = int(asked.get("pageToken", 0))
        rows = range(first, min(first + size, 2500))
        features = [
            {
                "type": "Feature",
                "id": str(row),
                "geometry": None,
                "properties": {"row": row, "value": row * 0.5 if row % 3 else None, "constant": constant, **texts},
            }
            for row in rows
        ]
        page: dict[str, Any] = {"type": "FeatureCollection", "features": features}
        if rows.stop < 2500:
            page["nextPageToken"] = str(rows.stop)
        return 200, {"Content-Type": "application/json"}, json.dumps(page).encode()

    def _send(self, status: int, headers: dict[str, str], content: bytes, fault: str | None) -> None:
        sent = len(content)
        if fault and fault.isdigit():
            status, headers = int(fault), {}
            messages = {"429": TOO_MANY, "400": "Image.load: Image asset 'x' not found.", "503": "Unavailable."}
            messages["404"] = "Not found: the name does not exist or has expired."
            messages["403"] = "Project nobody is not registered to use Earth Engine. Visit https://example.org"
            content = json.dumps({"error": {"code": status, "message": messages.get(fault, "Oh.")}}).encode()
            sent = len(content)
        elif fault and fault.startswith("daily-"):
            status, headers = int(fault.removeprefix("daily-")), {}
            message = "Your usage exceeded the custom quota for 'earthengine.googleapis.com/daily_eecu_usage_time'."
            content = json.dumps({"error": {"code": status, "message": message}}).encode()
            sent = len(content)
        elif fault and fault.startswith("wait-"):  # for so many seconds
            status, headers = 429, {"Retry-After": fault.removeprefix("wait-")}
            content = json.dumps({"error": {"code": 429, "message": TOO_MANY}}).encode()
            sent = len(content)
        elif fault == "retry-after":
            status, headers, content = 429, {"Retry-After": "1"}, b'{"error": {"message": "Too Many Requests"}}'
            sent = len(content)
        elif fault == "memory":
            status, content = 400, b'{"error": {"message": "User memory limit exceeded."}}'
            sent = len(content)
        elif fault == "html":
            content = b"<html><body>Please log in to the network</body></html>"
            sent = len(content)
        elif fault == "gzip":
            content = gzip.compress(content)
            headers = {**headers, "Content-Encoding": "gzip"}
            sent = len(content)
        elif fault == "gzip-short":
            content = gzip.compress(content)[:-20]
            headers = {**headers, "Content-Encoding": "gzip"}
            sent = len(content)
        elif fault == "gzip-bomb":
            content = gzip.compress(bytes((1 << 20) + 1))
            headers = {**headers, "Content-Encoding": "gzip"}
            sent = len(content)
        elif fault and fault.startswith("number-"):  # instead of the value of the third row
            content = content.replace(b'"value": 1.0,', f'"value": {fault.removeprefix("number-")},'.encode(), 1)
            sent = len(content)
        elif fault == "short":  # a shorter body, honestly announced
            content = content[: len(content) // 2]
            sent = len(content)
        elif fault == "truncate":
            sent = len(content) // 2
        elif fault == "reset":
            self.connection.close()
            self.close_connection = True
            return
        elif fault == "small":
            content = encode("PNG", 1, 32, 32, None)
            sent = len(content)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:sent])
        if sent != len(content):
            self.wfile.flush()
            self.close_connection = True


@contextmanager
def serving() -> Iterator[Service]:
    """Serves on loopback for the duration of the block."""
    service = Service()
    handler = type("Handler", (_Handler,), {"service": service})
    server = QuietServer(("127.0.0.1", 0), handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
