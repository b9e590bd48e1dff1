"""What is said over the supervisor's socket: JSON, one object a line. The supervisor speaks first (`hello`).

A client sends requests and gets one line for each, with its `id`. After `watch` lines with `changed` come whenever something does.
"""

from __future__ import annotations

import msgspec

from argosy.agent.supervise.saved import Settings
from argosy.model import Detail, Observed

SOCKET = "supervisor.sock"
LOCK = "supervisor.lock"
LOG = "supervisor.log"
"""Files of the supervisor's folder."""

VERSION = 2
"""Raised when an older supervisor cannot serve a newer client. `hello` and `renew` keep their form for ever: by `renew` the supervisor
executes the program that is now on disk in its own place, with everything that it runs."""

LONGEST_LINE = 64 * 1024 * 1024


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """`op`: settings, units, load, unload, start, stop, kill, reload, detail, watch, renew, shutdown."""

    id: int
    op: str
    names: tuple[str, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    launches: tuple[tuple[str, int], ...] = ()
    settings: Settings | None = None


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the supervisor. `version`: this is the hello. `error` and `refused` say what went wrong; `missing`: there is no such
    unit. `trouble`: what the supervisor itself suffers from (a full disk)."""

    id: int = 0
    version: int = 0
    pid: int = 0
    error: str = ""
    missing: bool = False
    refused: dict[str, str] = {}
    units: tuple[Observed, ...] = ()
    detail: Detail | None = None
    changed: tuple[str, ...] | None = None
    trouble: str = ""
