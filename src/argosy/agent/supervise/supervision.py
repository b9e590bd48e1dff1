"""The supervisor itself: units, what happens to them, and what is asked for. `plan` and `jobs` decide; here it is carried out."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from msgspec.structs import replace

from argosy import proc
from argosy.agent.supervise import host, jobs
from argosy.agent.supervise.jobs import Graph, Standing
from argosy.agent.supervise.notify import LONGEST_STATUS, Datagram
from argosy.agent.supervise.outputs import Outputs
from argosy.agent.supervise.plan import step
from argosy.agent.supervise.processes import Processes
from argosy.agent.supervise.saved import Files, SavedUnit, Settings, folder_name
from argosy.agent.supervise.states import (
    AT_REST,
    Elapsed,
    Event,
    Job,
    Kill,
    Moment,
    Notified,
    Pid,
    Reload,
    Run,
    Say,
    Signal,
    Spawn,
    Start,
    Stop,
    Sub,
)
from argosy.agent.supervise.unit import Text, Unit, understand
from argosy.errors import InvalidUnit
from argosy.launches import NONE
from argosy.model import Detail, Observed
from argosy.reconcile import Clock
from argosy.unit.names import check_name

RETRY_SECONDS = 5.0
"""How long until what could not be written to the disk is tried again."""


class Supervision:
    """All units of one supervisor. `changed` is told the names of units whose Observed may have changed, once a round."""

    def __init__(self, files: Files, outputs: Outputs, clock: Clock, changed: Callable[[Sequence[str]], None]) -> None:
        self._files = files
        self._outputs = outputs
        self._clock = clock
        self._tell_changed = changed
        self.processes: Processes
        self.units: dict[str, Unit] = {}
        self.ending = False
        self._events: deque[tuple[Unit, Event]] = deque()
        self._changed: set[str] = set()
        self._seen: dict[str, Observed] = {}
        self._graph = Graph({})
        self._graph_is_old = False
        self._retry_at = 0.0
        self.settings = files.settings()
        self._specifiers = host.specifiers(self.settings, files.boot)

    # ------------------------------------------------------------------ what is asked for

    def set(self, settings: Settings) -> None:
        """What the machine is called and what all units see; units are read anew with it."""
        if settings == self.settings:
            return
        self.settings = settings
        self._files.keep_settings(settings)
        self._specifiers = host.specifiers(settings, self._files.boot)
        self.processes.place = replace(self.processes.place, variables=self.variables)
        for unit in self.units.values():
            unit.text = self._understand(unit.name, unit.text.text)
        self._graph_is_old = True

    @property
    def variables(self) -> dict[str, str]:
        """What all units see, below their own variables."""
        language = {name: os.environ[name] for name in ("LANG", "TZ") if name in os.environ}
        return {**language, **self.settings.environment}

    def load(self, texts: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Returns those refused, and why."""
        refused = {}
        for name, text in texts:
            try:
                check_name(name)
                if "\0" in text:
                    raise InvalidUnit(f"{name}: the text holds a NUL byte; this is no unit file")
                self._outputs.prepare(name)
            except InvalidUnit as error:
                refused[name] = str(error)
            except OSError as error:
                refused[name] = f"no log for {name}: {error.strerror}"
            else:
                self._load(name, text)
        return refused

    def _load(self, name: str, text: str) -> None:
        unit = self.units.get(name)
        if unit is None:
            unit = self.units[name] = Unit(name, self._understand(name, text))
            self._say_ignored(unit)
        elif unit.leaving:
            unit.leaving, unit.anew = False, True
            self._replace(unit, self._understand(name, text))
        else:
            understood = self._understand(name, text)
            if understood.hash == unit.text.hash:
                return
            self._replace(unit, understood)
        self._files.keep_unit(unit.saved)
        self._graph_is_old = True
        self._changed.add(name)

    def _replace(self, unit: Unit, text: Text) -> None:
        if unit.run.sub not in AT_REST and unit.running is None:
            unit.running = unit.text
        unit.text = text
        self._become(unit, replace(unit.run, launch=NONE))
        self._say_ignored(unit)

    def restore(self, name: str, saved: SavedUnit | None, run: Run) -> None:
        """A unit that an earlier supervisor had loaded. Where its text is lost it can be stopped, and loaded again."""
        if saved is None:
            unit = Unit(name, Text("", "", None, "error", f"the file of {name} cannot be read: load it again"), run)
        else:
            unit = Unit(name, self._understand(name, saved.text), run)
            unit.running = self._understand(name, saved.running) if saved.running is not None else None
            unit.leaving = saved.leaving
        self.units[name] = unit
        self._graph_is_old = True
        self._changed.add(name)
        with contextlib.suppress(OSError):
            self._outputs.prepare(name)
        self._forget_if_left(unit)

    def unload(self, names: Iterable[str]) -> None:
        known = [name for name in names if name in self.units and not self.units[name].leaving]
        for name in known:
            self.units[name].leaving = True
        self._assign(jobs.stop(self._links(), self._standing, known))
        for name in known:
            self._files.keep_unit(self.units[name].saved)
            self._forget_if_left(self.units[name])

    def start(self, launches: Iterable[tuple[str, int]]) -> dict[str, str]:
        """Returns those refused, and why."""
        refused = {}
        accepted = []
        kept = set()
        for name, launch in launches:
            why = self._unstartable(name)
            if why:
                refused[name] = why
                continue
            unit = self.units[name]
            accepted.append(name)
            if unit.belongs_to(launch):
                kept.add(name)
                self._become(unit, replace(unit.run, launch=launch))
                continue
            run = replace(unit.run, launch=launch, limit_count=0, restarts=0)
            if run.sub in AT_REST or run.sub is Sub.AUTO_RESTART:
                run = replace(run, sub=Sub.DEAD, deadline=0.0, result="success", exit=None)
            self._become(unit, run)
        self._assign(jobs.start(self._links(), self._standing, accepted, kept))
        return refused

    def _unstartable(self, name: str) -> str:
        unit = self.units.get(name)
        if unit is None or unit.leaving:
            return f"{name} is not loaded here"
        if self.ending:
            return "the supervisor is being shut down"
        if unit.text.spec is None:
            return unit.text.error
        todo, seen = [name], {name}
        while todo:
            for other in self._links().needs.get(todo.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
                    if self.units[other].text.spec is None:
                        return f"{name} requires {other}, which cannot be run: {self.units[other].text.error}"
        return ""

    def stop(self, names: Iterable[str]) -> None:
        """Stops units and ends their launches."""
        known = [name for name in names if name in self.units]
        self._assign(jobs.stop(self._links(), self._standing, known), ended=known)

    def kill(self, names: Iterable[str]) -> None:
        for name in names:
            unit = self.units.get(name)
            if unit is not None:
                self._become(unit, replace(unit.run, job=Job.STOP, launch=NONE))
                self._events.append((unit, Kill()))

    def reload(self, names: Iterable[str]) -> dict[str, str]:
        """Runs ExecReload=. Returns those refused, and why."""
        refused = {}
        for name in names:
            unit = self.units.get(name)
            if unit is None or unit.spec is None or not unit.spec.reload:
                refused[name] = f"{name} is not loaded here" if unit is None else f"{name} has no ExecReload="
            elif unit.run.sub is not Sub.RUNNING:
                refused[name] = f"{name} does not run"
            else:
                self._events.append((unit, Reload()))
        return refused

    def end(self) -> None:
        """Stops everything; `ended` tells when that is done."""
        self.ending = True
        self.stop(list(self.units))

    @property
    def ended(self) -> bool:
        return self.ending and all(unit.run.sub in AT_REST for unit in self.units.values())

    def observed(self, names: Sequence[str] | None = None) -> tuple[Observed, ...]:
        wanted = sorted(self.units) if names is None else [name for name in names if name in self.units]
        return tuple(self.units[name].observed for name in wanted if not self.units[name].leaving)

    def detail(self, name: str) -> Detail | None:
        """None if there is no such unit."""
        unit = self.units.get(name)
        if unit is None or unit.leaving:
            return None
        members = self.processes.members(unit)
        spec = unit.text.spec
        return Detail(
            observed=unit.observed,
            description=spec.description if spec else "",
            path=str(self._files.folder / "units" / folder_name(name) / "unit"),
            main_command=" ".join(spec.start[0].argv) if spec and spec.start else "",
            processes=tuple((pid, proc.command_line(pid)) for pid in sorted(members)),
            memory=sum(member.memory for member in members.values()),
            cpu=sum(member.cpu for member in members.values()),
        )

    # ------------------------------------------------------------------ what happens

    def tell(self, unit: Unit, event: Event) -> None:
        self._events.append((unit, event))

    def notified(self, datagram: Datagram) -> None:
        """What a process says through the notify socket, if its unit lets it (NotifyAccess=)."""
        unit = self._sender(datagram.pid)
        if unit is None:
            return
        fields = datagram.fields
        main = None
        if fields.get("MAINPID", "").isdecimal():
            entry = proc.look(int(fields["MAINPID"][:10]))
            if entry is not None and entry.pid in self.processes.members(unit):
                main = Pid(entry.pid, entry.start)
                self.processes.adopt(unit, "main", main)
        self.tell(
            unit,
            Notified(
                ready=fields.get("READY") == "1",
                reloading=fields.get("RELOADING") == "1",
                stopping=fields.get("STOPPING") == "1",
                status=fields["STATUS"][:LONGEST_STATUS] if "STATUS" in fields else None,
                main=main,
            ),
        )

    def _sender(self, pid: int) -> Unit | None:
        for unit in self.units.values():
            access = unit.spec.notify_access if unit.spec else "none"
            run = unit.run
            if run.sub in AT_REST or access == "none":
                continue
            if run.main is not None and run.main.pid == pid:
                return unit
            if access in ("exec", "all") and run.control is not None and run.control.pid == pid:
                return unit
            if access == "all" and pid in self.processes.members(unit):
                return unit
        return None

    def round(self) -> float | None:
        """Does all that can be done now; seconds until there is something to do by itself, None if there is nothing."""
        self.processes.forget_table()
        self._fire()
        while self._take_events() or self.processes.check() or self._advance():
            pass
        self._push()
        now = self._clock.monotonic()
        if self._files.trouble and now >= self._retry_at:
            self._files.retry()
            self._retry_at = now + RETRY_SECONDS
        deadlines = [unit.run.deadline for unit in self.units.values() if unit.run.deadline]
        if self._files.trouble:
            deadlines.append(self._retry_at)
        return max(0.0, min(deadlines) - now) if deadlines else None

    def _fire(self) -> None:
        now = self._clock.monotonic()
        for unit in self.units.values():
            run = unit.run
            if not run.deadline or run.deadline > now:
                continue
            unit.run = replace(run, deadline=0.0)
            if run.sub is not Sub.AUTO_RESTART:
                self.tell(unit, Elapsed())
            elif run.job is Job.NONE:
                self._assign(jobs.start(self._links(), self._standing, [unit.name]))

    def _take_events(self) -> bool:
        did = bool(self._events)
        while self._events:
            unit, event = self._events.popleft()
            try:
                self._apply(unit, event)
            except Exception:  # one unit's trouble must not end the others' supervisor
                sys.stderr.write(f"{unit.name}: {event} was not handled\n{traceback.format_exc()}")
                unit.run = replace(unit.run, job=Job.NONE)
        return did

    def _apply(self, unit: Unit, event: Event) -> None:
        if isinstance(event, Start):
            self._drop_old_text(unit)
        spec = unit.bare_spec
        run, actions = step(spec, unit.run, event, Moment(self._clock.monotonic(), self._clock.now()))
        if isinstance(event, Start | Stop):
            run = replace(run, job=jobs.begun(run.job))
        self._become(unit, run)
        for action in actions:
            match action:
                case Say():
                    self._outputs.say(unit.name, action.text)
                case Signal():
                    self.processes.signal(unit, action)
                case Spawn():
                    self.processes.release(unit)  # what is begun now is not of those that were told to end
                    self._events.appendleft((unit, self.processes.spawn(unit, spec, action)))

    def _become(self, unit: Unit, run: Run) -> None:
        """Where the unit stands from now on: kept, shown, and its job ended if this is what the job was for."""
        job, went_well = jobs.settle(run.job, run.sub)
        if job is not run.job:
            run = replace(run, job=job)
        if run == unit.run:
            return
        if run.sub in AT_REST and unit.run.sub not in AT_REST:
            self.processes.release(unit)
            self._drop_old_text(unit)
            if unit.anew:
                unit.anew = False
                run = Run(job=run.job, launch=run.launch)
        unit.run = run
        self._files.keep_run(unit.name, run)
        self._changed.add(unit.name)
        if went_well is False:
            for name in jobs.casualties(self._links(), self._standing, unit.name):
                other = self.units[name]
                self._outputs.say(name, f"Not started: {unit.name}, which it requires, failed.")
                self._become(other, replace(other.run, sub=Sub.DEAD, job=Job.NONE, result="dependency", exit=None, invocation=""))
        self._forget_if_left(unit)

    def _drop_old_text(self, unit: Unit) -> None:
        """From here on the newest text counts."""
        if unit.running is not None:
            unit.running = None
            self._files.keep_unit(unit.saved)

    def _forget_if_left(self, unit: Unit) -> None:
        if unit.leaving and unit.run.sub in AT_REST and self.units.get(unit.name) is unit:
            del self.units[unit.name]
            self._files.forget(unit.name)
            self._outputs.close(unit.name)
            self._graph_is_old = True
            self._changed.add(unit.name)

    # ------------------------------------------------------------------ jobs

    def _assign(self, assigned: dict[str, Job], ended: Collection[str] = ()) -> None:
        """Jobs for units; of those in `ended` the launch is over."""
        for name, job in assigned.items():
            run = self.units[name].run
            self._become(self.units[name], replace(run, job=job, launch=NONE if name in ended else run.launch))

    def _advance(self) -> bool:
        """Begins the jobs that need not wait; False if there was none."""
        for name, other in jobs.unbound(self._links(), self._standing).items():
            self._outputs.say(name, f"Stopping: {other}, which it is bound to, does not run.")
            self._assign(jobs.stop(self._links(), self._standing, [name]))
        pending = {name: unit.run.job for name, unit in self.units.items() if unit.run.job is not Job.NONE}
        if not pending:
            return False
        names, circular = jobs.ready(self._links(), self._standing, pending)
        for name in names:
            unit = self.units[name]
            if circular:
                self._outputs.say(name, "After= goes round in a circle: not waiting.")
            if unit.run.job is not Job.START:
                self._events.append((unit, Stop()))
            elif unit.text.spec is not None:
                self._events.append((unit, Start(os.urandom(16).hex())))
            else:
                self._outputs.say(name, "Not started: its newest text cannot be run.")
                self._become(unit, replace(unit.run, job=Job.NONE, sub=Sub.FAILED, result="resources"))
        return bool(names)

    def _standing(self, name: str) -> Standing:
        run = self.units[name].run
        return Standing(run.sub, run.job)

    def _links(self) -> Graph:
        if self._graph_is_old:
            self._graph = Graph({name: unit.links for name, unit in self.units.items()})
            self._graph_is_old = False
        return self._graph

    # ------------------------------------------------------------------ tools

    def _understand(self, name: str, text: str) -> Text:
        fragment = str(self._files.folder / "units" / folder_name(name) / "unit")
        return understand(name, text, replace(self._specifiers, name=name, fragment=fragment))

    def _say_ignored(self, unit: Unit) -> None:
        if unit.text.error:
            self._outputs.say(unit.name, f"Cannot be run: {unit.text.error}")
        for line in unit.text.ignored:
            self._outputs.say(unit.name, f"Not honoured: {line}")

    def _push(self) -> None:
        """Tells of units that look different from when they were last told of."""
        if not self._changed:
            return
        names = []
        for name in sorted(self._changed):
            unit = self.units.get(name)
            now = unit.observed if unit is not None and not unit.leaving else None
            if now != self._seen.get(name):
                names.append(name)
                if now is None:
                    self._seen.pop(name, None)
                else:
                    self._seen[name] = now
        self._changed.clear()
        if names:
            with contextlib.suppress(OSError):
                self._tell_changed(names)
