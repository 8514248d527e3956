"""Pixels of the demo planet's satellite embeddings, read from their source, without the protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips_local.demo.land import embedding
from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.pixels.grids.pixel_grid import transformer
from local_tests.support.demo_images import images
from tests.support.coded_store import write_geotiff

FIELDS = (-98.0, 38.0)
"""A place among fields, longitude and latitude in degrees."""

BANDS = embedding.BANDS


@dataclass(frozen=True)
class EmbeddingPixels:
    """A square of pixels.

    Attributes:
        values: shape (64, rows, columns), the north at the top.
        crs: CRS of the pixels.
        transform: transform of the pixels.
    """

    values: npt.NDArray[np.float64]
    crs: str
    transform: Affine

    def write(self, path: Path) -> None:
        """Write a GeoTIFF of doubles."""
        write_geotiff(path, self.crs, self.transform, self.values, dtype="float64")


def embedding_pixels(place: tuple[float, float] = FIELDS, year: int = 2021, size: int = 64) -> EmbeddingPixels:
    """Return the pixels of a year, in the square whose centre is nearest to a place in degrees."""
    image = images(embedding.ID, place, (year, 1, 1), (year, 1, 2))[0]
    grid, source = image.bands[0].grid, image.bands[0].source
    column, row = ~grid.transform * transformer("EPSG:4326", grid.crs).transform(*place)
    left, top = (math.floor(axis - (size - 1) / 2) for axis in (column, row))
    values, valid = source.read(range(len(BANDS)), PixelWindow(left, top, size, size), 0)
    assert valid.all()
    return EmbeddingPixels(values, grid.crs, grid.transform * Affine.translation(left, top))
