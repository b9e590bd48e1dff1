"""Learning the machines from agents: real ones, through every kind of door, while they come, go, hang and lose their store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from argosy.errors import InvalidInput, StoreUnavailable
from argosy.model import RouterReport
from argosy.reconcile import SystemClock
from argosy.router.entry.door import Agents, agent, joined
from argosy.router.entry.plan import Member
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import Delete, Put
from argosy.store.sqlite import SqliteStore
from argosy.trust.authority import create_authority
from tests.api.house import M1, M2, M3, House, a_house
from tests.api.test_peers import papers, two_machines
from tests.router.web import until

CLOCK = SystemClock()
REPORT = RouterReport(M1, since=5.0, routes=1, digest="a", listen=("0.0.0.0:80",), tls_listen=("0.0.0.0:443",))
SEEN = RouterReport(M1, listen=("0.0.0.0:80",), tls_listen=("0.0.0.0:443",))


class Heard:
    """What an entry would be told."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.source = ""
        self.times = 0

    def know(self, members: Sequence[Member], source: str) -> None:
        self.members = {member.name: member for member in members}
        self.source = source
        self.times += 1


@asynccontextmanager
async def following(agents: Agents) -> AsyncIterator[Heard]:
    heard = Heard()
    task = asyncio.create_task(agents.follow(heard.know))
    try:
        yield heard
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as one:
        yield one


def socket_of(house: House) -> str:
    return f"unix://{house.address('socket')}"


def given(*texts: str) -> Callable[[], Sequence[str]]:
    return lambda: texts


async def report(house: House, told: RouterReport) -> None:
    await house.store.commit([], [Put(keys.router(told.machine), encode(told))])


async def test_machines_are_told_with_what_their_routers_report_and_every_change_is_heard_of(house: House) -> None:
    async with following(Agents(given(socket_of(house)), CLOCK)) as heard:
        await until(lambda: "m1" in heard.members, "the machine is told of")
        assert heard.members["m1"].router is None
        assert heard.source == socket_of(house)
        await report(house, REPORT)
        await until(lambda: heard.members["m1"].router == SEEN, "its router is told of, without what it serves")
        await house.machine(M2, metadata={"role": "web"})
        await until(lambda: "m2" in heard.members, "one that joins")
        assert heard.members["m2"] == Member(M2, "m2", "10.0.0.2", {"role": "web"})
        await house.own("POST", "/machines/m2/drain")
        await until(lambda: heard.members["m2"].draining and heard.members["m2"].cordoned, "one that drains")
        await house.own("POST", "/machines/m2/uncordon")
        await until(lambda: not heard.members["m2"].cordoned, "one that is back")
        await house.store.commit([], [Delete(keys.machine(M2))])
        await until(lambda: "m2" not in heard.members, "one that is lost")


async def test_a_change_is_heard_of_within_a_moment(house: House) -> None:
    async with following(Agents(given(house.address("tcp")), CLOCK)) as heard:
        await until(lambda: "m1" in heard.members, "the machine is told of")
        begun = asyncio.get_running_loop().time()
        await house.own("POST", "/machines/m1/cordon")
        await until(lambda: heard.members["m1"].cordoned, "it is cordoned")
        assert asyncio.get_running_loop().time() - begun < 1.0


async def test_what_a_router_serves_may_change_without_telling_anybody(house: House) -> None:
    await report(house, REPORT)
    async with following(Agents(given(socket_of(house)), CLOCK, wait=0.1)) as heard:
        await until(lambda: heard.times > 0, "the machine is told of")
        for number in range(5):
            await report(house, RouterReport(M1, routes=number, digest=str(number), listen=SEEN.listen, tls_listen=SEEN.tls_listen))
        await house.machine(M3)
        await until(lambda: "m3" in heard.members, "another machine joins")
        assert heard.times == 2


async def test_when_an_agent_is_gone_the_next_is_asked_and_what_is_known_stays_while_none_answers(tmp_path: Path) -> None:
    async with SqliteStore(":memory:", CLOCK) as store, AsyncExitStack() as second, AsyncExitStack() as first:
        one = await first.enter_async_context(a_house(tmp_path / "1", store=store))
        two = await second.enter_async_context(a_house(tmp_path / "2", store=store, machine_id=M2))
        sockets = (socket_of(one), socket_of(two))
        async with following(Agents(given(*sockets), CLOCK)) as heard:
            await until(lambda: heard.source == sockets[0], "the first is asked")
            await first.aclose()
            await until(lambda: heard.source == sockets[1], "the second is asked")
            await two.machine(M3)
            await until(lambda: len(heard.members) == 3, "news is heard of")
            await second.aclose()
            again = await first.enter_async_context(a_house(tmp_path / "1", store=store))
            assert len(heard.members) == 3
            await again.own("POST", "/machines/m3/cordon")
            await until(lambda: heard.members["m3"].cordoned, "the first is back")


