"""Reducers: the documented examples, numpy, pandas and closed forms on many inputs; in one go and block by block."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eechips_local import reducers as r
from eechips_local.algorithms.distributions import two_sided
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.protocol.request_errors import InvalidError, LimitError
from eechips_local.reducers import Reducer, ReducerSample, histograms, reduce_values, sample_of
from eechips_local.values.values import Array, Collection
from local_tests.support.graphs import Ready, evaluate, invoke

NUMBERS = st.lists(st.one_of(st.integers(-1000, 1000), st.floats(-1e3, 1e3, width=32)), min_size=1, max_size=30)
FEW = st.lists(st.integers(0, 4), min_size=1, max_size=30)


def reducer(name: str, **arguments: Any) -> Reducer:
    made: Reducer = evaluate(invoke(f"Reducer.{name}", **arguments))
    return made


def features(**columns: Sequence[Any]) -> Ready:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return invoke("Collection", features=[invoke("Feature", geometry=None, metadata=row) for row in rows])


def columns(
    name: str, selectors: Sequence[str], table: Ready, weights: Sequence[str] | None = None, **more: Any
) -> Any:
    """``reduceColumns`` through the graph."""
    given_weights = {} if weights is None else {"weightSelectors": list(weights)}
    return evaluate(
        invoke(
            "Collection.reduceColumns", collection=table, reducer=invoke(f"Reducer.{name}", **more),
            selectors=list(selectors), **given_weights,
        )
    )  # fmt: skip


class TestDocumentedExamples:
    def test_count(self) -> None:
        """samples/python/apidocs/ee_reducer_count.py of google/earthengine-community."""
        count = reducer("count")
        assert [reduce_values(v, count) for v in ([], [0], [-1], [1, None, 3], [1, "", 3])] == [0, 1, 1, 2, 3]

    def test_min_max(self) -> None:
        """samples/javascript/apidocs/ee-reducer-minmax.js of google/earthengine-community."""
        assert reduce_values([1, 2, 3, 4], reducer("minMax")) == {"max": 4, "min": 1}

    def test_groups_of_two_sums(self) -> None:
        """https://developers.google.com/earth-engine/guides/reducers_grouping: sum().repeat(2).group(2, name)."""
        table = features(pop=[10, 20, 5], housing=[1, 2, 3], state=["b", "a", "b"])
        sums = invoke("Reducer.repeat", reducer=invoke("Reducer.sum"), count=2)
        found = columns("group", ["pop", "housing", "state"], table, reducer=sums, groupField=2, groupName="code")
        assert found == {"groups": [{"code": "a", "sum": [20, 2]}, {"code": "b", "sum": [15, 4]}]}

    def test_weighted_mean_of_a_column(self) -> None:
        """samples/python/apidocs/ee_featurecollection_reducecolumns.py: a weight selector for each weighted input."""
        table = features(v=[1, 2, 4], w=[0.5, 0.25, 0])
        assert columns("mean", ["v"], table, ["w"]) == {"mean": pytest.approx(4 / 3)}

    def test_default_percentile_names(self) -> None:
        assert reducer("percentile", percentiles=[0, 50, 100]).names == ("p0", "p50", "p100")


