"""Which archive has a dataset: several archives together, archives that are not known, and hints at others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_hint import archive_hint
from eechips_local.archives.archive_list import ARCHIVES, CDSE, EARTH_SEARCH, LANDSATLOOK, PLANETARY_COMPUTER
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.archive_record import RecordError, list_records, parse_record
from eechips_local.archives.archive_store import ArchiveStore, JoinedArchives
from eechips_local.archives.archive_summary import describe_dataset
from eechips_local.archives.named_archive import find_archive
from eechips_local.evaluation.asset_model import ImageAsset, Query
from local_tests.archives.listed_items import FolderReader, ListedItems
from local_tests.archives.sample_items import earth_sentinel2, planetary_sentinel2, write_folder_archive

pytestmark = pytest.mark.unit

HARMONIZED = "COPERNICUS/S2_SR_HARMONIZED"
PRODUCT, STRIP = "S2B_MSIL2A_20210601T102559_N0300_R108_T32UPU_20210601T130000", "20210601T102602"
INDEX = "20210601T102559_20210601T102602_T32UPU"
BOX = [10.0, 52.0, 10.1, 52.1]
OWN = ArchiveDescription(name="stac.example.org", title="An API", api="https://stac.example.org")


def store_of(archive: ArchiveDescription, collection: str, *items: dict[str, Any]) -> ArchiveStore:
    return ArchiveStore(archive, ListedItems({collection: items}), FolderReader(Path("nowhere")))


def test_dataset_that_one_archive_refuses_is_taken_from_another() -> None:
    item = planetary_sentinel2(PRODUCT, STRIP, BOX, {"B04": {}})
    joined = JoinedArchives([store_of(CDSE, "none"), store_of(PLANETARY_COMPUTER, "sentinel-2-l2a", item)])
    image = joined.get(f"{HARMONIZED}/{INDEX}")
    assert isinstance(image, ImageAsset)
    assert image.properties["PRODUCT_ID"] == PRODUCT
    with pytest.raises(ArchiveRefusedError, match=r"^Copernicus Data Space Ecosystem cannot serve 'COPERNICUS/S1_GRD'"):
        joined.get("COPERNICUS/S1_GRD")
    assert joined.get("NOBODY/HAS/THIS") is None


@pytest.mark.parametrize(
    ("item", "band"),
    [
        (planetary_sentinel2(PRODUCT, STRIP, BOX, {"B04": {}, "SCL": {}, "red": {}}), "B04"),
        (
            earth_sentinel2("S2B_32UPU_20210601_0_L2A", "sentinel-2-l2a", PRODUCT, STRIP, BOX, {"red": {}, "scl": {}}),
            "red",
        ),
    ],
)
def test_records_of_an_unknown_archive_are_found_by_its_assets(item: dict[str, Any], band: str) -> None:
    """Planetary Computer and Earth Search have collections of one id, whose assets differ."""
    store = store_of(OWN, "sentinel-2-l2a", item)
    assert store.describe()["datasets"] == []
    collection: Any = store.get(HARMONIZED)
    [image] = collection.images(Query())
    assert image.id == f"{HARMONIZED}/{INDEX}"
    assert store.records[HARMONIZED].bands[3].asset == band
    assert {record.archive for record in store.records.values()} == {"stac.example.org"}
    assert store.get("COPERNICUS/S1_GRD") is None
    assert store.describe()["datasets"] == [HARMONIZED]


def test_unknown_archive_without_a_known_collection_has_no_dataset() -> None:
    store = store_of(OWN, "buildings", {"id": "a", "properties": {"datetime": "2020-01-01T00:00:00Z"}, "assets": {}})
    assert list(store.children("")) == []


def test_hint_names_the_archives_that_have_a_dataset() -> None:
    hint = archive_hint("MODIS/061/MOD13Q1", [EARTH_SEARCH], {"MODIS/061/MOD13Q1"}, is_demo=False)
    assert hint == (
        "earth-search does not have MODIS/061/MOD13Q1. Served with --archive planetary-computer. "
        "The demo planet (--demo) has a synthetic one."
    )
    hint = archive_hint(f"LANDSAT/LC08/C02/T1_L2/LC08_{'0' * 6}_20200101", [CDSE], set(), is_demo=False)
    assert "Served with --archive earth-search or --archive planetary-computer or --archive landsatlook." in hint


def test_hint_names_another_product() -> None:
    hint = archive_hint("COPERNICUS/S1_GRD", [LANDSATLOOK], set(), is_demo=False)
    assert "No known archive has it." in hint
    assert "PLANETARY_COMPUTER/SENTINEL1_RTC with --archive planetary-computer" in hint


def test_hint_says_that_no_item_is_that_image() -> None:
    hint = archive_hint(f"{HARMONIZED}/{INDEX}", [EARTH_SEARCH], set(), is_demo=False)
    assert hint == f"No item of earth-search has the system:index '{INDEX}' in {HARMONIZED}."


def test_hint_for_a_dataset_of_nobody_names_the_nearest() -> None:
    hint = archive_hint("COPERNICUS/S2_SR", [EARTH_SEARCH], set(), is_demo=False)
    assert hint.startswith("No known archive has COPERNICUS/S2_SR; the nearest ids of datasets are COPERNICUS/S2_SR_H")
    hint = archive_hint("GOOGLE/CLOUD_SCORE_PLUS", [EARTH_SEARCH], {"GOOGLE/CLOUD_SCORE_PLUS"}, is_demo=False)
    assert hint.endswith("No known archive has it. The demo planet (--demo) has a synthetic one.")


def test_every_record_is_whole() -> None:
    """Each says its terms, its sources and what differs; each refusal its reason, and names what is served."""
    records = list_records()
    served = {(record.archive, record.dataset) for record in records if record.kind != "refused"}
    assert {record.archive for record in records} == {archive.name for archive in ARCHIVES}
    for record in records:
        if record.kind == "refused":
            assert record.reason
            assert not record.instead or (record.archive, record.instead) in served
            continue
        assert record.bands
        assert record.collection
        assert record.licence
        assert record.citation
        assert record.source
        assert record.differences
        assert all(text.endswith(".") for text in record.differences)
        assert (record.tiles is None) == (record.kind in ("images", "parts"))


def test_record_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(RecordError, match=r"the record of A/B in here is invalid: .*colour"):
        parse_record({"dataset": "A/B", "title": "t", "colour": "red"}, "here")
    with pytest.raises(RecordError, match="KeyError"):
        parse_record({"dataset": "A/B", "title": "t", "bands": {"B1": {"asset": "a", "value": "none"}}}, "here")


def test_what_an_archive_without_records_has_is_told_by_its_collections(tmp_path: Path) -> None:
    items = write_folder_archive(tmp_path / "mine").with_name("items.json")
    (own,) = describe_dataset("COPERNICUS/S2_SR_HARMONIZED", find_archive(str(items)))
    assert (own["archive"], own["collection"], own["reason"]) == ("items", "sentinel-2-l2a", "")
    assert describe_dataset("USDA/NAIP/DOQQ", find_archive(str(items))) == []
