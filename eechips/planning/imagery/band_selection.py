"""Choose the bands of a dataset (``bands``, ``index``, ``values``), and make them of its images: stored bands, common
names, scaled or quantized values, spectral indices, formulas.

This is the only place where the bands of a result are made.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import ee

from eechips.datasets import Dataset, DatasetBand, Quantization
from eechips.datasets.spectral_indices import SpectralIndex, get_index, match_bands
from eechips.errors import UsageError
from eechips.planning.asset_metadata import AssetMetadata, Band
from eechips.planning.imagery.band_formula import Formula, Value, parse_formula
from eechips.planning.imagery.image_masking import CloudMask
from eechips.planning.imagery.speckle import SpeckleFilter
from eechips.text.suggestion import describe_choices

TYPE_NAMES = {"float32": "float", "float64": "double"}
"""Types of ``ee.Image.cast`` by numpy's names; whole types have the same names."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FormulaInput:
    """A stored band as a variable of a formula.

    Attributes:
        variable: its name in the formula.
        band: its name in the dataset.
        scale: value = stored * ``scale`` + ``offset``.
        offset: see ``scale``.
        is_decibel: whether the stored values are decibels, and the formula takes power.
    """

    variable: str
    band: str
    scale: float = 1.0
    offset: float = 0.0
    is_decibel: bool = False

    @property
    def text(self) -> str:
        """The conversion of the stored values as a formula."""
        scaled = self.band if self.scale == 1 else f"{self.band} * {self.scale!r}"
        scaled = scaled if self.offset == 0 else f"{scaled} + {self.offset!r}"
        return f"10 ** (({scaled}) / 10)" if self.is_decibel else scaled

    def image(self, stored: ee.Image) -> ee.Image:
        """Return the values of the band in double precision."""
        band_values: Any = stored.select([self.band]).toDouble()
        if self.scale != 1:
            band_values = band_values.multiply(self.scale)
        if self.offset != 0:
            band_values = band_values.add(self.offset)
        if self.is_decibel:
            band_values = ee.Image.constant(10.0).pow(band_values.divide(10.0))
        converted: ee.Image = band_values
        return converted


@dataclass(frozen=True, slots=True)
class ComputedBand:
    """A band that is not stored under its name; hashable and picklable.

    Attributes:
        name: name of the result.
        formula: over the variables; None for a copy of ``reference`` under another name.
        constants: the numbers in the formula, by name.
        reference: the stored band whose pixel grid the result has.
    """

    name: str
    formula: Formula | None
    inputs: tuple[FormulaInput, ...]
    constants: tuple[tuple[str, float], ...]
    reference: str

    @property
    def bands(self) -> tuple[str, ...]:
        """The names of the stored bands that it needs."""
        return tuple(dict.fromkeys((self.reference, *(formula_input.band for formula_input in self.inputs))))

    @property
    def parameters(self) -> dict[str, Any]:
        """All that determines its values, as JSON."""
        if self.formula is None:
            return {"name": self.name, "formula": self.reference}
        values: dict[str, Any] = {formula_input.variable: formula_input.text for formula_input in self.inputs}
        return {"name": self.name, "formula": self.formula.text, "values": values | dict(self.constants)}

    def image(self, stored: ee.Image) -> ee.Image:
        """Return the band, computed in double precision and stored as float32.

        Args:
            stored: image with :attr:`bands`.
        """
        if self.formula is None:
            copy: ee.Image = stored.select([self.reference], [self.name])
            return copy
        values: dict[str, Value] = {
            formula_input.variable: formula_input.image(stored) for formula_input in self.inputs
        }
        computed = self.formula.compose(values | dict(self.constants)).toFloat().rename([self.name])
        # A result that begins with a constant would have the projection of a constant: degrees.
        return computed.setDefaultProjection(stored.select([self.reference]).projection())


