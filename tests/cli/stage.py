"""The real command line against a real api in the test's own process, with a hand that plays engine and agent."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner

from argosy.api.peers import Peers
from argosy.api.shapes import LocalStatus
from argosy.cli.main import cli
from argosy.errors import NotFound, RuntimeFailed
from argosy.install import program
from argosy.model import Detail, LogLine, Machine, Observed, RouterDetail
from tests.api.house import M1, FakeRouter, House, a_house
from tests.stored import follow_units

PATIENCE = 20.0
"""Seconds that a command may take."""

STARTED = 1_700_000_000.0
ENVIRONMENT = {"TZ": "UTC", "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Agent:
    """This machine's agent: what its units look like and say. A log that is followed goes on with what is put into `more`."""

    def __init__(self) -> None:
        self.details: dict[str, Detail] = {}
        self.lines: list[LogLine] = []
        self.more: asyncio.Queue[LogLine | None] = asyncio.Queue()

    def show(self, name: str, **fields: Any) -> None:
        seen = {"name": name, "active": "active", "sub": "running", "since": STARTED, "pid": 42}
        told = {key: fields.pop(key) for key in list(fields) if key in Observed.__struct_fields__}
        self.details[name] = Detail(observed=Observed(**{"hash": "0" * 40, **seen, **told}), **fields)

    def say(self, *texts: str) -> None:
        self.lines += [LogLine(STARTED + number, text, "hello", 42) for number, text in enumerate(texts)]

    async def detail(self, name: str) -> Detail:
        if name not in self.details:
            raise NotFound(f"unit {name} is not loaded on this machine")
        return self.details[name]

    async def logs(self, name: str, lines: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        for line in self.lines[-lines:] if lines else []:
            yield line
        while follow and (line_or_none := await self.more.get()) is not None:
            yield line_or_none


class Others(Peers):
    """The other machines: those that answer, and what they say of any unit."""

    def __init__(self) -> None:
        super().__init__(None)
        self.answers: dict[str, LocalStatus] = {}
        self.routers: dict[str, FakeRouter] = {}

    async def status(self, machine: Machine, unit: str, lines: int) -> LocalStatus:
        if machine.id not in self.answers:
            raise RuntimeFailed(f"machine {machine.name} cannot be asked: connection refused", remedy="is its agent running?")
        return self.answers[machine.id]

    async def routes(self, machine: Machine, apps: Collection[str]) -> RouterDetail:
        if machine.id not in self.routers:
            raise RuntimeFailed(f"machine {machine.name} cannot be asked: connection refused", remedy="is its agent running?")
        return await self.routers[machine.id].detail(apps)


class Stage:
    """`run` is the command in this process, `start` the program itself. `folder` is where units lie, and the working folder."""

    def __init__(self, house: House, agent: Agent, others: Others, router: FakeRouter, folder: Path) -> None:
        self.house = house
        self.router = router
        self.agent = agent
        self.others = others
        self.folder = folder
        self.endpoint = f"unix://{house.address('socket')}"

    async def run(self, *words: str, env: Mapping[str, str] | None = None) -> Said:
        return await asyncio.wait_for(asyncio.to_thread(invoke, *words, env={"ARGOSY_ENDPOINT": self.endpoint, **(env or {})}), PATIENCE)

    async def good(self, *words: str) -> str:
        """What a command prints that succeeds and complains about nothing."""
        said = await self.run(*words)
        assert (said.code, said.err) == (0, ""), said
        return said.out

    async def start(self, *words: str, **options: Any) -> asyncio.subprocess.Process:
        """The program itself, with pipes. `options` are those of asyncio.create_subprocess_exec."""
        options = {"stdin": DEVNULL, "stdout": PIPE, "stderr": PIPE, **options}
        environ = ENVIRONMENT | {"ARGOSY_ENDPOINT": self.endpoint} | options.pop("env", {})
        return await asyncio.create_subprocess_exec(program(), *words, env=environ, cwd=self.folder, **options)

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    @asynccontextmanager
    async def obedient(self, *machines: str) -> AsyncIterator[None]:
        """Engine and agents do at once what is wanted of units, on these machines (M1 if none is named)."""

        async def obey() -> None:
            async for changes in follow_units(self.house.store, self.house.clock):
                for name in changes.items:
                    for machine in machines or (M1,):
                        await self.house.obey(name, machine)

        obeying = asyncio.create_task(obey())
        try:
            yield
        finally:
            obeying.cancel()
            await asyncio.gather(obeying, return_exceptions=True)


def invoke(*words: str, env: Mapping[str, str | None] | None = None) -> Said:
    """The command in this process, with nothing of this test run's own environment that would tell it whom to ask."""
    quiet = {"FLEETCTL_ENDPOINT": None, "ARGOSY_ENDPOINT": None, "ARGOSY_LAB": None, "COLUMNS": None, "TZ": "UTC"}
    result = CliRunner().invoke(cli, words, env={**quiet, **(env or {})}, prog_name="argosy")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


@asynccontextmanager
async def a_stage(folder: Path) -> AsyncIterator[Stage]:
    """In `folder`, which becomes the working folder meanwhile."""
    agent, others, router = Agent(), Others(), FakeRouter()
    units = folder / "units"
    units.mkdir()
    before = os.getcwd()
    os.chdir(units)
    try:
        async with a_house(folder, inspector=agent, peers=others, router=router) as house:
            yield Stage(house, agent, others, router, units)
    finally:
        os.chdir(before)
