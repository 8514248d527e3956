"""A run of twelve hours in six minutes: expiring tokens, an outage, a restricted mode, a daily quota, and a resume.

    python benchmarks/twelve_hours.py                # 360 s stand for twelve hours
    python benchmarks/twelve_hours.py --seconds 60

Real processes and real HTTP on loopback, with time scaled: the durations of the server (its latency, the lifetime of
tokens, the phases) are divided by 43,200 / ``--seconds``. Those of the client (delays before a repeat, the time between
two tries to refresh) are not: relative to the rest they are longer than in a real run.

The server lets 40 requests be in flight and answers more with 429. Tokens of a service account last 20 minutes. After
two hours the token endpoint fails for two minutes. From five to six hours the service announces restricted mode and
lets 10 requests be in flight. After ten hours the compute of the day is used up. ``eechips run`` then has to end with
status 2 and a sentence that says until when; the next day the same command has to fetch the rest. What does not hold is
told, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import ee
import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from PIL import Image

_HOURS = 12.0
_HOST = "127.0.0.2"  # another address of this machine: to 127.0.0.1 no credentials are sent
_QUOTA, _RESTRICTED = 40, 10
_CLIENT = Path(ee.__file__).parent / "tests"
_SPENT = (
    "Your usage exceeded the custom quota for 'earthengine.googleapis.com/daily_eecu_usage_time', which is adjustable"
    " by your administrator in the Google Cloud console."
)
_RECIPE = """
import ee
from eechips.grid import Grid
from eechips.recipe import Chip


def get_requests(count=100):
    return [{"number": n} for n in range(count)]


def get_result(index, unit, format="png"):
    return Chip(ee.Image(unit["number"]), grid=Grid("EPSG:32613", (1.0, 0.0, 5e5, 0.0, -1.0, 4e6), 8, 8), format=format)
"""


class Planet:
    """The service: what it lets in, and what it has seen.

    Attributes:
        limit: requests in flight at most.
        phase: name of the present phase.
        used: for each phase, seconds times requests in flight, seconds times the limit, and seconds.
        answers: for each phase, requests by status.
        served: how often each unit's pixels were sent.
    """

    def __init__(self, latency: float, lifetime: float) -> None:
        self.latency, self.lifetime = latency, lifetime
        self.limit, self.phase = _QUOTA, "start"
        self.has_header = self.is_spent = self.is_out = False
        self.lock = threading.Lock()
        self.used: dict[str, list[float]] = {}
        self.answers: dict[str, Counter[int]] = {}
        self.served: Counter[int] = Counter()
        self.refreshes: Counter[str] = Counter()
        self.refused = 0
        self._in_flight, self._since = 0, time.monotonic()
        self._expiries: dict[str, float] = {}
        self._random = random.Random(1)
        buffer = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), 90, dtype="uint8")).save(buffer, "PNG")
        self.picture = buffer.getvalue()

    def enter(self, phase: str, **changes: Any) -> None:
        """Begins a phase."""
        with self.lock:
            self._count()
            self.phase = phase
            for name, value in changes.items():
                setattr(self, name, value)

    def _count(self) -> None:
        now = time.monotonic()
        used = self.used.setdefault(self.phase, [0.0, 0.0, 0.0])
        seconds, self._since = now - self._since, now
        for index, value in enumerate((self._in_flight, self.limit, 1)):
            used[index] += value * seconds

    def token(self) -> tuple[int, bytes]:
        """The answer of the token endpoint."""
        with self.lock:
            self.refreshes["failed" if self.is_out else "done"] += 1
            if self.is_out:
                return 503, b'{"error": "temporarily_unavailable"}'
            name = f"ya29.{len(self._expiries)}"
            self._expiries[name] = time.monotonic() + self.lifetime
        return 200, json.dumps(
            {"access_token": name, "expires_in": int(self.lifetime), "token_type": "Bearer"}
        ).encode()

    def pixels(self, token: str, number: int) -> tuple[int, bytes]:
        """The answer to a request for pixels, after a while."""
        with self.lock:
            self._count()
            status = 200
            if self._expiries.get(token, 0.0) < time.monotonic():
                status, self.refused = 401, self.refused + 1
            elif self.is_spent or self._in_flight >= self.limit:
                status = 429
            answers = self.answers.setdefault(self.phase, Counter())
            answers[status] += 1
            message = _SPENT if self.is_spent else "Too Many Requests: the concurrency limit was exceeded."
            if status != 200:
                return status, json.dumps({"error": {"code": status, "message": message}}).encode()
            self._in_flight += 1
            seconds = self.latency * self._random.lognormvariate(0.0, 0.3)
        time.sleep(seconds)
        with self.lock:
            self._count()
            self._in_flight -= 1
            self.served[number] += 1
        return 200, self.picture


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    planet: Planet

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if path == "/token":
            status, content = self.planet.token()
        elif path.endswith("/$discovery/rest"):
            status, content = 200, (_CLIENT / "cloud_api_discovery_document.json").read_bytes()
        elif path.endswith("/algorithms"):
            status, content = 200, (_CLIENT / "algorithms.json").read_bytes()
        else:
            found = re.search(rb'"functionName": ?"Image.constant".{0,80}?"constantValue": ?(\d+)', body)
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, content = self.planet.pixels(token, int(found[1]) if found else -1)
        self.send_response(status)
        self.send_header("Content-Type", "image/png" if content == self.planet.picture else "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.planet.has_header:
            self.send_header("x-earth-engine-quota-status", "parallelism_restricted=true")
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815 - a name of http.server

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Says nothing: clients end."""


