"""Find the cloud mask that an option names (``mask``), and mask the images of a dataset with it.

:func:`parse_mask` finds the mask of a dataset by name; :meth:`CloudMask.apply` selects and masks bands of an image.
This module sends no requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby

import ee

from eechips.datasets.quality_bands import (
    HALF,
    BitField,
    MaskSource,
    ValueRange,
    exclude_bits,
    find_mask_sources,
    list_mask_sources,
)
from eechips.errors import UsageError


@dataclass(frozen=True, slots=True)
class CloudMask:
    """A cloud mask with its settings; hashable and picklable.

    Attributes:
        source: the quality band or score that it reads.
        kinds: names of the kinds of pixels that it masks; empty for a score.
        threshold: lowest score of a clear pixel; None without a score.
    """

    source: MaskSource
    kinds: tuple[str, ...] = ()
    threshold: float | None = None

    @property
    def text(self) -> str:
        """The text that names the mask: ``qa_pixel:cloud,shadow``, ``cs:0.6``."""
        what = ",".join(self.kinds) if self.threshold is None else f"{self.threshold:g}"
        return f"{self.source.name}:{what}"

    @property
    def collections(self) -> tuple[str, ...]:
        """Ids of the assets that it reads besides the dataset itself."""
        return (self.source.score.collection,) if self.source.score else ()

    def quality_bands(self, bands: Sequence[str]) -> tuple[str, ...]:
        """Return the quality bands that it needs to mask given bands."""
        return tuple(
            dict.fromkeys(mask_value.band.format(half=_half(band)) for band in bands for mask_value in self._values())
        )

    def clear(self, image: ee.Image, band: str = "") -> ee.Image:
        """Return an image that is 1 for clear pixels, 0 for others, and masked where the quality band is masked.

        Args:
            image: image of the dataset, with all its bands and its ``system:index``.
            band: the band to mask, for datasets with a quality band for day and one for night.
        """
        score = self.source.score
        if score is not None:
            linked = image.linkCollection(ee.ImageCollection(score.collection), [score.band])
            is_clear: ee.Image = linked.select([score.band]).gte(self.threshold)
        else:
            is_clear = reduce(lambda one, other: one.And(other), self._tests(image, _half(band)))
        return is_clear

    def apply(self, image: ee.Image, bands: Sequence[str]) -> ee.Image:
        """Return bands of an image, masked where it is not clear.

        Args:
            image: image of the dataset, with all its bands and its ``system:index``.
            bands: names of the bands to keep, in order.
        """
        is_halved = any(HALF in mask_value.band for mask_value in self._values())
        groups = [list(group) for _, group in groupby(bands, _half if is_halved else lambda _: "")]
        parts = [image.select(names).updateMask(self.clear(image, names[0])) for names in groups]
        masked: ee.Image = reduce(lambda one, other: one.addBands(other), parts)
        return masked

    def _tests(self, image: ee.Image, half: str) -> Iterator[ee.Image]:
        """Yield images of 1 where a quality band has none of some values, else 0; a pixel is clear if all are 1."""
        names = dict.fromkeys(mask_value.band for mask_value in self._values())
        for name in names:
            quality = image.select([name.format(half=half)])
            there = [mask_value for mask_value in self._values() if mask_value.band == name]
            yield from exclude_bits(quality, [mask_value for mask_value in there if isinstance(mask_value, BitField)])
            yield from (mask_value.excludes(quality) for mask_value in there if isinstance(mask_value, ValueRange))

    def _values(self) -> tuple[BitField | ValueRange, ...]:
        return tuple(mask_value for kind in self.source.kinds if kind.name in self.kinds for mask_value in kind.values)


def parse_mask(text: str | None, dataset: str) -> CloudMask | None:
    """Parse the cloud mask of a dataset.

    Args:
        text: ``auto`` for the dataset's default mask; ``none`` or None for no mask; or a name, optionally with the
            kinds of pixels to mask (``qa_pixel:cloud,shadow,snow``) or the lowest score of a clear pixel (``cs:0.7``).
        dataset: asset id, of a collection or of one of its images.

    Raises:
        UsageError: if the dataset has no such mask; the message lists its masks.
    """
    if text is None or text.strip().lower() == "none":
        return None
    there = find_mask_sources(dataset)
    if not there:
        raise UsageError(f"`mask`: no mask is known for {dataset}; there are masks for {_overview()}")
    name, colon, detail = (part.strip().lower() for part in text.partition(":"))
    source = _named(name, there)
    if source is None:
        raise UsageError(
            f"mask={text!r}: {dataset} has no such mask; it has {', '.join(source.name for source in there)}, and"
            f" auto is {there[0].name}{_masking(name, there)}"
        )
    if source.score is not None:
        return CloudMask(source, (), _threshold(text, detail) if colon else source.score.threshold)
    return CloudMask(source, _kinds(text, source, detail) if colon else source.usual)


def parse_masks(text: str | None, datasets: Sequence[str]) -> tuple[CloudMask | None, ...]:
    """Parse the cloud masks of datasets that are fetched together; None for a dataset without such a mask.

    Args:
        text: as in :func:`parse_mask`.
        datasets: asset ids, one or several.

    Raises:
        UsageError: if none of them has such a mask.
    """
    name = (text or "none").partition(":")[0].strip().lower()
    having = [dataset for dataset in datasets if _named(name, find_mask_sources(dataset)) is not None] or [datasets[0]]
    return tuple(parse_mask(text, dataset) if dataset in having else None for dataset in datasets)


def _named(name: str, there: Sequence[MaskSource]) -> MaskSource | None:
    """Return the mask of a name; the first one for ``auto``; None if there is none."""
    usual = there[:1] if name == "auto" else [source for source in there if source.name == name]
    return next(iter(usual), None)


def _masking(name: str, there: Sequence[MaskSource]) -> str:
    """Return how to mask a kind of pixels that was given as the name of a mask; empty if no mask knows it."""
    for source in there:
        if any(kind.name == name for kind in source.kinds):
            kinds = ",".join(dict.fromkeys((*source.usual, name)))
            return f". To mask {name}: mask='{source.name}:{kinds}'"
    return ""


def _threshold(text: str, detail: str) -> float:
    try:
        value = float(detail)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise UsageError(f"mask={text!r}: the minimum score of a clear pixel is a number from 0 to 1, as in cs:0.6")
    return value


def _kinds(text: str, source: MaskSource, detail: str) -> tuple[str, ...]:
    names = [kind.name for kind in source.kinds]
    wanted = [part.strip() for part in detail.split(",")]
    for name in wanted:
        if name not in names:
            raise UsageError(f"mask={text!r}: {source.name} knows {', '.join(names)}, not {name!r}")
    return tuple(name for name in names if name in wanted)  # in a fixed order, so that equal masks have equal texts


def _half(band: str) -> str:
    return "Night" if "night" in band.lower() else "Day"


def _overview() -> str:
    titles: dict[str, dict[str, None]] = {}
    for source in list_mask_sources():
        titles.setdefault(source.title, {})[source.name] = None
    return ", ".join(f"{title} ({', '.join(names)})" for title, names in titles.items())
