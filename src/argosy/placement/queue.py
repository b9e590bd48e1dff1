"""Machines in the order of a strategy, so that the first that fits is found without looking at all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, TypeVar

from argosy.placement.strategies import Rank, Ranked, Strategy

M = TypeVar("M", bound=Ranked)


class Improvements:
    """A log of machines that may have become better: left by a unit, uncordoned, new. Each queue reads on from where it stood.

    When the log has grown past a few entries a machine, it is begun anew (`epoch`), and queues of an older epoch are built again.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.epoch = 0

    def add(self, machine: str, machines: int) -> None:
        if len(self.log) > 4 * machines + 1024:
            self.log = []
            self.epoch += 1
        else:
            self.log.append(machine)


class Queue(Generic[M]):
    """The eligible machines by rank, as a heap that is put right only where it is touched.

    A machine's rank gets worse with each unit placed on it: its entry is then too good, which is noticed when it comes to the top. What
    gets better is told by `Improvements`. With `forgetful` a machine that was refused is left out until it has improved: right where a
    refusal depends on nothing but what the machine holds. `wasted` counts refusals.
    """

    def __init__(
        self,
        machines: Mapping[str, M],
        improvements: Improvements,
        eligible: Callable[[M], bool],
        strategy: Strategy,
        *,
        forgetful: bool = False,
    ) -> None:
        self._machines = machines
        self._improvements = improvements
        self._eligible = eligible
        self._strategy = strategy
        self._forgetful = forgetful
        self._heap: list[Rank] = []
        self._entries: dict[str, Rank] = {}
        self._epoch = -1
        self._read = 0
        self.wasted = 0

    def first(self, refused: Callable[[M], bool] | None, avoid: Collection[str] = ()) -> M | None:
        """The best machine that is not in `avoid` and not refused; None if there is none."""
        self._catch_up()
        aside: list[Rank] = []
        found: M | None = None
        while self._heap:
            machine = self._top()
            if machine is None:
                continue
            if machine.id in avoid:
                aside.append(heappop(self._heap))
            elif refused is not None and refused(machine):
                self.wasted += 1
                rank = heappop(self._heap)
                if self._forgetful:
                    del self._entries[machine.id]
                else:
                    aside.append(rank)
            else:
                found = machine
                break
        for rank in aside:
            heappush(self._heap, rank)
        return found

    def _top(self) -> M | None:
        """The machine on top if its entry is right; otherwise puts the entry right and returns None."""
        rank = self._heap[0]
        name = rank[-1]
        if self._entries.get(name) != rank:
            heappop(self._heap)
            return None
        machine = self._machines.get(name)
        if machine is None or not self._eligible(machine):
            heappop(self._heap)
            del self._entries[name]
            return None
        now = self._strategy(machine)
        if now != rank:
            self._entries[name] = now
            heapreplace(self._heap, now)
            return None
        return machine

    def _catch_up(self) -> None:
        if self._epoch != self._improvements.epoch:
            self._entries = {name: self._strategy(machine) for name, machine in self._machines.items() if self._eligible(machine)}
            self._heap = list(self._entries.values())
            heapify(self._heap)
            self._epoch = self._improvements.epoch
            self._read = len(self._improvements.log)
            return
        log = self._improvements.log
        for name in log[self._read :] if self._read < len(log) else ():
            machine = self._machines.get(name)
            if machine is None or not self._eligible(machine):
                continue
            rank = self._strategy(machine)
            entry = self._entries.get(name)
            if entry is None or rank < entry:
                self._entries[name] = rank
                heappush(self._heap, rank)
        self._read = len(log)
