"""What may be set of how requests are carried: tables of texts, and what nginx is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.config import RouterSection
from argosy.errors import InvalidInput
from argosy.router.loop import settings_of
from argosy.router.tuning import (
    APP,
    ENTRY,
    ROUTER,
    Tuning,
    all_apps,
    directives,
    haproxy_timeouts,
    load_balancer,
    merge,
    one_app,
    parse_tuning,
    tuning_text,
)

GOOD = [
    ("", Tuning(), "nothing is set"),
    ("max_body=10g", Tuning(max_body="10g"), "one word"),
    (" max_body=0\n\tread_timeout=750ms ", Tuning(max_body="0", read_timeout="750ms"), "any white space"),
    ("retry=error,http_500,404,error", Tuning(retry="error http_500 http_404"), "statuses as numbers or as nginx writes them, each once"),
    ("retry=off", Tuning(retry="off"), "no other instance is ever asked"),
    ("upgrade_timeout=366d", Tuning(upgrade_timeout="366d"), "the longest time"),
]


@pytest.mark.parametrize(("text", "tuning", "why"), GOOD, ids=[row[2] for row in GOOD])
def test_settings_are_words(text: str, tuning: Tuning, why: str) -> None:
    assert parse_tuning(text) == tuning
    assert parse_tuning(tuning_text(tuning)) == tuning


BAD = [
    ("max_size=1g", "'max_size' is no setting (there are max_body, connect_timeout", "a name that is none"),
    ("max_header=64k", "'max_header' is set for all apps of a router, not here", "an operator's setting in an app's key"),
    ("max_body", "'max_body' sets nothing (write max_body=10g)", "no value"),
    ("max_body=", "'max_body=' sets nothing", "an empty value"),
    ("max_body=1g max_body=2g", "max_body is set twice", "twice"),
    ("max_body=1g;", "max_body=1g;: it is a size such as 100m or 10g", "what would end a directive"),
    ("max_body=1tb", "max_body=1tb: it is a size", "a unit that nginx does not know"),
    ("max_body=-1", "it is a size", "less than nothing"),
    ("max_response_header=1g", "it is a size from 1024 to 262144 bytes", "memory for each request"),
    ("read_timeout=0", "it is a time of at most 366 days", "no time at all"),
    ("read_timeout=367d", "it is a time of at most 366 days", "more than nginx can count"),
    ("read_timeout=1.5s", "such as 750ms, 30s, 10m or 1d (write read_timeout=300s)", "a fraction"),
    ("retry=501", "retry has '501': there are error", "a status that nginx cannot retry after"),
    ("retry=off,error", "off stands alone", "off and something"),
    ("retry=error;", "retry has 'error;'", "an injected directive"),
    ("buffer_requests=yes", "it is one of on, off", "a word that is none"),
    ("http=2", "it is one of 1.0, 1.1", "a protocol that nginx does not speak to apps"),
    ("x" * 2001, "at most 2000 characters", "without end"),
]


@pytest.mark.parametrize(("text", "said", "why"), BAD, ids=[row[2] for row in BAD])
def test_a_wrong_setting_is_named_with_its_rule(text: str, said: str, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_tuning(text, APP)
    assert said in str(caught.value)


@given(st.text(alphabet="abcmx_=0123456789gkmsd ;{}\n\"'$\\\\", max_size=60) | st.text(max_size=40))
def test_nothing_but_plain_words_reaches_nginx(text: str) -> None:
    for prefix in ("", "max_body=", "retry=", "read_timeout="):
        try:
            lines = directives(parse_tuning(prefix + text))
        except InvalidInput:
            continue
        assert all(set(line) <= set("abcdefghijklmnopqrstuvwxyz_0123456789. ") for line in lines)


def test_every_setting_has_a_value_for_all_apps_and_an_app_s_goes_over_it() -> None:
    router = all_apps(parse_tuning("read_timeout=1h"))
    assert [name for name in ROUTER if not getattr(router, name)] == ["client_timeout"]
    assert merge(router, parse_tuning("read_timeout=2h", APP)).read_timeout == "2h"
    assert merge(router, Tuning()).read_timeout == "1h"


def test_buffered_requests_are_bounded_unless_a_limit_is_set() -> None:
    assert all_apps(Tuning()).max_body == "0"
    assert all_apps(parse_tuning("buffer_requests=on")).max_body == "1g"
    assert all_apps(parse_tuning("buffer_requests=on max_body=0")).max_body == "0"
    assert one_app(all_apps(Tuning()), parse_tuning("buffer_requests=on")).max_body == "1g"
    assert one_app(all_apps(parse_tuning("max_body=2m")), parse_tuning("buffer_requests=on")).max_body == ""


KEPT = [("", True), ("retry=off", False), ("retry=timeout,502", False), ("http=1.0", False), ("retry=error", True)]


@pytest.mark.parametrize(("text", "kept"), KEPT)
def test_connections_are_kept_only_where_a_closed_one_is_survived(text: str, kept: bool) -> None:
    assert merge(all_apps(Tuning()), parse_tuning(text)).keeps_connections is kept


def test_the_configuration_sets_them_and_a_mistake_names_its_place() -> None:
    assert settings_of(RouterSection(settings="max_body=5m")).tuning == Tuning(max_body="5m")
    with pytest.raises(InvalidInput, match=r"\[router\] settings: 'nonsense' is no setting"):
        settings_of(RouterSection(settings="nonsense"))


def test_a_load_balancer_s_settings_go_over_its_own_defaults_and_haproxy_has_its_timeouts() -> None:
    tuning = parse_tuning("connect_timeout=2 read_timeout=10m", ENTRY)
    assert (load_balancer(tuning).connect_timeout, load_balancer(tuning).retry) == ("2", "error timeout")
    assert load_balancer(tuning).max_response_header == "32k"  # what a router lets through is no failure of the router
    assert load_balancer(parse_tuning("max_response_header=256k", ENTRY)).max_response_header == "256k"
    assert haproxy_timeouts(tuning) == {"connect": "2s", "server": "10m", "tunnel": "10m"}
    with pytest.raises(InvalidInput, match=r"max_body cannot be set for HAProxy \(there are connect_timeout"):
        haproxy_timeouts(parse_tuning("max_body=1g", ENTRY))
    with pytest.raises(InvalidInput, match="'buffer_requests' is set for all apps of a router, not here"):
        parse_tuning("buffer_requests=on", ENTRY)