def write_key(path: Path, url: str) -> None:
    """A service account's key whose token endpoint is the server's."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    content = {
        "type": "service_account",
        "client_email": "bench@example.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "token_uri": f"{url}/token",
    }
    path.write_text(json.dumps(content))


def measure(seconds: float, folder: Path) -> list[str]:
    """Does it all; prints a table and returns what does not hold."""
    hour = seconds / _HOURS
    latency = min(0.8, seconds / 100)
    planet = Planet(latency, max(3.0, hour / 3))
    count = round(11 * hour * _QUOTA / latency / 1.05)
    server = _Server((_HOST, 0), type("Handler", (_Handler,), {"planet": planet}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://{_HOST}:{server.server_address[1]}"
    write_key(folder / "key.json", url)
    (folder / "recipe.py").write_text(_RECIPE)
    words = ["run", "recipe.py", "-p", f"count={count}", "--endpoint", url, "--project", "bench", "--out", "out"]
    words += ["--credentials", "key.json", "--send-credentials", "--processes", "4"]
    environment = {**os.environ, "NO_PROXY": _HOST, "EECHIPS_CACHE": str(folder / "cache")}
    program = [sys.executable, "-m", "eechips", *words]

    def command() -> subprocess.Popen[str]:
        return subprocess.Popen(program, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)

    first = command()
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(first.stderr or ()))
    reader.start()
    while not planet.served and first.poll() is None:
        time.sleep(0.02)
    for hours, phase, changes in (
        (0.3, "tokens of 20 minutes", {}),
        (1.7, "token outage", {"is_out": True}),
        (1 / 30, "after the outage", {"is_out": False}),
        (3.0 - 1 / 30, "restricted mode", {"has_header": True, "limit": _RESTRICTED}),
        (1.0, "after restricted mode", {"has_header": False, "limit": _QUOTA}),
        (4.0, "daily quota", {"is_spent": True}),
    ):
        time.sleep(hours * hour)
        planet.enter(phase, **changes)
    first.wait(60)
    reader.join()
    done = len(planet.served)
    planet.enter("next day", is_spent=False)
    second = command()
    last = (second.communicate()[1] or "").splitlines()
    planet.enter("end")
    server.shutdown()
    print(f"{'phase':<24}{'seconds':>8}{'in flight':>11}{'of limit':>10}{'answers':>10}{'429':>6}{'401':>6}")
    for phase, (held, most, lasted) in planet.used.items():
        answers = planet.answers.get(phase, Counter())
        if phase != "end":
            print(
                f"{phase:<24}{lasted:>8.1f}{held / max(lasted, 1e-9):>11.1f}{held / max(most, 1e-9):>10.1%}"
                f"{answers[200]:>10,}{answers[429]:>6}{answers[401]:>6}"
            )
    twice = sum(times > 1 for times in planet.served.values())
    print(
        f"units {count:,}; refreshes {dict(planet.refreshes)}; first command: status {first.returncode}, {done:,} done"
    )
    print(f"  {lines[-1].strip() if lines else ''}")
    print(f"second command: status {second.returncode}; pixels sent twice for {twice} units")
    problems = []
    if first.returncode != 2 or not any("compute of the day is used up" in line for line in lines):
        problems.append(f"the first command ended with status {first.returncode}: {''.join(lines[-3:])}")
    if any("Traceback" in line for line in (*lines, *last)):
        problems.append("a traceback")
    if second.returncode != 0:
        problems.append(f"the second command ended with status {second.returncode}: {last[-3:]}")
    if set(planet.served) != set(range(count)) or len(list((folder / "out").rglob("*.png"))) != count:
        problems.append(f"{count - len(planet.served)} units lost")
    if twice:
        problems.append(f"{twice} units were fetched twice")
    return problems


def main() -> int:
    """Measures; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=360.0, help="that stand for twelve hours")
    with tempfile.TemporaryDirectory() as folder:
        problems = measure(parser.parse_args().seconds, Path(folder))
    for problem in problems:
        print(f"DOES NOT HOLD: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
