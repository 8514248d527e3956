"""CCDC, Continuous Change Detection and Classification: segments of dense series, each with a trend and seasons;
outliers, clouds (Tmask) and second observations of a day are left out.

Zhu and Woodcock (2014), "Continuous change detection and classification of land cover using all available Landsat
data", Remote Sensing of Environment 144, https://doi.org/10.1016/j.rse.2014.01.011. What the paper leaves open is as in
the programs of its authors and of the U.S. Geological Survey (https://github.com/repository-preservation/lcmap-pyccd).
A model needs a year and 12 observations; it has 4, 6 or 8 coefficients, one for each three observations. Residuals are
compared with the greater of the model's error and the median difference of observations more than a month apart. Of
several observations of a day, as where scenes of an orbit overlap, the first counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.distributions import chi_square_quantile
from eechips_local.algorithms.harmonic_models import LinearFit, fit_lasso, harmonic_design

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

TERMS = 8
"""Coefficients of the largest model: constant, trend, and cosine and sine of three harmonics."""
_LEAST_TERMS = 4
_PER_TERM = 3
"""Observations that a model needs for each coefficient."""
_CERTAIN = 1 - 1e-6
"""Probability beyond which a single observation is left out as noise."""
_CLOUD = 4.89
"""Median differences of observations beyond which a deviation is a cloud or its shadow."""
_ROBUST_ROUNDS = 5
_DAYS = 365.25
_MONTH = 30
"""Days. Only differences of observations further apart measure the noise: closer observations are too similar."""


@dataclass(frozen=True, slots=True)
class CcdcOptions:
    """Arguments of ``ee.Algorithms.TemporalSegmentation.Ccdc``.

    Attributes:
        detection: positions of the bands in which changes are looked for.
        clouds: positions of the bands by which clouds are found; none for no search.
        observations: successive observations that make a change.
        probability: probability of the chi-square distribution beyond which an observation deviates.
        growth: factor of the length of a segment after which its model is fitted again.
        penalty: penalty of the lasso.
        iterations: greatest number, of the lasso.
        year: length of a year in the unit of times.
    """

    detection: tuple[int, ...]
    clouds: tuple[int, ...]
    observations: int
    probability: float
    growth: float
    penalty: float
    iterations: int
    year: float


@dataclass(frozen=True, slots=True, eq=False)
class CcdcSegment:
    """A segment of a series.

    Attributes:
        start: time of its first observation.
        end: time of its last one.
        change: time of the first observation that deviates from its model; 0 for none.
        count: number of observations.
        probability: share of the observations needed for a change that deviate.
        coefficients: shape (bands, TERMS): constant, trend, cosine and sine of three harmonics; 0 for those not used.
        rmse: root mean square error of each band.
        magnitude: median residual of the observations that deviate, of each band; 0 for none.
    """

    start: float
    end: float
    change: float
    count: int
    probability: float
    coefficients: Floats
    rmse: Floats
    magnitude: Floats


def find_segments(times: Floats, values: Floats, options: CcdcOptions) -> list[CcdcSegment]:
    """Return the segments of a series in the order of time; none if it is too short.

    Args:
        times: shape (n,), ascending, in any unit.
        values: shape (n, bands).
        options: options of the algorithm.
    """
    kept = np.diff(times, prepend=-math.inf) > options.year / _DAYS / 2
    search = _Search(times[kept], values[kept], options)
    search.run()
    return search.segments


@dataclass(slots=True, eq=False)
class _Search:
    """A search for segments. Observations that turn out to be noise are removed from the series."""

    times: Floats
    values: Floats
    options: CcdcOptions
    segments: list[CcdcSegment] = field(default_factory=list)
    noise: Floats = field(init=False)
    limit: float = field(init=False)
    greatest: float = field(init=False)

    def __post_init__(self) -> None:
        self.noise = _noise(self.times * (_DAYS / self.options.year), self.values)
        degrees = len(self.options.detection)
        self.limit = chi_square_quantile(self.options.probability, degrees)
        self.greatest = chi_square_quantile(_CERTAIN, degrees)

    def run(self) -> None:
        """Find segment after segment."""
        first = 0
        while True:
            first_model = self._start(first)
            if first_model is None:
                self._add_rest(first)
                return
            first_free = self._follow(*first_model)
            if first_free is None:
                return
            first = first_free

    # Models

    def _fit(self, start: int, end: int, terms: int) -> LinearFit:
        """Return the model of the observations from start to end, both included."""
        times = self.times[start : end + 1]
        design = harmonic_design(times, 2 * math.pi * times / self.options.year, (terms - 2) // 2)
        return fit_lasso(design, self.values[start : end + 1], self.options.penalty, self.options.iterations)

    def _apart(self, model: LinearFit, places: slice) -> Floats:
        """Return differences of observations from a model, shape (n, bands)."""
        times, terms = self.times[places], len(model.coefficients)
        design = harmonic_design(times, 2 * math.pi * times / self.options.year, (terms - 2) // 2)
        return self.values[places] - design @ model.coefficients

    def _scores(self, apart: Floats, rmse: Floats) -> Floats:
        """Return sums over the bands of squares of differences, each relative to its error, shape (n,)."""
        bands = list(self.options.detection)
        scale = np.maximum(np.maximum(self.noise, rmse)[bands], 1e-300)
        return np.asarray(((apart[:, bands] / scale) ** 2).sum(axis=1))

    def _remove(self, places: Flags) -> None:
        self.times, self.values = self.times[~places], self.values[~places]

    # The beginning of a segment

    def _start(self, first: int) -> tuple[int, int] | None:
        """Return the first and last observation of the first stable model, and record what lies before it."""
        needed = _PER_TERM * _LEAST_TERMS
        start, end = first, first + needed - 1
        while end + self.options.observations < len(self.times):
            if end - start + 1 < needed or self._years(start, end) < 1:
                end += 1
                continue
            if self.options.clouds:
                clouds = self._clouds(start, end + self.options.observations)
                clouds[end + 1 :] = False
                kept = start + np.flatnonzero(~clouds[start : end + 1])
                if len(kept) < needed or self._years(int(kept[0]), int(kept[-1])) < 1:
                    end += 1
                    continue
                self._remove(clouds)
                end = start + len(kept) - 1
            model = self._fit(start, end, _LEAST_TERMS)
            if self._is_stable(model, start, end):
                return self._look_back(model, first, start, end)
            start, end = start + 1, end + 1
        return None

    def _years(self, start: int, end: int) -> float:
        return float(self.times[end] - self.times[start]) / self.options.year

    def _is_stable(self, model: LinearFit, start: int, end: int) -> bool:
        """Return whether trend and both ends of a model are within its error."""
        scale = np.maximum(np.maximum(self.noise, model.rmse), 1e-300)
        trend = np.abs(model.coefficients[1]) * (self.times[end] - self.times[start]) / scale
        ends = np.abs(model.residuals[[0, -1]]).max(axis=0) / scale
        return bool(((trend + ends)[list(self.options.detection)] ** 2).sum() <= self.limit)

    def _look_back(self, model: LinearFit, first: int, start: int, end: int) -> tuple[int, int]:
        """Return the segment with the observations before it that agree with its model."""
        while start > first:
            apart = self._apart(model, slice(max(first, start - self.options.observations), start))[::-1]
            scores = self._scores(apart, model.rmse)
            if scores.min() > self.limit:
                if not self.segments and start - first >= self.options.observations:
                    self._add(
                        first, start - 1, self._fit(first, start - 1, _LEAST_TERMS), self.times[start], 1.0, -apart
                    )
                break
            if scores[0] > self.greatest:
                removed = np.zeros(len(self.times), dtype=bool)
                removed[start - 1] = True
                self._remove(removed)
                end -= 1
            start -= 1
        return start, end

    def _clouds(self, start: int, end: int) -> Flags:
        """Return which observations deviate from a robust model of seasons: Tmask.

        Zhu and Woodcock (2014), "Automated cloud, cloud shadow, and snow detection in multitemporal Landsat data",
        https://doi.org/10.1016/j.rse.2014.06.012.
        """
        times = self.times[start : end + 1]
        phase = 2 * math.pi * times / self.options.year
        slow = phase / max(1, math.ceil((times[-1] - times[0]) / self.options.year))
        waves = [np.ones(len(times)), np.cos(phase), np.sin(phase), np.cos(slow), np.sin(slow)]
        cloudy = np.zeros(len(self.times), dtype=bool)
        for band in self.options.clouds:
            apart = _robust_residuals(np.stack(waves, axis=1), self.values[start : end + 1, band])
            cloudy[start : end + 1] |= np.abs(apart) > _CLOUD * self.noise[band]
        return cloudy

    # Its end

    def _follow(self, start: int, end: int) -> int | None:
        """Record the segment of some first observations; return where the next may begin, None after the last."""
        window = self.options.observations
        model, fitted_span = None, 0.0
        while True:
            count = end - start + 1
            terms = min(TERMS, max(_LEAST_TERMS, count // _PER_TERM // 2 * 2))
            span = float(self.times[end] - self.times[start])
            if model is None or count <= TERMS * _PER_TERM or span >= self.options.growth * fitted_span:
                model, fitted_span, fitted = self._fit(start, end, terms), span, count
            apart = self._apart(model, slice(end + 1, end + 1 + window))
            scores = self._scores(apart, self._seasonal_rmse(model, start, fitted, end))
            if len(scores) == window and scores.min() > self.limit:
                self._add(start, end, model, self.times[end + 1], 1.0, apart)
                return end + 1
            if len(scores) == window and scores[0] > self.greatest:
                removed = np.zeros(len(self.times), dtype=bool)
                removed[end + 1] = True
                self._remove(removed)
                if end + window < len(self.times):
                    continue
                scores, apart = np.delete(scores, 0), np.delete(apart, 0, axis=0)
            elif end + 1 + window < len(self.times):
                end += 1
                continue
            agreeing = np.flatnonzero(scores <= self.limit)
            last = int(agreeing[-1]) + 1 if len(agreeing) else 0
            deviating = len(scores) - last
            change = float(self.times[end + last + 1]) if deviating else 0.0
            self._add(start, end + last, model, change, deviating / window, apart[last:])
            return None

    def _seasonal_rmse(self, model: LinearFit, start: int, fitted: int, end: int) -> Floats:
        """Return the error of a large model at the observations nearest in season to the last one."""
        terms = len(model.coefficients)
        most = _PER_TERM * terms
        if fitted <= most:
            return model.rmse
        phase = (self.times[start : start + fitted] - self.times[end]) / self.options.year
        distance = np.abs(phase - np.rint(phase))
        nearest = np.argsort(distance, kind="stable")[:most]
        return np.asarray(np.sqrt((model.residuals[nearest] ** 2).sum(axis=0) / (most - terms)))

    def _add_rest(self, first: int) -> None:
        """Record the observations behind the last change, if there are enough for the smallest model."""
        if self.options.clouds and len(self.times) - first > _LEAST_TERMS:
            self._remove(self._clouds(first, len(self.times) - 1))
        if len(self.times) - first >= max(self.options.observations, _LEAST_TERMS + 1):
            last = len(self.times) - 1
            self._add(first, last, self._fit(first, last, _LEAST_TERMS), 0.0, 0.0, np.zeros((0, self.values.shape[1])))

    def _add(self, start: int, end: int, model: LinearFit, change: float, probability: float, apart: Floats) -> None:
        coefficients = np.zeros((self.values.shape[1], TERMS))
        coefficients[:, : len(model.coefficients)] = model.coefficients.T
        magnitude = np.median(apart, axis=0) if len(apart) else np.zeros(self.values.shape[1])
        first, last = float(self.times[start]), float(self.times[end])
        self.segments.append(
            CcdcSegment(first, last, float(change), end - start + 1, probability, coefficients, model.rmse, magnitude)
        )


def _noise(days: Floats, values: Floats) -> Floats:
    """Return median differences of observations so many places apart that most often a month lies between them."""
    for lag in range(1, len(days)):
        apart = np.rint(days[lag:] - days[:-lag])
        lengths, counts = np.unique(apart, return_counts=True)
        if lengths[counts.argmax()] > _MONTH:
            return np.asarray(np.median(np.abs(values[lag:] - values[:-lag])[apart > _MONTH], axis=0))
    return np.median(np.abs(np.diff(values, axis=0)), axis=0) if len(days) > 1 else np.zeros(values.shape[1])


def _robust_residuals(design: Floats, values: Floats) -> Floats:
    """Return residuals of a fit by iteratively reweighted least squares with Tukey's biweight."""
    weights = np.ones(len(values))
    apart = values - values.mean()
    for _ in range(_ROBUST_ROUNDS):
        root = np.sqrt(weights)
        coefficients = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)[0]
        apart = values - design @ coefficients
        scale = 4.685 * float(np.median(np.abs(apart))) / 0.6745
        if not 1e-12 * float(np.abs(values).max(initial=0.0)) < scale < math.inf:
            break
        weights = np.clip(1 - (apart / scale) ** 2, 0, None) ** 2
    return np.asarray(apart)
