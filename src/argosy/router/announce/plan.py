"""What an announcer does next. Pure: time is an argument."""

from __future__ import annotations

import math
from enum import StrEnum
from urllib.parse import urlsplit

import msgspec

from argosy.errors import InvalidInput
from argosy.router.naming import check_app, check_instance, parse_address, printable

WEB = "/services/web/"
TRIES = 2
"""Failed checks in a row after which a key is removed; one that passes puts it back."""


LINGER = 1.0
LOOK = 0.1
"""Seconds between two looks at the connections, once the key is removed."""

SOON = 0.25
"""Seconds between checks of an app that has not passed any yet: it is only just starting."""


class Intent(msgspec.Struct, frozen=True):
    """What to announce: `key` = `address` for `ttl` seconds at a time, while `check` (http://, https:// or tcp://, "" = none), made every
    `interval` seconds, passes. `linger`: seconds without a request in flight after which routers are taken to have let go of the app, once
    the key is removed. `stop_timeout`: seconds that stopping may take in all, 0: as long as the unit may take."""

    key: str
    address: str
    ttl: int = 60
    check: str = ""
    interval: float = 2.0
    linger: float = LINGER
    stop_timeout: float = 0.0


class Action(StrEnum):
    PUT = "put"
    REMOVE = "remove"
    WAIT = "wait"
    LEAVE = "leave"


class Step(msgspec.Struct, frozen=True):
    """What to do now and why. For WAIT, `pause` is the seconds until the next decision, None: until something happens."""

    action: Action
    reason: str
    pause: float | None = None


class Known(msgspec.Struct, frozen=True):
    """What the announcer knows. `standing`: the key may stand (a put was sent and no removal has succeeded since). `renew` is when it
    must be put again (monotonic seconds). `healthy` is None until the first check has ended; `failures` counts those in a row. `ready`: it
    was announced at least once. `lingers`: until when (monotonic seconds) to stay after the key was removed, if no request is seen until
    then; `leave_by`: when to leave in any case. `at_work`: connections with a request in flight, when last looked at."""

    standing: bool = False
    renew: float = 0.0
    healthy: bool | None = None
    failures: int = 0
    ready: bool = False
    stopping: bool = False
    lingers: float = 0.0
    leave_by: float = math.inf
    at_work: int = 0


def plan(known: Known, now: float) -> Step:
    if known.stopping:
        if known.standing:
            return Step(Action.REMOVE, "told to stop")
        left = min(known.lingers, known.leave_by) - now
        if left > 0:
            reason = f"{known.at_work} connections are at work" if known.at_work else "the routers are letting go of it"
            return Step(Action.WAIT, reason, min(left, LOOK))
        return Step(Action.LEAVE, "its time to stop is over" if known.at_work else "told to stop")
    if known.healthy is False:
        return Step(Action.REMOVE, "the check fails") if known.standing else Step(Action.WAIT, "the check fails")
    if known.healthy is None:
        return Step(Action.WAIT, "the first check has not ended")
    if not known.standing:
        return Step(Action.PUT, "it can be reached")
    if now >= known.renew:
        return Step(Action.PUT, "it is time to refresh")
    return Step(Action.WAIT, "announced", known.renew - now)


def looked(intent: Intent, known: Known, at_work: int, now: float) -> Known:
    """What is known after a look at the connections: a request in flight makes it stay."""
    lingers = max(known.lingers, now + max(LOOK, intent.linger)) if at_work else known.lingers
    return msgspec.structs.replace(known, at_work=at_work, lingers=lingers)


def leave_by(began: float, stop_time: float) -> float:
    """When to leave, told to stop at `began` with `stop_time` seconds until the process is killed: a little earlier."""
    return began + stop_time - min(5.0, stop_time / 10)


def checked(known: Known, passed: bool) -> Known:
    """What is known after a check: the first decides at once, later ones remove the key after TRIES failures in a row."""
    if passed:
        return msgspec.structs.replace(known, healthy=True, failures=0)
    failures = known.failures + 1
    healthy = None if known.healthy is None else known.healthy
    if healthy is None or failures >= TRIES:
        healthy = False
    return msgspec.structs.replace(known, healthy=healthy, failures=failures)


def pause_between(intent: Intent, known: Known) -> float:
    """Seconds until the next check."""
    return intent.interval if known.ready or known.healthy else min(SOON, intent.interval)


def intent_of(
    key: str, address: str, ttl: int = 60, check: str = "", interval: float = 2.0, linger: float = LINGER, stop_timeout: float = 0.0
) -> Intent:
    """The same, checked; InvalidInput names the first rule that is broken. Keys under /services/web/ obey the router's rules."""
    key = "/" + key.strip("/")
    parts = key[1:].split("/")
    if not key.isprintable() or "" in parts or "." in parts or ".." in parts or len(key) > 1000:
        raise InvalidInput(f"{printable(key)!r} is no key", remedy="write it as /services/web/APP/INSTANCE")
    if key.startswith(WEB):
        app, _, instance = key.removeprefix(WEB).partition("/")
        rule = check_app(app) or check_instance(instance)
        if rule:
            raise InvalidInput(f"routers would refuse {printable(key)!r}: {rule}", remedy="write it as /services/web/APP/INSTANCE")
        parse_address(address)
    elif not address or not address.isprintable():
        raise InvalidInput(f"{printable(address)!r} is no value to announce", remedy="give one line of text")
    if ttl < 1:
        raise InvalidInput(f"a ttl of {ttl} s leaves no time to refresh the key", remedy="give at least 1 second")
    if interval <= 0:
        raise InvalidInput(f"a check every {interval:g} s", remedy="give seconds above 0")
    if linger < 0:
        raise InvalidInput(f"to linger for {linger:g} s", remedy="give seconds, 0 or more")
    if stop_timeout < 0:
        raise InvalidInput(f"to stop within {stop_timeout:g} s", remedy="give seconds, or 0 for what the unit says")
    if check:
        _check_url(check)
    return Intent(key, address, ttl, check, interval, linger, stop_timeout)


def _check_url(check: str) -> None:
    try:
        url = urlsplit(check)
        port = url.port or (0 if url.scheme == "tcp" or url.port == 0 else 80)
        good = url.scheme in ("http", "https", "tcp") and bool(url.hostname) and port > 0
    except ValueError:
        good = False
    if not good or not check.isprintable() or " " in check:
        raise InvalidInput(f"{printable(check)!r} is no check", remedy="write http://HOST:PORT/PATH, https://… or tcp://HOST:PORT")
