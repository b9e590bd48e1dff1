"""A machine with all its services, of which one fails: units run on, the service comes back, and operators are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import msgspec
import pytest

from argosy import daemon
from argosy.config import (
    ApiSection,
    Config,
    ImagesSection,
    KeysSection,
    MachineSection,
    PathsSection,
    RouterSection,
    RuntimeSection,
    StoreSection,
    TlsSection,
)
from argosy.errors import StoreUnavailable
from argosy.folders import make_own
from argosy.install import program
from argosy.model import Target, Unit, UnitState
from argosy.reconcile import SystemClock
from argosy.services import OFTEN, Service, Services
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import Put
from argosy.store.sqlite import SqliteStore
from argosy.trust.authority import create_authority, issue
from tests import stored
from tests.cli.stage import invoke
from tests.etcd_server import free_ports

ID = "a" * 32
DEADLINE = 30.0
UNIT = "sleep.service"
TEXT = "[Service]\nExecStart=/bin/sleep 100000\n[X-Argosy]\nOnDisconnect=stop\n"

pytestmark = pytest.mark.timeout(120)


class Sabotage:
    """A service that works until it is told to fail, and then fails at every start until it may work again."""

    def __init__(self, service: Service) -> None:
        self.failing = asyncio.Event()
        self._service = service

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(awaited(self._service.run))
            await self.failing.wait()
            raise KeyError("sabotage")


async def awaited(run: Callable[[], Awaitable[None]]) -> None:
    await run()


def config_in(folder: Path) -> Config:
    api, door, key_port, images, router = (f"127.0.0.1:{port}" for port in free_ports(5))
    authority = create_authority("test", time.time())
    pair = issue(authority, ID, time.time(), names=("m1",), addresses=("127.0.0.1",))
    files = {"ca": authority.cert, "cert": pair.cert, "key": pair.key}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    return Config(
        machine=MachineSection(id=ID, name="m1", address="127.0.0.1", ttl=20),
        paths=PathsSection(state=str(folder / "state"), run=str(folder / "run")),
        store=StoreSection(url=f"sqlite:{folder}/store.db"),
        tls=TlsSection(**{name: str(folder / name) for name in files}),
        runtime=RuntimeSection(kind="supervisor"),
        api=ApiSection(socket=str(folder / "api.sock"), listen=(api,), door=door, group=""),
        keys=KeysSection(listen=(key_port,), group=""),
        router=RouterSection(enabled="yes", listen=(router,)),
        images=ImagesSection(enabled=True, listen=(images,), storage="memory://", group=""),
    )


def toml(config: Config) -> str:
    """The configuration as a file; plain values are written in TOML as in JSON."""
    tree: dict[str, dict[str, object]] = msgspec.to_builtins(config)
    sections = (
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in section.items()) for name, section in tree.items()
    )
    return "\n".join(sections)


class Machine:
    """All services of one machine in this process. `sabotage` by the service's name."""

    def __init__(self, config: Config, services: Services, store: SqliteStore) -> None:
        self.config = config
        self.services = services
        self.store = store
        self.sabotage = {name: Sabotage(service) for name, service in services.table.items()}
        for name, service in services.table.items():
            services.table[name] = msgspec.structs.replace(service, run=self.sabotage[name].run)

    async def unit(self) -> UnitState | None:
        return (await stored.states(self.store)).get((ID, UNIT))

    async def problems(self) -> str:
        """What `argosy list-machines` says is wrong."""
        listed = await asyncio.to_thread(invoke, "list-machines", env={"ARGOSY_ENDPOINT": f"unix://{self.config.api.socket}"})
        return listed.err

    async def metrics(self) -> str:
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.config.api.listen[0]}/metrics") as answer:
            return await answer.text()

    async def until(self, what: str, condition: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(StoreUnavailable, aiohttp.ClientError):
                if await condition():
                    return
            assert time.monotonic() < deadline, f"did not happen in time: {what}"
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Machine]:
    config = config_in(folder)
    for name in (config.state_dir, config.run_dir):
        await asyncio.to_thread(make_own, name, 0o755)
    clock = SystemClock()
    try:
        async with daemon.machine_services(config, clock) as services, SqliteStore(f"{folder}/store.db", clock) as store:
            machine = Machine(config, services, store)
            task = asyncio.create_task(services.run())
            try:
                yield machine
            finally:
                task.cancel()
                ended = await asyncio.gather(task, return_exceptions=True)
                assert isinstance(ended[0], asyncio.CancelledError), ended
    finally:
        await daemon.clear(config)


async def test_units_run_on_whichever_service_fails_and_list_machines_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as machine:
        await machine.store.commit([], [Put(keys.unit(UNIT), encode(Unit(UNIT, TEXT, Target.LAUNCHED, 1)))])

        async def up() -> bool:
            state = await machine.unit()
            return state is not None and state.active == "active"

        await machine.until("the unit runs", up)
        before = await machine.unit()
        assert before is not None
        for names in (("router", "images", "probes", "engine", "upkeep"), ("lease", "agent", "api", "keys")):
            for name in names:
                machine.sabotage[name].failing.set()

            async def often(names: Sequence[str] = names) -> bool:
                return all(machine.services.standing[name].failures >= OFTEN for name in names)

            await machine.until(f"{names} have failed again and again", often)
            for name in names:
                machine.sabotage[name].failing.clear()

            async def told(names: Sequence[str] = names) -> bool:
                problems = await machine.problems()
                return all(f"service {name} keeps failing: KeyError: 'sabotage'" in problems for name in names)

            await machine.until(f"list-machines says that {names} keep failing", told)

            async def back(names: Sequence[str] = names) -> bool:
                figures = await machine.metrics()
                return all(
                    f'argosy_service_running{{service="{name}"}} 1.0' in figures
                    and f'argosy_service_restarts_total{{service="{name}"}} {OFTEN}.0' in figures
                    for name in names
                )

            await machine.until(f"{names} run again and the figures say so", back)
        after = await machine.unit()
        assert after is not None
        assert (after.pid, after.launch, after.active) == (before.pid, before.launch, "active"), "whatever failed, the unit ran on"
        os.kill(after.pid, 0)


@pytest.mark.parametrize(
    ("setting", "status", "words"),
    [("api.listen", 1, "already in use"), ("router.settings", 2, "nonsense"), ("images.storage", 2, "ftp://x")],
)
async def test_what_an_operator_must_mend_ends_the_agent_with_its_message(tmp_path: Path, setting: str, status: int, words: str) -> None:
    config = config_in(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        section, _, name = setting.partition(".")
        wrong: object = {"api.listen": (f"127.0.0.1:{port}",), "router.settings": "nonsense=1", "images.storage": "ftp://x"}[setting]
        config = msgspec.structs.replace(config, **{section: msgspec.structs.replace(getattr(config, section), **{name: wrong})})
        (tmp_path / "argosy.toml").write_text(toml(config))
        agent = await asyncio.create_subprocess_exec(
            program(), "agent", "--config", str(tmp_path / "argosy.toml"), stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
        )
        async with asyncio.timeout(DEADLINE):
            _, said = await agent.communicate()
    assert (agent.returncode, words in said.decode()) == (status, True), said.decode()
    assert "Traceback" not in said.decode()
    await daemon.clear(config)
