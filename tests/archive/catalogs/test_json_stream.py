"""JSON documents in parts, against a reader of whole documents."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eechips.archive.catalogs import item_json
from eechips.archive.catalogs.item_json import parts

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=True)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
)
NAMES = st.sampled_from(["features", "type", "id", "", "}", '"'])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)


def expected(value: Any) -> Iterator[Any]:
    """The parts of a value that is all in memory."""
    if isinstance(value, list):
        for part in value:
            yield from expected(part)
    elif isinstance(value, dict) and isinstance(value.get("features"), list):
        yield from value["features"]
    else:
        yield value


def blocks_of(text: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


@pytest.mark.slow
@given(
    st.lists(VALUES, max_size=4),
    st.sampled_from([None, 1]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"]),
    st.sampled_from(["\n", " \r\n", ",", "\n\x1e"]),
    st.integers(4, 50),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_streamed_items_equal_those_of_the_whole_document(
    values: list[Any], indent: int | None, encoding: str, between: str, size: int, is_ascii: bool
) -> None:
    """However it is spread, over lines or over blocks."""
    whole = between.join(json.dumps(value, indent=indent, ensure_ascii=is_ascii) for value in values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_json, "_BLOCK", size)
        found = [json.loads(part) for part in parts(blocks_of(whole.encode(encoding), size))]
    # NaN is not equal to itself: texts are compared.
    assert json.dumps(found) == json.dumps([part for value in values for part in expected(value)])


def test_strings_are_unchanged() -> None:
    assert list(parts([b'{"features": [{"a":1.50, "b" : NaN}], "x": 1} [ 1e400 , "\\u00e4"]'])) == [
        '{"a":1.50, "b" : NaN}', "1e400", '"\\u00e4"'
    ]  # fmt: skip


def test_no_more_is_read_than_is_needed() -> None:
    """A collection without end: its features come as they are read."""
    feature = json.dumps({"id": "a", "x": "y" * 2000}).encode() + b",\n"
    endless = itertools.chain([b'{"type": "FeatureCollection", "features": ['], itertools.repeat(feature))
    read = itertools.count()
    found = parts(block for block, _ in zip(endless, read, strict=False))
    assert [json.loads(part)["id"] for part in itertools.islice(found, 3000)] == ["a"] * 3000
    assert next(read) < 3000 + 2 * item_json._BLOCK // len(feature)


@pytest.mark.parametrize(
    "text",
    ['{"a": 1', "[1, 2", "[1 2]", '{"a" 1}', "{1: 2}", '{"a": 1,}', "[1,]", "]", '"a', "tru", '{"features": [{}, ',
     "nan", "[" * 100_000, '{"a":' * 100_000, "1 2 x", '["\\ud8"]', "-", '{"a": "b\nc"}'],
)  # fmt: skip
def test_invalid_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"at character|arrays are nested"):
        list(parts([text.encode()]))


def test_reading_stops_at_the_first_error() -> None:
    begun = b'[{"a": 1}, {"b" 2}, ' + b"[]," * 100
    rest = (b'{"c": 3},' * 100_000 for _ in range(1000))
    with pytest.raises(ValueError, match="at character 16"):
        list(parts(itertools.chain([begun], rest)))
    assert sum(1 for _ in rest) > 900
