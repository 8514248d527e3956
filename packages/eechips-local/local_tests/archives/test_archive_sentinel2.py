"""Sentinel-2 of Planetary Computer and Earth Search as COPERNICUS/S2_SR_HARMONIZED."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_list import EARTH_SEARCH, PLANETARY_COMPUTER
from eechips_local.archives.archive_store import ArchiveStore
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query, Range
from local_tests.archives.listed_items import FolderReader, ListedItems
from local_tests.archives.sample_items import earth_sentinel2, item_box, planetary_sentinel2, write_cog

pytestmark = pytest.mark.unit

HARMONIZED = "COPERNICUS/S2_SR_HARMONIZED"
FINE, COARSE = (
    Affine(10.0, 0.0, 600_000.0, 0.0, -10.0, 5_800_020.0),
    Affine(20.0, 0.0, 600_000.0, 0.0, -20.0, 5_800_020.0),
)
BOX = item_box(FINE, (128, 128))
NEW, NEW_STRIP = "S2B_MSIL2A_20240601T102559_N0510_R108_T32UPU_20240601T130000", "20240601T102602"
OLD, OLD_STRIP = "S2A_MSIL2A_20190601T102031_N0212_R065_T32UPU_20201006T080531", "20190601T102034"
NEW_INDEX, OLD_INDEX = "20240601T102559_20240601T102602_T32UPU", "20190601T102031_20190601T102034_T32UPU"
WINDOW = PixelWindow(8, 16, 40, 24)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Folder with a scene's files, their numbers, and what items declare of their grids."""
    folder = tmp_path_factory.mktemp("scene")
    rng = np.random.default_rng(7)
    red = rng.integers(1, 9000, (1, 128, 128)).astype(np.uint16)
    red[0, 16:20, 8:20] = 0
    red[0, 20, 8:12] = (1, 999, 1000, 1001)
    values = {
        "red": red,
        "scl": rng.integers(0, 12, (1, 64, 64)).astype(np.uint8),
        "cloud": rng.integers(0, 101, (1, 64, 64)).astype(np.uint8),
        "visual": rng.integers(0, 256, (3, 128, 128)).astype(np.uint8),
    }
    declared = {}
    for key, numbers in values.items():
        for name in (key, {"red": "B04", "scl": "SCL"}.get(key, key)):
            transform = FINE if numbers.shape[1] == 128 else COARSE
            nodata = 0 if key == "cloud" else None
            declared[name] = write_cog(folder / f"{name}.tif", numbers, transform, nodata=nodata)
    return folder, values, declared


def planetary(files: Any, *items: dict[str, Any]) -> tuple[ArchiveStore, ListedItems]:
    search = ListedItems({"sentinel-2-l2a": items})
    return ArchiveStore(PLANETARY_COMPUTER, search, FolderReader(files[0])), search


def planetary_item(files: Any, product: str = NEW, strip: str = NEW_STRIP, **properties: Any) -> dict[str, Any]:
    assets = {key: files[2][key] for key in ("B04", "SCL", "visual")}
    return planetary_sentinel2(product, strip, BOX, assets, **properties)


def earth(files: Any, first: list[dict[str, Any]], second: list[dict[str, Any]]) -> tuple[ArchiveStore, ListedItems]:
    search = ListedItems({"sentinel-2-c1-l2a": first, "sentinel-2-l2a": second})
    return ArchiveStore(EARTH_SEARCH, search, FolderReader(files[0])), search


def earth_item(files: Any, collection: str, product: str = NEW, strip: str = NEW_STRIP, **more: Any) -> dict[str, Any]:
    keys = ("red", "scl", "visual", "cloud") if "c1" in collection else ("red", "scl", "visual")
    name = f"S2B_T32UPU_{strip}_L2A" if "c1" in collection else f"S2B_32UPU_{strip[:8]}_0_L2A"
    return earth_sentinel2(name, collection, product, strip, BOX, {key: files[2][key] for key in keys}, **more)


