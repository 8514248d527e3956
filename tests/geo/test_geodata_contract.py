"""One door for vector files from outside, and one for rasters: no other module opens geodata but its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.source_tree import EECHIPS, LOCAL, source_files

DOORS = {
    "geo/untrusted_vectors.py", "geo/vector_reader.py", "geo/untrusted_rasters.py",
    "eechips_local/assets/vectors/untrusted_vectors.py", "eechips_local/assets/vectors/vector_reader.py",
}  # fmt: skip

OTHERS = {
    # Files that this program has written
    "eechips_local/archives/files/block_decoding.py": "blocks of an archived file, as a GeoTIFF in memory",
    "eechips_local/assets/ingestion/cogs.py": "the image that is being ingested, in a scratch folder",
    "eechips_local/assets/ingestion/pyramids.py": "levels of that image, in memory",
    "eechips_local/assets/ingestion/image_manifest.py": "a file that it writes for an ingestion",
    "eechips_local/exports/image_files.py": "the export that it has just written",
    "eechips_local/exports/image_grids.py": "the export that it writes",
    "eechips_local/exports/shapefiles.py": "the Shapefile that it writes",
    "eechips_local/pixels/output/encode.py": "a response that it writes, in memory",
    "formats/geotiff_writer.py": "a GeoTIFF that it writes, in memory",
    "formats/mosaic_cog.py": "the GeoTIFF of the run, converted by GDAL after the door has opened it",
    # Bytes of a response, with one driver, which cannot name a file beside them
    "eechips_local/recording/response_difference.py": "responses, as GeoTIFF only",
    "formats/raster.py": "results, with the driver of their format only, checked for references",
    "eechips_local/probes/file_description.py": "responses of Earth Engine, as GeoTIFF only",
    # Doors of their own
    "eechips_local/pixels/file_source.py": "its door for rasters: two drivers, checked for references",
    "archive/windows/raster.py": "rasters at addresses that the user names, checked for references",
}
"""Modules that open geodata without the doors, with the reason."""

OPENING = re.compile(
    r"(pyogrio|fiona|osgeo|ogr|gdal)\..*"
    r"|(geopandas|gpd)\.(read_\w+|GeoDataFrame\.from_file)"
    r"|rasterio\.(open|shutil\.copy\w*|io\.\w+|vrt\.\w+)"
    r"|(rasterio\.)?(MemoryFile|DatasetReader|WarpedVRT)"
)
ROOTS = re.compile(r"\b(pyogrio|fiona|osgeo|ogr|gdal|geopandas|gpd|rasterio|MemoryFile|DatasetReader|WarpedVRT)\b")


def dotted(node: ast.expr) -> str:
    """The name of a called function: ``rasterio.open``."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def opening_calls(source: str) -> Iterator[str]:
    """Yield what a module calls or imports that opens geodata."""
    if not ROOTS.search(source):  # parsing takes longer
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            root = node.module.partition(".")[0]
            names = {alias.name for alias in node.names}
            if root in ("fiona", "osgeo") or (root == "pyogrio" and node.module != "pyogrio.errors"):
                yield node.module
            if root == "rasterio" and names & {"open", "shutil"}:
                yield f"{node.module}.open"
            if root == "geopandas" and any(name.startswith("read_") for name in names):
                yield f"{node.module}.read"
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if OPENING.fullmatch(name) and name != "pyogrio.list_drivers":
                yield name


def test_geodata_is_opened_by_the_doors_alone() -> None:
    found = {
        name: sorted(set(opening_calls(path.read_text(encoding="utf-8")))) for name, path in source_files().items()
    }
    opening = {name: calls for name, calls in found.items() if calls and name not in DOORS}
    unknown = {name: calls for name, calls in opening.items() if name not in OTHERS}
    assert not unknown, "use eechips.geo.untrusted_vectors or eechips.geo.untrusted_rasters, or say here why not"
    assert set(OTHERS) == set(opening), "these modules open no geodata any more"


@pytest.mark.parametrize(
    "source",
    [
        "import pyogrio\npyogrio.read_dataframe(p)",
        "import fiona\nfiona.open(p)",
        "import geopandas as gpd\ngpd.read_file(p)",
        "import rasterio\nwith rasterio.open(p) as f: pass",
        "from rasterio.io import DatasetReader\nDatasetReader(p)",
        "from pyogrio import read_arrow",
        "from geopandas import read_parquet",
        "from osgeo import gdal",
        "def f():\n    import rasterio\n    return rasterio.MemoryFile(b)",
    ],
)
def test_the_contract_sees_every_way_to_open(source: str) -> None:
    assert list(opening_calls(source))


@pytest.mark.parametrize(
    "name", ["untrusted_parquet", "untrusted_vectors", "vector_formats", "vector_reader", "dbase_texts"]
)
def test_the_local_earth_engine_has_the_same_door(name: str) -> None:
    own = (EECHIPS / "geo" / f"{name}.py").read_text(encoding="utf-8")
    copy = (LOCAL / "assets" / "vectors" / f"{name}.py").read_text(encoding="utf-8")
    assert copy == own.replace("eechips.geo", "eechips_local.assets.vectors")
