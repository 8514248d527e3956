"""The recipes of commands: identity, compared parameters, serialisation."""

from __future__ import annotations

import datetime as dt
import json
import pickle
import re
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import ee
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from eechips.builtin_recipes.chosen_dataset import check_dataset
from eechips.builtin_recipes.rasters.composites import Composites
from eechips.builtin_recipes.rasters.images import Images
from eechips.builtin_recipes.rasters.mosaic import MosaicRecipe
from eechips.builtin_recipes.recipe_options import find_formulas, find_indices, make_recipe, slug, split_list
from eechips.builtin_recipes.render_style import parse_stretch
from eechips.builtin_recipes.samples.chips import ChipSample, sample_recipe
from eechips.builtin_recipes.tables.points import PointValues
from eechips.builtin_recipes.tables.timeseries import TimeSeries
from eechips.builtin_recipes.user_recipes import script_recipe
from eechips.commands.fetching import find_command
from eechips.errors import RegionError, UnknownDatasetError, UsageError
from eechips.recipe import Recipe

WRONG_TYPES: list[tuple[str, str, list[Any]]] = [
    ("size", "a whole number or a pair of them, not", ["16", 16.5, (16,), ("16", "16"), {"width": 16}]),
    ("bands", "a text, as on the command line or a list, not", [3, [1, 2], {"R", "G"}, {"NAIP": 3}]),
    ("index", "a text, as on the command line or a list, not", [3.7, [None]]),
    ("where", "a text, as on the command line or a list, not", [3.7, [None]]),
    ("dataset", "a text, as on the command line or a list, not", [None, 3, ["NAIP", None], [Path("NAIP")]]),
    ("columns", "a text, as on the command line or a dictionary, not", [3, {"lon": 1}]),
]
"""Options of a sample, what the error says, and values of other types."""


def chips(**options: Any) -> ChipSample:
    return ChipSample(**{"dataset": "NAIP", "per_ecoregion": 5, **options})


def series(**options: Any) -> TimeSeries:
    return TimeSeries(**{"dataset": "MODIS_LST", "regions": "A/B", "columns": "id=X", **options})


def made_series(**options: Any) -> TimeSeries:
    """Return what :func:`eechips.timeseries` makes of options."""
    return make_recipe(TimeSeries, {"dataset": "MODIS_LST", "regions": "A/B", "columns": "id=X", **options})[0]


@pytest.mark.parametrize(
    "options",
    [
        {"size": 64},
        {"scale": 2.0},
        {"bands": ("N", "R", "G")},
        {"start": "2020-01-01"},
        {"end": "2020-01-01"},
        {"format": "jpg"},
        {"grid": "native"},
        {"stretch": (10.0, 200.0)},
        {"dataset": "S2", "roi": "0,0,1,1"},
    ],
)
def test_options_that_change_chips_change_the_identity(options: dict[str, Any]) -> None:
    assert chips(**options).identity != chips().identity


@pytest.mark.parametrize(
    "make",
    [
        lambda path: chips(dataset=path, roi="0,0,1,1", format="tif"),
        lambda path: series(dataset=path),
        lambda path: MosaicRecipe(dataset=path, roi="0,0,1,1"),
        lambda path: PointValues(dataset=path, points=path.replace("s2.toml", "points.csv")),
        lambda path: Images(dataset=path, roi="0,0,1,1"),
    ],
)
def test_a_file_of_a_dataset_whose_default_bands_changed_is_another_run(
    make: Callable[[str], Recipe], tmp_path: Path
) -> None:
    record = (files("eechips.datasets.records") / "s2.toml").read_text(encoding="utf-8")
    path = tmp_path / "s2.toml"
    path.write_text(record)
    (tmp_path / "points.csv").write_text("longitude,latitude\n5,45\n")
    before = make(str(path)).parameters
    assert make(str(path)).parameters == before
    path.write_text(record.replace('default_bands = ["B4", "B3", "B2"]', 'default_bands = ["B8", "B4", "B3"]'))
    assert make(str(path)).parameters != before


