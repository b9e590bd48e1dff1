"""The demo, played whole: what a newcomer sees first must work."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from examples.operator_side import shared_folder

from argosy.lab.lab import Lab
from tests.lab.conftest import need_containers, new_name

pytestmark = [pytest.mark.xdist_group("lab"), pytest.mark.timeout(420)]

ROOT = Path(__file__).parent.parent.parent


async def test_the_whole_story_is_told_with_containers_and_leaves_no_trace() -> None:
    await asyncio.to_thread(need_containers)
    said = await told(FLEET_STARTER_STORE="folder")  # tests/lab/test_fleet_starter.py has the blob store
    assert re.search(
        r"Unit registry.service launched on .*\n.*Unit registry.service launched on .*\n.*Unit registry.service launched", said
    )
    assert re.search(r"404, certificate verified: 0", said)
    assert "found conflict with locally-scheduled Unit(example-app@1.service)" in said
    assert len(re.findall(r"instance \d on m\d, version 1", said)) >= 4
    assert {found[0] for found in re.findall(r"example-app: instance (\d) on m\d, version 1\n", said)} == {"1", "2"}
    assert (failed := re.search(r"Both instances are version 2 after .* s; (\d+) of \d+ requests failed", said))
    assert int(failed[1]) == 0
    assert (lost := re.search(r"After ([\d.]+) s instance \d answered from m\d", said))
    assert float(lost[1]) < 5 + 10, "far from what it takes, however busy this host is"
    assert re.search(r"requests in all +\d+, \d+ failed", said)


async def test_the_short_story_is_told_on_process_machines_and_leaves_no_trace() -> None:
    said = await told("--light")
    assert re.search(r"In all: \d+ requests, \d+ failed", said)
    assert said.count("Hello from instance") == 4


async def told(*arguments: str, **settings: str) -> str:
    """What the demo says, played to its end and taken down."""
    environment = {**os.environ, **settings, "ARGOSY_LAB": new_name()}
    try:
        code, said = await played(environment, *arguments)
        assert code == 0, said
        assert "make demo-down" in said
    finally:
        down, farewell = await played(environment, "--down")
    lab = Lab(environment["ARGOSY_LAB"])
    assert down == 0, farewell
    assert not lab.folder.exists()
    assert not shared_folder(lab).exists()
    return said


async def played(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    pipe = asyncio.subprocess.PIPE
    story = (sys.executable, "-m", "examples.demo", *arguments)
    process = await asyncio.create_subprocess_exec(*story, cwd=ROOT, env=environment, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()
