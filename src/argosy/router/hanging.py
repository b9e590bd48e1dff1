"""Requests that hang on a machine that is gone, and how they are let go.

A machine that loses its power, or its network, says no goodbye: a request that nginx has sent it over an open connection would wait
until nginx's read timeout, minutes later. nginx cannot tell, but its error log says which upstreams can no longer be connected to.
Those are asked every half second; a host that has not answered in any way for SILENT seconds has its connections ended, and nginx
passes those of their requests that may be repeated to the next instance, as after a reset. One that is merely busy is left alone: its
kernel answers for it.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Collection

from argosy.errors import InvalidInput
from argosy.router.naming import Address, parse_address
from argosy.sockdiag import Target, end_connections

log = logging.getLogger(__name__)

SILENT = 1.5
ASK_TIMEOUT = 0.4
AGENT_PORT = 8700
"""Any port would do to hear from a host's kernel, which refuses what nobody listens on; this one is expected to be asked."""

NOTHING_CAME_BACK = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)

_CANNOT_CONNECT = re.compile(
    r"\((110: Connection timed out|113: No route to host|101: Network is unreachable|111: Connection refused)\)"
    r' while connecting to upstream[^\n]*? upstream: "https?://([^/"\n]+)'
)
REFUSED = "111: Connection refused"

Ask = Callable[[str, int], Awaitable[bool]]
End = Callable[[Collection[Target]], int]


async def answers(ip: str, port: int) -> bool:
    """Whether anything comes back from the host: a connection, or its refusal, at this port or the agent's."""
    return any(await asyncio.gather(_answers(ip, port), _answers(ip, AGENT_PORT)))


async def _answers(ip: str, port: int) -> bool:
    try:
        async with asyncio.timeout(ASK_TIMEOUT):
            _, writer = await asyncio.open_connection(ip, port)
    except TimeoutError:
        return False
    except OSError as error:
        return error.errno not in NOTHING_CAME_BACK
    writer.close()
    return True


class Hanging:
    """`look` is called about twice a second with what nginx has written into its error log since."""

    def __init__(self, *, ask: Ask = answers, end: End = end_connections) -> None:
        self._ask = ask
        self._end = end
        self._silent: dict[Target, float] = {}
        self._may = True

    async def look(self, said: str, now: float) -> int:
        """How many connections were ended. `now` only ever grows, in seconds."""
        if not self._may:
            return 0
        for target in suspects(said):
            self._silent.setdefault(target, now)
        if not self._silent:
            return 0
        asked = list(self._silent)
        for target, answered in zip(asked, await asyncio.gather(*(self._ask(*target) for target in asked)), strict=True):
            if answered:
                del self._silent[target]
        gone = [target for target, since in self._silent.items() if now - since >= SILENT]
        for target in gone:
            del self._silent[target]
        return await self._let_go(gone) if gone else 0

    async def _let_go(self, gone: Collection[Target]) -> int:
        try:
            ended = await asyncio.to_thread(self._end, gone)
        except OSError as error:
            log.warning(
                "requests that hang on a machine that is gone wait for nginx's timeout: connections cannot be ended here (%s)",
                error.strerror,
            )
            self._may = False
            return 0
        if ended:
            log.info("ended %d connections to %s: no answer for %g s", ended, ", ".join(sorted({ip for ip, _ in gone})), SILENT)
        return ended


def failed(said: str, *, refused: bool = True) -> frozenset[Target]:
    """The upstreams that nginx could not connect to, by its error log. `refused` False leaves out those that refused it."""
    found = set()
    for why, text in dict.fromkeys(_CANNOT_CONNECT.findall(said)):
        try:
            address: Address = parse_address(text)
        except InvalidInput:
            continue
        if address.literal and (refused or why != REFUSED):
            found.add((address.host, address.port))
    return frozenset(found)


def suspects(said: str) -> frozenset[Target]:
    """The upstreams on other machines from which nothing came back."""
    return frozenset(target for target in failed(said, refused=False) if not ipaddress.ip_address(target[0]).is_loopback)
