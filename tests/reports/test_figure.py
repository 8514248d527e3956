"""``eechips plot``: figures show the values of tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

import eechips
from eechips.errors import UsageError
from eechips.reports.figure import with_gaps
from eechips.reports.region_series import read_curves
from local_tests.support.local_earth_engine import Server
from tests.support import finished_run
from tests.support.commands import run_command
from tests.support.programs import run_program

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAND = "LST_Day_1km"
NAMES = ["Boulder", "Åland/west", "7"]


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    boxes = [shapely.box(x, 39.6, x + 0.01, 39.61) for x in (-105.4, -105.2, -105.0)]
    path = tmp_path_factory.mktemp("regions") / "places.gpkg"
    gpd.GeoDataFrame({"place": NAMES}, geometry=boxes, crs="EPSG:4326").to_file(path)
    return path


def series(server: Server, regions: Path, out: Path, **options: Any) -> eechips.Run:
    given = {"regions": str(regions), "columns": "id=place", "start": "2019-01-01", "end": "2020-01-01", **options}
    run = eechips.timeseries(
        "MODIS_LST", endpoint=server.url, rate=None, out=out, executor="threads", quiet=True, **given
    )
    assert isinstance(run, eechips.Run)
    return run


@pytest.fixture(scope="module")
def alone(demo_server: Server, regions: Path, tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """A table for each place, of single images."""
    options = {"multiply": 0.02, "add": -273.15, "bands": BAND}
    return series(demo_server, regions, tmp_path_factory.mktemp("runs") / "alone", **options)


@pytest.fixture(scope="module")
def one(demo_server: Server, regions: Path, tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """One table of months, three reducers and two bands."""
    options = {"every": "1 month", "reducer": "mean,min,max", "bands": f"{BAND},LST_Night_1km", "output": "one"}
    return series(demo_server, regions, tmp_path_factory.mktemp("runs") / "one", **options)


def lines(figure: Figure) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Dates and values of every line with a label, panel by panel."""
    found = []
    for panel in figure.axes:
        for line in panel.get_lines():
            if not str(line.get_label()).startswith("_"):
                x, y = line.get_data()
                found.append((np.asarray(x), np.asarray(y)))
    return found


@pytest.mark.slow
def test_a_panel_for_each_region_with_what_its_table_has(alone: eechips.Run) -> None:
    figure = eechips.plot(alone)
    assert [panel.get_title(loc="left") for panel in figure.axes if panel.get_visible()] == [
        f"place {name}" for name in NAMES
    ]
    for (dates, values), (_, unit) in zip(lines(figure), alone.units.iterrows(), strict=True):
        table = pd.read_csv(alone.path / unit["file"]).dropna(subset=[BAND])
        there = np.isfinite(values)
        assert [str(date)[:10] for date in dates[there]] == table["date"].tolist()
        np.testing.assert_array_equal(values[there], table[BAND])
    assert figure.get_suptitle().startswith("MOD11A2")
    assert figure.get_supylabel() == f"mean of {BAND} × 0.02 − 273.15 (°C)"


@pytest.mark.slow
def test_values_without_neighbours_are_dots(alone: eechips.Run) -> None:
    panel = eechips.plot(alone, regions="Boulder").axes[0]
    whole, lone = panel.get_lines()
    y = np.asarray(whole.get_ydata())
    there = np.isfinite(y)
    alone_in_it = there & ~np.r_[False, there[:-1]] & ~np.r_[there[1:], False]
    np.testing.assert_array_equal(np.asarray(lone.get_ydata()), y[alone_in_it])


@pytest.mark.slow
def test_one_table_with_several_columns(one: eechips.Run) -> None:
    table = pd.read_parquet(one.path / "series.parquet")
    figure = eechips.plot(one.path, regions=["7", "Boulder"], bands="LST_Night_1km")
    columns = [f"LST_Night_1km_{name}" for name in ("mean", "min", "max")]
    expected = [table[table["place"] == name][column] for name in ("7", "Boulder") for column in columns]
    for (_, values), truth in zip(lines(figure), expected, strict=True):
        np.testing.assert_array_equal(values[np.isfinite(values)], truth.dropna())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == columns
    assert figure.get_suptitle().endswith("every month")
    assert figure.get_supylabel() == "LST_Night_1km (K = value × 0.02)"
    (only,) = lines(eechips.plot(one, regions="7", bands=["LST_Day_1km_max"]))
    np.testing.assert_array_equal(
        only[1][np.isfinite(only[1])], table[table["place"] == "7"]["LST_Day_1km_max"].dropna()
    )


def test_an_axis_of_one_date_has_that_date_alone(tmp_path: Path) -> None:
    table = "place,date,LST\n7,2024-07-03,1\n"
    run = finished_run.write_run(tmp_path / "run", [({"kind": "region", "region": 7}, {"": ("csv", table.encode())})])
    (panel,) = eechips.plot(run).axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["2024-07-03"]


