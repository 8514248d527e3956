"""Many calls of the real client, and runs, are recorded, replayed without the service, and compared."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from local_tests.support.command_server import serving_command
from local_tests.support.local_earth_engine import initialize, start_server, stop_server
from tests.docs.pages import DOCS
from tests.support.client_suite import Results, call_client, run_commands
from tests.support.programs import run_program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Recorded:
    """A recording, and the results of the client while it was recorded."""

    folder: Path
    calls: Results
    files: Results


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Record all calls; the service is stopped then."""
    folder = tmp_path_factory.mktemp("suite")
    service = start_server("--rate", "none", "--concurrency", "none", "--workers", "2")
    try:
        with serving_command("record", folder / "recording", "--upstream", service.url) as recorder:
            calls = call_client(initialize(recorder))
            files = run_commands(recorder.url, folder / "runs")
    finally:
        stop_server(service)
    return Recorded(folder / "recording", calls, files)


def compare(folder: Path) -> tuple[int, dict[str, Any]]:
    """Return the exit status of a comparison, and its JSON."""
    command = [sys.executable, "-m", "eechips_local", "compare", str(folder), "--json"]
    result = run_program(*command)
    assert result.stdout, result.stderr
    return result.returncode, json.loads(result.stdout)


@pytest.mark.exhaustive
def test_everything_is_replayed_without_the_service(recorded: Recorded, tmp_path: Path) -> None:
    with serving_command("replay", recorded.folder) as replay:
        assert call_client(initialize(replay)) == recorded.calls
        assert run_commands(replay.url, tmp_path) == recorded.files
    assert len(recorded.files) >= 8


def run_tests(*arguments: str | Path) -> tuple[dict[str, int], str]:
    """Run some tests of shared servers; return how many passed, were skipped and so on, and the output."""
    files = [
        f"packages/eechips-local/local_tests/{name}.py"
        for name in ("protocol/test_rest", "served/test_served_regions", "functions/test_image_geotiff")
    ]
    # The options are those of tests/conftest.py, which is not above the files.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest"]
    words = [*command, *map(str, arguments), *files]
    result = run_program(*words, cwd=DOCS.parent)
    last = result.stdout.strip().rpartition("\n")[2]
    return {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", last.partition(" in ")[0])}, result.stdout


@pytest.mark.exhaustive
@pytest.mark.usefixtures("real_data")  # tests that skip without them are not recorded
def test_tests_of_shared_servers_are_recorded_and_replayed(tmp_path: Path) -> None:
    recorded, output = run_tests("--record", tmp_path / "out")
    # A recorder may answer what it does not record in other words: such a test fails as expected.
    assert recorded.keys() - {"deselected"} == {"passed", "xfailed"}, output
    described = [
        found
        for path in sorted((tmp_path / "out/tests").rglob("*.json"))
        for found in json.loads(path.read_text(encoding="utf-8")).values()
    ]
    assert len(described) == recorded["passed"] + recorded["xfailed"]
    replayed, output = run_tests("--replay", tmp_path / "out")
    assert replayed["passed"] == sum(not found["reasons"] for found in described), output
    assert replayed["passed"] > 40
    assert replayed["skipped"] == sum(bool(found["reasons"]) for found in described)
    reasons = {reason for found in described for reason in found["reasons"]}
    assert {"sends what is not recorded: PATCH assets", "sends what is not recorded: GET value:compute"} <= reasons
    shutil.rmtree(tmp_path / "out/tests")
    (tmp_path / "out/tests").mkdir()
    forgotten, output = run_tests("--replay", tmp_path / "out")
    assert forgotten.keys() - {"deselected"} == {"skipped"}
    assert "not replayed: is not recorded" in output


@pytest.mark.exhaustive
def test_a_comparison_with_the_recorded_service_finds_nothing(recorded: Recorded) -> None:
    status, found = compare(recorded.folder)
    assert found["differences"] == []
    assert found["compared"] > 40
    assert found["not_compared"].keys() == {"algorithms", "discovery", "maps", "tables", "thumbnails"}
    assert not any(each["different"] for each in found["functions"])
    assert status == 0


@pytest.mark.exhaustive
def test_a_comparison_finds_planted_deviations_and_nothing_else(recorded: Recorded, tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    shutil.copytree(recorded.folder, folder)
    value = edit(folder, "value-compute", "Reducer.stdDev", lambda response: change_number(response["json"]["result"]))
    feature = edit(folder, "table-computeFeatures", "Feature.select", change_name)
    pixels = edit(folder, "image-computePixels", "Terrain.slope", lambda response: change_pixel(folder, response))
    status, found = compare(folder)
    assert status == 1
    by_path = {each["path"]: each for each in found["differences"]}
    assert by_path.keys() == {value, feature, pixels}
    assert by_path[value]["where"] == "result.elevation_mean"
    assert by_path[feature]["where"] == "features[0].properties.ADM2_NAME"
    assert by_path[pixels]["where"].startswith("band slope: 1 of 192 values, first at [3, 5]")
    counts = {each["function"]: (each["requests"], each["different"]) for each in found["functions"]}
    assert counts["Terrain.slope"] == (2, 1)
    assert counts["Reducer.stdDev"] == (1, 1)
    assert counts["AggregateFeatureCollection.stats"] == (1, 0)
    for function, (_, different) in counts.items():
        assert different == sum(function in each["functions"] for each in found["differences"])


def edit(folder: Path, operation: str, function: str, change: Callable[[Any], Any]) -> str:
    """Change the response of the first request of an operation that uses a function; return the path of its file."""
    for path in sorted((folder / operation).glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if f'"{function}"' in json.dumps(content["request"]) and change(content["response"]) is not SKIPPED:
            path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            return path.relative_to(folder).as_posix()
    raise AssertionError(f"no {operation} with {function} is recorded")


SKIPPED = object()


def change_number(values: dict[str, float]) -> None:
    """Change one number by a hundred thousandth of its value, which is more than the tolerance."""
    values["elevation_mean"] *= 1.00001


def change_name(response: dict[str, Any]) -> Any:
    """Change the name of the first county of a page; pages without names are skipped."""
    properties = response["json"]["features"][0]["properties"]
    if "ADM2_NAME" not in properties:
        return SKIPPED
    properties["ADM2_NAME"] += "!"
    return None


def change_pixel(folder: Path, response: dict[str, Any]) -> Any:
    """Change one pixel of a response in NumPy's format, in a payload of its own; others are skipped."""
    before = folder / "payloads" / response["payload"]
    if before.suffix != ".npy":
        return SKIPPED
    pixels = np.load(before)
    pixels["slope"][3, 5] += 0.5
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    response["payload"] = f"{hashlib.sha256(buffer.getvalue()).hexdigest()}.npy"
    (folder / "payloads" / response["payload"]).write_bytes(buffer.getvalue())
    return None
