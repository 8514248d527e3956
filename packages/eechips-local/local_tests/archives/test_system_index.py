"""``system:index`` of known scenes. Each pair names an image of Earth Engine and the product or item of that scene.

Sources of the pairs of Sentinel-2: the list of images at https://gist.github.com/csaybar/b57fcc82c95711d3ef97552203a9f38b,
the metadata of one image in geedim's documents (https://geedim.readthedocs.io), which has both times and a GRANULE_ID
that ends with the second, and metadata of S2_HARMONIZED's 20170127T140051_20170127T140834_T20HNH. Ids of NAIP and HLS:
Earth Engine's own examples, and those of microsoft/planetary-computer-tasks, datasets/naip/test_naip.py and
datasets/hls2/test_hls2.py.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import pytest

from eechips_local.archives.archive_record import list_records
from eechips_local.archives.items.system_index import rule_of

pytestmark = pytest.mark.unit


def item(name: str, **properties: Any) -> dict[str, Any]:
    return {"id": name, "properties": properties}


def sentinel2(product: str, strip: str) -> dict[str, Any]:
    """Return an item of a product whose datastrip began at a time."""
    made = product.rpartition("_")[2]
    return item(
        re.sub(r"_N\d{4}", "", product),
        **{
            "s2:product_uri": f"{product}.SAFE",
            "s2:datastrip_id": f"{product[:3]}_OPER_MSI_L2A_DS_EPAE_{made}_S{strip}_N02.11",
        },
    )


@pytest.mark.parametrize(
    ("index", "product", "strip"),
    [
        (
            "20210603T175911_20210603T175913_T23XML",
            "S2A_MSIL2A_20210603T175911_N0300_R041_T23XML_20210603T230410",
            "20210603T175913",
        ),
        (
            "20220713T093549_20220713T093844_T36WWU",
            "S2B_MSIL2A_20220713T093549_N0400_R036_T36WWU_20220713T112940",
            "20220713T093844",
        ),
        (
            "20181026T083031_20181026T083026_T36SXJ",
            "S2A_MSIL2A_20181026T083031_N0209_R021_T36SXJ_20181026T094352",
            "20181026T083026",
        ),
        (
            "20190101T082331_20190101T084846_T34HCH",
            "S2A_MSIL2A_20190101T082331_N0211_R121_T34HCH_20190101T112242",
            "20190101T084846",
        ),
        (
            "20170127T140051_20170127T140834_T20HNH",
            "S2A_MSIL1C_20170127T140051_N0204_R067_T20HNH_20170127T140834",
            "20170127T140834",
        ),
        # By rule, from products and the times of their datastrips; the images were not looked up.
        (
            "20190629T212529_20190629T212530_T06VVN",
            "S2B_MSIL2A_20190629T212529_N0212_R043_T06VVN_20201006T080531",
            "20190629T212530",
        ),
        (
            "20201230T112359_20201230T112446_T29SND",
            "S2B_MSIL2A_20201230T112359_N0214_R037_T29SND_20201230T132319",
            "20201230T112446",
        ),
        (
            "20201211T134211_20201211T134207_T22MGD",
            "S2A_MSIL2A_20201211T134211_N0214_R124_T22MGD_20201211T160214",
            "20201211T134207",
        ),
        (
            "20250712T112141_20250712T112136_T30UVC",
            "S2C_MSIL2A_20250712T112141_N0511_R037_T30UVC_20250712T145316",
            "20250712T112136",
        ),
        (
            "20260712T112109_20260712T112112_T30UVC",
            "S2B_MSIL2A_20260712T112109_N0512_R037_T30UVC_20260712T133747",
            "20260712T112112",
        ),
    ],
)
def test_sentinel2(index: str, product: str, strip: str) -> None:
    """The second time is that of the datastrip, not the last one of the product's name."""
    assert rule_of("sentinel-2").index(sentinel2(product, strip)) == index
    search = rule_of("sentinel-2").search(index, "")
    assert search is not None
    assert search.equals == {"MGRS_TILE": index[-5:]}


