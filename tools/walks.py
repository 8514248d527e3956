"""Trace two walks through the rooms of the code, and compare or write their tables in docs/architecture.md.

    python tools/walks.py            # exit with status 1 if the page differs
    python tools/walks.py --write    # write the tables into the page
    python tools/walks.py --counts   # print the counts alone, also with --root for another tree

The first walk is that of a unit of the README's first command, with three chips for each ecoregion. The second is that
of a computePixels request for an image of the demo planet. All options have their defaults. A room is a package below
the distribution's. A hop is a call, or a value that a generator yields, from one room to another. Of the first walk a
hop is what most of its units take, of the second what each of two requests takes. Calls of the floor (rooms below
`datasets` and `storage` in the list of imports), of properties and of special methods are no hops.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
RUN = "sample --dataset NAIP --per-ecoregion 3 --local -q --out run"
_MOST = 0.5
"""Share of the units that take a hop: some share requests or fill a cache for others."""
_FLOOR = "storage"
_LOOP = "server.py:run"
"""Function of the local Earth Engine that runs the event loop; how often it calls depends on the network."""
_REQUESTS = 3
_SCALE = 0.001  # degrees of a pixel of the request


class Note(NamedTuple):
    """A line of the notes of `call_tracer`; ``moment`` in nanoseconds, ``units`` are positions."""

    moment: int
    thread: str
    kind: str
    caller: str
    function: str
    units: frozenset[int]


@dataclass(frozen=True, slots=True)
class Hop:
    """A crossing from one room to another.

    Attributes:
        kind: "call" or "yield".
        caller: file and function that calls, or receives.
        function: file and function that is called, or yields.
    """

    kind: str
    caller: str
    function: str


@dataclass(frozen=True, slots=True)
class Walk:
    """Hops in their order, of the package in a folder.

    Attributes:
        hops: in order.
        package: folder of the package.
        layers: rooms, the topmost first.
    """

    hops: tuple[Hop, ...]
    package: Path
    layers: tuple[frozenset[str], ...]

    @property
    def files(self) -> list[str]:
        """The file of each hop's function."""
        return [hop.function.partition(":")[0] for hop in self.hops]

    @property
    def climbs(self) -> int:
        """Number of calls of a room that imports the caller's: of an interface that it implements."""
        heights = {room: number for number, rooms in enumerate(self.layers) for room in rooms}
        pairs = [(room_of(hop.caller), room_of(hop.function)) for hop in self.hops if hop.kind == "call"]
        return sum(heights[callee] < heights[caller] for caller, callee in pairs if {caller, callee} <= heights.keys())

    @property
    def returns(self) -> list[str]:
        """Files that are entered more than once, from another."""
        entries = [file for number, file in enumerate(self.files) if not number or self.files[number - 1] != file]
        return sorted(file for file, count in Counter(entries).items() if count > 1)

    def document(self, prefix: str = "") -> str:
        """Return the counts and the table as Markdown."""
        climbs = f"{self.climbs} climbs to a room that imports the caller's; " if self.layers else ""
        again = ", ".join(f"`{prefix}{file}`" for file in self.returns)
        lines = [
            f"{len(self.hops)} hops through {len(set(self.files))} files; {climbs}"
            f"{len(self.returns)} files are entered more than once{': ' * bool(again)}{again}.",
            "",
            "| hop | function | file | from | what it does |",
            "|---:|---|---|---|---|",
        ]
        for number, hop in enumerate(self.hops, 1):
            file, _, function = hop.function.partition(":")
            text = describe(self.package / file, function).replace("|", "\\|")
            lines.append(f"| {number} | `{function}` | `{prefix}{file}` | `{hop.caller.partition(':')[2]}` | {text} |")
        return "\n".join(lines)


def room_of(name: str) -> str:
    """Return the room of a file and function (``engine/plans/plan.py:plan_units``)."""
    return name.partition(":")[0].partition("/")[0].removesuffix(".py")


