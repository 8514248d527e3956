"""Fit and apply maximum entropy models of species distributions (Maxent): default regularization, clamping, outputs
cloglog, logistic, cumulative and raw.

The model is the distribution over background points p(x) = exp(f(x) l) / Z whose weights l minimize

    log Z - mean of f over presences * l + sum of d |l|.

Features f, their regularization d and the outputs are those of the program Maxent 3.4
(https://github.com/mrmaxent/Maxent), which Earth Engine contains. The program stops some way before the minimum; here
the weights are those of the minimum (Phillips and Dudik 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.maxent_features import Background, FeatureTypes, ModelFeature
from eechips_local.protocol.request_errors import InvalidError

Floats = npt.NDArray[np.float64]

OUTPUTS = ("cloglog", "logistic", "cumulative", "raw")
_TOLERANCE = 1e-4
"""Gradient beyond the regularization at which another feature is worth a weight."""
_ROUNDS = 200
_PREVALENCE = 0.5
"""Probability of presence at an average presence, of the logistic output: the program's ``defaultprevalence``."""


@dataclass(frozen=True, slots=True)
class Penalties:
    """Regularization of the types of features; a negative one is chosen by the number of presences.

    Attributes:
        multiplier: factor of all.
        lqp: regularization of linear, quadratic and product features.
        categorical: regularization of categories.
    """

    multiplier: float = 1.0
    lqp: float = -1.0
    hinge: float = -1.0
    threshold: float = -1.0
    categorical: float = -1.0

    def of(self, kind: str, types: FeatureTypes, presences: int) -> float:
        """Return the regularization of a type of features, before it is scaled by their deviation.

        Args:
            kind: "lqp", "hinge", "threshold" or "categorical"; "multiplier" for the factor of all.
            types: the types of features of the model.
        """
        if kind == "multiplier":
            return self.multiplier
        chosen = {"lqp": self.lqp, "hinge": self.hinge, "threshold": self.threshold, "categorical": self.categorical}
        if chosen[kind] >= 0:
            return self.multiplier * chosen[kind]
        numbers, values = _DEFAULTS["product" if types.product else "quadratic" if types.quadratic else "linear"]
        if kind != "lqp":
            numbers, values = _DEFAULTS[kind]
        return self.multiplier * float(np.interp(presences, numbers, values))


# Phillips and Dudik (2008), table 3, and the program's Runner.autoSetBeta.
_DEFAULTS = {
    "linear": ((10, 30, 100), (1.0, 0.2, 0.05)),
    "quadratic": ((0, 10, 17, 30, 100), (1.3, 0.8, 0.5, 0.25, 0.05)),
    "product": ((0, 10, 17, 30, 100), (2.6, 1.6, 0.9, 0.55, 0.05)),
    "threshold": ((0, 100), (2.0, 1.0)),
    "hinge": ((0,), (0.5,)),
    "categorical": ((0, 10, 17), (0.65, 0.5, 0.25)),
}


@dataclass(frozen=True, slots=True, eq=False)
class MaxentModel:
    """A fitted model.

    Attributes:
        features: features with a weight.
        weights: shape (features,).
        low: least value of each input over the background, shape (inputs,).
        high: greatest value likewise.
        continuous: which inputs are no categories, shape (inputs,).
        normalizer: log Z.
        entropy: entropy of the distribution over the background, in nats.
        raw: raw output at the background, ascending.
        gain: log of the number of background points less the minimum: the program's "regularized training gain".
        penalty: part of the regularization in it.
    """

    features: tuple[ModelFeature, ...]
    weights: Floats
    low: Floats
    high: Floats
    continuous: npt.NDArray[np.bool_]
    normalizer: float
    entropy: float
    raw: Floats
    gain: float
    penalty: float

    def predict(self, samples: Floats, output: str, *, is_clamped: bool) -> Floats:
        """Return an output for samples of shape (samples, inputs).

        Args:
            samples: values of the inputs.
            output: one of ``OUTPUTS``.
            is_clamped: whether inputs and features outside the range of the background are moved to its end.
        """
        used = np.where(self.continuous, np.clip(samples, self.low, self.high), samples) if is_clamped else samples
        predictor = np.zeros(len(samples))
        for feature, weight in zip(self.features, self.weights, strict=True):
            values = feature.evaluate(used)
            predictor += weight * (np.clip(values, 0, 1) if is_clamped else values)
        raw = np.minimum(np.exp(np.minimum(predictor - self.normalizer, 0)), 1)
        if output == "raw":
            return raw
        if output == "cumulative":
            return np.asarray(100 * np.interp(raw, self.raw, np.cumsum(self.raw), left=0.0))
        scaled = raw * np.exp(self.entropy)
        if output == "cloglog":
            return np.asarray(-np.expm1(-scaled))
        return np.asarray(_PREVALENCE * scaled / (1 - _PREVALENCE + _PREVALENCE * scaled))

    def is_outside(self, samples: Floats) -> npt.NDArray[np.bool_]:
        """Return which samples have an input outside the range of the background."""
        outside = (samples < self.low) | (samples > self.high)
        return np.asarray((outside & self.continuous).any(axis=1))


