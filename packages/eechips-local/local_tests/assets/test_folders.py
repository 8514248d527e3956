"""Folders of files: which are meant, what they are called, and when they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.assets import FolderStore, IngestError, UnreadableFileError, ingest
from eechips_local.assets.date_parsing import date_within, names_of_dates
from eechips_local.assets.ingestion.asset_ingestion import parse_pyramiding
from eechips_local.assets.ingestion.input_files import SourceFile, find_files, name_files
from eechips_local.assets.ingestion.raster_files import RasterFiles
from local_tests.support.ingested_rasters import image, noise, pixels, raster


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Rasters in a folder and in one below it, among files that are none."""
    folder = tmp_path / "quads"
    (folder / "west" / "north").mkdir(parents=True)
    for name in ("m_2_20110815.tif", "m_1_20100629.TIF", "west/m_3_20120731.tif", "west/north/m_4_20140720.tif"):
        raster(folder / name, noise(1, 9, 9, seed=len(name)))
    for name in ("README.md", ".hidden.tif", "m_1_20100629.tif.aux.xml", "m_1_20100629.tfw", "west/notes.txt"):
        (folder / name).write_text("not a raster")
    return folder


def names(files: list[SourceFile]) -> list[str]:
    return [f"{file.folder}:{file.path.name}" for file in files]


def test_files_that_look_like_rasters_in_order(tree: Path) -> None:
    assert names(find_files([tree], pattern=None, recursive=False)) == [":m_1_20100629.TIF", ":m_2_20110815.tif"]
    assert names(find_files([tree], pattern=None, recursive=True)) == [
        ":m_1_20100629.TIF", ":m_2_20110815.tif", "west:m_3_20120731.tif", "west/north:m_4_20140720.tif",
    ]  # fmt: skip
    assert names(find_files([tree], pattern="m_*.tif", recursive=False)) == [":m_2_20110815.tif"]


def test_folders_that_are_linked_are_not_followed(tree: Path, tmp_path: Path) -> None:
    (tree / "west" / "round").symlink_to(tree)
    (tree / "elsewhere").symlink_to(tmp_path)
    assert len(find_files([tree], pattern=None, recursive=True)) == 4


def test_a_folder_becomes_a_collection(tree: Path, tmp_path: Path) -> None:
    ids = ingest(tree, tmp_path / "store", "NAIP", bands=["R"], recursive=True, dates_from_names=True)
    assert ids == ["NAIP/m_1_20100629", "NAIP/m_2_20110815", "NAIP/m_3_20120731", "NAIP/m_4_20140720"]
    store = FolderStore(tmp_path / "store")
    found = image(store, "NAIP/m_3_20120731")
    assert found.properties["system:time_start"] == 1343692800000
    assert [band.name for band in found.bands] == ["R"]
    np.testing.assert_array_equal(pixels(found)[0], noise(1, 9, 9, seed=len("west/m_3_20120731.tif"))[0])


def test_one_file_of_a_folder_is_a_child_all_the_same(tree: Path, tmp_path: Path) -> None:
    assert ingest(tree, tmp_path / "store", "N", pattern="m_2*") == ["N/m_2_20110815"]
    assert ingest(tree / "m_2_20110815.tif", tmp_path / "other", "N/x") == ["N/x"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{stem}", ["m_2_20110815", "m_3_20120731", "m_4_20140720"]),
        ("{path}/{stem}", ["m_2_20110815", "west/m_3_20120731", "west/north/m_4_20140720"]),
        ("y{date}", ["y20110815", "y20120731", "y20140720"]),
        ("q_{folder}_{date}", ["q__20110815", "q_west_20120731", "q_west_north_20140720"]),
    ],
)
def test_names_follow_a_template(tree: Path, template: str, expected: list[str]) -> None:
    files = find_files([tree], pattern="*.tif", recursive=True)
    assert list(name_files(files, "N", several=True, template=template)) == [f"N/{name}" for name in expected]


