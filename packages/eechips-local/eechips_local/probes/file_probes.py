"""Probes: files of each format, by each method, on each kind of grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eechips_local.probes.file_description import describe_file, read_array
from eechips_local.probes.probe import OPEN, Build, ExpectedResult, Probe, error, value
from eechips_local.probes.probe_client import ProbeClient

_SIZE = 32  # pixels a side
_GRIDS = {
    "utm": {"crsCode": "EPSG:32613", "affineTransform": {"scaleX": 10, "shearX": 0, "translateX": 500000,
                                                         "shearY": 0, "scaleY": -10, "translateY": 4400000}},
    "degrees": {"crsCode": "EPSG:4326", "affineTransform": {"scaleX": 0.0001, "shearX": 0, "translateX": -105,
                                                            "shearY": 0, "scaleY": -0.0001, "translateY": 40}},
    "sinusoidal": {"crsCode": "SR-ORG:6974", "affineTransform": {
        "scaleX": 463.3127165, "shearX": 0, "translateX": -8895604.157, "shearY": 0, "scaleY": -463.3127165,
        "translateY": 4447802.079}},
    "sheared": {"crsCode": "EPSG:32613", "affineTransform": {"scaleX": 10, "shearX": 2, "translateX": 500000,
                                                             "shearY": 2, "scaleY": -10, "translateY": 4400000}},
}  # fmt: skip
_S2 = "COPERNICUS/S2_SR_HARMONIZED/20200620T174911_20200620T180052_T13TDE"


def _mixed(ee: Any) -> Any:
    """Return an image with a band of each type, a quarter of which is masked."""
    source = ee.Image.pixelCoordinates("EPSG:32613")
    x = source.select("x").divide(10).subtract(50000)
    named = [
        x.toByte().rename("byte"), x.toInt8().rename("int8"), x.toInt16().rename("int16"),
        x.toUint16().rename("uint16"), x.toInt32().rename("int32"), x.toUint32().rename("uint32"),
        x.toInt64().rename("int64"), x.toFloat().rename("float"), x.toDouble().rename("double"),
    ]  # fmt: skip
    return ee.Image.cat(*named).updateMask(x.gte(8))


def _typed(*names: str) -> Build:
    return lambda ee: _mixed(ee).select(list(names))


def _picture(ee: Any) -> Any:
    return _mixed(ee).select(["byte"]).visualize(min=0, max=31, palette=["000000", "00ff00", "ffffff"])


def _grid(name: str, size: int = _SIZE) -> dict[str, Any]:
    return {**_GRIDS[name], "dimensions": {"width": size, "height": size}}


def computed(build: Build, format_name: str, on: str = "utm", **fields: Any) -> Callable[[ProbeClient], Any]:
    """Ask for a file by ``computePixels``, and describe it."""

    def ask(client: ProbeClient) -> Any:
        request = {"expression": build(client.ee), "fileFormat": format_name, "grid": _grid(on), **fields}
        return describe_file(client.ee.data.computePixels(request))

    return ask


def downloaded(build: Build, format_name: str, **options: Any) -> Callable[[ProbeClient], Any]:
    """Ask for a file by ``getDownloadURL``, and describe it."""

    def ask(client: ProbeClient) -> Any:
        affine = _GRIDS["utm"]["affineTransform"]
        assert isinstance(affine, dict)
        url = build(client.ee).getDownloadURL({
            "format": format_name, "dimensions": [_SIZE, _SIZE], "crs": _GRIDS["utm"]["crsCode"],
            "crs_transform": [affine[name] for name in
                              ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")],
            **options,
        })  # fmt: skip
        return describe_file(client.get(url))

    return ask


def pictured(build: Build, format_name: str, **options: Any) -> Callable[[ProbeClient], Any]:
    """Ask for a picture by ``getThumbURL``, and describe it."""

    def ask(client: ProbeClient) -> Any:
        ee = client.ee
        region = ee.Geometry.Rectangle([500000, 4399680, 500320, 4400000], "EPSG:32613", False)
        url = build(ee).getThumbURL({"format": format_name, "dimensions": _SIZE, "region": region, **options})
        return describe_file(client.get(url))

    return ask


def _table(format_name: str) -> Callable[[ProbeClient], Any]:
    def ask(client: ProbeClient) -> Any:
        ee = client.ee
        rows = ee.FeatureCollection([
            ee.Feature(ee.Geometry.Point([-105, 40]), {"name": "a, \"b\"\nc", "n": 1, "x": 0.1}),
            ee.Feature(None, {"name": None, "n": 2}),
        ])  # fmt: skip
        return describe_file(client.get(rows.getDownloadURL(format_name)))

    return ask


_TYPES = ("byte", "int8", "int16", "uint16", "int32", "uint32", "int64", "float", "double")
_COMPUTED: tuple[tuple[str, str, str, Callable[[ProbeClient], Any], ExpectedResult], ...] = (
    *(
        (f"tif-{name}", f"Which bytes has a GeoTIFF of {name}?", "file-bytes", computed(_typed(name), "GEO_TIFF"),
         OPEN if name in ("int8", "int64") else value({"format": "tif", "size": [_SIZE, _SIZE]}))
        for name in _TYPES
    ),
    *(
        (f"tif-{grid}", f"Which georeference has a GeoTIFF on a {grid} grid?", "file-bytes",
         computed(_typed("int16"), "GEO_TIFF", grid), OPEN)
        for grid in ("degrees", "sinusoidal", "sheared")
    ),
    ("tif-bands", "Which bytes has a GeoTIFF of three bytes?", "file-bytes",
     computed(lambda ee: _typed("byte")(ee).addBands(_typed("byte")(ee)).addBands(_typed("byte")(ee)), "GEO_TIFF"),
     value({"format": "tif", "types": ["uint8"] * 3})),
    ("tif-mixed", "Is a GeoTIFF of float and double refused?", "tif-types",
     computed(_typed("float", "double"), "GEO_TIFF"), error("Exported bands must have compatible data types")),
    ("tif-byte-short", "Is a GeoTIFF of byte and int16 refused?", "tif-types",
     computed(_typed("byte", "int16"), "GEO_TIFF"), OPEN),
    ("tif-short-float", "Is a GeoTIFF of int16 and float refused?", "tif-types",
     computed(_typed("int16", "float"), "GEO_TIFF"), OPEN),
    ("tif-zero", "Is a GeoTIFF of the constant 0 of bytes?", "constant-type",
     computed(lambda ee: ee.Image(0), "GEO_TIFF"), value({"types": ["uint8"]})),
    ("tif-decimal", "Which type has a GeoTIFF of the constant 0.5?", "constant-type",
     computed(lambda ee: ee.Image(0.5), "GEO_TIFF"), OPEN),
    ("tif-large-constant", "And of the constant 300?", "constant-type", computed(lambda ee: ee.Image(300), "GEO_TIFF"),
     OPEN),
    ("npy-mixed", "Has NPY a field of its own type for each band?", "npy-types", computed(_mixed, "NPY"),
     value({"format": "npy", "bands": {"byte": "uint8", "int16": "int16", "float": "float32", "double": "float64"}})),
    ("npy-constants", "Which types have constants in NPY?", "constant-type",
     computed(lambda ee: ee.Image([0, 300, 0.5]).rename(["zero", "large", "half"]), "NPY"), OPEN),
    ("zipped-tif", "Which files has a zipped GeoTIFF?", "file-bytes",
     computed(_typed("int16", "float"), "ZIPPED_GEO_TIFF"), OPEN),
    ("zipped-tif-per-band", "And with a file a band?", "file-bytes",
     computed(_typed("int16", "float"), "ZIPPED_GEO_TIFF_PER_BAND"), OPEN),
    ("tfrecord", "Which bytes has a TFRecord?", "file-bytes", computed(_typed("float"), "TF_RECORD_IMAGE"), OPEN),
    ("png", "Which bytes has a PNG of a picture?", "file-bytes", computed(_picture, "PNG"),
     value({"format": "png", "depth": 8})),
    ("jpeg", "Which bytes has a JPEG?", "file-bytes", computed(_picture, "JPEG"), value({"format": "jpg"})),
    ("auto", "Which format has AUTO_JPEG_PNG where pixels are masked?", "file-bytes",
     computed(_picture, "AUTO_JPEG_PNG"), OPEN),
    ("png-of-float", "Is a PNG of floats without a range refused?", "picture-range", computed(_typed("float"), "PNG"),
     error()),
    ("png-of-byte", "Is a PNG of bytes without a range accepted?", "picture-range", computed(_typed("byte"), "PNG"),
     OPEN),
    ("png-of-ranges", "How does visualizationOptions scale?", "picture-range",
     computed(_typed("float"), "PNG", visualizationOptions={"ranges": [{"min": 0, "max": 31}]}), OPEN),
    ("no-grid", "Which grid has computePixels without one?", "native-grid",
     lambda client: describe_file(client.ee.data.computePixels(
         {"expression": _typed("byte")(client.ee).clipToBoundsAndScale(
             client.ee.Geometry.Rectangle([500000, 4399680, 500320, 4400000], "EPSG:32613", False), scale=10),
          "fileFormat": "GEO_TIFF"})), OPEN),
    ("grid-without-crs", "What says a grid without a crs?", "request-size",
     computed(_typed("byte"), "NPY", grid={"dimensions": {"width": 8, "height": 8}}), OPEN),
    ("too-many-bytes", "What says a request of more than 48 MB?", "request-size",
     computed(_typed("double"), "NPY", grid=_grid("utm", 5000)),
     error(r"Total request size \(\d+ bytes\) must be less than or equal to 50331648 bytes")),
    ("too-wide", "What says a request of 40,000 pixels a side?", "request-size",
     computed(_typed("byte"), "NPY", grid={**_GRIDS["utm"], "dimensions": {"width": 40000, "height": 8}}),
     error(r"Pixel grid dimensions \(40000x8\) must be less than or equal to 32768")),
    ("too-many-bands", "What says a request of 1,025 bands?", "request-size",
     computed(lambda ee: ee.Image.constant(ee.List.repeat(1, 1025)).toByte(), "NPY"), error()),
    ("no-pixels", "What says a request of no pixels?", "request-size",
     computed(_typed("byte"), "NPY", grid={**_GRIDS["utm"], "dimensions": {"width": 0, "height": 8}}), OPEN),
)  # fmt: skip

_DOWNLOADED: tuple[tuple[str, str, str, Callable[[ProbeClient], Any], ExpectedResult], ...] = (
    ("tif-by-url", "Which bytes has a GeoTIFF by URL?", "file-bytes", downloaded(_typed("int16"), "GEO_TIFF"),
     value({"format": "tif", "size": [_SIZE, _SIZE]})),
    ("zip-by-url", "Which files has a ZIP by URL?", "file-bytes",
     downloaded(_typed("int16", "float"), "ZIPPED_GEO_TIFF", filePerBand=True), OPEN),
    ("npy-by-url", "Which bytes has NPY by URL?", "npy-types", downloaded(_typed("byte", "float"), "NPY"),
     value({"format": "npy", "bands": {"byte": "uint8", "float": "float32"}})),
    ("mixed-tif-by-url", "Is a GeoTIFF of byte and float by URL refused?", "tif-types",
     downloaded(_typed("byte", "float"), "GEO_TIFF"), OPEN),
    ("png-by-url", "Which bytes has a PNG by URL?", "file-bytes", pictured(_picture, "png"),
     value({"format": "png", "size": [_SIZE, _SIZE]})),
    ("jpg-by-url", "Which bytes has a JPEG by URL?", "file-bytes", pictured(_picture, "jpg"),
     value({"format": "jpg", "size": [_SIZE, _SIZE]})),
    ("float-png-by-url", "What says a PNG of floats by URL without a range?", "picture-range",
     pictured(_typed("float"), "png"), OPEN),
    ("csv", "Which bytes has a table as CSV?", "file-bytes", _table("CSV"), OPEN),
    ("geojson", "Which bytes has a table as GeoJSON?", "file-bytes", _table("GEO_JSON"), OPEN),
    ("kml", "Which bytes has a table as KML?", "file-bytes", _table("KML"), OPEN),
)  # fmt: skip


def _stored(format_name: str) -> Callable[[ProbeClient], Any]:
    def ask(client: ProbeClient) -> Any:
        request = {"assetId": _S2, "fileFormat": format_name, "bandIds": ["B4", "B8"], "grid": _grid("utm")}
        return describe_file(client.ee.data.getPixels(request))

    return ask


def _compare_methods(client: ProbeClient) -> Any:
    """Compare the pixels of an asset by getPixels and by computePixels, on its own grid."""
    import numpy as np

    fields = {"fileFormat": "NPY", "bandIds": ["B4", "SCL"], "grid": _grid("utm")}
    stored = read_array(client.ee.data.getPixels({"assetId": _S2, **fields}))
    computed_bands = read_array(client.ee.data.computePixels({"expression": client.ee.Image(_S2), **fields}))
    return {name: bool(np.array_equal(stored[name], computed_bands[name])) for name in ("B4", "SCL")}


PROBES = (
    *(Probe(f"files/{name}", question, fact, ask, expected)
      for name, question, fact, ask, expected in (*_COMPUTED, *_DOWNLOADED)),
    *(Probe(f"files/stored-{name.lower().replace('_', '-')}", f"Which bytes has {name} by getPixels?", "file-bytes",
            _stored(name)) for name in ("GEO_TIFF", "NPY")),
    Probe("files/stored-and-computed", "Do getPixels and computePixels give the same values?", "native-grid",
          _compare_methods, value({"B4": True, "SCL": True})),
)  # fmt: skip
"""Probes of files."""
