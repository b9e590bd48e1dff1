"""The launch rule, in one place: a unit carries a counter of how often it was told to start.

An agent starts a unit once per launch; a restart is a launch more; a stop ends the launch. A runtime remembers which launch holds (NONE:
the unit was told to stop, or has not been launched by its present text): what runs without a launch was started by the machine's systemd,
and is its affair. A counter goes back only where a rollout takes back a launch while the one before still holds somewhere
(`engine.rollouts.writes`). It imports nothing, as `verdict`.
"""

from __future__ import annotations

from typing import Protocol

NONE = 0
"""No launch."""
LAUNCHED = "launched"
"""The target (model.Target) of a unit that shall run."""
STARTED = frozenset({"active", "activating", "reloading", "refreshing"})
"""Active states in which a start would find nothing to do."""


class Wanted(Protocol):
    """What is read of model.Placement: what a unit shall come to on a machine. `finished`: the job of this launch is done."""

    @property
    def target(self) -> str: ...
    @property
    def launch(self) -> int: ...
    @property
    def finished(self) -> bool: ...


def count_launch(launch: int, before: str, target: str, *, restart: bool = False) -> int:
    """The counter of a unit at `launch` whose target becomes `target` from `before`: one more if it is told to start thereby."""
    return launch + 1 if target == LAUNCHED and (restart or before != LAUNCHED) else launch


def wanted_launch(wanted: Wanted | None) -> int:
    """The launch that a unit shall come to on a machine. NONE: it shall not be started there, as it is not placed there, only loaded, or
    has finished."""
    return wanted.launch if wanted is not None and wanted.target == LAUNCHED and not wanted.finished else NONE


def is_due(wanted: Wanted, held: int) -> bool:
    """Whether the agent must start the unit anew: the launch that is asked for is not the one that holds."""
    return wanted_launch(wanted) not in (NONE, held)


def is_over(wanted: Wanted, held: int) -> bool:
    """Whether the agent must stop the unit, once: a launch holds, and the unit shall not be launched any more."""
    return held != NONE and wanted.target != LAUNCHED


def joins(active: str, held: int, launch: int) -> bool:
    """Whether what runs becomes part of `launch` and goes on, instead of being restarted for it: a start of what systemd started, or a
    start that was asked for twice. `active` is its active state."""
    return active in STARTED and held in (NONE, launch)


def is_overtaken(counter: int, launch: int) -> bool:
    """Whether a unit whose counter stands at `counter` was started anew after `launch`, so that nothing comes of that one any more."""
    return counter > launch
