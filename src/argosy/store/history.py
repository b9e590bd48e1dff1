"""What a process knows of the store's past: enough to notice that the store is another one, or an older copy of itself.

Revisions can only be compared within one history. A store that was restored from a backup counts on from an older revision, and soon has
other contents at revisions that were known already; its leases are of the time of the backup.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.errors import LeaseLost
from argosy.reconcile import Clock
from argosy.store.base import Record

FORGET_AFTER = 60.0
"""Seconds after a lease's time in which it is still remembered."""

GONE_BACK = "the store has gone back in time, or is another one"


class History:
    """`cluster` is the id of etcd's cluster (0: none was heard yet), `revision` the highest that was heard of, `witness` the newest record
    that was seen: whatever else happens, a store with the same history has it at its revision. `number` counts the histories."""

    def __init__(self) -> None:
        self.number = 0
        self.cluster = 0
        self.revision = 0
        self.witness: Record | None = None

    def saw(self, record: Record) -> None:
        if self.witness is None or record.modified > self.witness.modified:
            self.witness = record
        self.moved(record.modified)

    def moved(self, revision: int) -> None:
        self.revision = max(self.revision, revision)

    def begin(self, cluster: int, revision: int) -> None:
        """Another history: nothing of the one before is known any more."""
        self.number += 1
        self.cluster, self.revision, self.witness = cluster, revision, None


class Leases:
    """The leases that this process has granted or kept alive. When the store has gone back in time, all of them count as lost, even if it
    still has them: what was written under them since the backup is gone, and only who holds a lease can write it anew."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[int, float] = {}
        self._lost: set[int] = set()
        self._tidy_at = 1000

    def kept(self, lease: int, ttl: float) -> None:
        now = self._clock.monotonic()
        self._known[lease] = now + ttl + FORGET_AFTER
        self._lost.discard(lease)
        if len(self._known) > self._tidy_at:
            self._known = {known: until for known, until in self._known.items() if until > now}
            self._tidy_at = 2 * len(self._known) + 1000

    def lose(self) -> None:
        self._lost |= self._known.keys()
        self._known.clear()

    def check(self, leases: Iterable[int]) -> None:
        """Raises LeaseLost."""
        if self._lost:
            for lease in leases:
                if lease in self._lost:
                    raise LeaseLost(f"lease {lease} is lost: {GONE_BACK}", remedy="grant a new one and write its keys again")
