"""Find the encoding of the texts of a Shapefile: its .dbf file is dBASE III."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eechips.geo.vector_formats import RefusedFileError

_BLOCK = 1 << 20  # bytes that are read at once
_CODE_PAGES = {0x01: "cp437", 0x02: "cp850", 0x03: "cp1252", 0x08: "cp865", 0x09: "cp437", 0x0A: "cp850", 0x0B: "cp437",
               0x0D: "cp437", 0x0E: "cp850", 0x0F: "cp437", 0x10: "cp850", 0x11: "cp437", 0x12: "cp850", 0x13: "cp932",
               0x14: "cp850", 0x15: "cp437", 0x16: "cp850", 0x17: "cp865", 0x18: "cp437", 0x19: "cp437", 0x1A: "cp850",
               0x1B: "cp437", 0x1C: "cp863", 0x1D: "cp850", 0x1F: "cp852", 0x22: "cp852", 0x23: "cp852", 0x24: "cp860",
               0x25: "cp850", 0x26: "cp866", 0x37: "cp850", 0x40: "cp852", 0x4D: "cp936", 0x4E: "cp949", 0x4F: "cp950",
               0x50: "cp874", 0x58: "cp1252", 0x59: "cp1252", 0x64: "cp852", 0x65: "cp866", 0x66: "cp865",
               0x67: "cp861", 0x6A: "cp737", 0x6B: "cp857", 0x6C: "cp863", 0x78: "cp950", 0x79: "cp949", 0x7A: "cp936",
               0x7B: "cp932", 0x7C: "cp874", 0x87: "cp852", 0x88: "cp857", 0xC8: "cp1250", 0xC9: "cp1251",
               0xCA: "cp1254", 0xCB: "cp1253", 0xCC: "cp1257"}  # fmt: skip
"""Encodings by the language driver of a dBASE file (GDAL's shape/ogrshapelayer.cpp); 0x57 means the system's."""


def find_codec(name: str) -> str | None:
    """Return Python's name of an encoding as a .cpg file writes it, such as ``ANSI 1252``; None if there is none."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if match := re.fullmatch(r"(?:iso)?8859(\d{1,2})", plain):
        plain = f"iso8859-{match[1]}"
    elif match := re.fullmatch(r"(?:ansi|oem|windows|cp|ibm)*(\d{3,5})", plain):
        plain = "utf-8" if match[1] == "65001" else f"cp{match[1]}"
    try:
        return codecs.lookup(plain).name
    except LookupError:
        return None


@dataclass(frozen=True)
class Dbase:
    """The attribute table of a Shapefile."""

    path: Path

    def check(self, declared: str | None) -> tuple[str, str]:
        """Check that all texts have one encoding.

        Args:
            declared: name of the encoding; None to take it from the file, or UTF-8 or Windows-1252, as the texts are.

        Returns:
            Name of the encoding for GDAL, and a note for the user if it was guessed.

        Raises:
            RefusedFileError: if the encoding is unknown, or a text is not in it; with column and row.
        """
        texts = list(self._texts())
        with self.path.open("rb") as file:
            language = file.read(32)[29:30]
        codec = find_codec(declared) if declared else _CODE_PAGES.get(language[0] if language else 0)
        if declared and codec is None:
            raise RefusedFileError(f"its texts are in {declared[:40]!r}, which is no known encoding")
        if codec is None:
            codec = "utf-8" if all(is_text(raw, "utf-8") for _, _, raw in texts) else "cp1252"
        elif not declared and codec != "utf-8" and texts and all(is_text(raw, "utf-8") for _, _, raw in texts):
            codec = "utf-8"
        for row, column, raw in texts:
            if not is_text(raw, codec):
                where = f"row {row}, column {column!r}" if row else "the name of a column"
                raise RefusedFileError(f"{where} is not text in {codec}: {raw.rstrip()[:40]!r}")
        note = ""
        if texts and not declared and codec != "utf-8":
            shown = texts[0][2].decode(codec).strip()[:40]
            note = f"its texts are read as {codec}, because no .cpg file says their encoding: {shown!r}"
        return (codec.upper() if codec == "utf-8" else _gdal_name(codec)), note

    def _texts(self) -> Iterator[tuple[int, str, bytes]]:
        """Yield row from 1 (0 for names of columns), name of the column, and the bytes of texts beyond ASCII."""
        with self.path.open("rb") as file:
            head = file.read(32)
            if len(head) < 32:
                raise RefusedFileError(f"{self.path.name} is damaged: it has no header")
            start, width = int.from_bytes(head[8:10], "little"), int.from_bytes(head[10:12], "little")
            rows = int.from_bytes(head[4:8], "little")
            if start + rows * width > self.path.stat().st_size:
                raise RefusedFileError(f"{self.path.name} is damaged: it claims to have {rows:,} rows")
            described = file.read(max(start - 32, 0))
            fields, offset = [], 1
            for at in range(0, len(described) - 31, 32):
                if described[at : at + 1] == b"\r":
                    break
                raw = described[at : at + 11].partition(b"\0")[0]
                size = described[at + 16] + (256 * described[at + 17] if described[at + 11 : at + 12] == b"C" else 0)
                if not raw.isascii():
                    yield 0, "", raw
                if described[at + 11 : at + 12] in b"CM":
                    fields.append((raw.decode("latin-1"), offset, size))
                offset += size
            if width < 1:
                raise RefusedFileError(f"{self.path.name} is damaged: its rows have no bytes")
            file.seek(start)
            row = 0
            block = max(1, _BLOCK // width) * width
            while data := file.read(block):
                if data.isascii():
                    row += len(data) // width
                    continue
                for at in range(0, len(data), width):
                    row += 1
                    if not (record := data[at : at + width]).isascii():
                        for name, begin, size in fields:
                            if not (raw := record[begin : begin + size]).isascii():
                                yield row, name, raw


def is_text(raw: bytes, codec: str) -> bool:
    """Return whether bytes are text in an encoding; NULs and spaces at their end are filling."""
    try:
        raw.rstrip(b"\0 ").decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _gdal_name(codec: str) -> str:
    """Return GDAL's name of an encoding."""
    return f"ISO-8859-{codec[8:]}" if codec.startswith("iso8859-") else codec.upper()
