"""Collect the values that Google's samples for Python state in comments, with the expressions that have them.

The samples of https://github.com/google/earthengine-community print objects, and comments say what is printed:

    display(ee.Number(5).pow(-2))  # 0.04

Run them by a local Earth Engine that serves at an address, and add the lines to those of ``recorded_values.py``:

    python tools/sample_values.py http://127.0.0.1:8600 samples/python/apidocs \
        'google/earthengine-community@c9cbf6c6f4b0' values.jsonl

A comment counts if it ends the line of a call, or is the lines above one without such, and is a literal of Python or
JSON, or a string without quotes. A statement that fails, as one of a dataset or a map, is left out. Numbers with a
decimal point agree to their last digit.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import ee
from google.auth.credentials import AnonymousCredentials

_PRINTING = ("display", "print")
_PROSE = re.compile(r"^The |\(")
_DECIMALS = re.compile(r"\d\.(\d+)(?![\d]*[eE])")


def stated_values(text: str) -> Iterator[tuple[int, Any, str]]:
    """Yield the line, the printed object and the comment of each call that prints; skip statements that fail."""
    lines = text.splitlines()
    printed: list[Any] = []
    names: dict[str, Any] = {"ee": ee, **dict.fromkeys(_PRINTING, lambda *objects: printed.append(objects[-1]))}
    for statement in ast.parse(text).body:
        printed.clear()
        try:
            exec(compile(ast.Module([statement], []), "sample", "exec"), names)
        except Exception as error:  # noqa: BLE001 - samples raise what they like
            sys.stdout.write(f"line {statement.lineno}: {type(error).__name__}\n")
            continue
        *_, comment = lines[(statement.end_lineno or 0) - 1][statement.end_col_offset :].partition("#")
        comment = comment.strip() or above(lines[: statement.lineno - 1])
        if comment and len(printed) == 1:
            yield statement.lineno, printed[0], comment


def above(lines: list[str]) -> str:
    """Return the text of the comments at the end of lines."""
    comments = takewhile(
        lambda line: line.startswith("# ") and not line.startswith(("# [START", "# [END")), reversed(lines)
    )
    return " ".join(line[2:].strip() for line in reversed(list(comments)))


def literal(comment: str, value: Any) -> Any:
    """Return what a comment states; it may write a string without quotes."""
    for read in (ast.literal_eval, json.loads):
        try:
            return read(comment)
        except (ValueError, SyntaxError):
            continue
    return comment if isinstance(value, str) and not _PROSE.search(comment) else None


def tolerance(comment: str) -> float:
    """Return one of the last digit of the least exact number with decimals."""
    decimals = [len(digits) for digits in _DECIMALS.findall(comment)]
    return 10.0 ** -min(decimals) if decimals else 0.0


def main(url: str, folder: Path, source: str, lines: Path) -> None:
    """Add a line for each stated value."""
    ee.Initialize(AnonymousCredentials(), url=url, project="local")
    with lines.open("a", encoding="utf-8") as file:
        for path in sorted(folder.rglob("*.py")):
            sys.stdout.write(f"{path.name}\n")
            for number, shown, comment in stated_values(path.read_text(encoding="utf-8")):
                if not isinstance(shown, ee.ComputedObject):
                    continue
                try:
                    value = shown.getInfo()
                except ee.EEException as error:
                    sys.stdout.write(f"line {number}: {error}\n")
                    continue
                line = {
                    "source": source,
                    "test": f"{path.parent.name}/{path.name}:{number}",
                    "expected": literal(comment, value),
                    "tolerance": tolerance(comment),
                    "expression": ee.serializer.encode(shown, for_cloud_api=True),
                    "value": value,
                }
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
