"""The store's contract: the useful part of etcd v3's API, kept small enough for two complete implementations.

Keys are UTF-8 strings, values are bytes. The store has one revision, an integer above zero that grows by one with every
commit that writes. `tests/contracts/store_contract.py` is this page as a test suite; both implementations pass it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

MAX_OPERATIONS = 128
"""Conditions plus writes that one commit may hold (etcd's own default for one transaction)."""

MAX_VALUE = 1_000_000
"""Bytes that one value may hold (etcd refuses requests above 1.5 MB)."""

MAX_COMMIT = 1_400_000
"""Bytes that the keys and values of one commit may hold together, for the same reason."""

MAX_TTL = 9_000_000_000.0
"""Seconds that a lease may last (etcd's own limit)."""


# Without `gc`: they cannot be part of a cycle, and a listing may hold a million of them.
class Record(msgspec.Struct, frozen=True, gc=False):
    """One key as it stands. `created` and `modified` are the revisions of its first and its latest write since it
    last came into being; `lease` is 0 for a key that is kept."""

    key: str
    value: bytes
    created: int
    modified: int
    lease: int = 0


class Listing(msgspec.Struct, frozen=True):
    """All records under a prefix, sorted by key, and the revision at which they were read (watch `after` it)."""

    records: tuple[Record, ...]
    revision: int


class Condition(msgspec.Struct, frozen=True, gc=False):
    """`key` was last modified exactly at `revision`; revision 0: it does not exist."""

    key: str
    revision: int


class Put(msgspec.Struct, frozen=True, gc=False):
    """Write a key. With a lease, the key is deleted when the lease ends; a Put without one detaches the key."""

    key: str
    value: bytes
    lease: int = 0


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Delete a key; deleting one that does not exist is allowed, writes nothing and makes no event."""

    key: str


class DeletePrefix(msgspec.Struct, frozen=True, gc=False):
    """Delete every key that starts with `prefix` (not empty), however many there are: one write, in one revision, with an event for each
    key, in key order. Where there are none it writes nothing. No other write of the commit may be of a key below the prefix."""

    prefix: str


Write = Put | Delete | DeletePrefix


class Event(msgspec.Struct, frozen=True, gc=False):
    """A key was written (`record`) or deleted (`record` is None). `previous` is what stood before, None if nothing did (or if the watch was
    not asked for it)."""

    key: str
    record: Record | None
    previous: Record | None = None


class Batch(msgspec.Struct, frozen=True):
    """The events of one revision, in the order of the commit's writes."""

    revision: int
    events: tuple[Event, ...]


class Room(msgspec.Struct, frozen=True):
    """How much a store holds, in bytes: `used` counts towards `limit`, `live` of it is really needed. `full`: it refuses to write."""

    used: int
    live: int
    limit: int
    full: bool = False


class Store(Protocol):
    """The contract. Every method may raise StoreUnavailable (StoreFull where it writes); none blocks the event loop; calls may run
    concurrently.

    When a commit raises StoreUnavailable it may or may not have been applied: read before repeating it.
    """

    async def get(self, key: str) -> Record | None:
        """The record of a key, as of the latest acknowledged commit (linearizable)."""

    async def list(self, prefix: str) -> Listing:
        """All records whose key starts with `prefix`, in key order, from one revision. "" lists everything."""

    async def commit(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        """Apply all writes atomically if all conditions hold; returns the revision after it.

        A commit that writes nothing (no writes, or only deletions of missing keys) returns the current revision.
        Raises Conflict when a condition does not hold (nothing is written), InvalidInput for more than MAX_OPERATIONS
        conditions and writes, for one key written twice (also by a DeletePrefix), an empty key, a value above MAX_VALUE or
        more than MAX_COMMIT in all, and LeaseLost when a Put names a lease that does not exist.
        """

    def watch(self, prefix: str, after: int, *, previous: bool = False) -> AsyncIterator[Sequence[Batch]]:
        """Every batch with a revision above `after` that touches the prefix (events outside it left out), in order,
        none left out and none twice, for ever. What has piled up is delivered together, as one non-empty sequence.
        With `previous` each event says what stood before; without it some stores leave that out (for etcd it is a read of an
        old revision for each event: 20,000 keys deleted at once then take minutes to be told).

        Survives reconnects and changes of leader by itself: while the store is away it simply yields nothing... but a
        watch that can no longer be continued raises HistoryGone: when `after` (or where it stood) has been compacted, and when
        the store has gone back in time or become another one (restored from a backup): revisions are then other ones, and leases
        that this process knew raise LeaseLost.
        Closing the iterator (aclose) ends it.
        """

    async def grant(self, ttl: float) -> int:
        """A new lease that ends `ttl` seconds after its last keep-alive, plus at most two seconds and rounding up to
        whole seconds (etcd grants whole seconds, and no less than its election allows). Raises InvalidInput for ttl <= 0."""

    async def keep_alive(self, lease: int) -> float:
        """Starts the lease's time anew; returns its granted TTL in seconds. Raises LeaseLost when it has ended."""

    async def remaining(self, lease: int) -> float:
        """Seconds until the lease ends if it is not kept alive (about; 0 or more). Raises LeaseLost when it has ended."""

    async def revoke(self, lease: int) -> None:
        """Ends the lease and deletes its keys, in one revision. An unknown lease is no error."""

    async def compact(self, revision: int) -> None:
        """Forget the history up to and including `revision`; records stay. Watches after an earlier one raise HistoryGone."""

    async def room(self) -> Room:
        """How full the store is now."""

    async def tidy(self, revision: int) -> None:
        """Makes room: forgets the history up to and including `revision` as `compact` does, gives back what that leaves unused, and ends
        `full` if there is room then. May take long, and members may be silent meanwhile."""

    async def close(self) -> None:
        """Ends all watches (they stop iterating) and lets go of every resource. Leases stay. Idempotent."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def check_commit(conditions: Sequence[Condition], writes: Sequence[Write]) -> str:
    """The rule that a commit breaks, in words, or "" for a good one. Both implementations ask here."""
    if len(conditions) + len(writes) > MAX_OPERATIONS:
        return f"a commit of {len(conditions) + len(writes)} conditions and writes; at most {MAX_OPERATIONS} fit in one"
    total = 0
    for condition in conditions:
        if not is_key(condition.key):
            return f"{condition.key!r} is not a key: keys are not empty, hold no NUL and are valid Unicode"
        if condition.revision < 0:
            return f"{condition.revision} is not a revision: a condition on {condition.key!r} names one, or 0"
        total += len(condition.key)
    seen: set[str] = set()
    prefixes = tuple(write.prefix for write in writes if isinstance(write, DeletePrefix))
    if fault := _check_prefixes(prefixes):
        return fault
    total += sum(len(prefix) for prefix in prefixes)
    for write in writes:
        if isinstance(write, DeletePrefix):
            continue
        if not is_key(write.key):
            return f"{write.key!r} is not a key: keys are not empty, hold no NUL and are valid Unicode"
        if write.key in seen or write.key.startswith(prefixes):
            return f"key {write.key!r} is written twice in one commit"
        seen.add(write.key)
        total += len(write.key)
        if isinstance(write, Put):
            if len(write.value) > MAX_VALUE:
                return f"the value of {write.key!r} has {len(write.value)} bytes; at most {MAX_VALUE} fit"
            total += len(write.value)
    if total > MAX_COMMIT:
        return f"a commit of {total} bytes; at most {MAX_COMMIT} fit in one"
    return ""


def _check_prefixes(prefixes: tuple[str, ...]) -> str:
    for number, prefix in enumerate(prefixes):
        if not is_key(prefix):
            return f"{prefix!r} is not a prefix of keys to delete: it is not empty, holds no NUL and is valid Unicode"
        if prefix.startswith(prefixes[:number]) or any(other.startswith(prefix) for other in prefixes[:number]):
            return f"the keys below {prefix!r} are deleted twice in one commit"
    return ""


def check_prefix(prefix: str) -> str:
    """The rule that a prefix breaks, in words, or ""."""
    return f"{prefix!r} is not a prefix of any key: it holds NUL or is not valid Unicode" if prefix and not is_key(prefix) else ""


def check_ttl(ttl: float) -> str:
    """The rule that a lease's time breaks, in words, or ""."""
    return "" if 0 < ttl <= MAX_TTL else f"a lease of {ttl} seconds: it must last more than 0 and at most {MAX_TTL:.0f}"


def is_key(key: str) -> bool:
    """Whether a record may have this key."""
    if not key or "\0" in key:
        return False
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def prefix_end(prefix: str) -> str:
    """The first string after all that start with `prefix`, in the order of their UTF-8 bytes; "" if there is none."""
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
        prefix = prefix[:-1]
    return ""
