"""Find the units that an extension adds to a sample: further places, regions, frames, datasets and bands; refuse one
that changes or leaves out earlier ones.

A unit keeps its files. Further datasets or bands of a place are fetched by a new unit, which names the unit that it
adds to (``completes``). Added units name their datasets and bands (``layers``); units of the first plan do not, and
have the datasets and bands of that plan.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from eechips.builtin_recipes.extended_plans import check_dates_grow, check_files_stay, check_periods_stay
from eechips.builtin_recipes.samples.chip_plan import BATCH, ChipPlan
from eechips.builtin_recipes.samples.resolved_sample import LAYERS, ResolvedSample
from eechips.builtin_recipes.samples.sample_frames import FrameSettings
from eechips.builtin_recipes.samples.sample_layers import SampleLayer, layer_name
from eechips.errors import UsageError
from eechips.planning.areas.separate_regions import outline_error
from eechips.planning.imagery.frame_choice import TimeWindow
from eechips.planning.imagery.periods import format_moment
from eechips.planning.sampling.sample_places import SamplePlace
from eechips.recipe import AddedUnits, EarlierPlan, Unit, canonical_json
from eechips.recipe.units import COMPLETES, FURTHER

_OF_LAYERS = frozenset({LAYERS, "source", "where", "casts", "dtypes", "types", "provenance"})
"""Fields of a unit that depend on the bands of its files. The others say where its place is, and what it shows."""


def divide_bands(latest: Mapping[str, Any], chosen: Sequence[SampleLayer]) -> tuple[SampleLayer, ...] | None:
    """Return datasets with their first bands, and further bands of each as layers of their own.

    Args:
        latest: parameters of the run that is there, with the layers that its units have.
        chosen: the datasets as the options say, with all bands.

    Returns:
        None if no dataset has more bands than in its first plan, some are left out, or it is unknown which there were.
    """
    declared = {layer.dataset_id: layer for layer in chosen}
    bases: dict[str, SampleLayer] = {}
    seen: dict[str, set[str]] = {}
    layers: list[SampleLayer] = []
    for entry in latest.get(LAYERS) or [latest]:
        identifier, bands = entry.get("dataset"), entry.get("bands")
        layer = declared.get(identifier)
        if layer is None:
            return None
        known, now = _bands(replace(layer, bands=tuple(bands) if bands else None)), _bands(layer)
        if known is None and now is None:  # default bands of a dataset without a record, before and now
            known = now = ()
        if known is None or not set(known) <= set(now or ()):
            return None
        seen.setdefault(identifier, set()).update(known)
        name = entry.get("layer") or layer_name(layer)
        if identifier in bases:
            layers.append(_added(layer, bases[identifier], name, tuple(bands or ())))
        else:
            bases[identifier] = replace(layer, name=name, bands=tuple(bands) if bands else None)
            layers.append(bases[identifier])
    for layer in chosen:
        if layer.dataset_id not in bases:
            layers.append(layer)
            continue
        further = tuple(band for band in _bands(layer) or () if band not in seen[layer.dataset_id])
        if further:
            base = bases[layer.dataset_id]
            layers.append(_added(layer, base, f"{base.name}-{further[0]}", further))
    return None if len(layers) == len(chosen) else tuple(layers)


def _bands(layer: SampleLayer) -> tuple[str, ...] | None:
    """Return the bands that a user chose, or else the default ones; None if these are unknown without a request."""
    if layer.bands is not None or layer.selection.computed:
        return layer.bands or ()
    return layer.known_bands or None


def _added(layer: SampleLayer, base: SampleLayer, name: str, bands: tuple[str, ...]) -> SampleLayer:
    """Return the layer of bands that were added; indices and formulas stay with the first ones."""
    grid_band = base.selection.grid_band(base.selection.names[0])
    return replace(layer, name=name, bands=bands, index=(), expression=(), base=base.name, grid_band=grid_band)


def with_bands(plan: ChipPlan, units: Sequence[Unit]) -> Iterator[Unit]:
    """Yield units with further bands of the images that others show.

    Args:
        units: the others.
    """
    types = plan.types if plan.sample.frames is not None else {}
    own = (
        {name: value for name, value in unit.items() if name not in _OF_LAYERS} | plan.layer_fields | types
        for unit in units
    )
    return plan.with_provenance(own) if plan.sample.options.provenance else own


_LAYER = "layer"  # in the parameters of a dataset: its name
_OF_FILES = _OF_LAYERS | {"frames", "image", "latest", "date"}
"""Fields of a unit that say what its files show. The others say where its place is."""


def find_first_layers(first: Mapping[str, Any], sample: ResolvedSample) -> tuple[SampleLayer, ...] | None:
    """Return the datasets of a sample that its first plan had; one of them alone is without a name.

    Args:
        first: parameters of the first plan.

    Returns:
        None if it had as many as there are now.
    """
    count = len(first.get("layers") or [first])
    if count >= len(sample.layers):
        return None
    return sample.layers[:count] if "layers" in first else (replace(sample.first, name=""),)


def layer_parameters(sample: ResolvedSample) -> frozenset[str]:
    """Return the names of the parameters that describe one dataset, or several."""
    return frozenset({"layers", *sample.layer_results[0]})


def check_layers_grow(earlier: Mapping[str, Any], sample: ResolvedSample) -> None:
    """Raise UsageError if an extension changes a dataset of the run, which has the parameters ``earlier``."""
    now = json.loads(canonical_json(sample.layer_results))
    before = earlier.get("layers")
    if before is None:
        now = [{name: value for name, value in now[0].items() if name != _LAYER}]
        before = [{name: earlier.get(name) for name in now[0]}]
    if now[: len(before)] != before:
        names = ", ".join(str(layer.get(_LAYER) or layer["dataset"]) for layer in before)
        raise UsageError(
            f"the datasets of the run ({names}) must come first, with the bands and options that they have there: an"
            " extension adds datasets after them. Choose another output folder for other bands"
        )


def layer_names(parameters: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the datasets in the parameters of a run; none if it has one dataset."""
    return frozenset(str(layer[_LAYER]) for layer in parameters.get("layers") or ())


