"""``ee.Array``: ``matrixMultiply``, ``matrixSolve``, ``matrixInverse``, decompositions and ``eigen``: matrices;
singular ones are errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.eigen import ComplexEigenvalueError, NoConvergenceError, decompose
from eechips_local.algorithms.least_squares import least_squares
from eechips_local.algorithms.lu_decomposition import lu_factors
from eechips_local.functions.primitives.array_arithmetic import check_size
from eechips_local.functions.registration import function
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.values.values import Array

Matrix = npt.NDArray[np.float64]

_LONGEST_SIDE = 1000  # keeps the slowest decomposition within seconds
_LONGEST_SIDE_OF_EIGEN = 400  # likewise


def _matrix(array: Array) -> Matrix:
    """Return the numbers of a two-dimensional array, as doubles."""
    values = array.values
    if values.ndim != 2:
        raise InvalidError(f"Matrices must be 2-dimensional. Found an array of {values.ndim} dimensions.")
    if max(values.shape) > _LONGEST_SIDE and min(values.shape) > 1:
        raise MemoryLimitError()
    if not np.all(np.isfinite(values)):
        raise InvalidError("Matrices must not contain NaN or infinite numbers.")
    return values.astype(np.float64)


def _square(array: Array) -> Matrix:
    matrix = _matrix(array)
    if matrix.shape[0] != matrix.shape[1]:
        raise InvalidError(f"The matrix must be square. Found {matrix.shape[0]}x{matrix.shape[1]}.")
    return matrix


def _solved(compute: Callable[..., Any], *matrices: Matrix, failure: str) -> Any:
    try:
        return compute(*matrices)
    except np.linalg.LinAlgError as error:
        raise InvalidError(failure) from error


@function("Array.matrixMultiply")
def multiply(left: Array, right: Array) -> Array:
    """Return the product of two matrices."""
    a, b = _matrix(left), _matrix(right)
    if a.shape[1] != b.shape[0]:
        raise InvalidError(f"Matrices of {a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]} cannot be multiplied.")
    check_size(a.shape[0] * b.shape[1])
    return Array(a @ b)


@function("Array.matrixInverse")
def inverse(input: Array) -> Array:
    """Return the inverse of a matrix."""
    return Array(_solved(np.linalg.inv, _square(input), failure="Matrix is singular."))


@function("Array.matrixPseudoInverse")
def pseudo_inverse(input: Array) -> Array:
    """Return the Moore-Penrose inverse of a matrix."""
    return Array(_solved(np.linalg.pinv, _matrix(input), failure="The decomposition did not converge."))


@function("Array.matrixSolve")
def solve(left: Array, right: Array) -> Array:
    """Return x in A x = B, the least-squares solution where there are more equations than unknowns."""
    a, b = _matrix(left), _matrix(right)
    if a.shape[0] != b.shape[0]:
        raise InvalidError(f"Both matrices must have the same number of rows. Found {a.shape[0]} and {b.shape[0]}.")
    if a.shape[0] == a.shape[1]:
        return Array(_solved(np.linalg.solve, a, b, failure="Matrix is singular."))
    if a.shape[0] < a.shape[1]:
        raise InvalidError(f"The system is underdetermined: {a.shape[0]} equations for {a.shape[1]} unknowns.")
    solution, full = least_squares(a, b)
    if not full:
        raise InvalidError("Matrix is rank deficient.")
    return Array(solution)


@function("Array.matrixDeterminant")
def determinant(input: Array) -> float:
    """Return the determinant of a matrix."""
    return float(np.linalg.det(_square(input)))


@function("Array.matrixTrace")
def trace(input: Array) -> int | float:
    """Return the sum of a matrix's diagonal."""
    _matrix(input)
    total: int | float = np.trace(input.values).item()
    return total


@function("Array.matrixFnorm")
def frobenius_norm(input: Array) -> float:
    """Return the root of the sum of a matrix's squares."""
    return float(np.linalg.norm(_matrix(input)))


@function("Array.matrixDiagonal")
def diagonal(input: Array) -> Array:
    """Return the diagonal of a matrix, in a single column."""
    _matrix(input)
    return Array(np.diagonal(input.values)[:, None].copy())


@function("Array.matrixToDiag")
def to_diagonal(input: Array) -> Array:
    """Return the square matrix with a single column as its diagonal."""
    column = input.values
    if column.ndim != 2 or column.shape[1] != 1:
        raise InvalidError(f"A single column is needed. Found an array of shape {list(column.shape)}.")
    check_size(len(column) ** 2)
    return Array(np.diag(column[:, 0]))


@function("Array.matrixCholeskyDecomposition")
def cholesky(array: Array) -> dict[str, Array]:
    """Return L of L L' for a symmetric positive-definite matrix."""
    matrix = _square(array)
    failure = "The matrix must be symmetric and positive-definite."
    if not np.allclose(matrix, matrix.T):
        raise InvalidError(failure)
    return {"L": Array(_solved(np.linalg.cholesky, matrix, failure=failure))}


@function("Array.matrixQRDecomposition")
def qr(array: Array) -> dict[str, Array]:
    """Return Q and R of a matrix: orthogonal and upper triangular."""
    q, r = np.linalg.qr(_matrix(array))
    return {"Q": Array(q), "R": Array(r)}


@function("Array.matrixSingularValueDecomposition")
def svd(array: Array) -> dict[str, Array]:
    """Return U, S and V of a matrix U S V': U and V orthogonal, S diagonal and descending."""
    matrix = _matrix(array)
    failure = "The decomposition did not converge."
    u, values, v = _solved(np.linalg.svd, matrix, failure=failure)
    s = np.zeros(matrix.shape)
    np.fill_diagonal(s, values)
    return {"U": Array(u), "S": Array(s), "V": Array(v.T.copy())}


@function("Array.matrixLUDecomposition")
def lu(array: Array) -> dict[str, Array]:
    """Return L, U and P of a matrix with P A = L U: unit lower triangular, upper triangular, a permutation of rows."""
    return {name: Array(factors[0]) for name, factors in zip("LUP", lu_factors(_square(array)[None]), strict=True)}


@function("Array.eigen")
def eigen(input: Array) -> Array:
    """Return eigenvalues, descending, each followed by its eigenvector, one in each row: see
    :mod:`eechips_local.algorithms.eigen`.
    """
    matrix = _square(input)
    if not len(matrix):
        return Array(np.zeros((0, 1)))
    if len(matrix) > _LONGEST_SIDE_OF_EIGEN:
        raise MemoryLimitError()
    try:
        values, vectors = decompose(matrix)
    except NoConvergenceError:
        raise InvalidError("The eigenvalues did not converge.") from None
    except ComplexEigenvalueError:
        raise InvalidError("The matrix has complex eigenvalues.") from None
    return Array(np.column_stack([values, vectors]))
