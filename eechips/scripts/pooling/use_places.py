"""Identify a use of a pool by its place in the script: the instructions that lead there, in which turns of loops."""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import PurePath
from types import CodeType, FrameType, NoneType
from typing import Any

from eechips.recipe import canonical_json
from eechips.scripts.pooling.original_pools import is_of_script
from eechips.scripts.script_source import ScriptSource
from eechips.scripts.serialization import describe

_PLAIN = (str, int, float, NoneType, date, PurePath)


def present_place() -> str:
    """Return the place at which the script is in this thread, by the functions on its stack.

    Variables of ``for`` loops count if they have plain values, which do not depend on the process. Two turns of a
    ``while`` loop have the same place.
    """
    steps: list[Any] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") != ScriptSource.__module__:  # which executes it
        if is_of_script(frame) and not str(frame.f_globals.get("__name__")).startswith("eechips."):
            variables = frame.f_locals
            targets = _loop_variables(frame.f_code, frame.f_lasti)
            values = {name: describe(variables[name]) for name in targets if _has_plain_items(variables.get(name, ...))}
            steps.append([frame.f_code.co_name, frame.f_lasti, values])
        frame = frame.f_back
    return canonical_json(steps)


@functools.cache
def _loop_variables(code: CodeType, position: int) -> tuple[str, ...]:
    """Return the variables of the ``for`` loops around an instruction."""
    return tuple(dict.fromkeys(_find_loop_variables(code, position)))


def _find_loop_variables(code: CodeType, position: int) -> Iterator[str]:
    instructions = list(dis.get_instructions(code))
    for number, instruction in enumerate(instructions):
        if instruction.opname == "FOR_ITER" and instruction.offset < position < instruction.argval:
            missing = 1
            for following in instructions[number + 1 :]:
                if following.opname == "UNPACK_SEQUENCE":
                    missing += following.argval - 1
                elif following.opname.startswith("STORE_"):
                    names = (following.argval,) if isinstance(following.argval, str) else following.argval
                    stores = following.opname.count("STORE_")  # from Python 3.13 on two at once, or also a load
                    yield from names[:stores]
                    missing -= stores
                elif following.opname not in ("CACHE", "NOP"):
                    break
                if not missing:
                    break


def _has_plain_items(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_has_plain_items, value))
    if isinstance(value, dict):
        return all(map(_has_plain_items, value.values()))
    return isinstance(value, _PLAIN)