def image_of(store: ArchiveStore, index: str) -> ImageAsset:
    found = store.get(f"{HARMONIZED}/{index}")
    assert isinstance(found, ImageAsset)
    return found


def window_of(image: ImageAsset, name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    band = next(band for band in image.bands if band.name == name)
    values, valid = band.source.read([band.index], WINDOW, 0)
    return values[0], valid[0]


def cut(values: np.ndarray[Any, Any], band: int = 0) -> np.ndarray[Any, Any]:
    return values[band, WINDOW.row : WINDOW.row + WINDOW.height, WINDOW.column : WINDOW.column + WINDOW.width]


def test_offset_is_subtracted_from_raw_scenes_after_the_mask_was_taken(files: Any) -> None:
    """HARMONIZED is DN - 1000 from baseline 04.00 on; DN 0 is no data, and no negative number fits into uint16."""
    store, _ = planetary(files, planetary_item(files))
    values, valid = window_of(image_of(store, NEW_INDEX), "B4")
    raw = cut(files[1]["red"]).astype(int)
    assert values.dtype == np.uint16
    assert np.array_equal(valid, raw != 0)
    assert np.array_equal(values[valid], np.maximum(raw - 1000, 0)[raw != 0])
    assert values[4, :4].tolist() == [0, 0, 0, 1]
    assert valid[4, :4].all()


def test_scenes_of_older_baselines_keep_their_numbers(files: Any) -> None:
    store, _ = planetary(files, planetary_item(files, OLD, OLD_STRIP))
    values, valid = window_of(image_of(store, OLD_INDEX), "B4")
    assert np.array_equal(values[valid], cut(files[1]["red"])[valid])


def test_date_does_not_decide_over_the_offset(files: Any) -> None:
    """Collection 1 reprocesses old scenes at baseline 05.00, which has the offset (PlanetaryComputer issue 134)."""
    again = OLD.replace("N0212", "N0500")
    store, _ = planetary(files, planetary_item(files, again, OLD_STRIP))
    values, valid = window_of(image_of(store, OLD_INDEX), "B4")
    assert np.array_equal(values[valid], np.maximum(cut(files[1]["red"]).astype(int) - 1000, 0)[valid])


def test_classes_and_pictures_have_no_offset(files: Any) -> None:
    store, _ = planetary(files, planetary_item(files))
    image = image_of(store, NEW_INDEX)
    values, valid = window_of(image, "TCI_B")
    assert np.array_equal(values[valid], cut(files[1]["visual"], 2)[valid])
    scl = next(band for band in image.bands if band.name == "SCL")
    found, seen = scl.source.read([scl.index], PixelWindow(0, 0, 64, 64), 0)
    assert np.array_equal(found, files[1]["scl"])
    assert np.array_equal(seen, files[1]["scl"] != 0)
    assert scl.grid.transform.a == 20.0


def test_bands_come_in_earth_engines_order_and_only_where_the_item_has_them(files: Any) -> None:
    store, _ = planetary(files, planetary_item(files))
    assert [band.name for band in image_of(store, NEW_INDEX).bands] == ["B4", "SCL", "TCI_R", "TCI_G", "TCI_B"]


def test_overviews_are_read_by_the_same_rule(files: Any) -> None:
    store, _ = planetary(files, planetary_item(files))
    band = image_of(store, NEW_INDEX).bands[0]
    assert band.source.levels == (1, 2)
    values, valid = band.source.read([0], PixelWindow(0, 0, 64, 64), 1)
    with rasterio.open(files[0] / "B04.tif", overview_level=0) as overview:
        raw = overview.read().astype(int)
    assert np.array_equal(valid, raw != 0)
    assert np.array_equal(values[valid], np.maximum(raw - 1000, 0)[valid])


def test_properties_have_earth_engines_names_and_types(files: Any) -> None:
    store, _ = planetary(files, planetary_item(files))
    image = image_of(store, NEW_INDEX)
    found = image.properties
    assert found["CLOUDY_PIXEL_PERCENTAGE"] == 12.5
    assert found["MGRS_TILE"] == "32UPU"
    assert found["PRODUCT_ID"] == NEW
    assert found["PROCESSING_BASELINE"] == "05.10"
    assert found["SENSING_ORBIT_DIRECTION"] == "DESCENDING"
    assert found["SENSING_ORBIT_NUMBER"] == 108
    assert found["SPACECRAFT_NAME"] == "Sentinel-2B"
    assert found["GENERATION_TIME"] == 1717246800830.0
    assert found["system:time_start"] == 1717237559024.0  # date -u -d 2024-06-01T10:25:59.024Z +%s%3N
    assert image.id == f"{HARMONIZED}/{NEW_INDEX}"
    assert np.allclose(image.footprint.bounds, BOX)


def test_collection_1_is_raw_and_comes_before_the_other_collection(files: Any) -> None:
    store, _ = earth(
        files,
        [earth_item(files, "sentinel-2-c1-l2a")],
        [earth_item(files, "sentinel-2-l2a", **{"earthsearch:boa_offset_applied": True})],
    )
    image = image_of(store, NEW_INDEX)
    assert [band.name for band in image.bands][-1] == "MSK_CLDPRB"
    values, valid = window_of(image, "B4")
    assert np.array_equal(values[valid], np.maximum(cut(files[1]["red"]).astype(int) - 1000, 0)[valid])
    assert image.properties["MGRS_TILE"] == "32UPU"
    assert image.properties["SPACECRAFT_NAME"] == "Sentinel-2B"
    assert image.properties["SENSING_ORBIT_NUMBER"] == 108
    assert image.properties["MEAN_SOLAR_ZENITH_ANGLE"] == 32.5


def test_scene_of_collection_1_that_a_filter_leaves_out_is_not_replaced_by_that_of_the_other(files: Any) -> None:
    """Both have one id, and were processed with other cloud masks."""
    store, search = earth(
        files,
        [earth_item(files, "sentinel-2-c1-l2a", **{"eo:cloud_cover": 24.0})],
        [earth_item(files, "sentinel-2-l2a", **{"eo:cloud_cover": 15.0, "earthsearch:boa_offset_applied": True})],
    )
    collection: Any = store.get(HARMONIZED)
    clear = Query(bounds=(BOX[0], BOX[1], BOX[2], BOX[3]), ranges={"CLOUDY_PIXEL_PERCENTAGE": Range(greatest=20.0)})
    assert [image.properties["CLOUDY_PIXEL_PERCENTAGE"] for image in collection.images(clear)] in ([], [24.0])
    searches = len(search.asked)
    cloudy = replace(clear, ranges={"CLOUDY_PIXEL_PERCENTAGE": Range(greatest=30.0)})
    assert [image.properties["CLOUDY_PIXEL_PERCENTAGE"] for image in collection.images(cloudy)] == [24.0]
    assert len(search.asked) == searches + 2


def test_no_cloud_is_a_number_of_the_cloud_probability_although_items_declare_it_as_no_data(files: Any) -> None:
    """Items of Collection 1 declare nodata 0 for it; the band of Earth Engine counts from 0 percent to 100."""
    store, _ = earth(files, [earth_item(files, "sentinel-2-c1-l2a")], [])
    band = image_of(store, NEW_INDEX).bands[-1]
    assert band.name == "MSK_CLDPRB"
    values, valid = band.source.read([band.index], PixelWindow(0, 0, 64, 64), 0)
    assert (files[1]["cloud"] == 0).any()
    assert valid.all()
    assert np.array_equal(values, files[1]["cloud"])


def test_jpeg_2000_beside_geotiffs_is_no_band(files: Any) -> None:
    """Items of sentinel-2-l2a of 2025, as stac-utils/pystac-client has recorded them (tests/cassettes), have such."""
    item = earth_item(files, "sentinel-2-l2a", **{"earthsearch:boa_offset_applied": True})
    folder = "s3://sentinel-s2-l2a/tiles/32/U/PU/2024/6/1/0/qi"
    for key, name in (("cloud", "CLD_20m.jp2"), ("snow", "SNW_20m.jp2")):
        item["assets"][key] = {"href": f"{folder}/{name}", "type": "image/jp2", "roles": ["data"]}
    store, _ = earth(files, [], [item])
    image = image_of(store, NEW_INDEX)
    assert [band.name for band in image.bands] == ["B4", "SCL", "TCI_R", "TCI_G", "TCI_B"]
    listed = store.files(image.id)
    assert listed is not None
    assert not [file.href for file in listed if file.href.endswith(".jp2")]


def test_scenes_with_the_offset_applied_are_read_as_they_are(files: Any) -> None:
    """``raster:bands`` still declares the offset there, which must not be applied again (earth-search issue 23)."""
    item = earth_item(files, "sentinel-2-l2a", **{"earthsearch:boa_offset_applied": True})
    item["assets"]["red"]["raster:bands"] = [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}]
    store, _ = earth(files, [], [item])
    values, valid = window_of(image_of(store, NEW_INDEX), "B4")
    assert np.array_equal(values[valid], cut(files[1]["red"])[valid])


