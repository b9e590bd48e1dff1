"""The demo, played whole: what a newcomer sees first must work."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from argosy.lab.lab import Lab
from tests.lab.conftest import need_full_machines, new_name

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(240)]

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("kind", ["nspawn", "process"])
async def test_the_demo_tells_its_story_to_the_end_and_leaves_no_trace(kind: str) -> None:
    if kind == "nspawn":
        await asyncio.to_thread(need_full_machines)
    environment = {**os.environ, "ARGOSY_LAB": new_name()}
    try:
        code, said = await played(environment, *(["--light"] if kind == "process" else []))
        assert code == 0, said
        assert re.search(r"In all: \d+ requests, \d+ failed", said)
        assert "make demo-down" in said
        assert said.count("Hello from instance") == 4
    finally:
        down, told = await played(environment, "--down")
    assert down == 0, told
    assert not (Lab(environment["ARGOSY_LAB"]).folder).exists()


async def played(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    pipe = asyncio.subprocess.PIPE
    story = (sys.executable, "-m", "examples.demo", *arguments)
    process = await asyncio.create_subprocess_exec(*story, cwd=ROOT, env=environment, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()
