"""The entry: which machines it uses as they come, go, fail and are cordoned."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from argosy.errors import InvalidInput
from argosy.model import RouterReport
from argosy.router.entry import metrics
from argosy.router.entry.loop import INTERVAL, MEMBERS, STATUS, Entry, EntryStatus
from argosy.router.entry.plan import Backend, Member, Silent, Unhealthy, Wanted
from argosy.router.loop import GATHER
from tests.conftest import FakeClock
from tests.router.memory import Host, MemoryProxy

A, B, C = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"
WEB = Wanted(("127.0.0.1:8080",))


def machine(number: int, **fields: object) -> Member:
    ident = str(number) * 32
    report = RouterReport(ident, listen=("0.0.0.0:80",), tls_listen=("0.0.0.0:443",))
    return msgspec.structs.replace(Member(ident, f"m{number}", f"10.0.0.{number}", router=report), **fields)


class Stage:
    def __init__(self, clock: FakeClock, wanted: Wanted = WEB, folder: Path | None = None, host: Host | None = None) -> None:
        self.clock = clock
        self.host = host or Host()
        self.wrong: dict[str, Silent | Unhealthy] = {}
        self.slow: dict[str, asyncio.Event] = {}
        self.asked: list[str] = []
        self.severed: list[str] = []
        self.proxy = MemoryProxy(self.host)
        self.entry = Entry(wanted, self.proxy, clock, folder=folder, probe=self.probe, sever=self.sever)

    async def probe(self, backend: Backend) -> None:
        self.asked.append(backend.address)
        if backend.address in self.slow:
            await self.slow[backend.address].wait()
        if backend.address in self.wrong:
            raise self.wrong[backend.address]

    async def sever(self, address: str) -> None:
        self.severed.append(address)

    def used(self, *more: str) -> list[str]:
        return [address for address in dict.fromkeys((A, B, C, *more)) if f"server {address} " in self.host.running]

    async def uses(self, *addresses: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 10
        while not self.host.running or self.used(*addresses) != list(addresses):
            assert loop.time() < deadline, f"uses {self.used(*addresses)}, not {addresses}"
            await self.clock.advance(0.05)
            await asyncio.sleep(0.001)

    @asynccontextmanager
    async def running(self, *members: Member) -> AsyncIterator[None]:
        if members:
            self.entry.know(members, "test")
        task = asyncio.create_task(self.entry.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_it_spreads_over_the_machines_that_answer(clock: FakeClock) -> None:
    stage = Stage(clock)
    stage.wrong[B] = Unhealthy("refused")
    async with stage.running(machine(1), machine(2)):
        await stage.uses(A)
        stage.wrong.clear()
        await stage.uses(A, B)
        stage.wrong[A] = Unhealthy("refused")
        await stage.uses(B)
        assert [(router.name, router.up, router.reason) for router in stage.entry.status.routers] == [
            ("m1", False, "refused"),
            ("m2", True, ""),
        ]
        assert stage.severed == []


async def test_connections_to_one_that_falls_silent_are_ended_once(clock: FakeClock) -> None:
    stage = Stage(clock)
    async with stage.running(machine(1), machine(2)):
        await stage.uses(A, B)
        stage.wrong[A] = Silent("no answer")
        await stage.uses(B)
        for _ in range(5):
            await clock.advance(INTERVAL)
        assert stage.severed == [A]


async def test_when_none_answers_all_are_used(clock: FakeClock) -> None:
    stage = Stage(clock)
    async with stage.running(machine(1), machine(2)):
        stage.wrong = {A: Unhealthy("x"), B: Unhealthy("x")}
        await stage.uses(A, B)


async def test_machines_come_and_go_and_one_that_is_cordoned_leaves_at_once_though_it_answers(clock: FakeClock) -> None:
    stage = Stage(clock)
    async with stage.running(machine(1), machine(2)):
        await stage.uses(A, B)
        stage.entry.know([machine(1), machine(2), machine(3)], "test")
        await stage.uses(A, B, C)
        before = len(stage.asked)
        stage.entry.know([machine(1, cordoned=True), machine(2), machine(3)], "test")
        await clock.advance(GATHER)
        assert stage.used() == [B, C]
        assert len(stage.asked) <= before + 3, "no round of checks was waited for"
        assert [router.spare for router in stage.entry.status.routers] == ["cordoned", "", ""]
        stage.entry.know([machine(1), machine(2), machine(3)], "test")
        await stage.uses(A, B, C)
        stage.entry.know([machine(2), machine(3, cordoned=True, draining=True)], "test")
        await stage.uses(B)
        stage.wrong[B] = Unhealthy("refused")
        await stage.uses(C)


async def test_a_new_machine_gets_nothing_before_it_has_answered(clock: FakeClock) -> None:
    stage = Stage(clock)
    stage.slow[B] = asyncio.Event()
    async with stage.running(machine(1)):
        await stage.uses(A)
        stage.entry.know([machine(1), machine(2)], "test")
        for _ in range(5):
            await clock.advance(INTERVAL)
        assert stage.used() == [A]
        stage.slow[B].set()
        await stage.uses(A, B)


async def test_one_that_takes_long_to_answer_does_not_keep_others_from_being_asked(clock: FakeClock) -> None:
    stage = Stage(clock)
    async with stage.running(machine(1), machine(2)):
        await stage.uses(A, B)
        stage.slow[B] = asyncio.Event()
        await clock.advance(INTERVAL)
        stage.wrong[A] = Unhealthy("refused")
        await stage.uses(B)
        stage.slow[B].set()


async def test_that_all_machines_are_gone_at_once_is_not_believed(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "argosy.router")
    stage = Stage(clock)
    async with stage.running(machine(1), machine(2)):
        await stage.uses(A, B)
        stage.entry.know([], "unix:///x")
        await stage.uses(A, B)
        assert "unix:///x tells of no machine for http: going on with those that are known" in caplog.messages
        stage.entry.know([machine(1, router=None)], "test")
        await stage.uses(A, B)
        stage.entry.know([machine(3)], "test")
        await stage.uses(C)
        assert "http: m1 at 10.0.0.1:80 has gone" in caplog.messages


async def test_with_nobody_known_it_listens_and_says_so(clock: FakeClock) -> None:
    stage = Stage(clock)
    async with stage.running():
        await stage.uses()
        assert "No machine is known to the entry" in stage.host.running
        stage.entry.know([machine(1)], "test")
        await stage.uses(A)


async def test_http_tls_and_tcp_are_pools_of_their_own(clock: FakeClock) -> None:
    stage = Stage(clock, Wanted(("127.0.0.1:8080",), ("127.0.0.1:8443",), (("127.0.0.1:5432", 5432),)))
    tls, db = "10.0.0.1:443", "10.0.0.2:5432"
    stage.wrong["10.0.0.1:5432"] = Unhealthy("refused")
    plain = machine(2, router=RouterReport("2" * 32, listen=("0.0.0.0:80",)))
    async with stage.running(machine(1), plain):
        await stage.uses(A, B, tls, db)
        assert [(left.pool, left.name, left.reason) for left in stage.entry.status.left] == [
            ("tls", "m2", "its router does not listen for TLS")
        ]
        assert "server 10.0.0.1:5432 " not in stage.host.running
        up = {(sample.labels["pool"], sample.labels["machine"]): sample.value for sample in next(iter(metrics.UP.collect())).samples}
        assert up == {("http", "m1"): 1, ("http", "m2"): 1, ("tls", "m1"): 1, ("tcp:5432", "m1"): 0, ("tcp:5432", "m2"): 1}


async def test_the_status_file_says_what_it_uses_and_is_left_alone_while_nothing_changes(clock: FakeClock, tmp_path: Path) -> None:
    stage = Stage(clock, folder=tmp_path)
    stage.wrong[B] = Unhealthy("refused")

    async def told() -> EntryStatus:
        return msgspec.json.decode(await asyncio.to_thread((tmp_path / STATUS).read_bytes), type=EntryStatus)

    async with stage.running(machine(1), machine(2), machine(3, router=None)):
        await stage.uses(A)
        while not (tmp_path / STATUS).exists():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        while [router.failures for router in (await told()).routers] != [0, 2]:
            await clock.advance(INTERVAL)
            await asyncio.sleep(0.001)
        status = await told()
        assert [(router.name, router.up) for router in status.routers] == [("m1", True), ("m2", False)]
        assert (status.source, [left.name for left in status.left]) == ("test", ["m3"])
        assert status.serves == {"http": ("m1",)}
        written = (tmp_path / STATUS).stat().st_mtime_ns
        for _ in range(10):
            await clock.advance(INTERVAL)
            await asyncio.sleep(0.001)
        assert (tmp_path / STATUS).stat().st_mtime_ns == written


async def test_after_a_restart_it_serves_what_it_knew_until_an_agent_tells_more(clock: FakeClock, tmp_path: Path) -> None:
    first = Stage(clock, folder=tmp_path)
    async with first.running(machine(1), machine(2)):
        await first.uses(A, B)
        while not (tmp_path / MEMBERS).exists():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    again = Stage(clock, folder=tmp_path, host=first.host)
    again.wrong[A] = Unhealthy("refused")
    async with again.running():
        await again.uses(B)
        assert again.entry.status.source == "the run before"
        again.entry.know([machine(3)], "test")
        await again.uses(C)


async def test_a_proxy_found_running_is_left_alone_until_something_is_known(clock: FakeClock, tmp_path: Path) -> None:
    first = Stage(clock)
    async with first.running(machine(1), machine(2)):
        await first.uses(A, B)
    (tmp_path / MEMBERS).write_text("nonsense")
    again = Stage(clock, folder=tmp_path, host=first.host)
    async with again.running():
        for _ in range(10):
            await clock.advance(INTERVAL)
        assert (again.used(), again.proxy.applied) == ([A, B], 0)
        again.entry.know([machine(1), machine(2)], "test")
        for _ in range(10):
            await clock.advance(INTERVAL)
        assert (again.used(), again.proxy.applied) == ([A, B], 0), "what is served already is not given to nginx again"


async def test_a_refusal_is_in_the_status_until_it_is_over_and_a_killed_proxy_is_started_again(clock: FakeClock) -> None:
    stage = Stage(clock)
    stage.host.refuse = "port taken"
    async with stage.running(machine(1), machine(2)):
        while "port taken" not in stage.entry.status.error:
            await clock.advance(0.1)
        stage.host.refuse = ""
        await stage.uses(A, B)
        assert stage.entry.status.error == ""
        stage.host.kill()
        await stage.uses(A, B)


async def test_with_very_many_machines_each_is_asked_less_often(clock: FakeClock) -> None:
    stage = Stage(clock)
    many = [
        Member(f"{number:032x}", f"m{number}", f"10.1.{number // 250}.{number % 250}", router=RouterReport("")) for number in range(1000)
    ]
    async with stage.running(*many):
        while not stage.asked:  # it begins in threads, which the clock knows nothing of
            await clock.advance(0.1)
            await asyncio.sleep(0.001)
        for _ in range(40):
            await clock.advance(0.1)
        assert 1000 <= len(stage.asked) <= 2500


def test_what_cannot_be_wanted_is_refused_before_anything_runs(clock: FakeClock) -> None:
    with pytest.raises(InvalidInput, match="listen nowhere"):
        Entry(Wanted(()), MemoryProxy(Host()), clock)