@pytest.mark.parametrize(
    "options",
    [
        {"per_ecoregion": 9},
        {"seed": 3},
        {"limit": 2},
        {"roi": "0,0,1,1"},
        {"dataset": "USDA/NAIP/DOQQ"},
        {"grid": "thumb"},
    ],
)
def test_options_of_the_plan_keep_the_identity(options: dict[str, Any]) -> None:
    assert chips(**options).identity == chips().identity


def test_options_of_the_plan_change_the_parameters() -> None:
    for options in ({"per_ecoregion": 9}, {"seed": 3}, {"limit": 2}, {"roi": "0,0,1,1"}, {"per_ecoregion": "9:A/B"}):
        assert chips(**options).parameters != chips().parameters


@pytest.mark.parametrize(
    "options",
    [
        {"reducer": "max"},
        {"bands": ("LST_Night_1km",)},
        {"scale": 500.0},
        {"multiply": 0.02},
        {"add": 1.0},
        {"start": "2020-01-01"},
        {"format": "parquet"},
        {"regions": "A/C"},
        {"columns": "id=Y"},
    ],
)
def test_options_that_change_tables_change_the_identity(options: dict[str, Any]) -> None:
    assert series(**options).identity != series().identity
    assert series(bbox="0,0,1,1").identity == series().identity
    assert series(bbox="0,0,1,1").parameters != series().parameters


@pytest.mark.parametrize("recipe", [chips(), chips(roi="0,0,1,1", format="tif"), series()], ids=lambda r: r.name)
def test_recipes_are_serialisable_and_their_parameters_are_json(recipe: ChipSample | TimeSeries) -> None:
    again = pickle.loads(pickle.dumps(recipe))
    assert again.identity == recipe.identity
    assert again.parameters == recipe.parameters
    assert json.loads(json.dumps(recipe.parameters)) == recipe.parameters


