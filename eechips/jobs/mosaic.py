"""Make one raster of a region of any size, as ``eechips mosaic`` does."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, overload

import shapely
from shapely.geometry.base import BaseGeometry

from eechips.engine.config import LedgerOptions, RunConfig
from eechips.engine.costs import Estimate
from eechips.engine.disk_space import refuse_small_disk
from eechips.engine.result_assembly import Results
from eechips.errors import RegionError, UsageError
from eechips.formats import cog
from eechips.formats.cog_options import COMPRESSIONS, DTYPES, RESAMPLINGS
from eechips.geo.grid import Grid
from eechips.geo.grid_longitudes import wrap_longitude
from eechips.jobs.chosen_dataset import ChosenDataset, align_grid, choose_dataset
from eechips.jobs.imagery_options import MOSAIC_REDUCERS, MosaicOptions
from eechips.jobs.mosaic_parts import SMALL_DISK, MosaicPart, assemble_mosaic, estimate_disk
from eechips.jobs.mosaic_tiles import (
    MosaicLayout,
    TileComposite,
    clip_image,
    composed_image,
    filter_collection,
    input_dtype,
    reduced_dtype,
    select_collection,
    stored_image,
)
from eechips.jobs.recipe_options import (
    check_dates,
    option_names,
    run_recipe,
    slug,
    split_options,
    takes,
)
from eechips.manifest.run import Run
from eechips.option_fields import chosen_options
from eechips.planning import asset_metadata, point_images
from eechips.planning.grid_alignment import cover_region, join_at_antimeridian
from eechips.planning.image_filters import parse_condition, resolve_conditions
from eechips.planning.region_overlaps import Overlap, grid_outline, region_centre, region_polygon
from eechips.planning.regions import Region, parse_region
from eechips.planning.tiling import Tiling, divide_grid, project_region
from eechips.recipe import Chip, Unit, canonical_json, recipe_identity
from eechips.recipe.template import Template
from eechips.text.formatting import format_bytes, format_count
from eechips.text.suggestion import describe_choices

_LEAST_WINDOW = 16
_CLOSE = Fraction(1, 1000)  # of a pixel: maximum shift of a corner by rounding

# Bands with classes or bits, which must not be averaged: of eechips.datasets, and by common names.
_CLASSES = re.compile(r"Map|label|cropland|landcover|SCL|QA\w*|\w*_QA\w*|QC\w*|LC_Type\d|\w*[Cc]lass\w*")

_log = logging.getLogger(__name__)


class MosaicRecipe:
    """The recipe of ``eechips mosaic``.

    The region is divided into windows. Each is fetched by a request and stored as a GeoTIFF; at the end all are joined
    to one cloud-optimised GeoTIFF.

    Args:
        options: see :class:`eechips.jobs.imagery_options.MosaicOptions`.

    Attributes:
        folder: folder of the run, on whose disk there must be room; None to leave that unchecked.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region cannot be used.
    """

    name = "mosaic"
    is_builtin = True
    name_template = "windows/{row}-{column}"

    def __init__(self, **options: Any) -> None:
        self.options = chosen = MosaicOptions(**options)
        self.folder: Path | None = None
        self.source = choose_dataset(chosen)
        _check(chosen, self.source)
        self.alignment = align_grid(chosen)
        self.region: Region | None = None  # of a single image: the whole
        if chosen.roi is not None:
            self.region = parse_region(chosen.roi, crs=chosen.input_crs)
        where = (chosen.where,) if isinstance(chosen.where, str) else chosen.where
        self.conditions = tuple(map(parse_condition, where))
        self.datasets = self.source.masked_ids
        self.identity = recipe_identity(self.name, self.results)

    @property
    def call(self) -> tuple[str, Mapping[str, Any]]:
        """The command and its options; see :class:`eechips.recipe.SupportsCall`."""
        return self.name, chosen_options(self.options)

    @property
    def results(self) -> dict[str, Any]:
        """The parameters that determine the pixels of a window, besides its unit, which has the grid."""
        return {
            "dataset": self.source.dataset_id,
            "start": self.options.start,
            "end": self.options.end,
            "where": [str(condition) for condition in self.conditions],
            "mask": self.source.mask.text if self.source.mask else None,
            "reducer": self.options.reducer,
            **self.source.selection.parameters,
        }

    @property
    def assembly(self) -> dict[str, Any]:
        """The parameters of the mosaic; if one changes, the mosaic is made again from the same windows."""
        nodata = None if self.options.nodata is None else repr(float(self.options.nodata))  # JSON has no NaN
        return {
            "nodata": nodata,
            "compress": self.options.compress,
            "overview_resampling": self.options.overview_resampling,
        }

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of the windows as JSON."""
        whole = {
            "bands": self.source.compared_bands(self.source.bands),
            "clip": self.options.clip,
            "dtype": self.options.dtype,
            "window": self.options.window,
        }
        region = {"roi": None} if self.region is None else self.region.parameters
        return {**self.results, **self.alignment.parameters, **whole, **region}

    def get_requests(self) -> Iterator[Unit]:
        """Plan the windows with a few requests, independent of their number.

        Yields:
            ``{"kind": "tile", "row", "column", "width", "height"}`` in pixels of the mosaic, and ``"mosaic"`` with the
            layout of the mosaic. With ``clip``, windows outside the region are omitted, and windows on its edge have
            ``"clip"``: polygons in the mosaic's CRS.

        Raises:
            UnknownDatasetError: if the dataset or a band does not exist.
            RegionError: if the region does not exist, or is outside the area of the CRS.
            UsageError: if the dataset has no image for the region and the dates.
            StorageError: if the disk is too small.
        """
        about = self._describe()
        bands = self.source.selection.find_bands(about)
        grid_band = self.source.selection.grid_band(bands[0].name)
        polygon = None if self.region is None else join_at_antimeridian(region_polygon(self.region))
        tests = (*self._settled(), *(canonical_json(test.to_json()) for test in about.tests))
        native = self._native(about, replace(bands[0], name=grid_band), polygon, tests)
        base_grid, grid = self._place(about, native, polygon)
        dtype = self.options.dtype or reduced_dtype(self.options.reducer, about.kind, [band.dtype for band in bands])
        cog.check_nodata(self.options.nodata, dtype)
        layout = MosaicLayout(grid, about.kind, tuple(band.name for band in bands), dtype, tests, about.casts)
        tiling = divide_grid(grid, base_grid, len(bands), dtype, self.options.window)
        self._announce(layout, tiling)
        if self.folder is not None:
            refuse_small_disk(self.folder, estimate_disk(layout, self.options.compress), SMALL_DISK)
        yield from self._units(layout, tiling, polygon if self.options.clip else None)

    def get_result(self, index: int, unit: Unit) -> Chip:
        """Describe the pixels of a window: one request, or more if it is too large for the service."""
        layout = MosaicLayout.from_json(unit["mosaic"])
        place = wrap_longitude(layout.grid.window(unit["column"], unit["row"], unit["width"], unit["height"]))
        image = self._image(layout, place)
        return Chip(
            image=clip_image(image.image(), place, unit["clip"]) if "clip" in unit else image,
            grid=place,
            bands=layout.bands,
            dtype=layout.dtype,
            format="tif",
            sources=(self.source.dataset_id,) if layout.kind == "image" else (),
        )

    def assemble(self, results: Results) -> None:
        """Make ``mosaic.tif`` and ``mosaic.windows.parquet`` from all windows.

        Raises:
            StorageError: if the file of a window has changed, or the mosaic cannot be written.
            ValidationError: if the pixels of the mosaic differ from its windows.
        """
        try:
            self._assemble(results)
        except KeyboardInterrupt:
            results.say("Stopped while the windows were put together; they are kept, and the same command resumes")
            raise

    def _assemble(self, results: Results) -> None:
        if results.failed:
            results.say(f"No mosaic: {results.failed:,} of {format_count(len(results), 'window')} failed")
            return
        pieces = [MosaicPart.of(settled) for settled in results if settled.path is not None]
        if not pieces:
            results.say("No mosaic: no window has data")
            return
        mosaic = self._mosaic(pieces)
        cog.check_nodata(self.options.nodata, mosaic.dtype)
        assemble_mosaic(results, pieces, mosaic)

    def _mosaic(self, pieces: Sequence[MosaicPart]) -> cog.Mosaic:
        layout = pieces[0].layout
        has_classes = self.options.reducer == "mode" or any(_CLASSES.fullmatch(band) for band in layout.bands)
        said = {
            "dataset": self.source.dataset_id,
            "start": self.options.start,
            "end": self.options.end,
            "mask": self.results["mask"],
        }
        if layout.kind == "collection":
            said["reducer"] = self.options.reducer
        return cog.Mosaic(
            grid=layout.grid,
            bands=layout.bands,
            dtype=layout.dtype,
            tiles=[cog.Tile(piece.window, piece.path) for piece in pieces],
            nodata=self.options.nodata,
            compress=self.options.compress,
            resampling=self.options.overview_resampling or ("nearest" if has_classes else "average"),
            tags={name: value for name, value in said.items() if value is not None},
        )

    def _describe(self) -> asset_metadata.AssetMetadata:
        """Fetch the metadata of the dataset for the region and the dates."""
        region = None if self.region is None else self.region.geometry()
        about = asset_metadata.fetch_metadata(
            self.source.dataset_id,
            self.source.known_kind,
            region,
            self.options.start,
            self.options.end,
            needed=self.source.needed_bands,
        )
        if about.kind == "collection":
            if region is None:
                raise UsageError(f"{self.source.dataset_id} is a collection: give `roi`")
            return about
        for name in ("start", "end", "where"):
            if getattr(self.options, name):
                raise UsageError(f"{self.source.dataset_id} is a single image: `{name}` is for collections")
        if self.options.reducer != "mosaic":
            raise UsageError(
                f"{self.source.dataset_id} is a single image: there is nothing to make a {self.options.reducer} of"
            )
        return about

    def _settled(self) -> tuple[str, ...]:
        """Return the conditions as JSON, with values of the properties' types.

        Raises:
            UsageError: if no image over the region meets them.
        """
        if not self.conditions or self.region is None:
            return ()
        over = select_collection(self.source.dataset_id, self.options.start, self.options.end, ()).filterBounds(
            self.region.geometry()
        )
        tests = tuple(canonical_json(test.to_json()) for test in resolve_conditions(self.conditions, over))
        if not filter_collection(over, tests).limit(1).size().getInfo():
            which = " and ".join(map(str, self.conditions))
            raise UsageError(f"{self.source.dataset_id} has no image with {which} that meets the region")
        return tests

    def _native(
        self,
        about: asset_metadata.AssetMetadata,
        band: asset_metadata.Band,
        polygon: BaseGeometry | None,
        tests: tuple[str, ...],
    ) -> Grid:
        """Return the source's own grid: of the image, or of the latest image in the middle of the region."""
        if about.kind == "image" or not self.alignment.is_native or polygon is None:
            return band.grid
        images = select_collection(self.source.dataset_id, self.options.start, self.options.end, tests)
        found = next(iter(point_images.find_images(images, band.name, [region_centre(polygon)])))
        return band.grid if found is None else found.grid

    def _place(
        self, about: asset_metadata.AssetMetadata, native: Grid, polygon: BaseGeometry | None
    ) -> tuple[Grid, Grid]:
        """Return the base grid, and the mosaic's window of it."""
        placement = self.alignment.resolved()
        has_end = about.kind == "image" and native.width * native.height > 1  # one pixel: size unknown
        if polygon is None and has_end and placement.is_native:
            base_grid = placement.base_grid(native, (0.0, 0.0))  # the place is ignored
            return base_grid, _covering(base_grid, native)
        region = polygon or (grid_outline(native) if has_end else None)
        if region is None:
            raise UsageError(f"{self.source.dataset_id} is not bounded in longitude and latitude: give `roi`")
        base_grid = placement.base_grid(native, region_centre(region))
        if not has_end:
            return base_grid, cover_region(base_grid, region)
        grid = Overlap(region, placement).window(native)
        if grid is None:
            raise RegionError(f"the region does not meet {self.source.dataset_id}")
        return base_grid, grid

    def _units(self, layout: MosaicLayout, tiling: Tiling, polygon: BaseGeometry | None) -> Iterator[Unit]:
        shared = layout.to_json()
        clip = None if polygon is None else project_region(layout.grid, polygon)
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
                east = wrap_longitude(whole).transform[2] - whole.transform[2]
                yield {**unit, "clip": _coordinates(shapely.intersection(clip, box), east)}

    def _image(self, layout: MosaicLayout, place: Grid) -> Template:
        selection = self.source.selection.planned({"bands": layout.bands, "casts": layout.casts})
        if layout.kind == "image":
            return stored_image(self.source.dataset_id, selection, layout.dtype, self.source.mask)
        dates = (self.options.start, self.options.end)
        composite = TileComposite(
            self.source.dataset_id,
            *dates,
            layout.tests,
            self.source.mask,
            self.options.reducer,
            selection,
            layout.dtype,
            input_dtype(self.options.reducer, self.options.dtype),
        )
        return composed_image(composite, place)

    def _announce(self, layout: MosaicLayout, tiling: Tiling) -> None:
        width, height = tiling.largest
        pixels = f"{layout.grid.width:,}x{layout.grid.height:,} pixels"
        _log.info("Mosaic: %s, %s x %s, %s", pixels, len(layout.bands), layout.dtype, layout.grid.crs[:60])
        count = f"{'up to ' if self.options.clip else ''}{len(tiling):,}"
        _log.info("Windows: %s of %sx%s pixels at most", count, f"{width:,}", f"{height:,}")
        need = format_bytes(estimate_disk(layout, self.options.compress))
        _log.info("Disk: about %s, of windows, mosaic and overviews", need)


