"""Help in sections: nothing is left out, nothing comes twice."""

from __future__ import annotations

import re

from click.testing import CliRunner

from eechips.cli.sample import SECTIONS, command


def test_every_option_stands_in_one_section() -> None:
    text = CliRunner().invoke(command, ["--help"], terminal_width=100).output
    names = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    for name in names:
        assert len(re.findall(rf"^  (-\w, )?{name}\b(?!-)", text, re.MULTILINE)) == 1, name
    known = {parameter.name for parameter in command.params}
    listed = [name for section in SECTIONS.values() for name in section]
    assert set(listed) <= known
    assert len(set(listed)) == len(listed)
    titles = re.findall(r"^(\w.*):$", text, re.MULTILINE)
    assert titles == [*SECTIONS, "Options of the run"]
