"""Regular expressions in RE2's syntax, which is Earth Engine's, matched in time linear in the text.

Python's own ``re`` backtracks: a request could keep it busy for years. Here an expression becomes a program of a
virtual machine that follows all alternatives at once (Pike's; see https://swtch.com/~rsc/regexp/regexp2.html). The
syntax is https://github.com/google/re2/wiki/Syntax without Unicode scripts; like RE2, it has neither back-references
nor look-around.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from eechips.emulator.request_errors import InvalidError, LimitError

_MOST_REPEATS = 1000  # RE2's
_MOST_INSTRUCTIONS = 20_000
_MOST_STEPS = 4_000_000
_MOST_DEPTH = 100
_LAST = 0x10FFFF

Ranges = tuple[tuple[int, int], ...]
"""Code points, as inclusive ranges."""

Groups = tuple[int | None, ...]
"""Start and end of the match, and of each group in turn; None for groups that took no part."""


@dataclass(frozen=True, slots=True)
class Match:
    """A match of an expression in a text."""

    text: str
    spans: Groups

    @property
    def start(self) -> int:
        """Position of its first character."""
        return self.spans[0] or 0

    @property
    def end(self) -> int:
        """Position after its last character."""
        return self.spans[1] or 0

    def group(self, number: int) -> str | None:
        """Return the text of a group, 0 for the whole match; None for a group that took no part."""
        start, end = self.spans[2 * number], self.spans[2 * number + 1]
        return None if start is None or end is None else self.text[start:end]

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.spans) // 2 - 1


@dataclass(frozen=True, slots=True)
class _Instruction:
    """One instruction: "set" of characters, "split" in order of preference, "jump", "save", "assert" or "match"."""

    kind: str
    ranges: Ranges = ()
    targets: tuple[int, ...] = ()
    slot: int = 0


class Regex:
    """A compiled expression. Use :func:`compile_regex`."""

    def __init__(self, program: Sequence[_Instruction], groups: int, literal: str | None) -> None:
        self._program = program
        self._groups = groups
        self._literal = literal

    def fullmatch(self, text: str) -> Match | None:
        """Return a match of the whole text."""
        return self._run(text, 0, anchored=True, whole=True)

    def search(self, text: str, start: int = 0) -> Match | None:
        """Return the leftmost match at or after a position."""
        if self._literal is not None:
            at = text.find(self._literal, start)
            return None if at < 0 else Match(text, (at, at + len(self._literal)))
        return self._run(text, start, anchored=False, whole=False)

    def finditer(self, text: str) -> Iterator[Match]:
        """Yield all matches that do not overlap, from left to right."""
        position = 0
        steps = 0
        while position <= len(text):
            found = self.search(text, position)
            if found is None:
                return
            yield found
            steps += (found.end - position + 1) * (1 if self._literal is not None else len(self._program))
            if steps > _MOST_STEPS:
                raise LimitError("Computation timed out.")
            position = found.end + (found.end == found.start)

    def _run(self, text: str, start: int, *, anchored: bool, whole: bool) -> Match | None:
        if (len(text) - start + 1) * len(self._program) > _MOST_STEPS:
            raise LimitError("Computation timed out.")
        empty: Groups = (None,) * (2 * self._groups + 2)
        threads: dict[int, Groups] = {}
        best: Groups | None = None
        for position in range(start, len(text) + 1):
            if best is None and (position == start or not anchored):
                self._follow(0, empty, position, text, threads)
            if not threads:
                if best is not None or anchored:
                    break
                continue
            code = ord(text[position]) if position < len(text) else -1
            following: dict[int, Groups] = {}
            for address, saved in threads.items():
                step = self._program[address]
                if step.kind == "match":
                    if whole and position != len(text):
                        continue
                    best = saved
                    break  # the threads after this one are less preferred
                if code >= 0 and any(low <= code <= high for low, high in step.ranges):
                    self._follow(address + 1, saved, position + 1, text, following)
            threads = following
        return None if best is None else Match(text, best)

    def _follow(self, address: int, saved: Groups, position: int, text: str, threads: dict[int, Groups]) -> None:
        """Add all threads that are reached without taking a character, in order of preference."""
        waiting = [(address, saved)]
        seen: set[int] = set()
        while waiting:
            address, saved = waiting.pop()
            if address in threads or address in seen:
                continue
            step = self._program[address]
            if step.kind in ("set", "match"):
                if step.kind == "match":
                    saved = (saved[0], position, *saved[2:])
                threads[address] = saved
                continue
            seen.add(address)
            if step.kind == "save":
                saved = (*saved[: step.slot], position, *saved[step.slot + 1 :])
                waiting.append((address + 1, saved))
            elif step.kind == "assert":
                if _ASSERTIONS[step.slot](text, position):
                    waiting.append((address + 1, saved))
            else:
                waiting.extend((target, saved) for target in reversed(step.targets))


def _is_word(text: str, position: int) -> bool:
    if not 0 <= position < len(text):
        return False
    character = text[position]
    return character == "_" or (character.isascii() and character.isalnum())


def _at_boundary(text: str, position: int) -> bool:
    return _is_word(text, position - 1) != _is_word(text, position)


_TEXT_START, _TEXT_END, _LINE_START, _LINE_END, _BOUNDARY, _NO_BOUNDARY = range(6)
_ASSERTIONS: tuple[Callable[[str, int], bool], ...] = (
    lambda text, position: position == 0,
    lambda text, position: position == len(text),
    lambda text, position: position == 0 or text[position - 1] == "\n",
    lambda text, position: position == len(text) or text[position] == "\n",
    _at_boundary,
    lambda text, position: not _at_boundary(text, position),
)


def _spans(characters: str) -> Ranges:
    """Return ranges from pairs of characters: "az09" is a to z and 0 to 9."""
    return tuple((ord(a), ord(b)) for a, b in zip(characters[::2], characters[1::2], strict=True))


_DIGIT, _WORD, _SPACE = _spans("09"), _spans("09AZ__az"), _spans("\t\n\f\r  ")
_CLASSES = {
    "alnum": _spans("09AZaz"), "alpha": _spans("AZaz"), "ascii": _spans("\0\x7f"), "blank": _spans("\t\t  "),
    "cntrl": _spans("\0\x1f\x7f\x7f"), "digit": _DIGIT, "graph": _spans("!~"), "lower": _spans("az"),
    "print": _spans(" ~"), "punct": _spans("!/:@[`{~"), "space": _spans("\t\r  "), "upper": _spans("AZ"),
    "word": _WORD, "xdigit": _spans("09AFaf"),
}  # fmt: skip
_ESCAPES = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}
_ANY: Ranges = ((0, _LAST),)
_NO_NEWLINE: Ranges = ((0, 9), (11, _LAST))


def _inverted(ranges: Ranges) -> Ranges:
    found, first = [], 0
    for low, high in sorted(ranges):
        if low > first:
            found.append((first, low - 1))
        first = max(first, high + 1)
    return (*found, (first, _LAST)) if first <= _LAST else tuple(found)


def _both_cases(ranges: Ranges) -> Ranges:
    extra: list[tuple[int, int]] = []
    for low, high in ranges:
        if high - low > 0x2000:
            continue  # all letters of any script that is likely are in it already
        for code in range(low, high + 1):
            extra.extend((ord(c), ord(c)) for c in {chr(code).lower(), chr(code).upper()} if len(c) == 1)
    return (*ranges, *extra)


@dataclass(frozen=True, slots=True)
class _Flags:
    """Flags that hold at a place in an expression."""

    ignore_case: bool = False
    multiline: bool = False
    dot_all: bool = False
    ungreedy: bool = False


Code = list[_Instruction]
"""A piece of a program with addresses relative to itself."""


class _RegexParser:
    """Recursive descent over an expression, giving code."""

    def __init__(self, source: str, flags: _Flags) -> None:
        self.source = source
        self.position = 0
        self.flags = flags
        self.groups = 0
        self.depth = 0
        self.literal = not flags.ignore_case  # until something else than characters is found

    def wrong(self, reason: str, piece: str | None = None) -> InvalidError:
        return InvalidError(f"error parsing regexp: {reason}: `{(self.source if piece is None else piece)[:100]}`")

    def peek(self, count: int = 1) -> str:
        return self.source[self.position : self.position + count]

    def take(self, count: int = 1) -> str:
        taken = self.peek(count)
        self.position += count
        return taken

    def parse(self) -> Code:
        code = self.alternatives()
        if self.position < len(self.source):
            raise self.wrong("unexpected )")
        return code

    def alternatives(self) -> Code:
        self.depth += 1
        if self.depth > _MOST_DEPTH:
            raise self.wrong("expression nests too deeply")
        branches = [self.sequence()]
        while self.peek() == "|":
            self.literal = False
            self.take()
            branches.append(self.sequence())
        self.depth -= 1
        code = branches[-1]
        for branch in reversed(branches[:-1]):
            code = _either(branch, code)
            self.check_size(code)
        return code

    def sequence(self) -> Code:
        code: Code = []
        while self.peek() not in ("", "|", ")"):
            code = _joined(code, self.repeated())
            self.check_size(code)
        return code

    def check_size(self, code: Code) -> None:
        if len(code) > _MOST_INSTRUCTIONS:
            raise self.wrong("expression is too large")

    def repeated(self) -> Code:
        start = self.position
        code = self.atom()
        counted = self.count()
        while counted is not None:
            self.literal = False
            least, most = counted
            greedy = not self.flags.ungreedy
            if self.peek() == "?":
                self.take()
                greedy = not greedy
            if len(code) * max(least, most or 0, 1) > _MOST_INSTRUCTIONS:
                raise self.wrong("invalid repeat count", self.source[start : self.position])
            code = _times(code, least, most, greedy)
            after = self.position
            counted = self.count()
            if counted is not None:
                raise self.wrong("invalid nested repetition operator", self.source[after - 1 : self.position])
        return code

    def count(self) -> tuple[int, int | None] | None:
        """Return the repetition that stands here, if any."""
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self.peek())
        if simple:
            self.take()
            return simple
        if self.peek() != "{":
            return None
        end = self.source.find("}", self.position)
        parts = self.source[self.position + 1 : end].split(",") if end > 0 else []
        numbers = [p for p in parts if p.isascii() and p.isdigit()]
        if (
            not parts
            or len(parts) > 2
            or not numbers
            or parts[0] not in numbers
            or (parts[-1] and len(numbers) < len(parts))
        ):
            return None  # a brace that stands for itself
        least = int(parts[0])
        most = least if len(parts) == 1 else int(parts[1]) if parts[1] else None
        if max(least, most or 0) > _MOST_REPEATS or (most is not None and most < least):
            raise self.wrong("invalid repeat count", self.source[self.position : end + 1])
        self.position = end + 1
        return least, most

    def atom(self) -> Code:
        character = self.take()
        if character in "*+?":
            raise self.wrong("missing argument to repetition operator", character)
        if character == "(":
            return self.group()
        if character == "[":
            self.literal = False
            return self.characters(self.set())
        if character == "\\":
            return self.escape()
        if character in ".^$":
            self.literal = False
        if character == ".":
            return [_Instruction("set", _ANY if self.flags.dot_all else _NO_NEWLINE)]
        if character == "^":
            return [_Instruction("assert", slot=_LINE_START if self.flags.multiline else _TEXT_START)]
        if character == "$":
            return [_Instruction("assert", slot=_LINE_END if self.flags.multiline else _TEXT_END)]
        return self.characters(((ord(character), ord(character)),))

    def characters(self, ranges: Ranges) -> Code:
        return [_Instruction("set", _both_cases(ranges) if self.flags.ignore_case else ranges)]

    def group(self) -> Code:
        self.literal = False
        outer = self.flags
        number: int | None = None
        if self.peek() != "?":
            self.groups += 1
            number = self.groups
        else:
            self.take()
            if self.peek(2) == "P<" or (self.peek() == "<" and self.peek(2) not in ("<=", "<!")):
                self.named()
                self.groups += 1
                number = self.groups
            elif self.set_flags():
                return []  # they hold up to the end of the group that this stands in
        code = self.alternatives()
        if self.take() != ")":
            raise self.wrong("missing closing )")
        self.flags = outer
        if number is None:
            return code
        save = [_Instruction("save", slot=2 * number)], [_Instruction("save", slot=2 * number + 1)]
        return _joined(_joined(save[0], code), save[1])

    def named(self) -> None:
        self.take(2 if self.peek() == "P" else 1)
        end = self.source.find(">", self.position)
        name = self.source[self.position : end]
        if end < 0 or not name.isidentifier() or not name.isascii():
            raise self.wrong("invalid named capture")
        self.position = end + 1

    def set_flags(self) -> bool:
        """Take flags; whether they stand alone."""
        value = True
        flags = {name: getattr(self.flags, name) for name in ("ignore_case", "multiline", "dot_all", "ungreedy")}
        names = {"i": "ignore_case", "m": "multiline", "s": "dot_all", "U": "ungreedy"}
        start = self.position
        while True:
            character = self.take()
            if character in names:
                flags[names[character]] = value
            elif character == "-" and value:
                value = False
            elif character and character in ":)":
                self.flags = _Flags(**flags)
                return character == ")"
            else:
                raise self.wrong("invalid or unsupported Perl syntax", "(?" + self.source[start : self.position])

    def escape(self) -> Code:
        character = self.take()
        if character == "Q":
            end = self.source.find("\\E", self.position)
            end = len(self.source) if end < 0 else end
            quoted = "".join(c if c.isalnum() else f"\\{c}" for c in self.source[self.position : end])
            # A repetition after the quotation is of its last character only.
            self.source, self.position = quoted + self.source[end + 2 :], 0
            return self.atom() if quoted else []
        slots = {"A": _TEXT_START, "z": _TEXT_END, "b": _BOUNDARY, "B": _NO_BOUNDARY}
        if character in slots:
            self.literal = False
            return [_Instruction("assert", slot=slots[character])]
        ranges = self.shorthand(character)
        if ranges is not None:
            self.literal = False
            return self.characters(ranges)
        code = self.code_point(character)
        self.literal = False
        return self.characters(((code, code),))

    def shorthand(self, character: str) -> Ranges | None:
        found = {"d": _DIGIT, "w": _WORD, "s": _SPACE}.get(character.lower()) if character else None
        if found is None or character.islower():
            return found
        return _inverted(found)

    def code_point(self, character: str) -> int:
        """Return the character that an escape stands for."""
        if character == "x":
            if self.peek() == "{":
                end = self.source.find("}", self.position)
                digits = self.source[self.position + 1 : end] if end > 0 else ""
                self.position = end + 1
            else:
                digits = self.take(2)
            if not digits or len(digits) > 6 or any(d not in "0123456789abcdefABCDEF" for d in digits):
                raise self.wrong("invalid escape sequence", "\\x" + digits)
            code = int(digits, 16)
            if code > _LAST:
                raise self.wrong("invalid escape sequence", "\\x" + digits)
            return code
        if character == "0":
            digits = "0"
            while len(digits) < 3 and self.peek() and self.peek() in "01234567":
                digits += self.take()
            return int(digits, 8)
        if character in _ESCAPES:
            return ord(_ESCAPES[character])
        if not character or (character.isascii() and character.isalnum()):
            raise self.wrong("invalid escape sequence" if character else "trailing \\", "\\" + character)
        return ord(character)

    def set(self) -> Ranges:
        start = self.position - 1
        negated = self.peek() == "^"
        if negated:
            self.take()
        ranges: list[tuple[int, int]] = []
        first = True
        while first or self.peek() != "]":
            if not self.peek():
                raise self.wrong("missing closing ]", self.source[start:])
            first = False
            low = self.item(ranges)
            if low is None:
                continue
            high = low
            if self.peek() == "-" and self.peek(2) not in ("-]", "-"):
                self.take()
                end = self.item(ranges)
                if end is None or end < low:
                    raise self.wrong("invalid character class range", self.source[start : self.position])
                high = end
            ranges.append((low, high))
        self.take()
        found = _both_cases(tuple(ranges)) if self.flags.ignore_case else tuple(ranges)
        return _inverted(found) if negated else found

    def item(self, ranges: list[tuple[int, int]]) -> int | None:
        """Return one character of a set; None after adding a class to the ranges."""
        if self.peek(2) == "[:":
            end = self.source.find(":]", self.position)
            name = self.source[self.position + 2 : end] if end > 0 else ""
            known = _CLASSES.get(name.removeprefix("^"))
            if known is None:
                raise self.wrong("invalid character class range", self.source[self.position :])
            self.position = end + 2
            ranges.extend(_inverted(known) if name.startswith("^") else known)
            return None
        character = self.take()
        if character != "\\":
            return ord(character)
        character = self.take()
        short = self.shorthand(character)
        if short is not None:
            ranges.extend(short)
            return None
        return self.code_point(character)


def _moved(code: Code, by: int) -> Code:
    return [_Instruction(i.kind, i.ranges, tuple(t + by for t in i.targets), i.slot) if i.targets else i for i in code]


def _joined(first: Code, second: Code) -> Code:
    return [*first, *_moved(second, len(first))]


def _either(first: Code, second: Code) -> Code:
    size, end = len(first), len(first) + len(second) + 2
    return [
        _Instruction("split", targets=(1, size + 2)),
        *_moved(first, 1),
        _Instruction("jump", targets=(end,)),
        *_moved(second, size + 2),
    ]


def _split(first: int, second: int, greedy: bool) -> _Instruction:
    return _Instruction("split", targets=(first, second) if greedy else (second, first))


def _optional(code: Code, greedy: bool) -> Code:
    return [_split(1, len(code) + 1, greedy), *_moved(code, 1)]


def _times(code: Code, least: int, most: int | None, greedy: bool) -> Code:
    result: Code = []
    for _ in range(least):
        result = _joined(result, code)
    if most is None:
        loop = [_split(1, len(code) + 2, greedy), *_moved(code, 1), _Instruction("jump", targets=(0,))]
        return _joined(result, loop)
    tail: Code = []
    for _ in range(most - least):
        tail = _optional(_joined(code, tail), greedy)
    return _joined(result, tail)


@lru_cache(maxsize=256)
def compile_regex(expression: str, flags: str = "") -> Regex:
    """Compile an expression.

    Args:
        expression: in RE2's syntax.
        flags: "i" to ignore case, "g" has no meaning here and may be given.

    Raises:
        InvalidError: if the expression or the flags are malformed, or too large.
    """
    unknown = set(flags) - {"g", "i"}
    if unknown:
        raise InvalidError(f"Unrecognized regular expression flag: '{min(unknown)}'.")
    parser = _RegexParser(expression, _Flags(ignore_case="i" in flags))
    body = parser.parse()
    save = [_Instruction("save", slot=0)]
    program = _joined(_joined(save, body), [_Instruction("match")])
    return Regex(program, parser.groups, expression if parser.literal and expression else None)
