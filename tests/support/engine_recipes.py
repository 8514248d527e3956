"""Recipe scripts for the tests of the engine, and a way to run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eechips.engine.config import RunConfig
from eechips.engine.run import run
from eechips.manifest.run import Run
from eechips.recipe import FileRecipe, load_recipe

CHIPS = """
import ee
from eechips.geo.grid import Grid
from eechips.recipe import Chip


def get_requests(count=12, first=1):
    return [{"kind": "point", "coordinates": [0.0, 0.0], "number": first + n} for n in range(count)]


def get_result(index, unit, format="png", exact=False, size=24):
    image = ee.Image(unit["number"])
    if exact:
        grid = Grid("EPSG:32613", (1.0, 0.0, 500000.0, 0.0, -1.0, 4000000.0), size, size)
        return Chip(image, grid=grid, format=format)
    region = ee.Geometry.Point(unit["coordinates"]).buffer(127).bounds()
    return Chip(image, region=region, dimensions=(size, size), format=format)
"""

ODD = """
import os
import time
from pathlib import Path

import ee
import numpy as np

from eechips.recipe import Chip, Table


def get_requests(what="mixed", count=6):
    if what == "mixed":
        return ["chip", "bytes", "array", "none", "rows", "nonsense"][:count]
    return [{"what": what, "n": n} for n in range(count)]


def get_result(index, value, marks=""):
    what = value if isinstance(value, str) else value["what"]
    if what == "chip":
        region = ee.Geometry.Point([0, 0]).buffer(10).bounds()
        return Chip(ee.Image(3), region=region, dimensions=(8, 8), name="own/name")
    if what == "bytes":
        return b"free text"
    if what == "array":
        return np.arange(12.0).reshape(3, 4)
    if what == "none":
        return None
    if what == "rows":
        return Table([{"a": 1, "b": None}, {"a": 2.5, "b": "x"}], format="parquet")
    if what == "nonsense":
        return {1, 2}
    if what == "raises":
        raise KeyError("projects/p/thumbnails/5ecre7-5ecre7:getPixels")
    if what == "some raise":
        if value["n"] % 2:
            raise ValueError(f"unit {value['n']}")
        return b"fine"
    if what == "dies":
        if value["n"] == 1:
            os.kill(os.getpid(), 9)
        return b"fine"
    if what == "dies once":
        mark = Path(marks) / str(value["n"])
        if value["n"] == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)
        return b"fine"
    if what == "hangs":
        if value["n"] == 1:
            time.sleep(3600)
        return b"fine"
    if what == "same name":
        return Table([{"n": value["n"]}], name="same")
    if what == "leaves":
        return Table([{"n": value["n"]}], name="../out")
    if what == "table":
        regions = ee.FeatureCollection([])
        collection = ee.Image(value["n"] + 1).reduceRegions(regions, ee.Reducer.max())
        return Table(collection, columns=("row", "value", "constant"))
    if what == "asks":
        return str(ee.Number(1).add(value["n"]).getInfo()).encode()
    raise AssertionError(what)
"""


def script(folder: Path, source: str, **parameters: object) -> FileRecipe:
    """A recipe in a file."""
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / "recipe.py"
    path.write_text(source)
    return load_recipe(path, {name: str(value) for name, value in parameters.items()})


def with_workers(executor: str, count: int) -> str:
    """Returns an executor with a number of workers, unless it has a number or an address, or is threads."""
    return executor if ":" in executor or executor == "threads" else f"{executor}:{count}"


def run_chips(folder: Path, url: str, *, parameters: dict[str, Any] | None = None, **options: Any) -> Run:
    """Runs CHIPS against a service, as `run_script` does."""
    return run_script(folder, CHIPS, url, parameters=parameters, **options)


def run_script(folder: Path, source: str, url: str, *, parameters: dict[str, Any] | None = None, **options: Any) -> Run:
    """Runs a script against a service, in threads unless the options name an executor, with quick retries."""
    settings: dict[str, Any] = {"executor": "threads", "rate": None, "retries": 4, "quiet": True, "method": "url"}
    settings["command"] = "eechips run …"
    chosen = {**settings, **options}
    config = RunConfig(out=folder / "out", endpoint=url, **chosen | {"executor": with_workers(chosen["executor"], 3)})
    return run(script(folder, source, **(parameters or {})), config)
