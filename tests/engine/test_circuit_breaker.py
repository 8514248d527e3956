"""The circuit breaker stops a run whose units all fail alike."""

from __future__ import annotations

import asyncio

import pytest

from eechips.client.error_classification import classify_response, raising_recipe_errors
from eechips.engine.outcome import Outcome
from eechips.engine.results.outcome_records import failed
from eechips.engine.run_features.circuit_breaker import ALIKE_LIMIT, PAGE_PATIENCE, PATIENCE, REFUSED_LIMIT, Breaker
from eechips.errors import (
    EechipsError,
    InternalError,
    PermanentError,
    ProjectUnavailableError,
    RecipeError,
    Stopped,
    TransientError,
    UnknownServiceError,
    ValidationError,
)
from eechips.manifest.manifest_columns import Record, State, WorkUnit


def unit(position: int, attempts: int = 0) -> WorkUnit:
    return WorkUnit(position, f"{position:064x}", "{}", f"chips/{position}", attempts=attempts)


def failing(breaker: Breaker, error: Exception, count: int, first: int = 0, attempts: int = 0) -> EechipsError | None:
    """The first error to stop with, of so many units."""
    for position in range(first, first + count):
        assignment = unit(position, attempts)
        stop = breaker.note(assignment, failed(assignment, error))
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
    assert "has sent no usable answer for 30 minutes (Unavailable.)" in str(stop)
    succeed(breaker)
    assert failing(breaker, outage, 10 * ALIKE_LIMIT) is None


@pytest.mark.parametrize("has_succeeded", [False, True])
def test_web_pages_stop_a_run_without_a_success_before_others(has_succeeded: bool) -> None:
    """Pages of a proxy have status 200, too."""
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    if has_succeeded:
        succeed(breaker)
    page = ValidationError("a web page came back: a proxy or a login page is in between", status=200)
    assert failing(breaker, page, 10 * ALIKE_LIMIT) is None
    limit = PATIENCE if has_succeeded else PAGE_PATIENCE
    now[0] = limit - 1
    assert failing(breaker, page, 1) is None
    now[0] = limit
    stop = failing(breaker, page, 1)
    assert type(stop) is ProjectUnavailableError
    assert f"for {limit / 60:g} minutes: a web page came back: a proxy" in str(stop)


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
    assert "test_circuit_breaker" in caught.value.traceback
    with pytest.raises(MemoryError), raising_recipe_errors():
        raise MemoryError
    with pytest.raises(RecipeError, match="SystemExit: 3"), raising_recipe_errors():
        raise SystemExit(3)
    with pytest.raises(RecipeError, match="CancelledError"), raising_recipe_errors():
        raise asyncio.CancelledError
    for of_parent in (KeyboardInterrupt, Stopped):
        with pytest.raises(of_parent), raising_recipe_errors():
            raise of_parent


class UnreadableError(Exception):
    def __str__(self) -> str:
        return str(self.args[7])


def test_an_exception_without_a_message_is_a_recipe_error() -> None:
    message = r"^UnreadableError: its message cannot be made \(IndexError\)$"
    with pytest.raises(RecipeError, match=message), raising_recipe_errors():
        raise UnreadableError


def test_of_a_message_of_megabytes_the_beginning_is_recorded_without_secrets() -> None:
    text = "HTTP 500: " + "x" * 1970 + f" token={'k' * 500} " + "s/x" * 1_000_000
    record = failed(unit(0), RecipeError(text, traceback=f"{text}\nEnd")).record
    assert record is not None
    assert record.error == f"{text[:1980]} token=*** s/xs/xs/x"
    assert record.traceback is not None
    assert (len(record.traceback), record.traceback[-7:]) == (8000, "s/x\nEnd")


