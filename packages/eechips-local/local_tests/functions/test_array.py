"""Arrays: the reference's examples, and numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from eechips_local.protocol.request_errors import InvalidError, LimitError
from eechips_local.values.values import Array
from local_tests.support.graphs import Graph, call, evaluate, invoke

shapes = arrays.array_shapes(max_dims=3, max_side=4)
grids = shapes.flatmap(lambda shape: arrays.arrays(np.int64, shape, elements=st.integers(-9, 9)))
matrices = st.integers(1, 5).flatmap(
    lambda n: arrays.arrays(np.float64, (n, n), elements=st.integers(-20, 20).map(float))
)


def array(values, kind=None):
    return invoke("Array", values=values, **({} if kind is None else {"pixelType": kind}))


def on(name, values, **arguments):
    """A function's result, with arrays as lists."""
    signature = {"mask": "input", "bitCount": "input", "byte": "input", "abs": "input"}
    return plain(call(f"Array.{name}", **{signature.get(name, "array"): values}, **arguments))


def two(name, left, right):
    return plain(call(f"Array.{name}", left=left, right=right))


def one(name, values):
    return plain(call(f"Array.{name}", input=values))


def plain(value):
    if isinstance(value, Array):
        return value.values.tolist()
    return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value


EMPTY = array([], "int8")


# Examples of developers.google.com/earth-engine/apidocs/ee-array…
def test_constructor():
    assert plain(evaluate(EMPTY)) == []
    assert plain(evaluate(array([[], []], "float"))) == [[], []]
    assert plain(evaluate(array([[0, 1], [2, 3]]))) == [[0, 1], [2, 3]]
    assert plain(evaluate(array(invoke("List.sequence", start=0, end=10, step=2)))) == [0, 2, 4, 6, 8, 10]
    assert plain(evaluate(array(array([1, 2, 3])))) == [1, 2, 3]
    assert plain(evaluate(array([1, 2.5]))) == [1, 2.5]
    assert plain(evaluate(array([300, -1], "uint8"))) == [255, 0]


@pytest.mark.parametrize("values", [[], [[]], [1, [2]], [[1], [2, 3]], ["a"], [[1], 2], [None], {"a": 1}])
def test_invalid_arrays_are_refused(values):
    with pytest.raises(InvalidError, match=r"^Array: "):
        evaluate(array(values))


@pytest.mark.parametrize(
    ("name", "left", "right", "expected"),
    [
        ("divide", 2, 0, 0),
        ("divide", 2, 1, 2),
        ("divide", 2, [1], [2]),
        ("divide", [3, 4], 2, [1.5, 2]),
        ("divide", [3, 4], [2, 4], [1.5, 1]),
        ("add", [0], 1, [1]),
        ("add", [5, 6], [7, 8], [12, 14]),
        ("add", [[0, 1, 2], [3, 4, 5]], 1, [[1, 2, 3], [4, 5, 6]]),
        ("multiply", [1, -2, 2, 4], [-1, -4, -1, 1.2], [-1, 8, -2, 4.8]),
        ("max", [0, -3, 5, 3], [0, -1, 2, 4], [0, -1, 5, 4]),
        ("mod", [0, 1, 7, 8, 9], [8, 8, 8, 8, 8], [0, 1, 7, 0, 1]),
        ("mod", [-1, -7, -8, -9], [8, 8, 8, 8], [-1, -7, 0, -1]),
        ("mod", [8, 8, 8, 8], [-1, -7, -8, -9], [0, 1, 0, 8]),
        ("mod", [2.5], [1.2], [0.10000000000000009]),
        ("and", [1, 1], [-2, 2], [1, 1]),
        ("and", [1, 0], [0, 1], [0, 0]),
        ("first", [0, 1, 2], 1, [0, 1, 2]),
        ("first", [3, 4, 5], [0, 1, 2], [3, 4, 5]),
        ("firstNonZero", [-1, 0, 1], [2, -1, 2], [-1, -1, 1]),
        ("firstNonZero", [[1, 2], [0, 0]], [[0, 0], [3, 4]], [[1, 2], [3, 4]]),
        ("bitwise_and", 0xFF, 0xFFFF, 255),
        ("bitwise_and", -1, -2, -2),
        ("bitwise_and", [6, 6], [1, 11], [0, 2]),
        ("pow", [-2] * 6, [-2, -1, 0, 1, 2, 3], [0.25, -0.5, 1, -2, 4, -8]),
        ("pow", [0] * 6, [-2, -1, 0, 1, 2, 3], [math.inf, math.inf, 1, 0, 0, 0]),
        ("pow", [10] * 6, [-2, -1, 0, 1, 2, 3], [0.009999999776482582, 0.10000000149011612, 1, 10, 100, 1000]),
        ("add", EMPTY, EMPTY, []),
        ("pow", EMPTY, EMPTY, []),
    ],
)
def test_arithmetic(name, left, right, expected):
    assert two(name, left, right) == expected