class TestNames:
    @pytest.mark.parametrize(
        ("name", "arguments", "outputs"),
        [
            ("allNonZero", {}, ["all"]),
            ("anyNonZero", {}, ["any"]),
            ("circularStddev", {}, ["circularStdDev"]),
            ("countDistinct", {}, ["count"]),
            ("countRuns", {}, ["count"]),
            ("fixedHistogram", {"min": 0, "max": 1, "steps": 2}, ["histogram"]),
            ("intervalMean", {"minPercentile": 10, "maxPercentile": 90}, ["mean"]),
            ("kendallsCorrelation", {"numInputs": 2}, ["tau", "p-value"]),
            ("lastNonNull", {}, ["last"]),
            ("linearFit", {}, ["scale", "offset"]),
            ("linearRegression", {"numX": 2}, ["coefficients", "residuals"]),
            ("max", {"numInputs": 3}, ["max", "max1", "max2"]),
            ("pearsonsCorrelation", {}, ["correlation", "p-value"]),
            ("ridgeRegression", {"numX": 2}, ["coefficients", "residuals", "pValue"]),
            ("percentile", {"percentiles": [2.5, 50]}, ["p2_5", "p50"]),
            ("percentile", {"percentiles": [5, 95], "outputNames": ["low", "high"]}, ["low", "high"]),
            ("sampleStdDev", {}, ["stdDev"]),
            ("sensSlope", {}, ["slope", "offset"]),
            ("toCollection", {"propertyNames": ["a"]}, ["features"]),
            ("toList", {}, ["list"]),
        ],
    )
    def test_outputs(self, name: str, arguments: dict[str, Any], outputs: list[str]) -> None:
        made = invoke("Reducer.getOutputs", reducer=invoke(f"Reducer.{name}", **arguments))
        assert evaluate(made) == outputs

    def test_combined_outputs_are_prefixed_and_unique(self) -> None:
        mean, deviation = invoke("Reducer.mean"), invoke("Reducer.stdDev")
        both = {"reducer1": mean, "reducer2": deviation, "sharedInputs": True}
        assert reducer("combine", **both, outputPrefix="x_").names == ("mean", "x_stdDev")
        assert reducer("combine", reducer1=mean, reducer2=mean).names == ("mean", "mean1")

    def test_for_each(self) -> None:
        mean, ends = invoke("Reducer.mean"), invoke("Reducer.minMax")
        assert reducer("forEach", reducer=mean, outputNames=["a", "b"]).names == ("a", "b")
        assert reducer("forEach", reducer=ends, outputNames=["a", "b"]).names == ("a_min", "a_max", "b_min", "b_max")
        image = invoke("Image.constant", value=[1, 2])
        assert reducer("forEachBand", reducer=mean, image=image).names == ("constant_0", "constant_1")

    def test_set_outputs_renames_and_drops(self) -> None:
        made = reducer("setOutputs", reducer=invoke("Reducer.minMax"), outputs=["", "greatest"])
        assert made.names == ("greatest",)
        assert reduce_values([1, 5, 2], made) == 5

    def test_bands(self) -> None:
        """Image.reduceRegion and ImageCollection.reduce name their results so."""
        assert r.MEAN.output_names(["B1", "B2"], short=True) == ["B1", "B2"]
        assert r.MEAN.output_names(["B1", "B2"], short=False) == ["B1_mean", "B2_mean"]
        assert r.MIN_MAX.output_names(["B1"], short=True) == ["B1_min", "B1_max"]
        assert r.LINEAR_FIT.output_names(["x", "y"], short=True) == ["scale", "offset"]

    def test_every_reducer_of_the_client_is_there_but_for_what_is_not_documented(self) -> None:
        from eechips_local.functions import load_functions

        named = {name for name in load_signatures() if name.startswith("Reducer.")}
        assert named - load_functions().keys() == {"Reducer.histogramCombiner"}


