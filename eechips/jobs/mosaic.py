"""``eechips mosaic``: one region of any size as one raster."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, overload

import ee
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.datasets import Kind
from eechips.engine import Estimate, RunConfig
from eechips.engine.assembly import Results, Settled
from eechips.engine.progress import Progress
from eechips.errors import RegionError, StorageError, UsageError
from eechips.grid import Grid, Window
from eechips.jobs.options import (
    OfDataset,
    check_bands,
    check_dataset,
    check_dates,
    fetch,
    field_names,
    names_of,
    slug,
    split,
    takes,
)
from eechips.manifest.run import Run
from eechips.planning import facts, grids, windows
from eechips.planning.conditions import Condition, Test, parse_condition, settle
from eechips.planning.lattice import Placement, cover, joined_at_antimeridian
from eechips.planning.masks import Mask, masks_of, parse_mask
from eechips.planning.outlines import middle, outline, polygon_of
from eechips.planning.overlaps import Overlap
from eechips.planning.regions import Region, choices, parse_region
from eechips.recipe import Chip, Unit, canonical_json
from eechips.storage import sha256_of
from eechips.template import Template
from eechips.writers import cog

REDUCERS = ("mosaic", "median", "mean", "min", "max", "mode", "first", "count", "sum", "stdDev")
"""Ways to make one image of many: ``mosaic`` has the latest on top, ``first`` the earliest."""

MOSAIC_NAME = "mosaic.tif"
WINDOWS_NAME = "mosaic.windows.parquet"

# What these make of whole numbers has fractions.
_FRACTIONAL = frozenset({"median", "mean", "stdDev"})

_COMPRESSION = 0.7  # bytes of a window's file for one of its pixels'; as engine.estimate has it
_WRITTEN = 2 * cog.GROWTH - 1  # bytes that are written for one of a mosaic: overviews twice
_MEGABYTE = 1_000_000
_LEAST_WINDOW = 16
_CLOSE = Fraction(1, 1000)  # of a pixel: what rounding moves a corner at most

# Bands whose values are classes or bits, which have no average: those of eechips.datasets, and names that are usual.
_CLASSES = re.compile(r"Map|label|cropland|landcover|SCL|QA\w*|\w*_QA\w*|QC\w*|LC_Type\d|\w*[Cc]lass\w*")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the windows of a mosaic have in common.

    Attributes:
        grid: of the whole.
        kind: of the dataset.
        bands: that are taken.
        dtype: of all of them.
        tests: conditions on properties, as JSON.
    """

    grid: Grid
    kind: Kind
    bands: tuple[str, ...]
    dtype: str
    tests: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> _Layout:
        bands, tests = tuple(value["bands"]), tuple(value["tests"])
        return cls(Grid.from_json(value["grid"]), value["kind"], bands, value["dtype"], tests)

    def to_json(self) -> dict[str, Any]:
        bands, tests = list(self.bands), list(self.tests)
        return {"grid": self.grid.to_json(), "kind": self.kind, "bands": bands, "dtype": self.dtype, "tests": tests}