def test_scenes_whose_flag_cannot_be_trusted_are_left_out(files: Any) -> None:
    """False is known to be wrong for some (earth-search issues 66 and 71); before baseline 04.00 it says nothing."""
    doubtful = earth_item(files, "sentinel-2-l2a", **{"earthsearch:boa_offset_applied": False})
    old = earth_item(files, "sentinel-2-l2a", OLD, OLD_STRIP, **{"earthsearch:boa_offset_applied": False})
    store, _ = earth(files, [], [doubtful, old])
    collection: Any = store.get(HARMONIZED)
    assert [image.properties["system:index"] for image in collection.images(Query())] == [OLD_INDEX]


def test_filters_become_one_search(files: Any) -> None:
    store, search = planetary(files, planetary_item(files), planetary_item(files, OLD, OLD_STRIP))
    collection: Any = store.get(HARMONIZED)
    query = Query(
        bounds=(BOX[0], BOX[1], BOX[2], BOX[3]),
        start=1_700_000_000_000.0,
        end=1_720_000_000_000.0,
        equals={"MGRS_TILE": "32UPU", "SENSING_ORBIT_DIRECTION": "DESCENDING"},
        ranges={"CLOUDY_PIXEL_PERCENTAGE": Range(greatest=20.0)},
    )
    assert [image.properties["system:index"] for image in collection.images(query)] == [NEW_INDEX]
    [(name, asked)] = search.asked
    assert name == "sentinel-2-l2a"
    assert asked.limit is None
    assert asked.bounds == query.bounds
    assert (asked.start, asked.end) == (1_699_913_600_000.0, 1_720_086_400_000.0)  # a day more on both sides
    assert asked.equals == {"s2:mgrs_tile": "32UPU"}
    assert asked.ranges == {"eo:cloud_cover": Range(greatest=20.0)}


