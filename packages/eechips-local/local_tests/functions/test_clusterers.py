"""X-means, LVQ and Cobweb against numpy, scipy, and data that are easy to part."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from eechips_local.algorithms.cluster_centres import (
    XMeansOptions,
    information_criterion,
    learned_vectors,
    nearest_centre,
    x_means,
)
from eechips_local.algorithms.cobweb import Cobweb, Moments, category_utility
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import call, invoke
from local_tests.support.graphs import evaluate as evaluate_graph

if importlib.util.find_spec("sklearn") is None:  # importing it would take a second in every process
    pytest.skip("scikit-learn is not installed", allow_module_level=True)

CENTRES = np.array([[0, 0], [14, 1], [3, 22], [40, 18], [70, -5]], dtype=float)


def blobs(seed: int = 0, count: int = 40, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(CENTRES)), count)
    samples = CENTRES[labels] + np.random.default_rng(seed).normal(0, spread, (len(labels), 2))
    return samples, labels


def is_same_grouping(one: np.ndarray, other: np.ndarray) -> bool:
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


def options(**changes: Any) -> XMeansOptions:
    return XMeansOptions(**{"least": 2, "most": 8, "rounds": 5, "iterations": 1000, "child_iterations": 1000,
                            "cutoff": 0.0, "seed": 10, **changes})  # fmt: skip


def test_the_criterion_is_the_likelihood_of_normal_distributions_less_its_parameters() -> None:
    from scipy.stats import multivariate_normal  # here: each process of the tests imports this module

    samples, labels = blobs()
    means = np.stack([samples[labels == number].mean(axis=0) for number in range(5)])
    variance = ((samples - means[labels]) ** 2).sum() / (2 * (200 - 5))
    densities = [
        np.log(0.2)
        + multivariate_normal(means[number], variance * np.eye(2)).logpdf(samples[labels == number]).sum() / 40
        for number, mean in enumerate(means)
    ]
    expected = 40 * sum(densities) - (4 + 10 + 1) / 2 * np.log(200)
    assert information_criterion(samples, means, labels) == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_x_means_counts_the_clusters(seed: int) -> None:
    samples, labels = blobs(seed)
    centres = x_means(samples, options(seed=seed))
    assert len(centres) == 5
    assert is_same_grouping(nearest_centre(samples, centres), labels)


@pytest.mark.slow
def test_x_means_keeps_its_bounds() -> None:
    samples, _ = blobs()
    assert len(x_means(samples, options(most=3))) == 3
    assert len(x_means(np.ones((20, 2)), options())) == 1
    noise = np.random.default_rng(1).normal(size=(500, 3))
    assert len(x_means(noise, options(least=1))) == 1
    assert len(x_means(noise, options(least=1, cutoff=1.0, rounds=1))) == 2


def test_learned_vectors_end_near_the_means() -> None:
    samples, _ = blobs()
    centres = learned_vectors(samples, 5, 0.2, 60, 3)
    groups = nearest_centre(samples, centres)
    for number in set(groups.tolist()):
        assert np.abs(centres[number] - samples[groups == number].mean(axis=0)).max() < 0.2
    assert len(learned_vectors(np.ones((9, 2)), 5, 1.0, 2, 0)) == 1


def test_category_utility_is_that_of_the_paper() -> None:
    samples, labels = blobs(count=10)
    groups = [samples[labels == number] for number in range(5)]

    def moments(part: np.ndarray) -> Moments:
        return Moments(len(part), part.sum(axis=0), (part**2).sum(axis=0))

    def inverse(part: np.ndarray) -> float:
        return float((1 / np.maximum(part.std(axis=0), 0.1)).sum())

    gain = sum(len(part) / 50 * (inverse(part) - inverse(samples)) for part in groups)
    found = category_utility(moments(samples), map(moments, groups), 0.1)
    assert found == pytest.approx(gain / 5 / (2 * np.sqrt(np.pi)), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_cobweb_parts_what_lies_apart(seed: int) -> None:
    samples, labels = blobs(seed, count=20)
    tree = Cobweb.fit(samples, 1.0, 0.05, seed)
    found = tree.predict(samples)
    assert all(len(set(labels[found == number].tolist())) == 1 for number in set(found.tolist()))
    nodes = list(tree.root)
    assert [node.number for node in nodes] == list(range(len(nodes)))
    for node in nodes:
        if node.children:
            below = node.children[0].moments
            for child in node.children[1:]:
                below = below + child.moments
            assert below.count == node.moments.count
            assert np.allclose(below.total, node.moments.total)
    assert tree.root.moments.count == len(samples)


def test_cobweb_of_a_great_cutoff_is_one_cluster() -> None:
    samples, _ = blobs(count=5)
    tree = Cobweb.fit(samples, 1.0, 100.0, 42)
    assert set(tree.predict(samples).tolist()) == {0}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wekaXMeans", {"maxClusters": 8, "maxIterations": 6}),
        ("wekaLVQ", {"numClusters": 5, "epochs": 40, "learningRate": 0.3}),
        ("wekaCobweb", {"cutoff": 0.05}),
    ],
)
def test_features_of_a_group_are_in_clusters_of_their_own(name: str, options: dict[str, Any]) -> None:
    samples, labels = blobs(2, count=8)
    features = invoke(
        "Collection",
        features=[
            invoke("Feature", geometry=None, metadata={"a": float(a), "b": float(b)}) for a, b in samples
        ],
    )  # fmt: skip
    clusterer = invoke(
        "Clusterer.train", clusterer=invoke(f"Clusterer.{name}", **options), features=features,
        inputProperties=["a", "b"],
    )  # fmt: skip
    found = evaluate_graph(invoke("FeatureCollection.cluster", features=features, clusterer=clusterer))
    groups = np.array([feature.properties["cluster"] for feature in found])
    assert len(set(groups.tolist())) > 1
    if name != "wekaLVQ":  # competitive learning may leave two groups to one centre
        assert all(len(set(labels[groups == number].tolist())) == 1 for number in set(groups.tolist()))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("wekaXMeans", {"minClusters": 4, "maxClusters": 3}, "maxClusters must be at least minClusters"),
        ("wekaXMeans", {"distanceFunction": "Manhattan"}, "not 'Manhattan'"),
        ("wekaLVQ", {"learningRate": 2}, "learningRate must be greater than 0"),
        ("wekaLVQ", {"epochs": 0}, "number of iterations must be positive"),
        ("wekaCobweb", {"acuity": 0}, "acuity must be positive"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        call(f"Clusterer.{name}", **options)
