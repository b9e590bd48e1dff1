"""One command at a time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from argosy.errors import Conflict
from argosy.lab.lock import held
from argosy.reconcile import SystemClock
from tests.conftest import FakeClock

NAME = f"test-{os.getpid()}"


async def test_who_comes_second_waits_for_the_first() -> None:
    clock, order = SystemClock(), []
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with held(NAME, clock):
            order.append("one in")
            entered.set()
            await go_on.wait()
            order.append("one out")

    async def second() -> None:
        await entered.wait()
        go_on.set()
        async with held(NAME, clock):
            order.append("two in")

    async with asyncio.TaskGroup() as group:
        group.create_task(first())
        group.create_task(second())
    assert order == ["one in", "one out", "two in"]


async def test_different_labs_do_not_wait_for_each_other() -> None:
    async with held(f"{NAME}-a", SystemClock()), held(f"{NAME}-b", SystemClock()):
        pass


async def test_patience_ends(clock: FakeClock) -> None:
    async with held(NAME, clock):

        async def wait() -> None:
            async with held(NAME, clock, patience=10):
                pass

        waiting = asyncio.create_task(wait())
        await clock.advance(11)
        with pytest.raises(Conflict, match="another argosy lab command"):
            await waiting


async def test_a_killed_holder_holds_nothing() -> None:
    bind = f"s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\ns.bind('\\0argosy-lab:{NAME}')"
    script = f"import socket, time\n{bind}\nprint(1, flush=True)\ntime.sleep(60)"
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    await holder.stdout.readline()
    with pytest.raises(Conflict):
        async with held(NAME, SystemClock(), patience=-1):
            pass
    holder.kill()
    await holder.wait()
    async with held(NAME, SystemClock()):
        pass
