"""Solve many small systems by least squares at once; tell those that are not determined."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def least_squares(design: Floats, response: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the least squares of many systems, and which of them are determined.

    Columns are scaled to a length of 1 before they are compared: ``[1, t, t², t³]`` with t in hours or milliseconds
    has full rank. Earth Engine has "special techniques for nearly singular matrices"
    (https://developers.google.com/earth-engine/guides/arrays_transformations).

    Args:
        design: shape (…, equations, unknowns), with no fewer equations than unknowns.
        response: shape (…, equations, sides).

    Returns:
        Solutions of shape (…, unknowns, sides), 0 where undetermined; flags of shape (…).
    """
    lengths = np.linalg.norm(design, axis=-2, keepdims=True)
    q, r = np.linalg.qr(design / np.where(lengths > 0, lengths, 1.0))
    limit = np.finfo(np.float64).eps * max(design.shape[-2:])
    full = (np.abs(np.diagonal(r, axis1=-2, axis2=-1)) > limit).all(axis=-1)
    chosen = full[..., None, None]
    solutions = np.linalg.solve(np.where(chosen, r, np.eye(r.shape[-1])), np.swapaxes(q, -1, -2) @ response)
    return np.where(chosen, solutions / np.where(chosen, np.swapaxes(lengths, -1, -2), 1.0), 0.0), full
