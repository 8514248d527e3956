"""Array images: the documented examples, and numpy at every pixel."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers import linear_regression, reduce_values
from eechips_local.values.values import Array
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import UTM, asset, constant, evaluate, pixel, read, stored

RANDOM = np.random.default_rng(11)
SIX = invoke("Image.toArray", image=constant(0, 1, 2, 3, 4, 5))
GRID = invoke("Image.arrayReshape", image=SIX, lengths=invoke("Image.toArray", image=constant(2, 3)), dimensions=2)


def reducer(name: str) -> Ready:
    return invoke(f"Reducer.{name}")


def of(values: Any) -> Ready:
    """A constant array image."""
    return invoke("Image.constant", value=invoke("Array", values=np.asarray(values).tolist()))


class TestDocumentedExamples:
    """samples/python/apidocs/ee_image_arrayreduce.py of google/earthengine-community, with its printed results."""

    def test_shapes(self) -> None:
        assert pixel(SIX) == [[0, 1, 2, 3, 4, 5]]
        assert pixel(GRID) == [[[0, 1, 2], [3, 4, 5]]]
        assert pixel(invoke("Image.toArray", image=SIX, axis=1)) == [[[0], [1], [2], [3], [4], [5]]]
        assert pixel(invoke("Image.toArray", image=GRID, axis=2)) == [[[[0], [1], [2]], [[3], [4], [5]]]]

    @pytest.mark.parametrize(
        ("image", "name", "axes", "field", "expected"),
        [
            (SIX, "sum", [0], None, [15]),
            (GRID, "sum", [0], None, [[3, 5, 7]]),
            (GRID, "sum", [1], None, [[3], [12]]),
            (GRID, "sum", [0, 1], None, [[15]]),
            (invoke("Image.toArray", image=SIX, axis=1), "minMax", [0], 1, [[0, 5]]),
            (invoke("Image.toArray", image=GRID, axis=2), "minMax", [0], 2, [[[0, 3], [1, 4], [2, 5]]]),
        ],
    )
    def test_reduce(self, image: Ready, name: str, axes: list[int], field: int | None, expected: Any) -> None:
        more = {} if field is None else {"fieldAxis": field}
        found = invoke("Image.arrayReduce", input=image, reducer=reducer(name), axes=axes, **more)
        assert pixel(found) == [expected]


def test_bands_to_array_and_back() -> None:
    """The loop of every tutorial: toArray, …, arrayProject, arrayFlatten."""
    bands = RANDOM.integers(0, 255, (3, 48, 64)).astype(np.uint8)
    column = invoke("Image.toArray", image=invoke("Image.toArray", image=stored()), axis=1)
    matrix = [[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]]
    product = invoke("Image.matrixMultiply", image1=of(matrix), image2=column)
    flat = invoke("Image.arrayProject", input=product, axes=[0])
    named = evaluate(invoke("Image.arrayFlatten", image=flat, coordinateLabels=[["wet", "green"]]), asset(bands))
    assert [b.name for b in named.bands] == ["wet", "green"]
    expected = np.einsum("kb,bij->kij", np.array(matrix), bands)
    assert np.allclose([p.values for p in read(named)], expected)


def test_a_matrix_that_all_pixels_share_is_not_copied_for_each() -> None:
    """Copies were most of the time of a principal component analysis."""
    matrix = of((np.eye(40) * 2).tolist())
    column = of([[float(row)] for row in range(40)])
    inverse = evaluate(invoke("Image.matrixInverse", value=matrix))
    product = evaluate(invoke("Image.matrixMultiply", image1=matrix, image2=column))
    tracemalloc.start()
    try:
        (inverses,), (products,) = read(inverse), read(product)
        copied = inverses.mask.size * 40 * 40 * 8
        assert tracemalloc.get_traced_memory()[1] < copied / 4
    finally:
        tracemalloc.stop()
    assert (inverses.values == np.eye(40) / 2).all()
    assert (products.values[..., 0] == np.arange(40) * 2).all()


def test_flattened_names_combine_the_labels() -> None:
    labels = [["monday", "tuesday"], ["red", "green", "blue"]]
    image = evaluate(invoke("Image.arrayFlatten", image=GRID, coordinateLabels=labels, separator="-"))
    assert [b.name for b in image.bands][:4] == ["monday-red", "monday-green", "monday-blue", "tuesday-red"]
    assert pixel(invoke("Image.arrayFlatten", image=GRID, coordinateLabels=labels)) == [0, 1, 2, 3, 4, 5]


def test_masked_bands_mask_the_array() -> None:
    masked = invoke("Image.updateMask", image=constant(1), mask=0)
    both = invoke("Image.addBands", dstImg=constant(2), srcImg=masked)
    assert pixel(invoke("Image.toArray", image=both)) == [None]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (invoke("Image.arrayGet", image=GRID, position=constant(1, 2)), 5),
        (invoke("Image.arrayGet", image=GRID, position=constant(-1, -3)), 3),
        (invoke("Image.arraySlice", input=SIX, start=1, end=-1, step=2), [1, 3]),
        (invoke("Image.arraySlice", input=GRID, axis=1, start=-2), [[1, 2], [4, 5]]),
        (invoke("Image.arraySlice", input=SIX, start=9), []),
        (invoke("Image.arrayLength", input=GRID, axis=1), 3),
        (invoke("Image.arrayLengths", input=GRID), [2, 3]),
        (invoke("Image.arrayDimensions", input=GRID), 2),
        (invoke("Image.arrayDimensions", input=constant(1)), 0),
        (invoke("Image.arrayCat", image1=GRID, image2=GRID, axis=0), [[0, 1, 2], [3, 4, 5]] * 2),
        (invoke("Image.arrayCat", image1=SIX, image2=SIX, axis=1), [[v, v] for v in range(6)]),
        (invoke("Image.arrayRepeat", input=GRID, axis=1, copies=2), [[0, 1, 2] * 2, [3, 4, 5] * 2]),
        (invoke("Image.arrayRepeat", input=constant(7), axis=0, copies=3), [7, 7, 7]),
        (invoke("Image.arraySort", image=of([3, 1, 2])), [1, 2, 3]),
        (invoke("Image.arraySort", image=of([[1, 2, 3], [4, 5, 6]]), keys=of([[9, 7, 8]])), [[2, 3, 1], [5, 6, 4]]),
        (invoke("Image.arrayMask", input=GRID, mask=of([[1, 0, 1]])), [[0, 2], [3, 5]]),
        # The rows of one segment by its only key, as eMapR/LT-GEE has them (getChangeMap).
        (invoke("Image.arrayMask", input=of([[4], [5]]), mask=of([[1]])), [[4], [5]]),
        (invoke("Image.arrayMask", input=of([[4], [5]]), mask=of([[0]])), [[], []]),
        (invoke("Image.arrayMask", input=of([[4]]), mask=of([[0]])), [[]]),
        (invoke("Image.arraySort", image=of([[5], [4]]), keys=of([[1]])), [[5], [4]]),
        (invoke("Image.arrayTranspose", input=GRID), [[0, 3], [1, 4], [2, 5]]),
        (invoke("Image.arrayTranspose", input=SIX), [[0, 1, 2, 3, 4, 5]]),
        (invoke("Image.arrayPad", image=GRID, lengths=[3, 2], pad=9), [[0, 1, 2], [3, 4, 5], [9, 9, 9]]),
        (invoke("Image.arrayPad", image=invoke("Image.toUint8", value=of([3])), lengths=[2], pad=-7), [3, -7]),
        (invoke("Image.arrayPad", image=invoke("Image.toUint8", value=of([3])), lengths=[2], pad=2e300), [3, 2e300]),
        (invoke("Image.arrayArgmax", image=of([[1, 9], [9, 2]])), [0, 1]),
        (invoke("Image.arrayAccum", input=SIX, axis=0), [0, 1, 3, 6, 10, 15]),
        (invoke("Image.arrayAccum", input=of([3, 1, 4, 1]), axis=0, reducer=reducer("max")), [3, 3, 4, 4]),
        (invoke("Image.arrayDotProduct", image1=SIX, image2=SIX), 55),
        (invoke("Image.arrayReshape", image=GRID, lengths=invoke("Image.toArray", image=constant(-1)), dimensions=1),
         [0, 1, 2, 3, 4, 5]),
        (invoke("Image.add", image1=GRID, image2=10), [[10, 11, 12], [13, 14, 15]]),
        (invoke("Image.multiply", image1=SIX, image2=SIX), [0, 1, 4, 9, 16, 25]),
        (invoke("Image.gt", image1=SIX, image2=3), [0, 0, 0, 0, 1, 1]),
        (invoke("Image.abs", value=of([-1, 2])), [1, 2]),
        (invoke("Image.matrixIdentity", size=2), [[1, 0], [0, 1]]),
        (invoke("Image.matrixTrace", value=of([[1, 2], [3, 4]])), 5),
        (invoke("Image.matrixDiagonal", value=of([[1, 2], [3, 4]])), [[1], [4]]),
        (invoke("Image.matrixToDiag", value=of([[1], [4]])), [[1, 0], [0, 4]]),
        (invoke("Image.arrayProject", input=of([[[0, 1, 2], [3, 4, 5]]]), axes=[2, 1]), [[0, 1, 2], [3, 4, 5]]),
    ],
)  # fmt: skip
def test_values(call: Ready, expected: Any) -> None:
    assert pixel(call) == [expected]


@pytest.mark.parametrize(
    "call",
    [
        invoke("Image.arrayGet", image=GRID, position=constant(1)),
        invoke("Image.arrayGet", image=GRID, position=constant(0, 3)),
        invoke("Image.arrayGet", image=GRID, position=constant(-3, 0)),
        invoke("Image.arrayGet", image=GRID, position=constant(0, math.nan)),
        invoke("Image.arrayProject", input=GRID, axes=[0]),
        invoke("Image.arrayProject", input=GRID, axes=[2]),
        invoke("Image.arrayFlatten", image=GRID, coordinateLabels=[["a", "b"], ["c"]]),
        invoke("Image.arrayReduce", input=SIX, reducer=reducer("minMax"), axes=[0]),
        invoke("Image.arrayReduce", input=constant(1), reducer=reducer("sum"), axes=[0]),
        invoke("Image.arrayCat", image1=SIX, image2=GRID, axis=0),
        invoke("Image.toArray", image=constant(1, 2), axis=1),
        invoke("Image.matrixMultiply", image1=GRID, image2=GRID),
        invoke("Image.matrixInverse", value=GRID),
        invoke("Image.add", image1=SIX, image2=GRID),
        invoke("Image.arraySlice", input=SIX, step=0),
        invoke("Image.arrayRepeat", input=SIX, axis=0, copies=10**9),
        invoke("Image.arrayPad", image=SIX, lengths=[10**9]),
    ],
)
def test_invalid_arguments_are_refused(call: Ready) -> None:
    with pytest.raises(InvalidError):
        pixel(call)


def test_slices_by_images_are_taken_of_arrays_without_elements() -> None:
    nothing = invoke("Image.arraySlice", input=SIX, start=9)
    assert pixel(invoke("Image.arraySlice", input=nothing, axis=0, start=0, end=constant(1))) == [[]]


def test_lengths_may_differ_between_pixels() -> None:
    ends = np.arange(48 * 64).reshape(48, 64) % 8
    cut = invoke("Image.arraySlice", input=SIX, end=stored())
    (lengths,) = read(evaluate(invoke("Image.arrayLength", input=cut, axis=0), asset(ends.astype(np.int16))))
    assert np.array_equal(lengths.values, np.minimum(ends, 6))
    total = invoke(
        "Image.arrayReduce", input=invoke("Image.multiply", image1=cut, image2=2), reducer=reducer("sum"), axes=[0]
    )
    (found,) = read(evaluate(invoke("Image.arrayProject", input=total, axes=[0]), asset(ends.astype(np.int16))))
    sums = np.array([sum(range(min(end, 6))) * 2 for end in range(8)])[ends]
    assert np.array_equal(found.values[..., 0][found.valid], sums[found.valid])


class TestMaskedSeries:
    """Series with gaps: the arrays of pixels differ in length."""

    VALUES = RANDOM.integers(0, 100, (7, 48, 64)).astype(np.int16)
    CLEAR = (RANDOM.random((7, 48, 64)) < 0.6)  # fmt: skip
    IMAGES = invoke(
        "ImageCollection.fromImages",
        images=[
            invoke(
                "Image.updateMask",
                image=invoke("Image.select", input=stored(), bandSelectors=[2 * i], newNames=["v"]),
                mask=invoke("Image.select", input=stored(), bandSelectors=[2 * i + 1]),
            )
            for i in range(7)
        ],
    )
    SOURCE = np.stack([VALUES, CLEAR.astype(np.int16)], axis=1).reshape(14, 48, 64)

    def image(self, call: Ready) -> Any:
        (pixels,) = read(evaluate(call, asset(self.SOURCE)))
        return pixels

    def test_lengths_are_counts(self) -> None:
        array = invoke("ImageCollection.toArray", collection=self.IMAGES)
        found = self.image(invoke("Image.arrayLength", input=array, axis=0))
        counts = self.CLEAR.sum(axis=0)
        assert np.array_equal(found.valid, counts > 0)
        assert np.array_equal(found.values[found.valid], counts[found.valid])

    def test_each_pixel_has_its_clear_values_in_order(self) -> None:
        array = invoke("ImageCollection.toArrayPerBand", collection=self.IMAGES, dropMasked=True)
        found = self.image(array)
        for row, column in [(0, 0), (3, 5), (47, 63), (20, 11)]:
            assert found.values[row, column].tolist() == self.VALUES[self.CLEAR[:, row, column], row, column].tolist()

    def test_the_last_of_the_sorted_is_the_greatest(self) -> None:
        """The recipe of guides/arrays_sorting: sort by a key, slice the end, and back to a band."""
        array = invoke("ImageCollection.toArray", collection=self.IMAGES)
        ordered = invoke("Image.arraySort", image=array, keys=invoke("Image.multiply", image1=array, image2=1))
        last = invoke("Image.arraySlice", input=ordered, axis=0, start=-1)
        flat = invoke(
            "Image.arrayFlatten", image=invoke("Image.arrayProject", input=last, axes=[1]), coordinateLabels=[["v"]]
        )
        found = self.image(flat)
        best = np.where(self.CLEAR, self.VALUES, -1).max(axis=0)
        assert np.array_equal(found.valid, best >= 0)
        assert np.array_equal(found.values[found.valid], best[found.valid])

    def test_means_need_no_equal_lengths(self) -> None:
        array = invoke("ImageCollection.toArray", collection=self.IMAGES)
        mean = invoke("Image.arrayReduce", input=array, reducer=reducer("mean"), axes=[0])
        found = self.image(invoke("Image.arrayGet", image=mean, position=constant(0, 0)))
        expected = np.ma.masked_array(self.VALUES, ~self.CLEAR).mean(axis=0)
        assert np.allclose(found.values[found.valid], expected.compressed())

    def test_masks_of_elements(self) -> None:
        array = invoke("ImageCollection.toArrayPerBand", collection=self.IMAGES, dropMasked=True)
        some = invoke("Image.arrayMask", input=array, mask=invoke("Image.gt", image1=array, image2=50))
        found = self.image(invoke("Image.arrayLength", input=some, axis=0))
        expected = (self.CLEAR & (self.VALUES > 50)).sum(axis=0)
        assert np.array_equal(found.values[found.valid], expected[found.valid])


def test_nothing_but_masked_pixels() -> None:
    """Outside a clip there are no arrays to look at, and nothing fails."""
    far = invoke("GeometryConstructors.Point", coordinates=[0, 0])
    image = invoke("Image.clip", input=GRID, geometry=invoke("Geometry.buffer", geometry=far, distance=10))
    for name, arguments in [
        ("Image.arrayReduce", {"input": image, "reducer": reducer("sum"), "axes": [0]}),
        ("Image.arrayTranspose", {"input": image}),
        ("Image.matrixPseudoInverse", {"value": image}),
        ("Image.matrixQRDecomposition", {"image": image}),
        ("Image.arrayFlatten", {"image": image, "coordinateLabels": [["a", "b"], ["c", "d", "e"]]}),
        ("Image.arrayGet", {"image": image, "position": constant(0, 0)}),
    ]:
        assert not any(p.valid.any() for p in read(evaluate(invoke(name, **arguments)), UTM))


class TestMatrices:
    """Decompositions at every pixel against numpy, and against what defines them."""

    BANDS = RANDOM.normal(size=(9, 48, 64))
    MATRIX = invoke(
        "Image.arrayReshape", image=invoke("Image.toArray", image=stored()),
        lengths=invoke("Image.toArray", image=constant(3, 3)), dimensions=2,
    )  # fmt: skip
    VALUES = np.moveaxis(BANDS, 0, -1).reshape(48, 64, 3, 3)

    def factors(self, name: str, argument: str = "image", value: Any = None) -> list[Any]:
        image = evaluate(
            invoke(f"Image.{name}", **{argument: self.MATRIX if value is None else value}), asset(self.BANDS)
        )
        pixels = read(image)
        assert all(p.valid.all() for p in pixels)
        return [p.values for p in pixels]

    def test_inverse(self) -> None:
        (inverse,) = self.factors("matrixInverse", "value")
        assert np.allclose(inverse @ self.VALUES, np.eye(3), atol=1e-6)

    def test_determinant(self) -> None:
        assert np.allclose(self.factors("matrixDeterminant", "value")[0], np.linalg.det(self.VALUES))

    def test_norm(self) -> None:
        assert np.allclose(self.factors("matrixFnorm", "value")[0], np.linalg.norm(self.VALUES, axis=(2, 3)))

    def test_qr(self) -> None:
        q, r = self.factors("matrixQRDecomposition")
        assert np.allclose(q @ r, self.VALUES)
        assert np.allclose(np.swapaxes(q, 2, 3) @ q, np.eye(3))
        assert np.allclose(np.tril(r, -1), 0)

    def test_svd(self) -> None:
        u, s, v = self.factors("matrixSingularValueDecomposition")
        assert np.allclose(u @ s @ np.swapaxes(v, 2, 3), self.VALUES)

    def test_cholesky(self) -> None:
        square = invoke(
            "Image.matrixMultiply", image1=invoke("Image.matrixTranspose", input=self.MATRIX), image2=self.MATRIX
        )
        (factor,) = self.factors("matrixCholeskyDecomposition", value=square)
        assert np.allclose(factor @ np.swapaxes(factor, 2, 3), np.swapaxes(self.VALUES, 2, 3) @ self.VALUES)

    def test_solve(self) -> None:
        image = invoke("Image.matrixSolve", image1=self.MATRIX, image2=of([[1.0], [2.0], [3.0]]))
        (pixels,) = read(evaluate(image, asset(self.BANDS)))
        assert np.allclose(self.VALUES @ pixels.values, [[1.0], [2.0], [3.0]])

    def test_least_squares(self) -> None:
        design, seen = RANDOM.normal(size=(6, 2)), RANDOM.normal(size=(6, 1))
        found = pixel(invoke("Image.matrixSolve", image1=of(design), image2=of(seen)))
        assert np.allclose(found[0], np.linalg.lstsq(design, seen, rcond=None)[0])

    def test_powers_of_hours_are_independent(self) -> None:
        """Savitzky and Golay's filter as it is copied: cubic polynomials of hours since 2010, over nine images of
        MODIS; numpy's polynomials scale the hours.
        """
        hours = 384.0 * np.arange(200, 209)
        seen = np.sin(hours / 900.0)
        expected = np.polynomial.Polynomial.fit(hours, seen, 3)(hours)
        design, column = np.vander(hours, 4, increasing=True), seen[:, None]
        (solved,) = pixel(invoke("Image.matrixSolve", image1=of(design), image2=of(column)))
        assert np.allclose(design @ solved, expected[:, None], atol=1e-6)
        array = evaluate(invoke("Array.matrixSolve", left=design.tolist(), right=column.tolist()))
        assert np.allclose(design @ array.values, expected[:, None], atol=1e-6)
        fit = reduce_values(np.column_stack([design, seen]).tolist(), linear_regression(4, 1))
        assert np.allclose(design @ fit["coefficients"].values, expected[:, None], atol=1e-6)

    def test_matrices_of_unlike_units_have_inverses(self) -> None:
        matrix = np.diag([1.0, 1e-9, 1e9])
        assert np.allclose(pixel(invoke("Image.matrixInverse", value=of(matrix))), np.diag([1.0, 1e9, 1e-9]))

    def test_singular_matrices_are_masked(self) -> None:
        assert pixel(invoke("Image.matrixInverse", value=of([[1.0, 2.0], [2.0, 4.0]]))) == [None]
        twice = of([[1.0, 1e6], [2.0, 2e6], [3.0, 3e6]])
        assert pixel(invoke("Image.matrixSolve", image1=twice, image2=of([[1.0], [2.0], [4.0]]))) == [None]


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(arrays(np.int64, array_shapes(min_dims=1, max_dims=3, max_side=4), elements=st.integers(-99, 99)), st.data())
def test_reductions_are_numpy_s(values: Any, data: Any) -> None:
    axes = data.draw(st.lists(st.integers(0, values.ndim - 1), min_size=1, unique=True))
    image = evaluate(invoke("Image.arrayReduce", input=of(values), reducer=reducer("max"), axes=axes))
    (found,) = read(image, UTM.window(0, 0, 2, 3))
    assert image.bands[0].type.dimensions == values.ndim
    assert np.array_equal(found.values[1, 1], values.max(axis=tuple(axes), keepdims=True))


def test_constants_carry_arrays() -> None:
    image = evaluate(of([[1, 2], [3, 4]]))
    assert isinstance(evaluate(invoke("Array", values=[1, 2])), Array)
    assert image.bands[0].type.dimensions == 2
    assert (image.bands[0].type.minimum, image.bands[0].type.maximum) == (1, 4)


def test_bits_become_arrays_as_long_as_they_need_be() -> None:
    values = np.arange(48 * 64).reshape(48, 64).astype(np.int16)
    (found,) = read(evaluate(invoke("Image.bitsToArrayImage", input=stored()), asset(values)))
    for row, column in [(0, 0), (0, 1), (0, 5), (20, 3), (47, 63)]:
        assert "".join(map(str, found.values[row, column])) == f"{values[row, column]:b}"
    assert pixel(invoke("Image.bitsToArrayImage", input=constant(6))) == [[1, 1, 0]]


def test_lu() -> None:
    random = np.random.default_rng(9)
    square = random.normal(size=(4, 4))
    image = evaluate(invoke("Image.matrixLUDecomposition", image=of(square)))
    lower, upper, order = (p.values[0, 0] for p in read(image, UTM.window(0, 0, 1, 1)))
    assert [band.name for band in image.bands] == ["L", "U", "P"]
    assert np.allclose(order @ square, lower @ upper)
    assert np.allclose(np.triu(lower, 1), 0)
    assert np.allclose(np.diag(lower), 1)
    assert np.allclose(np.tril(upper, -1), 0)
    assert (np.abs(lower) <= 1 + 1e-12).all()
    assert sorted(order.sum(axis=0)) == [1, 1, 1, 1]
