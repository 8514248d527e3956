"""Resolve the options of ``eechips sample``: read their files, fill in defaults (256 pixels, format, region, bands),
and list the parameters that identify the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.builtin_recipes.recipe_options import PlaceColumns, TableColumn, divide_count, divide_map, parse_format
from eechips.builtin_recipes.render_style import RenderStyle, parse_stretch
from eechips.builtin_recipes.samples.sample_frames import STACK_SUFFIX, FrameSettings, label_moments, parse_frames
from eechips.builtin_recipes.samples.sample_layers import SampleLayer, parse_layers
from eechips.builtin_recipes.samples.sample_options import GridMode, SampleOptions
from eechips.builtin_recipes.samples.sample_validation import RANDOM, check_grid, check_layers, check_options
from eechips.datasets import ECOREGIONS
from eechips.errors import UsageError
from eechips.formats import CHIP_FORMATS, stack_formats
from eechips.planning.areas.region_overlaps import ClipArea, region_content
from eechips.planning.areas.regions import Region, parse_region
from eechips.planning.areas.separate_regions import SeparateRegions, choose_region
from eechips.planning.grid_alignment import GridAlignment, choose_grid
from eechips.planning.imagery.expressions import LayerImages
from eechips.planning.imagery.image_filters import PropertyFilter
from eechips.planning.imagery.map_bands import parse_map
from eechips.planning.imagery.periods import DateMatch, format_moment
from eechips.planning.place_tables import Places, read_places
from eechips.planning.sampling.cell_grids import PlaceCells, parse_cells
from eechips.recipe import Unit, recipe_identity

DEFAULT_SIZE = 256
"""Edge of a chip in pixels."""


LAYERS = "layers"
"""Field of a unit that has files of some datasets, or of all since further ones were added: their names."""


@dataclass(frozen=True, kw_only=True)
class ResolvedSample:
    """A sample with checked and complete options; made without requests.

    Attributes:
        layers: the datasets; chips are on the pixel grid of the first one.
        count: points at random in each stratum, or in all; 0 for other strategies.
        strata: the table of ``per_ecoregion``, and the column that identifies its features; None for other strategies.
        class_map: the map of ``per_class``; None for other strategies.
        classes: its wanted classes; None for all.
        grid_mode: ``native`` or ``thumb``.
        dimensions: width and height of a chip in pixels; without a meaning for regions.
        region: the region; None for the whole world. Several regions have a chip each.
        places: the file of points; None for other strategies.
        frames: the frames of each place; None if a chip shows one moment.
        cells: the grid of cells; None for other strategies.
        away_from: the places to which points keep a distance; None for none.
        first_layers: the datasets of units that do not name theirs, if others were added later: one without a name if
            it was the only one. None if all units have all datasets.
    """

    options: SampleOptions
    layers: tuple[SampleLayer, ...]
    count: int
    strata: TableColumn | None
    class_map: str | None
    classes: tuple[int, ...] | None
    columns: PlaceColumns
    style: RenderStyle
    alignment: GridAlignment
    grid_mode: GridMode
    dimensions: tuple[int, int]
    region: Region | None
    places: Places | None
    frames: FrameSettings | None = None
    cells: PlaceCells | None = None
    away_from: Places | None = None
    first_layers: tuple[SampleLayer, ...] | None = None

    @property
    def regions(self) -> SeparateRegions | None:
        """The regions that have a chip each, of their extent; None for other strategies."""
        return self.region if isinstance(self.region, SeparateRegions) else None

    @property
    def first(self) -> SampleLayer:
        """The dataset whose pixel grid the chips have."""
        return self.layers[0]

    @property
    def datasets(self) -> tuple[str, ...]:
        """The ids of all assets that are read."""
        options = self.options
        masks = [layer.mask for layer in self.layers] + [self.frames.mask if self.frames else None]
        scores = [score for mask in masks if mask for score in mask.collections]
        strata = [self.strata.table] if self.strata is not None else []
        maps = [parse_map("", text).id for text in (self.class_map, options.mask_image) if text is not None]
        return tuple(dict.fromkeys([*(layer.source_name for layer in self.layers), *scores, *strata, *maps]))

    @property
    def results(self) -> dict[str, Any]:
        """The parameters that determine the chip of a point, as JSON."""
        options = self.options
        parameters: dict[str, Any] = {
            "start": options.start,
            "end": options.end,
            "size": None if self.regions is not None else list(self.dimensions),
            "scale": options.scale,
            "grid": self.grid_mode,
            "format": self.style.format,
        }
        layers = self.layer_results
        parameters |= layers[0] if len(layers) == 1 else {"layers": layers}
        rest: dict[str, Any] = {"align": self.alignment.align, "window": options.window}
        rest["crs"] = None if options.crs == "native" else options.crs
        rest["transform"] = None if self.alignment.transform is None else list(self.alignment.transform)
        rest["clip"] = region_content(self.region) if options.clip and self.region is not None else None
        rest["frames"] = None if self.frames is None else self.frames.results
        return parameters | {name: value for name, value in rest.items() if value is not None}

    @property
    def identity(self) -> str:
        """The SHA-256 of :attr:`results`. The number of points, the seed and the region are not part of it."""
        return recipe_identity("sample", self.results)

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters as JSON."""
        options = self.options
        plan: dict[str, Any] = {"seed": options.seed, "limit": options.limit}
        if self.strata is not None:
            plan |= {"per_ecoregion": self.count, "ecoregions": self.strata.table, "ecoregion_field": self.strata.field}
        if options.provenance:
            plan["provenance"] = True
        names = ("total", "min_distance", "mask_image")
        plan |= {name: value for name in names if (value := getattr(options, name)) is not None}
        if self.class_map is not None:
            plan |= {"per_class": self.count, "class_image": self.class_map}
        if (date := options.date) is not None:
            plan |= {"date_field": date.name} | ({} if date.format is None else {"date_format": date.format})
        if self.classes is not None:
            plan["classes"] = list(self.classes)
        if self.cells is not None:
            plan |= self.cells.parameters
        if self.away_from is not None:
            plan |= {"away_from": str(options.away_from), "away_from_sha256": self.away_from.sha256}
        if self.places is not None:
            plan |= {"points": str(options.points), "points_sha256": self.places.sha256}
            columns = {"lon_field": self.columns.lon, "lat_field": self.columns.lat}
            plan |= {name: value for name, value in columns.items() if value is not None} | self.places.reading
        return {**self.results, **plan, **(self.region.parameters if self.region is not None else {})}

    def layers_of(self, unit: Unit) -> tuple[SampleLayer, ...]:
        """Return the datasets of which a unit has files: those of its ``layers``, or else those of the first plan."""
        if LAYERS in unit:
            return tuple(layer for layer in self.layers if layer.name in unit[LAYERS])
        return self.layers if self.first_layers is None else self.first_layers

    def dates_of(self, layer: SampleLayer) -> tuple[str | None, str | None]:
        """Return the first day (inclusive) and the last day (exclusive) of a layer's images; None for no bound."""
        return (self.options.start, self.options.end) if layer.is_dated else (None, None)

    def date_match(self, layer: SampleLayer, unit: Unit) -> DateMatch | None:
        """Return date and interval of a unit's images; None if places have no dates."""
        if "label_date" not in unit or not layer.is_dated:
            return None
        _, first, last = label_moments(self.options, unit["label_date"])
        return DateMatch(unit["label_date"], format_moment(first), format_moment(last))

    def images(self, layer: SampleLayer, unit: Unit) -> LayerImages:
        """Return the images of a layer that the chip of a unit shows."""
        source: Mapping[str, Any] = {}
        if not layer.known:
            source = unit["source"][layer.name] if layer.name else unit["source"]
        kind = layer.known.kind if layer.known else source["kind"]
        selection = layer.selection.planned({**source, "casts": unit.get("casts", {}).get(layer.name, ())})
        dtype = unit.get("dtypes", {}).get(layer.name) or layer.common_dtype if self.style.format == "tif" else None
        types = tuple(unit["types"][layer.name]) if "types" in unit else ()
        tests = tuple(map(PropertyFilter.from_json, unit.get("where", {}).get(layer.name, ())))
        area = ClipArea.of(self.region, unit) if self.options.clip and self.region is not None else None
        dates = self.dates_of(layer)
        return LayerImages(layer.dataset_id, kind, *dates, selection, layer.mask, dtype, types, tests, area)

    @property
    def layer_results(self) -> list[dict[str, Any]]:
        """The parameters of each dataset that determine its pixels, as JSON."""
        return [self._layer_results(layer) for layer in self.layers]

    def _layer_results(self, layer: SampleLayer) -> dict[str, Any]:
        parameters = {
            "dataset": layer.dataset_id,
            "bands": layer.compared_bands(layer.bands),
            "visualization": self.style.visualization(layer.selection.names, layer.stretched),
            **layer.selection.parameters,
        }
        if layer.mask is not None:
            parameters["mask"] = layer.mask.text
        if layer.conditions:
            parameters["where"] = list(map(str, layer.conditions))
        return {**parameters, "layer": layer.name} if layer.name else parameters


