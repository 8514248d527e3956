"""Only few modules print, log or write HTML and CSV; each of them cleans its texts."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.source_tree import source_files

OUTPUT = {
    "cli/terminal.py": "prints all that the command line prints",
    "cli/group.py": "logging.StreamHandler with a LineFormatter",
    "engine/progress.py": "shows the progress, in lines of its own",
    "engine/executors/threads.py": "a traceback of eechips' own thread",
    "engine/executors/dask_cluster.py": "logging.FileHandler with a LineFormatter",
    "engine/executors/worker_process.py": "a traceback of eechips' own thread",
    "scripts/replacements/log_files.py": "logging.StreamHandler, for a log file of the script",
    "scripts/pooling/call_units.py": "compares the script's standard output with that of the run",
    "scripts/script_execution.py": "has the standard streams of the run again after a script",
    "geo/vector_reader.py": "the answer of a child process, as JSON",
    "eechips_local/assets/vectors/vector_reader.py": "the answer of a child process, as JSON",
    "eechips_local/evaluation/request_processor.py": "a traceback in the log of the server",
    "eechips_local/exports/task_queue.py": "a traceback in the log of the server",
    "eechips_local/cli/console.py": "prints all that eechips-local prints",
    "eechips_local/text.py": "makes HTML",
    "eechips_local/server.py": "the address of the server, as JSON",
    "eechips_local/assets/__main__.py": "the error of a child process, as JSON",
    "eechips_local/evaluation/function_coverage.py": "a page of the documentation",
    "eechips_local/demo/dataset_list.py": "a page of the documentation",
    "text/formatting.py": "makes HTML and spreadsheets",
    "training/cards/card_text.py": "escapes HTML in Markdown",
    "formats/csv.py": "tables for programs",
}
"""Modules that write texts for people, and why."""

STARTERS = ("cli/starters/", "cli/examples/")
FUNCTIONS = {
    "print",
    "html.escape",
    "csv.writer",
    "csv.DictWriter",
    "logging.StreamHandler",
    "logging.FileHandler",
    "logging.basicConfig",
    "traceback.print_exc",
    "traceback.print_exception",
    *(f"click.{name}" for name in ("echo", "secho", "confirm", "prompt", "echo_via_pager", "progressbar", "pause")),
}
STREAMS = ("sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__")
WORDS = re.compile(
    r"\bprint\(|\bclick\b|html\.escape|csv\.|logging\.\w*(?:Handler|Config)|print_exc|sys\.\w*std(?:out|err)"
    r"|from (?:csv|html|logging|traceback) import"
)
"""One of them is in each module that writes: others need not be parsed."""
HARMLESS = ("flush", "isatty", "encoding", "fileno")


def dotted(node: ast.AST) -> str:
    """Return a name with its dots; empty for other expressions."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def outputs(tree: ast.AST) -> list[str]:
    """Calls that print, log to a stream, escape HTML or write CSV, and uses of the standard streams."""
    nodes = list(ast.walk(tree))
    asked = {id(n.value) for n in nodes if isinstance(n, ast.Attribute) and n.attr in HARMLESS}
    found = []
    for node in nodes:
        if isinstance(node, ast.Call) and dotted(node.func) in FUNCTIONS:
            found.append(dotted(node.func))
        elif isinstance(node, ast.Attribute) and dotted(node) in STREAMS and id(node) not in asked:
            found.append(dotted(node))
        elif isinstance(node, ast.ImportFrom) and node.module in ("click", "html", "csv", "traceback", "logging"):
            found += [f"{node.module}.{n.name}" for n in node.names if f"{node.module}.{n.name}" in FUNCTIONS]
    return found


def test_only_listed_modules_write_texts_for_people() -> None:
    found = {}
    for name, path in source_files().items():
        source = path.read_text(encoding="utf-8")
        if not name.startswith(STARTERS) and WORDS.search(source) and (calls := outputs(ast.parse(source))):
            found[name] = calls
    assert {name: calls for name, calls in found.items() if name not in OUTPUT} == {}
    assert set(OUTPUT) <= set(found)


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("print('a')", True),
        ("click.echo(text, err=True)", True),
        ("from click import echo", True),
        ("sys.stderr.write(text)", True),
        ("print_to(sys.stdout)", True),
        ("sys.stdout.isatty()", False),
        ("echo(text)", False),
        ("csv.reader(file)", False),
        ("csv.writer(file)", True),
    ],
)
def test_outputs_are_found(code: str, is_found: bool) -> None:
    assert bool(outputs(ast.parse(code))) == is_found
