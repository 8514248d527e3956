"""Define records of quality bands, find those of a dataset, and turn bits and classes into masks on the service."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, reduce
from typing import TYPE_CHECKING

from eechips.datasets.catalogue import find_dataset
from eechips.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ee

HALF = "{half}"
"""Placeholder in the name of a quality band: Day or Night, as in the name of the band that is masked."""

_RECORDS = "eechips.datasets.cloud_mask_bits"


@dataclass(frozen=True, slots=True)
class BitField:
    """Consecutive bits of a band, and the values of them that have a meaning.

    Attributes:
        band: name of the band; ``{half}`` stands for ``Night`` where a band of the night is masked, else for ``Day``.
        first: lowest bit, counted from 0.
        last: highest bit.
        values: values of these bits, read as a number, any of which matches.
    """

    band: str
    first: int
    last: int
    values: tuple[int, ...] = (1,)

    @property
    def bits(self) -> int:
        """A number with all of these bits."""
        return ((1 << (self.last - self.first + 1)) - 1) << self.first

    @property
    def is_flag(self) -> bool:
        """Return whether it is one bit that matches if it is set."""
        return self.first == self.last and self.values == (1,)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The values at the place of these bits."""
        return tuple(value << self.first for value in self.values)


@dataclass(frozen=True, slots=True)
class ValueRange:
    """Values of a band that have a meaning: all from one number to another, both included.

    Attributes:
        least: lowest value; None for no bound.
        most: highest value; None for no bound.
    """

    band: str
    least: float | None = None
    most: float | None = None

    def excludes(self, quality: ee.Image) -> ee.Image:
        """Return an image of 1 where the band has no value of the range, else 0."""
        tests = [] if self.least is None else [quality.lt(self.least)]
        tests += [] if self.most is None else [quality.gt(self.most)]
        return reduce(lambda one, other: one.Or(other), tests)


def exclude_bits(quality: ee.Image, fields: Sequence[BitField]) -> list[ee.Image]:
    """Return images of 1 where a band has none of the values of bit fields, else 0: few operations for many fields.

    All flags are tested at once, and so are all values of the same bits.

    Args:
        fields: fields of this band.
    """
    exclusions: list[ee.Image] = []
    flags = 0
    numbers: dict[int, dict[int, None]] = {}
    for field in fields:
        if field.is_flag:
            flags |= field.bits
        else:
            numbers.setdefault(field.bits, {}).update(dict.fromkeys(field.numbers))
    if flags:
        exclusions.append(quality.bitwiseAnd(flags).eq(0))
    for bits, excluded_numbers in numbers.items():
        value = quality.bitwiseAnd(bits)
        exclusions.append(
            value.remap(list(excluded_numbers), [0] * len(excluded_numbers), 1)
            if len(excluded_numbers) > 1
            else value.neq(next(iter(excluded_numbers)))
        )
    return exclusions


@dataclass(frozen=True, slots=True)
class ClearScore:
    """A score in another collection, whose images have the same ``system:index``: the higher, the clearer.

    Attributes:
        collection: asset id.
        threshold: default lowest score of a clear pixel.
    """

    collection: str
    band: str
    threshold: float


@dataclass(frozen=True, slots=True)
class PixelClass:
    """A class of pixels that a mask can remove.

    Attributes:
        name: name that users write.
        values: bit fields and ranges of values; a pixel belongs to the class if one of them matches.
    """

    name: str
    values: tuple[BitField | ValueRange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSource:
    """The quality bands, or the score, of some datasets.

    Attributes:
        name: name that users write, usually the band's.
        datasets: regular expression that matches the ids of the datasets.
        url: page that documents the bits, or the thresholds.
        kinds: classes of pixels that can be removed.
        usual: names of those that are removed by default.
        score: score of another collection, instead of ``kinds``.
    """

    name: str
    datasets: str
    title: str
    url: str
    kinds: tuple[PixelClass, ...] = ()
    usual: tuple[str, ...] = ()
    score: ClearScore | None = None

    def matches(self, dataset: str) -> bool:
        """Return whether a dataset, by its asset id, has these quality bands."""
        return re.fullmatch(self.datasets, dataset) is not None


CLOUD_MASKS: Registry[MaskSource] = Registry(
    "cloud mask",
    "eechips.cloud_masks",
    {
        "s2_scl": f"{_RECORDS}:S2_SCL",
        "s2_cs_cdf": f"{_RECORDS}:S2_CS_CDF",
        "s2_cs": f"{_RECORDS}:S2_CS",
        "s2_qa60": f"{_RECORDS}:S2_QA60",
        "landsat_qa_pixel": f"{_RECORDS}:LANDSAT_QA_PIXEL",
        "modis_qc": f"{_RECORDS}:MODIS_QC",
        "modis_summaryqa": f"{_RECORDS}:MODIS_SUMMARYQA",
        "modis_state_1km": f"{_RECORDS}:MODIS_STATE_1KM",
        "modis_stateqa": f"{_RECORDS}:MODIS_STATEQA",
        "modis_state": f"{_RECORDS}:MODIS_STATE",
        "hls_fmask": f"{_RECORDS}:HLS_FMASK",
        "s1_border": f"{_RECORDS}:S1_BORDER",
        "s1_float_border": f"{_RECORDS}:S1_FLOAT_BORDER",
    },
    MaskSource,
    "eechips.datasets.quality_bands.MaskSource",
)
"""Every cloud mask. Of those of a dataset, the one that its record names is the default, or else the first."""


@cache
def list_mask_sources() -> tuple[MaskSource, ...]:
    """Return the records of all cloud masks: those of eechips, then those of other packages.

    Raises:
        ConfigurationError: if the record of another package cannot be used.
    """
    return tuple(CLOUD_MASKS.get(name) for name in CLOUD_MASKS.names)


def find_mask_sources(dataset: str) -> tuple[MaskSource, ...]:
    """Return the records that match a dataset, or the collection of an image, the default first.

    The default is the mask that the record of the dataset names, or else the first.

    Args:
        dataset: asset id.
    """
    for asset_id in (dataset, dataset.rpartition("/")[0]):
        if sources := [source for source in list_mask_sources() if source.matches(asset_id)]:
            record = find_dataset(asset_id)
            return tuple(sorted(sources, key=lambda source: record is not None and source.name != record.mask))
    return ()
