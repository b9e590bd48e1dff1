"""A configuration kept for HAProxy: checked and swapped, its reload asked for; and a real HAProxy that carries requests by it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from argosy.errors import RuntimeFailed
from argosy.router.entry.haproxy import ConfigFile
from argosy.router.entry.plan import Pool, Wanted, plan, pools
from argosy.router.entry.publish import GATHER, Publisher
from argosy.router.entry.render import OWN_HEALTH, render_haproxy
from argosy.router.sources import read_sources
from tests.conftest import FakeClock
from tests.router.entry.test_plan import member
from tests.router.entry.test_render import needs_haproxy
from tests.router.entry.test_serving import Load, contexts_of, machines, names_of
from tests.router.test_carrying import old
from tests.router.web import ask, free_port

SOURCES = read_sources()
REFUSES_X = (sys.executable, "-c", "import sys; sys.exit('X on line 1' if 'X' in open(sys.argv[1]).read() else 0)")


def counting(path: Path) -> tuple[str, ...]:
    """A reload that leaves a mark each time; it fails while there is a file `path`.broken."""
    return ("sh", "-c", f"test ! -e {path}.broken && echo reloaded >> {path}")


def marks(path: Path) -> int:
    return path.read_text().count("reloaded") if path.exists() else 0


async def test_a_change_is_checked_swapped_in_and_reloaded_once_and_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    path, mark = tmp_path / "haproxy.cfg", tmp_path / "mark"
    await asyncio.to_thread(path.write_text, "before")
    await asyncio.to_thread(path.chmod, 0o640)
    file = ConfigFile(path, REFUSES_X, counting(mark))
    assert await file.apply("one")
    assert not await file.apply("one")
    assert not await ConfigFile(path, REFUSES_X, counting(mark)).apply("one")
    assert (path.read_text(), path.stat().st_mode & 0o777, marks(mark)) == ("one", 0o640, 1)


async def test_what_is_refused_leaves_the_file_as_it_is_and_says_why(tmp_path: Path) -> None:
    path, mark = tmp_path / "haproxy.cfg", tmp_path / "mark"
    file = ConfigFile(path, REFUSES_X, counting(mark))
    await file.apply("one")
    with pytest.raises(RuntimeFailed, match=r"refuses the configuration in .*haproxy.cfg.new: X on line 1"):
        await file.apply("X")
    assert (path.read_text(), marks(mark)) == ("one", 1)


async def test_a_reload_that_fails_is_done_again_though_the_file_says_so_already(tmp_path: Path) -> None:
    path, mark, broken = tmp_path / "haproxy.cfg", tmp_path / "mark", tmp_path / "mark.broken"
    file = ConfigFile(path, (), counting(mark))
    await asyncio.to_thread(broken.touch)
    with pytest.raises(RuntimeFailed, match="sh -c"):
        await file.apply("one")
    await asyncio.to_thread(broken.unlink)
    assert not await file.apply("one")
    assert marks(mark) == 1


async def test_a_folder_that_is_not_there_and_a_program_that_is_not_are_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match=r"cannot write .*: No such file"):
        await ConfigFile(tmp_path / "none" / "x", ()).apply("one")
    with pytest.raises(RuntimeFailed, match="cannot run /no/such"):
        await ConfigFile(tmp_path / "x", ("/no/such",)).apply("one")


class MemoryFile:
    def __init__(self) -> None:
        self.written: list[str] = []
        self.refuse = False

    async def apply(self, config: str) -> bool:
        if self.refuse:
            raise RuntimeFailed("refused")
        self.written.append(config)
        return True


def names(chosen: tuple[Pool, ...] | list[Pool]) -> str:
    return ",".join(server.name for pool in chosen for server in pool.servers)


@asynccontextmanager
async def publishing(file: MemoryFile, clock: FakeClock) -> AsyncIterator[Publisher]:
    publisher = Publisher(Wanted(), lambda chosen: names(list(chosen)), file, clock)
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_file_follows_the_machines_and_changes_in_quick_succession_are_one(clock: FakeClock) -> None:
    file = MemoryFile()
    async with publishing(file, clock) as publisher:
        publisher.know([member(1)])
        await clock.advance(0)
        for machines_now in ([member(1), member(2)], [member(1), member(2), member(3)], [member(1, cordoned=True), member(2)]):
            publisher.know(machines_now)
            await clock.advance(0)
        await clock.advance(GATHER)
        publisher.know([], "unix:///x")
        await clock.advance(GATHER)
        assert file.written == ["m1", "m2"]


async def test_a_pool_that_has_lost_all_of_its_machines_keeps_them_while_others_follow(clock: FakeClock) -> None:
    """The routers' reports are gone for a moment, and the machines are not: what is carried by TCP follows, what routers serve stays."""
    file = MemoryFile()
    shown = Publisher(
        Wanted(tcp=(("0.0.0.0:5432", 5432),)),
        lambda chosen: " ".join(f"{pool.name}={'+'.join(server.name for server in pool.servers)}" for pool in chosen),
        file,
        clock,
    )
    task = asyncio.create_task(shown.run())
    for now in ([member(1), member(2)], [member(1, router=None)], [], [member(3)]):
        shown.know(now, "unix:///x")
        await clock.advance(GATHER)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert file.written == ["http=m1+m2 tcp:5432=m1+m2", "http=m1+m2 tcp:5432=m1", "http=m3 tcp:5432=m3"]


