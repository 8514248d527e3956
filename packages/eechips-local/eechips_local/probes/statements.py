"""Facts about the service that eechips and the local Earth Engine rely on, each with its source and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Certainty = Literal["documented", "tested", "reported", "inferred", "unknown"]
"""By whom a fact is known: Google's documentation; a public test against the service; users; nobody but us; nobody."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement about the service.

    Attributes:
        key: short name.
        statement: what is believed, or asked.
        certainty: how it is known.
        source: where; empty for what is inferred or unknown.
    """

    key: str
    statement: str
    certainty: Certainty
    source: str = ""


_API = "https://developers.google.com/earth-engine/apidocs/"
_GUIDES = "https://developers.google.com/earth-engine/guides/"
_REST = "https://developers.google.com/earth-engine/reference/rest/v1/"
_GEEDIM_16 = "https://github.com/leftfield-geospatial/geedim/issues/16"
_GEEMAP_1058 = "https://github.com/gee-community/geemap/issues/1058"
_OPENET = "https://github.com/Open-ET/openet-core/blob/main/tests/test_interpolate.py"
_EEREPR = "https://github.com/aazuspan/eerepr/tree/main/tests/data"

FACTS = (
    # Collections
    Fact("other-bands", "Composites refuse images with other bands, or another number of bands.", "reported",
         _GEEDIM_16),
    Fact("band-order", "Composites refuse images whose bands are in another order.", "reported"),
    Fact("fits-inside", "The type of each band must fit inside that of the first image: range in range, integers into"
         " floats, floats never into integers.", "inferred", _GEEMAP_1058),
    Fact("constant-first", "Composites refuse a collection whose first image is a constant, or masked.", "inferred"),
    Fact("constant-last", "Composites accept a constant after images of an integer type that contains it.", "tested",
         _OPENET),
    Fact("two-constants", "Composites refuse two constants of different values; casts of the images cure it.",
         "reported"),
    Fact("casts", "Casts of each image to one type make any collection of equal bands homogeneous.", "tested", _OPENET),
    Fact("range-of-arithmetic", "Arithmetic narrows or widens ranges: equal bands times different factors are refused.",
         "reported"),
    Fact("lazy-check", "Collections are checked when pixels are computed, not when bands are listed, merged or sorted.",
         "tested", _API + "ee-imagecollection-fromimages"),
    Fact("reducers-check", "All reducers of a collection check it alike.", "reported"),
    Fact("quality-mosaic", "qualityMosaic checks a collection as mosaic does.", "unknown"),
    Fact("quality-ties", "Of images of equal quality, qualityMosaic takes the last, as mosaic does.", "unknown"),
    Fact("to-bands", "toBands joins images of any bands and types.", "inferred", _API + "ee-imagecollection-tobands"),
    Fact("to-array", "toArray has the union of the types of the bands.", "documented",
         _API + "ee-imagecollection-toarray"),
    Fact("cast-adds-bands", "ImageCollection.cast adds missing bands as masked ones.", "documented",
         _API + "ee-imagecollection-cast"),
    Fact("get-region-mixed", "What getRegion does with images of different bands.", "unknown"),
    # Bands
    Fact("missing-band", "select of a missing band is an error that lists the available bands.", "reported",
         "https://github.com/google/earthengine-community/issues/96"),
    Fact("no-bands", "A composite of no images has no bands, and select of it says so.", "documented",
         _GUIDES + "debugging"),
    Fact("null-input", "first() of no images is null, and methods of it name the parameter that may not be null.",
         "reported"),
    Fact("band-names", "Names of bands: renamed ones must match in number; taken names get a suffix; some are invalid.",
         "documented", _API + "ee-image-addbands"),
    Fact("missing-asset", "A missing asset is an error that names it.", "reported"),
    # Files
    Fact("file-bytes", "Which bytes each format has: data types, mask, compression, georeference, names.", "unknown"),
    Fact("tif-types", "A GeoTIFF needs bands of compatible types.", "reported",
         "https://github.com/gee-community/geemap/issues/87"),
    Fact("npy-types", "NPY has a field of its own type for each band.", "documented",
         "https://developers.google.com/earth-engine/apidocs/ee-data-computepixels"),
    Fact("constant-type", "The type of constants in files: 0 is a byte.", "reported"),
    Fact("request-size", "Requests for more than 48 MB, 32,768 pixels a side or 1,024 bands are refused.", "documented",
         _REST + "projects.image/computePixels"),
    Fact("picture-range", "Pictures need a range for data that are not bytes.", "reported"),
    Fact("picture-rounding", "How visualize rounds half a value.", "unknown"),
    Fact("native-grid", "getPixels and computePixels without interpolation give the same values.", "inferred"),
    # Reductions
    Fact("default-projection", "Composites have EPSG:4326 at one degree, which aggregations refuse.", "documented",
         _GUIDES + "projections"),
    Fact("too-many-pixels", "reduceRegion refuses more than maxPixels pixels, with their number.", "documented",
         _GUIDES + "debugging"),
    Fact("unbounded", "Reductions of unbounded images need a geometry.", "documented", _API + "ee-image-reduceregion"),
    Fact("pixel-weights", "Unweighted reducers take pixels whose centre is inside; weighted ones weigh by coverage.",
         "documented", _GUIDES + "reducers_reduce_region"),
    Fact("null-geometry", "What reduceRegions and sampleRegions do with features without geometry.", "unknown"),
    Fact("query-limits", "Queries of more than 5,000 elements, and more than 1,048,576 values of getRegion, are"
         " refused.", "documented", _GUIDES + "usage"),
    Fact("stratified-sample", "stratifiedSample needs an integer class band, and as many points as classes.",
         "documented", _API + "ee-image-stratifiedsample"),
    Fact("percentiles", "Each value stands in the middle of its weight: the 90th percentile of 1 to 10 is 9.5.",
         "tested",
         "https://github.com/eHealthAfrica/heatwave_modelling_CHAP/blob/main/tests/test_heatwave_detection.py"),
    Fact("tile-scales", "reduceRegion refuses a tileScale outside of 0.1 to 16.", "reported"),
    Fact("exact-means", "Means of constants are exact.", "reported",
         "https://github.com/aazuspan/wxee"),
    # Regions
    Fact("across-180", "A box whose east is less than its west crosses 180 degrees.", "documented",
         _API + "ee-geometry-bbox"),
    Fact("longitudes-360", "What longitudes of 180 to 360 degrees mean.", "unknown"),
    Fact("geodesic-edges", "Edges are geodesic in geographic systems and planar in projected ones.", "documented",
         _API + "ee-geometry"),
    Fact("error-margin", "Some operations need an error margin.", "reported"),
    Fact("distance-beyond", "fastDistanceTransform masks no pixel: beyond the neighborhood values are larger.",
         "inferred", "https://github.com/gee-community/ee-packages-py"),
    # Pyramids
    Fact("odd-pyramids", "Each pixel of a coarser level comes from a 2x2 block, also where width or height is odd.",
         "documented", _GUIDES + "scale"),
    # Values
    Fact("encodings", "Results of getInfo for objects that are no values.", "tested", _EEREPR),
    Fact("gaussian-kernel", "Kernel.gaussian(3) has 7x7 weights.", "tested", _EEREPR),
    Fact("printed-types", "Types of bands as getInfo has them.", "documented", _API + "ee-image-constant"),
    Fact("casts-of-values", "Casts to integers cut decimals and clamp.", "documented", _API + "ee-number-toint"),
    Fact("object-types", "Names of types by Algorithms.ObjectType.", "documented", _API + "ee-algorithms-objecttype"),
    Fact("given-index", "system:index of given features is kept.", "tested",
         "https://github.com/gee-community/geetools/tree/main/tests"),
    Fact("calendar-times", "Filter.calendarRange refuses what has no time, and negative numbers.", "tested",
         "https://github.com/eHealthAfrica/heatwave_modelling_CHAP/blob/main/tests/test_heatwave_detection.py"),
    Fact("empty-arrays", "An array without numbers needs a type.", "reported"),
    Fact("class-colours", "Classes whose values and palette are properties have these colours without options.",
         "documented", _GUIDES + "image_visualization"),
    Fact("invalid-dates", "Invalid dates are refused with their text.", "reported"),
    # Datasets
    Fact("naip-layouts", "NAIP has images without blue or without near infrared, and of 0.6, 1 and 2 m.", "documented",
         "https://developers.google.com/earth-engine/datasets/catalog/USDA_NAIP_DOQQ"),
    Fact("s1-layouts", "Sentinel-1 has VV, HH, VV+VH and HH+HV.", "documented",
         "https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S1_GRD"),
    Fact("s2-layouts", "Bands and types of Sentinel-2 differ between years: offset, QA60, MSK bands.", "documented",
         "https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR_HARMONIZED"),
    Fact("modis-gaps", "MODIS collections lack days.", "reported"),
    Fact("asset-records", "What the record of an asset has: types of bands, grids, footprint, times.", "documented",
         _REST + "projects.assets"),
    # Requests
    Fact("error-bodies", "Status, code and details of errors.", "unknown"),
    Fact("unknown-names", "Unknown functions, arguments and formats are refused with HTTP 400.", "reported"),
    Fact("lists-of-images", "Pages of listImages and of computed features and images.", "documented",
         _REST + "projects.assets/listImages"),
    Fact("algorithms", "The list of functions is that of the client's tests, or newer.", "inferred"),
    Fact("profiles", "A profiled request names its profile, whose first column is EECU-seconds.", "tested",
         "https://github.com/google/earthengine-api/blob/master/python/ee/_helpers.py"),
    Fact("exports", "States and times of a small export.", "documented", _REST + "projects.operations"),
    # Plans
    Fact("strata", "How many ecoregions there are, and how many vertices they have.", "unknown"),
    Fact("grid-queries", "The grids below 500 points take one request.", "inferred"),
)  # fmt: skip
"""All facts, in the order of the table."""
