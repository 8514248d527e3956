"""Tell the crops of fields from satellite embeddings, with a logistic regression.

    python recipes/field_embeddings.py --roi=-98.1,37.9,-97.9,38.1 --year 2021 --local

Fields are connected pixels of one crop of the Cropland Data Layer, without their edges; in their place, read your own
polygons and labels. Each field has the mean of its embeddings, a vector of length 1. The regression learns the fields
of some square blocks of land, and is tested on the fields of others. Beside the accuracy stands what the commonest
crop alone would get. `fields.parquet` has the vectors, the blocks and the predictions.
Needs GeoPandas: pip install 'eechips[ml]'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from rasterio.features import shapes

import eechips
from eechips.datasets import find_dataset
from eechips.training.splits.split_groups import squares

BANDS = list(find_dataset("EMBEDDINGS").default_bands)
CROPS = find_dataset("CDL").classes  # code → name
IS_CROP = [*range(1, 62), *range(66, 78), *range(204, 255)]
EDGE = 30.0  # metres: pixels of the map that lie on the edge of a field show two fields
LEAST_AREA = 40_000.0  # square metres
INVERSE_PENALTY = 100.0  # C of scikit-learn


def find_fields(path: Path, most: int, seed: int) -> gpd.GeoDataFrame:
    """Return connected pixels of one crop as polygons, at most a number of them at random, in degrees."""
    with rasterio.open(path) as crop_map:
        codes, crs, transform = crop_map.read(1), crop_map.crs, crop_map.transform
    parts = shapes(codes, mask=np.isin(codes, IS_CROP), connectivity=4, transform=transform)
    polygons, found = zip(*((shapely.geometry.shape(outline), int(code)) for outline, code in parts), strict=True)
    fields = gpd.GeoDataFrame({"crop": [CROPS[code] for code in found]}, geometry=list(polygons), crs=crs)
    fields.geometry = fields.buffer(-EDGE)
    fields = fields[(fields.area >= LEAST_AREA) & (fields.geom_type == "Polygon")]
    chosen = np.sort(np.random.default_rng(seed).permutation(len(fields))[:most])
    return fields.iloc[chosen].to_crs(4326).reset_index(drop=True)


def split(fields: gpd.GeoDataFrame, block: float, seed: int) -> gpd.GeoDataFrame:
    """Add the square block of each field, and its split: two thirds of the blocks are for training."""
    middles = shapely.get_coordinates(shapely.centroid(fields.geometry.to_numpy()))
    blocks = np.array(squares(middles, block))
    names = np.unique(blocks)
    tested = np.random.default_rng(seed).permutation(names)[: max(1, len(names) // 3)]
    return fields.assign(block=blocks, split=np.where(np.isin(blocks, tested), "test", "train"))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return probabilities of classes, shape (rows, classes)."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit(vectors: np.ndarray, targets: np.ndarray, classes: int, steps: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Fit a multinomial logistic regression to vectors of length 1; return weights (bands, classes) and biases.

    The loss is that of `sklearn.linear_model.LogisticRegression(C=INVERSE_PENALTY)`, the method is Nesterov's.
    """
    inputs = np.column_stack([vectors, np.ones(len(vectors))])
    wanted = np.eye(classes)[targets]
    penalty = np.append(np.full(vectors.shape[1], 1.0 / (INVERSE_PENALTY * len(vectors))), 0.0)[:, None]
    rate = 1.0 / (0.5 * 2.0 + penalty.max())  # the squared length of an input is 2
    weights = ahead = np.zeros((inputs.shape[1], classes))
    momentum = (1.0 - np.sqrt(rate * penalty.max())) / (1.0 + np.sqrt(rate * penalty.max()))
    for _ in range(steps):
        slope = inputs.T @ (softmax(inputs @ ahead) - wanted) / len(inputs) + penalty * ahead
        before, weights = weights, ahead - rate * slope
        ahead = weights + momentum * (weights - before)
    return weights[:-1], weights[-1]


def tell(fields: pd.DataFrame, classes: list[str], commonest: str) -> None:
    """Print the accuracy in the blocks of the test, and which crop was taken for which."""
    tested = fields[fields["split"] == "test"]
    print(f"test: {len(tested)} fields in {tested['block'].nunique()} blocks that were not seen")
    print(f"  accuracy  {(tested['predicted'] == tested['crop']).mean():.3f}")
    print(f"  always {commonest}  {(tested['crop'] == commonest).mean():.3f}")
    print("rows: crops; columns: what they were taken for")
    counts = pd.crosstab(tested["crop"], tested["predicted"])
    print(counts.reindex(index=classes, columns=classes, fill_value=0).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description="Tell the crops of fields from satellite embeddings.")
    parser.add_argument("--roi", default="-98.1,37.9,-97.9,38.1", help="W,S,E,N in degrees")
    parser.add_argument("--year", type=int, default=2021)
    parser.add_argument("--fields", type=int, default=300, help="maximum number of fields")
    parser.add_argument("--block", type=float, default=3000.0, help="edge of a block in metres")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/fields"))
    parser.add_argument("--local", action="store_true", help="use the demo planet")
    parser.add_argument("--endpoint", help="address of another Earth Engine, such as that of eechips serve")
    given = parser.parse_args()
    dates = {"start": f"{given.year}-01-01", "end": f"{given.year + 1}-01-01"}
    service = {"local": given.local, "endpoint": given.endpoint, "quiet": True}
    crop_map = eechips.mosaic("CDL", roi=given.roi, bands="cropland", out=given.out / "crops", **dates, **service)
    fields = split(find_fields(crop_map.assembled[0], given.fields, given.seed), given.block, given.seed)
    run = eechips.points("EMBEDDINGS", fields, out=given.out / "vectors", **dates, **service)
    vectors = pd.read_parquet(run.assembled[0]).dropna(subset=BANDS)

    learned = vectors[vectors["split"] == "train"]
    classes = sorted(learned["crop"].unique())
    print(f"train: {len(learned)} fields in {learned['block'].nunique()} blocks, {len(classes)} crops")
    targets = learned["crop"].map(classes.index).to_numpy()
    weights, biases = fit(learned[BANDS].to_numpy(), targets, len(classes))
    scores = vectors[BANDS].to_numpy() @ weights + biases
    vectors["predicted"] = np.array(classes)[scores.argmax(axis=1)]
    vectors.to_parquet(given.out / "fields.parquet", index=False)
    tell(vectors, sorted({*classes, *vectors["crop"]}), learned["crop"].mode()[0])


if __name__ == "__main__":
    main()
