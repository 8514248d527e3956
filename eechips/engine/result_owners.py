"""Decide which unit of which plan a result belongs to.

Names do not decide it: other plans have the same names. A result belongs to a unit if an outcome of that unit, in that
plan, has its name and its SHA-256.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eechips.engine.reported_outcomes import ReportedFile, ReportedOutcome
from eechips.engine.resumed_options import differences, plan_identity
from eechips.manifest.ledger_queries import RecordedResult

_SHOWN = 3  # differences of two plans
_DIGITS = 16  # of an id or a digest


@dataclass(frozen=True, slots=True)
class _Owner:
    """The unit whose outcome has a content."""

    unit: str
    plan: str


def describe_change(result: RecordedResult, size: int | None, sha256: str | None) -> str:
    """Return the sentence that says why a file is not the one that a run has recorded.

    Args:
        result: as recorded.
        size: size of the file, in bytes; None if there is none.
        sha256: SHA-256 digest of its content, hexadecimal; None if it was not read.
    """
    short = result.unit[:_DIGITS]
    if size is None:
        return f"{result.name} of unit {short} is gone since this run wrote it: the unit is fetched again"
    other = f"{size:,} bytes, not {result.size:,}"
    if sha256 is not None:
        other = f"sha256 {sha256[:_DIGITS]}, not {(result.sha256 or '')[:_DIGITS]}"
    return (
        f"{result.name} is not what this run wrote for unit {short} ({other}), so it was changed or belongs to another"
        " run: the unit is fetched again, and the file replaced"
    )


class ResultOwners:
    """Outcomes of the units of a plan, and of others whose results may be in the same place.

    Args:
        described: identifies the run of the plan; see :func:`eechips.engine.resumed_options.describe`.
        outcomes: outcomes that workers have reported, of any plan.
        plans: what identifies each plan, by its identity; may lack some.
    """

    def __init__(
        self,
        described: Mapping[str, Any],
        outcomes: Iterable[ReportedOutcome],
        plans: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._described, self._plan, self._plans = described, plan_identity(described), plans
        self._own: dict[str, list[ReportedOutcome]] = {}
        self._failed: dict[str, str] = {}
        self._others: list[ReportedOutcome] = []
        for outcome in outcomes:
            state = outcome.record.state
            if outcome.plan != self._plan:
                self._others.append(outcome)
            elif state.has_result:
                known = self._own.setdefault(outcome.unit, [])
                if outcome not in known:
                    known.append(outcome)
            elif state.is_failure:
                self._failed[outcome.unit] = outcome.record.error or state.value

    def outcomes_of(self, unit: str) -> Sequence[ReportedOutcome]:
        """Return the outcomes of a unit of the plan that have a result, the latest first."""
        return self._own.get(unit, ())[::-1]

    def failures(self) -> dict[str, str]:
        """Return the errors of units of the plan without a result, by id."""
        return {unit: error for unit, error in self._failed.items() if unit not in self._own}

    def refusal(self, unit: str, file: str, sha256: str | None, reported: ReportedFile | None = None) -> str:
        """Return the sentence that says why a file is not the result of a unit.

        Args:
            unit: id of the unit.
            file: path of the file, which has the name of the unit's result.
            sha256: SHA-256 digest of its content, hexadecimal; None if there is no file.
            reported: what the unit's worker has reported of the file; None if no outcome is known.
        """
        short = unit[:_DIGITS]
        if sha256 is None:
            return f"{file} of unit {short} is gone since its worker wrote it: fetch the unit again"
        owner = self._contents.get(sha256) or (None if reported is not None else self._unknown_plans.get(file))
        if owner is None and reported is None:
            return (
                f"{file} is not taken for unit {short}, as no outcome says which unit and plan it belongs to: fetch the"
                " unit again, or give the outcomes of its worker"
            )
        if owner is None:
            return (
                f"{file} is not what the worker of unit {short} made: its sha256 is another ({sha256[:_DIGITS]},"
                f" not {reported.sha256[:_DIGITS] if reported is not None else 'known'}): fetch the unit again"
            )
        if owner.plan == self._plan:
            return f"{file} is the result of unit {owner.unit[:_DIGITS]}, not of unit {short}: fetch the unit again"
        return (
            f"{file} belongs to unit {owner.unit[:_DIGITS]} of another plan{self._difference(owner.plan)}, not to unit"
            f" {short}: fetch the unit again, or join the other plan with its own lines and `out`"
        )

    @cached_property
    def _contents(self) -> dict[str, _Owner]:
        """The unit that each content is the result of, by SHA-256; made when the first result is refused."""
        own = (outcome for outcomes in self._own.values() for outcome in outcomes)
        return {
            file.sha256: _Owner(outcome.unit, outcome.plan)
            for outcomes in (self._others, own)
            for outcome in outcomes
            for file in outcome.files
        }

    @cached_property
    def _unknown_plans(self) -> dict[str, _Owner]:
        """The units of other plans whose results have each name, by path."""
        return {file.name: _Owner(outcome.unit, outcome.plan) for outcome in self._others for file in outcome.files}

    def _difference(self, plan: str) -> str:
        if not plan:
            return ", which its outcome does not name"
        known = self._plans.get(plan)
        wanted = {name: self._described[name] for name in ("recipe", "identity", "parameters", "source")}
        mismatches = [] if known is None else list(differences(known, wanted))
        return f" ({'; '.join(mismatches[:_SHOWN])})" if mismatches else ""
