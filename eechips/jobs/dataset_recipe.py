"""Define the base of recipes that read one dataset, and check the dataset's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from eechips.datasets import Dataset, Kind, find_dataset, is_record_file, suggest_datasets
from eechips.errors import UnknownDatasetError
from eechips.geo.grid import Transform
from eechips.jobs.recipe_options import split_names
from eechips.option_fields import chosen_options
from eechips.planning.band_selection import BandSelection, select_bands
from eechips.planning.cloud_masks import CloudMask, parse_mask
from eechips.planning.grid_alignment import GridAlignment


class DatasetRecipe:
    """Base of recipes that read one dataset.

    Attributes:
        dataset: alias or id, as the user wrote it.
        bands: names or common names; None for the default bands.
        index: short names of spectral indices.
        expression: ``name=formula``, one or several.
        scaled: whether scale and offset are applied.
        quantized: whether the bands are the integers of the record's quantization.
    """

    dataset: str
    bands: Sequence[str] | str | None
    index: Sequence[str] | str
    expression: Sequence[str] | str
    scaled: bool
    quantized: bool = False

    name: str

    @property
    def call(self) -> tuple[str, Mapping[str, Any]]:
        """The command and its options; see :class:`eechips.recipe.SupportsCall`."""
        return self.name, chosen_options(self)

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
        return select_bands(
            self.dataset,
            self.known,
            None if self.bands is None else split_names(self.bands),
            split_names(self.index),
            (self.expression,) if isinstance(self.expression, str) else tuple(self.expression),
            is_scaled=self.scaled,
            is_quantized=self.quantized,
        )

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


class MaskedRecipe(DatasetRecipe):
    """Base of recipes that mask the clouds of all images alike.

    Attributes:
        mask: as the user wrote it.
    """

    mask: str

    @cached_property
    def cloud_mask(self) -> CloudMask | None:
        """The cloud mask; None for none."""
        return parse_mask(self.mask, self.dataset_id)

    @property
    def needed_bands(self) -> tuple[str, ...]:
        """The stored bands that an image must have to be used; empty for all of a dataset without a record."""
        stored = self.selection.stored
        return tuple(dict.fromkeys((*stored, *self.further_bands(stored)))) if stored else ()

    def further_bands(self, bands: Sequence[str]) -> tuple[str, ...]:
        """Return the stored bands that the images need besides the selected bands."""
        return self.cloud_mask.quality_bands(bands) if self.cloud_mask else ()


class GridRecipe(MaskedRecipe):
    """Base of recipes whose pixels lie on a grid that the user may choose.

    Attributes:
        crs: of the grid, or ``native``.
        scale: pixel size in units of the CRS; None for the image's own.
        align: image on whose pixels the grid lies; None for the images themselves.
        transform: of the grid; None if the others determine it.
    """

    crs: str
    scale: float | None
    align: str | None
    transform: Transform | None

    @cached_property
    def placement(self) -> GridAlignment:
        """The requested pixel grid."""
        return GridAlignment(crs=self.crs, scale=self.scale, align=self.align, transform=self.transform)


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
        raise UnknownDatasetError(
            f"there is no dataset called {name!r}{suggest_datasets(name)} (any Earth Engine asset id works as well, and"
            " the path of a TOML file that describes one)"
        )
