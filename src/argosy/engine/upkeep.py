"""Keeps room in the store: what is filling up is compacted and tidied by the machine that leads, and what is full by every machine, since a
full store elects nobody."""

from __future__ import annotations

import logging
from collections.abc import Callable

from argosy.errors import StoreUnavailable
from argosy.reconcile import Clock
from argosy.state import keys
from argosy.store.base import Room, Store

log = logging.getLogger(__name__)

EVERY = 10.0
TIDY_AT = 0.5
TELL_AT = 0.7
"""Parts of the store's limit from which on its history is forgotten, and from which on an operator is told."""


class Upkeep:
    """`leading`: whether this machine leads. `tell` hears in words what an operator should know about the store, "" for nothing."""

    def __init__(self, store: Store, clock: Clock, leading: Callable[[], bool], tell: Callable[[str], None], every: float = EVERY) -> None:
        self._store = store
        self._clock = clock
        self._leading = leading
        self._tell = tell
        self._every = every
        self._revision = 0
        self._told = False

    async def run(self) -> None:
        while True:
            try:
                await self._look()
            except StoreUnavailable as error:
                log.debug("cannot see how full the store is: %s", error)
            await self._clock.sleep(self._every)

    async def _look(self) -> None:
        room = await self._store.room()
        if not room.full and not (self._leading() and room.used >= TIDY_AT * room.limit):
            self._say("")
            self._revision = 0
            return
        before, self._revision = self._revision, (await self._store.list(keys.ENGINE_LEADER)).revision
        if before:  # who watches has had time to come as far as this
            await self._store.tidy(min(before, self._revision))
            room = await self._store.room()
        self._say(_words(room))

    def _say(self, words: str) -> None:
        if words and not self._told:
            log.error("%s", words)
        elif self._told and not words:
            log.info("the store has room again")
        self._told = bool(words)
        self._tell(words)


def _words(room: Room) -> str:
    if room.full:
        return f"the store is full ({room.used} of {room.limit} bytes): nothing can be written. Delete keys, or raise its quota"
    if room.used >= TELL_AT * room.limit:
        return f"the store is nearly full ({room.used} of {room.limit} bytes): users' keys are refused from 75 % on"
    return ""
