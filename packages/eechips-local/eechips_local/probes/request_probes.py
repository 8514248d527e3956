"""Probes: requests that the service refuses, with the whole bodies of its errors, and its own records."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from eechips_local.probes.probe import ANY_VALUE, OPEN, ExpectedResult, Probe, error, value
from eechips_local.probes.probe_client import ProbeClient, RefusedError

_EXPORT_SECONDS = 240.0
_EXPORT_PAUSE = 5.0
_DONE = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


def _call(function: str, **arguments: Any) -> dict[str, Any]:
    """Return a body whose expression calls a function."""
    return {"expression": {"result": "0", "values": {"0": {"functionInvocationValue": {
        "functionName": function, "arguments": {name: {"constantValue": value} for name, value in arguments.items()}
    }}}}}  # fmt: skip


def _post(path: str, body: Any) -> Callable[[ProbeClient], Any]:
    return lambda client: client.send("POST", path, body)


def _get(path: str) -> Callable[[ProbeClient], Any]:
    return lambda client: client.send("GET", path)


_VALUE, _PIXELS = "projects/{project}/value:compute", "projects/{project}/image:computePixels"
_IMAGE = {"functionInvocationValue": {"functionName": "Image.constant", "arguments": {"value": {"constantValue": 1}}}}


def _pixels(**fields: Any) -> dict[str, Any]:
    return {"expression": {"result": "0", "values": {"0": _IMAGE}}, **fields}


_REFUSED: tuple[tuple[str, str, Callable[[ProbeClient], Any], ExpectedResult], ...] = (
    ("unknown-function", "an unknown function", _post(_VALUE, _call("Number.noSuch", left=1)), error()),
    ("unknown-argument", "an unknown argument", _post(_VALUE, _call("Number.add", left=1, right=2, middle=3)), error()),
    ("missing-argument", "a missing argument", _post(_VALUE, _call("Number.add", left=1)), error()),
    ("wrong-argument", "an argument of another type", _post(_VALUE, _call("Number.add", left="a", right=2)), error()),
    ("null-argument", "a null argument",
     _post(_VALUE, _call("Number.add", left=None, right=2)), error()),
    ("missing-reference", "a reference to no value",
     _post(_VALUE, {"expression": {"result": "1", "values": {"0": {"constantValue": 1}}}}), error()),
    ("empty-value", "a value without anything",
     _post(_VALUE, {"expression": {"result": "0", "values": {"0": {}}}}), error("ValueNode is empty")),
    ("no-expression", "a body without an expression", _post(_VALUE, {}), error()),
    ("no-json", "a body that is no JSON", _post(_VALUE, "{nothing"), error()),
    ("unknown-field", "an unknown field", _post(_VALUE, {**_call("Number.add", left=1, right=2), "nothing": 1}),
     error()),
    ("unknown-format", "an unknown format", _post(_PIXELS, _pixels(fileFormat="NOTHING")),
     error("Invalid value at 'file_format'")),
    ("unknown-band", "an unknown band", _post(_PIXELS, _pixels(
        fileFormat="NPY", bandIds=["nothing"], grid={"dimensions": {"width": 1, "height": 1}})), error()),
    ("unbounded-pixels", "pixels of an unbounded image without a grid", _post(_PIXELS, _pixels(fileFormat="NPY")),
     error()),
    ("unknown-crs", "an unknown crs", _post(_PIXELS, _pixels(fileFormat="NPY", grid={
        "dimensions": {"width": 1, "height": 1}, "crsCode": "EPSG:999999",
        "affineTransform": {"scaleX": 1, "scaleY": -1}})), error()),
    ("not-an-image", "pixels of a number",
     _post(_PIXELS, {**_call("Number.add", left=1, right=2), "fileFormat": "NPY"}), error()),
    ("bad-tag", "an invalid workload tag", _post(_VALUE, {**_call("Number.add", left=1, right=2),
                                                          "workloadTag": "No Tag!"}), error()),
    ("unknown-method", "an unknown method of the API", _get("projects/{project}:nothing"), error()),
    ("missing-record", "the record of a missing asset",
     _get("projects/earthengine-public/assets/COPERNICUS/NO_SUCH"), error()),
    ("pixels-of-collection", "getPixels of a collection",
     _post("projects/earthengine-public/assets/USDA/NAIP/DOQQ:getPixels", {"fileFormat": "NPY"}), error()),
    ("unknown-thumbnail", "a thumbnail that nobody has created",
     _get("projects/{project}/thumbnails/0123456789abcdef0123456789abcdef-0123456789abcdef0123456789abcdef:getPixels"),
     error()),
    ("unknown-project", "a project that does not exist",
     _post("projects/eechips-there-is-no-such-project/value:compute", _call("Number.add", left=1, right=2)), OPEN),
)  # fmt: skip


def _compare_algorithms(client: ProbeClient) -> Any:
    """Compare the list of functions with that of the client's own tests."""
    known = _by_name(json.loads(files("ee").joinpath("tests", "algorithms.json").read_text(encoding="utf-8")))
    served = _by_name(client.send("GET", "projects/{project}/algorithms"))
    return {
        "functions": len(served),
        "of the client": len(known),
        "new": sorted(served.keys() - known.keys()),
        "gone": sorted(known.keys() - served.keys()),
        "changed": sorted(name for name in served.keys() & known.keys() if _signature(served[name]) != _signature(
            known[name])),
    }  # fmt: skip


