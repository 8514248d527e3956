"""Bodies of answers that are whole, and still no answer."""

from __future__ import annotations

import pytest

from eechips.client.http_messages import HttpResponse
from eechips.errors import ValidationError


def answer(body: str) -> HttpResponse:
    """An answer with a body of JSON."""
    return HttpResponse(200, {"content-type": "application/json"}, body.encode())


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400 + ".5"])
def test_numbers_beyond_the_range_of_doubles_are_refused(number: str) -> None:
    with pytest.raises(ValidationError, match=f"the number {number[:40]} came back"):
        answer(f'{{"result": [1.5, {number}]}}').refuse_fragment()


@pytest.mark.parametrize("number", ["1e308", "-0.0", "1e-999"])
def test_other_numbers_pass(number: str) -> None:
    answer(f'{{"result": {number}}}').refuse_fragment()


def test_truncated_json_is_refused() -> None:
    with pytest.raises(ValidationError, match="truncated or damaged JSON"):
        answer('{"result": [1.5').refuse_fragment()
