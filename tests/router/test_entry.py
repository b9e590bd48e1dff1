"""The entry: which routers it uses, and that requests come through while machines die."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from argosy.reconcile import SystemClock
from argosy.router.entry import INTERVAL, Entry, EntryStatus, Seen, Silent, Unhealthy, judged, probe
from argosy.router.render import HEALTH
from tests.conftest import FakeClock
from tests.router.memory import Host, MemoryProxy
from tests.router.web import ask, backend, free_port, needs_nginx, nginx, until

A, B = "10.0.0.1:80", "10.0.0.2:80"


class Stage:
    def __init__(self, clock: FakeClock, status: Path | None = None) -> None:
        self.clock = clock
        self.host = Host()
        self.routers = [("m1", A), ("m2", B)]
        self.wrong: dict[str, Silent | Unhealthy] = {}
        self.broken: Exception | None = None
        self.proxy = MemoryProxy(self.host)
        self.entry = Entry(self.read, ["127.0.0.1:8080"], self.proxy, clock, status=status, probe=self.probe)

    def read(self) -> list[tuple[str, str]]:
        if self.broken is not None:
            raise self.broken
        return self.routers

    async def probe(self, address: str) -> None:
        if address in self.wrong:
            raise self.wrong[address]

    def used(self) -> list[str]:
        return [address for address in (A, B, "10.0.0.3:80") if f"server {address} " in self.host.running]

    async def uses(self, *addresses: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 10
        while not self.host.running or self.used() != list(addresses):
            assert loop.time() < deadline, f"uses {self.used()}, not {addresses}"
            await self.clock.advance(0.05)
            await asyncio.sleep(0.001)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.entry.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_it_spreads_over_the_routers_that_answer(clock: FakeClock) -> None:
    stage = Stage(clock)
    stage.wrong[B] = Unhealthy("refused")
    async with stage.running():
        await stage.uses(A)
        stage.wrong.clear()
        await stage.uses(A, B)
        stage.wrong[A] = Unhealthy("refused")
        await stage.uses(B)
        assert [(router.name, router.up, router.reason) for router in stage.entry.status.routers] == [
            ("m1", False, "refused"),
            ("m2", True, ""),
        ]


UP = Seen("m1", A, True, 5.0)
ONCE = Seen("m1", A, True, 5.0, 1, "silent")
DOWN = Seen("m1", A, False, 6.0, 2, "silent")
JUDGED = [
    (None, None, Seen("m1", A, True, 9.0), "a new one that answers is up"),
    (None, Silent("silent"), Seen("m1", A, False, 9.0, 1, "silent"), "a new one that does not is out"),
    (UP, None, UP, "one that goes on answering stays as it is"),
    (UP, Unhealthy("refused"), Seen("m1", A, False, 9.0, 1, "refused"), "one that refuses is out at once"),
    (UP, Silent("silent"), ONCE, "one that is silent once is kept"),
    (ONCE, Silent("silent"), Seen("m1", A, False, 9.0, 2, "silent"), "one that is silent twice is out"),
    (ONCE, None, UP, "an answer in between forgets the silence"),
    (DOWN, Silent("silent"), DOWN, "one that stays silent stays as it is, so that nothing is written"),
    (DOWN, None, Seen("m1", A, True, 9.0), "its first good answer brings it back"),
]


@pytest.mark.parametrize(("known", "failure", "seen", "why"), JUDGED, ids=[row[3] for row in JUDGED])
def test_a_router_is_judged_by_what_is_known_of_it_and_one_more_check(
    known: Seen | None, failure: Silent | Unhealthy | None, seen: Seen, why: str
) -> None:
    assert judged(known, "m1", A, failure, 9.0) == seen


async def test_when_none_answers_all_are_used(clock: FakeClock) -> None:
    stage = Stage(clock)
    async with stage.running():
        stage.wrong = {A: Unhealthy("x"), B: Unhealthy("x")}
        await stage.uses(A, B)


async def test_machines_that_are_added_and_removed_are_followed_and_a_list_that_cannot_be_read_changes_nothing(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(clock)
    async with stage.running():
        await stage.uses(A, B)
        stage.routers = [("m1", A), ("m3", "10.0.0.3:80"), ("m4", "not an address;")]
        await stage.uses(A, "10.0.0.3:80")
        assert [router.reason for router in stage.entry.status.routers if router.name == "m4"] == ["it is not given as IP:PORT"]
        stage.broken = ValueError("half written")
        caplog.set_level(logging.ERROR, "argosy.router")
        await stage.uses(A, "10.0.0.3:80")
        while "cannot read which routers there are: half written" not in caplog.messages:
            await clock.advance(INTERVAL)
        stage.broken = None
        stage.routers = []
        await stage.uses()
        assert "No machine is known to the entry" in stage.host.running


async def test_its_status_file_says_what_it_uses_and_is_left_alone_while_nothing_changes(clock: FakeClock, tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    stage = Stage(clock, file)
    stage.wrong[B] = Unhealthy("refused")
    async with stage.running():
        await stage.uses(A)

        def told() -> EntryStatus:
            return msgspec.json.decode(file.read_bytes(), type=EntryStatus)

        while (await asyncio.to_thread(told)).routers[1].failures < 2:
            await clock.advance(INTERVAL)
        assert [(router.name, router.up) for router in (await asyncio.to_thread(told)).routers] == [("m1", True), ("m2", False)]
        written = file.stat().st_mtime_ns
        for _ in range(10):
            await clock.advance(INTERVAL)
            await asyncio.sleep(0.001)
        assert file.stat().st_mtime_ns == written


async def test_a_refusal_is_in_the_status_until_it_is_over_and_a_killed_proxy_is_started_again(clock: FakeClock) -> None:
    stage = Stage(clock)
    stage.host.refuse = "port taken"
    async with stage.running():
        while "port taken" not in stage.entry.status.error:
            await clock.advance(0.1)
        stage.host.refuse = ""
        await stage.uses(A, B)
        assert stage.entry.status.error == ""
        stage.host.kill()
        await stage.uses(A, B)


async def test_the_probe_tells_good_from_unhealthy_from_silent() -> None:
    async with backend("ok") as good:
        await probe(good.address)
        assert good.heard[0].startswith(f"GET {HEALTH} HTTP/1.1\r\nHost: _argosy\r\n")
        good.status = 404
        with pytest.raises(Unhealthy, match="answers 404"):
            await probe(good.address)
    with pytest.raises(Unhealthy):
        await probe(f"127.0.0.1:{free_port()}")
    held: list[asyncio.StreamWriter] = []
    quiet = await asyncio.start_server(lambda reader, writer: held.append(writer), "127.0.0.1", 0)
    with pytest.raises(Silent, match=r"no answer within 0.5 s"):
        await probe(f"127.0.0.1:{quiet.sockets[0].getsockname()[1]}")
    quiet.close()
    held[0].close()
    await quiet.wait_closed()


@needs_nginx
async def test_no_request_fails_while_a_router_dies_and_comes_back(tmp_path: Path) -> None:
    port = free_port()
    async with nginx(tmp_path / "nginx") as proxy, backend("m1") as one, backend("m2") as two:
        routers = [("m1", one.address), ("m2", two.address)]
        entry = Entry(lambda: routers, [f"127.0.0.1:{port}"], proxy, SystemClock(), status=tmp_path / "status.json")
        task = asyncio.create_task(entry.run())
        answers: list[tuple[int, str]] = []
        done = False

        async def load() -> None:
            while not done:
                answer = await ask(port, "hello.example")
                answers.append((answer.status, answer.body))
                await asyncio.sleep(0.005)

        def up() -> list[bool]:
            return [router.up for router in entry.status.routers]

        await until(lambda: up() == [True, True] and bool(proxy.active), "both routers are used")
        loading = asyncio.create_task(load())
        await until(lambda: len({body for _, body in answers}) == 2, "both answer")
        two.dead = True
        await two.hang_up()
        await until(lambda: up() == [True, False], "the dead one is out")
        two.dead = False
        before = len(answers)
        await until(lambda: len({body for _, body in answers[before:]}) == 2, "it is back")
        done = True
        await loading
        assert {status for status, _ in answers} == {200}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
