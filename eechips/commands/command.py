"""Commands with a short and a full help, options under headings, shell completion, suggestions for mistyped names;
separate bare flags such as ``--local`` from a following path.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from eechips.commands.option_names import as_typed
from eechips.errors import EechipsError, RegionError, UsageError
from eechips.text.formatting import format_count

if TYPE_CHECKING:
    from eechips.engine.config import RunConfig
    from eechips.option_fields import Decision
    from eechips.recipe import Recipe

    MakeRecipe = Callable[[Mapping[str, Any]], tuple[Recipe, RunConfig]]
    ReadOptions = Callable[[dict[str, Any]], dict[str, Any]]

OPTIONAL_FOLDER = "[DIR]"
"""Name of the type of an option whose value is a folder that may be left out."""

TYPED = "eechips.typed"
"""Key of click's ``meta`` for the words of the command, if they are not those of the process."""

UNFINISHED = "eechips.unfinished"
"""Key of click's ``meta`` for why the last command made no whole run: ``dry run`` or ``paused``."""

HELP_ALL = "help all"
"""Key of click's ``meta``: whether the help lists the advanced options as well."""

_SENTENCE = re.compile(r".+?\.(?= +[A-Za-z({-])")
_DEFAULT = re.compile(r"\[(?:default|env var|required)[^][]*\](?:  \[[^][]*\])?$")
_WORD = re.compile(r"[a-z][a-z-]*")  # a placeholder's value; those to be replaced are in upper case


class VerbOption(click.Option):
    """An option with its place in the help.

    Attributes:
        heading: heading of the section that lists it; empty for the section "Options".
        is_advanced: whether only ``--help-all`` lists it.
        decides: see :class:`eechips.option_fields.Option`.
    """

    def __init__(
        self, *args: Any, heading: str = "", is_advanced: bool = False, decides: Decision | None = None, **attrs: Any
    ) -> None:
        super().__init__(*args, **attrs)
        self.heading = heading
        self.is_advanced = is_advanced
        self.decides = decides

    @property
    def is_input(self) -> bool:
        """Whether the value may be the path of a file that the command reads."""
        return self.decides == "input"

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Convert what is typed. The path of a file that the command reads may begin with ``~``."""
        if self.is_input and isinstance(value, str):
            value = os.path.expanduser(value)  # noqa: PTH111 - it may be no path
        elif self.is_input and isinstance(value, (tuple, list)):
            value = [os.path.expanduser(word) if isinstance(word, str) else word for word in value]  # noqa: PTH111
        return super().type_cast_value(ctx, value)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete short names of datasets, and the words that the placeholder lists, such as ``png|jpg|tif|npy``."""
        if self.name == "dataset":
            from eechips.datasets import list_datasets

            typed = incomplete.upper()
            return [
                CompletionItem(known.alias, help=known.title)
                for known in list_datasets()
                if known.alias.startswith(typed)
            ]
        words = [word for word in (self.metavar or "").split("|") if _WORD.fullmatch(word)]
        if words:
            return [CompletionItem(word) for word in words if word.startswith(incomplete)]
        return super().shell_complete(ctx, incomplete)

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return the notes after the help, without the range of numbers."""
        notes = super().get_help_extra(ctx)
        notes.pop("range", None)
        return notes


def _is_list(option: click.Parameter) -> bool:
    """Return whether the value of an option lists names: ``A,B,…``."""
    return (option.metavar or option.type.name).endswith(",…")


def _is_single(parameter: click.Parameter) -> bool:
    """Return whether an option that may be given once decides what is fetched by a name, a file, or a list of names."""
    return isinstance(parameter, VerbOption) and not parameter.multiple and (parameter.is_input or _is_list(parameter))


class VerbCommand(click.Command):
    """A command whose help lists its options under headings, and the advanced ones with ``--help-all`` only."""

    headings: Sequence[str] = ()
    """Headings in their order; others follow as they come."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words; see :meth:`separate`."""
        words = self.separate(args)
        if not ctx.resilient_parsing:
            self._refuse_repeated(ctx, words)
        return super().parse_args(ctx, words)

    def _refuse_repeated(self, ctx: click.Context, words: list[str]) -> None:
        """Refuse two values of an option that takes one, or a list: click takes the last, without a word.

        Of other options the last value counts, so that an alias of the shell can have values that are typed over.
        """
        counts = Counter(option for option in self.make_parser(ctx).parse_args(list(words))[2] if _is_single(option))
        for option, count in counts.items():
            if count > 1:
                cure = "join the values by commas: A,B,C" if _is_list(option) else "this command takes one"
                raise click.UsageError(f"{option.opts[-1]} is given {count} times: {cure}", ctx)

    def separate(self, words: Sequence[str]) -> list[str]:
        """Return the words without doubt about what belongs to an option whose value may be left out.

        Where a command needs arguments, ``--local recipe.py`` is ``--local`` and an argument, and a folder is written
        ``--local=DIR``. This depends on nothing but the words, so that what is checked is what runs.
        """
        if not any(isinstance(parameter, click.Argument) and parameter.required for parameter in self.params):
            return list(words)
        end = words.index("--") if "--" in words else len(words)
        bare = {
            flag: f"{flag}={parameter.flag_value}"
            for parameter in self.params
            if isinstance(parameter, click.Option) and parameter.type.name == OPTIONAL_FOLDER
            for flag in parameter.opts
        }
        return [*(bare.get(word, word) for word in words[:end]), *words[end:]]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, with ``--help-all`` if there are advanced options."""
        parameters = super().get_params(ctx)
        if any(_is_advanced(parameter) for parameter in parameters):
            parameters.insert(-1, _help_all_option())
        return parameters

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        is_all = bool(ctx.meta.get(HELP_ALL)) or not any(map(_is_advanced, self.params))
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in self.headings}
        left_out = 0
        for parameter in self.get_params(ctx):
            record = None if isinstance(parameter, click.Argument) else parameter.get_help_record(ctx)
            if record is None:
                continue
            if _is_advanced(parameter) and not is_all:
                left_out += 1
                continue
            sections.setdefault(getattr(parameter, "heading", "") or "Options", []).append(
                record if is_all else (record[0], _first_sentence(record[1]))
            )
        last = sections.pop("Options", [])
        for heading, records in [*sections.items(), ("Options", last)]:
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
        if left_out:
            formatter.write_paragraph()
            formatter.write_text(
                f"{format_count(left_out, 'more option')}, and details of these: {ctx.command_path} --help-all"
            )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors name options as they are typed.

        Raises:
            EechipsError: with `` `per_class` `` written as ``--per-class``.
        """
        with self.named_as_typed():
            return super().invoke(ctx)

    @contextlib.contextmanager
    def named_as_typed(self) -> Iterator[None]:
        """Name options as they are typed in errors that are raised inside the block."""
        try:
            yield
        except EechipsError as error:
            error.args = tuple(as_typed(text, self.params) if isinstance(text, str) else text for text in error.args)
            if isinstance(error, RegionError):
                error.mistakes = tuple(as_typed(text, self.params) for text in error.mistakes)
            raise