async def test_a_file_that_is_refused_is_tried_again(clock: FakeClock) -> None:
    file = MemoryFile()
    file.refuse = True
    async with publishing(file, clock) as publisher:
        publisher.know([member(1)])
        await clock.advance(1)
        file.refuse = False
        await clock.advance(5)
        assert file.written == ["m1"]


@asynccontextmanager
async def haproxy(config: str, folder: Path, port: int) -> AsyncIterator[None]:
    (folder / "haproxy.cfg").write_text(config)
    with (folder / "log").open("wb") as log:
        child = await asyncio.create_subprocess_exec("/usr/sbin/haproxy", "-db", "-f", "haproxy.cfg", cwd=folder, stdout=log, stderr=log)
    try:

        async def ready() -> bool:
            try:
                return (await ask(port, "x", OWN_HEALTH)).status == 200
            except OSError:
                return False

        for _ in range(500):
            if await ready():
                break
            assert child.returncode is None, (folder / "log").read_text()
            await asyncio.sleep(0.01)
        yield
    finally:
        child.send_signal(signal.SIGTERM)
        await child.wait()


@needs_haproxy
@pytest.mark.timeout(60)
async def test_haproxy_carries_requests_tls_and_tcp_and_none_fails_while_a_machine_dies(tmp_path: Path) -> None:
    plain, over_tls, database = free_port(), free_port(), free_port()
    server, client = await asyncio.to_thread(contexts_of, tmp_path)
    async with machines(1, 2, context=server) as (one, two):
        await two.die()
        two.tcp = one.tcp
        await two.start(server)
        wanted = Wanted((f"127.0.0.1:{plain}",), (f"127.0.0.1:{over_tls}",), ((f"127.0.0.1:{database}", one.tcp),))
        found = pools(wanted, plan([one.member, two.member], wanted).backends)
        config = render_haproxy(found, wanted, SOURCES, interval=0.1)
        async with haproxy(config, tmp_path, plain), Load(plain) as load:
            await load.come_from("m1", "m2")
            assert await names_of(over_tls, 4, client) == {"m1", "m2"}
            assert await names_of(database, 4) == {"m1", "m2"}
            await two.die()
            await load.come_from("m1")
            assert await names_of(over_tls, 4, client) == {"m1"}
            assert await names_of(database, 4) == {"m1"}
            await two.start(server)
            await load.come_from("m1", "m2")
            assert {status for status, _ in load.answers} == {200}
        assert any("/_argosy/health HTTP/1.1\r\nhost: _argosy" in head.replace("Host", "host") for head in one.router.heard)


@needs_haproxy
async def test_routers_hear_the_same_of_who_asked_as_from_nginx(tmp_path: Path) -> None:
    said = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n"
    heard, health = {}, []
    async with machines(1) as (one,):
        for trusted in ((), ("127.0.0.0/8",)):
            port = free_port()
            wanted = Wanted((f"127.0.0.1:{port}",), trusted=trusted)
            config = render_haproxy(pools(wanted, plan([one.member], wanted).backends), wanted, SOURCES, interval=0.1)
            async with haproxy(config, tmp_path, port):
                answer = await ask(port, "hello.example", "/echo", headers=said)
                heard[trusted] = answer.body.lower()
                assert "connection: close" in heard[trusted], "no connection is kept that the router may be closing"
                health.append(await old(port, b"OPTIONS / HTTP/1.0\r\n\r\n"))
    assert all(b" 200 " in answer and answer.endswith(b"ok") for answer in health), "without a Host the entry answers itself"
    assert "\r\nx-forwarded-proto: http\r\n" in heard[()]
    assert "\r\nx-forwarded-host: hello.example\r\n" in heard[()]
    assert "\r\nx-forwarded-proto: https\r\n" in heard[("127.0.0.0/8",)]
    assert "\r\nx-forwarded-host: shop.example\r\n" in heard[("127.0.0.0/8",)]
    for text in heard.values():
        assert text.index("x-forwarded-for: 192.0.2.1") < text.index("x-forwarded-for: 127.0.0.1")
