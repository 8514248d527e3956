"""Values that notebooks, tests and notes of users record of the real service, through the real client: more of them.

They were read by hand. Each source names the commit and the file, or the number of a public script of which no
repository is known. Those of datasets are what does not depend on pixels: bands, grids, names, dates and numbers of
images. ``test_printed_values`` has earlier ones, and ``test_refused_expressions`` what messages say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import pytest

from local_tests.published.test_printed_values import Example
from local_tests.published.test_recorded_values import check_examples
from local_tests.support.local_earth_engine import Server, initialize

_DEGREE_GRID = {"type": "Projection", "crs": "EPSG:4326"}
_GLOBE = [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]


def pixel_type(precision: str, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    bounds = {} if low is None else {"min": low, "max": high}
    return {"type": "PixelType", "precision": precision, **bounds}


def constant_band(number: int, name: str = "constant") -> dict[str, Any]:
    return {
        "id": name,
        "data_type": pixel_type("int", number, number),
        "crs": "EPSG:4326",
        "crs_transform": [1, 0, 0, 0, 1, 0],
    }


@cache
def _scene(ee: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = ee.Image(f"COPERNICUS/S2/{name}").getInfo()
    return found


def _scene_bands(name: str, crs: str, left: int, top: int, sizes: Mapping[int, str]) -> Iterator[Example]:
    """The bands of a scene of Sentinel-2, by the edges of their pixels in metres."""
    for size, names in sizes.items():
        for band in names.split():
            yield (
                lambda ee, band=band: next(each for each in _scene(ee, name)["bands"] if each["id"] == band),
                {
                    "id": band,
                    "data_type": pixel_type("int", 0, 4294967295 if band == "QA20" else 65535),
                    "dimensions": [109_800 // size] * 2,
                    "crs": crs,
                    "crs_transform": [size, 0, left, 0, -size, top],
                },
            )


_SIZES = {10: "B2 B3 B4 B8 QA10", 20: "B5 B6 B7 B8A B11 B12 QA20", 60: "B1 B9 B10 QA60"}


def _scene_properties(name: str, **stated: Any) -> Iterator[Example]:
    """What is known of any scene of the tile: its names, orbit, quality and the sun's irradiance in three bands."""
    passed = ("FORMAT_CORRECTNESS", "GENERAL_QUALITY", "GEOMETRIC_QUALITY", "RADIOMETRIC_QUALITY", "SENSOR_QUALITY")
    same = {
        **dict.fromkeys(passed, "PASSED"), "DATATAKE_TYPE": "INS-NOBS", "SENSING_ORBIT_DIRECTION": "DESCENDING",
        "SENSING_ORBIT_NUMBER": 52, "SPACECRAFT_NAME": "Sentinel-2A", "DEGRADED_MSI_DATA_PERCENTAGE": 0,
        "SOLAR_IRRADIANCE_B10": 367.15, "SOLAR_IRRADIANCE_B11": 245.59, "SOLAR_IRRADIANCE_B12": 85.25,
    }  # fmt: skip
    for key, value in {**same, **stated, "system:index": name}.items():
        yield lambda ee, key=key: _scene(ee, name)["properties"].get(key), value


def _stack(ee: Any) -> Any:
    return ee.Image.cat([ee.Image(1), ee.Image(120), ee.Image(-1)]).addBands(ee.Image(10))


@cache
def _column_statistics(ee: Any, ones: int, count: int) -> dict[str, float]:
    """The statistics of a property that is 1 in so many rows, and 0 in the others."""
    numbers = ee.List.repeat(1, ones).cat(ee.List.repeat(0, count - ones))
    rows = ee.FeatureCollection(numbers.map(lambda number: ee.Feature(None, {"smod_code": number})))
    found: dict[str, float] = rows.aggregate_stats("smod_code").getInfo()
    return found


