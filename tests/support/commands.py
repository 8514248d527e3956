"""Commands of eechips, run in the process of the test."""

from __future__ import annotations

from click.testing import CliRunner, Result

from eechips.cli import main


def run_command(*words: object, status: int | None = None, given: str | None = None) -> Result:
    """Run a command; an error that it does not handle is raised.

    Args:
        words: what is typed after ``eechips``.
        status: exit status that the command must have; None for any.
        given: lines that its user types.
    """
    done = CliRunner().invoke(main, [str(word) for word in words], input=given, catch_exceptions=False)
    assert status is None or done.exit_code == status, done.output
    return done
