"""Classifiers and clusterers against scikit-learn's own answers, numpy, and data that are easy to part."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from eechips_local.algorithms.classification import Classifier, Predictor, TrainingData, fitted, learner
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from eechips_local.values.values import Collection
from local_tests.support.graphs import Ready, call, invoke
from local_tests.support.graphs import evaluate as evaluate_graph
from local_tests.support.images import UTM, asset, evaluate, read, stored, values_of

if importlib.util.find_spec("sklearn") is None:  # importing it would take a second in every process
    pytest.skip("scikit-learn is not installed", allow_module_level=True)

SHAPE = UTM.shape
RANDOM = np.random.default_rng(11)
CENTRES = {0: (20.0, 200.0), 1: (120.0, 60.0), 4: (220.0, 220.0)}
POINTS = np.concatenate([RANDOM.normal(centre, 12, (40, 2)).clip(0, 255).round() for centre in CENTRES.values()])
LABELS = np.repeat(list(CENTRES), 40)


def features(points: Any = POINTS, labels: Any = LABELS) -> Ready:
    rows = [
        invoke("Feature", geometry=None, metadata={"a": float(a), "b": float(b), "class": float(label)})
        for (a, b), label in zip(points, labels, strict=True)
    ]
    return invoke("Collection", features=rows)


def trained(name: str, mode: str | None = None, points: Any = POINTS, labels: Any = LABELS, **options: Any) -> Ready:
    classifier = invoke(f"Classifier.{name}", **options)
    if mode is not None:
        classifier = invoke("Classifier.setOutputMode", classifier=classifier, mode=mode)
    return invoke(
        "Classifier.train", classifier=classifier, features=features(points, labels), classProperty="class",
        inputProperties=["a", "b"],
    )  # fmt: skip


def outputs(classifier: Ready, points: Any = POINTS) -> Any:
    found = evaluate_graph(
        invoke("FeatureCollection.classify", features=features(points, np.zeros(len(points))), classifier=classifier)
    )
    assert isinstance(found, Collection)
    return np.array([feature.properties["classification"] for feature in found])


ALL = [
    ("smileRandomForest", {"numberOfTrees": 20}), ("smileCart", {}), ("smileKNN", {"k": 5}),
    ("smileGradientTreeBoost", {"numberOfTrees": 20, "shrinkage": 0.1}), ("smileNaiveBayes", {}),
    ("minimumDistance", {}), ("libsvm", {"kernelType": "RBF", "gamma": 0.001, "cost": 10}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), ALL)
class TestEveryClassifier:
    def test_classes_that_lie_apart_are_found(self, name: str, options: dict[str, Any]) -> None:
        found = outputs(trained(name, **options))
        assert found.dtype == np.int64
        assert np.mean(found == LABELS) > 0.95
        centres = np.array(list(CENTRES.values()))
        assert outputs(trained(name, **options), centres).tolist() == list(CENTRES)

    def test_pixels_are_classified_as_features(self, name: str, options: dict[str, Any]) -> None:
        values = RANDOM.integers(0, 255, (2, *SHAPE)).astype(np.uint8)
        valid = RANDOM.random((2, *SHAPE)) > 0.1
        image = evaluate(
            invoke("Image.classify", image=stored(), classifier=trained(name, **options)),
            asset(values, names=["b", "a"], valid=valid),
        )
        (pixels,) = read(image)
        assert [band.name for band in image.bands] == ["classification"]
        assert (image.bands[0].type.minimum, image.bands[0].type.maximum) == (0, 4)
        assert np.array_equal(pixels.valid, valid.all(axis=0))
        some = np.stack([values[1][pixels.valid], values[0][pixels.valid]], axis=1)[:300]
        assert np.array_equal(pixels.values[pixels.valid][:300], outputs(trained(name, **options), some))

    def test_the_same_seed_gives_the_same(self, name: str, options: dict[str, Any]) -> None:
        points = RANDOM.uniform(0, 255, (50, 2))
        assert np.array_equal(outputs(trained(name, **options), points), outputs(trained(name, **options), points))


class TestModes:
    def test_probabilities_of_two_classes_are_those_of_the_greater(self) -> None:
        two = LABELS < 4
        classifier = trained("smileRandomForest", "PROBABILITY", POINTS[two], LABELS[two], numberOfTrees=30)
        found = outputs(classifier, np.array([CENTRES[0], CENTRES[1]]))
        assert found[0] < 0.1
        assert found[1] > 0.9

    def test_several_probabilities_add_up_to_one(self) -> None:
        found = outputs(trained("smileRandomForest", "MULTIPROBABILITY", numberOfTrees=30))
        assert found.shape == (len(POINTS), 3)
        assert np.allclose(found.sum(axis=1), 1)
        assert np.mean(np.array(list(CENTRES))[found.argmax(axis=1)] == LABELS) > 0.95

    def test_arrays_become_array_bands(self) -> None:
        values = np.stack([np.full(SHAPE, value, dtype=np.uint8) for value in CENTRES[1]])
        classifier = trained("smileRandomForest", "MULTIPROBABILITY", numberOfTrees=10)
        image = evaluate(
            invoke("Image.arrayGet", image=invoke("Image.classify", image=stored(), classifier=classifier), position=1),
            asset(values, names=["a", "b"]),
        )
        assert (values_of(image) > 0.9).all()

    def test_regression_follows_a_plane(self) -> None:
        points = RANDOM.uniform(0, 100, (600, 2))
        labels = 2 * points[:, 0] + points[:, 1] / 2
        classifier = trained("smileRandomForest", "REGRESSION", points, labels, numberOfTrees=40)
        found = outputs(classifier, np.array([[50.0, 50.0], [20.0, 80.0]]))
        assert np.allclose(found, [125, 80], atol=12)

    def test_raw_votes_are_those_of_the_trees(self) -> None:
        found = outputs(trained("smileRandomForest", "RAW", numberOfTrees=7), np.array([CENTRES[4]]))
        assert found.shape == (1, 7)
        assert set(found.ravel().tolist()) <= set(CENTRES)

    def test_each_classifier_has_the_documented_modes(self) -> None:
        """Test the table of https://developers.google.com/earth-engine/guides/classification#classifier_output_modes.

        Scripts set REGRESSION of EPSILON_SVR (codes 7896606775, 29591806737), which the table leaves out.
        """
        trees, classes = "CLASSIFICATION REGRESSION PROBABILITY MULTIPROBABILITY", "CLASSIFICATION PROBABILITY"
        all_classes = f"{classes} MULTIPROBABILITY"
        documented: Mapping[tuple[str, str | None], str] = {
            ("amnhMaxent", None): "PROBABILITY", ("minimumDistance", None): "CLASSIFICATION REGRESSION RAW",
            ("smileCart", None): trees, ("smileGradientTreeBoost", None): trees, ("smileKNN", None): classes,
            ("smileNaiveBayes", None): all_classes,
            ("smileRandomForest", None): f"{trees} RAW RAW_REGRESSION", ("libsvm", "C_SVC"): all_classes,
            ("libsvm", "NU_SVC"): all_classes, ("libsvm", "ONE_CLASS"): "CLASSIFICATION",
            ("libsvm", "EPSILON_SVR"): "CLASSIFICATION REGRESSION", ("libsvm", "NU_SVR"): "REGRESSION",
        }  # fmt: skip
        for (name, kind), modes in documented.items():
            options = {"numberOfTrees": 2} if "tree" in name.lower() or "Forest" in name else {}
            classifier = evaluate_graph(invoke(f"Classifier.{name}", **options, **({"svmType": kind} if kind else {})))
            assert isinstance(classifier, Classifier)
            assert set(classifier.modes) == set(modes.split()), (name, kind)

    def test_unknown_modes_are_named(self) -> None:
        with pytest.raises(InvalidError, match="does not have the output mode RAW"):
            outputs(trained("smileCart", "RAW"))
        with pytest.raises(InvalidError, match="Unknown output mode 'X'"):
            outputs(trained("smileCart", "X"))


class TestMinimumDistance:
    """developers.google.com/earth-engine/apidocs/ee-classifier-minimumdistance, against numpy."""

    MEANS = np.stack([POINTS[label == LABELS].mean(axis=0) for label in CENTRES])
    POINT = np.array([[100.0, 100.0]])

    @pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine"])
    def test_raw_distances_to_every_centre(self, metric: str) -> None:
        distance = pytest.importorskip("scipy.spatial.distance")
        scipy_name = "cityblock" if metric == "manhattan" else metric
        expected = distance.cdist(self.POINT, self.MEANS, scipy_name)[0]
        if metric == "cosine":
            expected = np.arccos(1 - expected)
        found = outputs(trained("minimumDistance", "RAW", metric=metric), self.POINT)[0]
        assert np.allclose(found, expected)
        nearest = outputs(trained("minimumDistance", "REGRESSION", metric=metric), self.POINT)
        assert np.allclose(nearest, expected.min())

    def test_mahalanobis(self) -> None:
        distance = pytest.importorskip("scipy.spatial.distance")
        found = outputs(trained("minimumDistance", "RAW", metric="mahalanobis"), self.POINT)[0]
        for position, label in enumerate(CENTRES):
            group = POINTS[label == LABELS]
            inverse = np.linalg.inv(np.cov(group, rowvar=False))
            assert np.isclose(found[position], distance.mahalanobis(self.POINT[0], group.mean(axis=0), inverse))

    def test_several_neighbours_are_an_array(self) -> None:
        found = outputs(trained("minimumDistance", kNearest=2), self.POINT)
        order = np.argsort(np.linalg.norm(self.MEANS - self.POINT, axis=1))[:2]
        assert found.tolist() == [np.array(list(CENTRES))[order].tolist()]


class TestSupportVectors:
    def test_it_is_libsvm(self) -> None:
        from sklearn.svm import SVC

        points = RANDOM.uniform(0, 255, (80, 2))
        expected = SVC(kernel="poly", degree=2, gamma=0.5, coef0=1).fit(POINTS, LABELS).predict(points)
        classifier = trained("libsvm", kernelType="POLY", degree=2, gamma=0.5, coef0=1)
        assert np.array_equal(outputs(classifier, points), expected)

    def test_one_class(self) -> None:
        labels = (LABELS == 1).astype(int)
        found = outputs(
            trained(
                "libsvm", None, POINTS, labels, svmType="ONE_CLASS", kernelType="RBF", gamma=1e-3, nu=0.1, oneClass=1
            ),
            np.array([CENTRES[1], CENTRES[4]]),
        )
        assert found.tolist() == [1, 0]

    def test_regression_is_its_mode(self) -> None:
        points = RANDOM.uniform(0, 10, (200, 2))
        classifier = trained("libsvm", None, points, points @ [3, 1], svmType="EPSILON_SVR", cost=10)
        assert np.allclose(outputs(classifier, np.array([[5.0, 5.0]])), 20, atol=0.2)

    def test_decisions_by_margin_are_refused(self) -> None:
        with pytest.raises(InvalidError, match="does not have the decisionProcedure 'Margin'"):
            call("Classifier.libsvm", decisionProcedure="Margin")


def test_a_spectral_region_is_a_polygon_with_holes() -> None:
    ring, hole = [0, 0, 100, 0, 100, 100, 0, 100], [40, 40, 60, 40, 60, 60, 40, 60]
    region = invoke("Classifier.spectralRegion", coordinates=[ring, hole], schema=["a", "b"])
    assert outputs(region, np.array([[10.0, 10.0], [50.0, 50.0], [200.0, 10.0]])).tolist() == [1, 0, 0]


class TestTraining:
    def test_samples_of_an_image_name_their_bands(self) -> None:
        """``inputProperties`` may be left out for what Image.sample gives."""
        values = np.stack([np.where(np.arange(SHAPE[1]) < 30, 10, 200) * np.ones(SHAPE), np.zeros(SHAPE)])
        values[1] = values[0] > 100
        image = asset(values.astype(np.uint8), names=["x", "label"])
        sample = invoke("Image.sample", image=stored(), scale=10)
        assert evaluate(sample, image).properties == {"band_order": ["x", "label"]}
        classifier = invoke(
            "Classifier.train", classifier=invoke("Classifier.smileCart"), features=sample, classProperty="label"
        )
        assert evaluate(invoke("Classifier.schema", classifier=classifier), image) == ["x", "label"]
        model = invoke("Classifier.setOutputMode", classifier=classifier, mode="REGRESSION")
        evaluate(invoke("Image.classify", image=stored(), classifier=model), image)
        assert not image.bands[0].source.windows  # type: ignore[attr-defined]  # no pixel is read for a band's name
        found = values_of(evaluate(invoke("Image.classify", image=stored(), classifier=classifier), image))
        assert np.array_equal(found, values[1])

    def test_the_confusion_matrix_is_that_of_the_training_data(self) -> None:
        matrix = evaluate_graph(invoke("Classifier.confusionMatrix", classifier=trained("smileCart")))
        assert matrix.values.shape == (5, 5)
        assert matrix.values.diagonal().tolist() == [40, 40, 0, 0, 40]
        assert matrix.values.sum() == 120

    def test_what_a_classifier_says_of_itself(self) -> None:
        found = evaluate_graph(
            invoke("Classifier.explain", classifier=trained("smileRandomForest", numberOfTrees=10, seed=3))
        )
        assert found["numberOfTrees"] == 10
        assert found["classes"] == [0, 1, 4]
        assert set(found["importance"]) == {"a", "b"}
        assert np.isclose(sum(found["importance"].values()), 100)
        assert 0 <= found["outOfBagErrorEstimate"] <= 1
        assert evaluate_graph(invoke("Classifier.mode", classifier=trained("smileCart"))) == "CLASSIFICATION"

    @pytest.mark.parametrize("mode", ["CLASSIFICATION", "REGRESSION"])
    def test_the_error_out_of_bag_is_that_of_scikit_learn(self, mode: str) -> None:
        random = np.random.default_rng(0)
        samples = random.normal(size=(300, 3))
        labels = np.where(samples[:, 0] + random.normal(0, 0.5, 300) > 0, 2.0, 0.0)
        ensemble = learner("ensemble")
        make = ensemble.RandomForestClassifier if mode == "CLASSIFICATION" else ensemble.RandomForestRegressor
        forest = make(100, max_samples=0.5, oob_score=True, random_state=1)
        model = fitted(forest, TrainingData(samples, labels), mode)
        assert isinstance(model, Predictor)
        assert model.out_of_bag is not None
        if mode == "CLASSIFICATION":
            assert model.out_of_bag() == pytest.approx(1 - forest.oob_score_, abs=0.02)
        else:
            assert model.out_of_bag() == pytest.approx(np.sqrt(np.mean((forest.oob_prediction_ - labels) ** 2)))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"inputProperties": ["a", "z"]}, "Property 'z' of feature '0' is missing"),
            ({"inputProperties": ["a"], "classProperty": "name"}, "Property 'name' of feature '0' is not a number"),
            ({}, "the collection has no property 'band_order'"),
            ({"inputProperties": ["a"], "subsampling": 0}, r"subsampling must be within \(0, 1\]"),
        ],
    )
    def test_what_training_needs(self, options: dict[str, Any], message: str) -> None:
        row = invoke("Feature", geometry=None, metadata={"a": 1, "class": 0, "name": "x"})
        arguments = {
            "classifier": invoke("Classifier.smileCart"), "features": invoke("Collection", features=[row]),
            "classProperty": "class", **options,
        }  # fmt: skip
        with pytest.raises(InvalidError, match=message):
            call("Classifier.explain", classifier=invoke("Classifier.train", **arguments))

    def test_a_classifier_without_training_is_refused(self) -> None:
        with pytest.raises(InvalidError, match="must be trained before it is used"):
            call("Classifier.confusionMatrix", classifier=invoke("Classifier.smileCart"))
        assert call("Classifier.schema", classifier=invoke("Classifier.smileCart")) is None

    def test_missing_bands_are_refused(self) -> None:
        with pytest.raises(InvalidError, match="does not contain all the bands which the classifier expects"):
            evaluate(
                invoke("Image.classify", image=stored(), classifier=trained("smileCart")),
                asset(np.zeros(SHAPE, dtype=np.uint8)),
            )

    def test_removed_classifiers_have_the_message_of_the_service(self) -> None:
        with pytest.raises(EarthEngineError, match=r"Classifier\.cart: This classifier has been removed"):
            call("Classifier.cart")


class TestClusterers:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "options"),
        [("wekaKMeans", {"nClusters": 3, "init": 1}), ("wekaCascadeKMeans", {"minClusters": 2, "maxClusters": 6})],
    )
    def test_groups_that_lie_apart_are_found(self, name: str, options: dict[str, Any]) -> None:
        clusterer = invoke(
            "Clusterer.train", clusterer=invoke(f"Clusterer.{name}", **options), features=features(),
            inputProperties=["a", "b"],
        )  # fmt: skip
        found = evaluate_graph(invoke("FeatureCollection.cluster", features=features(), clusterer=clusterer))
        groups = np.array([feature.properties["cluster"] for feature in found])
        assert set(groups.tolist()) == {0, 1, 2}
        assert all(len(set(groups[label == LABELS].tolist())) == 1 for label in CENTRES)
        assert evaluate_graph(invoke("Clusterer.schema", clusterer=clusterer)) == ["a", "b"]

    def test_pixels(self) -> None:
        values = np.stack([np.where(np.arange(SHAPE[1]) < 30, 20, 220) * np.ones(SHAPE)] * 2).astype(np.uint8)
        image = asset(values, names=["a", "b"])
        clusterer = invoke(
            "Clusterer.train", clusterer=invoke("Clusterer.wekaKMeans", nClusters=2),
            features=invoke("Image.sample", image=stored(), scale=10, numPixels=100),
        )  # fmt: skip
        found = evaluate(invoke("Image.cluster", image=stored(), clusterer=clusterer), image)
        assert [band.name for band in found.bands] == ["cluster"]
        groups = values_of(found)
        assert len(set(groups[:, :30].ravel().tolist())) == len(set(groups[:, 30:].ravel().tolist())) == 1
        assert groups[0, 0] != groups[0, 60]

    def test_what_is_not_there_is_refused(self) -> None:
        with pytest.raises(InvalidError, match="by the distanceFunction 'Euclidean', not 'Manhattan'"):
            call("Clusterer.wekaKMeans", nClusters=2, distanceFunction="Manhattan")
        with pytest.raises(InvalidError, match="not by 2"):
            call("Clusterer.wekaKMeans", nClusters=2, init=2)
