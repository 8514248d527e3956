"""Check the options that ``eechips images`` and ``composites`` share; select the images of a region, treat them (mask,
type), and say if there are none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ee
from shapely.geometry.base import BaseGeometry

from eechips.builtin_recipes.chosen_dataset import ChosenDataset, choose_dataset
from eechips.builtin_recipes.rasters.imagery_options import ImageryOptions, RegionImageOptions
from eechips.builtin_recipes.recipe_options import check_dates, parse_format, region_column
from eechips.builtin_recipes.render_style import RenderStyle, parse_stretch
from eechips.builtin_recipes.samples.sample_layers import SampleLayer
from eechips.errors import UsageError
from eechips.formats import CHIP_FORMATS
from eechips.planning import asset_metadata
from eechips.planning.areas.region_images import RegionScenes, find_region_scenes, warn_of_small
from eechips.planning.areas.region_overlaps import ClipArea, region_content, region_polygon
from eechips.planning.areas.regions import AssetRegion, Region
from eechips.planning.areas.separate_regions import SeparateRegions, choose_region
from eechips.planning.grid_alignment import GridAlignment, choose_grid
from eechips.planning.imagery.band_selection import BandSelection, convert_bands
from eechips.planning.imagery.image_filters import PropertyFilter
from eechips.planning.imagery.image_masking import CloudMask
from eechips.planning.imagery.inventory import SceneQuery
from eechips.recipe import Unit


@dataclass(frozen=True, slots=True)
class ImageSelection:
    """The images of a dataset over a region.

    Attributes:
        bands: to fetch, in order.
        region: geometry on the server.
        polygon: the same region in longitude and latitude.
        tests: the user's conditions, resolved, and those that images have the needed bands.
        query: images between the dates that meet the conditions, anywhere on the Earth, and the stored band whose
            pixel grid the first one has.
        casts: bands whose types differ between images, and the numpy names of the types that hold them all.
    """

    bands: tuple[asset_metadata.Band, ...]
    region: ee.Geometry
    polygon: BaseGeometry
    tests: tuple[PropertyFilter, ...]
    query: SceneQuery
    casts: tuple[tuple[str, str], ...] = ()

    @property
    def dtype(self) -> str | None:
        """The smallest numpy type that holds all bands; None if all bands have the same type."""
        return asset_metadata.common_dtype(self.bands)


@dataclass(frozen=True, slots=True)
class ImageTreatment:
    """Processing of all images of a run on the server: the fixed part of their templates.

    Attributes:
        dtype: common type of all bands; None to keep their types.
        area: pixels outside it are masked; None to keep all.
    """

    selection: BandSelection
    mask: CloudMask | None = None
    dtype: str | None = None
    area: ClipArea | None = None

    @property
    def bands(self) -> tuple[str, ...]:
        """The names of the bands, in order."""
        return self.selection.names

    def select(self, image: ee.Image, *more: str) -> ee.Image:
        """Return the bands of an image with the cloud mask applied, followed by further stored bands."""
        return self.selection.select(image, self.mask, *more)

    def finish(self, image: ee.Image) -> ee.Image:
        """Apply the type and the area to an image."""
        converted = convert_bands(image, self.dtype)
        return converted if self.area is None else converted.clip(self.area.geometry())


@dataclass(frozen=True, kw_only=True)
class ResolvedImagery:
    """Checked options of a command that fetches images of a collection over a region; made without requests.

    Attributes:
        layers: the bands of the first plan, and those that were added, if any were; ``source`` has all.
    """

    options: ImageryOptions
    source: ChosenDataset
    style: RenderStyle
    region: Region
    alignment: GridAlignment
    layers: tuple[SampleLayer, ...] = ()

    @property
    def regions(self) -> SeparateRegions | None:
        """The regions that have files of their own; None for one region."""
        return self.region if isinstance(self.region, SeparateRegions) else None

    @property
    def folder(self) -> str:
        """The part of a template of names that is the folder of a region; empty for one region."""
        return "" if self.regions is None else "{region}/"

    @property
    def datasets(self) -> tuple[str, ...]:
        """Ids of the assets that are read."""
        table = (self.region.asset,) if isinstance(self.region, AssetRegion) else ()
        return (*self.source.masked_ids, *table)

    @property
    def results(self) -> dict[str, Any]:
        """The parameters that determine the pixels of a unit's file. Dates and conditions are in the plan."""
        source = self.source
        return {
            "dataset": source.dataset_id,
            "bands": source.compared_bands(source.bands),
            **source.selection.parameters,
            "mask": source.mask.text if source.mask else "none",
            "format": self.style.format,
            "clip": region_content(self.region) if self.options.clip else None,
            "visualization": self.visualization(source.selection.names),
        }

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the plan as JSON; :attr:`results` are not among them."""
        return {
            "start": self.options.start,
            "end": self.options.end,
            "where": list(map(str, self.source.conditions)),
            "clip": self.options.clip,
            **self.alignment.parameters,
            **self.region.parameters,
        }

    def visualization(self, bands: Sequence[str]) -> dict[str, Any]:
        """Return the parameters of ``ee.Image.visualize``; empty for values."""
        return self.style.visualization(bands, self.source.stretched)

    def select_images(self) -> ImageSelection:
        """Select the images: a few requests.

        Raises:
            UnknownDatasetError: if the dataset or a band does not exist.
            RegionError: if the region does not exist.
            UsageError: if the dataset is not a collection, or no image meets region, dates and conditions.
        """
        source, region = self.source, self.region.geometry()
        dates = self.options.start, self.options.end
        about = source.fetch_metadata(*dates, region=region)
        if about.kind != "collection":
            raise _single_image(source)
        bands = source.selection.find_bands(about)
        self.style.check_found(bands, source.stretched)
        about.select(source.further_bands(source.selection.stored or [band.name for band in bands]))
        collection = asset_metadata.filter_images(source.dataset_id, about.kind, *dates, about.tests)
        query = SceneQuery(collection, source.dataset_id, source.selection.grid_band(bands[0].name))
        return ImageSelection(bands, region, region_polygon(self.region), about.tests, query, about.casts)

    def find_regions(self, query: SceneQuery) -> Iterator[RegionScenes]:
        """Find the pixel grid and the images of each region; see :func:`find_region_scenes`."""
        assert self.regions is not None
        region_scenes = find_region_scenes(query, self.regions, self.alignment)
        return warn_of_small(self.regions, region_scenes) if self.options.clip else region_scenes

    def region_fields(self, region: Any) -> dict[str, Any]:
        """Return the part of a unit that describes its region, by its id; empty unless there are several regions."""
        return {} if self.regions is None else self.regions.unit_fields(region, is_clipped=self.options.clip)

    def treatment(self, unit: Unit) -> ImageTreatment:
        """Return the processing of the images of a unit."""
        area = ClipArea.of(self.region, unit) if self.options.clip else None
        return ImageTreatment(self.source.selection.planned(unit), self.source.mask, unit.get("dtype"), area)

    def unit_fields(self, selection: ImageSelection) -> dict[str, Any]:
        """Return the part of each unit that describes the dataset, for workers."""
        names = {} if self.source.selection.names else {"bands": [band.name for band in selection.bands]}
        dtype = {"dtype": selection.dtype} if selection.dtype and self.style.format == "tif" else {}
        return {**names, **dtype, **({"casts": selection.casts} if selection.casts else {})}

    def none_found(self) -> UsageError:
        """Return the error for a selection without images."""
        conditions = self.source.conditions
        where = f" with {' and '.join(map(str, conditions))}" if conditions else ""
        dates = asset_metadata.describe_dates(self.options.start, self.options.end)
        return UsageError(f"{self.source.dataset_id} has no image{where}{dates} that meets the region")


def resolve_imagery(options: ImageryOptions, *, deciding: tuple[str, ...] = ()) -> ResolvedImagery:
    """Check the options of images over a region, without requests.

    Args:
        deciding: stored bands that are read besides, to choose pixels by.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region cannot be used.
    """
    source = choose_dataset(options, deciding=deciding)
    if source.known_kind == "image":
        raise _single_image(source)
    check_dates(options.start, options.end)
    style = RenderStyle(parse_format(options.format, CHIP_FORMATS.names), *parse_stretch(options.stretch))
    style.check_chosen(source.chosen_names)
    style.check()
    region = read_region(options)
    if region is None:
        raise UsageError("give `roi`, a region, or `regions`, a vector file of several")
    return ResolvedImagery(
        options=options,
        source=source,
        style=style,
        region=region,
        alignment=choose_grid(options.grid, options.crs, options.scale),
    )


def read_region(options: RegionImageOptions) -> Region | None:
    """Read the region, or the regions, of the options; see :func:`choose_region`."""
    id_field, margin, crs = region_column(options.columns), options.margin, options.input_crs
    return choose_region(roi=options.roi, regions=options.regions, id_field=id_field, margin=margin, crs=crs)


def _single_image(source: ChosenDataset) -> UsageError:
    return UsageError(f"{source.dataset_id} is a single image, not a collection of them: take `eechips mosaic`")
