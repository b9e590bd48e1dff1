"""Which of the machines that no filter refused: the first in the strategy's order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import ClassVar, Literal, Protocol
from zlib import crc32

from argosy.placement.queue import Answer, Queue, Rank
from argosy.placement.spot import Spot

StrategyName = Literal["spread", "binpack", "random"]

PROBES = 64
"""Machines that `random` draws one after the other, before it compares all that are left."""


class Strategy(Protocol):
    """An order of machines for each workload. `improves`: a machine may come earlier by getting a workload, not only by losing one."""

    name: ClassVar[StrategyName]
    improves: ClassVar[bool]

    def rank(self, spot: Spot) -> Rank:
        """Return where the machine stands in the order that queues are kept in; it ends in the machine's id, so no two are equal."""
        ...

    def order(self, name: str, ring: Sequence[str]) -> Callable[[Spot], Rank]:
        """Return the whole order for the workload `name`. `ring` are the ids of all machines, sorted."""
        ...

    def first(self, queue: Queue, ask: Callable[[Spot], Answer], avoid: Collection[str], name: str, ring: Sequence[str]) -> Spot | None:
        """Return the first machine in the workload's order that fits, of those in the queue and not in `avoid`."""
        ...

    def words(self, spot: Spot) -> str:
        """Return why this machine comes first."""
        ...


class _Ranked:
    """An order that is the same for every workload."""

    def rank(self, spot: Spot) -> Rank:
        raise NotImplementedError

    def order(self, name: str, ring: Sequence[str]) -> Callable[[Spot], Rank]:
        return self.rank

    first = staticmethod(Queue.first)


class Spread(_Ranked):
    """The machine with the fewest workloads; the lowest id on a tie (fleet's rule)."""

    name: ClassVar[StrategyName] = "spread"
    improves: ClassVar[bool] = False

    def rank(self, spot: Spot) -> Rank:
        return (len(spot.units), spot.id)

    def words(self, spot: Spot) -> str:
        return f"fewest units ({len(spot.units)})"


class Binpack(_Ranked):
    """The machine of which the most is reserved, memory and CPUs added up; then the one with the most workloads, then the lowest id."""

    name: ClassVar[StrategyName] = "binpack"
    improves: ClassVar[bool] = True

    def rank(self, spot: Spot) -> Rank:
        memory, cpus = _shares(spot)
        return (-memory - cpus, -len(spot.units), spot.id)

    def words(self, spot: Spot) -> str:
        memory, cpus = _shares(spot)
        return f"fullest ({memory / 10:.0f} % of memory and {cpus / 10:.0f} % of CPUs reserved, {len(spot.units)} units)"


class Random:
    """Drawn by a hash of the workload's name: the same workload finds the same machine, as long as the same ones fit.

    Machines are drawn from all that there are until one fits; when `PROBES` did not, the lowest hash of workload and machine decides.
    """

    name: ClassVar[StrategyName] = "random"
    improves: ClassVar[bool] = False

    def rank(self, spot: Spot) -> Rank:
        return (spot.id,)

    def order(self, name: str, ring: Sequence[str]) -> Callable[[Spot], Rank]:
        drawn: dict[str, int] = {}
        for at, machine in enumerate(_draws(name, ring)):
            drawn.setdefault(machine, at)
        return lambda spot: (drawn.get(spot.id, PROBES), *_hashed(name, spot))

    def first(self, queue: Queue, ask: Callable[[Spot], Answer], avoid: Collection[str], name: str, ring: Sequence[str]) -> Spot | None:
        for machine in _draws(name, ring):
            spot = queue.machines[machine]
            if machine not in avoid and ask(spot) is Answer.FITS:
                return spot
        return min(queue.fitting(ask, avoid), key=lambda spot: _hashed(name, spot), default=None)

    def words(self, spot: Spot) -> str:
        return "drawn at random"


SPREAD: Strategy = Spread()
STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in (SPREAD, Binpack(), Random())}


def _shares(spot: Spot) -> tuple[int, int]:
    """Return the reserved parts of memory and CPUs, in thousandths."""
    return (
        1000 * spot.memory_reserved // spot.memory if spot.memory else 0,
        1000 * spot.cpus_reserved // spot.cpus if spot.cpus else 0,
    )


def _draws(name: str, ring: Sequence[str]) -> Iterator[str]:
    """Yield machines as a linear congruential generator draws them that starts from the workload's name."""
    state = crc32(name.encode())
    for _ in range(PROBES if ring else 0):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield ring[(state >> 33) % len(ring)]


def _hashed(name: str, spot: Spot) -> Rank:
    return (crc32(f"{name} {spot.id}".encode()), spot.id)
