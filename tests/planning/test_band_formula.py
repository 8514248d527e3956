"""Formulas of bands: what is read, and what is refused."""

from __future__ import annotations

import pickle

import pytest

from eechips.errors import UsageError
from eechips.planning.imagery.band_formula import MOST_CHARACTERS, parse_formula


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("(B8-B4)/(B8+B4)", ("B8", "B4")),
        (" 2.5 * (nir - red) / (nir + 6*red - 7.5*blue + 1) ", ("nir", "red", "blue")),
        ("b('0') + b(\"NDVI-1\")*2", ("0", "NDVI-1")),
        ("-sqrt(x)**(1/3) > 0.5 and not y", ("x", "y")),
        ("min(a, max(b, 3))", ("a", "b")),
    ],
)
def test_formulas_name_their_bands_in_order(text: str, names: tuple[str, ...]) -> None:
    found = parse_formula(text)
    assert found.names == names
    assert pickle.loads(pickle.dumps(found)) == found
    assert hash(found) == hash(parse_formula(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(B8-B4", "cannot be read"),
        ("B8 ^ B4", "has 'B8 \\^ B4', which is not allowed"),
        ("B8 % 2", "not allowed"),
        ("B8 // 2", "not allowed"),
        ("B8 if B4 else B3", "not allowed"),
        ("B8.real", "not allowed"),
        ("B8[0]", "not allowed"),
        ("[B8]", "not allowed"),
        ("'B8'", "not allowed"),
        ("True * B8", "not allowed"),
        ("1j * B8", "not allowed"),
        ("lambda: B8", "not allowed"),
        ("(x := B8)", "not allowed"),
        ("0 < B8 < 1", "not allowed"),
        ("f'{B8}'", "not allowed"),
        ("__import__('os').system('true')", "not a function"),
        ("eval(B8)", "calls 'eval', which is not a function; there are abs, "),
        ("not(B8, B4)", "not allowed"),
        ("sqrt(B8, B4)", r"sqrt\(\) takes 1 argument$"),
        ("max(B8)", r"max\(\) takes 2 arguments$"),
        ("sqrt(x=B8)", r"sqrt\(\) takes 1 argument$"),
        ("B8 / 0", "divides by 0"),
        ("B8 / (1 - 1)", "divides by 0"),
        ("B8 * (1 / 0)", "constant without a value"),
        ("B8 * (-1) ** 0.5", "constant without a value"),
        ("B8 + 9 ** 9 ** 9", "constant without a value"),
        ("B8 + log(-1)", "constant without a value"),
        ("B8 + 1e999", "constant without a value"),
        ("1 + 2", "has no band"),
        ("", "cannot be read"),
        ("x" * (MOST_CHARACTERS + 1), "characters, more than 2,000"),
        ("+".join(["x"] * 900), "nested more than 100 levels"),
        ("(" * 900 + "x" + ")" * 900, "cannot be read"),
        ("-" * 1500 + "x", "nested more than|cannot be read"),
        ("B8\x00", "cannot be read"),
    ],
)
def test_what_is_no_formula_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_formula(text)
