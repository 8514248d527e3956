"""A run of twelve hours in six minutes: expiring tokens, an outage, a restricted mode, a daily quota, and a resume.

    python benchmarks/twelve_hours.py                # 270 s stand for twelve hours; the rest is start and resume
    python benchmarks/twelve_hours.py --seconds 60

Real processes and real HTTP on loopback. The durations of the server (its latency, the lifetime of tokens, the phases)
are divided by 43,200 / ``--seconds``. Those of the client are not: its delays before a repeat, and the seconds in which
it feels its way to a quota that has changed, are those of a real run, and so is the start of its processes. So two
figures are told apart, and both are judged (from ``--seconds 120`` on, as phases are too short before):

- the share of the quota that is in flight while nothing changes, at least 97%, from the end of the recovery on;
- the recovery, in real seconds, from each change until a second in which 97% are in flight. A run of twelve hours
  loses just as many seconds, not as many simulated minutes. The last column says what the phase lost in all, in
  seconds of the full quota; the line below the table says what share of a real twelve hours would be left.

The server lets 40 requests be in flight and answers more with 429. Tokens of a service account last 20 minutes. After
two hours the token endpoint fails for two minutes, in which a token is to be replaced. From five to six hours
the service announces restricted mode and lets 10 requests be in flight. After ten hours the compute of the day is used
up. ``eechips run`` then has to end with status 2 and a sentence that says until when; the next day the same command has
to fetch the rest. What does not hold is told, and the exit status is 1.
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
from collections.abc import Sequence
from dataclasses import dataclass
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
_LEAST_SHARE, _LONGEST_RECOVERY = 0.97, 20.0
_SHORT = 30  # looks at a phase that is judged from its beginning
_JUDGED_FROM = 120.0  # seconds for twelve hours from which phases are longer than what a run needs to recover
_TOKENS, _OUTAGE, _AGAIN = "tokens of 20 minutes", "token outage", "next day"
_JUDGED = (_TOKENS, _OUTAGE, "after the outage", "restricted mode", "after restricted mode", _AGAIN)
_CLIENT = Path(ee.__file__).parent / "tests"
_SPENT = (
    "Your usage exceeded the custom quota for 'earthengine.googleapis.com/daily_eecu_usage_time', which is adjustable"
    " by your administrator in the Google Cloud console."
)
_RECIPE = """
import ee
from eechips.geo.grid import Grid
from eechips.recipe import Chip


def get_requests(count=100):
    return [{"number": n} for n in range(count)]


def get_result(index, unit, format="png"):
    return Chip(ee.Image(unit["number"]), grid=Grid("EPSG:32613", (1.0, 0.0, 5e5, 0.0, -1.0, 4e6), 8, 8), format=format)
