"""What can befall the file: lost, replaced, full, locked, broken. Nothing acknowledged is lost, and the store goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from argosy.errors import HistoryGone, StoreUnavailable
from argosy.reconcile import SystemClock
from argosy.store.base import Put
from argosy.store.sqlite import SqliteStore
from argosy.store.tables import Tables
from tests.contracts.store_contract import eventually, put, watching


async def works(store: SqliteStore) -> bool:
    try:
        await put(store, "/works")
    except StoreUnavailable:
        return False
    return True


async def refuses_everything(store: SqliteStore, lease: int, words: str) -> None:
    for call in (store.get("/a"), store.list("/"), put(store, "/x"), store.grant(5), store.keep_alive(lease), store.revoke(lease)):
        with pytest.raises(StoreUnavailable, match=words):
            await call


async def test_a_machine_cut_off_from_the_file_hears_nothing_and_later_everything_once(tmp_path: Path) -> None:
    real, link = tmp_path / "store.db", tmp_path / "machine" / "store.db"
    link.parent.mkdir()
    async with SqliteStore(str(real), SystemClock()) as outside:
        start = await put(outside, "/a")
        link.symlink_to(real)
        async with SqliteStore(str(link), SystemClock()) as inside:
            lease = await inside.grant(30)
            async with watching(inside, "/", start) as seen:
                await put(outside, "/b")
                await seen.count(1)
                link.unlink()
                await refuses_everything(inside, lease, "is not there")
                await put(outside, "/c")
                await put(outside, "/c")
                with pytest.raises(AssertionError):
                    await seen.count(2, deadline=0.4)
                link.symlink_to(real)
                await seen.count(3)
                await put(outside, "/d")
                await seen.count(4)
            assert seen.keys == ["/b", "/c", "/c", "/d"]
            assert await inside.keep_alive(lease) == 30
            assert await works(inside)
            assert sorted(path.name for path in link.parent.iterdir()) == ["store.db"], "nothing was made in its place"


async def test_a_file_that_was_moved_away_is_not_written_to_and_taken_up_again_when_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SqliteStore(str(path), SystemClock()) as store:
        start = await put(store, "/a")
        async with watching(store, "/", start) as seen:
            path.rename(tmp_path / "elsewhere.db")
            assert not await works(store)
            assert not path.exists()
            (tmp_path / "elsewhere.db").rename(path)
            assert await works(store)
            await seen.count(1)
        assert [record.key for record in (await store.list("/")).records] == ["/a", "/works"]


async def test_when_another_store_is_put_in_its_place_watches_end_and_it_is_used(tmp_path: Path) -> None:
    path, another = tmp_path / "store.db", tmp_path / "another.db"
    async with SqliteStore(str(another), SystemClock()) as store:
        for number in range(20):
            await put(store, f"/other/{number}")
    async with SqliteStore(str(path), SystemClock()) as store:
        start = await put(store, "/a")
        async with watching(store, "/", start) as seen:
            await put(store, "/b")
            await seen.count(1)
            another.replace(path)
            with pytest.raises(StoreUnavailable, match=r"replaced.*remove"):
                await store.get("/a")
            Path(f"{path}-wal").unlink()
            Path(f"{path}-shm").unlink()
            await seen.until(lambda seen: isinstance(seen.error, HistoryGone))
        await eventually(lambda: works(store))
        assert len((await store.list("/other/")).records) == 20
        assert await store.get("/a") is None


async def test_a_store_that_must_exist_is_never_made(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SqliteStore(str(path), SystemClock(), create=False) as store:
        await refuses_everything(store, 1, "is not there")
        assert not path.exists()
        async with SqliteStore(str(path), SystemClock()) as maker:
            await put(maker, "/a")
            assert await works(store)


async def test_a_link_that_leads_nowhere_is_a_store_that_is_away_even_for_a_process_that_begins_now(tmp_path: Path) -> None:
    link = tmp_path / "store.db"
    link.symlink_to("cut-off/store.db")
    async with SqliteStore(str(link), SystemClock()) as store:
        with pytest.raises(StoreUnavailable, match="cannot be made"):
            await store.get("/a")
        assert not (tmp_path / "cut-off").exists()
        link.unlink()
        link.symlink_to("real.db")
        assert await works(store)
        assert (tmp_path / "real.db").exists()


async def test_a_new_store_is_readable_by_its_user_only_and_leaves_one_tidy_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "store.db"
    async with SqliteStore(str(path), SystemClock()) as store:
        assert (await store.list("")).revision == 1
        await put(store, "/a")
        assert all(file.stat().st_mode & 0o077 == 0 for file in path.parent.iterdir())
    assert sorted(file.name for file in path.parent.iterdir()) == ["store.db", "store.db-bell"]


async def test_a_folder_that_cannot_be_made_is_said_so() -> None:
    async with SqliteStore("/proc/no/store.db", SystemClock()) as store:
        with pytest.raises(StoreUnavailable, match="cannot be made"):
            await store.get("/a")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 2 MB mounted on the folder."""
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "argosy-test", str(folder)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"this user may not mount: {mount.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond the limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def fill(store: SqliteStore, words: str) -> dict[str, int]:
    """Writes until the store refuses; returns what was acknowledged."""
    acknowledged = {}

    async def write() -> None:
        for number in range(500):
            key = f"/fill/{number:03}"
            acknowledged[key] = await put(store, key, os.urandom(20_000))

    with pytest.raises(StoreUnavailable, match=rf"store\.db.*{words}"):
        await write()
    return acknowledged


