"""RESOLVE's 847 ecoregions with as many vertices as the originals, from simplified outlines."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import shapely

SIMPLIFIED = "vector/resolve_ecoregions_2017_simplified_847.parquet"

VERTICES = 14_500_000
"""Of the originals: Ecoregions2017.shp has 232 MB, and 16 bytes a vertex
(https://gist.github.com/kleintom/c4c851de52380b0d08b6950e198aa8ba). They are distributed by the lengths of the original
outlines (SHAPE_LENG), so that "Rock and Ice" has 1.45 million."""


def write_outlines(data: Path, path: Path, share: float = 1.0) -> Path:
    """Write the ecoregions as GeoParquet, with vertices added along the edges of the simplified outlines.

    Args:
        data: folder of the real data.
        path: file to write.
        share: share of the vertices of the originals.
    """
    table = geopandas.read_parquet(data / SIMPLIFIED)
    lengths = table["SHAPE_LENG"].to_numpy()
    wanted = np.maximum(VERTICES * share * lengths / lengths.sum(), 1.0)
    table.geometry = shapely.segmentize(table.geometry.to_numpy(), shapely.length(table.geometry.to_numpy()) / wanted)
    table.to_parquet(path)
    return path
