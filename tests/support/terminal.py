"""Commands on a terminal, where a person answers their question."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path


def answer_question(answer: str, *arguments: str, cwd: Path, question: str = "Continue?") -> str:
    """Return the output of a command on a terminal where its question is answered.

    Args:
        answer: typed, with its line feed.
        arguments: of eechips.
        cwd: folder of the command.
        question: that the command asks, once.
    """
    asked = f"{question} [y/N]".encode()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "eechips", *arguments]
    with subprocess.Popen(command, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                if asked in shown + piece and asked not in shown:
                    os.write(ours, answer.encode())
                shown += piece
        except OSError:  # how Linux says that the other end is closed
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    assert shown.count(asked) == 1
    return shown.decode().replace("\r\n", "\n")
