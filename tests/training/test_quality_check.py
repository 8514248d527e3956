"""eechips check: exactly the planted flags are found."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine

import eechips
from eechips.errors import RegionError, StorageError, UsageError
from eechips.formats import geotiff
from eechips.geo.grid import Grid
from eechips.manifest.exclusions import exclude_units
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.quality import quality_table
from eechips.training.quality.chip_statistics import ChipStatistics
from eechips.training.quality.quality_check import QualityReport
from eechips.training.quality.quality_flags import FLAGS, lattice_of
from eechips.training.sample_reader import read_samples
from tests.support.commands import run_command
from tests.support.finished_run import Files, move_results, pictures, png_of, write_run
from tests.support.programs import largest_file

SIZE = 32
WEST, NORTH = 500_000.0, 4_400_000.0
ROI = "-105.05,39.6,-104.5,39.8"  # around that corner

Pixels = npt.NDArray[Any]


def texture(seed: int, dtype: str = "uint8") -> Pixels:
    """An image of three bands like no other."""
    draw = np.random.default_rng(seed)
    coarse = draw.uniform(40, 200, (3, 10, 10)).repeat(4, axis=1).repeat(4, axis=2)[:, :SIZE, :SIZE]
    return (coarse + draw.uniform(0, 20, (3, SIZE, SIZE))).astype(dtype)


def grid(column: int) -> Grid:
    """The grid of the chip in a place; one place after the other."""
    return Grid("EPSG:32613", (10.0, 0.0, WEST + 320.0 * column, 0.0, -10.0, NORTH), SIZE, SIZE)


def tif(
    values: Pixels, place: Grid, mask: npt.NDArray[np.bool_] | None = None, names: tuple[str, ...] | None = None
) -> bytes:
    mask = np.ones(values.shape[1:], dtype=bool) if mask is None else mask
    names = names or tuple(f"B{number}" for number in range(len(values)))
    crs = rasterio.crs.CRS.from_user_input(place.crs)
    return geotiff.encode(values, mask, names, crs, Affine(*place.transform))


def unit(column: int, data: bytes, **fields: object) -> tuple[dict[str, Any], Files]:
    return {"kind": "point", "place": column, "grid": grid(column).to_json(), **fields}, {"": ("tif", data)}


def planted() -> list[tuple[str, tuple[dict[str, Any], Files]]]:
    """Flag and unit; the flag is empty for chips that have nothing."""
    few = np.zeros((SIZE, SIZE), dtype=bool)
    few[:8] = True
    noisy = np.clip(texture(0).astype(int) + np.random.default_rng(9).integers(-2, 3, (3, SIZE, SIZE)), 0, 255)
    white, black = texture(20), texture(21)
    white[1, :20], black[:, :20] = 255, 0
    flat = np.stack([np.full((SIZE, SIZE), n, dtype=np.uint8) for n in (3, 4, 5)])
    far = Grid("EPSG:32613", (10.0, 0.0, WEST, 0.0, -10.0, NORTH + 900_000.0), SIZE, SIZE)
    half = Grid("EPSG:32613", (10.0, 0.0, WEST + 320.0 * 13 + 5.0, 0.0, -10.0, NORTH), SIZE, SIZE)
    scl = np.full((1, SIZE, SIZE), 4, dtype=np.uint8)
    scl[:, :10] = 9
    clear = np.where(scl == 9, 3, scl)
    named = ("B4", "B3", "B2", "SCL")
    return [
        *(("", unit(n, tif(texture(n), grid(n)))) for n in range(6)),
        ("masked", unit(6, tif(texture(6), grid(6), few))),
        ("constant", unit(7, tif(flat, grid(7)))),
        ("black", unit(8, tif(black, grid(8)))),
        ("saturated", unit(9, tif(white, grid(9)))),
        ("duplicate", unit(10, tif(texture(1), grid(10)))),
        ("near_duplicate", unit(11, tif(noisy.astype(np.uint8), grid(11)))),
        ("size", unit(12, tif(texture(12)[:, :, :16], grid(12).window(0, 0, 16, SIZE)))),
        ("shifted", unit(13, tif(texture(13), half))),
        ("outside", unit(14, tif(texture(14), far), grid=far.to_json())),
        ("cloudy", unit(15, tif(np.concatenate([texture(15), scl]), grid(15), names=named))),
        ("", unit(16, tif(np.concatenate([texture(16), clear]), grid(16), names=named))),
        ("unreadable", unit(17, tif(texture(17), grid(17)))),
        ("unreadable", unit(18, tif(texture(18), grid(18)))),
        ("shifted", unit(19, tif(texture(19), grid(19)))),
        ("changed", unit(20, tif(texture(20), grid(20)))),
    ]


INFO: Mapping[str, Any] = {
    "parameters": {"roi": ROI, "size": [SIZE, SIZE]},
    "datasets": [{"id": "COPERNICUS/S2_SR_HARMONIZED"}],
}


def damage(folder: Path) -> None:
    """Damage the last four files after the run."""
    files = [folder / sample.files[0].name for sample in read_samples(folder)]
    files[17].unlink()
    files[18].write_bytes(files[18].read_bytes()[:-500])
    with Ledger(folder / LEDGER_NAME) as ledger:  # somebody has georeferenced it anew, and recorded that
        moved = [*grid(19).transform[:2], WEST + 320.0 * 19 - 7.0, *grid(19).transform[3:]]
        ledger.database.execute("UPDATE units SET transform = ? WHERE position = 19", (json.dumps(moved),))
    files[20].write_bytes(tif(texture(99), grid(20)))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    write_run(folder, [each for _, each in planted()], **INFO)
    damage(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


def found_in(found: QualityReport) -> list[str]:
    return [",".join(own) for own in found.files["flags"]]


def test_every_planted_flag_is_found_and_no_other(folder: Path) -> None:
    wanted = [flag for flag, _ in planted()]
    found = eechips.check(folder)
    assert found_in(found) == wanted
    assert set(wanted) - {""} == set(FLAGS)
    assert found.read == len(wanted) - 1  # one is missing
    assert repr(found) == f"<eechips check of {folder}: {sum(map(bool, wanted))} of {len(wanted)} units flagged>"
    assert found.unchecked == {}
    ids = read_samples(folder).ids
    originals = dict(zip(found.files["id"], found.files["duplicate_of"], strict=True))
    assert (originals[ids[10]], originals[ids[11]]) == (ids[1], ids[0])
    assert found.units(("black", "size")) == {ids[8]: ["black"], ids[12]: ["size"]}


def test_a_full_disk_is_named_and_the_check_goes_on_later(folder: Path) -> None:
    with largest_file(100), pytest.raises(StorageError, match=r"could not write .*/quality\.parquet: File too large"):
        eechips.check(folder)
    assert len(eechips.check(folder).files) > 0
    assert not list(folder.glob("*.part"))


def test_flags_are_stored_beside_the_manifest(folder: Path) -> None:
    found = eechips.check(folder, most_black=0.7)
    frame = quality_table.read(folder)
    assert frame["flags"].tolist() == found.files["flags"].tolist()
    assert frame["id"].tolist() == read_samples(folder).ids
    assert frame["cloud_fraction"].dropna().tolist() == pytest.approx([10 / 32, 0.0])
    assert frame.loc[19, "offset"] == pytest.approx(0.7)
    assert frame.loc[17, ["sha256", "pixels", "mean"]].isna().all()
    assert [sample.flags for sample in read_samples(folder)][7:10] == [("constant",), (), ("saturated",)]
    assert list(quality_table.flags(folder).values())[9] == ["saturated"]
    assert quality_table.options(folder)["most_black"] == 0.7


@pytest.mark.slow
def test_only_new_files_are_read(folder: Path) -> None:
    first = eechips.check(folder)
    again = eechips.check(folder)
    damaged = ("unreadable", "unreadable", "changed")
    assert again.read == len(damaged) - 1  # nobody knows what they are like by now
    assert found_in(again) == found_in(first)
    stricter = eechips.check(folder, most_clouds=0.5, least_valid=0.2, most_black=0.1, bits=None)
    assert stricter.read == len(damaged) - 1
    changed = {index for index, (a, b) in enumerate(zip(found_in(first), found_in(stricter), strict=True)) if a != b}
    assert changed == {6, 11, 15}
    assert eechips.check(folder, again=True).read == len(first.files) - 1
    name = read_samples(folder)[2].files[0].name
    (folder / name).write_bytes((folder / name).read_bytes() + b"\0")
    assert eechips.check(folder).read == len(damaged)


def test_a_file_that_has_changed_since_is_read_again_though_its_size_is_the_same(tmp_path: Path) -> None:
    run = write_run(tmp_path, [each for _, each in planted()[:3]], **INFO)
    before = eechips.check(run).read
    path = tmp_path / read_samples(run)[1].files[0].name
    damaged = path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])
    times = path.stat()
    path.write_bytes(damaged)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as damage by a disk or a copy leaves it
    found = eechips.check(run)
    assert found.read < before
    assert found.files["flags"][1] == ["unreadable"]
    assert found.files["sha256"][1] == hashlib.sha256(damaged).hexdigest()


def interrupted(folder: Path, measured: Mapping[tuple[str, str], ChipStatistics]) -> None:
    """A check that gets as far as these files, and into the middle of a line."""
    with quality_table.Journal(folder) as journal:
        for (file, digest), measures in measured.items():
            journal.add(file, digest, measures)
        journal._file.write('[1, "chips/some')
        raise KeyboardInterrupt


def test_an_interrupted_check_resumes(folder: Path) -> None:
    whole = eechips.check(folder)
    measured = {key: measures for key, (_, measures) in islice(quality_table.measured(folder).items(), 7)}
    (folder / "quality.parquet").unlink()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            interrupted(folder, measured)
    again = eechips.check(folder)
    assert again.read == whole.read - 7
    assert found_in(again) == found_in(whole)
    assert not list(folder.glob(".quality*"))


def test_the_same_check_writes_the_same_bytes(folder: Path) -> None:
    eechips.check(folder)
    before = (folder / "quality.parquet").read_bytes()
    eechips.check(folder, again=True)
    assert (folder / "quality.parquet").read_bytes() == before


@pytest.mark.slow
def test_the_command_prints_a_line_for_each_flag(folder: Path) -> None:
    done = run_command("check", folder, status=0)
    for flag in FLAGS:
        count = sum(each == flag for each, _ in planted())
        assert re.search(rf"^{flag} +{count}  {re.escape(FLAGS[flag])}$", done.output, flags=re.M)
    assert "14 of 21 units flagged; 20 of 21 files read" in done.output
    run_command("check", folder, "--strict", status=1)
    everything = ",".join(FLAGS)
    clean = run_command("check", folder, "--strict", "--ignore", everything, status=0)
    assert "0 of 21 units flagged" in clean.output


def test_unknown_properties_are_reported(tmp_path: Path) -> None:
    write_run(tmp_path, pictures(3, size=16), parameters={"roi": "FAO/GAUL/2015/level1:ADM1_NAME=Colorado"})
    done = run_command("check", tmp_path)
    assert "Not checked: cloudy: no file has a quality band" in done.output
    assert "Not checked: outside: only Earth Engine knows FAO/GAUL" in done.output
    assert "Not checked: shifted: files of this kind say nothing of their place" in done.output
    assert "the location of the files is unknown" in run_command("check", tmp_path, "--roi", ROI).output


@pytest.mark.slow
def test_a_region_may_be_given(folder: Path, tmp_path: Path) -> None:
    assert "outside" not in ",".join(found_in(eechips.check(folder, roi="-106,39,-104,50")))
    other = found_in(eechips.check(folder, roi="170,-10,-170,10"))
    assert all("outside" in flags or "unreadable" in flags for flags in other)
    square = {"type": "Polygon", "coordinates": [[[-105.1, 39], [-104, 39], [-104, 40], [-105.1, 40], [-105.1, 39]]]}
    (tmp_path / "area.geojson").write_text(json.dumps(square))
    assert found_in(eechips.check(folder, roi=tmp_path / "area.geojson")) == [flag for flag, _ in planted()]
    with pytest.raises(RegionError, match="is neither W,S,E,N in degrees nor a vector file"):
        eechips.check(folder, roi="nowhere")


def layered(masks: list[int]) -> list[tuple[dict[str, Any], Files]]:
    units = []
    for number, value in enumerate(masks):
        label = np.full((1, SIZE, SIZE), value, dtype=np.uint8)
        label[0, :4] = 1 + number % 2
        label = label if number % 3 else np.full_like(label, value)
        files = {"image": ("tif", tif(texture(number), grid(number))), "mask": ("png", png_of(label))}
        units.append(({"kind": "point", "number": number}, files))
    return units


def test_a_map_of_classes_may_have_one_class(tmp_path: Path) -> None:
    write_run(tmp_path, layered([0, 255, 3, 0, 255, 3]))
    assert found_in(eechips.check(tmp_path)) == [""] * 12
    units = layered([0, 255, 3])
    units[1][1]["image"] = ("tif", tif(np.zeros((3, SIZE, SIZE), dtype=np.uint8), grid(1)))  # type: ignore[index]
    write_run(tmp_path / "dark", units)
    done = run_command("check", tmp_path / "dark")
    assert re.search(r"^flag +image\n", done.output, flags=re.M)
    assert found_in(eechips.check(tmp_path / "dark")) == ["", "", "constant,black", "", "", ""]
    assert found_in(eechips.check(tmp_path / "dark", ignore="black,constant:image")) == [""] * 6


def test_units_are_doubled_only_if_all_their_files_are(tmp_path: Path) -> None:
    units = layered([0, 7, 3, 5])
    same, label = units[0][1]["image"], units[0][1]["mask"]
    units[1] = (units[1][0], {"image": same, "mask": units[1][1]["mask"]})
    units[2] = (units[2][0], {"image": same, "mask": label})
    write_run(tmp_path, units)
    assert found_in(eechips.check(tmp_path)) == ["", "", "near_duplicate", "", "duplicate", "", "", ""]


@pytest.mark.parametrize(
    ("parameters", "grids"),
    [
        ({"crs": "EPSG:32613", "transform": [10.0, 0.0, 5.0, 0.0, -10.0, 5.0]}, [(5.0, True), (0.0, False)]),
        ({"crs": "EPSG:32613", "scale": 10.0}, [(0.0, True), (10.0, True), (5.0, False), (0.05, True), (0.2, False)]),
        ({"crs": "utm"}, [(20.0, True), (3.0, False)]),
    ],
)
def test_pixels_lie_where_the_options_of_the_run_put_them(
    parameters: dict[str, Any], grids: list[tuple[float, bool]]
) -> None:
    is_on = lattice_of({"recipe": "sample", "parameters": parameters})
    assert is_on is not None
    for offset, wanted in grids:
        assert is_on(Grid("EPSG:32613", (10.0, 0.0, 400_000.0 + offset, 0.0, -10.0, 4e6 + offset), 64, 64)) is wanted
    assert (
        not is_on(Grid("EPSG:32613", (11.0, 0.0, 440_000.0, 0.0, -10.0, 4e6), 64, 64)) or "transform" not in parameters
    )


@pytest.mark.parametrize(
    "info", [{}, {"recipe": "mine", "parameters": {"crs": "x"}}, {"recipe": "sample", "parameters": {"crs": "native"}}]
)
def test_the_source_decides_where_pixels_lie(info: dict[str, Any]) -> None:
    assert lattice_of(info) is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--ignore", "ugly"], "--ignore 'ugly': unknown flag; known are unreadable"),
        (["--ignore", "black:sea"], "unknown layer; known are none"),
        (["--drop", "ugly"], "unknown flag; known are all, unreadable"),
        (["--least-valid", "2"], "2.0 is not in the range"),
        (["--roi", "1,2,3"], "is neither W,S,E,N in degrees nor a vector file"),
        (["--roi", "1,2,3,1"], "is not W,S,E,N in degrees"),
    ],
)
def test_invalid_options_are_refused(folder: Path, words: list[str], says: str) -> None:
    done = run_command("check", folder, *words, status=2)
    assert re.search(says, done.output)
    assert not (folder / "quality.parquet").exists()


def test_thresholds_are_shares_in_python_too(folder: Path) -> None:
    with pytest.raises(UsageError, match="most_black must be a share from 0 to 1"):
        eechips.check(folder, most_black=50)
    for bits in (64, 1.5):
        with pytest.raises(UsageError, match="bits must be 0 to 32"):
            eechips.check(folder, bits=bits)


def test_a_run_of_tables_has_no_chips(tmp_path: Path) -> None:
    write_run(tmp_path, [({"kind": "region"}, {"": ("csv", b"date,value\n2020-01-01,1\n")})])
    with pytest.raises(UsageError, match="has no chips to check"):
        eechips.check(tmp_path)


@pytest.mark.slow
def test_files_in_an_object_store_are_checked(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    run = write_run(tmp_path, [each for _, each in planted()], **INFO)
    store, root = fsspec.filesystem("memory"), f"/check-{os.getpid()}"
    for sample in read_samples(run):
        store.pipe(f"{root}/{sample.files[0].name}", (tmp_path / sample.files[0].name).read_bytes())
    shutil.rmtree(tmp_path / "chips")
    move_results(run, f"memory:/{root}")
    found = eechips.check(tmp_path)
    assert found_in(found)[:17] == [flag for flag, _ in planted()][:17]
    assert eechips.check(tmp_path).read == 0
    assert exclude_units(tmp_path, {read_samples(run).ids[7]: "flat"}) == (1, 0)
    assert len(store.find(root)) == len(planted()) - 1


def test_two_checks_at_once_do_not_disturb_each_other(folder: Path) -> None:
    with quality_table.Journal(folder) as one:
        with quality_table.Journal(folder) as other:
            other.add(
                "a.png", "0" * 64, ChipStatistics(**{field.name: None for field in dataclasses.fields(ChipStatistics)})
            )
        one.add("b.png", "1" * 64, ChipStatistics(**{field.name: None for field in dataclasses.fields(ChipStatistics)}))
        assert one._path.exists()
    assert not list(folder.glob(".quality*"))
