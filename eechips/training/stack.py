"""Load the chips or the time series of a run as an xarray Dataset, lazily if Dask is installed; refuse chips that
differ in size or bands.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eechips.errors import UsageError
from eechips.extras import import_extra
from eechips.manifest.manifest_columns import COLUMNS
from eechips.manifest.run import Run, open_run
from eechips.storage import ObjectStore, is_address
from eechips.text.progress_bar import progress_bar
from eechips.training.geodataframe import DATE, has_tables, load
from eechips.training.quality.chip_pixels import decode, decode_frames

if TYPE_CHECKING:
    import xarray

ONLY = "chips"
"""The variable of chips that have no layers."""

_CHUNK = 16_000_000  # bytes that are read at a time
_COEFFICIENTS = ("a", "b", "c", "d", "e", "f")
_SHOWN = frozenset({"state", "valid_fraction"})
_ABOUT_FILES = (COLUMNS.keys() - _SHOWN) | {"path", "flags", "geometry"}
"""Columns that describe files or requests, and not samples."""


def stack(
    source: Run | str | Path | pd.DataFrame, *, layer: str | None = None, masked: bool = False, lazy: bool | None = None
) -> xarray.Dataset:
    """Load the chips of a run as (sample, band, y, x), with frames (sample, time, band, y, x), or its tables.

    Args:
        source: the run, its folder, or rows of :func:`eechips.load`.
        layer: layer of units with several files; None for all layers with pixels.
        masked: convert values to floats, with NaN for masked pixels; otherwise values are those of the files.
        lazy: read chips with Dask when they are computed; None for this if Dask is installed.

    Returns:
        Chips: a variable ``chips``, or one for each layer, whose bands are then called ``<layer>_band``. ``sample`` is
        the id of the unit; ``crs`` and ``transform`` (a to f: x = a * column + b * row + c, y = d * column + e * row +
        f, for pixel corners) say where its pixels lie, empty and NaN if unknown. Further metadata, such
        as ``split``, ``class``, ``lon`` and ``lat``, stands beside. Chips are of many places: y and x have no
        coordinates.

        Chips of several frames: the same with the dimension ``time``, whose coordinate is the start of the period if
        all samples have the same periods; ``acquired`` (sample, time) is the time of each image, NaT for missing ones,
        and ``clear_fraction`` (sample, time) its clear share.

        Tables of time series, (region, time): a variable for each numeric column, NaN for missing values. Values at
        the same time are averaged.

    Raises:
        UsageError: if there are neither chips nor time series, chips differ in size, bands or type, or xarray is
            missing.

    Example:
        >>> chips = eechips.load("outputs/sample-naip")
        >>> eechips.stack(chips[chips.split == "train"]).chips.mean(("sample", "y", "x")).compute()
    """
    _xarray()
    if not isinstance(source, pd.DataFrame):
        run = open_run(source)
        source = load(run, rows="table" if has_tables(run) else "files")
    if "path" in source.columns:
        return _chips(_by_layer(source, layer), masked=masked, lazy=_has_dask() if lazy is None else lazy)
    return _series(source)


def _xarray() -> Any:
    return import_extra("xarray", "stacks need xarray", "ml")


def _has_dask() -> bool:
    try:
        import dask.array  # noqa: F401
    except ImportError:
        return False
    return True


def _by_layer(frame: pd.DataFrame, layer: str | None) -> dict[str, pd.DataFrame]:
    """Group rows with pixels by layer, in order of appearance; every layer has the same samples."""
    rows = frame.reset_index()
    rows = rows[rows["path"].notna() & rows["width"].notna()]
    names = rows["layer"] if "layer" in rows.columns else pd.Series("", index=rows.index)
    if _has_frames(rows):
        names = names.where(rows["frame"].isna(), rows["series"])
    layer_rows = {str(name): part for name, part in rows.groupby(names, sort=False)}
    if layer is not None:
        if layer not in layer_rows:
            raise UsageError(f"there is no layer '{layer}'; there are: {', '.join(filter(None, layer_rows)) or 'none'}")
        layer_rows = {layer: layer_rows[layer]}
    if not layer_rows:
        raise UsageError("there are no chips: no file has pixels")
    first = list(dict.fromkeys(next(iter(layer_rows.values()))["id"]))
    for name, part in layer_rows.items():
        if list(dict.fromkeys(part["id"])) != first:
            raise UsageError(
                f"layer '{name}' has other samples than '{next(iter(layer_rows))}': choose one with layer="
            )
    return layer_rows


def _chips(layers: Mapping[str, pd.DataFrame], *, masked: bool, lazy: bool) -> xarray.Dataset:
    first = next(iter(layers.values()))
    is_one = len(layers) == 1
    variables: dict[str, Any] = {}
    coordinates = _about(first.drop_duplicates("id"))
    sizes = {_same(rows, ("height", "width"), name) for name, rows in layers.items()}
    if len(sizes) > 1:
        raise UsageError(f"layers have chips of different sizes: choose one with layer={' or '.join(layers)}")
    ((height, width),) = sizes
    for name, rows in layers.items():
        shape: tuple[int, ...] = (len(rows), len(_same(rows, ("bands",), name)[0]), int(height), int(width))
        # A missing frame may have the type of a constant.
        (dtype,) = _same(rows[rows["valid_fraction"] != 0.0] if _has_frames(rows) else rows, ("dtype",), name)
        band = "band" if is_one else f"{name}_band"
        frames = _frames_of(rows, name) if _has_frames(rows) else 1
        # With the checksum: another run's file may have the same name and size.
        digests = rows["sha256"] if "sha256" in rows.columns else pd.Series("", index=rows.index)
        paths = [f"{digest} {path}" for digest, path in zip(digests.fillna(""), rows["path"], strict=True)]
        if rows["path"].duplicated().any():  # each file has the frames of a sample
            paths, shape = paths[::frames], (len(paths) // frames, frames, *shape[1:])
        values = _values(paths, shape, np.dtype(dtype), masked=masked, lazy=lazy)
        if _has_frames(rows):
            values = values.reshape(-1, frames, *shape[-3:])
            variables[name or ONLY] = (("sample", "time", band, "y", "x"), values)
            coordinates |= _times(rows, frames, "" if is_one else f"{name}_")
        else:
            variables[name or ONLY] = (("sample", band, "y", "x"), values)
        coordinates[band] = ((band,), list(_same(rows, ("bands",), name)[0]))
    for name in variables.keys() & coordinates.keys():  # a field of the units is called like a layer
        coordinates[f"unit_{name}"] = coordinates.pop(name)
    dataset: xarray.Dataset = _xarray().Dataset(variables, coordinates)
    return dataset


def _has_frames(rows: pd.DataFrame) -> bool:
    return "frame" in rows.columns and bool(rows["frame"].notna().any())


def _frames_of(rows: pd.DataFrame, layer: str) -> int:
    """Return the number of frames of every sample; the rows are those of each sample, by frame."""
    counts = sorted(set(rows.groupby("id", sort=False).size()))
    if len(counts) > 1:
        what = f"samples{f' of {layer}' if layer else ''} have {counts[0]} to {counts[-1]} frames"
        raise UsageError(f"{what}: a stack needs the same number of each")
    return int(counts[0])


def _times(rows: pd.DataFrame, frames: int, prefix: str) -> dict[str, Any]:
    """Return the coordinates of the dimension ``time``."""
    dates = [next(iter(dates), None) if dates is not None else None for dates in rows["dates"]]
    moments = pd.to_datetime(pd.Series(dates, dtype=object), utc=True, format="ISO8601").dt.tz_localize(None)
    shape = (-1, frames)
    coordinates: dict[str, Any] = {
        f"{prefix}acquired": (("sample", "time"), moments.to_numpy("datetime64[ns]").reshape(shape)),
        f"{prefix}clear_fraction": (("sample", "time"), rows["clear_fraction"].to_numpy(np.float64).reshape(shape)),
    }
    starts = rows["start"].to_numpy(dtype=object).reshape(shape)
    if rows["start"].notna().all() and (starts == starts[0]).all():
        coordinates["time"] = (("time",), pd.to_datetime(pd.Series(starts[0])).to_numpy("datetime64[ns]"))
    return coordinates


def _same(rows: pd.DataFrame, columns: Sequence[str], layer: str) -> tuple[Any, ...]:
    """Return the values of some columns, if they are the same in all rows."""
    values = zip(*(rows[name] for name in columns), strict=True)
    counts = Counter(tuple(tuple(v) if isinstance(v, (list, np.ndarray)) else v for v in row) for row in values)
    if len(counts) > 1:
        what = " and ".join(columns)
        summary = "; ".join(f"{', '.join(map(str, value))} of {count:,}" for value, count in counts.most_common(4))
        hint = f"frame[frame.{columns[0]} == …]" if columns != ("bands",) else "those of one dataset"
        raise UsageError(f"chips{f' of {layer}' if layer else ''} differ in {what} ({summary}): select some, as {hint}")
    return next(iter(counts))


def _about(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the metadata of the samples as coordinates."""
    nowhere = [np.nan] * len(_COEFFICIENTS)
    transforms = [nowhere if transform is None else list(transform) for transform in rows["transform"]]
    coordinates: dict[str, Any] = {
        "sample": rows["id"].to_numpy(dtype=str),
        "crs": ("sample", rows["crs"].fillna("").to_numpy(dtype=str)),
        "transform": (("sample", "coefficient"), np.array(transforms, dtype=np.float64)),
        "coefficient": list(_COEFFICIENTS),
    }
    for name in rows.columns:
        if name in _ABOUT_FILES or name in coordinates:
            continue
        column = rows[name]
        is_number = pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)
        coordinates[str(name)] = ("sample", column.to_numpy() if is_number else column.to_numpy(dtype=object))
    return coordinates