def test_a_line_goes_on_over_single_missing_values() -> None:
    dates = pd.date_range("2020-01-01", periods=14, freq="8D")
    values = pd.Series([1.0, np.nan, 2.0, np.nan, 3.0, 4.0, *[np.nan] * 6, 5.0, 6.0], index=dates)
    found = with_gaps(values)
    assert np.isfinite(found.to_numpy()[:4]).all()
    assert found.isna().sum() == 1, "the line ends where six dates in a row have no value"


def test_clear_dates_of_a_cloudy_year_are_a_line_and_no_dots() -> None:
    """Of images every five days, a third is clear, in winter a tenth."""
    rng = np.random.default_rng(3)
    dates = pd.date_range("2019-01-01", "2020-12-31", freq="5D")
    is_clear = rng.random(len(dates)) < np.where(dates.month.isin([11, 12, 1, 2]), 0.1, 0.35)
    assert is_clear.sum() > 30
    assert with_gaps(pd.Series(np.where(is_clear, 1.0, np.nan), index=dates)).isna().sum() <= 1


@pytest.mark.exhaustive
def test_all_regions_are_shown_or_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("eechips.reports.figure", "eechips.cli.report_commands"):
        monkeypatch.setattr(f"{module}.MOST_PANELS", 6)  # each panel takes time to draw
    rows = "date,LST\n2019-01-01,1\n2019-01-02,2\n"
    for count, shown, message in (
        (5, 5, ""),
        (10, 6, "The first 6 regions are shown; 4 more are left out: choose regions with --region.\n"),
    ):
        units = []
        for number in range(count):
            table = "\n".join(f"{'place' if k == 0 else number},{row}" for k, row in enumerate(rows.splitlines()))
            units.append(({"kind": "region", "region": number}, {"": ("csv", f"{table}\n".encode())}))
        run = finished_run.write_run(tmp_path / f"{count}", units)
        figure = eechips.plot(run)
        assert len([panel for panel in figure.axes if panel.get_visible()]) == shown
        result = run_command("plot", run.path, status=0)
        assert result.stderr == message


def test_series_of_a_recipe_with_a_parameter_points_are_drawn(tmp_path: Path) -> None:
    """A column `date` is a user's own only in the tables of eechips points."""
    table = b"place,date,LST\na,2019-01-01,1\na,2019-01-02,2\n"
    units = [({"kind": "region", "region": "a"}, {"": ("csv", table)})]
    run = finished_run.write_run(tmp_path / "run", units, parameters={"points": 5})
    assert len(lines(eechips.plot(run))) == 1
    assert eechips.load(run)["date"].dt.day.tolist() == [1, 2]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_figure_shows_sixty_regions(tmp_path: Path) -> None:
    units = [
        ({"kind": "region", "region": number}, {"": ("csv", f"place,date,LST\n{number},2019-01-01,1\n".encode())})
        for number in range(60)
    ]
    figure = eechips.plot(finished_run.write_run(tmp_path / "run", units))
    assert sum(panel.get_visible() for panel in figure.axes) == 60


def test_the_legend_of_many_columns_lies_below_the_panels(tmp_path: Path) -> None:
    names = [f"A{number:02d}" for number in range(64)]
    table = f"place,date,{','.join(names)}\na,2019-01-01{',1' * 64}\na,2019-01-02{',2' * 64}\n"
    unit = ({"kind": "region", "region": "a"}, {"": ("csv", table.encode())})
    figure = eechips.plot(finished_run.write_run(tmp_path / "run", [unit]), out=tmp_path / "a.png")
    assert figure.legends[0].get_window_extent().y1 < figure.axes[0].get_window_extent().y0


@pytest.mark.exhaustive
@pytest.mark.slow
def test_notebooks_display_figures(alone: eechips.Run) -> None:
    """Also if pyplot was never imported."""
    code = (
        f"import eechips, sys; figure = eechips.plot({str(alone.path)!r})\n"
        "from IPython.core.formatters import DisplayFormatter\n"
        "data, _ = DisplayFormatter().format(figure)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "print(data['image/png'][1:4])"
    )
    pytest.importorskip("IPython")
    found = run_program(sys.executable, "-c", code)
    assert found.stdout == "b'PNG'\n", found.stderr


@pytest.mark.exhaustive
def test_a_picture_is_written_whole(alone: eechips.Run, tmp_path: Path) -> None:
    from matplotlib.image import imread

    for name in ("lst.png", "deep/er/lst.svg", "lst.pdf"):
        path = tmp_path / name
        result = run_command("plot", alone.path, "--region", "7", "--out", path, status=0)
        assert result.output == f"{path}\n"
        assert [other.name for other in path.parent.iterdir() if other.is_file()].count(path.name) == 1
    pixels = imread(tmp_path / "lst.png")
    assert pixels.shape == (540, 1350, 4)
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 20
    assert alone.verify() == []


