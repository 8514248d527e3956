"""Check the options of ``eechips sample`` without requests: exactly one strategy, limits of ``size``, options that
exclude or need each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eechips.builtin_recipes.recipe_options import check_bands, check_dates, check_values, divide_count, divide_map
from eechips.errors import UsageError
from eechips.planning.imagery.map_bands import parse_map
from eechips.planning.imagery.periods import parse_window
from eechips.storage import NameTemplate
from eechips.text.formatting import parse_distance
from eechips.text.suggestion import describe_choices

if TYPE_CHECKING:
    from eechips.builtin_recipes.render_style import RenderStyle
    from eechips.builtin_recipes.samples.sample_layers import SampleLayer
    from eechips.builtin_recipes.samples.sample_options import SampleOptions
    from eechips.planning.grid_alignment import GridAlignment
    from eechips.planning.place_tables import Places

STRATEGIES = ("per_ecoregion", "per_class", "total", "cells", "points", "regions")
"""Options that select the places; exactly one must be given."""

RANDOM = ("per_ecoregion", "per_class", "total")
"""Those that draw points."""

REGULAR = ("cells", "regions")
"""Those whose places have a distance of their own."""

# Further fields of units of a file of points.
_UNIT_FIELDS = ("id", "index", "kind", "image", "latest", "date", "label_date")

# The region of a thumb chip is two pixels smaller than the chip, and must not be empty.
_LEAST_THUMB = 4

# Earth Engine's limit for the sides of images from getThumbURL and getDownloadURL.
# https://developers.google.com/earth-engine/apidocs/ee-image-getdownloadurl
_MOST_PIXELS = 10_000


def check_options(options: SampleOptions) -> None:
    """Check options that need neither the datasets nor a file.

    Raises:
        UsageError: if one is out of range, or contradicts another.
        UnknownDatasetError: if a map is neither a short name nor an asset id.
    """
    _check_strategy(options)
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"`limit` must be at least 1, not {options.limit}")
    check_dates(options.start, options.end)
    check_values(options.values, ("stored", "scaled", "quantized"))
    if options.values == "quantized" and options.reducer not in (None, "mosaic"):
        raise UsageError(f"values='quantized' excludes every='{options.every}': quantized values cannot be averaged")


def check_name_fields(template: NameTemplate, places: Places) -> None:
    """Raise UsageError, with the columns, if a field of a name template is no column of the file of points."""
    columns = [str(name) for name in places.table.column_names]
    for name in sorted(template.fields - {*columns, *_UNIT_FIELDS}):
        raise UsageError(
            f"name='{template.text}': {places.path} has no column {name!r}; {describe_choices(name, columns)}"
        )


def check_grid(alignment: GridAlignment, mode: str, dimensions: tuple[int, int]) -> None:
    """Raise UsageError if grid and size of chips contradict each other, or the size is out of range.

    Args:
        mode: ``native`` or ``thumb``; the user's, or the default.
        dimensions: width and height in pixels.
    """
    if mode == "thumb" and not alignment.is_native:
        raise UsageError("grid='thumb' takes bounds in degrees: with `crs`, use grid='native'")
    width, height = dimensions
    least = _LEAST_THUMB if mode == "thumb" else 1
    if not (least <= width <= _MOST_PIXELS and least <= height <= _MOST_PIXELS):
        raise UsageError(f"`size` must be {least} to {_MOST_PIXELS:,} pixels, not {width}x{height}")
    if mode == "thumb" and width != height:
        raise UsageError(f"grid='thumb' makes squares, not {width}x{height}: use grid='native'")


def check_layers(layers: Sequence[SampleLayer], style: RenderStyle) -> None:
    """Raise UsageError if the format cannot hold the bands of a dataset, or colours contradict each other."""
    for layer in layers:
        check_bands(layer.bands)
        style.check_chosen(layer.chosen_names)
    style.check()
    if len(layers) > 1 and style.is_set:
        raise UsageError("`stretch` is for one dataset: with several, each has its usual colours")


def _check_count(strategy: str, value: str | int) -> None:
    """Check the number of places at random, and what it is a number of."""
    count, of = divide_count(_option(strategy), value)
    if strategy == "per_ecoregion" and of is not None:
        _check_table(count, of)
    if strategy == "per_class" and of is None:
        raise UsageError("`per_class` needs the map of classes, as in 100:ESA/WorldCover/v200:Map")
    if strategy == "per_class" and of is not None:
        parse_map("`per_class`", divide_map(of)[0])
    if count < 1:
        raise UsageError(f"{_option(strategy)} must be at least 1, not {count}")


def _check_strategy(options: SampleOptions) -> None:
    chosen = [name for name in STRATEGIES if getattr(options, name) is not None]
    if len(chosen) != 1:
        every = ", ".join(map(_option, STRATEGIES[:-1])) + f" or {_option(STRATEGIES[-1])}"
        listing = f", not {' and '.join(map(_option, chosen))}" if chosen else ""
        raise UsageError(f"give exactly one of {every}{listing}")
    (strategy,) = chosen
    if strategy in RANDOM:
        _check_count(strategy, getattr(options, strategy))
    for name, is_given in (("margin", options.margin is not None), ("clip", options.clip)):
        if is_given and strategy != "regions":
            raise UsageError(f"{_option(name)} belongs to `regions`, not to {_option(strategy)}")
    if strategy == "regions" and (options.size is not None or options.grid == "thumb"):
        raise UsageError("chips of `regions` show their extents: leave `size` and grid='thumb' out")
    if options.columns and strategy not in ("points", "cells", "regions"):
        raise UsageError(f"`columns` belongs to `points`, `cells` and `regions`, not to {_option(strategy)}")
    if (options.date is None) != (options.window is None):
        raise UsageError(
            "`columns` date=NAME and `near` belong together: the date, and the time within which an image must be, as"
            " in 30d"
        )
    if options.window is not None:
        parse_window(options.window)
    if options.away_from is not None and options.min_distance in (None, "chip"):
        raise UsageError("`away_from` needs the distance to its places: `min_distance`, as in 500m")
    if strategy in REGULAR and options.min_distance is not None and options.away_from is None:
        raise UsageError(
            f"`min_distance` is for points at random or of a file: {_option(strategy)} says how far apart they are"
        )
    if options.min_distance not in (None, "chip"):
        parse_distance("`min_distance`", options.min_distance)
    if options.mask_image is not None:
        parse_map("`mask_image`", options.mask_image)


def _check_table(count: int, text: str) -> None:
    """Check that the text after the number names no file: the service reads its own tables only."""
    table = text.partition(":")[0]
    if Path(table).is_file():
        raise UsageError(
            f"`per_ecoregion` {count}:{text}: {table} is a file, and only tables on the server have strata. Upload it"
            " as an asset (for `local` with a folder: `eechips assets ingest`) and give its id; or draw points in"
            f" all its polygons together, with `total` {count} and `roi` {table}"
        )


def _option(name: str) -> str:
    return f"`{name}`"
