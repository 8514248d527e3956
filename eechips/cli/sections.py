"""Help in sections: options of a command under headings, so that many of them stay readable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click


class Sectioned(click.Command):
    """A command whose help lists its options under headings.

    Attributes:
        sections: names of parameters by heading, in order; the others come last.
        rest: heading of the others.
    """

    sections: Mapping[str, Sequence[str]]
    rest: str = "Options of the run"

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, section by section."""
        records = {p.name: record for p in self.get_params(ctx) if (record := p.get_help_record(ctx)) is not None}
        for title, names in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([records.pop(name) for name in names])
        with formatter.section(self.rest):
            formatter.write_dl(list(records.values()))


def sectioned(sections: Mapping[str, Sequence[str]]) -> type[Sectioned]:
    """A class of commands with such sections: names of parameters by heading."""
    return type("SectionedCommand", (Sectioned,), {"sections": sections})