async def test_an_agent_that_hangs_is_left_for_the_next(tmp_path: Path, house: House) -> None:
    held: list[asyncio.StreamWriter] = []
    hung = await asyncio.start_unix_server(lambda reader, writer: held.append(writer), tmp_path / "hung")
    async with following(Agents(given(f"{tmp_path}/hung", socket_of(house)), CLOCK, patience=0.2)) as heard:
        await until(lambda: heard.source == socket_of(house), "the other is asked")
    hung.close()
    for writer in held:
        writer.transport.abort()
    await hung.wait_closed()


async def relayed(house: House, asked: list[str], frozen: asyncio.Event, path: Path) -> asyncio.Server:
    """A socket in front of the house's that notes each path and its wait, and passes nothing on any more once it is frozen."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_unix_connection(house.address("socket"))

        async def back() -> None:
            while data := await to_reader.read(65536):
                writer.write(data)

        answers = asyncio.create_task(back())
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked.append(head.split()[1].decode())
                if not frozen.is_set():
                    to_writer.write(head)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            answers.cancel()
            to_writer.close()
            writer.close()

    return await asyncio.start_unix_server(pass_on, path)


async def test_while_nothing_changes_only_the_health_of_the_agent_is_asked_for(tmp_path: Path, house: House) -> None:
    asked: list[str] = []
    server = await relayed(house, asked, asyncio.Event(), tmp_path / "relay")
    async with following(Agents(given(f"{tmp_path}/relay"), CLOCK, health_every=0.02)) as heard:
        await until(lambda: asked.count("/argosy/v1/health") >= 150, "its health is checked")
        reads = [path for path in asked if path != "/argosy/v1/health"]
        assert len(reads) == 4, reads
        assert sum("wait=60" in path for path in reads) == 2, "each of both is a single blocking read"
        await house.machine(M2)
        await until(lambda: "m2" in heard.members, "a change ends it at once")
    server.close()
    await server.wait_closed()


async def test_an_agent_that_falls_silent_during_a_blocking_read_is_left_for_the_next(tmp_path: Path, house: House) -> None:
    asked: list[str] = []
    frozen = asyncio.Event()
    server = await relayed(house, asked, frozen, tmp_path / "relay")
    relay = f"unix://{tmp_path}/relay"
    agents = Agents(given(relay, socket_of(house)), CLOCK, health_every=0.05, patience=0.3)
    async with following(agents) as heard:
        await until(lambda: sum("wait=60" in path for path in asked) == 2 and heard.source == relay, "it is asked")
        frozen.set()
        await house.machine(M2)
        await until(lambda: heard.source == socket_of(house) and "m2" in heard.members, "the other is asked")
    server.close()
    await server.wait_closed()


async def test_an_agent_that_loses_its_store_during_a_blocking_read_is_left_for_the_next(tmp_path: Path, house: House) -> None:
    away: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Machines and routers once; after that reads hang, and the health is 503."""
        with suppress(asyncio.IncompleteReadError, OSError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split()[1].decode()
                if "/health" in path:
                    away.append(path)
                    writer.write(b"HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\naway")
                elif "wait=" not in path:
                    body = b'{"machines": [], "routers": [], "index": 1}'
                    writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    poor = await asyncio.start_unix_server(serve, tmp_path / "poor")
    async with following(Agents(given(f"{tmp_path}/poor", socket_of(house)), CLOCK, health_every=0.05)) as heard:
        await until(lambda: heard.source == socket_of(house), "the other is asked")
        assert away
    poor.close()
    await poor.wait_closed()


async def test_an_agent_without_its_store_or_with_nonsense_is_left_for_the_next(
    tmp_path: Path, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "argosy.router")
    answers = [b"HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\naway", b'HTTP/1.1 200 X\r\nContent-Length: 16\r\n\r\n{"machines": 17}']

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers[0])
        writer.close()

    poor = await asyncio.start_unix_server(serve, tmp_path / "poor")
    for _ in range(2):
        async with following(Agents(given(f"{tmp_path}/poor", socket_of(house)), CLOCK)) as heard:
            await until(lambda: heard.source == socket_of(house), "the other is asked")
        answers.reverse()
    poor.close()
    await poor.wait_closed()
    assert any("it answers 503: away" in message for message in caplog.messages)
    assert any("what it says makes no sense" in message for message in caplog.messages)
    assert f"{socket_of(house)} tells of the machines" in caplog.messages