@pytest.mark.parametrize(
    ("name", "product", "strip"),
    [
        # Items of Earth Search's Collection 1 as stac-utils/pystac-client has recorded them (tests/cassettes).
        (
            "S2B_T20EPT_20250731T131905_L2A",
            "S2B_MSIL2A_20250731T131909_N0511_R095_T20EPT_20250731T143919",
            "S2B_OPER_MSI_L2A_DS_2BPS_20250731T143919_S20250731T131905_N05.11",
        ),
        (
            "S2B_T24MUV_20250731T130245_L2A",
            "S2B_MSIL2A_20250731T130249_N0511_R095_T24MUV_20250731T132745",
            "S2B_OPER_MSI_L2A_DS_2BPS_20250731T132745_S20250731T130245_N05.11",
        ),
    ],
)
def test_second_time_is_that_which_names_items_of_collection_1(name: str, product: str, strip: str) -> None:
    _, tile, time, _ = name.split("_")
    found = item(name, **{"s2:product_uri": f"{product}.SAFE", "s2:datastrip_id": strip})
    assert rule_of("sentinel-2").index(found) == f"{product.split('_')[2]}_{time}_{tile}"


def test_sentinel2_of_the_copernicus_data_space() -> None:
    found = item(
        "S2B_MSIL2A_20220713T093549_N0400_R036_T36WWU_20220713T112940",
        **{"eopf:datastrip_id": "S2B_OPER_MSI_L2A_DS_2BPS_20220713T112940_S20220713T093844_N04.00"},
    )
    assert rule_of("sentinel-2").index(found) == "20220713T093549_20220713T093844_T36WWU"


def test_sentinel2_without_a_datastrip_has_no_index() -> None:
    assert rule_of("sentinel-2").index(item("S2B_33UXP_20250302_0_L2A")) is None


@pytest.mark.parametrize(
    ("rule", "index", "name"),
    [
        # Items: opendatacube/odc-stac tests/data, stactools-packages/landsat examples, Planetary Computer's documents.
        ("landsat", "LC08_047027_20201204", "LC08_L2SP_047027_20201204_02_T1"),
        ("landsat", "LC08_028030_20200114", "LC08_L2SP_028030_20200114_20200824_02_T1_SR"),
        ("landsat", "LC08_046029_20230715", "LC08_L2SP_046029_20230715_20230724_02_T1"),
        ("landsat", "LC08_191055_20230115", "LC08_L2SP_191055_20230115_02_T1"),
        ("landsat", "LC08_081119_20200101", "LC08_L2SR_081119_20200101_20200823_02_T2"),
        ("landsat", "LE07_044033_20210329", "LE07_L2SP_044033_20210329_20210424_02_T1_SR"),
        ("landsat", "LC09_138041_20240120", "LC09_L2SP_138041_20240120_02_T1"),
        ("landsat", "LT05_090085_19970406", "LT05_L2SP_090085_19970406_02_T1"),
        ("landsat", "LT04_026026_19830102", "LT04_L2SP_026026_19830102_02_T1"),
        ("landsat", "LC08_090084_20160121", "LC08_L2SP_090084_20160121_02_T1"),
        ("naip", "m_3710263_sw_13_060_20210729", "co_m_3710263_sw_13_060_20210729"),
        ("naip", "m_4511601_ne_11_060_20210629", "wa_m_4511601_ne_11_060_20210629"),
        ("naip", "m_4112001_sw_10_060_20220716", "ca_m_4112001_sw_10_060_20220716"),
        ("naip", "m_4112001_ne_10_030_20220723", "ca_m_4112001_ne_10_030_20220723"),
        ("naip", "m_3110901_ne_12_030_20231015_20240119", "az_m_3110901_ne_12_030_20231015_20240119"),
        ("naip", "m_4407137_nw_19_060_20181205_20190326", "vt_m_4407137_nw_19_060_20181205_20190326"),
        ("naip", "m_3707763_se_18_060_20180825_20190211", "VA_m_3707763_se_18_060_20180825_20190211"),
        ("naip", "m_4207148_nw_19_1_20120710", "ma_m_4207148_nw_19_1_20120710_20121016"),
        ("naip", "m_3712213_sw_10_1_20140613", "ca_m_3712213_sw_10_1_20140613"),
        ("naip", "m_4207148_nw_19_1_20120710", "ma_m_4207148_nw_19_1_20120710"),
        ("naip", "m_4609915_sw_14_1_20100629", "nd_m_4609915_sw_14_1_20100629"),
        ("naip", "m_4611801_ne_11_1_20090627", "wa_m_4611801_ne_11_1_20090627"),
        ("naip", "m_4007424_ne_18_1_20150729", "ny_m_4007424_ne_18_1_20150729"),
        ("hls", "T21JUL_20130427T135010", "HLS.L30.T21JUL.2013117T135010.v2.0"),
        ("hls", "T37UDB_20210604T082849", "HLS.L30.T37UDB.2021155T082849.v2.0"),
        ("hls", "T05ULB_20250226T212139", "HLS.L30.T05ULB.2025057T212139.v2.0"),
        ("hls", "T05MKR_20250105T204621", "HLS.S30.T05MKR.2025005T204621.v2.0"),
        ("hls", "T60FXK_20201231T214909", "HLS.S30.T60FXK.2020366T214909.v2.0"),
        ("copernicus-dem", "Copernicus_DSM_10_N45_00_E010_00", "Copernicus_DSM_COG_10_N45_00_E010_00_DEM"),
        ("copernicus-dem", "Copernicus_DSM_10_S18_00_W180_00", "Copernicus_DSM_COG_10_S18_00_W180_00_DEM"),
        ("modis", "2022_01_17", "MOD13Q1.A2022017.h12v11.061.2022034062513"),
        ("modis", "2024_02_02", "MOD14A2.A2024033.h19v05.061.2024044033426"),
        ("modis", "2020_12_31", "MYD11A1.A2020366.h18v04.061.2021004203912"),
    ],
)
def test_index_of_item(rule: str, index: str, name: str) -> None:
    assert rule_of(rule).index(item(name)) == index
    assert rule_of(rule).search(index, "HLS.L30." if "L30" in name else "HLS.S30.") is not None


