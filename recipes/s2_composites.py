"""Monthly Sentinel-2 composites without clouds: the median of the clear pixels, on one grid for all months.

    eechips run recipes/s2_composites.py -p start=2020-06-01 -p end=2020-09-01 --local

The command `eechips composites --dataset S2 --mask` does the same, with more choice. This is the recipe to copy and
change: another index, another mask, another way to reduce.
"""

import ee

from eechips import Chip, Grid, Template
from eechips.planning.areas.regions import parse_box
from eechips.planning.grid_alignment import aligned_grid, cover_region, find_utm_crs
from eechips.planning.imagery.image_masking import parse_mask
from eechips.planning.imagery.periods import parse_day, parse_step

DATASETS = ["COPERNICUS/S2_SR_HARMONIZED"]  # for licence and citation in run.json
BANDS = ("B4", "B3", "B2", "B8")


def get_requests(box="-105.3,39.9,-105.28,39.92", start="2020-06-01", end="2020-09-01", every="1 month"):
    """Plan the months, all on one pixel grid. Called once, in the parent."""
    region = parse_box(box)
    grid = cover_region(aligned_grid(find_utm_crs(region.west, region.south), 10.0), region.polygon())
    return [
        {"kind": "dates", "start": period.start.isoformat(), "end": period.end.isoformat(), "grid": grid.to_json()}
        for period in parse_step(every).periods(parse_day(start), parse_day(end))
    ]


def get_result(index, month):
    """Return the composite of a month. Called once for each month, in a worker."""
    grid = Grid.from_json(month["grid"])
    image = Template(composite, (grid,), {"start": month["start"], "end": month["end"]})
    return Chip(image, grid=grid, bands=BANDS, dtype="float32", format="tif", name=f"months/{month['start']}")


def composite(grid, start, end):
    """Build the expression. Values that differ between months are only passed on, so it is converted to JSON once."""
    west, south, east, north = grid.bounds
    window = ee.Geometry.Rectangle([west, south, east, north], grid.crs, False)
    mask = parse_mask("scl:shadow,cloud,cirrus", DATASETS[0])
    images = ee.ImageCollection(DATASETS[0]).filterBounds(window).filterDate(start, end)
    return images.map(lambda image: mask.apply(ee.Image(image), BANDS)).median().toFloat()
