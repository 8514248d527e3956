"""Vector files of strangers: each tries to lead a reader elsewhere, to fill its memory, or to give it wrong values."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from eechips.geo.vector_formats import Limits
from tests.support.watched_folder import WatchedFolder, watch_folder

SECRET = "canary-5f3a"
"""Text of the file outside."""
LIMITS = Limits(bytes=8 << 20, rows=2000, vertices=20_000, memory=1 << 30, seconds=20)
SQUARE = shapely.box(-105.10, 39.90, -105.09, 39.91)
NAMES = ["Müllers Äcker", "b"]


@dataclass(frozen=True)
class Place:
    """Where a hostile file is made.

    Attributes:
        folder: its folder, empty.
        outside: folder with ``canary.geojson``, which nobody may open.
        url: address of a server that nobody may ask.
    """

    folder: Path
    outside: Path
    url: str

    @property
    def canary(self) -> Path:
        """The file outside."""
        return self.outside / "canary.geojson"


@dataclass(frozen=True)
class Trap:
    """What nobody may touch: a folder outside, and a server.

    Attributes:
        place: where hostile files are made.
        watched: the folder outside.
        server: listens, and has accepted nobody.
    """

    place: Place
    watched: WatchedFolder
    server: socket.socket

    def is_untouched(self) -> bool:
        """Return whether nobody has opened the file outside, or connected to the server."""
        try:
            self.server.accept()
        except BlockingIOError:
            return self.watched.touched() == []
        return False


@contextmanager
def set_trap(root: Path) -> Iterator[Trap]:
    """Make a folder for hostile files, and a trap beside it."""
    folder, outside = root / "in", root / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "canary.geojson").write_text(f'{{"type": "Point", "coordinates": [1, 2], "name": "{SECRET}"}}')
    with socket.create_server(("127.0.0.1", 0)) as server, watch_folder(outside) as watched:
        server.setblocking(False)
        yield Trap(Place(folder, outside, f"http://127.0.0.1:{server.getsockname()[1]}"), watched, server)


Make = Callable[[Place], Path]


def frame(**columns: Any) -> gpd.GeoDataFrame:
    given = columns or {"name": NAMES}
    return gpd.GeoDataFrame(given, geometry=[SQUARE] * len(next(iter(given.values()))), crs="EPSG:4326")


def geojson(*coordinates: str, extra: str = "", properties: str = '{"name": "a"}') -> str:
    ring = ", ".join(coordinates) or "[-105.1, 39.9], [-105.09, 39.9], [-105.09, 39.91], [-105.1, 39.9]"
    geometry = f'{{"type": "Polygon", "coordinates": [[{ring}]]}}'
    feature = f'{{"type": "Feature", "properties": {properties}, "geometry": {geometry}}}'
    return f'{{"type": "FeatureCollection", {extra}"features": [{feature}]}}'


def text(name: str, content: str | bytes | Callable[[Place], str | bytes]) -> Make:
    def make(place: Place) -> Path:
        data = content(place) if callable(content) else content
        path = place.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return make


def archive(name: str, members: Callable[[Place], Mapping[str | zipfile.ZipInfo, str | bytes]]) -> Make:
    def make(place: Place) -> Path:
        path = place.folder / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for member, data in members(place).items():
                file.writestr(member, data)
        return path

    return make


def vrt(place: Place) -> str:
    source = f"<SrcDataSource>{place.canary}</SrcDataSource>"
    return f'<OGRVRTDataSource><OGRVRTLayer name="canary">{source}</OGRVRTLayer></OGRVRTDataSource>'


def wfs(place: Place) -> str:
    return f"<OGRWFSDataSource><URL>{place.url}/wfs?SERVICE=WFS</URL></OGRWFSDataSource>"


def lzma_archive(place: Place) -> Path:
    path = place.folder / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a.geojson", geojson())
    return path


def linked(name: str, target: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = 0o120777 << 16
    return member


def database(change: str, name: str = "a.gpkg", **columns: Any) -> Make:
    def make(place: Place) -> Path:
        path = place.folder / name
        frame(**columns).to_file(path, driver="GPKG", layer="fields")
        with closing(sqlite3.connect(path)) as connection:
            connection.create_function("ST_IsEmpty", 1, lambda _: 0)
            connection.create_function("ST_MinX", 1, lambda _: 0)
            for other in ("ST_MaxX", "ST_MinY", "ST_MaxY"):
                connection.create_function(other, 1, lambda _: 0)
            connection.executescript(change.format(canary=place.canary))
            connection.commit()
        return path

    return make


def parquet(change: Callable[[dict[str, Any]], Any], *, wkb: bytes | None = None) -> Make:
    """Return a maker of GeoParquet whose metadata were changed."""

    def make(place: Place) -> Path:
        described = {"encoding": "WKB", "geometry_types": []}
        geo: dict[str, Any] = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": described}}
        changed = change(geo)
        data = changed if isinstance(changed, bytes) else json.dumps(geo).encode()
        column = pa.array([wkb or shapely.to_wkb(SQUARE)], pa.binary())
        table = pa.table({"name": ["a"], "geometry": column})
        path = place.folder / "a.parquet"
        pq.write_table(table.replace_schema_metadata({"geo": data}), path)
        return path

    return make


def crs_of(value: Any) -> Make:
    def change(geo: dict[str, Any]) -> None:
        geo["columns"]["geometry"]["crs"] = value

    return parquet(change)


def many_rows(place: Place) -> Path:
    path = place.folder / "a.parquet"
    geo = {"version": "1.1.0", "primary_column": "g", "columns": {"g": {"encoding": "WKB", "geometry_types": []}}}
    table = pa.table({"g": pa.array([b""] * 200_000, pa.binary())})
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)
    return path


def invalid_text(place: Place) -> Path:
    path = place.folder / "a.parquet"
    geo = {"version": "1.1.0", "primary_column": "g", "columns": {"g": {"encoding": "WKB", "geometry_types": []}}}
    names = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(struct.pack("<iii", 0, 1, 3)), pa.py_buffer(b"aM\xfc")]
    )
    table = pa.table({"name": names, "g": pa.array([shapely.to_wkb(SQUARE)] * 2, pa.binary())})
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)
    return path


def nested_wkb(kind: int) -> bytes:
    return struct.pack("<BII", 1, kind, 1) * 60_000 + struct.pack("<BIdd", 1, 1, 1.0, 2.0)


def shapefile(change: Callable[[Place, Path], None], encoding: str = "UTF-8") -> Make:
    def make(place: Place) -> Path:
        path = place.folder / "a.shp"
        frame().to_file(path, encoding=encoding)
        change(place, path)
        return path

    return make


def remove(suffix: str) -> Callable[[Place, Path], None]:
    return lambda place, path: path.with_suffix(suffix).unlink()


def put(suffix: str, content: str | bytes) -> Callable[[Place, Path], None]:
    def change(place: Place, path: Path) -> None:
        data = content.format(canary=place.canary).encode() if isinstance(content, str) else content
        path.with_suffix(suffix).write_bytes(data)

    return change


def link_table(place: Place, path: Path) -> None:
    path.with_suffix(".dbf").unlink()
    path.with_suffix(".dbf").symlink_to(place.canary)


def fill_with_nuls(place: Place, path: Path) -> None:
    table = path.with_suffix(".dbf")
    table.write_bytes(table.read_bytes().replace(b"  ", b"\0\0"))


def claim_features(place: Place) -> Path:
    """Make a FlatGeobuf file without an index that claims 2^40 features."""
    path = place.folder / "a.fgb"
    frame(name=["a", "b"]).to_file(path, driver="FlatGeobuf", SPATIAL_INDEX="NO")
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<Q", 2), 12)
    data[at : at + 8] = struct.pack("<Q", 1 << 40)
    path.write_bytes(data)
    return path


def cut_shapes(place: Place, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def flatgeobuf(keep: float) -> Make:
    def make(place: Place) -> Path:
        path = place.folder / "a.fgb"
        frame().to_file(path, driver="FlatGeobuf")
        data = path.read_bytes()
        path.write_bytes(data[: int(keep * len(data))])
        return path

    return make


def kml(body: str, *, before: str = "") -> Callable[[Place], str]:
    placemark = (
        "<Placemark><name>a</name><Polygon><outerBoundaryIs><LinearRing><coordinates>-105.1,39.9 -105.09,39.9"
        " -105.09,39.91 -105.1,39.9</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark>"
    )
    return lambda place: (
        f'<?xml version="1.0"?>{before.format(canary=place.canary, url=place.url)}'
        f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{body.format(canary=place.canary, url=place.url)}'
        f"{placemark}</Document></kml>"
    )


def gml(attributes: str, member: str = "", crs: str = "urn:ogc:def:crs:OGC:1.3:CRS84") -> Callable[[Place], str]:
    polygon = (
        "<gml:Polygon srsName='{crs}'><gml:exterior><gml:LinearRing><gml:posList>-105.1 39.9 -105.09 39.9 -105.09 39.91"
        " -105.1 39.9</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon>"
    )

    def content(place: Place) -> str:
        shape = polygon.format(crs=crs.format(url=place.url))
        feature = f"<a:fields gml:id='a.1'><a:name>a</a:name><a:shape>{shape}</a:shape></a:fields>"
        return (
            "<?xml version='1.0'?><gml:FeatureCollection xmlns:gml='http://www.opengis.net/gml' xmlns:a='urn:a'"
            f" xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xmlns:xlink='http://www.w3.org/1999/xlink'"
            f" {attributes.format(url=place.url, canary=place.canary)}>"
            f"{member.format(url=place.url, canary=place.canary)}"
            f"<gml:featureMember>{feature}</gml:featureMember></gml:FeatureCollection>"
        )

    return content


def fifo(place: Place) -> Path:
    path = place.folder / "a.geojson"
    os.mkfifo(path)
    return path


def named(name: str) -> Make:
    return lambda place: Path(name.format(url=place.url, canary=place.canary))


def collection(depth: int) -> str:
    return "GEOMETRYCOLLECTION(" * depth + "POINT(1 2)" + ")" * depth


RECURSIVE = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
ENTITY = '<!DOCTYPE kml [<!ENTITY x SYSTEM "file://{canary}">]>'
LAUGHS = '<!DOCTYPE kml [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
GRIDS = (
    'GEOGCS["x",DATUM["d",SPHEROID["s",6378137,298.25],EXTENSION["PROJ4_GRIDS","{canary}"]],PRIMEM["G",0],'
    'UNIT["d",0.01]]'
)
TABLE = f'name,wkt\n{NAMES[0]},"{SQUARE.wkt}"\n'
ALGORITHM = '"command_line": "gdal vector pipeline ! read {canary} ! write --output-format stream streamed_dataset"'

Expected = str | list[str]
"""A pattern of the sentence with which a file is refused, or the names of the features that are read."""

HOSTILE: dict[str, tuple[Make, Expected]] = {
    # References out of the file, by drivers that open others
    "vrt": (text("a.vrt", vrt), "virtual data source"),
    "vrt named xml": (text("a.xml", vrt), "virtual data source"),
    "vrt named geojson": (text("a.geojson", vrt), "named .geojson, but its content is XML"),
    "vrt after a comment": (text("a.vrt", lambda p: f"<!-- <kml> -->{vrt(p)}"), "virtual data source"),
    "vrt beside a kml root": (text("a.kml", lambda p: f"<kml/>{vrt(p)}"), "cannot be read"),
    "vrt in a kml comment": (text("a.kml", lambda p: kml(f"<!-- {vrt(p)} -->")(p)), ["a"]),
    "wfs": (text("a.xml", wfs), "XML with the root <OGRWFSDataSource>"),
    "wfs named geojson": (text("a.geojson", wfs), "named .geojson, but its content is XML"),
    "algorithm": (
        text("a.json", lambda p: f'{{"type": "gdal_streamed_alg", {ALGORITHM.format(canary=p.canary)}}}'),
        "cannot be read as a vector file",
    ),
    "algorithm in geojson": (
        text(
            "a.geojson",
            lambda p: geojson(extra=f'"x": {{"type": "gdal_streamed_alg", {ALGORITHM.format(canary=p.canary)}}}, '),
        ),
        ["a"],
    ),
    "landing page of a service": (
        text(
            "a.json",
            lambda p: json.dumps({"links": [{"rel": "data", "href": f"{p.url}/collections"}], "collections": []}),
        ),
        "cannot be read as a vector file",
    ),
    "next page": (
        text("a.geojson", lambda p: geojson(extra=f'"links": [{{"rel": "next", "href": "{p.url}/2"}}], ')),
        ["a"],
    ),
    "crs is a link": (
        text(
            "a.geojson",
            lambda p: geojson(
                extra=f'"crs": {{"type": "link", "properties": {{"href": "{p.url}/crs", "type": "ogcwkt"}}}}, '
            ),
        ),
        "its CRS is a link to another document",
    ),
    "kml network link": (text("a.kml", kml("<NetworkLink><Link><href>{url}/b.kml</href></Link></NetworkLink>")), ["a"]),
    "kml linked style": (text("a.kml", kml("<Placemark><styleUrl>{url}/s#s</styleUrl></Placemark>")), "no geometry"),
    "kml entity": (text("a.kml", kml("&x;", before=ENTITY)), "document type declaration"),
    "kml laughs": (text("a.kml", kml("&b;", before=LAUGHS)), "document type declaration"),
    "gml schema": (text("a.gml", gml("xsi:schemaLocation='urn:a {url}/a.xsd'")), [""]),
    "gml schema of a service": (
        text("a.gml", gml("xsi:schemaLocation='urn:a {url}/wfs?SERVICE=WFS&amp;REQUEST=DescribeFeatureType'")),
        [""],
    ),
    "gml schema in a file": (text("a.gml", gml("xsi:schemaLocation='urn:a {canary}'")), [""]),
    "gml xlink": (text("a.gml", gml("", "<gml:member xlink:href='{url}/b.gml'/>")), [""]),
    "gml crs at an address": (text("a.gml", gml("", crs="{url}/crs.wkt")), "reference system|no format|Cannot import"),
    # Archives
    "zipped vrt": (archive("a.zip", lambda p: {"a.vrt": vrt(p)}), "holds no vector file"),
    "zipped vrt named shp": (archive("a.zip", lambda p: {"a.shp": vrt(p)}), "named .shp, but its content is XML"),
    "zipped vrt named kml": (archive("a.kmz", lambda p: {"doc.kml": vrt(p)}), "virtual data source"),
    "zip with a link": (
        archive("a.zip", lambda p: {linked("a.geojson", ""): str(p.canary)}),
        "holds a symbolic link",
    ),
    "zip with a path out": (
        archive("a.zip", lambda p: {"../outside/b.geojson": geojson()}),
        "a path that leads out of it",
    ),
    "zip in a zip": (archive("a.zip", lambda p: {"b.zip": b"PK\3\4"}), "a zip archive within a zip archive"),
    "zip bomb": (archive("a.zip", lambda p: {"a.geojson": b" " * (64 << 20)}), "unpacks into more than is read"),
    "zip of many": (
        archive("a.zip", lambda p: {f"{n}.txt": "" for n in range(10_001)}),
        "more than 10,000 files",
    ),
    "zip of two": (
        archive("a.zip", lambda p: {"a.geojson": geojson(), "b.geojson": geojson()}),
        "2 vector files",
    ),
    "zip in another compression": (lzma_archive, "in a compression other than deflate"),
    "zip that is none": (text("a.zip", b"PK\3\4" + b"\0" * 100), "the archive cannot be unpacked"),
    "zip of one": (archive("a.zip", lambda p: {"x/a.geojson": geojson(), "x/readme.txt": "hello"}), ["a"]),
    # Sizes and nesting
    "deep geojson": (text("a.geojson", '{"type": "FeatureCollection", "x": ' + "[" * 200_000), "cannot be read"),
    "too many rows": (
        text("a.geojsonl", "\n".join(['{"type": "Feature", "properties": {}, "geometry": null}'] * 3000)),
        "more than 2,000 rows",
    ),
    "too many vertices": (
        text("a.geojson", geojson(*[f"[{n * 1e-5}, {n % 2}]" for n in range(30_000)])),
        "more than 20,000 vertices",
    ),
    "too many bytes": (text("a.geojson", geojson() + " " * (9 << 20)), "has more than 8 MiB"),
    "coordinate beyond doubles": (
        text("a.geojson", geojson("[1e999, 39.9], [-105.09, 39.9], [-105.09, 39.91], [1e999, 39.9]")),
        "not a finite number|Unrecognized number",
    ),
    "null character": (text("a.geojson", geojson(properties='{"name": "a\\u0000b"}')), r"null character \(.u0000\)"),
    "backslash before u0000": (text("a.geojson", geojson(properties=r'{"name": "a\\u0000b"}')), [r"a\u0000b"]),
    "coordinate is no number": (
        text("a.geojson", geojson("[NaN, 39.9], [-105.09, 39.9], [-105.09, 39.91], [NaN, 39.9]")),
        "not a finite number|cannot be read|no geometry",
    ),
    "flatgeobuf claims features": (claim_features, "cannot be read|holds"),
    "flatgeobuf cut": (flatgeobuf(0.6), "cannot be read|holds no"),
    "flatgeobuf cut in its header": (flatgeobuf(0.05), "has no layer"),
    # Databases
    "trigger": (
        database("CREATE TRIGGER t AFTER UPDATE ON fields BEGIN DELETE FROM fields; END;"),
        NAMES,
    ),
    "layer is a view": (
        database(
            f"ALTER TABLE fields RENAME TO f2; CREATE VIEW fields AS {RECURSIVE} SELECT i AS fid, 1 AS geom FROM n;"
        ),
        "its layer 'fields' is a view",
    ),
    "metadata are a view": (
        database(
            "CREATE TABLE kept AS SELECT * FROM gpkg_contents; PRAGMA foreign_keys=OFF; DROP TABLE gpkg_contents;"
            f"CREATE VIEW gpkg_contents AS {RECURSIVE} SELECT k.* FROM kept k, n WHERE i < 0;"
        ),
        "its metadata 'gpkg_contents' are a view",
    ),
    "virtual table": (
        database(
            "PRAGMA writable_schema=ON; INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 0,"
            " 'CREATE VIRTUAL TABLE x USING VirtualOGR(''{canary}'')');"
        ),
        "its table 'x' is virtual (VirtualOGR)".replace("(", r"\(").replace(")", r"\)"),
    ),
    "crs of the database names a file": (
        database(f"UPDATE gpkg_spatial_ref_sys SET definition = '{GRIDS}' WHERE srs_id = 4326;"),
        "coordinate reference system refers to another file",
    ),
    "database with bad text": (
        database("UPDATE fields SET name = CAST(X'4DFC' AS TEXT) WHERE fid = 2;"),
        r"row 2, column 'name' is not UTF-8 text: b'M\\xfc'",
    ),
    "database of another kind": (
        lambda p: (sqlite3.connect(p.folder / "a.gpkg").executescript("CREATE TABLE a (b);"), p.folder / "a.gpkg")[1],
        "no GeoPackage",
    ),
    "database that was not closed": (
        lambda p: [database("")(p), (p.folder / "a.gpkg-journal").write_bytes(b"x" * 600)][0],
        "its last change was not completed",
    ),
    # GeoParquet
    "parquet without a primary column": (
        parquet(lambda geo: geo.update(primary_column="nope")),
        "describe no column of geometries",
    ),
    "parquet names a column that it lacks": (
        parquet(lambda geo: geo.update(primary_column="x", columns={"x": {"encoding": "WKB"}})),
        "which it does not have",
    ),
    "parquet names a column of text": (
        parquet(lambda geo: geo.update(primary_column="name", columns={"name": {"encoding": "WKB"}})),
        "has the type string",
    ),
    "parquet of another encoding": (
        parquet(lambda geo: geo["columns"]["geometry"].update(encoding="point")),
        "only WKB can be read",
    ),
    "parquet with a list": (parquet(lambda geo: b"[1]"), "describe no column of geometries"),
    "parquet with broken metadata": (parquet(lambda geo: b"{"), "it is damaged"),
    "parquet with deep metadata": (parquet(lambda geo: b"[" * 100_000), "it is damaged"),
    "parquet with a number as crs": (crs_of(7), "neither text nor PROJJSON"),
    "parquet crs names a file": (lambda p: crs_of(f"+init={p.canary}:1")(p), "refers to another file"),
    "parquet crs names a grid": (
        lambda p: crs_of(f"+proj=longlat +ellps=WGS84 +nadgrids={p.canary}")(p),
        "refers to another file",
    ),
    "parquet crs at an address": (lambda p: crs_of(f"{p.url}/crs")(p), "refers to another file"),
    "parquet with nested collections": (parquet(lambda geo: None, wkb=nested_wkb(7)), "cannot be read"),
    "parquet with nested polygons": (parquet(lambda geo: None, wkb=nested_wkb(6)), "cannot be read"),
    "parquet of many rows": (many_rows, "claims to have 200,000 rows"),
    "parquet with bad text": (invalid_text, r"row 2, column 'name' is not UTF-8 text: b'M\\xfc'"),
    "parquet cut": (text("a.parquet", b"PAR1" + b"\xff" * 100), "it is damaged"),
    # Shapefiles
    "shapefile cut in its shapes": (shapefile(cut_shapes), r"was cut off: it has \d+ bytes, its index leads to \d+"),
    "shapefile without index": (shapefile(remove(".shx")), "a.shx is missing: copy all files"),
    "shapefile without crs": (shapefile(remove(".prj")), "a.prj is missing; store it in the file"),
    "shapefile without table": (shapefile(remove(".dbf")), [""]),
    "shapefile whose crs names a file": (shapefile(put(".prj", GRIDS)), "refers to another file"),
    "shapefile whose table is a link": (shapefile(link_table), "a.dbf is a symbolic link out of its folder"),
    "shapefile with NULs": (shapefile(fill_with_nuls), NAMES),
    "shapefile in Latin-1": (shapefile(lambda place, path: None, "ISO-8859-1"), NAMES),
    "shapefile in Latin-1, unsaid": (shapefile(remove(".cpg"), "ISO-8859-1"), NAMES),
    "shapefile in UTF-8, unsaid": (shapefile(remove(".cpg")), NAMES),
    "shapefile in cp1252": (shapefile(put(".cpg", "ANSI 1252"), "CP1252"), NAMES),
    "shapefile in a wrong encoding": (
        shapefile(put(".cpg", "UTF-8"), "ISO-8859-1"),
        r"row 1, column 'name' is not text in utf-8: b'M\\xfcllers \\xc4cker'",
    ),
    "shapefile in no encoding": (shapefile(put(".cpg", "klingon")), "'klingon', which is no known encoding"),
    "shapefile with a broken table": (shapefile(put(".dbf", b"\x03" * 40)), "cannot be read|damaged|no known|holds no"),
    "shapefile cut": (shapefile(put(".shp", b"\0\0\x27\x0a" + b"\0" * 60)), "cannot be read|holds no|no geometry"),
    # Text
    "csv with nested wkt": (text("a.csv", f'name,wkt\na,"{collection(99_999)}"\n'), "row 1: wkt is nested too deep"),
    "csv with an infinite coordinate": (text("a.csv", "name,wkt\na,POINT(1e999 0)\n"), "not a finite number|not WKT"),
    "csv with a path": (text("a.csv", "name,wkt\na,/etc/passwd\n"), "row 1: wkt is not WKT"),
    "csv in Latin-1": (text("a.csv", TABLE.encode("latin-1")), NAMES[:1]),
    "csv in UTF-8 with a mark": (text("a.csv", TABLE.encode("utf-8-sig")), NAMES[:1]),
    "csv in UTF-16": (text("a.csv", TABLE.encode("utf-16")), NAMES[:1]),
    "csv with a bad byte": (
        text("a.csv", b"name,wkt\nok,POINT(1 2)\nb\x81d,POINT(1 2)\n"),
        "row 2, column 'name': byte 0x81 is not text",
    ),
    "geojson with bad text": (
        text("a.geojson", geojson(properties='{"name": "M\xfc"}').encode("latin-1")),
        r"row 1, column 'name' is not UTF-8 text: b'M\\xfc'|cannot be read",
    ),
    "geojson with a mark": (text("a.geojson", geojson().encode("utf-8-sig")), ["a"]),
    "geojson in UTF-16": (text("a.geojson", geojson().encode("utf-16")), "of no format that is read"),
    # No files
    "pipe": (fifo, "there is no file"),
    "database connection": (named("PG:dbname=postgres host=127.0.0.1"), "there is no file"),
    "address": (named("/vsicurl/{url}/a.geojson"), "there is no file"),
    "archive syntax": (named("/vsizip/{{{canary}}}"), "there is no file"),
    "pixels": (text("a.geojson", b"II*\0" + b"\0" * 100), "of no format that is read"),
    "password file": (text("a.geojson", "root:x:0:0:root:/root:/bin/bash\n"), "of no format that is read"),
}  # fmt: skip
