"""Clients of the local Earth Engine, heavy and light at once, some of which leave: how long do the light ones wait?

    python benchmarks/mixed_clients.py --clients 25 --seconds 30

Each client is a process with Google's client. Light ones ask for ``Number(1).add(1)`` and for the bands of an image by
turns. Heavy ones ask for the mean of the median of a month of Sentinel-2 over a square degree, for a minute at most.
Leaving ones ask the same, and close the connection after a second. One second after the last client left, the requests
in flight and the busy processes of the server are counted. Heavy requests that took longer count as left. The load of
the machine is printed with the figures: repeat them on a quiet one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

import ee
import numpy as np
import requests
from google.auth.credentials import AnonymousCredentials
from harness import Server, serving
from processes import cpu_of, descendants

S2 = "COPERNICUS/S2_SR_HARMONIZED"
STARTING = 15.0  # seconds until all clients are loaded
BUSY = 0.1  # seconds of processor time in a second


def heavy() -> Any:
    """Return the mean of the median of a month over a square degree."""
    box = ee.Geometry.BBox(7.0, 46.0, 8.0, 47.0)
    images = ee.ImageCollection(S2).filterBounds(box).filterDate("2023-05-01", "2023-06-01")
    return images.select("B4").median().reduceRegion(ee.Reducer.mean(), box, 60, maxPixels=1e9)


def client(kind: str, url: str, begin: float, seconds: float) -> None:
    """Ask until the time is over; print the latencies of each kind of request as JSON."""
    ee.Initialize(AnonymousCredentials(), url=url, project="local")
    ee.data.setMaxRetries(0)
    body = {"expression": ee.serializer.encode(heavy(), for_cloud_api=True)}
    asked = {"number": ee.Number(1).add(1), "bands": ee.Image("USGS/SRTMGL1_003").bandNames()}
    found: dict[str, list[float]] = {"number": [], "bands": [], "heavy": [], "left": [], "refused": []}
    time.sleep(max(0.0, begin - time.time()))  # all begin at once
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name = kind if kind != "light" else ("number" if len(found["number"]) <= len(found["bands"]) else "bands")
        began = time.perf_counter()
        try:
            if kind == "light":
                asked[name].getInfo()
                time.sleep(0.05)
            else:
                limit = 1.0 if kind == "left" else 60.0
                requests.post(f"{url}/v1/projects/local/value:compute", json=body, timeout=limit).raise_for_status()
                name = "heavy"
        except requests.Timeout:
            name = "left"
        except (ee.EEException, requests.HTTPError):
            name = "refused"
        found[name].append(time.perf_counter() - began - (0.05 if kind == "light" else 0.0))
    print(json.dumps(found))


def busy(server: Server) -> int:
    """Return the number of processes of the server that compute during a second."""
    before = {pid: cpu_of(pid) for pid in descendants(server.process.pid)}
    time.sleep(1.0)
    return sum(cpu_of(pid) - cpu > BUSY for pid, cpu in before.items() if pid in descendants(server.process.pid))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=25)
    parser.add_argument("--heavy", type=int, default=5)
    parser.add_argument("--leaving", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        kind, url, begin = given.client
        client(kind, url, float(begin), given.seconds)
        return
    kinds = ["heavy"] * given.heavy + ["left"] * given.leaving
    kinds += ["light"] * (given.clients - len(kinds))
    with serving("emulator", "--demo-datasets", "all", "--rate", "none", "--concurrency", "none") as server:
        requests.get(f"{server.url}/v1/projects/earthengine-public/assets/USGS/SRTMGL1_003", timeout=60)
        command = [sys.executable, __file__, "--seconds", str(given.seconds), "--client"]
        begin = str(time.time() + STARTING)
        started = [subprocess.Popen([*command, kind, server.url, begin], stdout=subprocess.PIPE) for kind in kinds]
        answers = [json.loads(process.communicate()[0]) for process in started]
        time.sleep(1.0)
        left = server.get("_stats")["in_flight"]["now"]
        print(f"one second after all left: {left} requests in flight, {busy(server)} busy processes")
        print(f"load of the machine: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
        print("request   number     p50 s     p95 s     max s")
        for name in answers[0]:
            values = [value for answer in answers for value in answer[name]]
            if values:
                low, high = np.percentile(values, (50, 95))
                print(f"{name:9} {len(values):6} {low:9.3f} {high:9.3f} {max(values):9.3f}")


if __name__ == "__main__":
    main()
