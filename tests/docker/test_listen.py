"""Changes that are heard over restarts, broken connections and engines that stand still."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.docker.base import Anew, Change
from argosy.docker.client import DockerClient
from argosy.docker.listen import Feed, to_change, to_nanoseconds
from argosy.errors import DockerUnavailable, InvalidInput
from argosy.lab.dockerd import Dockerd, dockerd
from tests.contracts.docker_contract import DEADLINE, hearing, named, tiny_tar
from tests.docker.engines import needs_docker


@pytest.fixture
async def engine() -> AsyncIterator[Dockerd]:
    async with dockerd() as engine:
        yield engine


class Bridge:
    """Between a client and an engine's socket; its connections can be broken, and new ones refused or frozen."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name("bridge.sock")
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def cut(self) -> None:
        """Breaks every connection and takes no new one, until `open`."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_unix_connection(self._target)
            pair = {writer, back}
            self._writers |= pair
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._carry(reader, back))
                    group.create_task(self._carry(there, writer))
            except* OSError:
                pass
            finally:
                self._writers -= pair
                for one in pair:
                    one.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def bridged(engine: Dockerd) -> AsyncIterator[tuple[Bridge, DockerClient]]:
    bridge = Bridge(engine.socket)
    await bridge.open()
    async with DockerClient(f"unix://{bridge.path}") as client:
        try:
            yield bridge, client
        finally:
            await bridge.cut()


def anews(items: list[Change | Anew]) -> int:
    return sum(isinstance(item, Anew) for item in items)


@needs_docker
async def test_what_happened_while_the_connection_was_broken_is_told_once(engine: Dockerd) -> None:
    async with bridged(engine) as (bridge, client), DockerClient(engine.url) as direct, hearing(client) as heard:
        volumes = [named("vol") for _ in range(9)]
        for start in (0, 3, 6):
            for volume in volumes[start : start + 2]:
                await direct.create_volume({"Name": volume})
            await heard.until(lambda heard, start=start: heard.actions(volumes[start + 1]) == ["create"])  # type: ignore[misc]
            await bridge.cut()
            await direct.create_volume({"Name": volumes[start + 2]})
            await bridge.open()
        await heard.until(lambda heard: bool(heard.actions(volumes[-1])))
        assert [change.id for change in heard.changes] == volumes
        assert anews(heard.items) == 1


@needs_docker
async def test_more_than_the_engine_remembers_is_listed_anew(engine: Dockerd) -> None:
    async with bridged(engine) as (bridge, client), DockerClient(engine.url) as direct, hearing(client) as heard:
        await direct.create_volume({"Name": "first"})
        await heard.until(lambda heard: bool(heard.actions("first")))
        await bridge.cut()
        for number in range(150):  # each makes two changes, and 256 are remembered
            await direct.create_volume({"Name": f"v{number}"})
            await direct.remove_volume(f"v{number}")
        await bridge.open()
        await heard.until(lambda heard: anews(heard.items) == 2)
        assert heard.items[-1] == heard.items[2]
        await direct.create_volume({"Name": "last"})
        await heard.until(lambda heard: bool(heard.actions("last")))
        assert [change.id for change in heard.changes] == ["first", "last"]


@needs_docker
async def test_an_engine_that_was_killed_and_started_is_listed_anew(engine: Dockerd) -> None:
    async with DockerClient(engine.url, timeout=5) as client, hearing(client) as heard:
        await client.create_volume({"Name": "before"})
        await heard.until(lambda heard: bool(heard.actions("before")))
        await engine.kill()
        with pytest.raises(DockerUnavailable, match="is away"):
            await client.volumes()
        await engine.start()
        assert [one["Name"] for one in await client.volumes()] == ["before"]
        await heard.until(lambda heard: anews(heard.items) == 2)
        await client.create_volume({"Name": "after"})
        await heard.until(lambda heard: bool(heard.actions("after")))
        assert [change.id for change in heard.changes if change.action == "create"] == ["before", "after"]


@needs_docker
async def test_an_engine_that_stands_still_is_unavailable_and_then_loses_nothing(engine: Dockerd) -> None:
    async with DockerClient(engine.url, timeout=0.5) as client, hearing(client) as heard:
        engine.pause()
        asked = time.monotonic()
        with pytest.raises(DockerUnavailable, match=r"did not answer within 0\.5 s"):
            await client.containers()
        assert time.monotonic() - asked < 3
        engine.resume()
        await client.create_volume({"Name": "after"})
        await heard.until(lambda heard: bool(heard.actions("after")))
        assert anews(heard.items) == 1


@needs_docker
async def test_a_listener_waits_for_an_engine_that_is_not_there_yet(engine: Dockerd) -> None:
    await engine.stop()
    async with DockerClient(engine.url) as client, client.events() as stream:
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert not first.done()
        await engine.start()
        async with asyncio.timeout(10):
            assert isinstance(await first, Anew)


@needs_docker
async def test_a_cancelled_pull_and_a_cancelled_import_leave_no_connection(engine: Dockerd) -> None:
    writers: list[asyncio.StreamWriter] = []
    stuck = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    port = stuck.sockets[0].getsockname()[1]

    async def endless() -> AsyncIterator[bytes]:
        yield tiny_tar()
        await asyncio.sleep(60)

    async with stuck, DockerClient(engine.url) as client:
        await client.version()
        for work in (client.pull(f"127.0.0.1:{port}/stuck:1"), client.import_image(endless(), "endless")):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.4):
                    await work
        for writer in writers:
            writer.transport.abort()
        async with asyncio.timeout(DEADLINE):
            while await asyncio.to_thread(connections, engine.socket):  # noqa: ASYNC110 - another process ends them
                await asyncio.sleep(0.02)


def connections(path: Path) -> list[str]:
    """The engine's side of those that stand."""
    return [line for line in Path("/proc/self/net/unix").read_text().splitlines() if line.endswith(str(path)) and " 03 " in line]


