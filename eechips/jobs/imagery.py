"""Options and selection of images, shared by ``eechips images`` and ``eechips composites``."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import ee
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.engine.config import RunConfig
from eechips.errors import UsageError
from eechips.formats import CHIP_FORMATS
from eechips.jobs.dataset_recipe import GridRecipe, check_dataset
from eechips.jobs.imagery_options import ImageryOptions
from eechips.jobs.recipe_options import check_bands, check_dates, parse_format, split_names
from eechips.jobs.render_style import RenderStyle
from eechips.planning import asset_metadata
from eechips.planning.band_selection import BandSelection
from eechips.planning.cloud_masks import CloudMask
from eechips.planning.image_filters import PropertyCondition, PropertyFilter, parse_condition, resolve_conditions
from eechips.planning.region_overlaps import region_polygon
from eechips.planning.regions import AssetRegion, Region, parse_region, planar_geometry
from eechips.recipe import Chip, NoData, Unit, recipe_identity

_CASTS = {"float32": "toFloat", "float64": "toDouble"}  # other methods are named after the type: toUint16


@dataclass(frozen=True, slots=True)
class ImageSelection:
    """The images of a dataset over a region.

    Attributes:
        bands: to fetch, in order.
        grid_band: the stored band whose pixel grid the first one has.
        region: geometry on the server.
        polygon: the same region in longitude and latitude.
        tests: the user's conditions, resolved, and those that images have the needed bands.
        collection: images between the dates that meet the conditions, anywhere on the Earth.
        casts: bands whose types differ between images, and the numpy names of the types that hold them all.
    """

    bands: tuple[asset_metadata.Band, ...]
    grid_band: str
    region: ee.Geometry
    polygon: BaseGeometry
    tests: tuple[PropertyFilter, ...]
    collection: ee.ImageCollection
    casts: tuple[tuple[str, str], ...] = ()

    @property
    def dtype(self) -> str | None:
        """The smallest numpy type that holds all bands; None if all bands have the same type."""
        return asset_metadata.common_dtype(self.bands)


@dataclass(frozen=True, slots=True)
class ClipArea:
    """A region as part of a template: hashable, and converted to a geometry without a request.

    Attributes:
        wkt: the polygons of a box or a file.
        table: asset, field and value of features on the server.
    """

    wkt: str | None = None
    table: tuple[str, str, str] | None = None

    @classmethod
    def of(cls, region: Region) -> ClipArea:
        """Return the area of a region."""
        if isinstance(region, AssetRegion):
            return cls(table=(region.asset, region.field, region.value))
        return cls(wkt=shapely.to_wkt(region_polygon(region), rounding_precision=-1))

    def geometry(self) -> ee.Geometry:
        """Return the geometry on the server."""
        if self.table is None:
            return planar_geometry(shapely.from_wkt(self.wkt))
        asset, name, value = self.table
        same = [ee.Filter.eq(name, value)]
        with contextlib.suppress(ValueError):  # the column may contain numbers or text
            same.append(ee.Filter.eq(name, float(value)))
        geometry: ee.Geometry = ee.FeatureCollection(asset).filter(ee.Filter.Or(*same)).geometry()
        return geometry


@dataclass(frozen=True, slots=True)
class ImageTreatment:
    """Processing of all images of a run on the server: the fixed part of their templates.

    Attributes:
        selection: the bands to fetch.
        mask: cloud mask; None for none.
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
        if self.dtype is not None:
            image = getattr(image, _CASTS.get(self.dtype, f"to{self.dtype.capitalize()}"))()
        return image if self.area is None else image.clip(self.area.geometry())


