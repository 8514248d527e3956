"""The records of the datasets that have a short name."""

from __future__ import annotations

import numpy as np
import pytest

from eechips.datasets import Dataset, find_dataset, list_datasets, suggest_datasets


def test_default_bands_make_a_picture() -> None:
    """PNG and JPEG take one band or three, in 8 bits, so anything wider needs a stretch."""
    for dataset in list_datasets():
        check_default_bands(dataset)


def check_default_bands(dataset: Dataset) -> None:
    assert len(dataset.default_bands) in (1, 3) or dataset.alias == "EMBEDDINGS"
    visualization = dataset.visualization
    if dataset.dtype != "uint8":
        assert visualization["min"] < visualization["max"]
    if "palette" in visualization:
        assert len(dataset.default_bands) == 1
        assert all(len(colour) == 6 and int(colour, 16) >= 0 for colour in visualization["palette"])


def test_names_are_unique() -> None:
    names = [name for dataset in list_datasets() for name in {*dataset.names, dataset.id}]
    assert len(set(names)) == len(names)


def test_worldcover_s_classes_fall_on_their_own_colours() -> None:
    worldcover = find_dataset("WORLDCOVER")
    assert worldcover is not None
    palette = worldcover.visualization["palette"]
    classes = {10: "006400", 20: "ffbb22", 80: "0064c8", 90: "0096a0", 95: "00cf75", 100: "fae6a0"}
    for value, colour in classes.items():
        position = (value - 10) / (100 - 10) * (len(palette) - 1)
        assert palette[int(position)] == colour
        assert position == int(position)


def test_find_takes_aliases_in_any_case_and_ids() -> None:
    naip = find_dataset("naip")
    assert naip is not None
    assert naip.id == "USDA/NAIP/DOQQ"
    assert find_dataset("USDA/NAIP/DOQQ") is naip
    assert find_dataset("users/someone/something") is None


def test_misspelt_names_get_suggestions() -> None:
    assert suggest_datasets("NIAP").startswith("; did you mean NAIP")
    assert "USDA/NAIP/DOQQ" in suggest_datasets("USDA/NAIP/DOQ")
    assert suggest_datasets("SENTINEL3") == "; did you mean S2 or S1?"
    # a local Earth Engine may lack a known dataset
    assert suggest_datasets("COPERNICUS/S2_HARMONIZED").startswith("; did you mean COPERNICUS/S2_SR_HARMONIZED")
    assert suggest_datasets("COPERNICUS/S2_SR").startswith("; did you mean COPERNICUS/S2_SR_HARMONIZED")
    assert suggest_datasets("qqqqqqqq") == ""


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("SENTINEL2", "S2"),
        ("sentinel-2", "S2"),
        ("Sentinel1", "S1"),
        ("DEM", "SRTM"),
        ("landsat8", "L8"),
        ("era5", "ERA5_LAND_MONTHLY"),
        ("Landsat 8", "L8"),
        ("dynamic-world", "DYNAMICWORLD"),
        ("modis lst", "MODIS_LST"),
        ("S2_SR", "S2"),
    ],
)
def test_datasets_have_synonyms(name: str, alias: str) -> None:
    found = find_dataset(name)
    assert found is not None
    assert found.alias == alias


def test_pictures_of_cameras_look_natural_and_those_of_maps_do_not() -> None:
    photographic = {dataset.alias for dataset in list_datasets() if dataset.is_photographic}
    assert photographic >= {"NAIP", "S2", "S2_TOA", "L4", "L5", "L7", "L8", "L9", "L8_TOA", "HLSL30", "MOD09GA"}
    assert not photographic & {"S1", "SRTM", "CDL", "NLCD", "WORLDCOVER", "MODIS_LST", "EMBEDDINGS", "PALSAR"}
    assert all(len(dataset.default_bands) != 3 for dataset in list_datasets() if dataset.alias not in photographic)


def test_common_names_of_bands_are_lower_case() -> None:
    for dataset in list_datasets():
        assert all(name == name.lower() for name in dataset.band_names)
        if dataset.is_photographic:
            assert tuple(dataset.band_names[name] for name in ("red", "green", "blue")) == dataset.default_bands


def test_classes_fit_the_type_and_have_different_names() -> None:
    for dataset in list_datasets():
        if dataset.classes:
            check_classes(dataset)


def check_classes(dataset: Dataset) -> None:
    assert len(dataset.default_bands) == 1
    limits = np.iinfo(dataset.dtype or "int16")
    assert all(limits.min <= code <= limits.max for code in dataset.classes)
    assert list(dataset.classes) == sorted(dataset.classes)
    assert len(set(dataset.classes.values())) == len(dataset.classes) or dataset.alias == "CDL"
