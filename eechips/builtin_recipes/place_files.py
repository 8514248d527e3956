"""Keep places that a program has in memory (frames such as GeoDataFrame, geometries of shapely) as files in the run's
folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import shapely

from eechips.builtin_recipes.recipe_options import RecipeMaker, make_recipe, run_recipe
from eechips.errors import EechipsError, RegionError, UsageError
from eechips.files.scratch_folders import temporary_folder
from eechips.storage import write_file
from eechips.text.library_log import redirect_loggers

if TYPE_CHECKING:
    from eechips.engine.costs.cost_descriptions import Estimate
    from eechips.manifest.run import Run

_OPTIONS = ("points", "regions", "cells", "roi", "away_from")
"""Options whose values may be files of places."""


def run_with_places(kind: RecipeMaker, /, **options: Any) -> Run | Estimate:
    """Run the recipe of a command, or estimate it with ``dry_run``.

    Places in memory are kept in the folder of the run as ``input-<option>-<hash>.parquet``, or ``.geojson``, where a
    later call and the report find them. A call with other places, which the folder's run refuses, replaces no file.

    Args:
        kind: what makes the recipe.
        options: by name; ``points``, ``regions``, ``cells``, ``roi`` and ``away_from`` may be a DataFrame, without its
            index, a GeoDataFrame or GeoSeries, a geometry of shapely or a list of them, in degrees of WGS84.

    Raises:
        UsageError: if an option is wrong.
        RegionError: if places cannot be used.
    """
    in_memory = {name: options[name] for name in _OPTIONS if _is_in_memory(options.get(name))}
    if not in_memory:
        return run_recipe(*make_recipe(kind, options))
    with temporary_folder() as folder:
        written = {name: _write(name, value, folder) for name, value in in_memory.items()}
        try:
            with nullcontext() if options.get("dry_run") else redirect_loggers(("eechips",), logging.NullHandler()):
                # Warnings follow below, where the files have their own names.
                recipe, config = make_recipe(kind, {**options, **written})
        except EechipsError as error:
            error.args = tuple(_named(text, written) if isinstance(text, str) else text for text in error.args)
            raise
        if not config.dry_run:
            kept = {name: _keep(path, config.out) for name, path in written.items()}
            recipe, config = make_recipe(kind, {**options, **kept})
        return run_recipe(recipe, config)


def _is_in_memory(value: Any) -> bool:
    """Return whether a value has rows or geometries, and is no path."""
    return hasattr(value, "to_parquet") or hasattr(value, "geom_type") or _are_shapes(value)


def _are_shapes(value: Any) -> bool:
    is_sequence = isinstance(value, (list, tuple, np.ndarray)) and len(value) > 0
    return is_sequence and isinstance(value[0], shapely.Geometry)


def _write(option: str, value: Any, folder: Path) -> Path:
    """Write places to a file; return its path.

    Raises:
        UsageError: if it is a frame without geometries, and the option takes polygons.
        RegionError: if it does not say its coordinate reference system, or has columns that Parquet cannot store.
    """
    if isinstance(value, shapely.Geometry) or _are_shapes(value):
        path = folder / f"input-{option}.geojson"
        shapes = [value] if isinstance(value, shapely.Geometry) else value
        features = [
            {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)} for shape in shapes
        ]
        write_file(path, json.dumps({"type": "FeatureCollection", "features": features}).encode())
        return path
    frame = value if hasattr(value, "to_parquet") else value.to_frame("geometry")
    path = folder / f"input-{option}.parquet"
    has_geometry = hasattr(frame, "set_crs")
    if has_geometry and getattr(frame, "crs", None) is None:
        raise RegionError(f"`{option}`: the GeoDataFrame does not say what coordinate reference system it is in")
    if not has_geometry and option in ("regions", "cells", "roi"):
        raise UsageError(f"`{option}` needs polygons: a GeoDataFrame, geometries of shapely, or a vector file")
    try:
        frame.to_parquet(path, index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise RegionError(f"`{option}`: Parquet cannot store the frame: {str(error).splitlines()[0]}") from error
    return path


def _keep(path: Path, out: Path) -> Path:
    """Copy a file into the folder of the run, if it is not there already; return its path there."""
    content = path.read_bytes()
    kept = out / f"{path.stem}-{hashlib.sha256(content).hexdigest()[:8]}{path.suffix}"
    if not kept.exists() or kept.read_bytes() != content:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_file(kept, content)
    return kept


def _named(text: str, written: Mapping[str, Path]) -> str:
    """Name places in a message by their option, not by the file that is removed."""
    for name, path in written.items():
        text = text.replace(str(path), f"`{name}`")
    return text
