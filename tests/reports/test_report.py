"""The page of a run: complete, self-contained, the same every time."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import eechips
from eechips.errors import UsageError
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.reports.contact_sheet import layout
from local_tests.support.local_earth_engine import Server
from tests.support import finished_run
from tests.support.commands import run_command

HOSTILE = "</script><script>alert('x')</script><!--"
ZONES = ["Alps & co", HOSTILE]
CAPTION = 16  # pixels above each row of a preview


class Page(HTMLParser):
    """The elements and texts of a report."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "input"):
            self._open.append(tag)
        if tag in ("script", "style"):
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        tag = self._open[-1] if self._open else ""
        if tag in ("script", "style"):
            self.texts[tag][-1] += data
        else:
            self.texts.setdefault(tag, []).append(data)

    @property
    def data(self) -> dict[str, Any]:
        """Return the data of the page's scripts."""
        found: dict[str, Any] = json.loads(self.texts["script"][0])
        return found

    def ids(self) -> set[str | None]:
        return {attributes.get("id") for _, attributes in self.elements}

    @property
    def policy(self) -> str:
        for name, attributes in self.elements:
            if name == "meta" and attributes.get("http-equiv") == "Content-Security-Policy":
                return attributes["content"] or ""
        raise AssertionError("there is no policy")


def chips(count: int, *, failed: int = 0) -> list[tuple[dict[str, Any], finished_run.Files | None]]:
    """Chips of two zones along a line, one of which has a name that tries to be a script; and units that failed."""
    rng = np.random.default_rng(0)
    units: list[tuple[dict[str, Any], finished_run.Files | None]] = []
    for number in range(count):
        values = rng.integers(0, 255, (3, 16, 16), dtype=np.uint8)
        unit = {"kind": "point", "coordinates": [7.0 + number / 50, 46.0], "zone": ZONES[number % 2]}
        units.append((unit, {"": ("png", finished_run.png_of(values))}))
    units += [({"kind": "point", "coordinates": [7.0, 46.5 + n / 50], "zone": ZONES[0]}, None) for n in range(failed)]
    return units


@pytest.fixture
def run(tmp_path: Path) -> eechips.Run:
    datasets = [{"id": "X", "title": HOSTILE, "licence": "CC0 & more", "source": "javascript:alert(1)"}]
    made = finished_run.write_run(
        tmp_path / "run", chips(24, failed=2), recipe="sample", datasets=datasets, command=f"eechips sample {HOSTILE}",
        parameters={"roi": "6.9,45.9,7.6,46.7", "name": HOSTILE, "nothing": None}, notes=[HOSTILE],
    )  # fmt: skip
    failed = {"state": State.FAILED_PERMANENT, "error_class": "PermanentError", "error": f"no image {HOSTILE}"}
    with Ledger(made.path / LEDGER_NAME) as ledger:
        ledger.record([Record(position=position, **failed) for position in (24, 25)])
    return made


def pixels_of(data: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def test_the_page_has_all_sections(run: eechips.Run) -> None:
    path = eechips.report(run)
    assert path == run.path / "report.html"
    page = Page(path)
    assert {"settings", "map-section", "chips", "strata", "values", "failures", "licence", "map", "chip"} <= page.ids()
    assert not {"series", "rows", "whole"} & page.ids()
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes]
    assert set(labels) <= set(ids)
    data = page.data
    assert (data["count"], data["total"], data["stratum"]) == (26, 26, "zone")
    assert [column["name"] for column in data["columns"]] == ["zone"]
    assert sorted(data["pictures"], key=int) == [str(number) for number in range(24)]
    assert data["map"]["roi"] == [[[6.9, 45.9], [7.6, 45.9], [7.6, 46.7], [6.9, 46.7], [6.9, 45.9]]]
    for number, (picture,) in data["pictures"].items():
        kind, _, text = picture["source"].partition(",")
        assert kind == "data:image/png;base64"
        stored = run.path / run.units["file"].iloc[int(number)]
        pixels = pixels_of(stored.read_bytes())
        np.testing.assert_array_equal(pixels_of(base64.b64decode(text)), pixels)
        np.testing.assert_allclose(picture["means"], pixels.mean(axis=(0, 1)), rtol=1e-4)
    assert "PermanentError" in page.texts["td"]
    assert "CC0 & more" in page.texts["dd"]


