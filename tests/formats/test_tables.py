"""Tables round-trip, missing values included. Oracle: pandas."""

from __future__ import annotations

import io
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eechips.errors import ValidationError
from eechips.formats import Expectation, table_format, validate
from eechips.formats.table import arrange_columns, to_plain_value, unify_types

ROWS = [
    {"region": "a", "n": 1, "value": 1.5, "when": {"type": "Date", "value": 86_400_000}},
    {"region": "b", "value": None, "n": 2.5},
]


def test_columns_keep_their_order_and_missing_values_are_null() -> None:
    names, columns = arrange_columns(ROWS, None)
    assert names == ("region", "n", "value", "when")
    assert columns == [["a", "b"], [1.0, 2.5], [1.5, None], [datetime(1970, 1, 2, tzinfo=timezone.utc), None]]
    assert arrange_columns(ROWS, ("value", "gone")) == (("value", "gone"), [[1.5, None], [None, None]])
    assert arrange_columns([], ("a", "b")) == (("a", "b"), [[], []])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5), (np.int64(3), 3), (np.bool_(True), True), (float("nan"), None), (pd.NA, None),
        (pd.NaT, None), ([1, 2], "[1, 2]"), ({"b": 1, "a": 2}, '{"a": 2, "b": 1}'), (None, None), ("x", "x"),
        (True, True), ({"type": "Date", "value": 253402300800000}, '{"type": "Date", "value": 253402300800000}'),
    ],
)  # fmt: skip
def test_values_become_plain_python_types(value: Any, expected: Any) -> None:
    found = to_plain_value(value)
    assert found == expected
    assert type(found) is type(expected)


def test_columns_of_mixed_types_become_text() -> None:
    assert unify_types([1, "a", None]) == ["1", "a", None]
    assert unify_types([True, 2]) == ["True", "2"]
    assert unify_types([datetime(1970, 1, 2, tzinfo=timezone.utc), "x"]) == ["1970-01-02T00:00:00+00:00", "x"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2**53 + 1, 0.5, None], ["9007199254740993", "0.5", None]), ([2**53 + 2, 0.5], [2.0**53 + 2, 0.5]),
        ([2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]), ([2**63, None], [2.0**63, None]),
        ([2**63 + 1, 1], ["9223372036854775809", "1"]), ([10**400, 0.5], ["1" + 400 * "0", "0.5"]),
    ],
)  # fmt: skip
def test_integers_keep_their_digits(values: list[Any], expected: list[Any]) -> None:
    found = unify_types(values)
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))
    assert len(pa.array(found)) == len(expected)


CELLS = st.lists(
    st.tuples(
        st.integers(-(2**53), 2**53) | st.none(),
        st.floats(allow_nan=False, allow_infinity=False) | st.none(),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
    ),
    min_size=1,
    max_size=8,
)


@given(CELLS)
@example([(1, 1.0, "a\rb")])
@example([(1, 1.0, "x" * 200_000)])
def test_csv_reads_back_the_same(cells: list[tuple[Any, ...]]) -> None:
    rows = [dict(zip(("i", "x", "t"), row, strict=True)) for row in cells]
    written = table_format("csv").encode(*arrange_columns(rows, None))
    frame = pd.read_csv(io.BytesIO(written.data), dtype=str, keep_default_na=False)
    for (integer, number, text), (_, found) in zip(cells, frame.iterrows(), strict=True):
        assert found["i"] == ("" if integer is None else str(integer))
        assert found["x"] == "" if number is None else float(found["x"]) == number
        assert found["t"] == text
    assert validate(written.data, "csv").rows == len(cells)


def test_csv_writes_dates_in_utc_and_booleans_small() -> None:
    names, columns = arrange_columns([{"when": {"type": "Date", "value": 1500}, "ok": True}], None)
    assert table_format("csv").encode(names, columns).data == b"when,ok\n1970-01-01T00:00:01.500000Z,true\n"


def test_parquet_keeps_types_and_nulls() -> None:
    written = table_format("parquet").encode(*arrange_columns(ROWS, None))
    frame = pd.read_parquet(io.BytesIO(written.data))
    assert list(frame.columns) == ["region", "n", "value", "when"]
    assert frame["n"].tolist() == [1.0, 2.5]
    assert frame["value"].isna().tolist() == [False, True]
    assert str(frame["when"].dt.tz) == "UTC"
    assert validate(written.data, "parquet").rows == 2


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_cut_table_is_refused(suffix: str) -> None:
    data = table_format(suffix).encode(*arrange_columns(ROWS, None)).data
    with pytest.raises(ValidationError):
        validate(data[:-1], suffix)
    with pytest.raises(ValidationError):
        validate(data[: len(data) // 2], suffix)
    with pytest.raises(ValidationError, match="expected"):
        table_format(suffix).validate(data, Expectation(bands=("other",)))


@pytest.mark.parametrize("data", [b"", b"a,b\n1\n", b"\xff\xff\n", b'a\n"x'])
def test_invalid_csv_is_refused(data: bytes) -> None:
    with pytest.raises(ValidationError):
        validate(data, "csv")
