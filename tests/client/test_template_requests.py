"""Requests filled into templates equal those of the real client."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eechips import Chip, Grid, Template
from eechips.builtin_recipes.samples.chips import ChipSample
from eechips.client.chip_groups import stack_chips
from eechips.client.chip_parameters import Method
from eechips.client.fetcher import Fetcher
from eechips.client.http.http_messages import HttpRequest
from eechips.client.template_requests import TemplateRequests, _meaning
from eechips.engine.config import RunConfig
from eechips.engine.service.session import connect
from tests.support.engine_service import serving

GRID = Grid("EPSG:32613", (30.0, 0.0, 300000.0, 0.0, -30.0, 4400000.0), 64, 32)
numbers = st.floats(-1e7, 1e7, allow_nan=False) | st.integers(-180, 180)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.fixture(scope="module")
def fetchers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Fetcher]]:
    with serving() as service:
        config = RunConfig(out=tmp_path_factory.mktemp("out"), endpoint=service.url)
        with connect(config) as session:
            yield {method: Fetcher(session.connection, method) for method in ("url", "pixels")}


def filled(fetcher: Fetcher, chip: Chip) -> HttpRequest | None:
    return fetcher.requests.fill(chip)


def of_the_client(fetcher: Fetcher, chip: Chip) -> HttpRequest:
    assert isinstance(chip.image, Template)
    plain = replace(chip, image=chip.image.image())
    return fetcher._transport.capture(lambda: fetcher._send(plain))


def scene(asset: str, corners: list[float], reach: float, word: str) -> ee.Image:
    box = ee.Geometry.Rectangle(corners, None, False)
    near = ee.Geometry.Point(corners[:2]).buffer(reach)
    found = ee.ImageCollection(asset).filterBounds(box).filterBounds(near).filter(ee.Filter.eq("word", word))
    image: ee.Image = found.mosaic().clip(near)
    return image


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    corners=st.lists(numbers, min_size=4, max_size=4),
    reach=st.floats(1, 1e6),
    word=texts,
    place=st.tuples(st.floats(0.1, 100), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)),
    method=st.sampled_from(["url", "pixels"]),
    format=st.sampled_from(["png", "tif", "npy"]),
)
def test_a_filled_request_equals_the_clients_request(
    fetchers: dict[str, Fetcher],
    corners: list[float],
    reach: float,
    word: str,
    place: tuple[float, float, float],
    method: Method,
    format: str,
) -> None:
    scale, x, y = place
    grid = Grid("EPSG:32613", (scale, 0.0, x, 0.0, -scale, y), 64, 32)
    template = Template(scene, ("A/B",), {"corners": corners, "reach": reach, "word": word}, passes_values=True)
    look = {"min": 0, "max": 255} if format == "png" else {}
    chip = Chip(template, grid=grid, format=format, bands=("R", "G", "B"), visualization=look)
    request = filled(fetchers[method], chip)
    assert request is not None
    expected = of_the_client(fetchers[method], chip)
    assert _meaning(request.text) == _meaning(expected.text)
    assert (request.url, request.headers) == (expected.url, expected.headers)


def test_templates_that_may_compute_with_their_values_are_built_for_each_chip(fetchers: dict[str, Fetcher]) -> None:
    template = Template(
        scene, ("A/B",), {"corners": [0.0, 0.0, 1.0, 1.0], "reach": 5.0, "word": "x"}, passes_values=True
    )
    chips = [Chip(template, grid=GRID, bands=("R",), dtype="uint8"), Chip(of_sine(), grid=GRID, bands=("G",))]
    assert filled(fetchers["pixels"], chips[0]) is not None
    assert filled(fetchers["pixels"], chips[1]) is None
    assert filled(fetchers["pixels"], stack_chips(chips[:1] * 2)) is not None
    assert filled(fetchers["pixels"], stack_chips(chips)) is None


def of_sine() -> Template:
    return Template(lambda x: ee.Image.constant(math.sin(x)), values={"x": 2.5})


def constant(kind: Any, x: float) -> ee.Image:
    return ee.Image.constant(x).set("kind", kind).set("is_none", kind is None)


def test_values_of_different_types_are_different_templates(fetchers: dict[str, Fetcher]) -> None:
    for kind in (1, True, 1.0, None, False, 0, "1"):
        for template in (
            Template(constant, (kind,), {"x": 2.5}, passes_values=True),
            Template(constant, values={"kind": kind, "x": 2.5}, passes_values=True),
        ):
            chip = Chip(template, grid=GRID)
            request = filled(fetchers["pixels"], chip)
            expected = of_the_client(fetchers["pixels"], chip)
            assert request is not None
            assert _meaning(request.text) == _meaning(expected.text)


def test_templates_of_every_chip_do_not_accumulate(fetchers: dict[str, Fetcher]) -> None:
    requests = TemplateRequests(
        lambda _: HttpRequest("POST", "", '{"expression": {"result": "0", "values": {"0": {}}}}', {})
    )
    for number in range(1500):
        requests.fill(Chip(Template(constant, (number, 1.5), passes_values=True), grid=GRID))
    assert len(requests._templates) <= 1000


@pytest.mark.slow
@pytest.mark.parametrize(("method", "templates"), [("pixels", 1), ("url", 40)])
def test_chips_of_all_sizes_have_one_template_where_the_size_is_in_the_grid_only(
    fetchers: dict[str, Fetcher], method: Method, templates: int
) -> None:
    requests = TemplateRequests(fetchers[method].requests._capture, fills_size=method == "pixels")
    for number in range(40):
        grid = replace(GRID, width=64 + number, height=32 * (1 + number % 3))
        values = {"corners": [0, 0, 1, number], "reach": 5.0, "word": "x"}
        chip = Chip(Template(scene, ("A",), values, passes_values=True), grid=grid, format="tif", bands=("B1",))
        request = requests.fill(chip)
        assert request is not None
        assert _meaning(request.text) == _meaning(of_the_client(fetchers[method], chip).text)
    assert len(requests._templates) == templates


def test_chips_without_grid_or_template_are_not_filled_in(fetchers: dict[str, Fetcher]) -> None:
    assert filled(fetchers["url"], Chip(ee.Image(1), grid=GRID)) is None
    box = ee.Geometry.Rectangle([0, 0, 1, 1])
    template = Template(scene, ("A",), {"corners": [0, 0, 1, 1], "reach": 5, "word": "x"}, passes_values=True)
    assert filled(fetchers["url"], Chip(template, region=box, dimensions=(8, 8))) is None


@pytest.mark.parametrize("method", ["url", "pixels"])
@pytest.mark.parametrize(("format", "grid"), [("png", "thumb"), ("png", "native"), ("tif", "native"), ("npy", "thumb")])
@pytest.mark.parametrize("has_source", [True, False])
def test_sample_fills_in_its_requests(
    fetchers: dict[str, Fetcher], method: Method, format: str, grid: Any, has_source: bool, tmp_path: Path
) -> None:
    recipe = ChipSample(dataset="NAIP", per_ecoregion=1, format=format, grid=grid, size=64)
    square = Grid("EPSG:32613", (1.0, 0.0, 5e5, 0.0, -1.0, 44e5), 64, 64)
    for shift in (0.0, 123.25):
        moved = replace(square, transform=(1.0, 0.0, 5e5 + shift, 0.0, -1.0, 44e5))
        unit = {"kind": "point", "coordinates": [-105.0 + shift / 100, 40.0], "grid": moved.to_json()}
        chip = recipe.get_result(0, {**unit, "image": f"m_{shift}"} if has_source else unit)
        request = filled(fetchers[method], chip)
        assert request is not None
        assert _meaning(request.text) == _meaning(of_the_client(fetchers[method], chip).text)