def test_ranges_that_images_without_the_property_match_too_are_not_asked_for(files: Any) -> None:
    store, search = planetary(files, planetary_item(files))
    collection: Any = store.get(HARMONIZED)
    list(collection.images(Query(ranges={"CLOUDY_PIXEL_PERCENTAGE": Range(least=20.0, others=True)})))
    assert search.asked[0][1].ranges == {}


def test_one_image_takes_one_search_of_its_tile_and_days(files: Any) -> None:
    store, search = planetary(files, planetary_item(files), planetary_item(files, OLD, OLD_STRIP))
    assert image_of(store, NEW_INDEX).properties["PRODUCT_ID"] == NEW
    [(_, asked)] = search.asked
    assert asked.equals == {"s2:mgrs_tile": "32UPU"}
    assert asked.start is not None
    assert asked.end is not None
    assert asked.end - asked.start < 3 * 86_400_000.0
    assert store.get(f"{HARMONIZED}/nonsense") is None
    assert store.get(f"{HARMONIZED}/20240601T102559_20240601T102602_T32UPV") is None


def test_newest_of_two_items_of_one_image_counts(files: Any) -> None:
    again = NEW.replace("N0510", "N0511").replace("20240601T130000", "20240801T130000")
    store, _ = planetary(files, planetary_item(files), planetary_item(files, again, NEW_STRIP))
    collection: Any = store.get(HARMONIZED)
    bounds = (BOX[0], BOX[1], BOX[2], BOX[3])
    for query in (Query(bounds=bounds), Query(), Query(indices=frozenset((NEW_INDEX,)))):
        assert [image.properties["PRODUCT_ID"] for image in collection.images(query)] == [again]
    assert image_of(store, NEW_INDEX).properties["PRODUCT_ID"] == again


