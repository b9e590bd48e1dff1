"""What the api asks of the agent and of the router on its own machine. They satisfy this as they are; nothing is imported from there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Protocol

from argosy.model import Detail, LogLine, RouterDetail


class Inspector(Protocol):
    """Raises NotFound for a unit that is not loaded here and RuntimeFailed when whatever runs units cannot be reached."""

    async def detail(self, name: str) -> Detail: ...

    def logs(self, name: str, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        """Oldest first: the last `lines`, with `follow` then every new one."""


class RouterInspector(Protocol):
    async def detail(self, apps: Collection[str]) -> RouterDetail:
        """What this machine's router serves now; with `apps` only what concerns these."""
