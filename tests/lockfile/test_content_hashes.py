"""Hashes of content: which tiles and bands they find changed, compared with what was changed by hand."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eechips.lockfile.content_hashes import (
    ContentChange,
    PixelHashes,
    RowHashes,
    compare_contents,
    content_hashes_from_json,
    hash_content,
)
from tests.support.finished_run import geotiff_of, npy_of, png_of

SIZES = [(1, 1), (5, 1), (64, 64), (7, 300), (256, 100)]


def pixels(width: int, height: int, *, seed: int = 0, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 200, (3, height, width)).astype(dtype)


def hashes(values: np.ndarray, valid: np.ndarray | None = None) -> PixelHashes:
    return PixelHashes.of(values, np.ones(values.shape[1:], dtype=bool) if valid is None else valid)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", "bool"])
def test_equal_pixels_have_equal_hashes_in_any_byte_order_and_layout(size: tuple[int, int], dtype: str) -> None:
    values = pixels(*size, dtype=dtype)
    before = hashes(values)
    assert before.compare(hashes(np.asfortranarray(values))) is None
    swapped = values.astype(values.dtype.newbyteorder(">"))
    assert before.compare(hashes(swapped)) is None


def test_masked_pixels_have_no_value() -> None:
    values, valid = pixels(64, 64), np.ones((64, 64), dtype=bool)
    valid[10:20] = False
    other = values.copy()
    other[:, 10:20] += 1
    assert hashes(values, valid).compare(hashes(other, valid)) is None
    now_valid = valid.copy()
    now_valid[10, 10] = True
    assert hashes(values, valid).compare(hashes(values, now_valid)) is not None


@pytest.mark.parametrize("size", SIZES)
def test_one_changed_pixel_is_found_with_its_band_and_place(size: tuple[int, int]) -> None:
    width, height = size
    for seed in range(20):
        values = pixels(width, height, seed=seed)
        random = np.random.default_rng(seed)
        band, row, column = random.integers(3), random.integers(height), random.integers(width)
        other = values.copy()
        other[band, row, column] += 1
        change = hashes(values).compare(hashes(other))
        assert change is not None
        assert change.share is None
        assert change.largest_share is not None
        assert 1 / (width * height) <= change.largest_share <= 1
        assert change.bands == (band,)
        left, top, across, down = change.window or (0, 0, 0, 0)
        assert left <= column < left + across <= width
        assert top <= row < top + down <= height


@pytest.mark.parametrize(("across", "down"), [(128, 128), (256, 10), (30, 200), (256, 256)])
def test_tiles_bound_the_share_of_a_changed_rectangle(across: int, down: int) -> None:
    values = pixels(256, 256)
    other = values.copy()
    other[:, 20 : 20 + down, :across] += 1
    exact = float((values != other).any(axis=0).mean())
    change = hashes(values).compare(hashes(other))
    assert change is not None
    assert change.largest_share is not None
    # A tile of 25 pixels in 256 is missed; those at the edges of the rectangle count as a whole.
    assert exact - 0.02 < change.largest_share <= exact + 50 * (across + down) / 256**2 + 0.02
    assert change.bands == (0, 1, 2)


def test_other_sizes_and_bands_have_no_share() -> None:
    assert hashes(pixels(8, 8)).compare(hashes(pixels(8, 9))) == ContentChange(reason="8x9 pixels instead of 8x8")
    assert hashes(pixels(8, 8)).compare(hashes(pixels(8, 8)[:2])) == ContentChange(reason="2 bands instead of 3")


def test_files_of_every_chip_format_are_hashed_by_their_pixels() -> None:
    values = pixels(16, 16, dtype="uint8")
    mask = np.random.default_rng(1).random((16, 16)) < 0.5
    files = {"tif": geotiff_of(values, mask), "npy": npy_of(values, mask), "png": png_of(values, mask)}
    found = [hash_content(data, suffix) for suffix, data in files.items()]
    assert found == [PixelHashes.of(values, mask)] * 3
    assert hash_content(b"no raster", "tif") is None
    assert hash_content(b"text", "txt") is None


def table(frame: pd.DataFrame, suffix: str) -> RowHashes:
    buffer = io.BytesIO()
    if suffix == "parquet":
        frame.to_parquet(buffer)
    else:
        frame.to_csv(buffer, index=False, lineterminator="\n")
    found = hash_content(buffer.getvalue(), suffix)
    assert isinstance(found, RowHashes)
    return found


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_changed_rows_of_tables_are_noticed(suffix: str) -> None:
    frame = pd.DataFrame({"date": [f"2020-01-{day:02d}" for day in range(1, 31)], "value": np.arange(30) / 7})
    before = table(frame, suffix)
    assert before.compare(table(frame[::-1], suffix)) is None
    other = frame.copy()
    other.loc[[3, 5, 8], "value"] = 0.5
    assert before.compare(table(other, suffix)) == ContentChange(reason="other rows")
    longer = pd.concat([frame, frame.tail(1).assign(value=9.5)])
    assert before.compare(table(longer, suffix)) == ContentChange(reason="31 rows instead of 30")
    other_columns = frame.rename(columns={"value": "v"})
    assert before.compare(table(other_columns, suffix)) == ContentChange(reason="other columns")
    assert table(frame.head(0), suffix).rows == 0


ROWS = st.lists(st.binary(max_size=1), max_size=99)


@given(ROWS, ROWS)
@example([b"%d" % n for n in range(999)], [*(b"%d" % n for n in range(998)), b"x"])
@example([b"a", b"a", b"b"], [b"a", b"b", b"b"])
def test_rows_that_are_not_the_same_differ(before: list[bytes], after: list[bytes]) -> None:
    change = RowHashes.of(["a"], before).compare(RowHashes.of(["a"], after))
    assert (change is None) == (Counter(before) == Counter(after))


@pytest.mark.parametrize("size", SIZES)
def test_hashes_are_read_as_they_were_written(size: tuple[int, int]) -> None:
    for found in (hashes(pixels(*size)), RowHashes.of(["a"], [b"1", b"2"])):
        assert content_hashes_from_json(found.to_json()) == found


WRONG = [
    3,
    {},
    {"size": [8, 8], "bands": "AAA=", "tiles": ""},
    {"size": [1 << 40, 1 << 40], "bands": "AAA=", "tiles": "AA=="},
    {"size": [0, 1], "bands": "AAA=", "tiles": "AA=="},
    {"size": [True, 1], "bands": "AAA=", "tiles": "AA=="},
    {"size": [1, 1], "bands": "AA==", "tiles": "AA=="},
    {"size": [1, 1], "bands": "AAA=", "tiles": "A"},
    {"rows": -1, "columns": "AAAAAA==", "total": "AAAAAA=="},
    {"rows": 1, "columns": 4, "total": "AAAAAA=="},
    {"rows": 1, "columns": "AAAAAA==", "total": ""},
]


@pytest.mark.parametrize("value", WRONG)
def test_what_are_no_hashes_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"hashes|[Pp]adding|base64"):
        content_hashes_from_json(value)


def whole_npy(values: np.ndarray) -> bytes:
    return npy_of(values, np.ones(values.shape[1:], dtype=bool))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_compared_contents_have_the_exact_share_window_and_bands(suffix: str, dtype: str) -> None:
    encode = {"tif": geotiff_of, "npy": whole_npy}[suffix]
    values = pixels(40, 30, dtype=dtype)
    assert compare_contents(encode(values), encode(values), suffix) is None
    for seed in range(10):
        random = np.random.default_rng(seed)
        places = random.random((30, 40)) < 0.02
        places[random.integers(30), random.integers(40)] = True
        other = values.copy()
        other[1][places] += 1
        rows, columns = np.nonzero(places)
        window = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
        share = places.sum() / places.size
        found = compare_contents(encode(values), encode(other), suffix)
        assert found == ContentChange(share, share, window, (1,))


def test_compared_contents_of_another_size_or_type_have_no_share() -> None:
    before = whole_npy(pixels(40, 30))
    found = compare_contents(before, whole_npy(pixels(30, 40)), "npy")
    assert found is not None
    assert (found.share, found.reason) == (None, "30x40 pixels instead of 40x30")
    found = compare_contents(before, whole_npy(pixels(40, 30, dtype="float32")), "npy")
    assert found is not None
    assert (found.share, found.reason) == (None, "float32 instead of uint16")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_compared_tables_have_the_exact_share_of_rows_in_any_order(suffix: str) -> None:
    def encode(frame: pd.DataFrame) -> bytes:
        buffer = io.BytesIO()
        frame.to_csv(buffer, index=False) if suffix == "csv" else frame.to_parquet(buffer, index=False)
        return buffer.getvalue()

    table = pd.DataFrame({"a": range(5000), "b": 0})
    other = table.sample(frac=1.0, random_state=1)
    assert compare_contents(encode(table), encode(other), suffix) is None
    other.loc[other["a"] < 1234, "b"] = 1
    found = compare_contents(encode(table), encode(other), suffix)
    assert found == ContentChange(1234 / 5000, 1234 / 5000)
    found = compare_contents(encode(table), encode(pd.concat([table, table.head(10)])), suffix)
    assert found == ContentChange(0.0, 0.0, reason="5,010 rows instead of 5,000")
    found = compare_contents(encode(table), encode(table.rename(columns={"b": "c"})), suffix)
    assert found == ContentChange(reason="other columns")
