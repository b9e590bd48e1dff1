"""Which users of this machine may do what its unix socket's mode allows: the agent's own user, root, and the members of one group."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd

from argosy.errors import InvalidInput
from argosy.reconcile import Clock

DEFAULT_GROUP = "argosy"
KNOWN_SECONDS = 5.0
"""How long a user's membership is remembered."""

MOST_KNOWN = 1024


def group_id(name: str, section: str) -> int | None:
    """Return the group's number; None for "" and for the default group where there is none. Raises InvalidInput for a group that the
    operator names and that does not exist. Blocks."""
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if name == DEFAULT_GROUP:
            return None
        raise InvalidInput(f"[{section}] group is {name!r}, which does not exist", remedy=f"groupadd --system {name}") from None


def users_of(group: str, section: str, clock: Clock) -> Users:
    """This process's own user, root and the members of the group. Raises InvalidInput as `group_id` does. Blocks."""
    return Users(os.geteuid(), group_id(group, section), clock)


class Users:
    """`owner`: the uid whose agent this is. `group`: the gid whose members may do the same."""

    def __init__(self, owner: int, group: int | None, clock: Clock) -> None:
        self._all_powerful = (0, owner)
        self._group = group
        self._clock = clock
        self._known: dict[int, tuple[float, bool]] = {}

    async def may(self, uid: int) -> bool:
        """True if a process of this user may do everything. Membership is what the group database says now, which a login before a
        change does not know."""
        if uid in self._all_powerful:
            return True
        if self._group is None:
            return False
        now = self._clock.monotonic()
        until, member = self._known.get(uid, (0.0, False))
        if until <= now:
            member = await asyncio.to_thread(is_member, uid, self._group)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[uid] = (now + KNOWN_SECONDS, member)
        return member


def is_member(uid: int, gid: int) -> bool:
    """True if the user belongs to the group. Blocks."""
    try:
        entry = pwd.getpwuid(uid)
        return gid in os.getgrouplist(entry.pw_name, entry.pw_gid)
    except (KeyError, OSError):
        return False
