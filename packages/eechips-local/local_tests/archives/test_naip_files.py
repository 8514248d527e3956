"""Files of NAIP whose bands have another order, or are called what they are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from eechips_local.archives.archive_opening import open_archive
from eechips_local.archives.named_archive import find_archive
from eechips_local.evaluation.asset_model import ImageAsset, PixelWindow
from local_tests.archives.sample_items import write_cog

QUAD = "m_3710263_sw_13_060_20210729"
COLOURS = np.random.default_rng(3).integers(0, 4, (4, 64, 64)).astype("uint8")


def open_image(folder: Path, values: npt.NDArray[Any], quad: str = QUAD, **declared: Any) -> ImageAsset:
    """Write a file and its item, and return the image."""
    grid = write_cog(folder / "a.tif", values, Affine(0.6, 0, 600_000, 0, -0.6, 4_100_000))
    item = {
        "type": "Feature", "stac_version": "1.1.0", "id": f"co_{quad}", "collection": "naip", "geometry": None,
        "bbox": [-103.0, 37.0, -102.0, 38.0], "links": [], "assets": {"image": {"href": "a.tif", **declared, **grid}},
        "properties": {"datetime": "2021-07-29T16:00:00Z", "proj:code": "EPSG:32632"},
    }  # fmt: skip
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    text = 'like = "planetary-computer"\nfile = "items.json"\nhosts = []\nsigning = "none"\n'
    (folder / "mine.toml").write_text(text)
    image = open_archive(find_archive(str(folder / "mine.toml"))).get(f"USDA/NAIP/DOQQ/{quad}")
    assert isinstance(image, ImageAsset)
    return image


def read(image: ImageAsset) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]]:
    """Return numbers and validity of all bands."""
    window = PixelWindow(0, 0, 64, 64)
    parts = {band.name: band.source.read([band.index], window, 0) for band in image.bands}
    return {name: (values[0], valid[0]) for name, (values, valid) in parts.items()}


def test_near_infrared_that_a_file_calls_alpha_masks_no_band(tmp_path: Path) -> None:
    """Files of California and Wisconsin of 2020 (stactools-packages/naip, tests/data-files) call it so."""
    bands = read(open_image(tmp_path, COLOURS))
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.colorinterp[3] is ColorInterp.alpha
        assert not file.dataset_mask().all()
    for name, expected in zip("RGBN", COLOURS, strict=True):
        values, valid = bands[name]
        np.testing.assert_array_equal(values, expected)
        assert valid.all()


@pytest.mark.parametrize("key", ["eo:bands", "bands"])
@pytest.mark.parametrize("order", ["NRGB", "NRG", "BGRN", "RGB"])
def test_bands_are_found_by_the_common_names_that_items_declare(order: str, key: str, tmp_path: Path) -> None:
    common = {"R": "red", "G": "green", "B": "blue", "N": "nir"}
    prefix = "eo:" if key == "bands" else ""
    declared = [{"name": f"b{number}", f"{prefix}common_name": common[name]} for number, name in enumerate(order)]
    bands = read(open_image(tmp_path, COLOURS[: len(order)], **{key: declared}))
    assert set(bands) == set(order)
    for name, (values, _) in bands.items():
        np.testing.assert_array_equal(values, COLOURS[order.index(name)])


@pytest.mark.parametrize(("film", "order"), [("m", "RGBN"), ("n", "RGB"), ("c", "NRG")])
def test_bands_of_a_file_without_declared_ones_are_those_that_its_name_and_header_tell(
    film: str, order: str, tmp_path: Path
) -> None:
    """Earth Engine's catalogue: ids of RGB images begin with n_, of NRG ones with c_, of RGBN ones with m_."""
    bands = read(open_image(tmp_path, COLOURS[: len(order)], film + QUAD[1:]))
    assert "".join(bands) == "".join(name for name in "RGBN" if name in order)
    for name, (values, valid) in bands.items():
        np.testing.assert_array_equal(values, COLOURS[order.index(name)])
        assert valid.all()