@pytest.mark.slow
def test_the_same_region_file_edited_is_another_plan(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    found = []
    for box in (shapely.box(0, 0, 1, 1), shapely.box(0, 0, 2, 2)):
        gpd.GeoDataFrame(geometry=[box], crs="EPSG:4326").to_file(path)
        found.append((chips(roi=str(path)).parameters, series(regions=str(path), columns="").parameters))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


@pytest.mark.parametrize(
    ("options", "format"),
    [
        ({"dataset": "NAIP"}, "png"),
        ({"dataset": "S2"}, "png"),
        ({"dataset": "S2", "bands": "B2,B3,B4"}, "png"),
        ({"dataset": "S2", "bands": "B4,B3,B2,B8"}, "tif"),
        ({"dataset": "S2", "bands": "B8,B4,B3"}, "tif"),
        ({"dataset": "SRTM"}, "tif"),
        ({"dataset": "SRTM", "stretch": "0,4000"}, "png"),
        ({"dataset": "WORLDCOVER"}, "tif"),
        ({"dataset": "projects/p/assets/a"}, "tif"),
        ({"dataset": ["S2", "SRTM"]}, "tif"),
        ({"dataset": "NAIP", "format": "TIFF"}, "tif"),
        ({"dataset": "SRTM", "format": "jpeg"}, "jpg"),
    ],
)
def test_the_default_format_follows_the_dataset(options: dict[str, Any], format: str) -> None:
    assert ChipSample(total=1, roi="0,0,1,1", **options).sample.style.format == format


def test_defaults_follow_the_format() -> None:
    assert chips().sample.grid_mode == chips(format="jpg").sample.grid_mode == "thumb"
    assert chips(format="tif").sample.grid_mode == chips(format="npy").sample.grid_mode == "native"
    assert chips(grid="native").sample.grid_mode == "native"
    assert chips(size=(10, 20), grid="native").sample.dimensions == (10, 20)


def test_bands_may_be_written_as_on_the_command_line() -> None:
    assert chips(bands="N, R,G").sample.first.bands == ("N", "R", "G")
    assert series(bands="LST_Day_1km").source.bands == ("LST_Day_1km",)


def test_visualization_is_the_dataset_s_unless_given() -> None:
    lst = {"dataset": "MODIS_LST", "roi": "0,0,1,1", "format": "png"}
    assert set(chips(**lst).sample.results["visualization"]) == {"min", "max", "palette"}
    assert chips(**lst, stretch=(0.0, 1.0)).sample.results["visualization"]["max"] == 1.0
    assert "palette" not in chips(**lst, bands=("LST_Night_1km",)).sample.results["visualization"]
    blue = chips(**lst, stretch="0,1:000000, 0000ff").sample.results["visualization"]
    assert blue == {"min": 0.0, "max": 1.0, "palette": ["000000", "0000ff"]}
    assert chips(**{**lst, "format": "tif"}).sample.results["visualization"] == {}
    assert chips().sample.results["visualization"] == {}


def test_options_go_to_the_recipe_or_to_the_run() -> None:
    recipe, config = sample_recipe({"dataset": "NAIP", "per_ecoregion": 2, "local": True, "executor": "processes:3"})
    assert (recipe.sample.options.per_ecoregion, config.is_local, config.chosen_executor.workers) == (2, True, 3)
    assert config.out == Path("outputs/sample-naip")
    _, config = make_recipe(TimeSeries, {"dataset": "MODIS/061/MOD11A2", "regions": "A/B", "out": "elsewhere"})
    assert config.out == Path("elsewhere")
    _, config = make_recipe(TimeSeries, {"dataset": "MODIS/061/MOD11A2", "regions": "A/B"})
    assert config.out == Path("outputs/timeseries-modis-061-mod11a2")


def test_dates_and_bounds_may_be_those_of_python() -> None:
    """Notebooks have dates of pandas, and bounds as shapely and geopandas return them."""
    day = dt.date(2020, 1, 1)
    recipe = made_series(start=day, end=pd.Timestamp("2021-01-01"), bbox=np.array([-80.0, 42.0, -78.5, 44.0]))
    texts = series(start="2020-01-01", end="2021-01-01", bbox="-80.0,42.0,-78.5,44.0")
    assert recipe.options == texts.options
    sample, _ = sample_recipe({"dataset": "NAIP", "total": 1, "roi": (-105.3, 39, -105.2, 40.0)})
    assert sample.sample.options.roi == "-105.3,39.0,-105.2,40.0"
    numbers = {"total": np.int64(3), "seed": np.uint8(7), "scale": np.float32(20), "size": (np.int64(8), np.int32(9))}
    sample, _ = sample_recipe({"dataset": "NAIP", "roi": "0,0,1,1", "grid": "native", **numbers})
    command, _ = sample_recipe(
        {"dataset": "NAIP", "roi": "0,0,1,1", "grid": "native", "total": 3, "seed": 7, "scale": 20.0, "size": (8, 9)}
    )
    assert (sample.identity, json.dumps(sample.parameters)) == (command.identity, json.dumps(command.parameters))


@pytest.mark.parametrize(("verb", "option"), [("sample", "scale"), ("timeseries", "multiply"), ("mosaic", "nodata")])
def test_a_number_is_the_same_option_with_and_without_a_fraction(verb: str, option: str) -> None:
    """The command line has 20.0 where programs have 20: they resume each other's runs."""
    shared = {"dataset": "S2", "roi": "0,0,1,1", **({"total": 1} if verb == "sample" else {"bands": "B4"})}
    recipes = [find_command(verb).make({**shared, option: number})[0] for number in (20, 20.0, np.int64(20))]
    assert len({(recipe.identity, json.dumps(recipe.parameters)) for recipe in recipes}) == 1


@pytest.mark.parametrize("kind", [np.array, pd.Series, pd.Index, list, lambda names: dict.fromkeys(names).keys()])
def test_names_and_numbers_may_be_arrays(kind: Callable[[list[Any]], Any]) -> None:
    names = {"bands": kind(["R", "N"]), "index": kind(["NDVI"]), "dataset": kind(["NAIP"])}
    sample, _ = sample_recipe({**names, "total": 1, "size": kind([8, 9]), "format": "tif"})
    texts, _ = sample_recipe(
        {"dataset": "NAIP", "bands": "R,N", "index": "NDVI", "total": 1, "size": (8, 9), "format": "tif"}
    )
    assert json.dumps(sample.parameters) == json.dumps(texts.parameters)
    assert sample.identity == texts.identity
    json.dumps(sample.call)
    sample, _ = sample_recipe({"dataset": Path("NAIP"), "total": 1, "size": 16.0})
    assert (sample.sample.first.dataset, sample.sample.dimensions) == ("NAIP", (16, 16))


def test_scripts_take_json_or_text(tmp_path: Path) -> None:
    script = tmp_path / "My Recipe.py"
    script.write_text("def get_requests(n=1, name='a', flags=[]): return []\ndef get_result(index, unit): pass\n")
    recipe, config = script_recipe({"path": script, "parameters": {"n": "3", "name": "b", "flags": "[1]"}})
    assert recipe.parameters == {"n": 3, "name": "b", "flags": [1]}
    assert config.out == Path("outputs/my-recipe")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sample_recipe({"dataset": "NAIP", "per_ecoregion": 1, "sede": 3}), "did you mean 'seed'"),
        (lambda: sample_recipe({"dataset": "NAIP", "per_ecoregion": 1, "qqqq": 3}), "there is no option 'qqqq'$"),
        (lambda: series(reducer="maximum"), "unknown reducer 'maximum'"),
        (lambda: series(format="xlsx"), "unknown format 'xlsx'"),
        (lambda: chips(format="gif"), "unknown format 'gif'"),
        (lambda: chips(grid="utm"), "unknown grid 'utm'"),
        (lambda: made_series(start=5), "`start` must be a text, as on the command line, not int: 5"),
        *(
            (
                partial(made_series, **{name: ee.ComputedObject(None, {})}),
                f"`{name}` must be .* not ee.ComputedObject, which",
            )
            for name in ("start", "bbox", "regions")
        ),
        (lambda: made_series(mask=True), "`mask` must be a text, as on the command line, not bool: write mask='auto'"),
        (lambda: made_series(crs=32613), "`crs` must be a text, as on the command line, not int: 32613"),
        (lambda: sample_recipe({"dataset": "NAIP", "total": "3"}), "`total` must be a whole number, not str: '3'"),
        (lambda: sample_recipe({"dataset": "NAIP", "total": 2.5}), "`total` must be a whole number"),
        (lambda: sample_recipe({"dataset": "NAIP", "total": 1, "clip": "yes"}), "`clip` must be True or False"),
        (lambda: made_series(bbox=(0, 1)), "`bbox` must be a text"),
        (lambda: chips(per_ecoregion=f"5:{__file__}:name"), r"options\.py is a file, and only tables on"),
        *(
            (partial(sample_recipe, {"dataset": "NAIP", "total": 1, name: value}), f"`{name}` must be {wanted}")
            for name, wanted, values in WRONG_TYPES
            for value in values
        ),
        (lambda: sample_recipe({"dataset": "NAIP", "total": 1, "roi": {"type": "Point"}}), "`roi` must be a text"),
    ],
)
def test_invalid_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_a_missing_file_of_regions_is_refused() -> None:
    with pytest.raises(RegionError, match=r"there is no file regions\.gpkg"):
        series(regions="regions.gpkg")


