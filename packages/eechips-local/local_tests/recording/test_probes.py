"""Probes are entries that name what they ask, and expectations judge results."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from eechips_local.probes.fact_table import check_facts
from eechips_local.probes.probe import ANY_VALUE, OPEN, ExpectedResult, ProbeOutcome, ProbeResult, Verdict, error, value
from eechips_local.probes.probe_run import PROBES, list_groups, select_probes
from eechips_local.probes.results_file import RESULTS, ServiceResults, read_results
from eechips_local.probes.statements import FACTS
from eechips_local.recording.recording_folder import RecordingError


def test_names_are_unique_and_have_a_group() -> None:
    counts = Counter(each.name for each in PROBES)
    assert [name for name, count in counts.items() if count > 1] == []
    assert [each.name for each in PROBES if not re.fullmatch(r"[a-z]+/[a-z0-9-]+", each.name)] == []


def test_each_probe_settles_a_fact_and_each_fact_has_a_probe() -> None:
    keys = [each.key for each in FACTS]
    assert len(keys) == len(set(keys))
    assert {each.fact for each in PROBES} == set(keys)


def test_questions_are_questions_and_patterns_compile() -> None:
    assert [each.name for each in PROBES if not each.question.endswith("?")] == []
    for each in PROBES:
        re.compile(each.expected.pattern)


def test_what_is_known_has_a_source() -> None:
    assert [each.key for each in FACTS if each.certainty in ("documented", "tested") and not each.source] == []


def test_what_writes_to_the_project_is_asked_with_consent_only() -> None:
    writing = {each.name for each in PROBES if each.needs_consent}
    assert writing == {"exports/asset"}
    assert writing.isdisjoint(each.name for each in select_probes())
    assert {each.name for each in select_probes(("exports",), has_consent=True)} == writing


@pytest.mark.parametrize(
    ("expected", "found", "verdict"),
    [
        (value({"a": 1}), ProbeResult(ProbeOutcome.VALUE, value={"a": 1.0000001, "b": 2}), Verdict.CONFIRMED),
        (value({"a": 1}), ProbeResult(ProbeOutcome.VALUE, value={"a": 1.1}), Verdict.CONTRADICTED),
        (value({"a": 1}), ProbeResult(ProbeOutcome.VALUE, value={"b": 1}), Verdict.CONTRADICTED),
        (value([1, 2]), ProbeResult(ProbeOutcome.VALUE, value=[1, 2, 3]), Verdict.CONTRADICTED),
        (value(1), ProbeResult(ProbeOutcome.VALUE, value=True), Verdict.CONTRADICTED),
        (value(True), ProbeResult(ProbeOutcome.VALUE, value=1), Verdict.CONTRADICTED),
        (value(1), ProbeResult(ProbeOutcome.ERROR, message="1"), Verdict.CONTRADICTED),
        (error("must be"), ProbeResult(ProbeOutcome.ERROR, message="It must be so."), Verdict.CONFIRMED),
        (error("must be"), ProbeResult(ProbeOutcome.ERROR, message="Too many requests."), Verdict.CONTRADICTED),
        (error(), ProbeResult(ProbeOutcome.VALUE), Verdict.CONTRADICTED),
        (ANY_VALUE, ProbeResult(ProbeOutcome.VALUE), Verdict.CONFIRMED),
        (OPEN, ProbeResult(ProbeOutcome.ERROR, message="x"), Verdict.ANSWERED),
        (ANY_VALUE, ProbeResult(ProbeOutcome.UNANSWERED), Verdict.UNANSWERED),
    ],
)
def test_an_expectation_judges_a_result(expected: ExpectedResult, found: ProbeResult, verdict: Verdict) -> None:
    assert expected.judge(found) is verdict


def test_facts_are_confirmed_by_all_of_their_probes() -> None:
    assert {each.state for each in check_facts(None)} == {"not recorded"}
    found = ServiceResults("service", "2026-11-23")
    refused = ProbeResult(ProbeOutcome.ERROR, 400, message="Expected a homogeneous image collection, but …")
    found.results["types/band-order"] = refused
    found.results["types/constant-first"] = refused
    found.results["types/constant-last"] = refused
    states = {each.fact.key: each.state for each in check_facts(found)}
    assert states["band-order"] == "confirmed"
    assert states["constant-first"] == "confirmed but for 1 of 2 probes"
    assert states["constant-last"] == "**contradicted** by `types/constant-last`"
    assert states["fits-inside"] == "not recorded"


def test_results_are_written_without_what_is_hidden_and_read_again(tmp_path: Path) -> None:
    found = ServiceResults("service", "2026-11-23")
    found.results["a/b"] = ProbeResult(ProbeOutcome.VALUE, 200, {"my-project": ["my-project", 1]}, "", 1, 20, 0.5, 0.25)
    found.save(tmp_path, lambda text: text.replace("my-project", "{project}"))
    text = (tmp_path / RESULTS).read_text()
    assert "my-project" not in text
    read = read_results(text)
    assert read.results["a/b"].value == {"{project}": ["{project}", 1]}
    assert read.eecu_seconds == 0.25


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"service_results": 2}', '{"service_results": 1, "results": 1}'])
def test_other_files_are_no_results(text: str) -> None:
    with pytest.raises(RecordingError, match="results\\.json"):
        read_results(text)


@pytest.mark.parametrize(
    ("service", "is_of_google"),
    [("earthengine-highvolume.googleapis.com", True), ("127.0.0.1", False), ("googleapis.com.example.org", False)],
)
def test_a_recording_of_a_local_earth_engine_is_not_one_of_the_service(service: str, is_of_google: bool) -> None:
    assert ServiceResults(service, "2026-11-23").is_of_google == is_of_google


def test_compute_that_is_not_reported_counts_as_elapsed_time() -> None:
    found = ServiceResults("service", "2026-11-23")
    found.results["a/b"] = ProbeResult(ProbeOutcome.VALUE, seconds=2.5)
    assert found.eecu_seconds == 2.5


def test_groups_are_in_the_order_of_the_probes() -> None:
    assert list_groups()[0] == "requests"
    assert list_groups()[-1] == "assets"
