"""A lab: a cluster of machines on this host, brought up, broken and mended. What `argosy lab` does, and what tests and the demo use."""

from __future__ import annotations

import asyncio
import compileall
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from pathlib import Path

import msgspec

import argosy
from argosy.config import Config, changed
from argosy.errors import ArgosyError, Conflict, InvalidInput, NotFound, first_error
from argosy.folders import make_own
from argosy.lab import finding, front, host, members, ready, state, trust
from argosy.lab.base import Command, Driver, Power, lines, run, to_the_end
from argosy.lab.lock import held
from argosy.lab.nspawn import NspawnDriver
from argosy.lab.process import ProcessDriver
from argosy.lab.state import LabRecord, MachineRecord
from argosy.programs import Finished
from argosy.reconcile import Clock, SystemClock

DRIVERS: dict[str, Callable[[], Driver]] = {"nspawn": NspawnDriver, "process": ProcessDriver}
WORDS = {"nspawn": "full machines (systemd, Docker, network and etcd of their own)", "process": "process machines (SQLite, the supervisor)"}

READY_DEADLINE = 60.0


class Status(msgspec.Struct, frozen=True):
    """A machine as `argosy lab ps` shows it. `side` counts the sides of a partition from 1 (0: the network is whole); `memory` is the
    proportional memory of its processes, in bytes."""

    machine: MachineRecord
    power: Power
    side: int
    processes: int
    memory: int


class Wanted(msgspec.Struct, frozen=True):
    """What `Lab.up` was asked for."""

    machines: int
    metadata: Mapping[str, Mapping[str, str]]
    entry: str | None
    ttl: float
    settings: Mapping[str, str]
    binds: tuple[str, ...]
    entry_tls: str = ""