def _read_points(path: Path, options: SampleOptions, layers: Sequence[SampleLayer]) -> Places:
    """Read the points of a sample, all with coordinates, and dates if their column is named."""
    places = read_places(
        path,
        options.place_columns.lon,
        options.place_columns.lat,
        crs=options.input_crs,
        only="points",
        dates=None if options.date is None else (options.date.name, options.date.format),
        is_complete=True,
    )
    is_dated = any(layer.known is None or not layer.known.is_single_period for layer in layers)
    if is_dated and options.date is None and options.start is None and options.end is None:
        places.warn_of_unused_dates()
    return places


def resolve_sample(options: SampleOptions) -> ResolvedSample:
    """Check the options of a sample, read its files, and fill in the defaults of its datasets.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        UnknownDatasetError: if a dataset or a map is neither a short name nor an asset id.
        RegionError: if the region, or the file of points, cannot be used.
    """
    check_options(options)
    layers = parse_layers(options)
    style = RenderStyle(_format(options, layers), *parse_stretch(options.stretch))
    chosen = _parse_grid_mode(options.grid)
    alignment = choose_grid(options.grid if chosen is None else None, options.crs, options.scale)
    size = DEFAULT_SIZE if options.size is None else options.size
    width, height = map(int, size if isinstance(size, Sequence) else (size, size))
    frames = parse_frames(options, layers)
    is_thumb = style.is_picture and alignment.is_native and frames is None and options.regions is None
    grid_mode = chosen or ("thumb" if is_thumb else "native")
    check_grid(alignment, grid_mode, (width, height))
    if frames is not None and grid_mode == "thumb":
        raise UsageError("`frames` and `every` have one pixel grid for all frames: use grid='native'")
    check_layers(layers, style)
    columns = options.place_columns
    places = None if options.points is None else _read_points(Path(options.points), options, layers)
    cells = None if options.cells is None else parse_cells(options.cells, columns.id, crs=options.input_crs)
    draw_size = next((value for name in RANDOM if (value := getattr(options, name)) is not None), 0)
    count, of = divide_count("", draw_size)
    class_map, classes = divide_map(of) if options.per_class is not None and of is not None else (None, None)
    return ResolvedSample(
        options=options,
        layers=layers,
        count=count,
        strata=None if options.per_ecoregion is None else TableColumn.parse(of or ECOREGIONS, "ECO_ID"),
        class_map=class_map,
        classes=classes,
        columns=columns,
        style=style,
        alignment=alignment,
        grid_mode=grid_mode,
        dimensions=(width, height),
        region=_region(options, columns, layers[0], cells),
        places=places,
        frames=frames,
        cells=cells,
        away_from=None if options.away_from is None else read_places(Path(options.away_from), crs=options.input_crs),
    )


