"""``eechips sample``: image chips at random points of every ecoregion that meets a region."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

import ee

from eechips.datasets import Kind
from eechips.engine import Estimate, RunConfig
from eechips.errors import UsageError
from eechips.grid import Grid
from eechips.jobs.options import (
    OfDataset,
    check_dataset,
    check_dates,
    check_positive,
    fetch,
    field_names,
    slug,
    split,
    takes,
)
from eechips.manifest.run import Run
from eechips.planning import facts, grids, samplers
from eechips.planning.projection import nominal_scale
from eechips.planning.regions import Region, parse_region
from eechips.recipe import CHIP_FORMATS, Chip, ChipFormat, Unit, canonical_json
from eechips.template import Template

GridMode = Literal["native", "thumb"]

# Below this a thumb chip's region, which is two pixels smaller than its size, would be empty or nearly so.
_LEAST_THUMB = 4

# Earth Engine's limit for the sides of what getThumbURL and getDownloadURL return.
# https://developers.google.com/earth-engine/apidocs/ee-image-getdownloadurl
_MOST_PIXELS = 10_000

# Ecoregions that are named in the log; there may be hundreds.
_NAMED = 6

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Survey:
    """What the server says of the dataset and the ecoregions.

    Attributes:
        about: the dataset.
        bands: to take.
        draws: the points of each ecoregion.
    """

    about: facts.Facts
    bands: tuple[facts.Band, ...]
    draws: samplers.Draws


@dataclass(frozen=True, kw_only=True)
class ChipSample(OfDataset):
    """The recipe of ``eechips sample``.

    A chip shows the images of the dataset between the two dates, the latest on top, at a point. The points are
    drawn at random in each ecoregion that meets the region, the same number in each.

    Attributes:
        dataset: alias ("NAIP") or Earth Engine id.
        per_ecoregion: points in each ecoregion.
        roi: ``W,S,E,N``, a vector file, or ``ASSET:FIELD=VALUE``; None for the dataset's own default.
        size: edge in pixels, or width and height (``native`` only).
        scale: edge of a pixel in metres; None for the dataset's own.
        bands: names, in order, or ``"R,G,B"``; None for the dataset's default.
        start: first day, inclusive, YYYY-MM-DD; None for no bound.
        end: last day, exclusive; None for no bound.
        format: ``png`` and ``jpg`` are pictures of 1 or 3 bands in 8 bits, ``tif`` and ``npy`` are the data.
        grid: ``native`` puts the pixels on the grid of the latest image that contains the point. ``thumb`` takes
            the bounds of a buffer of (size / 2 - 1) * scale metres around the point at ``size`` pixels, which for
            256 pixels and 1 m is ``buffer(127).bounds()`` at 256x256; its pixels are resampled. None for ``thumb``
            where the format is a picture and ``native`` where it is data.
        seed: of the points.
        limit: stop after so many points in all; they are spread over the ecoregions.
        minimum: value that becomes black in a picture; None for the dataset's default.
        maximum: value that becomes white.
        palette: colours (hexadecimal, from ``minimum`` to ``maximum``) for a picture of one band.
        ecoregions: table whose features are the strata.
        ecoregion_field: its column that identifies them.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region cannot be used.
    """

    dataset: str
    per_ecoregion: int
    roi: str | None = None
    size: int | tuple[int, int] = 256
    scale: float | None = None
    bands: Sequence[str] | str | None = None
    start: str | None = None
    end: str | None = None
    format: ChipFormat = "png"
    grid: GridMode | None = None
    seed: int = 0
    limit: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    palette: Sequence[str] | None = None
    ecoregions: str = samplers.ECOREGIONS
    ecoregion_field: str = "ECO_ID"
    region: Region = field(init=False, repr=False)
    _surveyed: _Survey | None = field(init=False, repr=False, compare=False, default=None)

    name = "sample"
    name_template = "chips/{eco_name}/{id}"

    def __post_init__(self) -> None:
        if isinstance(self.bands, str):  # "R,G,B", as on the command line, and not its letters
            object.__setattr__(self, "bands", tuple(name.strip() for name in self.bands.split(",")))
        _check(self)
        roi = self.roi or (self.known.region if self.known else None)
        if roi is None:
            raise UsageError(f"{self.dataset} has no default region: give --roi")
        object.__setattr__(self, "region", parse_region(roi))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Ids of the assets that are read."""
        return self.dataset_id, self.ecoregions

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of a chip in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])

    @property
    def is_picture(self) -> bool:
        """Whether the chips are for looking at (PNG, JPEG), not data."""
        return self.format in ("png", "jpg")

    @property
    def grid_mode(self) -> GridMode:
        """``grid``, or its default for the format."""
        return self.grid or ("thumb" if self.is_picture else "native")

    @property
    def results(self) -> dict[str, Any]:
        """The parameters that change what a point's chip looks like."""
        return {
            "dataset": self.dataset_id,
            "bands": list(self.bands) if self.bands else None,
            "start": self.start,
            "end": self.end,
            "size": list(self.dimensions),
            "scale": self.scale,
            "grid": self.grid_mode,
            "format": self.format,
            "visualization": self._visualization(self.bands or (self.known.bands if self.known else ())),
        }

    @property
    def identity(self) -> str:
        """Sha256 of what changes results. The number of points, the seed and the region are not among that."""
        return hashlib.sha256(canonical_json({"recipe": self.name, **self.results}).encode()).hexdigest()

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All parameters as JSON."""
        plan = {
            "per_ecoregion": self.per_ecoregion,
            "seed": self.seed,
            "limit": self.limit,
            "ecoregions": self.ecoregions,
            "ecoregion_field": self.ecoregion_field,
        }
        return {**self.results, **plan, **self.region.parameters}

    def get_requests(self) -> Iterator[Unit]:
        """Plans the points: a few requests, whatever their number, and one per 500 points for their grids.

        Yields:
            ``{"kind": "point", "coordinates": [lon, lat], "eco_id": …, "eco_name": …, "grid": …}`` and, for native
            grids, ``"image"`` (its ``system:index``) and ``"date"``; for a dataset without a record, ``"source"``
            with what the server says of it.

        Raises:
            UnknownDatasetError: if the dataset or a band does not exist.
            RegionError: if the region or the ecoregions do not.
            UsageError: if the dataset has no image there and then.
        """
        survey = self._survey()
        strata = survey.draws.strata
        names = ", ".join(stratum.name for stratum in strata[:_NAMED]) + (", …" if len(strata) > _NAMED else "")
        _log.info("Points per ecoregion: %s, in %s: %s", f"{self.per_ecoregion:,}", f"{len(strata):,}", names)
        yield from self._units(survey, survey.draws.interleaved()[: self.limit])

    def redraw(self, wanted: Sequence[tuple[Unit, int]]) -> list[Unit | None]:
        """Further points of the same ecoregions, in the place of points that have no data.

        The points of an ecoregion are one sequence, of which the plan has the first ``per_ecoregion``. The n-th point
        in the place of the p-th is that at n * per_ecoregion + p: it depends on nothing else, and is nobody else's.

        Args:
            wanted: a unit of the plan, and n from 1.

        Returns:
            For each, another unit; None if the ecoregion is too small for so many points, or not what it was.
        """
        survey = self._surveyed if self._surveyed is not None else self._survey()
        points = [survey.draws.replacement(unit["eco_id"], _point(unit), number) for unit, number in wanted]
        units = self._units(survey, [point for point in points if point is not None])
        return [None if point is None else next(units) for point in points]

    def _survey(self) -> _Survey:
        """Asks the server what there is."""
        region = self.region.geometry()
        kind = self.known.kind if self.known else None
        about = facts.describe(self.dataset_id, kind, region, self.start, self.end)
        bands = self._default_bands(about)
        strata = samplers.fetch_strata(region, self.ecoregions, self.ecoregion_field, self._name_field())
        survey = _Survey(about, bands, samplers.Draws(strata, self.per_ecoregion, self.seed))
        object.__setattr__(self, "_surveyed", survey)
        return survey

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_surveyed": None}  # workers draw no points

    def _units(self, survey: _Survey, drawn: Sequence[tuple[samplers.Stratum, tuple[float, float]]]) -> Iterator[Unit]:
        places = self._places(survey.about, survey.bands[0], [point for _, point in drawn])
        extra = {} if self.known else {"source": _source(survey.about, survey.bands)}
        for (stratum, point), place in zip(drawn, places, strict=True):
            unit = {"kind": "point", "coordinates": list(point), "eco_id": stratum.id, "eco_name": stratum.name}
            yield {**unit, **place, **extra}

    def get_result(self, index: int, unit: Unit) -> Chip:
        """The chip of a point: one request by computePixels, two by URL."""
        kind, bands = self._about(unit)
        grid = Grid.from_json(unit["grid"])
        return self._chip(self._image(kind, bands, unit, grid), bands, unit, grid)

    def _about(self, unit: Unit) -> tuple[Kind, tuple[str, ...]]:
        """What the dataset is, and the bands to take."""
        if self.known:
            return self.known.kind, tuple(self.bands or self.known.bands)
        return unit["source"]["kind"], tuple(unit["source"]["bands"])

    def _chip(self, image: Template, bands: tuple[str, ...], unit: Unit, grid: Grid) -> Chip:
        return Chip(
            image=image,
            grid=grid,
            bands=bands,
            format=self.format,
            visualization=self._visualization(bands),
            sources=(f"{self.dataset_id}/{unit['image']}",) if "image" in unit else (),
            dates=(unit["date"],) if "date" in unit else (),
        )

    def _image(self, kind: Kind, bands: tuple[str, ...], unit: Unit, grid: Grid) -> Template:
        if kind == "image":
            return Template(_stored, (self.dataset_id,))
        fixed = (_Images(self.dataset_id, kind, self.start, self.end, bands),)
        if self.grid_mode == "thumb":
            return Template(_shown, fixed, {"corners": list(grid.bounds)})
        # The greater side, where half the diagonal is the least: a projection stretches some distances.
        reach = nominal_scale(grid) * max(grid.width, grid.height)
        values = {"coordinates": unit["coordinates"], "reach": reach}
        if "image" in unit:
            return Template(_shown_above, fixed, {**values, "source": f"{self.dataset_id}/{unit['image']}"})
        return Template(_shown_around, fixed, values)

    def _places(
        self, about: facts.Facts, band: facts.Band, points: Sequence[tuple[float, float]]
    ) -> Iterator[dict[str, Any]]:
        """For each point, what its unit says of the grid."""
        if self.grid_mode == "thumb":
            width, _ = self.dimensions
            scale = self.scale or (self.known.scale if self.known else facts.scale(band))
            for grid in grids.around(points, (width / 2 - 1) * scale, self.dimensions):
                yield {"grid": grid.to_json()}
        elif about.kind == "image":
            for point in points:
                yield {"grid": grids.snap(band.grid, point, self.dimensions, self.scale).to_json()}
        else:
            _log.info("Asking which image is under each of %s points", f"{len(points):,}")
            collection = facts.images(about.id, about.kind, self.start, self.end)
            found = grids.sources(collection, band.name, points)
            for point, source in zip(points, found, strict=True):
                if source is None:
                    scale = self.scale or facts.scale(band)
                    grid = grids.snap(grids.utm_grid(point, scale), point, self.dimensions)
                    yield {"grid": grid.to_json()}
                    continue
                grid = grids.snap(source.grid, point, self.dimensions, self.scale)
                yield {"grid": grid.to_json(), "image": source.index, **_date(source.time)}

    def _default_bands(self, about: facts.Facts) -> tuple[facts.Band, ...]:
        """The bands to take, all known to the server, and fit for the format."""
        if self.bands:
            bands = about.select(self.bands)
        elif self.known:
            bands = about.select(self.known.bands)
        else:
            bands = about.bands
        names = ", ".join(band.name for band in bands)
        if self.is_picture and len(bands) not in (1, 3):
            raise UsageError(f"{self.format} takes 1 or 3 bands: choose them with --bands from {names}")
        if self.is_picture and not self._visualization([b.name for b in bands]):
            wide = sorted({band.dtype for band in bands} - {"uint8"})
            if wide:
                raise UsageError(
                    f"the values of {names} are {wide[0]} and {self.format} holds 8 bits: say with --min and --max"
                    " which values become black and white, or take --format tif"
                )
        return bands

    def _visualization(self, bands: Sequence[str]) -> dict[str, Any]:
        """What getThumbURL is told about colours; nothing for data."""
        if not self.is_picture:
            return {}
        options = dict(self.known.visualization) if self.known else {}
        if len(bands) != 1 or (self.known and tuple(bands) != self.known.bands):
            options.pop("palette", None)
        given = {"min": self.minimum, "max": self.maximum, "palette": list(self.palette) if self.palette else None}
        options.update({name: value for name, value in given.items() if value is not None})
        return options

    def _name_field(self) -> str:
        return "ECO_NAME" if self.ecoregions == samplers.ECOREGIONS else self.ecoregion_field


def _stored(dataset: str) -> ee.Image:
    image: ee.Image = ee.Image(dataset)
    return image


@dataclass(frozen=True, slots=True)
class _Images:
    """The images of a dataset that chips show, the same for all of them: what is fixed in their templates."""

    dataset: str
    kind: Kind
    start: str | None
    end: str | None
    bands: tuple[str, ...]

    def mosaic(self, box: ee.Geometry, *below: ee.Image) -> ee.Image:
        """What lies over a box, the latest image on top; under all, other images with the same bands."""
        found = facts.images(self.dataset, self.kind, self.start, self.end).filterBounds(box)
        found = found.sort("system:time_start")
        if below:
            found = ee.ImageCollection(list(below)).merge(found)
        return self.select(found.mosaic())

    def select(self, image: ee.Image) -> ee.Image:
        """The bands of an image, in order."""
        selected: ee.Image = image.select(list(self.bands))
        return selected

    def nothing(self) -> ee.Image:
        """An image with the bands and no valid pixel.

        Where there is no image a mosaic has no bands, and asking for them would be an error. Below the images, this
        makes such a chip empty instead.
        """
        none: ee.Image = ee.Image.constant([0] * len(self.bands)).rename(list(self.bands)).updateMask(0)
        return none


def _shown(images: _Images, corners: Sequence[float]) -> ee.Image:
    """What lies over a rectangle of degrees."""
    return images.mosaic(ee.Geometry.Rectangle(list(corners), None, False), images.nothing())


def _shown_around(images: _Images, coordinates: Sequence[float], reach: float) -> ee.Image:
    """What lies around a point."""
    return images.mosaic(_around(coordinates, reach), images.nothing())


def _shown_above(images: _Images, coordinates: Sequence[float], reach: float, source: str) -> ee.Image:
    """What lies around a point; above all, the image whose grid the chip has.

    So a chip on a native grid shows one acquisition wherever that has pixels, untouched, and other images,
    resampled, only beyond its edge.
    """
    below = images.mosaic(_around(coordinates, reach))
    image: ee.Image = ee.ImageCollection([below, images.select(ee.Image(source))]).mosaic()
    return image


def _around(coordinates: Sequence[float], reach: float) -> ee.Geometry:
    box: ee.Geometry = ee.Geometry.Point(list(coordinates)).buffer(reach).bounds()
    return box


_OPTIONS = field_names(ChipSample)


def sample_recipe(options: Mapping[str, Any]) -> tuple[ChipSample, RunConfig]:
    """The recipe and the run's config for the options of ``sample``.

    Raises:
        UsageError: if an option is unknown, out of range, or contradicts another.
    """
    recipe, config = split(ChipSample, _OPTIONS, options, lambda recipe: f"sample-{slug(recipe.dataset)}")
    if recipe.format == "jpg" and config.on_empty != "keep":
        raise UsageError(
            f"--on-empty {config.on_empty} needs png, tif or npy: jpg has no mask, and nothing tells an empty chip"
            " from a black one"
        )
    return recipe, config


@overload
def sample(dataset: str, *, out: str | Path | None = None, dry_run: Literal[True], **options: Any) -> Estimate: ...
@overload
def sample(dataset: str, *, out: str | Path | None = None, dry_run: Literal[False] = False, **options: Any) -> Run: ...
@takes(ChipSample, RunConfig)
def sample(dataset: str, *, out: str | Path | None = None, dry_run: bool = False, **options: Any) -> Run | Estimate:
    """Takes image chips at random points of every ecoregion that meets a region.

    Args:
        dataset: alias ("NAIP") or Earth Engine id.
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


