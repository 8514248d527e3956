"""The circuit breaker stops a run whose units all fail alike."""

from __future__ import annotations

import pytest

from eechips.client.error_classification import raising_recipe_errors
from eechips.engine.breaker import ALIKE_LIMIT, MOST_ALIKE, PATIENCE, REFUSED_LIMIT, Breaker
from eechips.engine.outcome import Outcome
from eechips.engine.outcome_records import failed
from eechips.errors import (
    EechipsError,
    InternalError,
    PermanentError,
    ProjectUnavailableError,
    RecipeError,
    TransientError,
    UnknownServiceError,
)
from eechips.manifest.unit_record import Record, State, WorkUnit


def unit(position: int, attempts: int = 0) -> WorkUnit:
    return WorkUnit(position, f"{position:064x}", "{}", f"chips/{position}", attempts=attempts)


def failing(breaker: Breaker, error: Exception, count: int, first: int = 0, attempts: int = 0) -> EechipsError | None:
    """The first error to stop with, of so many units."""
    for position in range(first, first + count):
        task = unit(position, attempts)
        stop = breaker.note(task, failed(task, error))
        if stop is not None:
            return stop
    return None


def succeed(breaker: Breaker, position: int = 0) -> None:
    assert breaker.note(unit(position), Outcome(position, Record(position=position, state=State.DONE))) is None


def test_consecutive_unknown_errors_stop_the_run_and_reopen_their_units() -> None:
    breaker = Breaker()
    for position in range(100):
        succeed(breaker, position)
    refusal = UnknownServiceError("No.", status=403)
    assert failing(breaker, refusal, ALIKE_LIMIT - 1, 100) is None
    stop = failing(breaker, refusal, 1, 200)
    assert type(stop) is ProjectUnavailableError
    assert "HTTP 403: No." in str(stop)
    assert len(breaker.reopened) == ALIKE_LIMIT
    assert {record.state for record in breaker.reopened} == {State.FAILED_TRANSIENT}
    assert breaker.reopened[0].error == "No."


def test_units_that_end_after_the_stop_are_reopened_as_well() -> None:
    breaker = Breaker()
    assert failing(breaker, UnknownServiceError("No.", status=403), ALIKE_LIMIT) is not None
    succeed(breaker)
    assert failing(breaker, UnknownServiceError("No.", status=403), 1, 77) is not None
    assert breaker.reopened[-1].position == 77


def test_a_success_or_another_error_resets_the_count() -> None:
    breaker = Breaker()
    for _ in range(5):
        assert failing(breaker, UnknownServiceError("No.", status=403), ALIKE_LIMIT - 1) is None
        succeed(breaker)
        assert failing(breaker, UnknownServiceError("No.", status=409), ALIKE_LIMIT - 1) is None
        assert failing(breaker, PermanentError("Image.load: gone", status=400), 30) is None
    assert breaker.reopened == []


def test_bad_requests_need_more_once_a_unit_has_succeeded() -> None:
    assert failing(Breaker(), UnknownServiceError("Unit 'a7' is odd.", status=400), ALIKE_LIMIT) is not None
    breaker = Breaker()
    succeed(breaker)
    for position in range(REFUSED_LIMIT - 1):
        error = UnknownServiceError(f"Unit 'a{position}' is odd at {position}.", status=400)  # the same but for names
        assert failing(breaker, error, 1, position) is None
    assert failing(breaker, UnknownServiceError("Unit 'x' is odd at 1.", status=400), 1, 500) is not None


def test_bad_requests_that_were_tried_by_an_earlier_run_do_not_stop_this_one() -> None:
    assert failing(Breaker(), UnknownServiceError("Odd.", status=400), 500, attempts=1) is None
    assert failing(Breaker(), UnknownServiceError("No.", status=403), 500, attempts=1) is not None


def test_an_outage_stops_the_run_only_after_long() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    outage = TransientError("Unavailable.", status=503)
    assert failing(breaker, outage, 10 * ALIKE_LIMIT) is None
    now[0] = PATIENCE - 1
    assert failing(breaker, outage, 1) is None
    now[0] = PATIENCE
    stop = failing(breaker, outage, 1)
    assert type(stop) is ProjectUnavailableError
    assert "for 30 minutes (Unavailable.)" in str(stop)
    succeed(breaker)
    assert failing(breaker, outage, 10 * ALIKE_LIMIT) is None


@pytest.mark.parametrize("error", [ZeroDivisionError("a fault"), MemoryError(), NotImplementedError()])
def test_an_unexpected_error_is_internal_and_the_next_run_tries_its_unit_again(error: Exception) -> None:
    record = failed(unit(0), error).record
    assert record is not None
    assert (record.state, record.error_class) == (State.FAILED_TRANSIENT, "InternalError")
    assert type(error).__name__ in (record.error or "")
    assert type(error).__name__ in (record.traceback or "")


def test_internal_errors_in_a_row_stop_the_run_at_any_time() -> None:
    breaker = Breaker()
    for position in range(100):
        succeed(breaker, position)
    assert failing(breaker, MemoryError(), ALIKE_LIMIT - 1) is None
    succeed(breaker)
    assert failing(breaker, MemoryError(), ALIKE_LIMIT - 1) is None
    assert type(failing(breaker, KeyError("another"), 1)) is InternalError


def test_exceptions_of_a_recipe_are_recipe_errors_except_memory_errors() -> None:
    with pytest.raises(RecipeError, match="KeyError: 'x'") as caught, raising_recipe_errors():
        raise KeyError("x")
    assert "test_breaker" in caught.value.traceback
    with pytest.raises(MemoryError), raising_recipe_errors():
        raise MemoryError
    with pytest.raises(RecipeError, match="SystemExit: 3"), raising_recipe_errors():
        raise SystemExit(3)


def recipe_error() -> RecipeError:
    try:
        with raising_recipe_errors():
            raise ValueError("odd")
    except RecipeError as error:
        return error


def test_units_that_raise_at_once_do_not_stop_a_run_whose_others_wait_for_the_service() -> None:
    """Of 40 units every second one raises, and ends before any other."""
    breaker = Breaker()
    for position in range(40):
        breaker.begin(unit(position))
    error = recipe_error()
    assert all(failing(breaker, error, 1, position) is None for position in range(1, 40, 2))
    succeed(breaker, 0)
    assert failing(breaker, error, 2 * MOST_ALIKE, 100) is None


def test_the_first_units_stop_the_run_when_the_last_of_them_has_failed() -> None:
    breaker = Breaker()
    for position in range(60):
        breaker.begin(unit(position))
    error = recipe_error()
    assert failing(breaker, error, 50, 1) is None
    assert type(failing(breaker, error, 1, 0)) is RecipeError


def test_units_that_hang_do_not_keep_a_broken_recipe_running() -> None:
    breaker = Breaker()
    breaker.begin(unit(0))
    error = recipe_error()
    assert failing(breaker, error, MOST_ALIKE - 1, 1) is None
    assert type(failing(breaker, error, 1, MOST_ALIKE)) is RecipeError
