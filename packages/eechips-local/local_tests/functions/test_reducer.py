"""Reducers: the documented examples, numpy, pandas and closed forms on many inputs; in one go and block by block."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eechips_local import reducers as r
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers import ReducerSample, reduce_values
from eechips_local.values.values import Array, Collection
from local_tests.support.graphs import evaluate, invoke
from local_tests.support.reducers import columns, features, reducer

NUMBERS = st.lists(st.one_of(st.integers(-1000, 1000), st.floats(-1e3, 1e3, width=32)), min_size=1, max_size=30)
FEW = st.lists(st.integers(0, 4), min_size=1, max_size=30)


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
        twice = reducer("combine", reducer1=mean, reducer2=mean)
        assert twice.names == ("mean", "mean1")
        assert reducer("combine", reducer1=twice, reducer2=twice).names == ("mean", "mean1", "mean2", "mean11")

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

    def test_whole_numbers_beside_fractions_stay_whole(self) -> None:
        """Text of the group must be "7": Google's tutorial of surface water looks its name up by it."""
        found = reduce_values([[1.5, 3, 7], [2.5, 4, 7]], r.group(r.repeat(r.FIRST, 2), 2, "class"))
        assert repr(found) == "[{'class': 7, 'first': [1.5, 3]}]"
        rows = [[1.5, 3], [2.5, 4]]
        assert repr(reduce_values(rows, r.to_list(2, 0))) == "[[1.5, 3], [2.5, 4]]"
        assert repr(reduce_values(rows, r.combine(r.SUM, r.MODE, shared=False))) == "{'sum': 4.0, 'mode': 3}"

    def test_groups_of_pixels_without_groups_are_left_out(self) -> None:
        """As groups of pixels without values are: the inner group of one is masked wherever the outer is 1."""
        made = r.group(r.group(r.SUM, 1, "inner"), 2, "outer")
        values = np.array([[1.0, 2.0, 4.0], [7.0, 7.0, 8.0], [0.0, 1.0, 0.0]])
        inside = np.array([[True, True, True], [True, False, True], [True, True, True]])
        (found,) = made.results(ReducerSample(values, inside.astype(float), inside))
        assert found == [{"outer": 0, "groups": [{"inner": 7, "sum": 1}, {"inner": 8, "sum": 4}]}]

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
