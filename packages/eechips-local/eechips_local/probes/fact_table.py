"""The table of the documentation: which facts a recording of the service has confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eechips_local.probes.probe import Probe, Verdict
from eechips_local.probes.probe_run import PROBES
from eechips_local.probes.results_file import ServiceResults
from eechips_local.probes.statements import FACTS, Fact


@dataclass(frozen=True, slots=True)
class FactRecord:
    """A fact, and what a recording says of it.

    Attributes:
        probes: probes that ask for it.
        contradicted: names of probes with another answer than expected.
        answered: number of probes with an answer.
    """

    fact: Fact
    probes: Sequence[Probe]
    contradicted: tuple[str, ...]
    answered: int

    @property
    def state(self) -> str:
        """In words: not recorded, contradicted, confirmed, or answered where nothing was expected."""
        if not self.answered:
            return "not recorded"
        if self.contradicted:
            return f"**contradicted** by {', '.join(f'`{name}`' for name in self.contradicted)}"
        missing = len(self.probes) - self.answered
        wording = "answered" if all(probe.expected.outcome is None for probe in self.probes) else "confirmed"
        return f"{wording} but for {missing} of {len(self.probes)} probes" if missing else wording


def check_facts(recording: ServiceResults | None) -> list[FactRecord]:
    """Return all facts with what a recording says of them.

    Args:
        recording: answers of the service; None without a recording.
    """
    return [_check(fact, recording) for fact in FACTS]


def judge_results(recording: ServiceResults) -> dict[str, Verdict]:
    """Return the verdict of each probe that has an answer, by name."""
    return {
        probe.name: probe.expected.judge(recording.results[probe.name])
        for probe in PROBES
        if probe.name in recording.results
    }


def _check(fact: Fact, recording: ServiceResults | None) -> FactRecord:
    probes = [probe for probe in PROBES if probe.fact == fact.key]
    verdicts = {} if recording is None else judge_results(recording)
    mine = {probe.name: verdicts.get(probe.name, Verdict.UNANSWERED) for probe in probes}
    return FactRecord(
        fact,
        probes,
        tuple(name for name, verdict in mine.items() if verdict is Verdict.CONTRADICTED),
        sum(verdict is not Verdict.UNANSWERED for verdict in mine.values()),
    )
