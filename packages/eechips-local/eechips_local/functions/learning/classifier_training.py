"""``Classifier.train``, ``setOutputMode``, ``confusionMatrix``, ``explain``, and ``classify`` of images and features:
training data, properties that are missing, inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.classification import Classifier, Clusterer, Floats, TrainingData, classes_of
from eechips_local.evaluation.asset_model import PixelType
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.lazy_values import updated
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels
from eechips_local.pixels.pixelwise_rasters import Joint, all_of
from eechips_local.pixels.types import DOUBLE, ranged
from eechips_local.protocol.request_errors import InvalidError, LimitError, MemoryLimitError
from eechips_local.values.element_properties import property_of
from eechips_local.values.values import Collection, ConfusionMatrix, Feature, Value

_ORDER = "band_order"
"""Property of a sample of an image: the names of its bands."""
_MOST_SAMPLES = 1_000_000
_MOST_CLASSES = 1000
_INT32 = np.iinfo(np.int32)


def inputs_of(features: Collection, names: Sequence[str] | None) -> tuple[str, ...]:
    """Return names of the inputs of training: as given, or the bands of a sample.

    Raises:
        InvalidError: if there are none.
    """
    inputs = names if names is not None else features.properties.get(_ORDER)
    if not isinstance(inputs, Sequence) or not inputs:
        raise InvalidError(f"The inputProperties are required: the collection has no property '{_ORDER}'.")
    if len(set(inputs)) != len(inputs):
        raise InvalidError(f"The inputProperties must differ: {', '.join(map(str, inputs))[:200]}.")
    return tuple(inputs)


def table_of(context: Context, features: Iterable[Feature], names: Sequence[str]) -> Floats:
    """Return numeric properties of features, shape (features, names).

    Raises:
        InvalidError: if a feature lacks one, or has no number there.
        LimitError: if there are too many features.
    """
    rows: list[list[float]] = []
    for count, feature in enumerate(features):
        if count >= _MOST_SAMPLES:
            raise MemoryLimitError()
        if count % 256 == 0:
            context.check_time()
        rows.append([_number(feature, name) for name in names])
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))


def _number(feature: Feature, name: str) -> float:
    value = property_of(feature, name)
    if isinstance(value, (bool, int, float)):
        return float(value)
    index = feature.properties.get("system:index", "")
    if value is None:
        raise InvalidError(f"Property '{name}' of feature '{index}' is missing.")
    raise InvalidError(f"Property '{name}' of feature '{index}' is not a number.")


def part_of(count: int, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which of some samples are used, drawn at random.

    Raises:
        InvalidError: if the share is not within (0, 1].
    """
    if not 0 < share <= 1:
        raise InvalidError(f"The subsampling must be within (0, 1]; found {share:g}.")
    if share == 1:
        return np.ones(count, dtype=bool)
    drawn: npt.NDArray[np.bool_] = np.random.default_rng(abs(seed)).random(count) < share
    return drawn


@function("Classifier.train")
def train(
    context: Context, classifier: Classifier, features: Collection, classProperty: str,
    inputProperties: Sequence[str] | None, subsampling: float, subsamplingSeed: int,
) -> Classifier:  # fmt: skip
    """Return the classifier with training data; they are read, and its model is fitted, when it is used.

    So messages name what uses it: "Image.classify: No valid training data were found."
    """
    names = inputs_of(features, inputProperties)

    def read() -> TrainingData:
        table = table_of(context, features, [*names, classProperty])
        if not len(table):
            raise InvalidError("No valid training data were found.")
        table = table[part_of(len(table), subsampling, subsamplingSeed)]
        return TrainingData(table[:, :-1], table[:, -1], names)

    return classifier.trained(read, names)


@function("Classifier.setOutputMode")
def set_output_mode(classifier: Classifier, mode: str) -> Classifier:
    """Return the classifier with another output."""
    return classifier.with_mode(mode)


@function("Classifier.mode")
def output_mode(classifier: Classifier) -> str:
    """Return the output mode."""
    return classifier.mode


@function("Classifier.schema")
def classifier_schema(classifier: Classifier) -> list[str] | None:
    """Return the names of the inputs, null before the classifier is trained."""
    return None if classifier.schema is None else list(classifier.schema)


@function("Classifier.confusionMatrix")
def training_matrix(classifier: Classifier) -> ConfusionMatrix:
    """Return counts of each class of the training data with each class that the classifier gives for them."""
    training = classifier.training
    if training is None:
        raise InvalidError("The classifier must be trained before it is used.")
    if "CLASSIFICATION" not in classifier.modes:
        raise InvalidError(f"The classifier {classifier.kind} gives no classes.")
    actual = classes_of(training.labels)
    predicted = replace(classifier, mode="CLASSIFICATION", _models={}).classify(training.samples).astype(np.int64)
    if min(actual.min(), predicted.min()) < 0:
        raise InvalidError("Classes must not be negative.")
    size = int(max(actual.max(), predicted.max())) + 1
    if size > _MOST_CLASSES:
        raise LimitError(f"Too many classes: {size}.")
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (actual, predicted), 1)
    return ConfusionMatrix(counts, tuple(range(size)))


