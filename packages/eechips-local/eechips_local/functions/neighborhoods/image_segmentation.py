"""``ee.Algorithms.Image.Segmentation``: ``SNIC``, ``KMeans``, ``GMeans`` and ``seedGrid``: superpixels, clusters of
tiles or cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.classification import learner
from eechips_local.algorithms.gmeans import g_means
from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.neighborhoods.image_components import CORNERS, SIDES, components
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import WGS84
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.grids.tiles import TILE, Tile, Tiled, lattice_origin
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, bands_from
from eechips_local.pixels.neighborhood import cropped
from eechips_local.pixels.pixelwise_rasters import Generated
from eechips_local.pixels.types import BOOLEAN, floating_type, without_range
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError, check_choice
from eechips_local.values.values import WHOLE_EARTH

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]

_MOST_SIZE = 1024
_MOST_MARGIN = 1024
_STRETCH = 1 << 14
"""Pixels after which the time is looked at."""
_INTEGER = PixelType("int", -(1 << 31), (1 << 31) - 1)
_SPAN = 46_340
"""Rows and columns after which clusters have the same numbers again: its square is the greatest below 2³¹."""


def _check(image: Image) -> None:
    if not image.bands:
        raise InvalidError("Image has no bands.")
    if any(band.type.dimensions for band in image.bands):
        raise InvalidError("Array images cannot be segmented; only scalar bands are supported.")


def _margin(size: int) -> int:
    if size < 0:
        raise InvalidError(f"The neighborhoodSize must not be negative; found {size}.")
    if size > _MOST_MARGIN:
        raise MemoryLimitError()
    return size


# Seeds


def _seeds(column: int, row: int, width: int, height: int, size: int, *, hexagonal: bool = False) -> Bools:
    """Return the seeds of a window: one in each cell of ``size`` pixels, counted from where the CRS begins.

    The rows of a hexagonal grid are √3/2 cells apart, and every second one lies half a cell to the east.
    """
    step = max(1, round(size * math.sqrt(3) / 2)) if hexagonal else size
    columns, rows = np.arange(column, column + width), np.arange(row, row + height)
    shifts = np.where(rows // step % 2 == 1, size // 2, 0) if hexagonal else np.zeros(height, dtype=int)
    seeds: Bools = (rows % step == step // 2)[:, None] & ((columns[None, :] - shifts[:, None]) % size == size // 2)
    return seeds


def _check_size(size: int) -> None:
    if size < 1:
        raise InvalidError(f"The size must be positive; found {size}.")
    if size > _MOST_SIZE:
        raise MemoryLimitError()


@function("Image.Segmentation.seedGrid")
def seed_grid(size: int, gridType: str) -> Image:
    """Return the band "seeds": 1 at the pixels of a grid, masked elsewhere.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-image-segmentation-seedgrid. Google does not say
    which pixel of a cell is its seed: here it is the middle one.
    """
    _check_size(size)
    check_choice("gridType", gridType, ("square", "hex"))

    def generate(grid: PixelGrid, _: int) -> Pixels:
        chosen = _seeds(*lattice_origin(grid), grid.width, grid.height, size, hexagonal=gridType == "hex")
        return Pixels(np.ones(grid.shape, dtype=np.uint8), chosen)

    return Image((ImageBand("seeds", BOOLEAN, WGS84, Generated(generate), fixed=False),), {}, WHOLE_EARTH)


# Superpixels


def superpixels(
    values: Floats, valid: Bools, seeds: Labels, weight: float, neighbours: Sequence[tuple[int, int]],
    check_time: Callable[[], None],
) -> Labels:  # fmt: skip
    """Return the cluster of each pixel, -1 where none reaches; shape (height, width).

    Achanta and Süsstrunk (2017), "Superpixels and polygons using simple non-iterative clustering", CVPR, algorithm 1:
    the pixel nearest to the centroid of a cluster that it touches joins the cluster, and moves its centroid. Pixels
    that are as near join in the order in which they were found.

    Args:
        values: shape (bands, height, width).
        valid: pixels that may join; shape (height, width).
        seeds: cluster of each seed, counted from 0, and -1 elsewhere.
        weight: weight of squared distances in pixels against those of values.
        neighbours: offsets (rows, columns) of the pixels that touch one.
        check_time: called from time to time.
    """
    height, width = valid.shape
    bands, clusters = len(values), int(seeds.max(initial=-1)) + 1
    # A border of pixels that nothing joins: no position needs to be checked against the edges.
    stride = width + 2
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1))).reshape(bands, -1)
    pixels: list[tuple[float, ...]] = list(zip(*padded.tolist(), strict=True))
    columns, rows = (axis.ravel().tolist() for axis in np.meshgrid(np.arange(stride), np.arange(height + 2)))
    # The least distance at which a pixel waits, -1 once it has joined.
    waiting: list[float] = np.pad(np.where(valid, np.inf, -1.0), 1, constant_values=-1.0).ravel().tolist()
    labels = [-1] * len(waiting)
    sums = [[0.0] * bands for _ in range(clusters)]
    counts, down, across = [0] * clusters, [0] * clusters, [0] * clusters
    steps = [row * stride + column for row, column in neighbours]
    order = count()
    queue: list[tuple[float, int, int, int]] = [
        (-1.0, next(order), (row + 1) * stride + column + 1, int(seeds[row, column]))
        for row, column in np.argwhere(seeds >= 0).tolist()
    ]
    joined = 0
    while queue:
        _, _, at, cluster = heappop(queue)
        if waiting[at] < 0:
            continue
        waiting[at], labels[at] = -1.0, cluster
        joined += 1
        if not joined % _STRETCH:
            check_time()
        size = counts[cluster] = counts[cluster] + 1
        total = sums[cluster] = [a + b for a, b in zip(sums[cluster], pixels[at], strict=False)]
        down[cluster] += rows[at]
        across[cluster] += columns[at]
        mean = [value / size for value in total]
        row, column = down[cluster] / size, across[cluster] / size
        for step in steps:
            beside = at + step
            best = waiting[beside]
            if best < 0:
                continue
            # Products, for powers of floats take several times as long.
            x, y = columns[beside] - column, rows[beside] - row
            distance = weight * (x * x + y * y)
            for a, b in zip(pixels[beside], mean, strict=False):
                distance += (a - b) * (a - b)
            # A pixel that waits with a lesser distance is taken by that.
            if distance < best:
                waiting[beside] = distance
                heappush(queue, (distance, next(order), beside, cluster))
    return np.array(labels, dtype=np.int64).reshape(height + 2, stride)[1:-1, 1:-1]


_BESIDE: Sequence[tuple[int, int]] = ((0, -1), (-1, 0), (0, 1), (1, 0))
_AROUND: Sequence[tuple[int, int]] = (*_BESIDE, (-1, -1), (-1, 1), (1, -1), (1, 1))


def _numbers(labels: Labels, first: npt.NDArray[np.intp], width: int, tile: Tile) -> Labels:
    """Return the number of each pixel's cluster: the place of its first seed on the lattice."""
    rows, columns = np.divmod(first, width)
    rows = (rows + tile.row - tile.margins.top) % _SPAN
    columns = (columns + tile.column - tile.margins.left) % _SPAN
    return (rows * _SPAN + columns)[np.maximum(labels, 0)]


