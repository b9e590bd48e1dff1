"""The store of a cluster: etcd v3, over gRPC, with mutual TLS where the cluster has an authority.

Nothing is connected until something is asked. Calls turn to another member by themselves; only a commit that may have happened is not
repeated. Watches go on where they stood, at another member if need be.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

import grpc
from aetcd import rpc

from argosy.errors import Conflict, HistoryGone, InvalidInput, LeaseLost, StoreFull, StoreUnavailable
from argosy.reconcile import Backoff, Clock
from argosy.store.base import Batch, Condition, Listing, Put, Record, Room, Write, check_commit, check_prefix, check_ttl, is_key
from argosy.store.gate import Gate
from argosy.store.history import GONE_BACK, History, Leases
from argosy.store.members import ANSWER, LEADER, PATIENCE, EtcdTls, Member, Members
from argosy.store.renewals import asked_to_end
from argosy.store.subscription import Subscription
from argosy.store.wire import Message, batches, failed_condition, record, span, transaction, watch_request

__all__ = ["EtcdStore", "EtcdTls"]

log = logging.getLogger(__name__)

COMMIT_ANSWER = 2.5
"""Seconds to wait for a commit's answer: it is not asked twice, so a slow disk is given more time."""

PAGE_ANSWER = 5.0
"""Seconds to wait for a page of a listing, unless the member is found failing meanwhile."""

DEFRAGMENT_ANSWER = 120.0
"""Seconds that a member may take to defragment; it answers little meanwhile."""

DEFAULT_QUOTA = 2 * 1024**3
"""Bytes: etcd's own default."""

NO_SPACE = "NOSPACE"
"""etcd's alarm when a member's database has reached its quota: nothing more is written until it is disarmed."""

PAGE_FIRST = 500
PAGE_MOST = 40_000
PAGE_BYTES = 8_000_000
"""A listing is read in pages: the first of so many records, then as many as come to about so many bytes. For each page a member walks
through all keys that are left, so few large pages are better than many small ones."""

SLICE = 1_000
"""Records taken from a page before other tasks have their turn."""

COMMITS = 32
COMMITS_BYTES = 512 * 1024
"""Commits under way at once, in number and in bytes; the others wait here, where they delay nobody's keep-alive."""