def fit_maxent(
    presences: Floats, background: Floats, types: FeatureTypes, penalties: Penalties, check: Callable[[], None]
) -> MaxentModel:
    """Fit a model.

    Args:
        presences: values at presences, shape (presences, inputs).
        background: values at background points, shape (points, inputs).
        types: types of features.
        penalties: their regularization.
        check: called between rounds; raises an error when the time is over.

    Raises:
        InvalidError: if no feature differs within the background.
    """
    space = Background(background, presences, types, penalties.of)
    if not space.count:
        raise InvalidError("No features are available: choose more types of features, or inputs that vary.")
    chosen: list[ModelFeature] = []
    weights = np.zeros(0)
    matrix = np.zeros((len(background), 0))
    predictor = np.zeros(len(background))
    for _ in range(_ROUNDS):
        check()
        density = np.exp(predictor - predictor.max())
        known = {feature.key for feature in chosen}
        violating = space.violating(density / density.sum(), _TOLERANCE)
        worth = [feature for feature in violating if feature.key not in known]
        if not worth:
            break
        chosen += worth
        added = np.stack([feature.evaluate(background) for feature in worth], axis=1)
        matrix = np.concatenate([matrix, added], axis=1)
        weights = _minimum(matrix, chosen, np.concatenate([weights, np.zeros(len(worth))]))
        kept = np.abs(weights) > 0
        chosen = [feature for feature, keep in zip(chosen, kept, strict=True) if keep]
        matrix, weights = matrix[:, kept], weights[kept]
        predictor = matrix @ weights
    return _model(space, chosen, weights, predictor)


def _minimum(matrix: Floats, features: Sequence[ModelFeature], start: Floats) -> Floats:
    """Return the weights of the minimum, each as the difference of two that are not negative."""
    from scipy.optimize import minimize  # here, since only these models need it

    expected = np.array([feature.expectation for feature in features])
    penalty = np.array([feature.penalty for feature in features])

    def objective(parts: Floats) -> tuple[float, Floats]:
        up, down = np.split(parts, 2)
        predictor = matrix @ (up - down)
        greatest = predictor.max()
        density = np.exp(predictor - greatest)
        total = density.sum()
        value = greatest + np.log(total) - expected @ (up - down) + penalty @ (up + down)
        gradient = matrix.T @ (density / total) - expected
        return float(value), np.concatenate([gradient + penalty, penalty - gradient])

    parts = np.concatenate([np.maximum(start, 0), np.maximum(-start, 0)])
    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-13, "gtol": _TOLERANCE / 10}
    optimum = minimize(objective, parts, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(parts), options=options)
    up, down = np.split(optimum.x, 2)
    difference: Floats = up - down
    return difference


def _model(space: Background, features: Sequence[ModelFeature], weights: Floats, predictor: Floats) -> MaxentModel:
    greatest = predictor.max()
    normalizer = float(greatest + np.log(np.exp(predictor - greatest).sum()))
    raw = np.exp(predictor - normalizer)
    entropy = float(-(raw * (predictor - normalizer)).sum())
    penalty = float(sum(abs(w) * f.penalty for f, w in zip(features, weights, strict=True)))
    expected = float(sum(w * f.expectation for f, w in zip(features, weights, strict=True)))
    gain = float(np.log(len(predictor))) - (normalizer - expected + penalty)
    return MaxentModel(
        tuple(features), weights, space.low, space.high, space.continuous, normalizer, entropy, np.sort(raw), gain,
        penalty,
    )  # fmt: skip
