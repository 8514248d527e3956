"""Draw the layers of Google's catalogue examples on stubs, and judge them: plausible, refused, or absurd.

    git clone https://github.com/google/earthengine-catalog /tmp/catalogue
    npm install --prefix /tmp/node @google/earthengine
    python benchmarks/catalogue_examples.py /tmp/catalogue/examples --node /tmp/node --seed 1 --sheets /tmp/sheets

Each example runs in Node.js with Google's client; ``Map``, ``ui`` and ``print`` only keep what they are given. Layers
are drawn then where and as large as the example shows them, 512 pixels of the map wide, in 128 pixels; images of an
example that shows no place where they lie.

A layer is absurd if all of its pixels are masked, if all are alike, or if more than 90% lie outside of its own stretch;
a table, if no row lies in view. Drawn rows, and maps of where something is, may be alike where others are masked. A
refusal names a band without a known range, values that are made up, or an asset that is missing. An example is as its
worst layer or printed value. Prints a table in Markdown, and each example that is not plausible.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIDE = 128
"""Pixels of a drawn layer."""
WIDTH = 512
"""Pixels of the map that it covers."""
OUTSIDE = 0.9
IMAGES = re.compile(r"Image(Collection)?\.load")
ORDER = ("failed", "too long", "absurd", "refused", "plausible")
REFUSALS = ("knows no range of the band", "not found (does not exist", "has made up values of")
PLACE = (0.0, 0.0, 3.0)
"""Where a map is without ``setCenter``: longitude, latitude, zoom."""

SHIM = """
const fs = require("fs");
const ee = require("@google/earthengine");
const [url, script] = process.argv.slice(2);
const shown = {center: null, object: null, zoom: null, layers: [], prints: []};
const encode = (thing) => ee.Serializer.toCloudApiJSON(thing);
const anything = () => new Proxy(function () {}, {
  get: (_, name) => (name === Symbol.toPrimitive ? () => "" : anything()), apply: anything, construct: anything});
const addLayer = (thing, vis, name, visible) => {
  if (thing instanceof ee.ComputedObject) {
    const kind = ["ImageCollection", "FeatureCollection", "Image", "Geometry", "Feature"].find(
      (each) => thing instanceof ee[each]);
    shown.layers.push({kind, vis: vis || {}, name: name || "", visible: visible !== false, expression: encode(thing)});
  }
};
const map = new Proxy({addLayer,
  setCenter: (lon, lat, zoom) => { shown.center = [lon, lat]; shown.zoom = zoom ?? shown.zoom; },
  setZoom: (zoom) => { shown.zoom = zoom; },
  centerObject: (thing, zoom) => { shown.object = encode(thing); shown.zoom = zoom ?? shown.zoom; },
}, {get: (own, name) => own[name] ?? anything()});
const print = (...things) => things.forEach((thing) => {
  if (thing instanceof ee.ComputedObject) shown.prints.push(encode(thing));
});
const end = (message) => process.stdout.write("SHOWN " + JSON.stringify({...shown, message}) + "\\n", process.exit);
const run = () => {
  try {
    const known = {ee, Map: map, print, ui: anything(), Chart: anything(), Export: anything(), require: anything()};
    new Function(...Object.keys(known), fs.readFileSync(script, "utf8"))(...Object.values(known));
    end(null);
  } catch (error) { end(String(error)); }
};
ee.initialize(url, url, run, end, null, "local");
"""


class Verdict(NamedTuple):
    """How a layer or an example is judged, and why."""

    end: str
    reason: str = ""


def shown_by(script: Path, url: str, node: Path, seconds: float) -> dict[str, Any]:
    """Run an example, and return what it shows."""
    shim = node / "shim.js"
    done = subprocess.run(
        ["node", str(shim), url, str(script)], capture_output=True, text=True, timeout=seconds, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("SHOWN ")]
    shown: dict[str, Any] = json.loads(lines[-1][6:]) if lines else {"message": done.stderr[-500:], "layers": []}
    return shown


def decoded(expression: str) -> Any:
    """Return the object of an encoded expression."""
    import ee

    return ee.deserializer.decodeCloudApi(json.loads(expression))


def view(shown: dict[str, Any]) -> tuple[float, float, float, float]:
    """Return west, south, east and north of what the map shows."""
    longitude, latitude, zoom = PLACE
    if shown.get("object"):
        import ee

        thing = decoded(shown["object"])
        shape = thing if isinstance(thing, ee.Geometry) else thing.geometry()
        longitude, latitude = shape.centroid(100).coordinates().getInfo()
    if shown.get("center"):
        longitude, latitude = shown["center"]
    zoom = zoom if shown.get("zoom") is None else shown["zoom"]
    half = min(180.0, 180.0 * WIDTH / 256.0 / 2.0**zoom)
    tall = half * math.cos(math.radians(latitude))
    return longitude - half, max(-89.0, latitude - tall), longitude + half, min(89.0, latitude + tall)


def own_view(thing: Any, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return the bounds of a layer that no view is stated of, if it lies somewhere: where a user looks for it."""
    import ee

    shape = thing if isinstance(thing, ee.Geometry) else thing.geometry()
    if shape.isUnbounded().getInfo():
        return box
    ring = shape.bounds(1000).coordinates().getInfo()[0]
    (west, south), (east, north) = ring[0], ring[2]
    return (west, south, east, north) if west < east < west + 90.0 and south < north else box


