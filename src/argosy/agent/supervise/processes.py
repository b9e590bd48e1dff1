"""The processes of units: started, watched until they end (children and others alike), told to end, and found again."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Callable

from argosy import proc
from argosy.agent.supervise import exits, family
from argosy.agent.supervise.family import Marks, Table
from argosy.agent.supervise.loop import Loop
from argosy.agent.supervise.outputs import Outputs
from argosy.agent.supervise.plan import commands
from argosy.agent.supervise.spawn import CannotSpawn, Place, mark, spawn
from argosy.agent.supervise.states import UNKNOWN, Empty, Event, Exit, Exited, NotSpawned, Pid, Role, Run, Signal, Spawn, Spawned
from argosy.agent.supervise.unit import Unit
from argosy.proc import Process
from argosy.unit.service import ServiceSpec

Tell = Callable[[Unit, Event], None]


class Processes:
    """Turns actions into signals and processes, and their ends into events (`tell`)."""

    def __init__(self, loop: Loop, place: Place, outputs: Outputs, tell: Tell) -> None:
        self._loop = loop
        self.place = place
        self._outputs = outputs
        self._tell = tell
        self._table: Table | None = None
        self._marks = Marks(family.mark_of)
        self._children: dict[int, Unit] = {}
        self._others: dict[Pid, int] = {}
        self._suspects: list[Unit] = []

    # ------------------------------------------------------------------ beginning

    def spawn(self, unit: Unit, spec: ServiceSpec, action: Spawn) -> Event:
        """What came of it: Spawned or NotSpawned."""
        command = commands(spec, action.list)[action.index]
        try:
            output = self._outputs.open(unit.name)
        except OSError as error:
            return NotSpawned(action.role, Exit("exited", 209), f"no pipe for the output: {error.strerror}", "resources")
        self._outputs.begins(unit.name)
        try:
            pid = spawn(self.place, spec, unit.run, action.role, action.list, command, output)
        except CannotSpawn as error:
            self._outputs.is_by(unit.name, 0, "-")
            return NotSpawned(action.role, error.exit, str(error), error.result)
        finally:
            os.close(output)
        self._outputs.is_by(unit.name, pid.pid, command.path)
        self._children[pid.pid] = unit
        self._table = None
        return Spawned(action.role, pid)

    def adopt(self, unit: Unit, role: Role, pid: Pid) -> None:
        """Goes on watching a process that an earlier supervisor started, or that the unit named."""
        entry = proc.look(pid.pid)
        if entry is not None and entry.start == pid.start:
            if entry.parent == os.getpid():
                self._children[pid.pid] = unit
                return
            if not entry.dead:
                self._watch(unit, pid)
                return
        self._tell(unit, Exited(role, exits.of_zombie(pid) or UNKNOWN))

    # ------------------------------------------------------------------ ending

    def reap(self) -> list[int]:
        """Takes note of children that have died; returns those that belong to no unit."""
        strangers = []
        for pid, ended in exits.reaped():
            unit = self._children.pop(pid, None)
            if unit is None:
                strangers.append(pid)
            else:
                self._ended(unit, pid, ended)
        return strangers

    def _ended(self, unit: Unit, pid: int, ended: Exit) -> None:
        run = unit.run
        if run.main is not None and run.main.pid == pid:
            self._tell(unit, Exited("main", ended))
        elif run.control is not None and run.control.pid == pid:
            self._tell(unit, Exited("control", ended))
        if unit.telling and not unit.awaited:
            self._suspects.append(unit)  # its group was found empty before we heard how this one ended

    def _watch(self, unit: Unit, pid: Pid) -> None:
        if pid in self._others:
            return
        try:
            fd = os.pidfd_open(pid.pid)
        except OSError:
            self._ended(unit, pid.pid, UNKNOWN)
            return
        self._others[pid] = fd
        self._loop.on_readable(fd, functools.partial(self._other_ended, unit, pid))

    def _other_ended(self, unit: Unit, pid: Pid) -> None:
        fd = self._others.pop(pid)
        ended = exits.of_another(fd, pid)
        self._loop.forget(fd)
        os.close(fd)
        self._ended(unit, pid.pid, ended)

    # ------------------------------------------------------------------ telling to end

    def signal(self, unit: Unit, action: Signal) -> None:
        run = unit.run
        own = [pid for pid in (run.main, run.control) if pid is not None]
        if action.whom == "control":
            self._send(action.number, own[len(own) - 1 :] if run.control is not None else [])
            return
        if action.whom == "main":
            self.release(unit)
            if not self._send(action.number, own):
                self._tell(unit, Empty())
            return
        unit.telling = action.number
        members = self.members(unit)
        first = [pid.pid for pid in own]  # a shell must not see its child die before it hears the same: it would exit, with a code
        for pid in sorted(members, key=lambda pid: pid not in first):
            family.send(action.number, members[pid])
        self._await(unit, members)

    def _send(self, number: int, pids: list[Pid]) -> bool:
        told = False
        for pid in pids:
            entry = proc.look(pid.pid)
            if entry is not None and not entry.dead and entry.start == pid.start:
                told = family.send(number, entry) or told
        return told

    def _await(self, unit: Unit, members: dict[int, Process]) -> None:
        """Says Empty when all of them are gone, and no others have come."""
        for member in members.values():
            pid = Pid(member.pid, member.start)
            if pid not in unit.awaited:
                with contextlib.suppress(ProcessLookupError):
                    unit.awaited[pid] = os.pidfd_open(member.pid)
                    self._loop.on_readable(unit.awaited[pid], functools.partial(self._gone, unit, pid))
        if not unit.awaited:
            self._tell(unit, Empty())

    def _gone(self, unit: Unit, pid: Pid) -> None:
        fd = unit.awaited.pop(pid)
        self._loop.forget(fd)
        os.close(fd)
        if not unit.awaited:
            self._suspects.append(unit)

    def check(self) -> bool:
        """Looks whether groups whose processes have ended are empty now; False if there was nothing to look for."""
        if not self._suspects:
            return False
        suspects, self._suspects, self._table = self._suspects, [], None
        for unit in suspects:
            if not unit.telling:
                continue
            members = self.members(unit)
            if unit.telling == signal.SIGKILL:
                for member in members.values():
                    family.send(signal.SIGKILL, member)
            self._await(unit, members)
        return True

    def release(self, unit: Unit) -> None:
        """Nobody waits for the group any more."""
        unit.telling = 0
        for fd in unit.awaited.values():
            if fd >= 0:
                self._loop.forget(fd)
                os.close(fd)
        unit.awaited.clear()

    # ------------------------------------------------------------------ finding

    def members(self, unit: Unit) -> dict[int, Process]:
        """All processes of the unit's present run that are alive."""
        run = unit.run
        if not run.invocation:
            return {}
        started = {*run.mine, *(pid for pid in (run.main, run.control) if pid is not None)}
        return self.table().family([(pid.pid, pid.start) for pid in started], mark(self.place.folder, unit.name, run.invocation))

    def table(self) -> Table:
        """All processes, as they were when somebody last asked in this round of the loop."""
        if self._table is None:
            self._table = Table(marks=self._marks)
        return self._table

    def forget_table(self) -> None:
        self._table = None

    def begun(self, unit: Unit, run: Run) -> Pid | None:
        """A process of this run that leads a session of its own and is not known to it: begun, and then the supervisor was killed."""
        known = {pid.pid for pid in run.mine}
        found = None
        for entry, name, invocation in self.table().marked(self.place.folder):
            if name == unit.name and invocation == run.invocation and entry.session == entry.pid and entry.pid not in known:
                found = Pid(entry.pid, entry.start)
        return found

    def running(self, unit: str) -> tuple[Pid, str] | None:
        """The eldest process that carries the unit's mark, and the invocation on it: all that is left when the files are lost."""
        for entry, name, invocation in self.table().marked(self.place.folder):
            if name == unit and entry.session == entry.pid:
                return Pid(entry.pid, entry.start), invocation
        return None
