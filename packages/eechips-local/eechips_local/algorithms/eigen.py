"""Compute eigenvalues and eigenvectors in Earth Engine's order and with its signs; complex eigenvalues are errors.

An eigenvector is determined up to its sign only, and the vectors of equal eigenvalues up to a rotation. Which of them
comes out depends on the algorithm. Earth Engine's documented results (developers.google.com/earth-engine/apidocs/
ee-array-eigen) are those of the algorithms in EJML: a symmetric matrix is brought to tridiagonal form by Householder
reflections and then to diagonal form by implicit QR steps with Wilkinson's shift (Golub and Van Loan, Matrix
Computations, 4th edition, section 8.3); any other one goes through Hessenberg form and double steps (section 7.5). The
eigenvalues are found first. The steps are then taken again with the eigenvalues as shifts, to collect the rotations.
LAPACK's vectors, which numpy gives, have other signs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

_EPS = 2.0**-52
_SYMMETRIC = 1e-8  # greatest difference of two opposite elements, relative to the greatest element
_NEARLY_REAL = 1e-16  # square of an imaginary part that rounding may leave of equal eigenvalues, relative to the matrix
_PATIENCE = 15  # steps on one eigenvalue before an exceptional one is taken
_MOST_STEPS = 225
_SCRIPTED_STEPS = 10  # steps with the known eigenvalues as shifts, before others are tried


class NoConvergenceError(ArithmeticError):
    """The eigenvalues were not found within the number of steps that are tried."""


class ComplexEigenvalueError(ArithmeticError):
    """An eigenvalue is not a real number."""


def decompose(matrix: Matrix) -> tuple[Vector, Matrix]:
    """Find the eigenvalues of a square matrix, descending, and its eigenvectors, one in each row.

    Args:
        matrix: shape (n, n), finite; n is at least 1.

    Raises:
        NoConvergenceError: if they are not found.
        ComplexEigenvalueError: if the eigenvalues are not all real.
    """
    values, vectors = _symmetric(matrix) if _is_symmetric(matrix) else _general(matrix)
    # Zero comes before minus zero, as Java's Double.compare has it.
    order = sorted(range(len(values)), key=lambda i: (-values[i], math.copysign(1.0, values[i]) < 0))
    return values[order], vectors[order]


def _is_symmetric(matrix: Matrix) -> bool:
    """Return whether opposite elements are nearly equal. The zero matrix counts as not symmetric, as in the
    documentation.
    """
    greatest = np.abs(matrix).max()
    return bool(greatest > 0 and np.all(np.abs(matrix - matrix.T) <= _SYMMETRIC * greatest)) or len(matrix) == 1


@dataclass(frozen=True, slots=True)
class _Reflection:
    """A Householder reflection I - gamma u u', and the element that it leaves of the vector it was made for."""

    u: Vector
    gamma: float
    left: float

    def rows(self, matrix: Matrix, first: int) -> None:
        """Apply it to rows of a matrix from the first on."""
        part = matrix[first : first + len(self.u)]
        part -= np.outer(self.gamma * self.u, self.u @ part)

    def columns(self, matrix: Matrix, first: int) -> None:
        """Apply it to columns of a matrix from the first on."""
        part = matrix[:, first : first + len(self.u)]
        part -= np.outer(part @ self.u, self.gamma * self.u)


def _reflection(vector: Vector, threshold: float = 0.0) -> _Reflection | None:
    """Make the reflection that leaves nothing of a vector but its first element; None where nothing is above."""
    scale = float(np.abs(vector).max())
    if scale <= threshold:
        return None
    u = vector / scale
    tau = math.copysign(math.sqrt(float(u @ u)), u[0] if u[0] else 1.0)
    first = float(u[0]) + tau
    u = u / first
    u[0] = 1.0
    return _Reflection(u, first / tau, -tau * scale)


# Symmetric matrices