def place_fields(unit: Unit) -> Unit:
    """Return the fields of a unit that say where its place is."""
    return {name: value for name, value in unit.items() if name not in _OF_FILES}


def complete_units(earlier: EarlierPlan, plan: ChipPlan) -> Iterator[Unit]:
    """Yield a unit for each one of a run that lacks datasets or bands and is not dropped, with the files of these."""
    sample = plan.sample
    if sample.first_layers is None:
        return
    lacking: dict[tuple[str, ...], list[Unit]] = {}
    of_bands: dict[tuple[str, ...], list[Unit]] = {}
    for identifier, holders in _holders(earlier):
        there = [{layer.name or sample.first.name for layer in sample.layers_of(holder)} for holder in holders]
        needed = [layer for layer in sample.layers if not any(layer.name in names for names in there)]
        datasets = tuple(layer.name for layer in needed if not layer.base)
        if datasets:
            lacking.setdefault(datasets, []).append({**holders[0], COMPLETES: identifier})
        for holder, names in zip(holders, there, strict=True):
            bands = tuple(layer.name for layer in needed if layer.base in names)
            if bands:
                of_bands.setdefault(bands, []).append({**holder, COMPLETES: identifier})
    for bands, units in of_bands.items():
        yield from with_bands(plan.of_layers(bands), units)
    for datasets, units in lacking.items():
        yield from _with_files(plan.of_layers(datasets), units)


def _holders(earlier: EarlierPlan) -> Iterator[tuple[str, list[Unit]]]:
    """Yield the id of each unit that is not dropped, and the units that have its files: itself, and its completions."""
    completing: dict[str, list[Unit]] = {}
    for unit in earlier.units:
        if COMPLETES in unit:
            completing.setdefault(unit[COMPLETES], []).append(unit)
    for identifier, unit in zip(earlier.ids, earlier.units, strict=True):
        if COMPLETES not in unit and identifier not in earlier.dropped:
            yield identifier, [unit, *completing.get(identifier, ())]