def _statistics(ones: int, count: int, stated: Mapping[str, float]) -> Iterator[Example]:
    """Each of them, as the notebook prints it of a column with such sums."""
    same = {"max": 1, "min": 0, "sum": ones, "sum_sq": ones, "total_count": count, "valid_count": count,
            "weight_sum": count, "weighted_sum": ones}  # fmt: skip
    for name, number in {**same, **stated}.items():
        yield lambda ee, name=name: _column_statistics(ee, ones, count)[name], number


def _lights(ee: Any, monthly: bool = False) -> Any:
    name = "NOAA/VIIRS/DNB/MONTHLY_V1/VCMSLCFG" if monthly else "NOAA/DMSP-OLS/NIGHTTIME_LIGHTS"
    return ee.ImageCollection(name)


def _extent(ee: Any, which: str) -> Any:
    return ee.Date(_lights(ee).reduceColumns(ee.Reducer.minMax(), ["system:time_start"]).get(which))


def _collection(name: str, use: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    return lambda ee: use(ee, ee.ImageCollection(name))


def _grid_of(name: str) -> Callable[[Any], Any]:
    """The transform of the first image's first band."""
    return _collection(name, lambda _, images: images.first().select(0).projection().getInfo()["transform"])


def _size_of(name: str) -> Callable[[Any], Any]:
    """Columns and rows of the first image's first band."""
    return _collection(name, lambda _, images: images.first().getInfo()["bands"][0]["dimensions"])


def _span(name: str, first: str, after: str) -> Callable[[Any], Any]:
    """The number of images from a day to before another one, and when the first and the last begin."""

    def use(ee: Any, images: Any) -> Any:
        times = images.filterDate(first, after).aggregate_stats("system:time_start")
        ends = [ee.Date(times.get(end)).format("yyyy-MM-dd'T'HH:mm:ss") for end in ("min", "max")]
        return ee.List([times.get("total_count"), *ends])

    return _collection(name, use)


def _index(position: int, name: str) -> Callable[[Any], Any]:
    """The name of the first or the last image that has one."""
    return _collection(
        name, lambda _, images: images.sort("system:time_start", not position).first().get("system:index")
    )


_REFLECTANCES = {"Blue": 0.05, "Green": 0.08, "Red": 0.06, "Nir": 0.30, "Swir1": 0.15, "Swir2": 0.08}


def _index_of(expression: str, **values: float) -> Callable[[Any], Any]:
    """An index of constant bands, as the tests of a package compute it on the service."""
    bands = values or _REFLECTANCES

    def reduced(ee: Any) -> Any:
        image = ee.Image.constant(list(bands.values())).rename(list(bands))
        parts = {name: image.select(name) for name in bands}
        result = image.expression(expression, parts).rename("value")
        return result.reduceRegion(ee.Reducer.first(), ee.Geometry.Point([0, 0]), 10).get("value")

    return reduced


def _indices() -> Iterator[Example]:
    b, g, r, n, s, t = _REFLECTANCES.values()
    yield _index_of("(Nir - Red) / (Nir + Red)"), (n - r) / (n + r)
    yield _index_of("1.428 * (Nir - Red) / (Nir + Red + 0.428)"), 1.428 * (n - r) / (n + r + 0.428)
    yield _index_of("2.5 * (Nir - Red) / (Nir + 6 * Red - 7.5 * Blue + 1)"), 2.5 * (n - r) / (n + 6 * r - 7.5 * b + 1)
    yield _index_of("4 * (Green - Swir1) - (0.25 * Nir + 2.75 * Swir2)"), 4 * (g - s) - (0.25 * n + 2.75 * t)
    yield _index_of("Blue + 2.5 * Green - 1.5 * (Nir + Swir1) - 0.25 * Swir2"), b + 2.5 * g - 1.5 * (n + s) - 0.25 * t
    yield _index_of("(Green - Swir1) / (Green + Swir1)"), (g - s) / (g + s)
    yield (
        _index_of("1.7204 + 171 * Green + 3 * Red - 70 * Nir - 45 * Swir1 - 71 * Swir2"),
        1.7204 + 171 * g + 3 * r - 70 * n - 45 * s - 71 * t,
    )
    yield _index_of("(Nir - (Swir1 - Swir2)) / (Nir + (Swir1 - Swir2))"), (n - (s - t)) / (n + (s - t))
    decibels = {"VV": -12.0, "VH": -19.0}
    vv, vh = (10 ** (level / 10) for level in decibels.values())
    linear = "10 ** ({} / 10)"
    one, other = linear.format("VV"), linear.format("VH")
    yield _index_of(f"4 * ({other}) / (({one}) + ({other}))", **decibels), 4 * vh / (vv + vh)
    yield _index_of(f"({one}) / ({other})", **decibels), vv / vh
    yield _index_of(f"(({one}) - ({other})) / (({one}) + ({other}))", **decibels), (vv - vh) / (vv + vh)
    yield (
        _index_of(f"(({one}) ** 2 + ({one}) * ({other})) / sqrt(2)", **decibels), (vv**2 + vv * vh) / math.sqrt(2),
    )  # fmt: skip


_REGION = _W, _S, _E, _N = [37.418438390871614, -0.46499883273351506, 38.291851476809114, 0.4303777575597561]


def _juiz_de_fora(ee: Any) -> Any:
    box = ee.Geometry.Rectangle([-43.41287287680422, -21.756108688468274, -43.396307553928246, -21.750887131860495])
    scenes = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filterBounds(box)
    return scenes.filterDate(ee.Date("2024-04-01"), ee.Date("2024-07-31"))


def _clipped_cover(ee: Any) -> Any:
    return ee.ImageCollection("ESA/WorldCover/v100").first().clip(ee.Geometry.Rectangle(_REGION))


def _monthly_greenest(ee: Any) -> Any:
    image = ee.ImageCollection([ee.Image(0.5)]).map(lambda i: i.addBands(ee.Image(0.1)).normalizedDifference())
    return image.max().setDefaultProjection("EPSG:32635", [10, 0, 499980, 0, -10, 8200020])


_VECTORS = ([77, 107, 290], [90, 112, 272], [63, 87, 193])


def _distance(ee: Any, one: list[int], other: list[int]) -> Any:
    image = ee.Image(ee.Image(one).subtract(ee.Image(other)).pow(2).reduce("sum").sqrt())
    return image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point([0, 0]), 30).get("sum")


