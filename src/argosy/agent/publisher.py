"""The states of a machine's units in the store: what changed, at once, in few commits, under the machine's lease."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from argosy.errors import LeaseLost
from argosy.model import UnitState
from argosy.reconcile import Backoff, Clock, Wake, reconcile
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import MAX_OPERATIONS, Delete, Put, Store, Write

BURST = 4
WINDOW = 1.0
"""So many changes of a unit are told as they happen within so many seconds; of a unit that flaps faster, the latest then and again."""


class Publisher:
    """`offer` says what the states are, `begin` under which lease they are told; `run` does the work. `lost` is called when the store says
    that the lease has ended."""

    def __init__(self, store: Store, machine: str, clock: Clock, lost: Callable[[], None]) -> None:
        self._store = store
        self._machine = machine
        self._clock = clock
        self._lost = lost
        self._lease = 0
        self._offered: Mapping[str, UnitState] = {}
        self._told: dict[str, UnitState | None] = {}
        self._times: dict[str, deque[float]] = {}
        self._wake = Wake()

    def offer(self, states: Mapping[str, UnitState]) -> None:
        self._offered = dict(states)
        self._wake.set()

    def begin(self, lease: int, standing: Iterable[str] = ()) -> None:
        """A new lease: everything is told anew, and of the units `standing` in the store those that are no more are deleted."""
        self._lease = lease
        self._told = dict.fromkeys(standing)
        self._wake.set()

    def end(self) -> None:
        self._lease = 0

    async def run(self) -> None:
        await reconcile("publishing unit states", self._round, self._wake, self._clock, backoff=Backoff(most=1.0))

    async def _round(self) -> float | None:
        if not self._lease:
            return None
        due, pause = self._due()
        for at in range(0, len(due), MAX_OPERATIONS):
            if not await self._commit(due[at : at + MAX_OPERATIONS]):
                return None
        return pause

    def _due(self) -> tuple[list[str], float | None]:
        """Units whose state is to be told now, and the seconds until the first of those that must wait is due."""
        now = self._clock.monotonic()
        due: list[str] = []
        pause: float | None = None
        for name in self._offered.keys() | self._told.keys():
            if name in self._told and name in self._offered and self._told[name] == self._offered[name]:
                continue
            times = self._times.setdefault(name, deque(maxlen=BURST))
            wait = times[0] + WINDOW - now if len(times) == BURST else 0.0
            if wait <= 0:
                due.append(name)
            else:
                pause = wait if pause is None else min(pause, wait)
        return sorted(due), pause

    async def _commit(self, names: list[str]) -> bool:
        """False if the lease is another one meanwhile, so that nothing of this counts."""
        lease, offered = self._lease, self._offered
        writes: list[Write] = []
        for name in names:
            key = keys.state(self._machine, name)
            writes.append(Put(key, encode(offered[name]), lease) if name in offered else Delete(key))
        try:
            await self._store.commit([], writes)
        except LeaseLost:
            if lease == self._lease:
                self._lease = 0
                self._lost()
            return False
        if lease != self._lease:
            return False
        now = self._clock.monotonic()
        for name in names:
            if name in offered:
                self._told[name] = offered[name]
                self._times.setdefault(name, deque(maxlen=BURST)).append(now)
            else:
                self._told.pop(name, None)
                self._times.pop(name, None)
        return True
