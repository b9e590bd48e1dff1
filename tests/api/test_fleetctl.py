"""The real fleetctl against our socket and TCP door, where one is at hand: FLEETCTL=/path/to/fleetctl[:/path/to/another].

What it sends is recorded in test_fleet.py, which always runs; this shows that the record is true.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.api.house import HELLO, M2, House, a_house
from tests.stored import follow_units

PROGRAMS = [program for program in os.environ.get("FLEETCTL", "").split(":") if program]
PATIENCE = 30.0

pytestmark = pytest.mark.skipif(not PROGRAMS, reason="FLEETCTL names no fleetctl")


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """With a hand that does at once what is wanted of units."""
    async with a_house(tmp_path, machine_id=M2) as found:

        async def obey() -> None:
            async for changes in follow_units(found.store, found.clock):
                for name in changes.items:
                    await found.obey(name, M2)

        obeying = asyncio.create_task(obey())
        yield found
        obeying.cancel()
        await asyncio.gather(obeying, return_exceptions=True)


async def fleetctl(program: str, endpoint: str, folder: Path, *words: str) -> Said:
    process = await asyncio.create_subprocess_exec(
        program,
        f"--endpoint={endpoint}",
        *words,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Said(process.returncode or 0, out.decode(), err.decode())


SESSION: list[tuple[str, str]] = [
    ("list-machines --full", f"{M2}\t10.0.0.2\t-"),
    ("submit hello.service", "Unit hello.service inactive"),
    ("load hello.service", "Unit hello.service loaded on 22222222.../10.0.0.2"),
    ("start hello.service", "Unit hello.service launched on 22222222.../10.0.0.2"),
    ("start web@1.service", "Unit web@1.service launched on 22222222.../10.0.0.2"),
    ("list-units", "hello.service\t22222222.../10.0.0.2\tactive\trunning"),
    ("list-unit-files", "launched"),
    ("cat hello.service", "ExecStart=/bin/sleep 1000"),
    ("restart hello.service", "Unit hello.service launched on 22222222.../10.0.0.2"),
    ("stop hello.service", "Unit hello.service loaded on 22222222.../10.0.0.2"),
    ("unload hello.service", "Unit hello.service inactive"),
    ("destroy hello.service", "Destroyed hello.service"),
    ("destroy web@1.service web@.service", "Destroyed web@1.service"),
    ("list-unit-files --no-legend", ""),
]


@pytest.mark.parametrize("door", ["socket", "tcp"])
@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_session(tmp_path: Path, house: House, program: str, door: str) -> None:
    for name in ("hello.service", "web@.service"):
        (tmp_path / name).write_text(HELLO)
    await house.submit("web@.service")
    endpoint = f"unix://{house.address('socket')}" if door == "socket" else f"http://{house.address('tcp')}"
    for words, expected in SESSION:
        if words.startswith("restart") and "0.11" in program:
            continue  # fleetctl has had it since 1.0
        said = await fleetctl(program, endpoint, tmp_path, *words.split())
        told = "\t".join(part for part in said.out.split("\t") if part)
        assert (said.code, expected in told) == (0, True), (words, said)


@pytest.mark.parametrize("program", PROGRAMS)
async def test_what_it_says_when_it_is_refused(tmp_path: Path, house: House, program: str) -> None:
    (tmp_path / "bad.service").write_text(HELLO + "[X-Fleet]\nGlobal=true\nMachineOf=x.service\n")
    said = await fleetctl(program, f"http://{house.address('tcp')}", tmp_path, "submit", "bad.service")
    assert said.code != 0
    assert "Global cannot be used with Peers" in said.err
