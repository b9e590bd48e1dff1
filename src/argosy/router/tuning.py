"""What may be set of how requests are carried: for all apps, for one app, and on the load balancer, in one notation. Pure.

`max_body=10g read_timeout=10m retry=error,timeout,500`: words NAME=VALUE, separated by white space.
"""

from __future__ import annotations

import re

import msgspec

from argosy.errors import InvalidInput
from argosy.router.naming import printable

RETRY_WORDS = ("error", "timeout", "invalid_header", "non_idempotent", "off")
RETRY_STATUSES = ("403", "404", "429", "500", "502", "503", "504")
MAX_BUFFERED = "1g"
"""Largest request where requests are buffered and no max_body is set: what is buffered takes room in the router's folder."""

MAX_TEXT = 2000
LONGEST = 366 * 86_400_000
"""Milliseconds."""

_SIZE = re.compile(r"([0-9]{1,9})([kmg]?)", re.ASCII)
_TIME = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)?", re.ASCII)
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Tuning(msgspec.Struct, frozen=True):
    """Each field is a value in nginx's notation; "" means: not set here.

    `max_body`: largest request body, 0 for no limit. `connect_timeout`, `read_timeout`, `send_timeout`: how long an instance may take to
    accept a connection, and between two reads or writes. `upgrade_timeout`: the same for upgraded connections. `retry`: after what another
    instance is asked; `retry_time`: for how long. `buffer_requests`, `buffer_responses`: on or off. `max_response_header`: largest head of
    a response. `http`: 1.1 or 1.0 towards the instance. For all apps of a router only: `max_header`: largest line of a request's head;
    `client_timeout`: how long a client may pause while it sends or receives; `odd_headers`: which headers to pass whose name has other
    characters than letters, digits and hyphens: all (pass), those with underscores (underscores) or none (drop).
    """

    max_body: str = ""
    connect_timeout: str = ""
    read_timeout: str = ""
    send_timeout: str = ""
    upgrade_timeout: str = ""
    retry: str = ""
    retry_time: str = ""
    buffer_requests: str = ""
    buffer_responses: str = ""
    max_response_header: str = ""
    http: str = ""
    max_header: str = ""
    client_timeout: str = ""
    odd_headers: str = ""

    @property
    def keeps_connections(self) -> bool:
        """True if requests may go over kept connections: one that the instance has just closed must be survived by asking again."""
        return self.http != "1.0" and "error" in self.retry.split()


DEFAULTS = Tuning(
    max_body="0",
    connect_timeout="750ms",
    read_timeout="300s",
    send_timeout="300s",
    upgrade_timeout="1d",
    retry="error timeout http_502 http_503 http_504",
    retry_time="10s",
    buffer_requests="off",
    buffer_responses="off",
    max_response_header="16k",
    http="1.1",
    max_header="16k",
    odd_headers="pass",
)
"""`client_timeout` is nginx's own where it is not set: 60s."""

ENTRY_DEFAULTS = msgspec.structs.replace(
    DEFAULTS, connect_timeout="400ms", read_timeout="1d", send_timeout="1d", retry="error timeout", max_response_header="32k"
)
"""A load balancer leaves to routers how long an app may take, and which answers are not good. A head that a router lets through it must let
through as well: one that is too large would count as a failure of that router, for all apps."""

ROUTER = Tuning.__struct_fields__
APP = tuple(name for name in ROUTER if name not in ("max_header", "client_timeout", "odd_headers"))
ENTRY = (
    "max_body",
    "connect_timeout",
    "read_timeout",
    "send_timeout",
    "retry",
    "retry_time",
    "max_response_header",
    "max_header",
    "client_timeout",
    "odd_headers",
)

HAPROXY = {"connect_timeout": ("connect",), "read_timeout": ("server", "tunnel"), "client_timeout": ("client",)}
"""The settings that HAProxy has, and its timeouts for each."""

_CHOICES = {
    "buffer_requests": ("on", "off"),
    "buffer_responses": ("on", "off"),
    "http": ("1.0", "1.1"),
    "odd_headers": ("pass", "underscores", "drop"),
}
_SIZES = {"max_body": (0, 1 << 60), "max_response_header": (1 << 10, 1 << 18), "max_header": (1 << 10, 1 << 20)}
_DIRECTIVES = {
    "max_body": ("client_max_body_size {}",),
    "connect_timeout": ("proxy_connect_timeout {}",),
    "read_timeout": ("proxy_read_timeout {}",),
    "send_timeout": ("proxy_send_timeout {}",),
    "retry": ("proxy_next_upstream {}",),
    "retry_time": ("proxy_next_upstream_timeout {}",),
    "buffer_requests": ("proxy_request_buffering {}",),
    "buffer_responses": ("proxy_buffering {}",),
    "max_response_header": ("proxy_buffer_size {}", "proxy_buffers 8 {}"),
    "http": ("proxy_http_version {}",),
    "max_header": ("large_client_header_buffers 8 {}",),
    "client_timeout": ("client_header_timeout {}", "client_body_timeout {}", "send_timeout {}"),
}


