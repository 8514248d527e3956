"""Features of maximum entropy models: linear, quadratic, product, hinge, threshold and categorical, scaled to the range
from 0 to 1 over the background.

Types, scaling and deviations are those of the program Maxent 3.4 (https://github.com/mrmaxent/Maxent): linear,
quadratic and product features, thresholds and hinges between all neighbouring values of an input, and categories. The
mean of a feature over the model must lie within ``penalty`` of its mean over the presences.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LEAST_DEVIATION = 0.001
_NEW = 4
"""Features of one type that are proposed together, at most, but for hinges and thresholds: one of each input."""


@dataclass(frozen=True, slots=True)
class FeatureTypes:
    """Types of features of a model.

    Attributes:
        linear: the inputs themselves.
        quadratic: their squares.
        product: products of two inputs.
        threshold: steps.
        hinge: linear functions above or below a value.
        categorical: positions of the inputs that are categories.
    """

    linear: bool = True
    quadratic: bool = True
    product: bool = True
    threshold: bool = False
    hinge: bool = True
    categorical: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ModelFeature:
    """A function of the inputs.

    Attributes:
        kind: "product" (also linear and quadratic), "threshold", "hinge", "reverse" (a hinge below a value) or
            "category".
        inputs: positions of the inputs whose product it is; one input for other kinds.
        low: where it is 0, or the threshold, or the category.
        high: where it is 1.
        expectation: mean over the presences.
        penalty: regularization of its weight.
    """

    kind: str
    inputs: tuple[int, ...]
    low: float
    high: float
    expectation: float = 0.0
    penalty: float = 0.0

    @property
    def key(self) -> tuple[str, tuple[int, ...], float]:
        """What tells it from others of a model."""
        return self.kind, self.inputs, self.low

    def evaluate(self, samples: Floats) -> Floats:
        """Return its values for samples of shape (samples, inputs)."""
        values: Floats = samples[:, list(self.inputs)].prod(axis=1)
        if self.kind == "category":
            return np.asarray(values == self.low, dtype=np.float64)
        if self.kind == "threshold":
            return np.asarray(values > self.low, dtype=np.float64)
        scaled: Floats = (values - self.low) / (self.high - self.low)
        return scaled if self.kind == "product" else np.maximum(scaled, 0)


Beta = Callable[[str, FeatureTypes, int], float]
"""Returns the regularization of a type of features, by its name, all types and the number of presences."""


class Background:
    """All features that a model may have, and their means over the background.

    Args:
        points: values at background points, shape (points, inputs).
        presences: values at presences, shape (presences, inputs).
        beta: see ``Beta``.
    """

    def __init__(self, points: Floats, presences: Floats, types: FeatureTypes, beta: Beta) -> None:
        self.low, self.high = points.min(axis=0), points.max(axis=0)
        self.continuous = np.array([index not in types.categorical for index in range(points.shape[1])])
        number = len(presences)
        penalties = {
            kind: beta(kind, types, number) / np.sqrt(number) for kind in ("lqp", "hinge", "threshold", "categorical")
        }
        self._least = _LEAST_DEVIATION * beta("multiplier", types, number)
        varying = [int(i) for i in np.flatnonzero(self.continuous & (self.high > self.low))]
        self._features = [
            self._measured(feature, presences, penalties["lqp"]) for feature in _products(points, varying, types)
        ]
        for index in sorted(types.categorical):
            for value in np.unique(points[:, index]):
                feature = ModelFeature("category", (index,), float(value), float(value))
                measured = self._measured(feature, presences, penalties["categorical"])
                if measured.expectation > 0:  # the program leaves out the others
                    self._features.append(measured)
        columns = [feature.evaluate(points) for feature in self._features]
        self._matrix = np.stack(columns, axis=1) if columns else np.zeros((len(points), 0))
        self._series: list[_Series] = []
        for index in varying:
            if types.hinge:
                for is_reverse in (False, True):
                    hinges = _Hinges(index, points[:, index], presences[:, index], is_reverse)
                    self._series.append(hinges.penalized(penalties["hinge"], self._least))
            if types.threshold:
                steps = _Thresholds(index, points[:, index], presences[:, index])
                self._series.append(steps.penalized(penalties["threshold"], self._least))

    @property
    def count(self) -> int:
        """Number of all features."""
        return len(self._features) + sum(len(series.penalty) for series in self._series)

    def violating(self, density: Floats, tolerance: float) -> list[ModelFeature]:
        """Return features whose means over a distribution and over the presences differ too much, the worst of each.

        Args:
            density: the distribution over the background points, shape (points,).
            tolerance: how much farther than the penalty allows.
        """
        features: list[ModelFeature] = []
        if self._features:
            expected = np.array([feature.expectation for feature in self._features])
            penalty = np.array([feature.penalty for feature in self._features])
            excess = np.abs(density @ self._matrix - expected) - penalty
            order = np.argsort(-excess, kind="stable")[:_NEW]
            features += [self._features[i] for i in order if excess[i] > tolerance]
        for series in self._series:
            excess = np.abs(series.means(density) - series.expectation) - series.penalty
            if len(excess) and excess[best := int(np.argmax(excess))] > tolerance:
                features.append(series.feature(best))
        return features

    def _measured(self, feature: ModelFeature, presences: Floats, penalty: float) -> ModelFeature:
        """Return a feature with its mean and its regularization: penalty times standard deviation, within limits."""
        values, number = feature.evaluate(presences), len(presences)
        deviation = penalty * (0.5 if number == 1 else min(float(values.std(ddof=1)), 0.5))
        expectation = float(values.mean())
        if deviation < self._least:
            deviation = 1 / (2 * number) if feature.kind == "category" and expectation == 1 else self._least
        return ModelFeature(feature.kind, feature.inputs, feature.low, feature.high, expectation, deviation)


def _products(points: Floats, varying: list[int], types: FeatureTypes) -> Iterator[ModelFeature]:
    """Yield linear, quadratic and product features of the inputs that vary."""
    groups: list[tuple[int, ...]] = [(index,) for index in varying] if types.linear else []
    groups += [(index, index) for index in varying] if types.quadratic else []
    groups += list(combinations(varying, 2)) if types.product else []
    for group in groups:
        values = points[:, list(group)].prod(axis=1)
        if values.max() > values.min():
            yield ModelFeature("product", group, float(values.min()), float(values.max()))


class _Series(ABC):
    """Features of one input, one for each middle of two neighbouring values, in ascending order.

    Means over a distribution of all of them take one pass over the sorted values.
    """

    def __init__(self, index: int, points: Floats, presences: Floats) -> None:
        self._index = index
        self._values, inverse = np.unique(np.concatenate([points, presences]), return_inverse=True)
        self._places = inverse[: len(points)]
        self._own = np.bincount(inverse[len(points) :], minlength=len(self._values)).astype(np.float64)
        self._number = len(presences)
        self._knots = (self._values[:-1] + self._values[1:]) / 2
        self.expectation = np.zeros(0)
        self.penalty = np.zeros(0)

    def means(self, density: Floats) -> Floats:
        """Return the means of the features over a distribution over the background points."""
        weights = np.asarray(np.bincount(self._places, density, len(self._values)), dtype=np.float64)
        return self._sums(weights, 1)

    def penalized(self, penalty: float, least: float) -> _Series:
        """Set the means over the presences and the regularization; return the series."""
        number = self._number
        self.expectation = self._sums(self._own / number, 1)
        if number == 1:
            spread = np.full(len(self._knots), 0.5)
        else:
            variance = (self._sums(self._own, 2) - number * self.expectation**2) / (number - 1)
            spread = np.minimum(np.sqrt(np.maximum(variance, 0)), 0.5)
        self.penalty = np.maximum(penalty * np.maximum(spread, self._least_spread()), least)
        return self

    @abstractmethod
    def feature(self, position: int) -> ModelFeature:
        """Return a feature of the series."""

    @abstractmethod
    def _sums(self, weights: Floats, power: int) -> Floats:
        """Return sums of powers of each feature over the values, with a weight of each value."""

    def _least_spread(self) -> float:
        return 0.0


class _Hinges(_Series):
    """Hinges: 0 up to a knot and 1 at the greatest value, or at the least one if they are reverse."""

    def __init__(self, index: int, points: Floats, presences: Floats, is_reverse: bool) -> None:
        sign = -1.0 if is_reverse else 1.0
        super().__init__(index, sign * points, sign * presences)
        self._is_reverse = is_reverse

    def feature(self, position: int) -> ModelFeature:
        sign = -1.0 if self._is_reverse else 1.0
        low, high = sign * float(self._knots[position]), sign * float(self._values[-1])
        expectation, penalty = float(self.expectation[position]), float(self.penalty[position])
        return ModelFeature("reverse" if self._is_reverse else "hinge", (self._index,), low, high, expectation, penalty)

    def _sums(self, weights: Floats, power: int) -> Floats:
        above = [np.cumsum((weights * self._values**k)[:0:-1])[::-1] for k in range(power + 1)]
        if power == 1:
            sums: Floats = (above[1] - self._knots * above[0]) / (self._values[-1] - self._knots)
            return sums
        squares = above[2] - 2 * self._knots * above[1] + self._knots**2 * above[0]
        return np.asarray(squares / (self._values[-1] - self._knots) ** 2)

    def _least_spread(self) -> float:
        return 1 / float(np.sqrt(self._number)) if self._number > 1 else 0.0


class _Thresholds(_Series):
    """Steps from 0 to 1, between the least and the greatest value of the presences."""

    def __init__(self, index: int, points: Floats, presences: Floats) -> None:
        super().__init__(index, points, presences)
        self._used = (self._knots >= presences.min()) & (self._knots < presences.max())
        self._knots = self._knots[self._used]

    def feature(self, position: int) -> ModelFeature:
        knot = float(self._knots[position])
        return ModelFeature(
            "threshold", (self._index,), knot, knot, float(self.expectation[position]), float(self.penalty[position])
        )

    def _sums(self, weights: Floats, power: int) -> Floats:
        return np.asarray(np.cumsum(weights[:0:-1])[::-1][self._used])
