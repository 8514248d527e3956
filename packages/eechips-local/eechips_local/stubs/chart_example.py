"""Serve the table that Google's guide to charts uses: three regions, and the climate of each of their months.

The guide says how it was made, from normals of PRISM:
https://developers.google.com/earth-engine/guides/charts_feature#example_data. The values are those that the service
gave to geetools: https://github.com/gee-community/geetools, tests/test_FeatureCollection/test_by_features.yml.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import shapely

from eechips_local.demo import demo_tables
from eechips_local.demo.demo_tables import DemoTable, Rows
from eechips_local.evaluation.asset_model import Bounds, FeatureRow

ID = "projects/google/charts_feature_example"
_REGIONS: tuple[tuple[str, Bounds], ...] = (
    ("Desert", (-109.21, 31.42, -108.3, 32.03)),
    ("Forest", (-122.73, 43.45, -122.28, 43.91)),
    ("Grassland", (-101.81, 41.7, -100.53, 42.51)),
)
_NORMALS = ("ppt", "tdmean", "tmax", "tmean", "tmin", "vpdmax", "vpdmin")
# Normals of each month: mm, degrees Celsius, hPa.
_VALUES = """\
Desert|01|27.9543 -5.939 14.0519 5.791 -2.4698 12.4876 1.3548
Desert|02|21.8585 -5.5165 16.3235 7.645 -1.0335 15.0107 1.6896
Desert|03|17.5791 -5.8217 19.6857 10.4547 1.2237 19.5607 2.6629
Desert|04|8.2525 -5.8467 24.1706 14.2516 4.3327 26.7255 4.3649
Desert|05|8.3722 -3.4355 29.0478 19.0328 9.0178 35.7141 6.715
Desert|06|14.8021 0.9474 33.5793 23.7905 14.0017 45.7092 9.5711
Desert|07|80.3894 10.3368 33.1655 25.0666 16.9676 39.5081 5.3479
Desert|08|79.3269 13.0581 31.4661 23.8453 16.2245 33.1703 3.0901
Desert|09|37.4122 8.8278 29.8939 21.4548 13.0157 31.6424 3.494
Desert|10|32.7287 1.6853 25.1117 15.998 6.8842 26.0301 3.1671
Desert|11|22.8091 -3.7638 18.8305 9.8493 0.8681 18.0341 2.1474
Desert|12|35.5574 -5.7504 13.8435 5.6414 -2.5607 12.1732 1.2722
Forest|01|235.3735 -0.6961 6.5478 2.7925 -0.9629 4.0988 0.5084
Forest|02|181.5318 -0.7036 8.1962 3.6091 -0.9781 5.2906 0.4389
Forest|03|181.918 0.6276 10.2597 5.0329 -0.1939 6.5103 0.301
Forest|04|150.759 2.0816 12.9726 7.1201 1.2677 8.2388 0.3165
Forest|05|112.3921 4.5642 16.9135 10.3954 3.8772 11.6903 0.5732
Forest|06|72.7099 7.3176 20.782 13.7761 6.7702 15.2881 0.7902
Forest|07|23.4092 9.5767 25.8741 17.8502 9.8262 22.2962 1.6785
Forest|08|25.3956 9.1282 26.1564 17.92 9.6836 24.0046 1.7665
Forest|09|54.0645 6.5106 22.8655 15.2066 7.5476 20.2407 1.9594
Forest|10|121.9762 4.3426 16.0408 10.0817 4.1226 10.8345 0.9597
Forest|11|261.0088 1.8112 8.7372 4.7847 0.8322 4.3876 0.4412
Forest|12|273.2434 -0.668 5.8271 2.3179 -1.1913 3.5217 0.4808
Grassland|01|9.6369 -9.244 2.9209 -3.7566 -10.4342 4.7509 0.4878
Grassland|02|13.9151 -7.8654 4.8534 -1.9902 -8.8338 5.802 0.4764
Grassland|03|29.7613 -4.4565 9.7033 2.5701 -4.563 8.6055 0.5928
Grassland|04|57.7361 -0.6806 15.134 7.7213 0.3086 12.6061 0.9239
Grassland|05|84.2765 5.6602 20.8877 13.6439 6.4001 16.2493 1.2595
Grassland|06|86.1369 10.8667 26.3683 19.0336 11.6988 21.8882 1.7057
Grassland|07|76.1818 13.607 30.4872 22.7531 15.0189 29.4004 2.1065
Grassland|08|60.1896 13.2066 29.5723 21.8483 14.1244 27.5473 1.7172
Grassland|09|45.8332 7.3522 24.464 16.4018 8.3396 21.8169 1.3778
Grassland|10|38.1349 0.742 17.1796 9.263 1.3464 14.0144 0.8949
Grassland|11|20.0859 -4.7036 8.995 2.0219 -4.9512 8.3475 0.6549
Grassland|12|11.1981 -8.8637 3.1774 -3.4267 -10.0308 5.0384 0.4881
"""


def table() -> DemoTable:
    """Return the table."""
    months = {f"{month:02}_{name}": "Float" for month in range(1, 13) for name in _NORMALS}
    columns = {**months, "label": "String", "value": "Integer", "warm": "Integer"}
    return DemoTable(ID, columns, _rows, "Example of the guide to charts of features")


@cache
def _rows() -> Rows:
    known: dict[str, dict[str, Any]] = {label: {} for label, _ in _REGIONS}
    for line in _VALUES.splitlines():
        label, month, numbers = line.split("|")
        known[label] |= {
            f"{month}_{name}": float(number) for name, number in zip(_NORMALS, numbers.split(), strict=True)
        }
    rows = []
    for number, (label, bounds) in enumerate(_REGIONS):
        facts = {**known[label], "label": label, "value": number, "warm": int(known[label]["01_tmean"] > 0)}
        rows.append(FeatureRow(demo_tables.index_of(number), shapely.box(*bounds), facts))
    return tuple(rows)
