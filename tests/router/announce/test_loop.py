"""The announcer: with a door in memory and a clock moved by hand, and as a process at the real doors."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from argosy.errors import InvalidInput, StoreUnavailable
from argosy.router.announce.door import KeysDoor, check, endpoints_of
from argosy.router.announce.loop import FAREWELL, Announcer
from argosy.router.announce.plan import Intent
from tests.api.house import a_house
from tests.conftest import FakeClock
from tests.etcd_server import etcd_server
from tests.router.web import backend, free_port, until_async

KEY = "/services/web/hello/hello@1"
VALUE = "10.0.0.1:3000"


class MemoryDoor:
    """Keys with their times, by the fake clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.keys: dict[str, tuple[str, float]] = {}
        self.puts: list[float] = []
        self.wrong: Exception | None = None

    async def put(self, key: str, value: str, ttl: int) -> None:
        if self.wrong is not None:
            raise self.wrong
        self.puts.append(self.clock.monotonic() - 1000.0)
        self.keys[key] = (value, self.clock.monotonic() + ttl)

    async def renew(self, key: str, value: str, ttl: int) -> bool:
        mine = self.get(key) in (None, value)
        if mine:
            await self.put(key, value, ttl)
        return mine

    async def remove(self, key: str, value: str) -> None:
        if self.wrong is not None:
            raise self.wrong
        if self.get(key) == value:
            del self.keys[key]

    def get(self, key: str) -> str | None:
        value, ends = self.keys.get(key, (None, 0.0))
        return value if ends > self.clock.monotonic() else None


class Stage:
    def __init__(self, clock: FakeClock, checked: str = "", linger: float = 0.0) -> None:
        self.clock = clock
        self.door = MemoryDoor(clock)
        self.reason = ""
        self.told: list[str] = []
        self.at_work = 0
        self.sees = True
        intent = Intent(KEY, VALUE, 60, checked, 2.0, linger)
        self.announcer = Announcer(
            intent, self.door, clock, check=self.check, tell=self.told.append, count=self.count, stop_time=self.stop_time
        )
        self.task = asyncio.create_task(self.announcer.run())

    async def check(self, url: str, timeout: float) -> str:
        return self.reason

    async def count(self) -> int:
        if not self.sees:
            raise OSError(1, "Operation not permitted")
        return self.at_work

    async def stop_time(self) -> float:
        return 20.0

    def announced(self) -> bool:
        return self.door.get(KEY) == VALUE


@asynccontextmanager
async def stage(clock: FakeClock, checked: str = "", linger: float = 0.0) -> AsyncIterator[Stage]:
    made = Stage(clock, checked, linger)
    try:
        await clock.advance(0)
        yield made
    finally:
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)


async def test_the_key_is_put_at_once_and_refreshed_each_third_of_its_ttl(clock: FakeClock) -> None:
    async with stage(clock) as here:
        await clock.advance(65)
        assert here.door.puts == [0.0, 20.0, 40.0, 60.0]
        assert here.announced()


async def test_a_copy_elsewhere_that_has_announced_itself_since_is_left_alone_until_it_is_gone(clock: FakeClock) -> None:
    async with stage(clock) as here:
        await clock.advance(0)
        here.door.keys[KEY] = ("10.0.0.2:3000", clock.monotonic() + 60)
        await clock.advance(45)
        assert here.door.get(KEY) == "10.0.0.2:3000"
        del here.door.keys[KEY]
        await clock.advance(20)
        assert here.door.get(KEY) == VALUE


async def test_told_to_stop_it_removes_the_key_and_returns(clock: FakeClock) -> None:
    async with stage(clock) as here:
        assert here.door.get(KEY) == VALUE
        here.announcer.stop()
        await clock.advance(0)
        assert here.task.done()
        assert here.door.get(KEY) is None