class TestStatistics:
    @given(NUMBERS)
    def test_moments(self, values: list[float]) -> None:
        array = np.asarray(values, dtype=np.float64)
        for made, truth in ((r.SUM, array.sum()), (r.MEAN, array.mean()), (r.VARIANCE, array.var())):
            assert reduce_values(values, made) == pytest.approx(truth, rel=1e-9, abs=1e-6)
        if len(values) > 1:
            assert reduce_values(values, r.SAMPLE_STD_DEV) == pytest.approx(array.std(ddof=1), rel=1e-9, abs=1e-6)
        else:
            assert reduce_values(values, r.SAMPLE_VARIANCE) is None

    @given(st.lists(st.integers(-50, 50), min_size=3, max_size=30))
    def test_skewness_and_kurtosis_are_those_of_the_population(self, values: list[int]) -> None:
        assume(len(set(values)) > 1)
        off = np.asarray(values) - np.mean(values)
        deviation = off.std()
        assert reduce_values(values, r.SKEW) == pytest.approx((off**3).mean() / deviation**3, abs=1e-9)
        assert reduce_values(values, r.KURTOSIS) == pytest.approx((off**4).mean() / deviation**4 - 3, abs=1e-9)

    @given(NUMBERS, st.floats(0, 100))
    def test_percentiles_are_those_of_the_middles_of_weights(self, values: list[float], percentage: float) -> None:
        found = reduce_values(values, r.percentile([percentage]))
        assert found == pytest.approx(np.percentile(values, percentage, method="hazen"), abs=1e-6)

    @given(NUMBERS)
    def test_median_and_interval_mean(self, values: list[float]) -> None:
        assert reduce_values(values, r.MEDIAN) == pytest.approx(statistics.median(values), abs=1e-9)
        assert reduce_values(values, r.interval_mean(0, 100)) == pytest.approx(np.mean(values), abs=1e-6)

    def test_interval_mean_takes_the_middle(self) -> None:
        assert reduce_values([1, 2, 3, 4, 100], r.interval_mean(25, 75)) == 3

    @given(FEW)
    def test_mode_is_the_least_of_the_most_frequent(self, values: list[int]) -> None:
        assert reduce_values(values, r.MODE) == min(statistics.multimode(values))

    @given(FEW)
    def test_counts(self, values: list[int]) -> None:
        assert reduce_values(values, r.COUNT_DISTINCT) == len(set(values))
        assert reduce_values(values, r.COUNT_RUNS) == len(list(itertools.groupby(values)))
        assert reduce_values(values, r.COUNT_EVERY) == len(values)
        assert reduce_values(values, r.PRODUCT) == math.prod(values)
        assert reduce_values(values, r.ANY) == int(any(values))
        assert reduce_values(values, r.ALL) == int(all(values))

    @given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=9))
    def test_bits(self, values: list[int]) -> None:
        whole = values[0]
        union = values[0]
        for value in values[1:]:
            whole, union = whole & value, union | value
        assert reduce_values(values, r.BITWISE_AND) == whole
        assert reduce_values(values, r.BITWISE_OR) == union

    def test_circular(self) -> None:
        assert reduce_values([0.1, 2 * math.pi - 0.1], r.CIRCULAR_MEAN) == pytest.approx(0, abs=1e-12)
        assert reduce_values([0.0, math.pi / 2], r.CIRCULAR_MEAN) == pytest.approx(math.pi / 4)
        assert reduce_values([0.0, math.pi / 2], r.CIRCULAR_VARIANCE) == pytest.approx(1 - math.sqrt(0.5))
        expected = math.sqrt(-2 * math.log(math.sqrt(0.5)))
        assert reduce_values([0.0, math.pi / 2], r.CIRCULAR_STD_DEV) == pytest.approx(expected)


