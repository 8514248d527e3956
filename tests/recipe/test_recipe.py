"""Recipes: ids, results that contradict themselves, scripts that are loaded without being run."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.engine.plans.plan import plan_units
from eechips.errors import RecipeError, UsageError
from eechips.geo.grid import Grid
from eechips.recipe import Chip, Table, canonical_json, convert_parameter, load_recipe, to_unit, unit_id, unit_value
from eechips.recipe.units import IdCheck
from eechips.storage import NameTemplate

GRID = Grid("EPSG:32613", (1.0, 0.0, 5e5, 0.0, -1.0, 4e6), 8, 8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_values_round_trip(value: Any) -> None:
    unit = to_unit(value)
    assert unit["kind"] in ("call", "point", "image", "region", "dates", "cell", "tile")
    assert unit_value(json.loads(canonical_json(unit))) == value


@given(st.dictionaries(st.text(), st.integers(), max_size=6))
def test_the_order_of_keys_does_not_change_an_id(value: dict[str, int]) -> None:
    turned = dict(reversed(list(value.items())))
    assert unit_id(to_unit(value), "r") == unit_id(to_unit(turned), "r")


def test_an_id_is_the_sha256_of_canonical_json() -> None:
    text = '{"recipe":"r","unit":{"coordinates":[1.5,2],"kind":"point","name":"é"}}'
    unit = {"name": "é", "kind": "point", "coordinates": [1.5, 2]}
    assert unit_id(unit, "r") == hashlib.sha256(text.encode()).hexdigest()
    assert len({unit_id(unit, "r"), unit_id(unit, "s"), unit_id(unit, "r", 1)}) == 3


@pytest.mark.parametrize(
    "value", [float("nan"), np.array([np.nan]), {1, 2}, object(), float("inf"), "\ud800", {"\udcff": 1}]
)
def test_units_must_be_json(value: object) -> None:
    with pytest.raises(UsageError, match="must be JSON"):
        canonical_json(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs a grid"),
        ({"region": 1}, "either dimensions or a scale"),
        ({"region": 1, "dimensions": (2, 2), "scale": 1.0}, "either dimensions or a scale"),
        ({"region": 1, "dimensions": (0, 2)}, "at least 1"),
        ({"region": 1, "scale": 0}, "more than 0"),
        ({"grid": GRID, "region": 1}, "takes no region"),
        ({"grid": GRID, "crs": "EPSG:4326"}, "takes no region"),
        ({"grid": GRID, "format": "gif"}, "unknown chip format"),
        ({"grid": GRID, "format": "tif", "visualization": {"max": 1}}, "needs format png or jpg"),
        ({"grid": GRID, "bands": ("R", "R")}, "asked for twice"),
    ],
)
def test_contradictory_chips_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Chip("image", **arguments)  # type: ignore[arg-type]


def test_sizes_of_chips_are_known_and_formats_are_checked() -> None:
    assert Chip("image", grid=GRID, format="tif").size == (8, 8)  # type: ignore[arg-type]
    assert Chip("image", region="r", dimensions=(3, 4)).size == (3, 4)  # type: ignore[arg-type]
    assert Chip("image", region="r", scale=10.0, name="a/b").size is None  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown table format"):
        Table([], format="xlsx")  # type: ignore[arg-type]


SCRIPT = """
import numpy.linalg as la
from ee import Image

DATASETS = ["USDA/NAIP/DOQQ"]
MARK.touch()

def get_requests(count=3, name="x", bands=("R", "G"), *, flag=False, factor=1.5):
    return [{"kind": "point", "n": i, "name": name, "flag": flag, "bands": bands} for i in range(count)]

