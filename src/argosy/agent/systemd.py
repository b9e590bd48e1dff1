"""Units run by systemd itself, over D-Bus: the system's manager or a user's own.

Unit files are written into a folder of ours and linked into the manager for its lifetime, as fleet did. What systemd tells in signals is
kept; nothing is polled. Loading new units needs no reload of the manager; nor do changed ones that systemd does not have in memory.

systemd is not asked to hold units in memory for us (RefUnit): for each that it holds, its connection to the bus gets a match rule, of
which a dbus-daemon allows 512. It forgets a unit that does not run as soon as nothing refers to it, and reads its file when it is needed
again; what must be known of such a unit is told in the signals before, and remembered here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, Self

from dbus_fast import Message

from argosy import proc
from argosy.agent.journal import read_journal
from argosy.agent.systemd_bus import MANAGER, UNIT, CallFailed, ManagerBus
from argosy.agent.systemd_scope import Scope, private_socket
from argosy.agent.systemd_unit import SERVICE_PROPERTIES, UNIT_PROPERTIES, LoadedUnit, Memory
from argosy.agent.unit_folder import UnitFolder
from argosy.errors import InvalidUnit, NotFound, RuntimeFailed
from argosy.model import Detail, LogLine, Observed
from argosy.unit.parse import UnitFile
from argosy.unit.text import unit_text
from argosy.verdict import AT_REST

log = logging.getLogger(__name__)

SERVICE = "org.freedesktop.systemd1.Service"
KILL = 9
UNKNOWN = 2**64 - 1
"""What systemd says for a number that it does not have."""
FORGOTTEN = ("loaded", "inactive", "dead")
"""What a unit is that systemd does not have in memory."""
FORGETTING = 0.1
"""Seconds given to systemd to forget a unit that was unloaded, before it is made to by a reload."""


class SystemdRuntime:
    """The Runtime contract on systemd. Made by `connect`; a lost connection is made anew by the next call."""

    def __init__(self, scope: Scope, folder: Path, socket: Path | None = None) -> None:
        """`folder` (absolute) holds the unit files; `socket` is the manager's private socket, None for the usual one. Nothing is connected
        until something is asked."""
        self.kind = "systemd" if scope == "system" else "systemd-user"
        self._scope = scope
        self._socket = socket or private_socket(scope)
        self._folder = UnitFolder(folder)
        self._units: dict[str, LoadedUnit] = {}
        self._paths: dict[str, LoadedUnit] = {}
        self._watchers: set[Watcher] = set()
        self._ended_jobs: set[str] = set()
        """Those that ended while calls that make jobs are under way: the end may be told before the answer."""
        self._asking = 0
        self._bus: ManagerBus | None = None
        self._broken: ManagerBus | None = None
        self._manager = ""
        self._connecting = asyncio.Lock()
        self._changing = asyncio.Lock()
        self._remembering = asyncio.Lock()
        self._kept: dict[str, Memory] = {}
        self._ended: set[str] = set()
        """Units that came to rest and of which that is not remembered yet."""
        self._forgetful = False
        self._reloaded = False
        self._closed = False

    @classmethod
    async def connect(cls, scope: Scope, folder: Path, socket: Path | None = None) -> Self:
        """Make the runtime and connect it at once. Raises RuntimeFailed where no systemd answers."""
        runtime = cls(scope, folder, socket)
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
                bus = await ManagerBus.connect(self._scope, self._socket, self._paths, self._on_signal, self._on_lost)
                try:
                    await self._take_over(bus)
                except BaseException:
                    await bus.close()
                    raise
                self._bus = bus
            elif self._reloaded:
                self._reloaded = False
                await self._read_again(self._bus)
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
        self._manager = f"{await asyncio.to_thread(proc.boot_id)} {started}"
        texts, self._kept, linked = await asyncio.to_thread(self._read_folder)
        self._units = {name: LoadedUnit(name, unit_text(text).hash, self._kept.get(name)) for name, text in texts.items()}
        self._paths.clear()
        self._paths.update((unit.path, unit) for unit in self._units.values())
        self._reloaded = False
        lost = self._units.keys() - linked
        if lost:
            await self._link(bus, _readable([(name, texts[name]) for name in lost], {}))
            await bus.call("Reload")
        in_memory = await self._in_memory(bus)
        await self._read(bus, [unit for unit in self._units.values() if unit.name in in_memory or unit.name in lost])
        with self._noting_ended_jobs():
            jobs = {row[1]: (row[2], row[4]) for row in await bus.call("ListJobs") if row[4] not in self._ended_jobs}
        for unit in self._units.values():
            unit.recover(jobs)
        await self._remember(self._units.values())

    def _read_folder(self) -> tuple[dict[str, str], dict[str, Memory], set[str]]:
        """Texts, what is remembered, and which units are linked into the manager."""
        self._folder.prepare()
        texts = self._folder.texts()
        links = self._socket.parent / self._scope
        return texts, self._folder.memories(texts, self._manager), {name for name in texts if os.path.exists(links / name)}

    async def _in_memory(self, bus: ManagerBus) -> dict[str, tuple[str, str, str]]:
        """(load, active, sub) of all units that systemd has in memory."""
        return {row[0]: (row[2], row[3], row[4]) for row in await bus.call("ListUnits")}

    async def _read_again(self, bus: ManagerBus) -> None:
        """After a reload: reads units that are not as they were, or that could not be loaded."""
        in_memory = await self._in_memory(bus)
        doubtful = [
            unit
            for unit in self._units.values()
            if unit.load != "loaded" or in_memory.get(unit.name, FORGOTTEN)[1:] != (unit.state, unit.sub)
        ]
        await self._read(bus, doubtful)

    async def _read(self, bus: ManagerBus, units: Sequence[LoadedUnit], *, untouched: Set[str] = frozenset()) -> None:
        """Has systemd load units and reads all about them; there is nothing more to read of those that it has never run."""
        wanted = {unit.name: unit for unit in units}
        touched = wanted.keys() - untouched
        for row in await bus.chunked("ListUnitsByNames", "as", list(wanted)):
            if row[0] in wanted:
                wanted[row[0]].load = row[2]
                if (row[2], row[3]) != ("loaded", "inactive"):
                    touched.add(row[0])
        await asyncio.gather(*(self._read_one(bus, wanted[name]) for name in touched))

    async def _read_one(self, bus: ManagerBus, unit: LoadedUnit) -> None:
        while True:
            news = unit.news
            interface = SERVICE if unit.name.endswith(".service") else ""
            values = await asyncio.gather(*(bus.get(unit.path, UNIT, name) for name in UNIT_PROPERTIES))
            read: dict[str, Any] = dict(zip(UNIT_PROPERTIES, values, strict=True))
            if interface:
                values = await asyncio.gather(*(bus.get(unit.path, interface, name) for name in SERVICE_PROPERTIES))
                read |= dict(zip(SERVICE_PROPERTIES, values, strict=True))
            unit.error = "" if unit.load == "loaded" else await self._load_error(bus, unit)
            if unit.news == news:
                unit.told(read, complete=True)
                self._push(unit.name)
                return

    async def _load_error(self, bus: ManagerBus, unit: LoadedUnit) -> str:
        """systemd's word; of a bad setting it tells no more than that there is one, so what `verify` finds is added."""
        name, text = await bus.get(unit.path, UNIT, "LoadError")
        found = []
        if unit.load == "bad-setting":
            found = await asyncio.to_thread(self._folder.problems, unit.name)
        return "; ".join((str(text or name or unit.load), *found))

    def _on_signal(self, message: Message) -> None:
        if message.member == "PropertiesChanged":
            unit = self._paths.get(str(message.path))
            if unit is not None:
                whole = message.body[0] == UNIT
                unit.told({name: variant.value for name, variant in message.body[1].items()}, complete=whole)
                if whole:
                    self._note(unit)
        elif message.member == "JobRemoved":
            _, job, name, result = message.body
            if self._asking:
                self._ended_jobs.add(job)
            if name in self._units:
                self._units[name].job_ended(job, result)
                self._note(self._units[name])
        elif message.member == "Reloading" and not message.body[0]:
            self._reloaded = True
            self._push(*self._units)

    def _note(self, unit: LoadedUnit) -> None:
        if unit.at_rest:
            self._ended.add(unit.name)
        self._push(unit.name)

    def _push(self, *names: str) -> None:
        for watcher in self._watchers:
            watcher.tell(names)

    # ---------------------------------------------------------------- load and unload

    async def load(self, units: Sequence[tuple[str, str]]) -> None:
        bus = await self._connection()
        async with self._changing:
            refused: dict[str, str] = {}
            files = _readable(units, refused)
            present = await self._present(bus, list(files))
            for name, (_, active) in present.items():
                if name not in self._units and active not in AT_REST:
                    refused[name] = f"this machine has a {name} of its own that is {active}; give the unit another name"
            files = {name: file for name, file in files.items() if name not in refused}
            changed = await asyncio.to_thread(self._write, files, refused)
            new = {name: file for name, file in changed.items() if name not in self._units}
            refused |= await self._link(bus, new)
            if any(name in changed and load == "loaded" for name, (load, _) in present.items()):
                await bus.call("Reload")
            await self._know(bus, {name: file for name, file in changed.items() if name not in refused}, files.keys() - present.keys())
        _complain("load", refused)

    async def _present(self, bus: ManagerBus, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """(load, active) of units of these names that systemd has in memory, whoever put them there."""
        answers = await bus.each("GetUnit", "s", *((name,) for name in names))
        found = [name for name, answer in zip(names, answers, strict=True) if not isinstance(answer, CallFailed)]
        return {row[0]: (row[2], row[3]) for row in await bus.chunked("ListUnitsByNames", "as", found)}

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
        await self._remember(units)
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
                self._kept.pop(unit.name, None)
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
        if not await self._remember(units):
            for unit in units:
                unit.refused()
                refused[unit.name] = f"the launch cannot be remembered in {self._folder.path}; is the disk full?"
            _complain("start", refused)
        await bus.each("ResetFailedUnit", "s", *((name,) for name in again))
        calls = [("RestartUnit" if unit.pending == "restart" else "StartUnit", unit) for unit in units]
        with self._noting_ended_jobs():
            answers = await asyncio.gather(
                *(bus.call(member, "ss", unit.name, "replace") for member, unit in calls), return_exceptions=True
            )
            for unit, answer in zip(units, answers, strict=True):
                if isinstance(answer, CallFailed):
                    unit.refused()
                    refused[unit.name] = unit.error or str(answer)
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    unit.accepted()
                    self._job(unit, answer)
        await self._remember(units)
        self._push(*(unit.name for unit in units))
        _complain("start", refused)

    @contextmanager
    def _noting_ended_jobs(self) -> Iterator[None]:
        """Around calls that make jobs, however many, until their answers have been given to `_job`."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            if not self._asking:
                self._ended_jobs.clear()

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
        await self._remember(units)
        with self._noting_ended_jobs():
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
        await self._remember(units)
        self._push(*(unit.name for unit in units))
        return refused

    async def kill(self, names: Sequence[str]) -> None:
        bus = await self._connection()
        units = [self._units[name] for name in dict.fromkeys(names) if name in self._units]
        refused = await self._stop(bus, units)
        await bus.each("KillUnit", "ssi", *((unit.name, "all", KILL) for unit in units if not unit.at_rest))
        _complain("kill", refused)

    # ---------------------------------------------------------------- looking

    async def units(self, names: Iterable[str] | None = None) -> dict[str, Observed]:
        await self._connection()
        if self._ended:
            ended, self._ended = self._ended, set()
            await self._remember([self._units[name] for name in ended if name in self._units])
        if names is None:
            return {name: unit.observed() for name, unit in self._units.items()}
        return {name: self._units[name].observed() for name in names if name in self._units}

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

    async def _remember(self, units: Iterable[LoadedUnit]) -> bool:
        """Keeps what systemd will not: launches, and how units ended. False, with a line in the log, if that is impossible now."""
        async with self._remembering:
            news = {unit.name: memory for unit in units if (memory := unit.keep(self._manager)) != self._kept.get(unit.name)}
            try:
                if news:
                    await asyncio.to_thread(self._folder.remember, news)
            except OSError as error:
                self._ended |= news.keys()
                if not self._forgetful:
                    log.error("cannot write the launches of units in %s: %s", self._folder.path, error.strerror)
                self._forgetful = True
                return False
            self._kept |= news
            self._forgetful = False
            return True

    async def close(self) -> None:
        if self._closed:
            return
        async with self._connecting:
            self._closed = True
            if self._bus is not None:
                await self._remember(list(self._units.values()))
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
        except InvalidUnit as error:
            refused[name] = str(error)
            continue
        known = unit_text(text)
        if known.unreadable is not None:
            refused[name] = str(known.unreadable)
        else:
            files[name] = known.file
    return files


def _complain(what: str, refused: Mapping[str, str]) -> None:
    if refused:
        named = "; ".join(f"{name[:80]!r}: {reason}" for name, reason in list(refused.items())[:5])
        raise RuntimeFailed(f"systemd did not {what} {named}", refused=refused)
