"""Make the expressions of the windows of a mosaic, choose its type, estimate its disk, and assemble the fetched
windows.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ee
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eechips.datasets import Kind
from eechips.engine.results.result_assembly import CompletedUnit, Results
from eechips.engine.results.result_stores import refuse_small_disk
from eechips.errors import StorageError
from eechips.files.hashes import hash_file
from eechips.formats import mosaic_cog
from eechips.geo.grid import Grid, Window, service_crs
from eechips.manifest.manifest_columns import Record
from eechips.planning import asset_metadata
from eechips.planning.imagery.band_selection import TYPE_NAMES, BandSelection
from eechips.planning.imagery.image_filters import PropertyFilter
from eechips.planning.imagery.image_masking import CloudMask
from eechips.planning.imagery.image_reducers import is_fractional
from eechips.recipe import canonical_json
from eechips.storage import ID_LENGTH, fold_case, safe_component
from eechips.text.formatting import format_bytes, format_count

# Reducers that return a value of one of the images.
_SELECTING = frozenset({"mosaic", "first", "min", "max", "mode"})


@dataclass(frozen=True, slots=True)
class MosaicLayout:
    """The common description of the windows of a mosaic.

    Attributes:
        bands: names, in the order of the output.
        casts: bands whose types differ between images, and the numpy names of the types that hold them all.
    """

    grid: Grid
    kind: Kind
    bands: tuple[str, ...]
    dtype: str
    tests: tuple[PropertyFilter, ...] = ()
    casts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MosaicLayout:
        """Read the value of :meth:`to_json`."""
        bands = tuple(value["bands"])
        tests = tuple(PropertyFilter.from_json(json.loads(test)) for test in value["tests"])
        casts = tuple((name, dtype) for name, dtype in value.get("casts", ()))
        return cls(Grid.from_json(value["grid"]), value["kind"], bands, value["dtype"], tests, casts)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value for units; see :meth:`from_json`."""
        bands, tests = list(self.bands), [canonical_json(test.to_json()) for test in self.tests]
        own = {"grid": self.grid.to_json(), "kind": self.kind, "bands": bands, "dtype": self.dtype, "tests": tests}
        return own | ({"casts": [list(cast) for cast in self.casts]} if self.casts else {})


@dataclass(frozen=True, slots=True)
class TileComposite:
    """A composite of a collection for all windows: the fixed part of their templates.

    Attributes:
        dataset: id of the collection.
        start: first day of the images, inclusive; None for no bound.
        end: last day, exclusive.
        reducer: one of :data:`eechips.builtin_recipes.rasters.imagery_options.MOSAIC_REDUCERS`.
        input_dtype: data type that the bands of each image are converted to before they are combined; None to keep
            their own.
    """

    dataset: str
    start: str | None
    end: str | None
    tests: tuple[PropertyFilter, ...]
    mask: CloudMask | None
    reducer: str
    selection: BandSelection
    dtype: str
    input_dtype: str | None = None

    def image(self, box: ee.Geometry) -> ee.Image:
        """Return the composite of the images that meet a box."""
        images = self.images(box).sort("system:time_start", self.reducer != "first").map(self._selected)
        # A composite of no images has no bands, and selecting them would be an error. An image with the bands and no
        # valid pixel makes such a window empty instead. It comes last, since the service takes the types of the bands
        # from the first image, and refuses others that do not fit into them.
        bands = self.selection.names
        nothing = ee.Image.constant([0] * len(bands)).rename(list(bands)).updateMask(0)
        whole = images.merge(ee.ImageCollection([nothing]))
        if self.reducer in ("mosaic", "first"):
            return _cast(whole.mosaic(), bands, self.dtype)
        return _cast(whole.reduce(getattr(ee.Reducer, self.reducer)()).rename(list(bands)), bands, self.dtype)

    def images(self, box: ee.Geometry) -> ee.ImageCollection:
        """Return the images that meet a box."""
        images = asset_metadata.filter_images(self.dataset, "collection", self.start, self.end, self.tests)
        return images.filterBounds(box)

    def _selected(self, image: Any) -> Any:
        selected = self.selection.select(ee.Image(image), self.mask)
        return selected if self.input_dtype is None else _cast(selected, self.selection.names, self.input_dtype)