async def test_over_mutual_tls_any_machine_of_the_cluster_may_be_asked_and_those_told_of_are_asked_too(tmp_path: Path) -> None:
    async with two_machines(tmp_path) as two:
        own = await asyncio.to_thread(papers, tmp_path / "entry", two.authority, "entry-1")
        context = await asyncio.to_thread(own.client)
        first = f"https://{two.first.address('tls')}"
        endpoints = [first]
        async with following(Agents(lambda: endpoints, CLOCK, context, patience=0.5)) as heard:
            await until(lambda: heard.source == first, "the first is asked")
            assert set(heard.members) == {"m1", "m2"}
        agents = Agents(lambda: endpoints, CLOCK, context)
        async with following(agents) as heard:
            await until(lambda: heard.source == first, "the first is asked")
        endpoints[:] = ["https://127.0.0.1:1"]
        assert len(await agents.ask()) == 2, "the doors of the machines are known by now"


ODD = [
    ("fd00::3:8700", "IPv6 without brackets"),
    ("10.0.0.3:http", "a port by its name"),
    ("10.0.0.3:99999", "a port that there is not"),
    ("10.0.0.3/x", "a path"),
    ("[x", "half a bracket"),
]


@pytest.mark.parametrize(("door", "why"), ODD, ids=[row[1] for row in ODD])
async def test_a_machine_with_an_odd_door_is_told_of_and_only_its_door_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, door: str, why: str
) -> None:
    async with two_machines(tmp_path) as two:
        own = await asyncio.to_thread(papers, tmp_path / "entry", two.authority, "entry-1")
        context = await asyncio.to_thread(own.client)
        await two.first.machine(M3, door=door)
        endpoints = [f"https://{two.first.address('tls')}"]
        agents = Agents(lambda: endpoints, CLOCK, context)
        async with following(agents) as heard:
            await until(lambda: "m3" in heard.members, "the machines are told of")
            await two.first.own("POST", "/machines/m1/cordon")
            await until(lambda: heard.members["m1"].cordoned, "it goes on")
        endpoints[:] = ["https://127.0.0.1:1"]
        assert len(await agents.ask()) == 3, "the other doors are known"
        assert len([message for message in caplog.messages if f"the door of machine {M3} is left out" in message]) == 1


async def test_one_with_a_certificate_of_another_authority_is_not_believed(tmp_path: Path, house: House) -> None:
    other = await asyncio.to_thread(create_authority, "other", time.time())
    async with two_machines(tmp_path / "two") as two:
        own = await asyncio.to_thread(papers, tmp_path / "entry", other, "entry-1")
        context = await asyncio.to_thread(own.client)
        with pytest.raises(StoreUnavailable, match="its certificate is not good"):
            await Agents(given(f"https://{two.first.address('tls')}"), CLOCK, context).ask()


async def test_asked_once_it_says_why_nobody_answers(tmp_path: Path, house: House) -> None:
    assert [member.name for member in await Agents(given("/nowhere", socket_of(house)), CLOCK).ask()] == ["m1"]
    with pytest.raises(StoreUnavailable, match=r"unix:///nowhere: No such file or directory \(name others with --agent\)"):
        await Agents(given("/nowhere"), CLOCK).ask()


NAMED = [
    ("/run/x.sock", "unix:///run/x.sock", "a path"),
    ("unix:///run/x.sock", "unix:///run/x.sock", "a socket's URL"),
    ("127.0.0.1:8700", "http://127.0.0.1:8700", "an address"),
    ("https://10.0.0.1", "https://10.0.0.1:8700", "an address without its port"),
    ("https://[fd00::1]:9", "https://[fd00::1]:9", "IPv6"),
]


@pytest.mark.parametrize(("text", "shown", "why"), NAMED, ids=[row[2] for row in NAMED])
def test_an_agent_is_named_by(text: str, shown: str, why: str) -> None:
    assert agent(text, True).shown == shown


@pytest.mark.parametrize(
    "text", ["", "ftp://x", "https://user@x:1", "https://x/path", "http://x:99999", "https://x?y", "unix://x", "http://[x"]
)
def test_what_names_no_agent_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no agent"):
        agent(text, True)


def test_https_asks_for_a_certificate() -> None:
    with pytest.raises(InvalidInput, match=r"give --ca, --cert and --key"):
        agent("https://10.0.0.1:8700", False)


def test_machines_are_joined_with_their_routers_whatever_the_order() -> None:
    assert joined([Member(M2), Member(M1)], [RouterReport(M3), REPORT]) == [Member(M1, router=SEEN), Member(M2)]
