"""Probes: each command of eechips, small, in each format and by each method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from eechips.files.temporary_files import scratch_folder
from eechips.probes.probe import Probe, value
from eechips.probes.probe_client import ProbeClient

_COMPLETE = value({"complete": True})
_BOX = "-105.11,39.90,-105.108,39.902"  # some 200 m a side
_MOST_EECU_HOURS = 0.01
_MOST_REQUESTS = 60
_POINTS = [(-105.1, 39.9), (-105.12, 39.92)]


def _command(name: str, *arguments: Any, **options: Any) -> Callable[[ProbeClient], Any]:
    """Ask for the results of a command, and return how many of its units are done, and why others are not."""

    def ask(client: ProbeClient) -> Any:
        from eechips.jobs import chips, composites, images, mosaic, points, timeseries

        commands: dict[str, Callable[..., Any]] = {
            "sample": chips.sample, "images": images.images, "composites": composites.composites,
            "mosaic": mosaic.mosaic, "timeseries": timeseries.timeseries, "points": points.points,
        }  # fmt: skip
        with scratch_folder(client.folder) as folder:
            run = commands[name](
                *(argument(client) if callable(argument) else argument for argument in arguments), out=folder / "run",
                endpoint=client.url, project=client.project, executor="threads", in_flight=4, rate=None, quiet=True,
                profile_every=1, retries=2, budget={"requests": _MOST_REQUESTS, "eecu_hours": _MOST_EECU_HOURS},
                **{option: value(client) if callable(value) else value for option, value in options.items()},
            )  # fmt: skip
            compute = run.info.get("compute") or {}
            client.count_compute(float(compute.get("eecu_seconds") or 0.0))
            failures = Counter(run.failures["error"]) if len(run.failures) else {}
            return {"complete": run.is_complete, "units": run.counts, "failures": dict(failures),
                    "bytes": int(run.units["bytes"].fillna(0).sum())}  # fmt: skip

    return ask


def _points(client: ProbeClient) -> Any:
    import pandas as pd

    return pd.DataFrame(_POINTS, columns=["lon", "lat"])


def _points_file(client: ProbeClient) -> str:
    path = client.folder / "points.csv"
    path.write_text("lon,lat\n" + "".join(f"{lon},{lat}\n" for lon, lat in _POINTS), encoding="utf-8")
    return str(path)


def _regions_file(client: ProbeClient) -> str:
    path = client.folder / "regions.geojson"
    west, south, east, north = _BOX.split(",")
    ring = f"[[{west},{south}],[{east},{south}],[{east},{north}],[{west},{north}],[{west},{south}]]"
    path.write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"name":"box"},"geometry":'
        f'{{"type":"Polygon","coordinates":[{ring}]}}}}]}}',
        encoding="utf-8",
    )
    return str(path)


_S2 = {"start": "2020-06-01", "end": "2020-06-21"}
_NAIP = {"start": "2019-01-01", "end": "2020-01-01"}

_SHORT_S2 = {"start": "2020-06-01", "end": "2020-06-06"}

_COMMANDS: tuple[tuple[str, str, Callable[[ProbeClient], Any], str], ...] = (
    *(
        (f"sample-{form}-{method}", f"chips of NAIP as {form} by {method}",
         _command("sample", "NAIP", points=_points_file, size=32, format=form, method=method, **_NAIP), "commands")
        for form, method in (("png", "url"), ("png", "pixels"), ("jpg", "url"), ("tif", "url"), ("tif", "pixels"),
                             ("npy", "pixels"), ("npy", "url"))
    ),
    ("sample-ecoregions", "chips of NAIP by ecoregion",
     _command("sample", "NAIP", per_ecoregion=2, roi="-105.3,39.8,-104.9,40.1", size=32, limit=2, format="tif",
              **_NAIP), "strata"),
    ("sample-index", "chips of an index", _command(
        "sample", "NAIP", points=_points_file, size=32, index="NDVI", format="tif", **_NAIP), "commands"),
    ("sample-bands", "chips of near infrared, red and green", _command(
        "sample", "NAIP", points=_points_file, size=32, bands="N,R,G", format="png", **_NAIP), "commands"),
    ("sample-thumb", "chips on the grid of thumbnails", _command(
        "sample", "NAIP", points=_points_file, size=32, grid="thumb", format="png", **_NAIP), "commands"),
    ("sample-degrees", "chips on a grid of degrees", _command(
        "sample", "NAIP", points=_points_file, size=32, crs="EPSG:4326", scale=1.0, format="tif", **_NAIP),
     "commands"),
    ("sample-s2", "chips of Sentinel-2 with mixed bands", _command(
        "sample", "S2", points=_points_file, size=32, bands="B4,B8,SCL", format="npy", **_S2), "commands"),
    ("sample-masked", "chips of Sentinel-2 without clouds", _command(
        "sample", "S2", points=_points_file, size=32, bands="B4,B8", mask="scl", format="tif", **_S2), "commands"),
    ("sample-every", "composites of 10 days below points", _command(
        "sample", "S2", points=_points_file, size=32, bands="B4,B8", every="10 days:median", format="tif",
        **_S2), "commands"),
    ("sample-frames", "the last two images below points", _command(
        "sample", "S2", points=_points_file, size=32, bands="B4", frames=2, format="tif", **_S2), "commands"),
    ("sample-s1", "chips of Sentinel-1", _command(
        "sample", "S1", points=_points_file, size=32, bands="VV,VH", format="tif", start="2020-06-01",
        end="2020-06-21"), "commands"),
    ("images", "images of Sentinel-2 over a box", _command(
        "images", "S2", roi=_BOX, bands="B4,B8", limit=2, format="tif", **_SHORT_S2), "commands"),
    ("images-url", "the same by URL", _command(
        "images", "S2", roi=_BOX, bands="B4,B8", limit=2, format="tif", method="url", **_SHORT_S2), "commands"),
    ("images-png", "pictures of Sentinel-2 over a box", _command(
        "images", "S2", roi=_BOX, limit=2, format="png", **_SHORT_S2), "commands"),
    ("composites", "composites of Sentinel-2 over a box", _command(
        "composites", "S2", roi=_BOX, bands="B4,B8", every="10 days", format="tif", **_S2), "commands"),
    ("composites-url", "the same by URL", _command(
        "composites", "S2", roi=_BOX, bands="B4,B8", every="10 days", format="tif", method="url", **_S2), "commands"),
    ("composites-masked", "the same without clouds", _command(
        "composites", "S2", roi=_BOX, bands="B4,B8", mask="scl", every="10 days", format="tif", **_S2), "commands"),
    *(
        (f"mosaic-{name}", f"a mosaic of {title}", _command("mosaic", dataset, roi=_BOX, **options), "commands")
        for name, title, dataset, options in (
            ("naip", "NAIP", "NAIP", _NAIP),
            ("s2", "Sentinel-2", "S2", {"bands": "B4,B8", **_SHORT_S2}),
            ("s2-median", "Sentinel-2 by median", "S2", {"bands": "B4,B8", "reducer": "median", **_S2}),
            ("worldcover", "WorldCover", "WORLDCOVER", {}),
        )
    ),
    ("timeseries", "a time series of MODIS", _command(
        "timeseries", "MODIS/061/MOD11A2", regions=_regions_file, columns="id=name", reducer="max", start="2019-01-01",
        end="2019-03-01", multiply=0.02, add=-273.15), "commands"),
    ("timeseries-masked", "a time series of an index without clouds", _command(
        "timeseries", "S2", regions=_regions_file, columns="id=name", index="NDVI", mask="scl", every="10 days", **_S2),
     "commands"),
    ("points", "values at points", _command("points", "SRTM", _points, format="csv"), "commands"),
    ("points-each", "values of each image at points", _command(
        "points", "MODIS/061/MOD13Q1", _points, each_image=True, bands="NDVI", start="2019-06-01", end="2019-08-01",
        format="csv"), "commands"),
)  # fmt: skip

PROBES = tuple(
    Probe(f"commands/{name}", f"Does eechips fetch {title}?", fact, ask, _COMPLETE)
    for name, title, ask, fact in _COMMANDS
)
"""Probes of the commands."""