class Lab:
    """The lab of that name. `say` hears what is going on, in sentences; `base` is the folder of all labs (None: this user's own).

    Errors are ArgosyErrors that name the machine; a bring-up that fails or is cancelled leaves nothing behind.
    """

    def __init__(
        self, name: str = "lab", *, base: Path | None = None, say: Callable[[str], None] = lambda text: None, clock: Clock | None = None
    ) -> None:
        self.name = finding.check_name(name)
        self.base = base or state.root()
        self.folder = self.base / name
        self.say = say
        self.clock = clock or SystemClock()

    async def record(self) -> LabRecord:
        """What is kept about it. Raises NotFound when there is no such lab."""
        return await asyncio.to_thread(state.load, self.name, self.base)

    # --- its life

    async def up(
        self,
        machines: int = 3,
        metadata: Mapping[str, Mapping[str, str]] | None = None,
        *,
        light: bool = False,
        entry: str | None = None,
        ttl: float = 5.0,
        settings: Mapping[str, str] | None = None,
        binds: Sequence[str] = (),
        entry_tls: str = "",
    ) -> LabRecord:
        """Brings the lab up and waits until every machine sees all others. `metadata` is by machine name. `light`: process machines even
        where full ones are possible. `entry`: HOST:PORT of the entry, None for the first free one from 127.0.0.1:8080 on, "" for none.
        `ttl`: seconds until a silent machine counts as lost. `settings`: {"section.field": value} for every agent's configuration. `binds`:
        folders of the host, HOST:INSIDE, that every full machine has. `entry_tls`: HOST:PORT where the entry takes TLS. Raises Conflict if
        it is up already; what a crash left is removed first."""
        wanted = Wanted(machines, metadata or {}, entry, ttl, settings or {}, tuple(binds), entry_tls)
        _check(machines, wanted.metadata)
        await asyncio.to_thread(changed, Config(), wanted.settings)
        await asyncio.to_thread(_check_binds, wanted.binds)
        async with self._lock():
            await self._remove_leftovers()
            driver = DRIVERS[await self._choose(light)]()
            try:
                return await self._bring_up(driver, wanted)
            except BaseException:
                await asyncio.shield(asyncio.ensure_future(self._clear([driver])))
                raise

    async def down(self) -> bool:
        """Removes every trace; False if there was none."""
        async with self._lock():
            there = await asyncio.to_thread(self.folder.exists)
            try:
                drivers = [DRIVERS[(await self.record()).kind]()]
            except (NotFound, InvalidInput, KeyError):
                drivers = await _all_drivers()
            await self._clear(drivers)
            return there

    async def add(self, metadata: Mapping[str, str] | None = None) -> MachineRecord:
        """One machine more, ready when this returns."""
        async with self._lock():
            lab, driver = await self._open()
            number = lab.machines[-1].number + 1
            _check(number, {})
            machine = _machine(driver, lab.number, number, metadata or {})
            lab = lab.with_machine(machine)
            await self._save(lab)
            self.say(f"starting {machine.name}")
            try:
                await _boot(driver, lab, machine.name)
                await self.wait_ready()
            except BaseException:
                await asyncio.shield(asyncio.ensure_future(self._take_back(driver, lab, machine)))
                raise
            return machine

    async def remove(self, name: str) -> None:
        """A machine and its disk are gone for good. The store's members cannot be removed."""
        async with self._lock():
            lab, driver = await self._open()
            if name in lab.members or len(lab.machines) == 1:
                raise InvalidInput(f"{name} carries the store of lab {self.name}", remedy=f"argosy lab down --name {self.name}")
            await self._take_back(driver, lab, lab.machine(name))

    async def wait_ready(self, timeout: float = READY_DEADLINE) -> None:
        """Until every machine that is on answers and sees every other on its side that is on. Raises RuntimeFailed saying what lacks."""
        lab, driver = await self._open()
        await ready.wait(lab, driver, self.clock, timeout, self.say)

    # --- its machines

    async def kill(self, name: str) -> None:
        """A power cut."""
        async with self._lock():
            lab, driver = await self._open()
            lab = lab.with_machine(msgspec.structs.replace(lab.machine(name), off=True))
            await self._save(lab)
            await driver.kill(lab, name)

    async def start(self, name: str) -> None:
        """Power back on; returns when it boots (see `wait_ready`)."""
        async with self._lock():
            lab, driver = await self._open()
            lab = lab.with_machine(msgspec.structs.replace(lab.machine(name), off=False))
            await driver.start(lab, name)
            await self._save(lab)

    async def pause(self, name: str) -> None:
        """All its processes stand still."""
        async with self._lock():
            lab, driver = await self._open()
            await driver.pause(lab, lab.machine(name).name)

    async def resume(self, name: str) -> None:
        """They go on."""
        async with self._lock():
            lab, driver = await self._open()
            await driver.resume(lab, lab.machine(name).name)

    async def partition(self, groups: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
        """Cuts the network between groups of machines; those that no group names stay together, in one group more. Returns the sides."""
        async with self._lock():
            lab, driver = await self._open()
            sides = state.sides(tuple(machine.name for machine in lab.machines), tuple(tuple(group) for group in groups))
            await self._connect(driver, msgspec.structs.replace(lab, groups=sides))
            return sides

    async def heal(self) -> None:
        """Makes the network whole."""
        async with self._lock():
            lab, driver = await self._open()
            await self._connect(driver, msgspec.structs.replace(lab, groups=()))

    async def command(self, name: str, argv: Sequence[str]) -> Command:
        """The host's command line that runs `argv` inside the machine, with its standard streams."""
        lab, driver = await self._open()
        return await driver.command(lab, lab.machine(name).name, argv)

    async def exec(self, name: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = 60.0) -> Finished:
        """Runs a command inside the machine, to its end."""
        return await run(await self.command(name, argv), stdin, timeout)

    async def stream(self, name: str, argv: Sequence[str]) -> AsyncGenerator[str, None]:
        """The lines that a command inside the machine writes, as they come; closing the iterator ends it."""
        async with aclosing(lines(await self.command(name, argv))) as said:
            async for line in said:
                yield line

    async def ps(self) -> tuple[Status, ...]:
        """Every machine and what it is doing, by number."""
        lab, driver = await self._open()
        return tuple(await asyncio.gather(*(_status(driver, lab, machine) for machine in lab.machines)))

    # --- steps

    def _lock(self) -> AbstractAsyncContextManager[None]:
        return held(str(self.folder), self.clock)

    async def _open(self) -> tuple[LabRecord, Driver]:
        lab = await self.record()
        return lab, DRIVERS[lab.kind]()

    async def _save(self, lab: LabRecord) -> None:
        await to_the_end(state.save, lab)

    async def _connect(self, driver: Driver, lab: LabRecord) -> None:
        await self._save(lab)
        await driver.connect(lab)

    async def _remove_leftovers(self) -> None:
        """A lab that stands is not touched; what a crash, or a bring-up that was cut short, has left is removed."""
        try:
            lab, driver = await self._open()
        except (NotFound, InvalidInput, KeyError):
            if await asyncio.to_thread(self.folder.exists):
                self.say("removing what an earlier lab left")
                await self._clear(await _all_drivers())
            return
        powers = [machine.off or await driver.power(lab, machine.name) is not Power.OFF for machine in lab.machines]
        if lab.complete and all(powers):
            raise Conflict(f"lab {self.name} is up already", remedy=f"argosy lab down --name {self.name}, or another --name")
        self.say("removing what a crashed lab left")
        await self._clear([driver])

    async def _choose(self, light: bool) -> str:
        if light:
            kind, why = "process", "as asked for"
        else:
            found = await host.obstacles()
            kind, why = (
                ("process", f"this host cannot boot full ones: {'; '.join(found)}") if found else ("nspawn", "root, and this host can")
            )
        self.say(f"{WORDS[kind]}: {why}")
        return kind

    async def _bring_up(self, driver: Driver, wanted: Wanted) -> LabRecord:
        async with held("numbers", self.clock):
            lab = await self._reserve(driver, wanted)
        self.say(f"starting {', '.join(machine.name for machine in lab.machines)}")
        await _together([asyncio.to_thread(_compile), *(_boot(driver, lab, machine.name) for machine in lab.machines)])
        await _together([self._start_entry(lab, wanted), self.wait_ready()])
        lab = msgspec.structs.replace(await self.record(), complete=True)
        await self._save(lab)
        return lab

    async def _start_entry(self, lab: LabRecord, wanted: Wanted) -> None:
        async with held("entries", self.clock):
            entry, entry_tls = await front.choose(wanted.entry), await front.choose(wanted.entry_tls, "--entry-tls")
            lab = msgspec.structs.replace(lab, entry=entry, entry_tls=entry_tls)
            await self._save(lab)
            await front.start(lab, self.clock, self.say)

    async def _reserve(self, driver: Driver, wanted: Wanted) -> LabRecord:
        """A number that no other lab has, the folder, the authority: from here on others see that this lab is there."""
        taken = await driver.numbers_taken()
        number = next((number for number in range(256) if number not in taken), None)
        if number is None:
            raise Conflict(
                "no addresses are left for another lab on this host", remedy="argosy lab down --name NAME for one that is not needed"
            )
        found = tuple(_machine(driver, number, each, wanted.metadata.get(f"m{each}", {})) for each in range(1, wanted.machines + 1))
        chosen = members.choose(tuple(machine.name for machine in found)) if driver.kind == "nspawn" else ()
        lab = LabRecord(
            self.name, str(self.folder), driver.kind, number, wanted.ttl, self.clock.now(), chosen, found,
            settings=dict(wanted.settings), binds=wanted.binds,
        )  # fmt: skip
        await asyncio.to_thread(make_own, self.folder, 0o700)
        await driver.prepare(lab)
        await self._save(lab)
        await to_the_end(trust.make_authority, lab)
        return lab

    async def _take_back(self, driver: Driver, lab: LabRecord, machine: MachineRecord) -> None:
        await driver.remove(lab, machine.name)
        await self._save(msgspec.structs.replace(lab, machines=tuple(other for other in lab.machines if other.name != machine.name)))

    async def _clear(self, drivers: Sequence[Driver]) -> None:
        for driver in drivers:
            await driver.clear(str(self.folder))
        async with held("numbers", self.clock):
            with suppress(OSError):
                await asyncio.to_thread(self.base.rmdir)  # the last lab turns off the light


async def _all_drivers() -> list[Driver]:
    return [make() for kind, make in DRIVERS.items() if kind != "nspawn" or not await host.obstacles()]


async def _boot(driver: Driver, lab: LabRecord, name: str) -> None:
    await driver.create(lab, name)
    await driver.start(lab, name)


async def _status(driver: Driver, lab: LabRecord, machine: MachineRecord) -> Status:
    power, own = await driver.power(lab, machine.name), await driver.processes(lab, machine.name)
    side = state.side_of(machine.name, lab.groups) + 1 if lab.groups else 0
    return Status(machine, power, side, len(own), sum(process.memory for process in own))


def _machine(driver: Driver, lab_number: int, number: int, metadata: Mapping[str, str]) -> MachineRecord:
    address, router = driver.addresses(lab_number, number)
    return MachineRecord(f"m{number}", number, secrets.token_hex(16), address, router, dict(metadata))


def _compile() -> None:
    """The agent's modules, once for all machines: each would have to do it by itself, all at the same time. Where the program cannot be
    written to, they do."""
    compileall.compile_dir(Path(argosy.__file__).parent, quiet=2)


def _check(machines: int, metadata: Mapping[str, Mapping[str, str]]) -> None:
    if not 1 <= machines <= state.MAX_MACHINES:
        raise InvalidInput(f"a lab of {machines} machines", remedy=f"1 to {state.MAX_MACHINES}")
    known = {f"m{number}" for number in range(1, machines + 1)}
    for name in metadata:
        if name not in known:
            raise InvalidInput(f"metadata for {name!r}, which is none of the lab's machines", remedy=f"they are m1 to m{machines}")


def _check_binds(binds: Sequence[str]) -> None:
    for bind in binds:
        source, _, inside = bind.partition(":")
        if not source.startswith("/") or not inside.startswith("/") or ":" in inside or not Path(source).is_dir():
            raise InvalidInput(
                f"{bind!r} binds no folder", remedy="write HOST:INSIDE, two absolute paths; the first is a folder that exists"
            )


async def _together(steps: Sequence[Awaitable[object]]) -> None:
    """Side by side; the first ArgosyError of any ends all."""

    async def wait(step: Awaitable[object]) -> None:
        await step

    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(wait(step))
    except* ArgosyError as errors:
        raise first_error(errors) from None
