"""Decide which commands from a queue are executed without confirmation."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from eechips.errors import UsageError
from eechips.manifest.run_signature import is_own_job

_EXECUTE_CODE = frozenset({"run"})
_OPTIONS = frozenset({"--endpoint", "--send-credentials", "--credentials", "--scheduler", "--"})
"""``--`` starts options of Beam, which name files to execute."""

trust_option = click.option(
    "--trust", is_flag=True, help="Execute the commands of the lines even if somebody else planned them."
)


def check_job(words: Sequence[str], signature: str | None) -> None:
    """Refuse a command of somebody else that executes code, or names an endpoint or credentials.

    Args:
        words: of the command, from the verb on.
        signature: of the line that names it.

    Raises:
        UsageError: if the command is refused.
    """
    named = sorted({word.partition("=")[0] for word in words} & _OPTIONS)
    if (words[0] not in _EXECUTE_CODE and not named) or is_own_job(words, signature):
        return
    what = f"names {named[0]}" if named else "executes code"
    raise UsageError(
        f"somebody else, or another machine, planned these units with a command that {what}: eechips"
        f" {shlex.join(words)}. Give --trust to execute it"
    )
