"""What can befall an etcd cluster: leaders killed, members frozen, quorum lost, all of it away, history compacted, strangers asking."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import grpc
import msgspec
import pytest
import pytest_asyncio

from argosy.errors import Conflict, HistoryGone, InvalidInput, StoreUnavailable
from argosy.reconcile import SystemClock
from argosy.store.base import Condition, Put, Store
from argosy.store.etcd import EtcdStore
from argosy.store.history import History
from argosy.store.members import PATIENCE, Member, Members
from argosy.store.renewals import Renewals
from argosy.trust.authority import create_authority, issue
from tests.contracts.store_contract import eventually, put, watching
from tests.etcd_server import Cluster, etcd_cluster, fast_folder
from tests.relay import relay

BOUND = 6
"""Seconds within which a call must have given up."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Cluster]:
    with fast_folder() as folder:
        async with etcd_cluster(folder) as cluster:
            yield cluster


@pytest.fixture
async def cluster(running: Cluster) -> Cluster:
    """The same three members for every test, all well at its beginning."""
    for number in range(3):
        if not await asyncio.to_thread(running.members[number].healthy):
            with contextlib.suppress(AssertionError):
                running.resume(number)
            await running.kill(number)
            await running.restart(number, wait=False)
    for number in range(3):
        await running.ready(number)
    return running


@pytest.fixture
async def store(cluster: Cluster) -> AsyncIterator[EtcdStore]:
    async with EtcdStore(cluster.endpoints, SystemClock(), cluster.tls) as store:
        yield store


async def until_it_works(store: Store, key: str = "/works", deadline: float = 8) -> None:
    async def works() -> bool:
        try:
            await put(store, key)
        except StoreUnavailable:
            return False
        return True

    await eventually(works, deadline)


async def refused_in_time(*stores: Store) -> None:
    began = time.monotonic()
    calls = [call for store in stores for call in (store.get("/a"), put(store, "/x"), store.list("/"), store.grant(5))]
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(result, StoreUnavailable), result
        assert "does not answer" in str(result)
    assert time.monotonic() - began < BOUND


