"""Find the units that an extension adds to a sample: further places or regions, frames of further periods, datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eechips.errors import UsageError
from eechips.jobs.added_layers import FURTHER, check_layers_grow, complete_units, layer_names, place_fields
from eechips.jobs.chip_plan import ChipPlan
from eechips.jobs.grown_plans import check_dates_grow, check_files_stay, check_periods_stay
from eechips.jobs.resolved_sample import ResolvedSample
from eechips.jobs.sample_frames import FrameSettings
from eechips.planning.frame_choice import TimeWindow
from eechips.planning.periods import format_moment
from eechips.planning.separate_regions import outline_error
from eechips.planning.strategies import SampleSite
from eechips.recipe import AddedUnits, EarlierPlan, Unit
from eechips.recipe.units import COMPLETES

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
        sample: sample of the extension.

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
    dates = earlier.get("start"), earlier.get("end")
    if dates == (sample.options.start, sample.options.end):
        return
    if sample.frames is None or not sample.frames.periods:
        raise UsageError(
            "the dates of a sample grow with `every`, which has a frame for each period; other chips show one moment of"
            " all dates, and would change: choose another output folder"
        )
    check_dates_grow(earlier, sample.options.start, sample.options.end)
    periods = {(window.start, window.end) for window in sample.frames.periods}
    check_periods_stay(_days(_windows(before)), _days(periods), "chips")


def add_chips(earlier: EarlierPlan, plan: ChipPlan, sites: Sequence[SampleSite]) -> AddedUnits:
    """Return the units that a sample lacks: further datasets and frames of its places, and further places.

    Args:
        earlier: the run.
        plan: plan of the extension.
        sites: all places of the extension.

    Raises:
        UsageError: if a place of the run is not among them.
    """
    regions = plan.sample.regions
    if regions is not None:
        check_files_stay(earlier.units, regions)
    known = dict(zip(_keys_of(_first_units(earlier)), _first_ids(earlier), strict=True))
    keys = list(_keys((site.point, site.fields) for site in sites))
    missing = set(_keys_of(_first_units(earlier, without=earlier.replacing))).difference(keys)
    if missing and regions is not None:
        raise outline_error(min(missing, key=str)[3])
    if missing:
        longitude, latitude, *_ = min(missing, key=str)
        raise UsageError(
            f"{len(missing):,} places of the run are not among those of the extension, such as {longitude:.6f},"
            f" {latitude:.6f}: an extension adds places and leaves none out. Take the same places and more, or choose"
            " another output folder"
        )
    added = list(complete_units(earlier, plan))
    settings = plan.sample.frames
    if settings is not None and settings.periods:
        lacking = _windows(earlier.parameters.get("frames"))
        windows = tuple(period for period in settings.periods if (period.start, period.end) not in lacking)
        if windows:
            added += _further_frames(_first_units(earlier, without=earlier.dropped), plan, settings, windows)
    new = [site for key, site in zip(keys, sites, strict=True) if key not in known]
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


def _first_ids(earlier: EarlierPlan) -> Iterator[str]:
    """Yield the ids of the same units."""
    return (identifier for identifier, _ in _firsts(earlier))


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
