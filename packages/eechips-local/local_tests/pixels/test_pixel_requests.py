"""Large outputs are computed block by block: the same pixels, in little memory."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.pixels.output.pixel_requests import compute_pixels
from eechips_local.protocol.messages import ServiceRequest
from eechips_local.protocol.request_errors import LimitError
from local_tests.support.graphs import EmptyStore, Graph, Ready, invoke

WIDTH, HEIGHT = 2300, 1100
GRID = {
    "crsCode": "EPSG:32613",
    "dimensions": {"width": WIDTH, "height": HEIGHT},
    "affineTransform": {"scaleX": 10, "scaleY": -10, "translateX": 500_000, "translateY": 4_400_000},
}


def pixels(image: Ready, memory: int = 2 << 30) -> Any:
    expression = Graph().expression(image)
    body = {"expression": expression, "fileFormat": "NPY", "grid": GRID}
    context = Context(EmptyStore(), ServiceLimits(memory=memory))
    return np.load(io.BytesIO(compute_pixels(ServiceRequest(body), context).content))


def coordinates() -> Ready:
    """Columns as "x", rows as "y", counted from the grid's corner, plus a half."""
    transform = [10, 0, 500_000, 0, -10, 4_400_000]
    projection = invoke("Projection", crs="EPSG:32613", transform=transform)
    return invoke("Image.pixelCoordinates", projection=projection)


@pytest.mark.slow
def test_blocks_fit_together() -> None:
    found = pixels(coordinates())
    np.testing.assert_allclose(found["x"], np.broadcast_to(np.arange(WIDTH) + 0.5, (HEIGHT, WIDTH)), atol=1e-6)
    np.testing.assert_allclose(
        found["y"], np.broadcast_to(np.arange(HEIGHT)[:, None] + 0.5, (HEIGHT, WIDTH)), atol=1e-6
    )


@pytest.mark.slow
def test_neighbours_are_found_across_blocks() -> None:
    kernel = invoke("Kernel.square", radius=2, units="pixels")
    column = invoke("Image.select", input=coordinates(), bandSelectors=["x"])
    image = invoke("Image.reduceNeighborhood", image=column, reducer=invoke("Reducer.max"), kernel=kernel)
    found = pixels(image)["x_max"]
    np.testing.assert_allclose(found, np.broadcast_to(np.arange(WIDTH) + 2.5, (HEIGHT, WIDTH)), atol=1e-6)


def test_masks_of_blocks() -> None:
    """Fractions in some blocks, nothing in others."""
    column = invoke("Image.select", input=coordinates(), bandSelectors=["x"])
    half = invoke("Image.constant", value=0.5)
    left = invoke("Image.lt", image1=column, image2=invoke("Image.constant", value=1500))
    image = invoke("Image.updateMask", image=column, mask=invoke("Image.multiply", image1=left, image2=half))
    found = pixels(image)["x"]
    assert (found[:, 1500:] == 0).all()
    np.testing.assert_allclose(found[:, :1500], np.broadcast_to(np.arange(1500) + 0.5, (HEIGHT, 1500)), atol=1e-6)


def test_intermediate_pixels_are_released() -> None:
    image = invoke("Image.select", input=coordinates(), bandSelectors=["x"])
    for _ in range(12):
        image = invoke("Image.add", image1=image, image2=invoke("Image.constant", value=1))
    assert pixels(image, memory=300 << 20)["x"][7, 2000] == pytest.approx(2012.5)
    with pytest.raises(LimitError, match="User memory limit exceeded"):
        pixels(image, memory=20 << 20)
