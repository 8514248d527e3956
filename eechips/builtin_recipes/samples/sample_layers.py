"""Parse the datasets of a sample with the bands and conditions of each (``S2:B4``), and name their files: each chip has
a file of each, on the same pixel grid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eechips.builtin_recipes.chosen_dataset import ChosenDataset, check_dataset
from eechips.builtin_recipes.recipe_options import find_formulas, find_indices, split_list
from eechips.builtin_recipes.samples.sample_options import Bands, SampleOptions
from eechips.datasets import find_dataset, is_record_file
from eechips.datasets.quality_bands import find_mask_sources
from eechips.errors import UsageError
from eechips.planning.imagery.image_filters import PropertyCondition, parse_condition
from eechips.planning.imagery.image_masking import parse_masks
from eechips.planning.imagery.speckle import parse_speckle
from eechips.recipe.results import RESERVED_LAYERS
from eechips.storage import safe_component

_END_OF_ID = re.compile(r"(?:^|/)([^/]+(?:/[vV]?\d[\d._]*)?)$")
"""The last part of an id, with the one before if the last is a version: ``DYNAMICWORLD/V1``."""


@dataclass(frozen=True, kw_only=True)
class SampleLayer(ChosenDataset):
    """A dataset of a sample.

    Attributes:
        name: name of its files; empty for a single dataset.
        is_further: whether it is on the pixel grid of another dataset before it.
        base: name of the layer whose images it shows, if its bands were added to that layer; empty for others.
        grid_band: band on whose pixels the chips of such a layer lie; empty for others.
    """

    name: str = ""
    is_further: bool = False
    base: str = ""
    grid_band: str = ""

    @property
    def has_stored_pixels(self) -> bool:
        """Return whether all bands are stored ones, with pixels as large as those of the grid or larger."""
        if not self.grid_band:
            return super().has_stored_pixels
        return replace(self, bands=(self.grid_band, *(self.bands or ())), grid_band="").has_stored_pixels

    @property
    def is_dated(self) -> bool:
        """Return whether the dates select its images; false for a map of one period after the first dataset."""
        return not (self.is_further and self.known is not None and self.known.is_single_period)

    @property
    def has_clouds(self) -> bool:
        """Return whether clouds of its images are known, and neither a mask nor a condition leaves any out."""
        sources = () if self.mask or self.conditions else find_mask_sources(self.dataset_id)
        return any(source.score is not None or "cloud" in source.usual for source in sources)

    @property
    def common_dtype(self) -> str | None:
        """The numpy name of the type that holds stored and computed bands in a file; None if all are stored."""
        if self.selection.has_stored_values or self.selection.quantization is not None:
            return None
        stored = {band.name: band.dtype for band in (self.known.bands if self.known else ())}
        return str(np.result_type("float32", *filter(None, map(stored.get, self.selection.copied))))


def parse_layers(options: SampleOptions) -> tuple[SampleLayer, ...]:
    """Parse the layers of a sample, one for each dataset.

    Raises:
        UsageError: if a dataset is repeated, bands or conditions are ambiguous, or no dataset has the mask or a
            quantization.
        UnknownDatasetError: if a name is neither an alias nor looks like an asset id.
    """
    names = (options.dataset,) if isinstance(options.dataset, str) else tuple(options.dataset)
    ids = _dataset_ids(names)
    chosen, computed = _names_of(names, options.bands, "bands"), _names_of(names, options.index, "index")
    conditions = _conditions_of(names, (options.where,) if isinstance(options.where, str) else options.where)
    labels = _labels(names, ids) if len(names) > 1 else [""]
    filters = [parse_speckle(options.speckle, dataset_id) for dataset_id in ids]
    if options.speckle is not None and not any(filters):
        raise UsageError(f"speckle={options.speckle!r} is for Sentinel-1 (S1), not for {' and '.join(names)}")
    has_quantization = [options.values == "quantized" and _has_quantization(name) for name in names]
    if options.values == "quantized" and not any(has_quantization):
        raise UsageError(
            f"values='quantized' needs a record with a quantization, and that of {' and '.join(names)} has none"
        )
    return tuple(
        SampleLayer(
            dataset=name,
            name=label,
            bands=chosen.get(name),
            index=find_indices(computed.get(name, ())),
            expression=find_formulas(computed.get(name, ())),
            scaled=options.values == "scaled",
            is_further=name != names[0],
            mask=cloud_mask,
            quantized=is_quantized,
            conditions=conditions.get(name, ()),
            speckle=speckle_filter,
        )
        for name, label, cloud_mask, is_quantized, speckle_filter in zip(
            names, labels, parse_masks(options.mask, ids), has_quantization, filters, strict=True
        )
    )


def _dataset_ids(names: Sequence[str]) -> list[str]:
    """Return the ids of datasets by their names; check that each is there, once."""
    if not names:
        raise UsageError("`dataset` must name at least one dataset")
    for name in names:
        check_dataset(name)
    ids = [known.id if (known := find_dataset(name)) else name for name in names]
    twice = [name for name, identifier in zip(names, ids, strict=True) if ids.count(identifier) > 1]
    if twice:
        raise UsageError(f"`dataset` names {twice[0]} twice")
    return ids


def _has_quantization(name: str) -> bool:
    record = find_dataset(name)
    return record is not None and record.quantization is not None


def _names_of(names: Sequence[str], bands: Bands, option: str) -> dict[str, tuple[str, ...]]:
    """Parse the bands, or the computed bands, of each dataset."""
    if bands is None:
        return {}
    if isinstance(bands, Mapping):
        labelled = [(str(name), split_list(chosen)) for name, chosen in bands.items()]
    else:
        parts = [bands] if isinstance(bands, str) else list(bands)
        prefixed = [":" in part for part in parts]
        if not any(prefixed):
            flat = split_list(bands)
            if len(names) > 1:
                raise UsageError(
                    f"{option}='{','.join(flat)}': name the dataset, as in {option}='{names[0]}:{','.join(flat)}'"
                )
            return {names[0]: flat}
        if not all(prefixed):
            raise UsageError(f"`{option}` names a dataset in one place and none in another: say of which all are")
        labelled = [(part.rpartition(":")[0].strip(), split_list(part.rpartition(":")[2])) for part in parts]
    by_lower = {name.lower(): name for name in names}
    chosen_by_name: dict[str, tuple[str, ...]] = {}
    for label, chosen in labelled:
        name = by_lower.get(label.lower())
        if name is None:
            raise UsageError(f"{option}='{label}:…' names none of the datasets; they are {', '.join(names)}")
        chosen_by_name[name] = (*chosen_by_name.get(name, ()), *chosen)
    return chosen_by_name


def _conditions_of(names: Sequence[str], where: Sequence[str]) -> dict[str, tuple[PropertyCondition, ...]]:
    """Return the conditions on the images of each dataset. Names of properties may have colons as well."""
    conditions: dict[str, tuple[PropertyCondition, ...]] = {}
    for text in where:
        prefixes = [name for name in names if text.lower().lstrip().startswith(f"{name.lower()}:")]
        if not prefixes and len(names) > 1:
            raise UsageError(f"where={text!r}: name the dataset, as in where='{names[0]}:{text}'")
        name = prefixes[0] if prefixes else names[0]
        condition = parse_condition(text.lstrip()[len(name) + 1 :] if prefixes else text)
        conditions[name] = (*conditions.get(name, ()), condition)
    return conditions


def layer_name(layer: SampleLayer) -> str:
    """Return the name of a dataset's files, also if it is the only one so far."""
    return layer.name or _labels([layer.dataset], [layer.dataset_id])[0]


def _labels(names: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Return a unique name for each dataset's files: the alias, or the end of the id; a version alone says little."""
    last = [safe_component(_label(name)) for name in names]
    return [
        label
        if [last_part.lower() for last_part in last].count(label.lower()) == 1 and label not in RESERVED_LAYERS
        else safe_component(identifier.replace("/", "-"))
        for label, identifier in zip(last, ids, strict=True)
    ]


def _label(name: str) -> str:
    record = find_dataset(name) if is_record_file(name) else None
    if record is not None:
        return record.alias
    match = _END_OF_ID.search(name) if "/" in name else None
    return name.upper() if match is None else match[1].replace("/", "-")
