"""Models of a series by a trend and the harmonics of a year, fitted by least squares or the lasso."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_CONVERGED = 1e-9


def harmonic_design(times: Floats, season: Floats, harmonics: int) -> Floats:
    """Return the columns 1, time, and cosine and sine of each harmonic, shape (n, 2 + 2 * harmonics).

    Args:
        times: shape (n,).
        season: phase of the year, from 0 to 2 pi, shape (n,).
        harmonics: number of them.
    """
    waves = [function(order * season) for order in range(1, harmonics + 1) for function in (np.cos, np.sin)]
    return np.stack([np.ones(len(times)), times, *waves], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class LinearFit:
    """Coefficients of shape (terms, bands), and the residuals of the fitted values, shape (n, bands)."""

    coefficients: Floats
    residuals: Floats

    @property
    def rmse(self) -> Floats:
        """Root mean square error of each band, by the degrees of freedom that are left."""
        free = max(1, len(self.residuals) - len(self.coefficients))
        return np.asarray(np.sqrt((self.residuals**2).sum(axis=0) / free))


def fit_lasso(design: Floats, values: Floats, penalty: float, iterations: int) -> LinearFit:
    """Return the least squares with a penalty of the sum of absolute coefficients (lasso), by coordinate descent.

    Columns are scaled to a mean of 0 and a variance of 1 first. What is least is half the mean square error plus
    ``penalty`` times the sum, as in glmnet: Friedman, Hastie and Tibshirani (2010), "Regularization paths for
    generalized linear models via coordinate descent", https://doi.org/10.18637/jss.v033.i01.

    Args:
        design: shape (n, terms); the first column is 1, whose coefficient is not penalised.
        values: shape (n, bands).
        penalty: from 0 on; 0 for ordinary least squares.
        iterations: greatest number of rounds over all coefficients; 0 for ordinary least squares.
    """
    means, middle = design[:, 1:].mean(axis=0), values.mean(axis=0)
    spread = design[:, 1:].std(axis=0)
    used = spread > 1e-12 * np.maximum(np.abs(means), 1e-300)
    scaled = (design[:, 1:] - means) / np.where(used, spread, 1.0) * used
    centred = values - middle
    if penalty == 0 or iterations == 0:
        scaled_coefficients = np.linalg.lstsq(scaled, centred, rcond=None)[0]
    else:
        scaled_coefficients = _descend(scaled, centred, penalty, iterations)
    slopes = scaled_coefficients / np.where(used, spread, 1.0)[:, None] * used[:, None]
    coefficients = np.concatenate([(middle - means @ slopes)[None], slopes])
    return LinearFit(coefficients, centred - scaled @ scaled_coefficients)


def _descend(scaled: Floats, centred: Floats, penalty: float, iterations: int) -> Floats:
    """Return coefficients of scaled columns, the least squares at first."""
    count = len(scaled)
    gram, product = scaled.T @ scaled / count, scaled.T @ centred / count
    coefficients = np.zeros(product.shape)
    size = np.abs(product).max(initial=0.0)
    for _ in range(iterations):
        before = coefficients.copy()
        for j in range(len(gram)):
            if gram[j, j] == 0:
                continue
            pull = product[j] - gram[j] @ coefficients + gram[j, j] * coefficients[j]
            coefficients[j] = np.sign(pull) * np.maximum(np.abs(pull) - penalty, 0) / gram[j, j]
        if np.abs(coefficients - before).max(initial=0.0) <= _CONVERGED * size:
            break
    return coefficients
