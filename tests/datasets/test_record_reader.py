"""Records of datasets are TOML files: what is in those of eechips, and what errors in a file lead to."""

from __future__ import annotations

import datetime as dt
import re
from importlib.resources import files
from pathlib import Path

import pytest

from eechips.datasets import Dataset, find_dataset, list_datasets, read_dataset
from eechips.datasets.quality_bands import find_mask_sources
from eechips.datasets.record_reader import MOST_BYTES, parse_names, parse_record
from eechips.errors import UsageError

CATALOG = "https://developers.google.com/earth-engine/datasets/catalog/"
RECORDS = {
    file.name: file.read_text(encoding="utf-8")
    for file in sorted(files("eechips.datasets.records").iterdir(), key=lambda file: file.name)
    if file.name.endswith(".toml")
}

FIELDS = """\
alias = "FIELDS"
synonyms = ["CROPS"]
id = "projects/farm/assets/fields"
kind = "collection"
title = "Fields"
provider = "A farm"
default_bands = ["crop"]
pixel_size = 10
start = 2020-01-01
end = 2021-12-31
static = false
unit_vector = false
region = "-105,40,-104,41"
mask = "flags"
quality_bands = ["flags"]
licence = "CC0-1.0"
citation = "A farm, 2022"
checked = 2026-11-21
page = "https://example.org/fields"

[quantization]
dtype = "int8"
divisor = 127.5
power = 2
nodata = -128

[visualization]
palette = "classes"

[[bands]]
name = "crop"
description = "What grows"
common_names = ["cover"]
dtype = "uint8"
cast = true
classes = [
    { value = 6, name = "Beet", colour = "00ff00" },
    { value = 2, name = "Wheat", colour = "ffff00" },
]

[[bands]]
name = "flags"
units = "bits"
scale = 0.5
offset = -1
pixel_size = 20
"""


def test_there_are_records_of_what_the_field_uses_most() -> None:
    assert len(RECORDS) >= 60
    assert len(list_datasets()) == len(RECORDS)


def test_every_record_follows_the_schema() -> None:
    for name, text in RECORDS.items():
        check_record(name, parse_record(text, name))


def check_record(name: str, dataset: Dataset) -> None:
    assert name == f"{dataset.alias.lower()}.toml"
    assert find_dataset(dataset.alias) == dataset
    assert find_dataset(dataset.id) == dataset
    by_name = {band.name: band for band in dataset.bands}
    assert len(by_name) == len(dataset.bands)
    assert {*dataset.default_bands, *dataset.quality_bands} <= by_name.keys()
    start = dt.date.fromisoformat(dataset.start)
    assert start <= dt.date.fromisoformat(dataset.end or "9999-12-31")
    assert start < dt.date.fromisoformat(dataset.checked)
    assert dataset.alias == dataset.alias.upper()
    assert dataset.bands
    assert dataset.default_bands
    assert dataset.pixel_size > 0
    assert dataset.source.startswith(CATALOG)
    assert "/" not in dataset.source.removeprefix(CATALOG)
    assert dataset.id.replace("/", "_").startswith(dataset.source.removeprefix(CATALOG))
    assert all(text.strip() for text in (dataset.title, dataset.provider, dataset.licence, dataset.citation))
    for band in dataset.bands:
        assert band.colours.keys() <= band.classes.keys()
        assert all(re.fullmatch("[0-9a-f]{6}", colour) for colour in band.colours.values())
        assert band.scale != 0
        assert not re.search(r"</?\w+>|&\w+;|\]\(", band.description + band.units), "markup of the catalog"


def test_names_are_found_without_parsing_the_bands() -> None:
    for name, text in RECORDS.items():
        dataset, names = parse_record(text, name), parse_names(text, name)
        assert (names.alias, names.synonyms, names.id) == (dataset.alias, dataset.synonyms, dataset.id)
        head = text.partition("\n[")[0]
        assert parse_names(head + "\n\n[[bands]]\nthis is no TOML", name) == names


def test_the_usual_mask_is_the_one_that_is_found_first() -> None:
    usual = {dataset.alias: dataset.mask for dataset in list_datasets()}
    found = {dataset.alias: [source.name for source in find_mask_sources(dataset.id)] for dataset in list_datasets()}
    assert usual == {alias: names[0] if names else None for alias, names in found.items()}