def getResult(index, unit, size=256):
    if unit == "bad":
        raise ValueError("no such thing")
    return bytes([index, size // 2])
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    mark = tmp_path / "ran"
    path.write_text(SCRIPT.replace("MARK", f"__import__('pathlib').Path({str(mark)!r})"))
    return path


def test_loading_a_script_does_not_run_it(script: Path) -> None:
    recipe = load_recipe(script, {"count": "2"})
    assert not (script.parent / "ran").exists()
    assert recipe.name == "mine"
    assert recipe.datasets == ("USDA/NAIP/DOQQ",)
    assert recipe.imports == ("numpy", "ee")
    assert len(recipe.get_requests()) == 2
    assert (script.parent / "ran").exists()


def test_parameters_take_the_type_of_their_default(script: Path) -> None:
    given_ = {"count": "1", "name": "7", "flag": "yes", "factor": "2", "bands": '["N"]', "size": "64"}
    recipe = load_recipe(script, given_)
    assert recipe.parameters == {
        "count": 1, "name": "7", "flag": True, "factor": 2.0, "bands": ["N"], "size": 64,
    }  # fmt: skip
    assert recipe.get_requests() == [{"kind": "point", "n": 0, "name": "7", "flag": True, "bands": ["N"]}]
    assert recipe.get_result(3, {}) == bytes([3, 32])


@pytest.mark.parametrize(("text", "default"), [("x", 1), ("x", 1.0), ("maybe", True), ("[1", [])])
def test_values_of_the_wrong_type_are_refused(text: str, default: object) -> None:
    with pytest.raises(UsageError, match="-p p="):
        convert_parameter("p", text, default)


def test_unknown_parameters_are_refused_with_a_list(script: Path) -> None:
    with pytest.raises(UsageError, match="no parameter 'cuont'; it takes: count, name, bands, flag, factor, size"):
        load_recipe(script, {"cuont": "2"})


def test_missing_parameters_of_a_script_are_named(tmp_path: Path) -> None:
    path = tmp_path / "needs.py"
    path.write_text(
        "def get_requests(href, n=2):\n    return [1]\ndef get_result(index, unit, band):\n    return b''\n"
    )
    with pytest.raises(UsageError, match=r"cannot do without: -p band=… -p href=…"):
        load_recipe(path, {"n": "3"}).get_requests()
    assert load_recipe(path, {"href": "a", "band": "1"}).get_requests() == [1]


def test_identity_follows_code_and_parameters(script: Path) -> None:
    first = load_recipe(script)
    assert load_recipe(script).identity == first.identity
    assert load_recipe(script, {"count": "4"}).identity != first.identity
    script.write_text(script.read_text() + "\n# changed\n")
    assert load_recipe(script).identity == first.identity
    script.write_text(script.read_text() + "\nCHANGED = True\n")
    assert load_recipe(script).identity != first.identity


def test_a_pickled_recipe_carries_its_source(script: Path) -> None:
    recipe = load_recipe(script)
    recipe.get_requests()
    copy = pickle.loads(pickle.dumps(recipe))
    script.unlink()
    assert copy.get_result(1, {}) == recipe.get_result(1, {})
    assert copy.identity == recipe.identity


def test_invalid_recipes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.py"
    with pytest.raises(UsageError, match="cannot read"):
        load_recipe(path)
    path.write_text("def get_requests(:\n")
    with pytest.raises(UsageError, match="line 1: not Python"):
        load_recipe(path)
    path.write_text("def get_requests(): return []\n")
    with pytest.raises(UsageError, match="no function get_result"):
        load_recipe(path)
    for other, message in (
        ("async def get_result(i, u): pass", "get_result is async"),
        ("from plots import get_result", "it imports get_result"),
    ):
        path.write_text(f"def get_requests(): return []\n{other}\n")
        with pytest.raises(UsageError, match=message):
            load_recipe(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        load_recipe(path)


def test_a_planner_that_raises_is_a_recipe_error_with_its_traceback(tmp_path: Path) -> None:
    path = tmp_path / "r.py"
    path.write_text("def get_requests(): return 1 / 0\ndef get_result(i, u): pass\n")
    with pytest.raises(RecipeError, match="ZeroDivisionError") as caught:
        load_recipe(path).get_requests()
    assert "1 / 0" in caught.value.traceback
    for returned, message in (("None", "nothing"), ("'abc'", "one str"), ("{'a': 1}", "one dict")):
        path.write_text(f"def get_requests(): return {returned}\ndef get_result(i, u): pass\n")
        with pytest.raises(RecipeError, match=f"get_requests returned {message}: it must return a list"):
            load_recipe(path).get_requests()


def test_a_module_beside_a_recipe_is_not_imported(tmp_path: Path) -> None:
    path = tmp_path / "recipe.py"
    path.write_text("import plots_beside\ndef get_requests(): return [1]\ndef get_result(i, u): pass\n")
    with pytest.raises(RecipeError, match=r"No module named 'plots_beside'$"):
        load_recipe(path).get_requests()
    (tmp_path / "plots_beside.py").touch()
    with pytest.raises(RecipeError, match=r"'plots_beside'\. A recipe is one file: move what it needs there"):
        load_recipe(path).get_requests()


def test_functions_of_a_recipe_may_be_closures(tmp_path: Path) -> None:
    path = tmp_path / "closures.py"
    path.write_text(
        "def make(factor):\n"
        "    def result(index, unit):\n        return bytes([factor * unit])\n"
        "    return result\n"
        "get_result = make(3)\n"
        "get_requests = lambda: (number for number in (1, 2))\n"
    )
    recipe = pickle.loads(pickle.dumps(load_recipe(path)))
    assert recipe.get_requests() == [1, 2]
    assert recipe.get_result(0, 2) == b"\x06"
    with pytest.raises(UsageError, match="no parameter 'factor'; it takes: none"):
        load_recipe(path, {"factor": "4"})


CLASSES = """
import pickle
from dataclasses import asdict, dataclass

@dataclass
class Place:
    name: str

def get_requests():
    return [asdict(pickle.loads(pickle.dumps(Place("a"))))]

def get_result(index, place):
    return repr(Place.__annotations__).encode()
"""


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_a_recipe_may_define_classes(tmp_path: Path, future: str) -> None:
    path = tmp_path / "classes.py"
    path.write_text(future + CLASSES)
    recipe = load_recipe(path)
    assert recipe.get_requests() == [{"name": "a"}]
    assert recipe.get_result(0, {}) == (b"{'name': 'str'}" if future else b"{'name': <class 'str'>}")


def test_numbers_of_numpy_are_numbers_of_units() -> None:
    values = [np.int64(7), {"id": np.int32(8), "at": np.array([1.5, 2.0]), "is_wet": np.bool_(1), "h": np.float32(0.5)}]
    first, second = plan_units(values, "r", NameTemplate("{kind}"))
    assert unit_value(json.loads(first.unit)) == 7
    assert unit_value(json.loads(second.unit)) == {"id": 8, "at": [1.5, 2.0], "is_wet": True, "h": 0.5}
    assert first.id == unit_id(to_unit(7), "r")
    (named,) = plan_units([{"plot": np.int64(9)}], "r", NameTemplate("{plot}"))
    assert named.name == "9"


def test_a_script_may_draw_other_units(tmp_path: Path) -> None:
    path = tmp_path / "recipe.py"
    plain = "def get_requests(): return [1]\ndef get_result(index, unit): return b''\n"
    path.write_text(plain)
    assert load_recipe(path).redraw is None
    path.write_text(plain + "def redraw(unit, number, step=10): return unit + step * number\n")
    recipe = pickle.loads(pickle.dumps(load_recipe(path, {"step": "5"})))
    assert recipe.parameters == {"step": 5}
    assert list(recipe.redraw([(1, 1), (1, 2), (3, 1)])) == [6, 11, 8]
    with pytest.raises(RecipeError, match="TypeError"):
        recipe.redraw([("a", 1)])


@given(st.lists(st.integers(0, 3), max_size=30), st.data())
def test_the_ids_of_a_plan_and_of_its_parts_are_checked(values: list[int], data: st.DataObject) -> None:
    planned = list(plan_units(values, "r", NameTemplate("{id}")))
    part = [unit for unit in planned if data.draw(st.booleans())]
    ids = IdCheck("r")
    assert all(ids.matches(json.loads(unit.unit), unit.id, unit.position) for unit in part)
    for unit in part:
        assert not ids.matches(to_unit(9), unit.id, unit.position)
        assert not IdCheck("s").matches(json.loads(unit.unit), unit.id, unit.position)
