"""Weights of pixels in a region as Earth Engine counts them, of the parts of pixels that other programs compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource


def counted(parts: Any) -> np.ndarray:
    """Return parts of pixels in 255 steps of 1/256, as sums of the service have them; see ``test_printed_values``."""
    return np.minimum(np.floor(np.asarray(parts, dtype=np.float64) * 256 + 1e-3), 255) / 255


def is_sure(parts: Any) -> bool:
    """Return whether none of the parts is so near to a step that the rounding of 32 bits decides."""
    steps = np.asarray(parts, dtype=np.float64) * 256 + 1e-3
    return bool((np.abs(steps - np.round(steps)) > 1e-4).all())


def moments(values: Any, weights: Any) -> dict[str, float]:
    """Return weighted statistics by their definitions."""
    values, weights = np.asarray(values, dtype=np.float64), np.asarray(weights)
    mean = np.average(values, weights=weights)
    variance = np.average((values - mean) ** 2, weights=weights)
    return {"mean": mean, "sum": (values * weights).sum(), "variance": variance, "stdDev": np.sqrt(variance)}


def zonal_statistics(frame: Any, layers: Any, bounds: Sequence[float]) -> dict[str, np.ndarray]:
    """Return weighted statistics of layers over polygons, by exactextract's coverage and its steps.

    Args:
        frame: polygons in the projection of the layers.
        layers: values, shape (layers, rows, columns); NaN where there are none.
        bounds: left, bottom, right and top of the layers.

    Returns:
        By name, of shape (polygons, layers): "count", the sum of the weights, "mean", "sum" and "stdDev".
    """
    layers = np.asarray(layers, dtype=np.float64)
    numbers = np.arange(layers[0].size, dtype=np.float64).reshape(layers[0].shape)
    source = NumPyRasterSource(numbers, *bounds, srs_wkt=frame.crs.to_wkt())
    covered = exact_extract(source, frame[[frame.geometry.name]].reset_index(drop=True), ["values", "coverage"])
    found: dict[str, list[Any]] = {name: [] for name in ("count", "mean", "sum", "stdDev")}
    for feature in covered:
        chosen = np.asarray(feature["properties"]["values"], dtype=np.int64)
        values = layers.reshape(len(layers), -1)[:, chosen]
        weights = counted(feature["properties"]["coverage"]) * np.isfinite(values)
        count, total = weights.sum(axis=1), (weights * np.nan_to_num(values)).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / count
            variance = (weights * (np.nan_to_num(values) - mean[:, None]) ** 2).sum(axis=1) / count
        for name, each in (("count", count), ("mean", mean), ("sum", total), ("stdDev", np.sqrt(variance))):
            found[name].append(each)
    return {name: np.array(each) for name, each in found.items()}
