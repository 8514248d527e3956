"""``eechips sample``: image chips at places drawn at random, in regular rows, or listed in a file."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

from eechips.engine import Estimate, RunConfig
from eechips.errors import RegionError, UsageError
from eechips.grid import Grid
from eechips.jobs.layers import Bands, Layer, layers_of
from eechips.jobs.options import fetch, field_names, names_of, slug, split, takes
from eechips.jobs.pictures import Look
from eechips.jobs.refusals import check, check_places, parse_classes
from eechips.jobs.siting import Siting, tell
from eechips.manifest.run import Run
from eechips.planning import facts, grids, samplers
from eechips.planning.lattice import Placement
from eechips.planning.maps import parse_map
from eechips.planning.pairing import Pairing, iso, milliseconds, parse_window
from eechips.planning.places import Places, read_places
from eechips.planning.provenance import Shown, contributors
from eechips.planning.regions import Region, parse_region
from eechips.planning.strategies import Site, Strategy
from eechips.planning.views import Images, view
from eechips.recipe import Chip, ChipFormat, Unit, canonical_json

GridMode = Literal["native", "thumb"]

_BATCH = 500  # units whose images are asked about at a time

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the server says of a layer.

    Attributes:
        about: the dataset.
        bands: to take.
    """

    about: facts.Facts
    bands: tuple[facts.Band, ...]


@dataclass(frozen=True, slots=True)
class _Survey:
    """What the server says of the datasets and the places.

    Attributes:
        seen: of each layer.
        placement: of the pixels, resolved.
        strategy: chooses the places.
    """

    seen: tuple[_Seen, ...]
    placement: Placement
    strategy: Strategy


