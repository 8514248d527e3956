"""Maps that the real client exports: which tiles there are, and what is in them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import requests

from local_tests.support.export_tasks import Folders, finished
from local_tests.support.stack_store import SHAPE, STACK, TRANSFORM

# The corners of the stored images in degrees, by https://epsg.io/transform (EPSG:32613, central meridian -105).
WEST, EAST = -105.0, -104.9650
NORTH, SOUTH = 39.7491, 39.7311


def tile_of(longitude: float, latitude: float, zoom: int) -> tuple[int, int]:
    """The slippy-map tile of a place: https://wiki.openstreetmap.org/wiki/Slippy_map_tilenames."""
    x = (longitude + 180) / 360 * 2**zoom
    y = (1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2 * 2**zoom
    return int(x), int(y)


def picture(ee: Any, index: int = 0) -> Any:
    return ee.Image(f"{STACK}/image_{index}").select("red").visualize(min=0, max=10_000)


def export(ee: Any, image: Any, name: str, **options: Any) -> dict[str, Any]:
    task = ee.batch.Export.map.toCloudStorage(image, "a-map", "my-bucket", path=name, **options)
    task.start()
    return finished(task)


def tiles(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_tiles_cover_the_image_at_each_zoom(ee: Any, folders: Folders, name: str) -> None:
    status = export(ee, picture(ee), name, fileFormat="png", minZoom=9, maxZoom=14)
    assert (status["state"], status["task_type"]) == ("COMPLETED", "EXPORT_TILES"), status
    expected = set()
    for zoom in range(9, 15):
        (left, top), (right, bottom) = tile_of(WEST + 1e-5, NORTH - 1e-5, zoom), tile_of(EAST, SOUTH, zoom)
        expected |= {f"{zoom}/{x}/{y}" for x in range(left, right + 1) for y in range(top, bottom + 1)}
    assert tiles(folders.buckets / "my-bucket" / name) == expected
    served = ee.data.getMapId({"image": picture(ee), "format": "png"})["tile_fetcher"].url_format
    for tile in sorted(expected):
        zoom, x, y = tile.split("/")
        content = requests.get(served.format(z=zoom, x=x, y=y)).content
        assert content.startswith(b"\x89PNG")
        assert (folders.buckets / "my-bucket" / name / tile).read_bytes() == content


@pytest.mark.slow
def test_opaque_tiles_are_jpeg_and_empty_ones_are_skipped(ee: Any, folders: Folders, name: str) -> None:
    east = TRANSFORM.c + 10 * SHAPE[1] / 2
    half = ee.Geometry.Rectangle([east, TRANSFORM.f - 2000, east + 1500, TRANSFORM.f], "EPSG:32613", False)
    image = picture(ee).updateMask(ee.Image(1).clip(half).mask())
    for skip in (True, False):
        assert export(ee, image, f"{name}/{skip}/", maxZoom=16, minZoom=16, skipEmptyTiles=skip)["state"] == "COMPLETED"
    every, written = (tiles(folders.buckets / "my-bucket" / name / str(skip)) for skip in (False, True))
    assert written < every
    least = tile_of(WEST + (EAST - WEST) / 2, NORTH, 16)[0]
    assert {int(tile.split("/")[1]) for tile in written} == {
        x for x in (int(t.split("/")[1]) for t in every) if x >= least
    }
    heads = {tile: (folders.buckets / "my-bucket" / name / "False" / tile).read_bytes()[:3] for tile in every}
    assert set(heads.values()) == {b"\x89PN", b"\xff\xd8\xff"}
    assert all(heads[tile] == b"\x89PN" for tile in every - written)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "zoom"),
    [
        pytest.param(9.55, 14, marks=pytest.mark.slow),
        pytest.param(10.0, 14, marks=pytest.mark.slow),
        pytest.param(30.0, 12, marks=pytest.mark.slow),
        (1e6, 0),
    ],
)
def test_a_scale_stands_for_a_zoom(ee: Any, folders: Folders, name: str, scale: float, zoom: int) -> None:
    assert export(ee, picture(ee), name, scale=scale)["state"] == "COMPLETED"
    assert {int(tile.split("/")[0]) for tile in tiles(folders.buckets / "my-bucket" / name)} == set(range(zoom + 1))


@pytest.mark.slow
def test_maps_that_cannot_be_made_fail(ee: Any, name: str) -> None:
    for message, image, options in (
        ("Unable to export unbounded image.", ee.Image(1).visualize(), {"maxZoom": 2}),
        ("Exactly one of maxZoom and scale must be specified.", picture(ee), {}),
        ("Invalid zoom levels: 5 to 2.", picture(ee), {"minZoom": 5, "maxZoom": 2}),
        (r"has \d+ tiles; the local Earth Engine exports 1000000 at most", picture(ee), {"maxZoom": 25}),
        ("images have 1 or 3 bands, not 2", ee.Image(f"{STACK}/image_0"), {"maxZoom": 2}),
    ):
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(export(ee, image, name, **options).get("error_message", "none"))
