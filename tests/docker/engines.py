"""Real engines for tests, each with an open and a guarded registry beside it (Debian's docker-registry)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import bcrypt
import msgspec
import pytest

from argosy.lab.dockerd import Dockerd, dockerd, obstacles
from tests.contracts.docker_contract import AUTH

OPEN, GUARDED = "127.0.0.1:5000", "127.0.0.1:5001"
"""Fixed ports: in a network namespace of their own nobody else has them."""

DEADLINE = 10.0

needs_docker = pytest.mark.skipif(bool(obstacles()), reason=f"no Docker Engine can run here: {'; '.join(obstacles())}")
needs_registry = pytest.mark.skipif(shutil.which("docker-registry") is None, reason="no docker-registry here (Debian: docker-registry)")


class Ground(msgspec.Struct, frozen=True):
    """A running engine in a network of its own, with registries that it reaches."""

    engine: Dockerd
    registry: str = OPEN
    guarded: str = GUARDED


@contextlib.asynccontextmanager
async def on_ground() -> AsyncIterator[Ground]:
    async with dockerd(own_network=True) as engine, contextlib.AsyncExitStack() as stack:
        enter = ("nsenter", f"--net={engine.network}")
        folder = engine.folder / "registries"
        for address, lock in ((OPEN, False), (GUARDED, True)):
            await stack.enter_async_context(docker_registry(folder / address.rpartition(":")[2], address, enter=enter, lock=lock))
        yield Ground(engine)


@contextlib.asynccontextmanager
async def docker_registry(folder: Path, address: str, *, enter: Sequence[str] = (), lock: bool = False) -> AsyncIterator[None]:
    """Debian's registry on a folder, at an address; with `lock` for AUTH only."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    settings: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": address},
    }
    if lock:
        password = await asyncio.to_thread(bcrypt.hashpw, AUTH.password.encode(), bcrypt.gensalt(4))
        await asyncio.to_thread((folder / "htpasswd").write_bytes, f"{AUTH.username}:".encode() + password + b"\n")
        settings["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    await asyncio.to_thread((folder / "config.json").write_bytes, msgspec.json.encode(settings))  # JSON is YAML
    environ = dict(os.environ)
    command = (*enter, "docker-registry", "serve", str(folder / "config.json"))
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet, env=environ)
    try:
        await _answers(address, enter)
        yield
    finally:
        process.kill()
        await process.wait()


async def _answers(address: str, enter: Sequence[str]) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            probe = (*enter, "curl", "-s", "-o", "/dev/null", f"http://{address}/v2/")
            asked = await asyncio.create_subprocess_exec(*probe)
            if await asked.wait() == 0:
                return
            await asyncio.sleep(0.05)