@pytest.mark.slow
def test_unusable_folders_are_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "twice" / "below").mkdir(parents=True)
    for name in ("a.tif", "below/a.tif"):
        raster(tmp_path / "twice" / name, noise(1, 9, 9))
    (tmp_path / "mixed").mkdir()
    raster(tmp_path / "mixed" / "a.tif", noise(1, 9, 9))
    frame = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326")
    frame.to_file(tmp_path / "mixed" / "b.gpkg")
    cases: list[tuple[type[Exception], str, Path, dict[str, Any]]] = [
        (UnreadableFileError, "holds no file like", tree, {"pattern": "*.vrt"}),
        (UnreadableFileError, "neither a raster nor a vector file", tree, {"pattern": "README*"}),
        (IngestError, "would both become N/a", tmp_path / "twice", {"recursive": True}),
        (IngestError, "by a pattern", tmp_path / "mixed", {}),
        (IngestError, "has the field 'name'", tree, {"name": "{name}"}),
        (IngestError, "no date in it", tmp_path / "twice", {"dates_from_names": True}),
        (IngestError, "choose one of them", tree, {"dates_from_names": True, "time_start": "2020-01-01"}),
        (IngestError, "name a folder", tree / "m_2_20110815.tif", {"recursive": True}),
        (IngestError, "name an item.json", tree, {"by_reference": True}),
    ]
    for error, message, path, options in cases:
        with pytest.raises(error, match=message):
            ingest(path, tmp_path / "store", "N", **options)
    ids = ingest(tmp_path / "twice", tmp_path / "store", "N", recursive=True, name="{path}/{stem}")
    assert ids == ["N/a", "N/below/a"]
    assert ingest(tmp_path / "mixed", tmp_path / "store", "T", pattern="*.gpkg") == ["T/b"]


@pytest.mark.slow
def test_tables_of_a_folder_are_ingested(tmp_path: Path) -> None:
    (tmp_path / "zones").mkdir()
    for year in (2019, 2020):
        frame = geopandas.GeoDataFrame({"n": [year]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326")
        frame.to_file(tmp_path / "zones" / f"zones_{year}-06-01.shp")
    ids = ingest(tmp_path / "zones", tmp_path / "store", "zones", dates_from_names=True)
    assert ids == ["zones/zones_2019-06-01", "zones/zones_2020-06-01"]
    table = FolderStore(tmp_path / "store").get(ids[1])
    assert table is not None
    assert table.properties["system:time_start"] == 1590969600000


def test_more_files_than_the_open_limit_are_ingested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eechips_local.assets.ingestion.raster_files._OPEN_FILES", 2)
    paths = [str(raster(tmp_path / f"{n}.tif", noise(1, 9, 9, seed=n))) for n in range(5)]
    with RasterFiles() as rasters:
        opened = [rasters.open(path) for path in paths]
        assert [dataset.closed for dataset in opened] == [True, True, True, False, False]
        np.testing.assert_array_equal(rasters.open(paths[0]).read(), noise(1, 9, 9, seed=0))
    ids = ingest(paths, tmp_path / "store", "N")
    store = FolderStore(tmp_path / "store")
    for seed, asset_id in enumerate(ids):
        np.testing.assert_array_equal(pixels(image(store, asset_id))[0], noise(1, 9, 9, seed=seed)[0])


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("m_3008501_ne_16_1_20110815", "2011_08_15"),
        ("m_3211605_ne_11_060_20200415_20200630", "2020_04_15"),
        ("MOD11A2.A2000049.h12v04.061", "2000_02_18"),
        ("MOD11A2.061_LST_Day_1km_doy2016366_aid0001", "2016_12_31"),
        ("LC08_L1TP_041027_20150604_20170226_01_T1", "2015_06_04"),
        ("LC80410272015155LGN00 2015.06.04", "2015_06_04"),
        ("S2A_20151128T002653_N0204", "20151128T002653"),
        ("99999999_20009999_2001-12-31", "2001_12_31"),
        ("a_2001-1231", None),
        ("m_120110815", None),
        ("20010229", None),
        ("A2001366", None),
        ("", None),
    ],
)
def test_dates_are_read_from_names(name: str, date: str | None) -> None:
    if date is None:
        with pytest.raises(IngestError, match="no date in it"):
            date_within(name)
    else:
        assert names_of_dates([date_within(name)]) == [date]


@given(st.text("0123456789TA_.- ", max_size=40))
def test_any_name_has_a_date_or_none(name: str) -> None:
    try:
        moment = date_within(name)
    except IngestError:
        return
    assert 1900 <= 1970 + moment / 31_556_952_000 <= 2100


def test_pyramiding_policies_are_parsed() -> None:
    assert parse_pyramiding([]) is None
    assert parse_pyramiding(["MEAN"]) == "average"
    assert parse_pyramiding(["qa=mode", "red=sample"]) == {"qa": "mode", "red": "nearest"}
    for wrong, message in ((["cubic"], "no pyramiding policy"), (["mean", "a=mode"], "one for each"),
                           (["a=mode", "a=mean"], "two pyramiding policies for a")):  # fmt: skip
        with pytest.raises(IngestError, match=message):
            parse_pyramiding(wrong)
