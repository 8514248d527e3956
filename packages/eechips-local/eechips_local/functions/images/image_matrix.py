"""``Image.matrixMultiply``, ``matrixSolve``, ``matrixInverse``, ``matrixIdentity`` and decompositions: array pixels as
matrices; singular ones are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.least_squares import least_squares
from eechips_local.algorithms.lu_decomposition import lu_factors
from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.images.image_array import check_arrays, where_valid
from eechips_local.functions.images.image_math import paired
from eechips_local.functions.registration import Implementation, function
from eechips_local.pixels.lazy_image import Image, Mask, Pixels, bands_from
from eechips_local.pixels.pixelwise_rasters import Joint, PerPixel, both, constant_image, mapped
from eechips_local.pixels.types import Numbers, union_type
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.ragged_arrays import by_shape_together
from eechips_local.values.values import Array

Matrices = npt.NDArray[np.float64]

_MATRIX = PixelType("double", dimensions=2)
_SINGULAR = 1e-14
_LARGEST = 1000


def _matrices(values: Numbers) -> Matrices:
    """Return array pixels as stacks of matrices of doubles.

    Raises:
        InvalidError: if they are none.
    """
    if values.ndim != 4:
        raise InvalidError(f"Matrices must be 2-dimensional; found arrays of {values.ndim - 2} dimensions.")
    return values.astype(np.float64, copy=False)


def _square(values: Numbers) -> Matrices:
    matrices = _matrices(values)
    if matrices.shape[2] != matrices.shape[3]:
        raise InvalidError(f"The matrix must be square; found {matrices.shape[2]}x{matrices.shape[3]}.")
    return matrices


def _usable(matrices: Matrices, mask: Mask) -> tuple[Matrices, Mask]:
    """Return matrices to compute with: those that are masked, or not finite, are replaced by zeros and stay masked."""
    good = np.isfinite(matrices).all(axis=(2, 3)) & (mask > 0)
    return np.where(good[..., None, None], matrices, 0.0), both(mask, good)


def _regular(matrices: Matrices, mask: Mask) -> tuple[Matrices, Mask]:
    """Return square matrices that can be inverted: singular ones are replaced by the identity, and masked.

    Rows and columns are compared as multiples of their greatest elements: what differs in its unit is not singular.
    """
    matrices, mask = _usable(matrices, mask)
    size = matrices.shape[-1]
    if not size:
        return matrices, mask
    scaled = matrices
    for axis in (-2, -1):
        greatest = np.abs(scaled).max(axis=axis, keepdims=True)
        scaled = scaled / np.where(greatest > 0, greatest, 1.0)
    spread = np.linalg.svd(scaled, compute_uv=False)
    good = spread[..., -1] > _SINGULAR * np.maximum(spread[..., 0], np.finfo(np.float64).tiny)
    return np.where(good[..., None, None], matrices, np.eye(size)), both(mask, good)


def _inverse(pixels: Pixels) -> Pixels:
    matrices, mask = _regular(_square(pixels.values), pixels.mask)
    return Pixels(np.linalg.inv(matrices), mask)


def _pseudo_inverse(pixels: Pixels) -> Pixels:
    matrices, mask = _usable(_matrices(pixels.values), pixels.mask)
    return Pixels(np.linalg.pinv(matrices), mask)


def _determinant(pixels: Pixels) -> Pixels:
    matrices, mask = _usable(_square(pixels.values), pixels.mask)
    return Pixels(np.linalg.det(matrices), mask)


def _trace(pixels: Pixels) -> Pixels:
    return Pixels(np.trace(_matrices(pixels.values), axis1=2, axis2=3), pixels.mask)


def _frobenius(pixels: Pixels) -> Pixels:
    return Pixels(np.linalg.norm(_matrices(pixels.values), axis=(2, 3)), pixels.mask)


def _diagonal(pixels: Pixels) -> Pixels:
    _matrices(pixels.values)
    return Pixels(np.diagonal(pixels.values, axis1=2, axis2=3)[..., None], pixels.mask)


def _to_diagonal(pixels: Pixels) -> Pixels:
    values = pixels.values
    if values.ndim != 4 or values.shape[3] != 1:
        raise InvalidError(f"A single column is needed; found arrays of shape {list(values.shape[2:])}.")
    return Pixels(values * np.eye(values.shape[2], dtype=values.dtype), pixels.mask)


_UNARY: Mapping[str, tuple[Callable[[Pixels], Pixels], PixelType | None]] = {
    "matrixInverse": (_inverse, _MATRIX),
    "matrixPseudoInverse": (_pseudo_inverse, _MATRIX),
    "matrixDeterminant": (_determinant, PixelType("double")),
    "matrixTrace": (_trace, PixelType("double")),
    "matrixFnorm": (_frobenius, PixelType("double")),
    "matrixDiagonal": (_diagonal, None),
    "matrixToDiag": (_to_diagonal, None),
}


def _multiply(a: Pixels, b: Pixels) -> Pixels:
    left, right = (_matrices(_once(pixels.values)) for pixels in (a, b))
    if left.shape[3] != right.shape[2]:
        raise InvalidError(
            f"Matrices of {left.shape[2]}x{left.shape[3]} and {right.shape[2]}x{right.shape[3]} cannot be multiplied."
        )
    mask = both(a.mask, b.mask)
    with np.errstate(all="ignore"):
        product = left @ right
    return Pixels(np.broadcast_to(product, (*mask.shape, *product.shape[2:])), mask)


def _once_for_all(change: Callable[[Pixels], Pixels], pixels: Pixels) -> Pixels:
    """Change one matrix, if it is the same at all pixels, and give the result to all."""
    one = _once(pixels.values)
    if one is pixels.values:
        return change(pixels)
    changed = change(Pixels(one, np.ones((1, 1), dtype=pixels.mask.dtype)))
    values = np.broadcast_to(changed.values, (*pixels.mask.shape, *changed.values.shape[2:]))
    return Pixels(values, both(pixels.mask, np.broadcast_to(changed.mask, pixels.mask.shape)))


def _once(values: Numbers) -> Numbers:
    """Return the arrays of one pixel if all pixels share them; copying them for each took most of a product's time."""
    return values[:1, :1] if values.ndim == 4 and values.size and values.strides[:2] == (0, 0) else values


