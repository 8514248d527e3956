"""Write GeoZarr: a zipped Zarr store for each shard, with a group for each sample that says where its pixels lie.

Group ``<id>``: an array for each layer, (band, y, x), or (time, band, y, x) of a time series; ``<layer>_valid`` without
the bands; and by the CF conventions (https://cfconventions.org) the coordinates ``x`` and ``y`` of pixel centres,
``time``, and the grid mapping ``spatial_ref``. An array has the ``units`` of its bands, if all have the same, or else
``<band>_units``. The attributes of a group follow GeoZarr's conventions ``proj:``
(https://github.com/zarr-conventions/geo-proj) and ``spatial:`` (https://github.com/zarr-conventions/spatial).
Samples may differ in size, crs and number of frames.

The store has Zarr's format 2, which GDAL reads as well; a zip file keeps the number of files low. The id of each sample
is in the attribute ``samples`` of the store, its metadata as JSON in ``metadata`` of its group.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.errors import UsageError
from eechips.geo.crs import parse_crs
from eechips.recipe.results import MASK_SUFFIX
from eechips.training.formats.zarr import import_zarr
from eechips.training.packs.shard_index import FileContent, PackEntry, PackLayout, Shard
from eechips.training.quality.chip_pixels import (
    ChipPixels,
    FramePixels,
    decode_file,
    frame_time,
    seconds_of,
    stack_frames,
    with_times,
)
from eechips.training.sample import array_of

SUFFIX = ".zarr.zip"
IS_DECODED = False
CLOSING = frozenset[str]()

_SAMPLES, _METADATA = "samples", "metadata"
_GRID_MAPPING = "spatial_ref"
_OF_SAMPLE = 12_000  # bytes at most of what is kept around the arrays of a sample
_CODECS = frozenset({"blosc", "zstd"})
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of all members, so that the same samples make the same bytes
_CONVENTIONS = [
    {
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/geo-proj/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
        "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "name": "proj:",
        "description": "Coordinate reference system information for geospatial data",
    },
    {
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
        "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
        "name": "spatial:",
        "description": "Spatial coordinate information",
    },
]
_TIME = {"units": "seconds since 1970-01-01T00:00:00Z", "calendar": "proleptic_gregorian"}

Facts = Mapping[str, Any]


def weight(sizes: Sequence[int], metadata: int) -> int:
    """Return the maximum bytes of a sample, about: arrays take the room of compressed files."""
    return sum(sizes) + 2 * metadata + _OF_SAMPLE


def write(folder: Path, shard: Shard, layout: PackLayout, entries: Iterable[PackEntry]) -> None:
    """Write a shard.

    Raises:
        UsageError: if a file has no pixels, layers of a sample lie on different grids, or zarr is missing.
    """
    zarr = import_zarr()
    # In memory: thousands of small files on a disk cost more than all else. Chunks leave it after each sample.
    members: dict[str, Any] = {}
    with zipfile.ZipFile(folder / f"{shard.stem}{SUFFIX}", "w", zipfile.ZIP_STORED) as archive:
        root = zarr.create_group(zarr.storage.MemoryStore(members), zarr_format=2)
        ids = []
        for entry in entries:
            ids.append(entry.id)
            _SampleWriter(root.create_group(entry.id), layout).write(entry)
            chunks = [name for name in members if not name.rpartition("/")[2].startswith(".z")]
            _move(members, chunks, archive)
        root.attrs[_SAMPLES] = ids
        zarr.consolidate_metadata(root.store, zarr_format=2)
        _move(members, list(members), archive)


def ids(folder: Path, shard: Shard) -> list[str]:
    """Return the ids of the samples in a shard."""
    with _opened(folder, shard) as root:
        sample_ids: list[str] = root.attrs[_SAMPLES]
        return [identifier for identifier in sample_ids if identifier in root]


def read(folder: Path, shard: Shard) -> Iterator[PackEntry]:
    """Yield the samples of a shard, with the pixels of each of their files."""
    with _opened(folder, shard) as root:
        for identifier in root.attrs[_SAMPLES]:
            group = root[identifier]
            text = group.attrs[_METADATA]
            yield PackEntry(identifier, text, _layers(group, json.loads(text)["layers"]))


class _SampleWriter:
    """Write a sample into a group."""

    def __init__(self, group: Any, layout: PackLayout) -> None:
        self._group, self._layout = group, layout

    def write(self, entry: PackEntry) -> None:
        """Write all arrays, coordinates and attributes."""
        facts: Mapping[str, Facts] = entry.parsed_metadata["layers"]
        grid = _common_grid(facts)
        coordinates = [_GRID_MAPPING] if grid is not None else []
        attributes: dict[str, Any] = {_METADATA: entry.metadata, "Conventions": "CF-1.11"}
        layers = _series_of(facts)
        is_one = len(layers) == 1
        size: tuple[int, ...] = ()
        for number, (name, (labels, frames)) in enumerate(layers.items()):
            pixels = _pixels(entry, facts, labels, frames)
            size = pixels.valid.shape[-2:]
            bands = facts[labels[0]].get("bands")
            band = "band" if is_one else f"{name}_band"
            own = list(coordinates)
            time: tuple[str, ...] = ()
            if isinstance(pixels, FramePixels):
                time = ("time",) if number == 0 or len(frames) == self._length("time") else (f"{name}_time",)
                own += self._times(time[0], frames, "" if is_one else f"{name}_")
            if bands is not None:
                self._put(band, np.array(bands, dtype=np.str_), (band,), {"long_name": "name of the band"})
            known = self._layout[labels[0]].units
            units = [known.get(own_band, "") for own_band in bands or ()]
            of_values = {"units": units[0]} if len(set(units)) == 1 and units[0] else {}
            shared = {"grid_mapping": _GRID_MAPPING} if grid is not None else {}
            if any(units) and not of_values:
                self._put(f"{band}_units", np.array(units, dtype=np.str_), (band,), {"long_name": "units of the band"})
                of_values = {"coordinates": " ".join([*own, f"{band}_units"])}
            shared |= {"coordinates": " ".join(own)} if own else {}
            self._put(name, pixels.values, (*time, band, "y", "x"), {**shared, **of_values})
            meaning = {"long_name": f"whether pixels of {name} are valid", **shared}
            self._put(name + MASK_SUFFIX, pixels.valid.astype(np.uint8), (*time, "y", "x"), meaning)
        if grid is not None:
            attributes |= self._place(*grid, *size)
        self._group.attrs.update(attributes)

    def _place(self, crs: str, transform: Sequence[float], height: int, width: int) -> dict[str, Any]:
        """Write the grid mapping and the coordinates of the pixels; return the attributes of the group."""
        known = parse_crs(crs)
        a, b, c, d, e, f = transform
        place = {"GeoTransform": " ".join(map(repr, (c, a, b, f, d, e))), "spatial_ref": known.to_wkt()}
        self._put(_GRID_MAPPING, np.int64(0), (), {**known.to_cf(), **place})
        corners = [(a * i + b * j + c, d * i + e * j + f) for i in (0, width) for j in (0, height)]
        across, up = zip(*corners, strict=True)
        if b == d == 0:  # otherwise no row has one y
            axes = {axis.get("axis", ""): axis for axis in known.cs_to_cf()}
            self._put("x", c + a * (np.arange(width) + 0.5), ("x",), axes.get("X", {}))
            self._put("y", f + e * (np.arange(height) + 0.5), ("y",), axes.get("Y", {}))
        code = known.to_authority()
        return {
            "zarr_conventions": _CONVENTIONS,
            **({"proj:code": ":".join(code)} if code is not None else {}),
            "proj:wkt2": known.to_wkt(),
            "spatial:dimensions": ["y", "x"],
            "spatial:transform": [a, b, c, d, e, f],
            "spatial:shape": [height, width],
            "spatial:bbox": [min(across), min(up), max(across), max(up)],
            "spatial:registration": "pixel",
        }

    def _times(self, axis: str, frames: Sequence[Facts], prefix: str) -> list[str]:
        """Write the times of frames; return the names of the coordinates that are no axes.

        The axis has the starts of the periods, with their bounds, or else the times of the images. It is left out if
        one is unknown: a coordinate of an axis has no missing values in CF.
        """
        acquired = np.array([seconds_of(next(iter(frame.get("dates") or ()), None)) for frame in frames])
        starts = np.array([[seconds_of(frame.get(name)) for name in ("start", "end")] for frame in frames])
        if axis not in self._group:
            about = {**_TIME, "standard_name": "time", "axis": "T"}
            if np.isfinite(starts).all():
                self._put(f"{axis}_bounds", starts, (axis, "bound"), {})
                self._put(axis, starts[:, 0], (axis,), {**about, "bounds": f"{axis}_bounds"})
            elif np.isfinite(acquired).all():
                self._put(axis, acquired, (axis,), about)
        clear = np.array([np.nan if (v := frame.get("clear_fraction")) is None else v for frame in frames])
        self._put(f"{prefix}acquired", acquired, (axis,), {**_TIME, "long_name": "time of the image"})
        self._put(f"{prefix}clear_fraction", clear, (axis,), {"units": "1", "long_name": "share of clear pixels"})
        return [f"{prefix}acquired", f"{prefix}clear_fraction"]

    def _length(self, axis: str) -> int | None:
        """Return the number of frames of an axis that was written."""
        shared = next((self._group[name] for name in self._group if name.endswith("acquired")), None)
        return None if shared is None or shared.attrs["_ARRAY_DIMENSIONS"] != [axis] else int(shared.shape[0])

    def _put(self, name: str, values: npt.ArrayLike, dimensions: Sequence[str], attributes: Mapping[str, Any]) -> None:
        if name in self._group:
            raise UsageError(f"a layer cannot be called {name} in GeoZarr: the name is taken by another array")
        array = np.asarray(values)
        stored = self._group.create_array(
            name,
            shape=array.shape,
            chunks=array.shape,
            dtype=array.dtype,
            fill_value=None,  # xarray takes a value for one of missing pixels
            attributes={**attributes, "_ARRAY_DIMENSIONS": list(dimensions)},
        )
        stored[...] = array


def _series_of(facts: Mapping[str, Facts]) -> dict[str, tuple[list[str], list[Facts]]]:
    """Return the labels of the files of each array, and its frames; none if it has one moment."""
    series: dict[str, tuple[list[str], list[Facts]]] = {}
    for label, about in facts.items():
        labels, frames = series.setdefault(array_of(label, about.get("series")), ([], []))
        labels.append(label)
        frames += about.get("frames", [about] if "frame" in about else [])
    for labels, frames in series.values():
        frames.sort(key=lambda frame: int(frame["frame"]))
        labels.sort(key=lambda label: int(facts[label].get("frame", 0)))
    return series


def _pixels(
    entry: PackEntry, facts: Mapping[str, Facts], labels: Sequence[str], frames: Sequence[Facts]
) -> ChipPixels | FramePixels:
    """Decode the files of an array."""
    contents = [content for label in labels if isinstance(content := entry.layers[label], FileContent)]
    if not frames or "frames" in facts[labels[0]]:
        return decode_file(contents[0].data, contents[0].suffix, frames)
    return stack_frames([content.pixels() for content in contents], [frame_time(frame) for frame in frames])


def _layers(group: Any, facts: Mapping[str, Facts]) -> dict[str, ChipPixels | FramePixels]:
    """Return the pixels of each file of a sample."""
    pixels: dict[str, ChipPixels | FramePixels] = {}
    for name, (labels, frames) in _series_of(facts).items():
        values, valid = _values(group[name]), _values(group[name + MASK_SUFFIX]) != 0
        if not frames:
            pixels[labels[0]] = ChipPixels(values, valid)
        elif "frames" in facts[labels[0]]:
            pixels[labels[0]] = with_times(values, valid, frames)
        else:
            pixels |= {label: ChipPixels(values[n], valid[n]) for n, label in enumerate(labels)}
    return pixels


def _values(array: Any) -> npt.NDArray[Any]:
    """Return the values of an array, possibly one of others.

    Raises:
        ValueError: if it has codecs that no pack has: the codec ``pickle`` of numcodecs executes code
            (https://github.com/zarr-developers/numcodecs/security/advisories/GHSA-jqc8-qjfv-5m6r).
    """
    codecs = [codec.codec_id for codec in (*(array.metadata.filters or ()), array.metadata.compressor) if codec]
    if not set(codecs) <= _CODECS:
        raise ValueError(f"{array.name} has the codecs {', '.join(codecs)}")
    values: npt.NDArray[Any] = array[...]
    return values


def _common_grid(facts: Mapping[str, Facts]) -> tuple[str, list[float]] | None:
    """Return crs and transform of a sample; None if they are unknown."""
    places = {
        (about.get("crs"), tuple(about.get("transform") or ()), about.get("width"), about.get("height"))
        for about in facts.values()
    }
    if len(places) > 1:
        file = next(iter(facts.values()))["file"]
        raise UsageError(f"the sample of {file} has files on different grids: GeoZarr has one grid for each sample")
    crs, transform, *_ = places.pop()
    return None if crs is None or not transform else (crs, [float(value) for value in transform])


def _move(members: dict[str, Any], names: Sequence[str], archive: zipfile.ZipFile) -> None:
    """Move members of a store into a zip file, in the order of their names; chunks are compressed already."""
    for name in sorted(names):
        archive.writestr(zipfile.ZipInfo(name, _EPOCH), members.pop(name).to_bytes())


@contextlib.contextmanager
def _opened(folder: Path, shard: Shard) -> Iterator[Any]:
    """Open the group of a shard."""
    zarr = import_zarr()
    with zarr.storage.ZipStore(folder / f"{shard.stem}{SUFFIX}", mode="r") as store:
        yield zarr.open_group(store, mode="r")


__all__ = ["CLOSING", "IS_DECODED", "SUFFIX", "ids", "read", "weight", "write"]
