"""``ee.ConfusionMatrix`` and ``errorMatrix``: accuracy, kappa, consumers', producers' and F scores; rows are actual
values, columns predicted ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.type_conversion import mismatch, promote, type_name
from eechips_local.functions.registration import function
from eechips_local.protocol.request_errors import InvalidError, LimitError
from eechips_local.values.element_properties import property_of
from eechips_local.values.ordering import plain
from eechips_local.values.values import Array, Collection, ConfusionMatrix

Floats = npt.NDArray[np.float64]

_MOST_CLASSES = 1000


def _made(values: npt.NDArray[Any], order: list[int] | None) -> ConfusionMatrix:
    size = len(values)
    if order is None:
        return ConfusionMatrix(values, tuple(range(size)))
    if len(order) != size or len(set(order)) != size:
        raise InvalidError(f"The order must have {size} different values, one for each row; found {order}.")
    return ConfusionMatrix(values, tuple(order))


@function("ConfusionMatrix")
def confusion_matrix(array: Any, order: list[int] | None) -> ConfusionMatrix:
    """Return a matrix with the labels of its rows and columns; by default 0, 1, 2, …"""
    if isinstance(array, ConfusionMatrix):
        return array if order is None else _made(array.values, order)
    if isinstance(array, list):  # "this argument cannot take a list", as its signature says
        raise mismatch(array, "Array", "Argument 'array'")
    values = promote(array, "Array", "ConfusionMatrix, argument 'array'").values
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise InvalidError(f"A confusion matrix must be a square array; found one of shape {list(values.shape)}.")
    return _made(values, order)


@function("Collection.errorMatrix")
def error_matrix(
    context: Context, collection: Collection, actual: str, predicted: str, order: list[int] | None
) -> ConfusionMatrix:
    """Return counts of each value of a property with each value of another; features without both are left out."""
    pairs: list[tuple[int, int]] = []
    for count, element in enumerate(collection):
        if count % 256 == 0:
            context.check_time()
        row, column = (_label(property_of(element, name), name) for name in (actual, predicted))
        if row is not None and column is not None:
            pairs.append((row, column))
    labels = order if order is not None else list(range(max((max(pair) for pair in pairs), default=-1) + 1))
    if len(labels) > _MOST_CLASSES:
        raise LimitError(f"Too many classes: {len(labels)}.")
    positions = {label: index for index, label in enumerate(labels)}
    values = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for row, column in pairs:
        if row < 0 or column < 0:
            raise InvalidError(f"Classes must not be negative; found {min(row, column)}.")
        if row in positions and column in positions:
            values[positions[row], positions[column]] += 1
    return _made(values, order)


def _label(value: Any, name: str) -> int | None:
    value = plain(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise InvalidError(f"Property '{name}' must be an integer; found an object of type {type_name(value)}.")
    return int(value)


def _ratio(above: Any, below: Any) -> Floats:
    """Return a quotient, 0 where nothing is divided by nothing."""
    ratios: Floats = np.divide(above, below, out=np.zeros(np.shape(below)), where=np.asarray(below) != 0)
    return ratios


def _correct(matrix: ConfusionMatrix) -> Floats:
    return np.diagonal(matrix.values).astype(np.float64)


@function("ConfusionMatrix.accuracy")
def accuracy(confusionMatrix: ConfusionMatrix) -> float:
    """Return the share that is correct."""
    return float(_ratio(_correct(confusionMatrix).sum(), confusionMatrix.values.sum()))


@function("ConfusionMatrix.array")
def array(confusionMatrix: ConfusionMatrix) -> Array:
    """Return the matrix as an array."""
    return Array(confusionMatrix.values)


@function("ConfusionMatrix.order")
def order(confusionMatrix: ConfusionMatrix) -> list[int]:
    """Return the labels of rows and columns."""
    return list(confusionMatrix.order)


@function("ConfusionMatrix.consumersAccuracy")
def consumers_accuracy(confusionMatrix: ConfusionMatrix) -> Array:
    """Return the share of each predicted class that is correct, as a row."""
    return Array(_ratio(_correct(confusionMatrix), confusionMatrix.values.sum(axis=0))[None, :])


@function("ConfusionMatrix.producersAccuracy")
def producers_accuracy(confusionMatrix: ConfusionMatrix) -> Array:
    """Return the share of each actual class that is correct, as a column."""
    return Array(_ratio(_correct(confusionMatrix), confusionMatrix.values.sum(axis=1))[:, None])


@function("ConfusionMatrix.kappa")
def kappa(confusionMatrix: ConfusionMatrix) -> float:
    """Return Cohen's kappa: agreement beyond that by chance."""
    values = confusionMatrix.values.astype(np.float64)
    total = values.sum()
    by_chance = float(_ratio((values.sum(axis=0) * values.sum(axis=1)).sum(), total**2))
    return float(_ratio(accuracy(confusionMatrix) - by_chance, 1 - by_chance))


@function("ConfusionMatrix.fscore")
def f_score(confusionMatrix: ConfusionMatrix, beta: float) -> Array:
    """Return the weighted harmonic mean of precision and recall for each class."""
    values, correct = confusionMatrix.values, _correct(confusionMatrix)
    weight = beta * beta
    return Array(_ratio((1 + weight) * correct, weight * values.sum(axis=1) + values.sum(axis=0)))