def test_shapes_must_agree():
    with pytest.raises(InvalidError, match="same dimensions"):
        two("add", [1, 2], [1, 2, 3])


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("abs", [[-3.1, -2], [-1, 0]], [[3.1, 2], [1, 0]]),
        ("bitwiseNot", 0xFF, -256),
        ("bitwiseNot", -3, 2),
        ("bitCount", [1, 2, 3], [1, 1, 2]),
        ("bitCount", [[0, 1], [6, 13]], [[0, 1], [2, 3]]),
        ("bitCount", [-1], [64]),
        ("bitCount", array([-1], "int8"), [64]),
        ("bitCount", [-2], [63]),
        ("bitCount", EMPTY, []),
        ("byte", [-1], [0]),
        ("byte", [256], [255]),
        ("byte", [-0.1, 0.1, 0.5, 127.1, 255.1, 255.9], [0, 0, 1, 127, 255, 255]),
        ("cbrt", [[0, 1, 8], [27, 64, 125]], [[0, 1, 2], [3, 4, 5]]),
        ("ceil", [-1.1, -0.1, 0, 0.1, 1.1], [-1, 0, 0, 1, 2]),
        ("floor", [2.1, 2.9, -2.1, -2.9], [2, 2, -3, -3]),
        ("log10", [0.1, 1, 10, 100], [-1, 0, 1, 2]),
        ("erf", [-6, 0, 6], [-1, 0, 1]),
        ("digamma", 0, -math.inf),
        ("not", [0, 2], [1, 0]),
        ("toInt8", [200, -200, 3], [127, -128, 3]),
    ],
)
def test_functions_of_one_array(name, values, expected):
    assert one(name, values) == pytest.approx(expected) if np.ndim(expected) < 2 else one(name, values) == expected


def test_approximate_examples():
    assert one("digamma", [1, 2]) == pytest.approx([-0.577, 0.423], abs=1e-3)
    assert one("erfInv", [-0.99, 0, 0.99]) == pytest.approx([-1.82, 0, 1.82], abs=2e-3)
    assert one("cosh", [-4, 0, 4]) == pytest.approx([27.31, 1, 27.31], abs=1e-2)
    assert one("atan", [-5, 5]) == pytest.approx([-1.3734, 1.3734], abs=1e-4)


@pytest.mark.parametrize(("number", "bits"), [(0, [0]), (1, [1]), (5, [1, 0, 1]), (0xFF, [1] * 8), (-1, [1] * 64)])
def test_bits_to_array(number, bits):
    assert plain(call("Array.bitsToArray", input=number)) == bits


@pytest.mark.parametrize(
    ("values", "axis", "expected"),
    [
        ([EMPTY], 0, []),
        ([EMPTY, array([1])], 0, [1]),
        ([[1], [2]], 0, [1, 2]),
        ([[1], [2]], 1, [[1, 2]]),
        ([[0, 1, 2], [3, 4, 5]], 1, [[0, 3], [1, 4], [2, 5]]),
        ([[[0], [1], [2]], [[3], [4], [5]]], 0, [[0], [1], [2], [3], [4], [5]]),
        ([[[0], [1], [2]], [[3], [4], [5]]], 1, [[0, 3], [1, 4], [2, 5]]),
        ([[[0], [1], [2]], [[3], [4], [5]]], 2, [[[0, 3]], [[1, 4]], [[2, 5]]]),
    ],
)
def test_cat(values, axis, expected):
    assert plain(call("Array.cat", arrays=values, axis=axis)) == expected


