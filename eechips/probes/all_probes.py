"""All probes, in the order in which they are asked: what costs least first."""

from __future__ import annotations

from eechips.probes import (
    command_probes,
    dataset_probes,
    file_probes,
    region_probes,
    request_probes,
    type_probes,
    value_probes,
)
from eechips.probes.probe import Probe

PROBES: tuple[Probe, ...] = (
    *request_probes.PROBES,
    *value_probes.PROBES,
    *type_probes.PROBES,
    *file_probes.PROBES,
    *region_probes.PROBES,
    *dataset_probes.PROBES,
    *command_probes.PROBES,
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
