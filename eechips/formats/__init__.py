"""File formats of results: checking responses, encoding files, and checking saved files.

A chip format is one :class:`ChipFormat` in one module; installed packages add further ones as entry points of the group
``eechips.formats``. Table formats have ``encode`` and ``validate``. Formats of training sets (shards) are in
:mod:`eechips.training`.
"""

from __future__ import annotations

from eechips.formats.chip_format import MASK_BAND, ChipFormat, EncodedFile, Expectation, FileMetadata
from eechips.formats.format_detection import (
    CHIP_FORMATS,
    TABLE_FORMATS,
    TableFormat,
    chip_format_of,
    chip_suffixes,
    inspect,
    media_type_of,
    picture_suffixes,
    sniff,
    stack_formats,
    table_format,
    validate,
)

__all__ = [
    "CHIP_FORMATS",
    "MASK_BAND",
    "TABLE_FORMATS",
    "ChipFormat",
    "EncodedFile",
    "Expectation",
    "FileMetadata",
    "TableFormat",
    "chip_format_of",
    "chip_suffixes",
    "inspect",
    "media_type_of",
    "picture_suffixes",
    "sniff",
    "stack_formats",
    "table_format",
    "validate",
]
