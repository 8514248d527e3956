"""Look up the bands, value ranges and colours in which the data of a known dataset are displayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eechips.datasets import Dataset, find_dataset

_COLOURS = (
    ("r", "g", "b"),
    ("red", "green", "blue"),
    ("b4", "b3", "b2"),
    ("sr_b4", "sr_b3", "sr_b2"),
    ("sr_b3", "sr_b2", "sr_b1"),
    ("b3", "b2", "b1"),
    ("sur_refl_b01", "sur_refl_b04", "sur_refl_b03"),
)
"""Names of bands, in lower case, that are red, green and blue: the first that a file has."""

_COUNTS = (1, 3)  # bands of a picture
_CODES = 256  # of classes that have a colour each; greater ones are painted by a palette


@dataclass(frozen=True, slots=True)
class DisplayStyle:
    """The usual picture of a dataset.

    Attributes:
        bands: one, or those that are red, green and blue.
        dtype: numpy name of the type that holds their values; None if it is not known.
        low: value that is black; None for what the files have.
        high: value that is white.
        gamma: gamma of what lies between.
        palette: colours of one band, hexadecimal, from ``low`` to ``high``.
        classes: names of values, if these are classes.
        colours: colours of the classes, hexadecimal.
    """

    bands: tuple[str, ...]
    dtype: str | None
    low: float | None = None
    high: float | None = None
    gamma: float = 1.0
    palette: tuple[str, ...] = ()
    classes: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset) -> DisplayStyle | None:
        """Return the style of a dataset; None if it says nothing of pictures."""
        look, bands = dataset.visualization, dataset.default_bands
        if len(bands) not in _COUNTS:
            return None
        if dataset.classes and max(dataset.classes) < _CODES:
            return cls(bands, dataset.dtype, classes=dataset.classes, colours=dataset.class_colours)
        if len(bands) == 1 and "palette" not in look:  # grey from sea to summit tells little of one place
            return cls(bands, dataset.dtype)
        if "min" not in look:
            return cls(bands, dataset.dtype, 0.0, 255.0) if dataset.dtype == "uint8" else None
        palette = tuple(look.get("palette", ()))
        return cls(bands, dataset.dtype, look["min"], look["max"], look.get("gamma", 1.0), palette)


def display_styles(info: Mapping[str, Any]) -> tuple[DisplayStyle, ...]:
    """Return the styles of a run's datasets, by its run.json."""
    listed = info.get("datasets")
    ids = [dataset.get("id") for dataset in listed if isinstance(dataset, Mapping)] if isinstance(listed, list) else []
    known = [find_dataset(dataset) for dataset in ids if isinstance(dataset, str)]
    computed = _computed_names(info.get("parameters"))
    styles = [style for dataset in known if dataset is not None and (style := DisplayStyle.of(dataset)) is not None]
    return tuple(style for style in styles if not computed & {*style.bands})


def class_names(info: Mapping[str, Any]) -> Mapping[int, str]:
    """Return the names of the classes in which a run drew random points, by its run.json; none if they are unknown."""
    parameters = info.get("parameters")
    image = parameters.get("class_image") if isinstance(parameters, Mapping) else None
    known = find_dataset(str(image).partition(":")[0]) if image else None
    return known.classes if known is not None else {}


def _computed_names(parameters: object) -> set[str]:
    """Return the names of bands whose values are not those that are stored, as for reflectances."""
    if not isinstance(parameters, Mapping):
        return set()
    layers = parameters.get("layers")
    settings = [parameters, *(layers if isinstance(layers, list) else ())]
    bands = [entry.get("computed") for entry in settings if isinstance(entry, Mapping)]
    flat = [band for entry in bands if isinstance(entry, list) for band in entry if isinstance(band, Mapping)]
    return {str(band.get("name")) for band in flat if "values" in band}


def choose_style(names: Sequence[str], styles: Sequence[DisplayStyle]) -> tuple[list[int], DisplayStyle | None]:
    """Return the bands of a file that are painted, and the style that they have.

    Args:
        names: names of the file's bands; empty texts if unknown.
        styles: styles of the datasets that the file may be of.

    Returns:
        Numbers of one band or of three, from 0; those of a style's, or else red, green and blue by their usual names,
        or else the first.
    """
    for style in styles:
        if {*style.bands} <= {*names}:
            return [names.index(band) for band in style.bands], style
    lower = [name.lower() for name in names]
    for colours in _COLOURS:
        if {*colours} <= {*lower}:
            return [lower.index(band) for band in colours], None
    return (list(range(3)) if len(names) >= 3 else [0]), None
