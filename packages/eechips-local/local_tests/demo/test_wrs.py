"""Scenes of Landsat as recorded metadata of the USGS has them."""

from __future__ import annotations

import pytest
import shapely
from pyproj import Transformer

from eechips_local.demo.satellites import wrs

Corners = tuple[tuple[float, float], ...]

_SWATHS = {"LC": wrs.OLI, "LE": wrs.ETM, "LT": wrs.TM}

# Product, where its metadata is recorded, longitude and latitude of the corners of what is seen. Landsat 7 of 2021 had
# left its orbit and is not here.
_FOOTPRINTS: tuple[tuple[str, str, Corners], ...] = (
    (
        "LC08_L2SP_005009_20150710",
        "stactools-packages/landsat@bde55a5a",
        ((-40.2075, 73.3766), (-35.2476, 72.5379), (-38.1474, 71.034), (-42.8108, 71.8144)),
    ),
    (
        "LT04_L2SP_002026_19830110",
        "stactools-packages/landsat@bde55a5a",
        ((-54.2269, 49.8215), (-54.8324, 48.2492), (-52.3944, 47.8898), (-51.7189, 49.454)),
    ),
    (
        "LC08_L2SP_047027_20201204",
        "stactools-packages/landsat@bde55a5a",
        ((-124.2738, 48.5083), (-121.8397, 48.0782), (-122.5378, 46.3768), (-124.8963, 46.8021)),
    ),
    (
        "LC08_L2SP_028030_20200114",
        "opendatacube/odc-stac@e8692bae",
        ((-96.4021, 44.2381), (-96.9558, 42.5254), (-94.7604, 42.119), (-94.1442, 43.8285)),
    ),
    (
        "LE07_L2SP_021030_20100109",
        "stactools-packages/landsat@bde55a5a",
        ((-85.6749, 44.143), (-83.331, 43.797), (-83.9033, 42.2181), (-86.1911, 42.5467)),
    ),
    (
        "LC08_L2SP_033032_20231008",
        "stac-utils/pystac-client@85f29a66",
        ((-105.0467, 41.3828), (-105.5642, 39.6658), (-103.466, 39.2699), (-102.8921, 40.9844)),
    ),
    (
        "LC08_L2SP_008059_20191201",
        "stactools-packages/landsat@bde55a5a",
        ((-75.7073, 2.488), (-74.075, 2.1384), (-74.4441, 0.3999), (-76.0763, 0.7529)),
    ),
    (
        "LC09_L2SP_010065_20220129",
        "stactools-packages/landsat@bde55a5a",
        ((-80.6768, -6.1909), (-81.0523, -7.9237), (-79.393, -8.2779), (-79.0268, -6.5404)),
    ),
    (
        "LT05_L2SP_010067_19860424",
        "stactools-packages/landsat@bde55a5a",
        ((-81.3606, -9.1877), (-81.7142, -10.786), (-80.0362, -11.0317), (-79.6954, -9.4286)),
    ),
    (
        "LT05_L2SP_090084_19980308",
        "opendatacube/eo-datasets@7ecc2af4",
        ((149.0564, -33.6596), (151.045, -33.9506), (150.609, -35.5651), (148.5765, -35.2649)),
    ),
    (
        "LC08_L2SR_066091_20211228",
        "stac-utils/pystac-client@85f29a66",
        ((-177.0814, -43.5192), (-174.6696, -43.972), (-175.3082, -45.6832), (-177.7222, -45.232)),
    ),
    (
        "LC08_L2SR_067091_20211203",
        "stac-utils/pystac-client@85f29a66",
        ((-178.6993, -43.5312), (-176.2759, -43.9519), (-176.8678, -45.6705), (-179.2941, -45.2524)),
    ),
    (
        "LC08_L2SR_081119_20200101",
        "opendatacube/odc-stac@e8692bae",
        ((106.0673, -79.6117), (111.5055, -81.0684), (101.3314, -81.9333), (97.0135, -80.3494)),
    ),
    (
        "LC08_L2SR_099120_20191129",
        "stactools-packages/landsat@bde55a5a",
        ((70.7049, -80.2458), (75.2747, -81.8084), (63.4662, -82.4302), (60.6604, -80.7634)),
    ),
)

