"""The explorer's Python object: what it marks and selects, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eechips
from eechips.errors import UsageError
from tests.support import finished_run


@pytest.fixture
def run(tmp_path: Path) -> eechips.Run:
    rng = np.random.default_rng(0)
    units: list[tuple[dict[str, Any], finished_run.Files | None]] = [
        ({"coordinates": [7.0, 46.0 + number]}, {"": ("png", finished_run.png_of(rng.integers(0, 9, (3, 4, 4), "u1")))})
        for number in range(3)
    ]
    return finished_run.write_run(tmp_path / "run", units)


def test_without_anywidget_the_extra_is_named(run: eechips.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(UsageError, match=r"pip install 'eechips\[explore\]'"):
        run.explore()


def test_a_number_of_thumbnails_is_bounded(run: eechips.Run) -> None:
    with pytest.raises(UsageError, match="0 to 2,000 chips"):
        run.explore(thumbnails=2001)


class TestExplorer:
    @pytest.fixture
    def explorer(self, run: eechips.Run) -> eechips.Explorer:
        pytest.importorskip("anywidget", reason="no anywidget")
        return run.explore()

    def test_python_marks_units(self, explorer: eechips.Explorer) -> None:
        ids = explorer.run.units["id"].tolist()
        explorer.mark([ids[1], ids[0][:16]])
        assert explorer.marked == ids[:2]
        explorer.mark(ids[:1], is_bad=False)
        assert explorer.marked == ids[1:2]
        assert explorer.exclude() == 1
        assert explorer.run.counts == {"done": 2, "skipped": 1}
        with pytest.raises(UsageError, match=f"no chip {ids[1][:16]}"):
            explorer.mark([ids[1]])

    def test_a_cell_saves_nothing_of_the_run(self, explorer: eechips.Explorer) -> None:
        state = explorer._widget.get_state()
        shown = explorer._repr_mimebundle_()
        data = shown[0] if isinstance(shown, tuple) else shown
        assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer._widget.model_id
        assert not any(explorer.run.units["id"].iloc[0][:16] in str(value) for value in state.values())

    @pytest.mark.parametrize(
        ("message", "buffers"),
        [
            ({"kind": "mark", "units": [0, 3], "bad": True}, []),
            ({"kind": "mark", "units": [-1], "bad": True}, []),
            ({"kind": "mark", "units": ["0"], "bad": True}, []),
            ({"kind": "mark", "units": [True], "bad": True}, []),
            ({"kind": "picture", "unit": 3}, []),
            ({"kind": "select", "query": "", "box": None}, [b"\x01"]),
            ({"kind": "select", "query": "", "box": None}, []),
            ({"kind": "delete"}, []),
            ("text", []),
        ],
    )
    def test_other_messages_are_refused(self, explorer: eechips.Explorer, message: Any, buffers: list[bytes]) -> None:
        with pytest.raises(UsageError, match="run the cell again"):
            explorer._answer(message, buffers)
        assert explorer.marked == []
        assert len(explorer.selected) == 3


def test_tables_are_no_chips(tmp_path: Path) -> None:
    pytest.importorskip("anywidget", reason="no anywidget")
    table = b"region,date,NDVI\n1,2020-01-01,0.5\n1,2020-02-01,0.6\n"
    unit = {"regions": [{"region": "1"}, {"region": "2"}]}
    run = finished_run.write_run(tmp_path / "run", [(unit, {"": ("csv", table)})])
    with pytest.raises(UsageError, match="holds no chips to explore"):
        run.explore()