def _summed(ee: Any) -> Any:
    return ee.Number(_distance(ee, _VECTORS[0], _VECTORS[1])).add(_distance(ee, _VECTORS[0], _VECTORS[2]))


def _wrapped(ee: Any, day: int) -> Any:
    """A day of the year that wraps: a remainder that is never negative."""
    rest = ee.Number(day).subtract(1).mod(366)
    return ee.Number(ee.Algorithms.If(rest.lt(0), rest.add(366), rest)).add(1)


_ALBERS = (
    'PROJCS["NAD83 / Conus Albers",GEOGCS["NAD83",DATUM["North_American_Datum_1983",SPHEROID["GRS 1980",6378137,'
    '298.257222101]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Albers_Conic_Equal_Area"],'
    'PARAMETER["standard_parallel_1",43.0],PARAMETER["standard_parallel_2",48.0],PARAMETER["latitude_of_center",34.0],'
    'PARAMETER["longitude_of_center",-120.0],PARAMETER["false_easting",600000.0],PARAMETER["false_northing",0],'
    'UNIT["metre",1],AXIS["X",EAST],AXIS["Y",NORTH]]'
)


def _corner(ee: Any, *, is_first: bool, axis: int) -> Any:
    """An edge of a box in a projection, moved out to a multiple of 30 m."""
    box = ee.Geometry.Rectangle([-119.497, 44.749, -118.299, 43.924])
    ring = ee.Array(ee.List(box.bounds(1, ee.Projection(_ALBERS)).coordinates().get(0)))
    edge = ring.reduce("min" if is_first else "max", [0]).get([0, axis]).divide(30)
    return (edge.floor() if is_first else edge.ceil()).multiply(30)