@pytest.mark.slow
def test_plots_have_their_own_files_and_replacements_are_reported(alone: eechips.Run) -> None:
    choices = {"plot.png": [], "plot-7,Boulder.png": ["--region", "7", "--region", "Boulder"],
               "plot-Åland_west,LST_Day_1km.png": ["--region", "Åland/west", "--band", BAND]}  # fmt: skip
    for name, choice in choices.items():
        result = run_command("plot", alone.path, *choice)
        assert (result.stdout, result.stderr) == (f"{alone.path / name}\n", "")
    assert len({(alone.path / name).read_bytes() for name in choices}) == 3
    again = run_command("plot", alone.path)
    assert again.stdout == f"{alone.path / 'plot.png'}\n"
    assert again.stderr == "Replaced the earlier plot.png.\n"
    result = alone.path / alone.units["file"].iloc[0]
    with pytest.raises(UsageError, match="is a result of the run"):
        eechips.plot(alone, out=result)
    assert alone.verify() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regions": "Bolder"}, "there is no region 'Bolder' in .*; did you mean 'Boulder'\\?"),
        ({"bands": "NDVI"}, "there is no column 'NDVI'; there are LST_Day_1km, count"),
        ({"regions": range(61)}, "61 regions are too many for one figure: choose at most 60"),
        ({"out": "lst.docx"}, "a plot is png, pdf or svg, not docx"),
    ],
)
def test_invalid_options_are_refused(alone: eechips.Run, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        eechips.plot(alone, **options)


@pytest.mark.slow
def test_a_run_without_series_is_refused(demo_server: Server, tmp_path: Path) -> None:
    options = {"roi": "-105.2,39.9,-105.1,40.0", "endpoint": demo_server.url, "rate": None, "quiet": True}
    run = eechips.sample("NAIP", per_ecoregion=1, out=tmp_path / "chips", **options)
    with pytest.raises(UsageError, match="has no time series: it has no tables among its results"):
        eechips.plot(run)
    with pytest.raises(UsageError, match="holds no run"):
        eechips.plot(tmp_path)


@pytest.mark.slow
def test_tables_of_a_recipe_are_plotted(demo_server: Server, tmp_path: Path) -> None:
    """Any tables with a region, a date and values."""
    script = tmp_path / "rain.py"
    script.write_text(
        "from eechips import Table\n"
        "def get_requests():\n    return ['a', 'b']\n"
        "def get_result(index, name):\n"
        "    days = ['2020-01-01', '2020-01-02', '2020-01-02', '2020-03-01']\n"
        "    return Table([{'station': name, 'date': day, 'rain': n} for n, day in enumerate(days)])\n"
    )
    run = eechips.run(script, out=tmp_path / "run", endpoint=demo_server.url, quiet=True)
    found = lines(eechips.plot(run, regions="b"))  # type: ignore[arg-type]
    assert found[0][1].tolist() == [0.0, 1.5, 3.0]


@pytest.mark.slow
def test_without_matplotlib_it_says_what_to_install(alone: eechips.Run) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        f"from eechips.cli import main; main(['plot', {str(alone.path)!r}])"
    )
    found = run_program(sys.executable, "-c", code, status=2)
    assert found.stderr.strip() == "Error: plots need matplotlib: pip install 'eechips[report]'"


@given(st.lists(st.integers(1, 100), min_size=2, max_size=40))
def test_gaps_are_where_dates_are_far_apart(steps: list[int]) -> None:
    dates = pd.DatetimeIndex(np.datetime64("2020-01-01") + np.cumsum([0, *steps]).astype("timedelta64[D]"))
    values = pd.Series(np.arange(len(dates), dtype=float), index=dates)
    found = with_gaps(values)
    pd.testing.assert_series_equal(found.dropna(), values, check_freq=False, check_index_type=False)
    assert found.isna().sum() == sum(step > 3 * np.quantile(steps, 0.75) for step in steps)
    assert found.index.is_monotonic_increasing


def test_tables_in_an_object_store_are_to_be_copied(tmp_path: Path) -> None:
    table = b"place,date,LST\nnorth,2019-01-01,1\nnorth,2019-02-01,2\n"
    run = finished_run.write_run(tmp_path / "run", [({"region": "north"}, {"": ("csv", table)})])
    (name,) = run.units["file"]
    finished_run.move_results(run, "memory://figures/results")
    (run.path / name).rename(tmp_path / "kept")
    for read in (eechips.plot, eechips.smooth):
        with pytest.raises(
            UsageError, match=r"tables of .* are in memory://figures/results: copy them into the folder"
        ):
            read(run)
    (tmp_path / "kept").rename(run.path / name)
    assert [curve.region for curve in read_curves(run, most=1).curves] == ["north"]
