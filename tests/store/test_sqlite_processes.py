"""Several processes on one file: killed at any moment, hearing each other, and whose leases end when."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.reconcile import SystemClock
from argosy.store.base import Put
from argosy.store.bell import SUFFIX, Bell
from argosy.store.sqlite import SqliteStore
from tests.conftest import FakeClock
from tests.contracts.store_contract import put, watching

ROOT = Path(__file__).parent.parent.parent


@contextlib.asynccontextmanager
async def process(path: Path, *role: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`tests.store.writer`, killed at the end."""
    found = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.writer", str(path), *role, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        yield found
    finally:
        with contextlib.suppress(ProcessLookupError):
            found.kill()
        await found.communicate()


async def line(found: asyncio.subprocess.Process) -> str:
    assert found.stdout is not None
    async with asyncio.timeout(20):
        return (await found.stdout.readline()).decode().strip()


async def check(path: Path, acknowledged: dict[str, int]) -> None:
    """All that was acknowledged is there, and each commit is in the history once."""
    async with SqliteStore(str(path), SystemClock()) as store:
        listing = await store.list("/count/")
        found = {record.key.rpartition("/")[2]: int(record.value) for record in listing.records}
        assert all(found[task] >= number for task, number in acknowledged.items())
        assert all(found[task] <= number + 1 for task, number in acknowledged.items()), "one commit of each task was under way"
        async with watching(store, "/count/", 0) as seen:
            await seen.until(lambda seen: seen.position == listing.revision)
        assert [batch.revision for batch in seen.batches] == list(range(2, listing.revision + 1))


async def test_what_a_process_killed_at_any_moment_had_been_told_is_there(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    acknowledged: dict[str, int] = {}
    dice = random.Random(7)
    for _ in range(6):
        async with process(path, "count") as writer:
            for _ in range(dice.randrange(1, 150)):
                task, number = (await line(writer)).split()
                acknowledged[task] = int(number)
            writer.send_signal(signal.SIGKILL)
            assert writer.stdout is not None
            for said in (await writer.stdout.read()).decode().splitlines():
                with contextlib.suppress(ValueError):  # the last line may be cut off
                    task, number = said.split()
                    acknowledged[task] = max(acknowledged.get(task, 0), int(number))
        await check(path, acknowledged)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_processes_on_one_file_hear_of_each_others_commits_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SqliteStore(str(path), SystemClock()) as store, process(path, "echo") as other:
        assert await line(other) == "ready"
        start = (await store.list("")).revision
        async with watching(store, "/pong/", start) as seen:
            times = []
            for number in range(30):
                began = time.perf_counter()
                await put(store, f"/ping/{number}")
                await seen.count(number + 1)
                times.append(time.perf_counter() - began)
        assert seen.keys == [f"/pong/{number}" for number in range(30)]
        assert sorted(times)[10] < 0.1, "there and back must not wait for a poll"


async def test_without_the_bell_commits_of_others_are_found_all_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    async with SqliteStore(path, SystemClock()) as one, SqliteStore(path, SystemClock()) as two:
        start = await put(one, "/a")
        async with watching(two, "/", start) as seen:
            await put(one, "/b")
            await seen.count(1)
            (tmp_path / f"store.db{SUFFIX}").unlink()  # the ear is deaf now; the writer keeps ringing the lost one
            await put(one, "/c")
            await seen.count(2)


async def test_the_lease_of_a_killed_process_is_ended_by_another(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SqliteStore(str(path), SystemClock()) as store:
        await put(store, "/a")
        async with process(path, "lease", "0.7") as other:
            assert await line(other) == "ready"
            revision = (await store.list("")).revision
            assert await store.get("/lease") is not None
            other.send_signal(signal.SIGKILL)
            async with watching(store, "/lease", revision) as seen:
                await seen.count(1, deadline=0.7 + 2)
        assert seen.events[0].record is None
        assert await store.get("/lease") is None


async def lease(store: SqliteStore, ttl: float) -> int:
    found = await store.grant(ttl)
    await store.commit([], [Put("/lease", b"", found)])
    return found


async def passing(clock: FakeClock, store: SqliteStore, seconds: float) -> None:
    """Time passes, in steps that the store's own thread can follow."""
    for _ in range(round(seconds / 0.25)):
        await clock.advance(0.25)
        await store.commit([], [])  # stands in line behind what the reaper asked for


async def test_leases_that_nobody_could_keep_alive_begin_anew(tmp_path: Path, clock: FakeClock) -> None:
    path = str(tmp_path / "store.db")
    async with SqliteStore(path, clock) as store:
        held = await lease(store, 5)
        await passing(clock, store, 4)
    await clock.advance(600)
    async with SqliteStore(path, clock) as store:
        await passing(clock, store, 4)
        assert await store.get("/lease") is not None, "it has its full time again"
        await store.keep_alive(held)
        await passing(clock, store, 4)
        assert await store.get("/lease") is not None
        await passing(clock, store, 2)
        assert await store.get("/lease") is None


async def test_a_short_absence_does_not_lengthen_a_lease(tmp_path: Path, clock: FakeClock) -> None:
    path = str(tmp_path / "store.db")
    async with SqliteStore(path, clock) as store:
        await lease(store, 5)
        await passing(clock, store, 4)
    await clock.advance(0.75)
    async with SqliteStore(path, clock) as store:
        await passing(clock, store, 1)
        assert await store.get("/lease") is None


@pytest.mark.parametrize("uptime", [3.0, 50_000.0], ids=["a clock that began anew", "one that is far ahead"])
async def test_after_a_reboot_of_the_host_leases_begin_anew(tmp_path: Path, clock: FakeClock, uptime: float) -> None:
    path = str(tmp_path / "store.db")
    async with SqliteStore(path, clock) as store:
        await lease(store, 5)
        await passing(clock, store, 1)
    rebooted = FakeClock()
    rebooted._monotonic = uptime
    Bell(path + SUFFIX).beat("0c6d8a1e-another-boot", uptime - 0.1)
    async with SqliteStore(path, rebooted) as store:
        await passing(rebooted, store, 4)
        assert await store.get("/lease") is not None
        await passing(rebooted, store, 2)
        assert await store.get("/lease") is None


@pytest.mark.parametrize("jump", [86_400.0 * 365, -86_400.0 * 365], ids=["a year ahead", "a year back"])
async def test_a_jump_of_the_wall_clock_ends_no_lease_and_keeps_none(tmp_path: Path, clock: FakeClock, jump: float) -> None:
    async with SqliteStore(str(tmp_path / "store.db"), clock) as store:
        await lease(store, 5)
        clock.jump(jump)
        await passing(clock, store, 4)
        assert await store.get("/lease") is not None
        await passing(clock, store, 2)
        assert await store.get("/lease") is None
