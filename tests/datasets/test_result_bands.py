"""Bands of results, as run.json describes them."""

from __future__ import annotations

from typing import Any

import pytest

from eechips.datasets.result_bands import describe_bands, describe_units

LST = {"dataset": "MODIS/061/MOD11A2", "bands": ["LST_Day_1km"]}
SCALED = [{"name": "LST_Day_1km", "formula": "x", "values": {"x": "LST_Day_1km * 0.02"}}]


@pytest.mark.parametrize(
    ("parameters", "units"),
    [
        (LST, "K = value × 0.02"),
        ({**LST, "multiply": 0.02}, "K"),
        ({**LST, "multiply": 0.02, "add": -273.15}, "°C"),
        ({**LST, "computed": SCALED}, "K"),
        ({**LST, "computed": SCALED, "add": -273.15}, "°C"),
        ({**LST, "bands": ["Day_view_angl"]}, "deg = value − 65"),
        ({**LST, "bands": ["QC_Day"]}, ""),
        ({"dataset": "SRTM", "bands": None}, "m"),
    ],
)
def test_units_are_those_of_the_values_in_the_files(parameters: dict[str, Any], units: str) -> None:
    (band,) = describe_bands(parameters)
    assert describe_units(band) == units


def test_scale_and_offset_lead_back_to_the_units() -> None:
    (band,) = describe_bands({**LST, "multiply": 0.2, "add": 5.0})
    stored = 14_500
    assert (stored * 0.2 + 5.0) * band["scale"] + band["offset"] == pytest.approx(stored * 0.02)


def test_layers_have_their_datasets_and_indices_have_no_units() -> None:
    index = {"name": "NDVI", "formula": "(a - b) / (a + b)", "values": {"a": "B8", "b": "B4"}}
    copy = {"name": "red", "formula": "B4"}
    layers = [
        {"dataset": "S2", "bands": ["red", "NDVI"], "computed": [copy, index]},
        {"dataset": "SRTM", "bands": None},
        {"dataset": "users/somebody/fields", "bands": ["a"]},
    ]
    assert describe_bands({"layers": layers}) == [
        {"dataset": "COPERNICUS/S2_SR_HARMONIZED", "band": "red", "description": "Red"},
        {"dataset": "USGS/SRTMGL1_003", "band": "elevation", "units": "m", "scale": 1.0, "offset": 0.0},
    ]


def test_units_of_a_file_of_somebody_else_are_no_reason_to_fail() -> None:
    assert describe_units({"units": ["K"], "scale": 1, "offset": 0}) == ""
    assert describe_units({"units": "K", "scale": "much", "offset": 0}) == ""
