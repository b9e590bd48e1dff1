"""Reports stay within what one value of the store holds."""

from __future__ import annotations

from argosy.model import RefusedRoute, RouterReport, Upstream
from argosy.router.report import MOST_REFUSED, bounded
from argosy.state.records import encode
from argosy.store.base import MAX_VALUE


def test_a_report_of_usual_size_is_left_as_it_is() -> None:
    report = RouterReport("m", (Upstream("a", "1", "10.0.0.1:80"),), (RefusedRoute("k", "r"),), {"a": "a.example"})
    assert bounded(report) == report


def test_a_report_that_would_not_fit_is_cut_and_says_by_how_much() -> None:
    upstreams = tuple(Upstream(f"app-{number:05}", "i" * 100, "10.0.0.1:3000", 1.0) for number in range(20_000))
    refused = tuple(RefusedRoute(f"/services/web/{number}", "r" * 100) for number in range(2_000))
    report = bounded(RouterReport("m", upstreams, refused, {upstream.app: "h" for upstream in upstreams}))
    assert len(encode(report)) < MAX_VALUE
    assert len(report.refused) <= MOST_REFUSED
    assert report.omitted >= 2_000 - MOST_REFUSED + 20_000 - len(report.upstreams)
    assert report.hosts.keys() == {upstream.app for upstream in report.upstreams}