class TestNulls:
    def test_nothing(self) -> None:
        """No input: sums and counts are 0, everything else is null."""
        assert [reduce_values([], made) for made in (r.COUNT, r.COUNT_DISTINCT, r.SUM)] == [0, 0, 0]
        for made in (
            r.MEAN,
            r.MIN,
            r.FIRST,
            r.LAST,
            r.MEDIAN,
            r.MODE,
            r.STD_DEV,
            r.FREQUENCY_HISTOGRAM,
            r.ANY,
            r.PRODUCT,
        ):
            assert reduce_values([], made) is None
        assert reduce_values([], r.to_list(None, 0)) == []
        assert reduce_values([], r.linear_regression(1, 1)) == {"coefficients": None, "residuals": None}

    def test_first_may_be_null(self) -> None:
        values = [None, 3, 4, None]
        found = [reduce_values(values, made) for made in (r.FIRST, r.FIRST_NON_NULL, r.LAST, r.LAST_NON_NULL)]
        assert found == [None, 3, None, 4]

    def test_distinct_and_every_count_nulls(self) -> None:
        values = [None, 1, None, 1, 2]
        counts = (r.COUNT, r.COUNT_EVERY, r.COUNT_DISTINCT, r.COUNT_DISTINCT_NON_NULL, r.COUNT_RUNS)
        assert [reduce_values(values, made) for made in counts] == [3, 5, 3, 2, 2]

    def test_tuples_with_a_null_do_not_count(self) -> None:
        found = reduce_values([[0, 1], [1, 3], [2, None], [None, 9]], r.LINEAR_FIT)
        assert found == {"scale": pytest.approx(2), "offset": pytest.approx(1)}


class TestValuesOfAnyType:
    def test_strings(self) -> None:
        values = ["pear", "fig", None, "fig"]
        assert reduce_values(values, r.MIN_MAX) == {"min": "fig", "max": "pear"}
        assert reduce_values(values, r.MODE) == "fig"
        assert reduce_values(values, r.FREQUENCY_HISTOGRAM) == {"fig": 2, "pear": 1}
        assert reduce_values(values, r.COUNT_DISTINCT_NON_NULL) == 2
        assert reduce_values(values, r.COUNT_RUNS) == 2
        assert reduce_values(values, r.to_list(None, 0)) == ["pear", "fig", "fig"]
        with pytest.raises(InvalidError, match="not a number"):
            reduce_values(values, r.MEAN)

    def test_integers_stay_integers(self) -> None:
        for made in (r.MIN, r.MAX, r.FIRST, r.MODE, r.COUNT):
            assert isinstance(reduce_values([3, 3, 5], made), int)
        assert reduce_values([2**52 + 1, 7], r.MAX) == 2**52 + 1

    def test_lists_of_tuples(self) -> None:
        rows = [["a", 1], ["b", None], [None, 3]]
        assert reduce_values(rows, r.to_list(2, 0)) == [["a", 1]]
        assert reduce_values(rows, r.to_list(2, 1)) == [["a", 1], ["b", None]]

    def test_collections(self) -> None:
        made = reduce_values([["a", 1], ["b", None]], r.to_collection(["name", "size"], 1))
        assert isinstance(made, Collection)
        assert [f.properties for f in made] == [
            {"system:index": "0", "name": "a", "size": 1}, {"system:index": "1", "name": "b"},
        ]  # fmt: skip

    def test_extremes_take_other_inputs_along(self) -> None:
        rows = [[3, "c"], [1, "a"], [None, "x"], [9, "z"]]
        assert reduce_values(rows, r.extreme("max", 2)) == {"max": 9, "max1": "z"}
        assert reduce_values(rows, r.extreme("min", 2)) == {"min": 1, "min1": "a"}


