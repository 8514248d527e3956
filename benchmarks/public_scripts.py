"""Run scripts of other people against the local Earth Engine, and count why some do not reach their end.

    git clone https://github.com/giswqs/qgis-earthengine-examples /tmp/scripts
    pip install 'eechips[local,classifiers]'
    python benchmarks/public_scripts.py /tmp/scripts

Each script is a process of its own, with a folder of its own and no network but the server. ``Map`` of ``ee_plugin``
and ``geemap`` has the layers of a script drawn: one tile of each, at the place that the script shows. Prints a table in
Markdown. Nothing of the scripts is part of eechips.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import types
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

RESULT = "RESULT "
_CALLS = re.compile(r"\bee\.")
# Kinds of ends by messages; the group is what is missing. The first that matches.
_ENDS: Sequence[tuple[str, str]] = (
    (
        "asset that Earth Engine has removed, or that is private",
        r"asset '((?:LANDSAT/\w+/C01/|LANDSAT/L[CET]\d[_/]|users/|ft:|GOOGLE/EE/DEMOS/)[^']*)' not found",
    ),
    ("missing asset", r"[Aa]sset '([^']+)' not found"),
    ("missing function", r"does not have the function ([\w.]*\w)"),
    ("missing module", r"No module named '([^']+)'"),
    ("too long", r"^(too long)"),
)  # fmt: skip


def draw_tile(address: str, longitude: float, latitude: float, zoom: int) -> None:
    """Request the tile of a map layer at a place; ``address`` has ``{x}``, ``{y}`` and ``{z}``."""
    tiles = 1 << zoom
    x = int((longitude + 180.0) / 360.0 * tiles) % tiles
    radians = math.radians(max(-85.0, min(85.0, latitude)))
    y = int((1.0 - math.asinh(math.tan(radians)) / math.pi) / 2.0 * tiles)
    with urlopen(address.format(x=x, y=y, z=zoom)) as response:
        response.read()


class Map:
    """Stands for the map of ``ee_plugin`` and ``geemap``: requests one tile of each layer."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self._center = (-105.1, 40.1)
        self._zoom = 9

    def set_center(self, lon: float, lat: float, zoom: float = 9) -> None:
        self._center, self._zoom = (float(lon), float(lat)), int(zoom)

    setCenter = set_center  # noqa: N815

    def center_object(self, thing: Any, zoom: float | None = None, *_: Any) -> None:
        import ee

        shape = thing if isinstance(thing, ee.Geometry) else thing.geometry()
        self._center = tuple(shape.centroid(100).coordinates().getInfo())
        self._zoom = int(zoom or 9)

    centerObject = center_object  # noqa: N815

    def add_layer(self, thing: Any, vis: Any = None, *_: Any, **__: Any) -> None:
        import ee

        if isinstance(thing, ee.ImageCollection):
            thing = thing.mosaic()
        elif isinstance(thing, (ee.Geometry, ee.Feature)):
            thing = ee.FeatureCollection([ee.Feature(thing)])
        if isinstance(thing, ee.FeatureCollection):
            style = {key: value for key, value in (vis or {}).items() if key in ("color", "width", "fillColor")}
            thing, vis = thing.style(**style), {}
        if not isinstance(thing, ee.Image):
            return
        known = {"bands", "min", "max", "gain", "bias", "gamma", "palette", "opacity", "format"}
        if "bands" not in (vis or {}) and len(names := thing.bandNames().getInfo()) > 3:
            thing = thing.select(names[:3])
        made = thing.getMapId({key: value for key, value in dict(vis or {}).items() if key in known})
        draw_tile(made["tile_fetcher"].url_format, *self._center, self._zoom)

    addLayer = addEELayer = add_ee_layer = add_layer  # noqa: N815

    def __getattr__(self, name: str) -> Any:
        """Ignore controls, basemaps and the like."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


def show(*things: Any) -> None:
    """Print things as ``display`` does in a notebook. Objects of Earth Engine are printed by their values."""
    import ee

    for thing in things:
        print(thing.getInfo() if isinstance(thing, ee.ComputedObject) else thing)


def run_one(script: str, url: str) -> None:
    """Run a script in this process, and print how it ended."""
    import urllib.error

    import ee
    from google.auth.credentials import AnonymousCredentials

    ee.Initialize(AnonymousCredentials(), url=url, project="local")
    ee.Initialize = ee.Authenticate = lambda *_, **__: None
    for name in ("ee_plugin", "geemap", "geemap.core", "geemap.foliumap", "geemap.eefolium"):
        module = types.ModuleType(name)
        module.__path__ = []  # type: ignore[attr-defined]
        module.Map = Map() if name == "ee_plugin" else Map  # type: ignore[attr-defined]
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    sys.argv = [script]
    message = None
    # What a notebook has from the start, in which many scripts were written.
    notebook = {"ee": ee, "geemap": sys.modules["geemap"], "display": show}
    try:
        runpy.run_path(script, init_globals=notebook, run_name="__main__")
    except SystemExit:
        pass
    except urllib.error.HTTPError as error:
        message = error.read().decode(errors="replace")[:2000]
    except BaseException as error:  # noqa: BLE001 - whatever a script raises is what is counted
        message = f"{type(error).__name__}: {error}"[:2000]
    sys.stdout.flush()
    print("\n" + RESULT + json.dumps(message), flush=True)


def run_apart(program: str, script: Path, url: str, seconds: float) -> tuple[list[Any], str]:
    """Run a script in a process without a network; return its results, and how the process ended otherwise.

    Args:
        program: Python program that runs it, and prints results as lines of JSON after ``RESULT``.
        script: what it runs.
        url: address of the server.
        seconds: after so many the process ends.
    """
    with tempfile.TemporaryDirectory(prefix="script-") as folder, tempfile.TemporaryFile() as output:
        Path(folder, "Downloads").mkdir()  # where many scripts of notebooks write, as in the home of a person
        nowhere = "http://127.0.0.1:9"
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": folder,
            "TMPDIR": folder, "MPLBACKEND": "Agg", "no_proxy": "127.0.0.1",
            **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere),
        }  # fmt: skip
        command = [sys.executable, str(Path(program).resolve()), "--one", str(script.resolve()), "--url", url]
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        end = ""
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            end = "too long"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it started
        process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    results = [json.loads(line[len(RESULT) :]) for line in text.splitlines() if line.startswith(RESULT)]
    return results, end or text[-500:]


def outcome(script: Path, url: str, seconds: float) -> tuple[str, str, str]:
    """Run a script in a process; return how it ended, what is missing, and its message."""
    results, end = run_apart(__file__, script, url, seconds)
    message = results[-1] if results else end or "no result"
    if message is None:
        return "to their end", "", ""
    for kind, pattern in _ENDS:
        if (found := re.search(pattern, message)) is not None:
            return kind, found[1], message
    return "other", "", message


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Serve the demo planet and the stubs of all datasets; yield the address."""
    from eechips import local_earth_engine

    with tempfile.TemporaryDirectory(prefix="scripts-") as folder:
        places = {name: Path(folder, name) for name in ("drive", "buckets", "export_assets")}
        for place in places.values():
            place.mkdir()
        with local_earth_engine(demo=True, demo_datasets="all", workers=2, **places) as server:
            yield server.url


