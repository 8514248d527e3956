"""Make one raster of a region of any size, as ``eechips mosaic`` does: check its options, plan its windows, log their
number and the disk that it needs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ee

from eechips.builtin_recipes.chosen_dataset import ChosenDataset, choose_dataset
from eechips.builtin_recipes.place_files import run_with_places
from eechips.builtin_recipes.rasters.imagery import read_region
from eechips.builtin_recipes.rasters.imagery_options import MOSAIC_REDUCERS, MosaicOptions
from eechips.builtin_recipes.rasters.mosaic_places import MosaicPlace, place_regions, place_whole
from eechips.builtin_recipes.rasters.mosaic_tiles import (
    SMALL_DISK,
    MosaicLayout,
    MosaicPart,
    TileComposite,
    assemble_mosaic,
    assemble_mosaics,
    clip_image,
    compose_images,
    estimate_disk,
    input_dtype,
    reduced_dtype,
    select_image,
)
from eechips.builtin_recipes.recipe_options import BuiltinRecipe, check_dates, dataset_function
from eechips.engine.config import RunConfig
from eechips.engine.results.result_assembly import Results
from eechips.engine.results.result_stores import refuse_small_disk
from eechips.errors import UsageError
from eechips.formats import mosaic_cog
from eechips.formats.cog_options import COMPRESSIONS, DTYPES, RESAMPLINGS
from eechips.formats.nodata_values import check_nodata
from eechips.geo.grid import Grid, wrap_longitude
from eechips.geo.polygons import join_at_antimeridian
from eechips.planning import asset_metadata
from eechips.planning.areas.region_images import warn_of_small
from eechips.planning.areas.region_overlaps import region_polygon
from eechips.planning.areas.separate_regions import SeparateRegions
from eechips.planning.grid_alignment import choose_grid
from eechips.planning.imagery.band_selection import BandSelection
from eechips.planning.imagery.image_filters import PropertyFilter
from eechips.planning.request_windows import SLOTS, Tiling, bounding_box, divide_grid
from eechips.recipe import Chip, Unit, UnitImages, recipe_identity
from eechips.recipe.results import Template
from eechips.text.formatting import format_bytes, format_count
from eechips.text.suggestion import describe_choices

if TYPE_CHECKING:
    from eechips.engine.costs.cost_descriptions import Estimate
    from eechips.manifest.run import Run

_LEAST_WINDOW = 16

# Bands with classes or bits, which must not be averaged: of eechips.datasets, and by common names.
_CLASSES = re.compile(r"Map|label|cropland|landcover|SCL|QA\w*|\w*_QA\w*|QC\w*|LC_Type\d|\w*[Cc]lass\w*")

_log = logging.getLogger(__name__)


class MosaicRecipe(BuiltinRecipe[MosaicOptions]):
    """The recipe of ``eechips mosaic``.

    The region is divided into windows. Each is fetched by a request and stored as a GeoTIFF; at the end all are joined
    to one cloud-optimised GeoTIFF. With ``regions`` each region has a mosaic of its own, on a pixel grid of its own.

    Args:
        options: see :class:`eechips.builtin_recipes.rasters.imagery_options.MosaicOptions`.

    Attributes:
        folder: folder of the run, on whose disk there must be room; None to leave that unchecked.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region cannot be used.
    """

    name = "mosaic"
    options_class = MosaicOptions

    def __init__(self, **options: Any) -> None:
        self.options = chosen = MosaicOptions(**options)
        self.folder: Path | None = None
        self.source = choose_dataset(chosen)
        _check(chosen, self.source)
        self.alignment = choose_grid(chosen.grid, chosen.crs, chosen.scale)
        self.region = read_region(chosen)  # None: the whole of a single image
        self.name_template = f"windows/{'' if self.regions is None else '{region}/'}{{row}}-{{column}}"
        self.datasets = self.source.masked_ids
        self.identity = recipe_identity(self.name, self.results)

    def receive_config(self, config: RunConfig) -> None:
        """Note the folder of the run."""
        self.folder = config.out

    @property
    def regions(self) -> SeparateRegions | None:
        """The regions that have mosaics of their own; None for one mosaic."""
        return self.region if isinstance(self.region, SeparateRegions) else None

    @property
    def results(self) -> dict[str, Any]:
        """The parameters that determine the pixels of a window, besides its unit, which has the grid."""
        return {
            "dataset": self.source.dataset_id,
            "start": self.options.start,
            "end": self.options.end,
            "where": list(map(str, self.source.conditions)),
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

        Several regions of a collection cost as many as for :class:`eechips.builtin_recipes.rasters.images.Images`.

        Yields:
            ``{"kind": "tile", "row", "column", "width", "height"}`` in pixels of the mosaic, and ``"mosaic"`` with the
            layout of the mosaic; with ``regions`` ``"region"``, its id, and ``"properties"``, its columns. With
            ``clip``, windows outside the region are omitted, and windows on its edge have ``"clip"``: polygons in the
            mosaic's CRS.

        Raises:
            UnknownDatasetError: if the dataset or a band does not exist.
            RegionError: if the region does not exist, or is outside the area of the CRS.
            UsageError: if the dataset has no image for the region and the dates.
            StorageError: if the disk is too small.
        """
        about = self._describe()
        bands = self.source.selection.find_bands(about)
        grid_band = self.source.selection.grid_band(bands[0].name)
        places = self._places(about, replace(bands[0], name=grid_band), about.tests)
        dtype = self.options.dtype or reduced_dtype(self.options.reducer, about.kind, [band.dtype for band in bands])
        check_nodata(self.options.nodata, dtype)
        names = tuple(band.name for band in bands)
        parts = []
        for place in places:
            layout = MosaicLayout(place.grid, about.kind, names, dtype, about.tests, about.casts)
            # Many regions fill the slots with windows that are as large as requests allow.
            edge, least = self.options.window, max(1, SLOTS // len(places))
            tiling = divide_grid(place.grid, place.base_grid, len(bands), dtype, edge, least=least)
            parts.append((place, layout, tiling))
        self._announce([(layout, tiling) for _, layout, tiling in parts])
        if self.folder is not None:
            needed = sum(estimate_disk(layout, self.options.compress) for _, layout, _ in parts)
            refuse_small_disk(self.folder, needed, SMALL_DISK)
        for part in parts:
            yield from self._units(*part)

    def get_result(self, index: int, unit: Unit) -> Chip:
        """Describe the pixels of a window: one request, or more if it is too large for the service."""
        layout, place = _window(unit)
        image = self._image(layout, place)
        return Chip(
            image=clip_image(image.image(), place, unit["clip"]) if "clip" in unit else image,
            grid=place,
            bands=layout.bands,
            dtype=layout.dtype,
            format="tif",
            sources=(self.source.dataset_id,) if layout.kind == "image" else (),
        )

    def unit_images(self, unit: Unit) -> UnitImages | None:
        """Return the images that meet a window; see :class:`eechips.recipe.SupportsImages`."""
        layout, place = _window(unit)
        if layout.kind == "image":
            return None
        box = ee.Geometry.Rectangle(list(bounding_box(place)), None, False)
        return UnitImages(self.source.dataset_id, self._composite(layout).images(box), layout.bands)

    def assemble(self, results: Results) -> None:
        """Make ``mosaic.tif`` and ``mosaic.windows.parquet`` from all windows.

        With ``regions`` they are ``mosaics/<region>.tif`` and ``mosaics.windows.parquet``. A region of which a window
        failed has no mosaic.

        Raises:
            StorageError: if the file of a window has changed, or the mosaic cannot be written.
            ValidationError: if the pixels of the mosaic differ from its windows.
        """
        try:
            self._assemble(results) if self.regions is None else self._assemble_each(results)
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
        check_nodata(self.options.nodata, mosaic.dtype)
        assemble_mosaic(results, pieces, mosaic)

    def _assemble_each(self, results: Results) -> None:
        """Make the mosaic of each region, and one table of all windows."""
        pieces: dict[Any, list[MosaicPart]] = {}
        failed = set()
        for settled in results:
            region = settled.unit["region"]
            pieces.setdefault(region, [])
            if settled.record.state.is_failure:
                failed.add(region)
            elif settled.path is not None:
                pieces[region].append(MosaicPart.of(settled))
        assemble_mosaics(results, pieces, failed, self._mosaic)

    def _mosaic(self, pieces: Sequence[MosaicPart]) -> mosaic_cog.Mosaic:
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
        return mosaic_cog.Mosaic(
            grid=layout.grid,
            bands=layout.bands,
            dtype=layout.dtype,
            tiles=[mosaic_cog.Tile(piece.window, piece.path) for piece in pieces],
            nodata=self.options.nodata,
            compress=self.options.compress,
            resampling=self.options.overview_resampling or ("nearest" if has_classes else "average"),
            tags={name: value for name, value in said.items() if value is not None},
        )

    def _describe(self) -> asset_metadata.AssetMetadata:
        """Fetch the metadata of the dataset for the region and the dates."""
        region = None if self.region is None else self.region.geometry()
        about = self.source.fetch_metadata(self.options.start, self.options.end, region=region)
        if about.kind == "collection":
            if region is None:
                raise UsageError(f"{self.source.dataset_id} is a collection: give `roi` or `regions`")
            return about if self.options.end is not None else self._without_later(about, region)
        for name in ("start", "end"):
            if getattr(self.options, name):
                raise UsageError(f"{self.source.dataset_id} is a single image: `{name}` is for collections")
        if self.options.reducer != "mosaic":
            raise UsageError(
                f"{self.source.dataset_id} is a single image: there is nothing to make a {self.options.reducer} of"
            )
        return about

    def _without_later(self, about: asset_metadata.AssetMetadata, region: ee.Geometry) -> asset_metadata.AssetMetadata:
        """Leave out images later than the latest of today: windows of resumed runs would have others than the first."""
        images = asset_metadata.filter_images(about.id, about.kind, self.options.start, None, about.tests)
        images, time = images.filterBounds(region), "system:time_start"
        asked: Any = ee.List([images.aggregate_max(time), images.aggregate_count(time), images.size()])
        last, timed, count = asked.getInfo()
        return replace(about, tests=(*about.tests, *([PropertyFilter(time, "<=", (last,))] if timed == count else ())))

    def _places(
        self, about: asset_metadata.AssetMetadata, band: asset_metadata.Band, tests: tuple[PropertyFilter, ...]
    ) -> list[MosaicPlace]:
        """Return the pixels of the mosaic, or of the mosaic of each region.

        Args:
            band: the stored band whose pixels are native.
            tests: conditions on its images.

        Raises:
            RegionError: if a region is outside the area of the CRS.
            UsageError: if no region is shown by an image.
        """
        dates = self.options.start, self.options.end
        images = None if about.kind == "image" else asset_metadata.filter_images(about.id, about.kind, *dates, tests)
        if self.regions is None:
            polygon = None if self.region is None else join_at_antimeridian(region_polygon(self.region))
            return [place_whole(about, band, images, polygon, self.alignment)]
        places = place_regions(about, band, images, self.regions, self.alignment)
        mosaic_places = list(warn_of_small(self.regions, places) if self.options.clip else places)
        if not mosaic_places:
            if about.kind == "image":
                raise UsageError(f"{about.id} meets no region: check `regions`")
            raise UsageError(
                f"{about.id} has no image that meets a region: check `start`, `end`, `where` and `regions`"
            )
        return mosaic_places

    def _units(self, place: MosaicPlace, layout: MosaicLayout, tiling: Tiling) -> Iterator[Unit]:
        shared = layout.to_json()
        region = {} if self.regions is None else self.regions.unit_fields(place.region, is_clipped=False)
        for window, clip in place.windows(tiling, is_clipped=self.options.clip):
            box = {"row": window.row, "column": window.column, "width": window.width, "height": window.height}
            yield {"kind": "tile", **region, **box, "mosaic": shared, **({} if clip is None else {"clip": clip})}

    def _image(self, layout: MosaicLayout, place: Grid) -> Template:
        source = self.source
        if layout.kind == "image":
            return Template(
                select_image,
                (source.dataset_id, self._selection(layout), layout.dtype, source.mask),
                passes_values=True,
            )
        return Template(
            compose_images, (self._composite(layout),), {"box": list(bounding_box(place))}, passes_values=True
        )

    def _selection(self, layout: MosaicLayout) -> BandSelection:
        return self.source.selection.planned({"bands": layout.bands, "casts": layout.casts})

    def _composite(self, layout: MosaicLayout) -> TileComposite:
        source, options = self.source, self.options
        return TileComposite(
            source.dataset_id,
            options.start,
            options.end,
            layout.tests,
            source.mask,
            options.reducer,
            self._selection(layout),
            layout.dtype,
            input_dtype(options.reducer, options.dtype),
        )

    def _announce(self, parts: Sequence[tuple[MosaicLayout, Tiling]]) -> None:
        layout = parts[0][0]
        pixels = f"{layout.grid.width:,}x{layout.grid.height:,} pixels"
        what = pixels if self.regions is None else format_count(len(parts), "region")
        _log.info("Mosaic: %s, %s x %s, %s", what, len(layout.bands), layout.dtype, layout.grid.crs[:60])
        widths, heights = zip(*(tiling.largest for _, tiling in parts), strict=True)
        count = f"{'up to ' if self.options.clip else ''}{sum(len(tiling) for _, tiling in parts):,}"
        _log.info("Windows: %s of %sx%s pixels at most", count, f"{max(widths):,}", f"{max(heights):,}")
        need = format_bytes(sum(estimate_disk(layout, self.options.compress) for layout, _ in parts))
        _log.info("Disk: about %s, of windows, mosaic and overviews", need)


def _window(unit: Unit) -> tuple[MosaicLayout, Grid]:
    """Return the layout of a unit's mosaic, and the grid of its window."""
    layout = MosaicLayout.from_json(unit["mosaic"])
    return layout, wrap_longitude(layout.grid.window(unit["column"], unit["row"], unit["width"], unit["height"]))


@dataset_function(MosaicOptions)
def mosaic(dataset: str, *, out: str | Path | None = None, dry_run: bool = False, **options: Any) -> Run | Estimate:
    """Make one cloud-optimised GeoTIFF of a region of any size, from one image or a composite.

    Args:
        dataset: alias ("NAIP") or Earth Engine id of an image or a collection.
        out: folder of the results; None for ``outputs/mosaic-<dataset>``.
        dry_run: plan and estimate only; send no request for pixels.
        options: fields of ``MosaicOptions`` and ``RunConfig``.

    Returns:
        The finished run: ``assembled`` has the paths of ``mosaic.tif`` and of ``mosaic.windows.parquet``, the list of
        its windows; neither exists if a window failed. With ``regions`` it has ``mosaics/<region>.tif`` and
        ``mosaics.windows.parquet``. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        ConfigurationError: if credentials, project or endpoint are wrong.
        StorageError: if the disk is too small.

    Example:
        >>> run = eechips.mosaic("S2", roi="7.0,46.0,8.0,47.0", start="2023-06-01", end="2023-09-01",
        ...                      reducer="median", mask="auto", project="my-project")
        >>> run.assembled[0]
    """
    return run_with_places(MosaicRecipe, dataset=dataset, out=out, dry_run=dry_run, **options)


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
    source.selection  # noqa: B018 - parsed to be checked
    if options.window is not None and options.window < _LEAST_WINDOW:
        raise UsageError(f"`window` must be at least {_LEAST_WINDOW} pixels, not {options.window}")
    if options.clip and options.roi is None and options.regions is None:
        raise UsageError("`clip` needs a region: give `roi` or `regions`")
    if options.dtype is not None:
        check_nodata(options.nodata, options.dtype)