@dataclass(frozen=True, slots=True)
class _Superpixels:
    """Clusters of tiles: see :func:`snic`.

    Attributes:
        has_grid: whether seeds lie on a grid; else they are a further band.
    """

    bands: int
    size: int
    compactness: float
    connectivity: int
    margin: int
    has_grid: bool

    def compute(self, pixels: Sequence[Pixels], tile: Tile) -> list[Pixels]:
        """Return numbers of clusters, means of each band, and the seeds of a grid."""
        values = np.stack([p.values.astype(np.float64) for p in pixels[: self.bands]])
        valid = np.logical_and.reduce([p.valid for p in pixels[: self.bands]]) & np.isfinite(values).all(axis=0)
        is_seed = self._find_seeds(pixels, tile, valid)
        first, labels = self._label(values, valid, is_seed, tile)
        reached = labels >= 0
        inside = cropped(reached, tile.margins, tile.grid.shape)
        if not len(first):
            empty = Pixels(np.zeros(tile.grid.shape), inside)
            return [empty] * (1 + self.bands + self.has_grid)
        counts = np.maximum(np.bincount(labels[reached], minlength=len(first)), 1)
        layers: list[npt.NDArray[Any]] = [_numbers(labels, first, valid.shape[1], tile)]
        for band in values:
            sums = np.bincount(labels[reached], weights=band[reached], minlength=len(first))
            layers.append((sums / counts)[np.maximum(labels, 0)])
        band_pixels = [Pixels(cropped(layer, tile.margins, tile.grid.shape), inside) for layer in layers]
        if self.has_grid:
            seeds = cropped(is_seed, tile.margins, tile.grid.shape)
            band_pixels.append(Pixels(np.ones(tile.grid.shape, np.uint8), seeds))
        return band_pixels

    def _find_seeds(self, pixels: Sequence[Pixels], tile: Tile, valid: Bools) -> Bools:
        if not self.has_grid:
            own: Bools = pixels[self.bands].valid & (pixels[self.bands].values != 0) & valid
            return own
        height, width = valid.shape
        return _seeds(tile.column - self.margin, tile.row - self.margin, width, height, self.size) & valid

    def _label(self, values: Floats, valid: Bools, is_seed: Bools, tile: Tile) -> tuple[npt.NDArray[np.intp], Labels]:
        """Return the first pixel of each cluster's seeds, and the cluster of each pixel, -1 where none reaches."""
        neighbours, steps = (_BESIDE, SIDES) if self.connectivity == 4 else (_AROUND, (*SIDES, *CORNERS))
        joined = components(np.ones(valid.shape, dtype=np.uint8), is_seed, steps)
        first, numbers = np.unique(joined[is_seed], return_inverse=True)
        starts = np.full(valid.shape, -1, dtype=np.int64)
        starts[is_seed] = numbers.ravel()
        filled, weight = np.where(valid, values, 0.0), self.compactness / self.size
        return first, superpixels(filled, valid, starts, weight, neighbours, tile.check_time)