async def test_a_reader_that_falls_behind_lists_anew() -> None:
    feed = Feed(limit=3)
    for number in range(5):
        feed.put(Change("container", "start", f"c{number}", {}, number))
    first, second = await anext(feed), await anext(feed)
    assert isinstance(first, Anew)
    assert "3 changes behind" in first.reason
    assert isinstance(second, Change)
    assert second.id == "c4"


async def test_a_stream_that_ends_gives_first_what_is_unread() -> None:
    feed = Feed()
    feed.put(Change("container", "start", "a", {}, 1))
    feed.end(InvalidInput("no such filter"))
    assert isinstance(await anext(feed), Change)
    with pytest.raises(InvalidInput, match="no such filter"):
        await anext(feed)


TIMES = [
    ("whole seconds", "1970-01-01T00:00:01Z", 10**9),
    ("nanoseconds, exactly", "2026-11-21T12:00:00.123456789Z", 1795262400_123456789),
    ("fewer digits", "2026-11-21T12:00:00.5Z", 1795262400_500000000),
    ("another zone", "2026-11-21T13:30:00.000000001+01:30", 1795262400_000000001),
]


@pytest.mark.parametrize(("_", "text", "expected"), TIMES, ids=[row[0] for row in TIMES])
def test_an_engines_clock_is_read_exactly(_: str, text: str, expected: int) -> None:
    assert to_nanoseconds(text) == expected


@pytest.mark.parametrize("text", ["", "now", "2026-11-21", "2026-11-21T12:00:00"])
def test_what_is_no_time_is_said(text: str) -> None:
    with pytest.raises(DockerUnavailable, match="no time"):
        to_nanoseconds(text)


@pytest.mark.parametrize("line", [{}, {"Type": "x"}, {"time": "y"}, {"time": 1, "Actor": {"Attributes": [1]}}])
def test_what_is_no_change_is_said(line: dict[str, object]) -> None:
    with pytest.raises(DockerUnavailable, match="a change that is none"):
        to_change(line)


def test_an_old_engines_change_without_nanoseconds_is_one() -> None:
    assert to_change({"status": "start", "id": "a", "Type": "container", "time": 5}) == Change("container", "start", "a", {}, 5 * 10**9)