@function("Classifier.explain")
def explain(classifier: Classifier) -> Mapping[str, Value]:
    """Return options, classes and number of samples of a trained classifier, and what its model knows of itself.

    Forests, trees and boosted trees have the importance of each input: its part of the decrease of impurity in
    percent. Forests have an ``outOfBagErrorEstimate``, which public scripts read (codes 12990939717, 14049268796), and
    ``trees``, from which others make a ``decisionTreeEnsemble`` (codes 17677327895, 42752201238); a ``tree`` is that of
    ``smileCart`` (code 45650651643). Their text is that of R (github.com/haifengl/smile/pull/457).
    """
    if classifier.training is None or classifier.schema is None:
        raise InvalidError("The classifier must be trained before it is used.")
    explanation: dict[str, Value] = {k: v for k, v in classifier.options.items() if v is not None}
    explanation["classes"] = sorted({int(label) for label in classifier.training.labels})
    explanation["numberOfTrainingSamples"] = len(classifier.training.samples)
    importances = classifier.importances()
    if importances is not None:
        shares = (100 * importances).tolist()
        explanation["importance"] = dict(zip(classifier.schema, shares, strict=True))
    error = classifier.out_of_bag_error()
    if error is not None:
        explanation["outOfBagErrorEstimate"] = error
    return updated(explanation, classifier.tree_texts())


# Application


@dataclass(frozen=True, slots=True, eq=False)
class _Applied:
    """What is done with the samples of an image or of a table.

    Attributes:
        schema: names of the inputs.
        predict: called with samples of shape (samples, inputs).
        names: names of the outputs. With several, an array of shape (samples, outputs) is predicted.
        kind: type of the outputs.
    """

    schema: tuple[str, ...]
    predict: Any
    names: tuple[str, ...]
    kind: PixelType


def _classification(classifier: Classifier, name: str) -> _Applied:
    if classifier.schema is None:
        raise InvalidError("The classifier must be trained before it is used.")
    classifier.check_classes()
    kind = DOUBLE
    if classifier.is_integer:
        labels = () if classifier.training is None else classifier.training.labels
        ends = [float(np.min(labels)), float(np.max(labels))] if len(labels) else [*classifier.values]
        kind = ranged(PixelType("int"), ends)
    if classifier.has_arrays:
        kind = replace(kind, dimensions=1)
    return _Applied(classifier.schema, classifier.classify, classifier.outputs or (name,), kind)


def clustering(clusterer: Clusterer, name: str) -> _Applied:
    """Return the application of a clusterer.

    Raises:
        InvalidError: if it is not trained.
    """
    if clusterer.schema is None:
        raise InvalidError("The clusterer must be trained before it is used.")
    clusterer.check_samples()
    return _Applied(clusterer.schema, clusterer.cluster, (name,), PixelType("int", int(_INT32.min), int(_INT32.max)))


def applied_to_image(image: Image, applied: _Applied) -> Image:
    """Return the outputs for each pixel that is valid in all inputs, as the only bands.

    Raises:
        InvalidError: if a band is missing, or holds arrays.
    """
    known = {band.name: band for band in image.bands}
    missing = [name for name in applied.schema if name not in known]
    if missing:
        raise InvalidError("The image to be classified does not contain all the bands which the classifier expects.")
    inputs = [known[name] for name in applied.schema]
    if any(band.type.dimensions for band in inputs):
        raise InvalidError("Array bands cannot be classified; only scalar bands are supported.")

    def compute(pixels: Sequence[Pixels]) -> list[Pixels]:
        mask: npt.NDArray[Any] = all_of(pixels)
        valid: npt.NDArray[np.bool_] = np.greater(mask, 0)
        samples = np.stack([p.values[valid] for p in pixels], axis=1).astype(np.float64)
        finite: npt.NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(samples), axis=1)
        outputs = applied.predict(np.where(finite[:, None], samples, 0.0))
        values = np.zeros((*valid.shape, *outputs.shape[1:]), dtype=outputs.dtype)
        values[valid] = outputs
        layers = [values] if len(applied.names) == 1 else list(np.moveaxis(values, -1, 0))
        inside = np.zeros(valid.shape, dtype=bool)
        inside[valid] = finite
        shares = np.where(inside, mask, 0).astype(mask.dtype)
        return [Pixels(layer, shares) for layer in layers]

    first, joint = inputs[0], Joint(inputs, compute)
    bands = [
        ImageBand(name, applied.kind, first.projection, joint, position, first.extent, first.fixed)
        for position, name in enumerate(applied.names)
    ]
    return image.computed(bands)


def applied_to_features(context: Context, features: Collection, applied: _Applied) -> Collection:
    """Return features with the output as a property."""

    def predicted(elements: Iterable[Feature]) -> Iterator[Feature]:
        originals = list(elements)
        table = table_of(context, originals, applied.schema)
        outputs = applied.predict(table) if len(table) else []
        for feature, output in zip(originals, outputs, strict=True):
            columns = [output] if len(applied.names) == 1 else output
            new = {name: value.tolist() for name, value in zip(applied.names, columns, strict=True)}
            yield feature.with_properties(updated(feature.properties, new))

    return features.transformed(predicted, lambda name: name not in applied.names)


@function("Image.classify")
def classify_image(image: Image, classifier: Classifier, outputName: str) -> Image:
    """Return the classification of each pixel: https://developers.google.com/earth-engine/apidocs/ee-image-classify."""
    return applied_to_image(image, _classification(classifier, outputName))


@function("FeatureCollection.classify")
def classify_features(context: Context, features: Collection, classifier: Classifier, outputName: str) -> Collection:
    """Return features with the class of each as a property."""
    return applied_to_features(context, features, _classification(classifier, outputName))
