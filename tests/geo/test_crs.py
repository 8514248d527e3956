"""Coordinate reference systems of other users, which may name files."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import CRS, Transformer

from eechips.errors import RegionError, UsageError
from eechips.geo.crs import is_usable, parse_crs
from eechips.geo.file_crs import WGS84, choose_crs
from eechips.geo.vectors import to_wgs84
from local_tests.support.captured_log import CapturedLog
from tests.support.watched_folder import watch_folder

_BASE = 'BASEGEOGCRS["x",DATUM["WGS84",ELLIPSOID["WGS84",6378137,298.257223563]],PRIMEM["Greenwich",0]]'
_AXES = 'CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]'
_WEB = CRS("EPSG:3857").to_wkt("WKT1_GDAL")
_BESSEL = "+proj=longlat +ellps=bessel"
_EXTENDED = (
    'PROJCS["x",GEOGCS["x",DATUM["d",SPHEROID["e",6378137,298]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],'
    'PROJECTION["Mercator_1SP"],PARAMETER["central_meridian",0],PARAMETER["scale_factor",1],PARAMETER["false_easting",0],'
    'PARAMETER["false_northing",0],UNIT["metre",1],EXTENSION["PROJ4","+proj=merc +ellps=bessel +nadgrids=@null"]]'
)
_LOCAL = 'LOCAL_CS["here",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'


def _method(text: str) -> str:
    return f'PROJCRS["p",{_BASE},CONVERSION["c",METHOD["{text}"]],{_AXES}]'


def _bound(value: object) -> str:
    """Return a CRS whose datum leads to WGS84 by a file, as PROJJSON."""
    bound = CRS(f"{_BESSEL} +nadgrids=grid.gsb +type=crs").to_json_dict()
    assert bound["transformation"]["parameters"][0]["value"] == "grid.gsb"
    bound["transformation"]["parameters"][0]["value"] = value
    bound["source_crs"]["datum"]["name"] = "x"  # PROJ names it by its grid
    return json.dumps(bound)


NAMES = {
    "init": lambda file: f"+init={file}:1",
    "init after others": lambda file: f"+proj=utm +zone=32 init={file}:1",
    "grid": lambda file: f"{_BESSEL} +nadgrids={file}",
    "after @null": lambda file: f"{_BESSEL} +nadgrids=@null,{file}",
    "after null": lambda file: f"{_BESSEL} +nadgrids=null,{file}",
    "after a space": lambda file: f"{_BESSEL} +nadgrids=@null ,{file}",
    "after a plus": lambda file: f"{_BESSEL} +nadgrids=@null +,{file}",
    "after a quote": lambda file: f'{_BESSEL} +nadgrids=@null"],{file}',
    "within quotes": lambda file: f'{_BESSEL} +nadgrids="@null,{file}"',
    "plus before =": lambda file: f"{_BESSEL} +nadgrids +={file}",
    "semicolon before =": lambda file: f"{_BESSEL} +nadgrids;={file}",
    "extension": lambda file: _EXTENDED.replace("@null", f"@null,{file}"),
    "plus in an extension": lambda file: _EXTENDED.replace("@null", f"@null+x,{file}"),
    "wide space in an extension": lambda file: _EXTENDED.replace("@null", f"@null\u00a0x,{file}"),
    "quotes of an extension": lambda file: _EXTENDED.replace("@null", f'@null"",{file}'),
    "file": lambda file: f"+proj=tinshift +file={file} +type=crs",
    "method": lambda file: _method(f"PROJ defmodel model={file}"),
    "semicolon in a method": lambda file: _method(f"PROJ tinshift file;={file}"),
    "PROJJSON": lambda file: _bound(str(file)),
    "null grid of a datum": lambda file: f'{_BESSEL} DATUM["x using nadgrids=@null",{file}',
    "null grid within quotes": lambda file: _EXTENDED.replace(
        '"PROJ4","+proj=merc +ellps=bessel +nadgrids=@null"',
        f'"PROJ4",\u201c+proj=merc +ellps=bessel DATUM["x using nadgrids=@null",{file}\u201d',
    ),
    "escaped PROJJSON": lambda file: CRS(_method(f"PROJ defmodel model={file}")).to_json().replace("=", r"\u003d"),
    "parameters as JSON": lambda file: json.dumps({"proj": "longlat", "ellps": "bessel", "nadgrids": f"@null,{file}"}),
    "init as JSON": lambda file: json.dumps({"init": f"{file}:1"}),
}


@pytest.mark.parametrize("kind", NAMES)
def test_crs_that_names_a_file_is_refused(kind: str) -> None:
    crs = NAMES[kind](Path("/elsewhere/file"))
    with pytest.raises(UsageError, match="refers to another file, or could: give a code, such as EPSG:32632"):
        parse_crs(crs)
    assert not is_usable(crs)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads")
@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", NAMES)
def test_named_file_is_opened_by_proj_alone(tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"x" * 400)
    crs = NAMES[kind](canary)
    with watch_folder(tmp_path) as watched:
        assert not is_usable(crs)
        with pytest.raises(RegionError, match="refers to another file"):
            to_wgs84(Path("a.parquet"), np.array([shapely.Point(1, 2)]), crs)
        assert watched.touched() == []
    with watch_folder(tmp_path) as watched:
        with suppress(RuntimeError):  # the file is none that PROJ knows
            Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(1, 50)
        assert watched.touched() != []


@pytest.mark.parametrize(
    "text",
    ['{"type": "GeographicCRS", "type": "BoundCRS"}', "{", '{"a":' * 100_000, _bound("grid.gsb")],
    ids=["twins", "damaged", "deep", "relative"],
)
def test_json_that_readers_may_take_otherwise_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="refers to another file, or could"):
        parse_crs(text)


@pytest.mark.parametrize(
    "crs",
    [
        _WEB,  # it has +nadgrids=@null
        _EXTENDED,
        f"{_BESSEL} +nadgrids=@null",
        *(CRS("+proj=sinu +R=6371007.181 +nadgrids=@null").to_wkt(version) for version in ("WKT1_GDAL", "WKT2_2019")),
        CRS("+proj=laea +lat_0=10 +ellps=GRS80 +nadgrids=@null").to_wkt("WKT1_GDAL"),
        f"{_BESSEL} +nadgrids=null +no_defs",
        "+init=epsg:4326",
        "+init=IGNF:LAMB93",
        "+init=IGNF:WGS84G.IGN78C",
        "http://opengis.net/def/crs/EPSG/0/4326",
        "http://www.opengis.net/def/crs/EPSG/0/4326",
        CRS("IAU_2015:49900").to_json(),  # its remark has an address
        CRS("EPSG:32632").to_json(pretty=True),
        CRS("EPSG:32632").to_wkt()[:-1] + ',REMARK["https://epsg.org/"]]',
        CRS("EPSG:32632").to_wkt().replace("WGS 84 / UTM zone 32N", "Local grid (file=2020)"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
def test_crs_that_names_no_file_is_parsed(crs: str) -> None:
    assert parse_crs(crs).equals(CRS.from_user_input(crs))


def test_regions_of_a_crs_without_a_place_are_refused() -> None:
    with pytest.raises(RegionError, match=r"a\.parquet: its coordinate reference system has no place on Earth"):
        to_wgs84(Path("a.parquet"), np.array([shapely.Point(1, 2)]), _LOCAL)
    assert not is_usable(_LOCAL)


@pytest.mark.parametrize("code", ["SR-ORG:6627", "sr-org:6627"])
def test_googles_mercator_has_a_code(code: str) -> None:
    # developers.google.com/earth-engine/apidocs/export-video-todrive
    assert parse_crs(code) == CRS("EPSG:3857")


@pytest.mark.parametrize(
    ("name", "own", "is_known"),
    [
        ("EPSG::4267", WGS84, False), ("urn:ogc:def:crs:EPSG::999999", WGS84, False), ("unnamed", WGS84, False),
        ("British National Grid", WGS84, False), ("urn:ogc:def:crs:EPSG::4267", "EPSG:4267", True),
        ("EPSG:4326", WGS84, True), ("urn:ogc:def:crs:OGC:1.3:CRS84", WGS84, True), ("CRS84", WGS84, True),
        ("WGS 84", WGS84, True), (None, WGS84, True),
    ],
)  # fmt: skip
def test_a_named_system_that_gdal_takes_for_wgs84_is_told(
    name: str | None, own: str, is_known: bool, tmp_path: Path, caplog: CapturedLog
) -> None:
    """Degrees of NAD27 were read as those of WGS84, tens of metres away, without a warning."""
    path = tmp_path / "a.geojson"
    member = {} if name is None else {"crs": {"type": "name", "properties": {"name": name}}}
    point = {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [-105, 40]}}
    path.write_text(json.dumps({"type": "FeatureCollection", **member, "features": [point]}))
    assert pyogrio.read_info(path)["crs"] == own
    assert choose_crs(path, own, None) == own
    assert ("that GDAL does not know" in caplog.text) is not is_known
