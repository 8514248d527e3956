"""``Classifier.smileRandomForest``, ``smileCart``, ``smileGradientTreeBoost``, ``smileKNN``, ``smileNaiveBayes``,
``minimumDistance``, ``libsvm``, ``spectralRegion``, ``decisionTree``: constructors; classifiers that were removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips_local.algorithms.classification import (
    Classifier,
    Floats,
    Model,
    Predictor,
    TrainingData,
    classes_of,
    fitted,
    is_of_numbers,
    learner,
)
from eechips_local.algorithms.decision_trees import most_frequent, parse_trees
from eechips_local.functions.registration import Implementation, function
from eechips_local.protocol.request_errors import InvalidError, check_choice

_TREES = ("CLASSIFICATION", "REGRESSION", "PROBABILITY", "MULTIPROBABILITY")
_FORESTS = (*_TREES, "RAW", "RAW_REGRESSION")
_CLASSES = ("CLASSIFICATION", "PROBABILITY", "MULTIPROBABILITY")
_MACHINE_MODES = {
    "ONE_CLASS": ("CLASSIFICATION",),
    "EPSILON_SVR": ("CLASSIFICATION", "REGRESSION"),
    "NU_SVR": ("REGRESSION",),
}


def _positive(**numbers: float | None) -> None:
    for name, value in numbers.items():
        if value is not None and value <= 0:
            raise InvalidError(f"{name} must be positive; found {value:g}.")


# Trees


@function("Classifier.smileRandomForest")
def smile_random_forest(
    numberOfTrees: int, variablesPerSplit: int | None, minLeafPopulation: int, bagFraction: float, maxNodes: int | None,
    seed: int,
) -> Classifier:  # fmt: skip
    """Return a random forest (Breiman 2001): https://developers.google.com/earth-engine/apidocs/ee-classifier-smilerandomforest."""
    _positive(numberOfTrees=numberOfTrees, variablesPerSplit=variablesPerSplit, minLeafPopulation=minLeafPopulation)
    if not 0 < bagFraction <= 1:
        raise InvalidError(f"The bagFraction must be within (0, 1]; found {bagFraction:g}.")

    def fit(training: TrainingData, mode: str) -> Model:
        ensemble = learner("ensemble")
        make = ensemble.RandomForestRegressor if is_of_numbers(mode) else ensemble.RandomForestClassifier
        inputs = training.samples.shape[1]
        forest = make(
            numberOfTrees,
            max_features=min(variablesPerSplit or max(1, int(np.sqrt(inputs))), inputs),
            min_samples_leaf=minLeafPopulation,
            max_samples=bagFraction,
            max_leaf_nodes=_leaves(maxNodes),
            random_state=seed % 2**32,
        )
        return fitted(forest, training, mode)

    options = {
        "numberOfTrees": numberOfTrees, "variablesPerSplit": variablesPerSplit, "minLeafPopulation": minLeafPopulation,
        "bagFraction": bagFraction, "maxNodes": maxNodes, "seed": seed,
    }  # fmt: skip
    return Classifier("smileRandomForest", options, fit, _FORESTS)


def _leaves(number: int | None) -> int | None:
    """Return a greatest number of leaves, of which a tree has at least two."""
    return None if number is None else max(2, number)


@function("Classifier.smileCart")
def smile_cart(maxNodes: int | None, minLeafPopulation: int) -> Classifier:
    """Return a classification and regression tree (Breiman et al. 1984)."""
    _positive(maxNodes=maxNodes, minLeafPopulation=minLeafPopulation)

    def fit(training: TrainingData, mode: str) -> Model:
        tree = learner("tree")
        make = tree.DecisionTreeRegressor if is_of_numbers(mode) else tree.DecisionTreeClassifier
        estimator = make(max_leaf_nodes=_leaves(maxNodes), min_samples_leaf=minLeafPopulation, random_state=0)
        return fitted(estimator, training, mode)

    return Classifier("smileCart", {"maxNodes": maxNodes, "minLeafPopulation": minLeafPopulation}, fit, _TREES)


_LOSSES = {"LeastSquares": "squared_error", "LeastAbsoluteDeviation": "absolute_error", "Huber": "huber"}


