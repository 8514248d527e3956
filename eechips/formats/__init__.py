"""File formats of results: checking responses, encoding files, and checking saved files.

A chip format is one :class:`ChipFormat` in one module; installed packages add further ones as entry points of the group
``eechips.formats``. Table formats have ``encode`` and ``validate``. Formats of training sets (shards) are in
:mod:`eechips.training`.
"""

from __future__ import annotations

from eechips.formats.chip_format import MASK_BAND as MASK_BAND
from eechips.formats.chip_format import ChipFormat as ChipFormat
from eechips.formats.chip_format import EncodedFile as EncodedFile
from eechips.formats.chip_format import Expectation as Expectation
from eechips.formats.chip_format import FileMetadata as FileMetadata
from eechips.formats.format_detection import CHIP_FORMATS as CHIP_FORMATS
from eechips.formats.format_detection import TABLE_FORMATS as TABLE_FORMATS
from eechips.formats.format_detection import TableFormat as TableFormat
from eechips.formats.format_detection import chip_format_of as chip_format_of
from eechips.formats.format_detection import chip_suffixes as chip_suffixes
from eechips.formats.format_detection import inspect as inspect
from eechips.formats.format_detection import media_type_of as media_type_of
from eechips.formats.format_detection import picture_suffixes as picture_suffixes
from eechips.formats.format_detection import sniff as sniff
from eechips.formats.format_detection import stack_formats as stack_formats
from eechips.formats.format_detection import table_format as table_format
from eechips.formats.format_detection import validate as validate
