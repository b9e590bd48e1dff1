"""Rollouts that were asked for, and how far they are: /rollouts, written by the api, and /rollout-progress, by the engine leader."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import msgspec

from argosy.errors import Conflict, InvalidInput, NotFound, TooLarge
from argosy.model import Rollout, RolloutProgress, RolloutWish
from argosy.state import keys
from argosy.state.desired import ATTEMPTS
from argosy.state.records import decode, decoded, encode
from argosy.store.base import MAX_VALUE, Condition, Put, Store

LARGEST = MAX_VALUE * 9 // 10
"""Bytes of a request."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:-]{0,99}", re.ASCII)


class Followed(msgspec.Struct, frozen=True):
    """A rollout and how far it is; `progress` is None until a leader has taken it on."""

    rollout: Rollout
    progress: RolloutProgress | None = None

    @property
    def ended(self) -> bool:
        return self.progress is not None and self.progress.ended > 0


async def rollouts(store: Store) -> tuple[dict[str, Followed], int]:
    """All by name, and a revision that all of it includes."""
    requests, records = await asyncio.gather(store.list(keys.ROLLOUTS), store.list(keys.ROLLOUT_PROGRESS))
    progress = {record.key[len(keys.ROLLOUT_PROGRESS) :]: decoded(RolloutProgress, record) for record in records.records}
    found = {}
    for record in requests.records:
        rollout = decoded(Rollout, record)
        if rollout is not None:
            found[rollout.name] = followed(rollout, progress.get(rollout.name))
    return found, min(requests.revision, records.revision)


def followed(rollout: Rollout, progress: RolloutProgress | None) -> Followed:
    """What is recorded of an earlier rollout of the same name does not count."""
    return Followed(rollout, progress if progress is not None and progress.created == rollout.created else None)


async def create_rollout(store: Store, rollout: Rollout) -> tuple[Rollout, int]:
    """Writes a new rollout and returns it with its revision; one without a name gets one. Raises Conflict if its name is taken or another
    one that has not ended has one of its units, InvalidInput for a bad name, TooLarge for too much text."""
    if rollout.name and not NAME.fullmatch(rollout.name):
        raise InvalidInput(f"{rollout.name!r} is no name of a rollout", remedy="use letters, digits and any of _ . @ : -, at most 100")
    for _ in range(ATTEMPTS):
        mark = await store.get(keys.ROLLOUT_MARK)
        known, _ = await rollouts(store)
        named = msgspec.structs.replace(rollout, name=rollout.name or _free_name(rollout, known))
        _check(named, known)
        value = encode(named)
        if len(value) > LARGEST:
            raise TooLarge(
                f"the texts of a rollout of {len(rollout.units)} units take {len(value)} bytes; at most {LARGEST} are taken",
                remedy="roll out fewer units at once",
            )
        conditions = [Condition(keys.ROLLOUT_MARK, mark.modified if mark else 0), Condition(keys.rollout(named.name), 0)]
        try:
            return named, await store.commit(conditions, [Put(keys.ROLLOUT_MARK, encode(named.name)), Put(keys.rollout(named.name), value)])
        except Conflict:
            continue
    raise Conflict("too many rollouts are asked for at once", remedy="try again")


def _check(rollout: Rollout, known: Mapping[str, Followed]) -> None:
    if rollout.name in known:
        raise Conflict(f"rollout {rollout.name} exists", remedy=f"argosy rollout {rollout.name} shows it; choose another name")
    units = {unit.name for unit in (*rollout.units, *rollout.templates)}
    for name, other in known.items():
        shared = sorted(units.intersection(unit.name for unit in (*other.rollout.units, *other.rollout.templates)))
        if shared and not other.ended:
            raise Conflict(
                f"unit {shared[0]} is part of rollout {name}, which has not ended",
                remedy=f"wait for it (argosy rollout {name}), or end it: argosy rollout {name} --abort",
            )


def _free_name(rollout: Rollout, known: Mapping[str, Followed]) -> str:
    """The name of its first unit without instance and type, and a number."""
    stem = re.sub(r"[^A-Za-z0-9_.:-]", "-", rollout.units[0].name.rpartition(".")[0].partition("@")[0]).lstrip("_.:-")[:80] or "rollout"
    numbers = [int(name.rpartition("-")[2]) for name in known if name.rpartition("-")[0] == stem and name.rpartition("-")[2].isdecimal()]
    return f"{stem}-{max(numbers, default=0) + 1}"


async def wish_rollout(store: Store, name: str, wish: RolloutWish) -> int:
    """What the operator wants of it from now on. Raises NotFound, and Conflict for one that has ended or is told to end already."""
    key = keys.rollout(name)
    for _ in range(ATTEMPTS):
        record, progress = await asyncio.gather(store.get(key), store.get(keys.rollout_progress(name)))
        if record is None:
            raise NotFound(f"rollout {name} does not exist", remedy="argosy rollouts lists those that do")
        rollout = decode(Rollout, record.value, key)
        known = followed(rollout, decode(RolloutProgress, progress.value, progress.key) if progress else None)
        if known.ended:
            assert known.progress is not None
            raise Conflict(f"rollout {name} has ended: {known.progress.state.value}", remedy="a new one goes on where it stopped")
        if rollout.wish is wish:
            return record.modified
        if rollout.wish in (RolloutWish.ABORT, RolloutWish.ROLLBACK) and wish in (RolloutWish.RUN, RolloutWish.PAUSE):
            raise Conflict(f"rollout {name} is ending: {rollout.wish.value}", remedy="ask for a new one when it has ended")
        try:
            return await store.commit([Condition(key, record.modified)], [Put(key, encode(msgspec.structs.replace(rollout, wish=wish)))])
        except Conflict:
            continue
    raise Conflict(f"rollout {name} is being changed by others all the time", key=key, remedy="try again")