def test_cat_of_unequal_arrays():
    for values in ([[[1, 2]], [[1, 2, 3]]], [[1], [[1]]], []):
        with pytest.raises(InvalidError):
            call("Array.cat", arrays=[array(v) for v in values])


@pytest.mark.parametrize(
    ("values", "arguments", "expected"),
    [
        ([1, 2, 3, 4, 5, 6], {}, [1, 2, 3, 4, 5, 6]),
        ([1, 2, 3, 4, 5, 6], {"end": 10}, [1, 2, 3, 4, 5, 6]),
        ([1, 2, 3, 4, 5, 6], {"start": 6}, []),
        ([1, 2, 3, 4, 5, 6], {"end": -3}, [1, 2, 3]),
        ([1, 2, 3, 4, 5, 6], {"start": -2, "end": 6}, [5, 6]),
        ([1, 2, 3, 4, 5, 6], {"end": 6, "step": 4}, [1, 5]),
        ([1, 2, 3, 4, 5, 6], {"start": 2, "end": 6, "step": 2}, [3, 5]),
        ([[1, 2], [3, 4], [5, 6]], {"end": 3, "step": 2}, [[1, 2], [5, 6]]),
        ([[1, 2], [3, 4], [5, 6]], {"axis": 1, "start": 1}, [[2], [4], [6]]),
        (EMPTY, {}, []),
    ],
)
def test_slice(values, arguments, expected):
    assert on("slice", values, **arguments) == expected


@pytest.mark.parametrize(
    ("values", "position", "expected"),
    [([9], [0], [9]), ([9], [-1], [9]), ([0, 1, 2], [2], [2]), ([[0, 1, 2], [3, 4, 5]], [-1, 0], [[0], [3]]),
     ([[0, 1, 2], [3, 4, 5]], [1, -1], [[3, 4, 5]])],
)  # fmt: skip
def test_cut(values, position, expected):
    assert on("cut", values, position=position) == expected


@pytest.mark.parametrize(
    ("values", "flags", "expected"),
    [([1], [0], []), ([0, 1, 2, 3], [0, 4, -1, 1.2], [1, 2, 3]), ([[1, 2, 3, 4]], [[0, 0, 0, 0]], [[]]),
     ([[1, 2, 3, 4]], [[1, 0, 1, 1]], [[1, 3, 4]]), ([[1], [2], [3], [4]], [[0], [0], [0], [0]], []),
     ([[1], [2], [3], [4]], [[1], [0], [1], [1]], [[1], [3], [4]]), (EMPTY, EMPTY, []),
     ([[4], [5]], [[0]], [[], []]), ([[4], [5]], [[1]], [[4], [5]])],
)  # fmt: skip
def test_mask(values, flags, expected):
    assert on("mask", values, mask=flags) == expected


def test_get():
    assert on("get", [8, 7, 6], position=[2]) == 6
    assert on("get", [[0, 1, 2], [3, 4, 5]], position=[1, 0]) == 3
    assert on("get", [[0, 1, 2], [3, 4, 5]], position=[-1, -3]) == 3
    for position in ([0], [2, 0], [0, 3], [-3, 0], [0, 0, 0]):
        with pytest.raises(InvalidError):
            on("get", [[0, 1, 2], [3, 4, 5]], position=position)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(EMPTY, None), ([9], [0]), ([0, -1, 2, 1], [2]), ([[3, 4, 2], [6, 5, 7]], [1, 2]), ([1, 1, 1, 9, 9, 9], [3])],
)
def test_argmax(values, expected):
    assert on("argmax", values) == expected


