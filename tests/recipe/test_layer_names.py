"""Names that layers cannot have."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import eechips
from eechips.builtin_recipes.samples.chips import ChipSample
from eechips.errors import RecipeError
from eechips.recipe.results import RESERVED_LAYERS, check_layer_names
from eechips.training.stack import stack
from tests.support.finished_run import layered, npy_of, write_run


@pytest.mark.parametrize("name", [*RESERVED_LAYERS, "", "a/b", ".a", "__key__"])
def test_a_name_that_loaders_have_for_themselves_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"a layer cannot be called '{re.escape(name)}'"):
        check_layer_names({"image", name})


@pytest.mark.parametrize("names", [{"image", "mask"}, {"S2", "image_valid"}, {"labels"}, {"json"}, {"Label"}])
def test_other_names_are_accepted(names: set[str]) -> None:
    check_layer_names(names)


def test_a_layer_cannot_have_the_name_of_a_mask() -> None:
    with pytest.raises(RecipeError, match="'image_valid' beside 'image'"):
        check_layer_names({"image", "image_valid"})


def test_columns_of_parquet_and_axes_of_stacks_are_reserved(tmp_path: Path) -> None:
    run = write_run(tmp_path, layered(3))
    eechips.pack(run, "parquet")
    (file,) = (tmp_path / "packs" / "parquet").glob("*.parquet")
    assert {*pq.read_schema(file).names} - {"S2", "DEM", "cover"} <= {*RESERVED_LAYERS}
    assert {*stack(run, layer="S2").dims} <= {*RESERVED_LAYERS}


def test_a_layer_may_be_called_like_a_field_of_the_units(tmp_path: Path) -> None:
    pixels = npy_of(np.ones((1, 2, 2), dtype=np.uint8), np.ones((2, 2), dtype=bool))
    files = {"image": ("npy", pixels), "mask": ("npy", pixels)}
    run = write_run(tmp_path, [({"kind": "point", "n": n, "properties": {"mask": n}}, files) for n in range(2)])
    found = stack(run)
    assert found["mask"].dims == ("sample", "mask_band", "y", "x")
    if "mask" in eechips.load(run).columns:
        assert found["unit_mask"].values.tolist() == [0, 1]


def test_datasets_whose_last_name_is_reserved_are_called_by_more_of_it() -> None:
    sample = ChipSample(dataset=["projects/p/assets/label", "DEM"], total=1, roi="0,0,1,1")
    assert [layer.name for layer in sample.sample.layers] == ["projects-p-assets-label", "DEM"]
