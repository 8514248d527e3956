"""Mistakes in run files: they are listed at once, also by validators of others."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, read_blocks
from tests.support.commands import run_command
from tests.support.programs import run_program
from tests.support.run_files import REGION, SAMPLE, write


def mistakes_of(path: Path) -> list[str]:
    """The lines that a run file with mistakes is refused with."""
    done = run_command("run", path, status=2)
    return done.stderr.splitlines()


def test_all_mistakes_of_a_file_are_listed_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path / "job.toml",
        """
        [sampel]
        [sample]
        datset = "NAIP"
        total = "many"
        quiet = "yes"
        size = true
        [split]
        by = "blck"
        [mosaic]
        dataset = "S2"
        roi = "a.gpkg"
        in_flight = "some"
        [composites]
        dataset = "S2"
        roi = [1, 2, 3, 4]
        every = "fortnight"
        """,
    )
    assert mistakes_of(path) == [
        f"Error: {path} has 8 mistakes:",
        "  [sampel]: a run file has no such table; did you mean 'sample'?",
        "  [sample] has no key 'datset'; did you mean 'dataset'?",
        "  [sample] total is wrong: 'many' is not a valid integer",
        "  [sample] quiet must be true or false, not 'yes'",
        "  [sample] size must not be true",
        "  [split] by must be blocks, h3, time, random or column:NAME, not 'blck'",
        "  [mosaic] in_flight is wrong: 'some' is not a number of requests, nor auto",
        "  [composites] 'fortnight' is not a step of time: a number and one of day, week, month, season, year,"
        " as in '16 days'",
    ]


def test_of_values_that_a_command_refuses_the_first_is_listed_with_those_of_other_tables(tmp_path: Path) -> None:
    path = write(
        tmp_path / "job.toml",
        """
        [sample]
        dataset = "S2"
        total = 3
        size = -4
        format = "gif"
        start = "2024-13-01"
        [composites]
        dataset = "S2"
        roi = [1, 2, 3, 4]
        every = "fortnight"
        [pck]
        to = "zarr"
        """,
    )
    assert mistakes_of(path) == [
        f"Error: {path} has 3 mistakes:",
        "  [sample] the start '2024-13-01' is not a date (YYYY-MM-DD)",
        "  [composites] 'fortnight' is not a step of time: a number and one of day, week, month, season, year,"
        " as in '16 days'",
        "  [pck]: a run file has no such table; did you mean 'pack'?",
    ]


@pytest.mark.parametrize(
    ("places", "mistake"),
    [
        ('per_ecoregion = "many"', "per_ecoregion must begin with a number, not 'many'"),
        ("per_ecoregion = 0", "per_ecoregion must be at least 1, not 0"),
        ("per_ecoregion = true", "per_ecoregion must not be true"),
        ('per_class = "many:WORLDCOVER"', "per_class must begin with a number, not 'many:WORLDCOVER'"),
        ('per_class = "5:A/B:Map:a"', "per_class 'A/B:Map:a': classes must be whole numbers, as in 10,40,50"),
        ("total = 0", "total must be at least 1, not 0"),
        ('cells = "regular:far"', "cells regular: 'far' is not a distance"),
    ],
)
def test_wrong_numbers_of_places_are_mistakes(places: str, mistake: str, tmp_path: Path) -> None:
    rest = 'dataset = "S2"\nroi = "-105,40,-104.9,40.1"\n'
    title, line = mistakes_of(write(tmp_path / "job.toml", f"[sample]\n{places}\n{rest}"))
    assert title.endswith("has 1 mistake:")
    assert line.startswith(f"  [sample] {mistake}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no table"),
        ("[sample", "is not a run file"),
        *(
            (text % ".".join(part * 40), "is not a run file: a key has more than 32 parts")
            for part in (["a"], ['"a b"'])
            for text in ("%s = 1", " [%s]", "[[ %s ]]", "[sample]\nx = {y = 1, %s = 2}")
        ),
        (f"{SAMPLE}roi = {'[' * 9_999}", "is not a run file: its values are nested too deep"),
        (f"{SAMPLE}seed = 0x{'f' * 9_999}", r"is not a run file: Exceeds the limit \(4300"),
        ("sample = 3", r"sample: it must be a table: write \[sample\] on a line"),
        ("[check]", r"\[check\] needs the key 'folder'"),
        ('[serve]\nassets = "a"', "a run file has no such table"),
        (
            'dataset = "NAIP"\n[sample]\ntotal = 1',
            r"dataset: the key is above all tables: move it below the line \[sample",
        ),
        (
            "total = 1\nseed = 2",
            r"has 1 mistake:\n  total, seed: the keys .* write the command on a line .* as \[sample\]\n$",
        ),
        (
            'command = "image"\ndataset = "NAIP"',
            r"1 mistake:\n  command, dataset: the keys .* write \[images\] on a line .*, instead of the key command\n$",
        ),
        ("sample = []", "sample: it must be a table, not an empty list"),
        ("[sample]\n[sample]", r"two commands of a name are written \[\[sample\]\]"),
        (f"{SAMPLE}bands = []", "bands must be left out, or have a value"),
        (f'{SAMPLE}out = ["a", "b"]', r"out must be one path, not \['a', 'b'\]"),
        (f"{SAMPLE}rate = nan", "rate must be at least 0.001 a second, not nan"),
        ('[sample]\ndataset = "NAIP"\ntotal = 1\nroi = [[1, 2], [3, 4]]', "roi must be a list of texts and numbers"),
        ('[check]\nfolder = ""', "folder must be a text that is not empty"),
        (f'{SAMPLE}out = ""', "the path is empty"),
        ('[run]\nrecipe = "job.toml"', "job.toml is a run file, which has no units of its own"),
        ('[run]\nrecipe = ["recipe.py"]', "recipe must be a text that is not empty"),
    ],
)
def test_a_file_that_is_no_run_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    done = run_command("run", write(tmp_path / "job.toml", text), status=2)
    assert re.search(message, done.stderr), done.stderr


def test_tables_do_not_share_an_output_folder(tmp_path: Path) -> None:
    table = f'dataset = "NAIP"\n{REGION}\n'
    path = write(tmp_path / "job.toml", f"[[sample]]\n{table}total = 1\n[[sample]]\n{table}total = 2\n")
    (_, mistake) = mistakes_of(path)
    assert mistake.startswith("  [[sample]] 2 has the same output folder as [[sample]] 1, ")
    assert mistake.endswith("outputs/sample-naip: give each its out")


def test_a_run_file_has_no_plan(tmp_path: Path) -> None:
    path = write(tmp_path / "job.toml", f"{SAMPLE}[verify]\n")
    done = run_command("plan", "run", path, status=2)
    assert "is a run file, which has no units of its own" in done.stderr


@pytest.mark.parametrize(("name", "text"), [("job.yaml", "sample:\n  total: 2\n"), ("job.json", '{"sample": {}}')])
def test_run_files_of_other_formats_are_refused(name: str, text: str, tmp_path: Path) -> None:
    """They were taken for Python: JSON even is."""
    (tmp_path / name).write_text(text)
    done = run_command("run", tmp_path / name, status=2)
    assert "is no script, recipe or notebook, and run files are TOML: job.toml" in done.stderr


def test_options_of_a_recipe_are_refused_beside_a_run_file(tmp_path: Path) -> None:
    path = write(tmp_path / "job.toml", "[sample]")
    done = run_command("run", path, "-p", "a=1", status=2)
    assert "is for a recipe: write it into" in done.stderr


MISTAKES = """
[sample]
dataset = "NAIP"
total = 2.5
on_empty = "drop"
siz = 64
[split]
by = 3
[pak]
to = "webdataset"
"""


def programs() -> list[list[str]]:
    """Return commands of validators that eechips has not written, with the words before schema and file."""
    found = []
    if shutil.which("taplo"):
        found.append(["taplo", "lint", "--no-auto-config", "--schema", "file://{schema}", "{file}"])
    try:
        import check_jsonschema  # noqa: F401
    except ImportError:
        pass
    else:
        found.append([sys.executable, "-m", "check_jsonschema", "--schemafile", "{schema}", "{file}"])
    return found


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.integration
def test_validators_of_others_accept_a_run_file_and_find_five_mistakes(tmp_path: Path) -> None:
    if not programs():
        pytest.skip("neither taplo nor check-jsonschema is installed")
    schema = write(tmp_path / "schema.json", run_command("run", "--schema").stdout)
    page = (ROOT / "docs" / "how-to" / "run-files.md").read_text(encoding="utf-8")
    (shown,) = [block.text for block in read_blocks(page) if block.title == "chips.toml"]
    for text, is_right in ((shown, True), (MISTAKES, False)):
        path = write(tmp_path / "job.toml", text)
        for words in programs():
            typed = [word.format(schema=schema, file=path) for word in words]
            done = run_program(*typed)
            assert (done.returncode == 0) == is_right, done.stdout + done.stderr
    own = run_command("run", path, status=2)
    assert own.stderr.splitlines()[0].endswith("has 5 mistakes:")
    for key in ("total", "on_empty", "siz", "by", "pak"):
        assert re.search(rf"^  .*\b{key}\b", own.stderr, re.MULTILINE), key
