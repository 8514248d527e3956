"""The record of a dataset and of its bands, and the integers as which a dataset may be published."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """The quantization of a dataset's bands: value = sign(stored) * abs(stored / ``divisor``) ** ``power``.

    Attributes:
        dtype: numpy name of the stored type, a signed integer.
        divisor: see above; positive.
        power: see above; positive.
        nodata: stored value of masked pixels, in files without a mask: the least of the type.
    """

    dtype: str
    divisor: float
    power: float
    nodata: int

    @property
    def limit(self) -> int:
        """The greatest stored value; its negative is the least one."""
        return -self.nodata - 1

    def dequantize(self, stored: npt.ArrayLike, dtype: npt.DTypeLike = "float32") -> np.ma.MaskedArray:
        """Return the values of stored integers.

        Args:
            stored: integers of any shape, masked or not.
            dtype: float type of the result; the values are computed in double precision.

        Returns:
            Masked array of the same shape, masked where ``stored`` is masked or ``nodata``.
        """
        import numpy as np

        masked: np.ma.MaskedArray = np.ma.masked_equal(np.ma.asarray(stored), self.nodata)
        doubles = masked.data.astype(np.float64)
        values = np.abs(doubles / self.divisor) ** self.power * np.sign(doubles)
        return np.ma.MaskedArray(values.astype(dtype), np.ma.getmaskarray(masked))


Kind = Literal["image", "collection"]

CATALOG = "https://developers.google.com/earth-engine/datasets/catalog/"
"""Start of the URL of every page of Earth Engine's data catalog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetBand:
    """A band of a dataset.

    Attributes:
        name: as Earth Engine has it.
        description: in a few words; empty if the catalog has none.
        common_names: names of the field ("red", "nir"), lower case. They choose bands as well, and indices need them.
        units: units of the values, as the catalog writes them; empty if they have none or it says none.
        scale: factor of the stored values: value = stored * ``scale`` + ``offset``.
        offset: see ``scale``.
        dtype: numpy name of the type of the values; None if it is not known.
        is_cast: whether the stored values are cast to it, as their own type is wider than they are exact.
        pixel_size: nominal edge of a pixel in metres, where it is not that of the dataset.
        classes: names of the values, if the band is a map of classes.
        colours: colours of the classes, hexadecimal, as far as they are known.
    """

    name: str
    description: str = ""
    common_names: tuple[str, ...] = ()
    units: str = ""
    scale: float = 1.0
    offset: float = 0.0
    dtype: str | None = None
    is_cast: bool = False
    pixel_size: float | None = None
    classes: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset of Earth Engine, as its page in the data catalog describes it.

    Attributes:
        alias: short name, upper case.
        synonyms: other short names, upper case.
        id: asset id.
        kind: one image, or a collection of images.
        provider: who makes the dataset.
        bands: all bands, in the order of the catalog.
        default_bands: names of the bands that are taken if the caller names none, in order.
        pixel_size: nominal edge of a pixel in metres.
        start: first day, YYYY-MM-DD.
        end: last day, inclusive; None if images are still added.
        is_static: whether the images show what hardly changes, such as heights, whatever their dates.
        is_unit_vector: whether the default bands are together a vector of length 1 in each pixel, so that mean vectors
            are divided by their length.
        quantization: how the default bands are published as integers; None if they are not, or it is not known.
        visualization: parameters that make 8-bit colours of ``default_bands`` (``min``, ``max``, ``gamma``,
            ``palette``); empty if the values fit 8 bits unchanged (colours, or class codes, which a stretch would
            falsify), or if the usual colours are not known.
        region: default region; None if the caller must name one.
        mask: name of the usual cloud mask; None if there is none.
        quality_bands: names of the bands that describe the quality of others.
        varying_bands: names of the bands that some images of the collection lack.
        licence: terms of use in short; ``source`` has them in full.
        citation: citation that the producers ask for.
        checked: day on which the description was read, YYYY-MM-DD.
        page: URL of the description, where it is not the page of Earth Engine's catalog.
    """

    alias: str
    synonyms: tuple[str, ...] = ()
    id: str
    kind: Kind
    title: str
    provider: str
    bands: tuple[DatasetBand, ...]
    default_bands: tuple[str, ...]
    pixel_size: float
    start: str
    end: str | None = None
    is_static: bool = False
    is_unit_vector: bool = False
    quantization: Quantization | None = None
    visualization: Mapping[str, Any] = field(default_factory=dict)
    region: str | None = None
    mask: str | None = None
    quality_bands: tuple[str, ...] = ()
    varying_bands: tuple[str, ...] = ()
    licence: str
    citation: str
    checked: str
    page: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The short name and its synonyms."""
        return (self.alias, *self.synonyms)

    @property
    def dtype(self) -> str | None:
        """The numpy name of the type of the default bands; None if it is not known, or they differ."""
        dtypes = {band.dtype for band in self._defaults}
        return dtypes.pop() if len(dtypes) == 1 else None

    @property
    def band_names(self) -> dict[str, str]:
        """Common names of bands, lower case, and the bands that have them."""
        return {common: band.name for band in self.bands for common in band.common_names}

    @property
    def classes(self) -> Mapping[int, str]:
        """The names of the values of the default band, if it is the only one and a map of classes."""
        return self._defaults[0].classes if len(self.default_bands) == 1 else {}

    @property
    def class_colours(self) -> Mapping[int, str]:
        """The colours of these classes, hexadecimal, as far as they are known."""
        return self._defaults[0].colours if len(self.default_bands) == 1 else {}

    @property
    def is_single_period(self) -> bool:
        """Return whether dates select nothing: the dataset is static, or shows one past period of at most a year."""
        if self.is_static or self.end is None:
            return self.is_static
        return dt.date.fromisoformat(self.end) - dt.date.fromisoformat(self.start) <= dt.timedelta(days=366)

    @property
    def is_photographic(self) -> bool:
        """Return whether the default bands are red, green and blue, so that a picture of them looks natural."""
        named = [band.common_names for band in self._defaults]
        colours = ("red", "green", "blue")
        return len(named) == 3 and all(colour in names for colour, names in zip(colours, named, strict=True))

    @property
    def source(self) -> str:
        """The URL of the dataset's description."""
        return self.page or CATALOG + self.id.replace("/", "_")

    @property
    def _defaults(self) -> tuple[DatasetBand, ...]:
        by_name = {band.name: band for band in self.bands}
        return tuple(by_name[name] for name in self.default_bands)
