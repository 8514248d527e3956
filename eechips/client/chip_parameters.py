"""Build the parameters of the requests for a chip, as the Earth Engine client takes them: format, pixel grid, bands,
and the mask as a band.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from eechips.formats import CHIP_FORMATS, MASK_BAND
from eechips.formats.chip_format import ServiceFormat
from eechips.geo.grid import service_crs
from eechips.recipe.results import Template

if TYPE_CHECKING:
    import ee

    from eechips.geo.grid import Grid
    from eechips.recipe import Chip

Method = Literal["url", "pixels"]

_REST_FORMATS: Mapping[ServiceFormat, str] = {"png": "PNG", "jpg": "JPEG", "tif": "GEO_TIFF", "npy": "NPY"}
_CASTS = {
    "uint8": "toUint8",
    "int8": "toInt8",
    "uint16": "toUint16",
    "int16": "toInt16",
    "uint32": "toUint32",
    "int32": "toInt32",
    "int64": "toInt64",
    "float32": "toFloat",
    "float64": "toDouble",
}


_KEEPING_BANDS = frozenset({*(f"Image.{name}" for name in _CASTS.values()), "Image.unmask", "Image.updateMask"})
"""Functions whose result has the bands of their first argument."""


def request_format(chip: Chip) -> ServiceFormat:
    """Return the format in which Earth Engine is asked for a chip."""
    return CHIP_FORMATS.get(chip.format).request_format


def file_format(chip: Chip) -> str:
    """Return the name of a chip's format in the REST interface (``ImageFileFormat``)."""
    return _REST_FORMATS[request_format(chip)]


def placement(chip: Chip) -> dict[str, Any]:
    """Return the location of the pixels as parameters of ``getThumbURL`` and ``getDownloadURL``.

    ``crs``, ``crs_transform`` and ``dimensions`` together mean exactly those pixels, not resampled further.
    """
    if chip.grid is not None:
        exact = {
            "crs": service_crs(chip.grid.crs),
            "crs_transform": list(chip.grid.transform),
            "dimensions": [chip.grid.width, chip.grid.height],
        }
        # With these three alone the client sends a clip without a size, and a thumbnail that has none is scaled to 512
        # pixels on its longer side. With the rectangle it sends the size.
        return {**exact, "region": grid_rectangle(chip.grid)} if chip.is_picture else exact
    parameters: dict[str, Any] = {"region": chip.region}
    if chip.dimensions is not None:
        parameters["dimensions"] = list(chip.dimensions)
    if chip.scale is not None:
        parameters["scale"] = chip.scale
    if chip.crs is not None:
        parameters["crs"] = service_crs(chip.crs)
    return parameters


def grid_rectangle(grid: Grid) -> ee.Geometry:
    """Return the rectangle of all pixels of a grid, in its own pixel coordinates."""
    import ee

    projection = ee.Projection(service_crs(grid.crs), list(grid.transform))
    corners = [0, 0, grid.width, grid.height]
    rectangle: ee.Geometry = ee.Geometry.Rectangle(corners, projection, geodesic=False, evenOdd=True)
    return rectangle


def rendered(chip: Chip, mask_band: str = MASK_BAND) -> ee.Image:
    """Return the requested image: bands selected; visualized for pictures, with its mask as a band for data."""
    image = chip.image.image() if isinstance(chip.image, Template) else chip.image
    if chip.bands is not None and not has_bands(image, chip.bands):
        image = image.select(list(chip.bands))
    if not chip.is_picture:
        return with_mask_band(image, chip.format, chip.dtype, chip.bands, mask_band)
    return image.visualize(**chip.visualization) if chip.visualization else image


def has_bands(image: ee.Image, bands: Sequence[str]) -> bool:
    """Return whether an image has exactly some bands, as far as the operations show that made it.

    These select or name the bands, and then change types or masks.
    """
    operation: Any = image
    while operation.func is not None and operation.func.getSignature().get("name") in _KEEPING_BANDS:
        operation = next(iter(operation.args.values()))
    inner: Any = (operation.args or {}).get("input")
    return hasattr(inner, "rename") and operation in (inner.select(list(bands)), inner.rename(list(bands)))


def with_mask_band(
    image: ee.Image, chip_format: str, dtype: str | None, bands: Sequence[str] | None, mask_band: str = MASK_BAND
) -> ee.Image:
    """Add the mask as the last band: 1 where all bands are valid, 0 where one is masked.

    A GeoTIFF has one type for all bands, so the mask takes that of the data: the one that the recipe names,
    or the first band's, looked up by the server.

    Args:
        image: with the bands of the chip.
        dtype: numpy name of the pixels' type; None if it is unknown.
        bands: their names; None if they are unknown.
    """
    import ee

    masks = image.mask()
    if bands is None or len(bands) > 1:
        masks = masks.reduce(ee.Reducer.min())
    mask = masks.ceil().rename(mask_band)  # masks are fractions from 0 to 1
    if CHIP_FORMATS.get(chip_format).request_format == "npy":
        return image.addBands(mask.toUint8())
    if dtype is not None:
        return image.addBands(getattr(mask, _CASTS[dtype])())
    first = image.bandTypes().values().get(0)
    return image.addBands(mask.cast(ee.Dictionary({mask_band: first})))
