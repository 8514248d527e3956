"""Choose the grids of pixels of stubs: the sinusoidal one of MODIS and VIIRS, or degrees, from rounded metres."""

from __future__ import annotations

import math
import re

from affine import Affine

from eechips_local.demo.painting.painted_source import SINUSOIDAL
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.stubs.dataset_description import DatasetDescription

_DEGREE = 6_378_137.0 * math.pi / 180.0  # metres, as Earth Engine counts them

# Half the width and height of the sinusoidal grid of MODIS and VIIRS, metres, and the sizes of its pixels. It has 36 by
# 18 tiles of 1,200 pixels of a nominal kilometre, of twice as many of half a kilometre, and so on:
# https://modis-land.gsfc.nasa.gov/MODLAND_grid.html.
_HALF = (20_015_109.354, 10_007_554.677)
_TILED = (230.0, 1000.0)
SINUSOIDAL_IDS = re.compile(r"MODIS/(006|061)/M|NASA/VIIRS/00[12]/VNP")
_ACROSS = 36 * 1200
_FINE = 30.0 / 3600.0
"""Degrees of a pixel, below which halves of seconds of arc occur, as 7.5 of USGS/GMTED2010."""
_IN_DEGREES = "VNP46"
"""Product of VIIRS whose grid is of 15 seconds of arc: https://doi.org/10.5067/VIIRS/VNP46A2.001."""


def pixel_grid(dataset: DatasetDescription, size: float) -> PixelGrid:
    """Return a grid of pixels over the extent of a dataset.

    Args:
        dataset: the grid of a tiled dataset of MODIS or VIIRS is sinusoidal; of all others it is in EPSG:4326.
        size: metres of a pixel.
    """
    west, south, east, north = dataset.bounds
    if dataset.transform is not None:
        transform = Affine(*dataset.transform)
        columns, rows = ~transform * (east, south if transform.e < 0.0 else north)
        return PixelGrid("EPSG:4326", transform, math.ceil(columns - 1e-6), math.ceil(rows - 1e-6))
    if SINUSOIDAL_IDS.match(dataset.id) and _IN_DEGREES not in dataset.id and _TILED[0] < size <= _TILED[1]:
        width = _ACROSS * round(2.0 * _HALF[0] / _ACROSS / size)
        height, edge = width // 2, 2.0 * _HALF[0] / width
        return PixelGrid(SINUSOIDAL, Affine(edge, 0.0, -_HALF[0], 0.0, -edge, _HALF[1]), width, height)
    edge = _degrees(size)
    width, height = (max(1, math.ceil(length / edge - 1e-6)) for length in (east - west, north - south))
    return PixelGrid("EPSG:4326", Affine(edge, 0.0, west, 0.0, -edge, north), width, height)


def _degrees(size: float) -> float:
    """Return the degrees of a pixel.

    Sizes are stated in rounded metres. Where they may be whole seconds of arc, or halves of these for fine pixels, they
    are: 8,905.6 m of HYCOM/sea_temp_salinity are 0.08 degrees (github.com/CongGao-CG/gee_data_list).
    """
    degrees = size / _DEGREE
    parts = 7200.0 if degrees < _FINE else 3600.0
    rounded = round(degrees * parts) / parts
    decimals = 0 if size == int(size) else len(str(size).partition(".")[2])
    return rounded if abs(rounded - degrees) <= min(10.0**-decimals / _DEGREE, 1e-3 * degrees) else degrees
