"""A proxy without processes: the Proxy contract in memory, for tests of what stands above it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from argosy.errors import RuntimeFailed
from argosy.sockdiag import Target


class Host:
    """The machine that the proxy runs on; it outlives the proxy's own object, as a process would."""

    def __init__(self) -> None:
        self.running = ""
        self.good = ""
        self.generation = 0
        self.lingering = 0
        self.refuse = ""
        self.ended = asyncio.Event()
        self.failing: frozenset[Target] = frozenset()

    def kill(self) -> None:
        self.running = ""
        self.ended.set()


class MemoryProxy:
    """`applied` counts the configurations handed to it that it took up or refused. `host.refuse` has everything refused, with that word."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.applied = 0
        self.closed = False
        self._attached = False

    @property
    def active(self) -> str:
        return self.host.running if self._attached else ""

    @property
    def lingering(self) -> int:
        return self.host.lingering

    async def adopt(self) -> bool:
        self._attached = bool(self.host.running)
        return self._attached

    async def apply(self, config: str) -> None:
        if self.active and self.active == config:
            return
        self.applied += 1
        if self.host.refuse or config.count("{") != config.count("}"):
            raise RuntimeFailed(f"the configuration is refused: {self.host.refuse or 'unbalanced braces'}")
        self._run(config)

    async def revive(self) -> bool:
        if self.active:
            return True
        if not self.host.good:
            return False
        self._run(self.host.good)
        return True

    async def wait_lost(self) -> None:
        await self.host.ended.wait()
        self.host.ended.clear()

    async def tend(self) -> Collection[Target]:
        failing, self.host.failing = self.host.failing, frozenset()
        return failing

    async def stop(self, grace: float = 1.0) -> None:
        self.host.running = ""

    async def close(self) -> None:
        self.closed = True
        self._attached = False

    def _run(self, config: str) -> None:
        self.host.running = self.host.good = config
        self.host.generation += 1
        self.host.ended.clear()
        self._attached = True
