"""``eechips sample``: image chips at places drawn at random, in regular rows, or listed in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from eechips.engine import Estimate, RunConfig
from eechips.engine.config import LedgerOptions
from eechips.errors import UsageError
from eechips.formats import CHIP_FORMATS
from eechips.geo.grid import Grid
from eechips.jobs.chip_plan import ChipPlan
from eechips.jobs.recipe_options import option_names, run_recipe, slug, split_names, split_options, takes
from eechips.jobs.render_style import RenderStyle
from eechips.jobs.sample_layers import Bands, SampleDates, SampleLayer, parse_layers
from eechips.jobs.sample_validation import check, check_name_fields, check_places, parse_classes
from eechips.jobs.shared_options import (
    ALIGN,
    CRS,
    DATA,
    END,
    GREATEST_VALUE,
    LAT_FIELD,
    LEAST_VALUE,
    LON_FIELD,
    MASK,
    PALETTE,
    PIXELS,
    PLACES,
    REPAIR,
    SCALE,
    START,
    TRANSFORM,
)
from eechips.manifest.run import Run
from eechips.planning import samplers
from eechips.planning.expressions import LayerImages, chip_image
from eechips.planning.grid_alignment import GridAlignment
from eechips.planning.maps import parse_map
from eechips.planning.places import Places, read_places
from eechips.planning.regions import Region, parse_region
from eechips.recipe import Chip, Unit, recipe_identity
from eechips.signature import documented, option
from eechips.storage import NameTemplate

GridMode = Literal["native", "thumb"]


@documented
@dataclass(frozen=True, kw_only=True)
class ChipSample:
    """The recipe of ``eechips sample``.

    A chip shows the images of a dataset between the two dates, the latest on top, at a place. Exactly one of
    ``per_ecoregion``, ``per_class``, ``total``, ``spacing`` and ``points`` says how places are chosen.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region, or the file of points, cannot be used.
    """

    dataset: str | Sequence[str] = field(
        metadata=option(
            "Short name (`eechips datasets`) or Earth Engine id; may be repeated. Then every chip has a file of each,"
            " all"
            " on the pixels of the first, unless `crs`, `scale`, `align` or `transform` are given. With several"
            " datasets the dates select images of each, except for maps of one time, such as WORLDCOVER, after the"
            " first.",
            DATA,
            metavar="NAME",
            is_multiple=True,
        )
    )
    per_ecoregion: int | None = field(
        default=None,
        metadata=option(
            "N random points in each ecoregion that meets the region.", PLACES, metavar="N", kind="integer"
        ),
    )
    per_class: int | None = field(
        default=None,
        metadata=option("N random points in each class of `class_image`.", PLACES, metavar="N", kind="integer"),
    )
    total: int | None = field(
        default=None,
        metadata=option("N random points in the region, uniform on the sphere.", PLACES, metavar="N", kind="integer"),
    )
    spacing: str | None = field(
        default=None,
        metadata=option("Points on a regular grid with this distance, such as 10km.", PLACES, metavar="DISTANCE"),
    )
    points: str | Path | None = field(
        default=None,
        metadata=option(
            "Points of a CSV file, GeoParquet or vector file; its columns are fields of `name`.", PLACES, metavar="FILE"
        ),
    )
    roi: str | None = field(
        default=None,
        metadata=option(
            "Region: W,S,E,N in degrees, a vector file, or ASSET:FIELD=VALUE.",
            PLACES,
            metavar="REGION",
            default="the dataset's (Colorado for NAIP); the world with `total`",
        ),
    )
    repair: bool = field(default=False, metadata=REPAIR)
    class_image: str | None = field(
        default=None, metadata=option("Map of the classes, as ESA/WorldCover/v200:Map.", PLACES, metavar="ID:BAND")
    )
    classes: Sequence[int] | str | None = field(
        default=None,
        metadata=option(
            "Classes to sample, as 10,40,50.",
            PLACES,
            metavar="A,B,…",
            default="all classes in the region",
            is_advanced=True,
        ),
    )
    ecoregions: str = field(
        default=samplers.ECOREGIONS,
        metadata=option(
            "Table whose features are the strata of `per_ecoregion`.", PLACES, metavar="ASSET", is_advanced=True
        ),
    )
    ecoregion_field: str = field(
        default="ECO_ID",
        metadata=option("Column of `ecoregions` that identifies a stratum.", PLACES, metavar="FIELD", is_advanced=True),
    )
    min_distance: str | None = field(
        default=None,
        metadata=option(
            "Minimum distance between points, such as 500m; nearer ones are left out. chip: chips never overlap.",
            PLACES,
            metavar="DISTANCE|chip",
        ),
    )
    mask_image: str | None = field(
        default=None,
        metadata=option(
            "Only points where this band is valid and not zero.", PLACES, metavar="ID:BAND", is_advanced=True
        ),
    )
    lon_field: str | None = field(default=None, metadata=LON_FIELD)
    lat_field: str | None = field(default=None, metadata=LAT_FIELD)
    date_field: str | None = field(
        default=None,
        metadata=option(
            "Column of `points` with dates: a chip shows the image nearest in time; of two equally near, the earlier.",
            PLACES,
            metavar="FIELD",
            is_advanced=True,
        ),
    )
    window: str | None = field(
        default=None,
        metadata=option(
            "With `date_field`: maximum time between that date and the image, as 30d, 12h or 2w.",
            PLACES,
            metavar="TIME",
            is_advanced=True,
        ),
    )
    size: int | tuple[int, int] = field(
        default=256,
        metadata=option(
            "Size of a chip in pixels: an edge, or width and height (with `grid` native).", PIXELS, kind="size"
        ),
    )
    scale: float | None = field(default=None, metadata=SCALE)
    bands: Bands = field(
        default=None,
        metadata=option(
            "Bands, in order; of several datasets, S2:B4,B3 and SRTM:elevation.",
            DATA,
            metavar="[NAME:]A,B,…",
            is_multiple=True,
            default="the dataset's",
        ),
    )
    start: str | None = field(default=None, metadata=START)
    end: str | None = field(default=None, metadata=END)
    mask: str = field(default="none", metadata=MASK)
    format: str | None = field(
        default=None,
        metadata=option(
            "Format: pictures (png, jpg) or values (tif, npy). Pictures have 1 or 3 bands of 8 bits; tif is GeoTIFF.",
            DATA,
            choices=CHIP_FORMATS.names,
            default="png; tif for several datasets",
        ),
    )
    grid: GridMode | None = field(
        default=None,
        metadata=option(
            "native: on the pixels of the latest image that contains the point. thumb: on a square around the point,"
            " with sides of (`size` - 2) * `scale` metres (buffer and bounds), resampled.",
            PIXELS,
            metavar="native|thumb",
            default="native for tif and npy, thumb for png and jpg",
            is_advanced=True,
        ),
    )
    crs: str = field(default="native", metadata=CRS)
    align: str | None = field(default=None, metadata=ALIGN)
    transform: tuple[float, float, float, float, float, float] | None = field(default=None, metadata=TRANSFORM)
    provenance: bool = field(
        default=False,
        metadata=option(
            "Record all images of which a chip shows a pixel, with their dates, in the manifest; otherwise only the"
            " image whose grid it has. Costs about as much as the chips.",
            DATA,
            is_advanced=True,
        ),
    )
    seed: int = field(
        default=0,
        metadata=option(
            "Seed of the random points: the same seed draws the same points.", PLACES, kind="integer", is_advanced=True
        ),
    )
    limit: int | None = field(
        default=None,
        metadata=option("Stop after N points in all, spread over the strata.", PLACES, metavar="N", kind="integer"),
    )
    min: float | None = field(default=None, metadata=LEAST_VALUE)
    max: float | None = field(default=None, metadata=GREATEST_VALUE)
    palette: Sequence[str] | str | None = field(default=None, metadata=PALETTE)
    layers: tuple[SampleLayer, ...] = field(init=False, repr=False)
    placement: GridAlignment = field(init=False, repr=False)
    region: Region | None = field(init=False, repr=False)
    places: Places | None = field(init=False, repr=False, compare=False, default=None)
    _plan: ChipPlan | None = field(init=False, repr=False, compare=False, default=None)

    name = "sample"
    is_builtin = True
    plans_gradually = True

    def __post_init__(self) -> None:
        layers = parse_layers(self.dataset, self.bands, self.mask)
        self._set("layers", layers)
        if len(layers) == 1 and self.bands is not None:
            self._set("bands", layers[0].chosen)
        if self.format is None:
            self._set("format", "png" if len(layers) == 1 else "tif")
        if self.classes is not None:
            self._set("classes", parse_classes(self.classes))
        if self.palette is not None:
            self._set("palette", split_names(self.palette))
        self._set(
            "placement", GridAlignment(crs=self.crs, scale=self.scale, align=self.align, transform=self.transform)
        )
        check(self)
        roi = self.roi
        if roi is None and self.points is None:
            roi = self.first.known.region if self.first.known else None
            if roi is None and self.total is None:
                raise UsageError(f"{self.first.dataset} has no default region: give --roi")
        self._set("region", None if roi is None else parse_region(roi, repairs=self.repair))
        if self.points is not None:
            self._set("places", read_places(Path(self.points), self.lon_field, self.lat_field))
            check_places(self)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def first(self) -> SampleLayer:
        """The dataset on whose pixels the chips lie."""
        return self.layers[0]

    @property
    def name_template(self) -> str:
        """How results are named by default."""
        if self.per_ecoregion is not None:
            return "chips/{eco_name}/{id}"
        return "chips/{class}/{id}" if self.per_class is not None else "chips/{id}"

    @property
    def datasets(self) -> tuple[str, ...]:
        """Ids of the assets that are read."""
        scores = [score for layer in self.layers if layer.mask for score in layer.mask.collections]
        strata = [self.ecoregions] if self.per_ecoregion is not None else []
        maps = [parse_map("", text).id for text in (self.class_image, self.mask_image) if text is not None]
        return tuple(dict.fromkeys([*(layer.dataset_id for layer in self.layers), *scores, *strata, *maps]))

    @property
    def dates(self) -> SampleDates:
        """When the images were taken."""
        return SampleDates(self.start, self.end, self.window)

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of a chip in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])

    @property
    def is_picture(self) -> bool:
        """Whether the chips are for looking at (PNG, JPEG), not data."""
        return self.style.is_picture

    @property
    def style(self) -> RenderStyle:
        """What the user says of colours."""
        return RenderStyle(self._format, self.min, self.max, tuple(self.palette or ()))

    @property
    def grid_mode(self) -> GridMode:
        """``grid``, or its default for the format."""
        is_placed = not self.placement.is_native
        return self.grid or ("thumb" if self.is_picture and not is_placed else "native")

    @property
    def results(self) -> dict[str, Any]:
        """The parameters that change what a point's chip looks like."""
        found: dict[str, Any] = {
            "start": self.start,
            "end": self.end,
            "size": list(self.dimensions),
            "scale": self.scale,
            "grid": self.grid_mode,
            "format": self.format,
        }
        looks = [self._layer_results(layer) for layer in self.layers]
        found |= looks[0] if len(looks) == 1 else {"layers": looks}
        rest: dict[str, Any] = {"align": self.align, "window": self.window}
        rest["crs"] = None if self.crs == "native" else self.crs
        rest["transform"] = None if self.transform is None else list(self.transform)
        return found | {name: value for name, value in rest.items() if value is not None}

    def _layer_results(self, layer: SampleLayer) -> dict[str, Any]:
        bands = list(layer.chosen) if layer.chosen else None
        colours = self.style.visualization(layer.usual_bands, layer.known)
        found = {"dataset": layer.dataset_id, "bands": bands, "visualization": colours}
        if layer.mask is not None:
            found["mask"] = layer.mask.text
        return {**found, "layer": layer.name} if layer.name else found

    @property
    def identity(self) -> str:
        """Sha256 of what changes results. The number of points, the seed and the region are not among that."""
        return recipe_identity(self.name, self.results)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All parameters as JSON."""
        plan: dict[str, Any] = {"seed": self.seed, "limit": self.limit}
        if self.per_ecoregion is not None:
            plan |= {"per_ecoregion": self.per_ecoregion, "ecoregions": self.ecoregions}
            plan["ecoregion_field"] = self.ecoregion_field
        if self.provenance:
            plan["provenance"] = True
        options = ("per_class", "total", "spacing", "class_image", "min_distance", "mask_image", "date_field")
        plan |= {name: value for name in options if (value := getattr(self, name)) is not None}
        if self.classes is not None:
            plan["classes"] = list(self.classes)
        if self.places is not None:
            plan |= {"points": str(self.points), "points_sha256": self.places.sha256}
            columns = {"lon_field": self.lon_field, "lat_field": self.lat_field}
            plan |= {name: value for name, value in columns.items() if value is not None}
        return {**self.results, **plan, **(self.region.parameters if self.region is not None else {})}

    def get_requests(self) -> Iterator[Unit]:
        """Plans the points: a few requests, whatever their number, and one per 500 points for their grids.

        Points that an image or a map is asked about cost one more for 2,000 of them.

        Yields:
            ``{"kind": "point", "coordinates": [lon, lat], "grid": …}``; ``"image"`` (for native grids) or ``"latest"``,
            the ``system:index`` of the latest image at the point, and its ``"date"``; for a dataset without a record,
            ``"source"`` with what the server says of it; and by the strategy ``eco_id`` and ``eco_name``, ``class``,
            ``row`` and ``column``, or ``properties`` (the columns of the file) and ``label_date``.

        Raises:
            UnknownDatasetError: if a dataset or a band does not exist.
            RegionError: if the region or the ecoregions do not, or no place is left.
            UsageError: if a dataset has no image there and then.
        """
        yield from self._planned().units()

    def preview_units(self, count: int) -> tuple[int, list[Unit]]:
        """The number of units, and the first ``count`` of them; see :class:`eechips.recipe.SupportsPreview`.

        Raises:
            UnknownDatasetError, RegionError, UsageError: as :meth:`get_requests`.
        """
        return self._planned().preview(count)

    def redraw(self, wanted: Sequence[tuple[Unit, int]]) -> list[Unit | None]:
        """Further points of the same strata, in the place of points that have no data.

        The points of a stratum are one sequence, of which the plan has the first so many. The n-th point in the place
        of the p-th is that at n times as many, plus p: it depends on nothing else, and is nobody else's.

        Args:
            wanted: a unit of the plan, and n from 1.

        Returns:
            For each, another unit; None if the stratum is too small for so many points, or not what it was.
        """
        plan = self._plan if self._plan is not None else self._planned()
        return plan.others(wanted)

    def _planned(self) -> ChipPlan:
        plan = ChipPlan.of(self)
        self._set("_plan", plan)
        return plan

    def __getstate__(self) -> dict[str, Any]:
        # Workers draw no points, and what they need of a file of them is in the units.
        return {**self.__dict__, "_plan": None, "places": None}

    def images(self, layer: SampleLayer, unit: Unit) -> LayerImages:
        """The images of a layer that chips show."""
        if layer.known:
            kind, bands = layer.known.kind, layer.usual_bands
        else:
            source = unit["source"][layer.name] if layer.name else unit["source"]
            kind, bands = source["kind"], tuple(source["bands"])
        return LayerImages(layer.dataset_id, kind, *self.dates.of(layer), bands, layer.mask)

    def get_result(self, index: int, unit: Unit) -> Chip | dict[str, Chip]:
        """The chip of a point, or one of each dataset: a request for each by computePixels, two by URL."""
        grid = Grid.from_json(unit["grid"])
        chips = {layer.name: self._chip(layer, unit, grid) for layer in self.layers}
        return chips if len(chips) > 1 else next(iter(chips.values()))

    def sized_result(self, index: int, unit: Unit) -> Chip | dict[str, Chip]:
        """The same, with the types of the bands; see :class:`eechips.recipe.SupportsSize`."""
        found = self.get_result(index, unit)
        if self._plan is None or self.is_picture:
            return found
        types = {
            layer.name: str(np.result_type(*(band.dtype for band in seen.bands)))
            for layer, seen in zip(self.layers, self._plan.seen, strict=True)
        }
        if isinstance(found, Chip):
            return replace(found, dtype=found.dtype or next(iter(types.values())))
        return {name: replace(chip, dtype=chip.dtype or types[name]) for name, chip in found.items()}

    def _chip(self, layer: SampleLayer, unit: Unit, grid: Grid) -> Chip:
        images = self.images(layer, unit)
        image = f"{layer.dataset_id}/{unit['image']}" if "image" in unit and layer == self.first else None
        is_thumb = self.grid_mode == "thumb"
        date_match = self.dates.pairing(layer, unit)
        shown = chip_image(images, grid, unit["coordinates"], source=image, date_match=date_match, is_thumb=is_thumb)
        latest = unit.get("image", unit.get("latest")) if layer == self.first else None
        sources: Sequence[str] = (f"{layer.dataset_id}/{latest}",) if latest is not None else ()
        dates: Sequence[str] = (unit["date"],) if latest is not None and "date" in unit else ()
        if "provenance" in unit:
            told = unit["provenance"][layer.name] if layer.name else unit["provenance"]
            sources, dates = told["sources"], told["dates"]
        elif images.kind == "image" and layer.name:
            sources = (layer.dataset_id,)
        return Chip(
            image=shown,
            grid=grid,
            bands=images.bands,
            format=self._format,
            visualization=self.style.visualization(images.bands, layer.known),
            sources=tuple(sources),
            dates=tuple(dates),
        )

    @property
    def _format(self) -> str:
        assert self.format is not None
        return self.format


_OPTIONS = option_names(ChipSample)


def sample_recipe(options: Mapping[str, Any]) -> tuple[ChipSample, RunConfig]:
    """The recipe and the run's config for the options of ``sample``.

    Raises:
        UsageError: if an option is unknown, out of range, or contradicts another.
    """
    recipe, config = split_options(ChipSample, _OPTIONS, options, _folder)
    if config.on_empty == "redraw" and (recipe.spacing is not None or recipe.points is not None):
        given = "--spacing" if recipe.spacing is not None else "--points"
        raise UsageError(
            f"--on-empty redraw takes another point drawn at random, and with {given} none is: take keep or skip"
        )
    recipe.style.check_empty(config.on_empty)
    if config.name and recipe.places is not None:
        check_name_fields(NameTemplate(config.name), recipe.places)
    return recipe, config


def _folder(recipe: ChipSample) -> str:
    return f"sample-{slug('-'.join(layer.dataset for layer in recipe.layers))}"


@overload
def sample(
    dataset: str | Sequence[str], *, out: str | Path | None = None, dry_run: Literal[True], **options: Any
) -> Estimate: ...
@overload
def sample(
    dataset: str | Sequence[str], *, out: str | Path | None = None, dry_run: Literal[False] = False, **options: Any
) -> Run: ...
@takes(ChipSample, RunConfig, LedgerOptions)
def sample(
    dataset: str | Sequence[str], *, out: str | Path | None = None, dry_run: bool = False, **options: Any
) -> Run | Estimate:
    """Takes image chips at places that are drawn at random, lie in rows, or are listed in a file.

    Args:
        dataset: alias ("NAIP") or Earth Engine id; or several: a file of each for every place, all on the same pixels.
        out: folder of the results; None for ``outputs/sample-<dataset>``.
        dry_run: estimate only: plan, and send no pixel request.
        options: those of ``ChipSample`` and ``RunConfig``.

    Returns:
        The finished run; its failures, if any, are in ``failures``. With ``estimate``, the run may be
        ``paused`` after its first units. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        ConfigurationError: if credentials, project or endpoint are.

    Example:
        >>> run = eechips.sample("NAIP", per_ecoregion=25, local=True)
        >>> run.units.head()
    """
    return run_recipe(*sample_recipe({"dataset": dataset, "out": out, "dry_run": dry_run, **options}))
