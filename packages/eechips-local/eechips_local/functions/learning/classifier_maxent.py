"""``ee.Classifier.amnhMaxent``: arguments, and the types of features for a number of presences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.classification import Classifier, Floats, Model, Predictor, TrainingData, learner
from eechips_local.algorithms.maxent import OUTPUTS, MaxentModel, Penalties, fit_maxent
from eechips_local.algorithms.maxent_features import FeatureTypes
from eechips_local.evaluation.context import Context
from eechips_local.functions.registration import function
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError, check_choice

_PROBABILITY, _CLAMP = "probability", "clamp"
_MOST_VALUES = 50_000_000
"""Values of linear, quadratic and product features over the background, at most."""


@function("Classifier.amnhMaxent")
def amnh_maxent(
    context: Context, categoricalNames: Sequence[str] | None, outputFormat: str, autoFeature: bool, linear: bool,
    quadratic: bool, product: bool, threshold: bool, hinge: bool, hingeThreshold: int, l2lqThreshold: int,
    lq2lqptThreshold: int, addSamplesToBackground: bool, addAllSamplesToBackground: bool, betaMultiplier: float,
    betaHinge: float, betaLqp: float, betaCategorical: float, betaThreshold: float, extrapolate: bool, doClamp: bool,
    writeClampGrid: bool, randomTestPoints: int, seed: int,
) -> Classifier:  # fmt: skip
    """Return a maximum entropy classifier: https://developers.google.com/earth-engine/apidocs/ee-classifier-amnhmaxent.

    With ``autoFeature``, the number of presences decides about types of features as in the program Maxent 3.4, which
    has no thresholds then. Without ``extrapolate``, probabilities outside the range of the background are 0, as there.
    """
    check_choice("outputFormat", outputFormat, OUTPUTS)
    if betaMultiplier <= 0:
        raise InvalidError(f"The betaMultiplier must be positive; found {betaMultiplier:g}.")
    if not 0 <= randomTestPoints < 100:
        raise InvalidError(f"The randomTestPoints must be within [0, 100); found {randomTestPoints}.")
    asked = FeatureTypes(linear, quadratic, product, threshold, hinge)
    penalties = Penalties(betaMultiplier, betaLqp, betaHinge, betaThreshold, betaCategorical)

    prediction = _Prediction(outputFormat, doClamp, extrapolate, writeClampGrid)

    def types_of(presences: int) -> FeatureTypes:
        if not autoFeature:
            return asked
        return FeatureTypes(
            True, presences >= l2lqThreshold, presences >= lq2lqptThreshold, False, presences >= hingeThreshold
        )

    def fit(training: TrainingData, mode: str) -> Model:
        learner("base")  # scipy comes with it
        schema = training.inputs
        presences, background = _parted(training)
        presences = _without_tests(presences, randomTestPoints, seed)
        if addAllSamplesToBackground or addSamplesToBackground:
            added = presences if addAllSamplesToBackground else _missing(presences, background)
            background = np.concatenate([background, added])
        types = replace(types_of(len(presences)), categorical=_positions(categoricalNames or (), schema))
        if len(background) * len(schema) ** (2 if types.product else 1) > _MOST_VALUES:
            raise MemoryLimitError()
        model = fit_maxent(presences, background, types, penalties, context.check_time)
        return Predictor(partial(prediction.outputs, model))

    options = {
        "categoricalNames": categoricalNames, "outputFormat": outputFormat, "autoFeature": autoFeature,
        "linear": linear, "quadratic": quadratic, "product": product, "threshold": threshold, "hinge": hinge,
        "hingeThreshold": hingeThreshold, "l2lqThreshold": l2lqThreshold, "lq2lqptThreshold": lq2lqptThreshold,
        "addSamplesToBackground": addSamplesToBackground, "addAllSamplesToBackground": addAllSamplesToBackground,
        "betaMultiplier": betaMultiplier, "betaHinge": betaHinge, "betaLqp": betaLqp,
        "betaCategorical": betaCategorical, "betaThreshold": betaThreshold, "extrapolate": extrapolate,
        "doClamp": doClamp, "writeClampGrid": writeClampGrid, "randomTestPoints": randomTestPoints, "seed": seed,
    }  # fmt: skip
    outputs = (_PROBABILITY, _CLAMP) if writeClampGrid else (_PROBABILITY,)
    return Classifier("amnhMaxent", options, fit, ("PROBABILITY",), "PROBABILITY", outputs=outputs)


@dataclass(frozen=True, slots=True)
class _Prediction:
    """What models predict.

    Attributes:
        form: one of ``OUTPUTS``.
        is_clamped: whether values outside the range of the background are clamped to its ends.
        extrapolates: whether the prediction for such values is computed; else it is 0.
        has_clamp_grid: whether the difference that clamping makes is the second output.
    """

    form: str
    is_clamped: bool
    extrapolates: bool
    has_clamp_grid: bool

    def outputs(self, model: MaxentModel, samples: Floats) -> npt.NDArray[np.float64]:
        """Return probabilities of shape (samples,), or outputs of shape (samples, 2)."""
        plain = model.predict(samples, self.form, is_clamped=False)
        clamped = model.predict(samples, self.form, is_clamped=True)
        probability = clamped if self.is_clamped else plain
        if not self.extrapolates:
            probability = np.where(model.is_outside(samples), 0.0, probability)
        if not self.has_clamp_grid:
            return probability
        return np.stack([probability, np.abs(clamped - plain) if self.is_clamped else 0 * plain], axis=1)


def _parted(training: TrainingData) -> tuple[Floats, Floats]:
    """Return the samples of presences (1) and of the background (0).

    Raises:
        InvalidError: if there are other classes, or no presences.
    """
    wrong = training.labels[~np.isin(training.labels, (0, 1))]
    if len(wrong):
        raise InvalidError(f"Classes of amnhMaxent must be 1 (presence) or 0 (background); found {wrong[0]:g}.")
    if not (training.labels == 1).any():
        raise InvalidError("No presences (samples of the class 1) were found.")
    return training.samples[training.labels == 1], training.samples[training.labels == 0]


def _without_tests(presences: Floats, percentage: int, seed: int) -> Floats:
    """Return the presences that are not left for tests, in their order."""
    order = np.random.default_rng(seed % 2**32).permutation(len(presences))
    kept: Floats = presences[np.sort(order[len(presences) * percentage // 100 :])]
    return kept


def _positions(names: Sequence[str], schema: Sequence[str]) -> frozenset[int]:
    """Return the positions of the categorical inputs.

    Raises:
        InvalidError: if one is no input.
    """
    unknown = sorted(set(names) - set(schema))
    if unknown:
        raise InvalidError(f"The categorical input '{unknown[0]}' is none of the inputs: {', '.join(schema)[:500]}.")
    return frozenset(schema.index(name) for name in names)


def _missing(presences: Floats, background: Floats) -> Floats:
    """Return different presences that the background does not have."""
    known = {tuple(row) for row in background.tolist()}
    rows = dict.fromkeys(tuple(row) for row in presences.tolist())
    return np.array([row for row in rows if row not in known]).reshape(-1, presences.shape[1])