@dataclass(frozen=True, kw_only=True)
class Imagery(ImageryOptions, GridRecipe):
    """Options of commands that fetch images of a collection over a region.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region cannot be used.
    """

    _stored_dtype: str | None = field(
        init=False, repr=False, compare=False, default=None
    )  # of all bands, once surveyed

    name = "imagery"

    def __post_init__(self) -> None:
        object.__setattr__(self, "format", parse_format(self.format, CHIP_FORMATS.names))
        for name in ("bands", "palette"):
            given = getattr(self, name)
            object.__setattr__(self, name, None if given is None else split_names(given))
        if self.transform is not None:
            a, b, c, d, e, f = map(float, self.transform)
            object.__setattr__(self, "transform", (a, b, c, d, e, f))
        object.__setattr__(self, "where", (self.where,) if isinstance(self.where, str) else tuple(self.where))
        _check(self)

    @cached_property
    def region(self) -> Region:
        """The region."""
        return parse_region(self.roi, repairs=self.repair, crs=self.input_crs)

    @cached_property
    def conditions(self) -> tuple[PropertyCondition, ...]:
        """The conditions on the properties of images."""
        return tuple(map(parse_condition, self.where))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Ids of the assets that are read."""
        table = (self.region.asset,) if isinstance(self.region, AssetRegion) else ()
        return (self.source_name, *(self.cloud_mask.collections if self.cloud_mask else ()), *table)

    @property
    def style(self) -> RenderStyle:
        """The requested format and colours."""
        return RenderStyle(self.format, self.min, self.max, tuple(self.palette or ()))

    @property
    def export_obstacle(self) -> str | None:
        """Return why no chip can be exported: see :class:`eechips.recipe.RecipeTraits`."""
        return self.style.export_obstacle

    @property
    def is_picture(self) -> bool:
        """Return whether the results are pictures (PNG, JPEG), not values."""
        return self.style.is_picture

    @property
    def results(self) -> dict[str, Any]:
        """The parameters that determine the pixels of a unit's file."""
        return {
            "dataset": self.dataset_id,
            "bands": self.compared_bands(self.bands),
            **self.selection.parameters,
            "mask": self.cloud_mask.text if self.cloud_mask else "none",
            "format": self.format,
            "clip": self.region.parameters if self.clip else None,
            "visualization": self.visualization(self.selection.names),
        }

    @property
    def identity(self) -> str:
        """The SHA-256 of the parameters of results. Dates and conditions, which the plan holds, are not part of it."""
        return recipe_identity(self.name, self.results)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All parameters as JSON."""
        plan = {
            "start": self.start,
            "end": self.end,
            "where": list(map(str, self.conditions)),
            "clip": self.clip,
            **self.placement.parameters,
        }
        return {**self.results, **plan, **self.region.parameters}

    def visualization(self, bands: Sequence[str]) -> dict[str, Any]:
        """Return the parameters of ``ee.Image.visualize``; empty for values."""
        return self.style.visualization(bands, self.stretched)

    def select_images(self) -> ImageSelection:
        """Select the images: a few requests.

        Raises:
            UnknownDatasetError: if the dataset or a band does not exist.
            RegionError: if the region does not exist.
            UsageError: if the dataset is not a collection, or no image meets region, dates and conditions.
        """
        region = self.region.geometry()
        dates = self.start, self.end
        about = asset_metadata.fetch_metadata(
            self.dataset_id, self.known_kind, region, *dates, needed=self.needed_bands
        )
        if about.kind != "collection":
            raise self.single_image()
        bands = self.selection.find_bands(about)
        self.style.check_found(bands, self.stretched)
        about.select(self.further_bands(self.selection.stored or [band.name for band in bands]))
        collection = asset_metadata.filter_images(self.dataset_id, about.kind, *dates)
        tests = (*resolve_conditions(self.conditions, collection.filterBounds(region)), *about.tests)
        for test in tests:
            collection = collection.filter(test.filter())
        if self.conditions and not collection.filterBounds(region).limit(1).size().getInfo():
            raise self.none_found()
        object.__setattr__(self, "_stored_dtype", str(np.result_type(*(band.dtype for band in bands))))
        grid_band = self.selection.grid_band(bands[0].name)
        return ImageSelection(bands, grid_band, region, region_polygon(self.region), tests, collection, about.casts)

    @abstractmethod
    def get_result(self, index: int, unit: Unit) -> Chip | NoData:
        """Describe the file of a unit."""

    def sized_result(self, index: int, unit: Unit) -> Chip | NoData:
        """Describe the file with the type of its bands; see :class:`eechips.recipe.SupportsSize`."""
        found = self.get_result(index, unit)
        if isinstance(found, NoData) or self.is_picture:
            return found
        return replace(found, dtype=found.dtype or self._stored_dtype)

    def treatment(self, unit: Unit) -> ImageTreatment:
        """Return the processing of the images of a unit."""
        area = ClipArea.of(self.region) if self.clip else None
        return ImageTreatment(self.selection.planned(unit), self.cloud_mask, unit.get("dtype"), area)

    def unit_fields(self, selection: ImageSelection) -> dict[str, Any]:
        """Return the part of each unit that describes the dataset, for workers."""
        names = {} if self.selection.names else {"bands": [band.name for band in selection.bands]}
        dtype = {"dtype": selection.dtype} if selection.dtype and self.format == "tif" else {}
        return {**names, **dtype, **({"casts": selection.casts} if selection.casts else {})}

    def single_image(self) -> UsageError:
        """Return the error for a dataset that is a single image."""
        return UsageError(f"{self.dataset_id} is a single image, not a collection of them: take `eechips mosaic`")

    def none_found(self) -> UsageError:
        """Return the error for a selection without images."""
        where = f" with {' and '.join(map(str, self.conditions))}" if self.conditions else ""
        dates = f" between {self.start or 'the beginning'} and {self.end or 'today'}" if self.start or self.end else ""
        return UsageError(f"{self.dataset_id} has no image{where}{dates} that meets the region")


def check_on_empty(recipe: Imagery, config: RunConfig) -> None:
    """Check that the recipe supports ``on_empty``.

    Raises:
        UsageError: if it does not.
    """
    if config.on_empty == "redraw":
        raise UsageError(f"on_empty='redraw': {recipe.name} has nothing else to draw; take keep or skip")
    recipe.style.check_empty(config.on_empty)


def _check(recipe: Imagery) -> None:
    """Check the options, without requests."""
    check_dataset(recipe.dataset)
    if recipe.known_kind == "image":
        raise recipe.single_image()
    check_dates(recipe.start, recipe.end)
    check_bands(recipe.bands)
    recipe.style.check_chosen(recipe.chosen_names)
    recipe.style.check()
    recipe.region  # noqa: B018 - parsed to be checked
    recipe.conditions  # noqa: B018 - likewise
    recipe.cloud_mask  # noqa: B018 - likewise
    recipe.placement  # noqa: B018 - likewise