# Images of Earth Engine that public programs and notebooks name. Sources: (g) leftfield-geospatial/geedim, tests and
# documents; (o) tests of Open-ET's packages; (e) Earth Engine's own examples (google/earthengine-community); (p) other
# public scripts, which a search of public code for the beginning of the id finds. The name of the item follows by the
# documented naming of the product (USGS: LSDS-1618, LSDS-1619; HLS: user guide 2.0; MODIS: LP DAAC).
LANDSAT = {
    "LT04": "173083_19880310 172083_19890306 044033_19830812 033036_19920604",  # g g o p; public code names no others
    "LT05": (
        "172083_20110207 173083_20051112 171083_20070715 042034_20091016 044033_20110716 "  # g g g o o
        "034033_20000913 046028_19840719 149038_19931205 188028_19940803 118038_20000606"  # p p p p e
    ),
    "LE07": (
        "173083_20220119 173083_20100203 171083_20190129 044033_20170708 233058_20011113 "  # g g g o e
        "044034_20030316 038029_20100601 045029_20230704 135038_19990923 043034_20201130"  # p p p p p
    ),
    "LC08": (
        "173083_20180217 044033_20170716 038031_20130828 028031_20140708 040025_20130319 "  # g o o o p
        "202034_20240722 145037_20200712 123032_20230701 047027_20201204 046029_20230715"  # p p p p p
    ),
    "LC09": (
        "173083_20220308 044033_20220127 197033_20240415 122039_20230306 121065_20240723 "  # g o p p p
        "171084_20220427 026045_20220521 052001_20230818 131047_20211212 115028_20230116"  # g p p p p
    ),
}


def test_landsat_scenes_that_programs_name() -> None:
    """The three archives name an item by the product, one without the day of processing, one by its kind, too."""
    for sensor, scenes in LANDSAT.items():
        for scene in scenes.split():
            check_scene(sensor, scene)


def check_scene(sensor: str, scene: str) -> None:
    index = f"{sensor}_{scene}"
    place, day = scene.split("_")
    for name in (
        f"{sensor}_L2SP_{place}_{day}_02_T1",
        f"{sensor}_L2SP_{place}_{day}_20200821_02_T1_SR",
        f"{sensor}_L2SR_{place}_{day}_20200821_02_T1",
    ):
        assert rule_of("landsat").index(item(name)) == index
    assert rule_of("landsat").search(index, "") is not None


@pytest.mark.parametrize(
    "index",
    [
        "20200929T080731_20200929T083634_T34HEJ",  # g, as the next two
        "20230721T080609_20230721T083101_T34HEJ",
        "20191229T081239_20191229T083040_T34HEJ",
        "20200101T100319_20200101T100321_T32TQM",  # p, as those that follow; their products are not known
        "20210716T012701_20210716T012658_T54TXN",
        "20240428T013701_20240428T013722_T52LGL",
        "20240405T021601_20240405T022256_T51RUH",
        "20200712T222549_20200712T222545_T60GUV",
    ],
)
def test_image_of_sentinel2_that_programs_name_is_searched_by_its_tile_and_times(index: str) -> None:
    taken, strip, tile = index.split("_")
    search = rule_of("sentinel-2").search(index, "")
    assert search is not None
    assert search.equals == {"MGRS_TILE": tile[1:]}
    assert search.start is not None
    assert search.end is not None
    for text in (taken, strip):
        moment = datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc).timestamp() * 1000.0
        assert search.start <= moment < search.end


