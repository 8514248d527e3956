"""Suggest similar names for an unknown name, and the option that other programs call by an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence


def did_you_mean(name: str, names: Collection[str]) -> str:
    """Suggest the name most like an unknown one.

    Returns:
        The end of a message: ``"; did you mean 'scale'?"``; empty if no name is similar.
    """
    alike = nearest_name(name, names)
    return "" if alike is None else f"; did you mean {alike!r}?"


def nearest_name(name: str, names: Collection[str]) -> str | None:
    """Return the name most like an unknown one; None if no name is similar."""
    alike = difflib.get_close_matches(name, names, n=5)
    # Of several the one with the same letters, which were typed in another order.
    return min(alike, key=lambda other: sorted(other) != sorted(name), default=None)


def describe_choices(wanted: str, there: list[str]) -> str:
    """Return a phrase with the similar names, or else with the first few names."""
    if not there:
        return "there are none"
    alike = difflib.get_close_matches(wanted.lower(), {name.lower(): name for name in there}, n=3, cutoff=0.6)
    if alike:
        by_lower = {name.lower(): name for name in there}
        return "did you mean " + " or ".join(repr(by_lower[name]) for name in alike) + "?"
    listed = ", ".join(there[:12])
    return f"there {'is' if len(there) == 1 else 'are'} {listed}" + (
        f" and {len(there) - 12:,} more" if len(there) > 12 else ""
    )


# Columns of a file that are named by --columns: the commands that take them have one of some options; other names.
_COLUMNS_ELSEWHERE: Sequence[tuple[str, Sequence[str], Sequence[str]]] = (
    ("columns='date=FIELD'", ("each_image",), ("date", "dates")),
    ("columns='date=FIELD'", ("near",), ("date_field", "date_column", "time_column")),
    ("columns='lon=FIELD'", ("points",), ("lon", "long", "longitude", "x", "lon_field", "lon_column", "x_field")),
    ("columns='lat=FIELD'", ("points",), ("lat", "latitude", "y", "lat_field", "lat_column", "y_field")),
    ("columns='id=FIELD'", ("points", "regions"), ("id", "id_field", "id_column", "id_property", "featureid")),
)
# What other programs call an option: geedim, geemap, Xee, odc-stac, rio, gdal, Earth Engine's own functions; and names
# that options of eechips had.
_OPTIONS_ELSEWHERE = {
    "roi": "region geometry aoi bounds bbox area shape",
    "regions": "polygons fields features geojson vector shapefile points places roi",
    "points": "places locations sites table csv polygons fields features shapefile regions",
    "dataset": "collection asset product image_collection source layer layers label labels",
    "start": "start_date date_start from since begin date dates date_range daterange",
    "end": "end_date date_end to until stop",
    "until": "end end_date date_end to stop",
    "out": "output output_dir outdir out_dir destination folder bucket",
    "scale": "resolution res spatial_resolution",
    "crs": "projection proj epsg dst_crs t_srs",
    "grid": "align transform crs_transform like",
    "size": "dimensions chip_size patch_size tile_size width height",
    "margin": "buffer padding",
    "total": "n num number count samples num_samples num_points",
    "where": "filter query properties",
    "where='CLOUDY_PIXEL_PERCENTAGE < 20'": (
        "cloud_cover cloud_max max_cloud max_cloud_cover max_clouds cloud clouds cloud_percentage cloudless"
    ),
    "every": "interval period frequency freq step",
    "index": "expression formula indices spectral_indices",
    "values='scaled'": "scaled scale_offset reflectance",
    "values='quantized'": "quantized",
    "cells='regular:10km'": "spacing stride step_size",
    "executor": "engine scheduler pool",
    "in_flight": "workers max_workers num_workers threads processes parallel concurrency max_requests",
    "rate": "max_rate qps requests_per_second",
    "retries": "max_retries tries max_tries",
    "unit_timeout": "timeout time_limit",
    "budget": "max_eecu_hours max_bytes max_minutes max_cost max_disk max_size",
    "export_to": "on_timeout export drive_folder",
    "on_empty": "on_missing skip_empty drop_empty",
    "extend": "append update add",
    "format": "file_format output_format driver filetype",
    "to": "format file_format output_format driver filetype",
    "rows": "n num number count total",
    "quiet": "silent no_progress progress",
    "bands": "select band measurements variables",
    "reducer": "statistic statistics stats agg aggregate",
    "name": "prefix filename file_name pattern name_template",
    "seed": "random_state random_seed",
    "local": "demo offline emulator",
}


def did_you_mean_option(name: str, names: Collection[str]) -> str:
    """Suggest the option that an unknown name means; see :func:`suggest_option`.

    Returns:
        The end of a message: ``"; did you mean 'roi'?"``, or with a value, ``"; did you mean columns='id=FIELD'?"``;
        empty if there is none.
    """
    text = suggest_option(name, names)
    if text is None:
        return ""
    return f"; did you mean {text if '=' in text else repr(text)}?"


def suggest_option(name: str, names: Collection[str]) -> str | None:
    """Return the option that an unknown name means: what other programs call it, or else the one most like it.

    Args:
        name: the unknown name, with underscores.
        names: the options that there are.

    Returns:
        A name, perhaps with a value: ``"columns='id=FIELD'"``; None if there is none.
    """
    for text, options, elsewhere in _COLUMNS_ELSEWHERE:
        if name.lower() in elsewhere and any(option in names for option in options):
            return text
    for text, elsewhere in _OPTIONS_ELSEWHERE.items():
        if name.lower() in elsewhere.split() and text.partition("=")[0] in names:
            return text
    return nearest_name(name, names)
