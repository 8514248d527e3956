"""Cells of S2 against s2sphere, and the cell that the reference names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

KNOWN = {
    "89c25a3100000000": [
        (-73.994756, 40.707344), (-73.994756, 40.7024), (-73.98888, 40.701566), (-73.98888, 40.706511),
    ],
    "94d0000000000000": [(-50.018765, -22.73591), (-50.018765, -27.780273), (-45.0, -25.926051), (-45.0, -21.141437)],
}  # fmt: skip
"""Longitude and latitude of corners by s2sphere 0.2.5, for where that is not installed."""


def corners(geometry: dict[str, Any]) -> Any:
    """The corners of a polygon, from the one that is first by longitude and latitude."""
    ring = np.array(geometry["coordinates"][0][:-1])
    return np.roll(ring, -int(np.lexsort(np.round(ring, 6).T[::-1])[0]), axis=0)


def expected(token: str) -> Any:
    s2sphere = pytest.importorskip("s2sphere")
    cell = s2sphere.Cell(s2sphere.CellId.from_token(token))
    places = [s2sphere.LatLng.from_point(cell.get_vertex(k)) for k in range(4)]
    return corners({"coordinates": [[*[(p.lng().degrees, p.lat().degrees) for p in places], (0, 0)]]})


@pytest.mark.parametrize("token", KNOWN)
def test_corners_are_known_ones(demo_ee: Any, token: str) -> None:
    found = demo_ee.Geometry.fromS2CellToken(token).getInfo()
    assert np.allclose(corners(found), corners({"coordinates": [[*KNOWN[token], (0, 0)]]}), atol=1e-6)


@pytest.mark.parametrize("token", ["89c25a3100000000", "89c25a3168f00000", "3b10000000000000", "94d0000000000000"])
def test_corners_are_those_of_s2sphere(demo_ee: Any, token: str) -> None:
    shortened = token.rstrip("0")
    geometry = demo_ee.Geometry.fromS2CellToken(token)
    found = geometry.getInfo()
    assert geometry.geodesic().getInfo()
    assert np.allclose(corners(found), expected(shortened), atol=1e-7)
    number = int(token, 16)
    for call in (demo_ee.Geometry.fromS2CellId, demo_ee.Geometry.s2Cell):
        if number < 1 << 63:
            assert call(number).getInfo() == found
        assert call(number - (1 << 64) if number >= 1 << 63 else number).getInfo() == found


@pytest.mark.parametrize("level", [3, 9, 17, 30])
def test_a_cell_of_every_face_and_level(demo_ee: Any, level: int) -> None:
    s2sphere = pytest.importorskip("s2sphere")
    for lat, lon in ((3, 4), (-7, 95), (70, 50), (10, 165), (5, -95), (-66, 40)):
        cell = s2sphere.CellId.from_lat_lng(s2sphere.LatLng.from_degrees(lat, lon)).parent(level)
        found = demo_ee.Geometry.fromS2CellToken(f"{cell.id():016x}").getInfo()
        assert np.allclose(corners(found), expected(cell.to_token()), atol=1e-7)


def test_the_cell_of_the_reference_has_antarctica(demo_ee: Any) -> None:
    """apidocs/ee-geometry-froms2celltoken: "the top level face containing Antarctica is 0xb000000000000000"."""
    ee = demo_ee
    face = ee.Geometry.fromS2CellToken("0xb000000000000000")
    assert face.contains(ee.Geometry.Point(10, -80), 10).getInfo()
    assert not face.contains(ee.Geometry.Point(10, 20), 10).getInfo()
    sphere = ee.Geometry.fromS2CellToken("1000000000000000").area(1000).getInfo() / 5.1006562e14
    assert sphere == pytest.approx(1 / 6, rel=0.01)


def test_what_is_no_cell_is_refused(demo_ee: Any) -> None:
    for token in ("89c25a31", "0xzz00000000000000", ""):
        with pytest.raises(demo_ee.EEException, match="must have 16 hexadecimal digits"):
            demo_ee.Geometry.fromS2CellToken(token).getInfo()
    for token in ("0000000000000000", "f000000000000000", "89c25a3200000000"):
        with pytest.raises(demo_ee.EEException, match="Invalid S2 cell id"):
            demo_ee.Geometry.fromS2CellToken(token).getInfo()
