"""``ee.Image``: spectra of pixels: distances between them, and mixtures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eechips.emulator.errors import InvalidError
from eechips.emulator.functions.registry import function
from eechips.emulator.pixels.compute import Joint, all_of, both
from eechips.emulator.pixels.image import Image, Pixels
from eechips.emulator.pixels.types import DOUBLE

Spectra = npt.NDArray[np.float64]
"""Shape (bands, height, width)."""


def _angle(a: Spectra, b: Spectra) -> Spectra:
    """The angle between two spectra in radians (Kruse et al. 1993)."""
    norms = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    cosine = np.divide((a * b).sum(axis=0), norms, out=np.ones(norms.shape), where=norms > 0)
    found: Spectra = np.arccos(np.clip(cosine, -1, 1))
    return found


def _squares(a: Spectra, b: Spectra) -> Spectra:
    found: Spectra = ((a - b) ** 2).sum(axis=0)
    return found


def _divergence(a: Spectra, b: Spectra) -> Spectra:
    """The relative entropies of each of the normalised spectra against the other, added (Chang 2000)."""
    with np.errstate(all="ignore"):
        p, q = a / a.sum(axis=0), b / b.sum(axis=0)
        found: Spectra = (p * np.log(p / q)).sum(axis=0) + (q * np.log(q / p)).sum(axis=0)
    return found


_METRICS: Mapping[str, Callable[[Spectra, Spectra], Spectra]] = {
    "sam": _angle,
    "sed": _squares,
    "sid": _divergence,
}


@function("Image.spectralDistance")
def spectral_distance(image1: Image, image2: Image, metric: str) -> Image:
    """The distance between the spectra of two images: angle, information divergence or squared difference."""
    if metric not in _METRICS:
        raise InvalidError(f"The local Earth Engine has the metrics {', '.join(map(repr, _METRICS))}; not '{metric}'.")
    if len(image1.bands) != len(image2.bands) or not image1.bands:
        raise InvalidError(
            f"The images must have the same number of bands; found {len(image1.bands)} and {len(image2.bands)}."
        )
    if any(band.type.dimensions for band in (*image1.bands, *image2.bands)):
        raise InvalidError("The local Earth Engine has no spectral distance of array images.")
    count = len(image1.bands)

    def measure(pixels: Sequence[Pixels]) -> list[Pixels]:
        stack = np.stack([p.values.astype(np.float64) for p in pixels])
        found = _METRICS[metric](stack[:count], stack[count:])
        known = np.isfinite(found)
        return [Pixels(np.where(known, found, 0.0), both(all_of(pixels), known))]

    leader = image1.bands[0] if image1.bands[0].fixed else image2.bands[0]
    raster = Joint((*image1.bands, *image2.bands), measure)
    return image1.computed([replace(leader, name="distance", type=DOUBLE, raster=raster, index=0)])


@function("Image.unmix")
def unmix(image: Image, endmembers: list[list[float]], sumToOne: bool, nonNegative: bool) -> Image:
    """The share of each endmember in each pixel, by the pseudo-inverse."""
    if sumToOne or nonNegative:
        raise InvalidError("The local Earth Engine unmixes without constraints only.")
    if not endmembers or any(len(spectrum) != len(image.bands) for spectrum in endmembers):
        raise InvalidError(f"Each endmember needs a value for each of the {len(image.bands)} bands.")
    inverse = np.linalg.pinv(np.array(endmembers, dtype=np.float64).T)

    def solve(pixels: Sequence[Pixels]) -> list[Pixels]:
        mask = all_of(pixels)
        shares = np.einsum("eb,bij->eij", inverse, np.stack([p.values.astype(np.float64) for p in pixels]))
        return [Pixels(share, mask) for share in shares]

    raster = Joint(image.bands, solve)
    leader = image.bands[0]
    return image.computed(
        [replace(leader, name=f"band_{i}", type=DOUBLE, raster=raster, index=i) for i in range(len(endmembers))]
    )
