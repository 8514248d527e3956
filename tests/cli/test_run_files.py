"""Run files: what they run, and the files that commands write."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from eechips.cli import main
from eechips.cli.run_file import FETCHING, FOLLOWING, _Reader, read_run_file
from eechips.cli.run_file_writer import run_file_schema, write_run_file
from eechips.commands.command import FetchCommand
from eechips.commands.fetching import recipe_of
from eechips.errors import RunFileError
from eechips.manifest.run import Run, open_run
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.docs.blocks import ROOT, list_commands, list_pages, name_page, prepare_folder, read_blocks, write_file
from tests.support.commands import run_command
from tests.support.programs import run_program
from tests.support.run_files import REGION, SAMPLE, load, write

SMALLER = "--roi=-105.3,39.9,-105.0,40.1"  # than that of a tutorial, all of whose pixels are read to draw by class


@pytest.fixture
def root() -> Iterator[click.Context]:
    with click.Context(main, info_name="eechips") as context:
        yield context


def test_a_file_of_an_editor_on_windows_is_read(tmp_path: Path, root: click.Context) -> None:
    path = tmp_path / "job.TOML"
    text = f'[sample]\r\ndataset = "NAIP"\r\ntotal = 1\r\n{REGION}\r\n'
    path.write_bytes(text.encode("utf-8-sig"))
    assert read_run_file(path, root)[0].words[:2] == ("--dataset=NAIP", "--total=1")
    path.write_bytes(text.encode("utf-16"))
    done = run_command("run", path, status=2)
    assert "it is not UTF-8 text" in done.stderr


def test_a_folder_that_begins_with_a_hyphen_is_no_option(tmp_path: Path, root: click.Context) -> None:
    text = f'{SAMPLE}out = "-x"\n[check]\n[split]\nfolder = "-y"\n'
    steps = read_run_file(write(tmp_path / "job.toml", text), root)
    assert [step.words[-1] for step in steps] == ["--out=-x", "./-x", "./-y"]


def test_parameters_of_a_recipe_are_read_as_its_defaults_are(tmp_path: Path, root: click.Context) -> None:
    write(
        tmp_path / "recipe.py",
        """
def get_requests(flag=False, names=("a",), sizes={}, free=None, day="", number=1.0):
    return []


def get_result(index, unit):
    return b""
