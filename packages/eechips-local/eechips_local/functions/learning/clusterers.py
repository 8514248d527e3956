"""``Clusterer.wekaKMeans``, ``wekaCascadeKMeans``, ``wekaXMeans``, ``wekaLVQ``, ``wekaCobweb``, ``train``, ``schema``,
and ``cluster`` of images and features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eechips_local.algorithms.classification import Clusterer, Floats, Model, Predictor, learner
from eechips_local.algorithms.cluster_centres import XMeansOptions, learned_vectors, nearest_centre, x_means
from eechips_local.algorithms.cobweb import Cobweb
from eechips_local.evaluation.context import Context
from eechips_local.functions.learning.classifier_training import (
    applied_to_features,
    applied_to_image,
    clustering,
    inputs_of,
    part_of,
    table_of,
)
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Collection

_ITERATIONS = 500
_INITIAL = {0: "random", 1: "k-means++"}


def _scaled(samples: Floats) -> Callable[[Floats], Floats]:
    """Return a function that brings inputs to the range from 0 to 1, as Weka's Euclidean distance does."""
    low, width = samples.min(axis=0), np.ptp(samples, axis=0)
    divisor = np.where(width > 0, width, 1.0)

    def scale(values: Floats) -> Floats:
        scaled: Floats = (values - low) / divisor
        return scaled

    return scale


def _fit_means(count: int, init: str, iterations: int, starts: int, seed: int, samples: Floats) -> Any:
    distinct = len(np.unique(samples, axis=0))
    means = learner("cluster").KMeans(
        min(count, distinct), init=init, n_init=starts, max_iter=iterations, random_state=seed % 2**32
    )
    return means.fit(samples)


def _check(count: int, distance: str, iterations: int | None) -> None:
    if count < 1:
        raise InvalidError(f"The number of clusters must be positive; found {count}.")
    if distance != "Euclidean":
        raise InvalidError(
            f"The local Earth Engine clusters by the distanceFunction 'Euclidean', not '{distance[:100]}'."
        )
    if iterations is not None and iterations < 1:
        raise InvalidError(f"The number of iterations must be positive; found {iterations}.")


@function("Clusterer.wekaKMeans")
def weka_k_means(
    nClusters: int, init: int, canopies: bool, maxCandidates: int, periodicPruning: int, minDensity: int, t1: float,
    t2: float, distanceFunction: str, maxIterations: int | None, preserveOrder: bool, fast: bool, seed: int,
) -> Clusterer:  # fmt: skip
    """Return k-means of inputs that are scaled to the range of the training data, as Weka's are.

    https://developers.google.com/earth-engine/apidocs/ee-clusterer-wekakmeans. Options of canopies, order and speed do
    not change what is fitted.
    """
    _check(nClusters, distanceFunction, maxIterations)
    if init not in _INITIAL:
        raise InvalidError(
            f"The local Earth Engine begins k-means at random (init 0) or by k-means++ (1), not by {init}."
        )

    def fit(samples: Floats) -> Model:
        scale = _scaled(samples)
        means = _fit_means(nClusters, _INITIAL[init], maxIterations or _ITERATIONS, 1, seed, scale(samples))
        return Predictor(lambda values: means.predict(scale(values)))

    options = {"nClusters": nClusters, "init": init, "maxIterations": maxIterations, "seed": seed}
    return Clusterer("wekaKMeans", options, fit)


@function("Clusterer.wekaCascadeKMeans")
def weka_cascade_k_means(
    minClusters: int, maxClusters: int, restarts: int, manual: bool, init: bool, distanceFunction: str,
    maxIterations: int | None,
) -> Clusterer:  # fmt: skip
    """Return the k-means with the best ratio of Calinski and Harabasz (1974), for several numbers of clusters."""
    _check(minClusters, distanceFunction, maxIterations)
    if not 2 <= minClusters <= maxClusters or restarts < 1:
        raise InvalidError("The minClusters must be at least 2 and at most maxClusters, and restarts positive.")
    start = "k-means++" if init else "random"

    def fit(samples: Floats) -> Model:
        scale, metrics = _scaled(samples), learner("metrics")
        scaled = scale(samples)
        best, greatest = None, -np.inf
        for count in range(minClusters, min(maxClusters, len(np.unique(scaled, axis=0)) - 1) + 1):
            means = _fit_means(count, start, maxIterations or _ITERATIONS, restarts, 0, scaled)
            ratio = metrics.calinski_harabasz_score(scaled, means.labels_)
            if ratio > greatest:
                best, greatest = means, ratio
        if best is None:
            raise InvalidError(f"There are too few different samples for {minClusters} clusters.")
        chosen = best
        return Predictor(lambda values: chosen.predict(scale(values)))

    options = {"minClusters": minClusters, "maxClusters": maxClusters, "restarts": restarts, "init": init}
    return Clusterer("wekaCascadeKMeans", options, fit)


