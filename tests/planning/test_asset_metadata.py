"""The types of bands, and messages about bands that do not exist."""

from __future__ import annotations

from typing import Any

import pytest

from eechips.datasets import suggest_datasets
from eechips.errors import UnknownDatasetError, ValidationError
from eechips.geo.grid import Grid
from eechips.planning.asset_metadata import AssetMetadata, Band, fetch_kind, fetch_metadata, smallest_dtype
from local_tests.support.local_earth_engine import Server, initialize
from tests.support.altering_front import altering_front
from tests.support.framing_front import Answer


@pytest.mark.parametrize(
    ("described", "dtype"),
    [
        ({"precision": "int", "min": 0, "max": 255}, "uint8"),
        ({"precision": "int", "min": -128, "max": 127}, "int8"),
        ({"precision": "int", "min": 0, "max": 65535}, "uint16"),
        ({"precision": "int", "min": -32768, "max": 32767}, "int16"),
        ({"precision": "int", "min": -1, "max": 65535}, "int32"),
        ({"precision": "int", "min": 0, "max": 4294967295}, "uint32"),
        ({"precision": "int", "min": -2147483648, "max": 2147483647}, "int32"),
        ({"precision": "int", "min": -1, "max": 4294967295}, "float64"),
        ({"precision": "int", "min": -9e18, "max": 9e18}, "float64"),
        ({"precision": "float"}, "float32"),
        ({"precision": "double"}, "float64"),
    ],
)
def test_the_smallest_type_that_holds_a_band(described: dict[str, Any], dtype: str) -> None:
    assert smallest_dtype(described["precision"], described.get("min"), described.get("max")) == dtype


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("red", r"has no band 'red'; did you mean B4 \(red\)\?$"),
        ("b4", r"has no band 'b4'; did you mean 'B4'\?$"),
        (
            "ndvi",
            r"has no band 'ndvi': NDVI is a spectral index, which `index` computes from bands; there are B2, B3, B4$",
        ),
        ("swir1", r"has no band 'swir1'; there are B2, B3, B4$"),
    ],
)
def test_a_band_that_does_not_exist_is_explained(name: str, message: str) -> None:
    bands = tuple(Band(band, "uint16", Grid("EPSG:32613", (10, 0, 0, 0, -10, 0), 1, 1)) for band in ("B2", "B3", "B4"))
    metadata = AssetMetadata("COPERNICUS/S2_SR_HARMONIZED", "collection", bands)
    with pytest.raises(UnknownDatasetError, match=message):
        metadata.select([name])


def test_only_datasets_that_are_served_are_suggested(stack_server: Server) -> None:
    initialize(stack_server)
    with pytest.raises(UnknownDatasetError, match=r"^there is no dataset 'COPERNICUS/S2_SR_HARMONIZED'\. This local"):
        fetch_kind("COPERNICUS/S2_SR_HARMONIZED")
    served = suggest_datasets("COPERNICUS/S2_SR_HARMONISED", lambda asset_id: asset_id == "COPERNICUS/S2_HARMONIZED")
    assert served == "; did you mean COPERNICUS/S2_HARMONIZED?"


@pytest.mark.parametrize("key", [b"crs_transform", b"data_type", b"precision"])
def test_a_band_that_lacks_what_every_band_has_is_a_damaged_response(demo_server: Server, key: bytes) -> None:
    """It ended the command as a bug of eechips."""
    initialize(demo_server)

    def alter(path: str, _: bytes, answer: Answer) -> Answer:
        return Answer(answer.status, answer.headers, answer.body.replace(b'"%s"' % key, b'"%s"' % key.upper()))

    with altering_front(demo_server.url, alter) as url:
        initialize(Server(url))
        with pytest.raises(ValidationError, match="the response has a band without grid or type"):
            fetch_metadata("USGS/SRTMGL1_003")
    # The front has altered an argument of this function, too: no later test may get it.
    initialize(demo_server).PixelType("int16", 0, 10)
