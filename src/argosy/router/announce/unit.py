"""How long the unit that this process is the main process of may take to stop."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from pathlib import Path

from argosy import programs
from argosy.unit.values import time_span

USUAL = 90.0
"""Seconds: what systemd gives a unit that does not say."""

LONGEST = 86_400.0
PATIENCE = 2.0

_CGROUP = re.compile(r"^[0-9]+:(?:name=systemd)?:(/.*)$", re.MULTILINE)


async def stop_time(environ: Mapping[str, str] = os.environ, cgroup: Path = Path("/proc/self/cgroup")) -> float:
    """Return the unit's TimeoutStopSec= in seconds; USUAL where systemd does not run this process or does not answer."""
    if environ.get("SYSTEMD_EXEC_PID") != str(os.getpid()):
        return USUAL
    unit, user = unit_of(await asyncio.to_thread(cgroup.read_text))
    if not unit:
        return USUAL
    command = ("systemctl", *(["--user"] if user else []), "show", "--property=TimeoutStopUSec", "--", unit)
    try:
        return limit((await programs.run(command, limit=PATIENCE)).stdout)
    except OSError:  # a TimeoutError, too
        return USUAL


def unit_of(cgroups: str) -> tuple[str, bool]:
    """Return the service that /proc/self/cgroup names, "" for none, and whether it is a user's."""
    for path in _CGROUP.findall(cgroups):
        for part in reversed(path.split("/")):
            if part.endswith(".service"):
                return part, "/user@" in path and not part.startswith("user@")
    return "", False


def limit(said: str) -> float:
    """Return the seconds of systemctl's answer, TimeoutStopUSec=1min 30s."""
    text = said.strip().partition("=")[2]
    try:
        return min(LONGEST, time_span(text))
    except ValueError:
        return USUAL