@dataclass(frozen=True, kw_only=True)
class MosaicRecipe(OfDataset):
    """The recipe of ``eechips mosaic``.

    The region comes in windows, each a request and a GeoTIFF, which are put together to one cloud-optimised GeoTIFF
    when all are there.

    Attributes:
        dataset: alias ("NAIP") or Earth Engine id of an image or a collection.
        roi: ``W,S,E,N``, a vector file, or ``ASSET:FIELD=VALUE``; None for the whole of a single image. A single image
            gives no more than it has of the region.
        start: first day, inclusive, YYYY-MM-DD; None for no bound. Collections only.
        end: last day, exclusive; None for no bound.
        where: conditions on the images' properties, all of which hold: ``CLOUDY_PIXEL_PERCENTAGE < 20``.
        mask: ``none``, ``auto`` for the dataset's usual cloud mask, or one of its masks, applied to every image before
            they are put together; see :mod:`eechips.planning.masks`.
        reducer: what makes one image of a collection, one of ``REDUCERS``.
        bands: names, in order, or ``"R,G,B"``; None for the dataset's default, or all.
        crs: ``native``, ``utm``, or a code; see ``planning.lattice.Placement``. The native grid of a collection is that
            of its latest image in the middle of the region, by its first band.
        scale: edge of a pixel in metres; None for the source's.
        align: id of an image on whose pixels the mosaic lies.
        transform: of the pixels, with a crs by name.
        clip: whether pixels outside the region's polygon are masked; else the mosaic is the region's bounds.
        dtype: numpy name of the pixels' type; None for the source's, or float32 of a mean or median of whole numbers.
        nodata: value of pixels without data; None for an internal mask.
        compress: ``deflate``, ``zstd``, ``lzw`` or ``none``.
        overview_resampling: how overviews are made; None for ``nearest`` where the values are classes and ``average``
            elsewhere.
        window: edge in pixels of a window at most; None for what suits the limits.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region cannot be used.
    """

    dataset: str
    roi: str | None = None
    start: str | None = None
    end: str | None = None
    where: Sequence[str] = ()
    mask: str = "none"
    reducer: str = "mosaic"
    bands: Sequence[str] | str | None = None
    crs: str = "native"
    scale: float | None = None
    align: str | None = None
    transform: Sequence[float] | None = None
    clip: bool = False
    dtype: str | None = None
    nodata: float | None = None
    compress: str = "deflate"
    overview_resampling: str | None = None
    window: int | None = None
    placement: Placement = field(init=False, repr=False)
    region: Region | None = field(init=False, repr=False)
    conditions: tuple[Condition, ...] = field(init=False, repr=False)
    clearing: Mask | None = field(init=False, repr=False)
    folder: Path | None = field(init=False, repr=False, compare=False, default=None)

    name = "mosaic"
    name_template = "windows/{row}-{column}"

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if self.bands is not None:
            put("bands", names_of(self.bands))
        if isinstance(self.where, str):
            put("where", (self.where,))
        if self.transform is not None:
            put("transform", tuple(map(float, self.transform)))
        _check(self)
        placed: Any = {name: getattr(self, name) for name in ("crs", "scale", "align", "transform")}
        put("placement", Placement(**placed))
        put("region", None if self.roi is None else parse_region(self.roi))
        put("conditions", tuple(map(parse_condition, self.where)))
        put("clearing", parse_mask(self.mask, self._masked_dataset))

    @property
    def _masked_dataset(self) -> str:
        """The dataset, or the collection that it is an image of, if that has masks."""
        parent = self.dataset_id.rpartition("/")[0]
        return parent if masks_of(parent) else self.dataset_id

    @property
    def datasets(self) -> tuple[str, ...]:
        """Ids of the assets that are read."""
        return (self.dataset_id, *(self.clearing.collections if self.clearing else ()))

    @property
    def results(self) -> dict[str, Any]:
        """The parameters that change what a window holds, beside what its unit says."""
        return {
            "dataset": self.dataset_id,
            "start": self.start,
            "end": self.end,
            "where": [str(condition) for condition in self.conditions],
            "mask": self.clearing.text if self.clearing else None,
            "reducer": self.reducer,
        }

    @property
    def identity(self) -> str:
        """Sha256 of what changes windows. Where they lie, and what is made of them all, is not among that."""
        return hashlib.sha256(canonical_json({"recipe": self.name, **self.results}).encode()).hexdigest()

    @property
    def assembly(self) -> dict[str, Any]:
        """The parameters of the mosaic, which is made again of the same windows if one of them changes."""
        nodata = None if self.nodata is None else repr(float(self.nodata))  # JSON has no NaN
        return {"nodata": nodata, "compress": self.compress, "overview_resampling": self.overview_resampling}

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of the windows as JSON."""
        whole = {
            "bands": list(self.bands) if self.bands else None,
            "clip": self.clip,
            "dtype": self.dtype,
            "window": self.window,
        }
        region = {"roi": None} if self.region is None else self.region.parameters
        return {**self.results, **self.placement.parameters, **whole, **region}

    def get_requests(self) -> Iterator[Unit]:
        """Plans the windows: a few requests, whatever their number.

        Yields:
            ``{"kind": "tile", "row", "column", "width", "height"}`` in pixels of the mosaic, ``"mosaic"`` with what
            all have in common, and for windows on the edge of a region that clips, ``"clip"``: polygons in the
            mosaic's CRS. Windows outside such a region are left out.

        Raises:
            UnknownDatasetError: if the dataset or a band does not exist.
            RegionError: if the region does not, or cannot be in the CRS.
            UsageError: if the dataset has no image there and then.
            StorageError: if the disk is too small.
        """
        about = self._describe()
        names = self.bands or self.known_bands
        bands = about.select(names) if names else about.bands
        polygon = None if self.region is None else joined_at_antimeridian(polygon_of(self.region))
        tests = self._settled()
        native = self._native(about, bands[0], polygon, tests)
        lattice, grid = self._place(about, native, polygon)
        dtype = self.dtype or _dtype(self.reducer, about.kind, [band.dtype for band in bands])
        cog.check_nodata(self.nodata, dtype)
        layout = _Layout(grid, about.kind, tuple(band.name for band in bands), dtype, tests)
        tiling = windows.tile(grid, lattice, len(bands), dtype, self.window)
        self._announce(layout, tiling)
        if self.folder is not None:
            _refuse_small_disk(self.folder, _need(layout, self.compress))
        yield from self._units(layout, tiling, polygon if self.clip else None)

    def get_result(self, index: int, unit: Unit) -> Chip:
        """The pixels of a window: one request, or more where the service finds that too much."""
        layout = _Layout.from_json(unit["mosaic"])
        place = windows.on_earth(layout.grid.window(unit["column"], unit["row"], unit["width"], unit["height"]))
        image = self._image(layout, place)
        return Chip(
            image=_clipped(image.image(), place, unit["clip"]) if "clip" in unit else image,
            grid=place,
            bands=layout.bands,
            dtype=layout.dtype,
            format="tif",
            sources=(self.dataset_id,) if layout.kind == "image" else (),
        )

    def assemble(self, results: Results) -> None:
        """Makes ``mosaic.tif`` and ``mosaic.windows.parquet`` of all windows.

        Raises:
            StorageError: if a window is not what it was when it was fetched, or the mosaic cannot be written.
            ValidationError: if the mosaic turns out to be other than its windows.
        """
        try:
            self._assemble(results)
        except KeyboardInterrupt:
            results.say("Stopped while the windows were put together; they are kept, and the same command goes on")
            raise

    def _assemble(self, results: Results) -> None:
        if results.failed:
            results.say(f"No mosaic: {results.failed:,} of {len(results):,} windows failed")
            return
        pieces = [_Piece.of(settled) for settled in results if settled.path is not None]
        if not pieces:
            results.say("No mosaic: no window has data")
            return
        mosaic = self._mosaic(pieces)
        cog.check_nodata(self.nodata, mosaic.dtype)
        stored = sum(piece.bytes for piece in pieces)
        written = round(_WRITTEN * (mosaic.bytes if self.compress == "none" else stored))
        _refuse_small_disk(pieces[0].path.parent, written)
        with results.make(MOSAIC_NAME) as path:
            with results.progress(math.ceil(written / _MEGABYTE), "MB") as progress:
                mosaic.write(path, _Gauge(progress).show)
            with results.progress(len(pieces), "windows checked") as progress:
                digests = []
                for _, digest in mosaic.check(path):
                    digests.append(digest)
                    progress.settle(failed=False)
                    progress.show(0, 0)
            size = path.stat().st_size
        with results.make(WINDOWS_NAME) as path:
            _list(pieces, digests, path)
        what = f"{mosaic.grid.width:,}x{mosaic.grid.height:,} pixels, {', '.join(mosaic.bands[:8])} of {mosaic.dtype}"
        results.say(f"{MOSAIC_NAME}: {what}, {_megabytes(size)}, of {len(pieces):,} windows")

    def _mosaic(self, pieces: Sequence[_Piece]) -> cog.Mosaic:
        layout = pieces[0].layout
        has_classes = self.reducer == "mode" or any(_CLASSES.fullmatch(band) for band in layout.bands)
        said = {"dataset": self.dataset_id, "start": self.start, "end": self.end, "mask": self.results["mask"]}
        if layout.kind == "collection":
            said["reducer"] = self.reducer
        return cog.Mosaic(
            grid=layout.grid,
            bands=layout.bands,
            dtype=layout.dtype,
            tiles=[cog.Tile(piece.window, piece.path) for piece in pieces],
            nodata=self.nodata,
            compress=self.compress,
            resampling=self.overview_resampling or ("nearest" if has_classes else "average"),
            tags={name: value for name, value in said.items() if value is not None},
        )

    def _describe(self) -> facts.Facts:
        """What the server says of the dataset there and then."""
        region = None if self.region is None else self.region.geometry()
        about = facts.describe(self.dataset_id, self.known_kind, region, self.start, self.end)
        if about.kind == "collection":
            if region is None:
                raise UsageError(f"{self.dataset_id} is a collection: say with --roi which region is meant")
            return about
        for option, value in (("--start", self.start), ("--end", self.end), ("--where", self.where)):
            if value:
                raise UsageError(f"{self.dataset_id} is a single image: {option} is for collections")
        if self.reducer != "mosaic":
            raise UsageError(f"{self.dataset_id} is a single image: there is nothing to make a {self.reducer} of")
        return about

    def _settled(self) -> tuple[str, ...]:
        """The conditions, as the images have their values; refused if no image over the region meets them."""
        if not self.conditions or self.region is None:
            return ()
        over = _collection(self.dataset_id, self.start, self.end, ()).filterBounds(self.region.geometry())
        tests = tuple(canonical_json(test.to_json()) for test in settle(self.conditions, over))
        if not _that_meet(over, tests).limit(1).size().getInfo():
            which = " and ".join(map(str, self.conditions))
            raise UsageError(f"{self.dataset_id} has no image with {which} that meets the region")
        return tests

    def _native(
        self, about: facts.Facts, band: facts.Band, polygon: BaseGeometry | None, tests: tuple[str, ...]
    ) -> Grid:
        """The source's own grid: of an image, or of the latest image in the middle of the region."""
        if about.kind == "image" or not self.placement.is_native or polygon is None:
            return band.grid
        images = _collection(self.dataset_id, self.start, self.end, tests)
        found = next(iter(grids.sources(images, band.name, [middle(polygon)])))
        return band.grid if found is None else found.grid

    def _place(self, about: facts.Facts, native: Grid, polygon: BaseGeometry | None) -> tuple[Grid, Grid]:
        """The lattice, and its window that is the mosaic."""
        placement = self.placement.resolved()
        has_end = about.kind == "image" and native.width * native.height > 1  # one pixel: the server does not say
        if polygon is None and has_end and placement.is_native:
            lattice = placement.lattice(native, (0.0, 0.0))  # which is the source's, whatever the place
            return lattice, _covering(lattice, native)
        region = polygon or (outline(native) if has_end else None)
        if region is None:
            raise UsageError(f"{self.dataset_id} is not bounded in longitude and latitude: say with --roi what to take")
        lattice = placement.lattice(native, middle(region))
        if not has_end:
            return lattice, cover(lattice, region)
        grid = Overlap(region, placement).window(native)
        if grid is None:
            raise RegionError(f"the region does not meet {self.dataset_id}")
        return lattice, grid

    def _units(self, layout: _Layout, tiling: windows.Tiling, polygon: BaseGeometry | None) -> Iterator[Unit]:
        shared = layout.to_json()
        clip = None if polygon is None else windows.within(layout.grid, polygon)
        if clip is not None:
            shapely.prepare(clip)
        for window in tiling:
            place = {"row": window.row, "column": window.column, "width": window.width, "height": window.height}
            unit = {"kind": "tile", **place, "mosaic": shared}
            if clip is None:
                yield unit
                continue
            whole = layout.grid.window(window.column, window.row, window.width, window.height)
            box = _outline(whole.window(-1, -1, whole.width + 2, whole.height + 2))
            if clip.contains(box):
                yield unit
            elif clip.intersects(box):
                east = windows.on_earth(whole).transform[2] - whole.transform[2]
                yield {**unit, "clip": _coordinates(shapely.intersection(clip, box), east)}

    def _image(self, layout: _Layout, place: Grid) -> Template:
        if layout.kind == "image":
            return Template(_stored, (self.dataset_id, layout.bands, layout.dtype, self.clearing))
        dates = (self.start, self.end)
        composite = _Composite(
            self.dataset_id, *dates, layout.tests, self.clearing, self.reducer, layout.bands, layout.dtype
        )
        return Template(_composed, (composite,), {"box": list(windows.box_of(place))})

    def _announce(self, layout: _Layout, tiling: windows.Tiling) -> None:
        width, height = tiling.largest
        pixels = f"{layout.grid.width:,}x{layout.grid.height:,} pixels"
        _log.info("Mosaic: %s, %s x %s, %s", pixels, len(layout.bands), layout.dtype, layout.grid.crs[:60])
        count = f"{'up to ' if self.clip else ''}{len(tiling):,}"
        _log.info("Windows: %s of %sx%s pixels at most", count, f"{width:,}", f"{height:,}")
        need = _megabytes(_need(layout, self.compress))
        _log.info("Disk: about %s, of windows, mosaic and overviews", need)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A window that was fetched, and is what it was then.

    Attributes:
        layout: of the mosaic.
        window: its place.
        path: of its file.
        file: path below the output folder.
        bytes: of the file.
        sha256: of the file.
        valid_fraction: share of its pixels that are not masked.
    """

    layout: _Layout
    window: Window
    path: Path
    file: str
    bytes: int
    sha256: str
    valid_fraction: float

    @classmethod
    def of(cls, settled: Settled) -> _Piece:
        """Looks whether the file is still the one that was checked when it came.

        Raises:
            StorageError: if it is not.
        """
        record, path, unit = settled.record, settled.path, settled.unit
        assert path is not None
        if sha256_of(path) != record.sha256:
            raise StorageError(
                f"{path} has changed since it was fetched: remove it, and the same command fetches it again"
            )
        window = Window(unit["column"], unit["row"], unit["width"], unit["height"])
        facts_of = (str(record.file), record.bytes or 0, str(record.sha256), record.valid_fraction or 0.0)
        return cls(_Layout.from_json(unit["mosaic"]), window, path, *facts_of)


@dataclass(frozen=True, slots=True)
class _Composite:
    """One image of a collection's, the same for all windows: what is fixed in their templates."""

    dataset: str
    start: str | None
    end: str | None
    tests: tuple[str, ...]
    mask: Mask | None
    reducer: str
    bands: tuple[str, ...]
    dtype: str

    def image(self, box: ee.Geometry) -> ee.Image:
        """Over a box."""
        found = _collection(self.dataset, self.start, self.end, self.tests).filterBounds(box)
        found = found.sort("system:time_start", self.reducer != "first").map(self._selected)
        # Where there is no image a composite has no bands, and asking for them would be an error. With an image below
        # that has the bands, and no valid pixel, such a window is empty instead.
        nothing = ee.Image.constant([0] * len(self.bands)).rename(list(self.bands)).updateMask(0)
        whole = ee.ImageCollection([nothing]).merge(found)
        if self.reducer in ("mosaic", "first"):
            return _cast(whole.mosaic(), self.bands, self.dtype)
        reducer = getattr(ee.Reducer, self.reducer)()
        return _cast(whole.reduce(reducer).rename(list(self.bands)), self.bands, self.dtype)

    def _selected(self, image: Any) -> Any:
        return _masked(ee.Image(image), self.bands, self.mask)


