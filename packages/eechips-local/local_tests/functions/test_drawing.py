"""Features drawn in colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine

from eechips_local.functions.vectors.collection_drawing import MARKERS
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import evaluate, read

GRID = PixelGrid("EPSG:4326", Affine(0.1, 0, 0, 0, -0.1, 10), 100, 100)
POINT = invoke("GeometryConstructors.Point", coordinates=[5.05, 4.95])
BOX = invoke("GeometryConstructors.BBox", west=2, south=2, east=8, north=8)
LINE = invoke("GeometryConstructors.LineString", coordinates=[[1, 5], [9, 5]], geodesic=False)


def features(*geometries: Ready, **properties: Any) -> Ready:
    return invoke("Collection", features=[invoke("Feature", geometry=g, metadata=properties) for g in geometries])


def drawn(call: Ready) -> tuple[np.ndarray, np.ndarray]:
    """Colours of shape (height, width, 3), and opacity."""
    image = evaluate(call)
    assert [band.name for band in image.bands] == ["vis-red", "vis-green", "vis-blue"]
    pixels = read(image, GRID)
    return np.dstack([p.values for p in pixels]), pixels[0].mask.astype(float)


def test_polygons_are_translucent_with_solid_outlines() -> None:
    color, opacity = drawn(invoke("Collection.draw", collection=features(BOX), color="800080"))
    assert color[50, 50].tolist() == [128, 0, 128]
    assert opacity[50, 50] == pytest.approx(0.66)
    assert opacity[50, 20] == 1
    assert opacity[50, 17] == 0
    assert opacity[5, 5] == 0


def test_styles() -> None:
    style = invoke(
        "Collection.style", collection=features(BOX), color="1e90ff", fillColor="ff475788", width=4,
    )  # fmt: skip
    color, opacity = drawn(style)
    assert color[50, 50].tolist() == [255, 0x47, 0x57]
    assert opacity[50, 50] == pytest.approx(0x88 / 255)
    assert color[50, 20].tolist() == [0x1E, 0x90, 0xFF]
    assert (opacity[50, 15:25] == [0, 0, 0, 1, 1, 1, 1, *[0x88 / 255] * 3]).all()


def test_features_override_the_style() -> None:
    own = features(POINT, style={"color": "red", "pointSize": 9, "pointShape": "square", "width": 0})
    color, opacity = drawn(
        invoke("Collection.style", collection=own, styleProperty="style", neighborhood=12, fillColor="00ff00")
    )
    assert color[50, 50].tolist() == [0, 255, 0]
    assert (opacity > 0).sum() in range(17**2, 20**2)


@pytest.mark.parametrize("shape", [*sorted(MARKERS), "CIRCLE"])
def test_every_marker_covers_its_place(shape: str) -> None:
    _, opacity = drawn(invoke("Collection.style", collection=features(POINT), pointSize=10, pointShape=shape))
    assert opacity[50, 50] > 0
    rows, columns = np.nonzero(opacity)
    assert rows.min() >= 38
    assert rows.max() <= 62
    assert columns.min() >= 38
    assert columns.max() <= 62


def test_lines_are_cut_into_dashes() -> None:
    counts = [
        (drawn(invoke("Collection.style", collection=features(LINE), lineType=kind, width=2))[1] > 0).sum()
        for kind in ("solid", "dashed", "dotted")
    ]
    assert counts[0] > counts[1] > counts[2] > 0


def test_the_last_feature_is_on_top() -> None:
    two = invoke(
        "Collection",
        features=[invoke("Feature", geometry=BOX, metadata={"s": {"fillColor": c}}) for c in ("ff0000", "0000ff")],
    )
    color, _ = drawn(invoke("Collection.style", collection=two, styleProperty="s"))
    assert color[50, 50].tolist() == [0, 0, 255]


def test_tiles_join() -> None:
    image = evaluate(invoke("Collection.style", collection=features(POINT, BOX, LINE), pointSize=8))
    whole = read(image, GRID)[0].mask
    left, right = (read(image, GRID.window(c, 0, 50, 100))[0].mask for c in (0, 50))
    assert np.array_equal(np.hstack([left, right]), whole)


@pytest.mark.parametrize(
    "options",
    [
        {"color": "no color"}, {"pointShape": "heart"}, {"lineType": "wavy"}, {"lineType": 5}, {"pointSize": -1},
        {"width": -2}, {"fillColor": "12"}, {"neighborhood": 10**6},
    ],
)  # fmt: skip
def test_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        evaluate(invoke("Collection.style", collection=features(BOX), **options))


def test_colours_at_random_are_the_same_for_the_same_value() -> None:
    squares = invoke("Image.floor", value=invoke("Image.divide", image1=invoke("Image.pixelLonLat"), image2=3))
    image = evaluate(invoke("Image.randomVisualizer", image=squares))
    assert [band.name for band in image.bands] == ["viz-red", "viz-green", "viz-blue", "longitude", "latitude"]
    red, green, blue, longitude, _ = (p.values for p in read(image, GRID))
    found = {
        value: {tuple(c) for c in np.dstack([red, green, blue])[longitude == value].tolist()}
        for value in np.unique(longitude)
    }
    assert all(len(colors) == 1 for colors in found.values())
    assert len({next(iter(colors)) for colors in found.values()}) == 4
