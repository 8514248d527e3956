"""Convert values of columns to JSON, write JSON, and parse documents of any size in parts."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import shapely

from eechips.extras import import_extra
from eechips.geo.geometry_depth import is_too_deep
from eechips.storage.untrusted_files import parse_json


def plain(value: Any) -> Any:
    """Return a value as JSON: without nulls in objects, times as text, and WKB as GeoJSON."""
    if isinstance(value, dict):
        parts = ((name, plain(part)) for name, part in value.items() if part is not None)
        return {name: part for name, part in parts if part is not None}
    if isinstance(value, list):
        if value and all(isinstance(part, tuple) for part in value):  # a map
            return plain(dict(value))
        return [plain(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if value is None or isinstance(value, (str, int)):
        return value
    return _to_json_scalar(value)


_BANDS = frozenset(("bands", "eo:bands", "raster:bands"))
# Fields of assets and bands that STAC defines as lists or objects: common metadata of 1.1, and the extensions
# alternate-assets, classification, projection and raster.
_LISTS = _BANDS | {
    *("roles", "alternate", "classification:classes", "classification:bitfields", "statistics", "raster:histogram"),
    *("proj:bbox", "proj:centroid", "proj:projjson", "proj:shape", "proj:transform"),
}
# Those that are numbers, in assets and anywhere in them; ``nodata`` and statistics may also be "nan", "inf" or "-inf".
_NUMBERS = frozenset(("nodata", "gsd", "file:size", "raster:scale", "raster:offset", "raster:spatial_resolution"))
# In bands and statistics only: elsewhere the scale of a map is a text.
_NUMBERS_IN: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(_BANDS, frozenset(("scale", "offset", "spatial_resolution", "bits_per_sample"))),
    "statistics": frozenset(("minimum", "maximum", "mean", "stddev")),
}


def from_text(value: Any, name: str = "", parent: str = "") -> Any:
    """Return parts of assets as STAC defines them where a column holds them as JSON text, such as one of mixed kinds.

    A column of texts does not say whether all were texts before: all numbers of fields that STAC defines as numbers
    become numbers.

    Args:
        value: the assets, or a part of them.
        name: name of the part.
        parent: name of the object that the part is in.
    """
    if isinstance(value, dict):
        return {key: from_text(part, key, name) for key, part in value.items()}
    if isinstance(value, list):
        # A band without fields is null in a column; in STAC 0.8 a band is its position.
        return [{} if part is None and name in _BANDS else from_text(part, name, parent) for part in value]
    if not isinstance(value, str):
        return value
    is_structure = name in _LISTS and value[:1] in ("{", "[")
    if is_structure or name in _NUMBERS | _BANDS | _NUMBERS_IN.get(parent, frozenset()):
        try:
            parsed = json_reader()(value.encode())
            if is_structure:
                return parse_json(value)  # refuses what is nested too deep
        except ValueError:  # "nan"
            return value
        return parsed if type(parsed) in (int, float) else value
    return value


def _to_json_scalar(value: Any) -> Any:
    """Convert a value of a type that JSON lacks."""
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
        return moment.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        shape = None if is_too_deep(value) else shapely.from_wkb(value, on_invalid="ignore")
        return None if shape is None else shapely.geometry.mapping(shape)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)  # days, times of the day, durations


def json_writer() -> Callable[[Any], bytes]:
    """Return a fast function that writes JSON."""
    dumps: Callable[[Any], bytes] = _orjson().dumps
    return dumps


def json_reader() -> Callable[[bytes], Any]:
    """Return a fast function that reads JSON and raises ValueError."""
    loads: Callable[[bytes], Any] = _orjson().loads
    return loads


def _orjson() -> Any:
    return import_extra("orjson", "catalogues need stac-geoparquet and orjson", "stac")


_BLOCK = 1 << 20  # minimum characters parsed at a time
_LARGEST = 1 << 28  # maximum characters of a part
_SLACK = 32  # characters: an error this near the end of the loaded text may disappear with more text
_BLANK = re.compile(r"[ \t\r\n\x1e]*")  # RFC 8142 has a record separator before each value
_DECODER = json.JSONDecoder()
_FEATURES = "features"


def parts(blocks: Iterable[bytes]) -> Iterator[str]:
    """Yield the JSON texts of the parts of a document, unchanged.

    Parts are the elements of arrays, also of nested ones, the features of collections, such as pages of an API, and any
    other values. A document may have several values, with or without commas in between. Memory holds one part, or a
    megabyte.

    Args:
        blocks: the document, in any encoding of JSON.

    Raises:
        ValueError: if it is not JSON, or is truncated; earlier parts have been yielded.
    """
    text = _Text(blocks)
    try:
        while text.peek():
            yield from _several(text)
            if text.peek() == ",":
                text.at += 1
    except RecursionError:
        raise ValueError("arrays are nested too deeply") from None


class _Text:
    """The rest of a text that arrives in blocks.

    Attributes:
        at: index of the next character in the loaded text.
        mark: index of the first character still needed; None if it is the next one.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self.at = 0
        self.mark: int | None = None
        self._pieces = _decoded(blocks)
        self._loaded, self._passed, self._is_whole = "", 0, False

    def peek(self) -> str:
        """Return the next character that is not blank; empty at the end."""
        while True:
            blanks = _BLANK.match(self._loaded, self.at)
            assert blanks is not None
            self.at = blanks.end()
            if self.at < len(self._loaded):
                return self._loaded[self.at]
            if not self._more():
                return ""

    def take(self, characters: str) -> str:
        """Consume the next character that is not blank, which must be one of these."""
        character = self.peek()
        if not character or character not in characters:
            what = f"'{character}'" if character else "the end"
            raise ValueError(f"{' or '.join(characters)} expected, not {what}, at character {self._passed + self.at}")
        self.at += 1
        return character

    def value(self) -> Any:
        """Parse the next value."""
        first = self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._loaded, self.at)
            except json.JSONDecodeError as error:
                may_go_on = error.pos >= len(self._loaded) - _SLACK or error.msg.startswith("Unterminated")
                if not may_go_on or not self._more():
                    raise ValueError(f"{error.msg} at character {self._passed + error.pos}") from None
            else:
                if first in '"{[' or end < len(self._loaded) - _SLACK or not self._more():  # numbers may continue
                    self.at = end
                    return value

    def since(self, mark: int) -> str:
        """Return the text between a mark and the next character."""
        return self._loaded[mark : self.at]

    def _more(self) -> bool:
        """Load as much again; return whether there was more."""
        if self._is_whole:
            return False
        kept = self.at if self.mark is None else self.mark
        pieces = [self._loaded[kept:]]
        wanted = max(_BLOCK, len(pieces[0]))
        if wanted > _LARGEST:
            raise ValueError(f"a part has more than {_LARGEST:,} characters")
        while wanted > 0:
            piece = next(self._pieces, None)
            if piece is None:
                self._is_whole = True
                break
            pieces.append(piece)
            wanted -= len(piece)
        self._loaded = "".join(pieces)
        self._passed += kept
        self.at -= kept
        if self.mark is not None:
            self.mark -= kept
        return len(pieces) > 1


