"""``Image.load``, ``constant``, ``select``, ``rename``, ``addBands``, ``cat``, ``cast``, ``slice``, ``bandNames``,
``bandTypes``, ``date``, ``metadata``, ``retile``: loading, bands, names of bands, metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from eechips_local.evaluation.asset_model import ImageAsset, PixelType
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.graph_nodes import complete_error
from eechips_local.evaluation.lazy_values import LazySequence
from eechips_local.evaluation.type_conversion import promote, shown
from eechips_local.functions.images.image_clip import clip_to_bounds_and_scale
from eechips_local.functions.images.image_math import cast_band
from eechips_local.functions.images.image_projection import projection_of, target_projection
from eechips_local.functions.primitives import elements
from eechips_local.functions.primitives.strings import replace as replace_text
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import WGS84, Projection
from eechips_local.pixels.lazy_image import Image, ImageBand
from eechips_local.pixels.pixelwise_rasters import Empty, constant_image
from eechips_local.pixels.stored_image import stored_image
from eechips_local.pixels.types import named_type, union_type
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.values.regex import compile_regex, matchable
from eechips_local.values.values import Array, Date, ErrorMargin, Geometry, Value

_LARGEST_TILE = 32_768
# Bands that one image may have: more than all images of a collection with a few bands each come to.
_MOST_BANDS = 50_000


@function("Image.load")
def load(context: Context, id: str, version: int) -> Image:
    """Return a stored image."""
    asset = context.note(("asset", id), lambda: context.store.get(id.strip("/")))
    if not isinstance(asset, ImageAsset):
        if asset is not None:
            raise InvalidError(f"Asset '{id}' is not an Image.")
        message = f"Image asset '{id}' not found (does not exist or caller does not have access)."
        raise InvalidError(context.missing(id, message))
    return context.note(("image", id), lambda: stored_image(asset))


@function("Image.constant")
def constant(value: Value) -> Image:
    """Return an image that is the same everywhere: a number, an array, or a list of them as bands.

    ``ee.Image([])`` of Google's client for JavaScript is an image without bands, to which scripts add bands
    (openforis/sepal@1b83d8673d: ``systematicSampling.js``, measured on the service).
    """
    if isinstance(value, Image):
        return value
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, (bool, int, float, Array)) for v in values):
        raise InvalidError("Constant images are made from numbers, arrays, or lists of them.")
    return constant_image(values)


def choose(image: Image, selectors: Sequence[Any]) -> list[ImageBand]:
    """Return the bands that selectors name: names, regular expressions or indices.

    Raises:
        InvalidError: if a selector matches nothing.
    """
    chosen: list[ImageBand] = []
    by_name = {band.name: band for band in image.bands}
    for selector in selectors:
        if isinstance(selector, str):
            if selector in by_name:
                chosen.append(by_name[selector])
                continue
            pattern = compile_regex(selector)
            matching = [band for band in image.bands if pattern.fullmatch(matchable(band.name))]
            if not image.bands and selector.isidentifier():  # patterns have the other words: bandMathOutputBands.mjs
                raise InvalidError(f"Band pattern '{selector}' was applied to an Image with no bands.")
            if not matching:
                raise InvalidError(
                    f"Band pattern '{selector}' did not match any bands. Available bands: [{', '.join(by_name)}]"
                )
            chosen.extend(matching)
        elif isinstance(selector, (int, float)) and not isinstance(selector, bool):
            index = int(selector)
            if not -len(image.bands) <= index < len(image.bands):
                raise InvalidError(
                    f"Invalid band number ({index}) specified to select. Input only contains {len(image.bands)} bands."
                )
            chosen.append(image.bands[index])
        else:
            raise InvalidError(f"Band selectors are names, patterns or indices, not {shown(selector)}.")
    return chosen


def named(image: Image, name: str) -> ImageBand:
    """Return the band of a name.

    Raises:
        InvalidError: if there is none, in the words of https://github.com/gee-community/geemap/issues/904.
    """
    by_name = {band.name: band for band in image.bands}
    if name not in by_name:
        raise InvalidError(f"No band named '{name}'. Available band names: [{', '.join(by_name)}].")
    return by_name[name]


def unique_names(names: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Return names made unique by appending _1, _2, … as Earth Engine does."""
    used = set(taken)
    result = []
    for name in names:
        unique, count = name, 0
        while unique in used:
            count += 1
            unique = f"{name}_{count}"
        used.add(unique)
        result.append(unique)
    return result


