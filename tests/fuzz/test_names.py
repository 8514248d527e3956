"""Results of any name have a file of their own inside the folder, under the name in the manifest."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pandas as pd
import pytest

from eechips.engine.config import RunConfig
from eechips.engine.run import run
from eechips.errors import EechipsError, UsageError
from eechips.manifest.reserved_names import RESERVED, result_name
from eechips.manifest.run import open_run
from eechips.recipe import load_recipe
from eechips.storage import LocalStore, NameTemplate, fold_case
from tests.fuzz.budget import Budget

PIECES = [
    "a", "A", "é", "e\u0301", "ß", "SS", "ſ", "K", "\u212a", "ı", "İ", "\u202e", "\u2066", "\u200b", "\ufeff", "日本語",
    "🛰", "/", "//", "\\", "..", ".", "...", " ", "  ", "\t", "\n", "\r\n", "\0", "\x1b[31m", "\x7f", "\ud800",
    "\udcff", "\uffff", "CON", "nul.txt", "aux", "com1", "LPT¹", ":", "a:b", "*", "?", '"', "<", ">", "|", "'", "$HOME",
    "`id`", "%2e%2e%2f", "%s", "{id}", "{", "}", "~", "~root", "-rf", "--", "#", "&", ";", ",", "=", "@", "a.tif",
    ".png", ".part", ".csv.csv", "x" * 60, "é" * 130, "日" * 90, "y" * 300, "chips", "0", "-1", "1e5", "nan", "None",
    "true", ".hidden", "dot.", "space ", " lead",
]  # fmt: skip
OWN = [*sorted(RESERVED), ".parts", ".calls", ".scratch-x", ".eechips.lock", "beam", "splits.parquet"]
TEMPLATES = [
    "{v}",
    "{v}/{w}",
    "{id}",
    "{v}-{index}",
    "{index:06d}_{v}",
    "a/{v}/b/{w}",
    "{kind}.{v}",
    "{v:.3}",
    "{w}/{id}",
]
LONGEST = 255  # bytes of a name on most file systems


def text(draw: random.Random) -> str:
    """A value, or a name, that nobody has thought of."""
    if draw.random() < 0.15:
        found = draw.choice(OWN)
        return draw.choice([found, found.upper(), f"./{found}", f"{found}/x", f"x/{found}", found.replace("s", "ſ")])
    pieces = draw.choices(PIECES, k=draw.choice([1, 1, 2, 3, 6]))
    if draw.random() < 0.2:
        pieces.append(chr(draw.randrange(0x110000)))
    return "".join(pieces)


def inside(root: Path, name: str) -> bool:
    """Return whether a name stays below a folder."""
    joined = os.path.normpath(os.path.join(root, name))  # noqa: PTH118 - no link is followed
    return joined.startswith(f"{root}/")


@pytest.mark.slow
def test_rendered_names_stay_inside_and_can_be_written(budget: Budget, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for draw in budget.draws():
        values = {"v": text(draw), "w": draw.choice([text(draw), 1.5, 10**30, True, -0.0])}
        unit = {"kind": "point", "properties": values}
        template = NameTemplate(draw.choice(TEMPLATES), prefers_values=draw.random() < 0.3)
        rendered = template.render(unit, f"{draw.getrandbits(64):016x}", draw.randrange(10**7))
        assert inside(tmp_path, rendered), unit
        assert not any(ord(letter) < 32 for letter in rendered), unit
        assert all(len(os.fsencode(part)) <= LONGEST - len(".parquet") for part in rendered.split("/")), unit
        rendered.encode()  # the manifest is UTF-8
        try:
            name = result_name(f"{rendered}.csv")
        except UsageError:  # a file of the run's
            continue
        store.commit(store.stage(name, rendered.encode(), "token"))
        assert (tmp_path / name).read_bytes() == rendered.encode() == store.read(name)
        (tmp_path / name).unlink()


@pytest.mark.slow
def test_templates_that_claim_to_keep_names_apart_do(budget: Budget) -> None:
    fields = ["v", "w", "id", "index", "kind"]
    for draw in budget.draws():
        before = ["-", "_", "", ".", "a", "7"]
        parts = [f"{draw.choice(before)}{{{draw.choice(fields)}}}" for _ in range(draw.randint(1, 4))]
        template = NameTemplate("".join(parts).replace("}.", "}/") if draw.random() < 0.3 else "".join(parts))
        values = ["1", "11", "1-1", "a", "A", "é", "e\u0301", "", "7", "x" * 400, "x" * 400 + "y", text(draw)]
        units = [{"properties": {"v": draw.choice(values), "w": draw.choice(values)}} for _ in range(12)]
        if template.is_unique:
            names = [template.render(unit, f"{number:016x}", number) for number, unit in enumerate(units)]
            assert len({fold_case(name) for name in names}) == len(names), (template.text, names)


RECIPE = """
import json
from pathlib import Path
from eechips import Table

NEEDS_SERVICE = False
NAMES = json.loads((Path(__file__).parent / "names.json").read_text())

def get_requests():
    titles = (str(names).encode(errors="replace").decode() for names in NAMES)
    return [{"number": number, "title": title} for number, title in enumerate(titles)]

def get_result(index, unit):
    number = unit["number"]
    names = NAMES[number]
    if number % 10 == 9:
        raise ValueError(str(names))
    if isinstance(names, str):
        return Table([{"number": number}], name=names)
    return {layer: Table([{"number": number, "layer": place}]) for place, layer in enumerate(names)}
"""


@pytest.mark.slow
def test_every_result_of_a_run_is_in_a_file_of_its_own_inside_the_folder(budget: Budget, tmp_path: Path) -> None:
    for number, draw in enumerate(budget.draws(least=2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        one = [text(draw) for _ in range(30)]
        several = [[text(draw) for _ in range(draw.randint(1, 3))] for _ in range(8)]
        (folder / "names.json").write_text(json.dumps([*one, *one[:3], *several]))
        (folder / "recipe.py").write_text(RECIPE)
        config = RunConfig(out=folder / "out", executor="threads", in_flight=4, quiet=True, retries=0)
        run(load_recipe(folder / "recipe.py", {}), config)
        assert {path.name for path in folder.iterdir()} <= {"names.json", "recipe.py", "out", "__pycache__"}
        check(folder / "out")


def check(out: Path) -> None:
    """The manifest and the folder agree, and nothing failed for a fault of eechips."""
    found = open_run(out)
    assert found.verify() == []
    columns = ["position", "file"]
    units = found.units[found.units["file"].notna()].assign(position=lambda rows: rows.index)[columns]
    layers = found.layers.reset_index()[columns] if len(found.layers) else units[:0]
    rows = pd.concat([units, layers]).drop_duplicates().to_dict("records")
    files = [row["file"] for row in rows]
    assert len(set(files)) == len(files)
    for row in rows:
        assert inside(out, row["file"])
        assert pd.read_csv(out / row["file"])["number"][0] == row["position"]
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert there - set(files) <= RESERVED, there - set(files) - RESERVED
    failed = found.units[found.units["state"].str.startswith("failed")]
    expected = {each.__name__ for each in _classes()} - {"InternalError"}
    assert set(failed["error_class"]) <= expected, failed["error"].tolist()
    if (out / "failures.csv").exists():
        pd.read_csv(out / "failures.csv")


def _classes(base: type = EechipsError) -> set[type]:
    return {base, *(each for below in base.__subclasses__() for each in _classes(below))}
