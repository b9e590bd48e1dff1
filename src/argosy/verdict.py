"""What a machine's report of a unit means: the one verdict, for the engine, the API, agents, commands and rollouts.

`judge` says what became of a launch, `phase` what became of all that is wanted of a unit on a machine; every other answer, and the words
for people, come from the same few sets of states. It imports nothing but the launch rule, so that commands that only wait load little.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from argosy.launches import LAUNCHED, NONE, Wanted

REFUSED = "refused"
"""The result of a state whose machine could not do what was asked last: load, start or stop the unit."""
ACTIVE = frozenset({"active", "reloading", "refreshing"})
"""Active states of a unit that is up."""
AT_REST = frozenset({"inactive", "failed"})
"""Active states in which nothing of a unit runs; in any other, processes of it may be alive."""
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


class Seen(Protocol):
    """What is read of agent.runtime.Observed, and of a report."""

    @property
    def active(self) -> str: ...
    @property
    def sub(self) -> str: ...
    @property
    def result(self) -> str: ...


class Report(Seen, Protocol):
    """What is read of model.UnitState."""

    @property
    def launch(self) -> int: ...
    @property
    def hash(self) -> str: ...
    @property
    def load(self) -> str: ...
    @property
    def code(self) -> int | None: ...
    @property
    def failures(self) -> int: ...
    @property
    def retry_at(self) -> float: ...
    @property
    def note(self) -> str: ...
    @property
    def invocation(self) -> str: ...


class Phase(StrEnum):
    """What became of what is wanted of a unit on one machine.

    Of a launch: `ended` is one that does not run any more, or was not run at all, and nothing failed; `finished` the same of a job, which
    is not run again. Of a unit that shall only be loaded: `stopping` while its launch has not ended, then `loaded`.
    """

    PENDING = "pending"
    REFUSED = "refused"
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    ENDED = "ended"
    FINISHED = "finished"
    STOPPING = "stopping"
    LOADED = "loaded"


def is_active(seen: Seen) -> bool:
    """It is up."""
    return seen.active in ACTIVE


def at_rest(seen: Seen) -> bool:
    """Nothing of it runs, and nothing of it is about to."""
    return seen.active in AT_REST


def is_stopping(seen: Seen) -> bool:
    """It was told to stop, or ended, and is on its way down: a stop is asked for once, as it takes as long as the unit allows itself."""
    return seen.active == "deactivating"


def has_failed(seen: Seen) -> bool:
    """It is at rest because its latest start, or its latest run, went wrong."""
    return seen.active == "failed" or (seen.active == "inactive" and seen.result != "success")


def is_failing(state: Report) -> bool:
    """It has failed, and perhaps is tried again: by its agent, which counts, or by the machine's systemd. A failure stays counted until the
    unit has run well for a while."""
    return state.failures > 0 or has_failed(state) or (state.active == "activating" and state.result != "success")


def judge(state: Report | None, launch: int, digest: str = "") -> Phase:
    """What became of one launch. What a machine reports of another launch, or of another text than the one with the hash `digest` ("":
    any), says nothing of this one. One that has failed and is being tried again has failed until it runs."""
    if state is None or state.launch != launch:
        return Phase.PENDING
    if state.result == REFUSED:  # perhaps before its text was loaded
        return Phase.REFUSED
    if digest and state.hash != digest:
        return Phase.PENDING
    if is_active(state):
        return Phase.RUNNING
    if state.load in UNLOADABLE:
        return Phase.REFUSED
    if is_failing(state):
        return Phase.FAILED
    if at_rest(state) and not state.note:  # a note tells what it waits for
        return Phase.ENDED
    return Phase.STARTING


def phase(wanted: Wanted, state: Report | None, digest: str = "") -> Phase:
    """What became of what is wanted, launched or only loaded; `digest` as in `judge`."""
    if wanted.finished:
        return Phase.FINISHED
    if wanted.target == LAUNCHED:
        return judge(state, wanted.launch, digest)
    if state is None:
        return Phase.PENDING
    if state.result == REFUSED or state.load in UNLOADABLE:
        return Phase.REFUSED
    if state.load != "loaded" or (digest and state.hash != digest):
        return Phase.PENDING
    return Phase.LOADED if has_stopped(state) else Phase.STOPPING


def has_arrived(wanted: Wanted, state: Report | None, digest: str = "") -> bool:
    """The unit is what it should be on this machine: loaded, active, or ended well; an older copy may go."""
    found = phase(wanted, state, digest)
    if found is Phase.ENDED:
        return state is not None and state.code is not None
    return found in (Phase.RUNNING, Phase.FINISHED, Phase.LOADED, Phase.STOPPING)


def is_idle(wanted: Wanted, state: Report | None) -> bool:
    """The agent says that nothing of the unit runs there: making a copy elsewhere interrupts nothing."""
    if wanted.target != LAUNCHED:
        return not may_run(state)
    return state is not None and at_rest(state) and state.launch == wanted.launch


def has_come_to_rest(wanted: Wanted, state: Report | None, digest: str = "") -> bool:
    """The launch failed, was refused or ended, and nothing of it runs now: a start must be a launch more. A finished job is done."""
    if state is None or phase(wanted, state, digest) not in (Phase.FAILED, Phase.REFUSED, Phase.ENDED):
        return False
    return at_rest(state) or (state.active == "activating" and state.sub == "auto-restart")


def was_launched(wanted: Wanted, state: Report) -> bool:
    """Its machine has started the launch that is wanted (even if that failed then), or has not ended one that is wanted no more. What
    systemd itself starts after that does not count."""
    return state.launch == wanted.launch if wanted.target == LAUNCHED else not has_stopped(state)


def ended_well(state: Report | None, launch: int, digest: str = "") -> bool:
    """The main process of this launch ran and exited with success."""
    return state is not None and judge(state, launch, digest) is Phase.ENDED and state.code is not None


def may_run(state: Seen | None) -> bool:
    """Processes of the unit may be alive there."""
    return state is not None and not at_rest(state)


def has_stopped(state: Report) -> bool:
    """Its latest launch has ended. What runs without a launch was started by its machine's systemd and is no reason to wait."""
    return at_rest(state) or (state.launch == NONE and not is_stopping(state))


def is_given_up(state: Report) -> bool:
    """Whether its machine need not be waited for after a refusal. What a unit of the same command is still missing may come: the machine
    tries again."""
    return state.load in BROKEN_TEXT or state.failures >= REFUSALS


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


def trouble(state: Report) -> str:
    """What is wrong with a unit on its machine, in words; "" if nothing is."""
    times = f" {state.failures} times in a row" if state.failures > 1 else ""
    if state.result == REFUSED or state.load in UNLOADABLE:
        return f"refused{times}: {state.note or state.load}"
    if is_failing(state):
        return f"failed{times}: {ending(state)}"
    return state.note


def active_state(seen: Seen) -> str:
    """`active (running)`; a failure says how, as systemctl does."""
    sub = f" ({seen.sub})" if seen.active != "failed" else ""
    result = f" (Result: {seen.result})" if seen.result != "success" or not sub else ""
    return seen.active + sub + result


def sub_state(wanted: Wanted | None, state: Report | None) -> str:
    """The sub-state that lists show: systemd's, or ours where systemd has no word for it. `wanted`: of a unit that is placed there."""
    if wanted is not None and wanted.finished:
        return "finished"
    if state is None:
        return "unknown"
    if state.result == REFUSED:
        return "refused"
    return "failing" if state.retry_at else state.sub
