"""Coordinate reference systems of other users, which may name files."""

from __future__ import annotations

import pytest

from eechips.errors import UsageError
from eechips.geo.crs import is_usable, parse_crs

_BASE = 'BASEGEOGCRS["x",DATUM["WGS84",ELLIPSOID["WGS84",6378137,298.257223563]],PRIMEM["Greenwich",0]]'


@pytest.mark.parametrize(
    "crs",
    [
        "+init=/elsewhere/init:1",
        "+proj=utm +zone=32 init=/elsewhere/init:1",
        "+proj=longlat +ellps=bessel +nadgrids=https://elsewhere.example/grid.tif",
        "+proj=tinshift +file=/elsewhere/shift.json",
        f'PROJCRS["p",{_BASE},CONVERSION["c",METHOD["PROJ defmodel model=/elsewhere/model.json"]],'
        'CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]',
    ],
)
def test_crs_that_names_a_file_is_refused(crs: str) -> None:
    with pytest.raises(UsageError, match="refers to another file"):
        parse_crs(crs)
    assert not is_usable(crs)


def test_crs_that_names_no_file_is_parsed() -> None:
    web = parse_crs(parse_crs("EPSG:3857").to_wkt("WKT1_GDAL"))  # its WKT has +nadgrids=@null
    assert web.to_epsg() == 3857