def drawn(layer: dict[str, Any], box: tuple[float, float, float, float], *, is_stated: bool) -> tuple[Verdict, Any]:
    """Return the verdict on a layer, and its picture."""
    import ee

    thing = decoded(layer["expression"])
    kind, vis = layer["kind"], layer["vis"]
    if kind == "FeatureCollection":
        count = ee.FeatureCollection(thing).filterBounds(ee.Geometry.Rectangle(list(box), None, False)).limit(10).size()
        return (Verdict("plausible") if count.getInfo() else Verdict("absurd", "no row in view")), None
    if kind not in ("Image", "ImageCollection") or ".load" not in layer["expression"]:
        return Verdict("plausible"), None
    if kind == "Image" and not is_stated:
        box = own_view(thing, box)
    image = ee.ImageCollection(thing).mosaic() if kind == "ImageCollection" else ee.Image(thing)
    bands = vis.get("bands") or image.bandNames().getInfo()
    bands = bands.split(",") if isinstance(bands, str) else bands
    bands = [str(band).strip() for band in bands]
    bands = bands[:3] if len(bands) >= 3 and not vis.get("palette") else bands[:1]
    chosen = image.select(bands)
    stretch = {key: value for key, value in vis.items() if key in ("min", "max", "gain", "bias", "gamma", "palette")}
    names = [f"v{number}" for number in range(len(bands))]
    parts = [chosen.toDouble().rename(names), chosen.mask().reduce(ee.Reducer.min()).rename("mask")]
    request = ee.Image(parts).addBands(chosen.visualize(**stretch)).unmask()
    west, south, east, north = box
    grid = {
        "dimensions": {"width": SIDE, "height": SIDE}, "crsCode": "EPSG:4326",
        "affineTransform": {
            "scaleX": (east - west) / SIDE, "scaleY": (south - north) / SIDE, "translateX": west, "translateY": north,
        },
    }  # fmt: skip
    content = ee.data.computePixels({"expression": request, "fileFormat": "NPY", "grid": grid})
    pixels = np.load(io.BytesIO(content))
    valid = pixels["mask"] > 0
    shades = ("red", "green", "blue") if "vis-red" in (pixels.dtype.names or ()) else ("gray",) * 3
    rgb = np.stack([pixels[f"vis-{shade}"] for shade in shades], -1)
    picture = np.where(valid[..., None], rgb, 230).astype(np.uint8)
    verdict = judged(np.stack([pixels[name][valid] for name in names]), stretch)
    is_image = IMAGES.search(layer["expression"]) is not None
    if verdict.reason.startswith("all ") and (has_shapes(valid) if is_image else 0 < valid.mean() < 1):
        return Verdict("plausible"), picture  # shapes of one colour
    return verdict, picture


def has_shapes(valid: np.ndarray) -> bool:
    """Return whether valid pixels are another part of a picture than a rectangle, as the extent of an image is."""
    return bool(valid.any() and (valid != valid.any(1)[:, None] & valid.any(0)[None, :]).any())


def judged(values: np.ndarray, stretch: dict[str, Any]) -> Verdict:
    """Return the verdict on the valid values of some bands."""
    if values.size == 0:
        return Verdict("absurd", "all masked")
    if all(band.min() == band.max() for band in values):
        return Verdict("absurd", f"all {values[0][0]:g}")
    if "min" in stretch and "max" in stretch:
        lows, highs = (np.resize(np.array(stretch[key], dtype=float), len(values)) for key in ("min", "max"))
        outside = [np.mean((band < low) | (band > high)) for band, low, high in zip(values, lows, highs, strict=True)]
        if min(outside) > OUTSIDE:
            return Verdict("absurd", f"{min(outside):.0%} outside of the stretch, {values.min():g} to {values.max():g}")
    return Verdict("plausible")


def judge(script: Path, url: str, node: Path, seconds: float) -> tuple[Verdict, list[Any]]:
    """Run an example, and return the verdict on it, and its pictures."""
    verdicts, pictures = [Verdict("plausible")], []
    for verdict, picture in judged_parts(script, url, node, seconds):
        verdicts.append(verdict)
        if picture is not None:
            pictures.append(picture)
    return min(verdicts, key=lambda verdict: ORDER.index(verdict.end)), pictures


