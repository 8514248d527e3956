"""Fetch every image of a collection that meets a region, one file each, as ``eechips images`` does."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

import ee

from eechips.engine.config import LedgerOptions, RunConfig
from eechips.engine.costs import Estimate
from eechips.errors import UsageError
from eechips.geo.grid import Grid
from eechips.jobs.added_layers import as_layer, complete_images, continue_imagery, pixels_of, shown_imagery
from eechips.jobs.grown_plans import GROWING, add_images, check_growth
from eechips.jobs.imagery import ImageSelection, ImageTreatment, ResolvedImagery, check_on_empty, resolve_imagery
from eechips.jobs.imagery_options import ImagesOptions
from eechips.jobs.recipe_options import option_names, run_recipe, split_options, takes
from eechips.manifest.run import Run
from eechips.option_fields import chosen_options
from eechips.planning import inventory
from eechips.planning.inventory import PASS_KINDS, PASS_PROPERTIES, Scene, group_passes
from eechips.planning.region_images import RegionScenes, place_scenes
from eechips.planning.region_overlaps import Overlap
from eechips.recipe import AddedUnits, Chip, EarlierPlan, Unit, recipe_identity
from eechips.recipe.template import Template
from eechips.text.formatting import format_count

_log = logging.getLogger(__name__)


class Images:
    """The recipe of ``eechips images``.

    Each image of the collection that meets the region becomes one file: the image's part of the region, by default on
    the image's own pixel grid. Bands of other scales are resampled to the first band's grid (nearest neighbour, as by
    Earth Engine). With ``regions`` each region has files of its own, all on the pixel grid of most of its images. With
    ``mosaic_by`` images of the same pass are one file.

    Args:
        options: see :class:`eechips.jobs.imagery_options.ImagesOptions`.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region cannot be used.
    """

    name = "images"
    is_builtin = True
    growing: frozenset[str] = GROWING

    def __init__(self, **options: Any) -> None:
        self.options = ImagesOptions(**options)
        limit = self.options.limit
        if limit is not None and limit < 1:
            raise UsageError(f"`limit` must be at least 1, not {limit}")
        self.imagery = resolve_imagery(self.options)
        by = self.options.mosaic_by
        if by is not None and by not in PASS_KINDS:
            raise UsageError(f"`mosaic_by` is {' or '.join(PASS_KINDS)}, not {by!r}")
        results = self.imagery.results | ({} if by is None else {"mosaic_by": by})
        self.identity = recipe_identity(self.name, results)
        self.parameters: Mapping[str, Any] = {**results, **self.imagery.parameters, "limit": limit}
        self.name_template = f"images/{self.imagery.folder}{{date}}_{{image}}"
        self.datasets = self.imagery.datasets
        self.is_picture = self.imagery.style.is_picture
        self.export_obstacle = self.imagery.style.export_obstacle
        self._dtypes: dict[str, str | None] = {}  # of bands that were surveyed, by the name of added ones

    @property
    def call(self) -> tuple[str, Mapping[str, Any]]:
        """The command and its options; see :class:`eechips.recipe.SupportsCall`."""
        return self.name, chosen_options(self.options)

    def get_requests(self) -> Iterator[Unit]:
        """Plan the images: a few requests, and one for each thousand images.

        Yields:
            ``{"kind": "image", "image": system:index, "date": YYYY-MM-DD, "time": ISO 8601, "grid": …}``; with
            ``"bands"`` for a dataset without a record if the user names no bands, ``"dtype"`` for a GeoTIFF with bands
            of several types, and ``"is_computed"`` for an image without an id; with ``regions`` ``"region"``, its id,
            ``"outline"``, its hash, with ``clip``, and ``"is_resampled"`` for an image with other pixels than most of
            the region's; with several images of a pass ``"images"``, how many, ``"sources"``, their ``system:index``,
            and ``"times"``: ``"image"`` is the earliest.

        Raises:
            UnknownDatasetError: if the dataset or a band does not exist.
            RegionError: if the region does not exist, or is outside the area of the CRS.
            UsageError: if there is no image.
        """
        imagery = shown_imagery(self.imagery, {})
        selection = imagery.select_images()
        extra = self._band_fields(imagery, selection)
        count = 0
        for place, shown, grid in self._windows(selection):
            count += 1
            scene = shown[0]
            computed = {} if scene.is_stored else {"is_computed": True}
            yield {
                "kind": "image",
                **place,
                "image": scene.index,
                "date": "undated" if scene.day is None else scene.day.isoformat(),
                **({} if scene.moment is None else {"time": scene.moment}),
                "grid": grid.to_json(),
                **extra,
                **computed,
                **({} if len(shown) == 1 else _several(shown)),
            }
        if count == 0:
            raise imagery.none_found()
        noun = "image" if self.options.mosaic_by is None else "pass"
        _log.info("%s of %s", format_count(count, noun), imagery.source.dataset_id)

    def extend_plan(self, earlier: EarlierPlan) -> AddedUnits:
        """Return the units of further images; see :class:`eechips.recipe.SupportsExtension`.

        Raises:
            UsageError: if dates or regions are left out, or the outline of a region has changed.
        """
        imagery = self.imagery
        check_growth(earlier, self.options.start, self.options.end, imagery.regions)
        is_placed = imagery.regions is not None or self.options.mosaic_by is not None
        growth = add_images(earlier.units, self.get_requests(), is_placed=is_placed)
        return complete_images(
            earlier,
            growth,
            imagery,
            self.identity,
            lambda own, name: self._band_fields(own, own.select_images(), name),
        )

    def find_end(self, until: dt.date, units: Iterable[Unit]) -> dt.date | None:
        """Return the day itself: images that reach the archive late are found by the next extension."""
        return until

    def continuing_from(self, first: Mapping[str, Any], latest: Mapping[str, Any]) -> Images:
        """Return the recipe that knows the bands of the first units; see :class:`eechips.recipe.SupportsExtension`.

        Units name their images, and later ones their bands.
        """
        return continue_imagery(self, latest)

    def _windows(self, selection: ImageSelection) -> Iterator[tuple[dict[str, Any], Sequence[Scene], Grid]]:
        """Yield the fields of a unit about its region, if there are several, its images, and its pixel grid."""
        imagery, limit = self.imagery, self.options.limit
        if self.options.mosaic_by is not None:
            for region_scenes in self._places(selection):
                region = imagery.region_fields(region_scenes.region)
                for joined in group_passes(region_scenes.scenes, self.options.mosaic_by, imagery.source.dataset_id)[
                    :limit
                ]:
                    is_native = all(map(region_scenes.is_native, joined.scenes))
                    yield {**region, **({} if is_native else {"is_resampled": True})}, joined.scenes, region_scenes.grid
            return
        if imagery.regions is not None:
            for region_scenes in imagery.find_regions(selection):
                for scene in region_scenes.scenes[:limit]:
                    resampled = {} if region_scenes.is_native(scene) else {"is_resampled": True}
                    yield {**imagery.region_fields(region_scenes.region), **resampled}, (scene,), region_scenes.grid
            return
        there = selection.collection.filterBounds(selection.region)
        scenes = inventory.list_scenes(there, imagery.source.dataset_id, selection.grid_band)
        overlap = Overlap(selection.polygon, imagery.alignment.resolved())
        windows = ((scene, overlap.window(scene.grid, is_bounded=scene.is_bounded)) for scene in scenes)
        for scene, grid in islice(((scene, grid) for scene, grid in windows if grid is not None), limit):
            yield {}, (scene,), grid

    def _places(self, selection: ImageSelection) -> Iterator[RegionScenes]:
        """Yield the images of each region on one pixel grid, with the properties that tell their passes."""
        imagery = self.imagery
        if imagery.regions is not None:
            yield from imagery.find_regions(selection, PASS_PROPERTIES)
            return
        there = selection.collection.filterBounds(selection.region)
        scenes = inventory.list_scenes(there, imagery.source.dataset_id, selection.grid_band, PASS_PROPERTIES)
        placed = place_scenes("", selection.polygon, scenes, imagery.alignment.resolved())
        if placed is not None:
            yield placed

    def request_window(self, unit: Unit) -> tuple[Hashable, Grid] | None:
        """Return the pixels of a unit: images on the same pixels are bands of one request.

        Pictures keep the bytes of the response.
        """
        if self.is_picture:
            return None
        return pixels_of(unit)

    def get_result(self, index: int, unit: Unit) -> Chip | dict[str, Chip]:
        """Describe the window of an image: one request by computePixels, two by URL.

        The image is loaded by its id, which does not search the collection, and fails with the image's name if it was
        removed meanwhile, while ``filter(system:index == id).first()`` returns null. Images of computed collections
        have no id, so they are found by their index.
        """
        imagery, dataset = shown_imagery(self.imagery, unit), self.imagery.source.dataset_id
        treatment = imagery.treatment(unit)
        names, moments = unit.get("sources", [unit["image"]]), unit.get("times", [unit.get("time")])
        source, *others = sources = tuple(f"{dataset}/{name}" for name in names)
        if others:
            fixed = treatment, dataset if unit.get("is_computed") else None
            shown = names if unit.get("is_computed") else sources
            image = Template(_joined, fixed, {f"image_{number}": entry for number, entry in enumerate(shown)})
        elif unit.get("is_computed"):
            image = Template(_found, (treatment, dataset), {"image": unit["image"]})
        else:
            image = Template(_stored, (treatment,), {"source": source})
        chip = Chip(
            image=image,
            grid=Grid.from_json(unit["grid"]),
            bands=treatment.bands,
            format=imagery.style.format,
            visualization=imagery.visualization(treatment.bands),
            dtype=treatment.dtype,
            sources=sources,
            dates=tuple(entry for entry in moments if entry is not None),
            asset=source if _is_stored(imagery, unit, treatment) else None,
        )
        return as_layer(chip, unit)

    def sized_result(self, index: int, unit: Unit) -> Chip | dict[str, Chip]:
        """Describe the file with the type of its bands; see :class:`eechips.recipe.SupportsSize`."""
        return self.imagery.sized(self.get_result(index, unit), self._dtypes)

    def _band_fields(self, imagery: ResolvedImagery, selection: ImageSelection, name: str = "") -> dict[str, Any]:
        """Return the part of a unit that depends on its bands, and note their type."""
        self._dtypes[name] = selection.stored_dtype
        return imagery.unit_fields(selection)


def _is_stored(imagery: ResolvedImagery, unit: Unit, treatment: ImageTreatment) -> bool:
    """Return whether the chip of a unit shows stored pixels of its image, unchanged."""
    is_moved = unit.get("is_computed") or unit.get("is_resampled") or "sources" in unit
    is_changed = is_moved or treatment.mask or treatment.dtype or treatment.area
    return imagery.source.has_stored_pixels and imagery.alignment.is_stored and not is_changed


def _stored(treatment: ImageTreatment, source: str) -> ee.Image:
    return treatment.finish(treatment.select(ee.Image(source)))


def _found(treatment: ImageTreatment, dataset: str, image: str) -> ee.Image:
    return treatment.finish(treatment.select(_find(dataset, image)))


def _find(dataset: str, image: str) -> ee.Image:
    """Return an image of a collection by its index."""
    there = ee.ImageCollection(dataset).filter(ee.Filter.eq("system:index", image))
    stored_image: ee.Image = ee.Image(there.first())
    return stored_image


def _joined(treatment: ImageTreatment, dataset: str | None, **images: str) -> ee.Image:
    """Return the mosaic of images, the last on top.

    Args:
        treatment: treatment of the images.
        dataset: the collection in which images without an id are found by their index; None for images by id.
        **images: ids or indices.
    """
    stored_images = [ee.Image(image) if dataset is None else _find(dataset, image) for image in images.values()]
    return treatment.finish(ee.ImageCollection([treatment.select(image) for image in stored_images]).mosaic())


def _several(scenes: Sequence[Scene]) -> dict[str, Any]:
    """Return the part of a unit that names the images of a pass."""
    return {
        "images": len(scenes),
        "sources": [scene.index for scene in scenes],
        "times": [scene.moment for scene in scenes],
    }


def images_recipe(options: Mapping[str, Any]) -> tuple[Images, RunConfig]:
    """Make the recipe and the config of the run for the options of ``images``.

    Raises:
        UsageError: if an option is unknown, out of range, or contradicts another.
    """
    recipe, config = split_options(Images, option_names(ImagesOptions), options)
    check_on_empty(recipe.name, recipe.imagery.style, config)
    return recipe, config


@overload
def images(dataset: str, *, out: str | Path | None = None, dry_run: Literal[True], **options: Any) -> Estimate: ...
@overload
def images(dataset: str, *, out: str | Path | None = None, dry_run: Literal[False] = False, **options: Any) -> Run: ...
@takes(ImagesOptions, RunConfig, LedgerOptions)
def images(dataset: str, *, out: str | Path | None = None, dry_run: bool = False, **options: Any) -> Run | Estimate:
    """Fetch every image of a collection that meets a region, one file each.

    Args:
        dataset: alias ("S2") or Earth Engine id of a collection.
        out: folder of the results; None for ``outputs/images-<dataset>``.
        dry_run: plan and estimate only; send no request for pixels.
        options: fields of ``ImagesOptions`` and ``RunConfig``.

    Returns:
        The finished run; its failures, if any, are in ``failures``. With ``estimate``, the run may be
        ``paused`` after its first units. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        ConfigurationError: if credentials, project or endpoint are wrong.

    Example:
        >>> run = eechips.images("S2", roi="-105.3,39.9,-105.2,40.0", start="2020-06-01", end="2020-08-01",
        ...                      where="CLOUDY_PIXEL_PERCENTAGE < 20", mask="auto", local=True)
        >>> run.units[["file", "dates", "valid_fraction"]]
    """
    return run_recipe(*images_recipe({"dataset": dataset, "out": out, "dry_run": dry_run, **options}))
