r"""Make the list of datasets that stubs of the local Earth Engine know: what Google's records state, without the prose.

From https://github.com/google/earthengine-catalog (Apache License 2.0), whose records are written in Jsonnet:

git clone https://github.com/google/earthengine-catalog
python -m pip install gojsonnet
python tools/catalogue_records.py earthengine-catalog \
  packages/eechips-local/eechips_local/stubs/catalogue_records.jsonl.gz

Each line is a STAC collection in the form in which the catalogue is published, reduced to what stubs follow.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from eechips_local.stubs.stated_values import stated_limits, stated_values

KINDS = ("image", "image_collection", "table")
BAND_KEYS = (
    "name", "gsd", "gee:units", "gee:scale", "gee:offset", "center_wavelength", "gee:wavelength",
)  # fmt: skip
BAND_WORDS = 40
"""Characters of a band's description that are kept, and the rest of the last word."""
COLUMN_WORDS = 400
"""The same of a column that states its values."""


def main(source: str, target: str) -> None:
    """Write a line for each dataset, in the order of ids."""
    catalogue = Path(source)
    commit = subprocess.run(
        ["git", "-C", source, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    head = {
        "source": f"https://github.com/google/earthengine-catalog, commit {commit}",
        "licence": "Apache License 2.0, Copyright 2019 The Google Earth Engine Community Authors",
    }
    records = {record["id"]: record for record in map(compiled, record_files(catalogue))}
    lines = [reduced(record) for _, record in sorted(records.items()) if is_stub(record)]
    text = "".join(f"{json.dumps(line, separators=(',', ':'), ensure_ascii=False)}\n" for line in [head, *lines])
    Path(target).write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def record_files(catalogue: Path) -> list[Path]:
    """Return the files of records, without lists of records and templates."""
    files = (catalogue / "catalog").rglob("*.jsonnet")
    return sorted(file for file in files if file.name != "catalog.jsonnet" and "TEMPLATE" not in file.parts)


def compiled(file: Path) -> dict[str, Any]:
    """Return the content of a record."""
    import _gojsonnet

    folders = [str(file.parents[1]), str(file.parent)]
    content: dict[str, Any] = json.loads(_gojsonnet.evaluate_file(str(file), jpathdir=folders))
    return content


def is_stub(record: dict[str, Any]) -> bool:
    """Return whether a stub can follow a record: it has rows, or pixels of stated bands."""
    return record["gee:type"] in KINDS and (record["gee:type"] == "table" or bool(record["summaries"].get("eo:bands")))


def reduced(record: dict[str, Any]) -> dict[str, Any]:
    """Return what stubs follow of a record."""
    summaries = record["summaries"]
    bands = summaries.get("eo:bands", [])
    kept: dict[str, Any] = {"eo:bands": [reduced_band(band) for band in bands]} if bands else {}
    for band in bands:
        limits = summaries.get(band["name"])
        if isinstance(limits, dict) and {"minimum", "maximum"} <= limits.keys():
            kept[band["name"]] = {"minimum": limits["minimum"], "maximum": limits["maximum"]}
            if limits.get("gee:estimated_range"):
                kept[band["name"]]["gee:estimated_range"] = True
    if summaries.get("gsd"):
        kept["gsd"] = summaries["gsd"]
    if summaries.get("gee:schema"):
        kept["gee:schema"] = [reduced_column(column) for column in summaries["gee:schema"]]
    if pictures := [reduced_picture(picture) for picture in summaries.get("gee:visualizations", []) if picture]:
        kept["gee:visualizations"] = [picture for picture in pictures if picture]
    line = {"id": record["id"], "title": record["title"], "gee:type": record["gee:type"], "extent": record["extent"]}
    if "gee:interval" in record:
        line["gee:interval"] = record["gee:interval"]
    return {**line, "summaries": kept}


def reduced_band(band: dict[str, Any]) -> dict[str, Any]:
    """Return what stubs follow of a band."""
    kept = {key: band[key] for key in BAND_KEYS if key in band}
    kept["description"] = first_words(band.get("description", ""))
    if "gee:classes" in band:
        kept["gee:classes"] = [
            {**entry, "description": first_words(entry.get("description", ""))} for entry in band["gee:classes"]
        ]
    if "gee:bitmask" in band:
        kept["gee:bitmask"] = {
            "bitmask_parts": [
                {
                    "first_bit": part["first_bit"],
                    "bit_count": part["bit_count"],
                    **({"values": [{"value": each["value"]} for each in part["values"]]} if part.get("values") else {}),
                }
                for part in band["gee:bitmask"].get("bitmask_parts", [])
            ]
        }
    return kept


def first_words(description: str) -> str:
    """Return the beginning of a description, of whole words."""
    text = " ".join(description.split())
    return text[:BAND_WORDS] + text[BAND_WORDS:].partition(" ")[0]


def reduced_column(column: dict[str, Any]) -> dict[str, Any]:
    """Return name and type of a property, and its description if that states its values or limits."""
    kept = {"name": column["name"], "type": column["type"]}
    words = column["description"][:COLUMN_WORDS]
    is_stated = stated_values(words, column["type"]) or stated_limits(words, column["type"])
    return {**kept, "description": words} if is_stated else kept


def reduced_picture(picture: dict[str, Any]) -> dict[str, Any]:
    """Return the bands and the stretch of a picture, or that a table shows points."""
    stretch = picture.get("image_visualization", {}).get("band_vis", {})
    if {"bands", "min", "max"} <= stretch.keys():
        return {"image_visualization": {"band_vis": {key: stretch[key] for key in ("bands", "min", "max")}}}
    size = picture.get("table_visualization", {}).get("point_size")
    return {} if size is None else {"table_visualization": {"point_size": size}}


if __name__ == "__main__":
    main(*sys.argv[1:])
