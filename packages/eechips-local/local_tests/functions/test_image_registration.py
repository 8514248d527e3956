"""Images registered to others: known displacements of the same texture are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine

from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Render
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from local_tests.support.graphs import invoke
from local_tests.support.images import UTM, asset, evaluate, read, stored

_WAVES = np.random.default_rng(5).uniform([0.2, 0.2, 0.0], [1.2, 1.2, 6.0], (12, 3))


def texture(right: float = 0.0, down: float = 0.0) -> np.ndarray:
    """A sum of waves on the pixels of the grid, moved by pixels."""
    rows, columns = np.indices((48, 64)) * 1.0
    x, y = columns - right, rows - down
    layers = [np.sin(a * x + (-1) ** n * b * y + c) for n, (a, b, c) in enumerate(_WAVES)]
    return np.sum(layers, axis=0).astype(np.float32)


def found(name: str, image: np.ndarray, reference: np.ndarray, **options: Any) -> list[Any]:
    options = {"maxOffset": 60.0, "patchWidth": 100.0, **options}
    result = evaluate(
        invoke(name, image=stored("test/image"), referenceImage=stored("test/reference"), **options),
        asset(image, id="test/image"),
        asset(reference, id="test/reference"),
    )
    assert name == "Image.register" or [band.name for band in result.bands] == ["dx", "dy"]
    return read(result, UTM)


def test_displacements_of_parts_of_pixels() -> None:
    # Pixels have 10 m; a step down is one to the south.
    dx, dy = found("Image.displacement", texture(3.3, -1.4), texture())
    inner = (slice(16, 32), slice(16, 48))
    assert dx.valid[inner].all()
    assert dx.values[inner] == pytest.approx(33, abs=3)
    assert dy.values[inner] == pytest.approx(14, abs=3)


def test_a_stiff_solution_leaves_out_what_does_not_match() -> None:
    image = texture(2, 2)
    image[24, 32] = 400
    away = {}
    for stiffness in (0, 10):
        dx, dy = found("Image.displacement", image, texture(), stiffness=stiffness)
        away[stiffness] = np.hypot(dx.values - 20, dy.values + 20)[16:32, 16:48].max()
    assert away[10] < 5
    assert away[0] > 10


def test_registered_images_are_as_the_reference() -> None:
    (pixels,) = found("Image.register", texture(3, -2), texture())
    inner = (slice(16, 32), slice(16, 48))
    assert pixels.valid[inner].all()
    assert pixels.values[inner] == pytest.approx(texture()[inner], abs=0.5)


def test_what_led_to_displaced_pixels_is_not_held() -> None:
    """Cloud scores, displaced by many heights of clouds as nasaharvest/galileo does (s2.py), exceeded the memory."""
    image = stored("test/image")
    for _ in range(10):
        image = invoke("Image.add", image1=image, image2=stored("test/image"))
    metres = [invoke("Image.constant", value=[10 * n, 0]) for n in range(10)]
    moved = [
        invoke("Image.displace", image=image, displacement=invoke("Image.reproject", image=by, crs=UTM.crs, scale=10))
        for by in metres
    ]
    collection = evaluate(invoke("ImageCollection.fromImages", images=moved), asset(texture(), id="test/image"))
    render = Render()
    for result in collection:
        render.read(result.bands, UTM)
    assert render.held < 6 * len(metres) * 48 * 64 * 8  # bands of displacements among them


def test_bands_of_two_pixel_sizes_are_displaced() -> None:
    half = PixelGrid(UTM.crs, UTM.transform @ Affine.scale(0.5), 128, 96)
    fine = np.kron(texture(3, -2), np.ones((2, 2), dtype=np.float32))
    displacement = invoke("Image.constant", value=[30, 20])
    moved = invoke("Image.reproject", image=displacement, crs=UTM.crs, scale=10)
    both = invoke("Image.addBands", dstImg=stored("test/image"), srcImg=stored("test/fine"))
    result = evaluate(
        invoke("Image.displace", image=both, displacement=moved),
        asset(texture(3, -2), id="test/image"),
        asset(fine, half, id="test/fine", names=["fine"]),
    )
    assert [band.projection.nominal_scale for band in result.bands] == pytest.approx([10, 5])
    inner = (slice(8, 40), slice(8, 52))
    coarse, _ = read(result, UTM)
    assert coarse.values[inner] == pytest.approx(texture()[inner], abs=1e-4)
    _, sharp = read(result, half)
    wide = (slice(16, 80), slice(16, 104))
    assert sharp.values[wide] == pytest.approx(np.kron(texture(), np.ones((2, 2)))[wide], abs=1e-4)


def test_masked_surroundings_match_nothing() -> None:
    dx, _ = found("Image.displacement", texture(), texture())
    assert not dx.valid[0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maxOffset": -1}, "must not be negative"),
        ({"patchWidth": 0}, "must be positive"),
        ({"stiffness": 11}, r"within \[0, 10\]"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        found("Image.displacement", texture(), texture(), **options)


def test_bands_must_be_as_many() -> None:
    two = np.stack([texture(), texture()])
    with pytest.raises(InvalidError, match="they have 1 and 2"):
        found("Image.displacement", texture(), two)


def correlated(first: np.ndarray, second: np.ndarray, valid: np.ndarray | None = None, **options: Any) -> list[Any]:
    options = {"maxGap": 2, "windowSize": 5, **options}
    result = evaluate(
        invoke("CrossCorrelation", imageA=stored("test/first"), imageB=stored("test/second"), **options),
        asset(first, id="test/first"),
        asset(second, id="test/second", valid=valid),
    )
    assert [band.name for band in result.bands] == ["deltaX", "deltaY", "distance", "correlationCoeff"]
    return read(result, UTM)


def windows(image: np.ndarray) -> np.ndarray:
    """Five by five pixels around each pixel that has them, flat."""
    return np.lib.stride_tricks.sliding_window_view(image.astype(float), (5, 5)).reshape(44, 60, 25)


@pytest.mark.slow
def test_correlations_of_two_bands_are_those_of_numpy() -> None:
    draw = np.random.default_rng(2)
    first, second = draw.normal(size=(2, 2, 48, 64)).astype(np.float32)
    x, y, distance, coefficient = correlated(first, second)
    assert np.flatnonzero(coefficient.valid.all(axis=1)).size == 0
    assert coefficient.valid.sum() == 40 * 56  # two pixels for the window, two for the gap on each side
    for row, column in draw.integers(4, 44, (20, 2)):
        scores = {
            (right, down): np.mean([
                np.corrcoef(windows(a)[row - 2, column - 2], windows(b)[row + down - 2, column + right - 2])[0, 1]
                for a, b in zip(first, second, strict=True)
            ])
            for right in range(-2, 3) for down in range(-2, 3)
        }  # fmt: skip
        place = max(scores, key=lambda at: scores[at])
        assert (x.values[row, column], y.values[row, column]) == place
        assert coefficient.values[row, column] == pytest.approx(scores[place], abs=1e-5)
        assert distance.values[row, column] == pytest.approx(np.hypot(*place), abs=1e-6)


def test_what_moved_is_correlated_there() -> None:
    x, y, distance, coefficient = correlated(texture(), texture(2, -1))
    inner = (slice(6, 42), slice(6, 58))
    assert (x.values[inner] == 2).all()
    assert (y.values[inner] == -1).all()
    assert distance.values[inner] == pytest.approx(np.sqrt(5))
    assert coefficient.values[inner] == pytest.approx(1, abs=1e-5)


def test_bright_pixels_far_away_do_not_make_dim_ones_flat() -> None:
    dim = np.round(np.random.default_rng(2).normal(300, 0.8, (48, 64))).astype(np.uint16)
    moved = np.roll(dim, (1, 2), (0, 1))
    for image in (dim, moved):
        image[:3, :3] = 65535
    x, y, _, coefficient = correlated(dim, moved)
    inner = (slice(10, 42), slice(10, 58))
    assert (x.values[inner] == 2).all()
    assert (y.values[inner] == 1).all()
    assert coefficient.values[inner] == pytest.approx(1, abs=1e-5)


def test_correlations_where_pixels_are_masked_or_nothing_varies() -> None:
    valid = np.ones((48, 64), dtype=bool)
    valid[24, 32] = False
    *_, strict = correlated(texture(), texture(), valid)
    *_, tolerant = correlated(texture(), texture(), valid, maxMaskedFrac=1 / 25)
    assert not strict.valid[20:29, 28:37].any()
    assert strict.valid[20:29, 27].all()
    assert tolerant.valid[20:29, 28:37].all()
    assert tolerant.values[20:29, 28:37] == pytest.approx(1, abs=1e-5)
    x, _, _, flat = correlated(np.full((48, 64), 0.1, dtype=np.float32), texture())
    assert (flat.values[4:44, 4:60] == 0).all()
    assert (x.values[4:44, 4:60] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maxGap": -1}, "maxGap must not be negative"),
        ({"windowSize": 0}, "windowSize must be positive"),
        ({"maxMaskedFrac": 1.5}, r"maxMaskedFrac must be within \[0, 1\]"),
        ({"maxGap": 64}, "memory"),
    ],
)
def test_correlations_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(EarthEngineError, match=message):
        correlated(texture(), texture(), **options)