def test_images_under_bounds_come_in_the_order_of_their_ids(files: Any) -> None:
    store, _ = planetary(files, planetary_item(files), planetary_item(files, OLD, OLD_STRIP))
    collection: Any = store.get(HARMONIZED)
    bounds = (BOX[0], BOX[1], BOX[2], BOX[3])
    found = [image.properties["system:index"] for image in collection.images(Query(bounds=bounds))]
    assert found == [OLD_INDEX, NEW_INDEX]


def test_file_that_is_elsewhere_than_its_item_says_is_refused(files: Any) -> None:
    item = planetary_item(files)
    item["assets"]["B04"]["proj:transform"] = [10.0, 0.0, 600_100.0, 0.0, -10.0, 5_800_020.0]
    store, _ = planetary(files, item)
    image = image_of(store, NEW_INDEX)
    with pytest.raises(ArchiveRefusedError, match=r"asset B04 has the grid EPSG:32632, 128x128 pixels from 600000"):
        window_of(image, "B4")


def test_item_without_a_grid_takes_that_of_its_file(files: Any) -> None:
    item = planetary_item(files)
    for name in ("proj:transform", "proj:shape"):
        del item["assets"]["B04"][name]
    store, _ = planetary(files, item)
    band = image_of(store, NEW_INDEX).bands[0]
    assert band.grid.crs == "EPSG:32632"
    assert band.grid.transform == FINE


def test_store_and_its_images_pickle(files: Any) -> None:
    store, _ = planetary(files, planetary_item(files))
    again: ArchiveStore = pickle.loads(pickle.dumps(store))
    values, valid = window_of(image_of(again, NEW_INDEX), "B4")
    sources = pickle.loads(pickle.dumps([band.source for band in image_of(store, NEW_INDEX).bands]))
    other, _ = sources[0].read([0], WINDOW, 0)
    assert np.array_equal(other[0], values)
    assert valid.any()


def test_store_lists_its_datasets(files: Any) -> None:
    store, _ = planetary(files, planetary_item(files))
    assert "COPERNICUS" in set(store.children(""))
    assert HARMONIZED in set(store.children("COPERNICUS"))
    assert list(store.children(HARMONIZED)) == [f"{HARMONIZED}/{NEW_INDEX}"]
    assert store.describe()["name"] == "planetary-computer"
    assert store.get("NOBODY/HAS/THIS") is None


@pytest.mark.parametrize("baseline", ["new", "nan"])
def test_scene_whose_baseline_is_no_number_is_refused(baseline: str, files: Any) -> None:
    """Whether 1000 is to be subtracted is unknown then."""
    store, _ = planetary(files, planetary_item(files, **{"s2:processing_baseline": baseline}))
    image = image_of(store, NEW_INDEX)
    with pytest.raises(ArchiveRefusedError, match=f"s2:processing_baseline = '{baseline}', which is no number"):
        window_of(image, "B4")
    assert "PROCESSING_BASELINE" not in image.properties
    unsaid = earth_item(files, "sentinel-2-l2a", **{"s2:processing_baseline": None})
    collection: Any = earth(files, [], [unsaid])[0].get(HARMONIZED)
    assert list(collection.images(Query())) == []


