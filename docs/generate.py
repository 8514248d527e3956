"""Write the generated parts of the documentation: ``python docs/generate.py``; ``--check`` only compares.

A generated part stands in its page between ``<!-- generated: NAME -->`` and ``<!-- end -->``. The text around it is
written by hand.
"""

from __future__ import annotations

import ast
import csv
import itertools
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SERVICE_RECORDING = FOLDER.parent / "tests" / "live" / "service-recording.zip"  # once there is one
_SERVICE_EXAMPLES = FOLDER.parent / "tests" / "client" / "service_examples.csv"
_MESSAGE_LENGTH = 110  # characters of an example that a table has room for


def service_errors() -> str:
    """Return the table of the service's errors that eechips knows."""
    from eechips.client.service_errors import SERVICE_ERRORS
    from eechips.client.service_errors.error_row import ErrorAction

    with _SERVICE_EXAMPLES.open(newline="", encoding="utf-8") as file:
        examples = {line["row"]: line for line in csv.DictReader(file)}

    rows = []
    for row in SERVICE_ERRORS:
        example = examples[row.name]
        message = " ".join(example["message"].split())
        if len(message) > _MESSAGE_LENGTH:
            message = message[:_MESSAGE_LENGTH].rstrip() + "…"
        nothing = "nothing" if row.kind is ErrorAction.TRANSIENT else "correct what the message names"
        cure = row.cure.removeprefix("or ") or nothing
        action = row.kind.value
        if row.kind is ErrorAction.TOO_LARGE:
            batch = "" if row.batch == "never" else ", or a batch task (`export_to`)"
            cure = f"where no part is small enough: {cure}{batch}"
            action = "send again once, then split" if row.repeats else action
        status = f"{example['code']} {example['status']}".strip()
        rows.append((row.name, status, message, action, cure, f"[source]({row.source})"))
    return _table(("name", "status", "message", "what eechips does", "what you can do", "documented"), rows)


def datasets() -> str:
    """Return the table of the datasets that have a short name, and their citations."""
    from eechips.datasets import list_datasets

    rows, citations = [], []
    for each in list_datasets():
        names = ", ".join(f"`{name}`" for name in each.names)
        dates = f"{each.start} to {each.end}" if each.end else f"since {each.start}"
        bands = ", ".join(each.default_bands) if len(each.default_bands) <= 4 else f"all {len(each.default_bands)}"
        scale = f"{each.pixel_size:,.1f}".removesuffix(".0")
        rows.append((names, f"[`{each.id}`]({each.source})", bands, scale, each.dtype or "", dates, each.licence))
        citations.append(f"- **{each.alias}** ({each.title}): {each.citation}. Page read on {each.checked}.")
    head = ("name", "id", "default bands", "pixel, m", "dtype", "dates", "licence")
    return _table(head, rows) + "\n\n### Citations\n\n" + "\n".join(citations)


def cloud_masks() -> str:
    """Return the table of the cloud masks and of the classes of pixels that they can remove."""
    from eechips.datasets.quality_bands import list_mask_sources

    rows = []
    for each in list_mask_sources():
        pattern = each.datasets.replace("|", "\\|")
        if each.score is not None:
            removes = usual = f"score below {each.score.threshold:g}"
        else:
            removes, usual = ", ".join(kind.name for kind in each.kinds), ", ".join(each.usual)
        rows.append((f"[`{each.name}`]({each.url})", f"`{pattern}`", removes, usual))
    return _table(("mask", "ids of datasets", "can remove", "removes by default"), rows)


def service_facts() -> str:
    """Return the table of the facts about the service, with what a recording says of them."""
    from eechips_local.probes.fact_table import check_facts
    from eechips_local.probes.results_file import RESULTS, read_results

    found = None
    if _SERVICE_RECORDING.exists():
        with zipfile.ZipFile(_SERVICE_RECORDING) as archive:
            found = read_results(archive.read(RESULTS).decode())
    if found is None or not found.is_of_google:
        found = None
        said = "**No recording of the service was made yet: none of these facts is confirmed by one.**"
    else:
        said = f"Recorded on {found.date} at {found.service}, by eechips-local {found.recorder}."
    rows = []
    for each in check_facts(found):
        source = f"[{each.fact.certainty}]({each.fact.source})" if each.fact.source else each.fact.certainty
        rows.append((each.fact.statement, source, str(len(each.probes)), each.state))
    return said + "\n\n" + _table(("fact", "known", "probes", "recording"), rows)


