"""Serve the table that Google's guide to classification uses: points of three kinds of land cover near San Francisco.

The guide says what it stores: https://developers.google.com/earth-engine/guides/classification. Each class has as
many points as in the sample that geemap has of it: https://github.com/gee-community/geemap,
examples/data/rf_example.csv. Their places are not published: these lie in that cover on the demo planet.
"""

from __future__ import annotations

from functools import cache

import shapely

from eechips_local.demo import demo_tables
from eechips_local.demo.demo_tables import DemoTable, Rows
from eechips_local.evaluation.asset_model import FeatureRow

ID = "GOOGLE/EE/DEMOS/demo_landcover_labels"
# Built-up or bare, vegetation, water: longitudes and latitudes.
_POINTS = (
    """\
-122.0459,37.8357 -122.0442,37.8365 -121.8963,37.8284 -121.8901,37.8217 -121.8898,37.8314 -121.8885,37.8306
-121.8879,37.8263 -122.0467,37.8349 -121.8834,37.815 -121.8817,37.8128 -121.8815,37.8222 -121.8812,37.8217
-121.8801,37.809 -121.8801,37.8131 -121.8782,37.815 -121.8777,37.8244 -121.8774,37.8204 -121.8758,37.8125
-121.8755,37.8163 -121.8747,37.8112 -121.8728,37.8193 -121.871,37.826 -121.8702,37.8255 -121.8691,37.8255
-121.8688,37.8376 -121.8653,37.8338 -121.8629,37.8182 -121.8623,37.8247 -121.8602,37.8236 -121.8559,37.8233
-121.8553,37.816 -122.0434,37.8357
""",
    """\
-122.2935,37.8947 -122.279,37.9163 -122.2728,37.7074 -122.266,37.6479 -122.2644,37.7171 -122.2469,37.9807
-122.2437,37.864 -122.2227,37.646 -122.2227,37.8977 -122.2043,37.8247 -122.1768,37.8163 -122.1184,37.8371
-122.1057,37.9098 -122.0895,37.9047 -122.0801,37.8244 -122.0758,37.7085 -122.0348,37.7072 -122.0297,37.8864
-122.0184,37.8069 -122.0176,37.608 -122.017,37.6452 -122.0165,37.643 -122.0143,37.6039 -121.992,37.778
-121.9798,37.7422 -121.9464,37.6093 -121.9273,37.7721 -121.9227,37.8624 -121.9184,37.7031 -121.8893,37.8934
-121.8758,37.8454 -121.8734,37.9858 -121.8591,37.6878
""",
    """\
-122.3482,37.8468 -122.3482,37.8791 -122.3482,37.8837 -122.3477,37.9241 -122.3472,37.9252 -122.3466,37.8354
-122.3466,37.8724 -122.3458,37.8457 -122.3445,37.8831 -122.342,37.836 -122.3404,37.8319 -122.3399,37.9012
-122.3388,37.8565 -122.338,37.8314 -122.338,37.9317 -122.3364,37.8575 -122.3356,37.8381 -122.3353,37.8486
-122.3318,37.8726 -122.3318,37.9273 -122.3315,37.8468 -122.3315,37.9063 -122.3286,37.8963 -122.3283,37.8691
-122.3269,37.8632 -122.3251,37.864 -122.3251,37.9096 -122.3224,37.8654 -122.0558,37.6045 -122.0537,37.6101
-122.048,37.6042 -122.0364,37.7155 -122.0332,37.7101 -121.8666,37.7093
""",
)


def table() -> DemoTable:
    """Return the table."""
    return DemoTable(ID, {"landcover": "Integer"}, _rows, "Example of the guide to classification")


@cache
def _rows() -> Rows:
    points = [(label, point.split(",")) for label, text in enumerate(_POINTS) for point in text.split()]
    return tuple(
        FeatureRow(demo_tables.index_of(number), shapely.Point(float(x), float(y)), {"landcover": label})
        for number, (label, (x, y)) in enumerate(points)
    )
