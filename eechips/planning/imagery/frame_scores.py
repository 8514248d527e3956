"""Score the images that a frame may show by a formula of their bands and properties: ``--rank-by``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import ee

from eechips.datasets import Dataset
from eechips.datasets.spectral_indices import find_index, list_supported
from eechips.errors import UsageError
from eechips.planning.asset_metadata import AssetMetadata
from eechips.planning.imagery.band_formula import Formula, Value, parse_formula
from eechips.planning.imagery.band_selection import BandSelection, find_band, select_bands
from eechips.text.suggestion import describe_choices


@dataclass(frozen=True, slots=True)
class FrameScore:
    """A formula that scores images; hashable and picklable.

    Attributes:
        selection: the bands in it, by the names that they have in the formula.
        properties: the properties of images in it.
    """

    formula: Formula
    selection: BandSelection
    properties: tuple[str, ...] = ()

    def image(self, image: ee.Image) -> ee.Image:
        """Return the formula of an image, masked where it has no value, and if the image lacks a property.

        Args:
            image: image of the dataset, with all its bands and its properties.
        """
        values: dict[str, Value] = {name: _property_image(image, name) for name in self.properties}
        if self.selection.names:
            bands = self.selection.select(image)
            values |= {name: bands.select([name]).toDouble() for name in self.selection.names}
        return self.formula.compose(values)


def list_score_bands(text: str, own: BandSelection, record: Dataset | None) -> tuple[str, ...]:
    """Return the stored bands that a formula needs, and the names of which only the server knows what they are.

    Args:
        record: record of the dataset; None if it has none.

    Raises:
        UsageError: if the text is no formula, or the dataset lacks a band of an index in it.
    """
    selection, others = _select(parse_formula(text), own, record, is_scaled=False)
    return (*selection.stored, *others)


def resolve_score(
    text: str, own: BandSelection, record: Dataset | None, metadata: AssetMetadata, *, is_scaled: bool
) -> FrameScore:
    """Find what the names in a formula are.

    Args:
        record: record of the dataset; None if it has none.
        metadata: the dataset as the server describes it: bands and properties of its first image.
        is_scaled: whether scale and offset of the record are applied to bands; they always are in indices.

    Raises:
        UsageError: if the text is no formula, or a name is neither a band, an index nor a property that is a number.
        UnknownDatasetError: if the dataset lacks a band.
    """
    formula = parse_formula(text)
    selection, others = _select(formula, own, record, is_scaled=is_scaled)
    there = {band.name for band in metadata.bands}
    bands = tuple(name for name in others if name in there)
    properties = tuple(name for name in others if name not in there)
    for name in properties:
        _check_property(name, text, record, metadata)
    extended = replace(selection, names=(*selection.names, *bands))
    metadata.select(extended.stored)
    return FrameScore(formula, extended, properties)


def _select(
    formula: Formula, own: BandSelection, record: Dataset | None, *, is_scaled: bool
) -> tuple[BandSelection, tuple[str, ...]]:
    """Return the names that are bands without asking the server, and the other names."""
    computed = {computed_band.name: computed_band for computed_band in own.computed}
    names, computed_bands, others = [], [], []
    for name in formula.names:
        if name in computed:
            chosen = BandSelection((name,), (computed[name],))
        elif record is not None and find_band(name, record) is not None:
            chosen = select_bands(record.alias, record, (name,), is_scaled=is_scaled)
        elif record is not None and find_index(name) is not None:
            chosen = select_bands(record.alias, record, (), (name,))
        else:
            others.append(name)
            continue
        names.append(name)
        computed_bands += [replace(computed_band, name=name) for computed_band in chosen.computed]
    return BandSelection(tuple(names), tuple(computed_bands)), tuple(others)


def _check_property(name: str, text: str, record: Dataset | None, metadata: AssetMetadata) -> None:
    """Check that a name is a property of the first image, and a number."""
    value = metadata.properties.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return
    if value is not None:
        raise UsageError(f"rank_by={text!r}: the property {name} is not a number; the first image has {value!r:.60}")
    known = [band.name for band in metadata.bands]
    if record is not None:
        known += [*record.band_names, *(index.name for index in list_supported(record))]
    known += [
        property_name
        for property_name, one in metadata.properties.items()
        if isinstance(one, (int, float)) and ":" not in property_name
    ]
    raise UsageError(
        f"rank_by={text!r}: {metadata.id} has no band, spectral index or numeric property {name!r};"
        f" {describe_choices(name, list(dict.fromkeys(known)))}"
    )


def _property_image(image: Any, name: str) -> ee.Image:
    """Return an image whose pixels all have the value of a property, masked if the image lacks it."""
    is_there = image.propertyNames().contains(name)
    value = ee.Image.constant(ee.Number(ee.Algorithms.If(is_there, image.get(name), 0))).toDouble()
    masked: ee.Image = value.updateMask(ee.Image.constant(ee.Number(ee.Algorithms.If(is_there, 1, 0))))
    return masked
