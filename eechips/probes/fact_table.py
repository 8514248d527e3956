"""The table of the documentation: which facts a recording of the service has confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eechips.probes.all_probes import PROBES
from eechips.probes.probe import Probe, Verdict
from eechips.probes.results_file import ServiceResults
from eechips.probes.statements import FACTS, Fact


@dataclass(frozen=True, slots=True)
class FactRecord:
    """A fact, and what a recording says of it.

    Attributes:
        fact: the fact.
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
        found = "answered" if all(each.expected.outcome is None for each in self.probes) else "confirmed"
        return f"{found} but for {missing} of {len(self.probes)} probes" if missing else found


def check_facts(found: ServiceResults | None) -> list[FactRecord]:
    """Return all facts with what a recording says of them.

    Args:
        found: answers of the service; None without a recording.
    """
    return [_check(fact, found) for fact in FACTS]


def judge_results(found: ServiceResults) -> dict[str, Verdict]:
    """Return the verdict of each probe that has an answer, by name."""
    return {each.name: each.expected.judge(found.results[each.name]) for each in PROBES if each.name in found.results}


def _check(fact: Fact, found: ServiceResults | None) -> FactRecord:
    probes = [each for each in PROBES if each.fact == fact.key]
    verdicts = {} if found is None else judge_results(found)
    mine = {each.name: verdicts.get(each.name, Verdict.UNANSWERED) for each in probes}
    return FactRecord(
        fact,
        probes,
        tuple(name for name, verdict in mine.items() if verdict is Verdict.CONTRADICTED),
        sum(verdict is not Verdict.UNANSWERED for verdict in mine.values()),
    )