def _symmetric(matrix: Matrix) -> tuple[Vector, Matrix]:
    size = len(matrix)
    work = np.triu(matrix) + np.triu(matrix, 1).T
    q = np.eye(size)
    for k in range(1, size):
        reflection = _reflection(work[k - 1, k:])
        if reflection is not None:
            reflection.rows(work, k)
            reflection.columns(work, k)
            work[k - 1, k] = work[k, k - 1] = reflection.left
            reflection.rows(q, k)  # the transpose of Q: the product of the reflections, the last one leftmost
    diagonal, off = np.diagonal(work).tolist(), np.diagonal(work, 1).tolist()
    values = _Tridiagonal(list(diagonal), list(off)).diagonalize(None)
    tridiagonal = _Tridiagonal(diagonal, off, q)
    return np.array(tridiagonal.diagonalize(values)), q


@dataclass(slots=True)
class _Tridiagonal:
    """A symmetric tridiagonal matrix that is made diagonal by rotations.

    Attributes:
        off: the elements beside it.
        q: rows that are rotated along, or None.
    """

    diagonal: list[float]
    off: list[float]
    q: Matrix | None = None
    first: int = 0
    last: int = 0
    splits: list[int] = field(default_factory=list)
    exceptional: int = 0

    def diagonalize(self, known: list[float] | None) -> list[float]:
        """Make it diagonal, with known eigenvalues as shifts where there are any.

        Raises:
            NoConvergenceError: if it does not become diagonal.
        """
        self.first, self.last = 0, len(self.diagonal) - 1
        steps = since = 0
        while True:
            if steps > _MOST_STEPS:
                raise NoConvergenceError
            if self.first == self.last:
                steps = since = 0
                if not self.splits:
                    return self.diagonal
                self.last = self.splits.pop()
                self.first = self.splits[-1] + 1 if self.splits else 0
            elif known is None and self.last - self.first == 1:
                steps = since = 0
                self._solve_pair()
            elif steps - since > _PATIENCE:
                self.exceptional += 1
                self._step(0.0, angle=min(0.05 * self.exceptional, 1.0))
                since = steps
            elif not self._split():
                if known is not None and steps > _SCRIPTED_STEPS:
                    known = None
                    continue
                self._step(self._wilkinson() if known is None else known[self.last])
            steps += 1

    def _split(self) -> bool:
        for i in range(self.last - 1, self.first - 1, -1):
            if abs(self.off[i]) <= (abs(self.diagonal[i]) + abs(self.diagonal[i + 1])) * _EPS:
                self.splits.append(i)
                self.first = i + 1
                return True
        return False

    def _pair(self, i: int) -> tuple[float, float]:
        """Return the eigenvalues of two rows, the greater first."""
        a, b, c = self.diagonal[i], self.off[i], self.diagonal[i + 1]
        scale = max(abs(a), abs(b), abs(c)) or 1.0
        a, b, c = a / scale, b / scale, c / scale
        middle, half = (a + c) * 0.5, (a - c) * 0.5
        reach = math.sqrt(half * half + b * b)
        return scale * (middle + reach), scale * (middle - reach)

    def _solve_pair(self) -> None:
        self.diagonal[self.first : self.last + 1] = self._pair(self.first)
        self.off[self.first] = 0.0
        self.first = self.last

    def _wilkinson(self) -> float:
        """Return the eigenvalue of the last two rows that is nearest to the last element."""
        greater, lesser = self._pair(self.last - 1)
        end = self.diagonal[self.last]
        return greater if abs(greater - end) < abs(lesser - end) else lesser

    def _step(self, shift: float, angle: float | None = None) -> None:
        """Take one implicit step: a first rotation, and those that chase the bulge off the matrix."""
        d, e, start = self.diagonal, self.off, self.first
        if angle is None:
            c, s = _rotation(d[start] - shift, e[start])
        else:
            c, s = math.cos(angle), math.sin(angle)
        self._rotate(start, c, s)
        for i in range(start, self.last - 1):
            bulge, e[i + 1] = s * e[i + 1], c * e[i + 1]
            if bulge == 0.0:
                return
            c, s = _rotation(e[i], bulge)
            e[i] = c * e[i] + s * bulge
            self._rotate(i + 1, c, s)

    def _rotate(self, i: int, c: float, s: float) -> None:
        d, e = self.diagonal, self.off
        a, b, z = d[i], e[i], d[i + 1]
        d[i] = c * c * a + 2.0 * c * s * b + s * s * z
        d[i + 1] = c * c * z - 2.0 * c * s * b + s * s * a
        e[i] = b * (c * c - s * s) + c * s * (z - a)
        if self.q is not None:
            self.q[i : i + 2] = np.array([[c, s], [-s, c]]) @ self.q[i : i + 2]


