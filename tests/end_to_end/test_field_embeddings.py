"""The recipe that tells the crops of fields from embeddings: fields, vectors, blocks, and the regression."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

from local_tests.support.local_earth_engine import Server
from tests.support.coded_store import write_geotiff
from tests.support.embedding_images import BANDS

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "field_embeddings.py"


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return runpy.run_path(str(RECIPE))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_crops_are_told_in_blocks_that_were_not_seen(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo planet's vectors know the crop, so that nearly all fields are right; the commonest crop is rare."""
    options = [
        "--endpoint",
        demo_server.url,
        "--roi=-98.06,37.97,-97.98,38.03",
        "--fields",
        "60",
        "--block",
        "1500",
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", [str(RECIPE), *options])
    runpy.run_path(str(RECIPE), run_name="__main__")
    printed = capsys.readouterr().out

    fields = pd.read_parquet(tmp_path / "fields.parquet")
    train, test = (fields[fields["split"] == name] for name in ("train", "test"))
    assert not set(train["block"]) & set(test["block"])
    assert len(train) >= 20
    assert len(test) >= 10
    assert fields["crop"].nunique() >= 4
    np.testing.assert_allclose(np.linalg.norm(fields[list(BANDS)], axis=1), 1.0, rtol=0, atol=1e-12)

    accuracy = (test["predicted"] == test["crop"]).mean()
    commonest = (test["crop"] == train["crop"].mode()[0]).mean()
    (said,) = re.findall(r"accuracy +([\d.]+)", printed)
    (beside,) = re.findall(r"always .+? +([\d.]+)", printed)
    assert (float(said), float(beside)) == (round(accuracy, 3), round(commonest, 3))
    assert accuracy > 0.8
    assert commonest < 0.6


def write_map(path: Path) -> Path:
    """A map with two large fields side by side, a meadow, and a field that is too small."""
    codes = np.full((60, 60), 176, np.uint8)
    codes[5:30, 5:30], codes[5:30, 30:55], codes[40:45, 5:10] = 1, 24, 5
    write_geotiff(path, "EPSG:32614", rasterio.Affine(30.0, 0.0, 6e5, 0.0, -30.0, 42e5), codes[None], dtype="uint8")
    return path


def test_fields_are_crops_without_their_edges(recipe: dict[str, Any], tmp_path: Path) -> None:
    fields = recipe["find_fields"](write_map(tmp_path / "crops.tif"), most=10, seed=0)
    assert sorted(fields["crop"]) == ["Corn", "Winter Wheat"]
    corn = fields[fields["crop"] == "Corn"].to_crs(32614).geometry.iloc[0]
    assert corn.symmetric_difference(shapely.box(600180, 4199130, 600870, 4199820)).area < 1.0
    assert len(recipe["find_fields"](tmp_path / "crops.tif", most=1, seed=0)) == 1


def test_a_third_of_the_blocks_is_for_the_test(recipe: dict[str, Any]) -> None:
    random = np.random.default_rng(2)
    places = shapely.points(random.uniform(-98, -97.8, 200), random.uniform(38, 38.2, 200))
    frame = gpd.GeoDataFrame({"crop": "Corn"}, index=range(200), geometry=shapely.buffer(places, 0.001), crs=4326)
    found = recipe["split"](frame, 5000.0, 0)
    assert (found.groupby("block")["split"].nunique() == 1).all()
    blocks = found.drop_duplicates("block")["split"]
    assert (blocks == "test").sum() == len(blocks) // 3
    assert not recipe["split"](frame, 5000.0, 1)["split"].equals(found["split"])


def gaussian(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of length 1 around a direction for each class, which overlap."""
    random = np.random.default_rng(7)
    targets = random.integers(0, classes, 150)
    vectors = random.normal(size=(classes, 8))[targets] + random.normal(size=(150, 8))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), targets


def test_the_regression_minimises_its_loss(recipe: dict[str, Any]) -> None:
    """At the minimum no slope is left; it is measured by differences of the loss, computed as it is defined."""
    vectors, targets = gaussian(3)
    weights, biases = recipe["fit"](vectors, targets, 3)

    def loss(parameters: np.ndarray) -> float:
        own, constant = parameters[:-1], parameters[-1]
        scores = vectors @ own + constant
        likelihood = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(targets)), targets]
        return float(likelihood.mean() + (own**2).sum() / (2 * 100.0 * len(targets)))

    best = np.vstack([weights, biases])
    for index in np.ndindex(best.shape):
        step = np.zeros_like(best)
        step[index] = 1e-3
        assert abs(loss(best + step) - loss(best - step)) / 2e-3 < 1e-6
        assert loss(best + 30 * step) > loss(best)


@pytest.mark.slow
def test_the_regression_is_that_of_scikit_learn(recipe: dict[str, Any]) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    vectors, targets = gaussian(4)
    weights, biases = recipe["fit"](vectors, targets, 4)
    model = linear_model.LogisticRegression(C=100.0, tol=1e-10, max_iter=10_000).fit(vectors, targets)
    probabilities = recipe["softmax"](vectors @ weights + biases)
    np.testing.assert_allclose(probabilities, model.predict_proba(vectors), rtol=0, atol=1e-5)
