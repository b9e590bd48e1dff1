"""What this machine's keys API has done since it began, in the words of etcd's /v2/stats."""

from __future__ import annotations

from collections import Counter
from typing import Any

from argosy.api.keys.shapes import INTERNAL, Ask, KeyFault, timestamp

KINDS = ("gets", "sets", "delete", "update", "create", "compareAndSwap", "compareAndDelete")


class Stats:
    """`began` is Unix time."""

    def __init__(self, began: float) -> None:
        self.began = began
        self._counts: Counter[str] = Counter()

    def count(self, ask: Ask, fault: KeyFault | None = None) -> None:
        """A request that was answered, or refused for what the keys are like; what the store could not serve is not counted."""
        if fault is None or fault.code != INTERNAL:
            self._counts[kind(ask) + ("Success" if fault is None else "Fail")] += 1

    def store(self, expired: int, watchers: int) -> dict[str, Any]:
        told = {name + how: self._counts[name + how] for name in KINDS for how in ("Success", "Fail")}
        return told | {"expireCount": expired, "watchers": watchers}

    def self_(self, name: str, member: str, now: float) -> dict[str, Any]:
        """Each machine is the one member that its clients see, and its leader."""
        since = timestamp(self.began)
        leader = {"leader": member, "uptime": duration(now - self.began), "startTime": since}
        counts = {"recvAppendRequestCnt": 0, "sendAppendRequestCnt": 0}
        return {"name": name, "id": member, "state": "StateLeader", "startTime": since, "leaderInfo": leader} | counts


def kind(ask: Ask) -> str:
    if ask.method in ("GET", "HEAD"):
        return "gets"
    compares = bool(ask.prev_index or ask.prev_value)
    if ask.method == "DELETE":
        return "compareAndDelete" if compares else "delete"
    if ask.method == "POST" or ask.prev_exist is False:
        return "create"
    return "compareAndSwap" if compares else "update" if ask.prev_exist else "sets"


def duration(seconds: float) -> str:
    """As Go writes durations: 1h2m3.5s."""
    minutes, rest = divmod(max(0.0, seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    spoken = f"{rest:.9f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{spoken}" if hours else f"{minutes}m{spoken}" if minutes else spoken