def _by_name(listed: Any) -> dict[str, Any]:
    return {algorithm["name"].removeprefix("algorithms/"): algorithm for algorithm in listed["algorithms"]}


def _signature(function: Any) -> Any:
    """Return what calls depend on: the texts of the documentation change more often."""
    arguments = [
        (
            argument.get("argumentName"),
            argument.get("type"),
            argument.get("optional", False),
            argument.get("defaultValue"),
        )
        for argument in function.get("arguments", ())
    ]
    return function.get("returnType"), arguments


def _read_profile(client: ProbeClient) -> Any:
    text = client.profile(
        lambda ee: ee.Image("USGS/SRTMGL1_003").reduceRegion(
            ee.Reducer.mean(), ee.Geometry.Point([-105.1, 39.9]).buffer(1000), 30
        )
    )
    return {"first column": text.split()[0] if text.split() else "", "text": text}


def _read_config(client: ProbeClient) -> Any:
    """Return the names of the fields of the project's configuration: their values are the project's own."""
    return sorted(client.send("GET", "projects/{project}/config"))


def _page(client: ProbeClient) -> Any:
    """Return what a page of computed features has."""
    ee = client.ee
    rows = ee.FeatureCollection([ee.Feature(ee.Geometry.Point([n, 0]), {"n": n}) for n in range(5)])
    body = {"expression": ee.serializer.encode(rows), "pageSize": 2}
    return client.send("POST", "projects/{project}/table:computeFeatures", body)


def _export(client: ProbeClient) -> Any:
    """Export an image of one pixel as an asset, and delete it; return its states with their seconds."""
    ee = client.ee
    asset = f"projects/{client.project}/assets/eechips_probe_{uuid.uuid4().hex[:12]}"
    region = ee.Geometry.Rectangle([500000, 4399990, 500010, 4400000], "EPSG:32613", False)
    task = ee.batch.Export.image.toAsset(ee.Image(1).toByte(), "eechips_probe", asset, region=region, scale=10,
                                         crs="EPSG:32613")  # fmt: skip
    started, record = time.monotonic(), {}
    states: list[list[Any]] = []
    task.start()
    try:
        while time.monotonic() - started < _EXPORT_SECONDS:
            record = client.send("GET", str(task.name))
            state = record["metadata"]["state"]
            if not states or states[-1][0] != state:
                states.append([state, round(time.monotonic() - started)])
            if state in _DONE:
                break
            time.sleep(_EXPORT_PAUSE)
        else:
            client.send("POST", f"{task.name}:cancel", {})
    finally:
        try:
            client.send("DELETE", asset)
        except (RefusedError, ValueError):
            states.append(["no asset", round(time.monotonic() - started)])
    compute = float(record.get("metadata", {}).get("batchEecuUsageSeconds", 0.0))
    client.count_compute(compute)
    return {"states": states, "eecu_seconds": compute, "fields": sorted(record.get("metadata", {}))}


PROBES = (
    Probe("requests/algorithms", "Is the list of functions that of the client?", "algorithms", _compare_algorithms,
          ANY_VALUE),
    Probe("requests/config", "What has the configuration of the project?", "error-bodies", _read_config, ANY_VALUE),
    Probe("requests/profile", "What has a profile?", "profiles", _read_profile, value({"first column": "EECU·s"}),
          is_replayed=False),
    Probe("requests/page", "What has a page of computed features?", "lists-of-images", _page, ANY_VALUE),
    *(Probe(f"refused/{name}", f"What says {title}?",
            "error-bodies" if expected is OPEN else "unknown-names", ask, expected)
      for name, title, ask, expected in _REFUSED),
    Probe("exports/asset", "Which states has a small export?", "exports", _export, OPEN, needs_consent=True,
          is_replayed=False),
)  # fmt: skip
"""Probes of requests, errors and exports."""
