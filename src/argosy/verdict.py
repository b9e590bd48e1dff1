"""What a machine's report of a unit means: the one verdict on a launch, for the engine, the API and whoever waits for it.

It imports nothing, so that commands that only wait load nothing either.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

REFUSED = "refused"
"""The result of a state whose machine could not do what was asked last: load, start or stop the unit."""
RUNNING = frozenset({"active", "activating", "reloading", "deactivating", "refreshing", "maintenance"})
"""Active states in which processes of a unit may be alive."""
UNLOADABLE = frozenset({"error", "bad-setting", "masked"})
"""Load states of a unit that cannot be started."""


ENDINGS = {
    "success": "it ended well",
    "signal": "killed by a signal",
    "core-dump": "it dumped core",
    "timeout": "it did not get ready in time",
    "watchdog": "it stopped answering its watchdog",
    "start-limit-hit": "it failed too often in a row",
    "resources": "it could not be started at all",
    "protocol": "it did not say that it was ready",
    "oom-kill": "it ran out of memory",
    "dependency": "a unit that it requires failed",
}
"""systemd's results in words."""
REFUSALS = 2
"""Refusals in a row after which a machine is not waited for any longer."""
BROKEN_TEXT = ("bad-setting", "masked")
"""Load states that no further attempt changes."""


class Report(Protocol):
    """What is read of model.UnitState."""

    @property
    def launch(self) -> int: ...
    @property
    def hash(self) -> str: ...
    @property
    def load(self) -> str: ...
    @property
    def active(self) -> str: ...
    @property
    def code(self) -> int | None: ...
    @property
    def result(self) -> str: ...
    @property
    def failures(self) -> int: ...
    @property
    def note(self) -> str: ...
    @property
    def invocation(self) -> str: ...


class Phase(StrEnum):
    """What became of one launch on one machine. `ended`: it does not run any more, or was not run at all, and nothing failed."""

    PENDING = "pending"
    REFUSED = "refused"
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    ENDED = "ended"


def judge(state: Report | None, launch: int, digest: str = "") -> Phase:
    """The only verdict on a launch, for everybody who needs one. What a machine reports of another launch, or of another text than the one
    with the hash `digest` ("": any), says nothing of this one. One that has failed and is being tried again has failed until it runs."""
    if state is None or state.launch != launch:
        return Phase.PENDING
    if state.result == REFUSED:  # perhaps before its text was loaded
        return Phase.REFUSED
    if digest and state.hash != digest:
        return Phase.PENDING
    if state.active in ("active", "reloading", "refreshing"):
        return Phase.RUNNING
    if state.load in UNLOADABLE:
        return Phase.REFUSED
    went_wrong = state.result != "success" and state.active in ("inactive", "activating")
    if state.failures or state.active == "failed" or went_wrong:
        return Phase.FAILED
    if state.active == "inactive" and not state.note:  # a note tells what it waits for
        return Phase.ENDED
    return Phase.STARTING


def ended_well(state: Report | None, launch: int, digest: str = "") -> bool:
    """The main process of this launch ran and exited with success."""
    return state is not None and judge(state, launch, digest) is Phase.ENDED and state.code is not None


def may_run(state: Report | None) -> bool:
    """Processes of the unit may be alive there."""
    return state is not None and state.active in RUNNING


def has_stopped(state: Report) -> bool:
    """Its latest launch has ended. What runs without a launch was started by its machine's systemd and is no reason to wait."""
    return state.active not in RUNNING or (state.launch == 0 and state.active != "deactivating")


def ended(state: Report) -> str:
    """How a launch that did not fail came to rest, as a verb."""
    if state.code is not None:
        return "ended well"
    return "was stopped" if state.invocation else "was not run, since its conditions do not hold,"


def ending(state: Report) -> str:
    """How a unit's main process ended, in words."""
    text = (
        f"exit status {state.code}" if state.result == "exit-code" and state.code is not None else ENDINGS.get(state.result, state.result)
    )
    return f"{text} ({state.note})" if state.note else text
