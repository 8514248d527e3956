"""Commands on a terminal, where a person answers their questions."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run_on_terminal(command: Sequence[str], *, cwd: Path, question: str, answer: str) -> tuple[int, str]:
    """Return the exit status and the output of a program on a terminal.

    Args:
        command: the program and its arguments.
        cwd: folder of the program.
        question: end of a question that the program asks.
        answer: typed after each question, with its line feed.
    """
    asked, answered = question.encode(), 0
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
                while shown.count(asked) > answered:
                    os.write(ours, answer.encode())
                    answered += 1
        except OSError:  # how Linux says that the other end is closed
            pass
        finally:
            os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def answer_question(answer: str, *arguments: str, cwd: Path, question: str = "Continue?") -> str:
    """Return the output of a command on a terminal where its question is answered.

    Args:
        answer: typed, with its line feed.
        arguments: arguments of eechips.
        cwd: folder of the command.
        question: question that the command asks, once.
    """
    asked = f"{question} [y/N]"
    command = [sys.executable, "-m", "eechips", *arguments]
    status, shown = run_on_terminal(command, cwd=cwd, question=asked, answer=answer)
    assert status == 0
    assert shown.count(asked) == 1
    return shown