@dataclass(frozen=True, slots=True)
class BandSelection:
    """The bands of a result, in order; hashable and picklable.

    Attributes:
        names: names of all bands; empty for all of a dataset without a record.
        computed: those that are not stored under their names.
        quantization: as which integers the bands are returned; None for their own values.
        speckle: filter of stored bands of radar images; None for none.
        casts: stored bands whose types differ between images, and the numpy names of the types that hold them all.
    """

    names: tuple[str, ...]
    computed: tuple[ComputedBand, ...] = ()
    quantization: Quantization | None = None
    speckle: SpeckleFilter | None = None
    casts: tuple[tuple[str, str], ...] = ()

    @property
    def is_stored(self) -> bool:
        """Return whether all bands are stored bands, under their own names and unchanged."""
        return not self.computed and self.quantization is None and self.speckle is None and not self.casts

    @property
    def stored(self) -> tuple[str, ...]:
        """The names of the stored bands that are needed, in order."""
        needed_bands = {computed_band.name: computed_band.bands for computed_band in self.computed}
        return tuple(dict.fromkeys(band for name in self.names for band in needed_bands.get(name, (name,))))

    @property
    def parameters(self) -> dict[str, Any]:
        """What determines the values besides the names, as JSON; empty if all bands are stored."""
        computed = {"computed": [computed_band.parameters for computed_band in self.computed]} if self.computed else {}
        quantized = {"quantization": asdict(self.quantization)} if self.quantization is not None else {}
        filtered = {"speckle": self.speckle.text} if self.speckle is not None else {}
        return {**computed, **quantized, **filtered}

    @property
    def has_stored_values(self) -> bool:
        """Return whether all values are as they are stored, perhaps under other names."""
        is_own = self.quantization is None and self.speckle is None
        return is_own and all(computed_band.formula is None for computed_band in self.computed)

    @property
    def copied(self) -> tuple[str, ...]:
        """The stored bands whose values are in the result unchanged."""
        computed = {computed_band.name: computed_band for computed_band in self.computed}
        bands = (self.grid_band(name) for name in self.names if name not in computed or computed[name].formula is None)
        return tuple(band for band in bands if not self._is_filtered(band))

    def grid_band(self, name: str) -> str:
        """Return the stored band whose pixel grid a band of the result has."""
        return next((computed_band.reference for computed_band in self.computed if computed_band.name == name), name)

    def planned(self, unit: Mapping[str, Any], names: Sequence[str] | None = None) -> BandSelection:
        """Return the selection with what a plan found out: the names, if it has none itself, and the casts.

        Args:
            unit: unit of the plan, or its part that describes the dataset.
            names: names of the bands; None for those of the unit.
        """
        band_names = self.names or tuple(unit.get("bands", ()) if names is None else names)
        casts = tuple((name, dtype) for name, dtype in unit.get("casts", ()))
        return replace(self, names=band_names, casts=casts)

    def _is_filtered(self, band: str) -> bool:
        """Return whether a stored band has other values, since its speckle is filtered."""
        return self.speckle is not None and self.speckle.filters(band)

    def find_bands(self, about: AssetMetadata) -> tuple[Band, ...]:
        """Return type and pixel grid of each band.

        Raises:
            UnknownDatasetError: if a band does not exist; the message lists the bands.
        """
        if not self.names:
            return about.bands
        stored = {
            band.name: replace(band, dtype="float32") if self._is_filtered(band.name) else band
            for band in about.select(self.stored)
        }
        computed = {computed_band.name: computed_band for computed_band in self.computed}
        bands = []
        for name in self.names:
            if name not in computed:
                bands.append(stored[name])
                continue
            source = stored[computed[name].reference]
            bands.append(Band(name, source.dtype if computed[name].formula is None else "float32", source.grid))
        if self.quantization is not None:
            bands = [Band(band.name, self.quantization.dtype, band.grid) for band in bands]
        return tuple(bands)

    def select(self, image: ee.Image, mask: CloudMask | None = None, *more: str) -> ee.Image:
        """Return the bands of an image of the dataset, followed by further stored ones.

        Args:
            image: with all its bands and its properties, which the result keeps.
            mask: mask of clouds, applied to the stored bands; None for none.
            *more: names of stored bands; those that are bands of the result already are ignored.
        """
        names = tuple(dict.fromkeys((*self.names, *more)))
        further = [name for name in more if name not in self.names]
        needed = list(dict.fromkeys((*self.stored, *further)))
        stored: ee.Image = image.select(needed) if mask is None else mask.apply(image, needed)
        types = {name: TYPE_NAMES.get(dtype, dtype) for name, dtype in self.casts if name in needed}
        if types:
            stored = stored.cast(types, needed)
        if self.speckle is not None:
            stored = self.speckle.apply(stored, needed).select(needed)
        if self.quantization is not None:
            return stored.addBands(_quantized(stored.select(list(self.names)), self.quantization), None, True)
        if not self.computed:
            return stored
        computed_image = ee.Image.cat([computed_band.image(stored) for computed_band in self.computed])
        selected: ee.Image = stored.addBands(computed_image, None, True).select(list(names))
        return selected


