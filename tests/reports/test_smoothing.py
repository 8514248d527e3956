"""``eechips smooth``: curves agree with dense algebra, with scipy, and leave what is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

import eechips
from eechips.errors import UsageError
from eechips.reports.region_series import read_curves
from eechips.reports.smoothing import Smoothing, smooth_series, whittaker
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.support.commands import run_command

pytest.importorskip("scipy")

DAYS = pd.date_range("2020-01-01", "2021-12-31", freq="D")


def wave(period: float, dates: pd.DatetimeIndex = DAYS) -> Any:
    return np.sin(2.0 * np.pi * (dates - dates[0]).days.to_numpy(float) / period)


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e3, 1e3)), min_size=3, max_size=40).filter(
        lambda values: sum(value is not None for value in values) >= 3
    ),
    st.integers(3, 200),
)
def test_whittaker_equals_dense_algebra(values: list[float | None], days: int) -> None:
    """The normal equations of Eilers (2003): (W + λ D'D) z = W y."""
    known = np.array([np.nan if value is None else value for value in values])
    weights = np.diag(np.isfinite(known).astype(float))
    differences = np.diff(np.eye(len(known)), 2, axis=0)
    strength = 1.0 / (2.0 - 2.0 * np.cos(2.0 * np.pi / days)) ** 2
    expected = np.linalg.solve(weights + strength * differences.T @ differences, weights @ np.nan_to_num(known))
    np.testing.assert_allclose(whittaker(known, days), expected, rtol=1e-4, atol=1e-4 * np.nanmax(abs(known)) + 1e-9)


@pytest.mark.parametrize("days", [20, 60, 120])
def test_a_wave_of_so_many_days_is_halved(days: int) -> None:
    dates = pd.date_range("2000-01-01", periods=40 * days, freq="D")
    middle = slice(10 * days, 30 * days)
    curve = whittaker(wave(days, dates), days)
    assert np.abs(curve[middle]).max() == pytest.approx(0.5, abs=0.01)
    assert np.abs(whittaker(wave(10 * days, dates), days)[middle]).max() > 0.99
    assert np.abs(whittaker(wave(days / 4, dates), days)[middle]).max() < 0.01


@pytest.mark.slow
def test_savgol_is_that_of_scipy_on_daily_values() -> None:
    from scipy.signal import savgol_filter  # takes a second

    values = pd.Series(wave(365) + 0.1 * wave(9), index=DAYS)
    found = smooth_series(values, DAYS, Smoothing("savgol", days=61))
    np.testing.assert_allclose(found, savgol_filter(values, 61, 2), atol=1e-12)
    some = values[::8]
    daily = some.reindex(pd.date_range(some.index[0], some.index[-1])).interpolate("linear")
    expected = savgol_filter(daily, 61, 2)[::8]
    np.testing.assert_allclose(smooth_series(some, some.index, Smoothing("savgol", days=61)), expected, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["whittaker", "savgol"])
def test_long_gaps_and_what_lies_outside_stay_empty(method: Any) -> None:
    values = pd.Series(wave(365), index=DAYS).iloc[30:400:5]
    values = values[(values.index < "2020-06-01") | (values.index >= "2020-08-01")]
    found = pd.Series(smooth_series(values, DAYS, Smoothing(method, days=30, max_gap=40)), index=DAYS)
    there = found.dropna().index
    assert (there[0], there[-1]) == (values.index[0], values.index[-1])
    last, first = values.index[values.index < "2020-06-01"][-1], values.index[values.index >= "2020-08-01"][0]
    assert found[last:first].isna().sum() == (first - last).days - 1
    whole = pd.Series(smooth_series(values, DAYS, Smoothing(method, days=30, max_gap=90)), index=DAYS)
    assert whole[values.index[0] : values.index[-1]].notna().all()


def test_a_cloudy_series_comes_near_the_truth() -> None:
    """Seeds and noise are fixed: the smoothed series is nearer than linear interpolation of the noisy values."""
    random = np.random.default_rng(1)
    truth = pd.Series(0.5 + 0.3 * wave(365), index=DAYS)
    seen = (truth + random.normal(0.0, 0.05, len(truth)))[random.random(len(truth)) < 0.1]
    smoothed = pd.Series(smooth_series(seen, DAYS, Smoothing(days=60)), index=DAYS)
    plain = seen.reindex(DAYS).interpolate("time", limit_area="inside")
    error = [float(((curve - truth) ** 2).mean() ** 0.5) for curve in (smoothed, plain)]
    assert error[0] < 0.6 * error[1]


def test_too_few_values_have_no_curve() -> None:
    values = pd.Series([1.0, np.nan, 2.0], index=DAYS[:3])
    assert np.isnan(smooth_series(values, DAYS[:3], Smoothing())).all()
    infinite = pd.Series([1.0, np.inf, -np.inf], index=DAYS[:3])  # as of a logarithm of 0
    for method in ("whittaker", "savgol"):
        assert np.isnan(smooth_series(infinite, DAYS[:3], Smoothing(method))).all()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    boxes = [shapely.box(x, 39.6, x + 0.01, 39.61) for x in (-105.4, -105.2, -105.0)]
    path = tmp_path_factory.mktemp("regions") / "places.gpkg"
    gpd.GeoDataFrame({"place": [20, 3, 100]}, geometry=boxes, crs="EPSG:4326").to_file(path)
    return path


def fetch_series(server: Server, regions: Path, out: Path, output: str = "one", **options: Any) -> eechips.Run:
    run = eechips.timeseries(
        "MODIS_LST", regions=str(regions), columns="id=place", start="2019-03-01", output=output, out=out, quiet=True,
        bands="LST_Day_1km,LST_Night_1km", endpoint=server.url, rate=None, executor="threads",
        **{"end": "2020-09-01", **options},
    )  # fmt: skip
    assert isinstance(run, eechips.Run)
    return run


@pytest.fixture(scope="module")
def one(demo_server: Server, regions: Path, tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    return fetch_series(demo_server, regions, tmp_path_factory.mktemp("runs") / "one")


@pytest.mark.exhaustive
@pytest.mark.parametrize("output", slow_except(["region", "one", "year"], "one"))
def test_the_table_has_the_values_of_the_run_and_curves_beside_them(
    output: str, demo_server: Server, regions: Path, one: eechips.Run, tmp_path: Path
) -> None:
    run = one if output == "one" else fetch_series(demo_server, regions, tmp_path / output, output)
    found = pd.read_parquet(eechips.smooth(run, days=90, bands="LST_Day_1km", out=tmp_path / "smooth.parquet"))
    assert list(found.columns) == ["place", "date", "LST_Day_1km", "LST_Day_1km_smooth", "LST_Day_1km_filled"]
    table = pd.read_parquet(one.path / "series.parquet")
    assert table["LST_Day_1km"].isna().any()
    for place, some in table.groupby("place"):
        values = some.set_index(pd.to_datetime(some["date"]))["LST_Day_1km"]
        mine = found[found["place"] == place]
        np.testing.assert_array_equal(mine["LST_Day_1km"], values)
        assert mine["date"].tolist() == [str(date)[:10] for date in values.index]
        curve = smooth_series(values, pd.DatetimeIndex(values.index), Smoothing(days=90))
        np.testing.assert_array_equal(mine["LST_Day_1km_smooth"], curve)
    assert set(found["place"]) == {20, 3, 100}
    assert found["LST_Day_1km_filled"].equals(found["LST_Day_1km"].fillna(found["LST_Day_1km_smooth"]))


@pytest.mark.slow
def test_infinite_values_are_filled(one: eechips.Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(one.path, copy)
    table = pd.read_parquet(copy / "series.parquet")
    row = table.index[table["LST_Day_1km"].notna()][5]
    table.assign(LST_Day_1km=table["LST_Day_1km"].mask(table.index == row, np.inf)).to_parquet(copy / "series.parquet")
    found = pd.read_parquet(eechips.smooth(copy))
    (filled,) = found[np.isinf(found["LST_Day_1km"])].to_dict("records")
    assert filled["LST_Day_1km_filled"] == filled["LST_Day_1km_smooth"]
    assert np.isfinite(filled["LST_Day_1km_filled"])


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_extended_run_has_all_of_its_dates(
    demo_server: Server, regions: Path, one: eechips.Run, tmp_path: Path
) -> None:
    fetch_series(demo_server, regions, tmp_path / "run", "region", end="2019-06-01")
    run = fetch_series(demo_server, regions, tmp_path / "run", "region", extend=True)
    assert len(run.units) == 6
    found, whole = (
        pd.read_parquet(eechips.smooth(each, out=tmp_path / f"{name}.parquet")).sort_values(["place", "date"])
        for name, each in (("extended", run), ("one", one))
    )
    pd.testing.assert_frame_equal(found.reset_index(drop=True), whole.reset_index(drop=True))


@pytest.mark.slow
@pytest.mark.parametrize("output", ["region", "year"])
def test_ids_of_digits_are_texts_in_all_files_of_a_run(output: str, demo_server: Server, tmp_path: Path) -> None:
    """Each file was read by itself: 10001 was a number, and 08013 of another file a text."""
    boxes = [shapely.box(x, 39.6, x + 0.01, 39.61) for x in (-105.4, -105.2, -105.0)]
    path = tmp_path / "counties.gpkg"
    places = ["08013", "10001", "20001"]
    gpd.GeoDataFrame({"place": places}, geometry=boxes, crs="EPSG:4326").to_file(path)
    run = fetch_series(demo_server, path, tmp_path / "run", output, end="2020-02-01", format="csv")
    found = pd.read_parquet(eechips.smooth(run))
    assert sorted(set(found["place"])) == places
    curves = read_curves(run, ["08013"], most=9).curves
    assert [curve.region for curve in curves] == ["08013"]
    assert len(read_curves(run, most=9).curves) == 3


@pytest.mark.slow
def test_rows_in_steps_and_how_the_table_was_made(one: eechips.Run) -> None:
    path = eechips.smooth(one)
    assert path == one.path / "smoothed.parquet"
    assert json.loads(pq.read_schema(path).metadata[b"eechips.smoothing"]) == {
        "method": "whittaker", "days": 60, "max_gap": 90, "step": None,
    }  # fmt: skip
    found = pd.read_parquet(eechips.smooth(one, step=10))  # replaces its own table
    for _, some in found.groupby("place"):
        assert (pd.to_datetime(some["date"]).diff().dropna() == pd.Timedelta(days=10)).all()
    assert found["LST_Night_1km"].notna().sum() < found["LST_Night_1km_smooth"].notna().sum()


@pytest.mark.slow
def test_wrong_options_and_files_of_others_are_refused(one: eechips.Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown method 'loess'"):
        eechips.smooth(one, method="loess")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="`days` must be at least 3"):
        eechips.smooth(one, days=2)
    with pytest.raises(UsageError, match="at least 1 day"):
        eechips.smooth(one, step=0)
    with pytest.raises(UsageError, match="there is no column 'EVI'"):
        eechips.smooth(one, bands="EVI")
    mine = tmp_path / "mine.parquet"
    pd.DataFrame({"place": [1]}).to_parquet(mine)
    with pytest.raises(UsageError, match="is not replaced"):
        eechips.smooth(one, out=mine)
    with pytest.raises(UsageError, match="is not replaced"):
        eechips.smooth(one, out=one.assembled[0])


@pytest.mark.slow
def test_the_suffix_chooses_csv(one: eechips.Run, tmp_path: Path) -> None:
    """A file called ``smooth.csv`` had Parquet in it, which no spreadsheet reads."""
    path = eechips.smooth(one, out=tmp_path / "smooth.csv")
    expected = pd.read_parquet(eechips.smooth(one, out=tmp_path / "smooth.parquet"))
    pd.testing.assert_frame_equal(pd.read_csv(path, dtype={"place": expected["place"].dtype}), expected)
    assert eechips.smooth(one, out=path) == path  # replaces its own table
    path.write_text("place,yield\n1,2\n")
    for name in ("smooth.csv", "smooth.xlsx"):
        with pytest.raises(UsageError, match=r"is not replaced|must end in \.csv or \.parquet, not smooth\.xlsx"):
            eechips.smooth(one, out=tmp_path / name)


@pytest.mark.slow
def test_the_command_prints_the_path(one: eechips.Run) -> None:
    words = ["smooth", str(one.path), "--method", "savgol", "--days", "91", "--band", "LST_Day_1km"]
    done = run_command(*words)
    assert (done.exit_code, done.output.strip()) == (0, str(one.path / "smoothed.parquet")), done.output
