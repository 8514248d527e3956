"""``Image.spectralDistance``, ``unmix`` and ``normalizedDifference``: distances, mixtures and indices of spectra."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.images.image_bands import named
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image, Pixels, bands_from
from eechips_local.pixels.pixelwise_rasters import Joint, PerPixel, all_of, both
from eechips_local.pixels.types import DOUBLE
from eechips_local.protocol.request_errors import InvalidError, check_choice
from eechips_local.values.elementwise import BINARY

Spectra = npt.NDArray[np.float64]
"""Shape (bands, height, width)."""


def _angle(a: Spectra, b: Spectra) -> Spectra:
    """Return the angle between two spectra in radians (Kruse et al. 1993)."""
    norms = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    cosine = np.divide((a * b).sum(axis=0), norms, out=np.ones(norms.shape), where=norms > 0)
    angles: Spectra = np.arccos(np.clip(cosine, -1, 1))
    return angles


def _squares(a: Spectra, b: Spectra) -> Spectra:
    squared_distance: Spectra = ((a - b) ** 2).sum(axis=0)
    return squared_distance


def _divergence(a: Spectra, b: Spectra) -> Spectra:
    """Return the relative entropies of each of the normalised spectra against the other, added (Chang 2000)."""
    with np.errstate(all="ignore"):
        p, q = a / a.sum(axis=0), b / b.sum(axis=0)
        divergence: Spectra = (p * np.log(p / q)).sum(axis=0) + (q * np.log(q / p)).sum(axis=0)
    return divergence


def _transport(a: Spectra, b: Spectra) -> Spectra:
    """Return the earth mover's distance of the normalised spectra, neighbouring bands being at distance 1.

    In one dimension it is the sum of the differences between the running sums (Vallender 1974, "Calculation of the
    Wasserstein distance between probability distributions on the line").
    """
    with np.errstate(all="ignore"):
        moved = np.cumsum(a / a.sum(axis=0) - b / b.sum(axis=0), axis=0)
    transport: Spectra = np.abs(moved[:-1]).sum(axis=0)
    return transport


_METRICS: Mapping[str, Callable[[Spectra, Spectra], Spectra]] = {
    "emd": _transport,
    "sam": _angle,
    "sed": _squares,
    "sid": _divergence,
}


def spectral_metric(name: str) -> Callable[[Spectra, Spectra], Spectra]:
    """Return the metric of a name: from two spectra at each pixel, shape (bands, …), to their distance.

    Raises:
        InvalidError: if there is none.
    """
    check_choice("metric", name, _METRICS)
    return _METRICS[name]


@function("Image.spectralDistance")
def spectral_distance(image1: Image, image2: Image, metric: str) -> Image:
    """Return the distance between the spectra of two images.

    It is their angle, information divergence, squared difference or earth mover's distance.
    """
    distance = spectral_metric(metric)
    if len(image1.bands) != len(image2.bands) or not image1.bands:
        raise InvalidError(
            f"The images must have the same number of bands; found {len(image1.bands)} and {len(image2.bands)}."
        )
    if any(band.type.dimensions for band in (*image1.bands, *image2.bands)):
        raise InvalidError("The local Earth Engine has no spectral distance of array images.")
    count = len(image1.bands)

    def measure(pixels: Sequence[Pixels]) -> list[Pixels]:
        stack = np.stack([p.values.astype(np.float64) for p in pixels])
        with np.errstate(all="ignore"):
            distances = distance(stack[:count], stack[count:])
        known = np.isfinite(distances)
        return [Pixels(np.where(known, distances, 0.0), both(all_of(pixels), known))]

    leader = image1.bands[0] if image1.bands[0].fixed else image2.bands[0]
    raster = Joint((*image1.bands, *image2.bands), measure)
    return image1.computed(bands_from(raster, leader, ["distance"], DOUBLE))


_MOST_CONSTRAINED = 10  # endmembers: every subset of them is tried


@function("Image.unmix")
def unmix(image: Image, endmembers: list[list[float]], sumToOne: bool, nonNegative: bool) -> Image:
    """Return the share of each endmember in each pixel, by least squares under constraints."""
    if not endmembers or any(len(spectrum) != len(image.bands) for spectrum in endmembers):
        raise InvalidError(f"Each endmember needs a value for each of the {len(image.bands)} bands.")
    if nonNegative and len(endmembers) > _MOST_CONSTRAINED:
        raise InvalidError(
            f"The local Earth Engine finds non-negative shares of at most {_MOST_CONSTRAINED} endmembers."
        )
    spectra = np.array(endmembers, dtype=np.float64).T

    def solve(pixels: Sequence[Pixels]) -> list[Pixels]:
        mask = all_of(pixels)
        seen = np.stack([p.values.astype(np.float64) for p in pixels]).reshape(len(pixels), -1)
        shares = _least(spectra, seen, sum_to_one=sumToOne) if nonNegative else _shares(spectra, seen, sumToOne)
        return [Pixels(share.reshape(mask.shape), mask) for share in shares]

    raster = Joint(image.bands, solve)
    return image.computed(bands_from(raster, image.bands[0], [f"band_{i}" for i in range(len(endmembers))], DOUBLE))


def _shares(spectra: Spectra, seen: Spectra, sum_to_one: bool) -> Spectra:
    """Return the least squares, with the sum of the shares bound by a Lagrange multiplier if asked.

    Args:
        spectra: shape (bands, endmembers).
        seen: shape (bands, pixels).
        sum_to_one: whether shares add up to 1.
    """
    shares: Spectra = np.linalg.pinv(spectra) @ seen
    if not sum_to_one:
        return shares
    ones = np.ones(spectra.shape[1])
    turned = np.linalg.pinv(spectra.T @ spectra) @ ones
    bound_shares: Spectra = shares + np.outer(turned / (ones @ turned), 1 - shares.sum(axis=0))
    return bound_shares


def _least(spectra: Spectra, seen: Spectra, *, sum_to_one: bool) -> Spectra:
    """Return the least squares among shares that are not negative: the best of the solutions of all subsets of
    endmembers.

    The optimum is the unconstrained one of the endmembers that take part in it.
    """
    count = spectra.shape[1]
    best = np.zeros((count, seen.shape[1]))
    least = np.full(seen.shape[1], np.inf) if sum_to_one else (seen**2).sum(axis=0)
    for subset in range(1, 1 << count):
        members = [index for index in range(count) if subset >> index & 1]
        shares = _shares(spectra[:, members], seen, sum_to_one)
        rest = ((seen - spectra[:, members] @ shares) ** 2).sum(axis=0)
        better = (shares >= 0).all(axis=0) & (rest < least)
        least = np.where(better, rest, least)
        best[:, better] = 0.0
        best[np.ix_(np.array(members), np.flatnonzero(better))] = shares[:, better]
    return best


@function("Image.normalizedDifference")
def normalized_difference(input: Image, bandNames: list[str] | None) -> Image:
    """Return (first - second) / (first + second); masked where either is negative."""
    chosen = [named(input, name) for name in bandNames] if bandNames is not None else list(input.bands[:2])
    if len(chosen) != 2:
        raise InvalidError(f"Two bands are needed, found {len(chosen)}.")
    first, second = chosen

    def pixel(pixels: Sequence[Pixels]) -> Pixels:
        a, b = (p.values.astype(np.float64) for p in pixels)
        ratio = BINARY["divide"](a - b, a + b).astype(np.float32)
        return Pixels(ratio, both(both(pixels[0].mask, pixels[1].mask), (a >= 0) & (b >= 0)))

    raster = PerPixel(((first, second),), (pixel,))
    return input.computed(bands_from(raster, first, ["nd"], PixelType("float", -1, 1)))