def test_a_record_says_everything_about_its_dataset() -> None:
    dataset = parse_record(FIELDS, "fields.toml")
    crop, flags = dataset.bands
    assert dataset.names == ("FIELDS", "CROPS")
    assert (dataset.kind, dataset.pixel_size, dataset.start, dataset.end) == (
        "collection",
        10.0,
        "2020-01-01",
        "2021-12-31",
    )
    assert (dataset.default_bands, dataset.dtype, dataset.band_names) == (("crop",), "uint8", {"cover": "crop"})
    assert (dataset.region, dataset.mask, dataset.quality_bands) == ("-105,40,-104,41", "flags", ("flags",))
    assert (dataset.checked, dataset.source) == ("2026-11-21", "https://example.org/fields")
    assert dataset.classes == {2: "Wheat", 6: "Beet"}
    assert dataset.class_colours == {2: "ffff00", 6: "00ff00"}
    assert (flags.units, flags.scale, flags.offset, flags.dtype, flags.pixel_size) == ("bits", 0.5, -1, None, 20.0)
    assert (crop.description, crop.scale, crop.offset, crop.pixel_size) == ("What grows", 1.0, 0.0, None)


def test_the_palette_of_classes_gives_each_its_colour_and_values_between_two_that_of_the_lower() -> None:
    wheat, beet, oats = '{ value = 2, name = "W", colour = "ffff00" }', "00ff00", "0000ff"
    more = FIELDS.replace("\n]\n", f'\n    {{ value = 12, name = "Oats", colour = "{oats}" }},\n]\n', 1)
    assert parse_record(FIELDS, "f").visualization == {"min": 2, "max": 6, "palette": ["ffff00", beet]}
    assert parse_record(more, "f").visualization == {
        "min": 2, "max": 12, "palette": ["ffff00", "ffff00", beet, beet, beet, oats]
    }  # fmt: skip
    assert wheat not in FIELDS


def test_a_static_dataset_has_no_dates_to_choose_from() -> None:
    assert not parse_record(FIELDS, "f").is_single_period
    assert parse_record(FIELDS.replace("static = false", "static = true"), "f").is_single_period


