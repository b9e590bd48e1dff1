"""The keys door from a real container: at the machine's own address and at the bridge's, and not from another machine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest

from argosy.lab.etc import has_docker
from argosy.lab.lab import Lab
from tests.lab.conftest import raised

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(240)]

PATIENCE = 60.0
PACK = "from pathlib import Path; from argosy.lab import rootfs; Path('/root/image.tar').write_bytes(rootfs.pack(('sh', 'curl')))"


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    if not has_docker():
        pytest.skip("Docker is not installed")
    yield from raised("nspawn", 2)


async def said(lab: Lab, machine: str, *argv: str) -> tuple[int, str]:
    found = await lab.exec(machine, argv)
    return found.code, found.stdout + found.stderr


async def until_said(lab: Lab, machine: str, words: str, *argv: str) -> None:
    end = asyncio.get_running_loop().time() + PATIENCE
    while words not in (last := await said(lab, machine, *argv))[1]:
        assert asyncio.get_running_loop().time() < end, f"{argv} says {last}"
        await asyncio.sleep(0.2)


async def test_a_container_reaches_the_keys_of_its_machine_and_another_machine_does_not(pair: Lab) -> None:
    record = await pair.record()
    address = record.machine("m1").address
    await until_said(pair, "m1", "overlay2", "docker", "info", "--format", "{{.Driver}}")
    assert await said(pair, "m1", sys.executable, "-c", PACK) == (0, "")
    await until_said(pair, "m1", "sha256:", "docker", "import", "/root/image.tar", "tiny")
    for door in (address, "172.17.0.1"):
        asking = ("docker", "run", "--rm", "tiny", "curl", "-sS", "-m", "3", f"http://{door}:4001/version")
        await until_said(pair, "m1", "etcdserver", *asking)
    code, words = await said(pair, "m2", "curl", "-sS", "-m", "3", f"http://{address}:4001/version")
    assert (code, "refused" in words) == (7, True)