def _check(recipe: ChipSample) -> None:
    """Refuses options that are out of range or contradict each other, as far as that needs no request."""
    check_dataset(recipe.dataset)
    if recipe.per_ecoregion < 1:
        raise UsageError(f"--per-ecoregion must be at least 1, not {recipe.per_ecoregion}")
    if recipe.limit is not None and recipe.limit < 1:
        raise UsageError(f"--limit must be at least 1, not {recipe.limit}")
    if recipe.format not in CHIP_FORMATS:
        raise UsageError(f"unknown format {recipe.format!r}: one of {', '.join(CHIP_FORMATS)}")
    if recipe.grid not in (None, "native", "thumb"):
        raise UsageError(f"unknown grid {recipe.grid!r}: native or thumb")
    check_positive("--scale", recipe.scale)
    check_dates(recipe.start, recipe.end)
    width, height = recipe.dimensions
    least = _LEAST_THUMB if recipe.grid_mode == "thumb" else 1
    if not (least <= width <= _MOST_PIXELS and least <= height <= _MOST_PIXELS):
        raise UsageError(f"--size must be {least} to {_MOST_PIXELS:,} pixels, not {width}x{height}")
    if recipe.grid_mode == "thumb" and width != height:
        raise UsageError(f"--grid thumb makes squares, not {width}x{height}: take --grid native")
    if recipe.bands is not None and (not recipe.bands or not all(recipe.bands)):
        raise UsageError("--bands must name at least one band: A,B,C")
    if recipe.is_picture and recipe.bands and len(recipe.bands) not in (1, 3):
        raise UsageError(f"{recipe.format} takes 1 or 3 bands, not {len(recipe.bands)}: tif and npy take any")
    low, high = recipe.minimum, recipe.maximum
    if low is not None and high is not None and low >= high:
        raise UsageError(f"--min ({low:g}) must be below --max ({high:g})")
    if not recipe.is_picture and (low is not None or high is not None or recipe.palette):
        raise UsageError(f"--min, --max and --palette make pictures (png, jpg); {recipe.format} holds the values")


def _source(about: facts.Facts, bands: Sequence[facts.Band]) -> dict[str, Any]:
    """What a worker must know of a dataset that has no record."""
    return {"kind": about.kind, "bands": [band.name for band in bands]}


def _point(unit: Unit) -> tuple[float, float]:
    """Longitude and latitude of a unit."""
    longitude, latitude = unit["coordinates"]
    return longitude, latitude


def _date(time: int | None) -> dict[str, str]:
    """An acquisition's date and time, ISO 8601, if known."""
    if time is None:
        return {}
    moment = dt.datetime.fromtimestamp(time / 1000, tz=dt.timezone.utc)
    return {"date": moment.isoformat().replace("+00:00", "Z")}
