"""Ask all probes, what costs least first, within a bound of compute; resume a run that was stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from eechips_local.probes import dataset_probes, file_probes, region_probes, request_probes, type_probes, value_probes
from eechips_local.probes.probe import Probe, ProbeOutcome, ProbeResult
from eechips_local.probes.probe_client import ProbeClient
from eechips_local.probes.results_file import ServiceResults

PROBES: tuple[Probe, ...] = (
    *request_probes.PROBES,
    *value_probes.PROBES,
    *type_probes.PROBES,
    *file_probes.PROBES,
    *region_probes.PROBES,
    *dataset_probes.PROBES,
)
"""All probes. To add one, write an entry in the module of its subject."""


def select_probes(groups: tuple[str, ...] = (), *, has_consent: bool = False) -> list[Probe]:
    """Return the probes of some groups, or all.

    Args:
        groups: parts of names before the slash; empty for all.
        has_consent: whether those are included that write to the user's project.
    """
    return [
        probe
        for probe in PROBES
        if (not groups or probe.name.partition("/")[0] in groups) and (has_consent or not probe.needs_consent)
    ]


def list_groups() -> list[str]:
    """Return the groups of the probes, in their order."""
    return list(dict.fromkeys(probe.name.partition("/")[0] for probe in PROBES))


MOST_EECU_SECONDS = 360.0
"""Bound of a recording: a tenth of an EECU-hour, 1/1,500 of the month of the smallest tier."""

PROBE_EECU_SECONDS = 36.0
"""No probe is asked of which so much is not left."""

Report = Callable[[Probe, ProbeResult], None]


def ask_probes(
    client: ProbeClient,
    probes: Sequence[Probe],
    recording: ServiceResults,
    folder: Path,
    hide: Callable[[str], str],
    report: Report,
) -> bool:
    """Ask the probes that have no answer yet, and keep each answer as soon as it is there.

    Args:
        client: client that sends the requests.
        probes: in the order in which they are asked.
        recording: answers so far; new ones are added.
        folder: folder of the recording.
        hide: returns a text without what belongs to the user.
        report: called with each new answer.

    Returns:
        Whether all were asked; False if the bound of compute was reached.

    Raises:
        RefusedAccountError: if the service refuses the account or the project.
    """
    for probe in probes:
        known = recording.results.get(probe.name)
        if known is not None and known.outcome is not ProbeOutcome.UNANSWERED:
            continue
        if recording.eecu_seconds + PROBE_EECU_SECONDS > MOST_EECU_SECONDS:
            return False
        answer = client.ask(probe)
        recording.results[probe.name] = answer
        recording.save(folder, hide)
        report(probe, answer)
    return True
