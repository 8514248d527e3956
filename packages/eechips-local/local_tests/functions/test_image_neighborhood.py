"""Neighbourhoods against plain loops over numpy arrays and documented behaviour."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.neighborhood import weighted_sum
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError, LimitError
from eechips_local.reducers.rank_statistics import quantiles
from eechips_local.reducers.reducer_samples import SampleColumn
from eechips_local.values.kernel_weights import Weights
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import UTM, asset, constant, evaluate, read, stored, values_of

RANDOM = np.random.default_rng(7)
SHAPE = (48, 64)
BYTES = RANDOM.integers(0, 200, SHAPE).astype(np.uint8)
HOLES = RANDOM.random(SHAPE) > 0.2


def windows(values: Any, reach: int, fill: float = np.nan) -> Any:
    """All windows of (2 reach + 1) squared, shape (height, width, n), with a filler outside."""
    padded = np.pad(values.astype(np.float64), reach, constant_values=fill)
    found = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1))
    return found.reshape(*values.shape, -1)


def square(radius: float, **more: Any) -> Ready:
    return invoke("Kernel.square", radius=radius, **more)


@given(
    arrays(
        np.float64, st.tuples(st.integers(1, 5), st.integers(1, 7)), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])
    ),
    st.integers(0, 2**32 - 1),
)
def test_weighted_sums_are_plain_sums(kernel: Any, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(12, 15))
    shape = (12 - kernel.shape[0] + 1, 15 - kernel.shape[1] + 1)
    expected = np.einsum("ijkl,kl->ij", np.lib.stride_tricks.sliding_window_view(values, kernel.shape), kernel)
    assert np.allclose(weighted_sum(values, Weights(kernel, 0, 0), shape), expected, atol=1e-12)


class TestConvolve:
    def test_a_linear_combination_of_neighbours(self) -> None:
        weights = [[1, 2, 0], [0, -3, 1], [0.5, 0, 4]]
        found = values_of(
            evaluate(
                invoke("Image.convolve", image=stored(), kernel=invoke("Kernel.fixed", weights=weights)), asset(BYTES)
            )
        )
        expected = windows(BYTES, 1) @ np.array(weights).ravel()
        assert np.allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=1e-6)

    def test_masked_neighbours_count_as_zero(self) -> None:
        """A user measured so on 2026-09-29 (code 70191878970): the weights of the others stay, the pixel's mask too."""
        image = invoke("Image.convolve", image=stored(), kernel=square(1))
        found = values_of(evaluate(image, asset(BYTES, valid=HOLES)))
        expected = ndimage.uniform_filter(np.where(HOLES, BYTES, 0.0), 3, mode="constant")
        np.testing.assert_allclose(found, np.where(HOLES, expected, np.nan), rtol=1e-6, atol=1e-6)

    def test_a_window_of_the_image_gives_the_same(self) -> None:
        image = evaluate(invoke("Image.convolve", image=stored(), kernel=square(3)), asset(BYTES))
        whole = values_of(image)
        part = values_of(image, UTM.window(20, 10, 17, 9))
        assert np.allclose(part, whole[10:19, 20:37], rtol=1e-12)

    def test_metres_become_pixels_at_the_scale_of_the_output(self) -> None:
        image = evaluate(invoke("Image.convolve", image=stored(), kernel=square(30, units="meters")), asset(BYTES))
        expected = np.nanmean(windows(BYTES, 3), axis=-1)
        assert np.allclose(values_of(image)[4:-4, 4:-4], expected[4:-4, 4:-4], rtol=1e-6)