class TestHistograms:
    # Not numbers so small that dividing them by a width leaves nothing.
    @given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=50), st.integers(1, 100))
    def test_buckets_fit_the_data(self, values: list[float], most: int) -> None:
        found = reduce_values(values, r.histogram(most, None))
        counts, low, width = found["histogram"], found["bucketMin"], found["bucketWidth"]
        assert sum(counts) == len(values)
        assert len(counts) <= max(2, 2 ** math.ceil(math.log2(most)))
        assert math.log2(width).is_integer()
        assert low % width == 0
        edges = low + width * np.arange(len(counts) + 1)
        assert counts == np.histogram(values, edges)[0].tolist()
        assert counts[0] > 0
        assert counts[-1] > 0
        for count, mean, start in zip(counts, found["bucketMeans"], edges[:-1], strict=True):
            assert count == 0 or start - 1e-6 <= mean <= start + width + 1e-6

    def test_least_width(self) -> None:
        found = reduce_values([0, 1, 2, 3, 10], r.histogram(None, 3))
        assert found == {"bucketMin": 0, "bucketWidth": 3, "histogram": [3, 1, 0, 1], "bucketMeans": [1, 3, 7.5, 10]}

    def test_auto_is_an_array_of_bounds_and_counts(self) -> None:
        found = reduce_values([0, 1, 1, 3], r.auto_histogram(4, 1, cumulative=True))
        assert isinstance(found, Array)
        assert found.values.tolist() == [[0, 1], [1, 3], [2, 3], [3, 4]]

    @given(st.lists(st.floats(-2, 12), min_size=1, max_size=40), st.integers(1, 9))
    def test_fixed_leaves_out_what_lies_outside(self, values: list[float], steps: int) -> None:
        found = reduce_values(values, r.fixed_histogram(0, 10, steps, cumulative=False)).values
        edges = np.r_[found[:, 0], 10.0]
        inside = [v for v in values if 0 <= v < 10]
        assert found[:, 1].tolist() == [sum(a <= v < b for v in inside) for a, b in itertools.pairwise(edges)]

    def test_frequencies_are_weights(self) -> None:
        sample = ReducerSample(np.array([[1, 2, 1]]), np.array([0.5, 1.0, 0.25]), np.ones(3, dtype=bool))
        assert r.FREQUENCY_HISTOGRAM.results(sample) == [{"1": 0.75, "2": 1.0}]

    def test_more_buckets_than_memory(self) -> None:
        with pytest.raises(InvalidError):
            r.histogram(2**40, None)
        with pytest.raises(InvalidError):
            r.fixed_histogram(0, 1, 2**40, cumulative=False)


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

    def test_sens_slope_is_not_moved_by_an_outlier(self) -> None:
        rows = [[x, 3 * x + 2] for x in range(9)]
        rows[4][1] = 500
        assert reduce_values(rows, r.SENS_SLOPE) == {"slope": pytest.approx(3), "offset": pytest.approx(2)}

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


class TestCompositions:
    def test_each_copy_has_nulls_of_its_own(self) -> None:
        rows = [[1, 10], [None, 20], [3, None]]
        assert reduce_values(rows, r.repeat(r.MEAN, 2)) == [2, 15]
        assert reduce_values(rows, r.for_each(r.MEAN, ["a", "b"])) == {"a": 2, "b": 15}
        assert reduce_values(rows, r.combine(r.SUM, r.COUNT, shared=False)) == {"sum": 4, "count": 2}

    def test_shared_inputs_must_agree(self) -> None:
        with pytest.raises(InvalidError, match="share inputs"):
            r.combine(r.MEAN, r.LINEAR_FIT, shared=True)

    def test_split_weights(self) -> None:
        made = r.split_weights(r.MEAN)
        assert made.inputs == 2
        assert reduce_values([[1, 3], [5, 1], [100, 0], [7, None]], made) == 2
        with pytest.raises(InvalidError, match="no weighted inputs"):
            r.split_weights(r.COUNT)

    def test_unweighted_takes_centres(self) -> None:
        sample = ReducerSample(np.array([[1.0, 5.0, 9.0]]), np.array([0.5, 1.0, 0.3]), np.array([True, True, False]))
        assert r.unweighted(r.MEAN).results(sample) == [3.0]
        assert r.MEAN.results(sample) == [pytest.approx((0.5 + 5 + 2.7) / 1.8)]
        assert r.COUNT.results(sample) == [2]

    def test_groups_of_several_outputs(self) -> None:
        made = r.group(r.MIN_MAX, 0, "zone")
        rows = [[2, 5], [1, 7], [2, 9], [None, 1], [1, None]]
        assert reduce_values(rows, made) == [{"zone": 1, "min": 7, "max": 7}, {"zone": 2, "min": 5, "max": 9}]

    def test_groups_in_groups(self) -> None:
        made = r.group(r.group(r.SUM, 1, "inner"), 2, "outer")
        found = reduce_values([[1, "x", 0], [2, "y", 0], [4, "x", 1]], made)
        assert found == [
            {"outer": 0, "groups": [{"inner": "x", "sum": 1}, {"inner": "y", "sum": 2}]},
            {"outer": 1, "groups": [{"inner": "x", "sum": 4}]},
        ]

    def test_elements_of_arrays(self) -> None:
        """The example of Reducer.forEachElement: the sum of arrays of 2 by 2 is one of 2 by 2."""
        found = reduce_values([Array(np.full((2, 2), i)) for i in range(5)], r.for_each_element(r.SUM))
        assert found.values.tolist() == [[10, 10], [10, 10]]

    def test_disaggregate(self) -> None:
        made = r.disaggregate(r.SUM, None)
        assert reduce_values([[1, 2], {"a": 3}, 4, Array(np.array([[5, 6]]))], made) == 21
        rows = r.disaggregate(r.to_list(None, 0), 0)
        assert [a.values.tolist() for a in reduce_values([Array(np.arange(4).reshape(2, 2))], rows)] == [
            [[0, 1]],
            [[2, 3]],
        ]

    def test_arrays_are_refused_by_others(self) -> None:
        with pytest.raises(InvalidError, match="arrays"):
            reduce_values([Array(np.ones(2)), Array(np.ones(2))], r.MEAN)


