"""Indices, expressions and scaled bands of the demo planet, by numpy on the stored bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio

Array = npt.NDArray[Any]


ROI = "-105.3,39.9,-105.29,39.91"


SUMMER: dict[str, Any] = {"roi": ROI, "start": "2020-06-01", "end": "2020-06-16", "mask": "scl"}


QUIET: dict[str, Any] = {"rate": None, "executor": "threads", "quiet": True}


COMPUTED: dict[str, Any] = {
    "bands": "red,B8", "index": ["NDVI,EVI", "NDMI", "ratio = B8/B4", "low = swir1 < 2000"]
}  # fmt: skip


NAMES = ["red", "B8", "NDVI", "EVI", "NDMI", "ratio", "low"]


STORED = "B4,B8,B2,B11"


def read(path: Path) -> tuple[dict[str, Array], Array]:
    """Return the bands of a GeoTIFF by name, and its mask."""
    with rasterio.open(path) as file:
        return dict(zip(file.descriptions, file.read(), strict=True)), file.read_masks(1) != 0


def computed(stored: dict[str, Array]) -> dict[str, Array]:
    """Return the bands of ``COMPUTED`` by numpy."""
    red, nir, blue, swir = (stored[name].astype(float) for name in STORED.split(","))
    r, n, b, s = (values * 0.0001 for values in (red, nir, blue, swir))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "red": red,
            "B8": nir,
            "NDVI": (n - r) / (n + r),
            "EVI": 2.5 * (n - r) / (n + 6 * r - 7.5 * b + 1),
            "NDMI": (n - s) / (n + s),
            "ratio": nir / red,
            "low": (swir < 2000).astype(float),
        }


def compare(found: Path, stored: Path) -> int:
    """Compare the bands with numpy; return the number of valid pixels."""
    bands, valid = read(found)
    sources, stored_valid = read(stored)
    assert list(bands) == NAMES
    assert {values.dtype for values in bands.values()} == {np.dtype("float32")}
    assert np.array_equal(valid, stored_valid)
    for name, expected in computed(sources).items():
        assert np.allclose(bands[name][valid], expected[valid].astype("f4"), rtol=2e-6, atol=1e-8), name
    return int(valid.sum())
