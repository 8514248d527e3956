"""Requests of templates: what is written into the text is what the real client would have sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eechips import Chip, Grid, Template
from eechips.client.fetch import Fetcher
from eechips.client.pixels import Method
from eechips.client.requests import Request, _meaning
from eechips.engine.config import RunConfig
from eechips.engine.run import connect
from eechips.jobs.chips import ChipSample
from eechips.recipe import ChipFormat
from tests.engine_service import serving

GRID = Grid("EPSG:32613", (30.0, 0.0, 300000.0, 0.0, -30.0, 4400000.0), 64, 32)
numbers = st.floats(-1e7, 1e7, allow_nan=False) | st.integers(-180, 180)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.fixture(scope="module")
def fetchers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Fetcher]]:
    with serving() as service:
        config = RunConfig(out=tmp_path_factory.mktemp("out"), endpoint=service.url)
        with connect(config) as session:
            yield {method: Fetcher(session.connection, method) for method in ("url", "pixels")}


def filled(fetcher: Fetcher, chip: Chip) -> Request | None:
    return fetcher._requests.fill(chip)


def of_the_client(fetcher: Fetcher, chip: Chip) -> Request:
    assert isinstance(chip.image, Template)
    plain = replace(chip, image=chip.image.image())
    return fetcher._transport.capture(lambda: fetcher._send(plain))


def scene(asset: str, corners: list[float], reach: float, word: str) -> ee.Image:
    box = ee.Geometry.Rectangle(corners, None, False)
    near = ee.Geometry.Point(corners[:2]).buffer(reach)
    found = ee.ImageCollection(asset).filterBounds(box).filterBounds(near).filter(ee.Filter.eq("word", word))
    image: ee.Image = found.mosaic().clip(near)
    return image


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    corners=st.lists(numbers, min_size=4, max_size=4),
    reach=st.floats(1, 1e6),
    word=texts,
    place=st.tuples(st.floats(0.1, 100), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)),
    method=st.sampled_from(["url", "pixels"]),
    format=st.sampled_from(["png", "tif", "npy"]),
)
def test_a_filled_request_is_the_clients_own(
    fetchers: dict[str, Fetcher],
    corners: list[float],
    reach: float,
    word: str,
    place: tuple[float, float, float],
    method: Method,
    format: ChipFormat,
) -> None:
    scale, x, y = place
    grid = Grid("EPSG:32613", (scale, 0.0, x, 0.0, -scale, y), 64, 32)
    template = Template(scene, ("A/B",), {"corners": corners, "reach": reach, "word": word})
    look = {"min": 0, "max": 255} if format == "png" else {}
    chip = Chip(template, grid=grid, format=format, bands=("R", "G", "B"), visualization=look)
    request = filled(fetchers[method], chip)
    assert request is not None
    expected = of_the_client(fetchers[method], chip)
    assert _meaning(request.body) == _meaning(expected.body)
    assert (request.uri, request.headers) == (expected.uri, expected.headers)


def computing(corners: list[float]) -> ee.Image:
    return ee.Image.constant(corners[0] + 1)


def deciding(corners: list[float]) -> ee.Image:
    return ee.Image.constant(corners[0]) if corners[1] > 0 else ee.Image.constant(corners[1])


def ignoring(corners: list[float]) -> ee.Image:
    return ee.Image.constant(corners[0])


def comparing(corners: list[float]) -> ee.Image:
    return ee.Image.constant(0 if corners[0] == 7 else corners[0]).add(corners[1])


def looking_up(corners: list[float]) -> ee.Image:
    return ee.Image.constant(corners[0]).add(corners[1]).multiply({7.5: 2}.get(corners[0], 1))


@pytest.mark.parametrize("build", [computing, deciding, ignoring, comparing, looking_up])
def test_a_function_that_does_more_than_pass_on_is_called_for_each_chip(
    fetchers: dict[str, Fetcher], build: Any
) -> None:
    chip = Chip(Template(build, values={"corners": [1.5, 2.5]}), grid=GRID)
    assert filled(fetchers["pixels"], chip) is None
    assert "Image.constant" in of_the_client(fetchers["pixels"], chip).body


def test_chips_without_grid_or_template_are_not_filled_in(fetchers: dict[str, Fetcher]) -> None:
    assert filled(fetchers["url"], Chip(ee.Image(1), grid=GRID)) is None
    box = ee.Geometry.Rectangle([0, 0, 1, 1])
    template = Template(scene, ("A",), {"corners": [0, 0, 1, 1], "reach": 5, "word": "x"})
    assert filled(fetchers["url"], Chip(template, region=box, dimensions=(8, 8))) is None


@pytest.mark.parametrize("method", ["url", "pixels"])
@pytest.mark.parametrize(("format", "grid"), [("png", "thumb"), ("png", "native"), ("tif", "native"), ("npy", "thumb")])
@pytest.mark.parametrize("has_source", [True, False])
def test_sample_fills_in_its_requests(
    fetchers: dict[str, Fetcher], method: Method, format: ChipFormat, grid: Any, has_source: bool, tmp_path: Path
) -> None:
    recipe = ChipSample(dataset="NAIP", per_ecoregion=1, format=format, grid=grid, size=64)
    square = Grid("EPSG:32613", (1.0, 0.0, 5e5, 0.0, -1.0, 44e5), 64, 64)
    for shift in (0.0, 123.25):
        moved = replace(square, transform=(1.0, 0.0, 5e5 + shift, 0.0, -1.0, 44e5))
        unit = {"kind": "point", "coordinates": [-105.0 + shift / 100, 40.0], "grid": moved.to_json()}
        chip = recipe.get_result(0, {**unit, "image": f"m_{shift}"} if has_source else unit)
        request = filled(fetchers[method], chip)
        assert request is not None
        assert _meaning(request.body) == _meaning(of_the_client(fetchers[method], chip).body)