def _collection(dataset: str, start: str | None, end: str | None, tests: tuple[str, ...]) -> ee.ImageCollection:
    return _that_meet(facts.images(dataset, "collection", start, end), tests)


def _that_meet(images: ee.ImageCollection, tests: tuple[str, ...]) -> ee.ImageCollection:
    for test in tests:
        images = images.filter(Test.from_json(json.loads(test)).filter())
    return images


def _stored(dataset: str, bands: tuple[str, ...], dtype: str, mask: Mask | None) -> ee.Image:
    return _cast(_masked(ee.Image(dataset), bands, mask), bands, dtype)


def _composed(composite: _Composite, box: Sequence[float]) -> ee.Image:
    return composite.image(ee.Geometry.Rectangle(list(box), None, False))


def _masked(image: ee.Image, bands: tuple[str, ...], mask: Mask | None) -> ee.Image:
    found: ee.Image = image.select(list(bands)) if mask is None else mask.apply(image, bands)
    return found


def _cast(image: ee.Image, bands: tuple[str, ...], dtype: str) -> ee.Image:
    """An image all of whose bands have a type: a GeoTIFF has but one."""
    name = {"float32": "float", "float64": "double"}.get(dtype, dtype)
    cast: ee.Image = image.cast(dict.fromkeys(bands, name), list(bands))
    return cast


