"""The recipes in ``recipes/`` run unchanged, and their results equal those of the corresponding commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image

import eechips
from eechips.errors import RecipeError, UsageError
from eechips.geo.crs import project
from local_tests.support.local_earth_engine import Server

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def run(server: Server, out: Path, name: str, **parameters: object) -> eechips.Run:
    return eechips.run(
        RECIPES / name, parameters, endpoint=server.url, rate=None, executor="threads", quiet=True, out=out
    )


def test_every_recipe_is_run_here() -> None:
    assert sorted(path.name for path in RECIPES.glob("*.py")) == [
        "aligned_samples.py",
        "burn_severity.py",  # this and three others in test_training_layouts.py
        "cog_ndvi.py",  # in tests/archive/windows/test_results.py
        "crop_types.py",  # in test_crop_types.py
        "embedding_cogs.py",  # in tests/archive/windows/test_chip_windows.py
        "field_embeddings.py",  # in test_field_embeddings.py
        "flood_pairs.py",
        "modis_lst.py",
        "naip_chips.py",
        "ndvi_mosaic.py",
        "plot_elevation.py",
        "rslearn_windows.py",  # this and the next in test_training_loaders.py
        "s2_composites.py",
        "sentinel2_evi.py",
        "ssl4eo_folders.py",
        "stacked_frames.py",
        "taco_dataset.py",
        "train_classifier.py",  # in test_train.py
    ]


@pytest.mark.slow
def test_naip_chips_equals_sample(demo_server: Server, tmp_path: Path) -> None:
    """The same points and the same pictures as ``eechips sample``."""
    made = run(demo_server, tmp_path / "recipe", "naip_chips.py", per_ecoregion=1)
    assert made.is_complete
    units = made.units["unit"].tolist()
    assert len({unit["eco_id"] for unit in units}) == len(units) >= 2
    for file in made.units["file"]:
        with Image.open(made.path / file) as image:
            assert image.size == (256, 256)
    assert [dataset["id"] for dataset in made.info["datasets"]] == ["USDA/NAIP/DOQQ", "RESOLVE/ECOREGIONS/2017"]
    verb = eechips.sample(
        "NAIP",
        per_ecoregion=1,
        endpoint=demo_server.url,
        rate=None,
        executor="threads",
        quiet=True,
        out=tmp_path / "verb",
    )
    # The command also plans where the pixels lie, names the latest image, and says which bands images must have.
    further = {"grid", "latest", "date", "where"}
    assert [{k: v for k, v in unit.items() if k not in further} for unit in verb.units["unit"]] == units
    first, second = (run.path / run.units["file"].iloc[0] for run in (made, verb))
    with Image.open(first) as left, Image.open(second) as right:
        assert left.tobytes() == right.tobytes()


@pytest.mark.exhaustive
def test_aligned_samples_equals_sample(demo_server: Server, tmp_path: Path) -> None:
    """As many of every class as ``eechips sample`` makes, at the same places; the label in the middle is the class."""
    box = {"west": -105.25, "south": 39.95, "east": -105.2, "north": 40.0}
    made = run(demo_server, tmp_path / "recipe", "aligned_samples.py", per_class=2, size=16, **box)
    assert made.is_complete
    for position, unit in made.units["unit"].items():
        files = made.layers.loc[position, "file"]
        assert list(files.index) == ["image", "elevation", "mask"]
        grids = set()
        for name in files:
            with rasterio.open(made.path / name) as chip:
                grids.add((chip.transform, chip.crs, chip.shape))
        assert len(grids) == 1
        with rasterio.open(made.path / files["mask"]) as chip:
            ((value,),) = chip.sample([project(chip.crs.to_string(), [unit["coordinates"]])[0]], indexes=1)
        assert value == unit["class"]
    verb = eechips.sample(
        ["S2", "SRTM", "WORLDCOVER"], per_class="2:WORLDCOVER", roi=",".join(map(str, box.values())),
        start="2021-06-01", end="2021-09-01", size=16, endpoint=demo_server.url, rate=None, executor="threads",
        quiet=True, out=tmp_path / "verb",
    )  # fmt: skip
    assert [u["coordinates"] for u in verb.units["unit"]] == [u["coordinates"] for u in made.units["unit"]]


@pytest.mark.slow
def test_modis_lst_equals_timeseries(demo_server: Server, tmp_path: Path) -> None:
    """The same tables as ``eechips timeseries``, but for the share of valid pixels."""
    box = {"west": -79.0, "south": 42.0, "east": -78.6, "north": 42.3}
    dates = {"start": "2020-06-01", "end": "2020-08-01"}
    made = run(demo_server, tmp_path / "recipe", "modis_lst.py", **box, **dates)
    assert made.is_complete
    verb = eechips.timeseries(
        "MODIS_LST", regions="FAO/GAUL_SIMPLIFIED_500m/2015/level2", columns="id=ADM2_CODE", reducer="max",
        bbox="-79,42,-78.6,42.3", multiply=0.02, add=-273.15, endpoint=demo_server.url, rate=None, executor="threads",
        quiet=True, out=tmp_path / "verb", **dates,
    )  # fmt: skip
    assert len(made.units) == len(verb.units) >= 1
    for _, unit in verb.units.iterrows():
        table = pd.read_csv(tmp_path / "recipe" / f"{unit['unit']['region']}.csv")
        series = pd.read_csv(verb.path / unit["file"]).drop(columns="valid_fraction")
        pd.testing.assert_frame_equal(table, series)


@pytest.mark.slow
def test_ndvi_mosaic_is_the_index_of_mosaic(demo_server: Server, tmp_path: Path) -> None:
    """The index of what ``eechips mosaic`` makes of the bands."""
    box = {"west": -105.04, "south": 39.98, "east": -105.0, "north": 40.0}
    made = run(demo_server, tmp_path / "recipe", "ndvi_mosaic.py", **box)
    assert made.is_complete
    assert [path.name for path in made.assembled] == ["ndvi.tif"]
    verb = eechips.mosaic(
        "NAIP", roi=",".join(map(str, box.values())), crs="utm", scale=10.0, bands="R,N", start="2019-01-01",
        end="2022-01-01", endpoint=demo_server.url, rate=None, executor="threads", quiet=True, out=tmp_path / "verb",
    )  # fmt: skip
    with rasterio.open(made.assembled[0]) as index, rasterio.open(verb.assembled[0]) as bands:
        red, infrared = bands.read().astype("float64")
        assert index.transform == bands.transform
        assert index.shape == bands.shape
        assert index.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        expected = (infrared - red) / np.maximum(infrared + red, 1e-9)
        valid = (infrared + red > 0) & (index.dataset_mask() != 0)
        assert valid.mean() > 0.9
        np.testing.assert_allclose(index.read(1)[valid], expected[valid], rtol=1e-6)


@pytest.mark.slow
def test_s2_composites_equals_composites(demo_server: Server, tmp_path: Path) -> None:
    """The same pixels as ``eechips composites``."""
    months = {"start": "2020-06-01", "end": "2020-08-01"}
    made = run(demo_server, tmp_path / "recipe", "s2_composites.py", **months)
    assert made.units["file"].tolist() == ["months/2020-06-01.tif", "months/2020-07-01.tif"]
    verb = eechips.composites(
        "S2", roi="-105.3,39.9,-105.28,39.92", bands="B4,B3,B2,B8", mask="scl:shadow,cloud,cirrus", crs="utm",
        endpoint=demo_server.url, rate=None, executor="threads", quiet=True, out=tmp_path / "verb", **months,
    )  # fmt: skip
    assert verb.units["sha256"].tolist() == made.units["sha256"].tolist()


@pytest.mark.slow
def test_plot_elevation_equals_points(demo_server: Server, tmp_path: Path) -> None:
    """The same elevations as ``eechips points``, and a slope that is one."""
    plots = tmp_path / "plots.csv"
    plots.write_text((RECIPES / "plots.csv").read_text() + "009,none,,0.5,0.5\n")
    made = run(demo_server, tmp_path / "recipe", "plot_elevation.py", plots=str(plots))
    table = pd.read_csv(made.assembled[0])
    verb = eechips.points("SRTM", plots, endpoint=demo_server.url, rate=None, quiet=True, out=tmp_path / "verb")
    np.testing.assert_array_equal(table["elevation"], pd.read_parquet(verb.assembled[0])["elevation"])
    assert table["slope"].dropna().between(0, 90).all()
    assert len(table) == 9


@pytest.mark.slow
def test_the_error_of_a_recipe_is_reported(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "bad.py"
    script.write_text("def get_requests():\n    return 1 / 0\n\ndef get_result(index, unit):\n    return None\n")
    with pytest.raises(RecipeError, match="ZeroDivisionError"):
        eechips.run(script, endpoint=demo_server.url, rate=None, executor="threads", quiet=True, out=tmp_path / "out")


def test_an_unknown_option_is_refused_with_the_one_that_was_meant(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no option 'in_fligt'; did you mean 'in_flight'"):
        eechips.run(RECIPES / "modis_lst.py", in_fligt=2, out=tmp_path)
    with pytest.raises(UsageError, match="there is no option 'per_ecoregions'; did you mean 'per_ecoregion'"):
        eechips.sample("NAIP", per_ecoregions=2, out=tmp_path)
