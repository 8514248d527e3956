"""Make one raster of a region of any size, as ``eechips mosaic`` does."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import shapely
from shapely.geometry.base import BaseGeometry

from eechips.engine.config import LedgerOptions, RunConfig
from eechips.engine.costs import Estimate
from eechips.engine.disk import refuse_small_disk
from eechips.engine.result_assembly import Results
from eechips.errors import RegionError, UsageError
from eechips.formats import cog
from eechips.formats.cog_options import COMPRESSIONS, DTYPES, RESAMPLINGS
from eechips.geo.grid import Grid
from eechips.geo.grid_longitudes import wrap_longitude
from eechips.jobs.dataset_recipe import GridRecipe, check_dataset
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
    check_bands,
    check_dates,
    option_names,
    run_recipe,
    slug,
    split_names,
    split_options,
    takes,
)
from eechips.manifest.run import Run
from eechips.planning import asset_metadata, chip_grids
from eechips.planning.grid_alignment import cover_region, join_at_antimeridian
from eechips.planning.image_filters import PropertyCondition, parse_condition, resolve_conditions
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


@dataclass(frozen=True, kw_only=True)
class MosaicRecipe(MosaicOptions, GridRecipe):
    """The recipe of ``eechips mosaic``.

    The region is divided into windows. Each is fetched by a request and stored as a GeoTIFF; at the end all are joined
    to one cloud-optimised GeoTIFF.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region cannot be used.
    """

    folder: Path | None = field(init=False, repr=False, compare=False, default=None)

    name = "mosaic"
    is_builtin = True
    name_template = "windows/{row}-{column}"

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if self.bands is not None:
            put("bands", split_names(self.bands))
        if isinstance(self.where, str):
            put("where", (self.where,))
        if self.transform is not None:
            put("transform", tuple(map(float, self.transform)))
        _check(self)

    @cached_property
    def region(self) -> Region | None:
        """The region; None for the whole of a single image."""
        return None if self.roi is None else parse_region(self.roi, repairs=self.repair, crs=self.input_crs)

    @cached_property
    def conditions(self) -> tuple[PropertyCondition, ...]:
        """The conditions on the properties of images."""
        return tuple(map(parse_condition, self.where))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Ids of the assets that are read."""
        return (self.source_name, *(self.cloud_mask.collections if self.cloud_mask else ()))

    @property
    def results(self) -> dict[str, Any]:
        """The parameters that determine the pixels of a window, besides its unit."""
        return {
            "dataset": self.dataset_id,
            "start": self.start,
            "end": self.end,
            "where": [str(condition) for condition in self.conditions],
            "mask": self.cloud_mask.text if self.cloud_mask else None,
            "reducer": self.reducer,
            **self.selection.parameters,
        }

    @property
    def identity(self) -> str:
        """SHA-256 of :attr:`results`; without the grid, which is in the units, and the parameters of the mosaic."""
        return recipe_identity(self.name, self.results)

    @property
    def assembly(self) -> dict[str, Any]:
        """The parameters of the mosaic; if one changes, the mosaic is made again from the same windows."""
        nodata = None if self.nodata is None else repr(float(self.nodata))  # JSON has no NaN
        return {"nodata": nodata, "compress": self.compress, "overview_resampling": self.overview_resampling}

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of the windows as JSON."""
        whole = {
            "bands": self.compared_bands(self.bands),
            "clip": self.clip,
            "dtype": self.dtype,
            "window": self.window,
        }
        region = {"roi": None} if self.region is None else self.region.parameters
        return {**self.results, **self.placement.parameters, **whole, **region}

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
        bands = self.selection.find_bands(about)
        grid_band = self.selection.grid_band(bands[0].name)
        polygon = None if self.region is None else join_at_antimeridian(region_polygon(self.region))
        tests = (*self._settled(), *(canonical_json(test.to_json()) for test in about.tests))
        native = self._native(about, replace(bands[0], name=grid_band), polygon, tests)
        base_grid, grid = self._place(about, native, polygon)
        dtype = self.dtype or reduced_dtype(self.reducer, about.kind, [band.dtype for band in bands])
        cog.check_nodata(self.nodata, dtype)
        layout = MosaicLayout(grid, about.kind, tuple(band.name for band in bands), dtype, tests, about.casts)
        tiling = divide_grid(grid, base_grid, len(bands), dtype, self.window)
        self._announce(layout, tiling)
        if self.folder is not None:
            refuse_small_disk(self.folder, estimate_disk(layout, self.compress), SMALL_DISK)
        yield from self._units(layout, tiling, polygon if self.clip else None)

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
            sources=(self.dataset_id,) if layout.kind == "image" else (),
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
        cog.check_nodata(self.nodata, mosaic.dtype)
        assemble_mosaic(results, pieces, mosaic)

    def _mosaic(self, pieces: Sequence[MosaicPart]) -> cog.Mosaic:
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

    def _describe(self) -> asset_metadata.AssetMetadata:
        """Fetch the metadata of the dataset for the region and the dates."""
        region = None if self.region is None else self.region.geometry()
        about = asset_metadata.fetch_metadata(
            self.dataset_id, self.known_kind, region, self.start, self.end, needed=self.needed_bands
        )
        if about.kind == "collection":
            if region is None:
                raise UsageError(f"{self.dataset_id} is a collection: give `roi`")
            return about
        for name in ("start", "end", "where"):
            if getattr(self, name):
                raise UsageError(f"{self.dataset_id} is a single image: `{name}` is for collections")
        if self.reducer != "mosaic":
            raise UsageError(f"{self.dataset_id} is a single image: there is nothing to make a {self.reducer} of")
        return about

    def _settled(self) -> tuple[str, ...]:
        """Return the conditions as JSON, with values of the properties' types.

        Raises:
            UsageError: if no image over the region meets them.
        """
        if not self.conditions or self.region is None:
            return ()
        over = select_collection(self.dataset_id, self.start, self.end, ()).filterBounds(self.region.geometry())
        tests = tuple(canonical_json(test.to_json()) for test in resolve_conditions(self.conditions, over))
        if not filter_collection(over, tests).limit(1).size().getInfo():
            which = " and ".join(map(str, self.conditions))
            raise UsageError(f"{self.dataset_id} has no image with {which} that meets the region")
        return tests

    def _native(
        self,
        about: asset_metadata.AssetMetadata,
        band: asset_metadata.Band,
        polygon: BaseGeometry | None,
        tests: tuple[str, ...],
    ) -> Grid:
        """Return the source's own grid: of the image, or of the latest image in the middle of the region."""
        if about.kind == "image" or not self.placement.is_native or polygon is None:
            return band.grid
        images = select_collection(self.dataset_id, self.start, self.end, tests)
        found = next(iter(chip_grids.find_images(images, band.name, [region_centre(polygon)])))
        return band.grid if found is None else found.grid

    def _place(
        self, about: asset_metadata.AssetMetadata, native: Grid, polygon: BaseGeometry | None
    ) -> tuple[Grid, Grid]:
        """Return the base grid, and the mosaic's window of it."""
        placement = self.placement.resolved()
        has_end = about.kind == "image" and native.width * native.height > 1  # one pixel: size unknown
        if polygon is None and has_end and placement.is_native:
            base_grid = placement.base_grid(native, (0.0, 0.0))  # the place is ignored
            return base_grid, _covering(base_grid, native)
        region = polygon or (grid_outline(native) if has_end else None)
        if region is None:
            raise UsageError(f"{self.dataset_id} is not bounded in longitude and latitude: give `roi`")
        base_grid = placement.base_grid(native, region_centre(region))
        if not has_end:
            return base_grid, cover_region(base_grid, region)
        grid = Overlap(region, placement).window(native)
        if grid is None:
            raise RegionError(f"the region does not meet {self.dataset_id}")
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
        selection = self.selection.planned({"bands": layout.bands, "casts": layout.casts})
        if layout.kind == "image":
            return stored_image(self.dataset_id, selection, layout.dtype, self.cloud_mask)
        dates = (self.start, self.end)
        composite = TileComposite(
            self.dataset_id,
            *dates,
            layout.tests,
            self.cloud_mask,
            self.reducer,
            selection,
            layout.dtype,
            input_dtype(self.reducer, self.dtype),
        )
        return composed_image(composite, place)

    def _announce(self, layout: MosaicLayout, tiling: Tiling) -> None:
        width, height = tiling.largest
        pixels = f"{layout.grid.width:,}x{layout.grid.height:,} pixels"
        _log.info("Mosaic: %s, %s x %s, %s", pixels, len(layout.bands), layout.dtype, layout.grid.crs[:60])
        count = f"{'up to ' if self.clip else ''}{len(tiling):,}"
        _log.info("Windows: %s of %sx%s pixels at most", count, f"{width:,}", f"{height:,}")
        need = format_bytes(estimate_disk(layout, self.compress))
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