_NO_NAME = re.compile(r"[_ ]|.*(?::|ee\.\w+\(\{)|$", re.DOTALL)
"""Names that scripts report as refused (``Image.rename: Invalid band name: '_label'``): those that begin with an
underscore or a blank, or have a colon, and the text of a client's object. Scripts have blanks inside of names.
"""


def _checked(names: list[str]) -> list[str]:
    """Return names for bands.

    Raises:
        InvalidError: for the first that is no name of a band.
    """
    wrong = next((name for name in names if _NO_NAME.match(name)), None)
    if wrong is not None:
        raise InvalidError(f"Invalid band name: '{wrong[:100]}'")
    return names


@function("Image.select")
def select(input: Image, bandSelectors: list[Any], newNames: list[str] | None) -> Image:
    """Return some of the bands, perhaps renamed."""
    chosen = choose(input, bandSelectors)
    if newNames is None:
        names = unique_names([band.name for band in chosen])
    elif len(newNames) != len(chosen):
        raise InvalidError(f"The number of names ({len(newNames)}) must match the number of bands ({len(chosen)}).")
    else:
        names = _checked(newNames)
    return input.with_bands(
        [band if band.name == name else replace(band, name=name) for band, name in zip(chosen, names, strict=True)]
    )


def _refuse_names(name_count: int, band_count: int) -> Sequence[ImageBand]:
    message = f"Image.rename: The number of names ({name_count}) must match the number of bands ({band_count})."
    raise complete_error(InvalidError(message))


@function("Image.rename")
def rename(input: Image, names: list[str]) -> Image:
    """Return all bands under new names.

    A wrong number of names is an error of the bands, not of the image: collections may leave such an image out by its
    properties. ``create_timeseries`` of geemap does so with intervals without images; the service then says that the
    collection is empty: https://github.com/gee-community/geemap/issues/1634
    """
    band_count = len(input.bands)
    if len(names) != band_count:
        return replace(input, bands=LazySequence(lambda: _refuse_names(len(names), band_count)))
    if len(set(_checked(names))) != len(names):
        raise InvalidError("Band names must be unique.")
    return input.with_bands([replace(band, name=name) for band, name in zip(input.bands, names, strict=True)])


@function("Image.addBands")
def add_bands(dstImg: Image, srcImg: Image, names: list[str] | None, overwrite: bool) -> Image:
    """Return the first image's bands, then those of the second."""
    added = choose(srcImg, names) if names is not None else list(srcImg.bands)
    if len(dstImg.bands) + len(added) > _MOST_BANDS:
        raise MemoryLimitError()
    present = {band.name: position for position, band in enumerate(dstImg.bands)}
    if overwrite:
        bands = list(dstImg.bands)
        for band in added:
            if band.name in present:
                bands[present[band.name]] = band
            else:
                bands.append(band)
        return dstImg.with_bands(bands)
    renamed = unique_names([band.name for band in added], list(present))
    return dstImg.with_bands(
        [*dstImg.bands, *(replace(band, name=name) for band, name in zip(added, renamed, strict=True))]
    )


@function("Image.bandNames")
def band_names(image: Image) -> list[str]:
    """Return names of the bands."""
    return [band.name for band in image.bands]


@function("Image.bandTypes")
def band_types(image: Image) -> dict[str, PixelType]:
    """Return types of the bands by name."""
    return {band.name: band.type for band in image.bands}


@function("Image.slice")
def slice_(image: Image, start: int, end: int | None) -> Image:
    """Return a run of bands by position, counted from the end where negative."""
    return image.with_bands(image.bands[start:end])


