"""The list of spectral indices, and which of them the bands of a dataset allow."""

from __future__ import annotations

import ast
import json
from importlib.resources import files

import pytest

from eechips.datasets import find_dataset
from eechips.datasets.spectral_indices import find_index, get_index, list_indices, list_supported, match_bands
from eechips.errors import UsageError


def supported(name: str) -> set[str]:
    record = find_dataset(name)
    assert record is not None
    return {index.name for index in list_supported(record)}


def test_the_list_has_its_source_and_its_licence() -> None:
    content = json.loads((files("eechips.datasets") / "spectral_indices.json").read_text(encoding="utf-8"))
    assert "awesome-spectral-indices" in content["source"]
    assert content["licence"][0] == "MIT License"
    assert "Copyright (c) 2021 David Montero Loaiza" in content["licence"]


def test_the_list_equals_that_of_spyndex() -> None:
    spyndex = pytest.importorskip("spyndex", reason="spyndex, the source of the list, is not installed")
    known = set(spyndex.indices)
    for index in list_indices():
        if index.name in known:
            assert index.formula == spyndex.indices[index.name].formula
            assert index.long_name == spyndex.indices[index.name].long_name


def test_each_formula_has_the_variables_that_the_list_names() -> None:
    assert len(list_indices()) == 280
    for index in list_indices():
        found = {node.id for node in ast.walk(ast.parse(index.formula)) if isinstance(node, ast.Name)}
        assert found == set(index.variables), index.name
        assert index.reference.startswith("http"), index.name


def test_the_bands_of_a_sensor_decide_which_indices_work() -> None:
    assert {"NDVI", "EVI", "NDWI", "NBR", "NDRE", "CIRE", "IRECI", "kNDVI", "FAI"} - supported("S2") == {"NDRE"}
    assert {"NDVI", "GNDVI", "VARI"} <= supported("NAIP")
    assert not {"NBR", "NDMI", "IRECI"} & supported("NAIP")
    assert {"NDVI", "NBR", "NBRT1", "NDISIb"} <= supported("L8")
    assert {"VHVVR", "DpRVIVV", "RFDI"} <= supported("S1")
    assert "NDVI" not in supported("S1")
    assert supported("SRTM") == set()
    assert all("NIRvP" not in supported(name) for name in ("S2", "L8"))  # radiation is no band


def test_common_names_give_the_bands_of_each_sensor() -> None:
    for name, bands in {
        "S2": {"N": "B8", "R": "B4", "B": "B2"},
        "L8": {"N": "SR_B5", "R": "SR_B4", "B": "SR_B2"},
        "L5": {"N": "SR_B4", "R": "SR_B3", "B": "SR_B1"},
        "MOD09GA": {"N": "sur_refl_b02", "R": "sur_refl_b01", "B": "sur_refl_b03"},
        "HLSL30": {"N": "B5", "R": "B4", "B": "B2"},
    }.items():
        record = find_dataset(name)
        assert record is not None
        found = match_bands(get_index("EVI"), record)
        assert {variable: band.name for variable, band in found.bands.items()} == bands
        assert found.numbers == {"g": 2.5, "C1": 6.0, "C2": 7.5, "L": 1.0}


def test_names_are_found_in_any_case_unless_two_differ_only_in_it() -> None:
    found = find_index("ndvi")
    assert found is not None
    assert found.name == "NDVI"
    assert get_index("BAI").domain == "burn"
    assert get_index("BaI").domain == "soil"
    with pytest.raises(UsageError, match=r"no spectral index 'bai' among 280 .*; did you mean BAI or BaI\?"):
        get_index("bai")
    with pytest.raises(UsageError, match=r"no spectral index 'NDVJ' .*; did you mean 'NDV.*'\?"):
        get_index("NDVJ")
    with pytest.raises(UsageError, match=r"did you mean 'NDVI'\?"):  # not NMDI, which is as similar
        get_index("NVDI")
    with pytest.raises(UsageError, match=r"no spectral index 'zzzzzz' .*; write its formula: NAME=FORMULA"):
        get_index("zzzzzz")


@pytest.mark.parametrize(
    ("index", "dataset", "message"),
    [
        ("NBR", "NAIP", "NAIP has no band swir2, which NBR needs; it has red, green, blue, nir"),
        ("NDMI", "MOD13Q1", "MOD13Q1 has no band swir1, which NDMI needs"),
        ("VHVVR", "S2", "S2 has no band VH and no band VV, which VHVVR needs"),
        ("FAI", "NAIP", "NAIP has no band swir1 and no known wavelength of the band nir and no known wavelength of"),
        ("NIRvP", "S2", "S2 has no value of PAR, which NIRvP needs"),
    ],
)
def test_the_message_names_the_missing_band(index: str, dataset: str, message: str) -> None:
    record = find_dataset(dataset)
    assert record is not None
    with pytest.raises(UsageError, match=message):
        match_bands(get_index(index), record)
