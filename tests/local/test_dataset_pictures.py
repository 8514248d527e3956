"""The page of the local Earth Engine draws datasets as their records say; copies of files and functions are equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips.datasets import find_dataset, list_datasets
from eechips.text import formatting
from eechips_local import text as local_text
from eechips_local.page.dataset_pictures import dataset_pictures
from tests.support.hostile_texts import HOSTILE_TEXTS
from tests.support.source_tree import EECHIPS, LOCAL


def test_pictures_are_those_of_the_records() -> None:
    pictures = dataset_pictures()
    naip, srtm = pictures["USDA/NAIP/DOQQ"], pictures["USGS/SRTMGL1_003"]
    assert (naip["bands"], naip["min"], naip["max"]) == (["R", "G", "B"], 0, 255)
    assert (srtm["bands"], srtm["min"], srtm["max"], srtm["gamma"]) == (["elevation"], 0, 6000, 1.6)
    cover = find_dataset("ESA/WorldCover/v200")
    assert cover is not None
    assert pictures[cover.id]["classes"] == [[k, name, cover.class_colours[k]] for k, name in cover.classes.items()]
    assert {len(each["bands"]) for each in pictures.values()} == {1, 3}


def test_every_record_has_a_picture_with_its_static_period() -> None:
    pictures = dataset_pictures()
    recorded = {each.id: each.is_single_period for each in list_datasets()}
    pictured = {name: picture["isStatic"] for name, picture in pictures.items()}
    assert pictured == {**recorded, "COPERNICUS/S1_GRD_FLOAT": False}  # drawn as S1_GRD, and has no record


@pytest.mark.parametrize("name", ["elements.js", "basemap.js", "basemap.json", "page.css"])
def test_files_that_the_report_has_as_well_are_the_same(name: str) -> None:
    assert (LOCAL / "page" / name).read_bytes() == (EECHIPS / "reports" / name).read_bytes()


def test_markup_is_the_same() -> None:
    own, copy = (
        Path(folder, "markup.py").read_text(encoding="utf-8") for folder in (EECHIPS / "reports", LOCAL / "page")
    )
    assert own.replace("eechips.text.formatting", "eechips_local.text") == copy


def test_texts_are_cleaned_alike() -> None:
    for each in HOSTILE_TEXTS:
        assert formatting.one_line(each) == local_text.one_line(each)
        assert formatting.escape_html(each) == local_text.escape_html(each)
        assert formatting.format_json(each) == local_text.format_json(each)