def test_slugs_are_lower_case_with_hyphens() -> None:
    assert slug("MODIS/061/MOD11A2") == "modis-061-mod11a2"


def test_texts_of_other_letters_have_folders_of_their_own() -> None:
    ledgers = [
        sample_recipe({"dataset": "NAIP", "total": 1, "out": f"s3://bucket/{folder}"})[1].out
        for folder in ("a", "ä", "ö", "é", "e\u0301", "数", "")
    ]
    assert ledgers[0] == Path("outputs/s3-bucket-a")
    assert len(set(ledgers)) == len(ledgers)
    assert re.fullmatch(r"[0-9a-f]{8}", slug("数"))  # of a script's name, without which its folder would be "outputs"


@pytest.mark.parametrize("name", ["NAIPP", "SENTINAL2", "FOO"])
def test_misspelt_datasets_are_refused(name: str) -> None:
    with pytest.raises(UnknownDatasetError, match=f"there is no dataset called '{name}'"):
        check_dataset(name)


def test_the_files_of_a_dataset_are_not_named_by_a_version_alone() -> None:
    datasets = ("S2", "GOOGLE/DYNAMICWORLD/V1", "projects/mine/assets/crops/2020", "MODIS/061/MOD13A2")
    recipe, _ = sample_recipe({"dataset": datasets, "total": 1})
    assert [layer.name for layer in recipe.sample.layers] == ["S2", "DYNAMICWORLD-V1", "crops-2020", "MOD13A2"]