class EtcdStore:
    """The Store contract on etcd 3.4 or newer. `endpoints` are "host:port"; the first is asked first. Raises InvalidInput for none.

    `patience`: seconds after which a call that no member answers gives up. `quota`: the members' --quota-backend-bytes (they do not tell).
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        clock: Clock,
        tls: EtcdTls | None = None,
        *,
        patience: float = PATIENCE,
        quota: int = DEFAULT_QUOTA,
    ) -> None:
        self._clock = clock
        self._quota = quota
        self._history = History()
        self._leases = Leases(clock)
        self._members = Members(endpoints, clock, tls, patience, self._history, self._gone_back)
        self._gate = Gate(COMMITS, COMMITS_BYTES)
        self._watches: dict[Subscription, asyncio.Task[None]] = {}
        self._prober: asyncio.Task[None] | None = None

    async def get(self, key: str) -> Record | None:
        if not is_key(key):
            return None
        request = rpc.RangeRequest(key=key.encode())
        response = await self._members.call(lambda member, timeout: _range(member, request, timeout), repeat=True)
        if not response.kvs:
            return None
        found = record(response.kvs[0])
        self._history.saw(found)
        return found

    async def list(self, prefix: str) -> Listing:
        if fault := check_prefix(prefix):
            raise InvalidInput(fault)
        while True:
            try:
                return await self._list(prefix)
            except HistoryGone:
                continue  # compacted while it was read page by page: begin again

    async def commit(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> int:
        if fault := check_commit(conditions, writes):
            raise InvalidInput(fault)
        self._leases.check(write.lease for write in writes if isinstance(write, Put))
        request = transaction(conditions, writes)
        async with self._gate.passing(request.ByteSize()):
            try:
                response = await self._members.call(
                    lambda member, timeout: member.kv.Txn(request, timeout=timeout, metadata=LEADER), repeat=False, answer=COMMIT_ANSWER
                )
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.NOT_FOUND:
                    raise LeaseLost("a lease of the commit has ended, or never was", remedy="grant a new one and write again") from error
                raise _refused(error) from error
        if not response.succeeded:
            condition, modified = failed_condition(conditions, response)
            found = f"was last modified at revision {modified}" if modified else "does not exist"
            wanted = f"at revision {condition.revision}" if condition.revision else "missing"
            raise Conflict(f"key {condition.key} {found}; the commit wanted it {wanted}", key=condition.key)
        revision = int(response.header.revision)
        for write in writes:
            if isinstance(write, Put):
                self._history.saw(Record(write.key, write.value, revision, revision, write.lease))
                break
        return revision

    async def watch(self, prefix: str, after: int, *, previous: bool = False) -> AsyncIterator[Sequence[Batch]]:
        if fault := check_prefix(prefix):
            raise InvalidInput(fault)
        if self._members.closed:
            return
        subscription = Subscription(prefix, after, previous)
        task = self._watches[subscription] = asyncio.create_task(self._fill(subscription), name=f"watch {prefix}")
        self._probe()
        try:
            while (found := await subscription.take()) is not None:
                yield found
        finally:
            self._watches.pop(subscription, None)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def grant(self, ttl: float) -> int:
        if fault := check_ttl(ttl):
            raise InvalidInput(fault)
        request = rpc.LeaseGrantRequest(TTL=math.ceil(ttl))
        try:
            response = await self._members.call(
                lambda member, timeout: member.lease.LeaseGrant(request, timeout=timeout, metadata=LEADER), repeat=True
            )
        except grpc.aio.AioRpcError as error:
            raise _refused(error) from error
        self._leases.kept(response.ID, ttl)
        return int(response.ID)

    async def keep_alive(self, lease: int) -> float:
        self._leases.check((lease,))
        try:
            ttl = await self._members.call(lambda member, timeout: member.renewals.renew(lease, timeout), repeat=True)
        except grpc.aio.AioRpcError as error:
            raise _refused(error) from error
        if ttl <= 0:
            raise LeaseLost(f"lease {lease} has ended, or never was", remedy="grant a new one and write its keys again")
        self._leases.check((lease,))
        self._leases.kept(lease, ttl)
        return float(ttl)

    async def remaining(self, lease: int) -> float:
        request = rpc.LeaseTimeToLiveRequest(ID=lease)
        try:
            left = await self._members.call(lambda member, timeout: _time_to_live(member, request, timeout), repeat=True)
        except grpc.aio.AioRpcError as error:
            raise _refused(error) from error
        if left < 0:
            raise LeaseLost(f"lease {lease} has ended, or never was", remedy="grant a new one and write its keys again")
        return float(left)

    async def revoke(self, lease: int) -> None:
        request = rpc.LeaseRevokeRequest(ID=lease)
        try:
            await self._members.call(
                lambda member, timeout: member.lease.LeaseRevoke(request, timeout=timeout, metadata=LEADER), repeat=True
            )
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise _refused(error) from error

    async def compact(self, revision: int) -> None:
        request = rpc.CompactionRequest(revision=revision)
        try:
            await self._members.call(lambda member, timeout: member.kv.Compact(request, timeout=timeout, metadata=LEADER), repeat=True)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.OUT_OF_RANGE:
                raise _refused(error) from error
            if "future" in (error.details() or ""):
                raise InvalidInput(f"cannot compact to revision {revision}: the store is not there yet") from error

    async def room(self) -> Room:
        return await self._members.call(lambda member, timeout: _room(member, self._quota, timeout), repeat=True)

    async def tidy(self, revision: int) -> None:
        """Members are defragmented one after the other, each only if it gives back an eighth of its size."""
        await self.compact(revision)
        for member in self._members.every():
            try:
                room = await _room(member, self._quota, ANSWER)
                if room.used - room.live >= room.used // 8:
                    await member.maintenance.Defragment(rpc.DefragmentRequest(), timeout=DEFRAGMENT_ANSWER)
                    after = await _room(member, self._quota, ANSWER)
                    log.info("etcd member %s: defragmented from %d to %d bytes", member.endpoint, room.used, after.used)
                    room = after
                if room.full and room.used < room.limit:
                    await _disarm(member)
            except grpc.aio.AioRpcError as error:
                log.warning("etcd member %s cannot be tidied up: %s", member.endpoint, error.details())

    async def close(self) -> None:
        if self._members.closed:
            return
        self._members.closed = True
        tasks = [*self._watches.values(), *([self._prober] if self._prober else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for subscription in tuple(self._watches):
            subscription.end()
        await self._members.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _list(self, prefix: str) -> Listing:
        """Raises HistoryGone if the revision it reads is compacted meanwhile."""
        key, end = span(prefix)
        records: list[Record] = []
        revision, limit = 0, PAGE_FIRST
        while True:
            request = rpc.RangeRequest(key=key, range_end=end, revision=revision, limit=limit)
            page = await self._page(request)
            if not revision and page.kvs:
                self._history.saw(record(max(page.kvs, key=lambda pair: pair.mod_revision)))
            revision = revision or page.header.revision
            for start in range(0, len(page.kvs), SLICE):
                records += [record(pair) for pair in page.kvs[start : start + SLICE]]
                await asyncio.sleep(0)
            if not page.more:
                return Listing(tuple(records), revision)
            key = page.kvs[-1].key + b"\0"
            limit = max(1, min(PAGE_MOST, PAGE_BYTES * len(page.kvs) // max(1, page.ByteSize())))

    async def _page(self, request: Message) -> Message:
        self._probe()
        try:
            return await self._members.call(lambda member, _: _page(member, request), repeat=True)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.OUT_OF_RANGE:
                raise HistoryGone(f"revision {request.revision} has been compacted") from error
            raise _refused(error) from error

    async def _fill(self, subscription: Subscription) -> None:
        """Reads a watch's stream into its mailbox, from one member or the next, until it cannot go on."""
        backoff = Backoff(least=0.05, most=1.0)
        while True:
            member = self._members.current
            try:
                if not await member.connected(ANSWER):
                    why = "cannot be reached"
                elif not (why := await self._members.check(member)):
                    if subscription.ended:
                        return
                    await self._read_stream(member, subscription, backoff)
                    why = "ended a watch"
            except HistoryGone as error:
                subscription.end(error)
                return
            except grpc.aio.AioRpcError as error:
                why = f"{error.details()} [{error.code().name}]"
            except TimeoutError:
                why = "does not answer a watch"
            except Exception as error:
                log.exception("watch of %s ends", subscription.prefix)
                subscription.end(error)
                return
            self._members.leave(member, why)
            await self._clock.sleep(backoff.next())

    async def _read_stream(self, member: Member, subscription: Subscription, backoff: Backoff) -> None:
        """Returns when the member ends the stream, or has been left. Raises HistoryGone, AioRpcError, TimeoutError."""
        stream = member.watch.Watch(metadata=LEADER)
        member.waiting.add(stream)
        try:
            async with asyncio.timeout(2 * ANSWER):
                await stream.write(watch_request(subscription.prefix, subscription.position, subscription.previous))
                response = await stream.read()
            fragments: list[Message] = []
            while response is not grpc.aio.EOF:
                member.answered = self._clock.monotonic()
                if response.header.cluster_id != self._history.cluster or (
                    response.created and response.header.revision < subscription.position
                ):
                    return  # not the member that was checked, or one that is behind
                if response.canceled:
                    if response.compact_revision:
                        raise HistoryGone(
                            f"the history after revision {subscription.position} is gone: it begins at {response.compact_revision}",
                            remedy="list again, then watch",
                        )
                    return
                backoff.reset()
                fragments.extend(response.events)
                if not response.fragment:
                    if fragments:  # the header's revision may be far ahead of them, while a watch catches up
                        found = batches(fragments)
                        subscription.put(found, found[-1].revision)
                        self._heard(found[-1])
                    elif not response.created:  # a sign that nothing is left to tell, up to that revision
                        subscription.put((), response.header.revision)
                    fragments = []
                    await subscription.room()
                response = await stream.read()
        except asyncio.CancelledError:
            if asked_to_end():
                raise
        finally:
            member.waiting.discard(stream)
            stream.cancel()

    def _heard(self, batch: Batch) -> None:
        self._history.moved(batch.revision)
        written = next((event.record for event in batch.events if event.record is not None), None)
        if written is not None:
            self._history.saw(written)

    def _gone_back(self) -> None:
        self._leases.lose()
        for subscription in tuple(self._watches):
            subscription.end(HistoryGone(GONE_BACK, remedy="list again, then watch"))

    def _probe(self) -> None:
        if self._prober is None and not self._members.closed:
            self._prober = asyncio.create_task(self._probe_for_ever(), name="etcd-probe")

    async def _probe_for_ever(self) -> None:
        """Finds out that the member that watches and listings hang on has died, when nothing else is asked of it."""
        while True:
            await self._clock.sleep(ANSWER)
            try:
                await self._members.probe()
            except StoreUnavailable as error:
                log.debug("%s", error)


