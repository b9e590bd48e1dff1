"""The fake engine: the contract's suite, and what can be made to happen to it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from argosy.docker.base import Anew, Change
from argosy.docker.fake import FakeDocker
from argosy.docker.fake_images import FakeRegistry
from argosy.docker.fake_programs import Process
from argosy.errors import DockerUnavailable, RuntimeFailed
from argosy.reconcile import SystemClock
from tests.conftest import FakeClock, settle
from tests.contracts.docker_contract import AUTH, IMAGE, DockerContract, prepare, tiny_tar

OPEN, GUARDED = "registry.test:5000", "guarded.test:5000"


class TestFake(DockerContract):
    @pytest.fixture
    async def engine(self) -> AsyncIterator[FakeDocker]:
        async with FakeDocker(SystemClock(), registries={OPEN: FakeRegistry(), GUARDED: FakeRegistry(AUTH)}) as fake:
            await prepare(fake, tiny_tar())
            yield fake

    @pytest.fixture
    def registry(self) -> str:
        return OPEN

    @pytest.fixture
    def guarded(self) -> str:
        return GUARDED


async def serve(process: Process) -> int:
    """A program of a test's own: it ends by SIGTERM, and says so."""
    ended = asyncio.Event()
    process.on_signal = lambda number: ended.set() if number == signal.SIGTERM else None
    process.out(f"serving {process.environ.get('NAME', '')}\n")
    await ended.wait()
    process.out("goodbye\n")
    return 0


@pytest.fixture
async def docker(clock: FakeClock) -> AsyncIterator[FakeDocker]:
    async with FakeDocker(clock, programs={"serve": serve}) as fake:
        await prepare(fake, tiny_tar())
        yield fake


async def started(docker: FakeDocker, name: str, argv: list[str], **host: object) -> str:
    id = await docker.create({"Image": IMAGE, "Cmd": argv, "HostConfig": host, "Env": ["NAME=x"]}, name=name)
    await docker.start(name)
    await settle()
    return id


async def test_a_program_of_ones_own_runs_writes_and_hears_signals(docker: FakeDocker) -> None:
    await started(docker, "web", ["serve"])
    await docker.stop("web")
    assert (await docker.container("web"))["State"]["ExitCode"] == 0
    async with docker.logs("web") as outputs:
        assert b"".join([one.data async for one in outputs]) == b"serving x\ngoodbye\n"


async def test_time_is_the_clocks(docker: FakeDocker, clock: FakeClock) -> None:
    await started(docker, "nap", ["sleep", "3600"])
    await clock.advance(3599)
    assert (await docker.container("nap"))["State"]["Running"] is True
    await clock.advance(2)
    assert (await docker.container("nap"))["State"]["ExitCode"] == 0


async def test_a_grace_is_waited_for_by_the_clock(docker: FakeDocker, clock: FakeClock) -> None:
    await started(docker, "deaf", ["sleep", "3600"])
    stopping = asyncio.create_task(docker.stop("deaf", grace=7))
    await clock.advance(6)
    assert not stopping.done()
    await clock.advance(2)
    await stopping
    assert (await docker.container("deaf"))["State"]["ExitCode"] == 137


async def test_an_engine_that_is_away_tells_afterwards_what_happened(docker: FakeDocker) -> None:
    id = await started(docker, "web", ["serve"])
    async with docker.events() as stream:
        assert isinstance(await anext(stream), Anew)
        docker.go_away()
        with pytest.raises(DockerUnavailable, match="is away"):
            await docker.containers()
        docker.end("web", 9)
        await settle()
        docker.come_back()
        seen = await anext(stream)
        assert isinstance(seen, Change)
        assert (seen.action, seen.id, seen.attributes["exitCode"]) == ("die", id, "9")


async def test_more_than_it_remembers_is_listed_anew(docker: FakeDocker) -> None:
    async with docker.events() as stream:
        assert isinstance(await anext(stream), Anew)
        docker.go_away()
        await started_and_gone(docker, 300)
        docker.come_back()
        assert isinstance(await anext(stream), Anew)


async def started_and_gone(docker: FakeDocker, times: int) -> None:
    docker.come_back()
    await started(docker, "web", ["serve"])
    docker.go_away()
    for _ in range(times):
        docker.set_health("web", "healthy")


async def test_a_restarted_engine_starts_what_is_to_be_started_again(docker: FakeDocker) -> None:
    await started(docker, "kept", ["serve"], RestartPolicy={"Name": "always"})
    await started(docker, "lost", ["serve"])
    async with docker.events() as stream:
        assert isinstance(await anext(stream), Anew)
        await docker.restart()
        assert isinstance(await anext(stream), Anew | Change)
    assert [one["Names"] for one in await docker.containers()] == [["/kept"]]
    assert (await docker.container("lost"))["State"]["ExitCode"] == 137


async def test_health_is_what_the_test_says(docker: FakeDocker) -> None:
    await started(docker, "web", ["serve"])
    async with docker.events(filters={"event": ["health_status"]}) as stream:
        assert isinstance(await anext(stream), Anew)
        docker.set_health("web", "unhealthy")
        seen = await anext(stream)
        assert isinstance(seen, Change)
        assert seen.action == "health_status: unhealthy"
    assert (await docker.container("web"))["State"]["Health"]["Status"] == "unhealthy"


async def test_a_slow_engine_takes_its_time(docker: FakeDocker, clock: FakeClock) -> None:
    docker.latency = 3.0
    asking = asyncio.create_task(docker.containers())
    await clock.advance(2)
    assert not asking.done()
    await clock.advance(2)
    assert await asking == []


async def test_a_port_of_the_host_is_given_once(docker: FakeDocker) -> None:
    publish = {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}
    await started(docker, "one", ["serve"], **publish)
    with pytest.raises(RuntimeFailed, match="port is already allocated"):
        await started(docker, "two", ["serve"], **publish)
    await docker.remove("one", force=True)
    await docker.start("two")


async def test_two_fakes_share_a_registry(clock: FakeClock) -> None:
    registries = {OPEN: FakeRegistry()}
    async with FakeDocker(clock, registries=registries) as one, FakeDocker(clock, registries=registries) as other:
        made = await one.import_image(tiny_tar(), f"{OPEN}/app:1")
        digest = await one.push(f"{OPEN}/app:1")
        assert await other.pull(f"{OPEN}/app:1") == made
        assert (await other.image(f"{OPEN}/app@{digest}"))["Id"] == made