async def check_after(store: SqliteStore, acknowledged: dict[str, int]) -> None:
    await eventually(lambda: works(store))
    found = {record.key: record.modified for record in (await store.list("/fill/")).records}
    assert {key: found.get(key) for key in acknowledged} == acknowledged
    assert len(found) <= len(acknowledged) + 1, "only the refused commit may be there besides"


async def test_on_a_full_disk_commits_are_refused_nothing_is_lost_and_room_heals_it(tmp_path: Path) -> None:
    with small_disk(tmp_path):
        (tmp_path / "filler").write_bytes(b"x" * 1_000_000)
        async with SqliteStore(str(tmp_path / "store.db"), SystemClock()) as store:
            start = await put(store, "/a")
            async with watching(store, "/fill/", start) as seen:
                acknowledged = await fill(store, "full.*make room")
                assert await store.get("/a") is not None, "it can still be read"
                (tmp_path / "filler").unlink()
                await check_after(store, acknowledged)
                assert set(seen.keys) >= set(acknowledged)


async def test_where_files_may_not_grow_commits_are_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    async with SqliteStore(str(tmp_path / "store.db"), SystemClock()) as store:
        await put(store, "/a")
        with small_files(1_000_000):
            acknowledged = await fill(store, "disk")
            assert await store.get("/a") is not None
        await check_after(store, acknowledged)


async def test_a_store_that_somebody_holds_locked_is_unavailable_in_bounded_time_and_still_read(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    async with SqliteStore(path, SystemClock(), patience=0.2) as store:
        await put(store, "/a")
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=r"locked.*which process"):
            await put(store, "/b")
        assert await store.get("/a") is not None
        holder.execute("ROLLBACK")
        holder.close()
        assert await works(store)


def of_another_program(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()


def newer(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    Tables(connection).prepare()
    connection.execute("PRAGMA user_version = 99")
    connection.close()


BAD_FILES: Sequence[tuple[str, object, str]] = [
    ("a file that is no database", lambda path: path.write_bytes(b"garbage" * 1000), "not a database.*backup"),
    ("a database of another program", of_another_program, "something else"),
    ("a store of a newer program", newer, "version 99"),
    ("a folder", lambda path: path.mkdir(), "unable to open|not there|disk I/O"),
]


@pytest.mark.parametrize(("what", "make", "words"), BAD_FILES, ids=[row[0] for row in BAD_FILES])
async def test_a_file_that_is_not_a_store_is_refused_by_name_and_left_as_it_is(tmp_path: Path, what: str, make: object, words: str) -> None:
    path = tmp_path / "store.db"
    assert callable(make)
    await asyncio.to_thread(make, path)
    before = path.read_bytes() if path.is_file() else b""
    async with SqliteStore(str(path), SystemClock()) as store:
        with pytest.raises(StoreUnavailable, match=words) as raised:
            await store.get("/a")
        assert str(path) in str(raised.value)
    assert (path.read_bytes() if path.is_file() else b"") == before, what


async def test_a_file_that_breaks_while_it_is_open_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SqliteStore(str(path), SystemClock()) as store:
        await asyncio.gather(*(put(store, f"/{number}", os.urandom(1000)) for number in range(500)))
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    async with SqliteStore(str(path), SystemClock()) as store:
        with pytest.raises(StoreUnavailable, match=r"malformed.*backup"):
            await store.list("/")


def test_history_is_bounded_in_revisions_and_bytes() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    tables = Tables(connection, keep_revisions=100, keep_bytes=10_000)
    tables.prepare()
    for number in range(1000):
        tables.commit([], [Put("/a", b"%d" % number)])
    kept = connection.execute("SELECT count(*) FROM history").fetchone()[0]
    assert 100 <= kept <= 110
    assert len(tables.news(tables.revision() - 100, 1000).batches) == 100
    for _ in range(100):
        tables.commit([], [Put("/a", b"x" * 1000)])
    kept = connection.execute("SELECT count(*) FROM history").fetchone()[0]
    assert 1 <= kept <= 6
    with pytest.raises(HistoryGone):
        tables.news(tables.revision() - 50, 1000)
    connection.close()
