"""Find chips that overlap the footprints of another data set, or lie near them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips.errors import UsageError
from eechips.geo.feature_index import FeatureIndex
from eechips.geo.footprints import footprints
from eechips.geo.grid import Grid
from eechips.geo.vectors import read_features
from eechips.manifest.ledger import LEDGER_NAME
from eechips.training.samples import read_samples

Paths = str | Path | Sequence[str | Path]


def list_paths(paths: Paths) -> tuple[Path, ...]:
    """Return one path or several as a tuple."""
    return (Path(paths),) if isinstance(paths, (str, Path)) else tuple(Path(path) for path in paths)


def read_footprints(path: Path) -> npt.NDArray[np.object_]:
    """Read the footprints of a data set.

    Args:
        path: folder of a run, or a vector file: GeoParquet, GeoJSON, or another format that GDAL reads.

    Returns:
        Geometries in EPSG:4326, (n,); None for rows without one.

    Raises:
        UsageError: if the run has no files with a location, or the folder holds no run.
        RegionError: if the file cannot be read.
    """
    if not path.is_dir():
        return read_features(path)[0]
    if not (path / LEDGER_NAME).is_file():
        raise UsageError(f"`away_from`: {path} is neither the folder of a run nor a vector file")
    found = footprints([grid for sample in read_samples(path) for grid in sample.grids])
    if shapely.is_missing(found).all():
        raise UsageError(f"`away_from`: the run {path} has no files with crs and transform: their location is unknown")
    return found


def find_near(grids: Sequence[Sequence[Grid]], paths: Sequence[Path], metres: float) -> npt.NDArray[np.bool_]:
    """Find units of which a file overlaps the footprints of another data set, or lies nearer than a distance.

    Args:
        grids: of the files of every unit.
        paths: see :func:`read_footprints`.
        metres: along the geodesic; 0 for those that overlap.

    Returns:
        Shape (units,).

    Raises:
        UsageError: if the location of a unit is unknown.
    """
    unknown = sum(not own for own in grids)
    if unknown:
        raise UsageError(
            f"`away_from`: {unknown:,} of {len(grids):,} results have no crs and transform, so that their location is"
            " unknown"
        )
    numbers: dict[Grid, int] = {}
    units = [(unit, numbers.setdefault(grid, len(numbers))) for unit, own in enumerate(grids) for grid in own]
    shapes: npt.NDArray[Any] = footprints(list(numbers))
    if shapely.is_missing(shapes).any():
        raise UsageError("`away_from`: a chip reaches beyond the area of its crs: its location is undefined")
    distances = np.full(len(shapes), np.inf)
    for path in paths:
        distances = np.minimum(distances, FeatureIndex(read_footprints(path)).distances(shapes, metres))
    found = np.zeros(len(grids), dtype=bool)
    for unit, number in units:
        found[unit] |= bool(np.isfinite(distances[number]))
    return found
