"""The records of the datasets that have a short name."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from eechips.datasets import DATASETS, Dataset, find, suggestion


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda d: d.alias)
def test_records_are_complete_and_consistent(dataset: Dataset) -> None:
    assert dataset.alias == dataset.alias.upper()
    assert dataset.bands
    assert dataset.scale > 0
    assert np.dtype(dataset.dtype).kind in "iuf"
    assert dataset.licence
    assert dataset.citation
    start = dt.date.fromisoformat(dataset.start)
    assert dataset.end is None or start <= dt.date.fromisoformat(dataset.end)
    assert dt.date.fromisoformat(dataset.checked) > start
    assert dataset.source.startswith("https://developers.google.com/earth-engine/datasets/catalog/")
    assert "/" not in dataset.source.removeprefix("https://developers.google.com/earth-engine/datasets/catalog/")


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda d: d.alias)
def test_default_bands_make_a_picture(dataset: Dataset) -> None:
    """PNG and JPEG take one band or three, in 8 bits, so anything wider needs a stretch."""
    assert len(dataset.bands) in (1, 3)
    visualization = dataset.visualization
    if dataset.dtype != "uint8":
        assert visualization["min"] < visualization["max"]
    if "palette" in visualization:
        assert len(dataset.bands) == 1
        assert all(len(colour) == 6 and int(colour, 16) >= 0 for colour in visualization["palette"])


def test_names_are_unique() -> None:
    assert len({d.alias for d in DATASETS}) == len({d.id for d in DATASETS}) == len(DATASETS)


def test_worldcover_s_classes_fall_on_their_own_colours() -> None:
    worldcover = find("WORLDCOVER")
    assert worldcover is not None
    palette = worldcover.visualization["palette"]
    classes = {10: "006400", 20: "ffbb22", 80: "0064c8", 90: "0096a0", 95: "00cf75", 100: "fae6a0"}
    for value, colour in classes.items():
        position = (value - 10) / (100 - 10) * (len(palette) - 1)
        assert palette[int(position)] == colour
        assert position == int(position)


def test_find_takes_aliases_in_any_case_and_ids() -> None:
    naip = find("naip")
    assert naip is not None
    assert naip.id == "USDA/NAIP/DOQQ"
    assert find("USDA/NAIP/DOQQ") is naip
    assert find("users/someone/something") is None


def test_suggestions() -> None:
    assert suggestion("NIAP").startswith("; did you mean NAIP")
    assert "USDA/NAIP/DOQQ" in suggestion("USDA/NAIP/DOQ")
    assert suggestion("qqqqqqqq") == ""


@pytest.mark.parametrize("dataset", [d for d in DATASETS if d.classes], ids=lambda d: d.alias)
def test_classes_fit_the_type_and_have_different_names(dataset: Dataset) -> None:
    assert len(dataset.bands) == 1
    limits = np.iinfo(dataset.dtype)
    assert all(limits.min <= code <= limits.max for code in dataset.classes)
    assert list(dataset.classes) == sorted(dataset.classes)
    assert len(set(dataset.classes.values())) == len(dataset.classes)