@pytest.mark.parametrize(
    ("index", "granule"),
    [
        ("T21JUL_20130427T135010", "HLS.L30.T21JUL.2013117T135010.v2.0"),  # e
        ("T37UDB_20210604T082849", "HLS.L30.T37UDB.2021155T082849.v2.0"),  # p
        ("T12RXT_20240425T174911", "HLS.S30.T12RXT.2024116T174911.v2.0"),  # p; public code names no others
    ],
)
def test_hls_granule_that_programs_name(index: str, granule: str) -> None:
    assert rule_of("hls").index(item(granule)) == index
    search = rule_of("hls").search(index, granule[:8])
    assert search is not None
    assert search.ids == (granule,)


@pytest.mark.parametrize(
    ("dataset", "index", "day"),
    [
        ("MOD13Q1", "2024_04_01", "2024092"),  # p; where a year begins anew with day 1, 16 days later with 17
        ("MOD13Q1", "2018_02_18", "2018049"),  # p
        ("MOD13Q1", "2020_01_01", "2020001"),  # p
        ("MOD13Q1", "2024_01_01", "2024001"),  # p
        ("MOD13Q1", "2023_05_09", "2023129"),  # p
        ("MOD13A1", "2014_05_09", "2014129"),  # e
        ("MOD13A1", "2010_01_01", "2010001"),  # p
        ("MOD11A1", "2020_01_01", "2020001"),  # p
        ("MOD11A1", "2024_01_15", "2024015"),  # p
        ("MOD09A1", "2020_01_01", "2020001"),  # p
    ],
)
def test_day_of_modis_that_programs_name(dataset: str, index: str, day: str) -> None:
    assert rule_of("modis").index(item(f"{dataset}.A{day}.h18v04.061.2024120000000")) == index


@pytest.mark.parametrize(
    ("index", "file"),
    [
        # Google's example: https://developers.google.com/earth-engine/guides/aef_on_gcs_readme
        ("x8qqwcsisbgygl2ry", "x8qqwcsisbgygl2ry-0000008192-0000000000"),
        # Files that public programs read, of 10N in 2018 and 2022, and of 19N in 2024.
        ("xdz8z3a9znk5b1j75", "xdz8z3a9znk5b1j75-0000008192-0000008192"),
        ("xaspzf5khdg4c5pbs", "xaspzf5khdg4c5pbs-0000008192-0000008192"),
        ("x6sun7b33qgammiuo", "x6sun7b33qgammiuo-0000000000-0000008192"),
    ],
)
def test_image_of_embeddings_is_named_by_its_files(index: str, file: str) -> None:
    assert rule_of("satellite-embedding").index(item(file)) == index
    search = rule_of("satellite-embedding").search(index, "")
    assert search is not None
    assert search.ids is not None
    assert file in search.ids
    assert len(search.ids) == 4


@pytest.mark.parametrize("rule", ["sentinel-2", "landsat", "naip", "hls", "copernicus-dem", "modis"])
def test_name_of_another_family_is_none(rule: str) -> None:
    for name in ("", "nonsense", "20240230T000000_20240230T000000_T32UPU", "LC08_047027_20209999", "../x"):
        assert rule_of(rule).index(item(name)) is None, name
        assert rule_of(rule).search(name, "") is None, name


def test_image_of_landsat_is_searched_by_path_row_and_day() -> None:
    search = rule_of("landsat").search("LC08_047027_20201204", "")
    assert search is not None
    assert search.equals == {"WRS_PATH": 47, "WRS_ROW": 27}
    assert (search.start, search.end) == (1_607_040_000_000.0, 1_607_126_400_000.0)


def test_image_of_naip_is_searched_in_its_quadrangle() -> None:
    """Earth Engine's example m_3712213_sw_10_1_20140613 shows 122.466123 W, 37.769833 N."""
    search = rule_of("naip").search("m_3712213_sw_10_1_20140613", "")
    assert search is not None
    assert search.bounds == (-122.5, 37.75, -122.375, 37.875)
    assert rule_of("naip").search("m_3712265_sw_10_1_20140613", "") is None


def test_image_of_hls_is_searched_by_its_items_id() -> None:
    search = rule_of("hls").search("T21JUL_20130427T135010", "HLS.L30.")
    assert search is not None
    assert search.ids == ("HLS.L30.T21JUL.2013117T135010.v2.0",)


def test_every_record_names_a_rule() -> None:
    for record in list_records():
        for part in record.parts:
            assert rule_of(part.index)


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "a b", "x" * 201, ""])
def test_item_whose_id_cannot_name_an_image_has_no_index(name: str) -> None:
    assert rule_of("item-id").index(item(name)) is None
    assert rule_of("item-id").search(name, "") is None
