"""Masks by name. test_cloud_mask_pixels.py tests what they do to pixels."""

from __future__ import annotations

import pickle

import pytest

from eechips.datasets import list_datasets
from eechips.datasets.quality_bands import ValueRange, find_mask_sources, list_mask_sources
from eechips.errors import UsageError
from eechips.planning.imagery.image_masking import parse_mask, parse_masks

S2, L8, LST = "COPERNICUS/S2_SR_HARMONIZED", "LANDSAT/LC08/C02/T1_L2", "MODIS/061/MOD11A2"


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        (S2, ["scl", "cs_cdf", "cs", "qa60"]),
        ("COPERNICUS/S2_HARMONIZED", ["cs_cdf", "cs", "qa60"]),
        ("COPERNICUS/S2", ["cs_cdf", "cs", "qa60"]),
        (f"{S2}/20200603T175911_20200603T180651_T13TDE", ["scl", "cs_cdf", "cs", "qa60"]),
        (L8, ["qa_pixel"]),
        ("LANDSAT/LT05/C02/T1_TOA", ["qa_pixel"]),
        ("LANDSAT/LE07/C02/T2_L2", ["qa_pixel"]),
        ("LANDSAT/LC09/C02/T1_RT_TOA", ["qa_pixel"]),
        ("LANDSAT/LC08/C01/T1_SR", []),
        ("LANDSAT/COMPOSITES/C02/T1_L2_8DAY", []),
        (LST, ["qc"]),
        ("MODIS/061/MYD11A1", ["qc"]),
        ("MODIS/061/MOD13Q1", ["summaryqa"]),
        ("MODIS/061/MOD09GA", ["state"]),
        ("MODIS/061/MYD09A1", ["state"]),
        ("NASA/HLS/HLSS30/v002", ["fmask"]),
        ("COPERNICUS/S1_GRD", ["border"]),
        ("COPERNICUS/S1_GRD_FLOAT", ["border"]),
        ("USDA/NAIP/DOQQ", []),
    ],
)
def test_the_masks_of_a_dataset(dataset: str, names: list[str]) -> None:
    assert [source.name for source in find_mask_sources(dataset)] == names


def test_every_mask_says_where_its_bits_are_documented_and_masks_something() -> None:
    for source in list_mask_sources():
        assert source.url.startswith("https://developers.google.com/earth-engine/datasets/catalog/")
        assert bool(source.kinds) != bool(source.score)
        assert {kind.name for kind in source.kinds} >= set(source.usual)
        assert bool(source.usual) == bool(source.kinds)
        for kind in source.kinds:
            for each in kind.values:
                if isinstance(each, ValueRange):
                    assert (each.least is None) != (each.most is None)
                    continue
                assert 0 <= each.first <= each.last < 32
                assert all(0 <= value < 1 << (each.last - each.first + 1) for value in each.values)


def test_no_dataset_with_quality_bands_of_ours_is_without_a_mask() -> None:
    masked = {dataset.alias for dataset in list_datasets() if find_mask_sources(dataset.id)}
    assert masked >= {"S2", "L8", "L9", "MODIS_LST", "MOD13A2"}


@pytest.mark.parametrize("text", [None, "none", " None "])
def test_none_means_no_mask(text: str | None) -> None:
    assert parse_mask(text, "USDA/NAIP/DOQQ") is None


@pytest.mark.parametrize(
    ("dataset", "text", "whole"),
    [
        (S2, "auto", "scl:defective,shadow,cloud,cirrus"),
        (S2, "SCL", "scl:defective,shadow,cloud,cirrus"),
        (S2, "scl: snow , cloud", "scl:cloud,snow"),
        (S2, "cs", "cs:0.6"),
        (S2, "cs_cdf:0.75", "cs_cdf:0.75"),
        (S2, "qa60:cirrus", "qa60:cirrus"),
        (L8, "auto", "qa_pixel:fill,dilated,cirrus,cloud,shadow"),
        (L8, "qa_pixel:cloud,shadow,snow", "qa_pixel:cloud,shadow,snow"),
        (LST, "auto", "qc:unproduced,over2k"),
    ],
)
def test_equivalent_masks_have_the_same_text(dataset: str, text: str, whole: str) -> None:
    mask = parse_mask(text, dataset)
    assert mask is not None
    assert mask.text == whole
    assert parse_mask(whole, dataset) == mask
    assert hash(pickle.loads(pickle.dumps(mask))) == hash(mask)


@pytest.mark.parametrize(
    ("dataset", "text", "message"),
    [
        (
            "USDA/NAIP/DOQQ",
            "auto",
            r"no mask is known for USDA/NAIP/DOQQ; there are masks for Sentinel-2 \(scl,.*\(fmask\)",
        ),
        (S2, "qa_pixel", r"has no such mask; it has scl, cs_cdf, cs, qa60, and auto is scl"),
        (
            S2,
            "snow",
            r"has no such mask; it has .*, and auto is scl. To mask snow: mask='scl:[a-z,]*cloud,[a-z,]*snow'$",
        ),
        (S2, "scl:clouds", r"scl knows defective, dark, .*, not 'clouds'"),
        (S2, "scl:", r"not ''"),
        (S2, "cs:2", r"a number from 0 to 1, as in cs:0\.6"),
        (S2, "cs:high", r"a number from 0 to 1"),
        (S2, "cs:nan", r"a number from 0 to 1"),
    ],
)
def test_unknown_masks_are_refused_with_a_list(dataset: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_mask(text, dataset)


def test_bands_of_a_mask_are_listed() -> None:
    def needs(dataset: str, text: str, *bands: str) -> tuple[str, ...]:
        mask = parse_mask(text, dataset)
        assert mask is not None
        return mask.quality_bands(bands)

    assert needs(S2, "auto", "B4", "B3") == ("SCL",)
    assert needs(S2, "cs", "B4") == ()
    assert needs(LST, "auto", "LST_Day_1km") == ("QC_Day",)
    assert needs(LST, "auto", "LST_Night_1km", "LST_Day_1km") == ("QC_Night", "QC_Day")
    assert needs("MODIS/061/MOD09GA", "state:snow", "sur_refl_b01") == ("state_1km",)


def test_a_mask_that_reads_another_collection_says_so() -> None:
    mask = parse_mask("cs", S2)
    assert mask is not None
    assert mask.collections == ("GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED",)


def test_an_image_has_the_masks_of_its_collection() -> None:
    assert parse_mask("auto", f"{L8}/LC08_033032_20200601") == parse_mask("auto", L8)


def test_each_of_several_datasets_has_its_own_mask() -> None:
    dem = "USGS/SRTMGL1_003"
    assert parse_masks(None, [S2, dem]) == (None, None)
    assert parse_masks("none", [dem]) == (None,)
    assert parse_masks("auto", [dem, S2, L8]) == (None, parse_mask("auto", S2), parse_mask("auto", L8))
    assert parse_masks("QA_PIXEL: cloud", [S2, L8]) == (None, parse_mask("qa_pixel:cloud", L8))
    with pytest.raises(UsageError, match="no mask is known for USGS/SRTMGL1_003"):
        parse_masks("auto", [dem, "USDA/NAIP/DOQQ"])
    with pytest.raises(UsageError, match=r"qa_pixel knows fill, .* not 'clod'"):
        parse_masks("qa_pixel:clod", [S2, L8])