def _quantized(image: Any, quantization: Quantization) -> ee.Image:
    """Return the bands of an image as integers: abs(value) ** (1 / power) * divisor, rounded, with the value's sign."""
    sizes = image.abs().pow(1.0 / quantization.power).multiply(quantization.divisor).round().min(quantization.limit)
    signed = sizes.multiply(image.signum())
    quantized: ee.Image = signed.toInt8() if quantization.dtype == "int8" else signed.toInt16()
    return quantized


def select_bands(
    name: str,
    record: Dataset | None,
    bands: Sequence[str] | None = None,
    indices: Sequence[str] = (),
    expressions: Sequence[str] = (),
    *,
    is_scaled: bool = False,
    is_quantized: bool = False,
) -> BandSelection:
    """Choose the bands of a dataset: stored ones, then indices, then expressions.

    Args:
        name: name of the dataset, as the user wrote it.
        bands: names or common names; None for the default bands, or for none if there are indices or expressions.
        indices: short names of spectral indices.
        expressions: ``name=formula`` each.
        is_scaled: whether scale and offset of the record are applied to ``bands`` and to the bands in expressions. They
            always are in indices. Bands without a scale keep their values and their type.
        is_quantized: whether the bands are returned as the integers of the record's quantization, which it must have.

    Raises:
        UsageError: if a band or an index does not exist or is repeated, or the dataset lacks a band of an index.
    """
    if (is_scaled or indices) and record is None:
        option = "index" if indices else "values"
        raise UsageError(
            f"`{option}` needs the record of a dataset, and {name} has none: its common names and scales are not known;"
            " write a formula, as in index='ndvi=(B8-B4)/(B8+B4)', or a record (a TOML file)"
        )
    if is_quantized and (is_scaled or indices or expressions):
        raise UsageError("values='quantized' returns bands as they are published: leave `index` out")
    if bands is None:
        bands = () if indices or expressions or record is None else record.default_bands
    selected = [_plain_band(band, record, is_scaled=is_scaled) for band in bands]
    if record is not None:
        selected += [_index_band(get_index(band), record) for band in indices]
    selected += [_expression_band(band, name, record, is_scaled=is_scaled) for band in expressions]
    names = tuple(band if isinstance(band, str) else band.name for band in selected)
    if selected[len(bands) :]:  # of stored bands, verbs check this themselves
        twice = next((band for band in names if names.count(band) > 1), None)
        if twice is not None:
            raise UsageError(f"the band {twice} is asked for twice")
    computed = tuple(band for band in selected if isinstance(band, ComputedBand))
    return BandSelection(names, computed, record.quantization if is_quantized and record is not None else None)


def _plain_band(name: str, record: Dataset | None, *, is_scaled: bool) -> str | ComputedBand:
    """Return a band by its name or common name: the name itself if it is stored under it unchanged."""
    band = None if record is None else find_band(name, record)
    if band is None:  # the server says whether it exists
        return name
    if not is_scaled or (band.scale == 1 and band.offset == 0):
        return name if band.name == name else ComputedBand(name, None, (), (), band.name)
    return ComputedBand(name, parse_formula("x"), (_scaled_input("x", band),), (), band.name)


