"""Fetch every image of a collection that meets a region, one file each or joined by day or orbit (``mosaic_by``), as
``eechips images`` does.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ee

from eechips.builtin_recipes.extended_plans import add_images
from eechips.builtin_recipes.place_files import run_with_places
from eechips.builtin_recipes.rasters.imagery import ImageSelection, ImageTreatment, ResolvedImagery, resolve_imagery
from eechips.builtin_recipes.rasters.imagery_options import ImagesOptions
from eechips.builtin_recipes.rasters.imagery_recipe import ImageryRecipe, scene_fields
from eechips.builtin_recipes.recipe_options import dataset_function
from eechips.errors import UsageError
from eechips.geo.grid import Grid
from eechips.planning.areas.region_images import RegionScenes, place_scenes
from eechips.planning.areas.region_overlaps import Overlap
from eechips.planning.imagery import inventory
from eechips.planning.imagery.inventory import PASS_KINDS, PASS_PROPERTIES, Scene, group_passes
from eechips.recipe import AddedUnits, Chip, EarlierPlan, Unit
from eechips.recipe.results import Template
from eechips.text.formatting import format_count

if TYPE_CHECKING:
    from eechips.engine.costs.cost_descriptions import Estimate
    from eechips.manifest.run import Run

_log = logging.getLogger(__name__)


class Images(ImageryRecipe[ImagesOptions]):
    """The recipe of ``eechips images``.

    Each image of the collection that meets the region becomes one file: the image's part of the region, by default on
    the image's own pixel grid. Bands of other scales are resampled to the first band's grid (nearest neighbour, as by
    Earth Engine). With ``regions`` each region has files of its own, all on the pixel grid of most of its images. With
    ``mosaic_by`` images of the same pass are one file.

    Args:
        options: see :class:`eechips.builtin_recipes.rasters.imagery_options.ImagesOptions`.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region cannot be used.
    """

    name = "images"
    options_class = ImagesOptions

    def __init__(self, **options: Any) -> None:
        chosen = ImagesOptions(**options)
        limit, by = chosen.limit, chosen.mosaic_by
        if limit is not None and limit < 1:
            raise UsageError(f"`limit` must be at least 1, not {limit}")
        imagery = resolve_imagery(chosen)
        if by is not None and by not in PASS_KINDS:
            raise UsageError(f"`mosaic_by` is {' or '.join(PASS_KINDS)}, not {by!r}")
        results = {} if by is None else {"mosaic_by": by}
        super().__init__(chosen, imagery, results, {"limit": limit}, "{date}_{image}")

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
        imagery = self._shown({})
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
                **({} if len(shown) == 1 else scene_fields(shown)),
            }
        if count == 0:
            raise imagery.none_found()
        noun = "image" if self.options.mosaic_by is None else "pass"
        _log.info("%s of %s", format_count(count, noun), imagery.source.dataset_id)

    def _grow(self, earlier: EarlierPlan) -> AddedUnits:
        is_placed = self.imagery.regions is not None or self.options.mosaic_by is not None
        return add_images(earlier.units, self.get_requests(), is_placed=is_placed)

    def find_end(self, until: dt.date, units: Iterable[Unit]) -> dt.date | None:
        """Return the day itself: images that reach the archive late are found by the next extension."""
        return until

    def _windows(self, selection: ImageSelection) -> Iterator[tuple[dict[str, Any], Sequence[Scene], Grid]]:
        """Yield the fields of a unit about its region, if there are several, its images, and its pixel grid."""
        imagery, limit, by = self.imagery, self.options.limit, self.options.mosaic_by
        dataset = imagery.source.dataset_id
        if by is not None or imagery.regions is not None:
            for region_scenes in self._places(selection):
                region, all_scenes = imagery.region_fields(region_scenes.region), region_scenes.scenes
                files = [[scene] for scene in all_scenes] if by is None else group_passes(all_scenes, by, dataset)
                for shown in files[:limit]:
                    is_native = all(map(region_scenes.is_native, shown))
                    yield {**region, **({} if is_native else {"is_resampled": True})}, shown, region_scenes.grid
            return
        scenes = inventory.list_scenes(selection.query.over(selection.region))
        overlap = Overlap(selection.polygon, imagery.alignment.resolved())
        windows = ((scene, overlap.window(scene.grid, is_bounded=scene.is_bounded)) for scene in scenes)
        for scene, grid in islice(((scene, grid) for scene, grid in windows if grid is not None), limit):
            yield {}, (scene,), grid

    def _places(self, selection: ImageSelection) -> Iterator[RegionScenes]:
        """Yield the images of each region on one pixel grid; to join them, with what tells their passes."""
        imagery, query = self.imagery, selection.query
        if self.options.mosaic_by is not None:
            query = replace(query, properties=PASS_PROPERTIES)
        if imagery.regions is not None:
            yield from imagery.find_regions(query)
            return
        scenes = inventory.list_scenes(query.over(selection.region))
        placed = place_scenes("", selection.polygon, scenes, imagery.alignment.resolved())
        if placed is not None:
            yield placed

    def get_result(self, index: int, unit: Unit) -> Chip | dict[str, Chip]:
        """Describe the window of an image: one request by computePixels, two by URL.

        The image is loaded by its id, which does not search the collection, and fails with the image's name if it was
        removed meanwhile, while ``filter(system:index == id).first()`` returns null. Images of computed collections
        have no id, so they are found by their index.
        """
        imagery, dataset = self._shown(unit), self.imagery.source.dataset_id
        treatment = imagery.treatment(unit)
        names, moments = unit.get("sources", [unit["image"]]), unit.get("times", [unit.get("time")])
        source, *others = sources = tuple(f"{dataset}/{name}" for name in names)
        if others:
            fixed = treatment, dataset if unit.get("is_computed") else None
            shown = names if unit.get("is_computed") else sources
            image = Template(
                _joined, fixed, {f"image_{number}": entry for number, entry in enumerate(shown)}, passes_values=True
            )
        elif unit.get("is_computed"):
            image = Template(_found, (treatment, dataset), {"image": unit["image"]}, passes_values=True)
        else:
            image = Template(_stored, (treatment,), {"source": source}, passes_values=True)
        dates = [moment for moment in moments if moment is not None]
        asset = source if _is_stored(imagery, unit, treatment) else None
        return self._described(unit, image, treatment.bands, treatment.dtype, names, dates, asset)


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
    stored_image: ee.Image = ee.Image(ee.ImageCollection(dataset).filter(ee.Filter.eq("system:index", image)).first())
    return stored_image


def _joined(treatment: ImageTreatment, dataset: str | None, **images: str) -> ee.Image:
    """Return the mosaic of images, the last on top.

    Args:
        dataset: the collection in which images without an id are found by their index; None for images by id.
        **images: ids or indices.
    """
    stored_images = [ee.Image(image) if dataset is None else _find(dataset, image) for image in images.values()]
    return treatment.finish(ee.ImageCollection([treatment.select(image) for image in stored_images]).mosaic())


@dataset_function(ImagesOptions)
def images(dataset: str, *, out: str | Path | None = None, dry_run: bool = False, **options: Any) -> Run | Estimate:
    """Fetch every image of a collection that meets a region, one file each.

    Args:
        dataset: alias ("S2") or Earth Engine id of a collection.
        out: folder of the results; None for ``outputs/images-<dataset>``.
        dry_run: plan and estimate only; send no request for pixels.
        options: fields of ``ImagesOptions`` and ``RunConfig``.

    Returns:
        The finished run; its failures, if any, are in ``failures``. With ``estimate``, the run may be
        ``paused`` after the units of the estimate. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        ConfigurationError: if credentials, project or endpoint are wrong.

    Example:
        >>> run = eechips.images("S2", roi="-105.3,39.9,-105.2,40.0", start="2020-06-01", end="2020-08-01",
        ...                      where="CLOUDY_PIXEL_PERCENTAGE < 20", mask="auto", local=True)
        >>> run.units[["file", "dates", "valid_fraction"]]
    """
    return run_with_places(Images, dataset=dataset, out=out, dry_run=dry_run, **options)