def _covering(base_grid: Grid, grid: Grid) -> Grid:
    """Return the window of a base grid that contains a grid with the same origin and axes."""
    (left, top), (right, bottom) = (base_grid.pixel(*grid.xy(*corner)) for corner in _corners(grid)[::2])
    width, height = math.ceil(right - left - _CLOSE), math.ceil(bottom - top - _CLOSE)
    return base_grid.window(round(left), round(top), width, height)


def _corners(grid: Grid) -> tuple[tuple[int, int], ...]:
    return (0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)


def _outline(grid: Grid) -> BaseGeometry:
    """Return the outline of a grid in its CRS."""
    return shapely.Polygon([grid.xy(*corner) for corner in _corners(grid)])


def _coordinates(polygons: BaseGeometry, east: float) -> list[Any]:
    """Return the coordinates of polygons as in a GeoJSON MultiPolygon, moved along x."""
    parts = [part for part in shapely.get_parts(polygons) if part.geom_type == "Polygon"]
    return [[[[x + east, y] for x, y in ring.coords] for ring in (part.exterior, *part.interiors)] for part in parts]


_OPTIONS = option_names(MosaicOptions)


def mosaic_recipe(options: Mapping[str, Any]) -> tuple[MosaicRecipe, RunConfig]:
    """Make the recipe and the config of the run for the options of ``mosaic``.

    Raises:
        UsageError: if an option is unknown, out of range, or contradicts another.
    """
    recipe, config = split_options(MosaicRecipe, _OPTIONS, options, lambda made: f"mosaic-{slug(made.options.dataset)}")
    recipe.folder = config.out
    return recipe, config