def _values(paths: list[str], shape: tuple[int, ...], dtype: np.dtype[Any], *, masked: bool, lazy: bool) -> Any:
    """Return the pixels of files: (samples, bands, rows, columns); (samples, frames, …) if files have several."""
    final = np.result_type(dtype, np.float32) if masked else dtype
    files = np.array(paths, dtype=object)
    if not lazy:
        return _read(files, shape[1:], final, masked, is_shown=True)
    da = import_extra("dask.array", "lazy stacks (lazy=True) need Dask", "dask")
    size = max(1, _CHUNK // (int(np.prod(shape[1:])) * final.itemsize))
    blocks = da.from_array(files, chunks=size)
    chunks = (blocks.chunks[0], *((length,) for length in shape[1:]))
    options = {"dtype": final, "meta": np.empty(0, final), "shape": shape[1:], "final": final, "masked": masked}
    return da.map_blocks(_read, blocks, new_axis=list(range(1, len(shape))), chunks=chunks, **options)


def _read(
    paths: npt.NDArray[np.object_], shape: tuple[int, ...], final: np.dtype[Any], masked: bool, is_shown: bool = False
) -> npt.NDArray[Any]:
    stacked = np.empty((len(paths), *shape), dtype=final)
    bar = progress_bar(unit="chips", quiet=not is_shown, things=paths.tolist(), is_kept=False)
    for number, known in enumerate(bar):
        digest, _, path = known.partition(" ")
        data, suffix = _content(path, digest), path.rpartition(".")[2].lower()
        chips = decode_frames(data, suffix, shape[0]) if len(shape) == 4 else [decode(data, suffix)]
        for pixels, room in zip(
            chips, stacked[number] if len(shape) == 4 else stacked[number : number + 1], strict=True
        ):
            if pixels.values.shape != shape[-3:]:
                there, recorded = "x".join(map(str, pixels.values.shape)), "x".join(map(str, shape[-3:]))
                raise UsageError(f"{path} has {there} values, and the manifest {recorded}: the file was changed")
            room[...] = pixels.values
            if masked:
                room[:, ~pixels.valid] = np.nan
    return stacked


def _content(path: str, digest: str) -> bytes:
    try:
        if is_address(path):
            root, _, name = path.rpartition("/")
            data = ObjectStore(root).read(name)
        else:
            data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    if digest and hashlib.sha256(data).hexdigest() != digest:
        raise UsageError(
            f"{path} has changed since it was fetched: eechips verify lists such files. If it is a file of your own,"
            " leave out the column sha256"
        )
    return data


def _series(table: pd.DataFrame) -> xarray.Dataset:
    columns = [str(name) for name in table.columns if name != "geometry"]
    others = [name for name in columns if name != DATE]
    if DATE not in columns or len(others) < 2:
        there = ", ".join(columns)
        raise UsageError(f"no time series: a table needs a column of regions, one called date, and values: {there}")
    region, *values = others
    numbers = [name for name in values if pd.api.types.is_numeric_dtype(table[name])]
    dataset: xarray.Dataset = table.groupby([region, DATE], sort=True)[numbers].mean().to_xarray()
    return dataset.rename({region: "region", DATE: "time"})
