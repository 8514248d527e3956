"""Sentinel-2 passes over the demo planet on the days, on the orbits and with the swaths that it really has."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import numpy as np

from eechips_local.demo import DemoStore
from eechips_local.demo.painting.painted_source import PaintedSource
from eechips_local.demo.satellites import mgrs, sentinel2, sentinel2_orbit
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow, Query
from local_tests.support.call_counts import count_calls

STORE = DemoStore(date(2026, 1, 1))
S2 = "COPERNICUS/S2_HARMONIZED"
SR = "COPERNICUS/S2_SR_HARMONIZED"

# Satellite, start of the datatake, relative orbit and tile: parts of names of products in public repositories.
PRODUCTS = """
S2A_20160105T143732_R096_T19KGT S2A_20160212T084052_R064_T36UYA S2A_20160623T105652_R094_T31UDQ
S2A_20160812T143752_R096_T20MKB S2A_20160820T003712_R059_T55LCD S2A_20161208T102422_R065_T33UVB
S2A_20161213T093402_R136_T34UFD S2A_20170412T110621_R137_T29RPQ S2A_20180220T105051_R051_T30SYJ
S2B_20180226T083909_R064_T36RTV S2B_20180420T103019_R108_T32TLT S2B_20180602T104019_R008_T32UNE
S2B_20180606T033629_R061_T48RUQ S2B_20181226T141039_R110_T20JLL S2A_20190101T082331_R121_T34HCH
S2A_20190212T142031_R010_T19FDF S2A_20190428T095031_R079_T35VLF S2A_20190613T182921_R027_T12UUA
S2B_20190629T212529_R043_T06VVN S2B_20190828T043709_R033_T48VUP S2A_20191201T000241_R030_T55HGB
S2A_20200113T095351_R079_T32PLQ S2A_20200520T105031_R051_T31UDP S2B_20200911T212529_R043_T05VPG
S2A_20201211T134211_R124_T22MGD S2B_20210306T100029_R122_T33UWR S2B_20210514T084559_R107_T35TPE
S2B_20210925T101019_R022_T33UUP S2B_20211231T070049_R120_T38LRK S2A_20220207T002711_R016_T54HWE
S2A_20220408T050651_R019_T44RNS S2A_20220622T130301_R095_T23KQQ S2B_20220713T093549_R036_T36WWU
S2A_20220723T153611_R111_T19UEQ S2A_20221125T112411_R037_T29TNF S2B_20230225T060829_R134_T42UYU
S2B_20230905T151659_R025_T20TMS S2C_20250301T111031_R137_T31UCU S2C_20250323T014711_R017_T53SLU
S2C_20250527T191931_R099_T10VFL S2C_20250813T165911_R069_T14QMG S2C_20250831T075631_R035_T35JNM
"""


def test_real_images_have_the_orbits_and_satellites_of_their_products() -> None:
    for product in PRODUCTS.split():
        craft, text, orbit, tile = product.split("_")
        image = STORE.get(f"{S2}/{text}_{text}_{tile}")
        assert isinstance(image, ImageAsset)
        found = [image.properties[name] for name in ("SPACECRAFT_NAME", "SENSING_ORBIT_NUMBER")]
        assert found == [f"Sentinel-{craft[1:]}", int(orbit[1:])], product
        # The planet's datatakes start where land does, the real ones at times later.
        start = datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc)
        known = mgrs.named(tile[1:])
        assert known is not None
        away = min(datatake.away(start) for datatake in sentinel2_orbit.datatakes(known))
        assert away < timedelta(minutes=18), product


def test_orbits_are_numbered_as_in_datatakes() -> None:
    """Of products in public repositories, and Sentinel-2 metadata in the documentation of geedim."""
    for identifier, tile in (
        ("GS2A_20190101T082331_018422", "34HCH"),
        ("GS2B_20181226T103439_009429", "32TLR"),
        ("GS2B_20210306T100029_020883", "33UWR"),
        ("GS2A_20201211T134211_028578", "22MGD"),
        ("GS2A_20220414T084601_035568", "37UCA"),
        ("GS2C_20250826T172222_005087", "15TVG"),
    ):
        moment = identifier.split("_")[1]
        image = STORE.get(f"{S2}/{moment}_{moment}_T{tile}")
        assert isinstance(image, ImageAsset)
        assert image.properties["DATATAKE_IDENTIFIER"].startswith(identifier)


def test_searches_find_the_days_of_the_orbit_that_passes_nearest() -> None:
    """As 20200620T174911_20200620T180052_T13TDE and 20200929T080731_20200929T083634_T34HEJ of the archive."""
    for tile, start, days in (
        ("13TDE", date(2020, 6, 1), [5, 10, 15, 20, 25, 30]),
        ("34HEJ", date(2020, 9, 1), [4, 9, 14, 19, 24, 29]),
    ):
        first, last = (
            datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp() * 1000.0
            for day in (start, start + timedelta(days=30))
        )
        images = list(STORE.get(SR).images(Query(start=first, end=last, equals={"MGRS_TILE": tile})))  # type: ignore[union-attr]
        whole = [image for image in images if image.properties["NODATA_PIXEL_PERCENTAGE"] == 0.0]
        assert [int(image.properties["system:index"][6:8]) for image in whole] == days
        crafts = [image.properties["SPACECRAFT_NAME"][-1] for image in whole]
        assert "".join(crafts) in ("ABABAB", "BABABA")


def test_sentinel_2b_passes_from_its_first_images_on() -> None:
    """S2B_MSIL1C_20170610T105029_N0205_R051_T31UET is the oldest name in public repositories."""
    first, last = (datetime(2017, month, 1, tzinfo=timezone.utc).timestamp() * 1000.0 for month in (5, 7))
    images = STORE.get(S2).images(Query(start=first, end=last, equals={"MGRS_TILE": "31UET"}))  # type: ignore[union-attr]
    crafts = [
        image.properties["system:index"][4:8] + image.properties["SPACECRAFT_NAME"][-1]
        for image in images
        if image.properties["SENSING_ORBIT_NUMBER"] == 51
    ]
    assert crafts == ["0506A", "0516A", "0526A", "0605A", "0610B", "0615A", "0620B", "0625A", "0630B"]


def test_images_have_the_time_at_which_their_tile_is_seen() -> None:
    """Two images whose properties public repositories have, one of them the documentation of geedim, to 15 seconds."""
    for index, start in (
        ("20240611T130251_20240611T130251_T23KPS", 1_718_111_293_493),
        ("20190101T082331_20190101T084846_T34HCH", 1_546_332_584_000),
    ):
        image = STORE.get(f"{S2}/{index}")
        assert isinstance(image, ImageAsset)
        assert abs(image.properties["system:time_start"] - start) < 15_000


def test_searches_know_the_time_of_each_tile() -> None:
    """A datatake that begins before a time shows tiles after it."""
    collection = STORE.get(S2)
    moment = next(iter(collection.images(Query(start=1.6e12, equals={"MGRS_TILE": "34HCH"})))).properties  # type: ignore[union-attr]
    start = moment["system:time_start"]
    for first, last, found in ((start, start + 1, 1), (start - 600_000, start, 0), (start + 1, start + 600_000, 0)):
        query = Query(start=float(first), end=float(last), equals={"MGRS_TILE": "34HCH"})
        assert len(list(collection.images(query))) == found  # type: ignore[union-attr]


def test_names_of_products_have_the_times_of_datatake_datastrip_and_processing() -> None:
    """GRANULE_ID and DATASTRIP_ID of 20190101T082331_20190101T084846_T34HCH: documentation of geedim."""
    start = datetime(2019, 1, 1, tzinfo=timezone.utc).timestamp() * 1000.0
    named = STORE.get("COPERNICUS/S2_SR_HARMONIZED/20190101T082331_20190101T084846_T34HCH")
    (found,) = STORE.get(S2).images(Query(start=start, end=start + 86_400_000.0, equals={"MGRS_TILE": "34HCH"}))  # type: ignore[union-attr]
    assert isinstance(named, ImageAsset)
    assert named.properties["GRANULE_ID"] == "L2A_T34HCH_A018422_20190101T084846"
    for image in (named, found):
        taken, strip, _ = image.properties["system:index"].split("_")
        assert image.properties["DATASTRIP_ID"].endswith(f"_S{strip}_N02.11")
        made = image.properties["PRODUCT_ID"].rpartition("_")[2]
        seen = datetime.fromtimestamp(image.properties["system:time_start"] / 1000.0, timezone.utc)
        assert taken <= strip <= f"{seen:%Y%m%dT%H%M%S}" < made
        moment = datetime.fromtimestamp(image.properties["GENERATION_TIME"] / 1000.0, timezone.utc)
        assert f"{moment:%Y%m%dT%H%M%S}" == made


def test_swaths_show_the_shares_of_tiles_that_real_ones_do() -> None:
    """Of items of Earth Search and the Planetary Computer in public repositories, to a swath's edge of 500 metres.

    S2B_45RUM_20260827_0_L2A lacks 8.59% of its tile, S2A_39QTA_20230628_0_L2A and S2A_31TCH of 2017-01-26 nothing.
    """
    for tile, orbit, missing in (("45RUM", 119, 8.59), ("39QTA", 106, 0.0), ("31TCH", 51, 0.0)):
        known = mgrs.named(tile)
        assert known is not None
        assert abs(sentinel2_orbit.missing_percent(orbit, known) - missing) < 0.5


def test_tiles_are_cut_where_the_swath_ends_alike_in_all_bands_and_properties() -> None:
    """Tile 13TDE lies across the edge of orbit 98. Its pixels of 10, 20 and 60 metres end within 60 metres."""
    (image,) = (
        image
        for image in STORE.get(SR).images(Query(start=1.591e12, end=1.5915e12, equals={"MGRS_TILE": "13TDE"}))  # type: ignore[union-attr]
        if image.properties["SENSING_ORBIT_NUMBER"] == 98
    )
    assert len({band.source.outline for band in image.bands if isinstance(band.source, PaintedSource)}) == 1
    bands = {band.name: band for band in image.bands}
    west, edges = 0, []
    for name, scale, width in (
        ("QA60", 60, 1830),
        ("B9", 60, 100),
        ("SCL", 20, 300),
        ("B11", 20, 300),
        ("B4", 10, 600),
    ):
        window = PixelWindow(west // scale, 0, width, 1)
        _, valid = bands[name].source.read((bands[name].index,), window, 0)
        edges.append((window.column + int(np.argmax(valid[0, 0]))) * scale)
        west = max(0, edges[0] - 3000)
    assert 0 < min(edges) <= max(edges) <= min(edges) + 60 < 109_800


def test_satellites_take_turns_outside_europe_and_africa_at_first() -> None:
    """Products of 2016 and 2017 in public repositories; both saw 31UET of Europe on each pass."""
    for tile, orbit, day, craft in (
        ("17NRA", 68, 20160103, "A"),
        ("55LCD", 59, 20160820, "A"),
        ("22MDB", 24, 20170926, "B"),
    ):
        known = mgrs.named(tile)
        assert known is not None
        datatake = next(datatake for datatake in sentinel2_orbit.datatakes(known) if datatake.orbit == orbit)
        when = datetime.strptime(str(day), "%Y%m%d").date()
        around = list(datatake.starts(when - timedelta(days=12), when + timedelta(days=12)))
        assert [start.date() for start in around if datatake.craft(start)[0] == craft] == [when]
    for tile, count in (("31UET", 6), ("55LCD", 3)):
        known = mgrs.named(tile)
        assert known is not None
        datatake = sentinel2_orbit.datatakes(known)[0]
        assert len(list(datatake.starts(date(2016, 1, 1), date(2016, 3, 1)))) == count


def test_tiles_of_datatakes_are_kept_as_they_are_found() -> None:
    """Searches of the globe need them: a list of 19,000 tiles that takes seconds to find."""
    sentinel2_orbit.all_by_datatake()
    sentinel2_orbit.all_by_datatake.cache_clear()
    with count_calls() as calls:
        kept = sentinel2_orbit.all_by_datatake()
    assert calls["_shown"] == 0
    found = sentinel2_orbit.by_datatake(mgrs.tiles(None))
    assert list(kept.items()) == list(found.items())


def test_a_search_by_time_and_clouds_makes_no_other_properties() -> None:
    query = Query(bounds=(7.3, 46.2, 7.3, 46.2), start=1_651_500_000_000, end=1_654_100_000_000)
    collection = sentinel2.collections(date(2026, 1, 1), "climate")[3]
    with count_calls() as calls:
        images = list(collection.images(query))
        for name in ("system:time_start", "CLOUDY_PIXEL_PERCENTAGE"):
            assert all(image.properties[name] is not None for image in images)
        assert calls["_other_properties"] == 0
        assert "MGRS_TILE" in images[0].properties
        assert "none such" not in images[0].properties
    assert calls["_other_properties"] == 1
