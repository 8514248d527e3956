"""The identity of code: the same without its comments, docstrings and layout, another if a word of it changes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from eechips.recipe import hash_code
from eechips.recipe.recipe_file import load_recipe
from eechips.scripts.script_execution import ScriptRecipe
from eechips.scripts.script_source import read_source

CODE = r'''
"""A recipe."""
import ee
from math import sqrt, floor as down

YEAR = 2020
NAMES = {"a": 1, "b": [1.5, -2j], **{}}


class Place:
    """A place."""

    x: int = 3

    @property
    def size(self):
        """Its size."""
        return self.x


async def wait(*args, key=None, **rest):
    async with key as found:
        await found
    return [each async for each in rest if each]


def get_requests(count=2):
    """Return the units."""
    match count:
        case 1 | 2:
            pass
        case {"a": [first, *_], **others} if first:
            return others
        case Place(x=3) | None:
            raise ValueError(f"no {count!r:>{YEAR}} of {NAMES=}" f"and {YEAR:%Y}" "or so", b"x\x00")
    try:
        total = (yield_ := count) + ~1 ** 2
    except OSError:
        pass
    return [n for n in range(count) if n not in (3, 4)]


def get_result(index, unit):
    global YEAR
    lambda a, /, b, *, c=1: (a, b, c)
    return ee.Image(unit)[1:2, ..., ::3] @ 1e10
'''
IN_ALL_VERSIONS = "74c616d08b8f4a7112e857d8ee90fea3c201c5a026f21ec84e3d019b98183141"


def hashed(text: str) -> str:
    return hash_code(ast.parse(text))


SAME = {
    "a comment": ("YEAR = 2020", "# The year.\nYEAR = 2020  # of the images"),
    "the docstring of the module": ('"""A recipe."""', '"""Another text."""'),
    "no docstring of the module": ('"""A recipe."""', ""),
    "the docstring of a function": ('"""Return the units."""', '"""Return\n\n    all units."""'),
    "the docstring of a class": ('"""A place."""', ""),
    "blank lines": ("\n\n\ndef", "\n\n\n\n\n\n\ndef"),
    "no blank lines": ("\n\n\n", "\n"),
    "wrapped lines": ("range(count) if n not in (3, 4)]", "range(\n        count,\n    )\n    if n not in (3,\n 4)]"),
    "indents": ("    return ee", "        \n    return   ee"),
    "line ends of Windows": ("\n", "\r\n"),
    "quotes": ('"a": 1', "'a': 1"),
    "parentheses": ("return self.x", "return (self.x)"),
    "spaces": ("count=2", "count = 2"),
    "a comment on a type": ("YEAR = 2020", "YEAR = 2020  # type: ignore"),
    "a statement that is a text": ("    total =", "    'not needed'\n        total ="),
    "pass": ("    return [n", "    pass\n    return [n"),
    "a number in other digits": ("2020", "2_020"),
    "a prefix of a text": ('"or so"', 'u"or so"'),
}
OTHER = {
    "a constant": ("2020", "2021"),
    "the type of a constant": ("2020", "2020.0"),
    "a text": ('"or so"', '"or  so"'),
    "a name": ("first", "second"),
    "an imported name": ("floor as down", "ceil as down"),
    "an attribute": ("ee.Image(unit)", "ee.Number(unit)"),
    "an operator": ("~1 ** 2", "~1 * 2"),
    "the order of statements": (
        "import ee\nfrom math import sqrt, floor as down",
        "from math import sqrt, floor as down\nimport ee",
    ),
    "the order of keys": ('"a": 1, "b": [1.5, -2j]', '"b": [1.5, -2j], "a": 1'),
    "the order of operands": ("(yield_ := count) + ~1 ** 2", "~1 ** 2 + (yield_ := count)"),
    "a default": ("count=2", "count=3"),
    "a decorator": ("    @property\n", ""),
    "an annotation": ("x: int = 3", "x: float = 3"),
    "a case more": ("            return others", "            return others\n        case 9:\n            pass"),
    "a conversion": ("{count!r:", "{count!s:"),
    "a format": ("{YEAR:%Y}", "{YEAR:%y}"),
    "a case": ("case 1 | 2", "case 1 | 3"),
    "None instead of True": ("key=None", "key=True"),
    "a statement more": ("YEAR = 2020", "YEAR = 2020\nMONTH = 1"),
    "async": ("    async with", "    with"),
}


@pytest.mark.parametrize("change", SAME)
def test_code_with_other_comments_docstrings_and_layout_is_the_same(change: str) -> None:
    old, new = SAME[change]
    assert old in CODE
    changed = CODE.replace(old, new)
    assert changed != CODE
    assert hashed(changed) == hashed(CODE)


@pytest.mark.parametrize("change", OTHER)
def test_other_code_is_another(change: str) -> None:
    old, new = OTHER[change]
    assert old in CODE
    assert hashed(CODE.replace(old, new, 1)) != hashed(CODE)


def test_all_versions_of_python_have_the_same_hash() -> None:
    assert hashed(CODE) == IN_ALL_VERSIONS


def test_docstrings_count_where_the_code_reads_them() -> None:
    code = '"""Usage: a."""\nfrom docopt import docopt\ndocopt(__doc__)\n'
    assert hashed(code) != hashed(code.replace("Usage: a", "Usage: b"))
    assert hashed(code) == hashed(code.replace("docopt(", "docopt(  # of the module\n"))


def test_long_expressions_have_a_hash() -> None:
    assert hashed(" + ".join(["1"] * 900)) != hashed(" + ".join(["1"] * 901))


def test_recipes_and_scripts_are_identified_by_their_code(tmp_path: Path) -> None:
    path = tmp_path / "recipe.py"

    def identities(text: str) -> list[str]:
        path.write_text(text)
        script = ScriptRecipe(read_source(path), (), tmp_path, tmp_path)
        return [load_recipe(path).identity, script.identity]

    before = identities(CODE)
    assert identities(CODE + "\n# The end.\n") == before
    assert not set(identities(CODE.replace("2020", "2021"))) & set(before)
