"""List the errors of expressions and of their data: the same request never succeeds.

Each says in the words of eechips what helps.
"""

from __future__ import annotations

from functools import partial

from eechips.client.service_errors.error_row import DEBUGGING, ErrorAction, ServiceError

_SAME_BANDS = (
    "`bands` that every image has, or only the images that have them: `where` 'system:band_names has BAND'; in a"
    " recipe, select(names) before images are combined"
)
_NO_IMAGE = (
    "a longer period (`start`, `end`), a weaker `where` or cloud limit; in a recipe, return NoData where a collection"
    " is empty"
)


_data_error = partial(ServiceError, kind=ErrorAction.PERMANENT)

DATA_ERRORS: tuple[ServiceError, ...] = (
    _data_error(
        "asset",
        "correct its id, or have it shared",
        DEBUGGING,
        message=r"asset ['\"]?[^'\"]*['\"]? not found"
        r"|does not exist or (?:caller does not have access|doesn't allow this operation)"
        r"|permission 'earthengine\.[\w.]+' denied on resource",
    ),
    _data_error(
        "bands of images differ",
        _SAME_BANDS,
        "https://github.com/leftfield-geospatial/geedim/issues/16",
        message=r"homogeneous image collection, but an image with incompatible bands",
    ),
    _data_error(
        "types of images differ",
        "in the recipe, cast each image before images are combined: select(names).toFloat()",
        "https://github.com/gee-community/geemap/issues/1058",
        message=r"homogeneous image collection|mismatched type for band",
    ),
    _data_error(
        "types of bands differ",
        "in the recipe, one type for all bands: toFloat(), or the chip's `dtype`",
        "https://github.com/gee-community/geemap/issues/87",
        message=r"exported bands must have compatible data types",
    ),
    _data_error(
        "no bands",
        _NO_IMAGE,
        "https://github.com/swisstopo/topo-satromo/issues/101",
        message=r"applied to an image with no bands|if one image has no bands|image has (?:0|no bands)\b"
        r"|no bands in collection|available band(?: name)?s: \[\]",
    ),
    _data_error(
        "missing band",
        _SAME_BANDS,
        DEBUGGING,
        message=r"did not match any bands|no band named|invalid band number|must be \w+ typed",
    ),
    _data_error(
        "names of bands",
        "correct the names in the recipe: as many as bands, none that begins with _ or :",
        "https://developers.google.com/earth-engine/apidocs/ee-image-rename",
        message=r"the number of names \(|invalid band name",
    ),
    _data_error(
        "no value",
        _NO_IMAGE,
        "https://github.com/google/earthengine-api/issues/141",
        message=r"parameter '?\w+'? is required|\w'? is required and may not be null|null geometry"
        r"|value of 'count' must be positive|no valid \(un-masked\) pixels",
    ),
    _data_error(
        "wrong type",
        "convert the value in the recipe, such as ee.Image(collection.first())",
        "https://github.com/google/earthengine-api/issues/159",
        message=r"argument '\w+': invalid type|unable to use a collection in an algorithm"
        r"|unrecognized argument type|expected a \w+; the expression is of type"
        r"|mapped algorithm must return|unable to encode value '",
    ),
    _data_error(
        "projection",
        "another `crs`, or a region that keeps off the poles, 180° and the edge of the image; do not clip in"
        " the recipe",
        "https://github.com/google/Xee/issues/248",
        message=r"unable to transform edge|non-zero error margin",
    ),
    _data_error(
        "no projection",
        "give `crs` and `scale`; in a recipe, reduceRegion(…, scale=, crs=)",
        "https://developers.google.com/earth-engine/guides/projections",
        message=r"default wgs84 projection is invalid|contains different projection",
    ),
    _data_error(
        "no bounds",
        "in the recipe, give functions a geometry that has an area, such as that of the unit",
        "https://github.com/aazuspan/wxee/issues/56",
        message=r"geometry for image clipping|unbounded image|invalid (?:geojson )?geometry",
    ),
    _data_error(
        "date",
        "correct `start` and `end`: the end is not part of the period",
        "https://github.com/gee-community/geemap/issues/1830",
        message=r"bad date/time|empty date ranges",
    ),
    _data_error(
        "key",
        "in the recipe, give a default: Dictionary.get(key, default); values of masked pixels have no key",
        DEBUGGING,
        message=r"does not contain key|list index must be between|no numbers in 'values'",
    ),
    _data_error(
        "visualization",
        "`stretch`; in a recipe, the least and the greatest value of the visualization",
        "https://developers.google.com/earth-engine/apidocs/ee-image-getdownloadurl",
        message=r"must specify visualization parameters",
    ),
    _data_error(
        "form of the request",
        "look in the recipe for NaN, None and objects that are not of ee; else update earthengine-api, and report it",
        "https://github.com/google/Xee/issues/55",
        message=r"invalid value at '|valuenode is empty|invalid json payload|cannot find field",
    ),
    _data_error(
        "expression",
        "",
        DEBUGGING,
        message=r"^(?:[A-Z]\w*\.)+\w+(?:\(\))?: |^[A-Z]\w+: |error in map\(ID=|is not a valid \w+",
        codes=(400,),
    ),
)
