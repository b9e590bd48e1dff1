"""A unit's life, decided: what happened to it → where it stands now, and what to do. systemd's service states, and nothing touched.

`step` is the only way in. The order of things, as in systemd.service(5):

    dead ─► start-pre ─► start ─► start-post ─► running ─► stop ─► stop-sigterm ─► stop-sigkill ─► stop-post ─► final-sigterm ─► dead
         (ExecStartPre)        (ExecStartPost)     │    (ExecStop)                            (ExecStopPost)  final-sigkill      failed
                                                exited (RemainAfterExit)                                                 auto-restart

A failure anywhere on the way up goes to stop-sigterm. `result` keeps the first thing that went wrong.
"""

from __future__ import annotations

import math
import signal

import msgspec

from argosy.agent.supervise.states import (
    AT_REST,
    STARTING,
    Action,
    CommandList,
    Elapsed,
    Empty,
    Event,
    Exit,
    Exited,
    Kill,
    Moment,
    Notified,
    NotSpawned,
    Reload,
    Role,
    Run,
    Say,
    Signal,
    Spawn,
    Spawned,
    Start,
    Stop,
    Sub,
    active,
)
from argosy.unit.command import Command
from argosy.unit.service import ServiceSpec

SUCCESS = "success"
MOST_MINE = 64
"""Processes of a run that are remembered: the latest (one that reloads every minute begins many)."""
EXEC = 203
"""The exit code that stands for a program that could not be executed."""
LISTS: dict[Sub, CommandList] = {
    Sub.START_PRE: "start_pre",
    Sub.START: "start",
    Sub.START_POST: "start_post",
    Sub.RELOAD: "reload",
    Sub.STOP: "stop",
    Sub.STOP_POST: "stop_post",
}
BEING_STOPPED = (Sub.STOP_SIGTERM, Sub.STOP_SIGKILL)
BEING_ENDED = (Sub.FINAL_SIGTERM, Sub.FINAL_SIGKILL)
KILLING = (Sub.STOP_SIGKILL, Sub.FINAL_SIGKILL)
STOPPING = (Sub.STOP, *BEING_STOPPED, Sub.STOP_POST, *BEING_ENDED)


def step(spec: ServiceSpec, run: Run, event: Event, now: Moment) -> tuple[Run, tuple[Action, ...]]:
    """What comes of an event. One that makes no sense where the unit stands changes nothing."""
    turn = _Turn(spec, run, now)
    turn.take(event)
    return turn.run, tuple(turn.actions)


def judge(spec: ServiceSpec, role: Role, ended: Exit, stopping: bool) -> str:
    """The result that the end of a process makes: success, exit-code, signal or core-dump.

    An unknown end counts as a failure, unless the process had been asked to end: what must run is started again.
    """
    if ended.kind == "unknown":
        return SUCCESS if stopping else "exit-code"
    if ended.kind == "exited":
        return SUCCESS if spec.is_success(ended.status, None, main=role == "main") else "exit-code"
    if ended.kind == "dumped":
        return "core-dump"
    return SUCCESS if spec.is_success(None, ended.status, main=role == "main") else "signal"


def commands(spec: ServiceSpec, name: CommandList) -> tuple[Command, ...]:
    found: tuple[Command, ...] = getattr(spec, name)
    return found


def for_group(spec: ServiceSpec, sub: Sub) -> bool:
    """Whether the signal of this state is for all processes (KillMode=)."""
    return spec.kill_mode == "control-group" or (spec.kill_mode == "mixed" and sub in KILLING)


def telling(spec: ServiceSpec, sub: Sub, result: str) -> Signal:
    """The signal that belongs to a state in which processes are told to end."""
    number = signal.SIGKILL if sub in KILLING else spec.kill_signal
    return Signal(number, "group" if for_group(spec, sub) else "main", f"{sub}, {result}")


def count_start(spec: ServiceSpec, run: Run, now: float) -> Run | None:
    """The run with one more start counted; None if the start limit forbids it. The count begins anew when the interval since its first
    start is over."""
    if spec.start_limit_interval <= 0 or spec.start_limit_burst <= 0:
        return run
    if run.limit_count == 0 or now - run.limit_begin > spec.start_limit_interval:
        return msgspec.structs.replace(run, limit_begin=now, limit_count=1)
    if run.limit_count >= spec.start_limit_burst:
        return None
    return msgspec.structs.replace(run, limit_count=run.limit_count + 1)