ALL_OF_ONE_INPUT = [
    r.MEAN, r.SUM, r.PRODUCT, r.MIN, r.MAX, r.COUNT, r.FIRST, r.LAST, r.FIRST_NON_NULL, r.MEDIAN, r.MODE, r.STD_DEV,
    r.SAMPLE_VARIANCE, r.SKEW, r.KURTOSIS, r.ANY, r.ALL, r.BITWISE_OR, r.CIRCULAR_MEAN, r.COUNT_DISTINCT, r.COUNT_RUNS,
    r.FREQUENCY_HISTOGRAM, r.histogram(8, None), r.fixed_histogram(0, 4, 3, cumulative=True), r.percentile([5, 50]),
    r.interval_mean(10, 80), r.to_list(None, 0), r.MIN_MAX, r.unweighted(r.MEAN), r.kendalls_correlation(1),
]  # fmt: skip
OF_TWO = [
    r.LINEAR_FIT, r.linear_regression(1, 1), r.PEARSONS_CORRELATION, r.SPEARMANS_CORRELATION, r.extreme("max", 2),
    r.SENS_SLOPE, r.group(r.MEAN, 1, "g"), r.repeat(r.MEAN, 2), r.split_weights(r.MEAN), r.to_list(2, 0),
    r.combine(r.MEAN, r.COUNT, shared=False),
]  # fmt: skip


def plain(value: Any) -> Any:
    if isinstance(value, Array):
        return plain(value.values.tolist())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return round(value, 6) + 0.0 if isinstance(value, float) else value


@st.composite
def samples(draw: st.DrawFn, inputs: int) -> ReducerSample:
    count = draw(st.integers(0, 12))
    values = draw(st.lists(st.integers(0, 4), min_size=inputs * count, max_size=inputs * count))
    weights = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=inputs * count, max_size=inputs * count))
    shape = (inputs, count)
    weighted = np.asarray(weights, dtype=np.float64).reshape(shape)
    return ReducerSample(np.asarray(values, dtype=np.int64).reshape(shape), weighted, weighted >= 0.5)


def cut(sample: ReducerSample, start: int, stop: int) -> ReducerSample:
    return ReducerSample(sample.values[:, start:stop], sample.weights[:, start:stop], sample.inside[:, start:stop])