@function("Classifier.smileGradientTreeBoost")
def smile_gradient_tree_boost(
    numberOfTrees: int, shrinkage: float, samplingRate: float, maxNodes: int | None, loss: str, seed: int
) -> Classifier:
    """Return boosted trees (Friedman 2001, 2002)."""
    _positive(numberOfTrees=numberOfTrees, maxNodes=maxNodes)
    for name, value in (("shrinkage", shrinkage), ("samplingRate", samplingRate)):
        if not 0 < value <= 1:
            raise InvalidError(f"The {name} must be within (0, 1]; found {value:g}.")
    check_choice("loss", loss, _LOSSES)

    def fit(training: TrainingData, mode: str) -> Model:
        ensemble = learner("ensemble")
        options = {
            "n_estimators": numberOfTrees, "learning_rate": shrinkage, "subsample": samplingRate, "max_depth": None,
            "max_leaf_nodes": _leaves(maxNodes), "random_state": seed % 2**32,
        }  # fmt: skip
        if is_of_numbers(mode):
            return fitted(ensemble.GradientBoostingRegressor(loss=_LOSSES[loss], **options), training, mode)
        return fitted(ensemble.GradientBoostingClassifier(**options), training, mode)

    options = {
        "numberOfTrees": numberOfTrees, "shrinkage": shrinkage, "samplingRate": samplingRate, "maxNodes": maxNodes,
        "loss": loss, "seed": seed,
    }  # fmt: skip
    return Classifier("smileGradientTreeBoost", options, fit, _TREES)


# Neighbours, distances, probabilities

_METRICS = {
    "EUCLIDEAN": "euclidean",
    "MANHATTAN": "manhattan",
    "BRAYCURTIS": "braycurtis",
    "MAHALANOBIS": "mahalanobis",
}
_SEARCHES = ("AUTO", "LINEAR_SEARCH", "KD_TREE", "COVER_TREE")
_FEW_DIMENSIONS = 10


@function("Classifier.smileKNN")
def smile_knn(k: int, searchMethod: str, metric: str) -> Classifier:
    """Return a vote of the nearest samples. A k-d tree, and AUTO with less than 10 inputs, is always Euclidean."""
    _positive(k=k)
    check_choice("searchMethod", searchMethod, _SEARCHES)
    check_choice("metric", metric, _METRICS)

    def fit(training: TrainingData, mode: str) -> Model:
        few = training.samples.shape[1] < _FEW_DIMENSIONS
        used = "EUCLIDEAN" if searchMethod == "KD_TREE" or (searchMethod == "AUTO" and few) else metric
        options: dict[str, Any] = {"n_neighbors": min(k, max(1, len(training.samples))), "metric": _METRICS[used]}
        if used == "MAHALANOBIS":
            inverse = np.linalg.pinv(np.atleast_2d(np.cov(training.samples, rowvar=False)))
            options |= {"algorithm": "brute", "metric_params": {"VI": inverse}}
        return fitted(learner("neighbors").KNeighborsClassifier(**options), training, mode)

    modes = ("CLASSIFICATION", "PROBABILITY")
    return Classifier("smileKNN", {"k": k, "searchMethod": searchMethod, "metric": metric}, fit, modes)


@function("Classifier.smileNaiveBayes")
def smile_naive_bayes(lambda_: float) -> Classifier:
    """Return a multinomial model of counts; samples with negative inputs are left out of its training."""

    def fit(training: TrainingData, mode: str) -> Model:
        kept = (training.samples >= 0).all(axis=1)
        estimator = learner("naive_bayes").MultinomialNB(alpha=lambda_, force_alpha=True)
        model = fitted(estimator, TrainingData(training.samples[kept], training.labels[kept]), mode)
        return Predictor(lambda samples: model.predict(np.maximum(samples, 0)))

    return Classifier("smileNaiveBayes", {"lambda": lambda_}, fit, _CLASSES)


_DISTANCES = ("euclidean", "cosine", "mahalanobis", "manhattan")


@function("Classifier.minimumDistance")
def minimum_distance(metric: str, kNearest: int) -> Classifier:
    """Return the class whose mean is nearest.

    https://developers.google.com/earth-engine/apidocs/ee-classifier-minimumdistance
    """
    check_choice("metric", metric, _DISTANCES)
    _positive(kNearest=kNearest)
    options = {"metric": metric, "kNearest": kNearest}
    fit = partial(_fit_distances, metric, kNearest)
    return Classifier("minimumDistance", options, fit, ("CLASSIFICATION", "REGRESSION", "RAW"))