def test_identity():
    assert [plain(call("Array.identity", size=n)) for n in (0, 1, 2)] == [[], [[1]], [[1, 0], [0, 1]]]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [([1], [2], 2), ([0, 1, 2], [3, 4, 5], 14), ([-1, -2], [3, 4], -11), ([1.5, 2.5], [3, 4], 14.5)],
)
def test_dot_product(left, right, expected):
    assert call("Array.dotProduct", array1=left, array2=right) == expected


@pytest.mark.parametrize(
    ("values", "axis", "reducer", "expected"),
    [
        ([-1], 0, None, [-1]),
        ([-2, 1, 9], 0, None, [-2, -1, 8]),
        ([[1, 3], [5, 7]], 0, None, [[1, 3], [6, 10]]),
        ([[1, 3], [5, 7]], 1, None, [[1, 4], [5, 12]]),
        ([2, -2, 3, 1], 0, "sum", [2, 0, 3, 4]),
        ([2, -2, 3, 1], 0, "max", [2, 2, 3, 3]),
        ([2, -2, 3, 1], 0, "mean", [2, 0, 1, 1]),
        ([2, -2, 3, 1], 0, "min", [2, -2, -2, -2]),
        ([2, -2, 3], 0, "product", [2, -4, -12]),
    ],
)
def test_accum(values, axis, reducer, expected):
    arguments = {} if reducer is None else {"reducer": invoke(f"Reducer.{reducer}")}
    assert on("accum", values, axis=axis, **arguments) == expected


@given(grids, st.data())
def test_reductions_are_numpy_s(values, data):
    axes = data.draw(st.lists(st.integers(0, values.ndim - 1), min_size=1, unique=True))
    for name, function in (("sum", np.sum), ("max", np.max), ("mean", np.mean)):
        found = on("reduce", values.tolist(), reducer=invoke(f"Reducer.{name}"), axes=axes)
        np.testing.assert_allclose(found, function(values, axis=tuple(axes), keepdims=True))


def test_a_field_axis_holds_outputs():
    values = [[[1], [2]], [[3], [8]]]
    found = on("reduce", values, reducer=invoke("Reducer.minMax"), axes=[1], fieldAxis=2)
    assert found == [[[1, 2]], [[3, 8]]]
    with pytest.raises(InvalidError, match="field axis"):
        on("reduce", values, reducer=invoke("Reducer.minMax"), axes=[1])


@given(grids, st.data())
def test_shapes_are_numpy_s(values, data):
    axis, other = (data.draw(st.integers(0, values.ndim - 1)) for _ in range(2))
    nested = values.tolist()
    assert on("length", nested) == list(values.shape)
    assert on("toList", nested) == nested
    assert on("transpose", nested, axis1=axis, axis2=other) == np.swapaxes(values, axis, other).tolist()
    assert on("reshape", nested, shape=[-1]) == values.ravel().tolist()
    assert on("repeat", nested, axis=axis, copies=2) == np.concatenate([values, values], axis).tolist()
    start, end = (data.draw(st.integers(-5, 5)) for _ in range(2))
    window = (slice(None),) * axis + (slice(start, end, 2),)
    assert on("slice", nested, axis=axis, start=start, end=end, step=2) == values[window].tolist()
    longer = [size + 1 for size in values.shape]
    assert (
        on("pad", nested, lengths=longer, pad=7) == np.pad(values, [(0, 1)] * values.ndim, constant_values=7).tolist()
    )


def test_new_axes_and_dropped_ones():
    assert on("repeat", [1, 2], axis=1, copies=3) == [[1, 1, 1], [2, 2, 2]]
    assert on("transpose", [1, 2]) == [[1, 2]]
    assert on("project", [[1, 2]], axes=[1]) == [1, 2]
    assert on("project", [[[1, 2, 3], [4, 5, 6]]], axes=[2, 1]) == [[1, 2, 3], [4, 5, 6]]
    assert on("reshape", [1, 2, 3, 4], shape=[2, -1]) == [[1, 2], [3, 4]]
    for name, arguments in (
        ("project", {"axes": [0]}),
        ("project", {"axes": [1, 1]}),
        ("reshape", {"shape": [3]}),
        ("reshape", {"shape": [-1, -1]}),
        ("slice", {"step": 0}),
        ("slice", {"axis": 2}),
        ("repeat", {"copies": -1}),
        ("pad", {"lengths": [1]}),
    ):
        with pytest.raises(InvalidError):
            on(name, [[1, 2]], **arguments)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9))
