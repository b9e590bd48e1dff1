"""What all tests share: a clock that tests move by hand, and a guard against blocking the event loop."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
import pytest_asyncio
from blockbuster import BlockBuster, blockbuster_ctx

from tests.etcd_server import etcd_server, fast_folder


class FakeClock:
    """A Clock that stands still until `advance`; sleepers wake in the order of their deadlines."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._monotonic + seconds, self._count, future))
        await future

    def jump(self, seconds: float) -> None:
        """Moves the wall clock only, as an operator or NTP does."""
        self._now += seconds

    async def advance(self, seconds: float) -> None:
        """Moves both clocks, waking sleepers on the way and letting what they wake run."""
        end = self._monotonic + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, future = heapq.heappop(self._sleepers)
            self._now += at - self._monotonic
            self._monotonic = at
            if not future.done():
                future.set_result(None)
            await settle()
        self._now += end - self._monotonic
        self._monotonic = end
        await settle()


async def settle(rounds: int = 50) -> None:
    """Lets every task that can run now do so."""
    for _ in range(rounds):
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[BlockBuster]:
    """Fails a test whose event loop is blocked by argosy's own code."""
    with blockbuster_ctx(scanned_modules=["argosy"]) as guard:
        for name, function in guard.functions.items():
            if name.startswith("sqlite3."):  # a private database in memory waits for nothing
                function.can_block_in("argosy/store/lane.py", "_in_memory")
        yield guard


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoints() -> AsyncIterator[Sequence[str]]:
    """Where an etcd of the module's own answers."""
    with fast_folder() as folder:
        async with etcd_server(folder) as endpoints:
            yield endpoints
