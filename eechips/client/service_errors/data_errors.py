"""List the errors of expressions and of their data: the same request never succeeds.

Each says in the words of eechips what helps.
"""

from __future__ import annotations

from eechips.client.service_errors.error_row import ErrorAction, ServiceError, invalid_argument

_DEBUGGING = "https://developers.google.com/earth-engine/guides/debugging"

_SAME_BANDS = (
    "`bands` that every image has, or only the images that have them: `where` 'system:band_names has BAND'; in a"
    " recipe, select(names) before images are combined"
)
_NO_IMAGE = (
    "a longer period (`start`, `end`), a weaker `where` or cloud limit; in a recipe, return NoData where a collection"
    " is empty"
)


def _data_error(name: str, cause: str, cure: str, source: str, said: str, *, message: str) -> ServiceError:
    """Return the row of an error that fails its unit; see :class:`ServiceError`."""
    return ServiceError(name, ErrorAction.PERMANENT, cause, cure, source, invalid_argument(said), message)


DATA_ERRORS: tuple[ServiceError, ...] = (
    _data_error(
        "asset",
        "an asset does not exist, or may not be read",
        "correct its id, or have it shared",
        _DEBUGGING,
        "Image.load: Image asset 'NO/SUCH' not found (does not exist or caller does not have access).",
        message=r"asset ['\"]?[^'\"]*['\"]? not found"
        r"|does not exist or (?:caller does not have access|doesn't allow this operation)"
        r"|permission 'earthengine\.[\w.]+' denied on resource",
    ),
    _data_error(
        "bands of images differ",
        "images of a collection have different bands",
        _SAME_BANDS,
        "https://github.com/leftfield-geospatial/geedim/issues/16",
        "Expected a homogeneous image collection, but an image with incompatible bands was encountered:"
        " First image type: 23 bands ([B1, B2]). Current image type: 21 bands ([B1, B2]).",
        message=r"homogeneous image collection, but an image with incompatible bands",
    ),
    _data_error(
        "types of images differ",
        "a band has different types in the images of a collection",
        "in the recipe, cast each image before images are combined: select(names).toFloat()",
        "https://github.com/gee-community/geemap/issues/1058",
        "Expected a homogeneous image collection, but an image with an incompatible band was"
        " encountered. Mismatched type for band 'Blue':\nExpected type: Short.\n  Actual type:"
        " Float<-0.2, 1.6022125>.\n     Image ID: 1\nThis band might require an explicit cast.",
        message=r"homogeneous image collection|mismatched type for band",
    ),
    _data_error(
        "types of bands differ",
        "the bands of an exported file have different types",
        "in the recipe, one type for all bands: toFloat(), or the chip's `dtype`",
        "https://github.com/gee-community/geemap/issues/87",
        "Exported bands must have compatible data types; found inconsistent types: Float64 and Float32.",
        message=r"exported bands must have compatible data types",
    ),
    _data_error(
        "no bands",
        "an image has no bands: mostly no image lies there at that time",
        _NO_IMAGE,
        "https://github.com/swisstopo/topo-satromo/issues/101",
        "Image.select: Band pattern 'ndsi' was applied to an Image with no bands.",
        message=r"applied to an image with no bands|if one image has no bands|image has (?:0|no bands)\b"
        r"|no bands in collection|available band(?: name)?s: \[\]",
    ),
    _data_error(
        "missing band",
        "an image lacks a band",
        _SAME_BANDS,
        _DEBUGGING,
        "Image.select: Band pattern 'B99' did not match any bands. Available bands: [R, G, B, N]",
        message=r"did not match any bands|no band named|invalid band number|must be \w+ typed",
    ),
    _data_error(
        "names of bands",
        "bands cannot have these names",
        "correct the names in the recipe: as many as bands, none that begins with _ or :",
        "https://developers.google.com/earth-engine/apidocs/ee-image-rename",
        "Image.rename: The number of names (1) must match the number of bands (2).",
        message=r"the number of names \(|invalid band name",
    ),
    _data_error(
        "no value",
        "a function got nothing: mostly no image or feature lies there at that time",
        _NO_IMAGE,
        "https://github.com/google/earthengine-api/issues/141",
        "Element.get: Parameter 'object' is required.",
        message=r"parameter '?\w+'? is required|\w'? is required and may not be null|null geometry"
        r"|value of 'count' must be positive|no valid \(un-masked\) pixels",
    ),
    _data_error(
        "wrong type",
        "a function got a value of another type than it takes",
        "convert the value in the recipe, such as ee.Image(collection.first())",
        "https://github.com/google/earthengine-api/issues/159",
        "Image.addBands, argument 'srcImg': Invalid type.\nExpected type: Image<unknown bands>.\nActual"
        " type: ImageCollection.",
        message=r"argument '\w+': invalid type|unable to use a collection in an algorithm"
        r"|unrecognized argument type|expected a \w+; the expression is of type"
        r"|mapped algorithm must return|unable to encode value '",
    ),
    _data_error(
        "projection",
        "a geometry or an image cannot be transformed to the projection",
        "another `crs`, or a region that keeps off the poles, 180° and the edge of the image; do not clip in"
        " the recipe",
        "https://github.com/google/Xee/issues/248",
        "Unable to transform edge (360.000000, 76.000000 to 359.999802, 76.000000) from EPSG:4326 PLANAR"
        " [0.5, 0.0, 0.0, 0.0, -0.5, 0.0] to EPSG:4326.",
        message=r"unable to transform edge|non-zero error margin",
    ),
    _data_error(
        "no projection",
        "a composite has no projection of its own",
        "give `crs` and `scale`; in a recipe, reduceRegion(…, scale=, crs=)",
        "https://developers.google.com/earth-engine/guides/projections",
        "The default WGS84 projection is invalid for aggregations. Specify a scale or crs & crs_transform.",
        message=r"default wgs84 projection is invalid|contains different projection",
    ),
    _data_error(
        "no bounds",
        "an image or a region has no bounds, or no area",
        "in the recipe, give functions a geometry that has an area, such as that of the unit",
        "https://github.com/aazuspan/wxee/issues/56",
        "Image.clipToBoundsAndScale: The geometry for image clipping must be bounded.",
        message=r"geometry for image clipping|unbounded image|invalid (?:geojson )?geometry",
    ),
    _data_error(
        "date",
        "a date does not exist, or a period is empty",
        "correct `start` and `end`: the end is not part of the period",
        "https://github.com/gee-community/geemap/issues/1830",
        "Date: Bad date/time '2023-02-32'.",
        message=r"bad date/time|empty date ranges",
    ),
    _data_error(
        "key",
        "a dictionary or a list lacks what was asked of it",
        "in the recipe, give a default: Dictionary.get(key, default); values of masked pixels have no key",
        _DEBUGGING,
        "Dictionary.get: Dictionary does not contain key: 'max'.",
        message=r"does not contain key|list index must be between|no numbers in 'values'",
    ),
    _data_error(
        "visualization",
        "a picture lacks the range of its values",
        "`stretch`; in a recipe, the least and the greatest value of the visualization",
        "https://developers.google.com/earth-engine/apidocs/ee-image-getdownloadurl",
        "Must specify visualization parameters",
        message=r"must specify visualization parameters",
    ),
    _data_error(
        "form of the request",
        "the request has a value that the service cannot read",
        "look in the recipe for NaN, None and objects that are not of `ee`; else update earthengine-api, and report it",
        "https://github.com/google/Xee/issues/55",
        "Invalid value at 'file_format' (type.googleapis.com/google.earthengine.v1.ImageFileFormat), \"NUMPY_NDARRAY\"",
        message=r"invalid value at '|valuenode is empty|invalid json payload|cannot find field",
    ),
    ServiceError(
        "expression",
        ErrorAction.PERMANENT,
        "a function of the expression fails for the unit",
        "",
        _DEBUGGING,
        invalid_argument("Number.bitwiseAnd: Bitwise operands must be integer only."),
        message=r"^(?:[A-Z]\w*\.)+\w+(?:\(\))?: |^[A-Z]\w+: |error in map\(ID=|is not a valid \w+",
        codes=(400,),
    ),
)
