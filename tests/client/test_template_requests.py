"""Requests filled into templates equal those of the real client."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import ee
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eechips import Chip, Grid, Template
from eechips.client.chip_parameters import Method
from eechips.client.fetcher import Fetcher
from eechips.client.http.http_messages import HttpRequest
from eechips.client.template_requests import TemplateMismatch, TemplateRequests, _meaning
from eechips.engine.config import RunConfig
from eechips.engine.service.session import connect
from eechips.jobs.samples.chips import ChipSample
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
    template = Template(scene, ("A/B",), {"corners": corners, "reach": reach, "word": word})
    look = {"min": 0, "max": 255} if format == "png" else {}
    chip = Chip(template, grid=grid, format=format, bands=("R", "G", "B"), visualization=look)
    request = filled(fetchers[method], chip)
    assert request is not None
    expected = of_the_client(fetchers[method], chip)
    assert _meaning(request.text) == _meaning(expected.text)
    assert (request.url, request.headers) == (expected.url, expected.headers)


def summed(*values: Any) -> ee.Image:
    image = ee.Image.constant(0)
    for value in values:
        image = image.add(ee.Image.constant(value) if isinstance(value, float) else ee.Image(ee.String(value).length()))
    return image


def swallowing(name: str, x: float) -> ee.Image:
    try:
        is_far = x > 100
    except Exception:  # noqa: BLE001 - as recipes do
        is_far = False
    return summed(name, x).multiply(2 if is_far else 1)


class Place:
    """A mapping of texts, as recipes have them."""

    factors: ClassVar[dict[Any, float]] = {"a": 2.0, "": 3.0, 1.0: 4.0, 0.0: 5.0}


DECIDING: dict[str, Callable[[str, float], ee.Image]] = {
    "equality of texts": lambda name, x: summed(name, x).multiply(2 if name == "a" else 1),
    "equality the other way": lambda name, x: summed(name, x).multiply(2 if "a" == name else 1),  # noqa: SIM300
    "inequality of texts": lambda name, x: summed(name, x).multiply(2 if name != "a" else 1),
    "lookup of a text": lambda name, x: summed(name, x).multiply(Place.factors.get(name, 1.0)),
    "text in a set": lambda name, x: summed(name, x).multiply(2 if name in {"a", "b"} else 1),
    "text in a list": lambda name, x: summed(name, x).multiply(2 if name in ["a", "b"] else 1),
    "text in a text": lambda name, x: summed(name, x).multiply(2 if name in "abc" else 1),
    "letter in the text": lambda name, x: summed(name, x).multiply(2 if "a" in name else 1),
    "beginning": lambda name, x: summed(name, x).multiply(2 if name.startswith("a") else 1),
    "order": lambda name, x: summed(name, x).multiply(2 if name < "b" else 1),
    "length": lambda name, x: summed(name, x).multiply(len(name) + 1),
    "emptiness": lambda name, x: summed(name, x).multiply(2 if name else 1),
    "first letter": lambda name, x: summed(name, x).multiply(2 if name[:1] == "a" else 1),
    "letters": lambda name, x: summed(name, x).multiply(1 + sum(letter == "a" for letter in name)),
    "f-string": lambda name, x: summed(f"{name}_x", name, x),
    "format": lambda name, x: summed("{}/{}".format("a", name), name, x),
    "percent": lambda name, x: summed("a/%s" % name, name, x),  # noqa: UP031
    "sum of texts": lambda name, x: summed("a/" + name, name, x),
    "joined texts": lambda name, x: summed("/".join(["a", name]), name, x),
    "upper case": lambda name, x: summed(name.upper(), name, x),
    "match": lambda name, x: summed(name, x).multiply(2 if re.match("a", name) else 1),
    "date": lambda name, x: summed(name, x).multiply(2 if datetime.fromisoformat("2020-01-01") and name == "b" else 1),
    "text of the number": lambda name, x: summed(str(x), name, x),
    "number in a text": lambda name, x: summed(f"{x:.1f}", name, x),
    "comparison of numbers": lambda name, x: summed(name, x).multiply(2 if x >= 1 else 1),
    "equality of numbers": lambda name, x: summed(name, x).multiply(2 if x == 1 else 1),
    "lookup of a number": lambda name, x: summed(name, x).multiply(Place.factors.get(x, 1.0)),
    "largest": lambda name, x: summed(name, max(x, 1.0), x),
    "sine": lambda name, x: summed(name, math.sin(x), x),
    "sign of a sine": lambda name, x: summed(name, x).multiply(2 if math.sin(x) < 0 else 1),
    "array": lambda name, x: summed(name, x).multiply(2 if (np.array([x]) > 1).any() else 1),
    "rounded": lambda name, x: summed(name, float(round(x)), x),
    "whole number": lambda name, x: summed(name, x).multiply(2 if x.is_integer() else 1),
    "swallowed error": swallowing,
    "nothing": summed,
}
"""Functions of templates by what they do with their values, besides passing them on."""
UNNOTICED = ("text in a text", "match", "sine", "sign of a sine", "array", "joined texts")
"""Those that no guard notices: the interpreter reads the memory of the value."""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    what=st.sampled_from([*DECIDING]),
    units=st.lists(st.tuples(st.sampled_from(["a", "b", "", "ab", "c"]), st.sampled_from([0.0, 1.0, -1.5, 500.0]))),
)
def test_requests_are_the_same_with_and_without_a_template(
    fetchers: dict[str, Fetcher], what: str, units: list[tuple[str, float]]
) -> None:
    requests = TemplateRequests(fetchers["pixels"].requests._capture)
    for name, x in units[:16]:
        chip = Chip(Template(DECIDING[what], values={"name": name, "x": x}), grid=GRID)
        request = requests.fill(chip)
        if request is not None:
            assert _meaning(request.text) == _meaning(of_the_client(fetchers["pixels"], chip).text), (what, units)


@pytest.mark.parametrize("what", [what for what in DECIDING if what not in UNNOTICED and what != "nothing"])
def test_templates_that_branch_on_a_value_are_called_for_each_chip(fetchers: dict[str, Fetcher], what: str) -> None:
    chip = Chip(Template(DECIDING[what], values={"name": "z", "x": 2.5}), grid=GRID)
    assert filled(fetchers["pixels"], chip) is None
    assert "Image.constant" in of_the_client(fetchers["pixels"], chip).body


def test_templates_that_only_pass_values_are_filled_in(fetchers: dict[str, Fetcher]) -> None:
    chip = Chip(Template(summed_pair, values={"name": "z", "x": 2.5}), grid=GRID)
    assert filled(fetchers["pixels"], chip) is not None


def summed_pair(name: str, x: float) -> ee.Image:
    return summed(name, x)


def doubling_large(x: float) -> ee.Image:
    return ee.Image.constant(x).multiply(2 if math.hypot(x, 0.0) > 50 else 1)


def test_a_late_branch_stops_filling_and_names_the_units_since_the_last_comparison(
    fetchers: dict[str, Fetcher],
) -> None:
    requests = TemplateRequests(fetchers["pixels"].requests._capture)

    def fill(first: int, *values: float, again: bool = False) -> list[HttpRequest | None]:
        found = []
        for position, x in enumerate(values, first):
            with requests.unit_context(position, is_repeated=again):
                found.append(requests.fill(Chip(Template(doubling_large, values={"x": x}), grid=GRID)))
        return found

    assert None not in fill(0, *(number / 10 for number in range(500)))
    assert fill(500, 1.0, again=True) == [None]
    assert not requests.take_mismatches()
    found = fill(500, *(100.0 + number for number in range(100)))
    assert found.index(None) == 511 - 500  # its 512th request
    assert set(found[11:]) == {None}
    (doubt,) = requests.take_mismatches()
    assert doubt == TemplateMismatch("doubling_large", tuple(range(448, 511)))
    assert not requests.take_mismatches()


def constant(kind: Any, x: float) -> ee.Image:
    return ee.Image.constant(x).set("kind", kind).set("is_none", kind is None)


def test_values_of_different_types_are_different_templates(fetchers: dict[str, Fetcher]) -> None:
    for kind in (1, True, 1.0, None, False, 0, "1"):
        for template in (Template(constant, (kind,), {"x": 2.5}), Template(constant, values={"kind": kind, "x": 2.5})):
            chip = Chip(template, grid=GRID)
            request = filled(fetchers["pixels"], chip)
            expected = of_the_client(fetchers["pixels"], chip)
            assert request is not None
            assert _meaning(request.text) == _meaning(expected.text)


def test_functions_made_for_every_chip_do_not_accumulate(fetchers: dict[str, Fetcher]) -> None:
    requests = TemplateRequests(
        lambda _: HttpRequest("POST", "", '{"expression": {"result": "0", "values": {"0": {}}}}', {})
    )
    for _ in range(1500):
        requests.fill(Chip(Template(lambda: ee.Image(1)), grid=GRID))
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
        chip = Chip(Template(scene, ("A",), values), grid=grid, format="tif", bands=("B1",))
        request = requests.fill(chip)
        assert request is not None
        assert _meaning(request.text) == _meaning(of_the_client(fetchers[method], chip).text)
    assert len(requests._templates) == templates


def test_chips_without_grid_or_template_are_not_filled_in(fetchers: dict[str, Fetcher]) -> None:
    assert filled(fetchers["url"], Chip(ee.Image(1), grid=GRID)) is None
    box = ee.Geometry.Rectangle([0, 0, 1, 1])
    template = Template(scene, ("A",), {"corners": [0, 0, 1, 1], "reach": 5, "word": "x"})
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
