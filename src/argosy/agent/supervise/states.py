"""The words of the supervisor: where a unit stands, what can happen to it, and what is done about it. Values only."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec


class Sub(StrEnum):
    """Where a unit stands: systemd's sub states, as far as a service without sockets, watchdog or conditions has them."""

    DEAD = "dead"
    START_PRE = "start-pre"
    START = "start"
    START_POST = "start-post"
    RUNNING = "running"
    EXITED = "exited"
    RELOAD = "reload"
    STOP = "stop"
    STOP_SIGTERM = "stop-sigterm"
    STOP_SIGKILL = "stop-sigkill"
    STOP_POST = "stop-post"
    FINAL_SIGTERM = "final-sigterm"
    FINAL_SIGKILL = "final-sigkill"
    FAILED = "failed"
    AUTO_RESTART = "auto-restart"


_ACTIVE = {
    Sub.DEAD: "inactive",
    Sub.FAILED: "failed",
    Sub.RUNNING: "active",
    Sub.EXITED: "active",
    Sub.RELOAD: "reloading",
    **dict.fromkeys((Sub.START_PRE, Sub.START, Sub.START_POST, Sub.AUTO_RESTART), "activating"),
}
AT_REST = (Sub.DEAD, Sub.FAILED)
UP = (Sub.RUNNING, Sub.EXITED, Sub.RELOAD)
STARTING = (Sub.START_PRE, Sub.START, Sub.START_POST)


def active(sub: Sub) -> str:
    """systemd's active state: inactive, activating, active, reloading, deactivating or failed."""
    return _ACTIVE.get(sub, "deactivating")


Role = Literal["main", "control"]
Whom = Literal["main", "control", "group"]
"""main: the main and the control process; group: every process of the run."""
CommandList = Literal["start_pre", "start", "start_post", "reload", "stop", "stop_post"]


class Pid(msgspec.Struct, frozen=True):
    """A process for as long as this boot lasts: its number and when it began (clock ticks since boot)."""

    pid: int
    start: int


class Exit(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a process ended, in systemd's words: `kind` is exited (then `status` is its code), killed or dumped (then `status` is the
    signal), or unknown: it was no child of ours, and the kernel (before 6.15) told only its parent. `name` is the signal's, without SIG."""

    kind: str
    status: int = 0
    name: str = ""

    @property
    def shown(self) -> str:
        """What $EXIT_STATUS holds."""
        return self.name or str(self.status)


UNKNOWN = Exit("unknown")


class Job(StrEnum):
    """What a unit is asked to come to. A waiting job waits for others (After=); one that has begun ends with a state."""

    NONE = ""
    START = "start"
    STARTING = "starting"
    STOP = "stop"
    STOPPING = "stopping"
    RESTART = "restart"
    RESTOPPING = "restopping"


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """One unit's life so far; all of it is kept on disk, so that a new supervisor goes on where the last one ended.

    `since` and `started` are Unix time, `deadline` and `limit_begin` are seconds since boot (0: none). `index` counts the commands of the
    present step. `exit` is the main process's. `mine` are the latest processes that this run began. `no_restart`: it was told to stop.
    """

    sub: Sub = Sub.DEAD
    job: Job = Job.NONE
    launch: int = 0
    since: float = 0.0
    started: float = 0.0
    restarts: int = 0
    result: str = "success"
    exit: Exit | None = None
    main: Pid | None = None
    control: Pid | None = None
    mine: tuple[Pid, ...] = ()
    index: int = 0
    invocation: str = ""
    deadline: float = 0.0
    no_restart: bool = False
    limit_begin: float = 0.0
    limit_count: int = 0
    status: str = ""


class Moment(msgspec.Struct, frozen=True):
    """Now: `monotonic` seconds since boot for delays, `wall` Unix time for people."""

    monotonic: float
    wall: float


# What can happen


class Start(msgspec.Struct, frozen=True):
    """Begin, as `invocation` (32 hexadecimal digits)."""

    invocation: str


class Stop(msgspec.Struct, frozen=True):
    pass


class Kill(msgspec.Struct, frozen=True):
    """End it at once, whatever its settings say."""


class Reload(msgspec.Struct, frozen=True):
    pass


class Spawned(msgspec.Struct, frozen=True):
    role: Role
    process: Pid


class NotSpawned(msgspec.Struct, frozen=True):
    """The command could not be executed. `exit` is how systemd's child would have ended, `result` another result than its exit code."""

    role: Role
    exit: Exit
    why: str
    result: str = ""


class Exited(msgspec.Struct, frozen=True):
    role: Role
    exit: Exit


class Empty(msgspec.Struct, frozen=True):
    """Of those that the latest signal was for, nobody is alive."""


class Elapsed(msgspec.Struct, frozen=True):
    """The deadline has passed."""


class Notified(msgspec.Struct, frozen=True):
    """What a unit said through its notify socket. `main` names another main process."""

    ready: bool = False
    reloading: bool = False
    stopping: bool = False
    status: str | None = None
    main: Pid | None = None


Event = Start | Stop | Kill | Reload | Spawned | NotSpawned | Exited | Empty | Elapsed | Notified


# What is done about it


class Spawn(msgspec.Struct, frozen=True):
    """Run command `index` of `list` as the main or the control process."""

    role: Role
    list: CommandList
    index: int


class Signal(msgspec.Struct, frozen=True):
    """Send a signal; then say Empty as soon as nobody is left whom it was for (for whom="control": say nothing)."""

    number: int
    whom: Whom
    reason: str


class Say(msgspec.Struct, frozen=True):
    """A line for the unit's log."""

    text: str


Action = Spawn | Signal | Say