async def test_it_stays_after_removing_the_key_so_that_routers_let_go_before_the_app_stops(clock: FakeClock) -> None:
    async with stage(clock, linger=1.0) as here:
        here.announcer.stop()
        await clock.advance(0)
        assert here.door.get(KEY) is None
        assert not here.task.done()
        await clock.advance(0.9)
        assert not here.task.done()
        await clock.advance(0.1)
        assert here.task.done()


async def test_it_stays_until_the_requests_in_flight_have_ended(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with stage(clock, linger=1.0) as here:
        here.at_work = 3
        here.announcer.stop()
        await clock.advance(12)
        assert here.door.get(KEY) is None
        assert not here.task.done()
        assert here.told[-1] == f"STATUS=removed {KEY}: 3 connections are at work"
        assert "3 connections are at work: waiting for them, at most 18 s" in caplog.messages
        here.at_work = 0
        await clock.advance(0.9)
        assert not here.task.done(), "one more might come from a router that has not let go"
        await clock.advance(0.3)
        assert here.task.done()


async def test_it_leaves_what_has_not_ended_a_little_before_its_unit_would_be_killed(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(clock, linger=1.0) as here:
        here.at_work = 1
        here.announcer.stop()
        await clock.advance(17.9)
        assert not here.task.done()
        await clock.advance(0.2)
        assert here.task.done()
        assert "leaving 1 connections at work: its time to stop is over" in caplog.messages


async def test_requests_in_flight_are_waited_for_when_the_check_took_the_key_away_before(clock: FakeClock) -> None:
    async with stage(clock, "http://x/") as here:
        here.at_work = 1
        here.reason = "it answers 503: I am going"
        await clock.advance(10)
        assert not here.announced()
        here.announcer.stop()
        await clock.advance(5)
        assert not here.task.done()
        here.at_work = 0
        await clock.advance(1)
        assert here.task.done()


async def test_where_connections_cannot_be_seen_it_lingers_and_says_so(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    async with stage(clock, linger=1.0) as here:
        here.sees = False
        here.announcer.stop()
        await clock.advance(0.9)
        assert not here.task.done()
        await clock.advance(0.2)
        assert here.task.done()
        assert "requests in flight cannot be seen here ([Errno 1] Operation not permitted): staying for 1 s" in caplog.messages


async def test_one_that_never_announced_does_not_stay(clock: FakeClock) -> None:
    made = Stage(clock, "http://x/", linger=5.0)
    made.reason = "refused"
    await clock.advance(1)
    made.announcer.stop()
    await clock.advance(0)
    assert made.task.done()


async def test_it_is_ready_when_the_key_stands_for_the_first_time_and_says_how_it_is(clock: FakeClock) -> None:
    made = Stage(clock, "http://x/")
    made.reason = "refused\nREADY=1"
    await clock.advance(1)
    assert set(made.told) == {"STATUS=not announced: check http://x/ fails: refused READY=1"}
    made.reason = ""
    await clock.advance(0.25)
    assert made.told[-1] == f"READY=1\nSTATUS=announced {KEY} = {VALUE}"
    made.reason = "it answers 500"
    await clock.advance(6)
    assert f"STATUS=removed {KEY}: the check fails" in made.told
    assert made.told[-1] == "STATUS=not announced: check http://x/ fails: it answers 500"
    made.reason = ""
    await clock.advance(2)
    assert made.told[-1] == f"STATUS=announced {KEY} = {VALUE}"
    made.announcer.stop()
    await clock.advance(0)
    await made.task
    assert made.told[-2:] == ["STOPPING=1", f"STATUS=removed {KEY}: told to stop"]


async def test_a_door_that_is_away_is_told_of_as_well(clock: FakeClock) -> None:
    async with stage(clock) as here:
        here.door.wrong = StoreUnavailable("no keys door answers")
        await clock.advance(25)
        assert here.told[-1] == "STATUS=no keys door answers"


async def test_a_key_that_somebody_else_has_announced_since_is_left_alone(clock: FakeClock) -> None:
    async with stage(clock) as here:
        await here.door.put(KEY, "10.0.0.2:3000", 60)
        here.announcer.stop()
        await clock.advance(0)
        assert here.task.done()
        assert here.door.get(KEY) == "10.0.0.2:3000"


async def test_with_a_check_nothing_is_announced_until_it_passes(clock: FakeClock) -> None:
    made = Stage(clock, "http://x/")
    made.reason = "refused"
    await clock.advance(10)
    assert made.door.puts == []
    made.reason = ""
    await clock.advance(2)
    assert made.announced()
    made.announcer.stop()
    await clock.advance(0)
    await made.task


async def test_a_failing_check_removes_the_key_and_a_passing_one_puts_it_back(clock: FakeClock) -> None:
    async with stage(clock, "http://x/") as here:
        assert here.announced()
        here.reason = "it answers 500"
        await clock.advance(2)
        assert here.announced()
        await clock.advance(2)
        assert not here.announced()
        here.reason = ""
        await clock.advance(2)
        assert here.announced()


async def test_while_the_door_is_away_it_keeps_trying_and_is_back_soon_after_it(clock: FakeClock) -> None:
    async with stage(clock) as here:
        here.door.wrong = StoreUnavailable("away")
        await clock.advance(120)
        assert not here.announced()
        here.door.wrong = None
        await clock.advance(5.1)
        assert here.announced()


async def test_a_refusal_of_the_door_is_tried_again_too(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    made = Stage(clock)
    made.door.wrong = InvalidInput("102 not a file")
    await clock.advance(5)
    assert any("102 not a file" in message for message in caplog.messages)
    made.door.wrong = None
    await clock.advance(5)
    assert made.announced()
    made.announcer.stop()
    await clock.advance(0)
    await made.task


async def test_told_to_stop_while_the_door_is_away_it_tries_for_a_while_and_leaves_the_rest_to_the_ttl(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(clock) as here:
        here.door.wrong = StoreUnavailable("away")
        here.announcer.stop()
        await clock.advance(FAREWELL - 0.5)
        assert not here.task.done()
        await clock.advance(1)
        assert here.task.done()
        assert f"{KEY} is left to its ttl of 60 s" in caplog.messages[-1]


ENDPOINTS = [
    ({}, "", ("http://127.0.0.1:4001",), "this machine's door"),
    ({"ETCDCTL_ENDPOINT": "http://10.0.0.1:2379"}, "", ("http://10.0.0.1:2379",), "etcdctl's variable"),
    (
        {"ETCDCTL_ENDPOINTS": "10.0.0.1:1, http://10.0.0.2:2"},
        "",
        ("http://10.0.0.1:1", "http://10.0.0.2:2"),
        "several, with or without http",
    ),
    ({"ETCDCTL_PEERS": "10.0.0.1:1"}, "", ("http://10.0.0.1:1",), "its old name"),
    ({"ETCDCTL_ENDPOINT": "10.0.0.1:1"}, "10.0.0.9:9", ("http://10.0.0.9:9",), "what is given goes first"),
]


@pytest.mark.parametrize(("environ", "given", "doors", "why"), ENDPOINTS, ids=[row[3] for row in ENDPOINTS])
def test_the_doors_are_those_that_etcdctl_would_use(environ: dict[str, str], given: str, doors: tuple[str, ...], why: str) -> None:
    assert endpoints_of(environ, given) == doors


@pytest.mark.parametrize("given", ["https://x:1", "ftp://x", "http://", "x:port"])
def test_what_is_no_door_is_refused(given: str) -> None:
    with pytest.raises(InvalidInput, match="is no keys door"):
        endpoints_of({}, given)


@asynccontextmanager
async def our_door(folder: Path) -> AsyncIterator[str]:
    async with a_house(folder) as house:
        yield f"http://{house.address('keys')}"


@pytest.fixture(params=["argosy", "etcd"])
async def address(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A keys door: ours, and the one it is made after."""
    if request.param == "argosy":
        async with our_door(tmp_path) as url:
            yield url
    else:
        async with etcd_server(tmp_path, extra=("--enable-v2",)) as endpoints:
            yield f"http://{endpoints[0]}"


def read(address: str, key: str = KEY) -> str | None:
    try:
        with urllib.request.urlopen(f"{address}/v2/keys{key}", timeout=5) as answer:
            return str(json.load(answer)["node"]["value"])
    except urllib.error.HTTPError as error:
        error.close()
        return None


async def test_keys_are_put_and_removed_at_the_real_doors(address: str) -> None:
    door = KeysDoor([f"http://127.0.0.1:{free_port()}", address])
    await door.put(KEY, "10.0.0.1:3000", 60)
    assert await asyncio.to_thread(read, address) == "10.0.0.1:3000"
    await door.put(KEY, "a&b=c ü", 60)
    assert await asyncio.to_thread(read, address) == "a&b=c ü"
    assert await door.renew(KEY, "a&b=c ü", 60)
    assert not await door.renew(KEY, "somebody else's", 60)
    await door.remove(KEY, "somebody else's")
    assert await asyncio.to_thread(read, address) == "a&b=c ü"
    await door.remove(KEY, "a&b=c ü")
    assert await asyncio.to_thread(read, address) is None
    await door.remove(KEY, "a&b=c ü")
    assert await door.renew(KEY, "a&b=c ü", 60)
    await door.remove(KEY, "a&b=c ü")
    with pytest.raises(InvalidInput, match=r"refuses /services/web/hello: 403 Not a file"):
        await door.put("/services/web/hello", "x", 60)


async def test_a_door_that_nobody_opens_is_unavailable_and_named() -> None:
    port = free_port()
    with pytest.raises(StoreUnavailable, match=rf"http://127.0.0.1:{port}: .*refused"):
        await KeysDoor([f"http://127.0.0.1:{port}"]).put(KEY, VALUE, 60)


async def test_a_door_that_answers_500_is_unavailable() -> None:
    async with backend("broken") as broken:
        broken.status = 500
        with pytest.raises(StoreUnavailable, match="500 broken"):
            await KeysDoor([f"http://{broken.address}"]).put(KEY, VALUE, 60)


async def test_checks_say_why_they_fail() -> None:
    async with backend("app") as app:
        for status, reason in ((200, ""), (204, ""), (302, ""), (404, "it answers 404"), (503, "it answers 503")):
            app.status = status
            assert await check(f"http://{app.address}/health?deep=1", 2.0) == reason
        assert app.heard[0].startswith("GET /health?deep=1 HTTP/1.1\r\n")
        assert await check(f"tcp://{app.address}", 2.0) == ""
    assert "refused" in await check(f"http://127.0.0.1:{free_port()}/", 2.0)
    assert "refused" in await check(f"tcp://127.0.0.1:{free_port()}", 2.0)


SCRIPT = """
import logging, sys
from argosy.router.announce.loop import run_announcer
from argosy.router.announce.plan import intent_of
logging.basicConfig(level=logging.INFO, format="%(message)s")
sys.exit(run_announcer(intent_of(sys.argv[1], sys.argv[2], 60, sys.argv[3], 0.1), [sys.argv[4]]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_as_a_process_it_removes_its_key_on_a_signal_and_ends_well(number: signal.Signals, tmp_path: Path) -> None:
    async with our_door(tmp_path) as address, backend("app") as app:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SCRIPT, KEY, app.address, f"http://{app.address}/", address, stderr=asyncio.subprocess.PIPE
        )

        async def announced() -> bool:
            return await asyncio.to_thread(read, address) == app.address

        await until_async(announced, "the key stands")
        app.status = 500

        async def gone() -> bool:
            return await asyncio.to_thread(read, address) is None

        await until_async(gone, "the key is gone while the check fails")
        app.status = 200
        await until_async(announced, "the key is back")
        process.send_signal(number)
        _, said = await process.communicate()
        assert process.returncode == 0
        assert await gone()
        lines = said.decode().splitlines()
        assert lines[-1] == f"removed {KEY}: told to stop"
        assert f"check http://{app.address}/ fails: it answers 500" in lines
