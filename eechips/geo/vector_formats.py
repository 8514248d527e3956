"""Identify vector files from outside, also in zip archives; bound their bytes, rows, memory and time, and check what
they may refer to, before GDAL opens them.
"""

from __future__ import annotations

import codecs
import json
import re
import shutil
import sqlite3
import stat
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

SIDECARS = (".shx", ".dbf", ".prj", ".cpg")
"""Files that belong to a Shapefile."""

_HEAD = 1 << 16  # bytes in which a format shows itself
_COPY = 1 << 20
_MOST_MEMBERS = 10_000
MOST_CRS = 1 << 16
"""Characters of a CRS."""

SUFFIXES: Mapping[str, str] = {
    ".geojson": "JSON", ".json": "JSON", ".topojson": "JSON", ".geojsonl": "JSON", ".geojsons": "JSON",
    ".ndjson": "JSON", ".gpkg": "GeoPackage", ".shp": "Shapefile", ".fgb": "FlatGeobuf", ".kml": "XML", ".kmz": "zip",
    ".gml": "XML", ".gpx": "XML", ".xml": "XML", ".parquet": "Parquet", ".geoparquet": "Parquet", ".zip": "zip",
}  # fmt: skip
_ROOTS: Mapping[str, str] = {"kml": ".kml", "gpx": ".gpx"}
READ = "GeoParquet, GeoPackage, GeoJSON, Shapefile, FlatGeobuf, KML, GPX, GML, or one of them in a zip archive"

_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may take gigabytes to unpack
_DAMAGES = (zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError, LookupError, zlib.error)
"""Errors of reading a damaged archive; IndexError is that of a member with a damaged name."""
_NUL = re.compile(rb"(?<!\\)(?:\\\\){0,99}\\u0000")
_LINKED_CRS = re.compile(rb'"crs"\s*:\s*\{')
_VIRTUAL_TABLE = re.compile(r'create\s+virtual\s+table\b.*?\busing\s+["\'\[`]?(\w+)', re.IGNORECASE | re.DOTALL)
_CRS_FILE = re.compile(
    r"\binit[\s+;]*=(?!\s*(?:EPSG|ESRI|IAU_2015|IGNF|NKG|NRCAN|OGC):[\w.]+(?:[ \t\r\n]|$))"
    r'|grids[\s+;]*=(?!\s*@?null(?:\s*$|[ \t\r\n]+\+?[a-z]|"[\s\])]*$))'
    r"|(?<![\w(])(?:file|model)[\s+;]*=|PARAMETERFILE|PROJ4_GRIDS",
    re.IGNORECASE,
)
"""Parts of a CRS that name a file. Of PROJ: https://proj.org/en/stable/operations/transformations; its ``pj_shrink``
(https://github.com/OSGeo/PROJ) drops white space, ``+`` and ``;`` before ``=``, and white space around ``,``."""
_WKT = re.compile(r"(?:PROJCS|GEOGCS|COMPD_CS|BOUNDCRS)\[")
_NULL_GRID = re.compile(
    r'DATUM\["[^"=]{1,99} using nadgrids=@null"|EXTENSION\["PROJ4_GRIDS","@null"\]|PARAMETERFILE\["[\w ]{1,99}","@null"'
)
"""What PROJ makes of ``+nadgrids=@null`` in WKT, where quotes end a text; it opens no file."""
_CRS_ADDRESS = re.compile(r"\s*(?:https?|ftp|file)://(?!(?:www\.)?opengis\.net/)", re.IGNORECASE)


class RefusedFileError(Exception):
    """A file that is not read.

    Attributes:
        kind: ``unreadable``, ``layers`` (it has several, none was chosen) or ``empty`` (it holds no geometries).
    """

    def __init__(self, reason: str, kind: str = "unreadable") -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Limits:
    """Bounds of a file.

    Attributes:
        bytes: number of bytes of the file, of its unpacked content, and of its features.
        rows: features.
        vertices: vertices of all geometries.
        memory: bytes of the address space of the process.
        seconds: time of the processor.
    """

    bytes: int = 2 << 30
    rows: int = 10_000_000
    vertices: int = 50_000_000
    memory: int = 4 << 30
    seconds: int = 600


def identify(path: Path) -> str:
    """Return the format of a file by its content: a value of ``SUFFIXES``.

    Raises:
        RefusedFileError: if it has no known format, or the name of another format.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n\x1e")
    content_format = None
    if not head:
        raise RefusedFileError("it is empty")
    for signature, name in (
        (b"PAR1", "Parquet"), (b"SQLite format 3\0", "GeoPackage"), (b"fgb\x03fgb", "FlatGeobuf"),
        (b"\0\0\x27\x0a", "Shapefile"), (b"PK\3\4", "zip"), (b"PK\5\6", "zip"),
    ):  # fmt: skip
        content_format = name if head.startswith(signature) else content_format
    if content_format is None and text[:1] in (b"{", b"["):
        content_format = "JSON"
    if content_format is None and text[:1] == b"<":
        content_format = "XML"
    if content_format is None:
        raise RefusedFileError(f"its content is of no format that is read: {READ}")
    named = SUFFIXES.get(path.suffix.lower())
    if named is not None and named != content_format:
        raise RefusedFileError(f"it is named {path.suffix}, but its content is {content_format}")
    return content_format


def check_bytes(path: Path, limits: Limits) -> None:
    """Reject what is not a regular file, or has too many bytes."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise RefusedFileError(f"{path.name} is not a regular file")
    if path.stat().st_size > limits.bytes:
        raise RefusedFileError(f"{path.name} has more than {quantity(limits.bytes)}: divide it")