def select_image(dataset: str, selection: BandSelection, dtype: str, mask: CloudMask | None) -> ee.Image:
    """Return the bands of a single image in one type, without masked pixels."""
    return _cast(selection.select(ee.Image(dataset), mask), selection.names, dtype)


def compose_images(composite: TileComposite, box: Sequence[float]) -> ee.Image:
    """Return the composite of the images that meet a box: west, south, east and north."""
    return composite.image(ee.Geometry.Rectangle(list(box), None, False))


def _cast(image: ee.Image, bands: tuple[str, ...], dtype: str) -> ee.Image:
    """Convert all bands of an image to one type, as GeoTIFF requires."""
    return image.cast(dict.fromkeys(bands, TYPE_NAMES.get(dtype, dtype)), list(bands))


def clip_image(image: ee.Image, place: Grid, polygons: Sequence[Any]) -> ee.Image:
    """Mask an image outside polygons.

    Args:
        place: grid whose CRS the polygons have.
        polygons: coordinates of a GeoJSON MultiPolygon.
    """
    return image.clip(ee.Geometry.MultiPolygon(polygons, ee.Projection(service_crs(place.crs)), False))


def input_dtype(reducer: str, dtype: str | None) -> str | None:
    """Return the type that images are converted to before they are combined; None if they keep their own.

    The service combines images of one type only, so the type that the user asks for is the one of the images, unless
    that would round or clip what a reducer calculates with.
    """
    return dtype if dtype is not None and (dtype.startswith("float") or reducer in _SELECTING) else None


def reduced_dtype(reducer: str, kind: Kind, dtypes: Sequence[str]) -> str:
    """Return the common numpy type of the reduced bands."""
    if kind == "collection" and is_fractional(reducer):
        return mosaic_cog.common_dtype([*dtypes, "float32"])
    if kind == "collection" and reducer in ("sum", "count"):
        return "float64" if reducer == "sum" else "int32"
    return mosaic_cog.common_dtype(dtypes)


MOSAIC_NAME = "mosaic.tif"
_MOSAICS = "mosaics"  # folder of those of several regions
SMALL_DISK = "choose another folder, a smaller region, or a coarser scale"

_COMPRESSION = 0.7  # bytes of a window's file for each byte of its pixels; as in engine.estimate
_WRITTEN = 2 * mosaic_cog.GROWTH - 1  # bytes written for each byte of a mosaic: overviews are written twice
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class MosaicPart:
    """A fetched window whose file is unchanged.

    Attributes:
        window: its position in the mosaic.
        record: its columns of the manifest.
    """

    layout: MosaicLayout
    window: Window
    path: Path
    record: Record

    @classmethod
    def of(cls, settled: CompletedUnit) -> MosaicPart:
        """Return the part of a unit; raise StorageError if its file has changed since it was fetched."""
        record, path, unit = settled.record, settled.path, settled.unit
        assert path is not None
        if hash_file(path) != record.sha256:
            raise StorageError(
                f"{path} has changed since it was fetched: remove it, and the same command fetches it again"
            )
        window = Window(unit["column"], unit["row"], unit["width"], unit["height"])
        return cls(MosaicLayout.from_json(unit["mosaic"]), window, path, record)


def assemble_mosaic(
    results: Results, pieces: Sequence[MosaicPart], mosaic: mosaic_cog.Mosaic, name: str = MOSAIC_NAME
) -> None:
    """Make a mosaic, compare it with its windows, and write the table of windows, ``<name>.windows.parquet``.

    Args:
        pieces: all windows with data.
        name: name of its file, ending in ``.tif``.

    Raises:
        StorageError: if the disk is too small, or the mosaic cannot be written.
        ValidationError: if the pixels of the mosaic differ from its windows.
    """
    windows = _make(results, pieces, mosaic, name)
    layout = canonical_json({"mosaic": name, **pieces[0].layout.to_json()})
    with results.make(f"{name.removesuffix('.tif')}.windows.parquet") as path:
        pq.write_table(windows.replace_schema_metadata({"eechips": layout}), path)