"""


class Planet:
    """The service: what it lets in, and what it has seen.

    Attributes:
        total: units of the run.
        limit: requests in flight at most.
        phase: name of the present phase.
        looks: [monotonic time, phase, seconds times requests in flight so far, and times the limit], ten a second.
        answers: for each phase, requests by status.
        served: how often each unit's pixels were sent.
    """

    def __init__(self, latency: float, lifetime: float, total: int) -> None:
        self.total = total
        self.latency, self.lifetime = latency, lifetime
        self.limit, self.phase = _QUOTA, "starting"
        self.has_header = self.is_spent = self.is_out = False
        self.lock = threading.Lock()
        self.answers: dict[str, Counter[int]] = {}
        self.served: Counter[int] = Counter()
        self.refreshes: Counter[str] = Counter()
        self.refused = 0
        self.looks: list[tuple[float, str, float, float]] = []
        self._in_flight, self._since = 0, time.monotonic()
        self._busy = self._granted = 0.0
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
        seconds, self._since = now - self._since, now
        busy = min(self._in_flight, self.limit)  # what was let in before the limit fell is no use of it
        self._busy, self._granted = self._busy + busy * seconds, self._granted + self.limit * seconds

    def look(self) -> None:
        """Notes what was used so far."""
        with self.lock:
            self._count()
            self.looks.append((self._since, self.phase, self._busy, self._granted))

    def await_replacement(self, seconds: float) -> None:
        """Waits until a token is to be replaced within so many seconds, and not at once."""
        while True:
            now = time.monotonic()
            with self.lock:
                due = [expiry - 0.25 * self.lifetime - now for expiry in self._expiries.values()]
            if any(0.2 * seconds < left < 0.8 * seconds for left in due):
                return
            time.sleep(0.005)

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
            self.phase = {"starting": _TOKENS, "starting again": _AGAIN}.get(self.phase, self.phase)
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
            if len(self.served) > self.total - _QUOTA and self.phase == _AGAIN:
                self.phase = "last units"  # fewer are left than there are slots
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
    planet = Planet(latency, max(3.0, round(hour / 3)), round(11 * hour * _QUOTA / latency / 1.05))
    count = planet.total
    server = _Server((_HOST, 0), type("Handler", (_Handler,), {"planet": planet}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://{_HOST}:{server.server_address[1]}"
    write_key(folder / "key.json", url)
    (folder / "recipe.py").write_text(_RECIPE)
    words = ["run", "recipe.py", "-p", f"count={count}", "--endpoint", url, "--project", "bench", "--out", "out"]
    words += ["--credentials", "key.json", "--send-credentials", "--executor", "processes:4"]
    environment = {**os.environ, "NO_PROXY": _HOST, "EECHIPS_CACHE": str(folder / "cache")}
    program = [sys.executable, "-m", "eechips", *words]

    def command() -> subprocess.Popen[str]:
        return subprocess.Popen(program, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)

    first = command()
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(first.stderr or ()))
    reader.start()
    with _Looks(planet):
        while not planet.served and first.poll() is None:
            time.sleep(0.02)
        for hours, phase, changes in (
            (2.0, _OUTAGE, {"is_out": True}),
            (1 / 30, "after the outage", {"is_out": False}),
            (3.0 - 1 / 30, "restricted mode", {"has_header": True, "limit": _RESTRICTED}),
            (1.0, "after restricted mode", {"has_header": False, "limit": _QUOTA}),
            (4.0, "daily quota", {"is_spent": True}),
        ):
            time.sleep(hours * hour)
            while planet.is_out and not planet.refreshes["failed"] and first.poll() is None:
                time.sleep(0.01)
            if phase == _OUTAGE:
                planet.await_replacement(hour / 30)
            planet.enter(phase, **changes)
        first.wait(60)
        reader.join()
        done = len(planet.served)
        planet.enter("starting again", is_spent=False)
        second = command()
        last = (second.communicate()[1] or "").splitlines()
        planet.enter("end")
    server.shutdown()
    phases = [Phase.of(name, planet.looks) for name in dict.fromkeys(row[1] for row in planet.looks)]
    tell(planet, phases)
    twice = sum(times > 1 for times in planet.served.values())
    print(
        f"units {count:,}; refreshes {dict(planet.refreshes)}; first command: status {first.returncode}, {done:,} done"
    )
    print(f"  {lines[-1].strip() if lines else ''}")
    print(f"second command: status {second.returncode}; pixels sent twice for {twice} units")
    problems = [
        f"{phase.name}: {phase.share:.1%} of the quota in flight, after {phase.recovery:.1f} s"
        for phase in phases
        if seconds >= _JUDGED_FROM
        and phase.name in _JUDGED
        and (phase.share < _LEAST_SHARE or phase.recovery > _LONGEST_RECOVERY)
    ]
    if not planet.refreshes["failed"]:
        problems.append("no refresh fell into the outage")
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


class _Looks(threading.Thread):
    """Looks at the service ten times a second, in a ``with`` block."""

    def __init__(self, planet: Planet) -> None:
        super().__init__(daemon=True)
        self._planet, self._done = planet, threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        while not self._done.wait(0.1):
            self._planet.look()


@dataclass(frozen=True)
class Phase:
    """What was used of the quota in a phase.

    Attributes:
        name: name of it.
        seconds: it lasted.
        recovery: real seconds until a second with 97% of the quota in flight; all of them if there was none.
        share: share of the quota that was in flight from then on.
        lost: seconds of the full quota that were not used until then.
    """

    name: str
    seconds: float
    recovery: float
    share: float
    lost: float

    @classmethod
    def of(cls, name: str, looks: Sequence[tuple[float, str, float, float]]) -> Phase:
        """The phase of a name, as it was seen."""
        rows = [(time, busy, granted) for time, phase, busy, granted in looks if phase == name]
        (begin, busy, granted), (end, last_busy, last_granted) = rows[0], rows[-1]
        is_brief = len(rows) <= _SHORT and name in _JUDGED
        recovered = 0 if is_brief else len(rows) - 1
        for index in range(len(rows) - 10 if name in _JUDGED else 0):
            (_, first, most), (_, later, more) = rows[index], rows[index + 10]
            if later - first >= _LEAST_SHARE * (more - most):
                recovered = index
                break
        since, used, allowed = rows[recovered]
        rest = last_granted - allowed
        limit = (last_granted - granted) / max(end - begin, 1e-9)
        lost = (allowed - granted - (used - busy)) / max(limit, 1e-9)
        return cls(name, end - begin, since - begin, (last_busy - used) / rest if rest else 0.0, lost)


def tell(planet: Planet, phases: Sequence[Phase]) -> None:
    """Prints a row for each phase, and what they mean for a real run."""
    print(
        f"{'phase':<24}{'seconds':>8}{'recovered':>11}{'of quota':>10}{'lost s':>8}{'answers':>8}{'429':>6}{'401':>5}"
    )
    for phase in phases:
        answers = planet.answers.get(phase.name, Counter())
        shown = f"{phase.recovery:>9.1f} s{phase.share:>10.1%}" if phase.name in _JUDGED else f"{'-':>11}{'-':>10}"
        print(
            f"{phase.name:<24}{phase.seconds:>8.1f}{shown}{phase.lost:>8.1f}{answers[200]:>8,}{answers[429]:>5}{answers[401]:>5}"
        )
    judged = [phase for phase in phases if phase.name in _JUDGED]
    steady = sum(phase.share * phase.seconds for phase in judged) / sum(phase.seconds for phase in judged)
    lost = sum(phase.lost for phase in phases if phase.name in (*_JUDGED, "starting", "starting again"))
    print(
        f"{steady:.1%} of the quota in flight while nothing changes; starts and recoveries took {lost:.0f} s of the"
        f" full quota: {steady * (1 - lost / 43_200):.1%} of a real run of twelve hours"
    )


def main() -> int:
    """Measures; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=270.0, help="that stand for twelve hours")
    with tempfile.TemporaryDirectory() as folder:
        problems = measure(parser.parse_args().seconds, Path(folder))
    for problem in problems:
        print(f"DOES NOT HOLD: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
