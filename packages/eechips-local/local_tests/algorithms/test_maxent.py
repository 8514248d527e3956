"""``Classifier.amnhMaxent`` against Maxent 3.4.4 itself, and the conditions of its minimum."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from eechips_local.algorithms.maxent import MaxentModel, Penalties, fit_maxent
from eechips_local.algorithms.maxent_features import Background, FeatureTypes
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from eechips_local.values.values import Collection
from local_tests.support.graphs import Ready, invoke
from local_tests.support.graphs import evaluate as evaluate_graph
from local_tests.support.images import UTM, asset, evaluate, read, stored

if importlib.util.find_spec("sklearn") is None:
    pytest.skip("scikit-learn is not installed", allow_module_level=True)


def point(number: int) -> tuple[int, int]:
    return (37 * number) % 101, (53 * number * number + number) % 97


BACKGROUND = np.array([point(number) for number in range(80)], dtype=np.float64)
PRESENCES = np.array(
    [p for p in map(point, range(80, 2000)) if abs(p[0] - 60) < 20 and p[1] < 50][:20], dtype=np.float64
)
# Printed by Maxent 3.4.4 (github.com/mrmaxent/Maxent, ArchivedReleases/3.4.4) with its defaults and the options named,
# for the points above as samples with data: gains with and without regularization, entropy, and the cloglog output at
# every tenth background point. Its results have four digits; its fit ends within some 0.001 of the minimum.
PROGRAM: dict[str, tuple[dict[str, Any], tuple[float, float, float], list[float]]] = {
    "defaults": (
        {},
        (0.6233, 0.8491, 3.9815),
        [0.029402769, 0.146396697, 0.034301943, 0.110742619, 0.27097801, 0.152437494, 0.026583195, 0.802362674],
    ),
    "noautofeature nohinge": (
        {"autoFeature": False, "hinge": False},
        (0.3303, 0.4293, 4.2749),
        [0.561310087, 0.14919664, 0.09731382, 0.87768864, 0.254911429, 0.347450603, 0.324806049, 0.809125613],
    ),
    "noautofeature nohinge threshold noproduct": (
        {"autoFeature": False, "hinge": False, "threshold": True, "product": False},
        (0.4575, 0.6661, 4.1480),
        [0.322686275, 0.171050063, 0.049740707, 0.64294108, 0.291641718, 0.192803757, 0.17596146, 0.860201538],
    ),
    "noautofeature betamultiplier=2.5": (
        {"autoFeature": False, "betaMultiplier": 2.5},
        (0.3418, 0.6545, 4.2633),
        [0.195410724, 0.286202936, 0.138647634, 0.458815116, 0.407255738, 0.332486271, 0.174923136, 0.84007006],
    ),
}


def features(points: Any, labels: Any) -> Ready:
    rows = [
        invoke("Feature", geometry=None, metadata={"a": float(a), "b": float(b), "class": float(label)})
        for (a, b), label in zip(points, labels, strict=True)
    ]
    return invoke("Collection", features=rows)


def trained(**options: Any) -> Ready:
    labels = options.pop("labels", [0] * len(BACKGROUND) + [1] * len(PRESENCES))
    return invoke(
        "Classifier.train", classifier=invoke("Classifier.amnhMaxent", **options), classProperty="class",
        features=features(np.concatenate([BACKGROUND, PRESENCES]), labels), inputProperties=["a", "b"],
    )  # fmt: skip


def outputs(classifier: Ready, points: Any, name: str = "probability") -> Any:
    found = evaluate_graph(
        invoke("FeatureCollection.classify", features=features(points, np.zeros(len(points))), classifier=classifier)
    )
    assert isinstance(found, Collection)
    return np.array([feature.properties[name] for feature in found])


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAM)
def test_outputs_are_those_of_the_program(name: str) -> None:
    options, _, expected = PROGRAM[name]
    np.testing.assert_allclose(outputs(trained(**options), BACKGROUND[::10]), expected, atol=0.01)


def fitted(types: FeatureTypes, penalties: Penalties) -> MaxentModel:
    return fit_maxent(PRESENCES, np.concatenate([BACKGROUND, PRESENCES]), types, penalties, lambda: None)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAM)
def test_gain_and_entropy_are_those_of_the_program(name: str) -> None:
    types = {
        "defaults": FeatureTypes(product=False), "noautofeature nohinge": FeatureTypes(hinge=False),
        "noautofeature nohinge threshold noproduct": FeatureTypes(product=False, hinge=False, threshold=True),
        "noautofeature betamultiplier=2.5": FeatureTypes(),
    }[name]  # fmt: skip
    model = fitted(types, Penalties(multiplier=2.5 if "2.5" in name else 1))
    found = model.gain, model.gain + model.penalty, model.entropy
    np.testing.assert_allclose(found, PROGRAM[name][1], atol=0.002)


@pytest.mark.slow
@pytest.mark.parametrize("types", [FeatureTypes(), FeatureTypes(threshold=True), FeatureTypes(linear=False)])
def test_means_over_the_model_lie_within_the_regularization(types: FeatureTypes) -> None:
    """The condition of the minimum, for features that are evaluated one by one: Phillips et al. 2006, equation 4."""
    points, penalties = np.concatenate([BACKGROUND, PRESENCES]), Penalties()
    model = fitted(types, penalties)
    raw = model.predict(points, "raw", is_clamped=True)
    assert raw.sum() == pytest.approx(1)
    for feature, weight in zip(model.features, model.weights, strict=True):
        apart = float(raw @ feature.evaluate(points) - feature.evaluate(PRESENCES).mean())
        assert apart == pytest.approx(-np.sign(weight) * feature.penalty, abs=1e-3)
    space = Background(points, PRESENCES, types, penalties.of)
    assert not space.violating(raw, 1e-3)
    assert space.violating(np.full(len(points), 1 / len(points)), 1e-3)


@pytest.mark.slow
def test_outputs_follow_from_the_raw_one() -> None:
    raw, cloglog, logistic = (
        outputs(trained(outputFormat=form), BACKGROUND) for form in ("raw", "cloglog", "logistic")
    )
    scaled = -np.log1p(-cloglog)
    np.testing.assert_allclose(scaled / raw, np.exp(3.9815), rtol=0.01)
    np.testing.assert_allclose(logistic, scaled / (1 + scaled), rtol=1e-6)
    cumulative = outputs(trained(outputFormat="cumulative"), BACKGROUND)
    assert np.array_equal(np.argsort(raw, kind="stable"), np.argsort(cumulative, kind="stable"))
    assert 0 <= cumulative.min() <= cumulative.max() <= 100


@pytest.mark.slow
def test_an_image_has_the_bands_probability_and_clamp() -> None:
    values = np.random.default_rng(3).integers(0, 130, (2, *UTM.shape)).astype(np.uint8)
    valid = np.random.default_rng(4).random(UTM.shape) > 0.1
    image = evaluate(
        invoke("Image.classify", image=stored(), classifier=trained()), asset(values, names=["b", "a"], valid=valid)
    )
    assert [band.name for band in image.bands] == ["probability", "clamp"]
    probability, clamp = read(image)
    assert np.array_equal(probability.valid, valid)
    points = np.stack([values[1][valid], values[0][valid]], axis=1)[:400]
    np.testing.assert_allclose(probability.values[valid][:400], outputs(trained(), points))
    plain = outputs(trained(doClamp=False), points)
    np.testing.assert_allclose(clamp.values[valid][:400], np.abs(probability.values[valid][:400] - plain))
    inside = (points >= BACKGROUND.min(axis=0)).all(axis=1) & (points <= BACKGROUND.max(axis=0)).all(axis=1)
    assert clamp.values[valid][:400][inside].max() < 1e-12
    assert clamp.values.max() > 0.01
    closed = outputs(trained(extrapolate=False), points)
    np.testing.assert_array_equal(closed == 0, ~inside)


@pytest.mark.slow
def test_without_a_clamp_grid_there_is_one_band() -> None:
    image = evaluate(
        invoke("Image.classify", image=stored(), classifier=trained(writeClampGrid=False)),
        asset(np.full((2, *UTM.shape), 50, np.uint8), names=["a", "b"]),
    )
    assert [band.name for band in image.bands] == ["probability"]
    assert read(image)[0].values[0, 0] == pytest.approx(outputs(trained(), [(50, 50)])[0])


def test_categories_are_told_apart() -> None:
    """With one category alone, the model has a weight for each: the second has four times as many presences."""
    background, presences = np.repeat([[1.0], [2.0], [3.0]], 100, axis=0), np.repeat([[1.0], [2.0]], [20, 80], axis=0)
    types = FeatureTypes(False, False, False, False, False, frozenset({0}))
    model = fit_maxent(presences, background, types, Penalties(categorical=0.0), lambda: None)
    raw = model.predict(np.array([[1.0], [2.0], [3.0], [4.0]]), "raw", is_clamped=True)
    assert 100 * raw[:2] == pytest.approx([0.2, 0.8], abs=0.01)
    assert raw[2] == raw[3] < 1e-3


def test_explain_has_the_options() -> None:
    found = evaluate_graph(invoke("Classifier.explain", classifier=trained(betaMultiplier=2)))
    assert isinstance(found, dict)
    assert (found["betaMultiplier"], found["numberOfTrainingSamples"], found["classes"]) == (2.0, 100, [0, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputFormat": "odds"}, "Unknown outputFormat 'odds'"), ({"betaMultiplier": 0}, "must be positive"),
        ({"randomTestPoints": 100}, "within"), ({"categoricalNames": ["c"]}, "'c' is none of the inputs"),
        ({"labels": [0] * 100}, "No presences"), ({"labels": [2] * 100}, "must be 1 .presence. or 0"),
        ({"autoFeature": False, "linear": False, "quadratic": False, "product": False, "hinge": False}, "No features"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        outputs(trained(**options), BACKGROUND[:1])


def test_it_gives_no_classes() -> None:
    with pytest.raises(EarthEngineError, match="does not have the output mode CLASSIFICATION"):
        evaluate_graph(invoke("Classifier.setOutputMode", classifier=trained(), mode="CLASSIFICATION"))
    with pytest.raises(EarthEngineError, match="gives no classes"):
        evaluate_graph(invoke("Classifier.confusionMatrix", classifier=trained()))
