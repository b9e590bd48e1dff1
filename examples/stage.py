"""What the demo's stories are told with: sentences, commands shown with what they print, waiting that says how long it takes."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from argosy.lab.load import Load
from argosy.reconcile import SystemClock

CHECKOUT = Path(__file__).parent.parent
ARGOSY = str(Path(sys.executable).parent / "argosy")
CLOCK = SystemClock()
LAB = os.environ.get("ARGOSY_LAB", "lab")
ENVIRONMENT = {**os.environ, "ARGOSY_LAB": LAB}
RATE = 200
"""Requests a second while things are broken."""


class Failed(Exception):
    """The demo cannot go on; the message says why."""


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


def told(text: str) -> None:
    print(f"  {text}", flush=True)


@asynccontextmanager
async def busy(text: str) -> AsyncIterator[None]:
    """For what prints nothing by itself: says what is going on, on a terminal for how long already, and in the end how long it took."""
    begun = CLOCK.monotonic()
    terminal = sys.stdout.isatty()

    async def tick() -> None:
        while terminal:
            await CLOCK.sleep(1.0)
            print(f"\r  {text} … {CLOCK.monotonic() - begun:.0f} s ", end="", flush=True)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        print(f"{chr(13) if terminal else ''}  {text} ({CLOCK.monotonic() - begun:.1f} s)   ", flush=True)


async def shown(*argv: str, label: str = "", environ: dict[str, str] | None = None, quiet: bool = False, check: bool = True) -> str:
    """Runs a command as a person would, showing it (as `label`) and what it prints. Returns its output; Failed if it fails."""
    if not quiet:
        print(f"  $ {label or shlex.join(argv)}", flush=True)
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environ or ENVIRONMENT
    )
    assert process.stdout is not None
    lines = []
    try:
        async for line in process.stdout:
            lines.append(line.decode(errors="replace"))
            if not quiet:
                print(f"    {lines[-1].rstrip()}", flush=True)
    finally:
        code = await process.wait()
    if code and check:
        raise Failed(f"{label or shlex.join(argv)} ended with status {code}" + (f":\n{''.join(lines)}" if quiet else ""))
    return "".join(lines)


async def argosy(*words: str, quiet: bool = False, check: bool = True) -> str:
    return await shown(ARGOSY, *words, label=f"argosy {shlex.join(words)}", quiet=quiet, check=check)


async def asked(*words: str) -> Any:
    return json.loads(await argosy(*words, "--json", quiet=True))


async def names() -> dict[str, str]:
    """Machines' names by id."""
    return {machine["id"]: machine.get("name", machine["id"]) for machine in await asked("list-machines")}


async def homes() -> dict[str, tuple[str, int]]:
    """Where units run: (machine's name, main process there) by unit; global units are left out."""
    known = await names()
    found = {}
    for unit in await asked("list-units"):
        states = [state for state in unit.get("states", []) if state["machine"] in known]
        if len(states) == 1:
            found[unit["name"]] = (known[states[0]["machine"]], states[0].get("pid", 0))
    return found


async def home(unit: str) -> tuple[str, int]:
    """The machine that a unit runs on, by name, and its main process there."""
    found = (await homes()).get(unit)
    if found is None:
        raise Failed(f"{unit} runs nowhere: argosy why {unit} tells why")
    return found


async def until(holds: Callable[[], Awaitable[object]], what: str, patience: float = 60.0) -> float:
    """Looks until it holds; returns how many seconds that took. Raises Failed with `what` if it never does."""
    begun = CLOCK.monotonic()
    while not await holds():
        if CLOCK.monotonic() > begun + patience:
            raise Failed(f"{what}: not within {patience:.0f} s")
        await CLOCK.sleep(0.1)
    return CLOCK.monotonic() - begun


async def answering(load: Load, since: float, what: str, patience: float = 60.0) -> float:
    """Seconds from `since` until an answer with those words came."""
    deadline = CLOCK.monotonic() + patience
    while CLOCK.monotonic() < deadline:
        for answer in load.answers[-4 * RATE :]:
            if answer.good and what in answer.text and answer.due >= since:
                return answer.due + answer.took - since
        await CLOCK.sleep(0.02)
    raise Failed(f"no answer with {what!r} within {patience:.0f} s")


async def curl(*words: str, times: int = 1, label: str = "") -> str:
    """curl, shown once, run several times."""
    program = shutil.which("curl")
    if program is None:
        raise Failed("curl is not installed")
    print(f"  $ curl {label or shlex.join(words)}", flush=True)
    said = []
    for _ in range(times):
        process = await asyncio.create_subprocess_exec(program, "-sS", "--max-time", "5", *words, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        said.append(output.decode().strip())
        print(f"    {said[-1]}", flush=True)
    return "\n".join(said)
