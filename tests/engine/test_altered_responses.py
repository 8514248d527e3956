"""Runs through a front that alters pixels: what is not as requested is requested again, and no file has it."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile

from eechips.manifest.run import Run
from local_tests.support.local_earth_engine import Server
from tests.support.altering_front import altering_front
from tests.support.engine_recipes import run_script
from tests.support.framing_front import Answer

BANDS = """
import ee
from eechips.geo.grid import Grid
from eechips.recipe import Chip


def get_requests():
    return [{"number": 1}]


def get_result(index, unit, format):
    grid = Grid("EPSG:32613", (10.0, 0.0, 500000.0, 0.0, -10.0, 4000000.0), 24, 24)
    image = ee.Image.pixelLonLat().multiply(-100).toInt16().rename("a", "b")
    return Chip(image, grid=grid, format=format, bands=("a", "b"))
"""

JSON = {"content-type": "application/json"}
NESTED = b'{"name": "x", "a": ' + b"[" * 10**6


def geotiff(change: Callable[[Any, dict[str, Any], list[str]], Any]) -> Callable[[Answer], Answer]:
    """Alter pixels, profile and names of the bands of a GeoTIFF."""

    def alter(answer: Answer) -> Answer:
        with MemoryFile(answer.body) as memory, memory.open() as source:
            pixels, profile, names = source.read(), dict(source.profile), list(source.descriptions)
        pixels = change(pixels, profile, names)
        pixels = pixels.astype(profile["dtype"])
        with MemoryFile() as memory:
            with memory.open(**profile) as target:
                target.write(pixels)
                target.descriptions = names
            return Answer(200, answer.headers, bytes(memory.read()))

    return alter


def array(change: Callable[[Any], Any]) -> Callable[[Answer], Answer]:
    """Alter an array."""

    def alter(answer: Answer) -> Answer:
        buffer = io.BytesIO()
        np.save(buffer, change(np.load(io.BytesIO(answer.body))))
        return Answer(200, answer.headers, buffer.getvalue())

    return alter


def moved(pixels: Any, profile: dict[str, Any], names: list[str]) -> Any:
    profile["transform"] *= rasterio.Affine.translation(1, 0)
    return pixels


def other_crs(pixels: Any, profile: dict[str, Any], names: list[str]) -> Any:
    profile["crs"] = "EPSG:32614"
    return pixels


def permuted(pixels: Any, profile: dict[str, Any], names: list[str]) -> Any:
    names[:2] = names[1::-1]
    return pixels[[1, 0, 2]]


def renamed(pixels: Any, profile: dict[str, Any], names: list[str]) -> Any:
    names[:2] = ["c", "d"]
    return pixels


def fewer(pixels: Any, profile: dict[str, Any], names: list[str]) -> Any:
    profile["count"] = 2
    del names[0]
    return pixels[1:]


ALTERED: dict[str, tuple[str, Callable[[Answer], Answer]]] = {
    "moved by a pixel": ("tif", geotiff(moved)),
    "other zone": ("tif", geotiff(other_crs)),
    "permuted bands": ("tif", geotiff(permuted)),
    "other names": ("tif", geotiff(renamed)),
    "a band less": ("tif", geotiff(fewer)),
    "permuted fields": ("npy", array(lambda a: a[["b", "a", a.dtype.names[2]]])),
    "a field less": ("npy", array(lambda a: a[["a", a.dtype.names[2]]])),
    "three dimensions": ("npy", array(lambda a: np.stack([a, a]))),
    "half of the rows": ("npy", array(lambda a: a[:12])),
    "a page": ("npy", lambda answer: Answer(200, {"content-type": "text/html"}, answer.body)),
    "an error": ("tif", lambda _: Answer(200, JSON, b'{"error": {"code": 429, "message": "Too many"}}')),
    "a part": ("npy", lambda answer: Answer(206, answer.headers, answer.body)),
    "nested error": ("npy", lambda _: Answer(503, JSON, NESTED)),
    "half a gzip": ("npy", lambda answer: Answer(200, answer.headers, gzip.compress(answer.body)[:-20])),
    "a header": ("npy", lambda answer: Answer(200, answer.headers, b"\x93NUMPY\1\0\x0b\0{'descr': (")),
}


@pytest.fixture
def altered_run(demo_server: Server, tmp_path: Path) -> Callable[..., Run]:
    def make(name: str, suffix: str, alter: Callable[[Answer], Answer] | None) -> Run:
        answers: list[Answer] = []

        def first(path: str, _: bytes, answer: Answer) -> Answer:
            if alter is None or not path.partition("?")[0].endswith(":computePixels"):
                return answer
            answers.append(answer)
            return alter(answer) if len(answers) == 1 else answer

        with altering_front(demo_server.url, first) as url:
            return run_script(
                tmp_path / name, BANDS, url, parameters={"format": suffix}, method="pixels", executor="threads",
                retry_delay=0.01,
            )  # fmt: skip

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_response_is_requested_again(altered_run: Callable[..., Run], name: str) -> None:
    suffix, alter = ALTERED[name]
    honest, altered = altered_run("honest", suffix, None), altered_run("altered", suffix, alter)
    assert altered.units["state"].tolist() == ["done"], altered.units["error"].tolist()
    assert altered.units["attempts"].tolist() == [2]
    assert altered.units["requests"].iloc[0] == honest.units["requests"].iloc[0] + 1
    assert altered.units["sha256"].tolist() == honest.units["sha256"].tolist()