def _solve(a: Pixels, b: Pixels) -> Pixels:
    """Return x in A x = B, by least squares where there are more equations than unknowns; masked where A has no full
    rank.
    """
    left, mask = _usable(_matrices(a.values), a.mask)
    right, other = _usable(_matrices(b.values), b.mask)
    if left.shape[2] != right.shape[2]:
        raise InvalidError(f"Both matrices must have as many rows; found {left.shape[2]} and {right.shape[2]}.")
    if left.shape[2] < left.shape[3]:
        raise InvalidError(f"The system is underdetermined: {left.shape[2]} equations, {left.shape[3]} unknowns.")
    if not left.shape[3]:
        return Pixels(np.zeros((*left.shape[:2], 0, right.shape[3])), both(mask, other))
    solutions, full = least_squares(left, right)
    return Pixels(solutions, both(both(mask, full), other))


def _unary(change: Callable[[Pixels], Pixels], kind: PixelType | None) -> Implementation:
    def call(value: Image) -> Image:
        check_arrays(value)

        def result(old: PixelType) -> PixelType:
            return replace(old, dimensions=2) if kind is None else kind

        return value.computed(mapped(value.bands, where_valid(lambda pixels: _once_for_all(change, pixels[0])), result))

    return Implementation(call)


def _binary(change: Callable[[Pixels, Pixels], Pixels]) -> Implementation:
    def call(image1: Image, image2: Image) -> Image:
        pairs, like = paired(image1, image2)
        if any(union_type(a.type, b.type).dimensions != 2 for a, b in pairs):
            raise InvalidError("Matrices must be 2-dimensional.")
        raster = PerPixel(tuple(pairs), (where_valid(lambda pixels: change(pixels[0], pixels[1])),) * len(pairs))
        return image1.computed(bands_from(raster, like, kinds=_MATRIX))

    return Implementation(call)


