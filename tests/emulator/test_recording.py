"""Recordings over HTTP with the real client: a service that is recorded, and stopped, and a replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.local_earth_engine import initialize, start_server, stop_server
from tests.support.recording_server import serving_recording
from tests.support.stack_store import STACK, Stack


def compute(ee: Any) -> tuple[Any, Any]:
    """Return a value and pixels."""
    image = ee.Image(f"{STACK}/image_1")
    grid = {
        "dimensions": {"width": 5, "height": 4},
        "affineTransform": {"scaleX": 10, "shearX": 0, "translateX": 500_000, "shearY": 0, "scaleY": -10,
                            "translateY": 4_400_000},
        "crsCode": "EPSG:32613",
    }  # fmt: skip
    pixels = ee.data.computePixels({"expression": image.add(1), "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    return ee.ImageCollection(STACK).size().add(1).getInfo(), pixels


def test_values_and_pixels_are_replayed_without_the_service(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    service = start_server("--assets", str(stack.path), "--no-demo", "--rate", "none", "--concurrency", "none")
    try:
        direct = compute(initialize(service))
        with serving_recording("--record", folder, "--upstream", service.url) as recorder:
            recorded = compute(initialize(recorder))
    finally:
        stop_server(service)
    with serving_recording("--replay", folder) as replay:
        ee = initialize(replay)
        replayed = compute(ee)
        with pytest.raises(ee.EEException, match=r"is not recorded in .* Nearest is value-compute/") as caught:
            ee.ImageCollection(STACK).size().add(2).getInfo()
    assert "it has right 1; this request has right 2. Record it with --record" in str(caught.value)
    assert direct[0] == recorded[0] == replayed[0]
    for pixels in (recorded[1], replayed[1]):
        np.testing.assert_array_equal(pixels, direct[1])
