"""Reducers that fit or compare several inputs, against numpy, pandas and closed forms."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local import reducers as r
from eechips_local.algorithms.distributions import two_sided
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers import ReducerSample, reduce_values, sample_of
from eechips_local.values.values import Array
from local_tests.support.reducers import reducer


class TestRegressions:
    RANDOM = np.random.default_rng(5)

    def test_linear_fit_and_regression_against_numpy(self) -> None:
        x = self.RANDOM.normal(size=(3, 40))
        y = self.RANDOM.normal(size=(2, 40))
        rows = np.vstack([x, y]).T.tolist()
        found = reduce_values(rows, r.linear_regression(3, 2))
        truth, squares, _, _ = np.linalg.lstsq(x.T, y.T, rcond=None)
        np.testing.assert_allclose(found["coefficients"].values, truth, atol=1e-12)
        np.testing.assert_allclose(found["residuals"].values, np.sqrt(squares / 40), atol=1e-12)
        fit = reduce_values(np.vstack([x[0], y[0]]).T.tolist(), r.LINEAR_FIT)
        scale, offset = np.polyfit(x[0], y[0], 1)
        assert fit == {"scale": pytest.approx(scale), "offset": pytest.approx(offset)}

    def test_weights(self) -> None:
        """A weight of 2 is the same as giving a tuple twice."""
        x, y = self.RANDOM.normal(size=(2, 9))
        twice = np.vstack([np.r_[x, x[:3]], np.r_[y, y[:3]]])
        weights = np.r_[np.full(3, 2.0), np.ones(6)]
        for made in (r.LINEAR_FIT, r.linear_regression(1, 1)):
            heavy = made.results(ReducerSample(np.vstack([x, y]), weights, np.ones(9, dtype=bool)))
            doubled = made.results(sample_of(twice.tolist()))
            for one, other in zip(heavy, doubled, strict=True):
                np.testing.assert_allclose(*(getattr(v, "values", v) for v in (one, other)))

    def test_underdetermined(self) -> None:
        assert reduce_values([[1, 2]], r.linear_regression(1, 1)) == {"coefficients": None, "residuals": None}
        flat = reduce_values([[1, 1, 2]] * 9, r.linear_regression(2, 1))
        assert flat == {"coefficients": None, "residuals": None}
        assert reduce_values([[1, 2], [1, 3]], r.LINEAR_FIT) == {"scale": None, "offset": None}

    def test_robust_regression_leaves_outliers_out(self) -> None:
        x = np.arange(20.0)
        y = 2 * x + 1 + 0.01 * np.sin(x)
        y[[4, 13]] += 50
        rows = np.column_stack([np.ones(20), x, y]).tolist()
        found = reduce_values(rows, r.robust_linear_regression(2, 1, None))["coefficients"].values
        np.testing.assert_allclose(found.ravel(), [1, 2], atol=0.02)

    @pytest.mark.slow
    def test_ridge_regression_against_scikit_learn(self) -> None:
        pytest.importorskip("sklearn")
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        x = self.RANDOM.normal(5, 1, (40, 3)) * [1, 10, 100]
        y = x @ self.RANDOM.normal(size=(3, 2)) + self.RANDOM.normal(7, 20, (40, 2))
        found = reduce_values(np.c_[x, y].tolist(), r.ridge_regression(3, 2, 2.5))
        model = make_pipeline(StandardScaler(), Ridge(2.5)).fit(x, y)
        left = y - model.predict(x)
        coefficients = found["coefficients"].values
        assert coefficients.shape == (4, 2)
        np.testing.assert_allclose(coefficients[3], model.predict(np.zeros((1, 3)))[0])
        np.testing.assert_allclose(x @ coefficients[:3] + coefficients[3], model.predict(x))
        np.testing.assert_allclose(found["residuals"].values, np.sqrt((left**2).mean(axis=0)))

    def test_without_a_penalty_ridge_regression_is_ordinary(self) -> None:
        """The p-value is that of the F test of the regression."""
        stats = pytest.importorskip("scipy.stats")
        x, y = self.RANDOM.normal(size=(2, 25))
        found = reduce_values(np.c_[x, y].tolist(), r.ridge_regression(1, 1, 0))
        expected = stats.linregress(x, y)
        np.testing.assert_allclose(found["coefficients"].values.ravel(), [expected.slope, expected.intercept])
        np.testing.assert_allclose(found["pValue"].values, [expected.pvalue])

    def test_ridge_regression_leaves_tuples_with_nulls_out(self) -> None:
        rows: list[list[Any]] = [[1, 2], [2, 3], [None, 99], [5, 7], [4, None], [7, 8]]
        whole = [row for row in rows if None not in row]
        found, expected = (reduce_values(part, r.ridge_regression(1, 1, 0.1)) for part in (rows, whole))
        assert all(np.array_equal(found[name].values, expected[name].values) for name in found)

    @pytest.mark.parametrize("rows", [[], [[1, 2]], [[1, 2], [1, 3], [1, 4]]])
    def test_ridge_regression_is_null_where_it_is_not_determined(self, rows: list[list[int]]) -> None:
        assert set(reduce_values(rows, r.ridge_regression(1, 1, 0.1)).values()) == {None}

    def test_ridge_regression_refuses_a_negative_penalty(self) -> None:
        with pytest.raises(InvalidError, match=r"lambda must not be negative or infinite; found -1\."):
            reducer("ridgeRegression", numX=1, lambda_=-1)

    def test_correlations_against_pandas(self) -> None:
        x = self.RANDOM.integers(0, 6, 30)
        y = x + self.RANDOM.integers(0, 6, 30)
        rows = np.column_stack([x, y]).tolist()
        frame = pd.DataFrame({"x": x, "y": y})
        pearson = reduce_values(rows, r.PEARSONS_CORRELATION)
        assert pearson["correlation"] == pytest.approx(frame.corr().loc["x", "y"])
        t = pearson["correlation"] * math.sqrt(28 / (1 - pearson["correlation"] ** 2))
        assert pearson["p-value"] == pytest.approx(float(two_sided(t, 28)))
        spearman = reduce_values(rows, r.SPEARMANS_CORRELATION)
        assert spearman == pytest.approx(frame.rank().corr().loc["x", "y"])

    @pytest.mark.parametrize("value", [0.1, 0.3, 100000.1])
    @pytest.mark.parametrize("weight", [1.0, 0.1])
    def test_a_constant_has_no_slope_and_no_correlation(self, value: float, weight: float) -> None:
        """The mean of seven times 0.1 is not 0.1: rounding must not become a slope."""
        held, other = [value] * 7, [0.7 * i for i in range(7)]
        weights = [[weight] * 7] * 2
        flat = r.LINEAR_FIT.apply(sample_of([held, other], weights))
        assert not any(output.valid.any() for output in flat)
        level = r.LINEAR_FIT.apply(sample_of([other, held], weights))
        assert [float(output.values) for output in level] == [0, pytest.approx(value)]
        assert reduce_values([list(pair) for pair in zip(held, other, strict=True)], r.PEARSONS_CORRELATION) == {
            "correlation": None, "p-value": None
        }  # fmt: skip

    @pytest.mark.parametrize("parts", [9, 20, 45])
    @pytest.mark.parametrize("weigh", [lambda i: 1, lambda i: i + 0.5], ids=["equal", "unequal"])
    def test_the_scale_of_weights_does_not_change_the_sample_variance(self, parts: int, weigh: Any) -> None:
        """Parts of one pixel have the sum 1, so do the weights of normalized kernels. numpy's ``aweights`` are such."""
        values, weights = np.arange(parts) ** 2.0, np.array([weigh(i) for i in range(parts)], dtype=float)
        expected = np.cov(values, aweights=weights)
        for scaled in (weights, weights / weights.sum(), weights * 7):
            sample = sample_of([values.tolist()], [scaled.tolist()])
            (variance,), (deviation,) = r.SAMPLE_VARIANCE.apply(sample), r.SAMPLE_STD_DEV.apply(sample)
            assert float(variance.values) == pytest.approx(expected)
            assert float(deviation.values) == pytest.approx(math.sqrt(expected))

    def test_one_value_has_no_sample_variance(self) -> None:
        for weight in (0.1, 1.0, 3.0):
            (variance,) = r.SAMPLE_VARIANCE.apply(sample_of([[0.3]], [[weight]]))
            assert not variance.valid.any()

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
    def test_tau_b_by_its_definition(self, pairs: list[tuple[int, int]]) -> None:
        def sign(v: float) -> int:
            return (v > 0) - (v < 0)

        both = list(itertools.combinations(pairs, 2))
        score = sum(sign(a[0] - b[0]) * sign(a[1] - b[1]) for a, b in both)
        below = math.sqrt(sum(a[0] != b[0] for a, b in both) * sum(a[1] != b[1] for a, b in both))
        found = reduce_values([list(pair) for pair in pairs], r.kendalls_correlation(2))["tau"]
        assert found == (pytest.approx(score / below) if below else None)

    def test_tau_of_one_input_is_its_trend(self) -> None:
        assert reduce_values([1, 2, 4, 9], r.kendalls_correlation(1))["tau"] == 1
        assert reduce_values([9, None, 4, 2], r.kendalls_correlation(1))["tau"] == -1

    @pytest.mark.parametrize("inputs", [0, 3])
    def test_tau_is_of_one_or_two_inputs(self, inputs: int) -> None:
        with pytest.raises(InvalidError, match=f"must be 1 or 2; found {inputs}"):
            r.kendalls_correlation(inputs)

    def test_sens_slope_is_not_moved_by_an_outlier(self) -> None:
        rows = [[x, 3 * x + 2] for x in range(9)]
        rows[4][1] = 500
        assert reduce_values(rows, r.SENS_SLOPE) == {"slope": pytest.approx(3), "offset": pytest.approx(2)}

    def test_sens_slope_of_many_places_is_the_median_of_slopes(self) -> None:
        count, places = 9, 4_000  # several blocks
        x, y = (self.RANDOM.integers(0, 30, (count, places)).astype(float) for _ in range(2))
        inside = self.RANDOM.random((count, places)) < 0.7
        slope, offset = r.SENS_SLOPE.apply(ReducerSample(np.stack([x, y]), inside.astype(float), inside))
        for place in range(0, places, 397):
            held = list(zip(x[inside[:, place], place], y[inside[:, place], place], strict=True))
            slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(held, 2) if a[0] != b[0]]
            assert slope.valid[place] == offset.valid[place] == bool(slopes)
            if slopes:
                assert slope.values[place] == pytest.approx(np.median(slopes))
                rest = np.median([b - np.median(slopes) * a for a, b in held])
                assert offset.values[place] == pytest.approx(rest)

    @pytest.mark.slow
    def test_tau_of_a_tile_of_many_images_needs_little_memory(self) -> None:
        """A user's map has the trend of 391 images of MODIS."""
        values = np.arange(4_200.0)[:, None] * np.linspace(-1, 1, 128)
        inside = np.ones(values.shape, dtype=bool)
        tau, _ = r.kendalls_correlation(1).apply(ReducerSample(values[None], inside.astype(float), inside))
        np.testing.assert_array_equal(tau.values, np.sign(values[1]))

    def test_student_has_closed_forms(self) -> None:
        """One degree of freedom is Cauchy's distribution; two have 1 - t / sqrt(2 + t^2)."""
        t = np.array([0.0, 0.1, 1.0, 3.0, 40.0])
        np.testing.assert_allclose(two_sided(t, 1), 1 - 2 * np.arctan(t) / math.pi, atol=1e-12)
        np.testing.assert_allclose(two_sided(t, 2), 1 - t / np.sqrt(2 + t * t), atol=1e-12)
        np.testing.assert_allclose(two_sided(1.959963984540054, 1e9), 0.05, atol=1e-7)

    def test_covariance_against_numpy(self) -> None:
        rows = self.RANDOM.normal(size=(50, 3))
        found = reduce_values([Array(row) for row in rows], r.COVARIANCE)
        np.testing.assert_allclose(found.values, np.cov(rows.T, ddof=0), atol=1e-12)
        centred = reduce_values([Array(row) for row in rows - rows.mean(axis=0)], r.CENTERED_COVARIANCE)
        np.testing.assert_allclose(centred.values, found.values, atol=1e-12)