def main() -> None:
    """Run the scripts of a folder, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="searched with its subfolders for Python scripts")
    parser.add_argument("--seconds", type=float, default=120.0, help="time of a script (default: 120)")
    parser.add_argument("--limit", type=int, help="run only as many scripts, spread over the folder")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        run_one(given.one, given.url)
        return
    scripts = sorted(
        path for path in given.folder.rglob("*.py") if _CALLS.search(path.read_text(encoding="utf-8", errors="replace"))
    )
    if given.limit is not None and len(scripts) > given.limit:
        scripts = [scripts[n * len(scripts) // given.limit] for n in range(given.limit)]
    with serve() as url, ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda script: outcome(script, url, given.seconds), scripts))
    counts = Counter(kind for kind, _, _ in ends)
    print(f"| {len(scripts)} scripts | |\n|---|---:|")
    for kind, count in counts.most_common():
        print(f"| {kind} | {count} |")
    for kind in dict.fromkeys(kind for kind, _ in _ENDS):
        missing = Counter(what for each, what, _ in ends if each == kind)
        if missing and kind != "too long":
            print(f"\n{kind}: " + ", ".join(f"`{what}` {count}" for what, count in missing.most_common()))
    for script, (kind, _, message) in zip(scripts, ends, strict=True):
        if kind in ("other", "too long"):
            print(f"\n{script.relative_to(given.folder)}: {kind}: {' '.join(message.split())[:300]}")


if __name__ == "__main__":
    main()