def parse_tuning(text: str, names: tuple[str, ...] = ROUTER) -> Tuning:
    """Return what the text sets. Raises InvalidInput that names the word, the rule and what to write; `names` are those that may be set."""
    if len(text) > MAX_TEXT:
        raise InvalidInput(f"settings have at most {MAX_TEXT} characters, these {len(text)}")
    found: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if name not in names:
            where = "is set for all apps of a router, not here" if name in ROUTER else "is no setting"
            raise InvalidInput(f"{printable(name, 60)!r} {where}", remedy=f"there are {', '.join(names)}")
        if not equals or not value:
            raise InvalidInput(f"{printable(word, 60)!r} sets nothing", remedy=f"write {name}={_example(name)}")
        if name in found:
            raise InvalidInput(f"{name} is set twice", remedy="set it once")
        found[name] = _value(name, value)
    return Tuning(**found)


def tuning_text(tuning: Tuning) -> str:
    """Return the words that `parse_tuning` reads the same from."""
    return " ".join(f"{name}={value.replace(' ', ',')}" for name in ROUTER if (value := getattr(tuning, name)))


def merge(base: Tuning, over: Tuning) -> Tuning:
    """Return `base` with what `over` sets."""
    return msgspec.structs.replace(base, **{name: value for name in ROUTER if (value := getattr(over, name))})


def all_apps(tuning: Tuning) -> Tuning:
    """Return the effective settings of a router, given what its operator sets."""
    return _bounded(merge(DEFAULTS, tuning), tuning)


def load_balancer(tuning: Tuning) -> Tuning:
    """Return the effective settings of a load balancer, given what its operator sets."""
    return merge(ENTRY_DEFAULTS, tuning)


def haproxy_timeouts(tuning: Tuning) -> dict[str, str]:
    """Return HAProxy's timeouts for what is set. Raises InvalidInput for a setting that HAProxy's configuration has not."""
    for name in ROUTER:
        if getattr(tuning, name) and name not in HAPROXY:
            raise InvalidInput(f"{name} cannot be set for HAProxy", remedy=f"there are {', '.join(HAPROXY)}; set others on the routers")
    return {timeout: value for name, timeouts in HAPROXY.items() if (value := _seconds(getattr(tuning, name))) for timeout in timeouts}


def _seconds(time: str) -> str:
    """A time as HAProxy writes it, which takes a plain number for milliseconds."""
    return f"{time}s" if time.isdecimal() else time


def one_app(router: Tuning, app: Tuning) -> Tuning:
    """Return what an app sets, completed so that buffered requests stay bounded. `router`: the router's effective settings."""
    return _bounded(app, app) if router.max_body == "0" else app


def directives(tuning: Tuning) -> tuple[str, ...]:
    """Return nginx's directives for what is set."""
    return tuple(line.format(value) for name, lines in _DIRECTIVES.items() if (value := getattr(tuning, name)) for line in lines)


def setting_of(directive: str) -> str:
    """Return the setting that a directive of nginx belongs to, "" for none."""
    if directive in ("underscores_in_headers", "ignore_invalid_headers"):
        return "odd_headers"
    return next((name for name, lines in _DIRECTIVES.items() if directive in (line.split()[0] for line in lines)), "")


def _bounded(tuning: Tuning, chosen: Tuning) -> Tuning:
    if tuning.buffer_requests == "on" and not chosen.max_body:
        return msgspec.structs.replace(tuning, max_body=MAX_BUFFERED)
    return tuning


def _value(name: str, value: str) -> str:
    if name == "retry":
        return _retry(value)
    if name in _CHOICES:
        good = value in _CHOICES[name]
    elif name in _SIZES:
        least, most = _SIZES[name]
        size = _SIZE.fullmatch(value)
        good = size is not None and least <= int(size[1]) * _BYTES[size[2]] <= most
    else:
        time = _TIME.fullmatch(value)
        good = time is not None and 0 < int(time[1]) * _MILLISECONDS[time[2] or "s"] <= LONGEST
    if not good:
        raise InvalidInput(f"{name}={printable(value, 60)}: {_rule(name)}", remedy=f"write {name}={_example(name)}")
    return value


def _retry(value: str) -> str:
    words = []
    for word in value.split(","):
        status = word.removeprefix("http_")
        if status not in RETRY_STATUSES and word not in RETRY_WORDS:
            known = ", ".join((*RETRY_WORDS, *RETRY_STATUSES))
            raise InvalidInput(f"retry has {printable(word, 60)!r}: there are {known}", remedy="write retry=error,timeout,502,503,504")
        words.append(f"http_{status}" if status in RETRY_STATUSES else word)
    if "off" in words and len(words) > 1:
        raise InvalidInput(f"retry={printable(value, 60)}: off stands alone", remedy="write retry=off")
    return " ".join(dict.fromkeys(words))


def _rule(name: str) -> str:
    if name in _CHOICES:
        return f"it is one of {', '.join(_CHOICES[name])}"
    if name in _SIZES:
        least, most = _SIZES[name]
        return "it is a size such as 100m or 10g" if not least else f"it is a size from {least} to {most} bytes"
    return "it is a time of at most 366 days, such as 750ms, 30s, 10m or 1d"


def _example(name: str) -> str:
    usual = str(getattr(DEFAULTS, name)).replace("http_", "").replace(" ", ",")
    return {"max_body": "10g", "client_timeout": "60s"}.get(name, usual)
