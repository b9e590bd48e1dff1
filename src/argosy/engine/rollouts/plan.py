"""What a rollout does next. Pure: what was seen and the time are arguments, and what is remembered is a value.

A round is `seen` (what the groups' health makes of the items), then `plan` (what to do about it), then `begun` for each that was touched.

    waiting ─► changing ─► ready            skipped: it was as wished before anything was done
                  │          │
                  └► failed ◄┘ ─► restoring ─► restored, or lost: it fails with what it was before, too

Where a new copy comes up beside the old one, a group is `released` once the new copy is healthy: then the old one goes, and the group is
ready when it has gone. If the new copy fails, the group goes back in any case: its old copy still runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from argosy.model import RolloutRules, RolloutWish, Stage


class Verdict(StrEnum):
    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"


class Health(msgspec.Struct, frozen=True):
    """How a group does. `text` says what is waited for, or what went wrong. `runs` tells one run of its units from another; `done` counts
    what is ready of it, so that one that comes on slowly is told from one that does not come on. `old`: copies of what it was before still
    stand beside the new ones."""

    verdict: Verdict
    text: str = ""
    runs: tuple[tuple[str, ...], ...] = ()
    done: int = 0
    old: bool = False


class Item(msgspec.Struct, frozen=True):
    """One group on its way. `failure`: how it failed, if it ever did. `touched`: this run has changed it. `since`: when its stage began, or
    it last came on; `told`: when it was last told to change; `steady`: since when it has been healthy in the same `runs` (monotonic
    seconds). `done`: the most that was ever ready of it since it was told: what only comes and goes does not come on. `old`: see Health.
    `released`: the old copy may go."""

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
    old: bool = False
    released: bool = False


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


def begun(items: Items, name: str, now: float, *, restoring: bool = False, released: bool = False) -> Items:
    """The items when a group has just been told to change. `released`: copies that are not as it was told may go at once."""
    stage = Stage.RESTORING if restoring else Stage.CHANGING
    return tuple(
        Item(name, stage, "told to change", item.failure, touched=True, since=now, told=now, released=released)
        if item.name == name
        else item
        for item in items
    )


def broken(items: Items, name: str, reason: str, *, touched: bool = True) -> Items:
    """The items when a group could not be told to change. `touched`: some of it may be changed all the same, and is to be put back."""
    return tuple(
        msgspec.structs.replace(_failed(item, reason), touched=item.touched and touched) if item.name == name else item for item in items
    )


def seen(items: Items, health: Mapping[str, Health], rules: RolloutRules, now: float) -> Items:
    """What the groups' health makes of them."""
    return tuple(_seen(item, health[item.name], rules, now) for item in items)


def _seen(item: Item, health: Health, rules: RolloutRules, now: float) -> Item:
    if item.stage in SETTLED and (health.verdict is not Verdict.READY or (item.runs and health.runs != item.runs)):
        item = msgspec.structs.replace(item, stage=Stage.CHANGING, since=now, steady=None)
    if item.stage not in MOVING:
        return item
    item = msgspec.structs.replace(item, old=health.old)
    if health.verdict is Verdict.FAILED:
        return _failed(item, health.text)
    if health.verdict is Verdict.READY:
        return _ready(item, health, rules, now)
    since = now if health.done > item.done else item.since
    if now - since >= rules.timeout:
        return _failed(item, f"not healthy after {rules.timeout:g} s: {health.text}")
    return msgspec.structs.replace(item, reason=health.text, since=since, done=max(item.done, health.done), steady=None)


def _ready(item: Item, health: Health, rules: RolloutRules, now: float) -> Item:
    """One that is healthy counts when it has been so for a while in one and the same run: what starts and dies is healthy in between."""
    if item.steady is not None and health.runs != item.runs:
        return _failed(item, "it ended soon after its start, and was started again")
    steady = now if item.steady is None else item.steady
    item = msgspec.structs.replace(item, steady=steady, runs=health.runs, done=max(item.done, health.done))
    if now - steady < rules.steady:
        return msgspec.structs.replace(item, reason="healthy, and watched for a moment")
    if health.old:
        if item.released and now - item.since >= rules.timeout:
            return _failed(item, f"its old copy has not gone after {rules.timeout:g} s")
        since = item.since if item.released else now
        return msgspec.structs.replace(item, reason="healthy, and its old copy goes", released=True, since=since)
    stage = Stage.RESTORED if item.stage is Stage.RESTORING else Stage.READY
    return msgspec.structs.replace(item, stage=stage, reason="healthy")


def _failed(item: Item, reason: str) -> Item:
    stage = Stage.LOST if item.stage is Stage.RESTORING else Stage.FAILED
    return msgspec.structs.replace(item, stage=stage, reason=reason, failure=item.failure or reason)


def plan(items: Items, rules: RolloutRules, now: float, wish: RolloutWish = RolloutWish.RUN) -> tuple[Action, ...]:
    """What to do now. Nothing new is begun once something has failed or the operator ends it; what is on its way is waited for first."""
    moving = [item for item in items if item.stage in MOVING]
    actions = _next(items, moving, rules, now, wish)
    if wish is RolloutWish.PAUSE and isinstance(actions[0], Touch | Restore):
        return (_wait(moving, rules, now) if moving else Wait(LOOK, "paused"),)
    return actions


def _next(items: Items, moving: Sequence[Item], rules: RolloutRules, now: float, wish: RolloutWish) -> tuple[Action, ...]:
    failed = next((item for item in items if item.failure), None)
    if failed is not None or wish in (RolloutWish.ABORT, RolloutWish.ROLLBACK):
        if moving:
            return (_wait(moving, rules, now),)
        return _back(items, failed, rollback=(rules.rollback and wish is not RolloutWish.ABORT) or wish is RolloutWish.ROLLBACK)
    following = [item for item in items if item.stage is Stage.WAITING]
    reason = "all before it are healthy" if any(item.stage in SETTLED for item in items) else "to begin with"
    touches = tuple(Touch(item.name, reason) for item in following[: max(0, rules.parallel - len(moving))])
    if touches:
        return touches
    return (_wait(moving, rules, now) if moving else Finish(True, "all are as wished and healthy"),)


def _back(items: Items, failed: Item | None, *, rollback: bool) -> tuple[Action, ...]:
    """Those that were changed are put back one by one, the failed ones first; without `rollback` only failed ones whose old copy still
    runs. One that fails at that ends it: something else is wrong."""
    behind = [item for item in items if item.touched and item.stage is Stage.FAILED and (rollback or item.old)]
    behind += [item for item in items if item.touched and item.stage is Stage.READY and rollback]
    lost = next((item for item in items if item.stage is Stage.LOST), None)
    if lost is not None:
        return (Finish(False, f"{lost.name} fails with what it was before, too: {lost.reason}"),)
    if behind:
        why = f"{failed.name} has failed" if failed else "it was told to go back"
        return (Restore(behind[0].name, why if rollback else "its old copy still runs"),)
    return (Finish(False, f"{failed.name}: {failed.failure}" if failed else "ended by an operator"),)


def _wait(moving: Sequence[Item], rules: RolloutRules, now: float) -> Wait:
    ends = [item.since + rules.timeout if item.steady is None else item.steady + rules.steady for item in moving]
    return Wait(min(LOOK, max(0.05, min(ends) - now)), f"{moving[0].name}: {moving[0].reason}")
