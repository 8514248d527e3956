import sys
from pathlib import Path

import pytest

from eechips.errors import ConfigurationError, UsageError
from eechips.registry import Registry


def registry() -> Registry[object]:
    return Registry("chip format", "eechips.test_formats", {"png": "json", "tif": "json:dumps"})


def declare(folder: Path, *lines: str) -> None:
    """Write a package as it is found when it is installed: its module, and its entry points."""
    (folder / "some_formats.py").write_text("webp = 'the format'\n")
    info = folder / "some_formats-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-formats\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(["[eechips.test_formats]", *lines, ""]))


def test_objects_of_eechips_are_loaded_by_name() -> None:
    import json

    assert registry().names == ("png", "tif")
    assert registry().get("png") is json
    assert registry().get("tif") is json.dumps


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no chip format 'tiff'; did you mean 'tif'\? \(choose one of png, tif\)"):
        registry().get("tiff")


def test_packages_add_objects_but_replace_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    declare(tmp_path, "webp = some_formats:webp", "png = some_formats")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "some_formats", raising=False)
    found = registry()
    assert found.names == ("png", "tif", "webp")
    assert found.get("webp") == "the format"
    assert found.get("png") is json
    assert "webp" in found
    assert "gif" not in found


def test_objects_of_another_class_are_refused() -> None:
    own = {"tif": "json:dumps", "name": "json:__name__"}
    checked = Registry("chip format", "eechips.test_formats", own, str, "eechips.formats.ChipFormat")
    assert checked.get("name") == "json"
    message = "the chip format 'tif' is declared as a function, not an eechips.formats.ChipFormat. Repair or remove"
    with pytest.raises(ConfigurationError, match=message):
        checked.get("tif")


def test_a_broken_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path, "avif = some_formats:avif")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "some_formats", raising=False)
    with pytest.raises(ConfigurationError, match="the chip format 'avif' cannot be loaded from some_formats:avif"):
        registry().get("avif")
