"""What the local Earth Engine takes from the client is there, and what it says of itself is true."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

from eechips_local.cli import main
from eechips_local.evaluation import function_coverage, missing_functions
from eechips_local.evaluation.approximations import approximations
from eechips_local.evaluation.signatures import client_file, load_signatures
from eechips_local.functions import load_functions
from eechips_local.protocol.request_errors import UnknownFunctionError
from eechips_local.protocol.routes.discovery_document import described
from local_tests.support.graphs import call

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "coverage.md"

DROPPED = (
    "earthengine-api no longer carries what the local Earth Engine is built on: keep an older version, or bring the "
    "file along. See packages/eechips-local/eechips_local/evaluation/signatures.py."
)


@pytest.mark.parametrize("name", ["algorithms.json", "cloud_api_discovery_document.json"])
def test_the_client_still_carries_its_protocol(name: str) -> None:
    try:
        content = client_file(name)
    except RuntimeError as error:
        pytest.fail(f"{DROPPED} ({error})")
    assert len(content) > 10_000, DROPPED
    json.loads(content)


def test_a_file_that_the_client_has_not_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"does not carry ee/tests/nothing\.json; install another one"):
        client_file("nothing.json")


def test_the_signatures_are_understood() -> None:
    known = load_signatures()
    assert len(known) > 900, DROPPED
    clip = known["Image.clipToBoundsAndScale"]
    assert [a.name for a in clip.arguments] == ["input", "geometry", "width", "height", "maxDimension", "scale"]
    assert [a.optional for a in clip.arguments] == [False, True, True, True, True, True]
    assert (clip.arguments[2].type, clip.returns) == ("Integer", "Image<unknown bands>")


def test_the_discovery_document_is_brought_up_to_date() -> None:
    document = described("http://127.0.0.1:1234/")
    assert document["rootUrl"] == "http://127.0.0.1:1234/"
    projects = document["resources"]["projects"]
    assert {"filter", "view"} <= projects["resources"]["assets"]["methods"]["listAssets"]["parameters"].keys()
    assert "getConfig" in projects["methods"]
    assert "create" in projects["resources"]["tables"]["methods"]


def test_no_function_is_made_up() -> None:
    assert function_coverage.unknown() == {}


def test_every_function_is_counted_once() -> None:
    classes = function_coverage.coverage()
    assert sum(c.total for c in classes) == len(load_signatures())
    assert [c.name for c in classes] == sorted(c.name for c in classes)
    numbers = next(c for c in classes if c.name == "Number")
    assert "add" in numbers.present
    assert not set(numbers.present) & set(numbers.missing)


def test_the_document_is_up_to_date() -> None:
    if f"`earthengine-api` {version('earthengine-api')}." not in DOCUMENT.read_text(encoding="utf-8"):
        pytest.skip(
            "docs/reference/coverage.md is of another version of earthengine-api, whose list of functions may differ"
        )
    assert DOCUMENT.read_text(encoding="utf-8") == function_coverage.document(function_coverage.coverage()), (
        "docs/reference/coverage.md is out of date: python -m eechips_local.evaluation.function_coverage --write"
    )


def test_the_command_line_prints_the_counts() -> None:
    result = CliRunner().invoke(main, ["serve", "--coverage"])
    assert result.exit_code == 0
    assert result.output == function_coverage.summary(function_coverage.coverage())
    assert result.output.splitlines()[-1].split()[-1] == str(len(load_signatures()))


@pytest.mark.slow
def test_the_module_writes_the_document(tmp_path: Path) -> None:
    target = tmp_path / "coverage.md"
    subprocess.run(
        [sys.executable, "-m", "eechips_local.evaluation.function_coverage", "--write", str(target)], check=True
    )
    assert target.read_text(encoding="utf-8").startswith("# Functions of the local Earth Engine")


def test_values_that_may_differ_are_those_of_functions_that_there_are() -> None:
    assert approximations().keys() <= load_functions().keys()
    page = DOCUMENT.read_text(encoding="utf-8").partition("## Values that may differ")[2]
    assert all(f"| `{name}` |" in page for name in approximations())


def test_what_will_not_come_is_missing_and_its_message_says_why() -> None:
    assert not missing_functions.names() & {*load_functions()}
    if sys.version_info >= (3, 11):  # the client's last release for Python 3.10 lacks some
        assert missing_functions.names() <= {*load_signatures()}
    with pytest.raises(UnknownFunctionError, match=r"function FMask.matchClouds\. Google does not document"):
        call("FMask.matchClouds", input=0)
    page = DOCUMENT.read_text(encoding="utf-8").partition("## What will not come")[2]
    assert all(f"`{name}`" in page for name in missing_functions.names())
