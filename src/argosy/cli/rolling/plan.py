"""What a rolling change does next. Pure: what was seen and the time are arguments, and what is remembered is a value.

A round is `seen` (what the groups' health makes of the items), then `plan` (what to do about it), then `begun` for each that was touched.

    waiting ─► changing ─► ready            skipped: it was as wished before anything was done
                  │          │
                  └► failed ◄┘ ─► restoring ─► restored, or lost: it fails with what it was before, too
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"


class Health(msgspec.Struct, frozen=True):
    """How a group does. `text` says what is waited for, or what went wrong. `runs` tells one run of its units from another; `done` counts
    what is ready of it, so that one that comes on slowly is told from one that does not come on."""

    verdict: Verdict
    text: str = ""
    runs: tuple[tuple[str, ...], ...] = ()
    done: int = 0


class Stage(StrEnum):
    WAITING = "waiting"
    CHANGING = "changing"
    READY = "ready"
    SKIPPED = "skipped"
    FAILED = "failed"
    RESTORING = "restoring"
    RESTORED = "restored"
    LOST = "lost"


class Item(msgspec.Struct, frozen=True):
    """One group on its way. `failure`: how it failed, if it ever did. `touched`: this run has changed it. `since`: when its stage began, or
    it last came on; `told`: when it was last told to change; `steady`: since when it has been healthy in the same `runs` (monotonic
    seconds). `done`: the most that was ever ready of it since it was told: what only comes and goes does not come on."""

    name: str
    stage: Stage = Stage.WAITING
    reason: str = ""
    failure: str = ""
    touched: bool = False
    since: float = 0.0
    told: float = 0.0
    steady: float | None = None
    runs: tuple[tuple[str, ...], ...] = ()
    done: int = 0


class Rules(msgspec.Struct, frozen=True):
    """`parallel`: groups that may be unhealthy at once. `timeout`: seconds without coming on after which a group has failed. `steady`:
    seconds that it must be healthy before the next one is touched. `rollback`: put those that were changed back when one fails."""

    parallel: int = 1
    timeout: float = 300.0
    steady: float = 2.0
    rollback: bool = False


class Touch(msgspec.Struct, frozen=True):
    """Change this group now."""

    name: str
    reason: str


class Restore(msgspec.Struct, frozen=True):
    """Put this group back to what it was."""

    name: str
    reason: str


class Wait(msgspec.Struct, frozen=True):
    """Look again when something has changed, or after `pause` seconds."""

    pause: float
    reason: str


class Finish(msgspec.Struct, frozen=True):
    """Nothing more to do. `good`: all are as wished and healthy."""

    good: bool
    reason: str


Action = Touch | Restore | Wait | Finish
Items = tuple[Item, ...]

MOVING = (Stage.CHANGING, Stage.RESTORING)
SETTLED = (Stage.READY, Stage.SKIPPED)
LOOK = 0.5
"""Seconds between two looks while something is on its way: routers say nothing of themselves."""


def begin(health: Mapping[str, Health], already: Iterable[str], now: float) -> Items:
    """The items of a new run: those that are unhealthy first, for changing them costs nothing that works, otherwise in the order given.
    `already` are as wished: they are skipped if healthy, and waited for if not."""
    settled = frozenset(already)
    items = []
    for name in sorted(health, key=lambda name: health[name].verdict is Verdict.READY):
        if name not in settled:
            items.append(Item(name))
        elif health[name].verdict is Verdict.READY:
            items.append(Item(name, Stage.SKIPPED, "it is as wished already", runs=health[name].runs))
        else:
            items.append(Item(name, Stage.CHANGING, health[name].text, since=now))
    return tuple(items)


def begun(items: Items, name: str, now: float, *, restoring: bool = False) -> Items:
    """The items when a group has just been told to change."""
    stage = Stage.RESTORING if restoring else Stage.CHANGING
    return tuple(
        Item(name, stage, "told to change", item.failure, touched=True, since=now, told=now) if item.name == name else item
        for item in items
    )


def broken(items: Items, name: str, reason: str, *, touched: bool = True) -> Items:
    """The items when a group could not be told to change. `touched`: some of it may be changed all the same, and is to be put back."""
    return tuple(
        msgspec.structs.replace(_failed(item, reason), touched=item.touched and touched) if item.name == name else item for item in items
    )


def seen(items: Items, health: Mapping[str, Health], rules: Rules, now: float) -> Items:
    """What the groups' health makes of them."""
    return tuple(_seen(item, health[item.name], rules, now) for item in items)