class _Turn:
    """One step in the making."""

    def __init__(self, spec: ServiceSpec, run: Run, now: Moment) -> None:
        self.spec = spec
        self.run = run
        self.now = now
        self.actions: list[Action] = []

    def take(self, event: Event) -> None:
        match event:
            case Start():
                self._start(event.invocation)
            case Stop():
                self._stop()
            case Kill():
                self._kill()
            case Reload():
                self._reload()
            case Spawned():
                self._spawned(event)
            case NotSpawned():
                self._not_spawned(event)
            case Exited():
                self._exited(event.role, event.exit)
            case Empty():
                self._empty()
            case Elapsed():
                self._elapsed()
            case Notified():
                self._notified(event)

    # ------------------------------------------------------------------ what is asked for

    def _start(self, invocation: str) -> None:
        if self.run.sub not in (*AT_REST, Sub.AUTO_RESTART):
            return
        counted = count_start(self.spec, self.run, self.now.monotonic)
        again = self.run.sub is Sub.AUTO_RESTART
        self._change(restarts=self.run.restarts + again, result=SUCCESS, exit=None, mine=(), invocation=invocation)
        self._change(no_restart=False, status="", started=self.now.wall)
        if counted is None:
            self._say("Start request repeated too quickly.")
            self._dead("start-limit-hit", restart=False)
            return
        self._change(limit_begin=counted.limit_begin, limit_count=counted.limit_count)
        if not self._begin(Sub.START_PRE, self.spec.timeout_start):
            self._start_main()

    def _stop(self) -> None:
        sub = self.run.sub
        if sub in AT_REST:
            return
        self._change(no_restart=True)
        if sub is Sub.AUTO_RESTART:
            self._change(result=SUCCESS)
            self._enter(Sub.DEAD)
        elif sub in (*STARTING, Sub.RELOAD):
            self._signal(Sub.STOP_SIGTERM, SUCCESS)
        elif sub in (Sub.RUNNING, Sub.EXITED):
            self._say("Stopping.")
            self._stop_commands()

    def _kill(self) -> None:
        sub = self.run.sub
        if sub in (*AT_REST, Sub.AUTO_RESTART):
            self._stop()
            return
        self._change(no_restart=True)
        late = sub in (Sub.STOP_POST, *BEING_ENDED)
        self._enter(Sub.FINAL_SIGKILL if late else Sub.STOP_SIGKILL, self.spec.timeout_stop)
        self.actions.append(Signal(signal.SIGKILL, "group", "killed on request"))

    def _reload(self) -> None:
        if self.run.sub is not Sub.RUNNING:
            return
        if not self._begin(Sub.RELOAD, self.spec.timeout_start):
            self._say("There is no ExecReload= to reload with.")

    # ------------------------------------------------------------------ the way up

    def _start_main(self) -> None:
        if not self.spec.start:
            self._start_post()
            return
        self._enter(Sub.START, self.spec.timeout_start)
        self._spawn("main", "start", 0)

    def _spawned(self, event: Spawned) -> None:
        run = self.run
        self._change(mine=(*run.mine[1 - MOST_MINE :], event.process), **{event.role: event.process})
        if event.role == "main" and run.sub is Sub.START and self.spec.type not in ("oneshot", "notify"):
            self._start_post()

    def _not_spawned(self, event: NotSpawned) -> None:
        self._say(event.why)
        command = self._command(event.role)
        if not event.result:
            skipped = event.exit.status == EXEC and command is not None and command.ignore_failure
            self._exited(event.role, Exit("exited", 0) if skipped else event.exit)
        elif self.run.sub is Sub.RELOAD:
            self._running(SUCCESS)
        elif self.run.sub in (*BEING_STOPPED, Sub.STOP_POST):
            self._signal(Sub.FINAL_SIGTERM, event.result)
        else:
            self._signal(Sub.STOP_SIGTERM, event.result)

    def _start_post(self) -> None:
        if not self._begin(Sub.START_POST, self.spec.timeout_start):
            self._running(SUCCESS)

    def _running(self, result: str) -> None:
        """Up, if there is something to be up: else down again, by the end of the main process or by a failure."""
        before = self.run.sub
        self._worst(result)
        if self.run.result != SUCCESS:
            self._signal(Sub.STOP_SIGTERM, result)
        elif self.run.main is not None:
            self._enter(Sub.RUNNING)
        elif self.spec.remain_after_exit:
            self._enter(Sub.EXITED)
        else:
            self._stop_commands()
        if before in STARTING and self.run.result == SUCCESS:
            self._say("Finished." if self.spec.type == "oneshot" else "Started.")

    # ------------------------------------------------------------------ ends of processes

    def _exited(self, role: Role, ended: Exit) -> None:
        command = self._command(role)
        result = judge(self.spec, role, ended, self.run.sub in STOPPING)
        if ended.kind != "exited" or ended.status:
            self._say(f"{'Main' if role == 'main' else 'Control'} process ended: {_shown(ended)}.")
        if command is not None and command.ignore_failure:
            result = SUCCESS
        if role == "main":
            self._change(main=None, exit=ended)
            self._worst(result)
            self._main_exited(result)
        else:
            self._change(control=None)
            if self.run.sub is not Sub.RELOAD:
                self._worst(result)
            self._control_exited(result)

    def _main_exited(self, result: str) -> None:
        sub = self.run.sub
        if sub is Sub.START:
            self._main_exited_early(result)
        elif sub in (Sub.RUNNING, Sub.RELOAD) and self.run.control is None:
            self._running(result)
        elif self.run.control is None:
            self._all_exited(result)

    def _main_exited_early(self, result: str) -> None:
        following = self.run.index + 1
        if result != SUCCESS:
            self._signal(Sub.STOP_SIGTERM, result)
        elif self.spec.type == "notify":
            self._say("The main process ended without saying that it is ready.")
            self._signal(Sub.STOP_SIGTERM, "protocol")
        elif self.spec.type != "oneshot":
            self._running(result)
        elif following < len(self.spec.start):
            self._spawn("main", "start", following)
        else:
            self._start_post()

    def _control_exited(self, result: str) -> None:
        sub = self.run.sub
        if sub in LISTS and result == SUCCESS and self.run.index + 1 < len(commands(self.spec, LISTS[sub])):
            self._spawn("control", LISTS[sub], self.run.index + 1)
        elif sub is Sub.START_PRE:
            if result == SUCCESS:
                self._start_main()
            else:
                self._signal(Sub.STOP_SIGTERM, result)
        elif sub in (Sub.START_POST, Sub.RELOAD):
            self._running(SUCCESS)
        elif sub is Sub.STOP:
            self._signal(Sub.STOP_SIGTERM, result)
        elif self.run.main is None:
            self._all_exited(result)

    def _all_exited(self, result: str) -> None:
        """Neither main nor control process is left, on the way down."""
        if self.run.sub in BEING_STOPPED:
            self._stop_post(result)
        elif self.run.sub is Sub.STOP_POST:
            self._signal(Sub.FINAL_SIGTERM, result)
        elif self.run.sub in BEING_ENDED and not for_group(self.spec, self.run.sub):
            self._empty()

    # ------------------------------------------------------------------ the way down

    def _stop_commands(self) -> None:
        if not self._begin(Sub.STOP, self.spec.timeout_stop):
            self._signal(Sub.STOP_SIGTERM, SUCCESS)

    def _stop_post(self, result: str) -> None:
        self._worst(result)
        if not self._begin(Sub.STOP_POST, self.spec.timeout_stop):
            self._signal(Sub.FINAL_SIGTERM, SUCCESS)

    def _signal(self, sub: Sub, result: str) -> None:
        """Enters a state in which processes are told to end, and tells them."""
        self._worst(result)
        self._enter(sub, self.spec.timeout_stop)
        if self.spec.kill_mode == "none":
            self._empty()
            return
        self.actions.append(telling(self.spec, sub, self.run.result))

    def _empty(self) -> None:
        run = self.run
        if self.spec.kill_mode != "none" and (run.main is not None or run.control is not None):
            return  # how they ended is still to come
        others = self.spec.kill_mode == "mixed" and self.spec.send_sigkill  # who have not been told yet
        if run.sub is Sub.STOP_SIGTERM and others:
            self._signal(Sub.STOP_SIGKILL, SUCCESS)
        elif run.sub in BEING_STOPPED:
            self._stop_post(SUCCESS)
        elif run.sub is Sub.FINAL_SIGTERM and others:
            self._signal(Sub.FINAL_SIGKILL, SUCCESS)
        elif run.sub in BEING_ENDED:
            self._dead(SUCCESS)

    def _dead(self, result: str, *, restart: bool = True) -> None:
        self._worst(result)
        self._change(main=None, control=None)
        result = self.run.result
        if result != SUCCESS:
            self._say(f"Failed with result '{result}'.")
        elif self.run.sub not in AT_REST:
            self._say("Deactivated successfully.")
        if restart and not self.run.no_restart and self.spec.restarts_after(result):
            self._enter(Sub.AUTO_RESTART, self.spec.restart_sec)
            self._say(f"Starting again in {self.spec.restart_sec:g} s, for the {_ordinal(self.run.restarts + 1)} time.")
        else:
            self._enter(Sub.DEAD if result == SUCCESS else Sub.FAILED)

    def _elapsed(self) -> None:
        sub = self.run.sub
        if sub in STARTING:
            self._say(f"Starting took longer than {self.spec.timeout_start:g} s.")
            self._signal(Sub.STOP_SIGTERM, "timeout")
        elif sub is Sub.RELOAD:
            self._say("Reloading took too long; killing the command.")
            self.actions.append(Signal(signal.SIGKILL, "control", "reload took too long"))
            self._running(SUCCESS)
        elif sub is Sub.STOP:
            self._signal(Sub.STOP_SIGTERM, "timeout")
        elif sub is Sub.STOP_SIGTERM and self.spec.send_sigkill:
            self._say("Stopping took too long; killing what is left.")
            self._signal(Sub.STOP_SIGKILL, "timeout")
        elif sub is Sub.STOP_SIGTERM:
            self._stop_post("timeout")
        elif sub is Sub.STOP_SIGKILL:
            self._say("There are processes that cannot be killed; going on without them.")
            self._stop_post("timeout")
        elif sub is Sub.STOP_POST:
            self._signal(Sub.FINAL_SIGTERM, "timeout")
        elif sub is Sub.FINAL_SIGTERM and self.spec.send_sigkill:
            self._signal(Sub.FINAL_SIGKILL, "timeout")
        elif sub in BEING_ENDED:
            self._dead("timeout", restart=False)

    # ------------------------------------------------------------------ what the unit itself says

    def _notified(self, said: Notified) -> None:
        if said.status is not None:
            self._change(status=said.status)
        if said.main is not None and said.main != self.run.main and self.run.sub in (*STARTING, Sub.RUNNING, Sub.RELOAD):
            self._change(main=said.main, mine=(*(pid for pid in self.run.mine if pid != said.main), said.main))
        if said.stopping and self.run.sub is Sub.RUNNING:
            self._enter(Sub.STOP_SIGTERM, self.spec.timeout_stop)
        elif said.ready and self.run.sub is Sub.START and self.spec.type == "notify":
            self._start_post()
        elif said.ready and self.run.sub is Sub.RELOAD and self.run.control is None:
            self._enter(Sub.RUNNING)
        elif said.reloading and self.run.sub is Sub.RUNNING:
            self._enter(Sub.RELOAD)

    # ------------------------------------------------------------------ tools

    def _begin(self, sub: Sub, timeout: float) -> bool:
        """Enters a state that runs a list of commands; False (and nothing done) if the list is empty."""
        if not commands(self.spec, LISTS[sub]):
            return False
        self._enter(sub, timeout)
        self._spawn("control", LISTS[sub], 0)
        return True

    def _spawn(self, role: Role, name: CommandList, index: int) -> None:
        self._change(index=index)
        self.actions.append(Spawn(role, name, index))

    def _command(self, role: Role) -> Command | None:
        """The command that a process is running; None where that no longer matters."""
        if role == "main":
            found = self.spec.start[self.run.index :] if self.run.sub is Sub.START else self.spec.start
        else:
            found = commands(self.spec, LISTS[self.run.sub])[self.run.index :] if self.run.sub in LISTS else ()
        return found[0] if found else None

    def _enter(self, sub: Sub, timeout: float = math.inf) -> None:
        deadline = self.now.monotonic + timeout if timeout < math.inf else 0.0
        if active(sub) != active(self.run.sub):
            self._change(since=self.now.wall)
        self._change(sub=sub, deadline=deadline)

    def _worst(self, result: str) -> None:
        if self.run.result == SUCCESS:
            self._change(result=result)

    def _change(self, **fields: object) -> None:
        self.run = msgspec.structs.replace(self.run, **fields)

    def _say(self, text: str) -> None:
        self.actions.append(Say(text))


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _shown(ended: Exit) -> str:
    if ended.kind == "unknown":
        return "nobody knows how"
    return f"code {ended.status}" if ended.kind == "exited" else f"{ended.kind} by SIG{ended.name}"