def test_names_joined_by_a_comma_are_several_datasets_of_a_sample() -> None:
    with pytest.raises(UnknownDatasetError, match="for several in a sample, give `dataset` once for each"):
        check_dataset("S2,DYNAMICWORLD")


@pytest.mark.parametrize("name", ["data", "chips", "my-scenes", "projects/mine/assets/naipp", "s2"])
def test_collections_of_ones_own_and_asset_ids_are_accepted(name: str) -> None:
    check_dataset(name)


def test_computed_bands_are_divided_at_commas_outside_parentheses() -> None:
    found = split_list(["NDVI, low=min(B8, (B4+B3))", "EVI"])
    assert found == ("NDVI", "low=min(B8, (B4+B3))", "EVI")
    assert (find_indices(found), find_formulas(found)) == (("NDVI", "EVI"), ("low=min(B8, (B4+B3))",))


@pytest.mark.parametrize("wrong", ["5", "5,x", "1,2,3", 3000, (0, None)])
def test_a_stretch_is_two_numbers(wrong: Any) -> None:
    assert parse_stretch("-1, 3e3") == ((-1.0, 3000.0), ())
    assert parse_stretch("-1,1:ff0000,00FF00") == ((-1.0, 1.0), ("ff0000", "00FF00"))
    assert parse_stretch(None) == (None, ())
    with pytest.raises(UsageError, match="is not two numbers: MIN,MAX"):
        parse_stretch(wrong)


@pytest.mark.parametrize("wrong", ["0,1:", "0,1:red", "0,1:ff0000,", "0,1:#ff0000"])
def test_colours_of_a_stretch_are_hexadecimal(wrong: str) -> None:
    with pytest.raises(UsageError, match="is not a hexadecimal colour, as ff0000 is for red"):
        parse_stretch(wrong)


MAKERS: dict[str, Callable[[Any], object]] = {
    "sample": lambda values: chips(values=values),
    "timeseries": lambda values: series(values=values),
    "images": lambda values: Images(dataset="S2", roi="0,0,1,1", values=values),
    "composites": lambda values: Composites(dataset="S2", roi="0,0,1,1", every="month", values=values),
    "mosaic": lambda values: MosaicRecipe(dataset="S2", roi="0,0,1,1", values=values),
    "points": lambda values: PointValues(dataset="S2", points="points.csv", values=values),
}


@pytest.mark.parametrize("verb", MAKERS)
@pytest.mark.parametrize("wrong", ["Scaled", "foo", "", None])
def test_unknown_values_are_refused(verb: str, wrong: Any) -> None:
    with pytest.raises(UsageError, match=f"`values` must be stored.* or .*, not {wrong!r}"):
        MAKERS[verb](wrong)


@pytest.mark.parametrize("verb", sorted(MAKERS.keys() - {"sample"}))
def test_quantized_values_are_for_chips(verb: str) -> None:
    with pytest.raises(UsageError, match="`values` must be stored or scaled, not 'quantized'"):
        MAKERS[verb]("quantized")