@dataclass(frozen=True, kw_only=True)
class ChipSample:
    """The recipe of ``eechips sample``.

    A chip shows the images of a dataset between the two dates, the latest on top, at a place. Exactly one of
    ``per_ecoregion``, ``per_class``, ``total``, ``spacing`` and ``points`` says how places are chosen.

    Attributes:
        dataset: alias ("NAIP") or Earth Engine id; or several, each of which becomes a file of every chip, all on the
            same pixels: those of the first, unless ``crs``, ``scale``, ``align`` or ``transform`` say otherwise.
        per_ecoregion: points in each ecoregion that meets the region, at random.
        per_class: points in each class of ``class_image``, at random; centres of its pixels.
        total: points in the region, at random; in the whole world where neither ``roi`` nor the dataset has one.
        spacing: distance, "10km", of places in regular rows.
        points: CSV file, GeoParquet or vector file with places; its columns are fields of ``name``.
        roi: ``W,S,E,N``, a vector file, or ``ASSET:FIELD=VALUE``; None for the dataset's own default.
        class_image: ``ID:BAND`` of the map of classes.
        classes: those wanted; None for all that are found in the region.
        ecoregions: table whose features are the strata.
        ecoregion_field: its column that identifies them.
        min_distance: least distance, "500m", of two points, or "chip": so much that no two chips overlap.
        mask_image: ``ID:BAND``: only places where it holds anything but zero.
        lon_field: column of ``points`` with longitudes in degrees; None for one that is called like that.
        lat_field: column with latitudes.
        date_field: column of ``points`` with a date: the chip shows the image nearest to it, the earlier of two.
        window: time, "30d", that an image may be older or younger than that date.
        size: edge in pixels, or width and height (``native`` only).
        scale: edge of a pixel in metres; None for the dataset's own.
        bands: names, in order, or ``"R,G,B"``; of several datasets ``("S2:B4,B3", "SRTM:elevation")`` or a mapping;
            None for the dataset's default.
        start: first day, inclusive, YYYY-MM-DD; None for no bound.
        end: last day, exclusive; None for no bound. With several datasets the dates choose of each, but for maps of
            one time, such as WORLDCOVER, after the first.
        format: ``png`` and ``jpg`` are pictures of 1 or 3 bands in 8 bits, ``tif`` and ``npy`` are the data; None for
            ``png``, and for ``tif`` with several datasets.
        grid: ``native`` puts the pixels on the grid of the latest image that contains the point. ``thumb`` takes
            the bounds of a buffer of (size / 2 - 1) * scale metres around the point at ``size`` pixels, which for
            256 pixels and 1 m is ``buffer(127).bounds()`` at 256x256; its pixels are resampled. None for ``thumb``
            where the format is a picture and ``native`` where it is data or the grid is placed.
        crs: ``native``, ``utm`` (the zone of the point), or a code.
        align: id of an image on whose pixels all chips lie.
        transform: of the grid, in the units of ``crs``.
        provenance: whether the manifest is to name all images of which a chip shows a pixel, with their dates; else
            only the one whose grid it is. It costs the service about as much as the chips.
        seed: of the points.
        limit: stop after so many points in all; they are spread over the strata.
        minimum: value that becomes black in a picture; None for the dataset's default.
        maximum: value that becomes white.
        palette: colours (hexadecimal, from ``minimum`` to ``maximum``) for a picture of one band.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region, or the file of points, cannot be used.
    """

    dataset: str | Sequence[str]
    per_ecoregion: int | None = None
    per_class: int | None = None
    total: int | None = None
    spacing: str | None = None
    points: str | Path | None = None
    roi: str | None = None
    class_image: str | None = None
    classes: Sequence[int] | str | None = None
    ecoregions: str = samplers.ECOREGIONS
    ecoregion_field: str = "ECO_ID"
    min_distance: str | None = None
    mask_image: str | None = None
    lon_field: str | None = None
    lat_field: str | None = None
    date_field: str | None = None
    window: str | None = None
    size: int | tuple[int, int] = 256
    scale: float | None = None
    bands: Bands = None
    start: str | None = None
    end: str | None = None
    format: ChipFormat | None = None
    grid: GridMode | None = None
    crs: str = "native"
    align: str | None = None
    transform: tuple[float, float, float, float, float, float] | None = None
    provenance: bool = False
    seed: int = 0
    limit: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    palette: Sequence[str] | str | None = None
    layers: tuple[Layer, ...] = field(init=False, repr=False)
    placement: Placement = field(init=False, repr=False)
    region: Region | None = field(init=False, repr=False)
    places: Places | None = field(init=False, repr=False, compare=False, default=None)
    _surveyed: _Survey | None = field(init=False, repr=False, compare=False, default=None)

    name = "sample"

    def __post_init__(self) -> None:
        layers = layers_of(self.dataset, self.bands)
        self._set("layers", layers)
        if len(layers) == 1 and self.bands is not None:
            self._set("bands", layers[0].chosen)
        if self.format is None:
            self._set("format", "png" if len(layers) == 1 else "tif")
        if self.classes is not None:
            self._set("classes", parse_classes(self.classes))
        if self.palette is not None:
            self._set("palette", names_of(self.palette))
        self._set("placement", Placement(crs=self.crs, scale=self.scale, align=self.align, transform=self.transform))
        check(self)
        roi = self.roi
        if roi is None and self.points is None:
            roi = self.first.known.region if self.first.known else None
            if roi is None and self.total is None:
                raise UsageError(f"{self.first.dataset} has no default region: give --roi")
        self._set("region", None if roi is None else parse_region(roi))
        if self.points is not None:
            self._set("places", read_places(Path(self.points), self.lon_field, self.lat_field))
            check_places(self)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def first(self) -> Layer:
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
        names = [parse_map("", text).id for text in (self.class_image, self.mask_image) if text is not None]
        strata = [self.ecoregions] if self.per_ecoregion is not None else []
        return tuple(dict.fromkeys([*(layer.dataset_id for layer in self.layers), *strata, *names]))

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of a chip in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])

    @property
    def is_picture(self) -> bool:
        """Whether the chips are for looking at (PNG, JPEG), not data."""
        return self.look.is_picture

    @property
    def look(self) -> Look:
        """What the user says of colours."""
        return Look(self._format, self.minimum, self.maximum, tuple(self.palette or ()))

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

    def _layer_results(self, layer: Layer) -> dict[str, Any]:
        bands = list(layer.chosen) if layer.chosen else None
        colours = self.look.visualization(layer.usual_bands, layer.known)
        found = {"dataset": layer.dataset_id, "bands": bands, "visualization": colours}
        return {**found, "layer": layer.name} if layer.name else found

    @property
    def identity(self) -> str:
        """Sha256 of what changes results. The number of points, the seed and the region are not among that."""
        return hashlib.sha256(canonical_json({"recipe": self.name, **self.results}).encode()).hexdigest()

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
            ``{"kind": "point", "coordinates": [lon, lat], "grid": …}``; for native grids, ``"image"`` (its
            ``system:index``) and ``"date"``; for a dataset without a record, ``"source"`` with what the server says
            of it; and by the strategy ``eco_id`` and ``eco_name``, ``class``, ``row`` and ``column``, or
            ``properties`` (the columns of the file) and ``label_date``.

        Raises:
            UnknownDatasetError: if a dataset or a band does not exist.
            RegionError: if the region or the ecoregions do not, or no place is left.
            UsageError: if a dataset has no image there and then.
        """
        survey = self._survey()
        sites = survey.strategy.sites()
        if not sites:
            raise RegionError("no place is left to take a chip at: --mask-image, --min-distance or --roi leave none")
        tell(self, survey.strategy, sites)
        yield from self._units(survey, sites[: self.limit])

    def redraw(self, wanted: Sequence[tuple[Unit, int]]) -> list[Unit | None]:
        """Further points of the same strata, in the place of points that have no data.

        The points of a stratum are one sequence, of which the plan has the first so many. The n-th point in the place
        of the p-th is that at n times as many, plus p: it depends on nothing else, and is nobody else's.

        Args:
            wanted: a unit of the plan, and n from 1.

        Returns:
            For each, another unit; None if the stratum is too small for so many points, or not what it was.
        """
        survey = self._surveyed if self._surveyed is not None else self._survey()
        sites = [survey.strategy.another(unit, number) for unit, number in wanted]
        units = self._units(survey, [site for site in sites if site is not None])
        return [None if site is None else next(units) for site in sites]

    def _survey(self) -> _Survey:
        """Asks the server what there is."""
        region = self.region.geometry() if self.region is not None else None
        seen = []
        for layer in self.layers:
            about = facts.describe(layer.dataset_id, layer.known_kind, region, *self._dates(layer))
            bands = about.select(layer.usual_bands) if layer.usual_bands else about.bands
            self.look.check_found(bands, layer.known)
            seen.append(_Seen(about, bands))
        placement = self.placement.resolved()
        siting = Siting(self, region, self.thumb_reach(seen[0].bands[0]), seen[0].bands[0].grid, placement)
        survey = _Survey(tuple(seen), placement, siting.strategy())
        self._set("_surveyed", survey)
        return survey

    def __getstate__(self) -> dict[str, Any]:
        # Workers draw no points, and what they need of a file of them is in the units.
        return {**self.__dict__, "_surveyed": None, "places": None}

    def _units(self, survey: _Survey, sites: Sequence[Site]) -> Iterator[Unit]:
        extra = self._sources(survey)
        units = (
            {"kind": "point", "coordinates": list(site.point), **site.fields, **place, **extra}
            for site, place in zip(sites, self._places(survey, sites), strict=True)
        )
        yield from self._with_provenance(units) if self.provenance else units

    def _with_provenance(self, units: Iterator[Unit]) -> Iterator[Unit]:
        """Units with ``provenance``: of each layer, ids and dates of the images that chips show."""
        while batch := list(islice(units, _BATCH)):
            _log.info("Asking which images each of %s chips shows", f"{len(batch):,}")
            found = [self._provenance(layer, batch) for layer in self.layers]
            for unit, *each in zip(batch, *found, strict=True):
                told = {layer.name: one for layer, one in zip(self.layers, each, strict=True)}
                yield {**unit, "provenance": told if len(self.layers) > 1 else each[0]}

    def _provenance(self, layer: Layer, units: Sequence[Unit]) -> list[dict[str, list[Any]]]:
        """Sources and dates of a layer of units."""
        images = self._images(layer, units[0])
        if images.kind == "image":
            return [{"sources": [images.dataset], "dates": []}] * len(units)
        chips = []
        for unit in units:
            longitude, latitude = unit["coordinates"]
            source = unit.get("image") if layer == self.first else None
            grid = Grid.from_json(unit["grid"])
            chips.append(Shown(grid, (longitude, latitude), source, self._pairing(layer, unit)))
        return [
            {
                "sources": [f"{images.dataset}/{each.index}" for each in found],
                "dates": [_date(each.time).get("date") for each in found],
            }
            for found in contributors(images, chips)
        ]

    def _sources(self, survey: _Survey) -> dict[str, Any]:
        """What a worker must know of datasets that have no record."""
        unknown = {
            layer.name: {"kind": seen.about.kind, "bands": [band.name for band in seen.bands]}
            for layer, seen in zip(self.layers, survey.seen, strict=True)
            if not layer.known
        }
        if not unknown:
            return {}
        return {"source": unknown if len(self.layers) > 1 else unknown[""]}

    def get_result(self, index: int, unit: Unit) -> Chip | dict[str, Chip]:
        """The chip of a point, or one of each dataset: a request for each by computePixels, two by URL."""
        grid = Grid.from_json(unit["grid"])
        chips = {layer.name: self._chip(layer, unit, grid) for layer in self.layers}
        return chips if len(chips) > 1 else next(iter(chips.values()))

    def _chip(self, layer: Layer, unit: Unit, grid: Grid) -> Chip:
        images = self._images(layer, unit)
        image = f"{layer.dataset_id}/{unit['image']}" if "image" in unit and layer == self.first else None
        is_thumb = self.grid_mode == "thumb"
        pairing = self._pairing(layer, unit)
        shown = view(images, grid, unit["coordinates"], source=image, pairing=pairing, is_thumb=is_thumb)
        sources: Sequence[str] = (image,) if image is not None else ()
        dates: Sequence[str] = (unit["date"],) if image is not None and "date" in unit else ()
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
            visualization=self.look.visualization(images.bands, layer.known),
            sources=tuple(sources),
            dates=tuple(dates),
        )

    def _images(self, layer: Layer, unit: Unit) -> Images:
        """The images of a layer that chips show."""
        if layer.known:
            return Images(layer.dataset_id, layer.known.kind, *self._dates(layer), layer.usual_bands)
        source = unit["source"][layer.name] if layer.name else unit["source"]
        return Images(layer.dataset_id, source["kind"], *self._dates(layer), tuple(source["bands"]))

    @property
    def _format(self) -> ChipFormat:
        assert self.format is not None
        return self.format

    def _dates(self, layer: Layer) -> tuple[str | None, str | None]:
        """The first day and that after the last of a layer's images."""
        return (self.start, self.end) if layer.is_dated else (None, None)

    def _pairing(self, layer: Layer, unit: Unit) -> Pairing | None:
        """The date that a unit is paired with, if it is."""
        if "label_date" not in unit or not layer.is_dated:
            return None
        _, first, last = self._moments(unit["label_date"])
        return Pairing(unit["label_date"], iso(first), iso(last))

    def _moments(self, label_date: str) -> grids.Moments:
        """A label's date, and the first and the last moment that is near enough (exclusive), in milliseconds."""
        assert self.window is not None
        moment = milliseconds(label_date)
        window = round(parse_window(self.window).total_seconds() * 1000)
        return moment, moment - window, moment + window + 1

    def thumb_reach(self, band: facts.Band) -> float:
        """Metres of the buffer whose bounds a thumb chip is."""
        known = self.first.known
        scale = self.scale or (known.scale if known else facts.scale(band))
        return (self.dimensions[0] / 2 - 1) * scale

    def _places(self, survey: _Survey, sites: Sequence[Site]) -> Iterator[dict[str, Any]]:
        """For each site, what its unit says of the grid."""
        points = [site.point for site in sites]
        about, band = survey.seen[0].about, survey.seen[0].bands[0]
        if self.grid_mode == "thumb":
            for grid in grids.around(points, self.thumb_reach(band), self.dimensions):
                yield {"grid": grid.to_json()}
        elif about.kind == "image":
            for point in points:
                yield {"grid": grids.placed(survey.placement, band.grid, point, self.dimensions).to_json()}
        else:
            _log.info("Asking which image is under each of %s points", f"{len(points):,}")
            collection = facts.images(about.id, about.kind, self.start, self.end)
            dates = None
            if self.date_field is not None:
                dates = [self._moments(site.fields["label_date"]) for site in sites]
            for point, source in zip(points, grids.sources(collection, band.name, points, dates), strict=True):
                native = grids.utm_grid(point, facts.scale(band)) if source is None else source.grid
                grid = grids.placed(survey.placement, native, point, self.dimensions)
                found = {} if source is None else {"image": source.index, **_date(source.time)}
                yield {"grid": grid.to_json(), **found}


