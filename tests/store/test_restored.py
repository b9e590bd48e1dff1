"""A store that goes back in time, or is another one: it is noticed and said, watches and leases end, and everything is read anew."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.errors import HistoryGone, LeaseLost, StoreUnavailable
from argosy.reconcile import SystemClock
from argosy.store.base import Store
from argosy.store.etcd import EtcdStore
from argosy.store.history import Leases
from argosy.store.sqlite import SqliteStore
from tests.conftest import FakeClock
from tests.contracts.store_contract import Watching, eventually, put, watching
from tests.etcd_server import etcd_cluster, fast_folder
from tests.relay import relay

SAME = "etcd-cluster"
"""The token with which a snapshot is restored under the cluster's own id."""

ROWS = [
    ("restored in place: the cluster's id is the same, the revision is older", SAME, 0),
    ("others write more than was lost before this client is back: the revision says nothing any more", SAME, 40),
    ("restored as a cluster of its own: another id", "another", 0),
    ("the same, and its revision is further on", "another", 40),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as folder:
        yield folder


async def ended(seen: Watching) -> None:
    await eventually(lambda: seen.error is not None)
    assert isinstance(seen.error, HistoryGone)


async def lost(store: Store, lease: int) -> None:
    with pytest.raises(LeaseLost):
        await store.keep_alive(lease)
    with pytest.raises(LeaseLost):
        await put(store, "/under", b"", lease)


@pytest.mark.parametrize(("case", "token", "meanwhile"), ROWS, ids=[row[0] for row in ROWS])
async def test_an_etcd_that_was_restored_is_noticed(
    folder: Path, case: str, token: str, meanwhile: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        etcd_cluster(folder, 1, secure=False) as cluster,
        relay(cluster.endpoints[0]) as line,
        EtcdStore([line.endpoint], SystemClock()) as store,
    ):
        start = await put(store, "/a", b"old")
        before = await store.grant(60)
        await cluster.snapshot(folder / "snapshot")
        after = await store.grant(60)
        async with watching(store, "/a", start) as seen, watching(store, "/quiet", start) as quiet:
            for number in range(20):
                await put(store, "/a", b"%d" % number)
            await seen.count(20)
            line.cut()
            await cluster.restore(folder / "snapshot", token)
            async with EtcdStore(cluster.endpoints, SystemClock()) as other:
                for number in range(meanwhile):
                    await put(other, "/a", b"new %d" % number)
            line.heal()
            await ended(seen)
            await ended(quiet)
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(said) == 1
        assert "gone back in time" in said[0]
        await lost(store, before)  # etcd still has it, but what was written under it may be gone
        await lost(store, after)
        listing = await store.list("/a")
        assert listing.records[0].value == (b"new 39" if meanwhile else b"old")
        async with watching(store, "/a", listing.revision) as anew:
            revision = await put(store, "/a", b"again", await store.grant(60))
            await anew.count(1)
        assert anew.position == revision


async def test_a_restart_that_loses_nothing_ends_no_watch_and_no_lease(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with etcd_cluster(folder, 1, secure=False) as cluster, EtcdStore(cluster.endpoints, SystemClock()) as store:
        lease = await store.grant(60)
        start = await put(store, "/a", b"1", lease)
        async with watching(store, "/a", start) as seen:
            for compacts in (False, True):
                revision = await put(store, "/a", b"1", lease)
                await seen.until(lambda seen, upto=revision: seen.position >= upto)  # type: ignore[misc]
                if compacts:
                    await store.compact(revision)
                await cluster.kill(0)
                await cluster.restart(0)

                async def kept() -> bool:
                    try:
                        return await store.keep_alive(lease) > 0
                    except StoreUnavailable:
                        return False

                await eventually(kept)
                await put(store, "/a", b"2", lease)
            await seen.count(4)
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_member_of_another_cluster_is_said_and_never_asked(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        etcd_cluster(folder / "ours", 1, secure=False) as ours,
        etcd_cluster(folder / "foreign", 1, secure=False, extra=["--initial-cluster-token", "foreign"]) as foreign,
        EtcdStore([*ours.endpoints, *foreign.endpoints], SystemClock()) as store,
        EtcdStore(foreign.endpoints, SystemClock()) as stranger,
    ):
        start = await put(store, "/a", b"ours")
        before = (await stranger.list("")).revision
        async with watching(store, "/a", start) as seen:
            await ours.kill(0)
            for call in (store.get("/a"), put(store, "/a", b"lost"), store.grant(5)):
                with pytest.raises(StoreUnavailable):
                    await call
            said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
            assert len(said) == 1
            assert "belongs to cluster" in said[0]
            assert (await stranger.list("")).revision == before, "it was asked nothing that writes"
            await ours.restart(0)

            async def works() -> bool:
                try:
                    return await put(store, "/a", b"again") > 0
                except StoreUnavailable:
                    return False

            await eventually(works)
            await seen.count(1)
        assert seen.error is None


async def test_a_file_that_was_replaced_by_its_backup_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store.db"
    async with SqliteStore(str(path), SystemClock()) as store:
        start = await put(store, "/a", b"old")
        lease = await store.grant(60)
    shutil.copy(path, tmp_path / "backup.db")
    async with SqliteStore(str(path), SystemClock()) as store:
        assert await store.keep_alive(lease) == 60
        async with watching(store, "/a", start) as seen:
            await put(store, "/a", b"new", lease)
            await seen.count(1)
            (tmp_path / "store.db-wal").unlink()
            (tmp_path / "backup.db").rename(path)
            await ended(seen)
        await lost(store, lease)
        found = await store.get("/a")
        assert found is not None
        assert found.value == b"old"
    assert any("gone back in time" in record.getMessage() for record in caplog.records)


async def test_leases_that_were_lost_stay_so_until_they_are_granted_again_and_old_ones_are_forgotten(clock: FakeClock) -> None:
    leases = Leases(clock)
    leases.kept(1, 10)
    leases.check([1])
    leases.lose()
    with pytest.raises(LeaseLost):
        leases.check([2, 1])
    leases.kept(1, 10)  # a restored SQLite file gives numbers out a second time
    leases.check([1])
    for lease in range(5000):
        leases.kept(lease, 1)
        await clock.advance(1)
    assert len(leases._known) < 1200
