"""Regular expressions in RE2's syntax, which is Earth Engine's, matched in time linear in the text.

Python's own ``re`` backtracks: a request could keep it busy for years. The syntax is
https://github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from eechips_local.protocol.request_errors import InvalidError

_SURROGATES = re.compile("[\ud800-\udfff]")
_MEMORY = 8 << 20  # bytes of a compiled expression; RE2's default
# Bytes of a match: RE2 keeps the ends of all groups, 16 bytes each, for each instruction, whatever ``max_mem`` says
# (re2/nfa.cc). 20,000 nested groups take 12 GB; 1,000 names of scenes, each in a group, count 336 MB, and take less.
_MATCH_MEMORY = 384 << 20


@lru_cache(maxsize=256)
def compile_regex(expression: str, flags: str = "") -> Any:
    """Compile an expression.

    Args:
        expression: in RE2's syntax.
        flags: "i" to ignore case, "g" has no meaning here and may be given.

    Returns:
        A pattern of the ``re2`` package, with the methods of one of ``re``.

    Raises:
        InvalidError: if the expression or the flags are malformed, or too large.
    """
    import re2

    unknown = set(flags) - {"g", "i"}
    if unknown:
        raise InvalidError(f"Unrecognized regular expression flag: '{min(unknown)}'.")
    options = re2.Options()
    options.case_sensitive = "i" not in flags
    options.max_mem = _MEMORY
    options.log_errors = False
    try:
        compiled = re2.compile(expression, options)
    except UnicodeEncodeError:
        raise InvalidError("error parsing regexp: invalid UTF-8") from None
    except re2.error as error:
        (reason,) = error.args
        raise InvalidError(f"error parsing regexp: {bytes(reason).decode(errors='replace')}") from None
    if 16 * (compiled.groups + 1) * compiled.programsize > _MATCH_MEMORY:
        raise InvalidError("error parsing regexp: pattern too large: it has too many groups")
    return compiled


def matchable(text: str) -> str:
    """Return a text of the same length without lone surrogates, which have no UTF-8."""
    return _SURROGATES.sub("\ufffd", text)
