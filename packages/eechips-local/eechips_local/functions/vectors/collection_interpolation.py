"""``FeatureCollection.inverseDistance`` and ``kriging``: values of points interpolated at each pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import shapely

from eechips_local.functions.registration import function
from eechips_local.functions.vectors.collection_distance import features_near
from eechips_local.geometry.map_projection import WGS84
from eechips_local.geometry.shapes import leaves
from eechips_local.pixels.grids.location import centres_of
from eechips_local.pixels.grids.pixel_grid import PixelGrid, apply, transformer
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render
from eechips_local.pixels.types import DOUBLE
from eechips_local.pixels.vector_image import outlined
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError, check_choice
from eechips_local.reducers import MEAN, Reducer, ReducerSample
from eechips_local.values.element_properties import property_of
from eechips_local.values.ordering import plain
from eechips_local.values.values import Collection

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_RADIUS = 6_378_137.0
_PAIRS = 1 << 22
"""Distances between pixels and points that are held at once."""
_MOST_PAIRS = 1 << 32
_MOST_WORK = 1 << 38
"""Multiplications for all systems of kriging: some minutes."""

Estimate = Callable[[Floats, Floats, Floats], Floats]
"""From distances of pixels to the points within reach of them (inf beyond), shape (pixels, points), distances between
these points, and their values, to the estimate of each pixel."""


def _sphere(lon: Floats, lat: Floats) -> Floats:
    """Return points of the unit sphere: shape (n, 3)."""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _distances(left: Floats, right: Floats) -> Floats:
    """Return metres between points of the unit sphere along great circles: shape (left, right)."""
    square = np.zeros((len(left), len(right)))
    for axis in range(3):
        square += (left[:, axis, None] - right[None, :, axis]) ** 2
    metres: Floats = 2 * _RADIUS * np.arcsin(np.minimum(np.sqrt(square) / 2, 1.0))
    return metres


@dataclass(frozen=True, slots=True, eq=False)
class _Interpolated:
    """An estimate at the centre of each pixel from the points within reach; masked where there are none.

    Attributes:
        collection: collection of points.
        name: name of the property that is estimated.
        reach: metres.
        reducer: combines the values of points in the same place.
        estimate: from distances and values.
    """

    collection: Collection
    name: str
    reach: float
    reducer: Reducer
    estimate: Estimate

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Estimate all pixels once."""
        estimated: Pixels = render.note(("interpolated", self, grid), lambda: self._estimated(grid, render))
        return [estimated for _ in bands]

    def _estimated(self, grid: PixelGrid, render: Render) -> Pixels:
        columns, rows = np.meshgrid(centres_of(grid.width), centres_of(grid.height))
        places = transformer(grid.crs, WGS84.crs).transform(*apply(grid.transform, columns.ravel(), rows.ravel()))
        lon, lat = np.asarray(places[0]), np.asarray(places[1])
        known = np.flatnonzero(np.isfinite(lon) & np.isfinite(lat))
        pixels = _sphere(lon[known], lat[known])
        points, values = self._points(grid)
        estimates = np.full(grid.width * grid.height, np.nan)
        if len(values) * len(pixels) > _MOST_PAIRS:
            raise MemoryLimitError()
        between = _distances(points, points) if len(points) ** 2 <= _PAIRS else None
        step = max(1, _PAIRS // max(1, len(points)))
        for start in range(0, len(pixels) if len(points) else 0, step):
            render.check_time()
            some = slice(start, start + step)
            far = _distances(pixels[some], points)
            near = np.flatnonzero((far <= self.reach).any(axis=0))
            if not len(near):
                continue
            far = np.where(far[:, near] <= self.reach, far[:, near], np.inf)
            apart = _distances(points[near], points[near]) if between is None else between[np.ix_(near, near)]
            estimates[known[some]] = self.estimate(far, apart, values[near])
        valid = np.isfinite(estimates)
        return Pixels(np.where(valid, estimates, 0.0).reshape(grid.shape), valid.reshape(grid.shape))

    def _points(self, grid: PixelGrid) -> tuple[Floats, Floats]:
        """Return places on the unit sphere, each once, and their values.

        Raises:
            InvalidError: for other geometries than points, and for properties that are not numbers.
        """
        held: dict[tuple[float, float], list[float]] = {}
        for place, value in self._values(grid):
            held.setdefault(place, []).append(value)
        lon, lat = (np.array([place[i] for place in held]) for i in (0, 1))
        return _sphere(lon, lat), np.array([self._combined(values) for values in held.values()])

    def _values(self, grid: PixelGrid) -> Iterator[tuple[tuple[float, float], float]]:
        for element in features_near(self.collection, grid, self.reach):
            feature = outlined(element)
            value = plain(property_of(feature, self.name))
            if feature.geometry is None or value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InvalidError(f"Property '{self.name}' must be a number.")
            for leaf in leaves(feature.geometry.lonlat):
                if not isinstance(leaf, shapely.Point):
                    raise InvalidError("Only points can be interpolated; found a geometry of another type.")
                if not leaf.is_empty:
                    yield (leaf.x, leaf.y), float(value)

    def _combined(self, values: Sequence[float]) -> float:
        if len(values) == 1:
            return values[0]
        ones = np.ones(len(values))
        (output,) = self.reducer.apply(ReducerSample(np.array([values]), ones, ones > 0))
        return float(output.values)


def _image(collection: Collection, name: str, reach: float, reducer: Reducer | None, estimate: Estimate) -> Image:
    """Return an image with the band of a property.

    Raises:
        InvalidError: if the reducer does not make one number of one input.
    """
    chosen = MEAN if reducer is None else reducer
    if chosen.inputs != 1 or len(chosen.names) != 1:
        raise InvalidError("The reducer must have one input and one output.")
    raster = _Interpolated(collection, name, reach, chosen, estimate)
    return Image((ImageBand(name, DOUBLE, WGS84, raster, fixed=False),))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise InvalidError(f"The {name} must be positive; found {value}.")


# Inverse distances


@function("FeatureCollection.inverseDistance")
def inverse_distance(
    collection: Collection, range: float, propertyName: str, mean: float, stdDev: float, gamma: float,
    reducer: Reducer | None,
) -> Image:  # fmt: skip
    """Return an estimate of a property from the points within ``range`` metres.

    The weight of a point is that of the modified method of Shepard, ``((range - d) / (range * d))²`` (Franke and
    Nielson 1980, "Smooth interpolation of large sets of scattered data"), on which the method rests that the
    guide cites (https://developers.google.com/earth-engine/guides/interpolation). Google does not say how the mean
    and gamma enter: here the estimate's deviation from the mean is multiplied by ``(1 - d / range) ** gamma``, d being
    the distance to the nearest point. So it is the value at a point, and tends towards the mean away from points. The
    standard deviation only scales values in between, and has no effect on the estimate.
    """
    _positive(range=range)
    if not gamma >= 0:
        raise InvalidError(f"The gamma must not be negative; found {gamma}.")
    if not stdDev >= 0:
        raise InvalidError(f"The stdDev must not be negative; found {stdDev}.")

    def estimate(far: Floats, _: Floats, values: Floats) -> Floats:
        least = far.min(axis=1)
        at: Bools = far <= 0
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.where(np.isfinite(far), ((range - far) / (range * far)) ** 2, 0.0)
            weights = np.where(at.any(axis=1, keepdims=True), at, weights)
            # A point as far as the range has no weight; if there is no nearer one, the estimate is the mean.
            total = weights.sum(axis=1)
            shepard = np.where(total > 0, (weights * values).sum(axis=1) / total, mean)
        estimates = mean + (shepard - mean) * np.maximum(1 - least / range, 0.0) ** gamma
        return np.where(np.isfinite(least), estimates, np.nan)

    return _image(collection, propertyName, range, reducer, estimate)


# Kriging


_SHAPES: Mapping[str, Callable[[Floats], Floats]] = {
    "exponential": lambda h: 1 - np.exp(-3 * h),
    "gaussian": lambda h: 1 - np.exp(-3 * h**2),
    "spherical": lambda h: np.where(h < 1, 1.5 * h - 0.5 * h**3, 1.0),
}
"""Semivariograms of sill 1 by distance in ranges: the exponential and Gaussian ones reach 95% of it at the range
(Isaaks and Srivastava 1989, "An introduction to applied geostatistics", chapter 16)."""


def ordinary_kriging(far: Floats, apart: Floats, values: Floats, gamma: Callable[[Floats], Floats]) -> Floats:
    """Return the estimate of ordinary kriging at each place from the points within reach, NaN where there are none.

    Isaaks and Srivastava (1989), chapter 12: the weights, of sum 1, that minimize the variance of the error.
    Places with the same points within reach share a system of equations.

    Args:
        far: from places to points, inf beyond reach; shape (places, points).
        apart: between points; shape (points, points).
        values: values of points.
        gamma: semivariance of distances.

    Raises:
        LimitError: if there are too many points.
    """
    estimates = np.full(len(far), np.nan)
    within = np.isfinite(far)
    groups, members = np.unique(np.packbits(within, axis=1), axis=0, return_inverse=True)
    sizes = within.sum(axis=1)
    firsts = np.unique(members.ravel(), return_index=True)[1]
    if float((sizes[firsts].astype(np.float64) ** 3).sum()) > _MOST_WORK:
        raise MemoryLimitError()
    order = np.argsort(members.ravel(), kind="stable")
    bounds = np.searchsorted(members.ravel()[order], np.arange(len(groups) + 1))
    for start, stop in pairwise(bounds.tolist()):
        places = order[start:stop]
        near = np.flatnonzero(within[places[0]])
        if not len(near):
            continue
        count = len(near)
        system = np.ones((count + 1, count + 1))
        system[:count, :count] = gamma(apart[np.ix_(near, near)])
        system[count, count] = 0.0
        # Weights of points need one solution: those of the values, which all places share.
        wanted = np.append(values[near], 0.0)
        try:
            dual = np.linalg.solve(system, wanted)
        except np.linalg.LinAlgError:
            dual = np.linalg.lstsq(system, wanted, rcond=None)[0]
        estimates[places] = gamma(far[np.ix_(places, near)]) @ dual[:count] + dual[count]
    return estimates


@function("FeatureCollection.kriging")
def kriging(
    collection: Collection, propertyName: str, shape: str, range: float, sill: float, nugget: float,
    maxDistance: float | None, reducer: Reducer | None,
) -> Image:  # fmt: skip
    """Return an estimate of a property by ordinary kriging, from the points within ``maxDistance`` metres.

    https://developers.google.com/earth-engine/guides/interpolation: the semivariogram begins at the nugget and reaches
    the sill at the range. Google does not give its formula: see ``_SHAPES`` for the one used here.
    """
    check_choice("shape", shape, _SHAPES)
    reach = range if maxDistance is None else maxDistance
    _positive(range=range, maxDistance=reach)
    if not 0 <= nugget <= sill or not sill > 0:
        raise InvalidError(f"The nugget must lie between 0 and the sill; found {nugget} and {sill}.")

    def semivariance(distances: Floats) -> Floats:
        rise = nugget + (sill - nugget) * _SHAPES[shape](distances / range)
        return np.where(distances > 0, rise, 0.0)

    def estimate(far: Floats, apart: Floats, values: Floats) -> Floats:
        return ordinary_kriging(far, apart, values, semivariance)

    return _image(collection, propertyName, reach, reducer, estimate)