def _rotation(run: float, rise: float) -> tuple[float, float]:
    """Return the cosine and sine of the rotation that turns (run, rise) into the first axis, up to its sign."""
    if abs(rise) > abs(run):
        ratio = run / rise
        sine = 1.0 / math.sqrt(1.0 + ratio * ratio)
        return ratio * sine, sine
    ratio = rise / run if run else 0.0
    cosine = 1.0 / math.sqrt(1.0 + ratio * ratio)
    return cosine, ratio * cosine


# Other matrices


def _general(matrix: Matrix) -> tuple[Vector, Matrix]:
    size = len(matrix)
    work, basis = matrix.copy(), np.eye(size)
    for k in range(size - 2):
        reflection = _reflection(work[k + 1 :, k])
        if reflection is not None:
            reflection.rows(work, k + 1)
            reflection.columns(work, k + 1)
            work[k + 1, k], work[k + 2 :, k] = reflection.left, 0.0
            reflection.columns(basis, k + 1)
    known = _Hessenberg(work.copy()).triangularize(None)
    hessenberg = _Hessenberg(work, np.eye(size))
    # Eigenvalues are found from the last row to the first, and kept in that order.
    values = np.array(hessenberg.triangularize(known))
    return values, (basis @ _triangular_vectors(hessenberg, values)).T


def _triangular_vectors(hessenberg: _Hessenberg, values: Vector) -> Matrix:
    """Return the eigenvectors of a triangular matrix in columns, in the order of its eigenvalues."""
    size = len(values)
    assert hessenberg.q is not None
    vectors = np.zeros((size, size))
    done: set[int] = set()
    for first in range(size):
        value = values[size - 1 - first]
        scale = abs(value) or 1.0
        if first in done:
            continue
        top = _solve_upper(hessenberg.matrix[:first, :first] - value * np.eye(first), -hessenberg.matrix[:first, first])
        for i in range(first, size):
            if i not in done and abs(values[size - 1 - i] - value) / scale < 100.0 * _EPS:
                vector = np.zeros(size)
                vector[:first], vector[i] = top, 1.0
                vector = hessenberg.q.T @ vector
                vectors[:, size - 1 - i] = vector / np.linalg.norm(vector)
                done.add(i)
    return vectors


def _solve_upper(upper: Matrix, right: Vector) -> Vector:
    solution = right.copy()
    for i in range(len(right) - 1, -1, -1):
        rest = solution[i] - upper[i, i + 1 :] @ solution[i + 1 :]
        solution[i] = rest / upper[i, i] if upper[i, i] else 0.0
    return solution