def _with_files(plan: ChipPlan, units: Sequence[Unit]) -> Iterator[Unit]:
    """Yield units with what the files of the datasets of a plan show."""
    own = ({**place_fields(unit), **plan.layer_fields} for unit in units)
    settings = plan.sample.frames
    if settings is None:
        yield from plan.with_provenance(own) if plan.sample.options.provenance else own
        return
    frames = iter(units)
    while batch := list(islice(own, BATCH)):
        chosen = [[_moment(frame) for frame in unit["frames"]] for unit in islice(frames, len(batch))]
        for unit, unit_frames in zip(batch, plan.with_nearby(batch, chosen, settings), strict=True):
            yield {**unit, "frames": unit_frames, **plan.types}


def _moment(frame: Mapping[str, Any]) -> dict[str, Any]:
    """Return the period of a frame, and the image of the first dataset, to which others are near in time."""
    return {name: value for name, value in frame.items() if name in ("start", "end", "image", "time")}


_REGIONS_CONTENT = "regions_sha256"

GROWING_SAMPLE = frozenset(
    {"total", "per_ecoregion", "per_class", "limit", "points", "points_sha256", "start", "end", "frames"}
    | {"regions", _REGIONS_CONTENT, "clip"}
)
"""Parameters of a sample that may grow. Dates grow with the periods of ``every``, which are in ``frames``. ``clip`` has
the content of a file of regions, which may have further ones."""

_Key = tuple[Any, ...]


def check_sample_grows(earlier: Mapping[str, Any], sample: ResolvedSample) -> None:
    """Check that an extension of a sample leaves no chip out and changes none.

    Args:
        earlier: parameters of the run.

    Raises:
        UsageError: if it would.
    """
    if sample.options.on_empty == "redraw":
        raise UsageError(
            "on_empty='redraw' has drawn further places, which depend on their number: it excludes `extend`"
        )
    if _without_content(earlier.get("clip")) != _without_content(sample.results.get("clip")):
        raise UsageError("`clip` and its region must be those of the run: choose another output folder")
    if sample.first_layers is not None:
        check_layers_grow(earlier, sample)
    before, now = earlier.get("frames"), None if sample.frames is None else sample.frames.results
    if _kept_settings(before, layer_names(earlier)) != _kept_settings(now, layer_names(earlier)):
        raise UsageError("`frames`, `every` and their options must be those of the run: choose another output folder")
    if (earlier.get("start"), earlier.get("end")) == (sample.options.start, sample.options.end):
        return
    if sample.frames is None or not sample.frames.periods:
        raise UsageError(
            "the dates of a sample can be extended only with `every`, which has a frame for each period; other chips"
            " would change: choose another output folder"
        )
    check_dates_grow(earlier, sample.options.start, sample.options.end)
    periods = {(window.start, window.end) for window in sample.frames.periods}
    check_periods_stay(_days(_windows(before)), _days(periods), "chips")