def _several(text: _Text) -> Iterator[str]:
    """Yield the parts of a value."""
    first = text.peek()
    if first == "{":
        yield from _of_object(text)
    elif first == "[":
        yield from _of_array(text, is_flat=False)
    else:
        yield _whole(text)


def _whole(text: _Text) -> str:
    """Return the text of a value."""
    text.peek()
    text.mark = text.at
    text.value()
    value_text = text.since(text.mark)
    text.mark = None
    return value_text


def _of_array(text: _Text, *, is_flat: bool) -> Iterator[str]:
    text.take("[")
    if text.peek() == "]":
        text.at += 1
        return
    while True:
        if is_flat:
            yield _whole(text)
        else:
            yield from _several(text)
        if text.take(",]") == "]":
            return


def _of_object(text: _Text) -> Iterator[str]:
    """Yield an object, or the features of a collection without holding it."""
    text.mark = text.at
    text.take("{")
    is_collection = False
    if text.peek() == "}":
        text.at += 1
    else:
        while True:
            text.peek()
            name = text.value() if text.peek() == '"' else text.take('"')
            text.take(":")
            if name == _FEATURES and text.peek() == "[":
                is_collection, text.mark = True, None
                yield from _of_array(text, is_flat=True)
            else:
                text.value()
            if text.take(",}") == "}":
                break
    if not is_collection:
        assert text.mark is not None
        object_text, text.mark = text.since(text.mark), None
        yield object_text


def _decoded(blocks: Iterable[bytes]) -> Iterator[str]:
    """Decode blocks in any encoding of JSON."""
    decoder: Any = None
    for block in blocks:
        if decoder is None:
            if not block:
                continue
            decoder = codecs.getincrementaldecoder(json.detect_encoding(block))("surrogatepass")
        yield decoder.decode(block)
    if decoder is not None:
        yield decoder.decode(b"", final=True)