@dataclass(slots=True)
class _Hessenberg:
    """An upper Hessenberg matrix that is made triangular by reflections.

    Attributes:
        q: rows that are reflected along, or None.
    """

    matrix: Matrix
    q: Matrix | None = None
    values: list[float] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)
    exceptional: int = 0

    def triangularize(self, known: list[float] | None) -> list[float]:
        """Make it triangular, with known eigenvalues as shifts where there are any; the eigenvalues as they are found.

        Raises:
            NoConvergenceError: if it does not become triangular.
            ComplexEigenvalueError: if two eigenvalues are not real.
        """
        size = len(self.matrix)
        first, last, steps, since = 0, size - 1, 0, 0
        while len(self.values) < size:
            steps += 1
            if steps > _MOST_STEPS:
                raise NoConvergenceError
            if last < first:
                last = self.splits.pop()
                first = self.splits[-1] + 1 if self.splits else 0
            elif first == last or ((last - first > 1 or known is not None) and self._is_zero(last)):
                self.values.append(float(self.matrix[last, last]))
                last, steps, since = last - 1, 0, 0
            elif last - first == 1 and known is None:
                self.values.extend(_real_pair(self.matrix[first : last + 1, first : last + 1]))
                last, steps, since = last - 2, 0, 0
            elif steps - since > _PATIENCE:
                self.exceptional += 1
                self._single_step(first, last, (1.0 - 0.1**self.exceptional) * (abs(self.matrix[last, last]) or 1.0))
                since = steps
            elif (split := next((i for i in range(last, first, -1) if self._is_zero(i)), None)) is not None:
                self.splits.append(split - 1)
                first = split
            elif known is not None:
                scripted = steps <= _PATIENCE // 2
                shift = known[len(self.values)] if scripted else float(self.matrix[last, last])
                self._single_step(first, last, shift)
            else:
                self._double_step(first, last)
        return self.values

    def _is_zero(self, i: int) -> bool:
        m = self.matrix
        return bool(abs(m[i, i - 1]) <= 0.5 * _EPS * (abs(m[i - 1, i - 1]) + abs(m[i, i])))

    def _single_step(self, first: int, last: int, shift: float) -> None:
        m = self.matrix
        begin = np.array([m[first, first] - shift, m[first + 1, first]])
        if not self._reflect(begin, first, abs(m[first, first]) * _EPS):
            return
        for i in range(first, last - 1):
            self._chase(i, 2)

    def _double_step(self, first: int, last: int) -> None:
        m = self.matrix
        (z11, z12), (z21, z22) = m[last - 1 : last + 1, last - 1 : last + 1]
        (a11, a12), (a21, a22) = m[first : first + 2, first : first + 2]
        a32 = m[first + 2, first + 1]
        scale = max(map(abs, (a11, a21, a12, a22, a32, z11, z22, z12, z21)))
        a11, a21, a12, a22, a32, z11, z22, z12, z21 = (v / scale for v in (a11, a21, a12, a22, a32, z11, z22, z12, z21))
        begin = np.array([
            (a11 - z11) * (a11 - z22) - z21 * z12 + a12 * a21, (a11 + a22 - z11 - z22) * a21, a32 * a21,
        ])  # fmt: skip
        if not self._reflect(begin, first, 0.0):
            return
        for i in range(first, last - 2):
            self._chase(i, 3)
        self._chase(last - 2, 2)

    def _chase(self, column: int, length: int) -> None:
        """Clear a column below the subdiagonal."""
        m, below = self.matrix, column + 1
        reflection = _reflection(m[below : below + length, column], abs(m[column, column]) * _EPS)
        if reflection is not None:
            self._apply(reflection, below)
        m[below : below + length, column] = 0.0
        if reflection is not None:
            m[below, column] = reflection.left

    def _reflect(self, begin: Vector, first: int, threshold: float) -> bool:
        reflection = _reflection(begin, threshold)
        if reflection is None:
            return False
        self._apply(reflection, first)
        return True

    def _apply(self, reflection: _Reflection, first: int) -> None:
        reflection.rows(self.matrix, first)
        reflection.columns(self.matrix, first)
        if self.q is not None:
            reflection.rows(self.q, first)


def _real_pair(block: Matrix) -> tuple[float, float]:
    """Return the eigenvalues of a matrix of two rows, the lesser first.

    The diagonal elements are made equal by a rotation first, which loses fewer digits than the quadratic formula.

    Raises:
        ComplexEigenvalueError: if they are not real.
    """
    scale = float(np.abs(block).max())
    if scale == 0.0:
        return 0.0, 0.0
    (a11, a12), (a21, a22) = (block / scale).tolist()
    if a12 + a21 == 0:
        c = s = math.sqrt(0.5)
    else:
        ratio = (a11 - a22) / (a12 + a21)
        t = ratio / (1.0 + math.sqrt(1.0 + ratio * ratio))
        c = 1.0 / math.sqrt(1.0 + t * t)
        s = c * t
    middle = c * c * a11 + s * s * a22 - c * s * (a12 + a21)
    upper = c * c * a12 - s * s * a21 + c * s * (a11 - a22)
    lower = c * c * a21 - s * s * a12 + c * s * (a11 - a22)
    if lower * upper < -_NEARLY_REAL:
        raise ComplexEigenvalueError
    if upper == 0 or lower * upper <= 0:
        return scale * middle, scale * middle
    reach = math.sqrt(lower / (upper + lower)) * math.sqrt(upper / (upper + lower)) * (upper + lower)
    return scale * (middle - reach), scale * (middle + reach)
