"""One unit of systemd as its signals tell it, and what the agent sees of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from argosy.agent.systemd_bus import object_path
from argosy.launches import NONE, joins
from argosy.model import Observed
from argosy.verdict import AT_REST

FAILED_JOBS = frozenset({"dependency", "timeout", "assert", "unsupported", "invalid"})
"""Results of a start job after which the unit has not run, though systemd calls it merely inactive."""

UNIT_PROPERTIES = ("ActiveState", "SubState", "StateChangeTimestamp", "InactiveExitTimestamp", "InvocationID")
SERVICE_PROPERTIES = ("MainPID", "Result", "NRestarts", "ExecMainCode", "ExecMainStatus")
PRESENT = ("ActiveState", "SubState", "MainPID")
"""Properties that tell what a unit is now, whether it has run or not."""
CLD_EXITED = 1
NEVER_RUN: dict[str, Any] = dict.fromkeys(
    ("StateChangeTimestamp", "InactiveExitTimestamp", "NRestarts", "ExecMainCode", "ExecMainStatus"), 0
) | {"Result": "success", "InvocationID": b""}
START_JOBS = frozenset({"start", "restart", "try-restart", "reload-or-start"})
"""Types of systemd's jobs after which a unit runs."""
BETWEEN_RUNS = ("failed", "auto-restart")
"""Sub-states that tell of the run before, while the next start is under way."""


class Ended(msgspec.Struct, frozen=True):
    """How a unit ended; systemd forgets this of a unit that is inactive as soon as nobody refers to it."""

    code: int | None = None
    result: str = "success"
    since: float = 0.0
    started: float = 0.0
    invocation: str = ""