def _days_of_month(ee: Any, month: int) -> Any:
    rain = ee.ImageCollection("UCSB-CHG/CHIRPS/DAILY").filterDate("2016-01-01", "2017-01-01")
    return rain.filter(ee.Filter.calendarRange(month, month, "month")).size()


def _flat_ratio(west: float, south: float) -> Callable[[Any], Any]:
    """The area of flat ground by that of its pixels: of images without relief it is that of the pixels."""

    def ratio(ee: Any) -> Any:
        box = ee.Geometry.Rectangle([west, south, west + 0.1, south + 0.1])
        flat = ee.Terrain.slope(ee.Image("CGIAR/SRTM90_V4").multiply(0)).multiply(math.pi / 180).cos()
        area = ee.Image.pixelArea()
        sums = area.divide(flat).rename("real").addBands(area).clip(box.buffer(1000, 1))
        found = sums.reduceRegion(ee.Reducer.sum(), box, 900)
        return ee.Number(found.get("real")).divide(found.get("area"))

    return ratio


# fmt: off
NOTED: dict[str, list[Example]] = {
    "hibapoctep/Sentinel-2@b6c736160507:code/1 - Estructuras de datos/1-Estructuras de datos.ipynb": [
        (lambda ee: ee.String("HIBA en la nube"), "HIBA en la nube"),
        (lambda ee: ee.Number(math.e), 2.718281828459045),
        (lambda ee: ee.List.sequence(1, 5), [1, 2, 3, 4, 5]),
        (lambda ee: ee.List([1, "A", 2, "DigitalAgri"]), [1, "A", 2, "DigitalAgri"]),
        (lambda ee: ee.Dictionary({"pi": math.pi, "texto": "DigitalAgri", "lista": ee.List.sequence(1, 10)}).keys(),
            ["lista", "pi", "texto"]),
        (lambda ee: ee.Dictionary({"pi": math.pi, "texto": "DigitalAgri"}).get("pi"), 3.141592653589793),
        (lambda ee: ee.Date("2021-03-05"), {"type": "Date", "value": 1614902400000}),
        (lambda ee: ee.Date("1970-01-01"), {"type": "Date", "value": 0}),
        (lambda ee: ee.Date.fromYMD(2020, 3, 5), {"type": "Date", "value": 1583366400000}),
        (lambda ee: ee.Date(1680444518586), {"type": "Date", "value": 1680444518586}),
    ],
    "hibapoctep/Sentinel-2@b6c736160507:code/2 - Imagenes/2 - Imagenes.ipynb": [
        (lambda ee: ee.Image(100), {"type": "Image", "bands": [constant_band(100)]}),
        (lambda ee: ee.Image([1, -1, 120]), {"type": "Image", "bands": [
            constant_band(1), constant_band(-1, "constant_1"), constant_band(120, "constant_2"),
        ]}),
        (_stack, {"type": "Image", "bands": [
            constant_band(1), constant_band(120, "constant_1"), constant_band(-1, "constant_2"),
            constant_band(10, "constant_3"),
        ]}),
        *_scene_bands("20170412T110621_20170412T111708_T30SUG", "EPSG:32630", 300_000, 4_200_000, _SIZES),
        (lambda ee: ee.Image("COPERNICUS/S2/20170412T110621_20170412T111708_T30SUG").select("B4").projection(),
            {"type": "Projection", "crs": "EPSG:32630", "transform": [10, 0, 300000, 0, -10, 4200000]}),
        (lambda ee: ee.Image("COPERNICUS/S2/20170412T110621_20170412T111708_T30SUG").select("B10").projection()
            .nominalScale(), 60),
    ],
    "worldbank/OpenNightLights@b93275be66ec:onl/tutorials": [
        (lambda ee: _extent(ee, "min"), {"type": "Date", "value": 694224000000}),
        (lambda ee: _extent(ee, "max"), {"type": "Date", "value": 1356998400000}),
        (lambda ee: _lights(ee, True).filterDate("2015-01-01", "2015-12-31").size(), 12),
        (lambda ee: _lights(ee, True).filterDate("2014-01-01", "2020-01-31").size(), 73),
        (lambda ee: ee.List.sequence(2015, 2019).size(), 5),
        *_statistics(1174, 6246, {
            "mean": 0.18796029458853666, "sample_sd": 0.39071173874702697, "sample_var": 0.15265566279472506,
            "total_sd": 0.39068046053869543, "total_var": 0.15263122224672718,
        }),
        *_statistics(943, 4978, {
            "mean": 0.1894335074327039, "sample_sd": 0.3918919561595822, "sample_var": 0.15357930530258393,
            "total_sd": 0.3918525917924336, "total_var": 0.1535484536944476,
        }),
        *_statistics(245, 1260, {
            "mean": 0.19444444444444445, "sample_sd": 0.39592955855613005, "sample_var": 0.15676021533845202,
            "total_sd": 0.39577241246597245, "total_var": 0.1566358024691358,
        }),
    ],
    "CongGao-CG/gee_data_list@8013b56f936b:README.md": [
        (_collection("NOAA/CDR/OISST/V2_1", lambda _, c: c.first().select("sst").projection().nominalScale()),
            27829.87269831839),
        (_collection("NOAA/CDR/OISST/V2_1", lambda _, c: c.first().projection()),
            {**_DEGREE_GRID, "transform": [0.25, 0, -180, 0, -0.25, 90]}),
        (_collection("NOAA/CDR/OISST/V2_1", lambda _, c: c.first().bandNames()), ["sst", "anom", "ice", "err"]),
        (_collection("NOAA/CDR/OISST/V2_1", lambda _, c: c.first().geometry().bounds().coordinates()), _GLOBE),
        (_index(0, "NOAA/CDR/OISST/V2_1"), "19810901"),
        (_collection("HYCOM/sea_temp_salinity",
            lambda _, c: c.first().select("water_temp_0").projection().nominalScale()), 8905.559807134887),
        (_index(0, "HYCOM/sea_temp_salinity"), "1992100200"),
    ],
    "Vizzuality/sql2gee@11dc2ee:tests": [
        (lambda ee: ee.Image("srtm90_v4").getInfo()["bands"], [{
            "id": "elevation", "data_type": pixel_type("int", -32768, 32767), "dimensions": [432000, 144000],
            "crs": "EPSG:4326", "crs_transform": [0.000833333333333, 0, -180, 0, -0.000833333333333, 60],
        }]),
        (lambda ee: ee.Image("srtm90_v4").getInfo()["type"], "Image"),
        (lambda ee: ee.Image("srtm90_v4").getInfo()["id"], "srtm90_v4"),
        (lambda ee: ee.Image("srtm90_v4").get("system:time_start"), 950227200000),
        (lambda ee: ee.Image("srtm90_v4").get("system:time_end"), 951177600000),
    ],
    "Digdgeo/Ndvi2Gif:tests/test_basic.py": [
        *_indices(),
        (lambda ee: _days_of_month(ee, 1), 31),
        (lambda ee: _days_of_month(ee, 2), 29),
        (lambda ee: _days_of_month(ee, 12), 31),
        (lambda ee: ee.ImageCollection([ee.Image(1), ee.Image(2)]).reduce(ee.Reducer.percentile([90])).rename("nd_p90")
            .bandNames(), ["nd_p90"]),
        (lambda ee: ee.ImageCollection([ee.Image(1)]).select([0]).count().unmask(0).bandNames(), ["constant"]),
    ],
    "gee-community/gee_tools@83421a5979bf:notebooks/algorithms/euclidean_distance.ipynb": [
        (lambda ee: _distance(ee, *_VECTORS[:2]), 22.759613353482084),
        (_summed, 122.78461022926308),
        (lambda ee: _distance(ee, _VECTORS[0], [0, 0, 0]), 318.55611750522075),
    ],
    "eHealthAfrica/heatwave_modelling_CHAP:.planning (code 68771988975)": [
        (lambda ee: _wrapped(ee, -3), 363),
        (lambda ee: _wrapped(ee, 367), 1),
        (lambda ee: _wrapped(ee, 730), 364),
        (_collection("ECMWF/ERA5_LAND/DAILY_AGGR", lambda _, c: c.first().projection().nominalScale()),
            11131.949079327358),
    ],
    "lemma-osu/naip-cnn@663ce418516e:test/test_utils.py": [
        (lambda ee: _corner(ee, is_first=True, axis=0), 639780),
        (lambda ee: _corner(ee, is_first=False, axis=1), 1188420),
        (lambda ee: _corner(ee, is_first=False, axis=0), 736530),
        (lambda ee: _corner(ee, is_first=True, axis=1), 1095360),
    ],
    "sig-gis/sig-ssl4eo@e55effe:fao_models/tests/data": [
        *_scene_bands("20180710T125311_20180710T125627_T24KVE", "EPSG:32724", 399_960, 8_000_020, _SIZES),
        *_scene_bands("20180302T125301_20180302T125304_T24KUF", "EPSG:32724", 300_000, 8_100_040, _SIZES),
        *_scene_properties("20180710T125311_20180710T125627_T24KVE", MGRS_TILE="24KVE",
            GRANULE_ID="L1C_T24KVE_A015922_20180710T125627"),
        *_scene_properties("20180302T125301_20180302T125304_T24KUF", MGRS_TILE="24KUF",
            GRANULE_ID="L1C_T24KUF_A014063_20180302T125304"),
    ],
    "code 15643366933": [
        (lambda ee: _clipped_cover(ee).getInfo()["id"], "ESA/WorldCover/v100/2020"),
        (lambda ee: _clipped_cover(ee).getInfo()["properties"]["system:footprint"],
            {"type": "Polygon", "coordinates": [[[_W, _S], [_E, _S], [_E, _N], [_W, _N], [_W, _S]]]}),
        (lambda ee: _monthly_greenest(ee).rename("NDVI").getInfo()["bands"], [{
            "id": "NDVI", "data_type": pixel_type("float", -1, 1), "crs": "EPSG:32635",
            "crs_transform": [10, 0, 499980, 0, -10, 8200020],
        }]),
    ],
    "code 30317490104": [
        (lambda ee: _juiz_de_fora(ee).size(), 48),
        (lambda ee: _juiz_de_fora(ee).sort("CLOUDY_PIXEL_PERCENTAGE").first().bandNames().size(), 26),
        (lambda ee: _juiz_de_fora(ee).first().select("[B].*").bandNames(),
            ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"]),
    ],
    "Open-ET/openet-ssebop@3f164ee:examples/elr_testing.ipynb": [
        (lambda ee: ee.Image("CGIAR/SRTM90_V4").projection().nominalScale(), 92.76624232769086),
        (lambda ee: ee.Image("CGIAR/SRTM90_V4").projection().scale(200, 200).nominalScale(), 18553.24846553817),
    ],
    "code 32000936581": [
        (lambda ee: ee.ImageCollection([ee.Image(1)]).median().projection(),
            {**_DEGREE_GRID, "transform": [1, 0, 0, 0, 1, 0]}),
        (lambda ee: ee.ImageCollection([ee.Image(1)]).median().projection().nominalScale(), 111319.49079327357),
        (lambda ee: ee.Image(1).reproject("EPSG:4326", None, 100).projection(),
            {**_DEGREE_GRID, "transform": [0.0008983152841195215, 0, 0, 0, -0.0008983152841195215, 0]}),
        (lambda ee: ee.Image(1).reproject("EPSG:4326", None, 100).projection().nominalScale(), 100),
    ],
    "sepal-contrib/sepal_mgci@a1716f91078d:tests/test_rsa.py": [
        (_flat_ratio(-64.10, -2.05), 1),
        (_flat_ratio(25.00, 24.95), 1),
        (_flat_ratio(-100.10, 39.95), 1),
        (_flat_ratio(-71.30, -33.75), 1),
    ],
    "codes 6078654881, 8383617597, 51817095262 (Open-ET)": [
        (_grid_of("IDAHO_EPSCOR/MACAv2_METDATA"),
            [0.04163593073593073, 0, -124.7722, 0, 0.04159470085470086, 25.0631]),
        (_collection("IDAHO_EPSCOR/GRIDMET", lambda _, c: c.first().select(0).projection()), {
            **_DEGREE_GRID,
            "transform": [0.041666666666666664, 0, -124.78749996666667, 0, -0.041666666666666664, 49.42083333333334],
        }),
        (lambda ee: ee.ImageCollection("IDAHO_EPSCOR/GRIDMET").first().getInfo()["bands"][0]["dimensions"],
            [1386, 585]),
    ],
    "aazuspan/wxee@33b79185953e:docs/examples/temporal_aggregation.ipynb, fire_progressions.ipynb": [
        (_span("IDAHO_EPSCOR/GRIDMET", "2020-01", "2021-01"), [366, "2020-01-01T06:00:00", "2020-12-31T06:00:00"]),
        (_span("NOAA/NWS/RTMA", "2020-09-08", "2020-09-10"), [48, "2020-09-08T00:00:00", "2020-09-09T23:00:00"]),
        (_span("MODIS/006/MOD14A1", "2021-08-15", "2021-09-05"), [21, "2021-08-15T00:00:00", "2021-09-04T00:00:00"]),
        (lambda ee: ee.ImageCollection("NOAA/GOES/16/FDCC").filterDate("2020-09-08", "2020-09-09").size(), 288),
    ],
    "google/earthengine-catalog@bb4c3f77:catalog/OREGONSTATE/prism.libsonnet": [  # "start time of noon UTC"
        (_span("OREGONSTATE/PRISM/AN81d", "2020-01-01", "2020-01-03"),
            [2, "2020-01-01T12:00:00", "2020-01-02T12:00:00"]),
        (_span("OREGONSTATE/PRISM/AN81m", "2020-01-01", "2020-03-01"),
            [2, "2020-01-01T12:00:00", "2020-02-01T12:00:00"]),
    ],
    "Open-ET/openet-core@b1e9cc51d9d1:openet/core/tests/test_a_utils.py": [
        (lambda ee: ee.Image("NASA/NASADEM_HGT/001").projection(), {
            **_DEGREE_GRID,
            "transform": [0.0002777777777777778, 0, -179.0001388888889, 0, -0.0002777777777777778, 61.00013888888889],
        }),
        # All of the globe's columns are there.
        (lambda ee: ee.Image("NASA/NASADEM_HGT/001").select("swb").reduceRegion(
            "first", ee.Geometry.Point(-179.5, -16.2), 30), {"swb": 255}),
    ],
    "code 62811475514": [
        (lambda ee: ee.Image("USGS/SRTMGL1_003").projection(), {
            **_DEGREE_GRID,
            "transform": [0.0002777777777777778, 0, -180.0001388888889, 0, -0.0002777777777777778, 60.00013888888889],
        }),
        (_collection("UCSB-CHG/CHIRPS/DAILY", lambda _, c: c.first().projection()),
            {**_DEGREE_GRID, "transform": [0.05, 0, -180, 0, -0.05, 50]}),
        (_collection("MODIS/061/MOD13Q1", lambda _, c: c.first().projection().nominalScale()), 231.65635826395825),
    ],
    "codes 46904723993, 48946145423, 30679740985": [
        (_collection("MODIS/061/MOD13A1", lambda _, c: c.first().projection().nominalScale()), 463.3127165275),
        (_collection("MODIS/061/MOD09GA", lambda _, c: c.first().select("sur_refl_b01").projection().nominalScale()),
            463.31271652791656),
        (_collection("MODIS/061/MOD11A1", lambda _, c: c.first().projection().nominalScale()), 926.625433055833),
        (_collection("MODIS/061/MOD13A1", lambda _, c: c.first().projection().crs()), "SR-ORG:6974"),
    ],
    "code 70390419013": [
        (_grid_of("UCSB-CHG/CHIRPS/DAILY"), [0.05, 0, -180, 0, -0.05, 50]),
        (_grid_of("NASA/GPM_L3/IMERG_V07"), [0.1, 0, -180, 0, -0.1, 90]),
        (_grid_of("ECMWF/ERA5_LAND/DAILY_AGGR"), [0.1, 0, -180.05, 0, -0.1, 90.05]),
        (_grid_of("ECMWF/ERA5_LAND/HOURLY"), [0.1, 0, -180.05, 0, -0.1, 90.05]),
        (_grid_of("ECMWF/ERA5/HOURLY"), [0.25, 0, -180.125, 0, -0.25, 90.125]),
        (_grid_of("NASA/SMAP/SPL4SMGP/008"),
            [0.09516256938937351, 0, -180, 0, -0.09516149300142858, 85.0445018795655]),
    ],
    "codes 55649796165 and 8383617597 (Open-ET), 37846976422": [
        (_grid_of("NASA/NLDAS/FORA0125_H002"), [0.125, 0, -125, 0, -0.125, 53]),
        (_size_of("NASA/NLDAS/FORA0125_H002"), [464, 224]),
        (_grid_of("OREGONSTATE/PRISM/AN81d"),
            [0.041666666666666664, 0, -125.02083333333333, 0, -0.041666666666666664, 49.9375]),
        (_size_of("OREGONSTATE/PRISM/AN81d"), [1405, 621]),
    ],
    "google/earthengine-catalog: description of MODIS/061/MOD13C1": [  # "0.05 degree", "3600 rows and 7200 columns"
        (_size_of("MODIS/061/MOD13C1"), [7200, 3600]),
        (_grid_of("MODIS/061/MCD43C3"), [0.05, 0, -180, 0, -0.05, 90]),
    ],
    "giswqs/earthengine-py-examples: FeatureCollection/filtering_feature_collection.py, of Google's guide": [
        (lambda ee: ee.FeatureCollection("USGS/WBD/2017/HUC06").limit(5).map(
            lambda basin: basin.set("area", ee.Number.parse(basin.get("areasqkm")))
        ).filter(ee.Filter.gte("area", 0)).size(), 5),
    ],
    "code 6633113158": [  # "the features don't have any kind of geometry"
        (lambda ee: ee.Image(1).sampleRegions(ee.FeatureCollection([ee.Geometry.Point([0, 0])]), None, 30).geometry(),
            {"geodesic": False, "type": "MultiPoint", "coordinates": []}),
    ],
    "code 1855454028": [
        (lambda ee: ee.Image("JRC/GSW1_4/GlobalSurfaceWater").bandNames(), [
            "occurrence", "change_abs", "change_norm", "seasonality", "recurrence", "transition", "max_extent",
        ]),
    ],
}
# fmt: on


@pytest.fixture(scope="module")
def ee(serve: Callable[..., Server]) -> Any:
    return initialize(serve("--demo-datasets", "all", "--rate", "none", "--concurrency", "none"))


@pytest.mark.parametrize("source", NOTED)
def test_values_are_those_that_users_record(ee: Any, source: str) -> None:
    check_examples(ee, source, NOTED[source])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda ee: ee.Image("COPERNICUS/DEM/GLO30").bandNames(),
            r"^Image\.load: Asset 'COPERNICUS/DEM/GLO30' is not an Image\.$"),
        (lambda ee: ee.FeatureCollection("USGS/SRTMGL1_003").size(),
            r"^Collection\.loadTable: Expected asset to be a Collection, found 'Image'"),
    ],
)  # fmt: skip
def test_assets_of_another_type_are_refused(ee: Any, ask: Callable[[Any], Any], message: str) -> None:
    """Codes 68742956557 and 57922345877 quote the messages."""
    with pytest.raises(ee.EEException, match=message):
        ask(ee).getInfo()