def recipe_error() -> RecipeError:
    try:
        with raising_recipe_errors():
            raise ValueError("odd")
    except RecipeError as error:
        return error


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("slots", "share"), [(40, 2), (40, 5), *(pytest.param(1000, share, marks=pytest.mark.slow) for share in (2, 5))]
)
def test_units_that_raise_at_once_do_not_stop_a_run_whose_others_wait_for_the_service(slots: int, share: int) -> None:
    """One unit of so many waits, the others raise and end at once, until all slots have units that wait."""
    breaker, error = Breaker(), recipe_error()
    for position in range(slots * share):
        breaker.begin(unit(position))
        if position % share:
            assert failing(breaker, error, 1, position) is None
    succeed(breaker, 0)
    assert failing(breaker, error, 20 * slots, slots * share) is None


def test_the_first_units_stop_the_run_when_enough_have_failed() -> None:
    """Units of 40 slots end in another order than they started."""
    breaker, error = Breaker(), recipe_error()
    for position in range(60):
        breaker.begin(unit(position))
    ends = [position ^ 3 for position in range(60)]
    stops = [failing(breaker, error, 1, position) for position in ends]
    assert [type(stop) for stop in stops[:20]] == [type(None)] * 19 + [RecipeError]


@pytest.mark.parametrize(("slow", "most"), [(1, ALIKE_LIMIT), (3, 3 * ALIKE_LIMIT)])
def test_slow_units_keep_a_broken_recipe_running_only_shortly(slow: int, most: int) -> None:
    breaker, error = Breaker(), recipe_error()
    for position in range(slow + most):
        breaker.begin(unit(position))
    assert failing(breaker, error, most - 1, slow) is None
    stop = failing(breaker, error, 1, slow + most)
    assert type(stop) is RecipeError
    assert str(stop).startswith(f"the first {most} units all failed alike: ValueError: odd")


def test_units_that_start_again_are_counted_once() -> None:
    breaker, error = Breaker(), recipe_error()
    for _ in range(3):
        breaker.begin(unit(0))
    assert failing(breaker, error, ALIKE_LIMIT - 1, 1) is None
    assert type(failing(breaker, error, 1, ALIKE_LIMIT)) is RecipeError


TYPES = (
    "Expected a homogeneous image collection, but an image with an incompatible band was encountered. Mismatched type"
    " for band 'Blue':\nExpected type: Short.\n  Actual type: Float<-0.2, 1.6022125>.\n     Image ID: {}"
)


def test_a_fault_of_the_data_that_all_units_share_stops_the_run_with_its_cure_and_blames_no_service() -> None:
    breaker = Breaker()
    for position in range(REFUSED_LIMIT - 1):
        assert failing(breaker, classify_response(400, TYPES.format(position)), 1, position) is None
    stop = failing(breaker, classify_response(400, TYPES.format(7)), 1, 500)
    assert type(stop) is PermanentError
    assert str(stop).startswith("the first 100 units all failed alike: Expected a homogeneous image collection")
    assert "What helps: in the recipe, cast each image" in str(stop)
    assert "the same command again, which goes on with the other units" in str(stop)
    assert "refuses" not in str(stop)
    assert breaker.reopened == []


@pytest.mark.slow
def test_faults_of_the_data_stop_no_run_of_which_a_unit_was_done() -> None:
    breaker = Breaker()
    assert failing(breaker, classify_response(400, TYPES), 10) is None
    succeed(breaker, 10)
    assert failing(breaker, classify_response(400, TYPES), 10 * REFUSED_LIMIT, 11) is None


def test_an_unknown_answer_to_a_request_blames_no_service_either() -> None:
    stop = failing(Breaker(), UnknownServiceError("Odd.", status=400), ALIKE_LIMIT)
    assert "an answer that eechips does not know, perhaps to a fault of the recipe or its data (HTTP 400: Odd.)" in str(
        stop
    )
    assert "refuses every request (HTTP 403: No.)" in str(
        failing(Breaker(), UnknownServiceError("No.", status=403), ALIKE_LIMIT)
    )
