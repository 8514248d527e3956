"""The commands and programs of the documentation: those that can run here do, the others are parsed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from eechips.cli import main
from eechips_local.cli import main as local_main
from tests.docs.blocks import (
    ROOT,
    Block,
    list_commands,
    list_pages,
    name_page,
    prepare_folder,
    read_blocks,
    read_front_matter,
    run_block,
    strip_blocks,
    write_file,
)

PROGRAMS: dict[str, click.Command] = {"eechips": main, "eechips-local": local_main}
PAGES = list_pages()
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
TESTED_ELSEWHERE = {  # by test_train.py and test_crop_types.py, which look at the accuracy as well
    "docs/tutorials/training-set.md",
    "docs/tutorials/crop-types.md",
}
# Options of programs that are not ours, which stand in the text of pages.
OTHER_OPTIONS = {
    "--ack-deadline", "--array", "--concurrency", "--dead-letter-topic", "--direct_num_workers", "--earth-engine",
    "--live", "--max-delivery-attempts", "--max_num_workers", "--no-allow-unauthenticated",
    "--push-auth-service-account", "--requeue", "--requirements_file", "--runner", "--service_account_file",
}  # fmt: skip

BENCHMARK_OPTIONS = {
    option
    for path in (ROOT / "benchmarks").glob("*.py")
    for option in re.findall(r'"(--[a-z][\w-]*)"', path.read_text())
}


def read_marks(page: Path) -> list[pytest.MarkDecorator]:
    """Return the marks of a page: slow and exhaustive, and skipped where a module that it ``needs`` is missing."""
    front = read_front_matter(TEXTS[page])
    missing = [name for name in front.get("needs", []) if find_spec(name) is None]
    marks = [getattr(pytest.mark, name) for name in ("slow", "exhaustive") if front.get(name)]
    return [*marks, pytest.mark.skip(reason=f"{missing[0]} is not installed")] if missing else marks


RUNNABLE = [
    pytest.param(page, id=name_page(page), marks=read_marks(page))
    for page, text in TEXTS.items()
    if page.parent.name not in ("explanation", "reference") and page.name != "README.md"
    if name_page(page) not in TESTED_ELSEWHERE
    if any(block.is_run for block in read_blocks(text))
]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUNNABLE)
def test_commands_and_programs_of_a_page_succeed_in_order(page: Path, tmp_path: Path) -> None:
    prepare_folder(tmp_path)
    for block in read_blocks(TEXTS[page]):
        if block.title:
            write_file(block, tmp_path)
        elif block.is_run:
            run_block(block, tmp_path)


def test_commands_of_eechips_have_the_options_that_pages_give_them() -> None:
    for page, text in TEXTS.items():
        blocks = read_blocks(text)
        for line in (line for block in blocks if block.language in ("sh", "console") for line in list_commands(block)):
            for words in find_calls(line):
                try:
                    parse(words, line)
                except (click.UsageError, AssertionError) as error:
                    pytest.fail(f"{name_page(page)}: {line}: {error}")


def test_options_in_the_text_of_pages_exist() -> None:
    known = OTHER_OPTIONS | BENCHMARK_OPTIONS | list_all_options()
    unknown = {
        name_page(page): options - known for page, text in TEXTS.items() if (options := find_options(text)) - known
    }
    assert unknown == {}


def find_options(text: str) -> set[str]:
    """Return the options that stand in the text of a page."""
    spans = re.findall(r"`([^`\n]+)`", strip_blocks(text))
    code = " ".join(
        span.split(" -- ")[0]
        for span in spans
        if not span.startswith(("python ", "gcloud ", "gunicorn ", "earthengine ", "docker ", "podman "))
    )
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]+", code))


def test_python_files_that_pages_show_compile() -> None:
    for page, text in TEXTS.items():
        for block in read_blocks(text):
            if block.language == "python":
                compile(block.text, f"{name_page(page)}: {block.title}", "exec")


def test_pages_that_run_recipes_say_where_they_come_from() -> None:
    running = {
        name_page(page): text
        for page, text in TEXTS.items()
        if any(re.search(r"(?<![\w/])recipes/", block.text) for block in read_blocks(text) if block.is_run)
    }
    assert [name for name, text in running.items() if "eechips init --examples" not in text] == []
    assert running


def test_every_command_stands_on_a_page_of_the_site() -> None:
    text = "\n".join(text for page, text in TEXTS.items() if page.name != "README.md")
    missing = [name for name in main.list_commands(click.Context(main)) if f"eechips {name}" not in text]
    assert missing == []


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("eechips sample --dataset NAIP --per-region 5", "No such option"),
        ("eechips gather", "No such command"),
        ("eechips catalog partitions x --box 1", "No such option"),
        ("eechips plan sample --to x --dots 5", "No such option"),
        ("eechips sample --method ftp", "is not one of"),
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str, error: str) -> None:
    with pytest.raises((click.UsageError, AssertionError), match=error):
        [parse(words, line) for words in find_calls(line)]


def test_blocks_are_read_with_their_language_title_and_indentation() -> None:
    text = 'A\n\n    ```python title="a.py"\n    x = 1\n    ```\n\n```console\n$ eechips run \\\n    a.py\nok\n```\n'
    first, second = read_blocks(text)
    assert first == Block("python", "a.py", "x = 1\n")
    assert [line.split() for line in list_commands(second)] == [["eechips", "run", "a.py"]]


def find_calls(line: str) -> Iterator[list[str]]:
    """Yield the words of each call of eechips, or of eechips-local, in a command line; the program comes first."""
    lexer = shlex.shlex(line.replace("…", ""), posix=True, punctuation_chars="|&;<>()")
    lexer.commenters, lexer.whitespace_split = "#", True
    call: list[str] | None = None
    begins = True  # the word begins a command, and is no package that is installed
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;<>()") and word:
            if call is not None:
                yield call
            call, begins = None, True
            continue
        if call is not None:
            call.append(word)
        elif (program := word.rpartition("/")[2]) == "eechips" or (begins and program in PROGRAMS):
            call = [program]
        begins = begins and "=" in word  # a variable of the command


def parse(words: list[str], line: str) -> None:
    """Require that a command and its options exist, and that choices are among those that there are."""
    program, *words = words
    command: click.Command = PROGRAMS[program]
    context = click.Context(command, info_name=program, **command.context_settings)
    while isinstance(command, click.Group) and words and words != ["--version"]:
        name, rest = words[0], words[1:]
        found = command.get_command(context, name)
        if found is None and command.name == "catalog" and not name.startswith("-"):
            found, rest = command.get_command(context, "build"), words
        assert found is not None, f"No such command: {line}"
        command, words = found, rest
        # click keeps the help option of the first context, so a context has the settings of its command.
        context = click.Context(command, info_name=name, parent=context, **command.context_settings)
    if command.name in ("plan", "work", "join"):
        parse_with_the_rest(command, context, words, line)
    else:
        check_choices(command, context, words)


def parse_with_the_rest(command: click.Command, context: click.Context, words: list[str], line: str) -> None:
    """Parse a command that passes the options that it does not know to another verb."""
    own = {option for parameter in command.params for option in parameter.opts}
    others = [word for word in words if word.startswith("--") and word.split("=")[0] not in own]
    if command.name == "plan":
        verbs = [word for word in words if word in main.list_commands(context)]
        assert verbs, f"No such command: {line}"
        known = set(list_options(main.get_command(context, verbs[0])))
    else:
        known = set(list_options(main.get_command(context, "sample")))
    for word in others:
        assert word.split("=")[0] in known, f"No such option: {word} in {line}"


def check_choices(command: click.Command, context: click.Context, words: list[str]) -> None:
    """Parse the words of a command as click does, and convert what is a choice."""
    opts, _, _ = command.make_parser(context).parse_args(list(words))
    for parameter in command.params:
        value = opts.get(str(parameter.name))
        if isinstance(parameter.type, click.Choice) and isinstance(value, str):
            parameter.type.convert(value, parameter, context)


def list_options(command: click.Command | None) -> Iterator[str]:
    """Yield the options of a command and of all commands below it."""
    assert command is not None
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    yield from ("--help", "--version")
    if isinstance(command, click.Group):
        context = click.Context(command, **command.context_settings)
        for name in command.list_commands(context):
            yield from list_options(command.get_command(context, name))


@cache
def list_all_options() -> frozenset[str]:
    """Return the options of all commands."""
    return frozenset(option for program in PROGRAMS.values() for option in list_options(program))


def test_messages_of_the_faq_are_those_of_the_source_or_of_the_service() -> None:
    titles = re.findall(r"^### (.*`.*)$", (ROOT / "docs" / "faq.md").read_text(encoding="utf-8"), flags=re.M)
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "eechips").rglob("*.py"))
    text += (ROOT / "tests" / "client" / "service_examples.csv").read_text(encoding="utf-8")
    source = re.sub(r'"\s*\n\s*f?"', "", text).replace('\\"', '"')
    fragments = [part.strip() for title in titles for part in title.strip("`").split("…")]
    assert [part for part in fragments if part not in source] == []
    assert len(fragments) > 10
