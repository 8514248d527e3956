"""Describe the dataset of a recipe: its record, the bands that the user chooses, the mask of its images; refuse unknown
short names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import ee
import numpy as np

from eechips.builtin_recipes.recipe_options import (
    check_bands,
    check_values,
    find_formulas,
    find_indices,
    split_list,
    split_names,
)
from eechips.builtin_recipes.shared_options import DatasetOptions
from eechips.datasets import Dataset, Kind, find_dataset, is_record_file, suggest_datasets
from eechips.errors import UnknownDatasetError
from eechips.planning.asset_metadata import AssetMetadata, fetch_metadata
from eechips.planning.imagery.band_selection import BandSelection, select_bands
from eechips.planning.imagery.image_filters import PropertyCondition, parse_conditions
from eechips.planning.imagery.image_masking import CloudMask, parse_mask
from eechips.planning.imagery.speckle import SpeckleFilter
from eechips.recipe import Chip, FrameStack


@dataclass(frozen=True, kw_only=True)
class ChosenDataset:
    """A dataset, the bands that the user chooses of it, and the mask of its images.

    Attributes:
        dataset: alias or id, as the user wrote it.
        bands: names or common names; None for the default bands.
        index: short names of spectral indices.
        expression: ``name=formula`` each.
        scaled: whether scale and offset are applied.
        quantized: whether the bands are the integers of the record's quantization.
        mask: cloud mask; None for none.
        speckle: filter of radar images; None for none.
        deciding: stored bands that are read besides, to choose pixels by.
        conditions: on properties of images; all must hold.
    """

    dataset: str
    bands: tuple[str, ...] | None = None
    index: tuple[str, ...] = ()
    expression: tuple[str, ...] = ()
    scaled: bool = False
    quantized: bool = False
    mask: CloudMask | None = None
    speckle: SpeckleFilter | None = None
    deciding: tuple[str, ...] = ()
    conditions: tuple[PropertyCondition, ...] = ()

    @cached_property
    def known(self) -> Dataset | None:
        """The record of the dataset, if it has one."""
        return find_dataset(self.dataset)

    @property
    def dataset_id(self) -> str:
        """The dataset's asset id."""
        return self.known.id if self.known else self.dataset

    @property
    def source_name(self) -> str:
        """The name by which the record is found again: its file's, if the user gave one, else the asset id."""
        return self.dataset if is_record_file(self.dataset) else self.dataset_id

    @property
    def known_kind(self) -> Kind | None:
        """One image or a collection; None if neither the dataset nor the collection that it belongs to has a record."""
        if self.known is not None:
            return self.known.kind
        collection = find_dataset(self.dataset.rpartition("/")[0])
        return "image" if collection is not None and collection.kind == "collection" else None

    @property
    def known_bands(self) -> tuple[str, ...]:
        """The default bands, from the dataset's record; empty if it has none."""
        return self.known.default_bands if self.known else ()

    @cached_property
    def selection(self) -> BandSelection:
        """The bands of the results: those that the user chooses, or else the default bands."""
        selection = select_bands(
            self.dataset,
            self.known,
            self.bands,
            self.index,
            self.expression,
            is_scaled=self.scaled,
            is_quantized=self.quantized,
        )
        return replace(selection, speckle=self.speckle)

    @property
    def expected_dtype(self) -> str | None:
        """The numpy name of the type that holds all bands, by the record; None if the record does not say it."""
        selection = self.selection
        if selection.quantization is not None:
            return selection.quantization.dtype
        stored = {band.name: band.dtype for band in (self.known.bands if self.known else ())}
        types = [*map(stored.get, selection.copied), *([] if selection.has_stored_values else ["float32"])]
        return str(np.result_type(*filter(None, types))) if types and all(types) else None

    @property
    def has_stored_pixels(self) -> bool:
        """Return whether all bands are stored ones, unchanged, with pixels as large as the first band's or larger.

        On the pixels of the first band they are then read without the pyramids of the image.
        """
        if self.known is None or not self.selection.is_stored:
            return False
        sizes = {band.name: band.pixel_size or self.known.pixel_size for band in self.known.bands}
        names = self.selection.names
        return set(names) <= sizes.keys() and all(sizes[name] >= sizes[names[0]] for name in names)

    @property
    def chosen_names(self) -> tuple[str, ...] | None:
        """The names of the bands of the results; None for the default bands."""
        is_default = self.bands is None and not self.selection.computed
        return None if is_default else self.selection.names

    @property
    def stretched(self) -> Dataset | None:
        """The record whose usual colours suit the bands of the results; None if values are computed."""
        return self.known if self.selection.has_stored_values else None

    def compared_bands(self, chosen: Sequence[str] | None) -> list[str] | None:
        """Return the bands that are compared when a run is resumed.

        Args:
            chosen: by the caller; None or empty for the default bands.

        Returns:
            The chosen bands, or else the default bands of the user's own file, which may change; None for a
            record of eechips.
        """
        own = self.known_bands if is_record_file(self.dataset) else ()
        return list(chosen or own) or None

    @property
    def masked_ids(self) -> tuple[str, ...]:
        """Name of the record, and ids of the collections that the mask reads."""
        return (self.source_name, *(self.mask.collections if self.mask else ()))

    @property
    def needed_bands(self) -> tuple[str, ...]:
        """The stored bands that an image must have to be used; empty for all of a dataset without a record."""
        stored = self.selection.stored
        return tuple(dict.fromkeys((*stored, *self.further_bands(stored)))) if stored else ()

    def further_bands(self, bands: Sequence[str]) -> tuple[str, ...]:
        """Return the stored bands that the images need besides the selected bands."""
        quality = self.mask.quality_bands(bands) if self.mask else ()
        return (*quality, *(name for name in self.deciding if name not in self.selection.names))

    def fetch_metadata(
        self,
        start: str | None,
        end: str | None,
        *,
        region: ee.Geometry | None = None,
        around: ee.Geometry | None = None,
    ) -> AssetMetadata:
        """Fetch the metadata of the dataset between two dates; see :func:`asset_metadata.fetch_metadata`."""
        return fetch_metadata(
            self.dataset_id, self.known_kind, region, start, end, self.conditions, self.needed_bands, around
        )


