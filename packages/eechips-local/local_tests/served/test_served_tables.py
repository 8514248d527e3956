"""Tables through the real client: pages, data frames, and files that pandas and geopandas read."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd
import pyogrio
import pytest
import requests
import shapely

from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import TABLE


@pytest.fixture(scope="module")
def server(stack_server: Server) -> Server:
    return stack_server


@pytest.fixture(scope="module")
def ee(server: Server) -> Any:
    return initialize(server)


def squares() -> list[Any]:
    return [shapely.box(x, 40, x + 0.5, 40.5) for x in range(-105, -95)]


def awkward(ee: Any) -> Any:
    """Texts and shapes that formats trip over."""
    return ee.FeatureCollection(
        [
            ee.Feature(ee.Geometry.Point([1, 2]), {"name": 'a "quoted", <b>&amp;', "n": 1.5, "list": [1, 2]}),
            ee.Feature(None, {"name": "line\nbreak", "n": None}),
            ee.Feature(
                ee.Geometry.MultiPolygon([[[[0, 0], [1, 0], [1, 1], [0, 0]]], [[[5, 5], [6, 5], [6, 6], [5, 5]]]]),
                {"name": "日本 ünï", "n": 1e20},
            ),
        ]
    )


def test_pages(ee: Any) -> None:
    params = {"expression": ee.FeatureCollection(TABLE), "pageSize": 4}
    found, sizes, token = [], [], None
    while True:
        page = ee.data.computeFeatures({**params, **({"pageToken": token} if token else {})})
        found += page["features"]
        sizes.append(len(page["features"]))
        token = page.get("nextPageToken")
        if token is None:
            break
    assert sizes == [4, 4, 2]
    assert [feature["properties"]["n"] for feature in found] == list(range(10))
    assert found[0]["geometry"]["type"] == "Polygon"
    assert shapely.geometry.shape(found[0]["geometry"]).equals(squares()[0])


def test_data_frames(ee: Any) -> None:
    params = {"expression": ee.FeatureCollection(TABLE), "pageSize": 3}
    frame = ee.data.computeFeatures({**params, "fileFormat": "PANDAS_DATAFRAME"})
    assert set(frame.columns) == {"geo", "crop", "n"}
    assert list(frame.n) == list(range(10))
    geo = ee.data.computeFeatures({**params, "fileFormat": "GEOPANDAS_GEODATAFRAME"})
    assert all(a.equals(b) for a, b in zip(geo.geometry, squares(), strict=True))


def test_computed_geometries_come_in_degrees_with_planar_edges(ee: Any) -> None:
    square = ee.Geometry.Rectangle([500_000, 4_400_000, 501_000, 4_401_000], "EPSG:32613", False)
    page = ee.data.computeFeatures({"expression": ee.FeatureCollection([ee.Feature(square)])})
    shape = shapely.geometry.shape(page["features"][0]["geometry"])
    expected = geopandas.GeoSeries([shapely.box(500_000, 4_400_000, 501_000, 4_401_000)], crs=32613).to_crs(4326)[0]
    assert shape.symmetric_difference(expected).area / expected.area < 1e-4
    assert page["features"][0]["geometry"].get("geodesic") in (None, False)


def test_csv(ee: Any) -> None:
    frame = pd.read_csv(ee.FeatureCollection(TABLE).getDownloadURL("csv", filename="fields"))
    assert list(frame.columns) == ["system:index", "crop", "n", ".geo"]
    assert list(frame.n) == list(range(10))
    assert all(shapely.from_geojson(text).equals(square) for text, square in zip(frame[".geo"], squares(), strict=True))
    chosen = pd.read_csv(ee.FeatureCollection(TABLE).getDownloadURL("csv", ["n", "none"]))
    assert list(chosen.columns) == ["n", "none"]
    assert chosen.none.isna().all()


def test_csv_of_awkward_texts(ee: Any) -> None:
    frame = pd.read_csv(awkward(ee).getDownloadURL("csv"))
    assert list(frame.name) == ['a "quoted", <b>&amp;', "line\nbreak", "日本 ünï"]
    assert frame.n.isna().tolist() == [False, True, False]
    assert frame.list[0] == "[1, 2]"
    assert frame[".geo"][1] == '{"type":"MultiPoint","coordinates":[]}'


def test_dictionaries_of_a_csv_are_those_of_java(ee: Any) -> None:
    """Scripts of users parse them: "{10=123, 20=456}" (codes 54655260251 and 60297481616)."""
    counts = ee.Dictionary({"10": 123, "20": 4.5, "note": ["a", None, True], "inner": {"1": 2}})
    frame = pd.read_csv(ee.FeatureCollection([ee.Feature(None, {"counts": counts})]).getDownloadURL("csv", ["counts"]))
    assert frame.counts[0] == "{10=123, 20=4.5, inner={1=2}, note=[a, null, true]}"


def test_doubles_inside_cells_of_a_csv_are_those_of_java(ee: Any) -> None:
    """A user parses "gain=-1, histogram={bucketMin=0.0, bucketWidth=0.5, histogram=[" (code 3811943780)."""
    place, image = ee.Geometry.Point([13, 50]), ee.Image([0.25, -1]).rename("slope", "gain")
    histogram = ee.Reducer.histogram(2, 0.5).group(1, "gain")
    means = image.reduceRegion(ee.Reducer.mean(), place, 30)
    cells = {
        "groups": image.reduceRegion(histogram, place, 30).get("groups"), "means": means, "gain": means.get("gain"),
        "xy": place.coordinates(), "mixed": ee.List([1, ee.Number(1).divide(1), True, None, "a", ee.Date(5)]),
    }  # fmt: skip
    frame = pd.read_csv(ee.FeatureCollection([ee.Feature(None, cells)]).getDownloadURL("csv", [*cells]), dtype=str)
    assert frame.iloc[0].to_dict() == {
        "groups": "[{gain=-1, histogram={bucketMin=0.0, bucketWidth=0.5, histogram=[1.0], bucketMeans=[0.25]}}]",
        "means": "{slope=0.25, gain=-1.0}",
        "gain": "-1.0", "xy": "[13.0, 50.0]", "mixed": "[1, 1.0, true, null, a, {type=Date, value=5}]",
    }  # fmt: skip


def test_an_empty_csv_has_a_header(ee: Any) -> None:
    response = requests.get(ee.FeatureCollection([]).getDownloadURL("csv"))
    assert response.text == "system:index,.geo\n"
    assert response.headers["content-disposition"] == "attachment; filename=table.csv"


def test_geojson(ee: Any) -> None:
    frame = geopandas.read_file(io.BytesIO(requests.get(awkward(ee).getDownloadURL("geojson")).content))
    assert list(frame.name) == ['a "quoted", <b>&amp;', "line\nbreak", "日本 ünï"]
    assert frame.geometry[2].geom_type == "MultiPolygon"
    assert frame.geometry[1] is None
    chosen = requests.get(awkward(ee).getDownloadURL("geojson", ["n"])).json()
    assert [feature["properties"].keys() for feature in chosen["features"]] == [{"n"}, {"n"}, {"n"}]


KML = "{http://www.opengis.net/kml/2.2}"


@pytest.mark.parametrize("form", ["kml", "kmz"])
def test_kml(ee: Any, form: str) -> None:
    content = requests.get(awkward(ee).getDownloadURL(form, ["name", "n"])).content
    if form == "kmz":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read("doc.kml")
    placemarks = ElementTree.fromstring(content).findall(f".//{KML}Placemark")
    values = [[data.findtext(f"{KML}value") for data in mark.iter(f"{KML}Data")] for mark in placemarks]
    assert values == [['a "quoted", <b>&amp;', "1.5"], ["line\nbreak", ""], ["日本 ünï", "1.0E20"]]
    assert placemarks[0].findtext(f"{KML}Point/{KML}coordinates") == "1.0,2.0"
    assert len(placemarks[2].findall(f"{KML}MultiGeometry/{KML}Polygon")) == 2
    assert placemarks[1].find(f"{KML}Point") is None


def test_kml_opens_in_gdal(ee: Any) -> None:
    content = requests.get(ee.FeatureCollection(TABLE).getDownloadURL("kml")).content
    frame = geopandas.read_file(io.BytesIO(content))
    assert all(a.equals(b) for a, b in zip(frame.geometry, squares(), strict=True))


@pytest.mark.parametrize("selectors", [None, ["half", "a_long_column"]])
def test_zipped_shapefile(ee: Any, tmp_path: Path, selectors: list[str] | None) -> None:
    """As geemap's ``ee_export_vector`` reads it: it unpacks the archive and opens the file of that name."""
    collection = ee.FeatureCollection(TABLE).map(
        lambda f: f.set({"half": ee.Number(f.get("n")).divide(2), "a_long_column": ee.String("é").cat(f.get("crop"))})
    )
    response = requests.get(collection.getDownloadURL("SHP", selectors, "my fields"))
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert sorted(archive.namelist()) == [f"my fields.{ending}" for ending in ("cpg", "dbf", "prj", "shp", "shx")]
        archive.extractall(tmp_path)
    frame = pyogrio.read_dataframe(tmp_path / "my fields.shp")
    names = {"a_long_col", "half", "geometry"} | ({"crop", "n"} if selectors is None else set())
    assert set(frame.columns) == names
    assert frame.crs == "EPSG:4326"
    assert list(frame.half) == [n / 2 for n in range(10)]
    assert list(frame.a_long_col) == ["érye", "éoats"] * 5
    assert all(a.equals(b) for a, b in zip(frame.geometry, squares(), strict=True))


