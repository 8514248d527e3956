"""Recordings of the service that ``eechips-local record-service`` has packed, asked again."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from eechips_local.probes.probe import Probe, ProbeOutcome
from eechips_local.probes.probe_client import ProbeClient
from eechips_local.probes.probe_run import PROBES
from eechips_local.probes.results_file import RESULTS, ServiceResults, read_results
from local_tests.support.command_server import serving_command

PROJECT = "project-of-the-reader"


def is_service_recording(path: Path) -> bool:
    """Return whether a path is a recording of ``eechips-local record-service``, not one of tests."""
    return path.is_file() or (path / RESULTS).is_file()


def read_archive(path: Path) -> ServiceResults:
    """Return the results in the archive, or the folder, of a recording."""
    if path.is_dir():
        return read_results((path / RESULTS).read_text(encoding="utf-8"))
    with zipfile.ZipFile(path) as archive:
        return read_results(archive.read(RESULTS).decode())


def list_replayed(found: ServiceResults) -> list[Probe]:
    """Return the probes whose requests a recording has."""
    answered = {name for name, each in found.results.items() if each.outcome is not ProbeOutcome.UNANSWERED}
    return [each for each in PROBES if each.name in answered and each.is_replayed]


@contextmanager
def replayed(path: Path) -> Iterator[ProbeClient]:
    """Replay a recording, of an archive or a folder, for the duration of the block, to a client of another user."""
    with serving_command("replay", path) as server:
        client = ProbeClient(server.url, PROJECT)
        try:
            yield client
        finally:
            client.close()


def find_differences(client: ProbeClient, found: ServiceResults, probes: Iterable[Probe]) -> dict[str, object]:
    """Ask probes again; return results that differ from those of a recording, by the names of the probes."""
    differing: dict[str, object] = {}
    for probe in probes:
        result, recorded = client.ask(probe), found.results[probe.name]
        if (result.outcome, result.value) != (recorded.outcome, recorded.value):
            differing[probe.name] = (result, recorded)
    return differing