async def _range(member: Member, request: Message, timeout: float) -> Message:
    return await member.kv.Range(request, timeout=timeout, metadata=LEADER)


async def _page(member: Member, request: Message) -> Message:
    call = member.kv.Range(request, timeout=PAGE_ANSWER, metadata=LEADER)
    member.waiting.add(call)
    try:
        return await call
    finally:
        member.waiting.discard(call)


async def _time_to_live(member: Member, request: Message, timeout: float) -> int:
    return int((await member.lease.LeaseTimeToLive(request, timeout=timeout, metadata=LEADER)).TTL)


async def _room(member: Member, quota: int, timeout: float) -> Room:
    status = await member.maintenance.Status(rpc.StatusRequest(), timeout=timeout, metadata=LEADER)
    return Room(status.dbSize, status.dbSizeInUse, quota, full=any(NO_SPACE in error for error in status.errors))


async def _disarm(member: Member) -> None:
    """Ends the alarm of every member that has raised it; one that is still full raises it again."""
    get, end = rpc.AlarmRequest.GET, rpc.AlarmRequest.DEACTIVATE
    found = await member.maintenance.Alarm(rpc.AlarmRequest(action=get, alarm=rpc.AlarmType.NOSPACE), timeout=COMMIT_ANSWER)
    for alarm in found.alarms:
        request = rpc.AlarmRequest(action=end, memberID=alarm.memberID, alarm=rpc.AlarmType.NOSPACE)
        await member.maintenance.Alarm(request, timeout=COMMIT_ANSWER)
        log.warning("etcd's alarm of member %x for want of space is ended", alarm.memberID)


def _refused(error: grpc.aio.AioRpcError) -> InvalidInput | StoreUnavailable:
    """What an answer that is no answer means."""
    details = f"etcd: {error.details()} [{error.code().name}]"
    if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidInput(details)
    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        full = "space exceeded" in (error.details() or "")
        return StoreFull(details, remedy="delete keys, or raise etcd's quota: docs/store.md") if full else StoreUnavailable(details)
    return StoreUnavailable(details)