_OPTIONS = option_names(MosaicRecipe)


def mosaic_recipe(options: Mapping[str, Any]) -> tuple[MosaicRecipe, RunConfig]:
    """Make the recipe and the config of the run for the options of ``mosaic``.

    Raises:
        UsageError: if an option is unknown, out of range, or contradicts another.
    """
    recipe, config = split_options(MosaicRecipe, _OPTIONS, options, lambda made: f"mosaic-{slug(made.dataset)}")
    object.__setattr__(recipe, "folder", config.out)
    return recipe, config


@overload
def mosaic(dataset: str, *, out: str | Path | None = None, dry_run: Literal[True], **options: Any) -> Estimate: ...
@overload
def mosaic(dataset: str, *, out: str | Path | None = None, dry_run: Literal[False] = False, **options: Any) -> Run: ...
@takes(MosaicRecipe, RunConfig, LedgerOptions)
def mosaic(dataset: str, *, out: str | Path | None = None, dry_run: bool = False, **options: Any) -> Run | Estimate:
    """Make one cloud-optimised GeoTIFF of a region of any size, from one image or a composite.

    Args:
        dataset: alias ("NAIP") or Earth Engine id of an image or a collection.
        out: folder of the results; None for ``outputs/mosaic-<dataset>``.
        dry_run: plan and estimate only; send no request for pixels.
        options: fields of ``MosaicRecipe`` and ``RunConfig``.

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


def _check(recipe: MosaicRecipe) -> None:
    """Check the options, without requests."""
    check_dataset(recipe.dataset)
    check_dates(recipe.start, recipe.end)
    among = {
        "reducer": (recipe.reducer, MOSAIC_REDUCERS),
        "compress": (recipe.compress, COMPRESSIONS),
        "dtype": (recipe.dtype, DTYPES),
        "overview_resampling": (recipe.overview_resampling, RESAMPLINGS),
    }
    for name, (value, known) in among.items():
        if value is not None and value not in known:
            raise UsageError(f"`{name}` {value}: {describe_choices(value, list(known))}")
    check_bands(recipe.bands)
    if recipe.bands is not None and len(set(recipe.bands)) != len(recipe.bands):
        raise UsageError("`bands` names a band twice")
    recipe.selection  # noqa: B018 - parsed to be checked
    if recipe.window is not None and recipe.window < _LEAST_WINDOW:
        raise UsageError(f"`window` must be at least {_LEAST_WINDOW} pixels, not {recipe.window}")
    if recipe.clip and recipe.roi is None:
        raise UsageError("`clip` needs a region: give `roi`")
    if recipe.dtype is not None:
        cog.check_nodata(recipe.nodata, recipe.dtype)
    recipe.placement  # noqa: B018 - likewise
    recipe.region  # noqa: B018 - likewise
    recipe.conditions  # noqa: B018 - likewise
    recipe.cloud_mask  # noqa: B018 - likewise
