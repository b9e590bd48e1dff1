"""A steady load: so many requests a second, for as long as asked, and what became of each. Used by the demo, tests and benchmarks."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp
import msgspec

from argosy.reconcile import Clock


class Answer(msgspec.Struct, frozen=True):
    """One request: when it was due (monotonic seconds), how long its answer took, the HTTP status (0: none) and the body or the error."""

    due: float
    took: float
    status: int
    text: str

    @property
    def good(self) -> bool:
        return self.status == 200


class Load:
    """Requests at a fixed rate (open loop: a slow answer delays no other request), on up to `connections` kept-alive connections."""

    def __init__(
        self, url: str, host: str, rate: float, clock: Clock, *, timeout: float = 5.0, connections: int = 100, fresh: bool = False
    ) -> None:
        self.url = url
        self.host = host
        self.rate = rate
        self.clock = clock
        self.answers: list[Answer] = []
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._connections = connections
        self._fresh = fresh
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Until `stop`; then waits for the answers still due."""
        connector = aiohttp.TCPConnector(limit=self._connections, force_close=self._fresh)
        async with aiohttp.ClientSession(connector=connector, timeout=self._timeout) as session, asyncio.TaskGroup() as group:
            start = self.clock.monotonic()
            sent = 0
            while not self._stop.is_set():
                due = start + sent / self.rate
                wait = due - self.clock.monotonic()
                if wait > 0:
                    await self.clock.sleep(wait)
                group.create_task(self._ask(session, due))
                sent += 1

    def stop(self) -> None:
        self._stop.set()

    async def _ask(self, session: aiohttp.ClientSession, due: float) -> None:
        try:
            async with session.get(self.url, headers={"Host": self.host}) as response:
                text = await response.text(errors="replace")
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            status, text = 0, f"{type(error).__name__}: {error}"
        self.answers.append(Answer(due=due, took=self.clock.monotonic() - due, status=status, text=text.strip()))

    def failed(self, since: float = 0.0) -> list[Answer]:
        return [answer for answer in self.answers if not answer.good and answer.due >= since]

    def by_text(self, since: float = 0.0) -> Counter[str]:
        """How many good answers of each text: for our examples, of each instance."""
        return Counter(answer.text for answer in self.answers if answer.good and answer.due >= since)