@pytest.mark.parametrize(
    "declared",
    [
        {"raster:bands": [{"scale": 0.0001, "offset": 0}]},
        {"bands": [{"name": "B04", "raster:offset": 0.0}]},
        {"raster:offset": 0},
        {"raster:offset": "0.0"},
    ],
)
def test_scene_whose_asset_says_that_no_offset_is_left_is_refused(files: Any, declared: dict[str, Any]) -> None:
    """An archive of one's own may hold numbers from which 1000 was subtracted."""
    by_item, item = planetary_item(files, **{"raster:offset": 0}), planetary_item(files)
    item["assets"]["B04"] |= declared
    for stated in (item, by_item):
        store, _ = planetary(files, stated)
        with pytest.raises(ArchiveRefusedError, match=r"1000 is to be subtracted .* asset B04, but 0 is declared"):
            window_of(image_of(store, NEW_INDEX), "B4")
    item["assets"]["B04"] |= {"raster:bands": [{"scale": 0.0001, "offset": -0.1}], "bands": []}
    store, _ = planetary(files, item)
    window_of(image_of(store, NEW_INDEX), "B4")


def test_item_without_assets_is_told(files: Any) -> None:
    item = planetary_item(files)
    item["assets"] = ["B04"]
    store, _ = planetary(files, item)
    collection: Any = store.get(HARMONIZED)
    with pytest.raises(ArchiveRefusedError, match="has no properties or no assets"):
        list(collection.images(Query()))


def test_image_that_was_found_lately_is_not_searched_again(files: Any) -> None:
    store, search = planetary(files, planetary_item(files))
    assert image_of(store, NEW_INDEX) is image_of(store, NEW_INDEX)
    assert len(search.asked) == 1


def many_items(files: Any, count: int) -> list[dict[str, Any]]:
    """Return items of so many days, in no order."""
    days = [datetime(2024, 1, 1) + timedelta(days=number * 7 % count) for number in range(count)]
    names = [f"{day:%Y%m%d}T102559" for day in days]
    product = "S2B_MSIL2A_{}_N0510_R108_T32UPU_20240601T130000"
    return [planetary_item(files, product.format(name), name) for name in names]


@pytest.mark.parametrize("query", [Query(), Query(start=1_704_067_200_000.0, end=1_705_276_800_000.0)])
def test_images_without_a_region_come_in_the_order_of_their_ids(files: Any, query: Query) -> None:
    """As those of the whole Earth do, which are sorted by themselves."""
    store, search = planetary(files, *many_items(files, 120))
    collection: Any = store.get(HARMONIZED)
    found = [image.id for image in collection.images(query)]
    whole = (-180.0, -90.0, 180.0, 90.0)
    assert found == [image.id for image in collection.images(replace(query, bounds=whole))]
    assert found == sorted(found)
    assert len(found) == (120 if query.start is None else 15)  # of 14 days, and a day more
    assert next(collection.images(query)).id == found[0]
    limit = 1_000 if query.start is None else 10_000
    assert [asked.limit for _, asked in search.asked] == [limit, None, limit]


@pytest.mark.slow
def test_order_that_would_need_a_whole_archive_is_refused(files: Any) -> None:
    items = many_items(files, 1_000)
    store, _ = planetary(files, *items)
    collection: Any = store.get(HARMONIZED)
    with pytest.raises(ArchiveRefusedError, match=r"has 1,000 images or more .*\(filterBounds\)"):
        collection.images(Query())
    assert len(list(collection.images(Query(end=1e13)))) == 1_000
    fewer: Any = planetary(files, *items[1:])[0].get(HARMONIZED)
    assert len(list(fewer.images(Query()))) == 999


@pytest.mark.parametrize("value", [{"a": 1}, [[1]], float("nan"), [float("inf")], 10**400])
def test_property_that_no_image_can_have_is_left_out(files: Any, value: Any) -> None:
    store, _ = planetary(files, planetary_item(files, **{"eo:cloud_cover": value, "s2:generation_time": value}))
    properties = image_of(store, NEW_INDEX).properties
    assert "CLOUDY_PIXEL_PERCENTAGE" not in properties
    assert "GENERATION_TIME" not in properties
    assert properties["MGRS_TILE"] == "32UPU"