@cache
def _functions(path: Path) -> dict[str, tuple[str, bool]]:
    """Return the docstring of each function of a file, and whether it is a property."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for each in node.body if isinstance(node, ast.ClassDef) else (node,):
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name = f"{node.name}.{each.name}" if isinstance(node, ast.ClassDef) else each.name
                decorators = {ast.unparse(decorator) for decorator in each.decorator_list}
                found[name] = ast.get_docstring(each) or "", bool(decorators & {"property", "cached_property"})
    return found


def describe(path: Path, function: str) -> str:
    """Return the first sentence of a function's docstring."""
    text = " ".join(_functions(path).get(function, ("", False))[0].partition("\n\n")[0].split())
    sentence = re.split(r"(?<=[.:]) (?=[A-Z])|(?<=:):$", text)[0]
    return re.sub(r":\w+:`[~!]?(?:[\w.]*\.)?(\w+)`", r"`\1`", sentence)


def read_layers(root: Path) -> tuple[frozenset[str], ...]:
    """Return the rooms of eechips, the topmost first, as the contracts in pyproject.toml have them."""
    import tomllib  # not in Python 3.10

    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return tuple(frozenset(name.strip().removeprefix("eechips.") for name in line.split("|")) for line in layers)


def _environment(root: Path, folder: Path, package: Path, *, notes_all: bool) -> dict[str, str]:
    """Install the tracer below a folder; return the variables of a traced process."""
    (folder / "site").mkdir()
    (folder / "notes").mkdir()
    tracer = (ROOT / "tools" / "call_tracer.py").read_text(encoding="utf-8")
    (folder / "site" / "sitecustomize.py").write_text(tracer, encoding="utf-8")
    places = os.pathsep.join(map(str, (folder / "site", root, root / "packages" / "eechips-local")))
    added = {"PYTHONPATH": places, "TRACED_ROOT": f"{package}{os.sep}", "TRACED_OUT": str(folder / "notes")}
    return os.environ | added | ({"TRACED_ALL": "1"} if notes_all else {})


def _read_notes(folder: Path) -> list[Note]:
    """Return the notes of all processes by time; values without a position get that of the next unit of the thread."""
    found = []
    for path in (folder / "notes").iterdir():
        pending: dict[str, list[Note]] = defaultdict(list)
        for line in path.read_text(encoding="utf-8").splitlines():
            moment, thread, kind, caller, function, units = line.split("\t")
            is_new = units == "?"
            positions = frozenset() if is_new else frozenset(map(int, filter(None, units.split(","))))
            note = Note(int(moment), f"{path.name}-{thread}", kind, caller, function, positions)
            if is_new:
                pending[thread].append(note)
                continue
            if kind == "yield":
                found += [each._replace(units=positions) for each in pending.pop(thread, [])]
            found.append(note)
    return sorted(found)


def _hops(notes: Iterable[Note], package: Path, floor: frozenset[str]) -> dict[Hop, int]:
    """Return the hops of some notes, each with its first moment."""
    found: dict[Hop, int] = {}
    for note in notes:
        rooms = {room_of(note.caller), room_of(note.function)}
        file, _, name = note.function.partition(":")
        if not note.caller or len(rooms) < 2 or rooms & floor or name.rpartition(".")[2].startswith("__"):
            continue
        if not _functions(package / file).get(name, ("", False))[1]:
            found.setdefault(Hop(note.kind, note.caller, note.function), note.moment)
    return found


def _common(each: Sequence[Mapping[Hop, int]], share: float) -> tuple[Hop, ...]:
    """Return the hops of at least a share of some walks, in the order of the first walk that has them all."""
    counts = Counter(hop for hops in each for hop in hops)
    common = {hop for hop, count in counts.items() if count >= share * len(each)}
    whole = max(each, key=lambda hops: len(common & hops.keys()))
    return tuple(sorted(common & whole.keys(), key=lambda hop: whole[hop]))


