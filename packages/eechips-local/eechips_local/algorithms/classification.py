"""Train and apply ``ee.Classifier`` and ``ee.Clusterer`` with scikit-learn: output modes, classes that must be whole
numbers, PROBABILITY's two classes, votes, out-of-bag error.

Earth Engine uses the models of Smile, LIBSVM and Weka. scikit-learn contains LIBSVM too. Its trees, forests and
clusters use the same algorithms, but draw other random numbers: single predictions may differ, accuracies do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.decision_trees import tree_text
from eechips_local.evaluation.lazy_values import Later
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.protocol.request_errors import InvalidError, check_choice

Floats = npt.NDArray[np.float64]

MODES = ("CLASSIFICATION", "REGRESSION", "PROBABILITY", "MULTIPROBABILITY", "RAW", "RAW_REGRESSION")
_OF_NUMBERS = ("REGRESSION", "RAW_REGRESSION")
_OF_ARRAYS = ("MULTIPROBABILITY", "RAW", "RAW_REGRESSION")
_CHUNK = 1 << 18
"""Samples that are predicted together."""


class Model(Protocol):
    """What is fitted to training data."""

    def predict(self, samples: Floats) -> npt.NDArray[Any]:
        """Return a number for each sample of shape (samples, inputs), or an array of shape (samples, outputs)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Samples with their classes.

    Attributes:
        samples: shape (samples, inputs).
        labels: shape (samples,): whole numbers for classification.
        inputs: names of the inputs; empty where nothing asks for them.
    """

    samples: Floats
    labels: Floats
    inputs: tuple[str, ...] = ()


Fit = Callable[[TrainingData, str], Model]
"""Fits a model to training data, for one of ``MODES``."""


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """An ``ee.Classifier``.

    Attributes:
        kind: name of its constructor, such as "smileCart".
        options: arguments of the constructor.
        fit: fits its model.
        modes: output modes that it has.
        mode: one of them.
        schema: names of its inputs; None until it is trained.
        read_training: returns what it is trained on. None until then, or if it needs no training.
        values: what a classifier that needs no training can return, in ascending order.
        outputs: names of its outputs, if it says them itself; it then predicts an array of shape (samples, outputs).
    """

    kind: str
    options: Mapping[str, Any]
    fit: Fit
    modes: tuple[str, ...]
    mode: str = "CLASSIFICATION"
    schema: tuple[str, ...] | None = None
    read_training: Callable[[], TrainingData] | None = None
    values: tuple[float, ...] = (0, 1)
    outputs: tuple[str, ...] = ()
    _models: dict[str, Model] = field(default_factory=dict, repr=False)

    @property
    def description(self) -> Mapping[str, Any]:
        """Type and options that differ from their defaults, as ``getInfo`` shows them."""
        name = f"Classifier.{self.kind}"
        return {"type": name, **load_signatures()[name].differing(self.options)}

    @property
    def training(self) -> TrainingData | None:
        """What it is trained on, which is read when it is first used. None until then, or if it needs no training.

        Raises:
            InvalidError: if the training data do not suit.
        """
        return None if self.read_training is None else self.read_training()

    @property
    def has_arrays(self) -> bool:
        """Return whether the output is an array."""
        return self.mode in _OF_ARRAYS or self.options.get("kNearest", 1) > 1

    @property
    def is_integer(self) -> bool:
        """Return whether the output is a class."""
        has_classes = self.read_training is not None or all(value == int(value) for value in self.values)
        return self.mode == "CLASSIFICATION" and has_classes

    def with_mode(self, mode: str) -> Classifier:
        """Return a copy with another output mode.

        Raises:
            InvalidError: if it does not have that mode.
        """
        check_choice("output mode", mode, MODES)
        if mode not in self.modes:
            raise InvalidError(f"The classifier {self.kind} does not have the output mode {mode}.")
        return replace(self, mode=mode, _models={})

    def trained(self, read_training: Callable[[], TrainingData], schema: Sequence[str]) -> Classifier:
        """Return a copy with training data, which are read once, when they are first needed."""
        return replace(self, read_training=cache(read_training), schema=tuple(schema), _models={})

    def check_classes(self) -> None:
        """Refuse what the service refuses of a probability: a public script quotes "found 1".

        Raises:
            InvalidError: if the mode is that of two classes, and the training data have another number.
        """
        is_of_two = self.mode == "PROBABILITY" and "CLASSIFICATION" in self.modes
        if is_of_two and (training := self.training) is not None:
            count = len(np.unique(training.labels))
            if count != 2:
                raise InvalidError(f"Expected 2 classes for PROBABILITY, found {count}.")

    @property
    def model(self) -> Model:
        """The model of the mode, fitted when it is first used.

        Raises:
            InvalidError: if the classifier is not trained.
        """
        if self.schema is None:
            raise InvalidError("The classifier must be trained before it is used.")
        if self.mode not in self._models:
            training = self.training or TrainingData(np.zeros((0, len(self.schema))), np.zeros(0))
            self._models[self.mode] = self.fit(training, self.mode)
        return self._models[self.mode]

    def importances(self) -> Floats | None:
        """Return the share of each input in the decrease of impurity; None of a model that does not know it."""
        return getattr(self.model, "importances", None)

    def out_of_bag_error(self) -> float | None:
        """Return the error of a forest at samples by trees that were not grown from them; None of other models."""
        estimate = getattr(self.model, "out_of_bag", None)
        return None if estimate is None else estimate()

    def tree_texts(self) -> Mapping[str, Later]:
        """Return ``tree`` or ``trees`` of ``explain`` as text, which may be long; empty without trees."""
        texts = getattr(self.model, "tree_texts", None)
        return {} if texts is None or self.schema is None else texts(self.schema)

    def classify(self, samples: Floats) -> npt.NDArray[Any]:
        """Return the output for each sample: shape (samples,), or (samples, outputs) for arrays."""
        return predict(self.model, samples)


@dataclass(frozen=True, slots=True, eq=False)
class Clusterer:
    """An ``ee.Clusterer``.

    Attributes:
        kind: name of its constructor, such as "wekaKMeans".
        options: arguments of the constructor.
        fit: fits its model to samples of shape (samples, inputs).
        schema: names of its inputs; None until it is trained.
        read_samples: returns what it is trained on.
    """

    kind: str
    options: Mapping[str, Any]
    fit: Callable[[Floats], Model]
    schema: tuple[str, ...] | None = None
    read_samples: Callable[[], Floats] | None = None
    _models: list[Model] = field(default_factory=list, repr=False)

    @property
    def description(self) -> Mapping[str, Any]:
        """Type and options that differ from their defaults, as ``getInfo`` shows them."""
        name = f"Clusterer.{self.kind}"
        return {"type": name, **load_signatures()[name].differing(self.options)}

    def trained(self, read_samples: Callable[[], Floats], schema: Sequence[str]) -> Clusterer:
        """Return a copy with training data, which are read once, when they are first needed."""
        return replace(self, read_samples=cache(read_samples), schema=tuple(schema), _models=[])

    def check_samples(self) -> None:
        """Read the training data, if there are any.

        Raises:
            InvalidError: if they do not suit.
        """
        if self.read_samples is not None:
            self.read_samples()

    def cluster(self, samples: Floats) -> npt.NDArray[Any]:
        """Return the number of the cluster of each sample.

        Raises:
            InvalidError: if the clusterer is not trained.
        """
        if self.schema is None or self.read_samples is None:
            raise InvalidError("The clusterer must be trained before it is used.")
        if not self._models:
            self._models.append(self.fit(self.read_samples()))
        return predict(self._models[0], samples)


def predict(model: Model, samples: Floats) -> npt.NDArray[Any]:
    """Return a model's output for samples, some at a time."""
    parts = [model.predict(samples[start : start + _CHUNK]) for start in range(0, max(len(samples), 1), _CHUNK)]
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """A model that is a function.

    Attributes:
        function: predicts.
        importances: share of each input in the decrease of impurity, of shape (inputs,); None where it is unknown.
        out_of_bag: returns the error at samples by trees that were not grown from them; None of other models.
        tree_texts: returns the texts of trees, by their key in ``explain``, from the names of the inputs; None of other
            models.
    """

    function: Callable[[Floats], npt.NDArray[Any]]
    importances: Floats | None = None
    out_of_bag: Callable[[], float | None] | None = None
    tree_texts: Callable[[Sequence[str]], Mapping[str, Later]] | None = None

    def predict(self, samples: Floats) -> npt.NDArray[Any]:
        """Call the function."""
        return self.function(samples)


