"""Accuracy, of the example in apidocs/ee-confusionmatrix, with figures from its formulas written out."""

from __future__ import annotations

import numpy as np
import pytest

from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import call, evaluate, invoke

ROWS = [
    [32, 0, 0, 0, 1, 0],
    [0, 5, 0, 0, 1, 0],
    [0, 0, 1, 3, 0, 0],
    [0, 1, 4, 26, 8, 0],
    [0, 0, 0, 7, 15, 0],
    [0, 0, 0, 1, 0, 5],
]
MATRIX = invoke("ConfusionMatrix", array=invoke("Array", values=ROWS))


def test_documented_example() -> None:
    assert evaluate(invoke("ConfusionMatrix.array", confusionMatrix=MATRIX)).values.tolist() == ROWS
    assert evaluate(invoke("ConfusionMatrix.order", confusionMatrix=MATRIX)) == [0, 1, 2, 3, 4, 5]
    assert evaluate(invoke("ConfusionMatrix.accuracy", confusionMatrix=MATRIX)) == pytest.approx(84 / 110)
    users = evaluate(invoke("ConfusionMatrix.consumersAccuracy", confusionMatrix=MATRIX)).values
    assert users.shape == (1, 6)
    assert np.allclose(users, [[32 / 32, 5 / 6, 1 / 5, 26 / 37, 15 / 25, 5 / 5]])
    producers = evaluate(invoke("ConfusionMatrix.producersAccuracy", confusionMatrix=MATRIX)).values
    assert producers.shape == (6, 1)
    assert np.allclose(producers[:, 0], [32 / 33, 5 / 6, 1 / 4, 26 / 39, 15 / 22, 5 / 6])
    chance = (33 * 32 + 6 * 6 + 4 * 5 + 39 * 37 + 22 * 25 + 6 * 5) / 110**2
    kappa = evaluate(invoke("ConfusionMatrix.kappa", confusionMatrix=MATRIX))
    assert kappa == pytest.approx((84 / 110 - chance) / (1 - chance))
    scores = evaluate(invoke("ConfusionMatrix.fscore", confusionMatrix=MATRIX)).values
    precision, recall = users[0], producers[:, 0]
    assert np.allclose(scores, 2 * precision * recall / (precision + recall))


def test_order() -> None:
    labelled = invoke("ConfusionMatrix", array=invoke("Array", values=ROWS), order=[11, 22, 42, 52, 71, 81])
    assert evaluate(invoke("ConfusionMatrix.order", confusionMatrix=labelled)) == [11, 22, 42, 52, 71, 81]
    with pytest.raises(InvalidError, match="order"):
        call("ConfusionMatrix", array=invoke("Array", values=ROWS), order=[1, 2])


def test_error_matrix() -> None:
    pairs = [(0, 0), (1, 1), (1, 2), (2, 2), (2, 2), (None, 1)]
    features = [invoke("Feature", geometry=None, metadata={"a": a, "p": p}) for a, p in pairs]
    collection = invoke("Collection", features=features)
    matrix = invoke("Collection.errorMatrix", collection=collection, actual="a", predicted="p")
    assert evaluate(matrix).values.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 2]]
    some = invoke("Collection.errorMatrix", collection=collection, actual="a", predicted="p", order=[2, 1])
    assert evaluate(some).values.tolist() == [[2, 0], [1, 1]]


def test_nothing_is_neither_right_nor_wrong() -> None:
    nothing = invoke("ConfusionMatrix", array=invoke("Array", values=[[0, 0], [0, 0]]))
    assert evaluate(invoke("ConfusionMatrix.accuracy", confusionMatrix=nothing)) == 0


@pytest.mark.parametrize("array", [[1, 2], [[1, 2, 3], [4, 5, 6]]])
def test_only_square_arrays(array: list[object]) -> None:
    with pytest.raises(InvalidError, match="square"):
        call("ConfusionMatrix", array=invoke("Array", values=array))
