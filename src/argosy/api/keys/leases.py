"""Leases of users' keys. Keys with the same TTL that are set within the same second share a lease; a lease without keys is revoked.

One lease for each key would cost the store a write and an expiry for each. A key must not end early, so a shared lease lasts a second
longer than its keys ask for: a key ends up to a second late. A key that is set alone gets a lease of exactly its TTL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from argosy.errors import Conflict, InvalidInput, LeaseLost
from argosy.reconcile import Clock, Wake
from argosy.store.base import MAX_TTL, Store

SHARED_SECONDS = 1.0
"""A lease is shared by keys that are set within so many seconds; they end so many seconds late at most."""

LEAST_SECONDS = 1.0

IDLE_SECONDS = 10.0
"""A lease that has had no key for so long is revoked, ..."""

SOON_SECONDS = 60.0
"""... unless it ends by itself within so many seconds."""


class KeyLease:
    """A lease that this process has granted. `ttl` is that of its keys. Times are monotonic seconds: `ends` is the earliest that the lease
    can end. `writes` counts commits under way that name it, `paths` are its keys."""

    __slots__ = ("ends", "granted", "length", "number", "paths", "ttl", "writes")

    def __init__(self, number: int, ttl: int, length: float, granted: float) -> None:
        self.number = number
        self.ttl = ttl
        self.length = length
        self.granted = granted
        self.ends = granted + length
        self.writes = 0
        self.paths: set[str] = set()


class KeyLeases:
    """The leases of one Keyspace. `saw` must be called with every event of a key, `reset` when the keys are read anew; `tidy` is a round
    for `reconcile`, woken by `idle`.

    Only leases that were granted here are shared or kept alive: of others it is not known who else writes keys under them.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._latest: dict[int, KeyLease] = {}
        self._known: dict[int, KeyLease] = {}
        self._held: dict[str, tuple[KeyLease, int]] = {}
        self._unused: dict[int, float] = {}
        self._granting: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self.idle = Wake()

    def __len__(self) -> int:
        return len(self._known)

    @asynccontextmanager
    async def lend(self, path: str, ttl: int, standing: int = 0) -> AsyncIterator[KeyLease]:
        """A lease for a commit that sets this key to end in `ttl` seconds; `standing` is the key's lease now if that was for the same TTL.
        After the commit call `attach`. Raises StoreUnavailable and what the block raises."""
        lease = await self._keep_alive(path, ttl, standing) or await self._shared(ttl)
        try:
            yield lease
        except (Conflict, InvalidInput):
            self._release(lease)
            raise
        except BaseException:  # the lease has ended, or the commit may have happened: nothing more is known of it
            self._forget(lease)
            raise
        self._release(lease)

    def attach(self, path: str, lease: KeyLease, revision: int) -> None:
        """The key was set with this lease at this revision."""
        self._detach(path)
        self._held[path] = lease, revision
        lease.paths.add(path)

    def saw(self, path: str, lease: int, revision: int) -> None:
        """The key was set with this lease (0: without one, or deleted), as the store tells."""
        held = self._held.get(path)
        if held is not None and held[1] <= revision and held[0].number != lease:
            self._detach(path)
        if lease in self._known and path not in self._held:
            self.attach(path, self._known[lease], revision)

    def reset(self, standing: Iterable[tuple[str, int]], revision: int) -> None:
        """All keys as of a revision: (path, lease)."""
        for path in [path for path, (_, since) in self._held.items() if since <= revision]:
            self._detach(path)
        for path, lease in standing:
            self.saw(path, lease, revision)

    async def tidy(self) -> float | None:
        """Revoke leases that have had no key for a while. Returns the seconds until the next one is due. Raises StoreUnavailable."""
        now = self._clock.monotonic()
        self._latest = {ttl: lease for ttl, lease in self._latest.items() if now - lease.granted < IDLE_SECONDS}
        for number, since in tuple(self._unused.items()):
            lease = self._known[number]
            if now - since < IDLE_SECONDS or (now < lease.ends <= now + SOON_SECONDS):
                continue
            if lease.ends > now:
                await self._store.revoke(number)
            self._forget(lease)
        return IDLE_SECONDS if self._unused else None

    async def _keep_alive(self, path: str, ttl: int, standing: int) -> KeyLease | None:
        """The key's own lease, kept alive, if no other key has it."""
        lease = self._known.get(standing)
        if lease is None or lease.ttl != ttl or lease.writes or lease.paths != {path}:
            return None
        if self._latest.get(ttl) is lease:
            del self._latest[ttl]  # it ends later from now on: too late for others
        self._use(lease)
        ends = self._clock.monotonic() + lease.length
        try:
            await self._store.keep_alive(standing)
        except LeaseLost:
            self._forget(lease)
            return None
        except BaseException:
            self._release(lease)
            raise
        lease.ends = ends
        return lease

    async def _shared(self, ttl: int) -> KeyLease:
        lock = self._granting.get(ttl)
        if lock is None:
            lock = self._granting[ttl] = asyncio.Lock()
        async with lock:
            now = self._clock.monotonic()
            lease = self._latest.get(ttl)
            if lease is None or not now + ttl <= lease.ends <= now + ttl + SHARED_SECONDS:
                alone = lease is None or now - lease.granted > 2 * SHARED_SECONDS
                length = min(max(ttl + (0.0 if alone else SHARED_SECONDS), LEAST_SECONDS), MAX_TTL)
                lease = KeyLease(await self._store.grant(length), ttl, length, now)
                self._latest[ttl] = self._known[lease.number] = lease
            self._use(lease)
            return lease

    def _use(self, lease: KeyLease) -> None:
        lease.writes += 1
        self._unused.pop(lease.number, None)

    def _release(self, lease: KeyLease) -> None:
        lease.writes -= 1
        self._look(lease)

    def _detach(self, path: str) -> None:
        held = self._held.pop(path, None)
        if held is not None:
            held[0].paths.discard(path)
            self._look(held[0])

    def _look(self, lease: KeyLease) -> None:
        """Note when a lease has become unused."""
        if not lease.paths and not lease.writes and lease.number in self._known:
            self._unused.setdefault(lease.number, self._clock.monotonic())
            self.idle.set()

    def _forget(self, lease: KeyLease) -> None:
        """The lease is used no more and ends by itself."""
        self._known.pop(lease.number, None)
        self._unused.pop(lease.number, None)
        if self._latest.get(lease.ttl) is lease:
            del self._latest[lease.ttl]
        for path in lease.paths:
            self._held.pop(path, None)
        lease.paths.clear()