def _index_band(index: SpectralIndex, record: Dataset) -> ComputedBand:
    matched = match_bands(index, record)
    formula = parse_formula(index.expression)
    if not _is_scale_free(formula, tuple(matched.bands), matched.numbers):
        _warn_of_counts(index, record, tuple(matched.bands.values()))
    is_radar = index.domain == "radar"
    inputs = tuple(
        FormulaInput(variable, band.name, band.scale, band.offset, is_radar and band.units == "dB")
        for variable, band in matched.bands.items()
    )
    reference = _finest(tuple(matched.bands.values()), record)
    return ComputedBand(index.name, formula, inputs, tuple(matched.numbers.items()), reference)


def _expression_band(text: str, name: str, record: Dataset | None, *, is_scaled: bool) -> ComputedBand:
    label, equals, formula_text = (part.strip() for part in text.partition("="))
    is_name = label.isidentifier() and label.isascii()  # of a band and of a column
    if not equals or not formula_text or formula_text.startswith("=") or not is_name:
        raise UsageError(f"index={text!r} is not NAME=FORMULA, such as ndvi=(B8-B4)/(B8+B4)")
    formula = parse_formula(formula_text)
    if record is None:
        inputs = tuple(FormulaInput(band_name, band_name) for band_name in formula.names)
        return ComputedBand(label, formula, inputs, (), formula.names[0])
    bands = [_required_band(band_name, text, name, record) for band_name in formula.names]
    inputs = tuple(
        _scaled_input(variable, band) if is_scaled else FormulaInput(variable, band.name)
        for variable, band in zip(formula.names, bands, strict=True)
    )
    return ComputedBand(label, formula, inputs, (), _finest(bands, record))


def _required_band(variable: str, text: str, name: str, record: Dataset) -> DatasetBand:
    band = find_band(variable, record)
    if band is None:
        known = [*(known_band.name for known_band in record.bands), *record.band_names]
        raise UsageError(f"index={text!r}: {name} has no band {variable!r}; {describe_choices(variable, known)}")
    return band


def convert_bands(image: ee.Image, dtype: str | None) -> ee.Image:
    """Convert all bands of an image to the type of a numpy name; None keeps their types."""
    if dtype is None:
        return image
    converted: ee.Image = getattr(image, f"to{TYPE_NAMES.get(dtype, dtype).capitalize()}")()
    return converted


def find_band(name: str, record: Dataset) -> DatasetBand | None:
    """Return the band with a name, or else with a common name."""
    bands: Mapping[str, DatasetBand] = {band.name: band for band in record.bands}
    return bands.get(name) or bands.get(record.band_names.get(name.lower(), ""))


def _scaled_input(variable: str, band: DatasetBand) -> FormulaInput:
    return FormulaInput(variable, band.name, band.scale, band.offset)


def _finest(bands: Sequence[DatasetBand], record: Dataset) -> str:
    """Return the name of the band with the smallest pixels, the first of several."""
    return min(bands, key=lambda band: band.pixel_size or record.pixel_size).name


def _is_scale_free(formula: Formula, variables: Sequence[str], numbers: Mapping[str, float]) -> bool:
    """Return whether a common factor of all bands leaves a formula unchanged, as in ratios."""
    places = [{name: 0.1 + 0.07 * (start + 3 * k) for k, name in enumerate(variables)} for start in (1.0, 2.3)]
    try:
        return all(
            math.isclose(
                formula.calculate({**numbers, **place}),
                formula.calculate({**numbers, **{name: 40.0 * value for name, value in place.items()}}),
                rel_tol=1e-9,
            )
            for place in places
        )
    except UsageError:  # no value there
        return False


def _warn_of_counts(index: SpectralIndex, record: Dataset, bands: Sequence[DatasetBand]) -> None:
    """Log a warning if the values are neither reflectance nor decibels, but counts without a scale."""
    counts = [
        band.name for band in bands if band.scale == 1 and not band.units and (band.dtype or "float").find("int") >= 0
    ]
    if counts:
        _log.warning(
            "%s is computed from the stored values of %s: the record of %s has no scale that makes reflectance of them",
            index.name, ", ".join(counts), record.alias,
        )  # fmt: skip