def add_chips(earlier: EarlierPlan, plan: ChipPlan, places: Sequence[SamplePlace]) -> AddedUnits:
    """Return the units that a sample lacks: further datasets and frames of its places, and further places.

    Args:
        places: all places of the extension.

    Raises:
        UsageError: if a place of the run is not among them.
    """
    regions = plan.sample.regions
    if regions is not None:
        check_files_stay(earlier.units, regions)
    known = dict(zip(_keys_of(_first_units(earlier)), (name for name, _ in _firsts(earlier)), strict=True))
    keys = list(_keys((place.point, place.fields) for place in places))
    missing = set(_keys_of(_first_units(earlier, without=earlier.replacing))).difference(keys)
    if missing and regions is not None:
        raise outline_error(min(missing, key=str)[3])
    if missing:
        longitude, latitude, *_ = min(missing, key=str)
        raise UsageError(
            f"{len(missing):,} places of the run are not among those of the extension, such as {longitude:.6f},"
            f" {latitude:.6f}: an extension can only add places. Give all places of the run and further ones, or choose"
            " another output folder"
        )
    added = list(complete_units(earlier, plan))
    settings = plan.sample.frames
    if settings is not None and settings.periods:
        lacking = _windows(earlier.parameters.get("frames"))
        windows = tuple(period for period in settings.periods if (period.start, period.end) not in lacking)
        if windows:
            added += _further_frames(_first_units(earlier, without=earlier.dropped), plan, settings, windows)
    new = [place for key, place in zip(keys, places, strict=True) if key not in known]
    # A replacement whose place is among those of the extension counts as one of them, and replaces nothing any more.
    chosen = earlier.replacing & {known[key] for key in keys if key in known}
    return AddedUnits([*added, *(plan.units(new) if new else ())], chosen=chosen)


def _further_frames(
    firsts: Iterable[Unit], plan: ChipPlan, settings: FrameSettings, windows: tuple[TimeWindow, ...]
) -> Iterator[Unit]:
    """Yield units with the frames of further periods, on the pixels of the units of their places in the run."""
    chosen = replace(settings, periods=windows, count=len(windows))
    if plan.sample.first_layers is None:
        places = ({**unit, FURTHER: True} for unit in firsts)
    else:
        places = ({**place_fields(unit), **plan.layer_fields, FURTHER: True} for unit in firsts)
    return plan.with_frames(places, chosen)


def _first_units(earlier: EarlierPlan, without: Collection[str] = ()) -> Iterator[Unit]:
    """Yield one unit for each place, without those of some ids."""
    return (unit for identifier, unit in _firsts(earlier) if identifier not in without)


def _firsts(earlier: EarlierPlan) -> Iterator[tuple[str, Unit]]:
    units = zip(earlier.ids, earlier.units, strict=True)
    return ((identifier, unit) for identifier, unit in units if not (unit.get(FURTHER) or COMPLETES in unit))


def _keys_of(units: Iterable[Unit]) -> Iterator[_Key]:
    return _keys((unit["coordinates"], unit) for unit in units)


def _keys(places: Iterable[tuple[Sequence[float], Mapping[str, Any]]]) -> Iterator[_Key]:
    """Yield longitude, latitude, date and region of each place, and the number of equal places before it."""
    repeats: Counter[_Key] = Counter()
    for (longitude, latitude), fields in places:
        key = (float(longitude), float(latitude), fields.get("label_date"), fields.get("region"))
        yield (*key, repeats[key])
        repeats[key] += 1


def _windows(frames: Any) -> set[tuple[int, int]]:
    """Return start and end of the periods of the parameter ``frames``."""
    periods = frames.get("periods") if isinstance(frames, dict) else None
    return {(int(start), int(end)) for start, end in periods or ()}


def _days(windows: Iterable[tuple[int, int]]) -> list[tuple[str, str]]:
    """Return first day, and day after the last, of periods in their order."""
    return [(format_moment(start), format_moment(end)) for start, end in sorted(windows)]


def _without_content(clip: Any) -> Any:
    """Return the parameter ``clip`` without the content of the file of regions; None if results are not clipped."""
    return {name: value for name, value in clip.items() if name != _REGIONS_CONTENT} if isinstance(clip, dict) else None


def _kept_settings(frames: Any, layers: frozenset[str]) -> Any:
    """Return the parameter ``frames`` without what may grow: periods, and the nearness of datasets that are new."""
    if not isinstance(frames, dict):
        return frames
    near = {name: reach for name, reach in (frames.get("near") or {}).items() if name in layers}
    grown = ("count", "periods") if "periods" in frames else ()
    return {name: value for name, value in frames.items() if name not in ("near", *grown)} | {"near": near}