def learner(name: str) -> Any:
    """Return a module of scikit-learn.

    Raises:
        InvalidError: if it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(f"sklearn.{name}")
    except ModuleNotFoundError:
        raise InvalidError(
            "Classifiers of the local Earth Engine need scikit-learn: pip install 'eechips-local[classifiers]'."
        ) from None


def is_of_numbers(mode: str) -> bool:
    """Return whether a mode's model predicts numbers rather than classes."""
    return mode in _OF_NUMBERS


def fitted(estimator: Any, training: TrainingData, mode: str) -> Model:
    """Return an estimator of scikit-learn, fitted, with the output of a mode.

    ``PROBABILITY`` is that of the greater of two classes, as maps of a species' probability rely on.

    Raises:
        InvalidError: if the training data do not suit.
    """
    labels = training.labels if is_of_numbers(mode) else classes_of(training.labels)
    if not len(labels):
        raise InvalidError("No valid training data were found.")
    if len(np.unique(labels)) < 2 and not is_of_numbers(mode):
        return Predictor(lambda samples: _alike(labels[0], mode, len(samples)))
    try:
        estimator.fit(training.samples, labels)
    except ValueError as error:
        raise InvalidError(f"The classifier cannot be trained: {error}") from error
    is_forest = hasattr(type(estimator), "estimators_samples_")
    return Predictor(
        _output(estimator, mode),
        getattr(estimator, "feature_importances_", None),
        (lambda: _out_of_bag_error(estimator, training.samples, labels)) if is_forest else None,
        (lambda names: _tree_texts(estimator, names)) if is_forest or hasattr(estimator, "tree_") else None,
    )