""",
    )
    text = f"""
    [run]
    recipe = "{tmp_path}/recipe.py"
    [run.parameters]
    flag = true
    names = ["é", 'b"c']
    sizes = {{ a = [1, 2] }}
    free = [true]
    day = 2020-05-01
    number = 1e9
    """
    (step,) = read_run_file(write(tmp_path / "job.toml", text), root)
    recipe, _ = recipe_of((step.verb, *step.words))
    assert recipe.parameters == {
        "flag": True, "names": ["é", 'b"c'], "sizes": {"a": [1, 2]}, "free": "[true]",
        "day": "2020-05-01", "number": 1e9,
    }  # fmt: skip


def test_typed_options_concern_the_tables_that_have_them(tmp_path: Path, root: click.Context) -> None:
    scenes = '[scenes]\nstac = "https://example.org/v1"\ncollection = "a"\nassets = "b"\n'
    sample = SAMPLE
    steps = read_run_file(write(tmp_path / "job.toml", sample + scenes), root, {"project": "mine"})
    assert ["--project=mine" in step.words for step in steps] == [True, False]
    with pytest.raises(RunFileError) as raised:
        read_run_file(write(tmp_path / "job.toml", scenes), root, {"project": "mine"})
    assert list(raised.value.mistakes) == ["'project' was typed, and no table of the file has this key"]


TEXTS = (
    "a", "it's", 'a"b', "{x:.2}", "-105.5,39.5,-104.5,40.5", " a ", "a,b", "a, b", "=y", "é😀", "\t", "a\nb", "\x1b[0m",
    "\x7f", "\\", "$HOME", "none", "#c", "%s", "--dry-run", "--", ",", "'''", "007", "1_0", "-3", "2.5", "500MB", "3x4",
    "1,-2.5,1e-30,4,5,1e400", "auto", "inf",
)  # fmt: skip
"""Values of options, of which each option takes some."""


class Unchecked(_Reader):
    """A reader that does not check whether the options of a command fit each other."""

    def _check(self, command: click.Command, words: Sequence[str]) -> None:
        self.words = list(words)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("verb", slow_except(FETCHING, "mosaic", "run"))
def test_every_option_is_the_same_in_a_run_file(verb: str, tmp_path: Path, root: click.Context) -> None:
    command = main.get_command(root, verb)
    assert command is not None
    options = [p for p in command.params if isinstance(p, click.Option) and p.expose_value]
    longest = {option: max(option.opts, key=len) for option in options}
    count = 0
    for number, option in enumerate(options):
        needed = [f"{longest[each]}=x" for each in options if each.required and each is not option]
        values = [*option.type.choices] if isinstance(option.type, click.Choice) else list(TEXTS[number % 3 :: 3])
        if option.name == "parameters":
            values = ["a b=1", "a.b=", '"q"=é', *(f"n={text}" for text in TEXTS)]
        flag = longest[option]
        typed = [[f"{flag}={value}"] if flag.startswith("--") else [flag, value] for value in values]
        if option.multiple and option.name != "parameters":  # of which the last of a name counts
            typed += [one + other for one, other in itertools.pairwise(typed)]
        if option.is_flag or isinstance(option.flag_value, str):
            typed += [[each] for each in (flag, *option.secondary_opts)]
        for words in typed:
            arguments = ["recipe.py", "--", "--c=d", "", "é\n"] if verb == "run" else []
            try:
                context = command.make_context(verb, [*needed, *words, *arguments], parent=root)
            except click.UsageError:
                continue
            path = tmp_path / f"{number}.toml"
            write_run_file(path, context)
            (table,) = load(path).values()
            path.unlink()
            reader = Unchecked(root, {})
            reader.read(verb, table)
            assert not reader.problems, words
            again = command.make_context(verb, reader.words, parent=root)
            assert sorted(map(repr, again.params.items())) == sorted(map(repr, context.params.items())), words
            count += 1
    assert count > 130


def test_typed_options_replace_keys_of_tables_that_fetch(tmp_path: Path, root: click.Context) -> None:
    text = f'{SAMPLE}out = "a"\nproject = "mine"\n[check]\n'
    steps = read_run_file(write(tmp_path / "job.toml", text), root, {"project": "other", "out": "b"})
    assert [step.verb for step in steps] == ["sample", "check"]
    assert {"--project=other", "--out=b"} <= set(steps[0].words)
    assert steps[1].words == ("b",)


def test_values_of_toml_are_typed_as_on_the_command_line(tmp_path: Path, root: click.Context) -> None:
    text = """
    [[sample]]
    dataset = ["S2", "SRTM"]
    bands = { S2 = ["B4", "B3"] }
    start = 2020-05-01
    end = "2020-06-01"
    size = [64, 32]
    mask = true
    total = 10
    roi = [-105.1, 40.0, -104.9, 40.2]
    [[sample]]
    dataset = "NAIP"
    total = 1
    roi = "-105.1,40.0,-104.9,40.2"
    rate = "none"
    [run]
    recipe = "recipes/naip_chips.py"
    parameters = { per_ecoregion = 1 }
    out = "c"
    """
    steps = read_run_file(write(tmp_path / "job.toml", text), root)
    assert steps[0].words == (
        "--dataset=S2", "--dataset=SRTM", "--bands=S2:B4,B3", "--start=2020-05-01", "--end=2020-06-01",
        "--size=64x32", "--mask", "--total=10", "--roi=-105.1,40.0,-104.9,40.2",
    )  # fmt: skip
    assert "--rate=none" in steps[1].words
    assert steps[2].words == ("-p", "per_ecoregion=1", "--out=c", "recipes/naip_chips.py")


def documented_commands() -> list[list[str]]:
    """Return the commands of the documentation that fetch, as words after ``eechips``."""
    found = []
    for page in list_pages():
        for block in read_blocks(page.read_text(encoding="utf-8")):
            if block.is_run and block.language == "sh":
                for line in list_commands(block):
                    words = shlex.split(line, comments=True)
                    if words[:1] == ["eechips"] and words[1] in FETCHING and not {"&&", "|", ">", "$"} & set(line):
                        found.append(words[1:])
    return found


@pytest.mark.exhaustive
@pytest.mark.slow
def test_every_documented_command_is_the_same_as_a_run_file(tmp_path: Path, root: click.Context) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = run_file_schema(root)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    commands = [words for words in documented_commands() if not words[1].endswith(".toml") and "--check" not in words]
    assert len(commands) > 40
    for number, (verb, *words) in enumerate(commands):
        command = main.get_command(root, verb)
        assert isinstance(command, FetchCommand)
        path = tmp_path / f"{number}.toml"
        typed = command.make_context(verb, list(words), parent=root)
        write_run_file(path, typed)
        table = load(path)
        assert list(table) == [verb]
        problems = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(table)]
        assert not problems, (words, problems)
        try:
            (step,) = read_run_file(path, root)
        except RunFileError as error:
            if re.search("has no key|is wrong|must be|must not be|needs the key", str(error)):
                raise  # others are about files of a page
            continue
        again = command.make_context(verb, list(step.words), parent=root).params
        assert again == typed.params, words


@pytest.mark.parametrize("value", [True, 3, "text", ["a", {"b": 1}], {"c": [1]}])
def test_the_schema_knows_the_keys_of_all_tables(root: click.Context, value: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(run_file_schema(root))
    for verb in (*FETCHING, *FOLLOWING):
        assert not validator.is_valid({verb: {"datset": value}})
    assert not validator.is_valid({"sampel": {}})
    assert not validator.is_valid({"sample": {"dataset": "S2", "total": "many"}})
    assert validator.is_valid({"sample": {"dataset": "S2", "total": 3, "mask": True, "bands": ["B4"]}})


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "job.toml", "# mine\n")
    (tmp_path / "run").mkdir()
    words = ["init", str(path), "--from", str(tmp_path / "run")]
    done = run_command(*words, status=2)
    assert f"{path} exists: choose another name" in done.stderr
    assert path.read_text() == "# mine\n"


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.integration
def test_a_run_file_gives_the_files_of_its_commands_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_server: Server
) -> None:
    monkeypatch.chdir(tmp_path)
    service = ["--endpoint", demo_server.url, "--project", "local"]
    typed = ["sample", "--dataset", "NAIP", "--total", "3", "--roi=-105.1,40.0,-104.9,40.2", "--size", "32",
             "--format", "tif", "--out", "typed", *service]  # fmt: skip
    for words in (typed, ["split", "typed", "--by", "random", "--ratios", "a=0.6,b=0.4"], ["stats", "typed"]):
        run_command(*words, status=0)
    text = f"""
    [sample]
    dataset = "NAIP"
    total = 3
    {REGION}
    size = 32
    format = "tif"
    [split]
    by = "random"
    ratios = {{ a = 0.6, b = 0.4 }}
    [stats]
    """
    path = write(tmp_path / "job.toml", text)
    for _ in range(2):
        done = run_command("run", path, "--out", "filed", *service, status=0)
    assert "3 of 3 results" in done.stdout
    done = run_command("run", path, "--out", "dry", "--dry-run", *service, status=0)
    assert "eechips stats is left out: there is no run yet" in done.stderr
    assert not Path("dry").exists()
    done = run_command("run", path, "--out", "part", "--estimate", "1", *service, status=0)
    assert "Not run: split, stats. To run all: repeat the run file with --yes" in done.stderr
    assert not Path("part/splits.parquet").exists()
    files = sorted(each.name for each in Path("typed/chips").iterdir())
    assert len(files) == 3
    assert files == sorted(each.name for each in Path("filed/chips").iterdir())
    for name in files:
        assert Path("typed/chips", name).read_bytes() == Path("filed/chips", name).read_bytes()
    assert Path("typed/splits.parquet").read_bytes() == Path("filed/splits.parquet").read_bytes()
    assert json.loads(Path("typed/stats.json").read_text()) == json.loads(Path("filed/stats.json").read_text())
    run_command("init", "again.toml", "--from", "filed", status=0)
    assert load(Path("again.toml"))["sample"]["total"] == 3
    assert load(Path("again.toml"))["sample"]["out"] == "filed"


@pytest.mark.exhaustive
@pytest.mark.integration
@pytest.mark.parametrize("name", slow_except(["~/chips", "./~", "s3:x", "GTIFF_DIR:1", "file:x"], "~/chips", "s3:x"))
def test_a_pipeline_has_an_output_folder_of_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_server: Server
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    text = f'{SAMPLE}size = 16\nformat = "tif"\nout = "{name}"\n[check]\n[stats]\n[card]\n'
    path = write(tmp_path / "job.toml", text)
    words = ["run", str(path), "--endpoint", demo_server.url, "--project", "local"]
    run_command(*words, status=0)
    folder = Path(name.replace("~/", "home/"))
    assert {"manifest.parquet", "quality.parquet", "stats.json", "README.md"} <= {p.name for p in folder.iterdir()}
    run_command("verify", name, status=0)


def results(run: Run) -> dict[str, bytes]:
    """The files of a run by path, with those that were made of all results."""
    names = [*run.units["file"].dropna(), *(run.layers["file"] if len(run.layers) else ())]
    made = [path.relative_to(run.path).as_posix() for path in run.assembled]
    return {name: (run.path / name).read_bytes() for name in sorted({*names, *made})}


def tutorials() -> list[Path]:
    return [page for page in list_pages() if page.name == "README.md" or "tutorials" in page.parts]


@pytest.mark.exhaustive
@pytest.mark.integration
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name_page(page), marks=[pytest.mark.exhaustive] if number >= 2 else [])
        for number, page in enumerate(tutorials())
    ],
)
def test_commands_of_a_tutorial_give_the_same_bytes_as_run_files(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_server: Server
) -> None:
    """Of samples, the first places are taken, by class from a smaller region; all commands ask one server."""
    prepare_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["eechips"])
    service = ["--endpoint", demo_server.url, "--project", "local", "--rate", "none", "-q"]
    number = 0
    for block in read_blocks(page.read_text(encoding="utf-8")):
        if block.title is not None:
            write_file(block, tmp_path)
        if not block.is_run or block.language != "sh":
            continue
        for line in list_commands(block):
            words = shlex.split(line.rpartition("&& ")[2], comments=True)
            if not words or Path(words[0]).name != "eechips" or words[1] not in FETCHING or "--check" in words:
                continue
            number += 1
            if "--out" in words:
                del words[words.index("--out") : words.index("--out") + 2]
            if "--per-class" in words:
                words = [re.sub(r"^--roi=.*", SMALLER, word) for word in words]
            verb, *given = [word for word in words[1:] if word != "--local"]
            given += [*(["--limit", "8"] if verb == "sample" else []), *service]
            commands = (
                [verb, "--out", f"typed-{number}", *given],
                ["init", f"{number}.toml", "--from", f"typed-{number}"],
                ["run", f"{number}.toml", "-q", "--out", f"filed-{number}"],
            )
            for command in commands:
                typed = [sys.executable, "-m", "eechips", *command]
                environment = {**os.environ, "PYTHONPATH": str(ROOT)}
                run_program(*typed, status=0, env=environment)
            made = [results(open_run(f"{kind}-{number}")) for kind in ("typed", "filed")]
            assert made[0]
            assert made[0] == made[1], line


PIPELINE = """
[sample]
dataset = "NAIP"
total = 6
roi = [-105.1, 40.0, -104.9, 40.2]
size = 32
format = "tif"
out = "chips"

