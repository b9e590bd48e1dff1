"""One unit of systemd as its signals tell it, and what the agent sees of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from argosy.agent.runtime import Observed
from argosy.agent.systemd_bus import object_path

FAILED_JOBS = frozenset({"dependency", "timeout", "assert", "unsupported", "invalid"})
"""Results of a start job after which the unit has not run, though systemd calls it merely inactive."""

UNIT_PROPERTIES = ("ActiveState", "SubState", "StateChangeTimestamp", "InactiveExitTimestamp")
SERVICE_PROPERTIES = ("MainPID", "Result", "NRestarts", "ExecMainCode", "ExecMainStatus")
CLD_EXITED = 1
NEVER_RUN: dict[str, Any] = dict.fromkeys(
    ("StateChangeTimestamp", "InactiveExitTimestamp", "NRestarts", "ExecMainCode", "ExecMainStatus"), 0
) | {"Result": "success"}


class Ended(msgspec.Struct, frozen=True):
    """How a unit ended; systemd forgets this of a unit that is inactive as soon as nobody refers to it."""

    code: int | None = None
    result: str = "success"
    since: float = 0.0
    started: float = 0.0


class Launch(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of a unit beside its file, whose text has the `hash`. `asked`: when (Unix time) `launch` was asked of systemd,
    which has `accepted` it or not yet; `before` is the launch before that one. `stopped`: it was stopped on demand since."""

    launch: int = 0
    asked: float = 0.0
    before: int = 0
    accepted: bool = False
    stopped: bool = False
    ended: Ended | None = None
    hash: str = ""


class LoadedUnit:
    """Everything known of one unit. `told` takes properties as systemd sends them: those of its type first, those of Unit right after."""

    def __init__(self, name: str, digest: str, launch: Launch | None = None) -> None:
        self.name = name
        self.path = object_path(name)
        self.hash = digest
        self.launch = launch if launch is not None and launch.hash == digest else Launch(hash=digest)
        self.load = "loaded"
        self.error = ""
        self.pending = ""
        """start, restart or stop: a job of ours that has not ended."""
        self.job = ""
        self.job_result = ""
        self.news = 0
        """Counts what systemd told, so that a slower answer does not overwrite it."""
        self._properties: dict[str, Any] = {}
        self._arriving: dict[str, Any] = {}
        self._past = 0

    def told(self, changed: Mapping[str, Any], *, complete: bool) -> None:
        """Takes in changed properties; they count once `complete` (a change comes in two signals)."""
        for name in SERVICE_PROPERTIES + UNIT_PROPERTIES:
            if name in changed:
                self._arriving[name] = changed[name]
        if complete:
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
    def at_rest(self) -> bool:
        return self.state in ("inactive", "failed")

    @property
    def started(self) -> float:
        return self._seconds("InactiveExitTimestamp")

    def ask(self, launch: int, now: float) -> None:
        self.pending = "start" if self.at_rest else "restart"
        self.job = self.job_result = ""
        self.launch = Launch(launch, now, self.launch.launch, hash=self.hash)

    def change(self, digest: str) -> None:
        """Another text has been loaded under this name; in it, nothing has been launched yet."""
        if digest != self.hash:
            self.hash = digest
            self.launch = Launch(hash=digest)

    def stopping(self) -> None:
        if self.pending or not self.at_rest:
            self.pending = "stop"
            self.job = ""
        self.launch = msgspec.structs.replace(self.launch, stopped=True)

    def accepted(self) -> None:
        self.launch = msgspec.structs.replace(self.launch, accepted=True)

    def refused(self) -> None:
        self.pending = ""
        self._take_back()

    def _take_back(self) -> None:
        before = self.launch.before
        self.launch = Launch(before, self.launch.asked, before, accepted=True, hash=self.hash)

    def job_ended(self, job: str, result: str) -> None:
        if self.job == job:
            self.pending = self.job = ""
        if result in FAILED_JOBS:
            self.job_result = result
            self.news += 1

    def recover(self) -> None:
        """After a new connection: settles a launch of which it is not known whether systemd had accepted it."""
        launch = self.launch
        if launch.launch and not launch.accepted:
            if self.started >= launch.asked:
                self.accepted()
            else:
                self._take_back()

    def keep(self) -> Launch:
        """What to remember now."""
        seen = self.observed()
        if seen.active == "inactive" and (self.started or self.job_result):
            ended = Ended(seen.code, seen.result, seen.since, seen.started)
            self.launch = msgspec.structs.replace(self.launch, ended=ended)
        return self.launch

    def observed(self) -> Observed:
        active, sub = self.state, str(self._properties.get("SubState", "dead"))
        if self.pending == "start" and self.at_rest:
            active = "activating"
        elif self.pending == "restart" and not (active == "activating" or self.at_rest):
            active = "deactivating"
        elif self.pending == "restart" and self.at_rest:
            active = "activating"
        elif self.pending == "stop":
            active = "deactivating"
        result = str(self._properties.get("Result", "success"))
        if self.job_result and active == "inactive":
            result = self.job_result
        exited = self._properties.get("ExecMainCode", 0) == CLD_EXITED
        ended = self._forgotten_end(active)
        return Observed(
            name=self.name,
            hash=self.hash,
            launch=self.launch.launch,
            load=self.load,
            active=active,
            sub=sub,
            since=ended.since if ended else self._seconds("StateChangeTimestamp"),
            pid=int(self._properties.get("MainPID", 0)),
            code=ended.code if ended else int(self._properties["ExecMainStatus"]) if exited else None,
            result=ended.result if ended else result,
            restarts=int(self._properties.get("NRestarts", 0)),
            started=ended.started if ended else self.started,
            error=self.error,
        )

    def _forgotten_end(self, active: str) -> Ended | None:
        """How it ended, if it was started and systemd has forgotten that. systemd keeps units that failed, so it ended well."""
        if active != "inactive" or not self.launch.launch or self.started:
            return None
        if self.launch.ended is not None and not self.job_result:
            return self.launch.ended
        ran = self.name.endswith(".service") and not self.launch.stopped and not self.job_result
        code = 0 if ran else None
        return Ended(code, self.job_result or "success", self.launch.asked, self.launch.asked)

    def _seconds(self, name: str) -> float:
        return int(self._properties.get(name, 0)) / 1e6