MISTAKES = {
    "no TOML": ('alias = "FIELDS"', "alias = FIELDS", "is not TOML: Invalid value (at line 1, column 9)"),
    "long key": ('alias = "F', f'{".".join("a" * 40)} = 1\nalias = "F', "is not TOML: a key has more than 32 parts"),
    "no alias": ('alias = "FIELDS"\n', "", "'alias' is missing: a word in upper case, such as S2"),
    "lower case": ('"FIELDS"', '"fields"', "'alias' must be a word in upper case, such as S2, not 'fields'"),
    "synonym": ('["CROPS"]', '["my crops"]', "'synonyms' must be words in upper case, not 'my crops'"),
    "no list": ('["CROPS"]', '"CROPS"', "'synonyms' must be a list of texts in quotes, not 'CROPS'"),
    "id": ("projects/farm/assets/fields", "farm: fields", "'id' must be an asset id, such as USGS/SRTMGL1_003, not"),
    "kind": ('"collection"', '"table"', "'kind' must be one of image, collection, not 'table'"),
    "title": ('title = "Fields"', "title = 5", "'title' must be text in quotes, not 5"),
    "empty": ('"CC0-1.0"', '""', "'licence' must be text in quotes, not ''"),
    "key": ("pixel_size = 10\n", "pixelsize = 10\n", "'pixel_size' is missing: a number"),
    "unknown key": ("static =", "statik =", "there is no key 'statik'; did you mean 'static'?"),
    "boolean": ("static = false", "static = 0", "'static' must be true or false, not 0"),
    "pixel size": ("pixel_size = 10\n", "pixel_size = 0\n", "'pixel_size' must be above 0, not 0"),
    "number": ("pixel_size = 10\n", 'pixel_size = "10 m"\n', "'pixel_size' must be a number, not '10 m'"),
    "huge number": ("pixel_size = 10\n", f"pixel_size = 1{'0' * 400}\n", "'pixel_size' must be a number, not 1000"),
    "no date": ("2020-01-01", '"2020-01-01"', "'start' must be a date without quotes, such as 2017-03-28, not '2020-"),
    "end": ("end = 2021-12-31", "end = 2019-12-31", "'end' must not be before the start, 2020-01-01"),
    "page": ("https://example.org", "example.org", "'page' must be a URL that starts with https://, not 'example.org/"),
    "default band": ('["crop"]', '["crops"]', "names 'crops', which is not a band of [[bands]]; did you mean 'crop'?"),
    "no default band": ('["crop"]', "[]", "'default_bands' must name at least one band"),
    "quality band": ('quality_bands = ["flags"]', 'quality_bands = ["qa"]', "'quality_bands' names 'qa', which is no"),
    "bands": ("[[bands]]", "[[band]]", "'bands' must be at least one table, each with the heading [[bands]]"),
    "band twice": ('name = "flags"', 'name = "crop"', "'bands' has the name crop twice"),
    "common name twice": ('units = "bits"', 'common_names = ["cover"]', "'bands' has the common name cover twice"),
    "common name": ('["cover"]', '["Land cover"]', "band crop: 'common_names' must be words in lower case, not 'Land"),
    "band": ("scale = 0.5", 'scale = "half"', "band flags: 'scale' must be a number, not 'half'"),
    "dtype": ('"uint8"', '"byte"', "band crop: 'dtype' must be one of uint8, int8, uint16,"),
    "cast": ("offset = -1", "offset = -1\ncast = true", "band flags: 'cast' needs `dtype`, to which"),
    "key of a band": ("offset = -1", "ofset = -1", "band flags: there is no key 'ofset'; did you mean 'offset'?"),
    "unnamed band": ('name = "flags"\n', "", "band 2: 'name' is missing: text in quotes"),
    "class twice": ("value = 6", "value = 2", "band crop: 'classes' has the value 2 twice"),
    "class": ("value = 6", "value = 6.5", "band crop: class 6.5: 'value' must be a whole number, not 6.5"),
    "colour": ('"00ff00"', '"green"', "band crop: class 6: 'colour' must be six hexadecimal digits in lower case"),
    "key of a class": ("colour = ", "color = ", "band crop: class 6: there is no key 'color'; did you mean 'colour'?"),
    "unit vector": ("unit_vector = false", 'unit_vector = "crop"', "'unit_vector' must be true or false, not 'crop'"),
    "no quantization": ("[quantization]", "[[quantization]]", "'quantization' must be a table with the heading"),
    "integers": ('"int8"', '"uint8"', "quantization: 'dtype' must be one of int8, int16, not 'uint8'"),
    "divisor": ("divisor = 127.5", "divisor = 0", "quantization: 'divisor' must be above 0, not 0"),
    "power": ("power = 2", "power = -2", "quantization: 'power' must be above 0, not -2"),
    "nodata": ("nodata = -128", "nodata = 0", "quantization: 'nodata' must be -128, the least int8, not 0"),
    "key of quantization": ("power = 2", "power = 2\nscale = 2", "quantization: there is no key 'scale'"),
    "colours": ('palette = "classes"', 'min = 0\nmax = 9\npalette = ["red", "blue"]', "'palette' must be colours of"),
    "one colour": ('palette = "classes"', 'min = 0\nmax = 9\npalette = ["ff0000"]', "'palette' must have at least two"),
    "range": ('palette = "classes"', "min = 9\nmax = 0", "visualization: 'min' must be below max, 0"),
    "half a range": ('palette = "classes"', "min = 9", "visualization: 'max' is missing: a number"),
    "gamma": ('palette = "classes"', "min = 0\nmax = 9\ngamma = 0", "visualization: 'gamma' must be above 0, not 0"),
    "no colours": (', colour = "00ff00"', "", "visualization: 'palette' must not be \"classes\" where no"),
    "far classes": ("{ value = 6,", '{ value = 3, name = "O", colour = "0000ff" },\n{ value = 6000,', "from 2 to 6000"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_in_one_line_with_its_file_and_key(mistake: str) -> None:
    old, new, message = MISTAKES[mistake]
    assert old in FIELDS
    with pytest.raises(UsageError) as raised:
        parse_record(FIELDS.replace(old, new), "fields.toml")
    assert str(raised.value).startswith("fields.toml")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture
def unreadable(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "latin.toml").write_bytes(FIELDS.replace("A farm", "Ein Bauernhof für alle").encode("latin-1"))
    (tmp_path / "long.toml").write_bytes(b"#" * (MOST_BYTES + 1))
    return {
        "missing": (tmp_path / "none.toml", "there is no file"),
        "folder": (tmp_path / "folder.toml", "cannot be read: Is a directory"),
        "latin": (tmp_path / "latin.toml", "is not UTF-8 text"),
        "long": (tmp_path / "long.toml", "has more than 1 MiB: this is not a record of a dataset"),
    }


@pytest.mark.parametrize("kind", ["missing", "folder", "latin", "long"])
def test_a_file_that_is_no_text_is_named(kind: str, unreadable: dict[str, tuple[Path, str]]) -> None:
    path, message = unreadable[kind]
    with pytest.raises(UsageError, match=re.escape(message)) as raised:
        read_dataset(path)
    assert str(path) in str(raised.value)


def test_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "Fields.TOML"
    path.write_text(FIELDS)
    found = find_dataset(str(path))
    assert found is not None
    assert found.alias == "FIELDS"
    path.write_text(FIELDS.replace('"Fields"', '"Meadows"'))
    changed = find_dataset(str(path))
    assert changed is not None
    assert changed.title == "Meadows"
    assert find_dataset("FIELDS") is None
