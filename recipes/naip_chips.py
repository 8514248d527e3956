"""Aerial photographs at random points in every ecoregion of a state: 256 by 256 pixels of about a metre.

    eechips run recipes/naip_chips.py -p per_ecoregion=25 --local

The command `eechips sample --dataset NAIP` does the same, with more choice. This is the recipe to copy and change.
"""

import ee

from eechips import Chip
from eechips.datasets import ECOREGIONS
from eechips.planning.sampling.samplers import PointStream
from eechips.planning.sampling.stratum_outlines import fetch_strata

DATASETS = ["USDA/NAIP/DOQQ", "RESOLVE/ECOREGIONS/2017"]  # for licence and citation in run.json


def get_requests(state="Colorado", per_ecoregion=1000, seed=0):
    """Return the points as numbers, so that no request computes them again. Called once, in the parent."""
    states = ee.FeatureCollection("FAO/GAUL/2015/level1")
    region = states.filter(ee.Filter.eq("ADM1_NAME", state)).geometry()
    ecoregions = fetch_strata(region, ECOREGIONS, "ECO_ID", "ECO_NAME")
    drawn = [PointStream(one.geometry, seed, one.id).points(0, per_ecoregion) for one in ecoregions]
    return [  # one of each ecoregion in turn
        {"kind": "point", "coordinates": list(points[n]), "eco_id": ecoregion.id, "eco_name": ecoregion.name}
        for n in range(per_ecoregion)
        for ecoregion, points in zip(ecoregions, drawn, strict=True)
    ]


def get_result(index, point):
    """Return the chip to fetch; eechips sends requests, retries, checks and writes files. Called in a worker."""
    region = ee.Geometry.Point(point["coordinates"]).buffer(127).bounds()
    in_colour = ee.Filter.listContains("system:band_names", "B")  # photographs on infrared film have no blue band
    images = ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(region).filter(in_colour).select("R", "G", "B")
    latest_on_top = images.sort("system:time_start").mosaic()
    return Chip(latest_on_top, region=region, dimensions=(256, 256), bands=("R", "G", "B"), format="png")