@function("Image.Segmentation.SNIC")
def snic(
    image: Image, size: int, compactness: float, connectivity: int, neighborhoodSize: int | None, seeds: Image | None
) -> Image:
    """Return the bands "clusters", the means of the clusters ("B4_mean"), and "seeds" if none are given.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-image-segmentation-snic. A cluster grows by the
    distance of the paper that is cited there: squared differences of values, plus squared distances in pixels times
    ``compactness / size``. It is computed on tiles of 256 pixels. A cluster's number tells where its seed is.
    """
    _check(image)
    _check_size(size)
    if compactness < 0:
        raise InvalidError(f"The compactness must not be negative; found {compactness}.")
    if connectivity not in (4, 8):
        raise InvalidError(f"The connectivity must be 4 or 8; found {connectivity}.")
    margin = _margin(2 * size if neighborhoodSize is None else neighborhoodSize)
    if seeds is not None and (not seeds.bands or seeds.bands[0].type.dimensions):
        raise InvalidError("The seeds must have a scalar band.")
    chosen = [] if seeds is None else [seeds.bands[0]]
    clusters = _Superpixels(len(image.bands), size, compactness, connectivity, margin, has_grid=seeds is None)
    raster = Tiled((*image.bands, *chosen), TILE, margin, clusters.compute)
    leader = image.bands[0]
    outputs = [replace(leader, name="clusters", type=_INTEGER)]
    for band in image.bands:
        kind = without_range(floating_type(band.type))
        outputs.append(replace(band, name=f"{band.name}_mean", type=kind))
    if seeds is None:
        outputs.append(replace(leader, name="seeds", type=BOOLEAN))
    return image.computed(bands_from(raster, outputs))


# k-means


_MOST_CLUSTERS = 1024
_CELLS = 64
"""Pixels along the edge of a square of small cells that are read together."""


def _clustered(samples: Floats, clusters: int, iterations: int, *, converge: bool) -> Labels:
    """Return the cluster of each sample by k-means, from 0.

    Raises:
        InvalidError: if ``converge`` is asked for and not reached.
    """
    values, which = np.unique(samples, axis=0, return_inverse=True)
    if len(values) <= clusters:
        return which.ravel().astype(np.int64)
    means = learner("cluster").KMeans(clusters, n_init=1, max_iter=iterations, tol=0.0, random_state=0)
    labels: Labels = means.fit_predict(samples).astype(np.int64)
    if converge and means.n_iter_ >= iterations:
        centres = [samples[labels == cluster].mean(axis=0) for cluster in np.unique(labels)]
        if not np.allclose(centres, means.cluster_centers_[np.unique(labels)]):
            raise InvalidError(f"K-means did not converge in {iterations} iterations.")
    return labels