@function("Clusterer.wekaXMeans")
def weka_x_means(
    minClusters: int, maxClusters: int, maxIterations: int, maxKMeans: int, maxForChildren: int, useKD: bool,
    cutoffFactor: float, distanceFunction: str, seed: int,
) -> Clusterer:  # fmt: skip
    """Return X-means of inputs that are scaled to the range of the training data, as Weka's are.

    https://developers.google.com/earth-engine/apidocs/ee-clusterer-wekaxmeans. A tree of nearest neighbors would only
    change how long it takes.
    """
    _check(minClusters, distanceFunction, maxIterations)
    if maxClusters < minClusters or maxKMeans < 1 or maxForChildren < 1 or not 0 <= cutoffFactor <= 1:
        raise InvalidError(
            "The maxClusters must be at least minClusters, maxKMeans and maxForChildren positive, and cutoffFactor "
            "between 0 and 1."
        )
    fitted = XMeansOptions(minClusters, maxClusters, maxIterations, maxKMeans, maxForChildren, cutoffFactor, seed)

    def fit(samples: Floats) -> Model:
        scale = _scaled(samples)
        centres = x_means(scale(samples), fitted)
        return Predictor(lambda values: nearest_centre(scale(values), centres))

    options = {
        "minClusters": minClusters, "maxClusters": maxClusters, "maxIterations": maxIterations, "maxKMeans": maxKMeans,
        "maxForChildren": maxForChildren, "useKD": useKD, "cutoffFactor": cutoffFactor, "seed": seed,
    }  # fmt: skip
    return Clusterer("wekaXMeans", options, fit)


@function("Clusterer.wekaLVQ")
def weka_lvq(numClusters: int, learningRate: float, epochs: int, normalizeInput: bool) -> Clusterer:
    """Return centres that samples attract one after another.

    https://developers.google.com/earth-engine/apidocs/ee-clusterer-wekalvq. With ``normalizeInput``, inputs are not
    scaled, as its description says.
    """
    _check(numClusters, "Euclidean", epochs)
    if not 0 < learningRate <= 1:
        raise InvalidError(f"The learningRate must be greater than 0 and at most 1; found {learningRate:g}.")

    def fit(samples: Floats) -> Model:
        scale = (lambda values: values) if normalizeInput else _scaled(samples)
        centres = learned_vectors(scale(samples), numClusters, learningRate, epochs, 0)
        return Predictor(lambda values: nearest_centre(scale(values), centres))

    options = {
        "numClusters": numClusters, "learningRate": learningRate, "epochs": epochs, "normalizeInput": normalizeInput,
    }  # fmt: skip
    return Clusterer("wekaLVQ", options, fit)


@function("Clusterer.wekaCobweb")
def weka_cobweb(acuity: float, cutoff: float, seed: int) -> Clusterer:
    """Return the tree of clusters that samples enter in a random order.

    https://developers.google.com/earth-engine/apidocs/ee-clusterer-wekacobweb
    """
    if not acuity > 0:
        raise InvalidError(f"The acuity must be positive; found {acuity:g}.")

    def fit(samples: Floats) -> Model:
        return Predictor(Cobweb.fit(samples, acuity, cutoff, seed).predict)

    return Clusterer("wekaCobweb", {"acuity": acuity, "cutoff": cutoff, "seed": seed}, fit)


@function("Clusterer.train")
def train(
    context: Context, clusterer: Clusterer, features: Collection, inputProperties: Sequence[str] | None,
    subsampling: float, subsamplingSeed: int,
) -> Clusterer:  # fmt: skip
    """Return the clusterer with training data; its model is fitted when it is used."""
    names = inputs_of(features, inputProperties)

    def read() -> Floats:
        table = table_of(context, features, names)
        if not len(table):
            raise InvalidError("No valid training data were found.")
        return table[part_of(len(table), subsampling, subsamplingSeed)]

    return clusterer.trained(read, names)


@function("Clusterer.schema")
def clusterer_schema(clusterer: Clusterer) -> list[str] | None:
    """Return the names of the inputs, null before the clusterer is trained."""
    return None if clusterer.schema is None else list(clusterer.schema)


@function("Image.cluster")
def cluster_image(image: Image, clusterer: Clusterer, outputName: str) -> Image:
    """Return the number of the cluster of each pixel, from 0."""
    return applied_to_image(image, clustering(clusterer, outputName))


@function("FeatureCollection.cluster")
def cluster_features(context: Context, features: Collection, clusterer: Clusterer, outputName: str) -> Collection:
    """Return features with the number of the cluster of each as a property."""
    return applied_to_features(context, features, clustering(clusterer, outputName))