@function("Image.cat")
def cat(images: list[Any]) -> Image:
    """Return all bands of several images, with the metadata of the first."""
    if not images:
        raise InvalidError("At least one image is needed.")
    promoted = [promote(image, "Image<unknown bands>", "Argument 'images'") for image in images]
    bands = [band for image in promoted for band in image.bands]
    names = unique_names([band.name for band in bands])
    first: Image = promoted[0]
    return first.with_bands([replace(band, name=name) for band, name in zip(bands, names, strict=True)])


@function("Image.cast")
def cast(image: Image, bandTypes: Mapping[str, Any], bandOrder: list[str] | None) -> Image:
    """Return some or all bands cast to types; bands that are missing are added, masked."""
    types = {name: named_type(kind) for name, kind in bandTypes.items()}
    bands = {band.name: cast_band(band, types[band.name]) if band.name in types else band for band in image.bands}
    projection = image.bands[0].projection if image.bands else WGS84
    empty = Empty()
    for name in sorted(types.keys() - bands.keys()):
        bands[name] = ImageBand(name, types[name], projection, empty, fixed=bool(image.bands) and image.bands[0].fixed)
    if bandOrder is None:
        return image.with_bands(tuple(bands.values()))
    if sorted(bandOrder) != sorted(bands):
        raise InvalidError(
            f"The bandOrder must match the full list of bands in the result; expected [{', '.join(bands)}], "
            f"found [{', '.join(bandOrder)}]."
        )
    return image.with_bands([bands[name] for name in bandOrder])


@function("Image.regexpRename")
def regexp_rename(input: Image, regex: str, replacement: str, all: bool) -> Image:
    """Return bands renamed by a regular expression; ``$1`` in the replacement stands for a captured group."""
    flags = "g" if all else ""
    names = [replace_text(band.name, regex, replacement, flags) for band in input.bands]
    if len(set(names)) != len(names):
        raise InvalidError(f"Band names must be unique; found [{', '.join(names)}].")
    return input.with_bands([replace(band, name=name) for band, name in zip(input.bands, names, strict=True)])


@function("Image.geometry")
def geometry(
    feature: Any, maxError: ErrorMargin | None, proj: Projection | None, geodesics: bool | None
) -> Geometry | None:
    """Return the footprint."""
    return elements.geometry(feature, maxError, proj, geodesics)


@function("Image.id")
def id_(element: Any) -> str | None:
    """``system:index``: the id within a collection."""
    identifier = element.properties.get("system:index")
    return None if identifier is None else str(identifier)


@function("Image.copyProperties")
def copy_properties(destination: Any, source: Any, properties: list[str] | None, exclude: list[str] | None) -> Any:
    """Return the destination with properties of the source."""
    return elements.copy_properties(destination, source, properties, exclude)


@function("Image.date")
def date(image: Image) -> Date:
    """``system:time_start``."""
    start = image.properties.get("system:time_start")
    if start is None:
        raise InvalidError("The image has no 'system:time_start' property.")
    return promote(start, "Date", "Property 'system:time_start'")  # type: ignore[no-any-return]


@function("Image.metadata")
def metadata(image: Image, property: str, name: str | None) -> Image:
    """Return a property's value as a constant image, named after it.

    It is "of type double" (https://developers.google.com/earth-engine/apidocs/ee-image-metadata), without a range: the
    guide fits lines to bands of different times (https://developers.google.com/earth-engine/guides/reducers_regression).
    """
    value = image.properties.get(property)
    if isinstance(value, Date):
        value = value.milliseconds
    if not isinstance(value, (int, float)):
        raise InvalidError(f"The property '{property}' is not a number.")
    constant = constant_image([float(value)], [name or property])
    bands = [replace(band, type=PixelType("double")) for band in constant.bands]
    return replace(constant.with_bands(bands), footprint=image.footprint)


@function("Image.retile")
def retile(image: Image, size: int) -> Image:
    """Return the same image: how it is cut up for computation changes no pixel."""
    if not 1 <= size <= _LARGEST_TILE:
        raise InvalidError(f"The tile size must be between 1 and {_LARGEST_TILE}; found {size}.")
    return image


__all__ = [
    "choose", "clip_to_bounds_and_scale", "load", "projection_of", "target_projection", "union_type", "unique_names",
]  # fmt: skip
