"""Actions as commits: fenced, small enough for the store, and in an order that is safe to carry out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import msgspec

from argosy.engine.actions import Action, Remove
from argosy.state import keys
from argosy.state.records import encode
from argosy.store.base import MAX_COMMIT, MAX_OPERATIONS, Condition, Delete, Put

MOST_KEYS = (MAX_OPERATIONS - 1) // 2
"""Placements in one commit: each is a condition and a write, and the leader's key is one condition more."""

MOST_BYTES = MAX_COMMIT * 3 // 4
"""Keys and values in one commit; the rest is room for what surrounds them."""

Revisions = Mapping[tuple[str, str], int]
"""By (machine, unit): when each placement was last written; missing: it does not exist."""


Write = Put | Delete


class Commit(msgspec.Struct, frozen=True):
    """What goes to the store at once. `placements` are the (machine, unit) of its writes, in the same order."""

    conditions: tuple[Condition, ...]
    writes: tuple[Write, ...]
    placements: tuple[tuple[str, str], ...]


class Commits(msgspec.Struct, frozen=True):
    """`chain` is to be committed one after the other; each of `free` at any time."""

    chain: tuple[Commit, ...]
    free: tuple[Commit, ...]


def commits(actions: Sequence[Action], revisions: Revisions, leader: int) -> Commits:
    """Every commit holds only while the leader's key is of revision `leader` and no one else has written the placements in it. What is done
    about one unit stays together in one commit, so that it is never in two places or in none on the way (unless it is in more than fit)."""
    chain: list[list[Action]] = []
    free: list[list[Action]] = []
    for _, group in groupby(actions, key=lambda action: action.unit):
        step = list(group)
        (chain if any(action.ordered for action in step) else free).append(step)
    return Commits(tuple(_packed(chain, revisions, leader)), tuple(_packed(free, revisions, leader)))


def _packed(steps: list[list[Action]], revisions: Revisions, leader: int) -> Iterator[Commit]:
    writes: list[tuple[Action, Write]] = []
    size = 0
    for step in steps:
        for part in _parts([(action, _write(action)) for action in step]):
            more = sum(_size(write) for _, write in part)
            if writes and (len(writes) + len(part) > MOST_KEYS or size + more > MOST_BYTES):
                yield _commit(writes, revisions, leader)
                writes, size = [], 0
            writes += part
            size += more
    if writes:
        yield _commit(writes, revisions, leader)


def _parts(step: list[tuple[Action, Write]]) -> Iterator[list[tuple[Action, Write]]]:
    """One unit's writes, in pieces only if they are too many for one commit (a global unit has as many as there are machines)."""
    most = max(1, min(MOST_KEYS, MOST_BYTES // max(_size(write) for _, write in step)))
    for at in range(0, len(step), most):
        yield step[at : at + most]


def _commit(writes: list[tuple[Action, Write]], revisions: Revisions, leader: int) -> Commit:
    placements = tuple((action.machine, action.unit) for action, _ in writes)
    known = tuple(Condition(write.key, revisions.get(place, 0)) for place, (_, write) in zip(placements, writes, strict=True))
    return Commit((Condition(keys.ENGINE_LEADER, leader), *known), tuple(write for _, write in writes), placements)


def _write(action: Action) -> Write:
    key = keys.placement(action.machine, action.unit)
    return Delete(key) if isinstance(action, Remove) else Put(key, encode(action.placement))


def _size(write: Write) -> int:
    return 2 * len(write.key) + (len(write.value) if isinstance(write, Put) else 0)
