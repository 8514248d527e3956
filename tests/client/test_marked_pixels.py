"""The mask band of a request is named by a mark, and nothing else of it is."""

from __future__ import annotations

import io
from pathlib import Path

import ee
import numpy as np
import pytest

from eechips.client.chip_parameters import Method
from eechips.client.fetcher import Fetcher
from eechips.engine.config import RunConfig
from eechips.engine.fetch_result import fetch_result
from eechips.engine.service.session import connect
from eechips.geo.grid import Grid
from eechips.recipe import Chip
from local_tests.support.local_earth_engine import Server

GRID = Grid("EPSG:32613", (10.0, 0.0, 5e5, 0.0, -10.0, 4.4e6), 2, 2)
NAME = "eechips_mask"  # also the band of a file that a batch task exports


@pytest.mark.parametrize(
    ("method", "band"),
    [
        ("pixels", "length"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("url", "length"), ("url", NAME))),
    ],
)
def test_a_band_or_text_with_the_name_of_the_mask_stays_as_it_is(
    stack_server: Server, method: Method, band: str
) -> None:
    with connect(RunConfig(out=Path("unused"), endpoint=stack_server.url, rate=None, retries=0)) as session:
        length = ee.Image.constant(ee.Number(ee.String(NAME).length())).toInt16()
        chip = Chip(length.rename(band), grid=GRID, format="npy", bands=(band,), dtype="int16")
        written = fetch_result(Fetcher(session.connection, method), chip)
    array = np.load(io.BytesIO(written.data))
    assert array.dtype.names == (band, "mask")
    assert array[band].tolist() == [[len(NAME)] * 2] * 2
    assert array["mask"].all()
