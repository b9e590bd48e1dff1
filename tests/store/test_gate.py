"""The gate before etcd: few at once, few bytes at once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.store.gate import Gate
from tests.conftest import settle


class Visitors:
    """Tasks that pass the gate and stay inside until they are told to leave."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.inside: list[int] = []
        self.entered: list[int] = []
        self.leave: dict[int, asyncio.Event] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    def come(self, number: int, size: int) -> None:
        self.leave[number] = asyncio.Event()
        self.tasks[number] = asyncio.create_task(self._visit(number, size))

    async def _visit(self, number: int, size: int) -> None:
        async with self.gate.passing(size):
            self.inside.append(number)
            self.entered.append(number)
            await self.leave[number].wait()
            self.inside.remove(number)

    async def end(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


@pytest.mark.parametrize(
    ("what", "sizes", "inside"),
    [
        ("no more than the count", [1, 1, 1, 1], [0, 1, 2]),
        ("no more than the size together", [5, 4, 2, 1], [0, 1]),
        ("one that is larger than the size passes alone", [50, 1], [0]),
        ("a small one does not overtake a large one that waits", [6, 6, 1], [0]),
    ],
)
async def test_it_lets_in(what: str, sizes: Sequence[int], inside: Sequence[int]) -> None:
    visitors = Visitors(Gate(3, 10))
    for number, size in enumerate(sizes):
        visitors.come(number, size)
    await settle()
    assert visitors.inside == inside, what
    for number in range(len(sizes)):
        visitors.leave[number].set()
    await asyncio.gather(*visitors.tasks.values())
    assert visitors.entered == list(range(len(sizes)))


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=12))
def test_whoever_gives_up_holds_up_nobody(visits: list[tuple[int, bool]]) -> None:
    async def live() -> None:
        visitors = Visitors(Gate(3, 10))
        for number, (size, _) in enumerate(visits):
            visitors.come(number, size)
        await settle(3)
        for number, (_, gives_up) in enumerate(visits):
            if gives_up:
                visitors.tasks[number].cancel()
        for number in range(len(visits)):
            visitors.leave[number].set()
        async with asyncio.timeout(5):
            await asyncio.gather(*visitors.tasks.values(), return_exceptions=True)
        assert [number for number in visitors.entered if not visits[number][1]] == [n for n, visit in enumerate(visits) if not visit[1]]
        for number in range(3):
            visitors.come(100 + number, 3)
        await settle()
        assert visitors.entered[-3:] == [100, 101, 102], "there is room for as many as at the beginning"
        await visitors.end()

    asyncio.run(live())