@function("Image.Segmentation.KMeans")
def k_means(
    image: Image, numClusters: int, numIterations: int, neighborhoodSize: int, gridSize: int | None,
    forceConvergence: bool, uniqueLabels: bool,
) -> Image:  # fmt: skip
    """Return the band "clusters": k-means of the pixels of each tile, or of each cell of ``gridSize`` pixels.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-image-segmentation-kmeans. Google does not say
    where clusters begin: here they do at k-means++ with a fixed seed, as scikit-learn has it.
    """
    for name, value in (("numClusters", numClusters), ("numIterations", numIterations)):
        if value < 1:
            raise InvalidError(f"The {name} must be positive; found {value}.")
    if numClusters > _MOST_CLUSTERS:
        raise MemoryLimitError()

    def cluster(samples: Floats, _: Tile) -> Labels:
        return _clustered(samples, numClusters, numIterations, converge=forceConvergence)

    return _in_cells(image, cluster, numClusters, neighborhoodSize, gridSize, unique=uniqueLabels)


@function("Image.Segmentation.GMeans")
def g_means_clusters(
    image: Image, numIterations: int, pValue: float, neighborhoodSize: int, gridSize: int | None, uniqueLabels: bool
) -> Image:
    """Return the band "clusters": as many as it takes for the pixels of each to be normally distributed.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-image-segmentation-gmeans. Google does not say what
    ``pValue`` is, whose default of 50 is no probability: here it is the critical value of the test's statistic.
    """
    if numIterations < 1:
        raise InvalidError(f"The numIterations must be positive; found {numIterations}.")

    def cluster(samples: Floats, tile: Tile) -> Labels:
        return g_means(samples, pValue, numIterations, _MOST_CLUSTERS, tile.check_time)

    return _in_cells(image, cluster, _MOST_CLUSTERS, neighborhoodSize, gridSize, unique=uniqueLabels)


def _in_cells(
    image: Image, cluster: Callable[[Floats, Tile], Labels], most: int, neighborhood: int, grid_size: int | None,
    *, unique: bool,
) -> Image:  # fmt: skip
    """Return the clusters of the pixels of each tile or cell, numbered anew in each of them or not.

    Args:
        image: what is clustered.
        cluster: function from samples of shape (pixels, bands) to their clusters, from 0.
        most: greatest number of clusters.
        neighborhood: pixels by which tiles overlap.
        grid_size: edge of cells in pixels, or tiles.
        unique: whether clusters have other numbers in other cells.
    """
    _check(image)
    cell = max(0, grid_size or 0)
    if cell and neighborhood > 0:
        raise InvalidError("The options gridSize and neighborhoodSize are mutually exclusive.")
    if cell > _MOST_SIZE:
        raise MemoryLimitError()
    cell = cell or TILE
    side, margin = cell * max(1, _CELLS // cell), _margin(neighborhood)
    # Numbers begin again after so many cells in a row: the greatest that fits 31 bits.
    span = math.isqrt((1 << 31) // most)

    def compute(pixels: Sequence[Pixels], tile: Tile) -> list[Pixels]:
        values = np.stack([p.values.astype(np.float64) for p in pixels])
        whole = np.logical_and.reduce([p.mask >= 1 for p in pixels]) & np.isfinite(values).all(axis=0)
        labels = np.zeros(tile.grid.shape, dtype=np.int64)
        for row in range(0, side, cell):
            for column in range(0, side, cell):
                window = slice(row, row + cell + 2 * margin), slice(column, column + cell + 2 * margin)
                inside = whole[window]
                if not inside.any():
                    continue
                tile.check_time()
                clusters = np.zeros(inside.shape, dtype=np.int64)
                samples = values[(slice(None), *window)][:, inside].T
                clusters[inside] = cluster(samples, tile)
                if unique:
                    number = (tile.row + row) // cell % span * span + (tile.column + column) // cell % span
                    clusters += number * most
                labels[row : row + cell, column : column + cell] = clusters[margin:, margin:][:cell, :cell]
        return [Pixels(labels, cropped(whole, tile.margins, tile.grid.shape))]

    raster = Tiled(image.bands, side, margin, compute)
    kind = PixelType("int", 0, (1 << 31) - 1 if unique else most - 1)
    return image.computed(bands_from(raster, image.bands[0], ["clusters"], kind))
