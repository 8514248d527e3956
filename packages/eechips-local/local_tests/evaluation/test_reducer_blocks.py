"""Reducers block by block, and of many places at once: the same as in one go, within the memory."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local import reducers as r
from eechips_local.protocol.request_errors import LimitError
from eechips_local.reducers import Reducer, ReducerSample, histograms
from eechips_local.values.values import Array

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
    """A value that can be compared; what is not a number is null, as it is masked in images."""
    if isinstance(value, float) and value != value:
        return None
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