def _make(results: Results, pieces: Sequence[MosaicPart], mosaic: mosaic_cog.Mosaic, name: str) -> pa.Table:
    """Make a mosaic, compare it with its windows, and return their table; see :func:`assemble_mosaic`."""
    stored = sum(piece.record.bytes or 0 for piece in pieces)
    written = round(_WRITTEN * (mosaic.bytes if mosaic.compress == "none" else stored))
    refuse_small_disk(pieces[0].path.parent, written, SMALL_DISK)
    with results.make(name) as path:
        with results.progress(math.ceil(written / _MEGABYTE), "MB") as progress:
            mosaic.write(path, lambda count: progress.settle_up_to(count // _MEGABYTE))
        with results.progress(len(pieces), "windows checked") as progress:
            digests = []
            for _, digest in mosaic.check(path):
                digests.append(digest)
                progress.step()
        size = path.stat().st_size
    what = f"{mosaic.grid.width:,}x{mosaic.grid.height:,} pixels, {', '.join(mosaic.bands[:8])} of {mosaic.dtype}"
    results.say(f"{name}: {what}, {format_bytes(size)}, of {format_count(len(pieces), 'window')}")
    return _windows(pieces, digests)


def assemble_mosaics(
    results: Results,
    pieces: Mapping[Any, Sequence[MosaicPart]],
    failed: Collection[Any],
    describe: Callable[[Sequence[MosaicPart]], mosaic_cog.Mosaic],
) -> None:
    """Make the mosaic of each region, ``mosaics/<region>.tif``, and the table of all windows.

    The table, ``mosaics.windows.parquet``, has the columns ``region`` and ``mosaic``, the file, besides those of a
    single mosaic.

    Args:
        pieces: windows with data of each region of the plan; names of files depend on all regions.
        failed: regions of which a window failed; they have no mosaic.
        describe: returns grid, bands and encoding of the mosaic of some windows.

    Raises:
        StorageError: if the disk is too small, or a mosaic cannot be written.
        ValidationError: if the pixels of a mosaic differ from its windows.
    """
    tables = []
    for region, name in _names(pieces).items():
        if region in failed:
            results.say(f"No mosaic of {region}: one of its windows failed")
            continue
        if not pieces[region]:
            results.say(f"No mosaic of {region}: no window has data")
            continue
        windows = _make(results, pieces[region], describe(pieces[region]), name)
        for column, value in (("mosaic", name), ("region", str(region))):
            windows = windows.add_column(0, column, pa.array([value] * len(windows)))
        tables.append(windows)
    if tables:
        with results.make(f"{_MOSAICS}.windows.parquet") as path:
            pq.write_table(pa.concat_tables(tables), path)


def _names(regions: Iterable[Any]) -> dict[Any, str]:
    """Return the name of the mosaic of each region.

    Of regions whose ids name the same file, such as ``a/b`` and ``A_B``, the later ones have a digest of the id, too.
    """
    names = {}
    taken = set()
    for region in regions:
        name = safe_component(region)
        if fold_case(name) in taken:
            name = f"{name}-{hashlib.sha256(str(region).encode()).hexdigest()[:ID_LENGTH]}"
        taken.add(fold_case(name))
        names[region] = f"{_MOSAICS}/{name}.tif"
    return names


def estimate_disk(layout: MosaicLayout, compress: str) -> int:
    """Return the bytes of disk for making a mosaic: windows, mosaic, and a file of overviews."""
    grid = layout.grid
    raw = grid.width * grid.height * len(layout.bands) * np.dtype(layout.dtype).itemsize
    return round(raw * (_COMPRESSION + _WRITTEN * (1.0 if compress == "none" else _COMPRESSION)))


def _windows(pieces: Sequence[MosaicPart], digests: Sequence[str]) -> pa.Table:
    """Return the table of a mosaic's windows, with their checksums."""
    return pa.table(
        {
            "row": [piece.window.row for piece in pieces],
            "column": [piece.window.column for piece in pieces],
            "width": [piece.window.width for piece in pieces],
            "height": [piece.window.height for piece in pieces],
            "file": [piece.record.file for piece in pieces],
            "bytes": [piece.record.bytes for piece in pieces],
            "sha256": [piece.record.sha256 for piece in pieces],
            "pixels_sha256": list(digests),
            "valid_fraction": [piece.record.valid_fraction or 0.0 for piece in pieces],
        }
    )
