"""The local Earth Engine answers the probes as the service is expected to, but for a list of exceptions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from eechips_local.probes.probe import ProbeOutcome, Verdict
from eechips_local.probes.probe_client import ProbeClient
from eechips_local.probes.probe_run import list_groups, select_probes
from local_tests.support.local_earth_engine import Server

KNOWN = frozenset({"files/png-of-float", "pyramids/odd-image", "reductions/too-many-pixels", "values/object-type-byte"})
"""Probes that the local Earth Engine answers otherwise. The list must shrink."""

QUICK = ("requests", "refused", "bands", "encodings", "values", "types")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "group",
    [
        each if each in QUICK else pytest.param(each, marks=[pytest.mark.slow, pytest.mark.timeout(600)])
        for each in list_groups()
        if each != "exports"
    ],
)
def test_the_local_earth_engine_answers_as_expected(group: str, demo_server: Server) -> None:
    client = ProbeClient(demo_server.url, "my-project")
    try:
        results = {each.name: (each, client.ask(each)) for each in select_probes((group,))}
    finally:
        client.close()
    assert {name: result for name, (_, result) in results.items() if result.outcome is ProbeOutcome.UNANSWERED} == {}
    assert [name for name, (_, result) in results.items() if result.status >= 500] == []
    others = {name for name, (each, found) in results.items() if each.expected.judge(found) is Verdict.CONTRADICTED}
    assert others - KNOWN == set()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_exported_asset_is_deleted_again(serve_briefly: Callable[..., Server], tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    client = ProbeClient(serve_briefly("--export-assets", str(assets)).url, "my-project")
    try:
        (probe,) = select_probes(("exports",), has_consent=True)
        result = client.ask(probe)
    finally:
        client.close()
    assert result.value["states"][-1][0] == "SUCCEEDED"
    assert [path for path in assets.rglob("*") if "eechips_probe" in path.name] == []
