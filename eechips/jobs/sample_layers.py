"""Parse the datasets of a sample: each becomes a file of every chip, all on the same pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eechips.datasets import find_dataset
from eechips.errors import UsageError
from eechips.jobs.recipe_options import DatasetRecipe, check_dataset, split_names
from eechips.planning.chip_grids import Moments
from eechips.planning.cloud_masks import CloudMask, parse_masks
from eechips.planning.date_matching import DateMatch, format_moment, parse_moment, parse_window
from eechips.recipe import Unit
from eechips.recipe.layer_names import RESERVED_LAYERS
from eechips.storage import safe_component


@dataclass(frozen=True)
class SampleLayer(DatasetRecipe):
    """A dataset of a sample.

    Attributes:
        dataset: as the user names it.
        name: of its files; empty if it is the only one.
        chosen: bands that the user wants; None for the dataset's own.
        is_further: whether another dataset comes before it, whose pixels it has.
        mask: of clouds; None for none.
    """

    dataset: str
    name: str = ""
    chosen: tuple[str, ...] | None = None
    is_further: bool = False
    mask: CloudMask | None = None

    @property
    def is_dated(self) -> bool:
        """Return whether dates select its images; they do not for a map of one period beside another dataset."""
        return not (self.is_further and self.known is not None and self.known.is_single_period)

    @property
    def usual_bands(self) -> tuple[str, ...]:
        """The bands, as far as they are known without asking the server."""
        return self.chosen or self.known_bands


Bands = Sequence[str] | str | Mapping[str, Sequence[str] | str] | None
"""``"R,G,B"``, ``("R", "G", "B")``, and with several datasets ``("S2:B4,B3", "SRTM:elevation")`` or a mapping."""


def parse_layers(datasets: str | Sequence[str], bands: Bands, mask: str) -> tuple[SampleLayer, ...]:
    """Return the layers of a sample.

    Args:
        datasets: one, or several.
        bands: to take of them.
        mask: of clouds, for those of them that have it.

    Raises:
        UsageError: if a dataset comes twice, it is not clear whose bands are meant, or none of them has the mask.
        UnknownDatasetError: if a name is neither an alias nor looks like an id.
    """
    names = (datasets,) if isinstance(datasets, str) else tuple(datasets)
    if not names:
        raise UsageError("`dataset` must name at least one dataset")
    for name in names:
        check_dataset(name)
    ids = [known.id if (known := find_dataset(name)) else name for name in names]
    twice = [name for name, identifier in zip(names, ids, strict=True) if ids.count(identifier) > 1]
    if twice:
        raise UsageError(f"`dataset` names {twice[0]} twice")
    chosen = _bands_of(names, bands)
    labels = _labels(names, ids) if len(names) > 1 else [""]
    return tuple(
        SampleLayer(name, label, chosen.get(name), name != names[0], cloud_mask)
        for name, label, cloud_mask in zip(names, labels, parse_masks(mask, ids), strict=True)
    )


def _bands_of(names: Sequence[str], bands: Bands) -> dict[str, tuple[str, ...]]:
    """Return the bands that are named for each dataset."""
    if bands is None:
        return {}
    if isinstance(bands, Mapping):
        given = [(str(name), split_names(chosen)) for name, chosen in bands.items()]
    else:
        parts = [bands] if isinstance(bands, str) else list(bands)
        prefixed = [":" in part for part in parts]
        if not any(prefixed):
            flat = split_names(
                bands if isinstance(bands, str) else [band for part in parts for band in part.split(",")]
            )
            if len(names) > 1:
                raise UsageError(
                    f"bands='{','.join(flat)}': name the dataset, as in bands='{names[0]}:{','.join(flat)}'"
                )
            return {names[0]: flat}
        if not all(prefixed):
            raise UsageError("`bands` names a dataset in one place and none in another: say of which all are")
        given = [(part.rpartition(":")[0].strip(), split_names(part.rpartition(":")[2])) for part in parts]
    by_lower = {name.lower(): name for name in names}
    for name, _ in given:
        if name.lower() not in by_lower:
            raise UsageError(f"bands='{name}:…' names none of the datasets; they are {', '.join(names)}")
    if len({name.lower() for name, _ in given}) < len(given):
        raise UsageError("`bands` names the bands of a dataset twice")
    return {by_lower[name.lower()]: chosen for name, chosen in given}


def _labels(names: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Return what files of each dataset are called: the alias, or the last part of the id where that is enough."""
    last = [safe_component(name.upper() if "/" not in name else name.rpartition("/")[2]) for name in names]
    return [
        label
        if [each.lower() for each in last].count(label.lower()) == 1 and label not in RESERVED_LAYERS
        else safe_component(identifier.replace("/", "-"))
        for label, identifier in zip(last, ids, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class SampleDates:
    """The dates of a sample.

    Attributes:
        start: first day, inclusive, YYYY-MM-DD; None for no bound.
        end: last day, exclusive.
        window: time, "30d", that an image may be older or younger than its place's date; None where places have none.
    """

    start: str | None
    end: str | None
    window: str | None

    def of(self, layer: SampleLayer) -> tuple[str | None, str | None]:
        """Return the first day and that after the last of a layer's images."""
        return (self.start, self.end) if layer.is_dated else (None, None)

    def match(self, layer: SampleLayer, unit: Unit) -> DateMatch | None:
        """Return the date that a unit is paired with, if it is."""
        if "label_date" not in unit or not layer.is_dated:
            return None
        _, first, last = self.moments(unit["label_date"])
        return DateMatch(unit["label_date"], format_moment(first), format_moment(last))

    def moments(self, label_date: str) -> Moments:
        """Return a place's date, and the first and the last moment that is near enough (exclusive), in milliseconds."""
        assert self.window is not None
        moment = parse_moment(label_date)
        window = round(parse_window(self.window).total_seconds() * 1000)
        return moment, moment - window, moment + window + 1