def test_files_of_a_zipped_shapefile_stay_in_its_folder(ee: Any) -> None:
    content = requests.get(ee.FeatureCollection(TABLE).getDownloadURL("shp", filename="../up")).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {Path(name).name for name in archive.namelist()} == set(archive.namelist())
        assert ".._up.shp" in archive.namelist()


def test_tables_that_no_shapefile_holds_are_refused(ee: Any) -> None:
    point, line = ee.Geometry.Point([1, 2]), ee.Geometry.LineString([[0, 0], [1, 1]])
    response = requests.get(ee.FeatureCollection([ee.Feature(point), ee.Feature(line)]).getDownloadURL("shp"))
    assert response.status_code == 400
    assert "geometries of one type; found LineString, Point" in response.json()["error"]["message"]


def test_other_formats_are_refused(ee: Any) -> None:
    with pytest.raises(ee.EEException, match="Invalid value at 'file_format'"):
        ee.FeatureCollection(TABLE).getDownloadURL("xlsx")
    response = requests.get(ee.FeatureCollection(TABLE).getDownloadURL("TF_RECORD_TABLE"))
    assert response.status_code == 400
    assert "does not write tables as TF_RECORD_TABLE" in response.json()["error"]["message"]


def test_an_empty_image_collection_maps_to_an_empty_table(ee: Any) -> None:
    none = ee.ImageCollection([]).map(lambda image: ee.Feature(None, {"date": image.date().format()}))
    assert ee.data.computeFeatures({"expression": ee.FeatureCollection(none)}) == {"type": "FeatureCollection"}
    response = requests.get(ee.FeatureCollection(none).getDownloadURL("csv", selectors=["date"]), timeout=60)
    assert (response.status_code, response.text) == (200, "date\n")


def test_an_empty_feature_collection_maps_to_no_images(ee: Any) -> None:
    none = ee.FeatureCollection([]).map(lambda feature: ee.Image(1))
    assert ee.data.computeImages({"expression": ee.ImageCollection(none)}) == {}


def test_images_are_not_a_table(ee: Any) -> None:
    with pytest.raises(ee.EEException, match="Expected a FeatureCollection; the expression is of type ImageColl"):
        ee.data.computeFeatures({"expression": ee.ImageCollection([ee.Image(1)])})


def test_only_collections_of_features_are_tables(ee: Any) -> None:
    with pytest.raises(ee.EEException, match="Expected a FeatureCollection; the expression is of type Image"):
        ee.data.computeFeatures({"expression": ee.Image(1)})


@pytest.mark.slow
def test_a_table_of_any_length_is_downloaded(ee: Any) -> None:
    def row(n: Any) -> Any:
        return ee.Feature(None, {"n": n})

    long = ee.FeatureCollection(ee.List.sequence(1, 7000).map(row))
    frame = pd.read_csv(long.getDownloadURL("csv", ["n"]))
    assert list(frame.n) == list(range(1, 7001))
    with pytest.raises(ee.EEException, match="accumulating over 5000 elements"):
        long.getInfo()
