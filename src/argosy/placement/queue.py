"""Machines in the order of a strategy, so that the first that fits is found without looking at all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from enum import Enum
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any

from argosy.placement.spot import Spot

Rank = tuple[Any, ...]
"""Numbers, then the machine's id."""

Question = tuple[str, Hashable]
"""A filter's name, and all that its answer depends on of the workload."""

QUEUE_ENTRIES = 1_000_000
"""Entries that all queues may hold together, before the oldest queue is dropped (and built again when it is asked for)."""

QUESTIONS_WATCHED = 10_000


class Answer(Enum):
    """What becomes of a machine that is looked at: it FITS, is passed over this time (ASIDE), or left out until it improves (FORGET)."""

    FITS = 0
    ASIDE = 1
    FORGET = 2


FITS = Answer.FITS


class Improvements:
    """A log of machines that may have become better: left by a workload, uncordoned, new. Each queue reads on from where it stood.

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


class Queue:
    """Machines by rank, as a heap that is put right only where it is touched.

    A machine's rank may get worse at any time: its entry is then too good, which is noticed when it comes to the top. What gets better is
    told by `Improvements`. A machine that was forgotten comes back when it has improved.
    """

    def __init__(self, machines: Mapping[str, Spot], improvements: Improvements, rank: Callable[[Spot], Rank]) -> None:
        self.machines = machines
        self._improvements = improvements
        self._rank = rank
        self._heap: list[Rank] = []
        self._entries: dict[str, Rank] = {}
        self._epoch = -1
        self._read = 0

    def first(self, ask: Callable[[Spot], Answer], avoid: Collection[str] = (), name: str = "", ring: Sequence[str] = ()) -> Spot | None:
        """Return the first machine that is not in `avoid` and fits; None if there is none. (`name` and `ring` are for other orders.)"""
        self._catch_up()
        aside: list[Rank] = []
        found: Spot | None = None
        heap, entries, machines, rank_of = self._heap, self._entries, self.machines, self._rank
        while heap:
            rank = heap[0]
            at = rank[-1]
            if entries.get(at) != rank:
                heappop(heap)
                continue
            machine = machines.get(at)
            if machine is None:
                heappop(heap)
                del entries[at]
                continue
            now = rank_of(machine)
            if now != rank:
                entries[at] = now
                heapreplace(heap, now)
                continue
            answer = Answer.ASIDE if at in avoid else ask(machine)
            if answer is FITS:
                found = machine
                break
            heappop(heap)
            if answer is Answer.FORGET:
                del entries[at]
            else:
                aside.append(rank)
        for rank in aside:
            heappush(heap, rank)
        return found

    def fitting(self, ask: Callable[[Spot], Answer], avoid: Collection[str] = ()) -> Iterator[Spot]:
        """Yield every machine that is not in `avoid` and fits, in no order."""
        self._catch_up()
        for name in list(self._entries):
            machine = self.machines.get(name)
            if machine is None:
                del self._entries[name]
            elif name not in avoid:
                answer = ask(machine)
                if answer is Answer.FITS:
                    yield machine
                elif answer is Answer.FORGET:
                    del self._entries[name]

    def _catch_up(self) -> None:
        log = self._improvements.log
        if self._epoch != self._improvements.epoch:
            self._entries = {name: self._rank(machine) for name, machine in self.machines.items()}
            self._heap = list(self._entries.values())
            heapify(self._heap)
            self._epoch = self._improvements.epoch
        elif self._read < len(log):
            for name in dict.fromkeys(log[self._read :]):
                machine = self.machines.get(name)
                if machine is None:
                    continue
                rank = self._rank(machine)
                entry = self._entries.get(name)
                if entry is None or rank < entry:
                    self._entries[name] = rank
                    heappush(self._heap, rank)
        self._read = len(log)


class Queues:
    """The `common` queue, and one for each set of `costly` questions: those for which searches went past more refused machines than there
    are. There, machines that one of them refuses are left out until they improve."""

    def __init__(self, machines: Mapping[str, Spot], improvements: Improvements, rank: Callable[[Spot], Rank]) -> None:
        self._machines = machines
        self._improvements = improvements
        self._rank = rank
        self._queues: dict[tuple[Question, ...], Queue] = {}
        self._costs: dict[Question, int] = {}
        self.common = Queue(machines, improvements, rank)
        self.costly: set[Question] = set()

    def refused(self, question: Question) -> None:
        """A search went past a machine that is refused for this question."""
        cost = self._costs.get(question, 0) + 1
        if cost <= len(self._machines):
            if cost == 1 and len(self._costs) >= QUESTIONS_WATCHED:
                self._costs.clear()
            self._costs[question] = cost
            return
        if len(self.costly) >= QUESTIONS_WATCHED:
            self.costly.clear()
            self._queues.clear()
        self._costs.pop(question, None)
        self.costly.add(question)

    def get(self, questions: tuple[Question, ...]) -> Queue:
        """Return the queue for workloads that ask these (costly) questions among others."""
        queue = self._queues.get(questions)
        if queue is None:
            if len(self._queues) * len(self._machines) >= QUEUE_ENTRIES:
                del self._queues[next(iter(self._queues))]
            queue = self._queues[questions] = Queue(self._machines, self._improvements, self._rank)
        return queue
