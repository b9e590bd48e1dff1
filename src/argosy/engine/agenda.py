"""What the planner must look at again: a queue without repetition, in an order that does not depend on when things were added."""

from __future__ import annotations

from heapq import heappop, heappush

Item = tuple[str, str]
"""A unit, and a machine ("": the unit as a whole; otherwise a global unit on this machine)."""


class Agenda:
    """Units that are placed somewhere come first (what runs matters more than what waits), then by name and machine."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, str]] = []
        self._items: dict[Item, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: Item) -> bool:
        return item in self._items

    def add(self, unit: str, machine: str = "", *, urgent: bool = False) -> None:
        """An item that is there already can only become urgent."""
        item = (unit, machine)
        rank = 0 if urgent else 1
        if self._items.get(item, 2) > rank:
            self._items[item] = rank
            heappush(self._heap, (rank, unit, machine))

    def pop(self) -> Item:
        """Raises IndexError when nothing is left."""
        while True:
            rank, unit, machine = heappop(self._heap)
            if self._items.get((unit, machine)) == rank:
                del self._items[unit, machine]
                return (unit, machine)
