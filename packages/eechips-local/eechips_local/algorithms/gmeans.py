"""G-means: k-means that splits clusters which are not normally distributed by the test of Anderson and Darling.

Hamerly and Elkan, "Learning the k in k-means", NIPS 2003.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.classification import learner

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_LEAST = 1e-300
"""Least probability, whose logarithm is finite."""
_FEWEST = 8
"""Samples below which a cluster is not tested: the correction of the statistic is made for more."""

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def g_means(
    samples: Floats, critical: float, rounds: int, most: int, check_time: Callable[[], None] = lambda: None
) -> Labels:
    """Return the cluster of each sample, from 0.

    Args:
        samples: shape (samples, inputs).
        critical: value of the corrected statistic of Anderson and Darling above which a cluster is split.
        rounds: how often clusters are tested and split, and iterations of each k-means.
        most: greatest number of clusters.
        check_time: called before each test.
    """
    centres = samples.mean(axis=0, keepdims=True)
    labels = np.zeros(len(samples), dtype=np.int64)
    for _ in range(rounds):
        grown: list[Floats] = []
        for number, centre in enumerate(centres):
            check_time()
            members = samples[labels == number]
            room = len(centres) - number - 1 + len(grown) + 2 <= most
            halves = _halves(members, rounds) if room else None
            is_split = halves is not None and anderson_darling(members @ (halves[0] - halves[1])) > critical
            grown.extend(halves if halves is not None and is_split else [centre])
        if len(grown) == len(centres):
            break
        labels, centres = _k_means(samples, np.array(grown), rounds)
    return labels


def anderson_darling(values: Floats) -> float:
    """Return how much values deviate from the normal distribution of their mean and variance; 0 if they are equal.

    The statistic of Anderson and Darling, corrected for an estimated mean and variance (equations 1 and 2 of the
    paper).

    Args:
        values: shape (samples,).
    """
    # The spread of equal values may be above 0, as their mean is rounded; that of others may be too small for a float.
    count, spread = len(values), float(values.std(ddof=1)) if (values != values[:1]).any() else 0.0
    if not spread > 0:
        return 0.0
    z = np.sort((values - values.mean()) / spread)
    below, above = (np.maximum(0.5 * _erfc(sign * z / math.sqrt(2.0)), _LEAST) for sign in (-1.0, 1.0))
    order = 2.0 * np.arange(1, count + 1) - 1.0
    statistic = -float((order * (np.log(below) + np.log(above[::-1]))).mean()) - count
    return statistic * (1.0 + 4.0 / count - 25.0 / count**2)


def _halves(members: Floats, iterations: int) -> Floats | None:
    """Return the centres of two halves of a cluster, which begin along its principal axis; None if it has none."""
    if len(members) < _FEWEST or not (members != members[0]).any():
        return None
    strengths, axes = np.linalg.eigh(np.atleast_2d(np.cov(members, rowvar=False)))
    step = axes[:, -1] * math.sqrt(2.0 * max(float(strengths[-1]), 0.0) / math.pi)
    centre = members.mean(axis=0)
    labels, centres = _k_means(members, np.stack([centre + step, centre - step]), iterations)
    return centres if len(np.unique(labels)) == 2 else None


def _k_means(samples: Floats, start: Floats, iterations: int) -> tuple[Labels, Floats]:
    means = learner("cluster").KMeans(len(start), init=start, n_init=1, max_iter=iterations).fit(samples)
    return means.labels_.astype(np.int64), means.cluster_centers_
