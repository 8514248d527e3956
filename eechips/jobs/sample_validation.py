"""Options of ``eechips sample`` that are out of range or contradict each other, as far as that needs no request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eechips.errors import RegionError, UsageError
from eechips.formats import CHIP_FORMATS
from eechips.jobs.recipe_options import check_bands, check_dates, check_format, check_positive
from eechips.planning.date_matching import parse_window
from eechips.planning.maps import parse_map
from eechips.planning.min_distance import parse_distance
from eechips.planning.regions import describe_choices
from eechips.storage import NameTemplate

if TYPE_CHECKING:
    from eechips.jobs.chips import ChipSample
    from eechips.planning.places import Places

STRATEGIES = ("per_ecoregion", "per_class", "total", "spacing", "points")
"""Options of which exactly one says how places are chosen."""

# Options that mean something with one strategy only.
_BELONGS = {
    "class_image": "per_class",
    "classes": "per_class",
    "lon_field": "points",
    "lat_field": "points",
    "date_field": "points",
    "window": "points",
}

# What units of points have beside the columns of the file.
_UNIT_FIELDS = ("id", "index", "kind", "image", "latest", "date", "label_date")

# Below this a thumb chip's region, which is two pixels smaller than its size, would be empty or nearly so.
_LEAST_THUMB = 4

# Earth Engine's limit for the sides of what getThumbURL and getDownloadURL return.
# https://developers.google.com/earth-engine/apidocs/ee-image-getdownloadurl
_MOST_PIXELS = 10_000


def check(recipe: ChipSample) -> None:
    """Refuses options that are out of range or contradict each other.

    Raises:
        UsageError: saying which.
        UnknownDatasetError: if a map is neither an alias nor looks like an id.
    """
    _check_strategy(recipe)
    if recipe.limit is not None and recipe.limit < 1:
        raise UsageError(f"--limit must be at least 1, not {recipe.limit}")
    check_format(recipe.style.format, CHIP_FORMATS.names)
    check_positive("--scale", recipe.scale)
    check_dates(recipe.start, recipe.end)
    _check_grid(recipe)
    _check_bands(recipe)


def parse_classes(classes: Sequence[int] | str) -> tuple[int, ...]:
    """The classes of ``10,40,50``.

    Raises:
        UsageError: if they are not whole numbers, or one comes twice.
    """
    try:
        found = tuple(int(part) for part in (classes.split(",") if isinstance(classes, str) else classes))
    except ValueError:
        raise UsageError(f"--classes {classes} are not whole numbers such as 10,40,50") from None
    if not found or len(set(found)) < len(found):
        raise UsageError("--classes must name at least one class, and none twice")
    return found


def check_places(recipe: ChipSample) -> None:
    """Refuses a file of points in which something is missing.

    Raises:
        RegionError: naming the row or the column.
    """
    places = recipe.places
    assert places is not None
    if places.kind != "points":
        raise RegionError(f"{places.path} holds polygons: a chip is taken at a point")
    without = sorted(set(range(len(places))) - set(places.known.tolist()))
    if without:
        more = f" and {len(without) - 1:,} more" if len(without) > 1 else ""
        raise RegionError(f"{places.path}: row {without[0] + 1:,}{more}: no coordinates, so no chip can be taken")
    if recipe.date_field is not None:
        moments = places.moments(recipe.date_field)
        missing = [number for number, moment in enumerate(moments.tolist(), start=1) if moment != moment]
        if missing:
            raise RegionError(f"{places.path}: row {missing[0]:,}: no date in {recipe.date_field!r}")


def check_name_fields(template: NameTemplate, places: Places) -> None:
    """Refuse a template of names that asks for a column which the file of points has not.

    Raises:
        UsageError: with the columns that there are.
    """
    columns = [str(name) for name in places.table.column_names]
    for name in sorted(template.fields - {*columns, *_UNIT_FIELDS}):
        raise UsageError(
            f"--name '{template.text}': {places.path} has no column {name!r}; {describe_choices(name, columns)}"
        )


def _check_strategy(recipe: ChipSample) -> None:
    given = [name for name in STRATEGIES if getattr(recipe, name) is not None]
    if len(given) != 1:
        every = ", ".join(map(_option, STRATEGIES[:-1])) + f" or {_option(STRATEGIES[-1])}"
        found = f": {' and '.join(map(_option, given))} are given" if given else ""
        raise UsageError(f"give exactly one of {every}{found}")
    (strategy,) = given
    for name in ("per_ecoregion", "per_class", "total"):
        value = getattr(recipe, name)
        if value is not None and value < 1:
            raise UsageError(f"{_option(name)} must be at least 1, not {value}")
    for name, belongs in _BELONGS.items():
        if getattr(recipe, name) is not None and strategy != belongs:
            raise UsageError(f"{_option(name)} belongs to {_option(belongs)}, not to {_option(strategy)}")
    if strategy == "per_class" and recipe.class_image is None:
        raise UsageError("--per-class needs the map of classes: --class-image ID:BAND, as ESA/WorldCover/v200:Map")
    if (recipe.date_field is None) != (recipe.window is None):
        raise UsageError("--date-field and --window belong together: the date, and how far from it an image may be")
    if recipe.window is not None:
        parse_window(recipe.window)
    if recipe.spacing is not None:
        parse_distance("--spacing", recipe.spacing)
        if recipe.min_distance is not None:
            raise UsageError(
                "--min-distance is for points at random or of a file: --spacing says how far apart they are"
            )
    if recipe.min_distance not in (None, "chip"):
        parse_distance("--min-distance", recipe.min_distance)
    for option, text in (("--class-image", recipe.class_image), ("--mask-image", recipe.mask_image)):
        if text is not None:
            parse_map(option, text)


def _check_grid(recipe: ChipSample) -> None:
    if recipe.grid not in (None, "native", "thumb"):
        hint = (
            f"; for a place every {recipe.grid}, take --spacing {recipe.grid}" if str(recipe.grid)[:1].isdigit() else ""
        )
        raise UsageError(f"unknown grid {recipe.grid!r}: native or thumb{hint}")
    if recipe.grid == "thumb" and not recipe.placement.is_native:
        given = "--align" if recipe.align is not None else "--crs"
        raise UsageError(f"--grid thumb takes bounds in degrees: with {given}, take --grid native")
    width, height = recipe.dimensions
    least = _LEAST_THUMB if recipe.grid_mode == "thumb" else 1
    if not (least <= width <= _MOST_PIXELS and least <= height <= _MOST_PIXELS):
        raise UsageError(f"--size must be {least} to {_MOST_PIXELS:,} pixels, not {width}x{height}")
    if recipe.grid_mode == "thumb" and width != height:
        raise UsageError(f"--grid thumb makes squares, not {width}x{height}: take --grid native")


def _check_bands(recipe: ChipSample) -> None:
    for layer in recipe.layers:
        check_bands(layer.chosen)
        recipe.style.check_chosen(layer.chosen)
    recipe.style.check()
    if len(recipe.layers) > 1 and recipe.style.is_set:
        raise UsageError("--min, --max and --palette are for one dataset: with several, each has its usual colours")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