def quantity(count: int) -> str:
    """Format a number of bytes."""
    return f"{count >> 20:,} MiB"


def unpack(path: Path, into: Path, limits: Limits) -> Path:
    """Unpack the one vector file of an archive, with those that belong to it.

    Raises:
        RefusedFileError: if the archive holds none or several, a link, a path that leads out, or too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist() if not member.is_dir()}
            if len(members) > _MOST_MEMBERS:
                raise RefusedFileError(f"the archive holds more than {_MOST_MEMBERS:,} files")
            for name, member in members.items():
                if member.compress_type not in _COMPRESSIONS:
                    raise RefusedFileError(f"the archive has {name[:80]!r} in a compression other than deflate")
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise RefusedFileError(f"the archive holds a symbolic link, {name[:80]!r}")
                if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or "\0" in name:
                    raise RefusedFileError(f"the archive holds a path that leads out of it, {name[:80]!r}")
            shown = [name for name in members if not name.startswith("__MACOSX/") and "/." not in f"/{name}"]
            data = [name for name in shown if Path(name).suffix.lower() in SUFFIXES and not name.endswith(".xml")]
            if path.suffix.lower() == ".kmz":
                data = _filled([name for name in data if name.lower().endswith(".kml")], archive, limits)
            if len(data) != 1:
                there = ", ".join(sorted(data or shown)[:3])[:200] or "nothing"
                what = f"{len(data)} vector files" if data else "no vector file"
                cure = (
                    "unpack it, and name one of them"
                    if data
                    else f"unpack rasters; it may hold {READ.rpartition(', or')[0]}"
                )
                raise RefusedFileError(f"the archive holds {what} ({there}): {cure}")
            suffix = Path(data[0]).suffix
            stem = data[0][: -len(suffix)]
            wanted = [data[0]]
            if suffix.lower() == ".shp":
                wanted += [name for name in shown if name[: len(stem)] == stem
                           and name[len(stem) :].lower() in SIDECARS]  # fmt: skip
            folder = into / "unpacked"
            folder.mkdir()
            left = limits.bytes
            for name in wanted:
                ending = name[len(stem) :].lower()
                left = _extract(archive, members[name], folder / f"layer{ending}", left)
            return folder / f"layer{suffix.lower()}"
    except _DAMAGES as error:
        raise RefusedFileError(f"the archive cannot be unpacked: {first_line(error)}") from error


def _filled(names: list[str], archive: zipfile.ZipFile, limits: Limits) -> list[str]:
    """Return the main document of a KMZ, which is the first, or those with places where it has links alone.

    GDAL writes layers as documents of their own, and links to them
    (https://developers.google.com/kml/documentation/kmzarchives).
    """

    def has_places(name: str) -> bool:
        left, before = limits.bytes, b""
        with archive.open(name) as file:
            while (block := file.read(_COPY)) and left > 0:
                if b"<Placemark" in before + block:
                    return True
                left, before = left - len(block), block[-16:]
        return False

    if len(names) < 2 or has_places(names[0]):
        return names[:1]
    return list(filter(has_places, names[1:])) or names[:1]


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Unpack a member; return how many bytes the others may have."""
    with archive.open(member) as source, target.open("xb") as file:
        while block := source.read(_COPY):
            left -= len(block)
            if left < 0:
                raise RefusedFileError("the archive unpacks into more than is read: divide it")
            file.write(block)
    return left


def check_json(path: Path) -> None:
    """Reject a CRS by a link, which GDAL would fetch or ignore, and texts that GDAL cuts off: ids would be equal."""
    before = b""
    with path.open("rb") as file:
        while block := file.read(_COPY):
            window = before + block
            for match in _LINKED_CRS.finditer(window):
                if match.end() + 512 > len(window) and len(block) == _COPY:
                    continue  # it is whole in the next window
                if re.search(rb'"(?:link|url)"', window[match.end() : match.end() + 512].partition(b"}")[0]):
                    raise RefusedFileError("its CRS is a link to another document")
            if _NUL.search(window):
                raise RefusedFileError(r"a text in it has a null character (\u0000), where GDAL would end it")
            before = window[-1024:]


def check_xml(path: Path) -> str:
    """Return the suffix of an XML format.

    Raises:
        RefusedFileError: if the root is that of none, or the document declares entities.
    """
    roots: list[str] = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def refuse_entities(*_: object) -> None:
        raise RefusedFileError("it has a document type declaration (<!DOCTYPE>), which may name other files")

    def start(name: str, _: object) -> None:
        if not roots:
            roots.append(name)

    parser.StartDoctypeDeclHandler = refuse_entities
    parser.StartElementHandler = start
    try:
        with path.open("rb") as file:
            while not roots and (block := file.read(_HEAD)):
                parser.Parse(block)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if not roots:
            raise RefusedFileError(f"it is not XML: {first_line(error)}") from error
    _, _, name = (roots or [""])[0].rpartition(" ")
    if name.startswith("OGRVRT"):
        raise RefusedFileError("it is a virtual data source, which reads other files: convert it with ogr2ogr first")
    if name not in _ROOTS and not (name.endswith("FeatureCollection") and _is_gml(path)):
        raise RefusedFileError(f"its content is of no format that is read, XML with the root <{name[:40]}>: {READ}")
    return _ROOTS.get(name, ".gml")


def _is_gml(path: Path) -> bool:
    with path.open("rb") as file:
        return b"opengis.net/gml" in file.read(_HEAD)


def copy_log(source: Path, place: Path, limits: Limits) -> None:
    """Copy a database whose last changes are in a file beside it; SQLite would write to both."""
    journal, log = (Path(f"{source}-{name}") for name in ("journal", "wal"))
    if journal.is_file() and journal.stat().st_size:
        raise RefusedFileError(f"its last change was not completed ({journal.name}): close it in the other program")
    if log.is_file() and log.stat().st_size:
        for path, target in ((source, place), (log, Path(f"{place}-wal"))):
            check_beside(path, source)
            check_bytes(path, limits)
            shutil.copyfile(path, target)


def check_database(place: Path, is_immutable: bool) -> None:
    """Reject a database whose tables compute something: layers and metadata must be tables.

    Raises:
        RefusedFileError: if a layer or a table of metadata is a view, or a virtual table is no spatial index.
    """
    address = f"{place.as_uri()}?{'mode=ro&immutable=1' if is_immutable else 'mode=rw'}"
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            database.execute("PRAGMA trusted_schema=OFF")
            rows = database.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
            kinds = {str(name).lower(): str(kind) for kind, name, _ in rows if kind in ("table", "view")}
            for _, name, sql in rows:
                virtual = _VIRTUAL_TABLE.match(str(sql or "").strip())
                if virtual and virtual[1].lower() != "rtree":
                    raise RefusedFileError(f"its table {str(name)[:80]!r} is virtual ({virtual[1][:40]})")
                if kinds.get(str(name).lower()) == "view" and str(name).lower().startswith(("gpkg_", "rtree_")):
                    raise RefusedFileError(f"its metadata {str(name)[:80]!r} are a view")
            if kinds.get("gpkg_contents") != "table":
                raise RefusedFileError("it is a database, but no GeoPackage: convert it with ogr2ogr")
            for (layer,) in database.execute("SELECT table_name FROM gpkg_contents").fetchall():
                if kinds.get(str(layer).lower(), "table") != "table":
                    raise RefusedFileError(f"its layer {str(layer)[:80]!r} is a view: store it as a table")
            for text in database.execute("SELECT definition FROM gpkg_spatial_ref_sys").fetchall():
                check_crs(str(text[0]))
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise RefusedFileError(f"the database is damaged: {first_line(error)}") from error


def check_beside(path: Path, main: Path) -> None:
    """Reject a link that leads out of the folder of the file to which it belongs."""
    if path.resolve().parent not in (main.parent.resolve(), main.resolve().parent):
        raise RefusedFileError(f"{path.name} is a symbolic link out of its folder")


def check_crs(text: str) -> None:
    """Reject a CRS that names a file or an address; PROJ would open it."""
    if len(text) > MOST_CRS or _CRS_ADDRESS.match(text) or any(map(_CRS_FILE.search, _crs_texts(text))):
        raise RefusedFileError(
            "its coordinate reference system refers to another file, or could: give a code, such as EPSG:32632"
        )


def _crs_texts(text: str) -> list[str]:
    """Return the texts of a CRS: all of PROJJSON, whose escapes hide names, else the text itself."""
    if not text.lstrip().startswith("{"):
        # PROJ takes WKT of these beginnings for nothing else; quotes of other characters it takes for quotes, too.
        return [_NULL_GRID.sub("", text) if _WKT.match(text) and text.isascii() else text]
    texts: list[str] = []

    def take(pairs: list[tuple[str, object]]) -> None:
        for name, value in pairs:
            texts.append(name)
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, str):
                    # A parameter with a text as its value is a file: https://proj.org/schemas/v0.7/projjson.schema.json
                    texts.append(f"file={item}" if name == "value" else item)
        # Pyproj takes an object with one of these for the parameters of a PROJ string; other readers take another twin.
        if len(dict(pairs)) < len(pairs) or not {"proj", "init"}.isdisjoint(dict(pairs)):
            texts.append("file=")

    try:
        json.loads(text, strict=False, object_pairs_hook=take)
    except (ValueError, RecursionError):
        texts.append("file=")
    return texts


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error."""
    return (str(error).splitlines() or [repr(error)])[0][:300]
