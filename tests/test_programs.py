"""Programs of this host: with a limit, and nothing left behind."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from argosy import proc
from argosy.programs import Finished, run, running, search_path

SLEEPING = ("/bin/sh", "-c", "echo $$; sleep 1000 & sleep 1000")
ENDED = 15.0


async def gone(group: int) -> None:
    """Until no process of that session is left."""
    end = time.monotonic() + ENDED
    while await asyncio.to_thread(lambda: [one for one in proc.processes() if one.session == group and not one.dead]):
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_its_status_and_its_outputs_are_told_apart(tmp_path: Path) -> None:
    script = "cat; pwd; echo $WORD >&2; exit 3"
    done = await run(("/bin/sh", "-c", script), limit=ENDED, environ={"WORD": "word"}, folder=tmp_path, stdin=b"\xff in\n")
    assert done == Finished(3, f"\ufffd in\n{tmp_path}\n", "word\n")
    assert await run(("/bin/sh", "-c", "echo a; echo b >&2"), limit=None, together=True) == Finished(0, "a\nb\n", "")
    assert (await run(("/bin/sh", "-c", "kill -9 $$"), limit=None)).code == -9


async def test_one_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"echo $$ > {pid}; sleep 1000 & sleep 1000"
    with pytest.raises(TimeoutError):
        await run(("/bin/sh", "-c", script), limit=0.5)
    await gone(int(await asyncio.to_thread(pid.read_text)))


async def test_one_whose_output_nobody_reads_any_more_is_killed_with_all_that_it_started() -> None:
    async with running(SLEEPING) as process:
        assert process.stdout is not None
        group = int(await process.stdout.readline())
    assert process.returncode == -9
    await gone(group)


async def test_whoever_is_cancelled_leaves_none_behind() -> None:
    told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def read() -> None:
        async with running(SLEEPING) as process:
            assert process.stdout is not None
            told.set_result(int(await process.stdout.readline()))
            await process.wait()

    reading = asyncio.create_task(read())
    group = await told
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await gone(group)


async def test_a_program_that_is_not_there_is_an_error_of_the_host() -> None:
    with pytest.raises(FileNotFoundError):
        await run(("/no/such/program",), limit=None)
    assert (await run((sys.executable, "-c", ""), limit=None)).code == 0


def test_programs_of_root_are_found_by_others_too() -> None:
    assert search_path({"PATH": "/mine"}) == "/mine:/usr/local/sbin:/usr/sbin:/sbin"
    assert search_path({}).endswith(":/usr/local/sbin:/usr/sbin:/sbin")
