"""Cubes have the values, coordinates and attributes that Xee 0.1 gives for the same arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray

import eechips
from local_tests.support.stack_store import CRS, STACK

pytest.importorskip("xee")

WINDOW: dict[str, Any] = {
    "crs": CRS,
    "crs_transform": (10, 0, 499_980, 0, -10, 4_400_030),  # beyond the images on two sides
    "shape_2d": (120, 90),
}
DEGREES: dict[str, Any] = {
    "crs": "EPSG:4326",
    "crs_transform": (0.0003, 0, -105.001, 0, -0.0002, 39.748),
    "shape_2d": (70, 80),
}


def compute(ee: Any, kind: str) -> Any:
    images = ee.ImageCollection(STACK)
    if kind == "floats":
        return images.map(
            lambda image: image.normalizedDifference(["nir", "red"]).copyProperties(image, image.propertyNames())
        )
    if kind == "doubles":
        return images.map(lambda image: image.toDouble().divide(3).copyProperties(image, ["system:time_start"]))
    if kind == "masked":
        return images.map(lambda image: image.updateMask(image.select("red").gt(3000)))
    return images if kind == "stored" else ee.Image(f"{STACK}/image_2")


@pytest.mark.slow
@pytest.mark.parametrize("grid", [WINDOW, DEGREES], ids=["utm", "degrees"])
@pytest.mark.parametrize("kind", ["stored", "floats", "doubles", "masked", "image"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_values_are_those_of_xee(stack_ee: Any, kind: str, grid: dict[str, Any]) -> None:
    source = compute(stack_ee, kind)
    theirs = xarray.open_dataset(source, engine="ee", **grid)
    ours = eechips.open_cube(source, **grid)
    xarray.testing.assert_equal(ours.load(), theirs.load())
    assert {name: band.dtype for name, band in ours.items()} == {name: band.dtype for name, band in theirs.items()}
    assert {name: band.dims for name, band in ours.items()} == {name: band.dims for name, band in theirs.items()}
    assert {name: band.attrs for name, band in ours.items()} == {name: band.attrs for name, band in theirs.items()}
    assert ours.attrs == theirs.attrs
    assert any(np.isfinite(band).any() for band in ours.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"n_images": 2, "primary_dim_name": "t"},
        {"primary_dim_name": "cloud", "primary_dim_property": "cloud"},
        {"ee_mask_value": -9999, "drop_variables": ("red",)},
        {"fast_time_slicing": True, "io_chunks": {"index": 3, "width": 50, "height": 40}},
        {"request_byte_limit": 1 << 20, "executor_kwargs": {"max_workers": 2}, "getitem_kwargs": {"max_retries": 1}},
        {"io_chunks": -1},
        {"mask_and_scale": False, "decode_times": False, "decode_coords": False, "concat_characters": False},
    ],
)
def test_arguments_of_xee_mean_the_same(stack_ee: Any, options: dict[str, Any]) -> None:
    source = stack_ee.ImageCollection(STACK)
    theirs = xarray.open_dataset(source, engine="ee", **WINDOW, **options)
    xarray.testing.assert_equal(eechips.open_cube(source, **WINDOW, **options).load(), theirs.load())
