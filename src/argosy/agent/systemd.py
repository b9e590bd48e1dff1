"""Units run by systemd itself, over D-Bus: the system's manager or a user's own.

Unit files are written into a folder of ours and linked into the manager for its lifetime, as fleet did. What systemd tells in signals is
kept; nothing is polled. Loading new units needs no reload of the manager; changed ones need a single one for all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence, Set
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self

from dbus_fast import Message, Variant

from argosy.agent.journal import read_journal
from argosy.agent.runtime import Detail, LogLine, Observed
from argosy.agent.systemd_bus import CHUNK, MANAGER, UNIT, CallFailed, ManagerBus, Scope
from argosy.agent.systemd_unit import SERVICE_PROPERTIES, UNIT_PROPERTIES, LoadedUnit
from argosy.agent.unit_folder import Memory, UnitFolder
from argosy.errors import InvalidUnit, NotFound, RuntimeFailed
from argosy.unit.parse import UnitFile, parse

log = logging.getLogger(__name__)

SERVICE = "org.freedesktop.systemd1.Service"
KILL = 9
UNKNOWN = 2**64 - 1
"""What systemd says for a number that it does not have."""
JOBS_KEPT = 512
"""Jobs that ended of late: their end may be told before the answer to the call that made them."""
PINNED_FROM = 4
"""From so many units on it pays to have them loaded in one go."""
FORGETTING = 0.1
"""Seconds given to systemd to forget a unit that was unloaded, before it is made to by a reload."""


class SystemdRuntime:
    """The Runtime contract on systemd. Made by `connect`; a lost connection is made anew by the next call."""

    def __init__(self, scope: Scope, folder: Path, address: str) -> None:
        self.kind = "systemd" if scope == "system" else "systemd-user"
        self._scope = scope
        self._address = address
        self._folder = UnitFolder(folder)
        self._units: dict[str, LoadedUnit] = {}
        self._paths: dict[str, LoadedUnit] = {}
        self._watchers: set[Watcher] = set()
        self._ended_jobs: dict[str, None] = {}
        self._bus: ManagerBus | None = None
        self._broken: ManagerBus | None = None
        self._manager = ""
        self._connecting = asyncio.Lock()
        self._changing = asyncio.Lock()
        self._remembering = asyncio.Lock()
        self._remembered: dict[str, int] = {}
        self._reloaded = False
        self._closed = False

    @classmethod
    async def connect(cls, scope: Scope, folder: Path, *, address: str = "") -> Self:
        """`folder` (absolute) holds the unit files; `address` is a D-Bus address, "" for the usual one. Raises RuntimeFailed where no
        systemd answers."""
        if not address and scope == "user":
            own = f"{os.environ.get('XDG_RUNTIME_DIR') or f'/run/user/{os.getuid()}'}/bus"
            address = f"unix:path={own}" if os.path.exists(own) else ""
        runtime = cls(scope, folder, address)
        await runtime._connection()
        return runtime

    # ---------------------------------------------------------------- the connection

    async def _connection(self) -> ManagerBus:
        """The living connection; a new one, with everything read again, where there is none."""
        async with self._connecting:
            if self._closed:
                raise RuntimeFailed("this runtime has been closed")
            if self._bus is None or self._bus.gone:
                await self._drop()
                bus = await ManagerBus.connect(self._scope, self._address, self._on_signal, self._on_lost)
                try:
                    await self._take_over(bus)
                except BaseException:
                    await bus.close()
                    raise
                self._bus = bus
            elif self._reloaded:
                self._reloaded = False
                await self._read(self._bus, list(self._units.values()))
            return self._bus

    async def _drop(self) -> None:
        broken, self._broken, self._bus = self._broken or self._bus, None, None
        if broken is not None:
            await broken.close()

    def _on_lost(self) -> None:
        self._broken, self._bus = self._bus, None
        for watcher in self._watchers:
            watcher.lose()

    async def _take_over(self, bus: ManagerBus) -> None:
        """Finds everything that was loaded through this folder, by whomever."""
        started = await bus.get("/org/freedesktop/systemd1", MANAGER, "UserspaceTimestampMonotonic")
        self._manager = f"{await asyncio.to_thread(_boot_id)} {started}"
        texts, memory = await asyncio.to_thread(self._read_folder)
        launches = memory.units if memory.manager == self._manager else {}
        self._units = {name: LoadedUnit(name, _hash(text), launches.get(name)) for name, text in texts.items()}
        self._paths = {unit.path: unit for unit in self._units.values()}
        self._reloaded = False
        await self._read(bus, list(self._units.values()))
        lost = [unit.name for unit in self._units.values() if unit.load == "not-found"]
        if lost:
            await self._link(bus, _readable([(name, texts[name]) for name in lost], {}))
            await bus.call("Reload")
            await self._read(bus, list(self._units.values()))
        jobs = {row[1]: (row[2], row[4]) for row in await bus.call("ListJobs") if row[4] not in self._ended_jobs}
        for unit in self._units.values():
            unit.recover(jobs)
        await self._remember()

    def _read_folder(self) -> tuple[dict[str, str], Memory]:
        self._folder.prepare()
        return self._folder.texts(), self._folder.memory()

    async def _read(self, bus: ManagerBus, units: Sequence[LoadedUnit], *, untouched: Set[str] = frozenset()) -> None:
        """Has systemd hold units in memory for us and reads all about them; there is little to read of those that it has never run."""
        wanted = {unit.name: unit for unit in units}
        pins = await self._pin(bus, list(wanted)) if len(units) >= PINNED_FROM else []
        await bus.each("RefUnit", "s", *((name,) for name in wanted))
        await bus.each("StopUnit", "ss", *((pin, "replace") for pin in pins))
        for row in await bus.chunked("ListUnitsByNames", "as", list(wanted)):
            if row[0] in wanted:
                wanted[row[0]].load = row[2]
                if (row[2], row[3]) != ("loaded", "inactive"):
                    untouched -= {row[0]}
        await asyncio.gather(*(self._read_one(bus, unit) for unit in units if unit.name not in untouched))

    async def _pin(self, bus: ManagerBus, names: Sequence[str]) -> list[str]:
        """Has systemd load many units in one go, by a slice for the moment that refers to them all: loading one at a time, it would tell
        anew of the growing dependencies of its targets after each, at several times the cost. The slices to stop afterwards."""
        pins = []
        for at in range(0, len(names), CHUNK):
            pin = f"argosyloading{os.getpid()}x{at}.slice"
            properties = [
                ["Description", Variant("s", "Units being loaded by Argosy")],
                ["DefaultDependencies", Variant("b", False)],
                ["After", Variant("as", list(names[at : at + CHUNK]))],
            ]
            try:
                await bus.call("StartTransientUnit", "ssa(sv)a(sa(sv))", pin, "replace", properties, [])
            except CallFailed as error:
                log.debug("units are loaded one at a time: %s", error)
            else:
                pins.append(pin)
        return pins

    async def _read_one(self, bus: ManagerBus, unit: LoadedUnit) -> None:
        while True:
            news = unit.news
            interface = SERVICE if unit.name.endswith(".service") else ""
            values = await asyncio.gather(*(bus.get(unit.path, UNIT, name) for name in UNIT_PROPERTIES))
            read: dict[str, Any] = dict(zip(UNIT_PROPERTIES, values, strict=True))
            if interface:
                values = await asyncio.gather(*(bus.get(unit.path, interface, name) for name in SERVICE_PROPERTIES))
                read |= dict(zip(SERVICE_PROPERTIES, values, strict=True))
            unit.error = "" if unit.load == "loaded" else await _load_error(bus, unit)
            if unit.news == news:
                unit.told(read, complete=True)
                self._push(unit.name)
                return

    def _on_signal(self, message: Message) -> None:
        if message.member == "PropertiesChanged":
            unit = self._paths.get(str(message.path))
            if unit is not None:
                whole = message.body[0] == UNIT
                unit.told({name: variant.value for name, variant in message.body[1].items()}, complete=whole)
                if whole:
                    self._push(unit.name)
        elif message.member == "JobRemoved":
            _, job, name, result = message.body
            self._ended_jobs[job] = None
            if len(self._ended_jobs) > JOBS_KEPT:
                del self._ended_jobs[next(iter(self._ended_jobs))]
            if name in self._units:
                self._units[name].job_ended(job, result)
                self._push(name)
        elif message.member == "Reloading" and not message.body[0]:
            self._reloaded = True
            self._push(*self._units)

    def _push(self, *names: str) -> None:
        for watcher in self._watchers:
            watcher.tell(names)

    # ---------------------------------------------------------------- load and unload

    async def load(self, units: Sequence[tuple[str, str]]) -> None:
        bus = await self._connection()
        async with self._changing:
            refused: dict[str, str] = {}
            files = _readable(units, refused)
            present = await self._present(bus, [name for name in files if name not in self._units])
            for name, (_, active) in present.items():
                if active not in ("inactive", "failed"):
                    refused[name] = f"this machine has a {name} of its own that is {active}; give the unit another name"
            files = {name: file for name, file in files.items() if name not in refused}
            changed = await asyncio.to_thread(self._write, files, refused)
            new = {name: file for name, file in changed.items() if name not in self._units}
            stale = bool(changed.keys() - new.keys()) or any(present[name][0] == "loaded" for name in new.keys() & present.keys())
            refused |= await self._link(bus, new)
            if stale:
                await bus.call("Reload")
            await self._know(bus, {name: file for name, file in changed.items() if name not in refused}, new.keys() - present.keys())
        _complain("load", refused)

    async def _present(self, bus: ManagerBus, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """(load, active) of units of these names that systemd has in memory, whoever put them there."""
        patterns = [name.replace("\\", "\\\\") for name in names]
        return {row[0]: (row[2], row[3]) for row in await bus.chunked("ListUnitsByPatterns", "asas", patterns, before=([],))}

    def _write(self, files: Mapping[str, UnitFile], refused: dict[str, str]) -> dict[str, UnitFile]:
        """Writes unit files; those that are new or changed."""
        changed = {}
        for name, file in files.items():
            try:
                if self._folder.write(name, file.manager_text) or name not in self._units:
                    changed[name] = file
            except OSError as error:
                refused[name] = f"cannot write {error.filename}: {error.strerror}"
        return changed

    async def _link(self, bus: ManagerBus, files: Mapping[str, UnitFile]) -> dict[str, str]:
        """Links unit files into the manager; enables those that have an [Install] section, as fleet does. Which were refused, and why."""
        plain = [str(self._folder.file(name)) for name, file in files.items() if not file.has_section("Install")]
        installed = [str(self._folder.file(name)) for name, file in files.items() if file.has_section("Install")]
        refused: dict[str, str] = {}
        for member, paths in (("LinkUnitFiles", plain), ("EnableUnitFiles", installed)):
            try:
                await bus.chunked(member, "asbb", paths, True, True)
            except CallFailed:
                for path in paths:
                    try:
                        await bus.call(member, "asbb", [path], True, True)
                    except CallFailed as error:
                        refused[Path(path).name] = f"systemd does not take it: {error}"
        await asyncio.to_thread(self._folder.remove, list(refused))
        return refused

    async def _know(self, bus: ManagerBus, files: Mapping[str, UnitFile], untouched: Set[str]) -> None:
        """Reads units that were just loaded or changed."""
        units, new = [], []
        for name, file in files.items():
            unit = self._units.get(name)
            if unit is None:
                unit = self._units[name] = LoadedUnit(name, "")
                self._paths[unit.path] = unit
                new.append(unit)
            unit.change(file.hash)
            units.append(unit)
        await self._read(bus, units, untouched=untouched)
        if any(unit.load == "not-found" for unit in units):
            await bus.call("Reload")
            await self._read(bus, units)
        for unit in new:
            unit.begin_anew()
        await self._remember()
        self._push(*files)

    async def unload(self, names: Sequence[str]) -> None:
        bus = await self._connection()
        async with self._changing:
            units = [self._units[name] for name in dict.fromkeys(names) if name in self._units]
            watcher = Watcher(self._watchers)
            try:
                await bus.each("StopUnit", "ss", *((unit.name, "replace") for unit in units if not unit.at_rest))
                while not all(unit.at_rest for unit in units):
                    await watcher.next()
            finally:
                watcher.close()
            gone = [unit.name for unit in units]
            await bus.each("ResetFailedUnit", "s", *((unit.name,) for unit in units if unit.state == "failed"))
            await bus.chunked("DisableUnitFiles", "asb", gone, True)
            await asyncio.to_thread(self._folder.remove, gone)
            for unit in units:
                self._units.pop(unit.name, None)
                self._paths.pop(unit.path, None)
            await bus.each("UnrefUnit", "s", *((name,) for name in gone))
            await self._remember()
            if gone and not await self._forgotten(bus, gone):
                await bus.call("Reload")
            self._push(*gone)

    async def _forgotten(self, bus: ManagerBus, names: Sequence[str]) -> bool:
        """Whether systemd has dropped the units. One that others refer to stays in memory, and could be started, until a reload."""
        end = time.monotonic() + FORGETTING
        while any(load == "loaded" for load, _ in (await self._present(bus, names)).values()):
            if time.monotonic() > end:
                return False
            await asyncio.sleep(FORGETTING / 10)
        return True

    # ---------------------------------------------------------------- start, stop, kill

    async def start(self, launches: Sequence[tuple[str, int]]) -> None:
        bus = await self._connection()
        refused = {name: "it is not loaded here" for name, _ in launches if name not in self._units}
        units = [self._units[name] for name, _ in launches if name in self._units]
        again = [unit.name for unit in units if unit.started or unit.state == "failed"]
        for unit, launch in zip(units, [launch for name, launch in launches if name in self._units], strict=True):
            unit.ask(launch, time.time())
        if not await self._remember():
            for unit in units:
                unit.refused()
                refused[unit.name] = f"the launch cannot be remembered in {self._folder.path}; is the disk full?"
            _complain("start", refused)
        await bus.each("ResetFailedUnit", "s", *((name,) for name in again))
        calls = [("RestartUnit" if unit.pending == "restart" else "StartUnit", unit) for unit in units]
        answers = await asyncio.gather(*(bus.call(member, "ss", unit.name, "replace") for member, unit in calls), return_exceptions=True)
        for unit, answer in zip(units, answers, strict=True):
            if isinstance(answer, CallFailed):
                unit.refused()
                refused[unit.name] = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                unit.accepted()
                self._job(unit, answer)
        await self._remember()
        self._push(*(unit.name for unit in units))
        _complain("start", refused)

    def _job(self, unit: LoadedUnit, job: str) -> None:
        """Ties a unit to the job that a call has made, unless that has ended already."""
        if job in self._ended_jobs:
            unit.pending = ""
        else:
            unit.job = job

    async def stop(self, names: Sequence[str]) -> None:
        bus = await self._connection()
        units = [self._units[name] for name in dict.fromkeys(names) if name in self._units]
        _complain("stop", await self._stop(bus, units))

    async def _stop(self, bus: ManagerBus, units: Sequence[LoadedUnit]) -> dict[str, str]:
        refused: dict[str, str] = {}
        for unit in units:
            unit.ask_stop(time.time())
        await self._remember()
        answers = await bus.each("StopUnit", "ss", *((unit.name, "replace") for unit in units))
        for unit, answer in zip(units, answers, strict=True):
            if not isinstance(answer, CallFailed):
                unit.accepted()
                self._job(unit, answer)
            elif answer.name.endswith(("NoSuchUnit", "LoadFailed")):
                unit.accepted()
                unit.pending = ""
            else:
                unit.refused()
                refused[unit.name] = str(answer)
        await self._remember()
        self._push(*(unit.name for unit in units))
        return refused

    async def kill(self, names: Sequence[str]) -> None:
        bus = await self._connection()
        units = [self._units[name] for name in dict.fromkeys(names) if name in self._units]
        refused = await self._stop(bus, units)
        await bus.each("KillUnit", "ssi", *((unit.name, "all", KILL) for unit in units if not unit.at_rest))
        _complain("kill", refused)

    # ---------------------------------------------------------------- looking

    async def units(self) -> dict[str, Observed]:
        await self._connection()
        if self._remembered != {unit.name: unit.news for unit in self._units.values() if unit.at_rest}:
            await self._remember()
        return {name: unit.observed() for name, unit in self._units.items()}

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        watcher = Watcher(self._watchers)
        try:
            await self._connection()
            yield frozenset(self._units)
            while True:
                yield await watcher.next()
        finally:
            watcher.close()

    async def detail(self, name: str) -> Detail:
        bus = await self._connection()
        unit = self._units.get(name)
        if unit is None:
            raise NotFound(f"unit {name} is not loaded on this machine")
        try:
            description = await bus.get(unit.path, UNIT, "Description")
            rows = await bus.call("GetUnitProcesses", "s", name)
        except CallFailed as error:
            raise RuntimeFailed(f"{name}: {error}") from error
        command, memory, cpu = "", 0, 0
        if name.endswith(".service"):
            commands = await bus.get(unit.path, SERVICE, "ExecStart")
            command = " ".join(commands[0][1]) if commands else ""
            memory = await bus.get(unit.path, SERVICE, "MemoryCurrent")
            cpu = await bus.get(unit.path, SERVICE, "CPUUsageNSec")
        return Detail(
            observed=unit.observed(),
            description=description,
            path=str(self._folder.file(name)),
            main_command=command,
            processes=tuple(sorted((pid, line) for _, pid, line in rows)),
            memory=0 if memory == UNKNOWN else memory,
            cpu=0.0 if cpu == UNKNOWN else cpu / 1e9,
        )

    async def logs(self, name: str, lines: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        """Raises NotFound for a unit that is not loaded here: the rest of the journal is the host's own affair."""
        if name not in self._units:
            raise NotFound(f"unit {name} is not loaded on this machine")
        selector = "--unit" if self._scope == "system" else "--user-unit"
        async with aclosing(read_journal(selector, name, lines, follow)) as found:
            async for line in found:
                yield line

    # ---------------------------------------------------------------- the rest

    async def _remember(self) -> bool:
        """Keeps what systemd will not: launches, and how units ended. False, with a line in the log, if that is impossible now."""
        async with self._remembering:
            self._remembered = {unit.name: unit.news for unit in self._units.values() if unit.at_rest}
            memory = Memory(self._manager, {unit.name: unit.keep() for unit in self._units.values()})
            try:
                await asyncio.to_thread(self._folder.remember, memory)
            except OSError as error:
                log.error("cannot write the launches of units in %s: %s", self._folder.path, error.strerror)
                return False
            return True

    async def close(self) -> None:
        if self._closed:
            return
        async with self._connecting:
            self._closed = True
            if self._bus is not None:
                await self._remember()
            await self._drop()
        for watcher in self._watchers:
            watcher.lose()