FUNCTIONS: Mapping[str, Implementation] = {
    **{f"Image.{name}": _unary(change, kind) for name, (change, kind) in _UNARY.items()},
    "Image.matrixMultiply": _binary(_multiply),
    "Image.matrixSolve": _binary(_solve),
}
"""Operations of one and of two matrices at each pixel."""


@function("Image.matrixIdentity")
def identity(size: int) -> Image:
    """Return an identity matrix everywhere."""
    if not 1 <= size <= _LARGEST:
        raise InvalidError(f"The size must be between 1 and {_LARGEST}; found {size}.")
    return constant_image([Array(np.eye(size, dtype=np.int64))])


def _decomposed(image: Image, names: Sequence[str], decompose: Callable[[Pixels], Sequence[Pixels]]) -> Image:
    """Return an image with a band for each factor of the matrices of the only band."""
    check_arrays(image)
    if len(image.bands) != 1:
        raise InvalidError(f"The image must have one band; it has {len(image.bands)}.")

    def factors(pixels: Sequence[Pixels]) -> Sequence[Pixels]:
        return decompose(pixels[0]) if pixels[0].valid.any() else [pixels[0]] * len(names)

    raster = Joint(image.bands, by_shape_together(factors))
    (band,) = image.bands
    return image.computed(bands_from(raster, band, names, _MATRIX))


@function("Image.matrixCholeskyDecomposition")
def cholesky(image: Image) -> Image:
    """Return L of L L'; masked where the matrix is not symmetric and positive-definite."""

    def decompose(pixels: Pixels) -> Sequence[Pixels]:
        matrices, mask = _usable(_square(pixels.values), pixels.mask)
        transposed = np.swapaxes(matrices, -1, -2)
        symmetric = np.isclose(matrices, transposed).all(axis=(2, 3))
        least = np.linalg.eigvalsh((matrices + transposed) / 2)[..., 0] if matrices.shape[-1] else np.ones(mask.shape)
        good = symmetric & (least > 0)
        return [
            Pixels(
                np.linalg.cholesky(np.where(good[..., None, None], matrices, np.eye(matrices.shape[-1]))),
                both(mask, good),
            )
        ]

    return _decomposed(image, ["L"], decompose)


@function("Image.matrixQRDecomposition")
def qr(image: Image) -> Image:
    """Return Q and R: orthogonal and upper triangular."""

    def decompose(pixels: Pixels) -> Sequence[Pixels]:
        matrices, mask = _usable(_matrices(pixels.values), pixels.mask)
        return [Pixels(factor, mask) for factor in np.linalg.qr(matrices)]

    return _decomposed(image, ["Q", "R"], decompose)


@function("Image.matrixSingularValueDecomposition")
def svd(image: Image) -> Image:
    """Return U, S and V of U S V': U and V orthogonal, S diagonal and descending."""

    def decompose(pixels: Pixels) -> Sequence[Pixels]:
        matrices, mask = _usable(_matrices(pixels.values), pixels.mask)
        u, values, v = np.linalg.svd(matrices)
        s = np.zeros(matrices.shape)
        index = np.arange(values.shape[-1])
        s[..., index, index] = values
        return [Pixels(u, mask), Pixels(s, mask), Pixels(np.swapaxes(v, -1, -2), mask)]

    return _decomposed(image, ["U", "S", "V"], decompose)


@function("Image.matrixLUDecomposition")
def lu(image: Image) -> Image:
    """Return L, U and P with P A = L U: unit lower triangular, upper triangular, a permutation of rows (partial
    pivots).
    """

    def decompose(pixels: Pixels) -> Sequence[Pixels]:
        matrices, mask = _usable(_square(pixels.values), pixels.mask)
        factors = lu_factors(matrices.reshape(-1, *matrices.shape[2:]))
        return [Pixels(factor.reshape(matrices.shape), mask) for factor in factors]

    return _decomposed(image, ["L", "U", "P"], decompose)