def judged_parts(script: Path, url: str, node: Path, seconds: float) -> Iterator[tuple[Verdict, Any]]:
    """Return the verdict on an example's run, and on each layer and printed value."""
    try:
        shown = shown_by(script, url, node, seconds)
        if shown.get("message"):
            yield ended(str(shown["message"])), None
        box = view(shown)
    except Exception as error:  # noqa: BLE001 - whatever an example raises is judged
        yield ended(f"{type(error).__name__}: {error}"), None
        return
    seen = partial(drawn, is_stated=bool(shown.get("center") or shown.get("object")))
    steps = [(seen, layer) for layer in shown["layers"]] + [(printed, text) for text in shown.get("prints", ())]
    for step, what in steps:
        try:
            verdict, picture = step(what, box)
            name = what["name"] if isinstance(what, dict) else "print"
            yield verdict._replace(reason=f"{name}: {verdict.reason}" if verdict.reason else ""), picture
        except Exception as error:  # noqa: BLE001 - the same
            yield ended(f"{type(error).__name__}: {error}"), None


def printed(expression: str, _: Any) -> tuple[Verdict, None]:
    """Ask for a printed value."""
    decoded(expression).getInfo()
    return Verdict("plausible"), None


def ended(message: str) -> Verdict:
    """Return the verdict on an error."""
    if any(words in message for words in REFUSALS):
        return Verdict("refused", message[:200])
    too_long = any(words in message.lower() for words in ("timed out", "timeout", "deadline"))
    return Verdict("too long" if too_long else "failed", " ".join(message.split())[:300])


def write_sheet(rows: list[tuple[str, list[Any]]], file: Path) -> None:
    """Write the first five pictures of each example as a row of a contact sheet."""
    from PIL import Image, ImageDraw

    sheet = Image.new("RGB", (5 * (SIDE + 4), len(rows) * (SIDE + 16)), "white")
    for number, (name, pictures) in enumerate(rows):
        ImageDraw.Draw(sheet).text((2, number * (SIDE + 16)), name, fill="black")
        for place, picture in enumerate(pictures[:5]):
            sheet.paste(Image.fromarray(picture), (place * (SIDE + 4), number * (SIDE + 16) + 13))
    sheet.save(file)


def main() -> None:
    """Draw examples, judge them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="searched with its subfolders for examples")
    parser.add_argument("--node", type=Path, required=True, help="folder with node_modules of @google/earthengine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100, help="examples that are drawn (default: 100)")
    parser.add_argument("--skip", type=int, default=0, help="examples of the seed's order that are left out before")
    parser.add_argument("--only", help="run the examples whose names contain this instead")
    parser.add_argument("--seconds", type=float, default=40.0, help="time of a request (default: 40)")
    parser.add_argument("--sheets", type=Path, help="folder of contact sheets")
    given = parser.parse_args()
    import ee
    from google.auth.credentials import AnonymousCredentials

    from eechips import local_earth_engine

    scripts = sorted(path for path in given.folder.rglob("*.js") if not path.stem.endswith("_FeatureView"))
    random.Random(given.seed).shuffle(scripts)
    scripts = (
        [path for path in scripts if given.only in path.stem] if given.only else scripts[given.skip :][: given.count]
    )
    (given.node / "shim.js").write_text(SHIM)
    results = []
    with local_earth_engine(demo=True, demo_datasets="all", workers=2) as server, ThreadPoolExecutor(2) as pool:
        ee.Initialize(AnonymousCredentials(), url=server.url, project="local")
        ee.data.setDeadline(int(given.seconds * 1000))
        ee.data.setMaxRetries(0)

        def timed(script: Path) -> tuple[Verdict, list[Any], float]:
            begin = time.monotonic()
            verdict, pictures = judge(script, server.url, given.node, given.seconds)
            return verdict, pictures, time.monotonic() - begin

        for script, result in zip(scripts, pool.map(timed, scripts), strict=True):
            results.append((script, *result))
            if result[0].end != "plausible":
                print(f"{script.relative_to(given.folder)}: {result[0].end}: {result[0].reason}", flush=True)
    counts = Counter(verdict.end for _, verdict, _, _ in results)
    print(f"\n| {len(results)} examples, seed {given.seed} | |\n|---|---:|")
    for end in reversed(ORDER):
        print(f"| {end} | {counts[end]} |")
    if given.sheets:
        given.sheets.mkdir(parents=True, exist_ok=True)
        rows = [
            (f"{v.end} {s:.0f} s {path.stem} {v.reason}"[:100], pictures)
            for path, v, pictures, s in results
            if pictures
        ]
        for start in range(0, len(rows), 10):
            write_sheet(rows[start : start + 10], given.sheets / f"{given.seed}_{start:03d}.png")


if __name__ == "__main__":
    main()
