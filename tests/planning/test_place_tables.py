"""Files of places: columns, rows, and errors."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from eechips.builtin_recipes.samples.resolved_sample import resolve_sample
from eechips.builtin_recipes.samples.sample_options import SampleOptions
from eechips.builtin_recipes.tables.points import PointValues
from eechips.errors import RegionError
from eechips.geo.text_tables import guess_date_formats
from eechips.geo.vectors import read_features
from eechips.planning.place_tables import read_places
from local_tests.support.captured_log import CapturedLog


def written(folder: Path, text: str, name: str = "places.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "names",
    [
        *("lon,lat", "Longitude,LATITUDE", "x,y", "lng,lat", "Long,Lat", "decimalLongitude,decimalLatitude"),
        *("Länge,Breite", "longitud,latitud", "Longitudine,Latitudine"),
    ],
)
def test_names_of_coordinates_are_guessed(tmp_path: Path, names: str) -> None:
    found = read_places(written(tmp_path, f"id,{names}\n1,8.5,47\n"))
    assert found.geometries[0] == shapely.Point(8.5, 47)
    assert found.kind == "points"


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_separators_are_recognised(tmp_path: Path, mark: str) -> None:
    text = "id,lon,lat,what\n007,8.5,47.0,a\n".replace(",", mark)
    found = read_places(written(tmp_path, "\ufeff" + text))
    assert found.table.to_pylist() == [{"id": "007", "lon": "8.5", "lat": "47.0", "what": "a"}]


def test_numbers_become_numbers_only_where_nothing_is_lost(tmp_path: Path) -> None:
    text = "id,plot,n,share,lon,lat,note,none\n007,1,,0.5,8,47,a,\n010,2,3,1e-3,9,47.5,,\n"
    found = read_places(written(tmp_path, text))
    assert found.typed().to_pydict() == {
        "id": ["007", "010"], "plot": [1, 2], "n": [None, 3], "share": [0.5, 1e-3], "lon": [8, 9], "lat": [47.0, 47.5],
        "note": ["a", None], "none": [None, None],
    }  # fmt: skip
    assert found.typed().schema.field("n").type == pa.int64()


def test_long_integers_keep_their_digits(tmp_path: Path) -> None:
    cell, long = "9749618446378729472", "9007199254740993"  # an id of S2, and one that float64 lacks
    text = f"cell,mixed,long,lon,lat\n{cell},{long},{long},8,47\n{cell[:-1]}3,0.5,7,9,48\n"
    assert read_places(written(tmp_path, text)).typed().select(["cell", "mixed", "long"]).to_pydict() == {
        "cell": [cell, f"{cell[:-1]}3"], "mixed": [long, "0.5"], "long": [int(long), 7],
    }  # fmt: skip


def test_rows_without_coordinates_are_kept(tmp_path: Path) -> None:
    found = read_places(written(tmp_path, "id,lon,lat\na,8,47\nb,,\nc,NaN,nan\nd,9,48\n"))
    assert found.known.tolist() == [0, 3]
    assert len(found) == 4


def test_longitudes_from_0_to_360(tmp_path: Path) -> None:
    found = read_places(written(tmp_path, "lon,lat\n350,0\n180,0\n-180,0\n"))
    assert shapely.get_x(found.geometries).tolist() == [-10, 180, -180]


def test_decimal_commas_of_coordinates(tmp_path: Path) -> None:
    """As a German Excel writes them. Other columns stay as they are: "1,5" may be two codes."""
    found = read_places(written(tmp_path, "id;depth;lon;lat\r\na;1,5;8,125;47\r\nb;2;-0,5;47,25\r\nc;;;\r\n"))
    assert shapely.get_coordinates(found.geometries).tolist() == [[8.125, 47], [-0.5, 47.25]]
    assert found.table.to_pydict() == {
        "id": ["a", "b", "c"],
        "depth": ["1,5", "2", ""],
        "lon": ["8.125", "-0.5", ""],
        "lat": ["47", "47.25", ""],
    }


def test_commas_of_metres_may_separate_thousands(tmp_path: Path) -> None:
    metres = read_places(written(tmp_path, "x;y\n500000,5;5200000,125\n500001;5200001,25\n"), crs="EPSG:32632")
    assert shapely.get_x(metres.geometries).round(4).tolist() == [9, 9]
    with pytest.raises(RegionError, match="x is not a number: '491,577'"):
        read_places(written(tmp_path, "x;y\n491,577;5200000\n"), crs="EPSG:32632")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,lon,lat\na,8,47\nb,8,91\nc,9,-91\n", "rows 2, 3: the latitude 91 is not within -90 and 90 degrees"),
        (
            "id,x,y\na,500000,5200000\n",
            r"row 1: the latitude 5.2e.* degrees; it looks projected \(metres\): name .* with `input_crs`",
        ),
        ("lat,lon\n-105,40\n", "row 1: the latitude -105 .* degrees; are longitude and latitude swapped"),
        ("id;lon;lat\n1;8,5;47\n2;8.5;47\n", "row 1: lon is not a number: '8,5'; write a decimal point, not a comma"),
        (
            "id;lon;lat\n1;8,5;47\n2;-;47\n3;7,5;47,5\n",
            r"csv \(row 1 is the first below the header\): row 2: lon is not a number: '-'$",
        ),
        ("id;lon;lat\n1;8,5;47\n2;8°30'0,0\"E;47\n", "row 2: lon is not .*; write degrees as a decimal number"),
        ("id,lon,lat\n1,8,5,47,1\n", "if its numbers have decimal commas, separate the columns by semicolons"),
        ("lon,lat\n-181,0\n", "row 1: the longitude -181 is not within"),
        ("lon,lat\n400,40\n", "row 1: the longitude 400 .* degrees; correct it, or leave the row out"),
        ("lon,lat\n8,47\nabc,47\n", "row 2: lon is not a number: 'abc'"),
        ("lon,lat\ninf,47\n", "row 1: lon is not a number"),
        ("lon,lat\n8,\n", "row 1: one coordinate without the other"),
        ("a,b\n1,2\n", r"no longitude column in .* \(a, b\): name both, as in columns='lon=NAME,lat=NAME'"),
        ("lon,b\n1,2\n", "no latitude column in"),
        ("Lat_WGS84,Lon_WGS84\n1,2\n", "columns='lon=Lon_WGS84,lat=Lat_WGS84'"),
        ("lon,lat\n", "holds no rows: a table has a header, and a row for each place"),
        ("lon,lat,lon\n1,2,3\n", "more than one column 'lon'"),
        ("", "is empty: a table has a header, and a row for each place"),
        ("lon,lat\n1,2\n1,2,3,4\n", "Expected 2 fields in line 3, saw 4"),
        ("sep=,\nlon,lat\n1,2\n1,2,3,4\n", "Expected 2 fields in line 4, saw 4"),
        (
            "\nid;lon;lat\n1;8,5;47\n2;-;47\n3;7,5;47,5\n",
            r"csv \(row 1 is the first below the header\): row 2: lon is not a number: '-'$",
        ),
        ("\t\t\nid\tlon\tlat\na\t2\t3\n", "has more than one column ''"),
        ("lon,lat\n1,2,3\n", "cannot be read as CSV: a row has more values than the header has names: 'lon,lat'"),
    ],
)
def test_errors_name_their_rows(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RegionError, match=message):
        read_places(written(tmp_path, text))


@pytest.mark.parametrize("line", ["sep=;\r\n", '"sep=;"\r\n', "sep=;\n", "\r\n", " \n\n", "sep=;\r", "\r"])
def test_a_line_that_tells_excel_the_separator_and_a_blank_one_are_no_header(tmp_path: Path, line: str) -> None:
    end = "\r\n" if "\n" in line else "\r"
    places = read_places(written(tmp_path, f"{line}plot;lon;lat{end}1;8,5;47,5{end}"))
    assert shapely.get_coordinates(places.geometries).tolist() == [[8.5, 47.5]]


def test_all_faults_of_a_table_are_named_at_once(tmp_path: Path) -> None:
    text = "lon,lat,day\n8,47,2020-06-01\nabc,47,gestern\n8,147,2020-06-01\n,47,2020-06-01\n-200,47,\n,,2020-13-01\n"
    path = written(tmp_path, text)
    with pytest.raises(RegionError) as wrong:
        read_places(path, dates=("day", None), is_complete=True)
    assert (
        str(wrong.value)
        == f"{path} (row 1 is the first below the header) has 7 faults: {'; '.join(wrong.value.mistakes)}"
    )
    assert list(wrong.value.mistakes) == [
        "row 2: lon is not a number: 'abc'",
        "row 4: one coordinate without the other",
        "row 3: the latitude 147 is not within -90 and 90 degrees; are longitude and latitude swapped?",
        "row 5: the longitude -200 is not within -180 and 180 degrees; correct it, or leave the row out",
        "row 6: no coordinates; leave the row out",
        "rows 2, 6: day is not a date (YYYY-MM-DD): 'gestern'; write it as in the other rows",
        "row 5: no date in 'day'",
    ]
    with pytest.raises(RegionError, match="has 5 faults"):  # rows without coordinates or dates are allowed
        read_places(path, dates=("day", None))


@pytest.mark.parametrize(
    ("text", "crs", "faults"),
    [
        ("lon,lat\nabc,47\n8,95\n", "EPSG:4326", ["row 1: lon is not", "row 2: the latitude 95 is not"]),
        ("x,y\n500000,4000000\nabc,1\n", None, ["row 2: x is not", "row 1: the latitude 4e+06 is not"]),
        ("x,y\n500000,4000000\nabc,1\n", "EPSG:32632", ["row 2: x is not"]),
        ("x,y\nabc,1\n", "EPSG:32632", ["row 1: x is not"]),
    ],
)
def test_each_faulty_row_is_named_once_in_any_coordinates(
    tmp_path: Path, text: str, crs: str | None, faults: list[str]
) -> None:
    with pytest.raises(RegionError) as wrong:
        read_places(written(tmp_path, text), crs=crs)
    found = wrong.value.mistakes or [str(wrong.value).partition(": ")[2]]
    assert [fault[: len(start)] for fault, start in zip(found, faults, strict=True)] == faults


def test_dates_may_have_a_format(tmp_path: Path) -> None:
    places = read_places(written(tmp_path, "lon,lat,day\n8,47,31/12/2020\n8,47,\n"))
    found = places.moments("day", "%d/%m/%Y")
    assert found[0] == pd.Timestamp("2020-12-31", tz="UTC").timestamp() * 1000
    assert np.isnan(found[1])
    with pytest.raises(RegionError, match=r"row 1: day is not a date .*'31/12/2020'; .*columns='date=day:%d/%m/%Y'"):
        places.moments("day")
    unclear = read_places(written(tmp_path, "lon,lat,day\n8,47,6/1/2021\n8,47,6/12/2021\n"))
    with pytest.raises(RegionError, match=r"'date=day:%d/%m/%Y' \(or, with the month first, %m/%d/%Y\), or, if"):
        unclear.moments("day")
    mixed = read_places(written(tmp_path, "lon,lat,day\n8,47,03 Aug 2019\n8,47,12.31.2020\n"))
    with pytest.raises(RegionError, match=r"'03 Aug 2019'; write all as YYYY-MM-DD$"):
        mixed.moments("day")
    with pytest.raises(RegionError, match="row 1: day is not a date with the format %Y/%m/%d: '31/12/2020'"):
        places.moments("day", "%Y/%m/%d")
    like = "write it as in the other rows"
    for odd, day_format, cure in (
        ("31/12/2020", None, like),
        ("2020-02-30", None, "there is no such day"),
        ("20200230", None, "there is no such day"),
        ("2020-02-30T10:00:00", None, "there is no such day or time"),
        ("2020-02-28", "%d/%m/%Y", f"correct it, or {like}"),
        ("30/02/2020", "%d/%m/%Y", f"correct it, or {like}"),
    ):
        usual = "2020-02-27" if day_format is None else "27/02/2020"
        places = read_places(written(tmp_path, f"lon,lat,day\n8,47,{usual}\n8,47,{odd}\n8,47,{usual}\n"))
        with pytest.raises(RegionError, match=f"row 2: day is not .*'{odd}'; {cure}$"):
            places.moments("day", day_format)


@pytest.mark.parametrize(
    ("texts", "formats"),
    [
        (["1/2/2020 10:00"], ["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"]),
        (["1/2/2020 9:05:00 PM", "1/31/2020 9:05:00 AM"], ["%m/%d/%Y %I:%M:%S %p"]),
        (["6/1/20"], ["%d/%m/%y", "%m/%d/%y"]),
        (["6/1/20", "6/13/20"], ["%m/%d/%y"]),
        (["20-06-01", "20-06-02"], ["%d-%m-%y", "%y-%m-%d"]),
        (["2020/6/1"], ["%Y/%m/%d"]),
        (["03.04.20 08:00"], ["%d.%m.%y %H:%M"]),
        (["yesterday"], []),
        (["2020-13-45 10:00"], []),
        (["31/31/2020"], []),
        (["1/2/020"], []),
        (["2020-06-01 25:00"], []),
        (["1/2/2020 13:00 PM"], []),
        (["1/2/2020 10:00", "13/2/2020 10:00:30"], []),
        (["1/2/2020 10:00", "13/2/2020 10:00 AM"], []),
        (["03 Aug 2019", "12.31.2020"], []),
    ],
)
def test_formats_of_dates_fit_the_dates(tmp_path: Path, texts: list[str], formats: list[str]) -> None:
    assert guess_date_formats(texts) == formats
    for each in formats:
        for text in texts:
            datetime.strptime(text, each)
    rows = "".join(f"8,47,{text}\n" for text in texts)
    for each in formats:
        assert not np.isnan(read_places(written(tmp_path, f"lon,lat,day\n{rows}")).moments("day", each)).any()


def test_repaired_polygons_of_a_text_table_are_counted_from_its_header(tmp_path: Path, caplog: CapturedLog) -> None:
    read_places(written(tmp_path, 'wkt\n"POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))"\n'))
    assert "(row 1 is the first below the header): repaired 1 of 1 polygons" in caplog.text


def test_a_kml_file_has_the_columns_that_it_has_values_for(tmp_path: Path) -> None:
    path = tmp_path / "fields.kml"
    points = geopandas.points_from_xy([8, 9], [47, 48])
    plots = geopandas.GeoDataFrame({"Name": ["a", "b"], "crop": ["oat", "rye"]}, geometry=points, crs=4326)
    plots.to_file(path, driver="LIBKML")  # that of GDAL 3.11, named KML, writes no further columns
    assert read_places(path).table.column_names == ["id", "Name", "crop"]
    path.write_text(path.read_text().replace("<Point>", "<description>by the lake</description><Point>", 1))
    assert read_places(path).table.column("description").to_pylist() == ["by the lake", None]


def test_a_day_that_does_not_exist_needs_no_format(tmp_path: Path) -> None:
    path = written(tmp_path, "lon,lat,day\n8,47,2020-13-01\n8,47,2020-02-30\n")
    with pytest.raises(RegionError) as wrong:
        read_places(path).moments("day")
    assert (
        str(wrong.value)
        == f"{path} (row 1 is the first below the header): rows 1, 2: day is not a date (YYYY-MM-DD): '2020-13-01';"
        " there is no such day"
    )
    mixed = read_places(written(tmp_path, "lon,lat,day\n8,47,2020-13-01\n8,47,31/12/2020\n"))
    with pytest.raises(RegionError, match=r"rows 1, 2: day is not .*: '31/12/2020'; .*columns='date=day:%d/%m/%Y'"):
        mixed.moments("day")


def test_a_date_format_without_percent_signs_is_refused(tmp_path: Path) -> None:
    places = read_places(written(tmp_path, "lon,lat,day\n8,47,31/12/2020\n"))
    with pytest.raises(RegionError, match=r"'DD/MM/YYYY' is not a format of dates: .*columns='date=day:%d/%m/%Y'"):
        places.moments("day:DD/MM/YYYY")


@pytest.mark.slow
def test_an_unknown_crs_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegionError, match=r"PROJ does not know .* 'utm14'; give a code, such as EPSG:32632"):
        read_places(written(tmp_path, "x,y\n500000,4420000\n"), crs="utm14")


def test_unknown_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RegionError, match=r"has no column 'lom'; did you mean 'lon'\?"):
        read_places(written(tmp_path, "lon,lat\n1,2\n"), lon_field="lom")
    with pytest.raises(RegionError, match="there is no file"):
        read_places(tmp_path / "none.csv")


def test_parquet_keeps_types(tmp_path: Path) -> None:
    frame = pd.DataFrame({"lat": [47.0, np.nan], "lon": [8.0, np.nan], "n": pd.array([1, 2], "int16"), "s": ["a", "b"]})
    frame.to_parquet(tmp_path / "places.parquet")
    found = read_places(tmp_path / "places.parquet")
    assert found.known.tolist() == [0]
    assert found.typed().schema.field("n").type == pa.int16()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["places.parquet", "places.gpkg", "places.geojson"])
def test_points_of_vector_files_are_reprojected(tmp_path: Path, name: str) -> None:
    points = [shapely.Point(8, 47), shapely.Point(9, 46)]
    frame = geopandas.GeoDataFrame({"id": [1, 2]}, geometry=points, crs="EPSG:4326")
    frame = frame if name.endswith("geojson") else frame.to_crs("EPSG:32632")
    if name.endswith("parquet"):
        frame.to_parquet(tmp_path / name)
    else:
        frame.to_file(tmp_path / name)
    found = read_places(tmp_path / name)
    np.testing.assert_allclose(shapely.get_coordinates(found.geometries), [(8, 47), (9, 46)], atol=1e-9)
    assert found.table.column_names == ["id"]
    with pytest.raises(RegionError, match="leave lon and lat of `columns` out"):
        read_places(tmp_path / name, lon_field="x")


def test_points_of_geometries_get_columns_of_coordinates(tmp_path: Path) -> None:
    """A table of values without a place is of no use to a map."""
    shapes = [shapely.Point(7.5, 46.5), None, shapely.Point(8.25, 46.0)]
    frame = geopandas.GeoDataFrame({"plot": ["a", "b", "c"]}, geometry=shapes, crs=4326)
    frame.to_crs(32632).to_file(tmp_path / "plots.gpkg")
    found = read_places(written(tmp_path, "n,wkt\n007,POINT (1 2)\n")).with_coordinates()
    assert found.typed().to_pydict() == {"n": ["007"], "lon": [1.0], "lat": [2.0]}
    table = read_places(tmp_path / "plots.gpkg").with_coordinates().table
    assert table.column_names == ["plot", "lon", "lat"]
    assert table["lon"].to_pylist() == [pytest.approx(7.5), None, pytest.approx(8.25)]
    assert table["lat"].to_pylist() == [pytest.approx(46.5), None, pytest.approx(46.0)]
    (tmp_path / "own.csv").write_text("WKT,Lon\nPOINT (7 46),east\n")
    (tmp_path / "table.csv").write_text("x,y\n7,46\n")
    for name, columns in (("own.csv", ["Lon"]), ("table.csv", ["x", "y"])):
        assert read_places(tmp_path / name).with_coordinates().table.column_names == columns


def test_multipoints_of_one_point_are_points(tmp_path: Path) -> None:
    """Programs write layers of them where only some features have several points, or none has."""
    shapes = [shapely.MultiPoint([(7.5, 46.5)]), None, shapely.MultiPoint(), shapely.Point(8, 46)]
    geopandas.GeoDataFrame(geometry=shapes, crs=4326).to_parquet(tmp_path / "plots.parquet")
    found = read_places(tmp_path / "plots.parquet")
    assert (found.kind, [*found.geometries]) == ("points", [shapely.Point(7.5, 46.5), None, None, shapes[3]])
    geopandas.GeoDataFrame(geometry=[shapely.MultiPoint([(7, 46), (8, 46)])], crs=4326).to_parquet(
        tmp_path / "two.parquet"
    )
    with pytest.raises(RegionError, match="holds multipoint"):
        read_places(tmp_path / "two.parquet")


def test_json_and_views_are_columns_of_text(tmp_path: Path) -> None:
    """GDAL gives objects, and columns of several types, as JSON, which Arrow cannot sort or take, nor views."""
    feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [8, 47]}}
    both = [{**feature, "properties": {"tags": {"a": 1}, "n": 1}}, {**feature, "properties": {"tags": {}, "n": "x"}}]
    written(tmp_path, json.dumps({"type": "FeatureCollection", "features": both}), "a.geojson")
    table = read_places(tmp_path / "a.geojson").typed()
    assert table.schema.types == [pa.string()] * 2
    assert [json.loads(text) for text in table["tags"].to_pylist()] == [{"a": 1}, {}]
    assert table["n"].to_pylist() == ["1", "x"]
    pq.write_table(pa.table({"t": pa.array(["b"], pa.string_view()), "lon": [8], "lat": [47]}), tmp_path / "a.parquet")
    assert read_places(tmp_path / "a.parquet").typed().schema.field("t").type == pa.string()


@pytest.mark.slow
def test_polygons_or_points_but_not_both(tmp_path: Path) -> None:
    square = shapely.box(8, 47, 8.1, 47.1)
    frame = geopandas.GeoDataFrame({"id": [1, 2]}, geometry=[square, None], crs="EPSG:4326")
    frame.to_file(tmp_path / "squares.gpkg")
    found = read_places(tmp_path / "squares.gpkg")
    assert (found.kind, found.known.tolist()) == ("polygons", [0])
    for other, message in [(shapely.Point(1, 1), "point and polygon"), (shapely.LineString([(0, 0), (1, 1)]), "line")]:
        mixed = geopandas.GeoDataFrame({"id": [1, 2]}, geometry=[square, other], crs="EPSG:4326")
        mixed.to_parquet(tmp_path / "mixed.parquet")
        with pytest.raises(RegionError, match=message):
            read_places(tmp_path / "mixed.parquet")
    bow = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    geopandas.GeoDataFrame({"id": [1]}, geometry=[bow], crs="EPSG:4326").to_parquet(tmp_path / "bow.parquet")
    assert read_places(tmp_path / "bow.parquet").geometries[0].equals(shapely.make_valid(bow))


def test_projected_polygons_that_cross_themselves_keep_all_parts(tmp_path: Path) -> None:
    """GEOS keeps one triangle of such a polygon when it adds vertices, and calls the rest valid."""
    path, x, y = tmp_path / "bow.gpkg", 475_963.0, 4_434_835.0
    bow = shapely.Polygon([(x, y), (x + 200, y + 200), (x + 200, y), (x, y + 200)])
    projected = geopandas.GeoDataFrame({"id": [1]}, geometry=[bow], crs="EPSG:32613")
    projected.to_file(path)
    wanted = projected.make_valid().to_crs("EPSG:4326").iloc[0]
    for geometry in (read_places(path).geometries[0], read_features(path)[0][0]):
        assert shapely.area(shapely.symmetric_difference(geometry, wanted)) < 1e-4 * wanted.area


def test_columns_of_dates_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "lon,lat,day,bad\n1,2,2020-01-31,x\n1,2,,2020-01-31\n1,2,2020-02-01T12:30:00Z,\n")
    found = read_places(path)
    expected = [
        np.datetime64("2020-01-31", "ms").astype(float),
        np.nan,
        np.datetime64("2020-02-01T12:30", "ms").astype(float),
    ]
    np.testing.assert_array_equal(found.moments("day"), expected)
    with pytest.raises(RegionError, match="row 1: bad is not a date"):
        found.moments("bad")
    for day in ("0001-01-02", "2300-01-01", "9999-12-31"):  # pandas has moments of these that it cannot subtract
        with pytest.raises(RegionError, match="row 1: day is not a date"):
            read_places(written(tmp_path, f"lon,lat,day\n1,2,{day}\n")).moments("day")
    with pytest.raises(RegionError, match="has no column 'dya'"):
        found.moments("dya")


def test_duplicate_and_empty_ids_are_refused(tmp_path: Path) -> None:
    found = read_places(written(tmp_path, "id,key,lon,lat\n1,a,1,2\n2,b,1,2\n1,,1,2\n"))
    with pytest.raises(RegionError, match="rows 1, 3 have the same id: '1'"):
        found.check_unique("id")
    with pytest.raises(RegionError, match="row 3: key is empty"):
        found.check_unique("key")
    found = read_places(written(tmp_path, "id,lon,lat\n1,1,2\n2,1,2\n1,1,2\n2,1,2\n"))
    with pytest.raises(RegionError, match="rows 1, 3 have the same id: '1', and 2 rows repeat an earlier one"):
        found.check_unique("id")


def test_a_carriage_return_within_the_header_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RegionError, match=r"places.csv cannot be read as CSV: the header: new-line character"):
        read_places(written(tmp_path, "id,lon\r,lat\n1,2,3\n"))


@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        ({"dataset": "S2"}, True),
        ({"dataset": "S2", "start": "2021-05-01", "end": "2021-07-01"}, False),
        ({"dataset": "S2", "columns": "date=Date", "near": "30d"}, False),
        ({"dataset": "SRTM"}, False),
    ],
)
def test_a_column_of_dates_that_chooses_no_image_is_told(
    tmp_path: Path, caplog: CapturedLog, options: dict[str, str], is_told: bool
) -> None:
    caplog.set_level(logging.WARNING, "eechips")
    path = written(tmp_path, "lon,lat,Date\n-105.2,39.5,2021-06-01\n")
    resolve_sample(SampleOptions(points=path, **options))
    PointValues(points=path, **options).places  # noqa: B018 - read on first use
    told = [record.getMessage() for record in caplog.records]
    cure = "`columns` date=Date and `near` 30d take the images nearest to them"
    message = f"{path}: dates of column 'Date' are not used; {cure}"
    assert told == [message, message] * is_told