# Likewise; the corners of the product's pixels (CORNER_UL_LAT_PRODUCT and so on).
_PRODUCTS: tuple[tuple[str, str, Corners], ...] = (
    (
        "LC08_L1TP_084024_20160111",
        "stactools-packages/landsat@bde55a5a",
        ((179.4058, 52.7426), (-177.0252, 52.7971), (-177.024, 50.6068), (179.5748, 50.5564)),
    ),
    (
        "LC08_L1TP_041027_20150604",
        "MTL of LC80410272015155LGN00",
        ((-115.5847, 48.523), (-112.4751, 48.4427), (-112.6512, 46.3488), (-115.64, 46.4235)),
    ),
    (
        "LE07_L1TP_107068_20220310",
        "opendatacube/eo-datasets@7ecc2af4",
        ((128.0821, -10.6262), (130.3091, -10.6248), (130.3179, -12.5045), (128.076, -12.5062)),
    ),
    (
        "LC08_L1GT_089074_20220506",
        "opendatacube/eo-datasets@7ecc2af4",
        ((153.8969, -19.1828), (156.0982, -19.1589), (156.1404, -21.2757), (153.9092, -21.3025)),
    ),
    (
        "LC08_L1TP_098084_20210503",
        "opendatacube/eo-datasets@7ecc2af4",
        ((136.1807, -33.56), (138.7276, -33.5095), (138.8247, -35.6529), (136.2116, -35.7077)),
    ),
    (
        "LT05_L1GS_092091_19910506",
        "opendatacube/eo-datasets@7ecc2af4",
        ((141.9457, -43.6245), (144.983, -43.559), (145.122, -45.5579), (141.9788, -45.6281)),
    ),
)


def _named(product: str) -> tuple[wrs.WrsScene, wrs.Swath]:
    return wrs.WrsScene(int(product[10:13]), int(product[13:16])), _SWATHS[product[:2]]


def _overlap(corners: Corners, others: Corners) -> float:
    """Return the area of the intersection of two quadrangles over that of their union."""
    longitude, latitude = corners[0]
    to_metres = Transformer.from_crs(
        "EPSG:4326", f"+proj=laea +lon_0={longitude} +lat_0={latitude} +datum=WGS84", always_xy=True
    )
    one, two = (shapely.Polygon([to_metres.transform(*corner) for corner in each]) for each in (corners, others))
    return float(shapely.intersection(one, two).area / shapely.union(one, two).area)


@pytest.mark.parametrize(("product", "source", "recorded"), _FOOTPRINTS)
def test_scenes_lie_where_the_usgs_records_them(product: str, source: str, recorded: Corners) -> None:
    """Satellites may leave their track by 5 km, so real footprints of a scene overlap by 95%."""
    outline = wrs.outline(*_named(product))
    assert _overlap(recorded, tuple(outline.exterior.coords)) > 0.92, source


@pytest.mark.parametrize(("product", "source", "recorded"), _PRODUCTS)
def test_products_are_as_large_as_those_of_the_usgs(product: str, source: str, recorded: Corners) -> None:
    grid = wrs.grid(*_named(product))
    to_degrees = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    west, south, east, north = grid.bounds
    places = ((west, north), (east, north), (east, south), (west, south))
    assert _overlap(recorded, tuple(to_degrees.transform(x, y) for x, y in places)) > 0.9, source


def test_middles_of_first_and_last_pixels_are_at_multiples_of_300_metres() -> None:
    """As LC08_L2SP_047027_20201204 has it (stactools-packages/landsat): 353685 and 5374215, 7,861 by 7,971."""
    for swath in (wrs.OLI, wrs.TM, wrs.ETM):
        grid = wrs.grid(wrs.WrsScene(47, 27), swath)
        assert (grid.transform.c % 300, grid.transform.f % 300) == (285, 15)
        assert (grid.width % 10, grid.height % 10) == (1, 1)
