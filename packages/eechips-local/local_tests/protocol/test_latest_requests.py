"""The latest requests of a server, with a clock of the test's own."""

from __future__ import annotations

from eechips_local.protocol.request_log import LatestRequests


def test_requests_have_their_age_and_duration() -> None:
    times = iter([10.0, 11.0, 11.5, 14.0, 20.0])
    latest = LatestRequests(clock=lambda: next(times))
    first = latest.begin("value:compute", "")
    second = latest.begin("assets:get", "projects/p/assets/a")
    second.status = 200
    latest.end(second)
    report = latest.report()
    assert [each["number"] for each in report] == [2, 1]
    assert (report[0]["seconds"], report[0]["age"], report[0]["is_in_flight"]) == (0.5, 3.0, False)
    assert (report[1]["seconds"], report[1]["status"], report[1]["is_in_flight"]) == (4.0, None, True)
    latest.end(first)


def test_the_oldest_requests_are_forgotten() -> None:
    latest = LatestRequests(most=3, clock=lambda: 0.0)
    for _ in range(5):
        latest.end(latest.begin("value:compute", ""))
    assert [each["number"] for each in latest.report()] == [5, 4, 3]