[check]

[split]
by = "random"
ratios = { train = 0.5, test = 0.5 }

[pack]
to = "webdataset"
out = "packed"

[card]
title = "A pipeline"
"""


@pytest.mark.slow
@pytest.mark.integration
def test_a_pipeline_resumes_at_the_step_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_server: Server
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "job.toml", PIPELINE)
    words = ["run", str(path), "--endpoint", demo_server.url, "--project", "local"]
    (tmp_path / "packed").mkdir()
    for split in ("train", "test"):
        (tmp_path / "packed" / f"{split}-000000.tar").write_text("in the way")
    failed = run_command(*words, status=2)
    assert "packed" in failed.stderr
    steps = [line.split()[2] for line in failed.stderr.splitlines() if line.startswith("[")]
    assert steps == ["sample", "check", "split", "pack"]
    assert not Path("chips/README.md").exists()
    shutil.rmtree(tmp_path / "packed")
    times = {each: each.stat().st_mtime_ns for each in Path("chips/chips").iterdir()}
    requests = demo_server.requests()
    run_command(*words, status=0)
    assert demo_server.requests() == requests  # nothing was fetched or planned again
    assert {each: each.stat().st_mtime_ns for each in Path("chips/chips").iterdir()} == times
    files = [*Path("packed").rglob("*.tar"), Path("chips/README.md"), Path("chips/croissant.json")]
    before = {each: each.read_bytes() for each in files}
    assert len(before) >= 4
    packed = {each: each.stat().st_mtime_ns for each in Path("packed").rglob("*.tar")}
    run_command(*words, status=0)
    assert {each: each.read_bytes() for each in files} == before
    assert {each: each.stat().st_mtime_ns for each in packed} == packed
