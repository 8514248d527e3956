"""Run notebooks of other people against the local Earth Engine, and say why some do not reach their end.

    git clone https://github.com/gee-community/geemap /tmp/notebooks/geemap
    pip install 'eechips[local]' ipython geemap, and the packages that the notebooks import
    python benchmarks/notebooks.py /tmp/notebooks --results notebooks.jsonl

Each notebook is a process of its own, with a folder of its own and no network but the server, to which ``ee`` is
connected as by the pytest plugin. Its code cells run in IPython, also those after one that fails, up to the first that
needs what is not there: the web, a package, a private asset. Such notebooks are counted apart. Lines that install
packages are left out. One tile of each layer of its maps is drawn. Nothing of the notebooks is part of eechips.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import re
import socket
import sys
import urllib.error
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from public_scripts import RESULT, draw_tile, run_apart, serve

_CALLS = re.compile(r"\bee\.|\bgeemap\b")
_INSTALLS = re.compile(r"^\s*[!%]\s*(pip|conda|mamba|apt|apt-get|sudo|npm)\b.*$", re.MULTILINE)
WHOLE, TIME = "whole", "longer than the time limit"
_FILE = "a file that it does not bring"  # after another failure a file may be missing because of that
# What a notebook needs that is not there. A notebook with one of these in any cell could not run.
NEEDS: Sequence[tuple[str, str]] = (
    ("the web", r"ProxyError|Max retries exceeded|[Uu]rlopen error|Name or service not known|Cannot connect to"
                r"|CURL error|ConnectError|ServerNotFoundError|Network is unreachable|NetworkError|Connection refused"
                r"|All connection attempts failed|The URL is invalid|unable to connect to"),
    ("a package", r"No module named|ImportError|[Pp]lease install|is not installed|to be installed|pip install"),
    ("a private asset", r"[Aa]sset '(users/|projects/(?!earthengine-public)|ft:)[^']*' not found"),
    ("an asset that Earth Engine has removed",
     r"[Aa]sset '(LANDSAT/\w+/C01/|LANDSAT/L[CET]\d[_/]|MODIS/051/|GOOGLE/EE/DEMOS/)[^']*' not found"),
    (_FILE, r"No such file or directory|FileNotFoundError|does not exist in the file system"),
    ("a key or an answer of its user",
     r"DefaultCredentialsError|EOFError|StdinNotImplementedError|raw_input was called|API[ _][Kk]ey"),
)  # fmt: skip
# How the others fail. The first that matches.
_FAILS: Sequence[tuple[str, str]] = (
    ("missing dataset", r"[Aa]sset '([^']+)' not found"),
    ("missing function", r"does not have the function ([\w.]*\w)"),
    ("error of the server", r"EEException|HttpError|HTTPError|The local Earth Engine"),
    ("error outside Earth Engine", ""),
)


def code_cells(notebook: Path) -> list[str]:
    """Return the sources of the code cells, without lines that install packages."""
    cells = json.loads(notebook.read_text(encoding="utf-8")).get("cells", [])
    return [_INSTALLS.sub("pass", "".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]


def run_one(notebook: Path, url: str) -> None:
    """Run a notebook in this process; print a result for each cell that starts or fails, and one for the end."""
    from IPython.core.interactiveshell import InteractiveShell

    from eechips_local.pytest_plugin import EarthEngine, EarthEngineSession
    from eechips_local.server_process import ServerProcess

    EarthEngineSession(None)._connect(EarthEngine(ServerProcess(url), Path.cwd()))
    _leave_network()
    failures: list[str] = []
    number = 0

    class Shell(InteractiveShell):
        """Reports exceptions of cells, and of what displays their values."""

        def showtraceback(self, exc_tuple: Any = None, *_: Any, **__: Any) -> None:
            error = (exc_tuple or sys.exc_info())[1]
            failures.append(_message(error))
            _print_result(cell=number, message=failures[-1])

        showsyntaxerror = showtraceback

        def enable_gui(self, gui: Any = None) -> None:
            """Show no windows."""

    shell = Shell.instance()
    for number, source in enumerate(code_cells(notebook)):
        _print_result(cell=number)
        shell.run_cell(source)
        if _need(failures) is not None:
            return
    for address, longitude, latitude, zoom in list(_layers(url)):
        try:
            draw_tile(address, longitude, latitude, zoom)
        except Exception as error:  # noqa: BLE001 - each kind is reported
            _print_result(cell=None, message=f"layer: {_message(error)}")
    _print_result(end=True)


def _print_result(**values: Any) -> None:
    print("\n" + RESULT + json.dumps(values), file=sys.__stdout__, flush=True)


def _message(error: BaseException | None) -> str:
    body = error.read().decode(errors="replace") if isinstance(error, urllib.error.HTTPError) else str(error)
    return f"{type(error).__name__}: {body}"[:2000]


def _leave_network() -> None:
    """Let names of hosts resolve to nothing, as without a network."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *values: Any, **options: Any) -> Any:
        if host not in (None, "", "127.0.0.1", "localhost", "0.0.0.0", "::1", b"127.0.0.1", b"localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *values, **options)

    socket.getaddrinfo = getaddrinfo


def _layers(url: str) -> Iterator[tuple[str, float, float, int]]:
    """Yield addresses of the layers of maps that the server draws, with the place and zoom of the map."""
    leaflet, folium = sys.modules.get("ipyleaflet"), sys.modules.get("folium")
    for thing in gc.get_objects():
        try:
            if leaflet is not None and isinstance(thing, leaflet.Map):
                (latitude, longitude), zoom = thing.center, thing.zoom
                addresses = [getattr(layer, "url", "") for layer in thing.layers]
            elif folium is not None and isinstance(thing, folium.Map):
                (latitude, longitude), zoom = thing.location, thing.options["zoom"]
                addresses = [getattr(layer, "tiles", "") for layer in thing._children.values()]
            else:
                continue
        except (ReferenceError, AttributeError, TypeError, KeyError):
            continue
        for address in addresses:
            if isinstance(address, str) and address.startswith(url):
                yield address, float(longitude), float(latitude), int(zoom)


def _need(failures: Sequence[str]) -> tuple[str, str] | None:
    """Return what is not there, and the failure that says so; None if none does."""
    for failure in failures:
        for need, pattern in NEEDS:
            if re.search(pattern, failure) is not None and (need != _FILE or failure is failures[0]):
                return need, failure
    return None


def ending(results: Sequence[Mapping[str, Any]], end: str) -> tuple[str, str]:
    """Return how a notebook ended, and the message that says so.

    Args:
        results: what ``run_one`` printed.
        end: "too long", or the last output of the process.
    """
    failures = [str(result["message"]) for result in results if "message" in result]
    if (need := _need(failures)) is not None:
        return f"needs {need[0]}", need[1]
    if failures:
        return next(kind for kind, pattern in _FAILS if re.search(pattern, failures[0])), failures[0]
    if end == "too long":
        return TIME, f"in cell {results[-1]['cell'] if results else 'none'}"
    return (WHOLE, "") if any("end" in result for result in results) else (_FAILS[-1][0], end)


def _notebooks(folder: Path) -> list[Path]:
    """Return the notebooks of a folder that use Earth Engine, each text once."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.ipynb")):
        source = "\n".join(code_cells(path))
        if _CALLS.search(source):
            found.setdefault(source, path)
    return list(found.values())


def main() -> None:
    """Run the notebooks of a folder, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="searched with its subfolders for notebooks")
    parser.add_argument("--seconds", type=float, default=120.0, help="time of a notebook (default: 120)")
    parser.add_argument("--at-once", type=int, default=2, help="notebooks that run at the same time (default: 2)")
    parser.add_argument(
        "--sample", type=int, help="run only the first so many, in an order drawn at random with a fixed seed"
    )
    parser.add_argument("--only", default="", help="run only notebooks whose paths match this regular expression")
    parser.add_argument("--results", type=Path, help="append a line of JSON for each notebook to this file")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        run_one(given.one, given.url)
        return
    notebooks = [path for path in _notebooks(given.folder) if re.search(given.only, str(path))]
    random.Random(0).shuffle(notebooks)
    notebooks = notebooks[: given.sample]
    counts: Counter[str] = Counter()
    with serve() as url, ThreadPoolExecutor(given.at_once) as pool:
        for path, (results, end) in zip(
            notebooks, pool.map(lambda path: run_apart(__file__, path, url, given.seconds), notebooks), strict=True
        ):
            kind, message = ending(results, end)
            counts[kind] += 1
            name = str(path.relative_to(given.folder))
            print(f"{name}: {kind}: {' '.join(message.split())[:200]}", file=sys.stderr, flush=True)
            if given.results is not None:
                with given.results.open("a", encoding="utf-8") as lines:
                    failures = [result for result in results if "message" in result]
                    lines.write(json.dumps({"notebook": name, "end": kind, "failures": failures}) + "\n")
    needs = {f"needs {need}" for need, _ in NEEDS}
    able = sum(count for kind, count in counts.items() if kind not in needs)
    print(f"| {len(notebooks)} notebooks | |\n|---|---:|")
    for kind, count in counts.most_common():
        print(f"| {kind} | {count} |")
    print(f"\nwhole, of those that need nothing else: {counts[WHOLE]} of {able} ({counts[WHOLE] / max(able, 1):.0%})")


if __name__ == "__main__":
    main()
