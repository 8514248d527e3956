"""Count the functions of Earth Engine that the local one has: ``python -m eechips_local.evaluation.function_coverage``.

The list of functions is that of the installed client (``ee/tests/algorithms.json``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from eechips_local.evaluation.approximations import approximations
from eechips_local.evaluation.missing_functions import reason_of
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.functions import load_functions


@dataclass(frozen=True, slots=True)
class ClassCoverage:
    """The functions of one class ("Image", "List", …).

    Attributes:
        present: names of the functions that there are, in order.
        missing: names of those that there are not.
    """

    name: str
    present: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def total(self) -> int:
        """Number of Earth Engine's functions."""
        return len(self.present) + len(self.missing)


def coverage() -> Sequence[ClassCoverage]:
    """Return the coverage of each class, in the order of their names."""
    classes: dict[str, tuple[list[str], list[str]]] = {}
    for name in sorted(load_signatures()):
        # Constructors ("Date") stand with the methods of their class ("Date.format").
        owner, dot, method = name.partition(".")
        present, missing = classes.setdefault(owner, ([], []))
        (present if name in load_functions() else missing).append(method if dot else owner)
    return [ClassCoverage(name, tuple(p), tuple(m)) for name, (p, m) in sorted(classes.items())]


def summary(classes: Sequence[ClassCoverage]) -> str:
    """Return a table of counts as plain text."""
    present, total = sum(len(c.present) for c in classes), sum(c.total for c in classes)
    rows = [(c.name, len(c.present), c.total) for c in classes]
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{name:{width}}  {have:4d} of {of:4d}" for name, have, of in (*rows, ("all", present, total))]
    return "\n".join(lines) + "\n"


_HEAD = """# Functions of the local Earth Engine

The local Earth Engine has {present} of {total} functions. The list of functions is that of
`earthengine-api` {client}. A function that is missing is refused with HTTP 400 and a message that names it.

| class | functions | of | missing |
|---|---:|---:|---|
"""


def document(classes: Sequence[ClassCoverage]) -> str:
    """Return the table as Markdown, with the names of what is missing."""
    present, total = sum(len(c.present) for c in classes), sum(c.total for c in classes)
    rows = [
        f"| {c.name} | {len(c.present)} | {c.total} | {', '.join(f'`{name}`' for name in c.missing)} |" for c in classes
    ]
    head = _HEAD.format(client=version("earthengine-api"), present=present, total=total)
    noted = [f"| `{name}` | {note} |" for name, note in sorted(approximations().items())]
    parts = (head, "\n".join(rows), _APPROXIMATIONS, "\n".join(noted), _REASONS, "\n".join(_reasons()))
    return "".join(part if part.endswith("\n") else part + "\n" for part in parts)


_APPROXIMATIONS = """
## Values that may differ

Google's reference does not say everything about these functions. Values may differ from those of Earth Engine in what
the table names.

| function | what is not documented, and what the local Earth Engine does |
|---|---|
"""

_REASONS = """
## What will not come

The message of these functions says why they are missing.

| reason | functions |
|---|---|
"""


def _reasons() -> list[str]:
    """Return a row for each reason, with the functions that are missing for it."""
    missing = {name for name in load_signatures() if name not in load_functions()}
    by_reason: dict[str, list[str]] = {}
    for name in sorted(missing):
        if (reason := reason_of(name)) is not None:
            by_reason.setdefault(reason, []).append(f"`{name}`")
    return [f"| {reason} | {', '.join(names)} |" for reason, names in sorted(by_reason.items())]


def unknown() -> Mapping[str, str]:
    """Return functions that the local Earth Engine has and the installed client does not list, by the module they are
    in.
    """
    return {name: entry.call.__module__ for name, entry in load_functions().items() if name not in load_signatures()}


def main() -> None:
    """Print the counts, or writes the document."""
    parser = argparse.ArgumentParser(prog="python -m eechips_local.evaluation.function_coverage", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", nargs="?", const=Path("docs/reference/coverage.md"))
    target = parser.parse_args().write
    classes = coverage()
    if target is None:
        sys.stdout.write(summary(classes))
    else:
        target.write_text(document(classes), encoding="utf-8")


if __name__ == "__main__":
    main()
