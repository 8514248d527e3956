"""Lines of a queue by strangers: what they cannot do, and what they decide."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import eechips
from eechips.recipe import unit_id
from local_tests.support.local_earth_engine import Server
from tests.support.programs import run_program
from tests.support.strangers import (
    CODE,
    GEOJSON,
    LINE,
    QUOTA,
    READ,
    REQUEST,
    SECRET,
    SEND,
    SQUARE,
    WRITE,
    WRONG,
    World,
    cell,
)

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads")]


def line(*job: str, **changes: Any) -> str:
    """A line of a queue that nobody has signed."""
    unit = {
        "position": 0,
        "id": "a" * 64,
        "unit": {"kind": "point", "coordinates": [0.5, 0.5]},
        "name": "chips/a",
        "identity": "0" * 64,
    }
    return json.dumps({**unit, "job": list(job), **changes})


def deliver(world: World, why: str, *job: str, **changes: Any) -> None:
    """Deliver a line to a worker and to the join."""
    given = line(*job, **changes)
    for command in ("work", "join"):
        world.refused(why, command, "--units", "-", "--out", "out", given=given)
    assert not (world.at / "out").exists()


NAIP = ("sample", "--dataset", "NAIP", "--total", "1")
MORE = "their command sets more than data"


@cell(LINE, CODE)
def test_a_line_runs_no_code(world: World) -> None:
    deliver(world, MORE, "run", "evil.py")
    deliver(world, MORE, "run", "recipe.py", "-p", "count=1")
    deliver(world, MORE, *NAIP, "--executor", "beam", "--", "--setup_file=evil.py")
    deliver(world, "fetches nothing", "retry", "run", "--trust")
    assert world.eechips("plan", "run", "recipe.py", "--to", "units.jsonl")[0] == 0
    shutil.copy("evil.py", "recipe.py")  # the recipe of a stranger, of the same name
    for command in ("work", "join"):
        world.refused("is not the file with which", command, "--units", "units.jsonl", "--out", "out")


@cell(LINE, READ)
def test_a_line_reads_no_file(world: World) -> None:
    (world.at / "here.geojson").write_text(GEOJSON)
    for path in (str(world.outside.folder / "secret.geojson"), "../outside/secret.geojson", "here.geojson"):
        deliver(world, MORE, *NAIP, "--roi", path)
        deliver(world, MORE, "timeseries", "--dataset", "NAIP", "--regions", path)
    deliver(world, MORE, "sample", "--dataset", "NAIP", "--points", str(world.outside.folder / "secret.csv"))
    deliver(world, MORE, *NAIP, "--local", str(world.outside.folder))


@cell(LINE, WRITE)
def test_a_line_writes_no_file_outside(world: World) -> None:
    place = world.outside.folder
    deliver(world, MORE, *NAIP, "--ledger", str(place / "new"))
    deliver(world, MORE, "scenes", "--stac", "items.parquet", "--ingest", str(place / "new"))
    for name in ("../../outside/new", str(place / "new"), "manifest.sqlite", "a/../../../outside/new"):
        status, said = world.eechips("work", "--units", "-", "--out", "out", given=line(*NAIP, name=name))
        assert status == 2, said


@cell(LINE, SEND, REQUEST)
def test_a_line_sends_no_credentials_and_reaches_no_server(world: World) -> None:
    host = world.listener.url.removeprefix("http://")
    deliver(world, MORE, *NAIP, "--endpoint", world.listener.url, "--send-credentials")
    deliver(world, MORE, *NAIP, "--credentials", str(world.outside.folder / "key.json"))
    deliver(world, MORE, *NAIP, "--project", "theirs")
    deliver(world, MORE, *NAIP, "--export-to", "gs://theirs/x")
    deliver(world, MORE, *NAIP, "--executor", f"dask:tcp://{host}")
    deliver(world, MORE, "scenes", "--stac", world.listener.url, "--auth", "bearer", "--auth-host", host)
    deliver(world, MORE, "scenes", "--stac", world.listener.url, "--auth", "sas", "--token-url", world.listener.url)
    deliver(world, MORE, *NAIP, "--roi", f"{world.listener.url}/region.geojson")


@pytest.mark.exhaustive
@cell(LINE, CODE, SEND, REQUEST)
@pytest.mark.slow
def test_a_worker_process_refuses_what_its_user_may_type(world: World) -> None:
    """The same words send the token if the user types them, and not if they stand in a line."""
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "a", "collection": "c", "links": [],
            "bbox": [0, 0, 1, 1], "geometry": json.loads(SQUARE), "properties": {"datetime": "2020-01-01T00:00:00Z"},
            "assets": {"data": {"href": f"{world.listener.url}/a.tif", "roles": ["data"]}}}  # fmt: skip
    Path("items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    host = world.listener.url.removeprefix("http://").partition(":")[0]
    words = ("scenes", "--stac", "items.json", "--auth", "bearer", "--auth-host", host)
    command = (sys.executable, "-m", "eechips")
    subprocess.run([*command, *words, "--out", "typed", "--retries", "0", "-q"], capture_output=True, check=False)
    assert any(SECRET in each for each in world.seen())
    for job in (words, ("run", "evil.py"), (*NAIP, "--endpoint", world.listener.url, "--send-credentials")):
        worker = [*command, "work", "--units", "-", "--out", "out"]
        ended = run_program(*worker, input=line(*job))
        assert (ended.returncode, MORE in ended.stderr) == (2, True), ended.stderr


ODD_UNITS: tuple[dict[str, Any], ...] = (
    {"kind": "point"},
    {"kind": "call"},
    {"kind": "point", "grid": "../../outside/secret.csv", "coordinates": [[]], "latest": None},
    {"kind": "tile", "grid": {"crs": "/etc/passwd", "transform": [0] * 6, "width": 1e308, "height": -1}},
)


def odd_line(planned: str, number: int, unit: dict[str, Any], *, is_hashed: bool) -> str:
    """Return a line with another unit, and with its id, which anybody can compute, or with an id of nothing."""
    content = json.loads(planned)
    identifier = unit_id(unit, content["identity"]) if is_hashed else f"{number:064x}"
    odd = {"id": identifier, "name": f"odd/{number}", "position": 100 + number, "unit": unit}
    return json.dumps({**content, **odd})


@cell(LINE, QUOTA, WRONG, can=True)
@pytest.mark.slow
def test_a_line_decides_which_data_a_worker_fetches(world: World, demo_server: Server) -> None:
    """With the worker's own service, project and limits; it fills no run of Earth Engine with the demo planet."""
    world.be("them")
    options: dict[str, Any] = {"total": 2, "roi": "-105.1,39.7,-105.0,39.8", "size": 16, "format": "tif"}
    service: dict[str, Any] = {"endpoint": demo_server.url, "project": "local", "executor": "threads"}
    lines = list(eechips.plan("sample", "NAIP", **options, **service))
    world.be("me")
    deliver(world, MORE, *NAIP, "--local")
    deliver(world, MORE, *NAIP, "--in-flight", "1000", "--rate", "none", "--executor", "processes:1000")
    own = ["--endpoint", demo_server.url, "--project", "local", "--executor", "threads", "-q"]
    for is_hashed, expected in ((False, (2, 0)), (True, (1, 1))):  # a unit that is wrong fails by itself
        hostile = [odd_line(lines[0], number, unit, is_hashed=is_hashed) for number, unit in enumerate(ODD_UNITS)]
        given = "\n".join([*hostile, lines[0]])
        status, said = world.eechips("work", "--units", "-", "--out", f"odd-{is_hashed}", *own, given=given)
        assert (status, said.count('"state": "done"')) == expected, said
        assert ("somebody has changed its line" in said) is not is_hashed
    for command in ("work", "join"):
        status, said = world.eechips(command, "--units", "-", "--out", "out", *own, given="\n".join(lines))
        assert status == 0, said
    assert len(list((world.at / "out").rglob("*.tif"))) == 2
