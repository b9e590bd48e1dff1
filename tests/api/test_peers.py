"""Machines ask each other over mutual TLS: what they get, and who is turned away with one line in the log."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import aiohttp
import pytest

from argosy.api.inspector import RouterInspector
from argosy.api.peers import Peers
from argosy.api.shapes import Command
from argosy.errors import NotFound, Refused, RuntimeFailed, Unsuitable
from argosy.model import Detail, LogLine, Machine, Observed
from argosy.reconcile import SystemClock
from argosy.store.sqlite import SqliteStore
from argosy.trust import contexts
from argosy.trust.authority import Pair, create_authority, issue, machine_name
from argosy.web.limits import Limits
from tests.api.house import M1, M2, House, a_house, raw

DAY = 86_400.0


class Agent:
    """An agent's answers."""

    def __init__(self, name: str, *, endless: bool = True) -> None:
        self.name = name
        self.endless = endless

    async def detail(self, name: str) -> Detail:
        if name == "missing.service":
            raise NotFound(f"unit {name} is not loaded here")
        return Detail(Observed(name, "h" * 40, active="active", pid=7), description=self.name, processes=((7, "/bin/sleep 1000"),))

    async def logs(self, name: str, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        for number in range(lines):
            yield LogLine(1000.0 + number, f"{self.name} line {number} ü", "sleep", 7)
        if name == "broken.service":
            raise RuntimeFailed("the journal is gone")
        if follow and self.endless:
            await asyncio.Event().wait()


class Papers(NamedTuple):
    """PEM files of an authority and of one machine."""

    ca: str
    cert: str
    key: str

    def server(self) -> ssl.SSLContext:
        return contexts.server(*self)

    def client(self) -> ssl.SSLContext:
        return contexts.client(*self)


def papers(folder: Path, authority: Pair, machine_id: str, now: float | None = None, days: int = 10, trust: Pair | None = None) -> Papers:
    folder.mkdir(parents=True, exist_ok=True)
    pair = issue(authority, machine_id, time.time() if now is None else now, days=days)
    files = Papers(*(str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem")))
    for path, content in zip(files, ((trust or authority).cert, pair.cert, pair.key), strict=True):
        Path(path).write_bytes(content)
    return files


class Two(NamedTuple):
    first: House
    second: House
    peers: Peers
    authority: Pair

    def machine(self, which: House, machine_id: str) -> Machine:
        return Machine(machine_id, "127.0.0.1", door=which.address("tls"))


@asynccontextmanager
async def two_machines(folder: Path, routers: Mapping[str, RouterInspector] = MappingProxyType({}), **flags: Any) -> AsyncIterator[Two]:
    authority = await asyncio.to_thread(create_authority, "test", time.time())
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(SqliteStore(":memory:", clock))
        houses = []
        peers = []
        for machine_id in (M1, M2):
            own = await asyncio.to_thread(papers, folder / machine_id[0], authority, machine_id)
            asks = await stack.enter_async_context(Peers(await asyncio.to_thread(own.client)))
            house = await stack.enter_async_context(
                a_house(
                    folder / machine_id[0],
                    clock=clock,
                    store=store,
                    machine_id=machine_id,
                    inspector=Agent(f"m{machine_id[0]}"),
                    peers=asks,
                    router=routers.get(machine_id),
                    tls__ca=own.ca,
                    tls__cert=own.cert,
                    tls__key=own.key,
                    api__door="127.0.0.1:0",
                    **flags,
                )
            )
            await house.machine(machine_id, door=house.address("tls"))
            houses.append(house)
            peers.append(asks)
        yield Two(houses[0], houses[1], peers[0], authority)


async def test_status_and_journal_come_from_whichever_machine_the_unit_is_on(tmp_path: Path) -> None:
    async with two_machines(tmp_path) as two:
        await two.first.submit("a.service", target="launched")
        await two.first.place("a.service", M2)
        for house in (two.first, two.second):
            status = (await house.own("GET", "/units/a.service/status?lines=2")).json
            (on,) = status["machines"]
            assert (on["machine"], on["detail"]["description"]) == (M2, "m2")
            assert on["detail"]["processes"] == [[7, "/bin/sleep 1000"]]
            assert [line["text"] for line in on["lines"]] == ["m2 line 0 ü", "m2 line 1 ü"]
            journal = await house.own("GET", "/units/a.service/journal?lines=3")
            assert [line["text"] for line in journal.lines] == ["m2 line 0 ü", "m2 line 1 ü", "m2 line 2 ü"]


async def test_a_unit_on_several_machines_shows_all_and_its_journal_must_be_chosen(tmp_path: Path) -> None:
    async with two_machines(tmp_path) as two:
        await two.first.submit("a.service", target="launched")
        await two.first.place("a.service", M1, M2)
        status = (await two.first.own("GET", "/units/a.service/status")).json
        assert [on["detail"]["description"] for on in status["machines"]] == ["m1", "m2"]
        assert (await two.first.own("GET", "/units/a.service/journal")).status == 400
        journal = await two.first.own("GET", "/units/a.service/journal?lines=1&machine=m2")
        assert [line["text"] for line in journal.lines] == ["m2 line 0 ü"]


async def test_a_followed_journal_comes_as_it_is_written_and_ends_with_its_client(tmp_path: Path) -> None:
    async with two_machines(tmp_path) as two:
        await two.first.submit("a.service", target="launched")
        await two.first.place("a.service", M2)
        url = "http://argosy/argosy/v1/units/a.service/journal?lines=2&follow=true"
        async with two.first.session.get(url) as response:
            lines = [await asyncio.wait_for(response.content.readline(), 5) for _ in range(2)]
        assert b"m2 line 1" in lines[1]


async def test_a_stream_with_nothing_to_say_gives_signs_of_life_that_other_machines_understand(tmp_path: Path) -> None:
    async with two_machines(tmp_path, limits=Limits(beat=0.02)) as two:
        await two.first.submit("a.service", target="launched")
        await two.first.place("a.service", M2)
        url = "http://argosy/argosy/v1/units/a.service/journal?lines=1&follow=true"
        async with two.first.session.get(url) as response:
            lines = [await asyncio.wait_for(response.content.readline(), 5) for _ in range(4)]
        assert b"m2 line 0" in lines[0]
        assert lines[1:] == [b"\n"] * 3


async def test_a_stream_that_breaks_says_so_in_its_last_line(tmp_path: Path) -> None:
    async with two_machines(tmp_path) as two:
        await two.first.submit("broken.service", target="launched")
        await two.first.place("broken.service", M2)
        journal = await two.first.own("GET", "/units/broken.service/journal?lines=1")
        assert journal.lines[-1]["error"] == "the journal is gone"


async def test_a_unit_that_is_nowhere_or_whose_machine_cannot_be_asked_is_told(tmp_path: Path) -> None:
    async with two_machines(tmp_path) as two:
        await two.first.submit("a.service")
        assert (await two.first.own("GET", "/units/a.service/status")).json["machines"] == []
        assert (await two.first.own("GET", "/units/a.service/journal")).status == 404
        await two.first.place("a.service", "9" * 32)
        (on,) = (await two.first.own("GET", "/units/a.service/status")).json["machines"]
        assert on["error"] == "the machine is not alive"
        await two.first.machine("9" * 32, door="127.0.0.1:1")
        (on,) = (await two.first.own("GET", "/units/a.service/status")).json["machines"]
        assert "cannot be asked" in on["error"]


async def test_commands_run_where_the_operator_allows_it_and_nowhere_else(tmp_path: Path) -> None:
    command = {"argv": ["sh", "-c", "printf out; printf err >&2; exit 3"]}
    async with two_machines(tmp_path / "y", api__exec=True) as two:
        for machine in (M1, M2):
            pieces = (await two.first.own("POST", f"/machines/{machine}/exec", command)).lines
            assert {piece["stream"]: piece["data"] for piece in pieces[:-1]} == {"stdout": "out", "stderr": "err"}
            assert pieces[-1] == {"code": 3}
        plain = await two.first.ask_tcp("POST", f"/argosy/v1/machines/{M1}/exec", command)
        assert plain.status == 403
        assert [piece async for piece in two.peers.run(two.machine(two.second, M2), Command(["true"]))][-1].code == 0
    async with two_machines(tmp_path / "n") as two:
        for machine in (M1, M2):
            assert (await two.first.own("POST", f"/machines/{machine}/exec", command)).status == 403


async def test_a_command_that_takes_too_long_or_cannot_be_run_is_told(tmp_path: Path) -> None:
    async with a_house(tmp_path, api__exec=True) as house:
        slow = await house.own("POST", f"/machines/{M1}/exec", {"argv": ["sleep", "60"], "timeout": 0.1})
        assert slow.lines == [{"error": "the command was stopped after 0.1 s"}]
        missing = await house.own("POST", f"/machines/{M1}/exec", {"argv": ["/no/such/program"]})
        assert (missing.status, "No such file" in missing.json["error"]["message"]) == (400, True)
        killed = await house.own("POST", f"/machines/{M1}/exec", {"argv": ["sh", "-c", "kill -9 $$"]})
        assert killed.lines == [{"code": 137}]


async def test_a_command_ends_with_its_client(tmp_path: Path) -> None:
    """Also what it has started: the whole group."""
    pids = tmp_path / "pids"
    command = {"argv": ["sh", "-c", f"sleep 60 & echo $! $$ > {pids}; echo started; wait"]}
    async with two_machines(tmp_path, api__exec=True) as two:
        url = f"http://argosy/argosy/v1/machines/{M2}/exec"
        async with two.first.session.post(url, json=command) as response:
            assert b"started" in await asyncio.wait_for(response.content.readline(), 5)
        running = [Path(f"/proc/{pid}") for pid in pids.read_text().split()]
        await _until(lambda: not any(path.exists() for path in running))


async def test_the_name_in_the_certificate_is_checked_not_the_address(tmp_path: Path) -> None:
    async with two_machines(tmp_path) as two:
        imposter = Machine("3" * 32, "127.0.0.1", door=two.second.address("tls"))
        with pytest.raises(RuntimeFailed, match="cannot be asked"):
            await two.peers.status(imposter, "a.service", 1)
        assert (await two.peers.status(two.machine(two.second, M2), "a.service", 1)).detail.description == "m2"


async def test_failures_there_are_told_here(tmp_path: Path) -> None:
    async with two_machines(tmp_path) as two:
        with pytest.raises(NotFound, match=f"machine {M2}: unit missing.service is not loaded here"):
            await two.peers.status(two.machine(two.second, M2), "missing.service", 1)
        with pytest.raises(Refused, match="runs no commands"):
            [piece async for piece in two.peers.run(two.machine(two.second, M2), Command(["true"]))]
        with pytest.raises(Unsuitable, match="no certificate"):
            await Peers(None).status(two.machine(two.second, M2), "a.service", 1)
        with pytest.raises(Unsuitable, match="no door"):
            await two.peers.status(Machine(M2), "a.service", 1)


Knock = Callable[[Two, Path], Coroutine[None, None, None]]


async def _with(context: ssl.SSLContext, two: Two) -> None:
    """One connection, which the server must end without an answer."""
    address = two.second.address("tls")

    def knock() -> bytes:
        host, _, port = address.rpartition(":")
        try:
            with (
                socket.create_connection((host, int(port)), 5) as plain,
                context.wrap_socket(plain, server_hostname=machine_name(M2)) as door,
            ):
                door.sendall(b"GET /argosy/v1/units HTTP/1.1\r\nHost: x\r\n\r\n")
                return door.recv(65536)
        except (ssl.SSLError, ConnectionError):
            return b""

    assert await asyncio.to_thread(knock) == b""


async def knock_with_another_authority(two: Two, folder: Path) -> None:
    other = await asyncio.to_thread(create_authority, "other", time.time())
    files = await asyncio.to_thread(papers, folder / "other", other, M1, None, 10, two.authority)
    await _with(await asyncio.to_thread(files.client), two)


async def knock_expired(two: Two, folder: Path) -> None:
    files = await asyncio.to_thread(papers, folder / "old", two.authority, M1, time.time() - 20 * DAY, 1)
    await _with(await asyncio.to_thread(files.client), two)


async def knock_without(two: Two, folder: Path) -> None:
    context = await asyncio.to_thread(ssl.create_default_context, cadata=two.authority.cert.decode())
    await _with(context, two)


async def knock_in_the_clear(two: Two, folder: Path) -> None:
    answer = await asyncio.to_thread(raw, two.second.address("tls"), b"GET /argosy/v1/units HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP/" not in answer


async def knock_with_old_tls(two: Two, folder: Path) -> None:
    """A ClientHello of TLS 1.0 (today's OpenSSL makes none)."""
    body = b"\x03\x01" + bytes(32) + b"\x00\x00\x02\x00\x2f\x01\x00"
    hello = b"\x01" + len(body).to_bytes(3, "big") + body
    answer = await asyncio.to_thread(raw, two.second.address("tls"), b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello)
    assert b"HTTP/" not in answer


KNOCKS: dict[str, tuple[Knock, str]] = {
    "a certificate from another authority": (knock_with_another_authority, "its certificate is not good"),
    "an expired certificate": (knock_expired, "certificate has expired"),
    "no certificate": (knock_without, "it showed no certificate"),
    "plain HTTP": (knock_in_the_clear, "http request"),
    "an old TLS": (knock_with_old_tls, "protocol"),
}


@pytest.mark.parametrize(("knock", "said"), KNOCKS.values(), ids=KNOCKS)
async def test_who_is_not_of_the_cluster_is_turned_away_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, knock: Knock, said: str
) -> None:
    async with two_machines(tmp_path) as two:
        caplog.set_level(logging.WARNING)
        await knock(two, tmp_path)
        await _until(lambda: len(_refusals(caplog)) >= 1)
        (line,) = _refusals(caplog)
        assert said in line
        assert line.startswith("refused 127.0.0.1:")
        metrics = (await two.second.ask("GET", "/metrics")).body.decode()
        assert "argosy_tls_refused_total 1.0" in metrics
        assert (await two.peers.status(two.machine(two.second, M2), "a.service", 1)).detail.description == "m2"
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_a_client_that_says_nothing_is_let_go(tmp_path: Path) -> None:
    async with two_machines(tmp_path) as two:
        host, _, port = two.second.address("tls").rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        assert (await two.peers.status(two.machine(two.second, M2), "a.service", 1)).detail.description == "m2"
        writer.close()
    # leaving the block closes the door with the handshake still open: nothing hangs


async def test_requests_with_a_good_certificate_are_served_like_any_others(tmp_path: Path) -> None:
    async with two_machines(tmp_path) as two:
        files = await asyncio.to_thread(papers, tmp_path / "client", two.authority, "operator")
        context = await asyncio.to_thread(files.client)
        url = f"https://{two.second.address('tls')}/argosy/v1/machines"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=context, server_hostname=machine_name(M2)) as response:
            assert [machine["id"] for machine in (await response.json())["machines"]] == [M1, M2]


def _refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "argosy.web.tls"]


async def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline, "it did not happen within 5 s"
        await asyncio.sleep(0.01)
