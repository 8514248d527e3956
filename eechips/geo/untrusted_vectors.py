"""Read vector files from outside, which may lead GDAL to other files, or into more than fits into memory.

Another process reads them, with a list of drivers, no network, and bounds: see ``vector_reader.py``. A contract forbids
other ways to read geodata from outside (``tests/geo/test_geodata_contract.py``).

This module imports nothing of eechips but the reader. The local Earth Engine has a copy, because it shares no code with
the rest; a test compares them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa

from eechips.geo import vector_reader
from eechips.geo.vector_formats import Limits, RefusedFileError

_PROGRAM = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[2]); importlib.import_module(sys.argv[1]).main()"
)

_DRIVERS = frozenset(
    {
        "GeoJSON",
        "GeoJSONSeq",
        "TopoJSON",
        "ESRIJSON",
        "FlatGeobuf",
        "GPKG",
        "ESRI Shapefile",
        "LIBKML",
        "KML",
        "GPX",
        "GML",
    }
)
"""GDAL's drivers that open no other file and no address."""

_ENVIRONMENT = (
    "PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_DATA", "PROJ_LIB",
    "SYSTEMROOT",
)  # fmt: skip
"""Variables that the reader inherits: those without which GDAL cannot start, and no credentials."""

# A proxy that cannot exist: port 0 takes no connections, so that no request leaves the process.
_NO_NETWORK = {
    "GDAL_HTTP_PROXY": "127.0.0.1:0", "GDAL_HTTPS_PROXY": "127.0.0.1:0", "http_proxy": "127.0.0.1:0",
    "https_proxy": "127.0.0.1:0", "all_proxy": "127.0.0.1:0", "PROJ_NETWORK": "OFF", "GDAL_HTTP_CONNECTTIMEOUT": "1",
}  # fmt: skip
_FEW_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}


@dataclass(frozen=True)
class VectorLayer:
    """The features of a layer.

    Attributes:
        table: columns, valid UTF-8; with the geometries as WKB.
        geometry: name of their column; None for a table without geometries.
        crs: anything that PROJ understands; None if the file does not say it.
        layers: names of the layers with geometries; empty for GeoParquet.
        notes: what the user should know about how the file was read.
    """

    table: pa.Table
    geometry: str | None
    crs: str | None
    layers: tuple[str, ...]
    notes: tuple[str, ...]


def read_layer(
    path: Path,
    folder: Path,
    *,
    layer: str | None = None,
    encoding: str | None = None,
    needs_geometry: bool = True,
    limits: Limits | None = None,
) -> VectorLayer:
    """Read a layer of a vector file.

    Args:
        path: GeoParquet, GeoPackage, GeoJSON, Shapefile, FlatGeobuf, KML, GPX, GML, or one of them in a zip archive.
        folder: empty folder for scratch files, which the caller removes.
        layer: name; None for the first with geometries.
        encoding: encoding of the texts of a Shapefile, in place of its own; None for its own.
        needs_geometry: refuse Parquet without geometries.
        limits: bounds; None for the usual ones.

    Raises:
        RefusedFileError: if the file is damaged or of another format, exceeds a bound, or refers to something else.
    """
    bounds = limits or Limits()
    request = {
        "source": str(path.absolute()), "folder": str(folder.absolute()), "layer": layer, "encoding": encoding,
        "needs_geometry": needs_geometry, "limits": asdict(bounds),
    }  # fmt: skip
    try:
        process = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM, vector_reader.__name__, _search_path()],
            input=json.dumps(request).encode(),
            capture_output=True,
            env=_environment(),
            cwd=folder,
            timeout=2 * bounds.seconds,
        )
    except subprocess.TimeoutExpired:
        raise RefusedFileError(f"reading it takes more than {2 * bounds.seconds:,} s") from None
    if process.returncode:
        raise RefusedFileError(_describe_end(process.returncode, process.stderr, bounds))
    answer = json.loads(process.stdout)
    if "refused" in answer:
        raise RefusedFileError(answer["reason"], answer["refused"])
    with pa.OSFile(str(folder / vector_reader.FEATURES), "rb") as file:
        table = pa.ipc.open_stream(file).read_all()
    return VectorLayer(
        # Metadata of pandas would make some columns an index.
        table.replace_schema_metadata(None), answer["geometry"], answer["crs"], tuple(answer["layers"]),
        tuple(answer["notes"]),
    )  # fmt: skip


def _search_path() -> str:
    """Return the folders of packages as JSON, without the working directory."""
    return json.dumps([part for part in sys.path if Path(part).is_absolute()])


@cache
def _environment() -> dict[str, str]:
    """Return the environment of the reader, whose GDAL has the allowed drivers only."""
    import pyogrio

    others = [name for name in pyogrio.list_drivers() if name not in _DRIVERS]
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {**kept, **_NO_NETWORK, **_FEW_THREADS, "GDAL_SKIP": ",".join(others), "LC_ALL": "C.UTF-8"}


def _describe_end(status: int, said: bytes, limits: Limits) -> str:
    """Return why the reader ended without an answer."""
    if -status in (getattr(signal, name, None) for name in ("SIGXCPU", "SIGKILL")):
        return f"reading it takes more than {limits.seconds:,} s, or more memory than there is"
    text = said.decode(errors="replace").strip().splitlines()
    if status < 0:
        return "it is damaged: GDAL or GEOS cannot parse it"
    if any("MemoryError" in line or "bad_alloc" in line for line in text):
        return f"it needs more than {limits.memory >> 20:,} MiB of memory"
    return f"its reader failed: {text[-1][:200] if text else f'exit status {status}'}"