def _parse_grid_mode(grid: str | Sequence[float] | None) -> GridMode | None:
    """Return the word that ``grid`` has, native or thumb; None if it has none, or numbers, or the id of an image.

    Raises:
        UsageError: if it is another word.
    """
    if grid is None or not isinstance(grid, str) or {"/", ","} & set(grid):
        return None
    if grid == "native":
        return "native"
    if grid == "thumb":
        return "thumb"
    hint = f"; for a place every {grid}, use cells='regular:{grid}'" if grid[:1].isdigit() else ""
    raise UsageError(f"unknown grid {grid!r}: native, thumb, the id of an image, or A,B,C,D,E,F{hint}")


def _format(options: SampleOptions, layers: tuple[SampleLayer, ...]) -> str:
    """Return the format: by default a picture if the bands are red, green and blue, or colours are given."""
    if options.format is not None:
        names = (*CHIP_FORMATS.names, *(stack_format + STACK_SUFFIX for stack_format in stack_formats()))
        return parse_format(options.format, names).removesuffix(STACK_SUFFIX)
    (first, *others), record = layers, layers[0].known
    if others or options.frames is not None or options.every is not None:
        return "tif"
    # The default bands as they are stored, by any name and in any order.
    has_default = first.stretched is not None and set(first.selection.stored) == set(first.known_bands)
    is_natural = record is not None and record.is_photographic and has_default
    return "png" if options.stretch is not None or is_natural else "tif"


def _region(
    options: SampleOptions, columns: PlaceColumns, first: SampleLayer, cells: PlaceCells | None
) -> Region | None:
    """Return the region: the user's, or the dataset's default unless places are listed in a file."""
    roi = options.roi
    if options.regions is not None:
        return choose_region(
            roi=roi, regions=options.regions, id_field=columns.id, margin=options.margin, crs=options.input_crs
        )
    is_listed = options.points is not None or (cells is not None and not cells.needs_region)
    if roi is None and not is_listed:
        roi = first.known.region if first.known else None
        if roi is None and options.total is None:
            raise UsageError(f"{first.dataset} has no default region: give `roi`")
    return None if roi is None else parse_region(roi, crs=options.input_crs)