def test_hostile_names_are_escaped(run: eechips.Run) -> None:
    page = Page(eechips.report(run))
    assert len(page.texts["script"]) == 2
    assert HOSTILE in page.texts["td"]
    assert HOSTILE in page.texts["p"]
    assert page.data["columns"][0]["values"] == [ZONES[0], HOSTILE]
    links = [attributes["href"] for name, attributes in page.elements if name == "a"]
    assert links == []  # the source was no https
    assert not [a for _, a in page.elements if any(key.startswith("on") for key in a)]


def test_the_page_loads_nothing_and_allows_only_its_own_script(run: eechips.Run) -> None:
    page = Page(eechips.report(run))
    for name, attributes in page.elements:
        for key in ("src", "href", "action", "srcset", "data"):
            value = attributes.get(key)
            assert value is None or value.startswith("data:"), (name, value)
    assert "@import" not in page.texts["style"][0]
    assert "url(" not in page.texts["style"][0]
    rules = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
    assert rules["default-src"] == "'none'"
    for rule, text in (("script-src", page.texts["script"][1]), ("style-src", page.texts["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


@pytest.mark.slow
def test_the_page_is_reproducible_and_replaced_atomically(run: eechips.Run) -> None:
    first = eechips.report(run).read_bytes()
    assert eechips.report(str(run.path)).read_bytes() == first
    assert eechips.report(run, seed=5, thumbnails=3).read_bytes() != first
    assert len(Page(run.path / "report.html").data["pictures"]) == 3
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []
    assert run.verify() == []


def test_a_page_in_another_folder_names_no_files(run: eechips.Run, tmp_path: Path) -> None:
    here, there = Page(eechips.report(run)), Page(eechips.report(run, out=tmp_path / "deep" / "other.html"))
    assert here.data["beside"] is True
    assert there.data["beside"] is False


def test_missing_and_changed_files_are_reported(run: eechips.Run) -> None:
    files = list(run.units["file"].dropna())
    (run.path / files[0]).unlink()
    (run.path / files[1]).write_bytes(b"no picture")
    page = Page(eechips.report(run))
    assert len(page.data["pictures"]) == 22
    assert any("2 files cannot be read" in text for text in page.texts["p"])


def test_layers_stand_side_by_side(tmp_path: Path) -> None:
    datasets = [{"id": "S2", "title": "Sentinel-2"}, {"id": "DEM"}, {"id": "cover"}]
    made = finished_run.write_run(tmp_path, finished_run.layered(6), recipe="sample", datasets=datasets)
    page = Page(eechips.report(made))
    assert page.texts["h1"] == ["sample: Sentinel-2 and 2 more"]
    layers = [{"dataset": "S2"}, {"dataset": "DEM"}]  # the map of classes is read to draw places
    others = finished_run.write_run(
        tmp_path / "b", [], recipe="sample", datasets=datasets, parameters={"layers": layers}
    )
    assert Page(eechips.report(others)).texts["h1"] == ["sample: Sentinel-2 and 1 more"]
    data = page.data
    assert [[picture["layer"] for picture in each] for each in data["pictures"].values()] == [
        ["S2", "DEM", "cover"]
    ] * 6
    assert data["map"] is not None  # the first has a place, as a GeoTIFF says it


def test_only_a_few_large_scenes_are_read(tmp_path: Path) -> None:
    """As the manifest has it: these say that they are large."""
    made = finished_run.write_run(tmp_path, chips(10))
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        units = made.units
        for position, unit in units.iterrows():
            ledger.record([Record(position=int(str(position)), state=State.DONE, file=unit["file"], bytes=150_000_000)])
    assert len(Page(eechips.report(made)).data["pictures"]) == 2


def test_a_result_of_the_run_is_not_overwritten(run: eechips.Run) -> None:
    """Scripts call their files what they like."""
    with Ledger(run.path / LEDGER_NAME) as ledger:
        facts = {"state": State.DONE, "bytes": 4, "sha256": "0" * 64}
        ledger.record(
            [Record(position=0, file="report.html", **facts), Record(position=1, file="preview.png", **facts)]
        )
    for name, make in (("report.html", eechips.report), ("preview.png", eechips.preview)):
        (run.path / name).write_text("mine")
        with pytest.raises(UsageError, match="is a result of the run and would be overwritten"):
            make(run)
        with pytest.raises(UsageError, match="choose another `out`"):
            make(run, out=run.path / "chips" / ".." / name)
        assert (run.path / name).read_text() == "mine"


def test_no_chip_is_shown_twice_or_too_many(run: eechips.Run) -> None:
    with pytest.raises(UsageError, match="a report shows 0 to 2,000 chips, not 2,001"):
        eechips.report(run, thumbnails=2001)
    page = Page(eechips.report(run, thumbnails=0))
    assert page.data["pictures"] == {}
    assert "chips" not in page.ids()


def test_the_page_of_a_run_of_series_has_charts(tmp_path: Path) -> None:
    def table(place: str) -> bytes:
        rows = [f"{place},2019-{month:02d}-01,{month if month != 4 else ''},7" for month in range(1, 8)]
        return "\n".join(["place,date,LST,count", *rows, ""]).encode()

    names = ["Bern", HOSTILE]
    units = [({"kind": "region", "region": name}, {"": ("csv", table(name))}) for name in names]
    page = Page(eechips.report(finished_run.write_run(tmp_path, units)))
    assert {"series", "rows"} <= page.ids()
    assert "chips" not in page.ids()
    assert [text for text in page.texts["figcaption"] if text.startswith("place")] == [
        f"place {name}" for name in names
    ]
    paths = [a["d"] or "" for name, a in page.elements if name == "path" and a.get("class") == "line s0"]
    assert [len(re.findall("[ML]", path)) for path in paths] == [6, 6]  # the lines go on over April, which has no value


def square(west: float, south: float) -> dict[str, Any]:
    """A GeoJSON square of one degree."""
    ring = [[west, south], [west + 1, south], [west + 1, south + 1], [west, south + 1], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


@pytest.mark.parametrize("is_together", [False, True])
def test_regions_of_series_are_on_the_map(tmp_path: Path, is_together: bool) -> None:
    names = ["Bern", HOSTILE, "Jura"]
    regions = [{"region": name, "geometry": square(7.0 + 2 * n, 46.0)} for n, name in enumerate(names)]
    table = {
        name: f"place,date,LST\n{json.dumps(name)},2019-01-01,1\n{json.dumps(name)},2019-01-02,2\n" for name in names
    }
    if is_together:
        everything = "".join(["place,date,LST\n", *(text.partition("\n")[2] for text in table.values())])
        units = [({"kind": "region", "regions": regions}, {"": ("csv", everything.encode())})]
    else:
        units = [({"kind": "region", **each}, {"": ("csv", table[each["region"]].encode())}) for each in regions]
    page = Page(eechips.report(finished_run.write_run(tmp_path, units)))
    assert {"map", "series", "units"} <= page.ids()
    assert [(column["name"], column["values"]) for column in page.data["columns"][:1]] == [("region", sorted(names))]
    shapes = page.data["map"]["shapes"]
    corners = np.frombuffer(base64.b64decode(shapes["corners"]["data"]), dtype="<i2").reshape(3, 4, 2) * shapes["scale"]
    np.testing.assert_allclose(np.sort(corners, axis=1), [[[-0.5] * 2] * 2 + [[0.5] * 2] * 2] * 3, atol=1e-4)
    places = np.frombuffer(base64.b64decode(page.data["map"]["places"]["data"]), dtype="<i4").reshape(3, 2) / 1e6
    np.testing.assert_allclose(places, [[7.5 + 2 * n, 46.5] for n in range(3)])


def test_regions_without_outlines_are_listed(tmp_path: Path) -> None:
    geometries = [{}, {"geometry": "none"}, {"geometry": {"type": "Polygon", "coordinates": [[[1, "x"]]]}}]
    table = "place,date,LST\n{0},2019-01-01,1\n{0},2019-01-02,2\n"
    units = [
        ({"kind": "region", "region": n, **each}, {"": ("csv", table.format(n).encode())})
        for n, each in enumerate(geometries)
    ]
    page = Page(eechips.report(finished_run.write_run(tmp_path, units)))
    assert page.data["map"] is None
    assert page.data["columns"][0]["values"] == ["0", "1", "2"]
    assert any("The regions are not on a map" in text for text in page.texts["p"])


def test_results_in_an_object_store_are_fetched_to_be_shown(tmp_path: Path) -> None:
    import fsspec

    made = finished_run.write_run(tmp_path, chips(6))
    store = fsspec.filesystem("memory")
    for file in made.units["file"].iloc[1:]:
        store.pipe_file(f"/bucket/run/{file}", (tmp_path / file).read_bytes())
    shutil.rmtree(tmp_path / "chips")
    finished_run.move_results(made, "memory://bucket/run")
    page = Page(eechips.report(made))
    assert sorted(page.data["pictures"]) == ["1", "2", "3", "4", "5"]
    assert any("1 file cannot be read" in text for text in page.texts["p"])
    assert page.data["beside"] is False
    assert eechips.preview(made, by="nothing", edge=8, out=tmp_path / "x.png", rows=1, columns=1).exists()


def test_the_page_of_an_unfinished_run_says_so(tmp_path: Path) -> None:
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.store_plan({}, [WorkUnit(i, f"{i:064x}", '{"kind":"call","value":1}', f"a/{i}") for i in range(5)])
        ledger.record([Record(position=0, state=State.EMPTY)])
    page = Page(eechips.report(tmp_path))
    assert page.data["map"] is None
    assert "4 planned" in " ".join(page.texts["p"])


RECIPE = """
import numpy as np

def get_requests():
    return [[7.0 + n / 10, 46.0] for n in range(4)]

def get_result(index, place):
    return np.full((16, 16, 3), 60 * index, dtype="uint8")
"""


def arguments(server: Server, out: Path, *more: str) -> list[str]:
    recipe = out.with_name("recipe.py")
    recipe.write_text(RECIPE)
    place = ["--endpoint", server.url, "--rate", "none", "--executor", "threads", "--out", str(out)]
    return ["run", str(recipe), *place, *more]


def test_runs_write_the_page_at_their_end(demo_server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_command(*arguments(demo_server, out), status=0)
    (out / "report.html").unlink()
    result = run_command(*arguments(demo_server, out))  # everything is there but that
    assert result.exit_code == 0, result.output
    assert f"{out / 'report.html'}" in result.output
    page = out / "report.html"
    before = page.stat().st_mtime_ns
    assert Page(page).data["count"] == 4
    run_command(*arguments(demo_server, out), status=0)
    assert page.stat().st_mtime_ns == before  # nothing has changed since
    manifest = out / "manifest.parquet"
    os.utime(manifest, ns=(before + 10**9, before + 10**9))
    assert run_command(*arguments(demo_server, out), "--quiet").output == ""
    assert page.stat().st_mtime_ns != before


def test_a_failing_page_does_not_fail_the_run(demo_server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "report.html").mkdir(parents=True)
    os.utime(out / "report.html", (1, 1))
    result = run_command(*arguments(demo_server, out), status=0)
    assert "No report was made: UsageError" in result.output
    assert eechips.open_run(out).is_complete


def test_the_command_writes_the_page(run: eechips.Run, tmp_path: Path) -> None:
    result = run_command("report", run.path, "--thumbnails", "4", "--out", tmp_path / "x.html")
    assert result.output == f"{tmp_path / 'x.html'}\n"
    assert len(Page(tmp_path / "x.html").data["pictures"]) == 4
    assert "name it .html" in run_command("report", run.path, "--out", tmp_path / "x.pdf", status=2).output
    assert "holds no run: there is no manifest.sqlite" in run_command("report", tmp_path, status=2).output
    assert "holds no run: the folder does not exist" in run_command("report", tmp_path / "y", status=2).output


@pytest.mark.slow
def test_a_large_run_makes_a_page_of_bounded_size(tmp_path: Path) -> None:
    """Not as large as may be: that is measured by hand. Twice the units, less than twice the page."""
    sizes = []
    for count in (2000, 4000):
        folder = tmp_path / str(count)
        folder.mkdir()
        with Ledger(folder / LEDGER_NAME) as ledger:
            units = [
                WorkUnit(i, hashlib.sha256(bytes([i % 256, i // 256])).hexdigest(), unit, f"chips/{i}")
                for i in range(count)
                for unit in [json.dumps({"kind": "point", "coordinates": [i % 100, i / 100], "zone": i % 7})]
            ]
            ledger.store_plan({}, units)
            ledger.record(
                [Record(position=u.position, state=State.DONE, file=f"chips/{u.id[:16]}.png", bytes=1) for u in units]
            )
        sizes.append(eechips.report(folder, thumbnails=0).stat().st_size)
    assert sizes[1] - sizes[0] < 2000 * 60  # bytes for each chip: 100,000 are 6 MB


@pytest.mark.slow
def test_a_large_page_lists_fewer_units(tmp_path: Path) -> None:
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        names = [f"a name of this unit and no other {i}" for i in range(2000)]
        units = [
            json.dumps({"kind": "point", "coordinates": [i % 100, 1], "plot": name}) for i, name in enumerate(names)
        ]
        ledger.store_plan(
            {}, [WorkUnit(i, hashlib.sha256(u.encode()).hexdigest(), u, f"{i}") for i, u in enumerate(units)]
        )
    whole = eechips.report(tmp_path)
    assert Page(whole).data["count"] == 2000
    limit = whole.stat().st_size - 50_000
    page = Page(eechips.report(tmp_path, most_bytes=limit))
    assert whole.stat().st_size <= limit
    assert 500 <= page.data["count"] < 2000
    assert page.data["total"] == 2000
    assert any("of 2,000 units, selected at random" in text for text in page.texts["p"])


class TestPreview:
    def test_contact_sheets_have_a_row_for_each_stratum(self, run: eechips.Run) -> None:
        result = run_command("preview", run.path, "--columns", "5", "--edge", "16", status=0)
        path, *names = result.output.splitlines()
        assert path == str(run.path / "preview.png")
        assert names == [f"row {number}: {zone}, 5 of 12" for number, zone in enumerate(sorted(ZONES), start=1)]
        with Image.open(path) as image:
            assert image.size == (5 * 20 + 4, 2 * (20 + CAPTION) + 4)
            assert np.asarray(image)[4 : 4 + CAPTION].min() < 100  # letters
        assert eechips.preview(run, columns=5, edge=16).read_bytes() == Path(path).read_bytes()
        assert run.verify() == []

    def test_thumbnails_show_the_pixels_of_the_files(self, tmp_path: Path) -> None:
        made = finished_run.write_run(tmp_path, chips(2))
        with Image.open(eechips.preview(made, by="nothing", edge=16)) as image:
            pixels = np.asarray(image)
        for number, file in enumerate(made.units["file"]):
            left = 4 + 20 * number
            np.testing.assert_array_equal(pixels[4:20, left : left + 16], pixels_of((made.path / file).read_bytes()))

    def test_files_that_an_extension_added_are_no_chips_of_their_own(self, tmp_path: Path) -> None:
        every = chips(4)
        added = [
            ({**value, "completes": f"{n // 2:064x}", "n": n}, files) for n, (value, files) in enumerate(every * 2)
        ]
        rows = layout(finished_run.write_run(tmp_path, [*every, *added]))
        assert [(row.name, row.total) for row in rows] == [(zone, 2) for zone in sorted(ZONES)]

    def test_notebooks_display_the_picture(self, run: eechips.Run, tmp_path: Path) -> None:
        formatters = pytest.importorskip("IPython.core.formatters")
        for suffix, kind in (("png", "PNG"), ("jpg", "JPEG")):
            path = eechips.preview(run, edge=16, out=tmp_path / f"x.{suffix}")
            assert isinstance(path, Path)
            shown, _ = formatters.DisplayFormatter().format(path)
            with Image.open(io.BytesIO(base64.b64decode(shown[f"image/{kind.lower()}"]))) as image:
                assert image.format == kind
        path.unlink()
        shown, _ = formatters.DisplayFormatter().format(path)
        assert list(shown) == ["text/plain"]

    def test_previews_may_be_jpeg(self, run: eechips.Run, tmp_path: Path) -> None:
        path = eechips.preview(run, by="zone", rows=1, out=tmp_path / "deep" / "x.jpg")
        with Image.open(path) as image:
            assert image.format == "JPEG"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"by": "biome"}, "units have no column 'biome'; there are: zone"),
            ({"rows": 0}, "a contact sheet has 1 to 5,000 chips"),
            ({"rows": 100, "columns": 100}, "a contact sheet has 1 to 5,000 chips, not 100 rows of 100"),
            ({"out": "sheet.gif"}, "a contact sheet is png or jpg, not gif"),
        ],
    )
    def test_invalid_options_are_refused(self, run: eechips.Run, options: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=re.escape(message)):
            eechips.preview(run, **options)

    def test_rows_have_the_names_of_the_classes(self, tmp_path: Path) -> None:
        parameters = {"class_image": "ESA/WorldCover/v200:Map"}
        units = [
            ({"kind": "point", "coordinates": [unit["number"], 0], "class": unit["class"]}, files)
            for unit, files in finished_run.layered(9)
        ]
        made = finished_run.write_run(tmp_path, units, recipe="sample", parameters=parameters)
        assert [row.name for row in layout(made)] == ["0", "10 Tree cover", "20 Shrubland"]  # 0 is no class of the map

    def test_a_run_without_chips_has_no_preview(self, tmp_path: Path) -> None:
        with Ledger(tmp_path / LEDGER_NAME) as ledger:
            ledger.store_plan({}, [WorkUnit(0, "0" * 64, '{"kind":"call","value":1}', "a")])
        with pytest.raises(UsageError, match="has no chips to show"):
            eechips.preview(tmp_path)
