"""A Docker Engine of one's own: it runs containers, survives what tests do to it, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from argosy.errors import InvalidInput, RuntimeFailed
from argosy.lab import cgroups, processes, rootfs
from argosy.lab.base import Command, run
from argosy.lab.dockerd import Dockerd, dockerd, obstacles

pytestmark = pytest.mark.skipif(bool(obstacles()), reason=f"no Docker Engine can run here: {'; '.join(obstacles())}")

DEADLINE = 15.0


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.02)


async def docker(engine: Dockerd, *words: str, stdin: bytes = b"") -> str:
    done = await run(Command(("docker", *words), {**os.environ, **engine.environ}), stdin, timeout=30)
    assert done.code == 0, done.stderr
    return done.stdout.strip()


def groups_of(folder: Path) -> list[Path]:
    old, new = cgroups.hierarchies()
    return [place / cgroups.TOP / folder.name for place in (*old, *([new] if new else [])) if (place / cgroups.TOP / folder.name).exists()]


async def left_of(folder: Path) -> list[str]:
    """What is left of an engine on the host: its folder, groups, mounts, and processes that name it."""
    return await asyncio.to_thread(_left_of, folder)


def _left_of(folder: Path) -> list[str]:
    found = [str(folder)] if folder.exists() else []
    found += map(str, groups_of(folder))
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]
    found += [process.command for process in processes.describe(processes.scan()) if str(folder) in process.command]
    return found


@pytest.fixture(scope="module")
def image() -> bytes:
    return rootfs.pack()


@pytest.fixture
async def engine(image: bytes) -> AsyncIterator[Dockerd]:
    async with dockerd() as engine:
        await docker(engine, "import", "-", "tiny", stdin=image)
        yield engine


async def test_it_runs_a_container_and_leaves_nothing(image: bytes) -> None:
    async with dockerd() as engine:
        await docker(engine, "import", "-", "tiny", stdin=image)
        assert await docker(engine, "run", "--rm", "--network", "host", "tiny", "echo", "hello") == "hello"
        await docker(engine, "run", "--detach", "tiny", "sleep", "98771")
        assert await asyncio.to_thread(groups_of, engine.folder)
    assert await left_of(engine.folder) == []


async def test_two_stand_side_by_side_and_know_nothing_of_each_other(engine: Dockerd) -> None:
    async with dockerd() as other:
        assert await docker(engine, "images", "--quiet")
        assert await docker(other, "images", "--quiet") == ""
        assert await docker(other, "info", "--format", "{{.ID}}") != await docker(engine, "info", "--format", "{{.ID}}")


async def test_one_that_is_killed_starts_again_with_its_images(engine: Dockerd) -> None:
    container = await docker(engine, "run", "--detach", "--stop-signal", "KILL", "tiny", "sleep", "98772")
    await engine.kill()
    assert not engine.running
    assert not await engine.answers()
    await engine.start()
    assert await docker(engine, "images", "--quiet", "tiny")
    assert await docker(engine, "inspect", "--format", "{{.State.Status}}", container) == "exited"


async def test_with_live_restore_containers_survive_its_death(image: bytes) -> None:
    async with dockerd(options={"live-restore": True}) as engine:
        await docker(engine, "import", "-", "tiny", stdin=image)
        container = await docker(engine, "run", "--detach", "tiny", "sleep", "98773")
        await engine.kill()
        await engine.start()
        assert await docker(engine, "inspect", "--format", "{{.State.Status}}", container) == "running"
    assert await left_of(engine.folder) == []


async def test_it_stops_and_starts_in_good_order(engine: Dockerd) -> None:
    await engine.stop()
    assert not engine.running
    await engine.stop()
    await engine.start()
    await engine.start()
    assert await docker(engine, "images", "--quiet", "tiny")


async def test_one_that_stands_still_does_not_answer(engine: Dockerd) -> None:
    async def answers_till_it_stands() -> None:
        for _ in range(100):  # the keeper stops it in its own time
            async with asyncio.timeout(0.3):
                await engine.answers()

    engine.pause()
    with pytest.raises(TimeoutError):
        await answers_till_it_stands()
    engine.resume()
    assert await engine.answers()


async def test_in_a_network_of_its_own_it_has_bridges_and_the_host_none(image: bytes) -> None:
    async with dockerd(own_network=True) as engine:
        await docker(engine, "import", "-", "tiny", stdin=image)
        await docker(engine, "network", "create", "inner")
        container = await docker(engine, "run", "--detach", "--network", "inner", "tiny", "sleep", "98774")
        address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        assert (await docker(engine, "inspect", "--format", address, container)).startswith("198.19.")
        assert "docker0" not in await asyncio.to_thread(os.listdir, "/sys/class/net") or os.path.exists("/var/run/docker.sock")
        inner = await run(Command(("nsenter", f"--net={engine.network}", "ip", "-o", "link"), dict(os.environ)))
        assert "docker0" in inner.stdout
    assert await left_of(engine.folder) == []


async def test_an_engine_that_cannot_start_says_why_and_leaves_nothing() -> None:
    base = Path("/tmp") / f"argosy-{os.getpid()}"
    base.mkdir()
    try:
        with pytest.raises(RuntimeFailed, match="error initializing graphdriver"):
            async with dockerd(base, options={"storage-driver": "no-such-driver"}):
                pytest.fail("it started")
        assert list(base.iterdir()) == []
    finally:
        base.rmdir()


async def test_a_base_that_is_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    base = tmp_path / ("x" * 60)
    base.mkdir()
    with pytest.raises(InvalidInput, match="too long a path"):
        async with dockerd(base):
            pytest.fail("it started")
    assert list(base.iterdir()) == []


OWNER = """
import asyncio, sys
from argosy.lab.dockerd import dockerd

async def main():
    async with dockerd() as engine:
        print(engine.folder, flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_an_owner_that_is_killed_leaves_nothing(image: bytes) -> None:
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, stdout=asyncio.subprocess.PIPE)
    assert owner.stdout is not None
    folder = Path((await owner.stdout.readline()).decode().strip())
    engine = Dockerd(folder, own_network=False)
    await docker(engine, "import", "-", "tiny", stdin=image)
    await docker(engine, "run", "--detach", "tiny", "sleep", "98775")
    assert await left_of(folder)
    owner.send_signal(signal.SIGKILL)
    await owner.wait()
    await until(lambda: _left_of(folder) == [])
