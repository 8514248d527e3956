"""The recipes of ``images`` and ``composites``: identity, parameters, serialisation."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from eechips.builtin_recipes.rasters.composites import Composites
from eechips.builtin_recipes.rasters.imagery import ClipArea
from eechips.builtin_recipes.rasters.images import Images
from eechips.errors import UsageError
from eechips.planning.areas.regions import parse_region

Recipe = type[Images] | type[Composites]
RECIPES = pytest.mark.parametrize("recipe", [Images, Composites])


def made(recipe: Recipe, **options: Any) -> Images | Composites:
    return recipe(**{"dataset": "S2", "roi": "5,45,6,46", **options})


@RECIPES
@pytest.mark.parametrize(
    "options",
    [
        {"dataset": "L8"},
        {"bands": "B8"},
        {"mask": "auto"},
        {"mask": "cs:0.5"},
        {"format": "npy"},
        {"format": "png"},
        {"clip": True},
    ],
)
def test_options_that_change_files_change_the_identity(recipe: Recipe, options: dict[str, Any]) -> None:
    assert made(recipe, **options).identity != made(recipe).identity


@RECIPES
@pytest.mark.parametrize(
    "options",
    [
        {"roi": "5,45,6,47"},
        {"start": "2020-01-01"},
        {"end": "2020-01-01"},
        {"where": "CLOUDY_PIXEL_PERCENTAGE < 5"},
        {"crs": "utm"},
        {"scale": 20.0},
        {"grid": "a/b"},
        {"crs": "EPSG:3857", "grid": [10, 0, 0, 0, -10, 0]},
    ],
)
def test_options_that_change_the_plan_change_the_parameters(recipe: Recipe, options: dict[str, Any]) -> None:
    """These change units: their dates, or their grids."""
    assert made(recipe, **options).identity == made(recipe).identity
    assert made(recipe, **options).parameters != made(recipe).parameters


@RECIPES
def test_a_clipped_result_depends_on_the_region(recipe: Recipe) -> None:
    assert made(recipe, clip=True).identity != made(recipe, clip=True, roi="5,45,6,47").identity


def test_composites_differ_by_reducer_and_periods() -> None:
    assert made(Composites, reducer="mean").identity != made(Composites).identity
    assert made(Composites, every="week").parameters != made(Composites).parameters
    assert made(Composites, every="month").parameters == made(Composites, every=" 1 Months").parameters


@RECIPES
def test_equivalent_options_make_the_same_recipe(recipe: Recipe) -> None:
    one = made(recipe, bands="B4,B3", mask="auto", where="CLOUDY_PIXEL_PERCENTAGE  <  5")
    other = made(
        recipe, dataset="COPERNICUS/S2_SR_HARMONIZED", bands=["B4", "B3"], mask="SCL:cirrus,cloud,shadow,defective",
        where=["CLOUDY_PIXEL_PERCENTAGE < 5"],
    )  # fmt: skip
    assert one.identity == other.identity
    assert one.parameters == other.parameters


@RECIPES
def test_recipes_are_serialisable_and_their_parameters_are_json(recipe: Recipe) -> None:
    one = made(recipe, mask="auto", where=["A < 5", "B in (1, 2)"], clip=True, crs="utm")
    again = pickle.loads(pickle.dumps(one))
    assert again.identity == one.identity
    assert json.loads(json.dumps(again.parameters)) == one.parameters


@RECIPES
def test_datasets_of_a_recipe_are_listed(recipe: Recipe) -> None:
    assert made(recipe).datasets == ("COPERNICUS/S2_SR_HARMONIZED",)
    assert made(recipe, mask="cs", roi="A/B:C=D").datasets == (
        "COPERNICUS/S2_SR_HARMONIZED",
        "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED",
        "A/B",
    )


@RECIPES
def test_options_that_contradict_each_other_are_refused(recipe: Recipe) -> None:
    for options, message in (
        ({"mask": "qa_pixel"}, "has no such mask"),
        ({"where": ["A < 5", "B ~ 5"]}, "is not a condition"),
        ({"crs": "utm", "grid": "a/b"}, "leave `crs` out"),
        ({"bands": ""}, "at least one band"),
        ({"start": "2020-01-01", "end": "2019-01-01"}, "must be before the end"),
    ):
        with pytest.raises(UsageError, match=message):
            made(recipe, **options)


def test_an_area_can_be_part_of_a_template() -> None:
    box = ClipArea.of(parse_region("179,-17,-179,-16"))
    assert box == ClipArea.of(parse_region("179,-17.0,-179,-16"))
    assert hash(box) == hash(ClipArea.of(parse_region("179,-17,-179,-16")))
    assert ClipArea.of(parse_region("A/B:C=12")).table == ("A/B", "C", "12")
