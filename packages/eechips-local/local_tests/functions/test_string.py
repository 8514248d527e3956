"""Strings: the reference's examples, Python's methods, and Python's regular expressions."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.protocol.request_errors import InvalidError, LimitError, TypeMismatchError
from eechips_local.values.regex import compile_regex
from local_tests.support.graphs import Graph, call, evaluate, invoke

texts = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=12)


@pytest.mark.parametrize(
    ("regex", "flags", "expected"),
    [
        ("", "", [""]),
        ("ab", "g", ["ab"]),
        ("ab", "i", ["AB"]),
        ("AB", "ig", ["AB", "ab"]),
        ("[a-z]+[0-9]+", "", ["abc123"]),
        (r"\d{2}", "", ["12"]),
        ("abc[^0-9]", "i", ["ABCa"]),
        ("x", "", []),
        ("([a-z])([0-9])", "", ["c1", "c", "1"]),
    ],
)
def test_match(regex, flags, expected):
    assert call("String.match", input="ABCabc123", regex=regex, flags=flags) == expected


@pytest.mark.parametrize(
    ("string", "regex", "flags", "expected"),
    [
        ("aBAbcD", "Ab", "", ["aB", "cD"]),
        ("aBAbcD", "ab", "i", ["", "", "cD"]),
        ("aBAbcD", "[bc]", "i", ["a", "A", "", "D"]),
        ("aBAbcD", "(BA|c)", "", ["a", "b", "D"]),
        ("a,b,cdee f,g", "", "", list("a,b,cdee f,g")),
        ("a,b,cdee f,g", " ", "", ["a,b,cdee", "f,g"]),
        ("a,b,cdee f,g", "[[:space:]]", "", ["a,b,cdee", "f,g"]),
        ("a,b,cdee f,g", ",", "", ["a", "b", "cdee f", "g"]),
        ("a,b,cdee f,g", "ee", "", ["a,b,cd", " f,g"]),
        ("a,b,cdee f,g", "[a-z]", "", ["", ",", ",", "", "", "", " ", ","]),
        ("a,b,cdee f,g", "[^a-z]", "", ["a", "b", "cdee", "f", "g"]),
        ("a.b*c?d", r"\.", "", ["a", "b*c?d"]),
        ("a.b*c?d", "[*]", "", ["a.b", "c?d"]),
        ("a.b*c?d", "[?]", "", ["a.b*c", "d"]),
        ("", ",", "", [""]),
    ],
)
def test_split(string, regex, flags, expected):
    assert call("String.split", string=string, regex=regex, flags=flags) == expected


@pytest.mark.parametrize(
    ("string", "regex", "replacement", "flags", "expected"),
    [
        ("abc-abc", "abc", "X", "", "X-abc"),
        ("abc-abc", "abc", "X", "g", "X-X"),
        ("abc-abc", "abc", "", "g", "-"),
        ("aBc-Abc", "abc", "Z", "i", "Z-Abc"),
        ("aBc-Abc", "abc", "Z", "ig", "Z-Z"),
        ("2020_05_06", r"(\d+)_(\d+)_(\d+)", "$3.$2.$1", "", "06.05.2020"),
        ("ab", "(a)(b)?", "$2$1$10", "", "baa0"),
        ("a", "a", r"\$1", "", "$1"),
        ("abc", "", "-", "g", "-a-b-c-"),
    ],
)
def test_replace(string, regex, replacement, flags, expected):
    assert call("String.replace", input=string, regex=regex, replacement=replacement, flags=flags) == expected


@pytest.mark.parametrize("replacement", ["$1", "$", "${name}"])
def test_groups_that_are_not_there(replacement):
    with pytest.raises(InvalidError):
        call("String.replace", input="a", regex="a", replacement=replacement)


@pytest.mark.parametrize(
    ("string", "start", "end", "expected"),
    [("", 0, None, ""), ("", -1, None, ""), ("abcdefghijklmnopqrstuvwxyz", 24, None, "yz"),
     ("abcdefghijklmnopqrstuvwxyz", -3, None, "xyz"), ("abcdefghijklmnopqrstuvwxyz", 3, 3, ""),
     ("abcdefghijklmnopqrstuvwxyz", 2, 3, "c"), ("abcdefghijklmnopqrstuvwxyz", -4, 25, "wxy")],
)  # fmt: skip
def test_slice(string, start, end, expected):
    arguments = {} if end is None else {"end": end}
    assert call("String.slice", string=string, start=start, **arguments) == expected


@given(texts, texts)
def test_methods_are_python_s(a, b):
    assert call("String.cat", string1=a, string2=b) == a + b
    assert call("String.index", target=a, pattern=b) == a.find(b)
    assert call("String.rindex", target=a, pattern=b) == a.rfind(b)
    assert call("String.length", string=a) == len(a)
    assert call("String.compareTo", string1=a, string2=b) == (a > b) - (a < b)
    assert call("String.equals", reference=a, target=b) == (a == b)
    assert call("String.toUpperCase", string=a) == a.upper()


def test_lengths_count_utf_16_units():
    assert call("String.length", string="🧲x") == 3
    assert call("String.index", target="🧲x", pattern="x") == 2
    assert call("String.slice", string="🧲x🧲", start=2) == "x🧲"


def test_trim():
    assert call("String.trim", string=" \t a b\n ") == "a b"


def test_texts_of_values():
    assert [call("String", input=v) for v in ("a", 5, 2.5, True)] == ["a", "5", "2.5", "true"]
    with pytest.raises(TypeMismatchError):
        call("String", input=[1])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("earth", '"earth"'),
        (1, "1"),
        ([1, 2, 3], "[1,2,3]"),
        ({"lc_name": "grassland", "lc_class": 3}, '{"lc_class":3,"lc_name":"grassland"}'),
    ],
)
def test_encode_json(value, expected):
    assert call("String.encodeJSON", object=value) == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values.filter(lambda v: v is not None))
def test_json_is_read_back(value):
    text = call("String.encodeJSON", object=value)
    assert json.loads(text) == value
    assert call("String.decodeJSON", string=text) == value


@pytest.mark.parametrize("text", ["", "{", "[1,]", "NaN", "Infinity", "[" * 100_000, "{'a': 1}"])
def test_malformed_json(text):
    with pytest.raises(InvalidError):
        call("String.decodeJSON", string=text)


# Regular expressions whose meaning RE2 and Python share.
pieces = st.sampled_from(
    ["a", "b", "c", ".", "[ab]", "[^a]", r"\d", r"\w", "1", "-", "(a|b)", "(ab)", "(?:a|bc)", "^", "$", r"\b"]
)
repeats = st.sampled_from(["", "", "", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{2,}"])
expressions = st.lists(st.tuples(pieces, repeats), min_size=1, max_size=5).map(
    lambda parts: "".join(p + ("" if p in ("^", "$", r"\b") else r) for p, r in parts)
)


@given(expressions, st.text("abc1-\n", max_size=10), st.sampled_from(["", "i"]))
def test_expressions_match_as_python_s(expression, text, flags):
    expected = re.compile(expression.replace("$", r"\Z"), re.ASCII | (re.IGNORECASE if flags else 0))
    compiled = compile_regex(expression, flags)
    found, other = compiled.search(text), expected.search(text)
    assert (found is None) == (other is None)
    if found and other:
        assert (found.span(), found.groups()) == (other.span(), other.groups())
    assert (compiled.fullmatch(text) is None) == (expected.fullmatch(text) is None)


@pytest.mark.parametrize(
    ("expression", "text", "expected"),
    [
        (r"(?i)ABC", "xabc", "abc"),
        (r"a(?i:B)c", "aBc", "aBc"),
        (r"\Qa.b\E+", "a.bbb", "a.bbb"),
        (r"[[:alpha:]]+", "1abc2", "abc"),
        (r"[[:^digit:]]+", "12ab3", "ab"),
        (r"(?P<year>\d{4})", "in 2020", "2020"),
        (r"\x41\x{1F9F2}", "A🧲", "A🧲"),
        (r"(?s)a.b", "a\nb", "a\nb"),
        (r"(?m)^b$", "a\nb\nc", "b"),
        (r"(?U)a+", "aaa", "a"),
        (r"[]a]+", "]a]", "]a]"),
        (r"[a\-z]+", "a-z", "a-z"),
        (r"x{,2}", "x{,2}", "x{,2}"),
    ],
)
def test_syntax_of_re2(expression, text, expected):
    found = compile_regex(expression).search(text)
    assert found is not None
    assert found.group(0) == expected


@pytest.mark.parametrize(
    "expression",
    ["(", ")", "[", "[a", "*", "a**", "a{2}{3}", "(?=a)", "(?<!a)", r"\1", r"(a)\1", "a{1001}", r"\p", "[z-a]", "\\",
     "[[:nothing:]]", r"\x{110000}", "(" * 1000, "((a{100}){100}){100}", "(?x)a"],
)  # fmt: skip
def test_malformed_expressions(expression):
    with pytest.raises(InvalidError):
        compile_regex(expression)


def test_many_groups_are_refused_before_a_match_holds_gigabytes():
    assert compile_regex("(" * 500 + ")" * 500).groups == 500
    scenes = "|".join(f"(LC08_033032_{number:08d})" for number in range(500))
    assert compile_regex(scenes).search("LC08_033032_00000499") is not None
    with pytest.raises(InvalidError, match="too many groups"):
        compile_regex("(" * 9000 + ")" * 9000)


def test_texts_with_half_of_a_surrogate_pair_are_matched():
    half = call("String.slice", string="🧲x", start=1)
    assert call("String.match", input=half, regex="x") == ["x"]
    assert call("String.replace", input=half, regex="x", replacement="y", flags="") == half[0] + "y"
    assert call("String.split", string=half + half, regex="x", flags="") == [half[0], half[0]]
    with pytest.raises(InvalidError):
        call("String.match", input="x", regex=half)


def test_unknown_flags():
    with pytest.raises(InvalidError):
        compile_regex("a", "m")


@pytest.mark.parametrize("expression", ["(a+)+$", "(a|a)*b", "(a*)*c", "(.*)(.*)(.*)(.*)x", "(a?){50}a{50}"])
def test_hostile_expressions_end(expression):
    with contextlib.suppress(LimitError):
        call("String.match", input="a" * 5000 + "!", regex=expression)


def test_strings_that_double_are_refused():
    graph = Graph()
    value = "abcdefgh" * 1000
    for _ in range(30):
        value = graph.reference(invoke("String.cat", string1=value, string2=value))
    with pytest.raises(LimitError):
        evaluate(value, graph)


def test_replacements_that_explode_are_refused():
    with pytest.raises(LimitError):
        call("String.replace", input="a" * 100_000, regex="a", replacement="b" * 1000, flags="g")


def test_json_that_explodes_is_refused():
    graph = Graph()
    value = graph.reference([1, 2, 3])
    for _ in range(40):
        value = graph.reference([value, value])
    with pytest.raises(LimitError):
        evaluate(invoke("String.encodeJSON", object=value), graph)