def manifest_columns() -> str:
    """Return the table of the columns of manifest.parquet."""
    from eechips.manifest.export import GEOMETRY_COLUMN
    from eechips.manifest.manifest_columns import MANIFEST

    return _columns({column: column.meaning for column in (*MANIFEST, GEOMETRY_COLUMN)})


def layers_columns() -> str:
    """Return the table of the columns of layers.parquet."""
    from eechips.manifest.manifest_columns import LAYERS, MANIFEST, PLAN

    shared = dict.fromkeys(MANIFEST, "As in the manifest, of this file.") | dict.fromkeys(PLAN, "As in the manifest.")
    return _columns({column: shared.get(column, column.meaning) for column in LAYERS})


def _columns(meanings: Mapping[Any, str]) -> str:
    rows = [
        (f"`{column.name}`", re.sub(r"list<\w+: (\w+)>", r"list<\1>", str(column.arrow)), meaning)
        for column, meaning in meanings.items()
    ]
    return _table(("column", "dtype", "meaning"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def _coverage() -> str:
    from eechips_local.evaluation import function_coverage

    return function_coverage.document(function_coverage.coverage())


def _local_datasets() -> str:
    from eechips_local.demo import dataset_list

    return dataset_list.page()


def modules() -> str:
    """Return the page of the packages: their public names, and what each module does."""
    parts = [
        "# Packages and modules",
        "What is where: search this page for a word. Each line is the first paragraph of a module or script. Other "
        "packages use a package by its public names; of a package that has none, they use the modules marked with an "
        "asterisk (*).",
    ]
    for root in (FOLDER.parent / "eechips", FOLDER.parent / "packages" / "eechips-local" / "eechips_local"):
        used = _imported_modules(root)
        for path in (root / "__init__.py", *sorted(root.glob("*/__init__.py"))):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            title = path.parent.relative_to(root.parent).as_posix().replace("/", ".")
            parts += [f"## {title}", _purpose(tree)]
            names = ", ".join(f"`{name}`" for name in _public_names(path, tree))
            parts += [f"Names: {names}"] if names else []
            folder = path.parent
            found = root.glob("*.py") if folder == root else [*folder.rglob("*.py"), *folder.rglob("*.js")]
            marked = set() if names or path.parent == root else used.get(path.parent.name, set())
            parts.append("\n".join(_module_lines(path.parent, sorted(found), marked)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _module_lines(package: Path, paths: list[Path], marked: set[str]) -> Iterator[str]:
    """Yield a line for each module, script and folder of a package: its path, and its first paragraph."""
    for path in paths:
        module = path.relative_to(package).with_suffix("").as_posix()
        name = module.removesuffix("__init__") if module.endswith("/__init__") else f"{module}{path.suffix}"
        if module != "__init__":
            sign = " \\*" if module in marked else ""
            text = path.read_text(encoding="utf-8")
            purpose = _comment(text) if path.suffix == ".js" else _purpose(ast.parse(text))
            if not purpose:
                raise ValueError(f"{path} does not say at its beginning what it does")
            yield f"- `{name}`{sign}: {purpose}"


def _comment(script: str) -> str:
    """Return the comment at the beginning of a script as one line."""
    lines = itertools.takewhile(lambda line: line.startswith("// "), script.splitlines())
    return " ".join(line[3:] for line in lines)


def _purpose(tree: ast.Module) -> str:
    """Return the first paragraph of a module's docstring as one line, with roles of Sphinx as code."""
    text = " ".join((ast.get_docstring(tree) or "").partition("\n\n")[0].split())
    return re.sub(r":\w+:`~?([^`]+)`|``([^`]+)``", lambda found: f"`{found[1] or found[2]}`", text)


def _public_names(path: Path, tree: ast.Module) -> list[str]:
    """Return the public names of a package: those in its stub, or what ``__init__.py`` re-exports and assigns."""
    stub = path.with_suffix(".pyi")
    body = ast.parse(stub.read_text(encoding="utf-8")).body if stub.exists() else tree.body
    imports = [node for node in body if isinstance(node, ast.ImportFrom) and (node.module or "") != "__future__"]
    package = path.parent.name
    names = {
        each.asname or each.name
        for node in imports
        for each in node.names
        if each.asname or node.level or f".{package}." in f".{node.module}."
    }
    assigned = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    stated = assigned.get("__all__")
    if isinstance(stated, (ast.List, ast.Tuple)):
        names = set(ast.literal_eval(stated))
    else:
        names |= assigned.keys()
    return sorted(name for name in names if not name.startswith("_"))


def _imported_modules(root: Path) -> dict[str, set[str]]:
    """Return the modules of each package that other packages of the distribution import."""
    found: dict[str, set[str]] = {}
    imported = re.compile(rf"^\s*from {root.name}\.([\w.]+) import \(?\s*(\w+)", re.MULTILINE)
    for path in root.rglob("*.py"):
        own = path.relative_to(root).parts[0]
        for module, name in imported.findall(path.read_text(encoding="utf-8")):
            first, *parts = *module.split("."), name
            while parts and not (root / first / Path(*parts)).with_suffix(".py").exists():
                parts.pop()
            if first != own and parts:
                found.setdefault(first, set()).add("/".join(parts))
    return found


def archive_datasets() -> str:
    """Return the table of the datasets that open archives have, and what differs in each."""
    from eechips_local.archives.archive_list import ARCHIVES
    from eechips_local.archives.archive_record import list_records

    records = [record for archive in ARCHIVES for record in list_records(archive.name)]
    names = [archive.name for archive in ARCHIVES]
    table = []
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for dataset in sorted({record.dataset for record in records}):
        own = {record.archive: record for record in records if record.dataset == dataset}
        table.append((f"`{dataset}`", *(_archive_cell(own.get(name)) for name in names)))
        for name in (name for name in names if name in own):
            groups.setdefault((name, _archive_notes(own[name])), []).append(f"`{dataset}`")
    notes = [
        f"**{name}**: {', '.join(datasets)}\n\n" + "\n".join(f"- {text}" for text in texts)
        for (name, texts), datasets in groups.items()
    ]
    return _table(("dataset", *names), table) + "\n\n## What differs\n\n" + "\n\n".join(notes)


def _archive_cell(record: Any) -> str:
    if record is None:
        return ""
    return "refused" if record.kind == "refused" else f"`{record.collection}`"


def _archive_notes(record: Any) -> tuple[str, ...]:
    if record.kind == "refused":
        return (f"Refused: {record.reason}" + (f" The archive has `{record.instead}`." if record.instead else ""),)
    return record.differences or ("No difference is known.",)


BLOCKS: Mapping[str, Callable[[], str]] = {
    "service-errors": service_errors,
    "datasets": datasets,
    "cloud-masks": cloud_masks,
    "service-facts": service_facts,
    "manifest-columns": manifest_columns,
    "layers-columns": layers_columns,
    "archive-datasets": archive_datasets,
}
PAGES: Mapping[str, Callable[[], str]] = {
    "reference/coverage.md": _coverage,
    "reference/local-datasets.md": _local_datasets,
    "reference/modules.md": modules,
}


def render(path: str) -> str:
    """Return the content that a page should have.

    Args:
        path: path of the page below ``docs``.
    """
    if path in PAGES:
        return PAGES[path]()
    text = (FOLDER / path).read_text(encoding="utf-8")
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", text)


def generated_pages() -> list[str]:
    """Return the paths of all pages below ``docs`` that have generated parts."""
    found = {
        path.relative_to(FOLDER).as_posix()
        for path in FOLDER.rglob("*.md")
        if _BLOCK.search(path.read_text(encoding="utf-8"))
    }
    return sorted(found | PAGES.keys())


def main() -> None:
    """Write the pages, or exit with status 1 if one is out of date and ``--check`` is given."""
    os.environ["EECHIPS_DEMO_UNTIL"] = "2025-01-01"  # or the page would change every day
    outdated = []
    for page in generated_pages():
        path, text = FOLDER / page, render(page)
        if path.read_text(encoding="utf-8") != text:
            outdated.append(page)
            if "--check" not in sys.argv[1:]:
                path.write_text(text, encoding="utf-8")
    sys.stdout.write("".join(f"{page}\n" for page in outdated))
    sys.exit(bool(outdated) and "--check" in sys.argv[1:])


if __name__ == "__main__":
    main()
