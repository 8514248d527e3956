"""Estimates of the requests of units that share some, beside the requests of a run of all units."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from eechips.engine.config import RunConfig
from eechips.engine.costs.forecast import JoiningEstimate, UnitRequests
from eechips.engine.joining.unit_joining import RequestCosts
from eechips.errors import UsageError
from eechips.geo.grid import Grid
from eechips.manifest.manifest_columns import WorkUnit
from eechips.manifest.sqlite.ledger import Ledger
from eechips.recipe import Chip, Unit, canonical_json
from eechips.recipe.results import Template

SIZE = 32
CRS = "EPSG:32613"


def _image(*, image: str) -> Any:
    raise AssertionError(f"{image} is not made: an estimate sends no request")


class Places:
    """A recipe of chips around places in degrees, each of which shows the image of the square that it lies in."""

    name, identity, parameters = "places", "0" * 64, {}

    def __init__(self, count: int, extent: float, seed: int = 0) -> None:
        draw = random.Random(seed)
        self.points = [(10 + extent * draw.random(), extent * draw.random()) for _ in range(count)]

    def unit(self, position: int) -> Unit:
        longitude, latitude = self.points[position]
        x, y = (round(degrees * 111_320 / 10) * 10.0 for degrees in (longitude, latitude))
        grid = Grid(CRS, (10.0, 0.0, x, 0.0, -10.0, y), SIZE, SIZE)
        return {"kind": "point", "grid": grid.to_json(), "image": f"{x // 500},{y // 500}"}

    def get_result(self, index: int, unit: Unit) -> Chip:
        if unit["image"] is None:
            raise UsageError("no image")
        image = Template(_image, values={"image": unit["image"]})
        return Chip(image, grid=Grid.from_json(unit["grid"]), bands=("a",), dtype="uint8", format="tif")

    def request_window(self, unit: Unit) -> tuple[Any, Grid] | None:
        return unit["image"], Grid.from_json(unit["grid"])

    def work_units(self) -> list[WorkUnit]:
        return [
            WorkUnit(position, f"{position:064x}", canonical_json(self.unit(position)), str(position))
            for position in range(len(self.points))
        ]


def joining(recipe: Places) -> JoiningEstimate:
    config = RunConfig(out=Path("out"))
    return JoiningEstimate(recipe, config, recipe.request_window, RequestCosts(), 40)  # type: ignore[arg-type]


@pytest.mark.parametrize("extent", [0.05, 0.2])
def test_places_bound_the_requests_of_all_units(extent: float) -> None:
    recipe = Places(300, extent)
    took = joining(recipe).count([recipe.unit(position) for position in range(300)])
    found = joining(recipe).of_places(recipe.points, recipe.unit(0))
    assert found.low * 300 < took <= found.high * 300 == 300


def test_places_far_from_each_other_share_no_request() -> None:
    recipe = Places(200, 20.0)
    assert joining(recipe).of_places(recipe.points, recipe.unit(0)) == UnitRequests(1, 1, 1, 1.0)


@pytest.mark.slow
def test_units_of_a_whole_plan_are_joined_as_the_run_does(tmp_path: Path) -> None:
    recipe = Places(300, 0.05)
    estimating = joining(recipe)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.store_plan({}, recipe.work_units())
        found = estimating.of_ledger(ledger, 300)
    assert found is not None
    assert found.mean * 300 == pytest.approx(estimating.count([recipe.unit(position) for position in range(300)]))
    assert found.low == found.mean == found.high  # each assignment is one request


def test_a_unit_without_a_result_takes_no_request() -> None:
    recipe = Places(2, 20.0)
    assert joining(recipe).count([recipe.unit(0), {**recipe.unit(1), "image": None}]) == 1
