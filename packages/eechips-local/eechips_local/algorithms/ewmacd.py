"""EWMACD: control charts of what a harmonic model of training years leaves of a series.

By Brooks, Wynne, Thomas, Blinn and Coulston (2014), "On-the-fly massively multitemporal change detection using
statistical quality control charts and Landsat data", IEEE TGRS 52(6), 3316-3332,
https://doi.org/10.1109/TGRS.2013.2272545, with the details of the authors' R program (EWMACD 1.3.0) as they are in its
version for Earth Engine (https://github.com/c11/lcms, ``Ewmacd.java``, of which the arguments have their names).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_DAYS = 365  # of the harmonic model's year, leap years included
_LEAST_DETERMINANT = 0.001  # of the normal equations
_FEWEST = 4  # residuals of a chart


@dataclass(frozen=True, slots=True)
class EwmacdOptions:
    """How a series is charted.

    Attributes:
        threshold: values at or below it are no vegetation.
        start: first year of the training period.
        end: first year after it.
        harmonics: number of pairs of sine and cosine.
        training_limit: greatest residual of the training period, in standard deviations.
        limit: greatest residual of other years, likewise.
        weight: weight of a new residual in the moving average (lambda).
        signal: distance of the control limit, in standard deviations of the moving average.
        is_rounded: whether scores count control limits; else they are the moving average.
        persistence: number of neighbouring scores of one sign that make a change.
    """

    threshold: float
    start: int
    end: int
    harmonics: int
    training_limit: float
    limit: float
    weight: float
    signal: float
    is_rounded: bool
    persistence: int


@dataclass(frozen=True, slots=True, eq=False)
class EwmacdChart:
    """What is found of one series.

    Attributes:
        scores: whole numbers, shape (observations,): negative after a disturbance, positive after a recovery.
        coefficients: constant, then sine and cosine of each harmonic, shape (1 + 2 * harmonics,).
        rmse: root of the mean square of the residuals of the observations that the model was fitted to.
        r_squared: share of their variance that the model explains.
        residuals: values less those of the model, shape (observations,).
    """

    scores: Floats
    coefficients: Floats
    rmse: float
    r_squared: float
    residuals: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    coefficients: Floats
    rmse: float
    r_squared: float


def chart(years: Floats, days: Floats, values: Floats, options: EwmacdOptions) -> EwmacdChart | None:
    """Return the chart of a series; None if the training period has too few observations for the model.

    Args:
        years: year of each observation, ascending, shape (observations,).
        days: day of the year, from 1, likewise.
        values: likewise.
        options: how the series is charted.
    """
    design = harmonics(days, options.harmonics)
    is_training = (years >= options.start) & (years < options.end)
    model = _fitted(design[is_training], values[is_training], options.training_limit)
    if model is None:
        return None
    residuals = values - design @ model.coefficients
    scores = _scores(values, residuals, is_training, options)
    return EwmacdChart(scores, model.coefficients, model.rmse, model.r_squared, residuals)


def harmonics(days: Floats, count: int) -> Floats:
    """Return the columns 1, and sine and cosine of each harmonic: equation 8 of the paper, shape (n, 1 + 2 * count)."""
    phase = days * 2.0 * np.pi / _DAYS
    waves = [function(order * phase) for order in range(1, count + 1) for function in (np.sin, np.cos)]
    return np.stack([np.ones(len(days)), *waves], axis=1)


def _fitted(design: Floats, values: Floats, limit: float) -> _Model | None:
    """Fit twice by least squares: all observations, and those whose residuals are within the limit.

    There must be more of them than coefficients, as in R; in Java as many do, whose residuals are noise.
    """
    terms = design.shape[1]
    if len(values) <= terms or abs(np.linalg.det(design.T @ design)) < _LEAST_DETERMINANT:
        return None
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    keeps = np.abs(rest) <= limit * _deviation(rest)
    if keeps.sum() <= terms:
        return None
    coefficients = np.asarray(np.linalg.lstsq(design[keeps], values[keeps], rcond=None)[0], dtype=np.float64)
    squares = ((values[keeps] - design[keeps] @ coefficients) ** 2).sum()
    total = ((values[keeps] - values[keeps].mean()) ** 2).sum()
    r_squared = 1.0 - squares / total if total > 0 else 0.0
    return _Model(coefficients, float(np.sqrt(squares / keeps.sum())), float(r_squared))


def _deviation(values: Floats) -> float:
    """Return the standard deviation of a sample; 0 of one value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _scores(values: Floats, residuals: Floats, is_training: Flags, options: EwmacdOptions) -> Floats:
    """Return a score for each observation; those that are left out have the score before theirs, or 0 at first.

    Left out are observations without vegetation, and those beyond the limit of an X-bar chart. Without enough others,
    all scores are 0.
    """
    limits = np.where(is_training, options.training_limit, options.limit) * _deviation(residuals[is_training])
    used = (values > options.threshold) & (np.abs(residuals) < limits)
    kept, training = residuals[used], residuals[used & is_training]
    scores = np.zeros(len(values))
    if len(kept) < _FEWEST or len(training) < 2:
        return scores
    signals = _signals(kept, _deviation(training), options)
    if options.persistence > 1:
        signals = _sustained(signals, options.persistence)
    last = np.cumsum(used) - 1  # the used observation at or before each one
    return np.where(last >= 0, signals[np.maximum(last, 0)], 0.0)


def _signals(residuals: Floats, deviation: float, options: EwmacdOptions) -> Floats:
    """Return the moving average in control limits, towards zero, or rounded: equations 12 to 14 of the paper."""
    weight = options.weight
    average = residuals.copy()
    for place in range(1, len(average)):
        average[place] = average[place - 1] * (1.0 - weight) + weight * residuals[place]
    if not options.is_rounded:
        return np.floor(average + 0.5)
    turns = np.arange(1, len(average) + 1)
    limits = deviation * options.signal * np.sqrt(weight / (2.0 - weight) * (1.0 - (1.0 - weight) ** (2 * turns)))
    signals: Floats = np.trunc(np.divide(average, limits, out=np.zeros(len(average)), where=limits > 0)) + 0.0
    return signals


def _sustained(signals: Floats, persistence: int) -> Floats:
    """Return signals that have so many neighbours of their sign; others have the last of these, or 0 before any."""
    signs = np.sign(signals)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(signs)) + 1, [len(signs)]])
    lengths = np.diff(starts)
    is_long = np.repeat(lengths >= persistence, lengths)
    last = np.maximum.accumulate(np.where(is_long, np.arange(len(signals)), -1))
    return np.where(last >= 0, signals[np.maximum(last, 0)], 0.0)
