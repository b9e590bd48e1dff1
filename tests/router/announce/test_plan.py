"""What an announcer does next, and what it lets itself be told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidInput
from argosy.router.announce.plan import LOOK, TRIES, Action, Intent, Known, checked, intent_of, leave_by, looked, pause_between, plan

PLANS = [
    (Known(), Action.WAIT, "nothing is announced before the first check has ended"),
    (Known(healthy=True), Action.PUT, "what can be reached is announced"),
    (Known(healthy=True, standing=True, renew=30.0), Action.WAIT, "what is announced waits"),
    (Known(healthy=True, standing=True, renew=10.0), Action.PUT, "until it is time to refresh"),
    (Known(healthy=False, standing=True, renew=30.0), Action.REMOVE, "a check that fails removes the key"),
    (Known(healthy=False), Action.WAIT, "and then waits for it to pass"),
    (Known(healthy=True, standing=True, renew=30.0, stopping=True), Action.REMOVE, "told to stop, the key is removed"),
    (Known(healthy=False, standing=True, stopping=True), Action.REMOVE, "even if the check fails"),
    (Known(healthy=True, stopping=True), Action.LEAVE, "with no key left, it leaves"),
    (Known(stopping=True), Action.LEAVE, "told to stop before the first check, it announces nothing"),
    (Known(healthy=True, stopping=True, lingers=11.0), Action.WAIT, "with the key just removed, it stays until routers have let go"),
    (Known(healthy=True, stopping=True, lingers=10.0), Action.LEAVE, "and leaves when that time is over"),
    (Known(healthy=True, stopping=True, lingers=11.0, leave_by=10.0, at_work=3), Action.LEAVE, "or when its own time to stop is over"),
]


@pytest.mark.parametrize(("known", "action", "why"), PLANS, ids=[row[2] for row in PLANS])
def test_the_next_step_follows_from_what_is_known(known: Known, action: Action, why: str) -> None:
    step = plan(known, 10.0)
    assert step.action is action
    assert step.reason


def test_waiting_lasts_until_the_refresh_is_due() -> None:
    assert plan(Known(healthy=True, standing=True, renew=30.0), 10.0).pause == 20.0
    assert plan(Known(healthy=False), 10.0).pause is None
    assert plan(Known(stopping=True, lingers=10.75), 10.0).pause == LOOK, "connections are looked at often meanwhile"
    assert plan(Known(stopping=True, lingers=10.05), 10.0).pause == pytest.approx(0.05)
    assert plan(Known(stopping=True, lingers=11.0, leave_by=10.01), 10.0).pause == pytest.approx(0.01)


LOOKS = [
    (1.0, 0, 10.5, 10.5, "nothing in flight changes nothing"),
    (1.0, 2, 10.5, 11.0, "a request in flight makes it stay as long as it lingers after the last"),
    (0.0, 2, 0.0, 10.0 + LOOK, "even one that does not linger waits for what is in flight"),
    (1.0, 2, 12.0, 12.0, "and never leaves earlier than before"),
]


@pytest.mark.parametrize(("linger", "at_work", "lingers", "then", "why"), LOOKS, ids=[row[4] for row in LOOKS])
def test_a_request_in_flight_makes_it_stay(linger: float, at_work: int, lingers: float, then: float, why: str) -> None:
    known = looked(Intent("/k", "v", linger=linger), Known(stopping=True, lingers=lingers), at_work, 10.0)
    assert (known.lingers, known.at_work) == (then, at_work)


@pytest.mark.parametrize(("stop_time", "then"), [(90.0, 85.0), (20.0, 18.0), (2.0, 1.8), (0.0, 0.0)])
def test_it_leaves_a_little_before_it_would_be_killed(stop_time: float, then: float) -> None:
    assert leave_by(100.0, stop_time) == pytest.approx(100.0 + then)


PAUSES = [
    (Known(healthy=False), 0.25, "an app that is starting is looked at often"),
    (Known(healthy=True), 2.0, "one that passes as often as was asked for"),
    (Known(healthy=False, ready=True), 2.0, "and so is one that was announced before"),
]


@pytest.mark.parametrize(("known", "pause", "why"), PAUSES, ids=[row[2] for row in PAUSES])
def test_checks_are_quick_until_the_first_passes(known: Known, pause: float, why: str) -> None:
    assert pause_between(Intent("/k", "v", interval=2.0), known) == pause


def test_a_shorter_interval_is_kept_while_the_app_starts() -> None:
    assert pause_between(Intent("/k", "v", interval=0.1), Known(healthy=False)) == 0.1


def test_the_first_check_decides_at_once_and_later_ones_only_after_two_failures_in_a_row() -> None:
    assert checked(Known(), False).healthy is False
    assert checked(Known(), True).healthy is True
    once = checked(Known(healthy=True), False)
    assert once.healthy is True
    assert checked(checked(once, True), False).healthy is True
    assert checked(once, False).healthy is False
    assert checked(checked(once, False), True).healthy is True


@given(st.lists(st.booleans(), max_size=20))
def test_a_key_is_withdrawn_exactly_after_that_many_failures_in_a_row_and_put_back_by_one_success(results: list[bool]) -> None:
    known = Known(healthy=True)
    for index, result in enumerate(results):
        known = checked(known, result)
        recent = results[max(0, index + 1 - TRIES) : index + 1]
        if result:
            assert known.healthy is True
        elif len(recent) == TRIES and not any(recent):
            assert known.healthy is False


def test_a_key_is_written_from_the_root_with_or_without_its_slash() -> None:
    wanted = Intent("/services/web/hello/hello@1", "10.0.0.1:3000", 60, "", 2.0)
    assert intent_of("/services/web/hello/hello@1", "10.0.0.1:3000") == wanted
    assert intent_of("services/web/hello/hello@1/", "10.0.0.1:3000") == wanted
    assert intent_of("/locks/x", "any text").address == "any text"
    assert intent_of("/services/web/h/1", "[fd00::1]:80", 30, "tcp://[fd00::1]:80", 1.0).check == "tcp://[fd00::1]:80"


BAD = [
    ({"key": "/services/web/Hello/1"}, "routers would refuse", "an app that routers refuse"),
    ({"key": "/services/web/hello"}, "an instance has a name", "no instance"),
    ({"key": "/services/web/hello/a/b"}, "letters, digits", "a key too deep"),
    ({"key": "/a/../b"}, "is no key", "a key that climbs"),
    ({"key": "/a//b"}, "is no key", "an empty part"),
    ({"key": "/"}, "is no key", "the root"),
    ({"key": "/a\nb"}, "is no key", "a key of two lines"),
    ({"address": "10.0.0.1"}, "not HOST:PORT", "an address without a port"),
    ({"address": ":3000"}, "not HOST:PORT", "a variable that was empty"),
    ({"key": "/x", "address": ""}, "no value", "nothing to announce"),
    ({"ttl": 0}, "leaves no time", "a ttl too short"),
    ({"interval": 0.0}, "a check every", "no interval"),
    ({"check": "10.0.0.1:3000"}, "is no check", "a check that is no URL"),
    ({"check": "ftp://x/"}, "is no check", "a scheme nobody checks"),
    ({"check": "tcp://10.0.0.1"}, "is no check", "tcp without a port"),
    ({"check": "http://"}, "is no check", "a URL without a host"),
    ({"check": "http://x:port/"}, "is no check", "a port that is no number"),
    ({"check": "http://x/a b"}, "is no check", "a space in a URL"),
]


@pytest.mark.parametrize(("change", "said", "why"), BAD, ids=[row[2] for row in BAD])
def test_a_wrong_intent_is_refused_before_anything_is_announced(change: dict[str, str | int | float], said: str, why: str) -> None:
    arguments: dict[str, str | int | float] = {"key": "/services/web/hello/1", "address": "10.0.0.1:3000", **change}
    with pytest.raises(InvalidInput, match=said):
        intent_of(**arguments)  # type: ignore[arg-type]


NEAR_MISSES = [
    ("/services/web/hello/1", "http://127.0.0.1:9101", "'http://127.0.0.1:9101' is a URL, not an address (write 127.0.0.1:9101)"),
    ("/services/web/Hello/1", "127.0.0.1:9101", "; write hello (write it as /services/web/APP/INSTANCE)"),
]


@pytest.mark.parametrize(("key", "address", "said"), NEAR_MISSES)
def test_a_near_miss_is_answered_with_what_to_write(key: str, address: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        intent_of(key, address)
    assert said in str(caught.value)