@overload
def mosaic(dataset: str, *, out: str | Path | None = None, dry_run: Literal[True], **options: Any) -> Estimate: ...
@overload
def mosaic(dataset: str, *, out: str | Path | None = None, dry_run: Literal[False] = False, **options: Any) -> Run: ...
@takes(MosaicOptions, RunConfig, LedgerOptions)
def mosaic(dataset: str, *, out: str | Path | None = None, dry_run: bool = False, **options: Any) -> Run | Estimate:
    """Make one cloud-optimised GeoTIFF of a region of any size, from one image or a composite.

    Args:
        dataset: alias ("NAIP") or Earth Engine id of an image or a collection.
        out: folder of the results; None for ``outputs/mosaic-<dataset>``.
        dry_run: plan and estimate only; send no request for pixels.
        options: fields of ``MosaicOptions`` and ``RunConfig``.

    Returns:
        The finished run: ``assembled`` has the paths of ``mosaic.tif`` and of ``mosaic.windows.parquet``, the list of
        its windows; neither exists if a window failed. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        ConfigurationError: if credentials, project or endpoint are wrong.
        StorageError: if the disk is too small.

    Example:
        >>> run = eechips.mosaic("S2", roi="7.0,46.0,8.0,47.0", start="2023-06-01", end="2023-09-01",
        ...                      reducer="median", mask="auto", project="my-project")
        >>> run.assembled[0]
    """
    return run_recipe(*mosaic_recipe({"dataset": dataset, "out": out, "dry_run": dry_run, **options}))


def _check(options: MosaicOptions, source: ChosenDataset) -> None:
    """Check the options, without requests."""
    check_dates(options.start, options.end)
    among = {
        "reducer": (options.reducer, MOSAIC_REDUCERS),
        "compress": (options.compress, COMPRESSIONS),
        "dtype": (options.dtype, DTYPES),
        "overview_resampling": (options.overview_resampling, RESAMPLINGS),
    }
    for name, (value, known) in among.items():
        if value is not None and value not in known:
            raise UsageError(f"`{name}` {value}: {describe_choices(value, list(known))}")
    if source.bands is not None and len(set(source.bands)) != len(source.bands):
        raise UsageError("`bands` names a band twice")
    source.selection  # noqa: B018 - parsed to be checked
    if options.window is not None and options.window < _LEAST_WINDOW:
        raise UsageError(f"`window` must be at least {_LEAST_WINDOW} pixels, not {options.window}")
    if options.clip and options.roi is None:
        raise UsageError("`clip` needs a region: give `roi`")
    if options.dtype is not None:
        cog.check_nodata(options.nodata, options.dtype)
