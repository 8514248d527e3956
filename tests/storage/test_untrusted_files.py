"""Files and headers of others are read within bounds."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.errors import StorageError
from eechips.storage.untrusted_files import parse_json, read_frame, translate_read_errors
from eechips.text.formatting import parse_count


@pytest.mark.parametrize("text", ["", "²", "٣", "0\x1f", " 1", "1_000", "+1", "-1", "1.0", "9" * 19, "9" * 5000])
def test_text_that_is_no_count_is_ignored(text: str) -> None:
    assert parse_count(text) is None


@given(st.integers(0, 10**18 - 1))
def test_counts_are_read(count: int) -> None:
    assert parse_count(str(count)) == count


@given(st.text(max_size=8))
def test_any_other_text_is_no_count(text: str) -> None:
    assert parse_count(text) == (int(text) if re.fullmatch("[0-9]{1,18}", text) else None)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("is_read_whole", [True, False])
def test_long_integers_keep_their_digits_beside_missing_values(
    tmp_path: Path, suffix: str, is_read_whole: bool
) -> None:
    long = 2**53 + 1
    frame = pd.DataFrame({
        "long": pd.array([long, None, -long], "Int64"), "short": pd.array([1, None, 3], "Int64"),
        "large": [1e300, None, 0.5], "whole": [long, long + 2, 0],
    })  # fmt: skip
    path = tmp_path / f"table.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        pq.write_table(pa.Table.from_pandas(frame).replace_schema_metadata(None), path)
    for source in (path, path.read_bytes()):
        table = read_frame(source, suffix, rows=None if is_read_whole else 2, name="table")
        assert table["long"].tolist()[:1] == [long]
        assert table["long"].isna().tolist()[:2] == [False, True]
        assert table["whole"].tolist()[:2] == [long, long + 2]
        assert [str(table[name].dtype) for name in ("short", "large", "whole")] == ["float64", "float64", "int64"]


def test_lone_surrogates_of_json_become_texts_that_files_take() -> None:
    value = parse_json(b'{"\\uD800": ["\\udc00", "\\ud83d\\ude00", "\\ud801"]}')
    assert value == {"&#55296;": ["&#56320;", "\U0001f600", "&#55297;"]}


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE])
def test_a_file_that_the_system_does_not_read_is_not_called_damaged(number: int) -> None:
    """The advice for a damaged file is to move it away."""
    with pytest.raises(StorageError) as told, translate_read_errors("run.json"):
        raise OSError(number, os.strerror(number), "run.json")
    assert str(told.value) == f"run.json cannot be read: {os.strerror(number)}"
    with pytest.raises(StorageError, match="is damaged: no thrift"), translate_read_errors("run.json"):
        raise OSError("no thrift")  # of pyarrow