def with_dtypes(result: Any, types: Mapping[str, str | None], name: str = "") -> Any:
    """Return a described result whose chips have the types of their layers, where they have none.

    Args:
        types: numpy names by layer; empty for the only one.
        name: name of the result among those of its unit.
    """
    if isinstance(result, Mapping):
        return {layer: with_dtypes(part, types, layer) for layer, part in result.items()}
    if isinstance(result, FrameStack):
        return FrameStack(tuple(with_dtypes(chip, types) for chip in result.chips))
    if not isinstance(result, Chip):
        return result
    layer = name if result.frame is None else result.frame.series
    return replace(result, dtype=result.dtype or types.get(layer))


def choose_dataset(options: DatasetOptions, *, deciding: tuple[str, ...] = ()) -> ChosenDataset:
    """Check the options of a dataset, without requests.

    Args:
        deciding: stored bands that are read besides.

    Raises:
        UnknownDatasetError: if the alias does not exist, or the record has no such band.
        UsageError: if ``values``, a formula, a condition or the mask is wrong.
    """
    check_values(options.values)
    check_dataset(options.dataset)
    computed = split_list(options.index)
    chosen = ChosenDataset(
        dataset=options.dataset,
        bands=None if options.bands is None else split_names(options.bands),
        index=find_indices(computed),
        expression=find_formulas(computed),
        scaled=options.values == "scaled",
        deciding=deciding,
        conditions=parse_conditions(options.where),
    )
    check_bands(chosen.bands)
    return replace(chosen, mask=parse_mask(options.mask, chosen.dataset_id))


def check_dataset(name: str) -> None:
    """Check a name that looks like an alias; asset ids are checked by the server.

    Aliases are words; Earth Engine's ids have slashes, and ids of STAC collections, under which catalogues are served,
    often have dashes.

    Raises:
        UnknownDatasetError: if the alias does not exist; the message suggests similar ones.
    """
    # A collection of the user's own may be called "chips", which is like CHIRPS: of words in lower case the server says
    # whether they exist, and the message suggests similar datasets.
    if find_dataset(name) is None and not set("/-") & set(name) and name.isupper():
        meant = "; for several in a sample, give `dataset` once for each" if "," in name else suggest_datasets(name)
        raise UnknownDatasetError(
            f"there is no dataset called {name!r}{meant} (any Earth Engine asset id works as well, and"
            " the path of a TOML file that describes one)"
        )