_OPTIONS = field_names(ChipSample)


def sample_recipe(options: Mapping[str, Any]) -> tuple[ChipSample, RunConfig]:
    """The recipe and the run's config for the options of ``sample``.

    Raises:
        UsageError: if an option is unknown, out of range, or contradicts another.
    """
    recipe, config = split(ChipSample, _OPTIONS, options, _folder)
    if config.on_empty == "redraw" and (recipe.spacing is not None or recipe.points is not None):
        given = "--spacing" if recipe.spacing is not None else "--points"
        raise UsageError(
            f"--on-empty redraw takes another point drawn at random, and with {given} none is: take keep or skip"
        )
    if recipe.format == "jpg" and config.on_empty != "keep":
        raise UsageError(
            f"--on-empty {config.on_empty} needs png, tif or npy: jpg has no mask, and nothing tells an empty chip"
            " from a black one"
        )
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
@takes(ChipSample, RunConfig)
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
        The finished run; its failures, if any, are in ``failures``. With ``estimate_first``, the run may be
        ``paused`` after its first units. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        ConfigurationError: if credentials, project or endpoint are.

    Example:
        >>> run = eechips.sample("NAIP", per_ecoregion=25, local=True)
        >>> run.units.head()
    """
    return fetch(*sample_recipe({"dataset": dataset, "out": out, "dry_run": dry_run, **options}))


def _date(time: int | None) -> dict[str, str]:
    """An acquisition's date and time, ISO 8601, if known."""
    if time is None:
        return {}
    moment = dt.datetime.fromtimestamp(time / 1000, tz=dt.timezone.utc)
    return {"date": moment.isoformat().replace("+00:00", "Z")}
