"""Tables that the real client ingests from the folder that stands for buckets, compared with pandas and geopandas."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd
import pytest
import shapely

from local_tests.client_assets.test_image_ingestion import ended
from local_tests.support.export_tasks import Folders


@pytest.fixture
def bucket(folders: Folders) -> Path:
    """Return the folder of the bucket."""
    path = folders.buckets / "my-bucket"
    path.mkdir(parents=True, exist_ok=True)
    return path


def ingested(ee: Any, asset: str, *sources: dict[str, Any], **more: Any) -> str:
    """Ingest a table; return the message of its failure, or nothing."""
    manifest = {"name": asset, "sources": list(sources), **more}
    done = ended(ee, ee.data.startTableIngestion(ee.data.newTaskId()[0], manifest))
    assert done["metadata"]["type"] == "INGEST_TABLE"
    return str(done.get("error", {}).get("message", ""))


def frame(ee: Any, asset: str) -> geopandas.GeoDataFrame:
    """Return a table as the client reads it."""
    return geopandas.GeoDataFrame.from_features(ee.FeatureCollection(asset).getInfo()["features"])


@pytest.mark.slow
def test_a_csv_with_coordinates(ee: Any, bucket: Path, home: str) -> None:
    table = pd.DataFrame(
        {"name": ["a", "b,c", None], "n": [1, 2.5, None], "longitude": [1.5, 2, 3], "latitude": [4, 5, 6.25]}
    )
    table.to_csv(bucket / "points.csv", index=False)
    more = {"properties": {"kind": "points"}, "startTime": "2020-01-02T00:00:00Z"}
    assert ingested(ee, f"{home}/t", {"uris": ["gs://my-bucket/points.csv"]}, **more) == ""
    found = frame(ee, f"{home}/t")
    pd.testing.assert_frame_equal(
        pd.DataFrame(found[["name", "n", "longitude", "latitude"]]), table, check_dtype=False, check_like=True
    )
    assert list(found.geometry) == [shapely.Point(1.5, 4), shapely.Point(2, 5), shapely.Point(3, 6.25)]
    described = ee.data.getAsset(f"{home}/t")
    assert (described["type"], described["properties"]) == ("TABLE", {"kind": "points"})
    assert described["startTime"] == "2020-01-02T00:00:00Z"


@pytest.mark.slow
def test_options_of_a_csv(ee: Any, bucket: Path, home: str) -> None:
    text = "x;y;code;when;größe\n500000;4400000;007;03/02/2021;'a;b'\n500100;4400100;008;04/02/2021;ü\n"
    (bucket / "options.csv").write_bytes(text.encode("latin-1"))
    source = {
        "uris": ["gs://my-bucket/options.csv"], "charset": "latin-1", "csvDelimiter": ";", "csvQualifier": "'",
        "xColumn": "x", "yColumn": "y", "crs": "EPSG:32613", "dateFormat": "dd/MM/yyyy",
    }  # fmt: skip
    assert ingested(ee, f"{home}/t", source, columnDataTypeOverrides={"code": "COLUMN_DATA_TYPE_STRING"}) == ""
    found = frame(ee, f"{home}/t")
    assert list(found["code"]) == ["007", "008"]
    assert list(found["größe"]) == ["a;b", "ü"]
    assert list(pd.to_datetime(found["when"], unit="ms").dt.strftime("%Y-%m-%d")) == ["2021-02-03", "2021-02-04"]
    expected = geopandas.GeoSeries.from_xy([500000, 500100], [4400000, 4400100], crs="EPSG:32613").to_crs("EPSG:4326")
    for shape, wanted in zip(found.geometry, expected, strict=True):
        assert shape.distance(wanted) < 1e-9
    failed = ingested(ee, f"{home}/f", source, columnDataTypeOverrides={"größe": "COLUMN_DATA_TYPE_NUMERIC"})
    assert "is not NUMERIC" in failed
    assert "has no column 'lon'" in ingested(ee, f"{home}/f", {**source, "xColumn": "lon"})


@pytest.mark.slow
def test_columns_of_geometries(ee: Any, bucket: Path, home: str) -> None:
    shapes = [shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 4)]
    table = pd.DataFrame(
        {"n": [1, 2], "wkt": [shape.wkt for shape in shapes], "json": [shapely.to_geojson(s.centroid) for s in shapes]}
    )
    table.to_csv(bucket / "shapes.csv", index=False)
    source = {"uris": ["gs://my-bucket/shapes.csv"]}
    assert ingested(ee, f"{home}/wkt", source) == ""
    for found, shape in zip(frame(ee, f"{home}/wkt").geometry, shapes, strict=True):
        assert found.normalize().equals_exact(shape.normalize(), 1e-9)
    assert ingested(ee, f"{home}/json", {**source, "primaryGeometryColumn": "json"}) == ""
    assert list(frame(ee, f"{home}/json").geometry) == [shape.centroid for shape in shapes]
    assert "no geometries in the column 'n'" in ingested(ee, f"{home}/f", {**source, "primaryGeometryColumn": "n"})


@pytest.mark.slow
def test_a_csv_without_geometries(ee: Any, bucket: Path, home: str) -> None:
    (bucket / "plain.csv").write_text("a,b\n1,x\n2,y\n")
    assert ingested(ee, f"{home}/t", {"uris": ["gs://my-bucket/plain.csv"]}) == ""
    assert ee.FeatureCollection(f"{home}/t").aggregate_array("b").getInfo() == ["x", "y"]
    assert ee.data.getAsset(f"{home}/t")["type"] == "TABLE"


@pytest.mark.slow
def test_shapefiles(ee: Any, bucket: Path, home: str) -> None:
    """A Shapefile by its main file, in another encoding, and in an archive."""
    shapes = [shapely.box(500_000 + 100 * i, 4_400_000, 500_050 + 100 * i, 4_400_080) for i in range(3)]
    table = geopandas.GeoDataFrame({"crop": ["rye", "öl", "corn"], "n": [1, 2, 3]}, geometry=shapes, crs="EPSG:32613")
    folder = bucket / "shape"
    folder.mkdir(exist_ok=True)
    table.to_file(folder / "fields.shp", encoding="ISO-8859-1")
    (folder / "fields.cpg").unlink()
    with zipfile.ZipFile(bucket / "fields.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"deep/er/{path.name}")
        archive.writestr("../../evil.txt", "x")
    wanted = table.to_crs("EPSG:4326")
    for name, uri in (("shp", "gs://my-bucket/shape/fields.shp"), ("zip", "gs://my-bucket/fields.zip")):
        assert ingested(ee, f"{home}/{name}", {"uris": [uri], "charset": "ISO-8859-1"}) == ""
        found = frame(ee, f"{home}/{name}")
        assert (list(found["crop"]), list(found["n"])) == (["rye", "öl", "corn"], [1, 2, 3])
        for shape, other in zip(found.geometry, wanted.geometry, strict=True):
            assert shape.symmetric_difference(other).area < 1e-6 * other.area
    assert not list(bucket.parent.parent.rglob("evil.txt"))
    source = {"uris": ["gs://my-bucket/shape/fields.shp"], "charset": "klingon"}
    assert "The charset 'klingon' is not known" in ingested(ee, f"{home}/none", source)


@pytest.mark.slow
def test_several_sources_are_one_table(ee: Any, bucket: Path, home: str) -> None:
    (bucket / "one.csv").write_text("longitude,latitude,a\n1,2,x\n")
    (bucket / "two.csv").write_text("longitude,latitude,b\n3,4,5\n")
    sources = [{"uris": [f"gs://my-bucket/{name}.csv"]} for name in ("one", "two")]
    assert ingested(ee, f"{home}/t", *sources) == ""
    found = frame(ee, f"{home}/t")
    assert list(found.geometry) == [shapely.Point(1, 2), shapely.Point(3, 4)]
    assert found["a"].tolist()[0] == "x"
    assert found["b"].tolist()[1] == 5


@pytest.mark.slow
def test_what_cannot_be_ingested(ee: Any, bucket: Path, home: str) -> None:
    (bucket / "empty.csv").write_text("a,b\n")
    (bucket / "twice.csv").write_text("a,a\n1,2\n")
    (bucket / "bytes.csv").write_bytes(b"a\n\xff\xfe\n")
    (bucket / "no.zip").write_text("x")
    (bucket / "data.geojson").write_text("{}")
    with zipfile.ZipFile(bucket / "none.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    for name, method in (("lzma.zip", zipfile.ZIP_LZMA), ("cut.zip", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(bucket / name, "w", method) as archive:
            archive.writestr("a.shp", bytes(300) + bytes(range(256)))
    packed = (bucket / "cut.zip").read_bytes()
    (bucket / "cut.zip").write_bytes(packed[:40] + b"\xff" * 20 + packed[60:])
    reasons = {
        "empty.csv": "has no rows", "twice.csv": "must have different names", "bytes.csv": "cannot be read as CSV",
        "no.zip": "cannot be read as a ZIP archive", "none.zip": "must contain one Shapefile",
        "lzma.zip": "in a compression other than deflate", "cut.zip": "cannot be read as a ZIP archive",
        "data.geojson": "is not a table that is ingested", "missing.csv": "not found",
        "../x.csv": "Invalid Cloud Storage URI",
    }  # fmt: skip
    for name, reason in reasons.items():
        assert reason in ingested(ee, f"{home}/t", {"uris": [f"gs://my-bucket/{name}"]}), name
    assert ee.data.listAssets(home)["assets"] == []
