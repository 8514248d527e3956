"""Compare LandTrendr and Composite2Change of the local Earth Engine with results that others published.

    git clone https://github.com/nthh/LT-rs /tmp/lt-rs && git -C /tmp/lt-rs checkout a4b1076
    git clone https://github.com/saveriofrancini/C2C-GEE /tmp/c2c
    python benchmarks/published_series.py --landtrendr /tmp/lt-rs --c2c /tmp/c2c

LT-rs has series of Landsat's NBR with what Earth Engine made of them: vertices and fits of five pixels, and, for three
places, the greatest rise of the fit of each pixel. C2C-GEE is the program that Earth Engine's reference names; its
tests have series and the changes in them. Nothing of them is part of eechips.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio

from eechips_local.algorithms.composite2change import C2cChange, C2cOptions, find_changes
from eechips_local.algorithms.landtrendr import LandTrendrOptions, segment

PLACES = ("forest_or", "arid_nv", "ag_ia")
FIRST_YEAR = 1984
NO_DATA = -30_000
# Kennedy et al. (2018), table 1.
LANDTRENDR = LandTrendrOptions(6, 0.9, 3, True, 0.25, 0.05, 0.75, 6)
C2C = C2cOptions(75, 6, True, 0.85, 100, True, False, True, False, False)
# Files of the series and of their changes, with the options of each test.
TESTS: Sequence[tuple[str, str, C2cOptions]] = (
    ("input.csv", "output.csv", replace(C2C, interpolates=False)),
    ("input.csv", "output-filtered.csv", replace(C2C, losses_only=True)),
    (
        "input.csv", "output-regrowth-negonly.csv",
        replace(C2C, interpolates=False, has_regrowth=True, has_post=False, losses_only=True),
    ),
    (
        "input.csv", "output-regrowth-negonly-interp.csv",
        replace(C2C, has_regrowth=True, has_post=False, losses_only=True),
    ),
)  # fmt: skip


def compare_pixels(folder: Path) -> None:
    """Print, for each pixel, whether all vertices agree, and the greatest difference of the fits, in NBR x 1000."""
    for pixel in json.loads((folder / "data" / "gee_truth.json").read_text())["pixels"]:
        years = np.array(pixel["years"], dtype=np.float64)
        found = segment(years, -np.array(pixel["source"]), LANDTRENDR)
        is_equal = [years[v] for v in found.vertices] == pixel["vertex_years"]
        apart = np.abs(-found.fitted(years) - pixel["fitted"]).max()
        print(
            f"pixel {pixel['name']}: vertices {'agree' if is_equal else 'differ'}, fits differ by at most {apart:.3f}"
        )


def compare_place(folder: Path, place: str, step: int) -> None:
    """Print which share of the pixels of a place has the greatest rise of Earth Engine's fit."""
    with rasterio.open(folder / "data" / f"{place}_source.tif") as file:
        values = file.read().astype(np.float64)
    with rasterio.open(folder / "data" / f"{place}_distyear.tif") as file:
        rise_years, rises = file.read().astype(np.float64)
    years = np.arange(FIRST_YEAR, FIRST_YEAR + len(values), dtype=np.float64)
    count = same = near = great = same_years = 0
    for row in range(0, values.shape[1], step):
        for column in range(0, values.shape[2], step):
            valid = values[:, row, column] > NO_DATA
            if valid.sum() < LANDTRENDR.observations:
                continue
            fitted = segment(years[valid], -values[valid, row, column], LANDTRENDR).fitted(years[valid])
            steps = np.diff(fitted)
            apart = abs(float(steps.max()) - rises[row, column])
            count, same, near = count + 1, same + (apart < 0.5), near + (apart < 50)
            if rises[row, column] > 200:
                great += 1
                same_years += years[valid][steps.argmax() + 1] == rise_years[row, column]
    print(
        f"{place}: of {count} pixels, the greatest rise differs by less than 0.5 in {same / count:.1%} and by less "
        f"than 50 in {near / count:.1%}; of {great} rises over 200, {same_years} are in the same year"
    )


def compare_changes(folder: Path, source: str, target: str, options: C2cOptions) -> None:
    """Print how many series have other changes than a test of C2C-GEE expects."""
    data = folder / "javatests" / "it" / "unibo" / "c2c" / "testdata"
    expected: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    with (data / target).open() as file:
        for row in csv.DictReader(file):
            expected[row["id"]].append(row)
    count = different = 0
    with (data / source).open() as file:
        for position, row in enumerate(csv.DictReader(file)):
            years = [name for name in row if name != "id"]
            found = find_changes([float(year) for year in years], [float(row[year]) for year in years], options)
            if found is not None:
                count += 1
                different += not _are_equal(found, expected[str(position)], options)
    print(f"{target}: {count} series, {different} with other changes")


def _are_equal(found: Sequence[C2cChange], expected: Sequence[Mapping[str, str]], options: C2cOptions) -> bool:
    if not found:
        return len(expected) == 1 and math.isnan(float(expected[0]["year"]))
    if len(found) != len(expected):
        return False
    for change, row in zip(found, expected, strict=True):
        numbers = {
            "year": change.date, "value": change.value, "magnitude": change.magnitude, "duration": change.duration,
            "rate": change.rate,
        }  # fmt: skip
        if options.has_post:
            numbers |= {"postMagnitude": change.post_magnitude, "postRate": change.post_rate}
        if options.has_regrowth:
            numbers |= {"indexRegrowth": change.index_regrowth, "recoveryIndicator": change.recovery}
            numbers |= {f"regrowth{n}": years for n, years in zip((60, 80, 100), change.regrowth, strict=True)}
        if not all(np.isclose(value, float(row[name]), 1e-9, 1e-9, equal_nan=True) for name, value in numbers.items()):
            return False
    return True


def main() -> None:
    """Compare what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landtrendr", type=Path, metavar="DIR", help="repository of LT-rs")
    parser.add_argument("--c2c", type=Path, metavar="DIR", help="repository of C2C-GEE")
    parser.add_argument("--step", type=int, default=1, help="compare every so many rows and columns")
    chosen = parser.parse_args()
    if chosen.landtrendr is not None:
        compare_pixels(chosen.landtrendr)
        for place in PLACES:
            compare_place(chosen.landtrendr, place, chosen.step)
    if chosen.c2c is not None:
        for source, target, options in TESTS:
            compare_changes(chosen.c2c, source, target, options)


if __name__ == "__main__":
    main()
