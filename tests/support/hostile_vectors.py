"""Vector files of strangers: each tries to lead a reader elsewhere, to fill its memory, or to give it wrong values."""

from __future__ import annotations

import json
import sqlite3

from eechips.geo.vector_formats import Limits
from tests.support.hostile_files import (
    NAMES,
    SQUARE,
    Make,
    archive,
    claim_features,
    collection,
    crs_of,
    cut_shapes,
    database,
    fifo,
    fill_with_nuls,
    flatgeobuf,
    geojson,
    gml,
    invalid_text,
    kml,
    link_table,
    linked,
    lzma_archive,
    many_rows,
    named,
    nested_wkb,
    parquet,
    put,
    remove,
    shapefile,
    text,
    vrt,
    wfs,
)

LIMITS = Limits(bytes=8 << 20, rows=2000, vertices=20_000, memory=1 << 30, seconds=20)


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
        parquet(lambda geo: geo["columns"]["geometry"].update(encoding="geoarrow")),
        "which GeoParquet does not have",
    ),
    "parquet of coordinates that are none": (
        parquet(lambda geo: geo["columns"]["geometry"].update(encoding="point")),
        "no coordinates x and y",
    ),
    "parquet of lists that are none": (
        parquet(lambda geo: geo["columns"]["geometry"].update(encoding="polygon")),
        "are not nested lists",
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
    "csv with a bad byte": (text("a.csv", b"name,wkt\nb\x81d,POINT(1 2)\n"), "line 2: byte 0x81 is not text"),
    "geojson with bad text": (
        text("a.geojson", geojson(properties='{"name": "M\xfc"}').encode("latin-1")),
        r"row 1, column 'name' is not UTF-8 text: b'M\\xfc'|cannot be read",
    ),
    "geojson with a mark": (text("a.geojson", geojson().encode("utf-8-sig")), ["a"]),
    "geojson in UTF-16": (text("a.geojson", geojson().encode("utf-16")), "of no format that is read"),
    # No files
    "pipe": (fifo, "is a pipe or a device"),
    "database connection": (named("PG:dbname=postgres host=127.0.0.1"), "there is no file"),
    "address": (named("/vsicurl/{url}/a.geojson"), "there is no file"),
    "archive syntax": (named("/vsizip/{{{canary}}}"), "there is no file"),
    "pixels": (text("a.geojson", b"II*\0" + b"\0" * 100), "of no format that is read"),
    "password file": (text("a.geojson", "root:x:0:0:root:/root:/bin/bash\n"), "of no format that is read"),
}  # fmt: skip
