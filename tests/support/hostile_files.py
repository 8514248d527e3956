"""Make files of strangers, and the trap around them: what nobody may touch."""

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

from tests.support.watched_folder import WatchedFolder, watch_folder

SECRET = "canary-5f3a"
"""Text of the file outside."""


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
