"""Names of results: normalised, and never those of the run's own files."""

from __future__ import annotations

import pytest

from eechips.engine.connected_run import SERVER_LOG_NAME
from eechips.engine.executors.beam import LOG_NAME as BEAM_LOG_NAME
from eechips.engine.queues.beam_queue import FOLDER
from eechips.errors import UsageError
from eechips.files.temporary_names import new_writer, temporary_name
from eechips.manifest.reserved_names import RESERVED, result_name
from eechips.training.cards.croissant import CROISSANT_NAME
from eechips.training.quality.quality_table import QUALITY_NAME
from eechips.training.splits.split_table import SPLITS_NAME

OWN = [*sorted(RESERVED), ".parts", ".calls", ".scratch-x", ".eechips"]


def is_reserved(name: str) -> bool:
    try:
        result_name(name)
    except UsageError as error:
        return "choose another one" in str(error)
    return False


def test_names_of_the_run_s_own_files_are_refused() -> None:
    names = [*OWN, *(name.upper() for name in OWN), *(f"./{name}" for name in OWN)]
    assert [name for name in names if not is_reserved(name)] == []


@pytest.mark.parametrize(
    "name", ["manifest.parquet/a.png", "Run.JSON/a", ".parts/a.png", "a/../failures/../b.csv", "."]
)
def test_names_in_the_way_of_the_run_s_own_files_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        result_name(name)


@pytest.mark.parametrize("name", ["x" * 256, f"chips/{'é' * 128}.csv", "\ud800.csv"])
def test_names_that_cannot_be_written_or_kept_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no result can be called"):
        result_name(name)


def test_names_that_the_next_run_would_remove_are_refused() -> None:
    with pytest.raises(UsageError):
        result_name(temporary_name("chips/a.png", str(new_writer())))


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("chips/a.png", "chips/a.png"),
        ("./chips//a.png", "chips/a.png"),
        ("failures.png", "failures.png"),
        ("chips/failures.csv", "chips/failures.csv"),
        ("beam/a.png", "beam/a.png"),
        ("my manifest.parquet", "my manifest.parquet"),
    ],
)
def test_other_names_are_normalised(name: str, normal: str) -> None:
    assert result_name(name) == normal


def test_the_files_of_every_part_of_eechips_are_reserved() -> None:
    assert {BEAM_LOG_NAME, FOLDER, SERVER_LOG_NAME, CROISSANT_NAME, QUALITY_NAME, SPLITS_NAME} <= RESERVED