def test_sort(values):
    assert on("sort", values) == sorted(values)
    keys = [-v for v in values]
    assert on("sort", [[v, 0] for v in values], keys=[[k] for k in keys]) == [[v, 0] for v in sorted(values)[::-1]]


@given(matrices)
def test_matrices(values):
    nested = values.tolist()
    n = len(values)
    assert call("Array.matrixTrace", input=nested) == values.trace()
    assert call("Array.matrixFnorm", input=nested) == pytest.approx(np.sqrt((values**2).sum()))
    assert call("Array.matrixDeterminant", input=nested) == pytest.approx(np.linalg.det(values), abs=1e-6)
    assert one("matrixDiagonal", nested) == [[v] for v in np.diagonal(values)]
    assert one("matrixToDiag", [[v] for v in np.diagonal(values)]) == np.diag(np.diagonal(values)).tolist()
    np.testing.assert_allclose(two("matrixMultiply", nested, nested), values @ values)
    parts = {k: np.asarray(v) for k, v in on("matrixLUDecomposition", nested).items()}
    np.testing.assert_allclose(parts["P"] @ values, parts["L"] @ parts["U"], atol=1e-9)
    np.testing.assert_array_equal(np.triu(parts["L"], 1), 0)
    np.testing.assert_array_equal(np.tril(parts["U"], -1), 0)
    parts = {k: np.asarray(v) for k, v in on("matrixQRDecomposition", nested).items()}
    np.testing.assert_allclose(parts["Q"] @ parts["R"], values, atol=1e-9)
    np.testing.assert_allclose(parts["Q"].T @ parts["Q"], np.eye(n), atol=1e-9)
    parts = {k: np.asarray(v) for k, v in on("matrixSingularValueDecomposition", nested).items()}
    np.testing.assert_allclose(parts["U"] @ parts["S"] @ parts["V"].T, values, atol=1e-9)
    definite = values @ values.T + np.eye(n)
    lower = np.asarray(on("matrixCholeskyDecomposition", definite.tolist())["L"])
    np.testing.assert_allclose(lower @ lower.T, definite, atol=1e-9)
    np.testing.assert_allclose(np.asarray(one("matrixInverse", definite.tolist())) @ definite, np.eye(n), atol=1e-7)
    np.testing.assert_allclose(one("matrixPseudoInverse", definite.tolist()), np.linalg.inv(definite), atol=1e-7)
    np.testing.assert_allclose(definite @ np.asarray(two("matrixSolve", definite.tolist(), nested)), values, atol=1e-6)


def test_least_squares():
    found = two("matrixSolve", [[1, 0], [1, 1], [1, 2]], [[1], [3], [5]])
    np.testing.assert_allclose(found, [[1], [2]], atol=1e-12)


_H = 0.5**0.5


