"""Requests for chips have few function calls, none of which the client sends twice."""

from __future__ import annotations

import json
from typing import Any

import ee
import numpy as np
import numpy.typing as npt
import pytest

from eechips.builtin_recipes.rasters.composites import Composites
from eechips.builtin_recipes.rasters.images import Images
from eechips.builtin_recipes.rasters.mosaic import MosaicRecipe
from eechips.builtin_recipes.rasters.mosaic_tiles import MosaicLayout
from eechips.client.chip_groups import stack_chips
from eechips.client.chip_parameters import rendered, with_mask_band
from eechips.datasets import find_dataset
from eechips.geo.grid import Grid
from eechips.planning.imagery.band_selection import select_bands
from eechips.planning.imagery.expressions import LayerImages, chip_image, period_image, single_image
from eechips.planning.imagery.image_masking import parse_mask
from eechips.recipe import Chip

GRID, PLACE = Grid("EPSG:32613", (10.0, 0.0, 5e5, 0.0, -10.0, 4.4e6), 64, 64), (-105.0, 39.7)
SOURCE = "COPERNICUS/S2_SR_HARMONIZED/20200501T173911_20200501T174513_T13TDE"


def layer(dataset: str, bands: tuple[str, ...], mask: str | None = None, **computed: Any) -> LayerImages:
    record = find_dataset(dataset)
    assert record is not None
    selection = select_bands(dataset, record, bands, **computed)
    return LayerImages(record.id, record.kind, "2020-01-01", "2021-01-01", selection, parse_mask(mask, record.id))


def month(images: LayerImages) -> Chip:
    template = period_image(images, GRID, PLACE, "median", "2020-05-01", "2020-06-01")
    return Chip(template, grid=GRID, bands=images.bands, format="tif", dtype="float32")


def chips() -> dict[str, Chip]:
    """One chip of each kind of request."""
    naip, srtm, s2 = layer("NAIP", ("R", "G", "B")), layer("SRTM", ("elevation",)), layer("S2", ("B4", "B3", "B2"))
    masked, index = layer("S2", ("B4",), "scl"), layer("S2", (), indices=("NDVI",))
    ours: dict[str, Any] = {"grid": GRID, "format": "tif"}
    scene = {"image": "s0", "grid": GRID.to_json()}
    options: dict[str, Any] = {"dataset": "S2", "roi": "-105,39,-104,40", "bands": "B4"}
    period = {"images": 3, "start": "2020-05-01", "end": "2020-06-01", "sources": (), "times": ()}
    months = Composites(**options, reducer="median", mask="scl", every="month")
    found = months.get_result(0, {**period, "grid": GRID.to_json(), "dtype": "float32"})
    assert isinstance(found, Chip)
    layout = MosaicLayout(GRID, "collection", ("B4",), "uint16")
    tile = {"column": 0, "row": 0, "width": 64, "height": 64, "mosaic": layout.to_json()}
    return {
        "NAIP picture": Chip(
            chip_image(naip, GRID, PLACE, is_thumb=True, has_image=True), grid=GRID, format="png", bands=naip.bands
        ),
        "NAIP picture, perhaps without an image": Chip(
            chip_image(naip, GRID, PLACE, is_thumb=True), grid=GRID, format="png", bands=naip.bands
        ),
        "S2": Chip(chip_image(s2, GRID, PLACE, source=SOURCE), bands=s2.bands, **ours),
        "S2 masked": Chip(chip_image(masked, GRID, PLACE, source=SOURCE), bands=masked.bands, **ours),
        "S2 index": Chip(chip_image(index, GRID, PLACE, source=SOURCE), bands=index.bands, **ours),
        "heights": Chip(chip_image(srtm, GRID, PLACE), bands=srtm.bands, dtype="int16", **ours),
        "frame": Chip(single_image(s2, SOURCE), bands=s2.bands, **ours),
        "month": month(s2),
        "month masked": month(masked),
        "12 months masked": stack_chips([month(masked)] * 12),
        "images": Images(**options).get_result(0, scene),
        "images masked": Images(**options, mask="scl").get_result(0, scene),
        "composites masked": found,
        "mosaic": MosaicRecipe(**options).get_result(0, tile),
    }


CALLS = {
    "NAIP picture": 13,
    "NAIP picture, perhaps without an image": 19,
    "S2": 29,
    "S2 masked": 36,
    "S2 index": 63,
    "heights": 7,
    "frame": 12,
    "month": 30,
    "month masked": 33,
    "12 months masked": 56,
    "images": 10,
    "images masked": 15,
    "composites masked": 25,
    "mosaic": 22,
}
"""Function calls of each kind of request. A change that adds one says why it is needed."""


def nodes(value: Any) -> list[Any]:
    """Return all nodes of an expression that are function calls."""
    if isinstance(value, list):
        return [found for each in value for found in nodes(each)]
    if not isinstance(value, dict):
        return []
    own = [value["functionInvocationValue"]] if "functionInvocationValue" in value else []
    return own + nodes(list(value.values()))


@pytest.mark.slow
@pytest.mark.usefixtures("demo_ee")
def test_each_kind_of_request_has_few_calls() -> None:
    counted = {}
    for name, chip in chips().items():
        image = chip.rendered() if hasattr(chip, "rendered") else rendered(chip)
        expression = ee.serializer.encode(image, for_cloud_api=True)
        values = [json.dumps(value, sort_keys=True) for value in expression["values"].values()]
        assert len(values) == len(set(values)), name
        counted[name] = len(nodes(expression["values"]))
    assert counted == CALLS


GRID_JSON = {
    "dimensions": {"width": 16, "height": 16},
    "affineTransform": {"scaleX": 1 / 16, "translateX": 10, "scaleY": -1 / 16, "translateY": 20},
    "crsCode": "EPSG:4326",
}


def read(image: ee.Image) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = ee.data.computePixels(
        {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": GRID_JSON}
    )
    return found


@pytest.mark.usefixtures("demo_ee")
@pytest.mark.parametrize("count", [1, 2])
def test_the_mask_band_is_that_of_fractional_masks(count: int) -> None:
    """Masks of 0, of tiny fractions, and of 1; of two bands, the smallest counts."""
    place = ee.Image.pixelLonLat()
    share = place.select("longitude").subtract(10).multiply(2).subtract(1).clamp(0, 1).pow(9)
    other = place.select("latitude").subtract(19.5).multiply(3).clamp(0, 1)
    parts = [ee.Image(7).updateMask(share).rename("a"), ee.Image(8).updateMask(other).rename("b")][:count]
    image, names = ee.Image.cat(parts), ("a", "b")[:count]
    found = read(with_mask_band(image, "npy", None, names))["eechips_mask"]
    plain = read(image.mask().reduce(ee.Reducer.min()).gt(0).toUint8().rename("plain"))["plain"]
    np.testing.assert_array_equal(found, plain)
    assert 0 < found.mean() < 1