@pytest.mark.slow
@pytest.mark.parametrize("made", [*ALL_OF_ONE_INPUT, *OF_TWO], ids=lambda made: "-".join(made.names))
@given(data=st.data())
def test_block_by_block_is_the_same_as_in_one_go(made: Reducer, data: st.DataObject) -> None:
    sample = data.draw(samples(made.inputs))
    count = sample.values.shape[1]
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=3)))
    accumulator = made.accumulator()
    for start, stop in itertools.pairwise([0, *cuts, count]):
        accumulator.add(cut(sample, start, stop))
    assert plain(accumulator.finish()) == plain(made.results(sample))


@pytest.mark.slow
@pytest.mark.parametrize("made", [*ALL_OF_ONE_INPUT, *OF_TWO], ids=lambda made: "-".join(made.names))
@given(data=st.data())
def test_many_places_at_once_are_the_same_as_one_by_one(made: Reducer, data: st.DataObject) -> None:
    places = data.draw(st.lists(samples(made.inputs), min_size=1, max_size=4))
    depth = max(s.values.shape[1] for s in places)

    def padded(part: str, s: ReducerSample) -> np.ndarray:
        array = getattr(s, part)
        return np.pad(array, ((0, 0), (0, depth - array.shape[1])))

    stacked = {part: np.stack([padded(part, s) for s in places], axis=-1) for part in ("values", "weights", "inside")}
    outputs = made.apply(ReducerSample(stacked["values"], stacked["weights"], stacked["inside"]))
    for place, sample in enumerate(places):
        found = []
        for output, spec in zip(outputs, made.outputs, strict=True):
            value = output.values[place] if output.valid[place] else spec.empty
            found.append(value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value)
        truth = made.results(sample)
        if None in plain(truth) and made.names == ("mean",) and made.inputs == 2:
            continue  # a list with a null cannot be a pixel
        for value, expected in zip(plain(found), plain(truth), strict=True):
            if not (isinstance(expected, list) and None in expected):  # which cannot be a pixel
                assert value == expected


def test_memory_of_unbounded_reducers_is_limited() -> None:
    accumulator = r.MEDIAN.accumulator(budget=10_000)
    block = ReducerSample(np.ones((1, 300)), np.ones(300), np.ones(300, dtype=bool))
    accumulator.add(block)
    with pytest.raises(LimitError, match="User memory limit exceeded"):
        accumulator.add(block)
    endless = r.MEAN.accumulator(budget=10_000)
    for _ in range(20):
        endless.add(block)
    assert endless.finish() == [1.0]