def _tree_texts(estimator: Any, names: Sequence[str]) -> Mapping[str, Later]:
    classes = getattr(estimator, "classes_", None)
    if hasattr(estimator, "tree_"):
        return {"tree": Later(lambda: tree_text(estimator.tree_, names, classes))}
    return {"trees": Later(lambda: [tree_text(tree.tree_, names, classes) for tree in estimator.estimators_])}


def _out_of_bag_error(forest: Any, samples: Floats, labels: npt.NDArray[Any]) -> float | None:
    """Return the share of samples whose class most trees miss, or the root mean square error of means of numbers.

    Only trees vote that were not grown from the sample, as in Smile's forests. None where each has grown from all.
    """
    classes = getattr(forest, "classes_", None)
    votes = np.zeros((len(samples), 1 if classes is None else len(classes)))
    counts = np.zeros(len(samples))
    for tree, drawn in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        others = np.setdiff1d(np.arange(len(samples)), drawn)
        if len(others):
            predictions = tree.predict(samples[others])
            counts[others] += 1
            if classes is None:
                votes[others, 0] += predictions
            else:
                votes[others, predictions.astype(np.intp)] += 1
    known = counts > 0
    if not known.any():
        return None
    if classes is None:
        return float(np.sqrt(np.mean((votes[known, 0] / counts[known] - labels[known]) ** 2)))
    return float(np.mean(classes[votes[known].argmax(axis=1)] != labels[known]))


def _output(estimator: Any, mode: str) -> Callable[[Floats], npt.NDArray[Any]]:
    """Return the function of an estimator that gives the output of a mode."""
    if mode == "PROBABILITY":
        return lambda samples: estimator.predict_proba(samples)[:, 1]
    if mode in ("RAW", "RAW_REGRESSION"):
        return lambda samples: _votes(estimator, samples, mode)
    if mode == "CLASSIFICATION" and hasattr(type(estimator), "estimators_samples_"):
        return lambda samples: _majority(estimator, samples)
    predictor: Callable[[Floats], npt.NDArray[Any]] = (
        estimator.predict_proba if mode == "MULTIPROBABILITY" else estimator.predict
    )
    return predictor


def _alike(label: int, mode: str, count: int) -> npt.NDArray[Any]:
    """Return the output of a mode for samples of which only one class is known."""
    if mode == "MULTIPROBABILITY":
        return np.ones((count, 1))
    return np.full(count, label) if mode == "CLASSIFICATION" else np.full((count, 1), label)


def _votes(estimator: Any, samples: Floats, mode: str) -> npt.NDArray[Any]:
    """Return what each tree of a forest predicts: shape (samples, trees)."""
    votes = np.stack([tree.predict(samples) for tree in estimator.estimators_], axis=1)
    return votes if mode == "RAW_REGRESSION" else estimator.classes_[votes.astype(np.intp)]


def _majority(forest: Any, samples: Floats) -> npt.NDArray[Any]:
    """Return the class that most trees predict, the least of several.

    Smile's ``RandomForest.predict`` (1.5, 2.6 and 3.0) counts the trees' classes, where scikit-learn's forest adds the
    probabilities of their leaves.
    """
    votes = np.zeros((len(samples), len(forest.classes_)), dtype=np.int32)
    for tree in forest.estimators_:
        votes[np.arange(len(samples)), tree.predict(samples).astype(np.intp)] += 1
    return np.asarray(forest.classes_[votes.argmax(axis=1)])


def classes_of(labels: Floats) -> npt.NDArray[np.int64]:
    """Return labels as classes.

    Raises:
        InvalidError: if one is not a whole number.
    """
    if not np.equal(labels, np.floor(labels)).all():
        wrong = labels[~np.equal(labels, np.floor(labels))][0]
        raise InvalidError(
            f"Classes must be whole numbers; found {wrong:g}. Use the output mode REGRESSION for others."
        )
    return labels.astype(np.int64)