def _fit_distances(metric: str, nearest: int, training: TrainingData, mode: str) -> Model:
    labels = classes_of(training.labels)
    classes = np.unique(labels)
    if not len(classes):
        raise InvalidError("No valid training data were found.")
    groups = [training.samples[labels == label] for label in classes]
    means = np.stack([group.mean(axis=0) for group in groups])
    inverses = [np.linalg.pinv(np.atleast_2d(np.cov(g, rowvar=False))) if len(g) > 1 else None for g in groups]

    def distances(samples: Floats) -> Floats:
        columns = []
        for mean, inverse in zip(means, inverses, strict=True):
            apart = samples - mean
            if metric == "cosine":
                lengths = np.linalg.norm(samples, axis=1) * np.linalg.norm(mean)
                cosine = np.divide(samples @ mean, lengths, out=np.zeros(len(samples)), where=lengths > 0)
                columns.append(np.arccos(np.clip(cosine, -1, 1)))
            elif metric == "manhattan":
                columns.append(np.abs(apart).sum(axis=1))
            elif metric == "mahalanobis" and inverse is not None:
                columns.append(np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", apart, inverse, apart), 0)))
            else:
                columns.append(np.linalg.norm(apart, axis=1))
        return np.stack(columns, axis=1)

    def output(samples: Floats) -> npt.NDArray[Any]:
        class_distances = distances(samples)
        if mode == "RAW":
            return class_distances
        order = np.argsort(class_distances, axis=1, kind="stable")[:, : min(nearest, len(classes))]
        values = classes[order] if mode == "CLASSIFICATION" else np.take_along_axis(class_distances, order, axis=1)
        return values if nearest > 1 else values[:, 0]

    return Predictor(output)


# Support vectors

_KERNELS = {"LINEAR": "linear", "POLY": "poly", "RBF": "rbf", "SIGMOID": "sigmoid"}
_MACHINES = ("C_SVC", "NU_SVC", "ONE_CLASS", "EPSILON_SVR", "NU_SVR")


@function("Classifier.libsvm", "Classifier.svm")
def libsvm(
    decisionProcedure: str, svmType: str, kernelType: str, shrinking: bool, degree: int | None, gamma: float | None,
    coef0: float | None, cost: float | None, nu: float | None, terminationEpsilon: float | None,
    lossEpsilon: float | None, oneClass: int | None,
) -> Classifier:  # fmt: skip
    """Return a support vector machine of LIBSVM (Chang and Lin 2011), which decides by voting."""
    check_choice("decisionProcedure", decisionProcedure, ("Voting", "Margin"))
    if decisionProcedure == "Margin":
        raise InvalidError("The local Earth Engine does not have the decisionProcedure 'Margin', only 'Voting'.")
    check_choice("svmType", svmType, _MACHINES)
    check_choice("kernelType", kernelType, _KERNELS)
    common = {
        "kernel": _KERNELS[kernelType], "degree": 3 if degree is None else degree,
        "gamma": "auto" if gamma is None else gamma, "coef0": 0.0 if coef0 is None else coef0,
        "shrinking": shrinking, "tol": 0.001 if terminationEpsilon is None else terminationEpsilon,
    }  # fmt: skip
    price, share = 1.0 if cost is None else cost, 0.5 if nu is None else nu
    machines = {
        "C_SVC": ("SVC", {"C": price}), "NU_SVC": ("NuSVC", {"nu": share}), "ONE_CLASS": ("OneClassSVM", {"nu": share}),
        "EPSILON_SVR": ("SVR", {"C": price, "epsilon": 0.1 if lossEpsilon is None else lossEpsilon}),
        "NU_SVR": ("NuSVR", {"C": price, "nu": share}),
    }  # fmt: skip

    def fit(training: TrainingData, mode: str) -> Model:
        name, own = machines[svmType]
        is_probable = svmType.endswith("SVC") and "PROBABILITY" in mode
        probable = {"probability": True, "random_state": 0} if is_probable else {}
        machine = getattr(learner("svm"), name)(**own, **common, **probable)
        if svmType == "ONE_CLASS":
            return _fit_one_class(machine, training, oneClass or 0)
        return fitted(machine, training, "REGRESSION" if svmType.endswith("SVR") else mode)

    modes = _MACHINE_MODES.get(svmType, _CLASSES)
    options = {
        "decisionProcedure": decisionProcedure, "svmType": svmType, "kernelType": kernelType, "shrinking": shrinking,
        "degree": degree, "gamma": gamma, "coef0": coef0, "cost": cost, "nu": nu,
        "terminationEpsilon": terminationEpsilon, "lossEpsilon": lossEpsilon, "oneClass": oneClass,
    }  # fmt: skip
    return Classifier("libsvm", options, fit, modes, "REGRESSION" if svmType.endswith("SVR") else "CLASSIFICATION")


def _fit_one_class(estimator: Any, training: TrainingData, label: int) -> Model:
    """Return a model that gives the label for samples like those of that class, and the other of 0 and 1 elsewhere."""
    samples = training.samples[training.labels == label]
    if not len(samples):
        raise InvalidError(f"No training data of the class {label} were found.")
    estimator.fit(samples)
    return Predictor(lambda points: np.where(estimator.predict(points) > 0, label, 1 - label))


# Without training


@function("Classifier.spectralRegion")
def spectral_region(coordinates: Sequence[Sequence[float]], schema: Sequence[str] | None) -> Classifier:
    """Return 1 where two inputs lie in a polygon, else 0: inside, an odd number of rings is around a point."""
    names = tuple(schema) if schema is not None else ("u", "v")
    if len(names) != 2:
        raise InvalidError(f"The schema must name two inputs; found {len(names)}.")
    if any(len(ring) < 6 or len(ring) % 2 for ring in coordinates):
        raise InvalidError("A ring needs the coordinates of at least three points.")
    rings = [shapely.Polygon(np.reshape(ring, (-1, 2))) for ring in coordinates]

    def inside(samples: Floats) -> npt.NDArray[Any]:
        around = [shapely.contains_xy(ring, samples[:, 0], samples[:, 1]) for ring in rings]
        inside_of = np.sum([np.zeros(len(samples), dtype=np.int64), *around], axis=0)
        return np.asarray(inside_of % 2)

    return Classifier(
        "spectralRegion", {"coordinates": coordinates}, lambda *_: Predictor(inside), ("CLASSIFICATION",), schema=names
    )


@function("Classifier.decisionTree")
def decision_tree(treeString: str) -> Classifier:
    """Return the classifier of a tree in R's text format; a text of several trees is an ensemble."""
    return _of_trees("decisionTree", {"treeString": treeString}, [treeString])


@function("Classifier.decisionTreeEnsemble")
def decision_tree_ensemble(treeStrings: Sequence[str]) -> Classifier:
    """Return the classifier of trees in R's text format.

    Earth Engine does not document how it joins trees. Scripts use its ensembles, in the default mode, for classes and
    for numbers: where all leaves of all trees are whole numbers, the result is the most frequent value of the trees
    (the least of several), else their mean. ``REGRESSION`` is always the mean, as is ``PROBABILITY`` of trees whose
    leaves are probabilities, which geemap writes and code 1992105415 applies. ``RAW`` is the value of each tree.
    """
    return _of_trees("decisionTreeEnsemble", {"treeStrings": treeStrings}, treeStrings)


def _of_trees(kind: str, options: Mapping[str, Any], texts: Sequence[str]) -> Classifier:
    if not texts:
        raise InvalidError("A decision tree ensemble needs at least one tree.")
    ensemble = parse_trees(texts)
    leaves = ensemble.leaf_values
    has_classes = bool(np.equal(leaves, np.floor(leaves)).all())

    def fit(training: TrainingData, mode: str) -> Model:
        def output(samples: Floats) -> npt.NDArray[Any]:
            if mode in ("RAW", "RAW_REGRESSION"):
                return ensemble.votes(samples)
            if mode != "CLASSIFICATION" or not has_classes:
                return ensemble.reduce(samples, lambda votes: np.asarray(votes.mean(axis=1)))
            return ensemble.reduce(samples, most_frequent).astype(np.int64)

        return Predictor(output)

    modes: tuple[str, ...] = ("CLASSIFICATION", "REGRESSION", "RAW", "RAW_REGRESSION")
    if (leaves >= 0.0).all() and (leaves <= 1.0).all():
        modes += ("PROBABILITY",)
    return Classifier(kind, options, fit, modes, schema=ensemble.names, values=tuple(leaves.tolist()))


def _removed(**_: Any) -> Classifier:
    """Raise the service's error of a classifier that it does not have any more."""
    raise InvalidError(
        "This classifier has been removed. For more information see: https://goo.gle/deprecated-classifiers."
    )


_REMOVED = (
    "cart", "continuousNaiveBayes", "gmoLinearRegression", "gmoMaxEnt", "ikpamir", "naiveBayes", "pegasosGaussian",
    "pegasosLinear", "pegasosPolynomial",
)  # fmt: skip

FUNCTIONS: Mapping[str, Implementation] = {f"Classifier.{name}": Implementation(_removed) for name in _REMOVED}
"""Classifiers that Earth Engine has removed: https://goo.gle/deprecated-classifiers."""