def _clipped(image: ee.Image, place: Grid, polygons: Sequence[Any]) -> ee.Image:
    clipped: ee.Image = image.clip(ee.Geometry.MultiPolygon(polygons, ee.Projection(place.crs), False))
    return clipped


class _Gauge:
    """Shows how many megabytes were written."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._shown = progress, 0

    def show(self, written: int) -> None:
        """Brings the display up to date."""
        while self._shown < written // _MEGABYTE:
            self._progress.settle(failed=False)
            self._shown += 1
        self._progress.show(0, 0)


def _dtype(reducer: str, kind: Kind, dtypes: Sequence[str]) -> str:
    """The type of what a reducer makes of bands of some types."""
    if kind == "collection" and reducer in _FRACTIONAL:
        return cog.common_dtype([*dtypes, "float32"])
    if kind == "collection" and reducer in ("sum", "count"):
        return "float64" if reducer == "sum" else "int32"
    return cog.common_dtype(dtypes)


def _covering(lattice: Grid, grid: Grid) -> Grid:
    """The window of a lattice that holds a grid with the same origin and axes."""
    (left, top), (right, bottom) = (lattice.pixel(*grid.xy(*corner)) for corner in _corners(grid)[::2])
    width, height = math.ceil(right - left - _CLOSE), math.ceil(bottom - top - _CLOSE)
    return lattice.window(round(left), round(top), width, height)


def _corners(grid: Grid) -> tuple[tuple[int, int], ...]:
    return (0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)


def _outline(grid: Grid) -> BaseGeometry:
    """The pixels of a grid, in its CRS."""
    return shapely.Polygon([grid.xy(*corner) for corner in _corners(grid)])


def _coordinates(polygons: BaseGeometry, east: float) -> list[Any]:
    """The coordinates of polygons as of a GeoJSON MultiPolygon, moved along x."""
    parts = [part for part in shapely.get_parts(polygons) if part.geom_type == "Polygon"]
    return [[[[x + east, y] for x, y in ring.coords] for ring in (part.exterior, *part.interiors)] for part in parts]


def _need(layout: _Layout, compress: str) -> int:
    """Bytes of disk that a mosaic takes while it is made: windows, mosaic, and a file of overviews."""
    grid = layout.grid
    raw = grid.width * grid.height * len(layout.bands) * np.dtype(layout.dtype).itemsize
    return round(raw * (_COMPRESSION + _WRITTEN * (1.0 if compress == "none" else _COMPRESSION)))


def _refuse_small_disk(folder: Path, need: int) -> None:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < need:
        raise StorageError(
            f"the disk of {folder} has {_megabytes(free)} free, and this takes about {_megabytes(need)}: choose another"
            " folder with --out, a smaller region, or a coarser scale"
        )


def _list(pieces: Sequence[_Piece], digests: Sequence[str], path: Path) -> None:
    """Writes which windows a mosaic is made of, and their checksums."""
    columns = {
        "row": [piece.window.row for piece in pieces],
        "column": [piece.window.column for piece in pieces],
        "width": [piece.window.width for piece in pieces],
        "height": [piece.window.height for piece in pieces],
        "file": [piece.file for piece in pieces],
        "bytes": [piece.bytes for piece in pieces],
        "sha256": [piece.sha256 for piece in pieces],
        "pixels_sha256": list(digests),
        "valid_fraction": [piece.valid_fraction for piece in pieces],
    }
    layout = canonical_json({"mosaic": MOSAIC_NAME, **pieces[0].layout.to_json()})
    pq.write_table(pa.table(columns).replace_schema_metadata({"eechips": layout}), path)


def _megabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


_OPTIONS = field_names(MosaicRecipe)


def mosaic_recipe(options: Mapping[str, Any]) -> tuple[MosaicRecipe, RunConfig]:
    """The recipe and the run's config for the options of ``mosaic``.

    Raises:
        UsageError: if an option is unknown, out of range, or contradicts another.
    """
    recipe, config = split(MosaicRecipe, _OPTIONS, options, lambda made: f"mosaic-{slug(made.dataset)}")
    object.__setattr__(recipe, "folder", config.out)
    return recipe, config


@overload
def mosaic(dataset: str, *, out: str | Path | None = None, dry_run: Literal[True], **options: Any) -> Estimate: ...
@overload
def mosaic(dataset: str, *, out: str | Path | None = None, dry_run: Literal[False] = False, **options: Any) -> Run: ...
@takes(MosaicRecipe, RunConfig)
def mosaic(dataset: str, *, out: str | Path | None = None, dry_run: bool = False, **options: Any) -> Run | Estimate:
    """Makes one cloud-optimised GeoTIFF of a region, however large, from one image or a composite.

    Args:
        dataset: alias ("NAIP") or Earth Engine id of an image or a collection.
        out: folder of the results; None for ``outputs/mosaic-<dataset>``.
        dry_run: estimate only: plan, and send no pixel request.
        options: those of ``MosaicRecipe`` and ``RunConfig``.

    Returns:
        The finished run: ``assembled`` has the paths of ``mosaic.tif`` and of ``mosaic.windows.parquet``, the list of
        its windows; neither is there if a window failed. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        ConfigurationError: if credentials, project or endpoint are.
        StorageError: if the disk is too small.

    Example:
        >>> run = eechips.mosaic("S2", roi="7.0,46.0,8.0,47.0", start="2023-06-01", end="2023-09-01",
        ...                      reducer="median", mask="auto", project="my-project")
        >>> run.assembled[0]
    """
    return fetch(*mosaic_recipe({"dataset": dataset, "out": out, "dry_run": dry_run, **options}))


def _check(recipe: MosaicRecipe) -> None:
    """Refuses options that are out of range or contradict each other, as far as that needs no request."""
    check_dataset(recipe.dataset)
    check_dates(recipe.start, recipe.end)
    among = {
        "--reducer": (recipe.reducer, REDUCERS),
        "--compress": (recipe.compress, cog.COMPRESSIONS),
        "--dtype": (recipe.dtype, cog.DTYPES),
        "--overview-resampling": (recipe.overview_resampling, cog.RESAMPLINGS),
    }
    for option, (value, known) in among.items():
        if value is not None and value not in known:
            raise UsageError(f"{option} {value}: {choices(value, list(known))}")
    check_bands(recipe.bands)
    if recipe.bands is not None and len(set(recipe.bands)) != len(recipe.bands):
        raise UsageError("--bands names a band twice")
    if recipe.window is not None and recipe.window < _LEAST_WINDOW:
        raise UsageError(f"--window must be at least {_LEAST_WINDOW} pixels, not {recipe.window}")
    if recipe.clip and recipe.roi is None:
        raise UsageError("--clip needs a region: give --roi")
    if recipe.dtype is not None:
        cog.check_nodata(recipe.nodata, recipe.dtype)
