"""Factor square matrices into a lower and an upper triangular one, with partial pivots."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrices = npt.NDArray[np.float64]


def lu_factors(matrices: Matrices) -> tuple[Matrices, Matrices, Matrices]:
    """Return L, U and P of square matrices of shape (n, size, size), each of that shape, with P A = L U."""
    count, size = matrices.shape[:2]
    upper, lower = matrices.copy(), np.zeros(matrices.shape)
    order = np.tile(np.arange(size), (count, 1))
    matrix_index = np.arange(count)
    for step in range(size):
        pivot = step + np.abs(upper[:, step:, step]).argmax(axis=1)
        for rows in (upper, lower, order):
            rows[matrix_index, step], rows[matrix_index, pivot] = (
                rows[matrix_index, pivot].copy(),
                rows[matrix_index, step].copy(),
            )
        divisor = upper[:, step, step]
        factors = np.divide(
            upper[:, step + 1 :, step], divisor[:, None],
            out=np.zeros((count, size - step - 1)), where=divisor[:, None] != 0,
        )  # fmt: skip
        lower[:, step + 1 :, step] = factors
        upper[:, step + 1 :] -= factors[:, :, None] * upper[:, step, None, :]
        upper[:, step + 1 :, step] = 0.0
    unit = np.eye(size)
    return lower + unit, upper, unit[order]