def trace_unit(root: Path) -> Walk:
    """Run the README's first command, and return the walk of its units."""
    package, layers = root / "eechips", read_layers(root)
    below = next(number for number, rooms in enumerate(layers) if _FLOOR in rooms)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        environment = _environment(root, folder, package, notes_all=False)
        subprocess.run([sys.executable, "-m", "eechips", *RUN.split()], cwd=folder, env=environment, check=True)
        notes = _read_notes(folder)
    units = frozenset[int]().union(*(note.units for note in notes))
    floor = frozenset().union(*layers[below + 1 :])
    each = [_hops((note for note in notes if unit in note.units), package, floor) for unit in units]
    return Walk(_common(each, _MOST), package, layers)


def trace_request(root: Path) -> Walk:
    """Send computePixels requests to a local Earth Engine, one after the other, and return the walk of the later."""
    package = root / "packages" / "eechips-local" / "eechips_local"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        environment = _environment(root, folder, package, notes_all=True)
        command = [sys.executable, "-m", "eechips_local.run_server", "--port", "0"]
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            try:
                url = json.loads(server.stdout.readline())["url"]  # type: ignore[union-attr]
                spans = list(_request_pixels(url))
            finally:
                server.terminate()
        notes = _read_notes(folder)
    notes = [note for note in notes if note.caller != _LOOP]
    each = [
        _hops((note for note in notes if first <= note.moment <= last), package, frozenset()) for first, last in spans
    ]
    return Walk(_common(each[1:], 1.0), package, ())


def _request_pixels(url: str) -> Iterator[tuple[int, int]]:
    """Request neighbouring windows of an image; yield the moments before and after each request."""
    name = {"constantValue": "USGS/SRTMGL1_003"}
    values = {"0": {"functionInvocationValue": {"functionName": "Image.load", "arguments": {"id": name}}}}
    for number in range(_REQUESTS):
        transform = {"scaleX": _SCALE, "translateX": -105 + number * 0.1, "scaleY": -_SCALE, "translateY": 40}
        grid = {"dimensions": {"width": 64, "height": 64}, "affineTransform": transform, "crsCode": "EPSG:4326"}
        body = {"expression": {"result": "0", "values": values}, "fileFormat": "GEO_TIFF", "grid": grid}
        request = urllib.request.Request(
            f"{url}/v1/projects/local/image:computePixels",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        first = time.monotonic_ns()
        with urllib.request.urlopen(request) as response:
            response.read()
        # The server finishes a request after its response was sent, and before it answers the next one.
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(f"{url}/none"):
            pass
        yield first, time.monotonic_ns()


def write_tables(page: str, tables: Mapping[str, str]) -> str:
    """Return a page with the tables between ``<!-- traced: NAME -->`` and ``<!-- end -->``."""
    for name, text in tables.items():
        block = re.compile(rf"(<!-- traced: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, count = block.subn(lambda match, text=text: f"{match[1]}\n{text}\n\n{match[2]}", page)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"the page has no block for the walk {name!r}")
    return page


def main() -> None:
    """Compare, write or count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables into the page")
    parser.add_argument("--counts", action="store_true", help="print the counts alone")
    parser.add_argument("--root", type=Path, default=ROOT, help="another tree of eechips, for --counts")
    asked = parser.parse_args()
    walks = {"unit": trace_unit(asked.root.resolve()).document()}
    walks["request"] = trace_request(asked.root.resolve()).document("eechips_local/")
    if asked.counts:
        for text in walks.values():
            click.echo(text.partition("\n")[0])
        return
    before = PAGE.read_text(encoding="utf-8")
    after = write_tables(before, walks)
    if asked.write:
        PAGE.write_text(after, encoding="utf-8")
    elif after != before:
        raise SystemExit("docs/architecture.md does not have the walks of this code: python tools/walks.py --write")


if __name__ == "__main__":
    main()
