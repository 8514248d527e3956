"""Columns that reducers fill, and Earth Engine's names of their values."""

from __future__ import annotations

import pytest

from eechips.errors import UsageError
from eechips.planning.areas.region_reducers import parse_statistics


@pytest.mark.parametrize(
    ("reducers", "bands", "columns"),
    [
        ("mean", ("B4",), ("B4", "count")),
        ("mean", ("B4", "B8"), ("B4", "B8", "B4_count", "B8_count")),
        ("count", ("B4",), ("B4", "count")),
        ("mean,max", ("B4",), ("B4_mean", "B4_max", "B4_count")),
        ("mean, count , p90", ("B4",), ("B4_mean", "B4_count", "B4_p90")),
        (("mean", "stdDev"), ("B4", "B8"), ("B4_mean", "B4_stdDev", "B8_mean", "B8_stdDev", "B4_count", "B8_count")),
    ],
)
def test_columns_follow_reducers_and_bands(
    reducers: str | tuple[str, ...], bands: tuple[str, ...], columns: tuple[str, ...]
) -> None:
    assert parse_statistics(reducers).columns(bands) == columns


@pytest.mark.parametrize(
    ("reducers", "bands", "alone", "together"),
    [
        ("mean", ("B4",), ("B4_mean", "B4_count"), ("mean", "count")),
        ("count", ("B4",), ("B4", "B4"), ("count", "count")),
        ("count", ("B4", "B8"), ("B4", "B8", "B4", "B8"), ("B4", "B8", "B4", "B8")),
        ("max,p5", ("B4", "B8"), *[("B4_max", "B4_p5", "B8_max", "B8_p5", "B4_count", "B8_count")] * 2),
    ],
)
def test_outputs_are_named_by_band_and_reducer(
    reducers: str, bands: tuple[str, ...], alone: tuple[str, ...], together: tuple[str, ...]
) -> None:
    statistics = parse_statistics(reducers)
    assert statistics.outputs(bands) == alone
    assert statistics.outputs(bands, of_collection=True) == together


def test_valid_fractions_have_the_prefix_of_counts() -> None:
    assert parse_statistics("mean").valid_fractions(("B4",)) == ("valid_fraction",)
    assert parse_statistics("mean,max").valid_fractions(("B4",)) == ("B4_valid_fraction",)
    both = parse_statistics("mean,count")
    assert both.valid_fractions(("B4", "B8")) == ("B4_valid_fraction", "B8_valid_fraction")
    assert both.values(("B4", "B8")) == {"B4": ("B4_mean",), "B8": ("B8_mean",)}


def test_counts_are_known() -> None:
    assert parse_statistics("mean,count").counts(("B4", "B8")) == {"B4_count", "B8_count"}
    assert parse_statistics("count").counts(("B4",)) == {"B4", "count"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("average", "unknown reducer 'average': there are mean, median"),
        ("p101", "p0 to p100"),
        ("", "unknown reducer ''"),
        ("mean,", "unknown reducer ''"),
        ("mean,mean", "a reducer is asked for twice: mean,mean"),
    ],
)
def test_invalid_reducers_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_statistics(text)


def test_an_empty_list_of_reducers_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one reducer"):
        parse_statistics(())