@pytest.mark.parametrize(
    "made", [r.histogram(None, None), r.histogram(8, 0.25), r.auto_histogram(16, None, cumulative=False)]
)
def test_histograms_do_not_hold_all_values(made: Reducer, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    blocks = [random.normal(size=2000) * spread for spread in (1.0, 30.0, 2.0)]

    def results() -> Any:
        accumulator = made.accumulator()
        for block in blocks:
            accumulator.add(ReducerSample(block[None], np.ones(2000), np.ones(2000, dtype=bool)))
        return plain(accumulator.finish())

    exact = results()
    monkeypatch.setattr(histograms, "_MANY_VALUES", 100)
    assert plain_approx(results()) == plain_approx(exact)
    monkeypatch.setattr(histograms, "_MOST_VALUES", 3)
    with pytest.raises(LimitError, match="User memory limit exceeded"):
        results()


def plain_approx(value: Any) -> Any:
    """Numbers rounded to twelve digits: sums may be in another order."""
    return json.loads(json.dumps(value), parse_float=lambda text: f"{float(text):.12g}")


@pytest.mark.parametrize(("made", "bias"), [(r.COVARIANCE, 0), (r.CENTERED_COVARIANCE, 1)])
def test_covariances_of_blocks(made: Reducer, bias: int) -> None:
    random = np.random.default_rng(2)
    values, weights = random.normal(size=(500, 3)) * [1, 9, 2] + 1000 * (1 - bias), random.uniform(size=500)
    values[:, 2] += values[:, 0]
    weights[100:200] = 0
    accumulator = made.accumulator(budget=10_000)
    for start in range(0, 500, 100):
        some = slice(start, start + 100)
        accumulator.add(ReducerSample(values[None, some], weights[some], weights[some] > 0, None, 1))
    (found,) = accumulator.finish()
    away = values - (0 if bias else np.average(values, axis=0, weights=weights))
    assert found.values == pytest.approx((away * weights[:, None]).T @ away / weights.sum(), rel=1e-9)


def test_slopes_of_too_many_pairs() -> None:
    rows = ReducerSample(np.ones((2, 20_000)), np.ones(20_000), np.ones(20_000, dtype=bool))
    with pytest.raises(LimitError):
        r.SENS_SLOPE.results(rows)


@pytest.mark.parametrize("seed", range(4))
def test_no_point_is_closer_to_all_than_the_geometric_median(seed: int) -> None:
    random = np.random.default_rng(seed)
    points = random.normal(size=(9, 3)) * 100
    points[3] = np.nan
    inside = ~np.isnan(points[:, 0])
    sample = ReducerSample(np.nan_to_num(points).T, inside.astype(np.float64), inside)
    found = np.array(r.geometric_median(3, 1e-9).results(sample))

    def distances(centre: np.ndarray) -> float:
        return float(np.linalg.norm(points[inside] - centre, axis=1).sum())

    others = found + random.normal(size=(500, 3)) * random.choice([0.01, 1, 50], (500, 1))
    assert distances(found) <= min(map(distances, [*others, *points[inside]])) + 1e-6


def test_the_geometric_median_may_be_one_of_the_points() -> None:
    points = np.array([[0.0, 0], [0, 0], [0, 0], [10, 0], [0, 10]])
    inside = np.ones(5, dtype=bool)
    found = r.geometric_median(2, 1e-9).results(ReducerSample(points.T, inside.astype(np.float64), inside))
    assert found == pytest.approx([0, 0], abs=1e-6)
    assert r.geometric_median(2, 1e-9).names == ("median_0", "median_1")


@pytest.mark.parametrize(("name", "where"), [("first", 1), ("last", 3), ("firstNonNull", 1), ("lastNonNull", 3)])
def test_first_and_last_take_arrays(name: str, where: int) -> None:
    values = np.arange(24).reshape(1, 4, 2, 3)
    inside = np.array([False, True, True, True])
    sample = ReducerSample(values, inside.astype(np.float64), inside, None, 2)
    reducer = {"first": r.FIRST, "last": r.LAST, "firstNonNull": r.FIRST_NON_NULL, "lastNonNull": r.LAST_NON_NULL}[name]
    (found,) = reducer.results(sample)
    assert isinstance(found, Array)
    assert np.array_equal(found.values, values[0, where])
    accumulator = reducer.accumulator()
    for index in range(4):
        part = inside[index : index + 1]
        accumulator.add(ReducerSample(values[:, index : index + 1], part.astype(np.float64), part, None, 2))
    (merged,) = accumulator.finish()
    assert np.array_equal(merged.values, values[0, where])


class TestValuesThatAreNotFinite:
    @pytest.mark.parametrize("name", ["histogram", "autoHistogram"])
    def test_no_bucket_holds_them(self, name: str) -> None:
        finite = reduce_values([1.0, 2.0, 2.0], reducer(name))
        assert repr(reduce_values([1.0, math.inf, 2.0, math.nan, 2.0, -math.inf], reducer(name))) == repr(finite)
        assert reduce_values([math.inf, math.nan], reducer(name)) is None

    @pytest.mark.slow
    def test_buckets_reach_from_the_least_double_to_the_greatest(self) -> None:
        found = reduce_values([1.7e308, -1.7e308], reducer("histogram", maxBuckets=4))
        assert isinstance(found, dict)
        assert sum(found["histogram"]) == 2
