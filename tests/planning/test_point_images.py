"""The latest image at each of many points, of collections with many images."""

from __future__ import annotations

from typing import Any

import pytest

from eechips.errors import RegionError
from eechips.planning.imagery.point_images import buffer_bounds, find_images
from local_tests.support.local_earth_engine import Server

DAY = 86_400_000
MANY, FEW, TIMELESS, NOWHERE = (-105.0, 39.0), (-100.0, 39.0), (-95.0, 39.0), (-90.0, 39.0)
POINTS = [(MANY[0] + n / 100, MANY[1]) for n in range(17)] + [FEW, TIMELESS, NOWHERE]


def collection(ee: Any, count: int) -> Any:
    """Images of ten days each at one place, few and older ones at a second, and one without a time at a third."""

    def image(place: tuple[float, float]) -> Any:
        return ee.Image.constant(1).rename("value").clip(ee.Geometry.Point(place).buffer(50_000).bounds())

    def dated(place: tuple[float, float], start: int) -> Any:
        return lambda n: image(place).set("system:time_start", ee.Number(n).multiply(10).add(start).multiply(DAY))

    images = ee.List.sequence(0, count - 1).map(dated(MANY, 12_000))
    images = images.cat(ee.List.sequence(0, 2).map(dated(FEW, 11_900))).add(image(TIMELESS))
    return ee.ImageCollection(images)


def asked(server: Server) -> int:
    return server.requests().get("value:compute", 0)


@pytest.mark.slow
def test_the_latest_image_is_found_at_the_latest_dates_first(demo_ee: Any, demo_server: Server) -> None:
    images = collection(demo_ee, 110)
    before = asked(demo_server)
    found = list(find_images(images, "value", POINTS))
    # The counts; intervals of 100, 400 … images, for all points and for those without an image; all images.
    assert asked(demo_server) - before == 3
    assert [each and (each[0].index, each[0].time) for each in found] == [
        *([("109", 13_090 * DAY)] * 17), ("112", 11_920 * DAY), ("113", None), None
    ]  # fmt: skip
    bounds = buffer_bounds(POINTS, 500.0, (64, 64), images)
    assert [image for _, image in bounds] == [each and each[0] for each in found]


def test_a_collection_of_few_images_is_looked_through_at_once(demo_ee: Any, demo_server: Server) -> None:
    images = collection(demo_ee, 20)
    before = asked(demo_server)
    found = list(find_images(images, "value", POINTS))
    assert asked(demo_server) - before == 2
    assert [each and each[0].index for each in found] == [*(["19"] * 17), "22", "23", None]
    assert list(find_images(images, "value", POINTS[:16])) == found[:16]
    assert asked(demo_server) - before == 3


@pytest.mark.usefixtures("demo_ee")
@pytest.mark.parametrize("latitude", [90.0, -89.999])
def test_a_pole_within_the_radius_is_an_error(latitude: float) -> None:
    """Its bounds are all longitudes; taken as a box over the antimeridian, they had no width."""
    with pytest.raises(RegionError, match=f"longitude 30, latitude {latitude:g} holds a pole"):
        list(buffer_bounds([(0.0, 0.0), (30.0, latitude)], 500.0, (64, 64)))
