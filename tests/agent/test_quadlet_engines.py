"""Quadlet files under the supervisor, with a real Docker Engine and with a real Podman, each of the test's own."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from argosy.agent.containers import Containers
from argosy.agent.supervise.cut import cut
from argosy.agent.supervisor import SupervisorRuntime
from argosy.errors import Unsuitable
from argosy.lab.dockerd import Dockerd, dockerd
from argosy.lab.rootfs import pack
from argosy.reconcile import SystemClock
from tests.contracts.quadlet_contract import IMAGE, QuadletContract, QuadletGround
from tests.contracts.runtime_ground import on_ground

PODMAN = """#!/bin/sh
export CONTAINERS_CONF={folder}/containers.conf
exec {podman} --root {folder}/root --runroot {folder}/run --tmpdir {folder}/tmp --storage-driver vfs {runtime} \\
    --cgroup-manager cgroupfs --events-backend file "$@"
"""
LIMITS = """[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
"""
"""Podman's own limits are beyond what a host may allow."""


def own_podman(podman: str, folder: Path) -> Path:
    """A program that is Podman with all its data in this folder; with runc where there is one, as crun refuses hybrid control groups."""
    runc = shutil.which("runc")
    (folder / "containers.conf").write_text(LIMITS)
    program = folder / "podman"
    program.write_text(PODMAN.format(podman=podman, folder=folder, runtime=f"--runtime {runc}" if runc else ""))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


async def import_image(ground: QuadletGround) -> None:
    process = await asyncio.create_subprocess_exec(
        *ground.engine,
        "import",
        "-",
        IMAGE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **ground.environ},
    )
    said, _ = await process.communicate(await asyncio.to_thread(pack))
    assert process.returncode == 0, said.decode()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A place for Podman and a supervisor; nothing of either is left, neither processes nor mounts."""
    with tempfile.TemporaryDirectory(prefix="quadlet-") as name:
        folder = Path(name)
        yield folder
        cut(folder / "supervisor")
        if (folder / "podman").exists():
            subprocess.run([folder / "podman", "rm", "--all", "--force", "--time", "0"], check=True, capture_output=True)


class TestPodman(QuadletContract):
    @pytest.fixture
    async def ground(self, folder: Path, tmp_path: Path) -> AsyncIterator[QuadletGround]:
        podman = shutil.which("podman")
        if podman is None or os.getuid() != 0:
            pytest.skip("needs root, and Debian's podman and crun")
        program = folder / "podman"
        fresh = not program.exists()
        if fresh:
            await asyncio.to_thread(own_podman, podman, folder)

        async def connect() -> SupervisorRuntime:
            return await SupervisorRuntime.connect(folder / "supervisor", SystemClock())

        async with on_ground(connect, tmp_path) as base:
            containers = Containers("podman", "supervisor", path=str(folder))
            ground = QuadletGround(base.runtime, connect, tmp_path, base.prefix, containers, (str(program),))
            if fresh:
                await import_image(ground)
            yield ground


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Dockerd]:
    try:
        async with dockerd() as engine:
            yield engine
    except Unsuitable as error:
        pytest.skip(str(error))


class TestDocker(QuadletContract):
    @pytest.fixture
    async def ground(self, engine: Dockerd, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> AsyncIterator[QuadletGround]:
        folder = engine.folder / "supervisor"
        environ = dict(engine.environ)

        async def connect() -> SupervisorRuntime:
            return await SupervisorRuntime.connect(folder, SystemClock(), environment=environ)

        try:
            async with on_ground(connect, tmp_path) as base:
                ground = QuadletGround(
                    base.runtime, connect, tmp_path, base.prefix, Containers("docker", "supervisor"), ("docker",), environ
                )
                if (await ground.ask("image", "inspect", IMAGE))[0]:
                    await import_image(ground)
                yield ground
        finally:
            await asyncio.to_thread(cut, folder)