class TestReduceNeighborhood:
    @pytest.mark.parametrize(
        ("reducer", "compute"),
        [
            ("mean", np.nanmean), ("min", np.nanmin), ("max", np.nanmax), ("median", np.nanmedian), ("sum", np.nansum),
            ("stdDev", np.nanstd), ("variance", np.nanvar),
        ],
    )  # fmt: skip
    def test_against_numpy(self, reducer: str, compute: Any) -> None:
        image = evaluate(
            invoke(
                "Image.reduceNeighborhood", image=stored(), reducer=invoke(f"Reducer.{reducer}"),
                kernel=square(2, normalize=False),
            ),
            asset(BYTES, valid=HOLES),
        )  # fmt: skip
        assert [b.name for b in image.bands] == [f"B1_{reducer}"]
        found = values_of(image)
        expected = compute(windows(np.where(HOLES, BYTES, np.nan), 2), axis=-1)
        assert np.array_equal(np.isfinite(found), HOLES)
        assert np.allclose(found[HOLES], expected[HOLES], rtol=1e-9, atol=1e-9)

    def test_kernel_weights_count(self) -> None:
        weights = [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
        image = evaluate(
            invoke(
                "Image.reduceNeighborhood", image=stored(), reducer=invoke("Reducer.mean"),
                kernel=invoke("Kernel.fixed", weights=weights),
            ),
            asset(BYTES),
        )  # fmt: skip
        around = windows(BYTES, 1)
        w = np.where(np.isnan(around), 0, np.ravel(weights))
        assert np.allclose(values_of(image), np.nansum(around * w, axis=-1) / w.sum(axis=-1))

    def test_masked_pixels_can_be_filled(self) -> None:
        image = evaluate(
            invoke(
                "Image.reduceNeighborhood", image=stored(), reducer=invoke("Reducer.mean"), kernel=square(1),
                skipMasked=False,
            ),
            asset(BYTES, valid=HOLES),
        )  # fmt: skip
        assert np.isfinite(values_of(image)).mean() > 0.99

    def test_several_outputs(self) -> None:
        image = evaluate(
            invoke("Image.reduceNeighborhood", image=stored(), reducer=invoke("Reducer.minMax"), kernel=square(1)),
            asset(np.stack([BYTES, BYTES // 2])),
        )
        assert [b.name for b in image.bands] == ["B1_min", "B1_max", "B2_min", "B2_max"]

    def test_rows_are_taken_in_blocks(self) -> None:
        """A large kernel on a wide grid: the stack of neighbours is bounded, the result is the same."""
        values = RANDOM.integers(0, 9, (48, 64)).astype(np.uint8)
        image = evaluate(
            invoke(
                "Image.reduceNeighborhood", image=stored(), reducer=invoke("Reducer.max"), kernel=square(20),
            ),
            asset(values),
        )  # fmt: skip
        assert np.array_equal(values_of(image), np.nanmax(windows(values, 20), axis=-1))


class TestFocal:
    @pytest.mark.parametrize("spelling", ["Image.focalMax", "Image.focal_max", "Window.max"])
    def test_the_default_is_a_disc_of_three_by_three(self, spelling: str) -> None:
        image = evaluate(invoke(spelling, image=stored()), asset(BYTES))
        assert [b.name for b in image.bands] == ["B1"]
        assert np.array_equal(values_of(image), np.nanmax(windows(BYTES, 1), axis=-1))

    def test_masked_pixels_are_filled(self) -> None:
        """The gap filling of the guides: image.focal_mean(…).blend(image)."""
        filled = evaluate(
            invoke("Image.blend", bottom=invoke("Image.focalMean", image=stored(), kernelType="square"), top=stored()),
            asset(BYTES, valid=HOLES),
        )
        found = values_of(filled)
        assert np.array_equal(found[HOLES], BYTES[HOLES])
        gaps = ~HOLES & np.isfinite(found)
        expected = np.nanmean(windows(np.where(HOLES, BYTES, np.nan), 1), axis=-1)
        assert gaps.any()
        assert np.allclose(found[gaps], expected[gaps])

    def test_iterations(self) -> None:
        twice = evaluate(
            invoke("Image.focalMin", image=stored(), kernelType="square", radius=1, iterations=2), asset(BYTES)
        )
        assert np.array_equal(values_of(twice), np.nanmin(windows(BYTES, 2), axis=-1))

    def test_plus_has_no_corners(self) -> None:
        image = evaluate(invoke("Image.focalMedian", image=stored(), kernelType="plus", radius=1), asset(BYTES))
        around = windows(BYTES, 1)[..., [1, 3, 4, 5, 7]]
        assert np.array_equal(values_of(image), np.nanmedian(around, axis=-1))

    def test_medians_are_exact_whatever_the_sum_of_the_weights(self) -> None:
        """Else ``eq`` and ``toByte`` of a median of bytes are wrong: 76.99999999999999 becomes 76."""
        for shape, radius in (("square", 3), ("circle", 5)):
            image = invoke("Image.focalMedian", image=stored(), kernelType=shape, radius=radius)
            rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
            near = (rows**2 + columns**2 <= radius**2) | (shape == "square")
            for values, valid in ((BYTES, None), (np.where(HOLES, BYTES, np.nan), HOLES)):
                expected = np.nanmedian(windows(values, radius)[..., near.ravel()], axis=-1)
                found = values_of(evaluate(image, asset(BYTES, valid=valid)))
                assert np.array_equal(found, expected, equal_nan=True)

    def test_neighbours_of_negative_weight_have_no_median(self) -> None:
        image = invoke(
            "Image.reduceNeighborhood",
            image=stored(),
            reducer=invoke("Reducer.median"),
            kernel=invoke("Kernel.fixed", weights=[[-1] * 3] * 3),
        )
        assert np.isnan(values_of(evaluate(image, asset(BYTES)))).all()

    def test_medians_do_not_depend_on_masks_elsewhere(self) -> None:
        random = np.random.default_rng(0)
        values = random.integers(0, 255, (81, 1, 500)).astype(np.uint8)
        weights = np.full(values.shape, 1 / 81)
        held = weights > 0
        alone = quantiles(SampleColumn(values, weights, held, held), [0.5])[0][0]
        weights[0, 0, 0] = 0.001
        beside = quantiles(SampleColumn(values, weights, held, held), [0.5])[0][0]
        assert np.array_equal(alone[0, 1:], beside[0, 1:])
        assert np.array_equal(alone, np.median(values, axis=0))

    def test_unknown_shapes_are_refused(self) -> None:
        with pytest.raises(InvalidError, match="kernelType"):
            evaluate(invoke("Image.focalMax", image=constant(1), kernelType="triangle"))


class TestNeighbours:
    def test_bands_are_named_by_their_offset(self) -> None:
        """As scripts select them: elevation_0_0 is the pixel itself, _1_0 its neighbour to the right."""
        image = evaluate(
            invoke("Image.neighborhoodToBands", image=stored(), kernel=square(1)), asset(BYTES, names=["e"])
        )
        names = [b.name for b in image.bands]
        assert names == [f"e_{x}_{y}" for y in (-1, 0, 1) for x in (-1, 0, 1)]
        by_name = dict(zip(names, read(image), strict=True))
        assert np.array_equal(by_name["e_1_0"].values[:, :-1], BYTES[:, 1:])
        assert np.array_equal(by_name["e_0_-1"].values[1:], BYTES[:-1])
        assert not by_name["e_0_-1"].valid[0].any()

    def test_zero_weights_make_no_band(self) -> None:
        kernel = invoke("Kernel.fixed", weights=[[0, 1, 0], [1, 0, 0]], x=0, y=0)
        image = evaluate(invoke("Image.neighborhoodToBands", image=stored(), kernel=kernel), asset(BYTES))
        assert [b.name for b in image.bands] == ["B1_1_0", "B1_0_1"]

    def test_arrays(self) -> None:
        image = evaluate(
            invoke("Image.neighborhoodToArray", image=stored(), kernel=invoke("Kernel.rectangle", xRadius=2, yRadius=1),
                   defaultValue=-3.7),
            asset(BYTES, valid=HOLES),
        )  # fmt: skip
        (pixels,) = read(image)
        assert image.bands[0].type.dimensions == 2
        padded = np.pad(np.where(HOLES, BYTES, 0), ((1, 1), (2, 2)))  # -3.7 as a byte is 0
        expected = np.lib.stride_tricks.sliding_window_view(padded, (3, 5))
        assert np.array_equal(pixels.values, expected)
        assert np.array_equal(pixels.mask, HOLES)

    def test_only_rectangles_make_arrays(self) -> None:
        with pytest.raises(InvalidError, match="fixed, square and rectangle"):
            evaluate(invoke("Image.neighborhoodToArray", image=constant(1), kernel=invoke("Kernel.circle", radius=1)))


def test_entropy() -> None:
    values = RANDOM.integers(0, 4, SHAPE).astype(np.uint8)
    image = evaluate(invoke("Image.entropy", image=stored(), kernel=square(1)), asset(values))
    around = windows(values, 1)
    shares = np.stack([(around == v).sum(axis=-1) for v in range(4)]) / np.isfinite(around).sum(axis=-1)
    logs = np.log2(shares, out=np.zeros(shares.shape), where=shares > 0)
    assert np.allclose(values_of(image), -(shares * logs).sum(axis=0), atol=1e-6)


def test_entropy_needs_integers() -> None:
    with pytest.raises(InvalidError, match="32-bit or smaller integer"):
        evaluate(invoke("Image.entropy", image=constant(1.5), kernel=square(1)))


@pytest.mark.parametrize("shape", ["circle", "square", "octagon", "cross"])
@pytest.mark.parametrize("reducer", ["mean", "min", "max"])
def test_quick_ways_give_what_the_reducer_gives(shape: str, reducer: str) -> None:
    """Means and extremes along runs of a kernel against the same reducer with another output, one by one."""
    kernel = invoke(f"Kernel.{shape}", radius=4.3)
    slow = invoke("Reducer.combine", reducer1=invoke(f"Reducer.{reducer}"), reducer2=invoke("Reducer.count"),
                  sharedInputs=True)  # fmt: skip
    store = asset(BYTES, valid=HOLES)
    results = [
        read(
            evaluate(
                invoke("Image.reduceNeighborhood", image=stored(), reducer=r, kernel=kernel, skipMasked=False), store
            )
        )[0]
        for r in (invoke(f"Reducer.{reducer}"), slow)
    ]
    assert np.array_equal(results[0].valid, results[1].valid)
    at = results[0].valid
    assert np.allclose(results[0].values[at], results[1].values[at], rtol=1e-12)


def test_an_optimization_takes_the_kernel_at_the_scale_of_the_computation() -> None:
    """A square of 6 km in metres has 13 pixels of 1 km, but 12,001 of a metre, which are too many."""
    coarse = PixelGrid(UTM.crs, UTM.transform @ Affine.scale(100), 3, 2)
    kernel = invoke("Kernel.square", radius=6000, units="meters")
    for optimization in (None, "boxcar", "window"):
        image = invoke(
            "Image.reduceNeighborhood", image=constant(2), reducer=invoke("Reducer.sum"), kernel=kernel,
            optimization=optimization,
        )  # fmt: skip
        assert np.allclose(read(evaluate(image), coarse)[0].values, 2.0)


@pytest.mark.slow
def test_a_huge_kernel_ends_with_an_error() -> None:
    wide = evaluate(invoke("Image.convolve", image=stored(), kernel=square(512)), asset(BYTES))
    many = evaluate(invoke("Image.focalMedian", image=stored(), radius=512), asset(BYTES))
    for image, size in ((wide, 12_000), (many, 8)):
        with pytest.raises(EarthEngineError, match="memory"):
            read(image, UTM.window(0, 0, size, size))


def test_a_median_that_would_not_end_is_refused() -> None:
    """A disc of 100 pixels around each of a million pixels: 31 billion neighbours, sorted."""
    wide = PixelGrid(UTM.crs, UTM.transform, 1000, 1000)
    image = evaluate(
        invoke("Image.focalMedian", image=invoke("Image.random"), radius=100, units="pixels", kernelType="circle")
    )
    with pytest.raises(LimitError, match=r"^User memory limit exceeded\.$"):
        read(image, wide)


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, 1e300, -3.4e38])
@pytest.mark.parametrize("name", ["convolve", "focalMean"])
def test_an_infinite_or_huge_value_changes_only_the_pixels_that_it_is_near_to(name: str, odd: float) -> None:
    reach, values = 4, RANDOM.normal(100.0, 30.0, SHAPE)
    values[20, 15] = odd
    arguments = {"kernel": square(reach)} if name == "convolve" else {"radius": reach, "kernelType": "square"}
    image = invoke(f"Image.{name}", image=stored(), **arguments)
    found = np.asarray(values_of(evaluate(image, asset(values))), dtype=np.float64)
    expected = windows(values, reach).mean(axis=2)
    inside = np.s_[reach:-reach, reach:-reach]
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-9)
