"""Compute values (``value:compute``), pages of tables (``table:computeFeatures``), and files of tables to download
(``tables:getFeatures``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.type_conversion import type_name
from eechips_local.exports import table_files
from eechips_local.pixels.lazy_image import Image
from eechips_local.protocol.messages import ServiceRequest, ServiceResponse, encode_json
from eechips_local.protocol.pages import page, window
from eechips_local.protocol.proto_json import without_defaults
from eechips_local.protocol.request_errors import InvalidError, LimitError, TypeMismatchError
from eechips_local.values.merged_parts import elements_from
from eechips_local.values.value_json import Encoder
from eechips_local.values.values import Collection, Feature


def compute_value(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``value:compute``."""
    return encode_json({"result": Encoder(context).encode(Evaluator(request.body["expression"], context).evaluate())})


def collection_of(body: Mapping[str, Any], element: Literal["Image", "Feature"], context: Context) -> Collection:
    """Return the collection that the expression of a request makes.

    Raises:
        TypeMismatchError: if it makes something else.
    """
    value = Evaluator(body["expression"], context).evaluate()
    if isinstance(value, Collection) and value.element != element and next(iter(value), None) is None:
        # A map() of no images to features made none: what they would have been is known of the first only.
        return Collection.of(element, [])
    if not isinstance(value, Collection) or value.element != element:
        raise TypeMismatchError(f"Expected a {element}Collection; the expression is of type {type_name(value)}.")
    return value


def compute_features(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``table:computeFeatures``: one page, GeoJSON in longitude and latitude with planar edges."""
    collection = collection_of(request.body, "Feature", context)
    start, size = window(request.body, context.limits.elements)
    features, rest = page(elements(collection, context, start), start, size, is_begun=True)
    encoder = Encoder(context)
    encoded_features = [encoder.feature(table_files.planar(feature)) for feature in features]
    return encode_json(without_defaults({"type": "FeatureCollection", "features": encoded_features, **rest}))


def elements(collection: Collection, context: Context, start: int = 0) -> Iterator[Any]:
    """Yield the elements of a collection from a position on, within the time of the request.

    Raises:
        TypeMismatchError: if one is of another type.
    """
    kind = Image if collection.element == "Image" else Feature
    for element in elements_from(collection, start):
        context.check_time()
        if not isinstance(element, kind):  # what a mapped function gives for one element need not be of another's type
            raise TypeMismatchError(f"Expected elements of type {kind.__name__}; found one of {type_name(element)}.")
        yield element


TABLE_WRITERS = {
    "CSV": (table_files.csv, "text/csv", "csv"),
    "GEO_JSON": (table_files.geojson, "application/json", "geojson"),
    "KML": (table_files.kml, "application/vnd.google-earth.kml+xml", "kml"),
    "KMZ": (table_files.kmz, "application/vnd.google-earth.kmz", "kmz"),
}


def table_features(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``tables:getFeatures``: what a table download URL gives, from the request that created it."""
    form = request.body.get("fileFormat") or "CSV"
    name = str(request.body.get("filename") or "table")
    selectors = list(request.body.get("selectors") or ()) or None
    if form != "SHP" and form not in TABLE_WRITERS:
        raise InvalidError(
            f"The local Earth Engine does not write tables as {form}: use {', '.join([*TABLE_WRITERS, 'SHP'])}."
        )
    rows = elements(collection_of(request.body, "Feature", context), context)
    if form == "SHP":
        # Here, since it brings pyarrow along, which other formats have no use for.
        from eechips_local.exports.shapefiles import zipped_shapefile

        content, media_type, ending = zipped_shapefile(rows, selectors, name, context), "application/zip", "zip"
    else:
        write, media_type, ending = TABLE_WRITERS[form]
        content = write(rows, selectors, context)
    if len(content) > context.limits.response:
        raise LimitError(f"Response size exceeds limit of {context.limits.response} bytes.")
    return ServiceResponse(content, media_type, f"{name}.{ending}")