class Launch(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of a unit beside its file, whose text has the `hash`. `asked`: when (Unix time) `launch` was asked of systemd,
    which has `accepted` it or not yet; `before` is the launch before that one. `stopped`: a stop was asked, so that `launch` is 0. `past`
    is the latest invocation before this launch, `outdated` one that runs by an older text."""

    launch: int = 0
    asked: float = 0.0
    before: int = 0
    accepted: bool = False
    stopped: bool = False
    ended: Ended | None = None
    hash: str = ""
    past: str = ""
    outdated: str = ""


class Memory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of a unit. `manager` names the running instance of systemd that the launch was asked of; another one knows nothing
    of it. `load` and `error` are what systemd said of the unit's text."""

    manager: str
    launch: Launch
    load: str = "loaded"
    error: str = ""


class LoadedUnit:
    """Everything known of one unit. `told` takes properties as systemd sends them: those of its type first, those of Unit right after."""

    def __init__(self, name: str, digest: str, memory: Memory | None = None) -> None:
        self.name = name
        self.path = object_path(name)
        self.hash = digest
        known = memory is not None and memory.launch.hash == digest
        self.launch = memory.launch if memory is not None and known else Launch(hash=digest)
        self.load = memory.load if memory is not None and known else "loaded"
        self.error = memory.error if memory is not None and known else ""
        self.pending = ""
        """start, restart or stop: a job of ours that has not ended."""
        self.job = ""
        self.job_result = ""
        self.news = 0
        """Counts what systemd told, so that a slower answer does not overwrite it."""
        self._properties: dict[str, Any] = {}
        self._arriving: dict[str, Any] = {}
        self._past = 0
        self._unrun = ""
        """The latest invocation when `job_result` came: it tells of no later one."""
        self._asked = False
        """Whether the latest start was asked since this object was made, so that systemd cannot have forgotten its end."""

    def told(self, changed: Mapping[str, Any], *, complete: bool) -> None:
        """Takes in changed properties; they count once `complete` (a change comes in two signals). Of a unit that systemd had dropped from
        memory and loaded again, it tells that it never ran: what was told of its latest run stands."""
        for name in SERVICE_PROPERTIES + UNIT_PROPERTIES:
            if name in changed:
                self._arriving[name] = changed[name]
        if complete:
            if self.started and self._arriving.get("InactiveExitTimestamp") == 0:
                self._arriving = {name: value for name, value in self._arriving.items() if name in PRESENT}
            self._properties.update(self._arriving)
            self._arriving.clear()
            if self._past and self._properties.get("InactiveExitTimestamp") == self._past:
                self._properties.update(NEVER_RUN)
            self.news += 1

    def begin_anew(self) -> None:
        """A unit just loaded of which systemd still remembers an earlier one of that name: how that one ended is not told of this one."""
        self._past = self._properties.get("InactiveExitTimestamp", 0)
        self.told({}, complete=True)

    @property
    def state(self) -> str:
        """systemd's ActiveState."""
        return str(self._properties.get("ActiveState", "inactive"))

    @property
    def sub(self) -> str:
        """systemd's SubState."""
        return str(self._properties.get("SubState", "dead"))

    @property
    def at_rest(self) -> bool:
        return self.state in AT_REST

    @property
    def started(self) -> float:
        return self._seconds("InactiveExitTimestamp")

    @property
    def invocation(self) -> str:
        """The latest run's id, also after it has ended; "" if there was none or systemd has forgotten it."""
        digits = bytes(self._properties.get("InvocationID", b"")).hex()
        return digits if digits.strip("0") else ""

    def ask(self, launch: int, now: float) -> None:
        old = self.launch
        outdated = bool(old.outdated) and old.outdated == self.invocation
        keeps = joins(self.state, old.launch, launch) and self.pending != "stop" and not outdated
        self.pending = "start" if self.at_rest or keeps else "restart"
        self.job = self.job_result = ""
        self._asked = True
        past = "" if keeps else self.invocation
        self.launch = Launch(launch, now, old.launch, hash=self.hash, past=past, outdated=old.outdated)

    def change(self, digest: str) -> None:
        """Another text has been loaded under this name; in it, nothing has been launched yet."""
        if digest != self.hash:
            self.hash = digest
            self.launch = Launch(hash=digest, outdated="" if self.at_rest else self.invocation)

    def ask_stop(self, now: float) -> None:
        if self.pending or not self.at_rest:
            self.pending = "stop"
            self.job = ""
        before = self.launch.launch or (0 if self.launch.accepted else self.launch.before)
        self.launch = msgspec.structs.replace(self.launch, launch=NONE, asked=now, before=before, accepted=not before, stopped=True)

    def accepted(self) -> None:
        self.launch = msgspec.structs.replace(self.launch, accepted=True)

    def refused(self) -> None:
        self.pending = ""
        self._take_back()

    def _take_back(self) -> None:
        before = self.launch.before
        self.launch = Launch(before, self.launch.asked, before, accepted=True, hash=self.hash, outdated=self.launch.outdated)

    def job_ended(self, job: str, result: str) -> None:
        if self.job == job:
            self.pending = self.job = ""
        if result in FAILED_JOBS:
            self.job_result, self._unrun = result, self.invocation
            self.news += 1

    def recover(self, jobs: Mapping[str, tuple[str, str]]) -> None:
        """After a new connection: settles a launch, or the end of one, of which it is not known whether systemd had accepted it. `jobs` are
        those under way, (type, object) by unit."""
        kind, job = jobs.get(self.name, ("", ""))
        launch = self.launch
        if not launch.accepted and (launch.launch or launch.before):
            begun = self.started >= launch.asked
            if launch.stopped:  # what systemd's own restart has begun since shows that it was never told to stop
                accepted = self.at_rest or self.state == "deactivating" or (begun and not self._properties.get("NRestarts", 0))
            else:
                accepted = begun or kind in START_JOBS
            if accepted:
                self.accepted()
            else:
                self._take_back()
        if kind in START_JOBS and self.launch.launch:
            self.pending, self.job = "start" if self.at_rest else "restart", job

    def keep(self, manager: str) -> Memory:
        """What to remember now."""
        seen = self.observed()
        if seen.active == "inactive" and (self.started or self.job_result or self._asked):
            ended = Ended(seen.code, seen.result, seen.since, seen.started, seen.invocation)
            self.launch = msgspec.structs.replace(self.launch, ended=ended)
        return Memory(manager, self.launch, self.load, self.error)

    def observed(self) -> Observed:
        active, sub = self._shown()
        exited = self._properties.get("ExecMainCode", 0) == CLD_EXITED
        seen = Observed(
            name=self.name,
            hash=self.hash,
            launch=self.launch.launch,
            load=self.load,
            active=active,
            sub=sub,
            since=self._seconds("StateChangeTimestamp"),
            pid=int(self._properties.get("MainPID", 0)),
            code=int(self._properties["ExecMainStatus"]) if exited else None,
            result=str(self._properties.get("Result", "success")),
            restarts=int(self._properties.get("NRestarts", 0)),
            started=self.started,
            error=self.error,
            invocation=self.invocation,
        )
        ended = self._forgotten_end(active)
        if ended is not None:
            fields = {name: getattr(ended, name) for name in ended.__struct_fields__}
            return msgspec.structs.replace(seen, **fields)
        if self._begins():
            seen = msgspec.structs.replace(seen, code=None, result="success")
        if self.launch.past and self.launch.past == self.invocation and (self._begins() or self.at_rest):
            seen = msgspec.structs.replace(seen, pid=0, code=None, result="success", invocation="")
        if active == "inactive" and self._not_run():
            seen = msgspec.structs.replace(seen, code=None, result=self.job_result, invocation="")
        return seen

    def _begins(self) -> bool:
        """Whether the job of the latest start has not ended: what can be seen so far is no verdict."""
        return self.pending in ("start", "restart")

    def _shown(self) -> tuple[str, str]:
        active, sub = self.state, self.sub
        if self._begins():
            sub = "dead" if sub in BETWEEN_RUNS else sub
            if self.at_rest:
                active = "activating"
            elif self.pending == "restart" and active != "activating":
                active = "deactivating"
        elif self.pending == "stop":
            active = "deactivating"
        return active, sub

    def _not_run(self) -> bool:
        """Whether the latest start job ended without a run."""
        return bool(self.job_result) and self._unrun == self.invocation

    def _forgotten_end(self, active: str) -> Ended | None:
        """How it ended, if it was started and systemd has forgotten that. systemd keeps units that failed, so it ended well."""
        if active != "inactive" or not (self.launch.launch or self.launch.stopped) or self.started or self._asked or self._not_run():
            return None
        if self.launch.ended is not None:
            return self.launch.ended
        ran = self.name.endswith(".service") and not self.launch.stopped
        return Ended(0 if ran else None, "success", self.launch.asked, self.launch.asked)

    def _seconds(self, name: str) -> float:
        return int(self._properties.get(name, 0)) / 1e6