class FetchCommand(VerbCommand):
    """A command that fetches: it has the options of a run.

    Args:
        make: makes the recipe, and the config of its run, from options by name.
        read: returns the options by name that ``make`` takes, of the parameters as they are parsed; None if only
            those without a value are left out.
        attrs: attributes of :class:`click.Command`.
    """

    def __init__(self, *args: Any, make: MakeRecipe, read: ReadOptions | None = None, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.make = make
        self.read = read

    def receive(self, ctx: click.Context) -> tuple[Recipe, RunConfig]:
        """Return the recipe and the config that the command would run.

        Raises:
            UsageError: if it would not run a recipe, but a run file or a check.
        """
        if ctx.params.get("check"):
            raise UsageError(
                f"eechips {ctx.info_name} --check tries a few units on this machine only: leave --check out"
            )
        with ctx, self.named_as_typed():
            return self.make(self.options(ctx.params))

    def options(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that ``make`` takes, of the parameters as they are parsed.

        Raises:
            UsageError: if they name something else than a recipe.
        """
        typed = typed_options(values)
        return typed if self.read is None else self.read(typed)


def typed_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that have a value; the others keep the default of the config.

    ``--local`` and ``--archive`` override an endpoint in the environment.
    """
    chosen = {name: value for name, value in options.items() if value is not None and value != ()}
    source = click.get_current_context().get_parameter_source("endpoint")
    if (chosen.get("local") or chosen.get("archive")) and source is click.core.ParameterSource.ENVIRONMENT:
        chosen.pop("endpoint", None)
    return chosen


def similar_names(name: str, names: Sequence[str]) -> str:
    """Return the end of a message that suggests names similar to a mistyped one; empty if there are none."""
    import difflib

    alike = difflib.get_close_matches(name, names, n=2, cutoff=0.55)
    return f" Did you mean {' or '.join(alike)}?" if alike else ""


def _first_sentence(text: str) -> str:
    """Return the first sentence of a help text, and the default if the text ends with it."""
    sentence = _SENTENCE.match(text)
    if sentence is None:
        return text
    default = _DEFAULT.search(text, sentence.end())
    return f"{sentence[0]} {default[0]}" if default else sentence[0]


def _is_advanced(parameter: click.Parameter) -> bool:
    return bool(getattr(parameter, "is_advanced", False)) and not getattr(parameter, "hidden", False)


def _help_all_option() -> click.Option:
    def show(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        ctx.meta[HELP_ALL] = value
        plain = ctx.command.get_help_option(ctx)
        assert plain is not None
        assert plain.callback is not None
        plain.callback(ctx, parameter, value)

    return click.Option(
        ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show all options."
    )