def _seen(item: Item, health: Health, rules: Rules, now: float) -> Item:
    if item.stage in SETTLED and (health.verdict is not Verdict.READY or (item.runs and health.runs != item.runs)):
        item = msgspec.structs.replace(item, stage=Stage.CHANGING, since=now, steady=None)
    if item.stage not in MOVING:
        return item
    if health.verdict is Verdict.FAILED:
        return _failed(item, health.text)
    if health.verdict is Verdict.READY:
        return _ready(item, health, rules, now)
    since = now if health.done > item.done else item.since
    if now - since >= rules.timeout:
        return _failed(item, f"not healthy after {rules.timeout:g} s: {health.text}")
    return msgspec.structs.replace(item, reason=health.text, since=since, done=max(item.done, health.done), steady=None)


def _ready(item: Item, health: Health, rules: Rules, now: float) -> Item:
    """One that is healthy counts when it has been so for a while in one and the same run: what starts and dies is healthy in between."""
    if item.steady is not None and health.runs != item.runs:
        return _failed(item, "it ended soon after its start, and was started again")
    steady = now if item.steady is None else item.steady
    item = msgspec.structs.replace(item, steady=steady, runs=health.runs, done=max(item.done, health.done))
    if now - steady < rules.steady:
        return msgspec.structs.replace(item, reason="healthy, and watched for a moment")
    stage = Stage.RESTORED if item.stage is Stage.RESTORING else Stage.READY
    return msgspec.structs.replace(item, stage=stage, reason="healthy")


def _failed(item: Item, reason: str) -> Item:
    stage = Stage.LOST if item.stage is Stage.RESTORING else Stage.FAILED
    return msgspec.structs.replace(item, stage=stage, reason=reason, failure=item.failure or reason)


def plan(items: Items, rules: Rules, now: float) -> tuple[Action, ...]:
    """What to do now. Nothing new is begun once something has failed; what is on its way is waited for first."""
    moving = [item for item in items if item.stage in MOVING]
    failed = next((item for item in items if item.failure), None)
    if failed is not None:
        return (_wait(moving, rules, now),) if moving else _after_failure(items, failed, rules)
    following = [item for item in items if item.stage is Stage.WAITING]
    reason = "all before it are healthy" if any(item.stage in SETTLED for item in items) else "to begin with"
    touches = tuple(Touch(item.name, reason) for item in following[: max(0, rules.parallel - len(moving))])
    if touches:
        return touches
    return (_wait(moving, rules, now) if moving else Finish(True, "all are as wished and healthy"),)


def _after_failure(items: Items, failed: Item, rules: Rules) -> tuple[Action, ...]:
    """Those that were changed are put back one by one, the failed ones first. One that fails at that ends it: something else is wrong."""
    behind = [item for item in items if item.touched and item.stage in (Stage.FAILED, Stage.READY)]
    lost = next((item for item in items if item.stage is Stage.LOST), None)
    if lost is not None:
        return (Finish(False, f"{lost.name} fails with what it was before, too: {lost.reason}"),)
    if rules.rollback and behind:
        following = min(behind, key=lambda item: item.stage is not Stage.FAILED)
        return (Restore(following.name, f"{failed.name} has failed"),)
    return (Finish(False, f"{failed.name}: {failed.failure}"),)


def _wait(moving: Sequence[Item], rules: Rules, now: float) -> Wait:
    ends = [item.since + rules.timeout if item.steady is None else item.steady + rules.steady for item in moving]
    return Wait(min(LOOK, max(0.05, min(ends) - now)), f"{moving[0].name}: {moving[0].reason}")
