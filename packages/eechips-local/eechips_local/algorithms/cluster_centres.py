"""Centres of clusters whose number is estimated (X-means), or that samples attract one after another (LVQ).

Dan Pelleg and Andrew W. Moore (2000): X-means: Extending K-means with Efficient Estimation of the Number of Clusters.
ICML, 727-734. Teuvo Kohonen (2003): Learning Vector Quantization. The Handbook of Brain Theory and Neural Networks,
2nd edition, MIT Press, 631-634; without classes, the competitive learning that it begins with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.classification import Floats, learner

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class XMeansOptions:
    """Options of X-means.

    Attributes:
        least: number of clusters to begin with.
        most: number of clusters not to exceed.
        rounds: how many times clusters are split.
        iterations: iterations of k-means of all centres.
        child_iterations: iterations of k-means of the two parts of a cluster.
        cutoff: share of the clusters that are split if the criterion prefers no split.
        seed: seed of the random numbers.
    """

    least: int
    most: int
    rounds: int
    iterations: int
    child_iterations: int
    cutoff: float
    seed: int


def x_means(samples: Floats, options: XMeansOptions) -> Floats:
    """Return centres: clusters are split while the Bayesian information criterion prefers two of a cluster to one.

    Args:
        samples: shape (samples, inputs).
        options: options of the fit.

    Returns:
        Shape (clusters, inputs).
    """
    random = np.random.RandomState(options.seed % 2**32)
    distinct = len(np.unique(samples, axis=0))
    centres, labels = _k_means(samples, min(options.least, distinct), options.iterations, random)
    for _ in range(options.rounds):
        room = min(options.most, distinct) - len(centres)
        if room <= 0:
            break
        pairs, gains = {}, {}
        for number in range(len(centres)):
            members = samples[labels == number]
            if (pair := _split(members, options.child_iterations, random)) is not None:
                pairs[number], gains[number] = pair
        ordered = sorted(pairs, key=lambda number: -gains[number])
        chosen = [number for number in ordered if gains[number] > 0]
        if not chosen:
            chosen = ordered[: int(options.cutoff * len(ordered))]
        chosen = chosen[:room]
        if not chosen:
            break
        kept = np.delete(centres, chosen, axis=0)
        start = np.concatenate([kept, *(pairs[number] for number in chosen)])
        centres, labels = _k_means(samples, start, options.iterations, random)
    return centres


def information_criterion(samples: Floats, centres: Floats, labels: Labels) -> float:
    """Return the Bayesian information criterion of clusters; more is better.

    Clusters are spherical normal distributions of one variance (Pelleg and Moore, section 3.2; the likelihood has all
    dimensions, of which the paper leaves out some factors).

    Args:
        samples: shape (samples, inputs).
        centres: shape (clusters, inputs).
        labels: cluster of each sample.
    """
    count, inputs = samples.shape
    clusters = len(centres)
    squares = float(((samples - centres[labels]) ** 2).sum())
    if count <= clusters or squares == 0:
        return float("inf") if squares == 0 else float("-inf")
    variance = squares / (inputs * (count - clusters))
    sizes = np.bincount(labels, minlength=clusters).astype(float)
    sizes = sizes[sizes > 0]
    likelihood = float((sizes * np.log(sizes / count)).sum())
    likelihood -= count * inputs / 2 * np.log(2 * np.pi * variance) + squares / (2 * variance)
    parameters = clusters - 1 + clusters * inputs + 1
    return float(likelihood - parameters / 2 * np.log(count))


def _k_means(samples: Floats, start: int | Floats, iterations: int, random: Any) -> tuple[Floats, Labels]:
    count = start if isinstance(start, int) else len(start)
    means = (
        learner("cluster")
        .KMeans(
            count,
            init="random" if isinstance(start, int) else start,
            n_init=1,
            max_iter=iterations,
            random_state=random,
        )
        .fit(samples)
    )
    return means.cluster_centers_, means.labels_


def _split(members: Floats, iterations: int, random: Any) -> tuple[Floats, float] | None:
    """Return the two centres of a cluster's parts, and the gain of the criterion; None of equal samples."""
    if len(np.unique(members, axis=0)) < 2:
        return None
    centre = members.mean(axis=0)
    direction = random.normal(size=members.shape[1])
    direction *= np.sqrt(((members - centre) ** 2).sum(axis=1).max()) / np.linalg.norm(direction)
    pair, labels = _k_means(members, np.stack([centre + direction, centre - direction]), iterations, random)
    one = information_criterion(members, centre[None], np.zeros(len(members), dtype=np.int64))
    return pair, information_criterion(members, pair, labels) - one


def learned_vectors(samples: Floats, count: int, rate: float, epochs: int, seed: int) -> Floats:
    """Return centres that move towards each sample that is nearest to them, by a share that decreases to 0.

    Args:
        samples: shape (samples, inputs).
        count: number of centres; fewer if there are fewer different samples.
        rate: share of the distance that the nearest centre moves at first.
        epochs: how many times all samples are shown, in another order each time.
        seed: seed of the random numbers.

    Returns:
        Shape (clusters, inputs).
    """
    random = np.random.RandomState(seed)
    distinct = np.unique(samples, axis=0)
    centres = distinct[random.choice(len(distinct), min(count, len(distinct)), replace=False)].astype(float)
    for epoch in range(epochs):
        share = rate * (1 - epoch / epochs)
        for number in random.permutation(len(samples)):
            sample = samples[number]
            difference = sample - centres
            nearest = np.einsum("ij,ij->i", difference, difference).argmin()
            centres[nearest] += share * difference[nearest]
    return centres


def nearest_centre(values: Floats, centres: Floats) -> Labels:
    """Return the number of the centre that is nearest to each of some values, of shape (values, inputs)."""
    squares = (centres**2).sum(axis=1) - 2 * values @ centres.T
    labels: Labels = squares.argmin(axis=1)
    return labels
