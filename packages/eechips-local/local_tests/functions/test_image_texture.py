"""Textures against a co-occurrence matrix that is counted pair by pair, and Haralick's formulas as printed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eechips_local.functions.neighborhoods.image_texture import METRICS
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import UTM, asset, evaluate, read, stored

VALUES = np.random.default_rng(3).integers(0, 6, (48, 64)).astype(np.uint8)
OFFSETS = [(-1, -1), (0, -1), (1, -1), (-1, 0)]


def matrix(row: int, column: int, offset: tuple[int, int], size: int) -> np.ndarray:
    window = VALUES[row - size : row + size + 1, column - size : column + size + 1]
    counts = np.zeros((6, 6))
    for y in range(len(window)):
        for x in range(len(window)):
            x2, y2 = x + offset[0], y + offset[1]
            if 0 <= x2 < len(window) and 0 <= y2 < len(window):
                counts[window[y, x], window[y2, x2]] += 1
                counts[window[y2, x2], window[y, x]] += 1
    return counts / counts.sum()


def entropy(shares: np.ndarray) -> float:
    return -sum(p * math.log(p) for p in shares.ravel() if p > 0)


def expected(p: np.ndarray) -> dict[str, float]:
    i, j = np.indices(p.shape)
    px = p.sum(axis=1)
    sums = np.array([p[i + j == k].sum() for k in range(11)])
    apart = np.array([p[abs(i - j) == k].sum() for k in range(6)])
    mean = (px * np.arange(6)).sum()
    variance = (px * (np.arange(6) - mean) ** 2).sum()
    average = (sums * np.arange(11)).sum()
    hxy1 = -sum(p[a, b] * math.log(px[a] * px[b]) for a in range(6) for b in range(6) if p[a, b] > 0)
    hxy2 = -sum(px[a] * px[b] * math.log(px[a] * px[b]) for a in range(6) for b in range(6) if px[a] * px[b] > 0)
    return {
        "asm": (p**2).sum(),
        "contrast": (p * (i - j) ** 2).sum(),
        "corr": ((p * i * j).sum() - mean**2) / variance,
        "var": (p * (i - mean) ** 2).sum(),
        "idm": (p / (1 + (i - j) ** 2)).sum(),
        "savg": average,
        "svar": (sums * (np.arange(11) - average) ** 2).sum(),
        "sent": entropy(sums),
        "ent": entropy(p),
        "dvar": (apart * (np.arange(6) - (apart * np.arange(6)).sum()) ** 2).sum(),
        "dent": entropy(apart),
        "imcorr1": (entropy(p) - hxy1) / entropy(px),
        "imcorr2": math.sqrt(1 - math.exp(-2 * (hxy2 - entropy(p)))),
        "maxcorr": 0.0,
        "diss": (p * abs(i - j)).sum(),
        "inertia": (p * (i - j) ** 2).sum(),
        "shade": (p * (i + j - 2 * mean) ** 3).sum(),
        "prom": (p * (i + j - 2 * mean) ** 4).sum(),
    }


@pytest.mark.parametrize("size", [1, 3])
def test_averages_of_directions(size: int) -> None:
    image = evaluate(invoke("Image.glcmTexture", image=stored(), size=size), asset(VALUES, names=["N"]))
    assert [band.name for band in image.bands] == [f"N_{metric}" for metric in METRICS]
    found = read(image)
    for row, column in [(10, 10), (20, 33), (40, 50)]:
        wanted = [expected(matrix(row, column, offset, size)) for offset in OFFSETS]
        for name, pixels in zip(METRICS, found, strict=True):
            assert pixels.values[row, column] == pytest.approx(np.mean([w[name] for w in wanted])), name
    # Pixels whose neighbourhood is not known are masked.
    assert not found[0].valid[:size].any()
    assert found[0].valid[size:-size, size:-size].all()


def test_each_direction_of_a_kernel_once() -> None:
    kernel = invoke("Kernel.fixed", width=3, height=3, weights=[[0, 0, 0], [1, 1, 1], [0, 0, 0]], x=-1, y=-1)
    image = evaluate(
        invoke("Image.glcmTexture", image=stored(), size=2, kernel=kernel, average=False), asset(VALUES, names=["N"])
    )
    assert len(image.bands) == 18
    contrast = read(image)[1]
    assert contrast.values[20, 20] == pytest.approx(expected(matrix(20, 20, (-1, 0), 2))["contrast"])


def test_flat_ground_has_no_texture() -> None:
    image = evaluate(invoke("Image.glcmTexture", image=stored()), asset(np.full((48, 64), 7, dtype=np.uint8)))
    found = {band.name[3:]: p.values[5, 5] for band, p in zip(image.bands, read(image, UTM), strict=True)}
    assert (found["asm"], found["ent"], found["contrast"], found["savg"]) == (1, 0, 0, 14)


@pytest.mark.parametrize(
    "call",
    [
        invoke("Image.glcmTexture", image=invoke("Image.multiply", image1=stored(), image2=0.5)),
        invoke("Image.glcmTexture", image=stored(), size=0),
        invoke("Image.glcmTexture", image=stored(), kernel=invoke("Kernel.square", radius=0)),
    ],
)
def test_refused(call: Ready) -> None:
    with pytest.raises(InvalidError):
        evaluate(call, asset(VALUES))
