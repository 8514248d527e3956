"""Projection, Projection.* and ErrorMargin."""

from __future__ import annotations

from typing import Any

import pytest
import rasterio.crs
from pyproj import CRS

from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import ErrorMargin
from local_tests.support.graphs import Ready, call, invoke

LANDSAT = [30, 0, 306585, 0, -30, 4347915]


def projection(crs: str = "EPSG:32610", transform: list[float] | None = None) -> Ready:
    return invoke("Projection", crs=crs, transform=transform) if transform else invoke("Projection", crs=crs)


def test_codes_and_text() -> None:
    assert call("Projection.crs", projection=projection()) == "EPSG:32610"
    assert call("Projection.crs", projection=invoke("Proj", crs="SR-ORG:6974")) == "SR-ORG:6974"
    wkt = CRS("EPSG:32610").to_wkt()
    assert call("Projection.crs", projection=projection(wkt)) == "EPSG:32610"
    text = "+proj=aeqd +lat_0=1 +lon_0=2 +datum=WGS84"
    assert call("Projection.crs", projection=projection(CRS(text).to_wkt())) is None
    mercator = rasterio.crs.CRS.from_epsg(3857).to_wkt(version="WKT1_GDAL")
    assert 'EXTENSION["PROJ4","+proj=' in mercator
    assert call("Projection.crs", projection=projection(mercator)) == "EPSG:3857"
    assert CRS(call("Projection.wkt", projection=projection())) == CRS("EPSG:32610")
    unknown = projection("EPSG:999999")
    with pytest.raises(InvalidError, match="could not be parsed"):
        call("Projection.crs", projection=unknown)


@pytest.mark.parametrize(
    "text",
    [
        "+proj=aeqd +lat_0=1 +lon_0=2 +datum=WGS84", "proj=utm zone=13 datum=WGS84", "init=epsg:4326", "4326", "WGS 84",
        '{"type": "GeographicCRS"}', "",
    ],
)  # fmt: skip
def test_only_codes_and_wkt_name_a_crs(text: str) -> None:
    """Google documents no others: "a well-known authority code" or "a WKT string"."""
    with pytest.raises(InvalidError, match="could not be parsed"):
        call("Projection.crs", projection=projection(text))
    assert call("Projection.crs", projection=projection("urn:ogc:def:crs:EPSG::32610")) is not None


@pytest.mark.parametrize("code", ["EPSG:6933", "epsg:6933", " EPSG:06933\n", "urn:ogc:def:crs:EPSG::6933"])
def test_a_code_that_the_service_does_not_know(code: str) -> None:
    with pytest.raises(InvalidError, match="could not be parsed"):
        call("Projection.crs", projection=projection(code))
    assert call("Projection.crs", projection=projection(CRS(6933).to_wkt("WKT1_GDAL"))) is None


def test_googles_mercator() -> None:
    # developers.google.com/earth-engine/apidocs/export-video-todrive: "the Google Maps Mercator projection".
    assert CRS(call("Projection.wkt", projection=projection("SR-ORG:6627"))) == CRS("EPSG:3857")


def test_nominal_scale() -> None:
    assert call("Projection.nominalScale", proj=projection(transform=LANDSAT)) == 30
    # ee.Projection('EPSG:4326').nominalScale() prints 111319.49079327357.
    assert call("Projection.nominalScale", proj=projection("EPSG:4326")) == pytest.approx(111319.49079327357)


def test_scaling_keeps_origin_and_directions() -> None:
    made = call("Projection.atScale", projection=projection(transform=LANDSAT), meters=90)
    assert made.transform[:6] == pytest.approx([90, 0, 306585, 0, -90, 4347915])
    assert made.nominal_scale == pytest.approx(90)
    made = call("Projection.scale", projection=projection(transform=LANDSAT), x=2, y=3)
    assert made.transform[:6] == (60, 0, 306585, 0, -90, 4347915)
    made = call("Projection.translate", projection=projection(transform=LANDSAT), x=1, y=2)
    assert made.transform[:6] == (30, 0, 306615, 0, -30, 4347855)
    for bad in (0, -5):
        with pytest.raises(InvalidError, match="scale"):
            call("Projection.atScale", projection=projection(), meters=bad)


def test_transforms_as_text_go_round() -> None:
    text = call("Projection.transform", projection=projection(transform=LANDSAT))
    assert text == (
        'PARAM_MT["Affine", \n  PARAMETER["num_row", 3], \n  PARAMETER["num_col", 3], \n'
        '  PARAMETER["elt_0_0", 30.0], \n  PARAMETER["elt_0_2", 306585.0], \n'
        '  PARAMETER["elt_1_1", -30.0], \n  PARAMETER["elt_1_2", 4347915.0]]'
    )
    again = call("Projection", crs="EPSG:32610", transformWkt=text)
    assert again.transform[:6] == tuple(LANDSAT)


@pytest.mark.parametrize(
    "arguments",
    [
        {"transform": [1, 2, 3]},
        {"transform": [0, 0, 0, 0, 0, 0]},
        {"transform": ["a"] * 6},
        {"transformWkt": "nonsense"},
        {"transform": [1, 0, 0, 0, 1, 0], "transformWkt": "PARAM_MT[]"},
    ],
)
def test_bad_transforms_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidError, match="Projection:"):
        call("Projection", crs="EPSG:4326", **arguments)


def test_error_margins() -> None:
    # apidocs/ee-errormargin: negative values become positive, 2.0e7 and more are infinite.
    assert call("ErrorMargin", value=-5) == ErrorMargin(5.0, "meters")
    assert call("ErrorMargin", value=2, unit="projected") == ErrorMargin(2.0, "projected")
    assert call("ErrorMargin", value=2e7).unit == "infinite"
    assert call("ErrorMargin", unit="infinite").unit == "infinite"
    with pytest.raises(InvalidError):
        call("ErrorMargin", value=1, unit="feet")
    with pytest.raises(InvalidError):
        call("ErrorMargin")
