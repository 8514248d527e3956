"""Write the names of parameters in texts as the options that are typed for them."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Sequence

import click

from eechips.text.library_log import LineFormatter

_QUOTED = re.compile(r"`([a-z]\w*)`")
_WITH_VALUE = re.compile(r"(?<![\w-])([a-z]\w*)='([^']*)'")
_SUBJECT = re.compile(r"^([a-z]\w*)(?=(?: (?:must|needs|excludes|is|makes|takes|and) | '|:))")
_UNDERSCORED = re.compile(r"(?<![\w/.-])[a-z]+(?:_[a-z]+)+(?![\w/.])")


def option_names(text: str) -> str:
    """Return a help text with the names of options, in backquotes, as they are typed."""
    return _QUOTED.sub(lambda match: f"--{match[1].replace('_', '-')}", text).replace("`", "")


class OptionFormatter(LineFormatter):
    """Write the names of parameters, in backquotes, as the options that are typed for them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return option_names(super().format(record))


def as_typed(text: str, parameters: Sequence[click.Parameter]) -> str:
    """Return a message with the names of parameters as the options that are typed for them.

    Names are recognised in backquotes, with a value (``executor='beam'``), with an underscore (``per_class``), and as
    the subject of the message ("scale must be above 0").
    """
    options = {p.name: max(p.opts, key=len) for p in parameters if isinstance(p, click.Option)}
    text = _QUOTED.sub(lambda match: options.get(match[1], f"--{match[1].replace('_', '-')}"), text)
    text = _WITH_VALUE.sub(
        lambda match: f"{options[match[1]]} {_typed(match[2])}" if match[1] in options else match[0], text
    )
    text = _SUBJECT.sub(lambda match: options.get(match[1], match[1]), text)
    return _UNDERSCORED.sub(lambda match: options.get(match[0], match[0]), text)


def _typed(value: str) -> str:
    """Return a value as it is typed in a shell."""
    return shlex.quote(value) if " " in value else value