class Counting:
    """Raises /count as fast as it may, as a careful client does: after an unclear answer it reads before it writes again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.acknowledged = 0
        self.failures = 0

    async def run(self) -> None:
        while True:
            try:
                record = await self._store.get("/count")
                number = int(record.value) + 1 if record else 1
                await self._store.commit([Condition("/count", record.modified if record else 0)], [Put("/count", b"%d" % number)])
                self.acknowledged = number
            except (StoreUnavailable, Conflict):
                self.failures += 1


@contextlib.asynccontextmanager
async def counting(store: Store) -> AsyncIterator[Counting]:
    counter = Counting(store)
    task = asyncio.create_task(counter.run())
    try:
        await eventually(lambda: counter.acknowledged > 20)
        yield counter
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_leader_is_killed_during_writes_and_nothing_acknowledged_is_lost_or_heard_twice(
    cluster: Cluster, store: EtcdStore
) -> None:
    start = await put(store, "/count", b"0")
    async with watching(store, "/count", start) as seen:
        async with counting(store) as counter:
            leader = await cluster.leader()
            await cluster.kill(leader)
            before = counter.acknowledged
            await eventually(lambda: counter.acknowledged > before + 20)
        await store.commit([], [Put("/count/end", b"")])
        await seen.until(lambda seen: "/count/end" in seen.keys)
    numbers = [int(event.record.value) for event in seen.events if event.record and event.record.value]
    assert numbers[: counter.acknowledged] == list(range(1, counter.acknowledged + 1))
    assert len(numbers) <= counter.acknowledged + 1


async def test_when_all_members_are_away_calls_give_up_in_time_and_watches_and_leases_go_on_when_they_are_back(
    cluster: Cluster, store: EtcdStore
) -> None:
    lease = await store.grant(5)
    start = await store.commit([], [Put("/held", b"", lease), Put("/a", b"")])
    async with watching(store, "/", start) as seen:
        await put(store, "/b")
        await seen.count(1)
        for number in range(3):
            await cluster.kill(number)
        await refused_in_time(store)
        for number in range(3):
            await cluster.restart(number, wait=False)
        await until_it_works(store, "/c", deadline=15)
        await seen.until(lambda seen: "/c" in seen.keys)
    assert seen.keys[:2] == ["/b", "/c"]
    assert await store.keep_alive(lease) == 5
    assert await store.get("/held") is not None
    await store.revoke(lease)


async def test_a_member_that_hangs_is_left_within_about_a_second_by_calls_and_watches(cluster: Cluster) -> None:
    follower = ((await cluster.leader()) + 1) % 3
    endpoints = [cluster.endpoints[(follower + step) % 3] for step in range(3)]
    async with EtcdStore(endpoints, SystemClock(), cluster.tls) as store, EtcdStore(endpoints[1:], SystemClock(), cluster.tls) as other:
        start = await put(store, "/a")
        async with watching(store, "/", start) as seen:
            await put(store, "/b")
            await seen.count(1)
            cluster.pause(follower)
            try:
                await put(other, "/c")
                began = time.monotonic()
                await seen.count(2, deadline=4)  # though this store asks nothing itself
                assert time.monotonic() - began < 4
                began = time.monotonic()
                assert await store.get("/c") is not None
                assert time.monotonic() - began < 1
            finally:
                cluster.resume(follower)
            await put(other, "/d")
            await seen.count(3)
        assert seen.keys == ["/b", "/c", "/d"]


async def test_keep_alives_of_all_leases_share_one_stream_to_a_member(cluster: Cluster, store: EtcdStore) -> None:
    leases = [await store.grant(ttl) for ttl in (10, 20, 30)]
    members = Members(cluster.endpoints, SystemClock(), cluster.tls, PATIENCE, History(), lambda: None)
    opened: list[grpc.aio.Call] = []

    def open_stream() -> grpc.aio.Call:
        opened.append(members.current.lease.LeaseKeepAlive())
        return opened[-1]

    renewals = Renewals(open_stream)
    try:
        for _ in range(20):
            assert await asyncio.gather(*(renewals.renew(lease, 5) for lease in (*leases, 123_456))) == [10, 20, 30, 0]
        assert len(opened) == 1
    finally:
        await renewals.close()
        await members.close()
        for lease in leases:
            await store.revoke(lease)


async def test_a_call_to_a_member_that_hangs_is_answered_by_another(cluster: Cluster) -> None:
    follower = ((await cluster.leader()) + 1) % 3
    endpoints = [cluster.endpoints[(follower + step) % 3] for step in range(3)]
    async with EtcdStore(endpoints, SystemClock(), cluster.tls) as store:
        lease = await store.grant(10)
        cluster.pause(follower)
        try:
            began = time.monotonic()
            assert await store.keep_alive(lease) == 10
            assert time.monotonic() - began < 2
        finally:
            cluster.resume(follower)
        await store.revoke(lease)


async def test_many_calls_at_once_to_a_member_that_hangs_wait_together_and_not_one_after_the_other(cluster: Cluster) -> None:
    follower = ((await cluster.leader()) + 1) % 3
    members = Members(
        [cluster.endpoints[(follower + step) % 3] for step in range(2)], SystemClock(), cluster.tls, 5.0, History(), lambda: None
    )

    async def ask(member: Member, timeout: float) -> str:
        return member.endpoint

    try:
        first = members.current
        assert await members.call(ask, repeat=True) == first.endpoint
        members.leave(first, "a test")
        second = members.current
        assert await members.call(ask, repeat=True) == second.endpoint
        members.leave(second, "a test")
        cluster.pause(follower)
        began = time.monotonic()
        assert await asyncio.gather(*(members.call(ask, repeat=True) for _ in range(8))) == [second.endpoint] * 8
        assert time.monotonic() - began < 3
    finally:
        cluster.resume(follower)
        await members.close()


async def test_of_the_other_members_one_that_is_connected_is_asked_before_one_that_may_be_dead(cluster: Cluster) -> None:
    """While etcd elects a leader every member fails in turn; one without power would cost a second of the few that a failover has."""
    members = Members(cluster.endpoints, SystemClock(), cluster.tls, PATIENCE, History(), lambda: None)
    try:
        first = members.current
        assert await first.connected(5)
        members.leave(first, "no leader")
        second = members.current
        assert second.endpoint == cluster.endpoints[1], "none of the others is connected: in their order"
        assert await second.connected(5)
        members.leave(second, "no leader")
        assert members.current is first, "the third was never reached"
        members.leave(first, "no leader")
        assert members.current is second
        await cluster.kill(0)
        async with asyncio.timeout(10):
            while first.ready:
                await first.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        members.leave(second, "no leader")
        assert members.current.endpoint == cluster.endpoints[2], "the first is not connected any more"
    finally:
        await members.close()
        await cluster.restart(0)


async def test_a_member_without_quorum_refuses_in_time_and_serves_again_when_it_has_one(cluster: Cluster, store: EtcdStore) -> None:
    start = await put(store, "/a")
    leader = await cluster.leader()
    others = [number for number in range(3) if number != leader]
    async with EtcdStore([cluster.endpoints[leader]], SystemClock(), cluster.tls) as lonely, watching(lonely, "/", start) as seen:
        await put(store, "/b")
        await seen.count(1)
        lease = await store.grant(30)
        for number in others:
            await cluster.kill(number)
        await refused_in_time(lonely, store)
        with pytest.raises(StoreUnavailable):
            await lonely.keep_alive(lease)  # which a leader answers by itself until it knows that it is alone
        for number in others:
            await cluster.restart(number, wait=False)
        await until_it_works(lonely, "/c", deadline=15)
        await seen.until(lambda seen: "/c" in seen.keys)
    assert seen.keys[0] == "/b"
    await store.revoke(lease)


async def test_a_watch_that_was_cut_off_goes_on_where_it_stood(cluster: Cluster, store: EtcdStore) -> None:
    start = await put(store, "/a")
    async with (
        relay(cluster.endpoints[0]) as line,
        EtcdStore([line.endpoint], SystemClock(), cluster.tls) as remote,
        watching(remote, "/", start) as seen,
    ):
        await put(store, "/b")
        await seen.count(1)
        line.cut()
        await store.commit([], [Put("/c", b""), Put("/d", b"")])
        await put(store, "/e")
        line.heal()
        await seen.count(4)
        line.freeze()
        await put(store, "/f")
        line.heal()
        await seen.count(5)
        assert [[event.key for event in batch.events] for batch in seen.batches] == [["/b"], ["/c", "/d"], ["/e"], ["/f"]]


async def test_a_watch_that_was_away_while_its_history_was_compacted_is_told_so(cluster: Cluster, store: EtcdStore) -> None:
    start = await put(store, "/a")
    async with (
        relay(cluster.endpoints[0]) as line,
        EtcdStore([line.endpoint], SystemClock(), cluster.tls) as remote,
        watching(remote, "/", start) as seen,
    ):
        await put(store, "/b")
        await seen.count(1)
        line.cut()
        await put(store, "/c")
        await store.compact(await put(store, "/d"))
        await asyncio.gather(*(cluster.ready(number) for number in range(3)))
        line.heal()
        await seen.until(lambda seen: isinstance(seen.error, HistoryGone))
        assert seen.keys == ["/b"]


async def test_keep_alives_keep_their_pace_under_a_burst_of_commits(store: EtcdStore) -> None:
    lease = await store.grant(5)
    burst = asyncio.gather(
        *(store.commit([], [Put(f"/burst/{number}/{part}", b"x" * 1000) for part in range(100)]) for number in range(100))
    )
    waits = []
    while not burst.done():
        began = time.monotonic()
        await store.keep_alive(lease)
        waits.append(time.monotonic() - began)
        await asyncio.sleep(0.01)
    await burst
    assert len(waits) >= 3
    assert max(waits) < 1, "a fifth of the default lease's time"
    await store.revoke(lease)


async def test_strangers_are_refused(cluster: Cluster) -> None:
    assert cluster.tls is not None
    elsewhere = create_authority("elsewhere", time.time())
    stranger = issue(elsewhere, "stranger", time.time())
    for tls, words in (
        (None, "Socket closed|reset|closed"),  # no certificate, and no TLS at all
        (msgspec.structs.replace(cluster.tls, cert=stranger.cert, key=stranger.key), ""),
        (msgspec.structs.replace(cluster.tls, ca=elsewhere.cert), "CERTIFICATE_VERIFY_FAILED"),
    ):
        async with EtcdStore(cluster.endpoints, SystemClock(), tls, patience=0.5) as store:
            with pytest.raises(StoreUnavailable, match=f"does not answer.*({words})"):
                await put(store, "/stranger")


async def test_nothing_is_connected_before_something_is_asked_and_an_etcd_that_is_down_is_said_so_in_time() -> None:
    with pytest.raises(InvalidInput, match="HOST:PORT"):
        EtcdStore([], SystemClock())
    async with EtcdStore(["127.0.0.1:1", "127.0.0.1:2"], SystemClock(), patience=0.5) as store:
        await refused_in_time(store)