class Watcher:
    """One who waits for changes: what was told since it last looked."""

    def __init__(self, watchers: set[Watcher]) -> None:
        self._watchers = watchers
        self._names: set[str] = set()
        self._event = asyncio.Event()
        self._lost = False
        watchers.add(self)

    def tell(self, names: Iterable[str]) -> None:
        self._names.update(names)
        self._event.set()

    def lose(self) -> None:
        self._lost = True
        self._event.set()

    async def next(self) -> frozenset[str]:
        """Raises RuntimeFailed when the connection is lost."""
        await self._event.wait()
        if self._lost:
            raise RuntimeFailed("the connection to systemd was lost")
        names = frozenset(self._names)
        self._names.clear()
        self._event.clear()
        return names

    def close(self) -> None:
        self._watchers.discard(self)


def _readable(units: Sequence[tuple[str, str]], refused: dict[str, str]) -> dict[str, UnitFile]:
    files = {}
    for name, text in units:
        try:
            UnitFolder(Path("/")).file(name)
            files[name] = parse(text)
        except InvalidUnit as error:
            refused[name] = str(error)
    return files


def _hash(text: str) -> str:
    try:
        return parse(text).hash
    except InvalidUnit:
        return ""


async def _load_error(bus: ManagerBus, unit: LoadedUnit) -> str:
    name, text = await bus.get(unit.path, UNIT, "LoadError")
    return str(text or name or unit.load)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _complain(what: str, refused: Mapping[str, str]) -> None:
    if refused:
        named = "; ".join(f"{name[:80]!r}: {reason}" for name, reason in list(refused.items())[:5])
        raise RuntimeFailed(f"systemd did not {what} {named}", refused=refused)