# All examples of developers.google.com/earth-engine/apidocs/ee-array-eigen, which show two or three digits.
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 0], [0, 0]], [[0, 0, 1], [0, 1, 0]]),
        ([[1, 0], [0, 0]], [[1, 1, 0], [0, 0, 1]]),
        ([[0, 1], [0, 0]], [[0, 0, 1], [0, 1, 0]]),
        ([[0, 0], [1, 0]], [[0, -1, 0], [0, 0, -1]]),
        ([[0, 0], [0, 1]], [[1, 0, 1], [0, 1, 0]]),
        ([[1, 1], [0, 0]], [[1, 1, 0], [0, -_H, _H]]),
        ([[0, 0], [1, 1]], [[1, 0, -1], [0, -_H, _H]]),
        ([[1, 0], [1, 0]], [[1, _H, _H], [0, 0, 1]]),
        ([[1, 0], [0, 1]], [[1, 1, 0], [1, 0, 1]]),
        ([[0, 1], [1, 0]], [[1, _H, _H], [-1, _H, -_H]]),
        ([[0, 1], [0, 1]], [[1, _H, _H], [0, 1, 0]]),
        ([[1, 1], [1, 0]], [[1.62, 0.85, 0.53], [-0.62, 0.53, -0.85]]),
        ([[1, 1], [0, 1]], [[1, 0, 1], [1, 1, 0]]),
        ([[1, 0], [1, 1]], [[1, -1, 0], [1, 0, -1]]),
        ([[0, 1], [1, 1]], [[1.62, -0.53, -0.85], [-0.62, -0.85, 0.53]]),
        ([[1, 1], [1, 1]], [[2, _H, _H], [0, _H, -_H]]),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]]),
        ([[2, 0, 0], [0, 3, 0], [0, 0, 4]], [[4, 0, 0, 1], [3, 0, 1, 0], [2, 1, 0, 0]]),
        ([[1, 0, 0], [0, 0, 0], [0, 0, 0]], [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        ([[1, 1, 1]] * 3, [[3, -0.58, -0.58, -0.58], [0, 0, -_H, _H], [0, -0.82, 0.41, 0.41]]),
    ],
)
def test_eigenvectors_have_the_documented_order_and_signs(values, expected):
    np.testing.assert_allclose(one("eigen", values), expected, atol=6e-3)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(matrices)
def test_eigenvectors_of_symmetric_matrices_are_numpys_up_to_their_signs(values):
    matrix = values + values.T
    found = np.asarray(one("eigen", matrix.tolist()))
    size = max(1.0, np.abs(matrix).max())
    np.testing.assert_allclose(found[:, 0], np.linalg.eigvalsh(matrix)[::-1], atol=1e-9 * size)
    vectors = found[:, 1:]
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(matrix)), atol=1e-9)
    np.testing.assert_allclose(vectors @ matrix @ vectors.T, np.diag(found[:, 0]), atol=1e-9 * size)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=6, unique=True), st.integers(0, 99))
def test_eigenvectors_of_other_matrices_are_those_they_were_made_of(eigenvalues, seed):
    base = np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2) + 3 * np.eye(len(eigenvalues))
    matrix = base @ np.diag(eigenvalues) @ np.linalg.inv(base)
    found = np.asarray(one("eigen", matrix.tolist()))
    np.testing.assert_allclose(found[:, 0], sorted(eigenvalues, reverse=True), atol=1e-6)
    np.testing.assert_allclose(matrix @ found[:, 1:].T, found[:, 1:].T * found[:, 0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found[:, 1:], axis=1), 1.0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("matrixInverse", {"input": [[1, 2], [2, 4]]}),
        ("matrixInverse", {"input": [[1, 2]]}),
        ("matrixInverse", {"input": [1, 2]}),
        ("matrixMultiply", {"left": [[1, 2]], "right": [[1, 2]]}),
        ("matrixSolve", {"left": [[1, 2]], "right": [[1]]}),
        ("matrixCholeskyDecomposition", {"array": [[0, 1], [1, 0]]}),
        ("eigen", {"input": [[0, 1], [-1, 0]]}),
        ("matrixToDiag", {"input": [[1, 2]]}),
    ],
)
def test_matrices_that_cannot_be(name, arguments):
    with pytest.raises(InvalidError, match=f"^Array.{name}: "):
        call(f"Array.{name}", **arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("identity", {"size": 10**6}),
        ("repeat", {"array": [1], "copies": 10**12}),
        ("repeat", {"array": EMPTY, "copies": 10**12}),
        ("pad", {"array": [1], "lengths": [10**12]}),
        ("pad", {"array": [1], "lengths": [10**4, 10**4, 10**4]}),
    ],
)
def test_huge_arrays_are_refused(name, arguments):
    with pytest.raises(LimitError):
        call(f"Array.{name}", **arguments)


def test_arrays_that_double_are_refused():
    graph = Graph()
    value = graph.reference(array([1, 2, 3, 4]))
    for _ in range(40):
        value = graph.reference(invoke("Array.cat", arrays=[value, value]))
    with pytest.raises(LimitError):
        evaluate(value, graph)
